"""What begins while a bridge closes, at any step of the loop, ends there, and leaves nothing in Java."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.support.bridging import SLACK, Held, looking, quiet_loop
from tests.support.steps_of_a_loop import SteppedLoop, run_stepped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.jvm.host import JavaHost

    Begin = Callable[[aiomm.Bridge], Awaitable[None]]

SAMPLES = "aiomm.host.Samples"


async def listens(bridge: aiomm.Bridge) -> None:
    while True:  # begins again whenever it has ended
        async for _ in bridge.core_events():
            pass


async def listens_to_the_core(bridge: aiomm.Bridge) -> None:
    core = bridge.kept["the core of this test"]
    while True:
        async with core.events() as changes:
            async for _ in changes:
                pass


async def listens_once(bridge: aiomm.Bridge) -> None:
    await bridge.core_events().__aenter__()


async def calls(bridge: aiomm.Bridge) -> None:
    samples = bridge.kept["samples of this test"]
    while True:
        assert await samples.ten() == 10


async def walks(bridge: aiomm.Bridge) -> None:
    samples = bridge.kept["samples of this test"]
    while True:
        assert await (await samples.list()).to_list() == ["a", "b", "c"]


async def makes(bridge: aiomm.Bridge) -> None:
    while True:
        await bridge.construct_java_object(SAMPLES)


async def makes_apart(bridge: aiomm.Bridge) -> None:
    while True:
        await bridge.construct_java_object(SAMPLES, new_socket=True)


async def makes_many_apart(bridge: aiomm.Bridge) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(makes_apart(bridge))


async def gets_the_core(bridge: aiomm.Bridge) -> None:
    while True:
        await bridge.get_core(new_socket=True)


async def looks(bridge: aiomm.Bridge) -> None:
    core = bridge.kept["the core of this test"]
    while True:
        async with core.live() as view:
            with contextlib.suppress(errors.ClosedError):
                async for _ in view:
                    pass


class User:
    """Needs the bridge to leave its hardware safe."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples
        self.answer = 0

    async def abort_for_close(self) -> None:
        self.answer = await self.samples.ten()


BEGINS = [listens, listens_to_the_core, listens_once, calls, walks, makes, makes_apart, makes_many_apart, gets_the_core, looks]


async def closes_meanwhile(port: int, step: int, begins: Sequence[Begin], loop: SteppedLoop) -> int:
    """Begin something at this step of a bridge that closes; gives the steps that the closing took."""
    bridge = await aiomm.Bridge.open(port, timeout=5000)
    user = User(await bridge.construct_java_object(SAMPLES))
    bridge.users.add(user)
    there = {"samples of this test": user.samples, "the core of this test": await bridge.get_core()}
    await bridge.core_events().__aenter__()
    works: list[asyncio.Task[None]] = []

    async def work(begin: Begin) -> None:
        bridge.kept.update(there)  # of a bridge that is closed it is empty
        await begin(bridge)

    loop.begin({step: lambda: works.extend([loop.create_task(work(begin)) for begin in begins])})
    await bridge.aclose()
    steps = loop.end()
    await all_ended(works)
    assert user.answer == 10
    bridge.kept.clear()
    return steps


async def closes_after(port: int, step: int, loop: SteppedLoop) -> None:
    """Close a bridge after so many steps in which objects with ports of their own were made."""
    bridge = await aiomm.Bridge.open(port, timeout=5000)
    closing: list[asyncio.Task[None]] = []
    loop.begin({step: lambda: closing.append(loop.create_task(bridge.aclose()))})
    works = [loop.create_task(makes_many_apart(bridge))]
    await all_ended(works)
    loop.end()
    await closing[0]


async def all_ended(works: list[asyncio.Task[None]]) -> None:
    """See that they end, by themselves or with ClosedError."""
    _, late = await asyncio.wait(works, timeout=SLACK) if works else ((), ())
    assert not late, f"it waits for ever: {late}"
    for task in works:
        error = task.exception()
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert error is None or isinstance(error, errors.ClosedError), repr(error)


async def nothing_is_left(port: int, case: Callable[[int], Awaitable[int]]) -> None:
    """Run a case for each step, as long as it says that there are more, and see each time that nothing is left in Java."""
    loop = asyncio.get_running_loop()
    async with looking(port) as eye:

        async def there() -> tuple[int, int, set[str]]:
            return await eye.probe.object_count(), await eye.probe.listeners(), set((await eye.probe.open_ports()).split())

        before = await there()
        assert before[1] == 0
        held = Held()
        step = last = 1
        while step <= last:
            try:
                last = max(last, await case(step))
            except AssertionError as error:
                raise AssertionError(f"step {step} of {last}") from error
            deadline = loop.time() + SLACK
            while (now := await there()) != before and loop.time() < deadline:  # a port that was left takes Java a moment
                await asyncio.sleep(0.002)
            assert now == before, f"step {step} of {last}: {await eye.probe.object_classes()}"
            step += 1
        assert last > 20
        await held.nothing_more()


def run(port: int, make: Callable[[SteppedLoop], Callable[[int], Awaitable[int]]]) -> None:
    async def main(loop: SteppedLoop) -> None:
        with quiet_loop():
            await nothing_is_left(port, make(loop))

    run_stepped(main)


def test_what_begins_while_a_bridge_closes_ends_with_it(java_host: JavaHost) -> None:
    """At each step something else, and two of it; the campaign has each at each step."""
    port, count = java_host.port, len(BEGINS)
    chosen = [[BEGINS[step % count], BEGINS[step // count % count]] for step in range(count * count)]
    run(port, lambda loop: lambda step: closes_meanwhile(port, step, chosen[step % len(chosen)], loop))


@pytest.mark.campaign
@pytest.mark.parametrize("begin", BEGINS)
def test_each_that_begins_at_each_step(begin: Begin, java_host: JavaHost) -> None:
    run(java_host.port, lambda loop: lambda step: closes_meanwhile(java_host.port, step, [begin], loop))


def test_a_bridge_that_closes_while_objects_get_ports_of_their_own_leaves_none(java_host: JavaHost) -> None:
    """At each step of the first hundred: a port that is not connected yet, one that is asked for, one whose placeholder is released."""

    async def case(step: int, loop: SteppedLoop) -> int:
        await closes_after(java_host.port, step, loop)
        return 100

    run(java_host.port, lambda loop: lambda step: case(step, loop))


async def test_what_is_begun_again_whenever_it_ends_does_not_hold_up_the_closing(java_host: JavaHost) -> None:
    """While the users are ended, everything can be called, and nothing becomes a user; a live view that cannot begin says so each time."""
    bridge = await aiomm.Bridge.open(java_host.port, timeout=5000)
    core = await bridge.get_core()
    ends: list[BaseException] = []

    async def looks_again() -> None:
        while len(ends) < 3:
            try:
                async with core.live() as view:
                    async for _ in view:
                        began.set()
            except errors.ClosedError as error:
                ends.append(error)

    class Again:
        async def abort_for_close(self) -> None:
            assert await core.get_camera_device() == "Camera"
            view = core.live()
            for _ in range(2):
                with pytest.raises(errors.ClosedError, match="this Bridge was closed"):
                    await anext(view)
            bridge.users.add(self)

    began = asyncio.Event()
    looking_on = asyncio.create_task(looks_again())
    await began.wait()
    bridge.users.add(Again())
    with pytest.raises(errors.ClosedError, match="this Bridge was closed"):  # what failed as a user was ended
        await bridge.aclose()
    await looking_on
    assert "its live view was running" in str(ends[0])
    assert "this Bridge was closed" in str(ends[1])
    assert not bridge.users
