"""Proxies go without a call in ``__del__`` or at exit, and a process ends at once, whatever it leaves open."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.campaigns.kill9_acquisition import Ear
from tests.support.bridging import SLACK, Eye, looking, quiet_loop, right_answers, unique

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost

ROOT = Path(__file__).parents[2]
SAMPLES = "aiomm.host.Samples"


@pytest.fixture
async def eye(java_host: JavaHost) -> AsyncIterator[Eye]:
    async with looking(java_host.port) as eye:
        with quiet_loop():
            yield eye


# ---- proxies -----------------------------------------------------------------------------------------------------


async def made(samples: Any, count: int) -> list[Any]:
    """Proxies, many of them asked for at once."""
    proxies: list[Any] = []
    for _ in range(0, count, 100):
        proxies += await asyncio.gather(*(samples.animal() for _ in range(min(100, count - len(proxies)))))
    return proxies


def sent(bridge: aiomm.Bridge) -> int:
    """How many messages a bridge has sent so far."""
    assert bridge._session is not None
    return sum(line.port.stats.calls for line in bridge._session.lines)


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.campaign)])
async def test_thousands_of_proxies(eye: Eye, count: int) -> None:
    """Dropped one by one, all at once, in cycles, and in other threads; the server holds as much as before."""
    async with aiomm.Bridge(port=eye.bridge.port, timeout=5000) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        await samples.animal()
        await eye.note()
        callbacks = atexit._ncallbacks()
        for _ in range(count // 10):
            assert (await samples.animal()) is not None
        proxies = await made(samples, count // 2)
        assert await eye.probe.object_count() >= eye.objects + count // 2
        before = sent(bridge)
        proxies.clear()
        assert sent(bridge) == before, "dropping a proxy sent something"
        knots = [[proxy] for proxy in await made(samples, count // 5)]
        for knot in knots:
            knot.append(knot)
        elsewhere = await made(samples, count // 5)
        del knot, knots

        def drop() -> None:
            while elsewhere:
                elsewhere.pop()
            gc.collect()

        thread = threading.Thread(target=drop)
        thread.start()
        number = unique()
        assert await samples.echo_int(number) == number
        await asyncio.to_thread(thread.join)
        await eye.back(f"{count} proxies", seconds=20)
        assert atexit._ncallbacks() == callbacks
        assert len(gc.get_referrers(type(samples))) < 100
        await right_answers(bridge, samples=samples)


async def test_a_collection_inside_a_call(eye: Eye) -> None:
    """pyjavaz deadlocks with itself when the collector runs ``__del__`` inside a call."""
    thresholds = gc.get_threshold()
    async with aiomm.Bridge(port=eye.bridge.port, debug=False) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        await eye.note()
        gc.set_threshold(1, 1, 1)
        try:
            for _ in range(60):
                knot: list[Any] = [await samples.animal()]
                knot.append(knot)
                del knot
                number = unique()
                assert await asyncio.wait_for(samples.echo_int(number), SLACK) == number
        finally:
            gc.set_threshold(*thresholds)
        await eye.back("a collection inside calls")


async def test_proxies_of_a_closed_bridge_and_a_closed_loop(java_host: JavaHost) -> None:
    """They can be dropped without a word, and using them says why that cannot be."""
    async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
        kept = [await bridge.construct_java_object(SAMPLES)]
    with pytest.raises(aiomm.errors.ClosedError):
        await kept[0].echo_int(1)

    opened: list[Any] = []

    def elsewhere() -> None:
        async def make() -> None:
            bridge = await aiomm.Bridge.open(port=java_host.port, timeout=5000)
            opened.extend((bridge, await bridge.construct_java_object(SAMPLES)))

        asyncio.run(make())

    await asyncio.to_thread(elsewhere)
    with pytest.raises(RuntimeError, match="another event loop"):
        await opened[1].echo_int(1)
    with pytest.warns(ResourceWarning, match="unclosed <Bridge"):
        opened.clear()
        gc.collect()


async def test_many_proxies_dropped_just_before_the_bridge_closes(eye: Eye) -> None:
    for count in (1, 2, 300):
        for busy in (False, True):
            async with aiomm.Bridge(port=eye.bridge.port, timeout=5000) as bridge:
                samples = await bridge.construct_java_object(SAMPLES)
                proxies = await made(samples, count)
                calling = asyncio.ensure_future(samples.echo_int(1)) if busy else None
                proxies.clear()
                for _ in range(count % 5):
                    await asyncio.sleep(0)
            if calling is not None:
                await asyncio.wait([calling])
                calling.exception()
            await eye.back(f"{count} proxies, {'busy' if busy else 'idle'}")


@pytest.mark.parametrize(("busy", "later"), [("nothing", False), ("a call", True), ("a release", True)])
async def test_closing_a_bridge_whose_server_dies(own_java_host: JavaHost, busy: str, later: bool) -> None:
    """Nobody has noticed before, and nobody tries for long to reach it."""
    bridge = await aiomm.Bridge.open(own_java_host.port, timeout=20_000)
    faults = await bridge.construct_java_object("aiomm.host.Faults", new_socket=True)
    things = [await bridge.construct_java_object(SAMPLES) for _ in range(3)]
    os.kill(own_java_host.pid, signal.SIGSTOP)  # it gets no further until it dies
    call = asyncio.create_task(faults.block()) if busy == "a call" else None
    if busy == "a release":
        things.clear()
        gc.collect()
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(bridge.aclose())
    await asyncio.sleep(0.3 if later else 0)
    own_java_host.kill()
    async with asyncio.timeout(SLACK):
        await closing
    if call is not None:
        with pytest.raises(errors.AiommError):
            await call


# ---- processes ---------------------------------------------------------------------------------------------------


def script(port: int, way: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.left_open", str(port), way]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes], ear: Ear, bound: float) -> str:
    """Wait for its end; gives what it wrote to its standard error."""
    assert process.stdin is not None
    process.stdin.close()
    ear.listen(time.monotonic() + bound)
    try:
        process.wait(bound)
    finally:
        process.kill()
        trouble = ear.close()
    return trouble


def test_a_process_that_leaves_all_open_ends(java_host: JavaHost) -> None:
    """Each at once, without a word, and with its own exit code."""
    well = ("left", "dropped", "cyclic", "collected", "in_a_call", "in_a_thread", "closed_loop")
    ways = dict.fromkeys(well, 0) | {"in_an_error": 1, "exits": 7}
    running = {way: script(java_host.port, way) for way in ways}
    ends: dict[str, tuple[int, str, str]] = {}
    try:
        for way, process in running.items():
            both = process.communicate(timeout=40)
            ends[way] = process.returncode, both[0].decode(), both[1].decode()
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    for way, code in ways.items():
        returned, said, trouble = ends[way]
        assert returned == code, f"{way}: {returned}\n{trouble}"
        assert ("end of the script" in said) == (code == 0), way
        if way == "in_an_error":
            assert trouble.count("RuntimeError: of the script") == 1
            assert trouble.count("Traceback") == 1, trouble
            assert "Exception ignored" not in trouble
            assert "never" not in trouble, trouble
        else:
            assert not trouble, f"{way}: {trouble}"


def test_a_process_ends_after_the_server_has_died(own_java_host: JavaHost) -> None:
    """And when it dies at the very end, and when another one has its place."""
    for restart in (False, True):
        process = script(own_java_host.port, "open_until_killed")
        ear = Ear(process)
        assert ear.listen(time.monotonic() + 30, "open"), ear.close()
        own_java_host.kill()
        if restart:
            own_java_host.start()
        trouble = ended(process, ear, 10)
        assert process.returncode == 0, trouble
        assert not trouble
        if not restart:
            own_java_host.start()


@pytest.mark.parametrize(("way", "code"), [("interrupted", -signal.SIGINT), ("same_loop", 0)])
def test_ctrl_c_in_a_call(java_host: JavaHost, way: str, code: int) -> None:
    process = script(java_host.port, way)
    ear = Ear(process)
    times = 3 if way == "same_loop" else 1
    for i in range(times):
        assert ear.listen(time.monotonic() + 30, "in the call", i + 1), ear.close()
        time.sleep(0.15)
        process.send_signal(signal.SIGINT)
    trouble = ended(process, ear, 15)
    assert len(ear.of("right answers")) == times, trouble
    assert process.returncode == code, trouble
    assert not trouble or code, trouble
    assert "Exception ignored" not in trouble, trouble
    assert "never" not in trouble, trouble


def test_two_ctrl_c_end_the_process(own_java_host: JavaHost) -> None:
    process = script(own_java_host.port, "interrupted_hard")
    ear = Ear(process)
    assert ear.listen(time.monotonic() + 30, "in the call"), ear.close()
    process.send_signal(signal.SIGINT)
    assert ear.listen(time.monotonic() + 10, "cleaning up"), ear.close()
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    trouble = ended(process, ear, 15)
    took = time.monotonic() - start
    assert process.returncode != 0, trouble
    assert took < 2 + SLACK, trouble


def test_a_call_that_a_loop_leaves_behind_is_no_news_of_ours(java_host: JavaHost) -> None:
    """`asyncio.run` cancels it, and with it goes a proxy: its release comes too late, without a word."""
    text = f"""
import asyncio, aiomm

async def main():
    bridge = await aiomm.Bridge.open({java_host.port}, timeout=5000)
    faults = await bridge.construct_java_object("aiomm.host.Faults")
    call = asyncio.ensure_future(faults.sleep_ms(500))
    await asyncio.sleep(0.1)

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr.decode()) == (0, "")
