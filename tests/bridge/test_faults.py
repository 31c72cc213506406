"""The server is not there, does not answer, or dies: every wait ends with its error, and nothing meant for one server runs on another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.bridge.fake_server import greets, zmq_server
from tests.jvm.host import free_port
from tests.support.bridging import SLACK, SOON, Held, looking, quiet_loop, right_answers, unique

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.jvm.host import JavaHost

FAULTS = "aiomm.host.Faults"
SAMPLES = "aiomm.host.Samples"


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No task, descriptor or forgotten error stays, whatever the fault was."""
    held = Held()
    with quiet_loop():
        yield
        await held.nothing_more()


# ---- nothing answers ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def accepting(answer: bytes = b"") -> Iterator[int]:
    """A server that accepts, and says only this."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    taken.append(client)
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in taken:
                client.close()


async def cannot_open(port: int) -> errors.ServerNotFoundError:
    start = time.monotonic()
    with pytest.raises(errors.ServerNotFoundError, match=str(port)) as caught:
        await aiomm.Bridge.open(port=port, timeout=300)
    assert time.monotonic() - start < 0.3 + SLACK
    return caught.value


async def test_no_server() -> None:
    error = await cannot_open(free_port())
    assert "refused" in str(error)
    assert "127.0.0.1" in str(error)


async def test_a_server_that_accepts_and_never_answers() -> None:
    with accepting() as port:
        await cannot_open(port)


async def test_a_server_of_another_kind() -> None:
    with accepting(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" * 20) as port:
        await cannot_open(port)


async def test_a_closed_attempt_can_be_closed_again_and_says_that_it_is() -> None:
    bridge = aiomm.Bridge(port=free_port(), timeout=100)
    with pytest.raises(errors.ServerNotFoundError):
        async with bridge:
            pass
    await bridge.aclose()
    with pytest.raises(errors.ClosedError):
        await bridge.construct_java_object("java.util.ArrayList")


async def test_a_host_that_has_no_address() -> None:
    with pytest.raises(errors.BridgeError, match=r"no\.such\.host\.invalid"):
        await aiomm.Bridge.open(ip_address="no.such.host.invalid", timeout=300)


# ---- the server stops answering ----------------------------------------------------------------------------------


@contextlib.contextmanager
def suspended(host: JavaHost) -> Iterator[None]:
    os.kill(host.pid, signal.SIGSTOP)
    for thread in Path(f"/proc/{host.pid}/task").iterdir():  # each stops when it comes to it
        with contextlib.suppress(OSError):
            while (thread / "stat").read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)
    try:
        yield
    finally:
        if host.running:
            os.kill(host.pid, signal.SIGCONT)


async def test_a_suspended_server_answers_nobody(own_java_host: JavaHost) -> None:
    """The system accepts connections for it. Later it goes on, and so does a bridge that was open before."""
    async with aiomm.Bridge(port=own_java_host.port, timeout=1000, call_timeout=400) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        fields = await bridge.construct_java_object("aiomm.host.Fields")
        with suspended(own_java_host):
            await cannot_open(own_java_host.port)
            for use in (
                lambda: samples.echo_int(1),
                lambda: bridge.get_java_class("java.lang.Math"),
                lambda: fields.get_field("anInt"),
                lambda: fields.set_field("anInt", 1),
                samples.list,
            ):
                start = time.monotonic()
                with pytest.raises(errors.BridgeTimeoutError):
                    await asyncio.wait_for(use(), 0.7 + SLACK)
                assert time.monotonic() - start < 0.7 + SLACK
        await right_answers(bridge, samples=samples)


async def test_many_control_messages_to_a_suspended_server(own_java_host: JavaHost) -> None:
    """Each has the bridge's timeout, not the first alone."""
    async with aiomm.Bridge(port=own_java_host.port, timeout=300) as bridge:
        fields = await bridge.construct_java_object("aiomm.host.Fields")
        with suspended(own_java_host):
            reads = [asyncio.ensure_future(fields.get_field("anInt")) for _ in range(10)]
            _, left = await asyncio.wait(reads, timeout=10 * 0.3 + SLACK)
            for read in left:
                read.cancel()
            ends = await asyncio.gather(*reads, return_exceptions=True)
            assert all(isinstance(end, errors.BridgeTimeoutError) for end in ends), ends
        assert await fields.get_field("anInt") == -70000


async def test_an_image_may_take_longer_than_a_control_message(own_java_host: JavaHost) -> None:
    async with aiomm.Bridge(port=own_java_host.port, timeout=300) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        image = await samples.tagged()
        with suspended(own_java_host):
            reading = asyncio.ensure_future(image.get_field("pix"))
            await asyncio.sleep(0.9)  # as a large image on a busy computer
        assert (await reading).tolist() == [1, 65535, 3, 4]
    async with aiomm.Bridge(port=own_java_host.port, call_timeout=300) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        image = await samples.tagged()
        with suspended(own_java_host), pytest.raises(errors.BridgeTimeoutError, match=r"field tags: no reply .* within 0\.3 s"):
            await image.tags


async def test_a_bridge_to_a_suspended_server_closes_within_its_timeout(own_java_host: JavaHost) -> None:
    bridge = await aiomm.Bridge.open(port=own_java_host.port, timeout=1000)
    kept = [await bridge.construct_java_object(SAMPLES, new_socket=i > 1) for i in range(20)]
    with suspended(own_java_host):
        calls = [asyncio.ensure_future(samples.echo_int(1)) for samples in kept]
        await asyncio.sleep(0)
        start = time.monotonic()
        await bridge.aclose()
        took = time.monotonic() - start
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, errors.ClosedError) for end in ends), ends
    assert took < 1.0 * 2 + SLACK, f"{took:.2f} s for nineteen ports: each one had its own timeout"


# ---- the server dies ---------------------------------------------------------------------------------------------


async def killed(host: JavaHost) -> float:
    """Kill it; gives the moment."""
    moment = time.monotonic()
    os.kill(host.pid, signal.SIGKILL)
    await asyncio.to_thread(host.kill)
    return moment


async def lost(calls: list[asyncio.Future[Any]], moment: float) -> None:
    """Each of these calls ends soon, as lost."""
    ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), SOON + SLACK)
    took = time.monotonic() - moment
    for end in ends:
        assert isinstance(end, errors.ServerLostError), repr(end)
    print(f"{len(calls)} calls: lost after {took:.3f} s")


async def only_its_own(host: JavaHost) -> None:
    """Nothing but what comes over a new bridge has run on this server."""
    async with looking(host.port) as eye:
        assert await eye.faults.counted() == 0
        scope = await eye.bridge.construct_java_object("aiomm.host.Control")
        assert await scope.journal() == ""
        assert sorted((await eye.probe.object_classes()).split()) == ["aiomm.host.Control", FAULTS, "aiomm.host.Probe"]
        await right_answers(eye.bridge)
        await asyncio.sleep(0.3)  # whatever were queued somewhere would arrive
        assert await eye.faults.counted() == 0
        assert await scope.journal() == ""


async def unusable(bridge: aiomm.Bridge, *objects: Any) -> None:
    """Every use says at once that the server is gone."""
    uses = [
        bridge.construct_java_object(SAMPLES),
        bridge.construct_java_object(SAMPLES, new_socket=True),
        bridge.get_java_class("java.lang.Math"),
        bridge.get_core(),
        *(one.count() for one in objects),
    ]
    for use in uses:
        start = time.monotonic()
        with pytest.raises(errors.ServerLostError):
            await use
        assert time.monotonic() - start < SOON
    assert bridge.closed
    assert "its server is gone" in repr(bridge)
    start = time.monotonic()
    await bridge.aclose()
    assert time.monotonic() - start < SOON
    with pytest.raises((errors.ClosedError, errors.ServerLostError)):
        await bridge.get_core()


async def test_killed_in_the_middle_of_a_call(own_java_host: JavaHost) -> None:
    async with aiomm.Bridge(port=own_java_host.port) as bridge, looking(own_java_host.port) as eye:
        faults = await bridge.construct_java_object(FAULTS)
        call = asyncio.ensure_future(faults.block())
        await eye.until_blocked()
        moment = await killed(own_java_host)
        await lost([call], moment)
        await unusable(bridge, faults)
        own_java_host.start()
        await only_its_own(own_java_host)


async def test_it_ends_itself_in_a_call(own_java_host: JavaHost) -> None:
    async with aiomm.Bridge(port=own_java_host.port) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        call = asyncio.ensure_future(faults.halt(3))
        await lost([call], time.monotonic())
        await unusable(bridge, faults)


@pytest.mark.parametrize("restart", ["noticed", "unnoticed"])
async def test_killed_with_fifty_calls_waiting(own_java_host: JavaHost, restart: str) -> None:
    """Unnoticed: the loop is blocked meanwhile, and finds another server at the port."""
    async with aiomm.Bridge(port=own_java_host.port) as bridge, looking(own_java_host.port) as eye:
        faults = await bridge.construct_java_object(FAULTS)
        apart = await bridge.construct_java_object(FAULTS, new_socket=True)
        core = await bridge.get_core()
        calls = [asyncio.ensure_future(faults.block()), asyncio.ensure_future(apart.block())]
        await eye.until_blocked(2)
        calls += [asyncio.ensure_future(faults.count()) for _ in range(30)]
        calls += [asyncio.ensure_future(apart.count()) for _ in range(10)]
        calls += [asyncio.ensure_future(core.setExposure(float(i + 1))) for i in range(10)]
        await asyncio.sleep(0)
        if restart == "noticed":
            moment = await killed(own_java_host)
            await lost(calls, moment)
            own_java_host.start()
        else:
            own_java_host.restart()
            calls += [asyncio.ensure_future(one.count()) for one in (faults, apart) for _ in range(5)]
            await lost(calls, time.monotonic())
        await unusable(bridge, faults, apart)
        del faults, apart, core
        await only_its_own(own_java_host)


@pytest.mark.parametrize("restart", ["noticed", "unnoticed"])
async def test_killed_between_calls(own_java_host: JavaHost, restart: str) -> None:
    async with aiomm.Bridge(port=own_java_host.port) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        core = await bridge.get_core(new_socket=True)
        assert await faults.count() == 1
        if restart == "noticed":
            await killed(own_java_host)
            own_java_host.start()
        else:
            own_java_host.restart()
        uses = [faults.count(), core.setExposure(7.0), faults.count(), core.setExposure(8.0), bridge.construct_java_object(FAULTS)]
        await lost([asyncio.ensure_future(use) for use in uses], time.monotonic())
        await unusable(bridge, faults)
        del faults, core
        await only_its_own(own_java_host)


@pytest.mark.parametrize("when", ["cancelled", "timed out"])
async def test_killed_and_restarted_while_a_call_is_set_aside(own_java_host: JavaHost, when: str) -> None:
    """The place where a client would connect anew: what waits behind an abandoned call never goes to the next server."""
    async with aiomm.Bridge(port=own_java_host.port, call_timeout=300 if when == "timed out" else None) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        first = asyncio.ensure_future(faults.block())
        await asyncio.sleep(0.05)
        if when == "cancelled":
            first.cancel()
        with pytest.raises(errors.BridgeTimeoutError if when == "timed out" else asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(faults.count())
        await asyncio.sleep(0.05)
        own_java_host.restart()
        await lost([second, asyncio.ensure_future(faults.count())], time.monotonic())
        await unusable(bridge, faults)
        await only_its_own(own_java_host)


async def test_killed_while_a_bridge_opens_and_while_it_closes(own_java_host: JavaHost) -> None:
    bridge = await aiomm.Bridge.open(port=own_java_host.port, timeout=1000)
    kept = [await bridge.construct_java_object(SAMPLES, new_socket=i < 3) for i in range(50)]
    with suspended(own_java_host):
        opening = asyncio.ensure_future(aiomm.Bridge.open(port=own_java_host.port, timeout=2000))
        closing = asyncio.ensure_future(bridge.aclose())
        await asyncio.sleep(0.05)
        assert not opening.done()
        assert not closing.done()
        moment = await killed(own_java_host)
    with pytest.raises(errors.ServerNotFoundError):
        await opening
    await closing
    assert time.monotonic() - moment < 2 + SLACK
    own_java_host.start()
    del kept
    await only_its_own(own_java_host)


async def test_calls_at_every_moment_of_a_death_end(own_java_host: JavaHost) -> None:
    """Twenty tasks call without a pause, on three ports, while it dies: each gets right answers and then the loss; none hangs."""
    async with aiomm.Bridge(port=own_java_host.port) as bridge:
        each = [await bridge.construct_java_object(SAMPLES, new_socket=i > 0) for i in range(3)]

        async def call(samples: Any) -> int:
            answers = 0
            while True:
                number = unique()
                assert await samples.echo_int(number) == number
                answers += 1

        calls: list[Any] = [asyncio.ensure_future(call(each[i % 3])) for i in range(20)]
        await asyncio.sleep(0.3)
        moment = await killed(own_java_host)
        await lost(calls, moment)
        own_java_host.start()
        await only_its_own(own_java_host)
        await unusable(bridge)


async def test_a_field_and_an_iteration_and_a_release_end_too(own_java_host: JavaHost) -> None:
    async with aiomm.Bridge(port=own_java_host.port) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        fields = await bridge.construct_java_object("aiomm.host.Fields")
        words = await samples.list()
        walk = aiter(words)
        assert await anext(walk) == "a"
        moment = await killed(own_java_host)
        uses = [fields.get_field("anInt"), fields.set_field("anInt", 1), anext(walk), samples.noResult(), samples.first(["x"])]
        await lost([asyncio.ensure_future(use) for use in uses], moment)
        with contextlib.suppress(errors.ServerLostError):
            await words.aclose()
        own_java_host.start()
        await only_its_own(own_java_host)


_MET = "org.micromanager.pyjavaz.ZMQServer.getObjectKnownToServer(ZMQServer.java:215)"
_BELOW = (
    "org.micromanager.pyjavaz.ZMQServer.runMethod(ZMQServer.java:383)",
    "org.micromanager.pyjavaz.ZMQServer.lambda$initialize$2(ZMQServer.java:117)",
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:1136)",
    "java.base/java.lang.Thread.run(Thread.java:840)",
)


def _null_pointer(*frames: str) -> bytes:
    text = "java.lang.NullPointerException" + "".join(f"\n\tat {frame}" for frame in frames) + "\n"
    return json.dumps({"type": "exception", "value": text}).encode()


HALF_MADE = _null_pointer(_MET, "org.micromanager.pyjavaz.ZMQServer.getArgumentSignatures(ZMQServer.java:242)", *_BELOW)
AFTER_ALL = _null_pointer(_MET, "java.base/java.lang.reflect.Method.invoke(Method.java:569)", *_BELOW)
CUT_OFF = _null_pointer(_MET)


async def test_a_call_that_met_a_port_just_being_made_is_made_again() -> None:
    """The server looks for arguments at all its ports, also at those that another thread is making; it has run nothing then."""
    replies = [HALF_MADE, b'{"type":"primitive","value":7}']

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        return [[*frames[:-1], replies.pop(0)]]

    with zmq_server(greets(answer)) as number:
        async with aiomm.Bridge(port=number) as bridge:
            assert await bridge._session.main.ask({"command": "get-class"}, "asking") == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("thrown", [AFTER_ALL, CUT_OFF])
async def test_a_call_that_may_have_run_is_not_made_again(thrown: bytes) -> None:
    asked = 0

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        nonlocal asked
        asked += 1
        return [[*frames[:-1], thrown]]

    with zmq_server(greets(answer)) as number:
        async with aiomm.Bridge(port=number) as bridge:
            with pytest.raises(errors.JavaException, match="NullPointerException"):
                await bridge._session.main.ask({"command": "get-class"}, "asking")  # type: ignore[union-attr]
            assert asked == 1


async def test_a_port_that_is_never_made_is_an_error() -> None:
    """It is not asked for ever."""
    with zmq_server(greets(lambda frames: [[*frames[:-1], HALF_MADE]])) as number:
        async with aiomm.Bridge(port=number) as bridge, asyncio.timeout(30):
            with pytest.raises(errors.JavaException, match="NullPointerException"):
                await bridge._session.main.ask({"command": "get-class"}, "asking")  # type: ignore[union-attr]
