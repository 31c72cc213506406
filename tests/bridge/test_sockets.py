"""A Port against the real server: right replies to the right calls, whatever is cancelled, late, killed or closed."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from aiomm.bridge import wire
from aiomm.errors import (
    BridgeTimeoutError,
    ClosedError,
    ProtocolError,
    ServerLostError,
    ServerNotFoundError,
)
from tests.bridge.asking import Asker, Askers, askers, hello, until
from tests.bridge.fake_server import GREETING, free_port, greets, tcp_server, zmq_server
from tests.support.steps_of_a_loop import SteppedLoop, run_stepped

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.jvm.host import JavaHost

ROOT = Path(__file__).parents[2]
LONG = 10.0
"""Seconds in which a thing that must happen by itself happens even on a busy computer."""


class Desk:
    """Two ports of one host: calls on `a` can block, and `b` looks at them and lets them go."""

    def __init__(self, a: Asker, faults: Any, b: Asker, key: Any) -> None:
        self.a, self.faults, self.b, self.key = a, faults, b, key

    async def blocked(self, count: int = 1) -> None:
        async with asyncio.timeout(LONG):
            while await self.b.call(self.key, "blocked") != count:
                await asyncio.sleep(0.01)

    async def release(self) -> None:
        await self.b.call(self.key, "release")

    async def objects(self) -> int:
        probe = await self.b.make("aiomm.host.Probe")
        try:
            return int(await self.b.call(probe, "objectCount"))
        finally:
            await self.b.release(probe)


async def desk(ports: Askers, host: JavaHost) -> Desk:
    a = await ports(host.port)
    faults = await a.make("aiomm.host.Faults")
    key, b = await ports.elsewhere(a, "aiomm.host.Faults")
    return Desk(a, faults, b, key)


# ---- no server ---------------------------------------------------------------------------------------------------


async def refused(ports: Askers, number: int, timeout: float = 0.3) -> str:
    asker = ports.unopened(number, timeout)
    start = time.monotonic()
    with pytest.raises(ServerNotFoundError) as caught:
        await asker.open()
    assert time.monotonic() - start < timeout + LONG
    assert f"127.0.0.1:{number}" in str(caught.value)
    assert not asker.losses
    return str(caught.value)


async def test_no_server(ports: Askers) -> None:
    assert "refused" in await refused(ports, free_port())


async def test_a_server_that_accepts_and_is_silent(ports: Askers) -> None:
    with tcp_server(lambda peer: None) as number:
        assert "shake hands" in await refused(ports, number)


async def test_a_server_that_is_not_zeromq(ports: Askers) -> None:
    with tcp_server(lambda peer: peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: keep-alive\r\n\r\n" + bytes(100))) as number:
        assert "shake hands" in await refused(ports, number)


async def test_a_server_that_hangs_up(ports: Askers) -> None:
    with tcp_server(lambda peer: peer.close()) as number:
        assert "shake hands" in await refused(ports, number)


async def test_a_zeromq_server_that_never_answers(ports: Askers) -> None:
    with zmq_server(lambda frames: []) as number:
        assert "does not answer" in await refused(ports, number)


async def test_a_server_that_goes_right_after_it_has_shaken_hands(ports: Askers) -> None:
    """The loop is busy meanwhile: it learns of both at once, before anything was asked."""
    context = zmq.Context()
    server = context.socket(zmq.REP)
    monitor = server.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    number = server.bind_to_random_port("tcp://127.0.0.1")

    def leave() -> None:
        monitor.recv_multipart()
        server.disable_monitor()
        monitor.close(0)
        server.close(0)

    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: failures.append(told.get("exception")))
    leaving = threading.Thread(target=leave)
    leaving.start()
    opening = asyncio.ensure_future(ports.unopened(number, 2.0).open())
    for _ in range(3):
        await asyncio.sleep(0)
    loop.call_soon(leaving.join)
    loop.call_soon(lambda: threading.Event().wait(0.2))
    with pytest.raises(ServerNotFoundError, match="it closed the connection instead of an answer"):
        await opening
    context.term()
    assert not failures


async def test_a_zeromq_server_of_another_kind(ports: Askers) -> None:
    with zmq_server(lambda frames: [[*frames[:-1], b"hello yourself"]]) as number:
        assert "no Micro-Manager server" in await refused(ports, number)


async def test_a_zeromq_socket_that_takes_no_requests(ports: Askers) -> None:
    push = ports.context.socket(zmq.PUSH)
    try:
        await refused(ports, push.bind_to_random_port("tcp://127.0.0.1"))
    finally:
        push.close(0)


async def test_a_host_that_has_no_address(ports: Askers) -> None:
    asker = ports.unopened(4827, 0.3)
    asker.port.host = "no-such-host.invalid"
    async with asyncio.timeout(LONG):
        with pytest.raises(ServerNotFoundError, match=r"no-such-host\.invalid:4827"):
            await asker.open()


async def test_a_server_that_comes_a_little_later(ports: Askers, own_java_host: JavaHost) -> None:
    own_java_host.kill()
    opening = asyncio.ensure_future(ports(own_java_host.port, 30.0))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(own_java_host.start)
    asker = await opening
    assert asker.port.stats.reconnects > 0
    assert await asker.call(await asker.make("aiomm.host.Faults"), "counted") == 0


# ---- calls -------------------------------------------------------------------------------------------------------


async def test_calls_and_their_replies(ports: Askers, java_host: JavaHost) -> None:
    asker = await ports(java_host.port)
    samples = await asker.make("aiomm.host.Samples")
    for i in range(100):
        assert await asker.call(samples, "echoInt", i, types=("int",)) == i
    assert len(await asker.call(samples, "manyBytes", 8_000_000, types=("int",))) == 8_000_000
    assert asker.port.stats.calls >= 101
    assert asker.port.stats.set_aside == 0


async def test_twenty_tasks_take_turns(ports: Askers, java_host: JavaHost) -> None:
    asker = await ports(java_host.port)
    samples = await asker.make("aiomm.host.Samples")
    order: list[int] = []

    async def run(task: int) -> None:
        for i in range(20):
            value = task * 1000 + i
            assert await asker.call(samples, "echoInt", value, types=("int",)) == value
            order.append(task)

    await asyncio.gather(*(run(task) for task in range(20)))
    assert len(order) == 400
    for start in range(0, 400, 20):
        assert sorted(order[start : start + 20]) == list(range(20))


async def test_a_port_that_the_server_closes_ends_quietly(ports: Askers, java_host: JavaHost) -> None:
    asker = await ports(java_host.port)
    there, other = await ports.elsewhere(asker, "aiomm.host.Faults")
    await other.port.request(wire.encode(wire.destructor(there.hash_code)), timeout=LONG, what="release", last=True)
    await asyncio.sleep(0.05)
    assert not other.losses
    assert other.port.lost is None
    with pytest.raises(ClosedError):
        await other.call(there, "counted")
    assert not asker.losses


async def test_a_port_that_the_server_closes_before_its_last_reply_ends_quietly_too(ports: Askers) -> None:
    with zmq_server(greets(lambda frames: [])) as number:
        asker = await ports(number)
        last = asyncio.ensure_future(asker.port.request([b"{}"], timeout=None, what="destructor", last=True))
        await asyncio.sleep(0.05)
    async with asyncio.timeout(LONG):
        assert await last == []
    assert not asker.losses


# ---- cancelled and timed out -------------------------------------------------------------------------------------


async def test_cancelled_before_its_turn_is_never_sent(ports: Askers, java_host: JavaHost) -> None:
    at = await desk(ports, java_host)
    before = await at.b.call(at.key, "counted")
    first = asyncio.ensure_future(at.a.call(at.faults, "block"))
    await at.blocked()
    withdrawn = [asyncio.ensure_future(at.a.call(at.faults, "count")) for _ in range(50)]
    last = asyncio.ensure_future(at.a.call(at.faults, "counted"))
    await asyncio.sleep(0)
    for task in withdrawn:
        task.cancel()
    await asyncio.wait(withdrawn)
    await at.release()
    assert await first == 1
    assert await last == before


async def test_out_of_time_before_its_turn_is_never_sent(ports: Askers, java_host: JavaHost) -> None:
    at = await desk(ports, java_host)
    before = await at.b.call(at.key, "counted")
    first = asyncio.ensure_future(at.a.call(at.faults, "block"))
    await at.blocked()
    with pytest.raises(BridgeTimeoutError, match="count: not sent within"):
        await at.a.call(at.faults, "count", timeout=0.05)
    await at.release()
    assert await first == 1
    assert await at.a.call(at.faults, "counted") == before


@pytest.mark.parametrize("how", ["cancelled", "timed out", "asyncio.timeout"])
async def test_calls_after_one_that_was_given_up_have_their_own_replies(ports: Askers, java_host: JavaHost, how: str) -> None:
    at = await desk(ports, java_host)
    samples = await at.a.make("aiomm.host.Samples")
    objects = await at.objects()
    late: list[Any] = []

    def took(reply: Any) -> Any:
        late.append(wire.parse_reply(reply))
        return wire.encode(wire.destructor(late[0].hash_code))

    call = asyncio.ensure_future(at.a.call(at.faults, "blockForObject", late=took, timeout=0.2 if how == "timed out" else None))
    await at.blocked()
    if how == "cancelled":
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    elif how == "timed out":
        with pytest.raises(BridgeTimeoutError, match="it may still run"):
            await call
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call
    assert at.a.port.stats.set_aside == 1
    later = [asyncio.ensure_future(at.a.call(samples, "echoInt", i, types=("int",))) for i in range(20)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in later), "the server answers one call at a time"
    assert not late
    await at.release()
    assert await asyncio.gather(*later) == list(range(20))
    assert [shadow.java_class for shadow in late] == ["aiomm.host.Dog"]
    assert at.a.port.stats.set_aside == 0
    assert await at.objects() == objects, "the object in the late reply was released"
    assert not at.a.losses


async def test_eight_megabytes_that_come_late(ports: Askers, java_host: JavaHost) -> None:
    at = await desk(ports, java_host)
    sizes: list[int] = []
    call = at.a.call(at.faults, "blockForBytes", 8_388_608, types=("int",), timeout=0.1, late=lambda reply: sizes.append(len(reply[-1])))
    with pytest.raises(BridgeTimeoutError):
        await call
    await at.release()
    assert await at.a.call(at.faults, "sleepMs", 1, types=("int",)) == 1
    assert sizes == [8_388_608]


async def test_cancelled_in_the_moment_of_the_reply(ports: Askers, java_host: JavaHost) -> None:
    """The reply is there and the task has not run yet: what is in it is given to `late`, not lost."""
    asker = await ports(java_host.port)
    late: list[Any] = []
    message = wire.encode(wire.constructor("aiomm.host.Dog", wire.Signature("aiomm.host.Dog", (), None), [], False))
    task = asyncio.ensure_future(asker.port.request(message, timeout=5, what="Dog", late=late.append))
    finish = asker.port._finish

    def finish_and_cancel(*args: Any) -> None:
        finish(*args)
        task.cancel()

    asker.port._finish = finish_and_cancel  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await task
    asker.port._finish = finish  # type: ignore[method-assign]
    assert [wire.parse_reply(reply).java_class for reply in late] == ["aiomm.host.Dog"]


def sweep(host: JavaHost, scenario: Callable[[Askers, Any], Any]) -> int:
    """Cancel `scenario` at every step of the loop; each time, the port then answers rightly or was not opened."""

    async def main(loop: SteppedLoop) -> int:
        runs = 0
        async with askers() as ports:
            step, whole = 1, 10**9
            while step <= whole:
                state: dict[str, Any] = {}
                task = loop.create_task(scenario(ports, state))
                loop.begin({step: task.cancel})
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                    whole = 0
                loop.end()
                asker = state.get("asker")
                if asker is not None and "samples" in state:
                    value = 5000 + step
                    async with asyncio.timeout(LONG):
                        assert await asker.call(state["samples"], "echoInt", value, types=("int",)) == value, f"step {step}"
                    assert not asker.losses
                for made in ports.all:
                    await made.aclose(1.0)
                ports.all.clear()
                runs += 1
                step += 1
        return runs

    runs: int = run_stepped(main)
    return runs


def test_cancelled_at_every_step(java_host: JavaHost) -> None:
    async def scenario(ports: Askers, state: dict[str, Any]) -> None:
        state["asker"] = asker = ports.unopened(java_host.port)
        await asker.open()
        state["samples"] = samples = await asker.make("aiomm.host.Samples")
        await asyncio.gather(*(asker.call(samples, "echoInt", i, types=("int",)) for i in range(3)))
        await asker.call(samples, "echoInt", 9, types=("int",), timeout=5.0)
        await asker.aclose(1.0)
        del state["asker"]

    assert sweep(java_host, scenario) > 5


# ---- killed ------------------------------------------------------------------------------------------------------


async def test_killed_between_calls(ports: Askers, own_java_host: JavaHost) -> None:
    asker = await ports(own_java_host.port)
    faults = await asker.make("aiomm.host.Faults")
    own_java_host.kill()
    await until(lambda: asker.losses, "the loss")
    assert len(asker.losses) == 1
    assert asker.port.lost is asker.losses[0]
    with pytest.raises(ServerLostError, match="count: not sent"):
        await asker.call(faults, "count")


async def test_killed_in_a_call(ports: Askers, own_java_host: JavaHost) -> None:
    at = await desk(ports, own_java_host)
    call = asyncio.ensure_future(at.a.call(at.faults, "block"))
    await at.blocked()
    own_java_host.kill()
    async with asyncio.timeout(LONG):
        with pytest.raises(ServerLostError, match=r"^block: .*whether it ran is not known"):
            await call
    assert len(at.a.losses) == 1


async def test_the_jvm_ends_itself_in_a_call(ports: Askers, own_java_host: JavaHost) -> None:
    asker = await ports(own_java_host.port)
    faults = await asker.make("aiomm.host.Faults")
    async with asyncio.timeout(LONG):
        with pytest.raises(ServerLostError, match="halt"):
            await asker.call(faults, "halt", 3, types=("int",))


async def test_killed_with_fifty_waiting_and_restarted_on_the_same_port(ports: Askers, own_java_host: JavaHost) -> None:
    at = await desk(ports, own_java_host)
    calls = [asyncio.ensure_future(at.a.call(at.faults, "block"))]
    await at.blocked()
    calls += [asyncio.ensure_future(at.a.call(at.faults, "count")) for _ in range(50)]
    given_up = asyncio.ensure_future(at.a.call(at.faults, "count"))
    await asyncio.sleep(0)
    given_up.cancel()
    own_java_host.kill()
    # at once, without a step of the loop: the port has not heard of the death when the new server listens
    own_java_host.start()
    more = [asyncio.ensure_future(at.a.call(at.faults, "count")) for _ in range(5)]
    async with asyncio.timeout(LONG):
        results = await asyncio.gather(*calls, *more, return_exceptions=True)
    assert all(isinstance(result, ServerLostError) for result in results)
    assert "not known" in str(results[0])
    assert all("not sent" in str(result) for result in results[1:])
    assert len(at.a.losses) == 1
    new = await ports(own_java_host.port)
    assert await new.call(await new.make("aiomm.host.Faults"), "counted") == 0, "nothing meant for the old one ran on the new one"


async def test_restarted_before_the_loop_heard_of_the_death(ports: Askers, own_java_host: JavaHost) -> None:
    asker = await ports(own_java_host.port)
    await asker.make("aiomm.host.Faults")
    own_java_host.restart()  # the loop stands still meanwhile
    link = asker.port._link
    assert link is not None
    assert not link.socket.poll(1000, zmq.POLLOUT), "it connected again"
    with pytest.raises(ServerLostError, match="not sent"):
        await asker.make("aiomm.host.Faults")
    new = await ports(own_java_host.port)
    assert await new.call(await new.make("aiomm.host.Probe"), "objectCount") == 1, "nothing meant for the old one ran on the new one"


async def test_killed_after_a_call_was_given_up_and_restarted(ports: Askers, own_java_host: JavaHost) -> None:
    """The call that waits for the late reply of another is not sent to the next server."""
    at = await desk(ports, own_java_host)
    with pytest.raises(BridgeTimeoutError):
        await at.a.call(at.faults, "block", timeout=0.1)
    waiting = asyncio.ensure_future(at.a.call(at.faults, "count"))
    await asyncio.sleep(0.01)
    own_java_host.restart()
    async with asyncio.timeout(LONG):
        with pytest.raises(ServerLostError, match="not sent"):
            await waiting
    new = await ports(own_java_host.port)
    assert await new.call(await new.make("aiomm.host.Faults"), "counted") == 0


# ---- replies that are none ---------------------------------------------------------------------------------------


def numbered(frames: list[bytes], value: int) -> list[bytes]:
    return [*frames[:-1], b'{"type":"primitive","value":%d}' % value]


async def test_a_reply_that_is_sent_twice_is_taken_once(ports: Askers) -> None:
    asked = 0

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        nonlocal asked
        asked += 1
        return [numbered(frames, asked)] * 3

    with zmq_server(greets(answer)) as number:
        asker = await ports(number)
        for i in range(1, 200):
            assert await asker.ask({"command": "x"}) == i
        assert not asker.losses


async def test_a_reply_of_an_older_call_is_not_taken_for_another(ports: Askers) -> None:
    """The reply to a call that was given up comes after the next call's."""
    held: list[list[bytes]] = []

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        if b"first" in frames[-1]:
            held.append(numbered(frames, 1))
            return []
        return [numbered(frames, 2), *held]

    late: list[Any] = []
    with zmq_server(greets(answer)) as number:
        asker = await ports(number)
        with pytest.raises(BridgeTimeoutError):
            await asker.ask({"command": "first"}, timeout=0.05, late=lambda reply: late.append(wire.parse_reply(reply)))
        for _ in range(3):
            assert await asker.ask({"command": "second"}, timeout=LONG) == 2
        await until(lambda: late, "the late reply")
        assert late[0] == 1


async def test_a_reply_that_is_lost_does_not_stop_the_port(ports: Askers) -> None:
    with zmq_server(greets(lambda frames: [] if b"lost" in frames[-1] else [numbered(frames, 7)])) as number:
        asker = await ports(number)
        with pytest.raises(BridgeTimeoutError):
            await asker.ask({"command": "lost"}, timeout=0.05)
        assert await asker.ask({"command": "x"}, timeout=LONG) == 7
        assert asker.port.stats.set_aside == 1


async def test_a_handshake_that_is_lost_too_does_not_stop_the_port(ports: Askers) -> None:
    asked: list[bytes] = []

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        asked.append(frames[-1])
        greeting = b'"connect"' in frames[-1]
        if b"lost" in frames[-1] or (greeting and len(asked) in (3, 4)):
            return []
        return [[*frames[:-1], GREETING]] if greeting else [numbered(frames, 7)]

    with zmq_server(answer) as number:
        asker = await ports(number, 0.3)
        with pytest.raises(BridgeTimeoutError):
            await asker.ask({"command": "lost"}, timeout=0.05)
        assert await asker.ask({"command": "x"}, timeout=LONG) == 7
        assert [b"connect" in frame for frame in asked] == [True, False, True, True, True, False]


async def test_a_server_that_answers_handshakes_with_nonsense_is_lost(ports: Askers) -> None:
    asked = 0

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        nonlocal asked
        asked += 1
        return [[*frames[:-1], GREETING]] if asked == 1 else [[b"nonsense"]] * 100

    with zmq_server(answer) as number:
        asker = await ports(number)
        with pytest.raises(ProtocolError):
            await asker.ask({"command": "x"})
        async with asyncio.timeout(LONG):
            with pytest.raises(ServerLostError, match="handshakes"):
                await asker.ask({"command": "x"})
        assert len(asker.losses) == 1


@pytest.mark.parametrize("envelope", [[], [b""], [b"wrong key", b""], [b"key alone"], [b"a", b"b", b"c", b""]], ids=str)
async def test_a_message_that_belongs_to_no_call(ports: Askers, envelope: list[bytes]) -> None:
    def answer(frames: list[bytes]) -> list[list[bytes]]:
        if b"bad" in frames[-1]:
            return [[*envelope, b'{"type":"primitive","value":666}']]
        return [numbered(frames, 1)]

    with zmq_server(greets(answer)) as number:
        asker = await ports(number)
        with pytest.raises(ProtocolError, match="belongs to no request"):
            await asker.ask({"command": "bad"}, what="bad")
        for _ in range(3):
            assert await asker.ask({"command": "x"}, timeout=LONG) == 1


async def test_after_a_reply_that_was_not_understood_the_server_must_greet_again(ports: Askers) -> None:
    seen: list[bytes] = []

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        seen.append(frames[-1])
        if b'"connect"' in frames[-1] and len(seen) < 5:
            return [[*frames[:-1], b'{"type":"none","version":"5.1.0"}']]
        return [[*frames[:-1], b"{{{"]]

    with zmq_server(answer) as number:
        asker = await ports(number)
        with pytest.raises(ProtocolError):
            await asker.ask({"command": "bad"})
        with pytest.raises(ProtocolError):
            await asker.ask({"command": "bad"})
        with pytest.raises(ServerLostError):
            await asker.ask({"command": "bad"})
        assert [b"connect" in frame for frame in seen] == [True, False, True, False, True]


async def test_a_server_that_falls_silent_after_a_bad_reply_is_lost(ports: Askers) -> None:
    def answer(frames: list[bytes]) -> list[list[bytes]]:
        nonlocal asked
        asked += 1
        return [[*frames[:-1], b'{"type":"none"}' if asked == 1 else b"{{{"]] if asked < 3 else []

    asked = 0
    with zmq_server(answer) as number:
        asker = await ports(number, 0.3)
        with pytest.raises(ProtocolError):
            await asker.ask({"command": "bad"})
        async with asyncio.timeout(LONG):
            with pytest.raises(ServerLostError, match="answers no more"):
                await asker.ask({"command": "x"})


async def test_a_reply_just_before_the_end_is_still_a_reply(ports: Askers, own_java_host: JavaHost) -> None:
    """Messages and the end of the connection come by different ways; what was sent before the end counts."""
    asker = await ports(own_java_host.port)
    samples = await asker.make("aiomm.host.Samples")
    call = asyncio.ensure_future(asker.call(samples, "manyBytes", 8_000_000, types=("int",)))
    await asyncio.sleep(0)
    link = asker.port._link
    assert link is not None
    while not link.socket.get(zmq.EVENTS) & zmq.POLLIN:  # the loop stands still
        pass
    own_java_host.kill()
    monitor = link._monitor
    assert monitor is not None
    monitor.poll(10_000)
    link._watch_peers()  # it hears of the end first
    assert asker.losses
    assert len(await call) == 8_000_000


# ---- closing -----------------------------------------------------------------------------------------------------


async def test_closing_while_calls_wait(ports: Askers, java_host: JavaHost) -> None:
    at = await desk(ports, java_host)
    before = await at.b.call(at.key, "counted")
    calls = [asyncio.ensure_future(at.a.call(at.faults, "block"))]
    await at.blocked()
    calls += [asyncio.ensure_future(at.a.call(at.faults, "count")) for _ in range(10)]
    await asyncio.sleep(0)
    async with asyncio.timeout(LONG):
        await asyncio.gather(at.a.aclose(0.1), at.a.aclose(0.1))
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, ClosedError) for result in results)
    with pytest.raises(ClosedError):
        await at.a.call(at.faults, "count")
    await at.release()
    assert await at.b.call(at.key, "counted") == before
    assert not at.a.losses


async def test_closing_waits_for_a_late_object_and_releases_it(ports: Askers, java_host: JavaHost) -> None:
    at = await desk(ports, java_host)
    objects = await at.objects()

    def release(reply: Any) -> Any:
        return wire.encode(wire.destructor(wire.parse_reply(reply).hash_code))

    call = asyncio.ensure_future(at.a.call(at.faults, "blockForObject", late=release))
    await at.blocked()
    closing = asyncio.ensure_future(at.a.aclose(LONG))
    await asyncio.sleep(0.02)
    assert not closing.done()
    with pytest.raises(ClosedError):
        await call
    await at.release()
    await closing
    assert await at.objects() == objects


async def test_closed_while_it_opens(ports: Askers) -> None:
    with tcp_server(lambda peer: None) as number:
        asker = ports.unopened(number, 0.3)
        opening = asyncio.ensure_future(asker.open())
        await asyncio.sleep(0.02)
        await asker.aclose()
        with pytest.raises((ServerNotFoundError, ClosedError)):
            await opening


async def test_a_port_that_was_never_opened(ports: Askers) -> None:
    asker = ports.unopened(1)
    with pytest.raises(ClosedError, match="not open"):
        await asker.ask({"command": "x"})
    await asker.aclose()


# ---- loops and the process ---------------------------------------------------------------------------------------


async def some_calls(number: int) -> None:
    async with askers() as ports:
        asker = await ports(number)
        samples = await asker.make("aiomm.host.Samples")
        for i in range(20):
            assert await asker.call(samples, "echoInt", i, types=("int",)) == i
        with pytest.raises(BridgeTimeoutError):
            faults = await asker.make("aiomm.host.Faults")
            await asker.call(faults, "sleepMs", 50, types=("int",), timeout=0.01)
        assert await asyncio.gather(*(asker.call(samples, "echoInt", i, types=("int",)) for i in range(20))) == list(range(20))


def test_loops_one_after_another(java_host: JavaHost) -> None:
    for _ in range(3):
        asyncio.run(some_calls(java_host.port))


def test_uvloop(java_host: JavaHost) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(some_calls(java_host.port))


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop like Windows' default one: it has no add_reader."""

    def add_reader(self, *args: Any) -> None:
        raise NotImplementedError

    def remove_reader(self, *args: Any) -> bool:
        raise NotImplementedError


def test_a_loop_without_add_reader(java_host: JavaHost) -> None:
    with asyncio.Runner(loop_factory=WithoutReaders) as runner:
        runner.run(some_calls(java_host.port))


def hold_up(seconds: float, number: int) -> None:
    """Keep this thread for so long, and until Java, which takes its connections in turn, has greeted one that came now."""
    end = time.monotonic() + seconds
    with zmq.Context() as context, context.socket(zmq.REQ) as other:
        other.linger = 0
        other.connect(f"tcp://127.0.0.1:{number}")
        other.send_multipart(hello())
        assert other.poll(LONG * 1000)
    threading.Event().wait(max(end - time.monotonic(), 0))


@pytest.fixture(params=["asyncio", "uvloop", "without readers"])
def factory(request: pytest.FixtureRequest) -> Any:
    """Makes a loop of each kind: they do not look at sockets and clocks in the same order."""
    if request.param == "uvloop":
        return pytest.importorskip("uvloop").new_event_loop
    return WithoutReaders if request.param == "without readers" else asyncio.SelectorEventLoop


def test_a_loop_that_is_held_up_while_it_connects_finds_the_server(java_host: JavaHost, factory: Any) -> None:
    """Java has shaken hands in time; a collection of garbage, for one, can keep a large program from looking for so long."""

    async def open_late() -> None:
        async with askers() as ports:
            asker = ports.unopened(java_host.port, 0.5)
            opening = asyncio.ensure_future(asker.open())
            for _ in range(3):
                await asyncio.sleep(0)
            hold_up(0.8, java_host.port)
            await opening

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(open_late())


def test_a_loop_that_is_held_up_finds_the_reply_that_came_meanwhile(java_host: JavaHost, factory: Any) -> None:
    async def ask_and_be_held_up() -> None:
        async with askers() as ports:
            asker = await ports(java_host.port)
            samples = await asker.make("aiomm.host.Samples")
            asking = asyncio.ensure_future(asker.call(samples, "echoInt", 7, types=("int",), timeout=0.3))
            await asyncio.sleep(0)
            hold_up(0.6, java_host.port)
            assert await asking == 7
            assert await asker.call(samples, "echoInt", 9, types=("int",)) == 9

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(ask_and_be_held_up())


LEFT_OPEN = """
import asyncio, sys, zmq
from aiomm.bridge.port import Port
from tests.bridge.asking import check, hello
context = zmq.Context()
port = Port(context, "127.0.0.1", int(sys.argv[1]), timeout=5, on_lost=print)
async def main():
    await port.open(hello, check)
    if "call" in sys.argv:
        from tests.bridge.asking import Asker
        asker = Asker(context, int(sys.argv[1]))
        asker.port = port
        task = asyncio.create_task(asker.call(await asker.make("aiomm.host.Faults"), "sleepMs", 60000, types=("int",)))
        await asyncio.sleep(0.05)
    if "big" in sys.argv:
        await port.request([b'{"command":"x", "y":"' + b" " * 200000 + b'"}'], timeout=5, what="big")
    if "raise" in sys.argv:
        raise SystemExit(3)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["idle", "call", "big", "raise"])
def test_the_process_ends_with_a_port_left_open(own_java_host: JavaHost, how: str) -> None:
    command = [sys.executable, "-c", LEFT_OPEN, str(own_java_host.port), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == (3 if how == "raise" else 0), done.stderr
    assert "Traceback" not in done.stderr


async def test_two_hundred_ports_leave_no_file_open(ports: Askers, java_host: JavaHost) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc to count open files")
    await (await ports(java_host.port)).aclose()
    before = len([*folder.iterdir()])
    for _ in range(20):
        made = await asyncio.gather(*(ports(java_host.port) for _ in range(10)))
        for asker in made:
            await asker.aclose()
    await until(lambda: len([*folder.iterdir()]) <= before, f"{before} open files")  # ZeroMQ closes them in its own thread


async def test_an_idle_port_does_nothing(ports: Askers, java_host: JavaHost) -> None:
    asker = await ports(java_host.port)
    await asker.make("aiomm.host.Faults")
    loop: Any = asyncio.get_running_loop()
    seen: list[Any] = []
    run_once, loop._run_once = loop._run_once, lambda: (seen.append(1), run_once())
    try:
        await asyncio.sleep(0.5)
    finally:
        loop._run_once = run_once
    assert len(seen) <= 3, "the loop woke for nothing"
