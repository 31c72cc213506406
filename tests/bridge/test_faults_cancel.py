"""A cancelled, timed-out or interrupted call is followed by right answers to the right calls, wherever in it that landed."""

from __future__ import annotations

import asyncio
import functools
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.jvm.host import PORTS
from tests.support.bridging import SLACK, Eye, Held, looking, quiet_loop, right_answers, unique
from tests.support.steps_of_a_loop import SteppedLoop, run_stepped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from tests.jvm.host import JavaHost

FAULTS = "aiomm.host.Faults"
SAMPLES = "aiomm.host.Samples"


@pytest.fixture
async def eye(java_host: JavaHost) -> AsyncIterator[Eye]:
    async with looking(java_host.port) as eye:
        yield eye
        await eye.faults.release()


# ---- a call that the server runs when it is given up ---------------------------------------------------------------

WAYS = ["cancelled", "asyncio.timeout", "call_timeout"]


def given_up(way: str, call: Coroutine[Any, Any, Any]) -> asyncio.Task[str]:
    """Give up this call while the server runs it."""

    async def run() -> str:
        try:
            async with asyncio.timeout(0.2 if way == "asyncio.timeout" else None):
                await call
        except errors.BridgeTimeoutError:
            return "call_timeout"
        except TimeoutError:
            return "asyncio.timeout"
        except asyncio.CancelledError:
            return "cancelled"
        return "answered"

    return asyncio.create_task(run())


async def until_given_up(way: str, eye: Eye, task: asyncio.Task[str]) -> None:
    await eye.until_blocked()
    if way == "cancelled":
        task.cancel()
    async with asyncio.timeout(SLACK):
        assert await task == way


@pytest.mark.parametrize("method", ["block", "block_for_object", "block_for_bytes"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_is_given_up_while_the_server_runs_it(eye: Eye, way: str, method: str) -> None:
    """The next calls wait for the server and get their own answers; an object in the late reply is released."""
    async with aiomm.Bridge(port=eye.bridge.port, call_timeout=200 if way == "call_timeout" else None) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        samples = await bridge.construct_java_object(SAMPLES)
        elsewhere = await bridge.construct_java_object(SAMPLES, new_socket=True)
        before = await eye.probe.object_count()
        args = [8 << 20] if method == "block_for_bytes" else []
        task = given_up(way, getattr(faults, method)(*args))
        await until_given_up(way, eye, task)
        await right_answers(bridge, samples=elsewhere)  # another port answers meanwhile
        if way != "call_timeout":
            numbers = [unique() for _ in range(5)]
            answers = asyncio.gather(*(samples.echo_int(number) for number in numbers))
            await asyncio.sleep(0.05)
            assert not answers.done()
            await eye.faults.release()
            assert await asyncio.wait_for(answers, SLACK) == numbers
        else:
            with pytest.raises(errors.BridgeTimeoutError, match="not sent"):
                await samples.echo_int(unique())
            await eye.faults.release()
        await right_answers(bridge, samples=samples)
        eye.objects = before
        await eye.back()


@pytest.mark.parametrize("way", ["cancelled", "asyncio.timeout"])
async def test_a_hundred_calls_given_up_on_one_port(eye: Eye, way: str) -> None:
    """Some run, most wait; what waits is never sent, and what comes late is nobody's answer."""
    async with aiomm.Bridge(port=eye.bridge.port, timeout=5000) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        samples = await bridge.construct_java_object(SAMPLES)
        counted = await eye.faults.counted()
        for _ in range(10):
            calls = [given_up(way, faults.block_for_object()), *(given_up(way, faults.count()) for _ in range(9))]
            await eye.until_blocked()
            if way == "cancelled":
                for call in calls:
                    call.cancel()
            assert await asyncio.wait_for(asyncio.gather(*calls), SLACK) == [way] * 10
            await eye.faults.release()
            number = unique()
            assert await asyncio.wait_for(samples.echo_int(number), SLACK) == number
        assert await eye.faults.counted() == counted
        await right_answers(bridge, samples=samples)


@pytest.mark.parametrize("way", WAYS)
async def test_control_messages_wait_behind_a_given_up_call_as_calls_do(eye: Eye, way: str) -> None:
    """Their timeout, which is short here, begins when Java has ended what it was asked for before."""
    async with aiomm.Bridge(port=eye.bridge.port, timeout=200, call_timeout=1000 if way == "call_timeout" else None) as bridge:
        fields = await bridge.construct_java_object("aiomm.host.Fields")
        faults = await bridge.construct_java_object(FAULTS)
        call = given_up(way, faults.block_for_object())
        await until_given_up(way, eye, call)
        asked: list[asyncio.Task[Any]] = [
            asyncio.create_task(fields.get_field("anInt")),
            asyncio.create_task(bridge.get_core()),
            asyncio.create_task(bridge.get_java_class("java.lang.Math")),
        ]
        done, _ = await asyncio.wait(asked, timeout=0.6)
        await eye.faults.release()
        assert not done
        await asyncio.wait_for(asyncio.gather(*asked), SLACK)


async def test_given_up_calls_behind_each_other(eye: Eye) -> None:
    """A second call is given up before the late reply of the first, a third gets its answer."""
    async with aiomm.Bridge(port=eye.bridge.port, timeout=5000) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        samples = await bridge.construct_java_object(SAMPLES)
        first = given_up("cancelled", faults.block_for_object())
        await until_given_up("cancelled", eye, first)
        second = asyncio.create_task(samples.echo_int(unique()))
        await asyncio.sleep(0.05)
        second.cancel()
        number = unique()
        third = asyncio.create_task(samples.echo_int(number))
        await asyncio.sleep(0.05)
        await eye.faults.release()
        assert await asyncio.wait_for(third, SLACK) == number
        assert second.cancelled()
        await right_answers(bridge, samples=samples)


async def test_an_object_at_a_port_of_its_own_comes_late(eye: Eye) -> None:
    """It is released there, and the server closes that port again. Another client keeps the server busy meanwhile."""
    ports = await eye.probe.command_ports()
    await eye.note()
    async with aiomm.Bridge(port=eye.bridge.port, timeout=5000) as bridge, aiomm.Bridge(port=eye.bridge.port) as other:
        samples = await bridge.construct_java_object(SAMPLES)
        await bridge.construct_java_object("java.util.ArrayList")  # its constructors are known: the next is one message
        blocking = asyncio.create_task((await other.construct_java_object(FAULTS)).block())
        await eye.until_blocked()
        made = asyncio.create_task(bridge.construct_java_object("java.util.ArrayList", new_socket=True))
        await asyncio.sleep(0.1)
        made.cancel()
        await asyncio.wait([made])
        assert made.cancelled()
        await eye.faults.release()
        await blocking
        await right_answers(bridge, samples=samples)
        async with asyncio.timeout(SLACK):
            while await eye.probe.command_ports() != ports:
                await asyncio.sleep(0.01)
    await eye.back()


# ---- at every step of the loop -------------------------------------------------------------------------------------


async def values(bridge: aiomm.Bridge, samples: Any, say: Callable[[object], None]) -> None:
    number = unique()
    assert await samples.echo_int(number) == number
    text = f"µ {unique()}"
    assert await samples.echo_string(text) == text
    array = np.arange(1000, dtype=np.int16)
    assert (await samples.echo_shorts(array)).tolist() == array.tolist()
    assert await samples.tag_bytes("a@b", b"xyz") == "a@b 3"


async def objects(bridge: aiomm.Bridge, samples: Any, say: Callable[[object], None]) -> None:
    dog = await samples.animal()
    assert await samples.show_animal(dog) == await dog.name()
    assert await samples.first(["x", "y"]) == "x"
    assert [word async for word in await samples.list()] == ["a", "b", "c"]
    assert await (await samples.echo_strings(["a", None])).to_list() == ["a", None]
    await dog.aclose()


async def fields(bridge: aiomm.Bridge, samples: Any, say: Callable[[object], None]) -> None:
    fields = await bridge.construct_java_object("aiomm.host.Fields")
    number = unique()
    await fields.set_field("anInt", number)
    assert await fields.anInt == number
    assert await (await fields.animal).name() == "dog"
    maths = await bridge.get_java_class("java.lang.Math")
    assert await maths.abs(-number) == number


async def ports(bridge: aiomm.Bridge, samples: Any, say: Callable[[object], None]) -> None:
    apart = await bridge.construct_java_object(SAMPLES, new_socket=True)
    number = unique()
    assert await apart.echo_int(number) == number
    dog = await apart.animal()
    assert await dog.name() == "dog"
    await apart.aclose()
    del dog


async def slow(bridge: aiomm.Bridge, samples: Any, say: Callable[[object], None]) -> None:
    """Calls that take a while in the server: a cancellation lands while one runs and others wait."""
    faults = await bridge.construct_java_object(FAULTS)
    number = unique()
    results: Any = await asyncio.gather(faults.sleep_ms(5), samples.echo_int(number), samples.animal(), faults.sleep_ms(3), samples.list())
    assert results[:2] == [5, number]
    assert results[3] == 3


async def a_bridge(bridge: aiomm.Bridge, samples: Any, say: Callable[[object], None]) -> None:
    """Another bridge opens and closes."""
    async with aiomm.Bridge(port=bridge.port, timeout=5000) as other:
        mine = await other.construct_java_object(SAMPLES)
        apart = await other.get_java_class("java.lang.Math", new_socket=True)
        number = unique()
        assert await mine.echo_int(number) == await apart.abs(-number)
        calling = asyncio.create_task(mine.echo_int(number))
        calling.add_done_callback(lambda done: done.cancelled() or done.exception())  # when this is cancelled first
        await asyncio.sleep(0)
    try:
        await calling
    except errors.ClosedError:
        say("the call was closed")


SCENES: dict[str, Callable[[aiomm.Bridge, Any, Callable[[object], None]], Awaitable[None]]] = {
    scene.__name__: scene for scene in (values, objects, fields, ports, slow, a_bridge)
}


async def one(loop: SteppedLoop, bridge: aiomm.Bridge, samples: Any, eye: Eye, scene: str, k: int) -> bool:
    """Cancel at the k-th step; all has to be well. Says whether the scene was over before."""
    held = Held()
    task = asyncio.ensure_future(SCENES[scene](bridge, samples, lambda _: None))
    loop.begin({k: functools.partial(task.cancel, f"step {k}")})
    await asyncio.wait([task], timeout=20)
    loop.end()
    assert task.done(), f"{scene}: hangs after a cancellation at step {k}: {task.get_stack()}"
    over = not loop.done
    assert task.cancelled() == (True in loop.done), f"{scene}, step {k}: {task!r}"
    if not task.cancelled():
        task.result()
    loop.done = []
    del task
    number = unique()
    async with asyncio.timeout(SLACK):
        assert await samples.echo_int(number) == number, f"{scene}, step {k}"
        number = unique()
        assert await samples.echo_string(str(number)) == str(number), f"{scene}, step {k}"
    await held.nothing_more()
    return over


def listening(first: int) -> set[int]:
    """On which of its ports a server of the test host listens."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    ports = {int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A"}
    return {port for port in ports if first <= port < first + PORTS}


async def sweep(loop: SteppedLoop, port: int, scene: str, stride: int) -> tuple[int, int]:
    """Cancel a scene at every stride-th step; gives the number of runs and of steps. Nothing is left on the server."""
    async with looking(port) as eye:
        before = await eye.probe.open_ports()
        with quiet_loop():
            async with aiomm.Bridge(port=port, timeout=5000) as bridge:
                samples = await bridge.construct_java_object(SAMPLES)
                await SCENES[scene](bridge, samples, lambda _: None)
                await eye.note()
                listens = listening(port)
                runs, k = 0, 1
                while True:
                    runs += 1
                    over = await one(loop, bridge, samples, eye, scene, k)
                    await eye.back(f"{scene}, step {k}")
                    async with asyncio.timeout(SLACK):  # the server would give a port again that it has not left yet: see test_taken_ports
                        while listening(port) != listens:
                            await asyncio.sleep(0.005)
                    if over:
                        break
                    k += stride
                await right_answers(bridge, samples=samples)
                assert await eye.probe.open_ports() == before
        return runs, k


def swept(port: int, scene: str, stride: int) -> int:
    """Cancel a scene at every stride-th step; gives the number of runs."""

    async def main(loop: SteppedLoop) -> tuple[int, int]:
        return await sweep(loop, port, scene, stride)

    gc.collect()
    gc.freeze()  # each step collects what it left, not all that the tests before have imported
    try:
        runs, steps = run_stepped(main)
    finally:
        gc.unfreeze()
    print(f"{scene}: {runs} runs, {steps} steps")
    return runs


@pytest.mark.parametrize("scene", SCENES)
def test_cancelled_at_steps(java_host: JavaHost, scene: str) -> None:
    assert swept(java_host.port, scene, 3) > 3


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scene", SCENES)
def test_cancelled_at_every_step(java_host: JavaHost, scene: str) -> None:
    assert swept(java_host.port, scene, 1) > 10
