"""Streams in and out: in order, bounded, ended by either side, and without waking for nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from aiomm.bridge.streams import PullSocket, PushSocket
from aiomm.errors import BridgeError, BridgeTimeoutError, ClosedError, ServerLostError, ServerNotFoundError
from tests.bridge.fake_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 10.0
PEERS: list[Any] = []
"""The server's sides, closed after each test."""


@pytest.fixture
def context() -> Iterator[Any]:
    made = zmq.Context()
    yield made
    for peer in PEERS:
        peer.close(0)
    PEERS.clear()
    made.term()


@pytest.fixture
def pushing(context: Any) -> tuple[Any, int]:
    """The server's side of a stream to Python, and its port."""
    push = context.socket(zmq.PUSH)
    PEERS.append(push)
    push.setsockopt(zmq.SNDHWM, 10)
    return push, push.bind_to_random_port("tcp://127.0.0.1")


async def pulling(context: Any, port: int, **more: Any) -> PullSocket:
    pull = PullSocket(context, **more)
    await pull.connect("127.0.0.1", port, timeout=5.0)
    return pull


async def waiting(coroutine: Any) -> asyncio.Task[Any]:
    """A task that was started and waits."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


# ---- in ----------------------------------------------------------------------------------------------------------


async def test_messages_come_in_order_and_whole(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port)

    def send() -> None:
        for i in range(2000):
            push.send_multipart([b"%d" % i, bytes(i)])

    sender = asyncio.ensure_future(asyncio.to_thread(send))
    for i in range(2000):
        frames = await pull.recv()
        assert [frames[0].bytes, len(frames[1])] == [b"%d" % i, i]
    await sender
    pull.close()


async def test_what_is_not_taken_holds_the_sender_up(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port, hwm=10)
    sent = 0
    with pytest.raises(zmq.Again):
        for _ in range(1000):
            push.setsockopt(zmq.SNDTIMEO, 200)
            await asyncio.to_thread(push.send, bytes(1_000_000))
            sent += 1
    assert sent < 200
    for _ in range(sent):
        await asyncio.wait_for(pull.recv(), LONG)
    pull.close()


async def test_a_cancelled_receive_takes_no_message(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port)
    for i in range(50):
        task = await waiting(pull.recv())
        await asyncio.to_thread(push.send, b"%d" % i)
        for _ in range(i % 4):
            await asyncio.sleep(0)
        task.cancel()
        try:
            frames = await task
        except asyncio.CancelledError:
            frames = await asyncio.wait_for(pull.recv(), LONG)
        assert frames[0].bytes == b"%d" % i
    pull.close()


async def test_large_messages_of_a_peer_that_closes_at_once(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port)
    for i in range(5):
        push.send_multipart([b"%d" % i, bytes(600_000)])
    push.close(5000)
    seen = []
    with pytest.raises(ServerLostError):
        async for frames in pull:
            seen.append((frames[0].bytes, len(frames[1])))
            await asyncio.sleep(0.05)
    assert seen == [(b"%d" % i, 600_000) for i in range(5)]
    pull.close()


async def test_all_that_a_dead_peer_sent_then_the_loss(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port)
    for i in range(5):
        push.send(b"%d" % i)
    await asyncio.sleep(0.1)
    push.close(1000)
    seen = []
    with pytest.raises(ServerLostError, match=f"127.0.0.1:{port} of the Micro-Manager server broke"):
        async with asyncio.timeout(LONG):
            async for (frame,) in pull:
                seen.append(frame.bytes)
    assert seen == [b"0", b"1", b"2", b"3", b"4"]
    with pytest.raises(ServerLostError):
        await pull.recv()
    pull.close()


async def test_a_task_that_waits_hears_of_the_loss(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port)
    task = await waiting(pull.recv())
    push.close(0)
    with pytest.raises(ServerLostError):
        await asyncio.wait_for(task, LONG)
    pull.close()


async def test_closing_ends_the_iteration_and_a_receive(context: Any, pushing: tuple[Any, int]) -> None:
    _, port = pushing
    pull = await pulling(context, port)

    async def walk() -> list[Any]:
        return [frames async for frames in pull]

    task = await waiting(walk())
    pull.close()
    assert await asyncio.wait_for(task, LONG) == []
    with pytest.raises(ClosedError):
        await pull.recv()
    pull.close()
    other = await pulling(context, port)
    task = await waiting(other.recv())
    other.close()
    with pytest.raises(ClosedError):
        await task


async def test_one_receiver_at_a_time(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port)
    first = await waiting(pull.recv())
    with pytest.raises(RuntimeError, match="another task"):
        await pull.recv()
    push.send(b"x")
    assert (await first)[0].bytes == b"x"
    pull.close()


async def test_no_stream_there(context: Any) -> None:
    pull = PullSocket(context)
    with pytest.raises(ServerNotFoundError, match="connection refused"):
        await pull.connect("127.0.0.1", free_port(), timeout=0.1)
    with pytest.raises(ClosedError, match="not open"):
        await pull.recv()
    pull.close()


async def test_a_stream_that_is_not_read_does_not_wake_the_loop(context: Any, pushing: tuple[Any, int]) -> None:
    push, port = pushing
    pull = await pulling(context, port)
    for _ in range(5):
        push.send(b"x")
    await asyncio.sleep(0.1)
    loop: Any = asyncio.get_running_loop()
    seen: list[Any] = []
    run_once, loop._run_once = loop._run_once, lambda: (seen.append(1), run_once())
    try:
        await asyncio.sleep(0.3)
    finally:
        loop._run_once = run_once
    assert len(seen) <= 3, "the loop woke for nothing"
    for _ in range(5):
        await pull.recv()
    pull.close()


# ---- out ---------------------------------------------------------------------------------------------------------


def pull_from(context: Any, port: int, **options: int) -> Any:
    pull = context.socket(zmq.PULL)
    PEERS.append(pull)
    for name, value in options.items():
        pull.setsockopt(getattr(zmq, name), value)
    pull.connect(f"tcp://127.0.0.1:{port}")
    return pull


async def test_sending_waits_for_a_peer(context: Any) -> None:
    port = free_port()
    async with PushSocket(context) as push:
        push.bind(port)
        with pytest.raises(BridgeTimeoutError, match=f"to 127.0.0.1:{port}"):
            await push.send([b"never"], timeout=0.05)
        task = await waiting(push.send([b"a", bytes(100_000)]))
        pull = pull_from(context, port)
        await asyncio.wait_for(task, LONG)
        frames = await asyncio.to_thread(pull.recv_multipart)
        assert [frames[0], len(frames[1])] == [b"a", 100_000]


async def test_two_tasks_that_send_to_a_peer_that_has_not_come_take_turns(context: Any) -> None:
    port = free_port()
    async with PushSocket(context) as push:
        push.bind(port)
        tasks = [await waiting(push.send([b"%d" % i])) for i in range(3)]
        tasks.pop(1).cancel()
        pull = pull_from(context, port)
        await asyncio.wait_for(asyncio.gather(*tasks), LONG)
        assert [await asyncio.to_thread(pull.recv) for _ in tasks] == [b"0", b"2"]


async def test_all_that_wait_to_send_hear_of_the_close(context: Any) -> None:
    push = PushSocket(context)
    push.bind(free_port())
    tasks = [await waiting(push.send([b"x"])) for _ in range(2)]
    push.close()
    for task in tasks:
        with pytest.raises(ClosedError):
            await task


async def test_sending_waits_for_room_and_keeps_the_order(context: Any) -> None:
    port = free_port()
    async with PushSocket(context, hwm=5) as push:
        push.bind(port)
        pull = pull_from(context, port, RCVHWM=5)
        count = 0
        with pytest.raises(BridgeTimeoutError):
            while count < 1000:
                await push.send([b"%d" % count, bytes(1_000_000)], timeout=0.3)
                count += 1
        assert 5 <= count < 200
        seen: list[bytes] = []
        reader = threading.Thread(target=lambda: seen.extend(pull.recv_multipart()[0] for _ in range(count + 20)))
        reader.start()
        for i in range(20):
            await asyncio.wait_for(push.send([b"%d" % (count + i), b""]), LONG)
        await asyncio.to_thread(reader.join)
        assert seen == [b"%d" % i for i in range(count + 20)]


async def test_sending_to_a_peer_that_has_gone(context: Any) -> None:
    port = free_port()
    async with PushSocket(context, hwm=5) as push:
        push.bind(port)
        pull = pull_from(context, port, RCVHWM=5)
        await asyncio.wait_for(push.send([b"x"]), LONG)
        with pytest.raises(BridgeTimeoutError):
            while True:
                await push.send([bytes(1_000_000)], timeout=0.2)
        task = await waiting(push.send([b"more"]))
        pull.close(0)
        with pytest.raises(ServerLostError):
            await asyncio.wait_for(task, LONG)
        with pytest.raises(ServerLostError):
            await push.send([b"more"])


async def test_what_was_sent_before_closing_arrives(context: Any) -> None:
    port = free_port()
    push = PushSocket(context)
    push.bind(port)
    pull = pull_from(context, port)
    await asyncio.wait_for(push.send([b"first"]), LONG)
    for _ in range(20):
        await push.send([bytes(1_000_000)])
    await push.send([b"acquisition-end"])
    push.close(linger=5.0)
    frames = [await asyncio.to_thread(pull.recv) for _ in range(22)]
    assert frames[-1] == b"acquisition-end"
    with pytest.raises(ClosedError):
        await push.send([b"late"])


async def test_closing_while_a_send_waits(context: Any) -> None:
    push = PushSocket(context)
    push.bind(free_port())
    task = await waiting(push.send([b"x"]))
    push.close()
    with pytest.raises(ClosedError):
        await task


async def test_a_port_that_is_taken(context: Any, pushing: tuple[Any, int]) -> None:
    _, port = pushing
    push = PushSocket(context)
    with pytest.raises(BridgeError, match=f"port {port}.*in use"):
        push.bind(port)
    push.close()


async def test_somebody_who_looks_who_listens_is_not_taken_for_the_peer(context: Any) -> None:
    """Bridges see so whether a port was left; its number may be another stream's by then."""
    port = free_port()
    async with PushSocket(context) as push:
        push.bind(port)
        pull = pull_from(context, port)
        await asyncio.wait_for(push.send([b"a"]), LONG)
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.05)
        await asyncio.wait_for(push.send([b"b"]), LONG)
        assert [await asyncio.to_thread(pull.recv) for _ in range(2)] == [b"a", b"b"]


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_had_the_port_before_gets_nothing(context: Any, leaves: bool) -> None:
    port = free_port()
    async with PushSocket(context) as push:
        push.bind(port)
        old = pull_from(context, port, RECONNECT_IVL=-1)
        await until(push, lambda link: link.came == 1)
        if leaves:
            old.close(0)
            await until(push, lambda link: not link.events & zmq.POLLOUT)
        new = pull_from(context, port)
        await until(push, lambda link: link.came == 2)
        await asyncio.wait_for(push.send([b"0"]), LONG)
        await asyncio.wait_for(push.send([b"1"]), LONG)
        assert [await asyncio.to_thread(new.recv) for _ in range(2)] == [b"0", b"1"]


async def until(push: PushSocket, seen: Any) -> None:
    async with asyncio.timeout(LONG):
        while push._link is None or not seen(push._link):
            await asyncio.sleep(0.005)
