"""A port that the server gives and that does not listen: another program has it, or the system has not freed it yet."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm.bridge.port_numbers import _SERVERS, PortNumbers
from aiomm.errors import ServerNotFoundError

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost


@pytest.mark.parametrize("listens", [False, True])
async def test_an_object_moves_on_to_a_port_that_listens(own_java_host: JavaHost, listens: bool) -> None:
    first = own_java_host.port
    with socket.socket() as one, socket.socket() as two:
        for number, taken in enumerate((one, two), first + 1):
            taken.bind(("127.0.0.1", number))
            if listens:
                taken.listen()  # it takes connections, and never answers
        async with aiomm.Bridge(port=first, timeout=1500) as bridge:
            samples: Any = await bridge.construct_java_object("aiomm.host.Samples", new_socket=True)
            assert samples.port > first + 2
            assert await samples.echo_int(7) == 7
            assert (await bridge.get_core(new_socket=True)).port > first + 2
        async with aiomm.Bridge(port=first, timeout=1500) as bridge:
            probe = await bridge.construct_java_object("aiomm.host.Probe")
            assert await probe.command_ports() == str(first), "the ports that were opened in vain are closed"
            assert await probe.object_count() == 1


@pytest.mark.parametrize("bridges", [1, 2])
async def test_many_tasks_that_make_and_release_objects_at_ports_of_their_own(
    bridges: int, own_java_host: JavaHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Java gives the number of a port again before it has left it: nothing may stay there, nor a thread that waits for ever."""
    caplog.set_level("DEBUG", "aiomm.bridge")
    async with aiomm.Bridge(port=own_java_host.port) as one, aiomm.Bridge(port=own_java_host.port) as two:

        async def make(task: int) -> None:
            bridge = (one, two)[task % bridges]
            for _ in range(10):
                items: Any = await bridge.construct_java_object("java.util.ArrayList", new_socket=True)
                assert await items.add(task)
                await items.aclose()

        async with asyncio.TaskGroup() as tasks:
            for task in range(10):
                tasks.create_task(make(task))
    assert "cannot be reached" not in caplog.text  # which costs the time of a connection
    async with aiomm.Bridge(port=own_java_host.port) as bridge:
        probe = await bridge.construct_java_object("aiomm.host.Probe")
        assert await probe.object_count() == 1
        assert await probe.command_ports() == str(own_java_host.port)


async def test_no_port_is_asked_for_while_another_bridge_leaves_one(java_host: JavaHost) -> None:
    async with aiomm.Bridge(port=java_host.port) as one, aiomm.Bridge(port=java_host.port) as two:
        assert one._session is not None and two._session is not None
        known = await one.construct_java_object("java.util.ArrayList")  # from now on its constructors are
        asked = one._session.main.port.stats.calls
        async with two._session.numbers.leaving():
            making = asyncio.create_task(one.construct_java_object("java.util.ArrayList", new_socket=True))
            for _ in range(20):
                await asyncio.sleep(0)
            assert one._session.main.port.stats.calls == asked
        await (await making).aclose()
        await known.aclose()


async def test_there_is_an_end_to_it(own_java_host: JavaHost) -> None:
    first = own_java_host.port
    taken = [socket.socket() for _ in range(10)]
    try:
        for number, one in enumerate(taken, first + 1):
            one.bind(("127.0.0.1", number))
        async with aiomm.Bridge(port=first) as bridge:
            with pytest.raises(ServerNotFoundError, match=r"refused\. .* above its first one: .* forward"):
                await bridge.construct_java_object("aiomm.host.Samples", new_socket=True)
            assert await (await bridge.get_core()).call("getExposure") == 10
    finally:
        for one in taken:
            one.close()


async def test_whether_a_port_was_left_is_seen_without_going_there(java_host: JavaHost) -> None:
    """Java's ZeroMQ gives a message to whoever comes, before they have shaken hands: one of another's stream would be lost."""
    async with aiomm.Bridge(port=java_host.port) as bridge:
        session = bridge._session
        assert session is not None
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            number = listener.getsockname()[1]
            session.numbers.closing(number)
            start = time.monotonic()
            await session.numbers.left()
            assert time.monotonic() - start > 0.1  # somebody listens to the last
            with pytest.raises(BlockingIOError):
                listener.accept()
        session.numbers.closing(number)
        await session.numbers.left()
        assert number not in session.numbers._shared.closing


async def test_what_is_known_of_a_server_goes_with_its_last_bridge_and_port() -> None:
    server = ("127.0.0.1", 1)
    numbers = PortNumbers("localhost", 1)
    numbers.closing(5)
    numbers.taken(5)
    numbers.closing(7)
    del numbers
    gc.collect()
    other = PortNumbers("127.0.0.1", 1)  # a bridge that is opened right after
    assert set(_SERVERS[server].closing) == {7}
    del other
    async with asyncio.timeout(10):
        while server in _SERVERS:
            await asyncio.sleep(0.05)
            gc.collect()
    other = PortNumbers("127.0.0.1", 1)
    other.closing(8)
    async with asyncio.timeout(10):
        while _SERVERS[server].closing:
            await asyncio.sleep(0.05)
