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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "blocks: the test itself calls aiomm's synchronous functions on the event loop")


@pytest.fixture(autouse=True)
def nothing_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which aiomm makes a blocking call on the thread of a running event loop."""
    if request.node.get_closest_marker("blocks"):
        yield
        return
    with blockbuster_ctx("aiomm"):
        yield


@pytest.fixture
async def demo_core() -> AsyncIterator[aiomm.LocalCore]:
    """An open core with the DemoCamera configuration, 512 x 512 pixels of 16 bits."""
    async with aiomm.LocalCore("demo") as core:
        yield core


@pytest.fixture
def demo_mmc() -> Iterator[Any]:
    """A raw MMCore with the DemoCamera configuration."""
    paths = adapters.search_paths(None)
    mmc = pymmcore.CMMCore()
    mmc.setDeviceAdapterSearchPaths([str(p) for p in paths])
    mmc.loadSystemConfiguration(str(adapters.config_file("demo", paths)))
    yield mmc
    mmc.unloadAllDevices()
