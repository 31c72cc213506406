from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.core.notifications import KINDS
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from aiomm.core import CoreNotification


async def collect(events: Any, until: str) -> list[CoreNotification]:
    got = []
    async with asyncio.timeout(20):
        async for event in events:
            got.append(event)
            if event.kind == until:
                return got
    raise AssertionError(f"no {until} in {got}")


async def test_they_tell_what_happens(demo_core: aiomm.LocalCore, capfd: pytest.CaptureFixture[str]) -> None:
    async with demo_core.events() as events:
        await demo_core.set_position(5)
        await demo_core.set_property("Camera", "Binning", "2")
        await demo_core.set_exposure(7)
        await demo_core.snap()
        got = await collect(events, "image_snapped")
    kinds = {event.kind for event in got}
    assert {"stage_position_changed", "property_changed", "exposure_changed", "image_snapped", "shutter_open_changed"} <= kinds
    assert kinds <= set(KINDS)
    (moved,) = [e for e in got if e.kind == "stage_position_changed"]
    assert (moved.device, moved.values) == ("Z", {"position": 5.0})
    binned = next(e for e in got if e.kind == "property_changed")
    assert (binned.device, binned.values) == ("Camera", {"property": "Binning", "value": "2"})
    assert capfd.readouterr().out == ""  # MMCore's own callback methods print


async def test_only_the_kinds_asked_for(demo_core: aiomm.LocalCore) -> None:
    async with demo_core.events(["stage_position_changed", "exposure_changed"]) as events:
        await demo_core.set_property("Camera", "Binning", "2")
        await demo_core.set_position(1)
        await demo_core.set_exposure(3)
        got = await collect(events, "exposure_changed")
    assert [e.kind for e in got] == ["stage_position_changed", "exposure_changed"]
    with pytest.raises(ValueError, match=r"'stage_moved'; there are .*stage_position_changed"):
        demo_core.events("stage_moved")
    with pytest.raises(ValueError, match="buffer"):
        demo_core.events(buffer=0)


async def test_a_full_buffer_drops_the_oldest_and_counts(demo_core: aiomm.LocalCore) -> None:
    async with demo_core.events("stage_position_changed", buffer=5) as slow, demo_core.events() as fast:
        for z in range(20):
            await demo_core.set_position(z + 1)
        await demo_core.set_exposure(3)
        await collect(fast, "exposure_changed")
        assert slow.dropped == 15
        assert [(await anext(slow)).values["position"] for _ in range(5)] == [16, 17, 18, 19, 20]
        assert fast.dropped == 0


async def test_registered_only_while_somebody_listens() -> None:
    recorder = RecordingCore()
    async with aiomm.LocalCore("demo", mmcore=recorder) as core:

        def registrations() -> list[bool]:
            return [call.args[0] is not None for call in recorder.calls_of("registerCallback")]

        assert registrations() == []
        one, two = core.events(), core.events()
        async with one:
            async with two:
                assert registrations() == [True]
            assert registrations() == [True]
        assert registrations() == [True, False]
        async for _ in one:
            raise AssertionError("closed")

        async def leave_by_break() -> None:
            await core.set_position(0)
            async for _ in core.events():
                break

        task = asyncio.create_task(leave_by_break())
        while registrations() != [True, False, True]:
            await asyncio.sleep(0.001)
        await core.set_position(3)
        await task
        await core.run(lambda mmc: None)
        assert registrations() == [True, False, True, False]
    recorder.unloadAllDevices()


async def test_they_end_when_the_core_is_closed() -> None:
    core = await aiomm.LocalCore.open("demo")
    events = core.events("config_group_changed")
    await events.__aenter__()
    waiting = asyncio.create_task(collect(events, "never"))
    await asyncio.sleep(0.01)
    await core.aclose()
    with pytest.raises(AssertionError, match="no never"):
        await waiting
    await events.aclose()


async def test_cancelled_while_waiting(demo_core: aiomm.LocalCore) -> None:
    events = demo_core.events("stage_position_changed")
    waiting = asyncio.create_task(collect(events, "never"))
    await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await demo_core.set_position(8)
    async with asyncio.timeout(20):
        assert (await anext(events)).values == {"position": 8.0}
    await events.aclose()


async def test_one_task_waits_at_a_time(demo_core: aiomm.LocalCore) -> None:
    async with demo_core.events("stage_position_changed") as events:
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            with pytest.raises(RuntimeError, match="an iterator of its own"):
                await anext(events)
            await demo_core.set_position(4)
            assert (await waiting).values == {"position": 4.0}
    with pytest.raises(errors.ClosedError, match="ask for another"):
        await events.__aenter__()


async def test_nobody_misses_what_comes_while_one_is_handled(demo_core: aiomm.LocalCore) -> None:
    async with demo_core.events("stage_position_changed") as events:
        mover = asyncio.create_task(_move(demo_core, 200))
        async with asyncio.timeout(30):
            seen = [(await anext(events)).values["position"] for _ in range(200)]
        await mover
    assert seen == [float(z + 1) for z in range(200)]


async def _move(core: aiomm.LocalCore, times: int) -> None:
    for z in range(times):
        await core.set_position(z + 1)
