from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm.core.turns import Turn, current_turn
from aiomm.errors import ClosedError, CoreError
from tests.support.recording import RecordingCore
from tests.support.threads import left_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def recorded(demo_config: Path) -> AsyncIterator[tuple[aiomm.LocalCore, RecordingCore]]:
    recorder = RecordingCore()
    recorder.setDeviceAdapterSearchPaths([str(demo_config.parent)])
    recorder.loadSystemConfiguration(str(demo_config))
    async with aiomm.LocalCore(mmcore=recorder) as core:
        await core.set_exposure(2)
        await core.snap()  # closes the shutter, which DemoCamera leaves in any state
        recorder.forget()
        yield core, recorder
    recorder.unloadAllDevices()


async def stands(core: aiomm.LocalCore) -> None:
    """The camera has stopped, nobody has the turn, and the shutter is as autoshutter leaves it."""
    assert not await core.is_sequence_running()
    await core.run(lambda mmc: None)
    assert core.turns.holder is None
    assert core.users == set()
    assert not await core.get_shutter_open()
    assert await core.get_auto_shutter()
    assert (await core.snap()).any()


async def test_frames_come_and_break_stops_the_camera(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_exposure(2)
    numbers = []
    async for frame in demo_core.live():
        assert (frame.pixels.shape, frame.pixels.dtype) == ((512, 512), np.uint16)
        numbers.append(frame.tags["ImageNumber"])
        if len(numbers) == 10:
            break
    assert (await demo_core.snap()).any()  # at once: the stop stands before it in the line
    await stands(demo_core)
    assert numbers == sorted(set(numbers))


async def test_a_slow_consumer_gets_the_newest_and_the_count_of_the_others(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_exposure(2)
    async with demo_core.live() as live:
        last = -1
        for more in (0, 8, 0, 12):
            before = await demo_core.get_remaining_image_count()
            while await demo_core.get_remaining_image_count() < before + more:
                await asyncio.sleep(0.002)
            frame = await anext(live)
            assert frame.dropped == frame.tags["ImageNumber"] - last - 1
            last = frame.tags["ImageNumber"]
        assert live.dropped == last + 1 - 4
        assert live.dropped >= 18
    await stands(demo_core)


async def test_a_full_buffer_does_not_stop_live_view(demo_config: Path) -> None:
    async with aiomm.LocalCore("demo", buffer_mb=3) as core:  # a few frames
        await core.set_exposure(1)
        async with core.live() as live:
            seen = []
            for _ in range(20):
                seen.append((await anext(live)).tags["ImageNumber"])
                await asyncio.sleep(0.02)
        assert seen == sorted(set(seen))
        assert seen[-1] > 20
        await stands(core)


async def test_exposure_is_for_the_view_only(demo_core: aiomm.LocalCore) -> None:
    async with demo_core.live(exposure=3) as live:
        await anext(live)
        assert await demo_core.get_exposure() == 3
    assert await demo_core.get_exposure() == 10
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="exposure is a time in ms above 0"):
            demo_core.live(exposure=wrong)


async def test_exceptions_in_the_body_stop_the_camera(demo_core: aiomm.LocalCore) -> None:
    async def body() -> None:
        async for _ in demo_core.live(exposure=2):
            raise LookupError("own")

    with pytest.raises(LookupError, match="own") as caught:
        await body()
    caught.value.__traceback__ = None
    del caught
    await stands(demo_core)


async def test_cancelled_while_waiting_and_in_the_body(demo_core: aiomm.LocalCore) -> None:
    async def look(pause: float, got: asyncio.Event) -> None:
        async with demo_core.live(exposure=5) as live:
            async for _ in live:
                got.set()
                await asyncio.sleep(pause)

    for pause in (0.0, 30.0):
        got = asyncio.Event()
        task = asyncio.create_task(look(pause, got))
        await got.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await stands(demo_core)


async def test_cancelled_before_the_camera_has_started(demo_core: aiomm.LocalCore) -> None:
    for turns in range(4):

        async def look() -> None:
            async for _ in demo_core.live():
                await asyncio.sleep(30)

        task = asyncio.create_task(look())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await stands(demo_core)


async def test_cancelled_in_a_step_it_stops_although_the_traceback_is_kept(demo_core: aiomm.LocalCore) -> None:
    kept: list[BaseException] = []

    async def look() -> None:
        try:
            async for _ in demo_core.live(exposure=50):
                pass
        except asyncio.CancelledError as error:
            kept.append(error)

    task = asyncio.create_task(look())
    while not await demo_core.is_sequence_running():
        await asyncio.sleep(0.005)
    task.cancel()
    await task
    assert kept
    await stands(demo_core)


async def test_a_step_that_timed_out_loses_no_count(demo_core: aiomm.LocalCore) -> None:
    async with demo_core.live(exposure=100) as live:
        first = await anext(live)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(live)
        frame = await anext(live)
        assert frame.tags["ImageNumber"] == first.tags["ImageNumber"] + 1 + frame.dropped
    await stands(demo_core)


async def test_nothing_polls_while_nobody_asks(recorded: tuple[aiomm.LocalCore, RecordingCore]) -> None:
    core, recorder = recorded
    async with core.live() as live:
        await anext(live)
        await core.run(lambda mmc: None)
        recorder.forget()
        await asyncio.sleep(0.2)
        assert recorder.names() == []
        await anext(live)
        copies = [c for c in recorder.names() if c.startswith(("getLastImage", "popNext"))]
        assert copies == ["getLastImageMD"]  # of some hundred frames, one was copied


async def test_a_camera_that_cannot_start_or_stops_by_itself(recorded: tuple[aiomm.LocalCore, RecordingCore]) -> None:
    core, recorder = recorded
    recorder.on("startContinuousSequenceAcquisition", raises=RuntimeError('Error in device "Camera": no (1)'), times=1)
    with pytest.raises(CoreError, match="no") as caught:
        async for _ in core.live():
            raise AssertionError("there is no frame")
    assert caught.value.device == "Camera"
    recorder.heal()
    await stands(core)
    async with core.live(exposure=5) as live:
        await anext(live)
        await core.run(lambda mmc: mmc.stopSequenceAcquisition())
        with pytest.raises(CoreError, match="stopped by itself"):
            for _ in range(3):
                await anext(live)
        with pytest.raises(StopAsyncIteration):
            await anext(live)
    await stands(core)


async def test_a_camera_that_does_not_stop_is_an_error_and_the_turn_is_given_back(
    recorded: tuple[aiomm.LocalCore, RecordingCore],
) -> None:
    core, recorder = recorded
    with pytest.raises(CoreError, match="stuck"):
        async with core.live() as live:
            await anext(live)
            recorder.on("stopSequenceAcquisition", raises=RuntimeError("stuck"), times=1)
    recorder.heal()
    assert core.turns.holder is None
    await core.stop_sequence_acquisition()
    await stands(core)


async def test_change_while_it_runs(demo_core: aiomm.LocalCore) -> None:
    async with demo_core.live() as live:
        await anext(live)
        with pytest.raises(CoreError, match="sequence is running"):
            await demo_core.set_exposure(3)
        await live.change(lambda mmc: mmc.setExposure(3))
        await live.change(lambda mmc, *roi: mmc.setROI(*roi), 0, 0, 64, 32)
        frame = await anext(live)
        assert frame.pixels.shape == (32, 64)
        assert await demo_core.get_exposure() == 3
        with pytest.raises(ZeroDivisionError):
            await live.change(lambda mmc: 1 / 0)
        assert (await anext(live)).pixels.shape == (32, 64)
    await stands(demo_core)


async def test_it_waits_for_its_turn_and_others_wait_for_it(demo_core: aiomm.LocalCore) -> None:
    turn = Turn("acquisition")

    def take() -> None:
        assert list(demo_core.turns.take(turn, demo_core.thread.signal())) == []

    await demo_core.run(lambda mmc: take())
    live = demo_core.live(exposure=2)
    first = asyncio.ensure_future(anext(live))
    await asyncio.sleep(0.05)
    assert not first.done()
    assert not await demo_core.is_sequence_running()
    await demo_core.run(lambda mmc: demo_core.turns.give_back(turn))
    await first
    assert demo_core.turns.holder is not None
    await live.aclose()
    await live.aclose()
    await stands(demo_core)


async def test_inside_a_hook_it_goes_before_the_acquisitions_that_wait(demo_core: aiomm.LocalCore) -> None:
    turn = Turn("acquisition")
    turn.lent = True
    await demo_core.run(lambda mmc: list(demo_core.turns.take(turn, demo_core.thread.signal())))
    token = current_turn.set(turn)
    try:
        async with demo_core.live(exposure=2) as live:
            await anext(live)
    finally:
        current_turn.reset(token)
    await demo_core.run(lambda mmc: demo_core.turns.give_back(turn))
    await stands(demo_core)


async def test_closing_the_core_ends_it_with_a_reason() -> None:
    core = await aiomm.LocalCore.open("demo")
    live = core.live(exposure=2)
    await anext(live)
    waiting = asyncio.create_task(_all(live))
    await asyncio.sleep(0.02)
    await core.aclose()
    with pytest.raises(ClosedError, match="closed while its live view"):
        await waiting
    await live.aclose()


async def test_one_that_begins_again_whenever_it_ends_does_not_hold_the_closing_up() -> None:
    core = await aiomm.LocalCore.open("demo")
    await anext(core.live(exposure=2))
    reasons: list[str] = []

    async def watch() -> None:
        while not any("this core was closed" in reason for reason in reasons):
            try:
                await _all(core.live(exposure=2))
            except ClosedError as ended:
                reasons.append(str(ended))

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    await core.aclose()
    await watching
    assert len(reasons) < 10


async def test_halt_ends_it_with_a_reason(demo_core: aiomm.LocalCore) -> None:
    waiting = asyncio.create_task(_all(demo_core.live(exposure=2)))
    await asyncio.sleep(0.05)
    await demo_core.halt()
    with pytest.raises(CoreError, match="halt"):
        await waiting
    await stands(demo_core)


async def _all(live: Any) -> None:
    async for _ in live:
        pass


def test_a_loop_that_ends_without_closing_it() -> None:
    before = set(threading.enumerate())
    core = aiomm.LocalCore("demo")

    async def leave() -> None:
        await core.__aenter__()
        live = core.live(exposure=2)
        await anext(live)
        held.append(live)

    held: list[Any] = []
    asyncio.run(leave())
    held.clear()

    async def later() -> None:
        assert not await core.is_sequence_running()
        await core.aclose()

    asyncio.run(later())
    assert not left_over(before)
