"""A bridge to the JVM that all tests share, its microscope as at the start, and nothing left behind on either side."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import zmq

import aiomm
from tests.support.bridging import SLACK, Eye, Held, looking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost


@pytest.fixture
async def eye(java_host: JavaHost) -> AsyncIterator[Eye]:
    async with looking(java_host.port) as found:
        yield found


@pytest.fixture
async def control(eye: Eye) -> AsyncIterator[Any]:
    """The microscope's behaviour, quick; put back afterwards."""
    made = await eye.bridge.construct_java_object("aiomm.host.Control", new_socket=True)
    await made.restore()
    await made.fast(True)
    await eye.note()
    yield made
    await made.restore()


@pytest.fixture
async def nothing_left(eye: Eye, control: Any) -> AsyncIterator[None]:
    """A test leaves Java's ports, objects and threads as they were, and no task and socket here."""
    one_large_message()
    ports, before, held = await eye.probe.open_ports(), await threads(eye), Held()
    yield
    await held.nothing_more()
    await eye.back("after the test")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SLACK):  # Java closes its ports in threads of its own, after it has said that all is over
            while await eye.probe.open_ports() != ports or await threads(eye) - before:
                await asyncio.sleep(0.02)
    assert await eye.probe.open_ports() == ports
    assert not await threads(eye) - before


@pytest.fixture
async def bridge(java_host: JavaHost, nothing_left: None) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as opened:
        yield opened


async def threads(eye: Eye) -> Counter[str]:
    """Java's threads that belong to acquisitions; the engine's own two stay, and those that load a window's icons for some seconds."""
    names = (await eye.probe.thread_names()).splitlines()
    ours = ("Remote", "Acquisition ", "Tagged", "Image")
    others = ("Acquisition Engine Thread", "Image Fetcher")
    return Counter(name for name in names if name.startswith(ours) and not name.startswith(others))


def one_large_message() -> None:
    """The first one of a process that is sent without a copy starts a thread of pyzmq's with sockets, which stays."""
    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.bind("inproc://large")
        push.connect("inproc://large")
        push.send(memoryview(bytes(100_000)), copy=False)
        pull.recv()
