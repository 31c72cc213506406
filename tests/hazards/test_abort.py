"""abort() in every phase of an acquisition, and errors from every callback: it ends soon, safely, with everything that was saved."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.support.ends import Ends, figures, our_threads, sequence, steps
from tests.support.homes import only_local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.recording import RecordingCore

pytestmark = pytest.mark.sampled(6, of="module")

HOOKS = ("event_generation_hook_fn", "pre_hardware_hook_fn", "post_hardware_hook_fn", "post_camera_hook_fn")
LONG = 30.0
SOON = 5.0


@pytest.fixture(scope="module", autouse=True)
def how_long_it_took() -> Iterator[None]:
    yield
    print(f"\n{figures()}")


IN_JAVA = ("'Z' to be ready", "the exposure", "frame 1 ", "frame 2")
"""What Micro-Manager's engine does by itself: the status says that it takes images."""


async def state(at: Ends, acq: aiomm.Acquisition, words: str) -> None:
    """Wait until the status says that the acquisition waits for this."""
    taking = at.java and words in IN_JAVA
    async with asyncio.timeout(5):
        if at.java and words == "room for a frame":
            while acq.status.waiting_for_processor + acq.status.waiting_for_saving < 3:
                await asyncio.sleep(0.002)
            return
        while ("that Micro-Manager takes" if taking else words) not in acq.status.waiting_for:
            await asyncio.sleep(0.002)
    if taking:
        while not at.mmc.calls_of("setPosition", "snapImage", "startSequenceAcquisition"):
            await asyncio.sleep(0.002)


async def aborted(at: Ends, acq: aiomm.Acquisition, submission: Any, what: str, *, call: float = 0.0, besides: tuple[str, ...] = ()) -> int:
    """Abort and see that all ends: whoever waits gets AcquisitionAborted, and all is well. Gives the number of images kept."""
    waiting = asyncio.create_task(_outcome(submission))
    images = asyncio.create_task(_images(submission))
    await asyncio.sleep(0)
    with at.within(what, call):
        acq.abort()
        await acq.aclose()
        for task in (waiting, images):
            assert isinstance(await task, errors.AcquisitionAborted)
    assert acq.status.state == "aborted"
    with pytest.raises(errors.AcquisitionFinished):
        acq.acquire(steps(1))
    kept = len(acq.get_dataset())
    acq.get_dataset().close()
    if acq.path is None:
        at.saved.clear()
    assert await at.all_is_well(besides) == (0 if acq.path is None else kept)
    return kept


async def _outcome(submission: Any) -> BaseException | None:
    try:
        await submission
    except Exception as error:
        return error
    return None


async def _images(submission: Any) -> BaseException | None:
    try:
        async for _ in submission:
            pass
    except Exception as error:
        return error
    return None


# ---- abort in every phase ----------------------------------------------------------------------------------------


async def test_while_opening(at: Ends) -> None:
    acq = at.acquisition()
    opening = asyncio.create_task(acq._start())
    while acq._run is None:
        await asyncio.sleep(0)
    with at.within("opening"):
        acq.abort()
        await opening
        await acq.aclose()
    assert acq.status.state == "aborted"
    await at.all_is_well()


async def test_with_no_events(at: Ends) -> None:
    acq = await at.open()
    with at.within("no events"):
        acq.abort()
        await acq.aclose()
    assert await at.all_is_well() == 0
    acq.abort()
    await acq.aclose()
    assert acq.status.state == "aborted"


async def test_while_waiting_for_a_start_time(at: Ends) -> None:
    acq = await at.open()
    submission = acq.acquire([{"axes": {"time": 0}}, {"axes": {"time": 1}, "min_start_time": 3600}])
    await state(at, acq, "min_start_time")
    assert await aborted(at, acq, submission, "min_start_time") == 1


async def test_while_paused(at: Ends) -> None:
    acq = await at.open()
    acq.pause()
    submission = acq.acquire(steps(5))
    await state(at, acq, "resume()")
    assert await aborted(at, acq, submission, "paused") == 0


@pytest.mark.parametrize("which", HOOKS)
async def test_in_an_async_hook_that_never_returns(at: Ends, which: str) -> None:
    inside, cancelled = asyncio.Event(), asyncio.Event()

    async def hook(event: Any) -> Any:
        inside.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    acq = await at.open(**{which: hook})
    submission = acq.acquire(steps(5))
    await inside.wait()
    await aborted(at, acq, submission, f"{which} (async)")
    assert cancelled.is_set()


@pytest.mark.parametrize("which", [*HOOKS, "image_process_fn"])
async def test_in_an_async_function_that_swallows_its_cancellation(at: Ends, which: str) -> None:
    inside, release = asyncio.Event(), asyncio.Event()

    async def hook(*args: Any) -> Any:
        while not release.is_set():
            inside.set()
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return args[0]

    async def process(image: Any, metadata: Any) -> Any:
        await hook(image)
        return image, metadata

    acq = await at.open(**{which: process if which == "image_process_fn" else hook})
    submission = acq.acquire(steps(5))
    await inside.wait()
    waiting = asyncio.create_task(_outcome(submission))
    with at.within(f"{which} (swallows)"):
        acq.abort()
        await acq.aclose()
        assert isinstance(await waiting, errors.AcquisitionAborted)
    await at.hardware_is_safe()
    release.set()  # what was left behind is the user's own
    await asyncio.sleep(0.01)
    await at.all_is_well()


@pytest.mark.parametrize("which", [*HOOKS, "image_process_fn"])
async def test_in_a_sync_function_that_takes_long(at: Ends, which: str) -> None:
    inside = threading.Event()

    def hook(*args: Any) -> Any:
        inside.set()
        time.sleep(1.5)
        return args[0] if len(args) == 1 else (args[0], args[1])

    def process(image: Any, metadata: Any) -> Any:
        return hook(image, metadata)

    acq = await at.open(**{which: process if which == "image_process_fn" else lambda event: hook(event)})
    submission = acq.acquire(steps(5))
    await asyncio.to_thread(inside.wait)
    await aborted(at, acq, submission, f"{which} (sync, 1.5 s)", call=1.5, besides=(which,))
    async with asyncio.timeout(10):
        while any(which in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


async def test_in_an_async_processor_that_never_returns(at: Ends) -> None:
    inside = asyncio.Event()

    async def process(image: Any, metadata: Any) -> Any:
        inside.set()
        await asyncio.sleep(3600)

    acq = await at.open(image_process_fn=process, saving_queue_size=3)
    submission = acq.acquire(sequence(200))
    await inside.wait()
    await state(at, acq, "room for a frame")
    assert await aborted(at, acq, submission, "frames wait for the processor") == 0


@only_local("Micro-Manager's engine waits for a device in one call of its core, which nothing ends before its time")
async def test_while_a_device_is_busy(at: Ends) -> None:
    at.mmc.on("deviceBusy", times=None, when=lambda label: label == "Z", drop=True, returns=True)
    acq = await at.open()
    submission = acq.acquire(steps(5))
    await state(at, acq, "'Z' to be ready")
    await aborted(at, acq, submission, "device busy")


async def test_while_a_device_call_takes_long(at: Ends) -> None:
    at.mmc.on("setPosition", delay=1.0)
    acq = await at.open()
    submission = acq.acquire(steps(5))
    await asyncio.sleep(0.1)
    await aborted(at, acq, submission, "device call", call=1.0)


@pytest.mark.parametrize(
    ("exposure", "events", "phase"),
    [(1000, steps(50), "the exposure"), (1000, sequence(50), "frame 1 "), (10, sequence(5000), "frame 2")],
    ids=["snap", "camera sequence of long exposures", "camera sequence"],
)
async def test_while_the_camera_exposes(at: Ends, exposure: int, events: list[dict[str, Any]], phase: str) -> None:
    await at.core.set_exposure(exposure)
    acq = await at.open()
    submission = acq.acquire(events)
    await state(at, acq, phase)
    kept = await aborted(at, acq, submission, phase, call=exposure // 1000)
    assert (phase == "frame 2") <= kept < len(events)


@only_local("the pixels are feigned in this process")
async def test_while_frames_come_faster_than_they_are_taken(at: Ends) -> None:
    """There is always one more frame to take: neither the abort nor another caller waits for the last of them."""
    pixels = np.zeros((64, 64), np.uint16)
    at.mmc.on("getRemainingImageCount", times=None, drop=True, returns=1)
    at.mmc.on("popNextImageMD", times=None, drop=True, returns=pixels)
    acq = await at.open(format="memory")
    submission = acq.acquire(sequence(100_000))
    while acq.status.images_acquired + acq.status.images_saved < 20:
        await asyncio.sleep(0.002)
    async with asyncio.timeout(SOON):
        await at.core.run(lambda mmc: mmc.getExposure(), reads=True)
    assert await aborted(at, acq, submission, "fast frames") < 100_000


async def test_while_hardware_sequences_run(at: Ends) -> None:
    await at.core.set_exposure(10)
    at.mmc.feign_stage_sequence("Z", 1000)
    at.mmc.feign_xy_sequence("XY", 1000)
    try:
        acq = await at.open()
        submission = acq.acquire([{"axes": {"time": i}, "z": float(i), "x": float(i), "y": -float(i)} for i in range(900)])
        await state(at, acq, "frame 2")
        started = at.mmc.names(("startStageSequence", "startXYStageSequence"))
        assert len(started) == 2, started
        await aborted(at, acq, submission, "stage sequences")
        stopped = at.mmc.names(("stopStageSequence", "stopXYStageSequence"))
        if at.java:
            assert {"stopXYStageSequence", "stopStageSequence"} <= set(stopped)
        else:
            assert stopped[:2] == ["stopXYStageSequence", "stopStageSequence"]
    finally:
        at.mmc.unfeign()


async def test_while_the_shutter_is_held_open(at: Ends) -> None:
    acq = await at.open()
    submission = acq.acquire([{"axes": {"time": 0}}, {"axes": {"time": 1}, "min_start_time": 3600}], keep_shutter_open=True)
    await state(at, acq, "min_start_time")
    assert await at.core.get_shutter_open()
    await aborted(at, acq, submission, "shutter held open")


class SlowDisk:
    """Every write of pixels waits for the door, and then takes some time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delay: float = 0.0) -> None:
        self.door = threading.Event()
        self.entered = threading.Event()
        for name in ("pwrite", "pwritev", "write", "writev"):
            original = getattr(os, name)

            def write(fd: int, *args: Any, original: Callable[..., int] = original) -> int:
                if threading.current_thread().name.startswith("aiomm-ndtiff"):
                    self.entered.set()
                    self.door.wait(LONG)
                    time.sleep(delay)
                return original(fd, *args)

            monkeypatch.setattr(os, name, write)


@only_local("Micro-Manager writes there: its disk cannot be stuck from here")
async def test_while_the_disk_is_stuck(at: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    acq = await at.open(saving_queue_size=3)
    disk = SlowDisk(monkeypatch)
    submission = acq.acquire(steps(50))
    await state(at, acq, "room for a frame")
    try:
        waiting = asyncio.create_task(_outcome(submission))
        with at.within("disk stuck"):
            acq.abort()
            await acq.aclose()
        assert isinstance(await waiting, errors.AcquisitionAborted)
        await at.hardware_is_safe()
    finally:
        disk.door.set()
    assert await at.all_is_well() >= acq.status.images_saved


@only_local("Micro-Manager writes there: its disk cannot be stuck from here")
async def test_while_the_disk_is_slow(at: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    acq = await at.open(saving_queue_size=20)
    disk = SlowDisk(monkeypatch, delay=0.3)
    disk.door.set()
    submission = acq.acquire(steps(500))
    await state(at, acq, "room for a frame")
    waiting = asyncio.create_task(_outcome(submission))
    with at.within("disk slow (0.3 s a write)", call=0.3):
        acq.abort()
        await acq.aclose()
    assert isinstance(await waiting, errors.AcquisitionAborted)
    while any(name.startswith(("aiomm-ndtiff", "aiomm storage")) for name in our_threads()):
        await asyncio.sleep(0.01)
    acq.get_dataset().close()
    assert await at.all_is_well() >= acq.status.images_saved


async def test_while_finishing(at: Ends) -> None:
    acq = await at.open()
    acq.acquire([{"axes": {"time": 0}, "min_start_time": 3600}])
    closing = asyncio.create_task(acq.aclose())
    await state(at, acq, "min_start_time")
    with at.within("finishing"):
        acq.abort()
        await closing
    await at.all_is_well()


async def test_while_a_callback_catches_up(at: Ends) -> None:
    inside = asyncio.Event()

    async def saved(axes: Any, dataset: Any) -> None:
        inside.set()
        await asyncio.sleep(3600)

    acq = await at.open(image_saved_fn=saved)
    await acq.acquire(steps(3))
    closing = asyncio.create_task(acq.aclose())
    await inside.wait()
    await asyncio.sleep(0.1)
    assert not closing.done()
    with at.within("callback catches up"):
        acq.abort()
        await closing
    assert await at.all_is_well() == 3


@pytest.mark.sampled(1)  # that the file is closed which Micro-Manager has written is seen here
async def test_after_the_end(at: Ends) -> None:
    acq = await at.open()
    assert len(await acq.acquire(steps(3))) == 3
    await acq.aclose()
    acq.abort()
    assert acq.status.state == "finished"
    await acq.aclose()
    assert await at.all_is_well() == 3


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_while_a_generator_hangs(at: Ends, kind: str) -> None:
    inside, release = threading.Event(), threading.Event()

    def sync_events() -> Iterator[dict[str, Any]]:
        yield {"axes": {"time": 0}}
        inside.set()
        release.wait(LONG)

    async def async_events() -> AsyncIterator[dict[str, Any]]:
        yield {"axes": {"time": 0}}
        inside.set()
        await asyncio.sleep(3600)

    acq = await at.open()
    submission = acq.acquire(sync_events() if kind == "sync" else async_events())
    await asyncio.to_thread(inside.wait)
    try:
        await aborted(at, acq, submission, f"generator hangs ({kind})", besides=("the events' generator",))
    finally:
        release.set()
    async with asyncio.timeout(10):  # the generator has its thread for itself, which ends with it
        while any("the events' generator" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


@only_local("on a running Micro-Manager a hook before the hardware runs outside turns, so that it may acquire there")
async def test_while_another_acquisition_has_the_hardware(at: Ends) -> None:
    release = asyncio.Event()

    async def hook(event: Any) -> Any:
        await release.wait()
        return event

    other = await aiomm.Acquisition.open(core=at.core, show_display=False, pre_hardware_hook_fn=hook)
    first = other.acquire(steps(2))
    await state(at, other, "pre_hardware_hook_fn")
    acq = await at.open()
    submission = acq.acquire(steps(2))
    await asyncio.sleep(0.05)
    with at.within("waiting for its turn"):
        acq.abort()
        await acq.aclose()
    with pytest.raises(errors.AcquisitionAborted):
        await submission
    release.set()
    assert len(await first) == 2
    await other.aclose()
    await at.all_is_well()


async def test_while_a_post_camera_hook_holds_an_armed_camera(at: Ends) -> None:
    inside = asyncio.Event()

    async def hook(event: Any) -> Any:
        inside.set()
        await asyncio.sleep(3600)

    acq = await at.open(post_camera_hook_fn=hook)
    submission = acq.acquire(sequence(20))
    await inside.wait()
    await aborted(at, acq, submission, "camera armed, in its hook")


# ---- the core is closed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["waiting", "sequence", "hook", "busy"])
async def test_the_core_is_closed_while_an_acquisition_runs(mmc: RecordingCore, tmp_path: Path, phase: str) -> None:
    mmc.heal()
    mmc.forget()
    mmc.setExposure(5)
    core = await aiomm.LocalCore.open(mmcore=mmc)
    at = Ends(mmc, core, tmp_path)
    inside = asyncio.Event()

    async def hook(event: Any) -> Any:
        inside.set()
        if phase == "hook":
            await asyncio.sleep(3600)
        return event

    if phase == "busy":
        mmc.on("deviceBusy", times=None, when=lambda label: label == "Z", drop=True, returns=True)
    acq = await at.open(pre_hardware_hook_fn=hook)
    events = {"waiting": [{"axes": {"time": 0}, "min_start_time": 3600}], "sequence": sequence(5000)}.get(phase, steps(5))
    submission = acq.acquire(events)
    if phase == "waiting":
        await state(at, acq, "min_start_time")
    else:
        await inside.wait()
        await asyncio.sleep(0.1)
    with at.within(f"core.aclose(): {phase}"):
        await core.aclose()
    with pytest.raises(errors.AcquisitionAborted):
        await submission
    await acq.aclose()
    mmc.heal()
    async with aiomm.LocalCore(mmcore=mmc) as core:
        at.core = core
        at.threads = {"aiomm-hardware"}
        await at.all_is_well()


# ---- submission.cancel() -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "phase", ["queued", "start time", "paused", "hook", "busy", "snap", "sequence", "processor", "generator", "agenerator"]
)
async def test_a_submission_is_cancelled(at: Ends, phase: str) -> None:
    inside, gate = asyncio.Event(), asyncio.Event()
    here = threading.Event()

    async def hook(event: Any) -> Any:
        inside.set()
        if phase == "hook":
            await gate.wait()
        return event

    async def process(image: Any, metadata: Any) -> Any:
        inside.set()
        if phase == "processor":
            await gate.wait()
        return image, metadata

    def generator() -> Iterator[dict[str, Any]]:
        yield {"axes": {"time": 0}}
        here.set()
        time.sleep(0.5)

    async def agenerator() -> AsyncIterator[dict[str, Any]]:
        yield {"axes": {"time": 0}}
        here.set()
        await asyncio.sleep(3600)

    acq = await at.open(post_hardware_hook_fn=hook, image_process_fn=process)
    events: Any = steps(100)
    match phase:
        case "queued":
            acq.acquire([{"axes": {"first": 0}, "min_start_time": 0.5}])
        case "start time":
            events = [{"axes": {"time": 0}}, {"axes": {"time": 1}, "min_start_time": 3600}]
        case "paused":
            acq.pause()
        case "busy":
            at.mmc.on("deviceBusy", times=40, when=lambda label: label == "Z", drop=True, returns=True)
        case "snap":
            await at.core.set_exposure(300)
        case "sequence":
            await at.core.set_exposure(5)
            events = sequence(200 if at.java else 5000)  # Micro-Manager's engine takes the whole sequence first
        case "generator":
            events = generator()
        case "agenerator":
            events = agenerator()
    submission = acq.acquire(events)
    match phase:
        case "start time":
            await state(at, acq, "min_start_time")
        case "paused":
            await state(at, acq, "resume()")
        case "busy":
            await state(at, acq, "'Z' to be ready")
        case "snap":
            await state(at, acq, "the exposure")
        case "sequence":
            await state(at, acq, "frame 2")
        case "hook" | "processor":
            await inside.wait()
        case "generator" | "agenerator":
            await asyncio.to_thread(here.wait)
    call = {"queued": 0.5, "snap": 0.3, "generator": 0.5}.get(phase, 0.0)
    with at.within(f"submission.cancel(): {phase}", call):
        assert submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission
    assert not submission.cancel()
    gate.set()
    acq.resume()
    at.mmc.heal()
    await at.core.set_exposure(1)
    assert len(await acq.acquire([{"axes": {"after": i}} for i in range(3)])) == 3
    await acq.aclose()
    kept = await at.all_is_well()
    assert kept == len(at.saved)
    assert kept < 1000
