"""Java objects are released when Python lets them go, from wherever that happens, without I/O; and never too early."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.jvm.host import JavaHost

PROBE, SAMPLES, FAULTS = "aiomm.host.Probe", "aiomm.host.Samples", "aiomm.host.Faults"


class Eye:
    """Looks at the server over a bridge of its own."""

    def __init__(self, probe: Any, faults: Any) -> None:
        self.probe = probe
        self.faults = faults

    async def objects(self, expected: int) -> None:
        """The server comes to hold that many objects; a test that waits for ever fails by its own time limit."""
        while await self.probe.object_count() != expected:
            await asyncio.sleep(0.001)


@pytest.fixture
async def eye(java_host: JavaHost) -> AsyncIterator[Eye]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        yield Eye(await bridge.construct_java_object(PROBE), await bridge.construct_java_object(FAULTS))


@pytest.fixture
async def bridge(java_host: JavaHost, eye: Eye) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as opened:
        yield opened


async def test_dropping_does_no_io(bridge: aiomm.Bridge, eye: Eye) -> None:
    """A thousand drops at once: nothing is sent before the loop has its turn, and one wake-up does for all."""
    samples = await bridge.construct_java_object(SAMPLES)
    before = await eye.probe.object_count()
    held = [await samples.animal() for _ in range(1000)]
    loop = asyncio.get_running_loop()
    wakes = 0
    call = loop.call_soon_threadsafe

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal wakes
        wakes += 1
        return call(*args, **kwargs)

    loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
    held.clear()
    assert wakes == 1
    loop.call_soon_threadsafe = call  # type: ignore[method-assign]
    await eye.objects(before)


async def test_dropped_in_another_thread(bridge: aiomm.Bridge, eye: Eye) -> None:
    samples = await bridge.construct_java_object(SAMPLES)
    before = await eye.probe.object_count()
    held = [await samples.animal() for _ in range(200)]
    threads = [threading.Thread(target=lambda part=held[k::4]: part.clear()) for k in range(4)]
    held.clear()
    for thread in threads:
        thread.start()
    del thread
    threads.clear()
    await eye.objects(before)


async def test_dropped_by_the_collector_in_the_middle_of_calls(bridge: aiomm.Bridge, eye: Eye) -> None:
    samples = await bridge.construct_java_object(SAMPLES)
    before = await eye.probe.object_count()
    threshold = gc.get_threshold()
    gc.set_threshold(1)  # a collection at nearly every allocation: inside sends, receives and the loop's own steps
    try:
        for number in range(100):
            cycle: list[Any] = [await samples.animal()]
            cycle.append(cycle)
            assert await samples.echo_int(number) == number
    finally:
        gc.set_threshold(*threshold)
    del cycle
    gc.collect()
    await eye.objects(before)


async def test_dropped_after_the_bridge_or_the_loop_was_closed(java_host: JavaHost, eye: Eye) -> None:
    before = await eye.probe.object_count()

    async def use() -> list[Any]:
        async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
            samples = await bridge.construct_java_object(SAMPLES)
            return [samples, await samples.list(), await bridge.construct_java_object(SAMPLES, new_socket=True)]

    held = await asyncio.to_thread(lambda: asyncio.run(use()))
    await eye.objects(before)
    held.clear()
    gc.collect()
    assert await eye.probe.object_count() == before


async def test_closing_an_object_releases_it_at_once_and_ends_it(bridge: aiomm.Bridge, eye: Eye) -> None:
    samples = await bridge.construct_java_object(SAMPLES)
    before = await eye.probe.object_count()
    dog = await samples.animal()
    assert await eye.probe.object_count() == before + 1
    await dog.aclose()
    assert await eye.probe.object_count() == before
    await dog.aclose()
    assert "released" in repr(dog)
    fields = await bridge.construct_java_object("aiomm.host.Fields")
    for use in (
        dog.bark,
        lambda: dog.call("bark"),
        lambda: samples.show_animal(dog),
        lambda: samples.size_of([[dog]]),
        lambda: samples.show_map({"a": dog}),
        lambda: fields.set_field("animal", dog),
        lambda: bridge.construct_java_object("java.util.ArrayList", args=[[dog]]),
        lambda: bridge.construct_java_object("java.lang.ref.WeakReference", args=[dog]),
    ):
        with pytest.raises(errors.ClosedError, match="released"):
            await use()


def _ways_out(bridge: aiomm.Bridge, samples: Any, fields: Any, obj: Any) -> list[Callable[[], Awaitable[Any]]]:
    """Every way in which an object is sent."""
    return [
        lambda: samples.show_animal(obj),
        lambda: samples.size_of([[obj]]),
        lambda: samples.show_map({"a": obj}),
        lambda: fields.set_field("animal", obj),
        lambda: fields.set_field("an_object", [obj]),
        lambda: bridge.construct_java_object("java.util.ArrayList", args=[[obj]]),
        lambda: bridge.construct_java_object("java.lang.ref.WeakReference", args=[obj]),
    ]


async def test_an_object_of_a_closed_bridge_is_not_sent(java_host: JavaHost, bridge: aiomm.Bridge) -> None:
    """Java does not know it any more, and would take null for it."""
    samples, fields = [await bridge.construct_java_object(f"aiomm.host.{name}") for name in ("Samples", "Fields")]
    before = await fields.show("animal"), await fields.show("anObject")
    async with aiomm.Bridge(java_host.port, timeout=5000) as other:
        dog = await (await other.construct_java_object(SAMPLES)).animal()
        assert await samples.show_animal(dog) == await samples.show_animal(await samples.animal())  # it is the same Java
        await fields.set_field("an_object", dog)
        assert (await fields.show("anObject")).startswith("Dog")
        await fields.set_field("an_object", "object")
    for use in _ways_out(bridge, samples, fields, dog):
        with pytest.raises(errors.ClosedError, match=r"aiomm.host.Dog on port \d+, its bridge is closed> cannot be sent"):
            await use()
    assert (await fields.show("animal"), await fields.show("anObject")) == before


async def test_an_object_of_another_java_is_not_sent(java_host: JavaHost, own_java_host: JavaHost, bridge: aiomm.Bridge) -> None:
    samples, fields = [await bridge.construct_java_object(f"aiomm.host.{name}") for name in ("Samples", "Fields")]
    before = await fields.show("animal"), await fields.show("anObject")
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as other:
        dog = await (await other.construct_java_object(SAMPLES)).animal()
        for use in _ways_out(bridge, samples, fields, dog):
            with pytest.raises(errors.JavaValueError, match=rf"Dog .* another Micro-Manager than its own, at .*:{own_java_host.port}"):
                await use()
        await asyncio.to_thread(own_java_host.kill)
        while not other.closed:
            await asyncio.sleep(0.01)
        for use in _ways_out(bridge, samples, fields, dog):
            with pytest.raises(errors.ServerLostError, match=r"Dog .* its server is gone> cannot be sent"):
                await use()
    assert (await fields.show("animal"), await fields.show("anObject")) == before


async def test_two_references_to_one_object(bridge: aiomm.Bridge) -> None:
    """The server names an object anew each time that it sends it: letting one go leaves the other."""
    color = await (await bridge.get_java_class("aiomm.host.Color")).RED
    same = await (await bridge.get_java_class("aiomm.host.Color")).RED
    assert color != same
    assert await color.equals(same)
    await color.aclose()
    assert await same.name() == "RED"
    one, two = await bridge.get_core(), await bridge.get_core()
    await one.aclose()
    assert await two.call("getExposure") > 0


@pytest.mark.parametrize("new_socket", [False, True])
async def test_an_object_that_comes_too_late(new_socket: bool, bridge: aiomm.Bridge, eye: Eye) -> None:
    """Of a cancelled call: it is released when it comes, and the next call gets its own reply."""
    faults = await bridge.construct_java_object(FAULTS, new_socket=new_socket)
    before = await eye.probe.object_count()
    control = eye.faults if new_socket else await bridge.construct_java_object(FAULTS, new_socket=True)
    held = await eye.probe.object_count() - before
    call = asyncio.create_task(faults.block_for_object())
    # The eye's own port is blocked with the bridge's, when it is the main one: the object at a port of its own looks.
    while not await control.blocked():
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    after = asyncio.create_task(faults.counted())
    await control.call("release")
    assert await after == await faults.counted()
    await eye.objects(before + held)


async def test_an_object_that_comes_too_late_at_a_port_that_is_done_with(bridge: aiomm.Bridge, eye: Eye) -> None:
    faults = await bridge.construct_java_object(FAULTS, new_socket=True)
    before, ports = await eye.probe.object_count() - 1, await eye.probe.command_ports()
    call = asyncio.create_task(faults.block_for_object())
    while not await eye.faults.blocked():
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    del faults, call
    gc.collect()
    await asyncio.sleep(0.05)
    await eye.faults.call("release")
    await eye.objects(before)
    while await eye.probe.command_ports() == ports:
        await asyncio.sleep(0.001)


async def test_copies_are_refused(bridge: aiomm.Bridge) -> None:
    samples = await bridge.construct_java_object(SAMPLES)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            duplicate(samples)


async def test_a_process_ends_with_proxies_and_a_bridge_left_open(java_host: JavaHost) -> None:
    program = """
        import asyncio, sys
        import aiomm

        kept = []

        async def main():
            bridge = await aiomm.Bridge.open(int(sys.argv[1]))
            kept.append(bridge)
            kept.append(await bridge.construct_java_object("aiomm.host.Samples"))
            kept.append(await bridge.construct_java_object("aiomm.host.Samples", new_socket=True))
            for _ in range(100):
                cycle = [await kept[1].animal()]
                cycle.append(cycle)
            asyncio.ensure_future(kept[1].list())

        asyncio.run(main())
        print("ended")
    """
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(program), str(java_host.port)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


async def test_dropped_bridges_are_collected_while_their_loop_runs(eye: Eye, java_host: JavaHost) -> None:
    """The notebook's cell that opens one, run again and again: what it held in Java and here is given back."""
    files, before = len(list(Path("/proc/self/fd").iterdir())), await eye.probe.object_count()
    held: list[weakref.ref[Any]] = []
    with pytest.warns(ResourceWarning, match="unclosed <Bridge"):
        for _ in range(5):
            bridge = await aiomm.Bridge.open(java_host.port, timeout=5000)
            core = await bridge.get_core()
            await core.set_exposure(10)  # it has what is kept for its cores
            held.append(weakref.ref(bridge))
            own = await bridge.construct_java_object("java.util.ArrayList", new_socket=True)
            await own.add_all(await bridge.construct_java_object("java.util.ArrayList"))
            assert await own.to_list() == []
            del bridge, core, own
            gc.collect()
    assert [one() for one in held] == [None] * 5
    await eye.objects(before)
    while len(list(Path("/proc/self/fd").iterdir())) > files:  # else the test's time limit
        await asyncio.sleep(0.001)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and task.get_name() == "aiomm-bridge-close"]


async def test_what_is_used_keeps_its_bridge(eye: Eye, java_host: JavaHost) -> None:
    """A proxy, and a listener, work on though nothing else refers to their bridge."""
    before = await eye.probe.object_count()
    names = await (await aiomm.Bridge.open(java_host.port, timeout=5000)).construct_java_object("java.util.ArrayList")
    gc.collect()
    await names.add("x")
    assert await names.to_list() == ["x"]
    changes = (await aiomm.Bridge.open(java_host.port, timeout=5000)).core_events("exposure_changed")
    gc.collect()
    async with changes:
        gc.collect()
        async with aiomm.Bridge(java_host.port, timeout=5000) as other:
            await (await other.get_core()).set_exposure(12.5)
        assert (await anext(changes)).arguments[-1] == 12.5
    with pytest.warns(ResourceWarning, match="unclosed <Bridge"):
        del names, changes
        gc.collect()
    await eye.objects(before)
