"""What all tests share: nothing of aiomm blocks the event loop, and a real core with simulated devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymmcore
import pytest
from blockbuster import blockbuster_ctx

import aiomm
from aiomm.core import adapters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytest_plugins = ["tests.jvm.host", "tests.support.homes"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "blocks: the test itself calls aiomm's synchronous functions on the event loop")


@pytest.fixture(autouse=True)
def nothing_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which aiomm makes a blocking call on the thread of a running event loop."""
    if request.node.get_closest_marker("blocks"):
        yield
        return
    with blockbuster_ctx("aiomm") as guard:
        # pyzmq starts a thread of its own once per process, at the first large message; starting threads is allowed anyway
        guard.functions["threading.Lock.acquire"].can_block_in("zmq/utils/garbage.py", "start")
        for name in ("io.BufferedWriter.write", "io.TextIOWrapper.write", "socket.socket.send", "socket.socket.recv_into"):
            guard.functions[name].can_block_in("tests/support/java_microscope.py", "ask")  # a test's own look at the JVM's microscope
        yield


@pytest.fixture(scope="session")
def demo_config() -> Path:
    """Where the DemoCamera configuration is; the adapters are in the same folder."""
    return adapters.config_file("demo", adapters.search_paths(None))


@pytest.fixture
async def demo_core() -> AsyncIterator[aiomm.LocalCore]:
    """An open core with the DemoCamera configuration, 512 x 512 pixels of 16 bits."""
    async with aiomm.LocalCore("demo") as core:
        await core.set_shutter_open(False)  # DemoCamera does not initialise it: now open, now closed
        yield core


@pytest.fixture
def demo_mmc(demo_config: Path) -> Iterator[Any]:
    """A raw MMCore with the DemoCamera configuration."""
    mmc = pymmcore.CMMCore()
    mmc.setDeviceAdapterSearchPaths([str(demo_config.parent)])
    mmc.loadSystemConfiguration(str(demo_config))
    mmc.setShutterOpen(False)  # DemoCamera does not initialise it: now open, now closed
    yield mmc
    mmc.unloadAllDevices()
