"""An acquisition that is cut off while it opens leaves nothing: its bridge closes (ClosedError), or it is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import aiomm
from aiomm import errors
from tests.bridge.test_closing import all_ended, closes_meanwhile, run
from tests.support.steps_of_a_loop import run_stepped

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost
    from tests.support.steps_of_a_loop import SteppedLoop

EVENTS = [{"axes": {"time": 0}}, {"axes": {"time": 1}}]


async def acquires(bridge: aiomm.Bridge) -> None:
    """Acquire again and again, until it is told that the bridge is closed."""
    while True:
        try:
            async with aiomm.Acquisition(bridge=bridge, show_display=False, name="closing") as acq:
                await acq.acquire(EVENTS)
        except (errors.AcquisitionAborted, errors.AcquisitionFinished):  # it was open already, and was ended
            pass


def begun_while_it_closes(port: int, stride: int) -> None:
    async def case(step: int, loop: SteppedLoop) -> int:
        steps = await closes_meanwhile(port, stride * step, [acquires], loop)
        return max(steps // stride, 21)

    run(port, lambda loop: lambda step: case(step, loop))


def closed_while_it_opens(port: int, stride: int, last: int) -> None:
    async def case(step: int, loop: SteppedLoop) -> int:
        bridge = await aiomm.Bridge.open(port, timeout=5000)
        closing: list[asyncio.Task[None]] = []
        loop.begin({stride * step: lambda: closing.append(loop.create_task(bridge.aclose()))})
        await all_ended([loop.create_task(acquires(bridge))])
        loop.end()
        await closing[0]
        return last // stride

    run(port, lambda loop: lambda step: case(step, loop))


def test_one_that_is_opened_while_the_bridge_closes(java_host: JavaHost) -> None:
    begun_while_it_closes(java_host.port, 3)


def test_a_bridge_that_closes_while_one_opens(java_host: JavaHost) -> None:
    closed_while_it_opens(java_host.port, 13, 300)


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_at_each_step(java_host: JavaHost) -> None:
    begun_while_it_closes(java_host.port, 1)
    closed_while_it_opens(java_host.port, 1, 300)


def test_one_that_is_cancelled_at_any_step_of_its_opening_is_not_left_open() -> None:
    """Also as it has just opened: nobody has it then who could close it."""

    async def main(loop: SteppedLoop) -> int:
        async with aiomm.LocalCore("demo") as core:
            step, opened = 1, False
            while not opened:
                opening = loop.create_task(aiomm.Acquisition.open(core=core))
                loop.begin({step: opening.cancel})
                await asyncio.wait([opening])
                opened = not loop.done or loop.done == [False]
                loop.end()
                if not opening.cancelled():
                    assert opened, f"step {step}"
                    await opening.result().aclose()
                assert not core.users, f"step {step}"
                assert not [one for one in asyncio.all_tasks() if one.get_name().startswith("aiomm: acquisition")], f"step {step}"
                step += 1
            return step

    assert run_stepped(main) > 3


def test_a_core_that_closes_while_one_opens() -> None:
    async def main(loop: SteppedLoop) -> int:
        step, opened = 1, False
        while not opened:
            core = await aiomm.LocalCore.open("demo")
            opening = loop.create_task(aiomm.Acquisition.open(core=core))
            closing: list[asyncio.Task[None]] = []
            loop.begin({step: lambda core=core, closing=closing: closing.append(loop.create_task(core.aclose()))})
            await asyncio.wait([opening], timeout=20)
            assert opening.done(), f"step {step}"
            loop.end()
            opened = opening.exception() is None
            if opened:
                await opening.result().aclose()
            else:
                assert isinstance(opening.exception(), errors.ClosedError), f"step {step}: {opening.exception()!r}"
            await asyncio.gather(*closing)
            await core.aclose()
            assert not core.users, f"step {step}"
            step += 1
        return step

    assert run_stepped(main) > 3
