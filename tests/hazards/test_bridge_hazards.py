"""Defects of Micro-Manager's server and of the clients before this one (wire-protocol.md, section 9): survived, or not had."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zmq

import aiomm
from aiomm import errors
from tests.jvm.host import free_port
from tests.support.bridging import SLACK, SOON, VANISHING, Eye, looking, right_answers, unique
from tests.support.steps_of_a_loop import SteppedLoop, run_stepped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost

FAULTS = "aiomm.host.Faults"
SAMPLES = "aiomm.host.Samples"


@pytest.fixture
async def eye(java_host: JavaHost) -> AsyncIterator[Eye]:
    async with looking(java_host.port) as eye, asyncio.timeout(50):
        yield eye


@pytest.fixture
async def bridge(eye: Eye) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(port=eye.bridge.port, timeout=5000) as bridge:
        yield bridge


# ---- the server --------------------------------------------------------------------------------------------------


async def test_9_1_text_beside_binary_data(bridge: aiomm.Bridge) -> None:
    """An '@' in a text beside binary data ends the server's thread, and every client of it hangs. It arrives here."""
    samples = await bridge.construct_java_object(SAMPLES)
    for text in ("me@lab.org", "SLM@left", "@", "[B@1234abcd", "@1_0", "@-5_4", "x@y@z", "plain"):
        assert await samples.tag_bytes(text, b"12345") == f"{text} 5"
        assert await samples.echo_string(text) == text
    core = await bridge.get_core()
    with pytest.raises(errors.AiommError):
        await core.setSLMImage("SLM@left", b"1234")
    await right_answers(bridge, samples=samples)


HARMFUL: list[Any] = [
    "\ud800",
    "\x00",
    float("nan"),
    float("inf"),
    object(),
    {"deep": None},
    [[[]]],
    2**70,
    "x" * 1_000_000,
    "\u2028 中 😀",
    {"a": {1: 2}},
    b"",
    np.zeros((2, 2)),
    np.array(["text"]),
    np.float64("nan"),
    Ellipsis,
]


@pytest.mark.filterwarnings("ignore::aiomm.errors.LostTextWarning")  # what a method gives back is text beyond Latin-1, too
async def test_9_1_no_argument_ends_the_server(bridge: aiomm.Bridge) -> None:
    """What its parser dies of is never sent: an error here, or its own value back; and the next call has its answer."""
    samples = await bridge.construct_java_object(SAMPLES)
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    circle: list[Any] = []
    circle.append(circle)
    for value in [*HARMFUL, deep, circle]:
        for method in ("echo_object", "echo_string", "echo_double", "echo_ints", "size_of", "show_map", "show_json", "show_animal"):
            with contextlib.suppress(errors.BridgeError):
                await asyncio.wait_for(getattr(samples, method)(value), SLACK)
        number = unique()
        assert await asyncio.wait_for(samples.echo_int(number), SLACK) == number
    for name in ("no.such.Class", "", "aiomm.host.Samples.", "java/lang/Math", "中", "a@b", "[I", "int", "aiomm.host.Hidden$1"):
        with pytest.raises((errors.BridgeError, ValueError)):
            await bridge.construct_java_object(name)
    await right_answers(bridge, samples=samples)


def end_command_thread(port: int) -> None:
    """Send one malformed frame, as no client should: the server answers nobody on that port any more, and says nothing."""
    context = zmq.Context()
    try:
        with context.socket(zmq.DEALER) as raw:
            raw.connect(f"tcp://127.0.0.1:{port}")
            raw.send_multipart([b"", b'{"command": '])
            assert not raw.poll(300)
    finally:
        context.destroy(linger=0)


async def test_9_1_a_server_whose_thread_has_ended(own_java_host: JavaHost) -> None:
    """Another client killed it: what is bounded ends in time, other ports answer, the bridge closes."""
    port = own_java_host.port
    bridge = await aiomm.Bridge.open(port=port, timeout=300, call_timeout=400)
    samples = await bridge.construct_java_object(SAMPLES)
    apart = await bridge.construct_java_object(SAMPLES, new_socket=True)
    end_command_thread(port)
    with pytest.raises(errors.BridgeTimeoutError):
        await asyncio.wait_for(samples.echo_int(1), SLACK)
    with pytest.raises(errors.BridgeTimeoutError):
        await asyncio.wait_for(bridge.get_java_class("java.lang.Math"), SLACK)
    number = unique()
    assert await apart.echo_int(number) == number
    with pytest.raises(errors.ServerNotFoundError, match=str(port)):
        await aiomm.Bridge.open(port=port, timeout=300)
    start = time.monotonic()
    await bridge.aclose()
    assert time.monotonic() - start < 4 * 0.3 + SLACK


async def test_9_2_an_error_is_an_exception(bridge: aiomm.Bridge) -> None:
    """A thrown java.lang.Error comes like a result. It is raised, and not kept in Java."""
    faults = await bridge.construct_java_object(FAULTS)
    with pytest.raises(errors.JavaException) as caught:
        await faults.error("broken")
    assert caught.value.java_class == "java.lang.AssertionError"
    assert caught.value.java_message == "broken"
    with pytest.raises(errors.JavaException, match="StackOverflowError"):
        await faults.overflow_stack()


async def test_9_3_a_callback_is_taken_back_before_java_may_collect_it(bridge: aiomm.Bridge, eye: Eye) -> None:
    """CMMCore keeps a bare pointer: a callback that is collected while registered ends the JVM at the core's next event."""
    control = await eye.bridge.construct_java_object("aiomm.host.Control")
    await eye.note()
    listeners = await eye.probe.listeners()
    callbacks = (await eye.probe.object_classes()).count("RemoteCoreCallback")  # what tests before may have left
    for way in ("leave", "break", "cancel"):
        async with bridge.core_events() as changes:
            assert await eye.probe.listeners() == listeners + 1
            await control.tell_properties_changed()
            assert (await asyncio.wait_for(anext(changes), SLACK)).name == "propertiesChanged"
            if way == "break":
                await control.tell_properties_changed()
                async for _ in changes:
                    break
            elif way == "cancel":
                waiting = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0.01)
                waiting.cancel()
                await asyncio.wait([waiting])
        assert await eye.probe.listeners() == listeners
        await eye.probe.gc()
        await control.tell_properties_changed()
    assert (await eye.probe.object_classes()).count("RemoteCoreCallback") == callbacks
    core = await bridge.get_core()
    assert await core.getExposure() > 0


async def test_9_3_a_killed_client_leaves_its_callback_alive(eye: Eye, java_host: JavaHost) -> None:
    """Nothing can take it back: so nothing may release it either."""
    code = (
        "import asyncio, os, aiomm\n"
        "async def main():\n"
        f"    bridge = await aiomm.Bridge.open(port={java_host.port})\n"
        "    async with bridge.core_events():\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, check=False, timeout=30)
    assert done.returncode == -9, done.stderr
    await eye.probe.gc()
    control = await eye.bridge.construct_java_object("aiomm.host.Control")
    await control.tell_properties_changed()
    assert "RemoteCoreCallback" in await eye.probe.object_classes()
    await asyncio.to_thread(java_host.restart)


def test_9_6_java_spins_in_a_sequence_and_we_do_not(java_host: JavaHost, tmp_path: Path) -> None:
    """Java's engine asks the core for the next image without a pause, which no client can help: nothing of that is passed on here."""

    async def main(loop: SteppedLoop) -> None:
        async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
            core: Any = await bridge.get_core()
            control = await bridge.construct_java_object("aiomm.host.Control")
            try:
                await control.sequenceable(10)
                await core.set_exposure(700)
                async with aiomm.Acquisition(tmp_path, "sequence", bridge=bridge, show_display=False) as acq:
                    asked = await control.calls("popNextImageMD")
                    submission = acq.acquire([{"axes": {"time": i}} for i in range(2)])
                    loop.begin({})
                    worked = time.process_time()
                    assert len(await submission) == 2
                    worked = time.process_time() - worked
                    steps = loop.end()
                    asked = await control.calls("popNextImageMD") - asked
                assert asked >= 100, "else there is nothing to see"
                assert steps <= 200
                assert worked < 0.5
            finally:
                await control.restore()

    run_stepped(main)


async def test_9_7_what_a_vanished_client_held(own_java_host: JavaHost) -> None:
    """Java knows no connections: a killed client's objects and ports stay, and hinder nobody. One that fails releases its own first."""

    async def gone(how: str) -> int:
        command = [sys.executable, "-c", VANISHING, str(own_java_host.port), how]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, timeout=30)
        return done.returncode

    async with looking(own_java_host.port) as eye:
        ports = (await eye.probe.open_ports()).split()
        assert await gone("fails") == 1
        await eye.back("a client that failed")
        assert (await eye.probe.open_ports()).split() == ports
        assert await gone("killed") == -9
        assert await eye.probe.object_count() == eye.objects + 23, "Java's own; if it stays no more, this page is old"
        assert len((await eye.probe.open_ports()).split()) == len(ports) + 3
        await eye.note()
        async with aiomm.Bridge(port=own_java_host.port, timeout=5000) as bridge:
            await right_answers(bridge)
            await right_answers(bridge, samples=await bridge.construct_java_object(SAMPLES, new_socket=True))
        await eye.back("the next client")
        assert len((await eye.probe.open_ports()).split()) == len(ports) + 3


# ---- the clients before -------------------------------------------------------------------------------------------


async def test_9_8_an_interrupted_call_shifts_no_reply(bridge: aiomm.Bridge) -> None:
    """After a KeyboardInterrupt in a call of pyjavaz, get_exposure() was 'Camera', for ever."""
    core: Any = await bridge.get_core()
    await core.setExposure(12.5)
    faults = await bridge.construct_java_object(FAULTS)
    for _ in range(5):
        calls = [asyncio.ensure_future(call) for call in (faults.sleep_ms(30), core.getCameraDevice(), core.getExposure())]
        await asyncio.sleep(0.01)
        for call in calls[:2]:
            call.cancel()
        assert await calls[2] == 12.5
        assert await core.getCameraDevice() == "Camera"
        assert await core.getExposure() == 12.5


async def test_9_9_a_killed_server_ends_the_call(own_java_host: JavaHost) -> None:
    """Pyjavaz hangs for ever, also when the server is there again."""
    async with aiomm.Bridge(port=own_java_host.port, timeout=5000) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        call = asyncio.ensure_future(faults.sleep_ms(3_600_000))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own_java_host.restart)
        with pytest.raises(errors.ServerLostError):
            await asyncio.wait_for(call, SOON + SLACK)
    async with aiomm.Bridge(port=own_java_host.port, timeout=5000) as bridge:
        await right_answers(bridge)


async def test_9_10_the_collector_inside_a_call(bridge: aiomm.Bridge, eye: Eye) -> None:
    """``__del__`` made a call under a lock that the interrupted call held: ten lines deadlocked with the default thresholds."""
    samples = await bridge.construct_java_object(SAMPLES)
    await eye.note()
    for _ in range(300):
        words = await samples.list()
        words_and_itself: list[Any] = [words]
        words_and_itself.append(words_and_itself)
        assert await words.size() == 3
    del words, words_and_itself
    await eye.back("9.10")


async def test_9_11_nothing_is_registered_for_the_exit(bridge: aiomm.Bridge) -> None:
    """2000 objects registered 2000 functions."""
    samples = await bridge.construct_java_object(SAMPLES)
    callbacks, threads = atexit._ncallbacks(), threading.active_count()
    kept = [await samples.animal() for _ in range(200)]
    assert atexit._ncallbacks() == callbacks and threading.active_count() <= threads
    kept.clear()


async def test_9_12_each_class_has_its_own_methods(bridge: aiomm.Bridge) -> None:
    """The second class that pyjavaz gave had the methods of the first: all are of class java.lang.Class."""
    maths = await bridge.get_java_class("java.lang.Math")
    numbers = await bridge.get_java_class("java.lang.Integer")
    mine = await bridge.get_java_class(SAMPLES)
    assert await maths.hypot(3.0, 4.0) == 5.0
    assert await numbers.parse_int("77") == 77
    assert await mine.twice(21) == 42
    with pytest.raises(AttributeError):
        _ = numbers.hypot
    with pytest.raises(AttributeError):
        _ = maths.parse_int


async def test_9_13_values_keep_their_type_and_their_bytes(bridge: aiomm.Bridge) -> None:
    """Arrays were swapped, doubles[] were None, int[] wrapped, numpy scalars and lists refused, 10.0 was 10."""
    samples = await bridge.construct_java_object(SAMPLES)
    box = await bridge.construct_java_object("java.awt.geom.AffineTransform", args=[np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
    assert [await box.getScaleX(), await box.getShearY(), await box.getTranslateX(), await box.getTranslateY()] == [1.0, 2.0, 5.0, 6.0]
    for name, dtype in (("shorts", "i2"), ("ints", "i4"), ("longs", "i8"), ("floats", "f4"), ("doubles", "f8"), ("bytes", "i1")):
        sent = np.array([1, -2, 127, 0, -128], dtype)
        back = await getattr(samples, f"echo_{name}")(sent)
        assert back.dtype == np.dtype(dtype)
        assert back.tolist() == sent.tolist()
    assert (await samples.ints()).tolist() == [1, -1, 2**31 - 1, -(2**31)]
    assert (await samples.doubles()).dtype == np.float64
    assert await samples.echo_int(np.int64(5)) == 5
    assert (await samples.echo_doubles([1, 2.5])).tolist() == [1.0, 2.5]
    assert (await samples.echo_ints((1, 2))).tolist() == [1, 2]
    for value in (await samples.ten(), await samples.echo_double(10), await samples.echo_float(3.0)):
        assert type(value) is float


def test_9_14_nothing_spins(java_host: JavaHost) -> None:
    """Connecting, and waiting for a reply, were loops without a pause. Here the event loop takes a few steps, and no thread works."""

    async def main(loop: SteppedLoop) -> None:
        async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
            faults = await bridge.construct_java_object(FAULTS)
            await faults.sleep_ms(1)
            loop.begin({})
            worked = time.process_time()
            await faults.sleep_ms(1000)
            worked = time.process_time() - worked
            assert loop.end() <= 10
            assert worked < 0.5
            async with bridge.core_events() as changes:
                waiting = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0.2)
                loop.begin({})
                worked = time.process_time()
                await asyncio.sleep(1)
                worked = time.process_time() - worked
                assert loop.end() <= 20
                assert worked < 0.5
                waiting.cancel()
                await asyncio.wait([waiting])
        loop.begin({})
        with pytest.raises(errors.ServerNotFoundError):
            await aiomm.Bridge.open(port=free_port(), timeout=1000)
        assert loop.end() < 250

    run_stepped(main)


async def test_9_18_another_port_than_the_usual_one(own_java_host: JavaHost) -> None:
    """Core callbacks and new ports used 4827 inside: nothing knocks there."""
    knocks: list[Any] = []
    with contextlib.ExitStack() as stack:
        try:
            usual = stack.enter_context(socket.create_server(("127.0.0.1", 4827)))
        except OSError:
            pytest.skip("somebody uses port 4827")
        usual.setblocking(False)
        async with aiomm.Bridge(port=own_java_host.port, timeout=5000) as bridge:
            control = await bridge.construct_java_object("aiomm.host.Control", new_socket=True)
            async with bridge.core_events() as changes:
                await control.tell_properties_changed()
                assert (await asyncio.wait_for(anext(changes), SLACK)).name == "propertiesChanged"
            await right_answers(bridge)
            core: Any = await bridge.get_core(new_socket=True)
            await core.getExposure()
        with contextlib.suppress(BlockingIOError):
            knocks.append(usual.accept())
    assert not knocks


def test_9_19_no_server_is_one_clear_error() -> None:
    """It was 'Bridge has been closed', and a traceback of a thread that could not join itself."""
    port = free_port()
    code = f"import asyncio, aiomm\nasync def main():\n    async with aiomm.Bridge(port={port}): pass\nasyncio.run(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("aiomm.errors.ServerNotFoundError: ")
    assert f"127.0.0.1:{port}" in last


# ---- many at once -------------------------------------------------------------------------------------------------


async def test_fifty_tasks_are_served_in_turn(bridge: aiomm.Bridge) -> None:
    samples = await bridge.construct_java_object(SAMPLES)
    answered = dict.fromkeys(range(50), 0)
    spread = 0

    async def ask(task: int) -> None:
        nonlocal spread
        for _ in range(20):
            number = unique()
            assert await samples.echo_int(number) == number
            answered[task] += 1
            going = [count for count in answered.values() if count < 20]
            spread = max(spread, max(going, default=0) - min(going, default=0))

    await asyncio.gather(*(ask(task) for task in range(50)))
    assert spread <= 2, "a task was served more often than others"


async def test_two_bridges_are_two(eye: Eye) -> None:
    """Each has its own objects and its own end; one's blocked call and one's closing are nothing to the other's other ports."""
    async with aiomm.Bridge(port=eye.bridge.port, timeout=5000) as one, aiomm.Bridge(port=eye.bridge.port) as two:
        mine, theirs = await one.construct_java_object(SAMPLES), await two.construct_java_object(SAMPLES)
        assert await mine.show_object(theirs) == await theirs.show_object(theirs)
        await asyncio.gather(right_answers(one, samples=mine), right_answers(two, samples=theirs))
        await one.aclose()
        with pytest.raises(errors.ClosedError):
            await mine.echo_int(1)
        await right_answers(two, samples=theirs)


async def test_a_blocking_call_has_its_own_port(bridge: aiomm.Bridge, eye: Eye) -> None:
    """A call that takes long stops its own port alone; the order is told by what is done, not by the clock."""
    slow = await bridge.construct_java_object(FAULTS, new_socket=True)
    slower = await bridge.construct_java_object(FAULTS, new_socket=True)
    calls = [asyncio.ensure_future(slow.block()), asyncio.ensure_future(slower.block()), asyncio.ensure_future(slow.sleep_ms(1))]
    await eye.until_blocked(2)
    await right_answers(bridge)
    assert not any(call.done() for call in calls)
    await eye.faults.release()
    assert len(await asyncio.wait_for(asyncio.gather(*calls), SLACK)) == 3


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_one_loop_after_the_other(java_host: JavaHost, kind: str) -> None:
    """A bridge in each; nothing of one loop is left for the next."""
    factory = pytest.importorskip("uvloop").new_event_loop if kind == "uvloop" else asyncio.new_event_loop
    left: list[Any] = []

    async def use() -> None:
        if left:
            with pytest.raises((RuntimeError, errors.ClosedError)):
                await left[-1].echo_int(1)
        async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
            samples = await bridge.construct_java_object(SAMPLES)
            await right_answers(bridge, samples=samples)
            faults = await bridge.construct_java_object(FAULTS, new_socket=True)
            call = asyncio.ensure_future(faults.sleep_ms(200))
            await asyncio.sleep(0.02)
            call.cancel()
            await right_answers(bridge, samples=samples)
            left.append(samples)

    for _ in range(3):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(use())
    left.clear()
    gc.collect()
