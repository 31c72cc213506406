"""The two homes of a microscope, for tests that run on both: `LocalCore`, and Micro-Manager's own engine in the JVM host.

A test asks for the fixture ``home``, or for one built on it, and runs once on each. Its rig is the same on both (`tests.support.rigs`):
``rig.mmc`` records calls and injects faults, ``rig.core`` is the microscope, ``rig.acquisition()`` and ``rig.memory()`` acquire there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from tests.support import sequence_tester as st
from tests.support.java_microscope import java_microscope
from tests.support.rigs import Rig, demo_rig, load_demo, sequence_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.jvm.host import JavaHost

HOMES = ("local", "java")


@dataclass(frozen=True)
class Home:
    """Where the microscope of a test lives."""

    name: str
    host: JavaHost | None = None

    @property
    def java(self) -> bool:
        """Micro-Manager's engine runs the acquisitions."""
        return self.host is not None

    def demo(self, directory: Path, **options: Any) -> contextlib.AbstractAsyncContextManager[Rig]:
        """The DemoCamera configuration, with small, quick images; see `load_demo` for the options."""
        if self.host is None:
            return demo_rig(directory, **options)
        return _java_rig(self.host, directory, lambda mmc: load_demo(mmc, **options))

    def tester(self, directory: Path, **options: Any) -> contextlib.AbstractAsyncContextManager[Rig]:
        """The SequenceTester, whose images say what was in force; see `load_sequence_tester` for the options."""
        if self.host is None:
            return sequence_rig(directory, **options)
        return _java_rig(self.host, directory, lambda mmc: _load_tester(mmc, **options))


def _load_tester(mmc: Any, **options: Any) -> None:
    mmc.unloadAllDevices()
    st.load_sequence_tester(mmc, **options)


@contextlib.asynccontextmanager
async def _java_rig(host: JavaHost, directory: Path, load: Callable[[Any], None]) -> AsyncIterator[Rig]:
    with java_microscope(host.door) as mmc:
        load(mmc)
        async with aiomm.Bridge(port=host.port, timeout=5000) as bridge:  # ms; how busy this computer is decides no test
            try:
                yield Rig(mmc, await bridge.get_core(), directory, {"bridge": bridge}, java=True)
            finally:
                mmc.heal()
        if not mmc.control("engineIdle", 5000):
            host.kill()  # there is one engine: it would keep every later test waiting
            pytest.fail("Micro-Manager's engine is still busy after the test")


def only_local(because: str) -> pytest.MarkDecorator:
    """A test of what only a LocalCore has; the reason is for the reader, and for docs/reference/two-homes.md where users see it."""
    assert because
    return pytest.mark.parametrize("home", ["local"], indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    told = "on Micro-Manager's engine one case of so many, of the test or the module; the others are for the campaign"
    config.addinivalue_line("markers", f"sampled(every, of='test', always=False): {told}; always: also where there is one home")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the other cases of a sampled test to the campaign."""
    counts: dict[str, int] = {}
    for item in items:
        marker = item.get_closest_marker("sampled")
        callspec = getattr(item, "callspec", None)
        java = callspec is not None and callspec.params.get("home") == "java"
        if marker is None or not (java or marker.kwargs.get("always")):
            continue
        name = item.nodeid.partition("::" if marker.kwargs.get("of") == "module" else "[")[0]
        counts[name] = counts.get(name, -1) + 1
        if counts[name] % marker.args[0]:
            item.add_marker("campaign")


@pytest.fixture(params=HOMES)
def home(request: pytest.FixtureRequest) -> Home:
    """Each home in turn."""
    return Home(request.param, request.getfixturevalue("java_host") if request.param == "java" else None)


@pytest.fixture
async def rig(home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    """A DemoCamera."""
    async with home.demo(tmp_path) as rig:
        yield rig


@pytest.fixture
async def tester(home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    """A SequenceTester; options of `load_sequence_tester` may come as a parameter."""
    async with home.tester(tmp_path) as rig:
        yield rig


__all__ = ["HOMES", "Home", "home", "only_local", "rig", "tester"]
