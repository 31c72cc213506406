from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

import aiomm
from aiomm.errors import CoreError
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def recorded(demo_config: Path) -> AsyncIterator[tuple[aiomm.LocalCore, RecordingCore]]:
    """A core with a shutter of another adapter module beside the camera's."""
    recorder = RecordingCore()
    recorder.setDeviceAdapterSearchPaths([str(demo_config.parent)])
    recorder.loadSystemConfiguration(str(demo_config))
    recorder.loadDevice("Elsewhere", "SequenceTester", "THub")
    recorder.initializeDevice("Elsewhere")
    recorder.loadDevice("TShutter", "SequenceTester", "TShutter-0")
    recorder.setParentLabel("TShutter", "Elsewhere")
    recorder.initializeDevice("TShutter")
    async with aiomm.LocalCore(mmcore=recorder) as core:
        yield core, recorder
    recorder.unloadAllDevices()


async def test_it_stops_the_camera_and_a_moving_stage_and_closes_shutters(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_auto_shutter(False)
    await demo_core.set_shutter_open(True)
    await demo_core.set_property("XY", "Velocity", 1)
    await demo_core.set_xy_position(5000, 0)
    await demo_core.start_continuous_sequence_acquisition(0)
    await demo_core.halt()
    assert not await demo_core.is_sequence_running()
    assert not await demo_core.device_busy("XY")
    assert not await demo_core.get_shutter_open()
    assert (await demo_core.get_xy_position())[0] < 5000
    assert not await demo_core.get_auto_shutter()  # left as it was


async def test_it_does_not_queue_behind_the_hardware_thread(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_property("XY", "Velocity", 1)
    await demo_core.set_xy_position(5000, 0)
    waiting = asyncio.create_task(demo_core.run(lambda mmc: mmc.waitForDevice("XY")))
    later = asyncio.create_task(demo_core.set_position(1))
    await asyncio.sleep(0.05)
    await demo_core.halt()
    await waiting  # MMCore's own wait ends, because the stage has stopped
    await later


async def test_during_a_snap_the_other_adapters_stop_at_once_and_it_says_what_did_not(
    recorded: tuple[aiomm.LocalCore, RecordingCore],
) -> None:
    core, recorder = recorded
    await core.set_shutter_open("TShutter", True)
    await core.set_exposure(600)
    recorder.forget()
    snap = asyncio.create_task(core.snap())
    await asyncio.sleep(0.1)
    with pytest.raises(
        CoreError, match=r"not within 0\.2 s.*call to the same adapter is in progress.*camera 'Camera'.*stage 'XY'"
    ) as caught:
        await core.halt(timeout=0.2)
    assert "TShutter" not in str(caught.value)
    assert not snap.done()
    assert not recorder.getShutterOpen("TShutter")
    assert (await snap).any()
    deadline = time.monotonic() + 10
    while not any(call.args == ("Camera",) for call in recorder.calls_of("isSequenceRunning")):  # what was locked is still done
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    assert not await core.get_shutter_open()  # autoshutter has closed it after the snap
    assert await core.get_auto_shutter()
    assert recorder.calls_of("setAutoShutter") == []


async def test_within_a_module_shutter_then_stages_then_cameras(recorded: tuple[aiomm.LocalCore, RecordingCore]) -> None:
    core, recorder = recorded
    await core.set_shutter_open(True)
    await core.start_continuous_sequence_acquisition(0)
    recorder.forget()
    await core.halt()
    order = [
        c.name for c in recorder.calls if c.args[:1] != ("TShutter",) and c.name in {"setShutterOpen", "stop", "stopSequenceAcquisition"}
    ]
    assert order[0] == "setShutterOpen"
    assert order[-1] == "stopSequenceAcquisition"
    assert set(order[1:-1]) == {"stop"}


async def test_what_refuses_is_named_and_the_rest_is_stopped(recorded: tuple[aiomm.LocalCore, RecordingCore]) -> None:
    core, recorder = recorded
    await core.set_shutter_open(True)
    await core.start_continuous_sequence_acquisition(0)
    recorder.on("setShutterOpen", raises=RuntimeError('Error in device "White Light Shutter": jammed'), times=1)
    recorder.on("stop", raises=RuntimeError("cannot be stopped"), times=None)
    with pytest.raises(CoreError, match="jammed") as caught:
        await core.halt()
    assert "cannot be stopped" not in str(caught.value)  # it does not move
    assert not await core.is_sequence_running()
    recorder.heal()


class Driver:
    """Leaves the shutter open when it ends, as it has found it; may be slow to end."""

    def __init__(self, core: aiomm.LocalCore, pause: float = 0.0) -> None:
        self.core, self.pause = core, pause
        self.aborted = self.ended = False
        core.users.add(self)

    def abort(self) -> None:
        self.aborted = True

    async def abort_for_close(self) -> None:
        await asyncio.sleep(self.pause)
        await self.core.set_shutter_open(True)
        self.core.users.discard(self)
        self.ended = True


async def test_it_ends_those_who_drive_the_core_and_closes_what_they_open(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_auto_shutter(False)
    driver = Driver(demo_core)
    await demo_core.halt()
    assert driver.aborted
    assert driver.ended
    assert not await demo_core.get_shutter_open()


async def test_one_that_is_slow_to_end_is_named_and_still_ends(demo_core: aiomm.LocalCore) -> None:
    driver = Driver(demo_core, pause=0.4)
    with pytest.raises(CoreError, match=r"still ending after 0\.1 s: Driver"):
        await demo_core.halt(timeout=0.1)
    async with asyncio.timeout(20):
        while not driver.ended:
            await asyncio.sleep(0.01)


async def test_it_works_on_a_core_without_devices() -> None:
    async with aiomm.LocalCore() as core:
        await core.halt()


async def test_cancelled_it_leaves_no_task_and_still_stops(demo_core: aiomm.LocalCore) -> None:
    await demo_core.start_continuous_sequence_acquisition(0)
    task = asyncio.create_task(demo_core.halt())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    deadline = time.monotonic() + 10
    while await demo_core.is_sequence_running():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
