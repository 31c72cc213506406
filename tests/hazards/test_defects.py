"""Defects of section 5: hangs, hidden errors, wrong data and global state that peers have and aiomm must not."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.support import sequence_tester as st
from tests.support.homes import only_local
from tests.support.rigs import SHUTTER, Event, Rig, demo_rig, frames, numbered, snaps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.homes import Home

pytestmark = pytest.mark.sampled(6, of="module")

# ---- what ends never ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 3, 200])
async def test_5_1_a_source_that_raises_does_not_hang(rig: Rig, after: int) -> None:
    """In a peer the thread that submits dies, the finish signal is never seen, and await_completion spins for ever."""

    def broken() -> Iterator[Event]:
        yield from snaps(after)
        raise LookupError("out of events")

    acq = await aiomm.Acquisition.open(**rig.where, show_display=False)
    acq.acquire(broken())
    with pytest.raises(LookupError, match="out of events"):
        await acq.await_completion()
    await acq.await_completion()
    assert acq.status.state == "finished"


@pytest.mark.parametrize("wrong", [{"axes": {"n": 0.5}}, {"axes": {"n": 0}, "tags": 5}, {"axes": {"n": [1]}}], ids=repr)
async def test_5_1_an_event_that_cannot_be_read_does_not_hang(rig: Rig, wrong: Event) -> None:
    with pytest.raises(errors.EventError):
        async with rig.memory() as acq:
            acq.acquire(event for event in (*snaps(2)[1:], wrong))


async def test_5_2_waiting_is_not_polling(rig: Rig) -> None:
    """Peers poll every 10 to 100 ms. While an acquisition waits for its time nothing runs, on the loop or on the hardware thread."""
    async with rig.memory() as acq:
        submission = acq.acquire(numbered({"min_start_time": 60.0}))
        waiter = asyncio.ensure_future(submission._wait())
        await asyncio.sleep(0.1)
        steps = 0
        loop = asyncio.get_running_loop()
        once = loop._run_once  # type: ignore[attr-defined]

        def count() -> None:
            nonlocal steps
            steps += 1
            once()

        for _ in range(10):  # on a busy machine the beginning may take a while
            rig.mmc.forget()
            steps = 0
            loop._run_once = count  # type: ignore[attr-defined]
            try:
                await asyncio.sleep(0.5)
            finally:
                del loop._run_once  # type: ignore[attr-defined]
            if steps < 5:
                break
        assert steps < 5
        assert not rig.mmc.calls
        submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await waiter


def test_5_3_an_acquisition_that_is_never_finished_does_not_keep_the_process(tmp_path: Path) -> None:
    """Five threads each keep a peer's interpreter alive."""
    script = f"""
        import asyncio, aiomm
        async def main():
            core = await aiomm.LocalCore.open("demo")
            acq = await aiomm.Acquisition.open({str(tmp_path)!r}, "left", core=core, image_process_fn=lambda i, m: (i, m))
            sub = acq.acquire([{{"axes": {{"n": 0}}}}, {{"axes": {{"n": 1}}, "min_start_time": 600}}])
            async for image in sub:
                print("saved", flush=True)
                return
        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.startswith("saved"), done.stderr
    assert aiomm.Dataset(str(tmp_path / "left_1")).has_image(n=0)


@pytest.mark.parametrize(
    "which", ["event_generation_hook_fn", "pre_hardware_hook_fn", "post_hardware_hook_fn", "post_camera_hook_fn", "image_process_fn",
              "image_saved_fn", "storage_monitor_callback_fn", "notification_callback_fn"]
)  # fmt: skip
async def test_5_5_a_wrong_arity_is_refused_when_the_acquisition_is_made(rig: Rig, which: str) -> None:
    """In a peer the engine is left waiting."""

    def wrong(a: Any, b: Any, c: Any, d: Any, e: Any) -> None: ...

    with pytest.raises(TypeError, match=f"{which}.*must take"):
        async with rig.memory(**{which: wrong}):
            pass


@pytest.mark.parametrize("which", ["image_saved_fn", "notification_callback_fn"])
async def test_5_6_a_slow_callback_does_not_stall_the_engine(rig: Rig, which: str) -> None:
    """A peer's queue of 100 fills, and the acquisition stops at exactly 100 of 200 images."""
    gate = asyncio.Event()
    told = []

    async def one(notification: aiomm.Notification) -> None:
        await gate.wait()
        told.append(notification.milestone == "image_saved")

    async def two(axes: Any, dataset: Any) -> None:
        await gate.wait()
        told.append(True)

    async with rig.memory(**{which: one if which == "notification_callback_fn" else two}) as acq:
        assert len(await acq.acquire(frames(200))) == 200
        assert not told
        gate.set()
    assert sum(told) == 200


@pytest.mark.parametrize("plain", [False, True])
async def test_5_6_an_error_does_not_wait_for_a_slow_callback(rig: Rig, plain: bool) -> None:
    """What it was not told of is saved and said; a coroutine is cancelled, a plain function is handed nothing more."""
    inside, cancelled, release = asyncio.Event(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    told: list[Any] = []

    async def waits(axes: Any, dataset: Any) -> None:
        told.append(axes["n"])
        if len(told) == 3:
            inside.set()
            try:
                await asyncio.sleep(60)
            finally:
                cancelled.set()

    def stays(axes: Any, dataset: Any) -> None:
        told.append(axes["n"])
        if len(told) == 3:
            loop.call_soon_threadsafe(inside.set)
            release.wait(20)

    async def hook(event: Any) -> Any:
        if isinstance(event, dict):
            await inside.wait()
            raise LookupError("in the hook")
        return event

    with pytest.raises(LookupError, match="in the hook") as caught:
        async with rig.memory(image_saved_fn=stays if plain else waits, pre_hardware_hook_fn=hook) as acq:
            await acq.acquire(frames(40))
            await acq.acquire({"axes": {"n": 40}})
    assert any("image_saved_fn" in note and "was not told of 37 saved images" in note for note in caught.value.__notes__)
    assert len(acq.get_dataset()) == 40
    assert plain or cancelled.is_set()
    release.set()
    await asyncio.sleep(0.05)
    assert told == [0, 1, 2]


async def test_5_6_an_abort_says_what_a_slow_callback_was_not_told_of(rig: Rig) -> None:
    inside = asyncio.Event()

    async def waits(axes: Any, dataset: Any) -> None:
        inside.set()
        await asyncio.sleep(60)

    async with rig.memory(image_saved_fn=waits) as acq:
        submission = acq.acquire([*frames(4), {"axes": {"n": 4}, "min_start_time": 60}])
        await inside.wait()
        while acq.status.images_saved < 4:
            await asyncio.sleep(0.005)
        acq.abort()
        with pytest.raises(errors.AcquisitionAborted) as caught:
            await submission
    assert any("was not told of 3 saved images" in note for note in caught.value.__notes__)
    assert any("was not told of 3 saved images" in note for note in acq.status.notes)


async def test_5_6_a_slow_processor_holds_the_camera_up_and_loses_nothing(rig: Rig) -> None:
    rig.mmc.setCircularBufferMemoryFootprint(32)

    async def slow(image: Any, metadata: Any) -> Any:
        await asyncio.sleep(0.002)
        return image, metadata

    async with rig.memory(image_process_fn=slow, saving_queue_size=2) as acq:
        assert [axes["n"] for axes in await acq.acquire(frames(150))] == list(range(150))


async def test_5_6_without_a_sink_nothing_blocks(rig: Rig) -> None:
    """A peer without sink and processor blocks after 30 images."""
    async with aiomm.Acquisition(**rig.where, show_display=False, image_process_fn=lambda image, metadata: None) as acq:
        assert await acq.acquire(frames(100)) == []


@pytest.mark.parametrize("which", ["image_saved_fn", "storage_monitor_callback_fn", "notification_callback_fn", "image_process_fn"])
async def test_5_8_a_callbacks_exception_is_heard(rig: Rig, which: str) -> None:
    """It kills a thread of the peer's, is printed, and later callbacks never run."""

    def one(it: Any) -> Any:
        raise LookupError(which)

    def two(it: Any, other: Any) -> Any:
        raise LookupError(which)

    with pytest.raises(LookupError, match=which):
        async with rig.memory(**{which: two if which in ("image_saved_fn", "image_process_fn") else one}) as acq:
            await acq.acquire(snaps(3))
            await asyncio.sleep(20)


@pytest.mark.parametrize(
    ("method", "events"), [("getImage", snaps(1)), ("popNextImageMD", frames(3)), ("startSequenceAcquisition", frames(3))]
)
async def test_5_9_an_image_that_cannot_be_fetched_is_an_error(rig: Rig, method: str, events: list[Event]) -> None:
    """A peer's fetch loop tries again for ever, on any exception, as fast as it can."""
    rig.mmc.on(method, times=None, raises=RuntimeError("no image for you"))
    said = "no image for you"
    if rig.java and method == "getImage":  # its engine is such a peer, and knows no timeout here: only abort() ends it
        async with rig.memory() as acq:
            submission = acq.acquire(events)
            await asyncio.sleep(0.2)
            acq.abort()
            with pytest.raises(errors.AcquisitionAborted):
                await submission
        return
    if rig.java and method == "popNextImageMD":  # its engine is such a peer: the events' timeout ends it
        events, said = [{**event, "timeout": 300} for event in events], "no frame for 300 ms|Timeout waiting for images"
    with pytest.raises(errors.AiommError, match=said):
        async with rig.memory() as acq:
            await acq.acquire(events)
    assert rig.java or len(rig.mmc.calls_of(method)) <= 6
    assert not rig.mmc.isSequenceRunning()


async def test_5_9_waiting_for_frames_leaves_the_processor_alone(rig: Rig) -> None:
    """Peers spin on popNextImage."""
    async with rig.memory() as acq:
        rig.mmc.forget()
        before = time.thread_time()
        await acq.acquire(frames(4, exposure=100.0))
        assert time.thread_time() - before < 0.2
        looks = len(rig.mmc.calls_of("getRemainingImageCount"))
    assert looks < 0.4 / 0.0005 * 2


async def test_5_10_steps_of_the_wall_clock_shift_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real, began = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: real() + (3600.0 if time.monotonic() > began + 0.05 else 0.0))
    async with rig.memory() as acq:
        await acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 0.15}))
    assert rig.exposures()[1][1] - began >= 0.15
    if rig.java:  # whose images have Micro-Manager's metadata
        return
    one, two = (acq.get_dataset().read_metadata(n=n) for n in (0, 1))
    assert two["MonotonicTime-s"] - one["MonotonicTime-s"] >= 0.13
    assert two["ElapsedTime-ms"] - one["ElapsedTime-ms"] < 60_000


# ---- hidden errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["loadStageSequence", "startStageSequence", "loadPropertySequence", "startPropertySequence"])
async def test_5_11_an_error_of_a_hardware_sequence_is_heard(home: Home, tmp_path: Path, method: str) -> None:
    async with home.tester(tmp_path) as rig, asyncio.timeout(20):
        rig.mmc.on(method, times=None, raises=RuntimeError("sequence memory"))
        with pytest.raises(errors.HardwareError, match="sequence memory"):
            async with rig.memory() as acq:
                names = list(st.CHANNELS)
                acq.acquire(numbered(*({"z": float(i), "config_group": [st.GROUP, names[i]]} for i in range(3))))
        rig.mmc.heal()
        if method.startswith("start"):
            assert rig.mmc.calls_of(method.replace("start", "stop"))
        async with rig.memory() as acq:
            await acq.acquire(numbered({"z": 4.0}))
        assert st.decode(acq.get_dataset().read_image(n=0)).z == 4.0  # no sequence was left running


async def test_5_12_the_first_error_counts_with_its_own_type_and_the_others_are_noted(rig: Rig) -> None:
    """A peer keeps the last one, wrapped, without its cause."""

    class First(Exception):
        pass

    def saved(axes: Any, dataset: Any) -> None:
        raise LookupError("second")

    def processor(image: Any, metadata: Any) -> Any:
        if metadata["Axes"]["n"] == 1:
            raise First("first")
        return image, metadata

    with pytest.raises((First, LookupError)) as caught:
        async with rig.memory(image_process_fn=processor, image_saved_fn=saved) as acq:
            await acq.acquire(frames(2))
    assert not isinstance(caught.value, BaseExceptionGroup)
    assert acq.status.error is caught.value


async def test_5_15_a_wrong_event_does_not_abort_the_experiment(rig: Rig) -> None:
    async with rig.memory() as acq:
        running = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 0.1}))
        with pytest.raises(errors.EventError):
            await acq.acquire({"axes": {"m": 0}, "chanel": "DAPI"})
        assert len(await running) == 2


# ---- wrong data and hardware ----------------------------------------------------------------------------------------


async def test_5_17_a_change_after_the_hardware_is_applied_not_only_written_down(rig: Rig) -> None:
    """In a peer the stage stays at 1.0 and the metadata says 42.0."""
    async with rig.memory(post_hardware_hook_fn=lambda event: {**event, "z": 42.0}) as acq:
        await acq.acquire({"axes": {"n": 0}, "z": 1.0})
        assert rig.mmc.getPosition() == 42.0
    assert acq.get_dataset().read_metadata(n=0)["ZPosition_um_Intended" if rig.java else "ZPosition_um"] == 42.0


@only_local('on_error="continue" is refused on a running Micro-Manager, whose engine ends at its first device error')
async def test_5_19_the_cores_camera_is_back_after_a_failure_and_the_exposure_goes_to_the_named_one(rig: Rig) -> None:
    mmc = rig.mmc
    mmc.loadDevice("Second", "DemoCamera", "DCam")
    mmc.setParentLabel("Second", "DHub")
    mmc.initializeDevice("Second")
    mmc.setProperty("Second", "PixelType", "8bit")
    mmc.on("snapImage", raises=RuntimeError("dead"))
    async with rig.memory(on_error="continue") as acq:
        events = [{"axes": {"n": 0}, "camera": "Second", "exposure": 7.0}, {"axes": {"n": 1}}]
        assert await acq.acquire(events) == [{"n": 1}]
        assert acq.get_dataset().read_image(n=1).dtype == np.uint16  # the core's own camera took it
        assert "dead" in acq.status.notes[0]
    assert (mmc.getCameraDevice(), mmc.getExposure("Second"), mmc.getExposure("Camera")) == ("Camera", 7.0, 1.0)


async def test_5_20_after_abort_nothing_more_is_commanded(rig: Rig) -> None:
    """In a peer preparation and even the snap of the current event go on."""
    inside, go = threading.Event(), threading.Event()

    def slow(original: Any, *args: Any) -> Any:
        inside.set()
        go.wait(30)
        return original(*args)

    rig.mmc.on("setXYPosition", do=slow)
    async with rig.memory() as acq:
        submission = acq.acquire({"axes": {"n": 0}, "x": 1.0, "y": 1.0, "z": 5.0, "exposure": 9.0, "config_group": ["Channel", "Cy5"]})
        await asyncio.to_thread(inside.wait, 30)
        acq.abort()
        rig.mmc.forget()
        go.set()
        with pytest.raises(errors.AcquisitionAborted):
            await submission
    after = rig.mmc.names()
    if rig.java:  # its engine is such a peer: the event under way is carried out
        assert after.count("snapImage") <= 1 and len(acq.get_dataset()) <= 1
        return
    assert not {"snapImage", "setPosition", "startSequenceAcquisition"} & set(after)


async def test_5_22_autoshutter_off_stays_off_and_on_comes_back(rig: Rig) -> None:
    for auto, opened in ((True, False), (False, True), (False, False)):
        rig.mmc.setAutoShutter(auto)
        rig.mmc.setShutterOpen(SHUTTER, opened)
        async with rig.memory() as acq:
            await acq.acquire(snaps(2, keep_shutter_open=True))
            await acq.acquire([{"axes": {"m": 0}, "keep_shutter_open": False}])
        assert (rig.mmc.getAutoShutter(), rig.mmc.getShutterOpen(SHUTTER)) == (auto, opened)


@pytest.mark.parametrize("kind", ["memory", "ndtiff"])
async def test_5_23_duplicate_axes_do_not_overwrite(rig: Rig, kind: str) -> None:
    async with rig.memory() if kind == "memory" else rig.acquisition() as acq:
        await acq.acquire({"axes": {"n": 0}, "exposure": 2.0})
        with pytest.raises(errors.DuplicateImageError, match="'n': 0"):
            await acq.acquire([{"axes": {"n": 1}}, {"axes": {"n": 0}, "exposure": 5.0}])
    assert len(acq.get_dataset()) == 1
    assert acq.get_dataset().read_metadata(n=0)["Exposure"] == 2.0


async def test_5_23_a_processor_cannot_overwrite_either(rig: Rig) -> None:
    with pytest.raises(errors.DuplicateImageError):
        async with rig.memory(image_process_fn=lambda image, md: (image, {**md, "Axes": {"same": 0}})) as acq:
            await acq.acquire(snaps(2))
    assert len(acq.get_dataset()) == 1


# ---- global state ---------------------------------------------------------------------------------------------------


@only_local("a Micro-Manager has one core, as long as it runs")
async def test_5_24_cores_come_and_go_and_live_side_by_side(rig: Rig, tmp_path: Path) -> None:
    """A peer's engine is a singleton, bound to the first core for ever."""
    async with demo_rig(tmp_path / "other", size=32) as other:
        async with rig.memory() as a, other.memory() as b:
            one, two = a.acquire(snaps(5)), b.acquire(snaps(5))
            assert len(await one) == len(await two) == 5
        assert a.get_dataset().read_image(n=0).shape == (64, 64)
        assert b.get_dataset().read_image(n=0).shape == (32, 32)
    async with demo_rig(tmp_path / "third", size=16) as third, third.memory() as c:
        assert len(await c.acquire(frames(3))) == 3


async def test_5_26_the_users_random_numbers_are_the_users(rig: Rig) -> None:
    """A peer draws its message ids from numpy's global generator."""
    np.random.seed(7)
    wanted = np.random.random(3)
    np.random.seed(7)
    async with rig.acquisition(image_process_fn=lambda image, metadata: (image, metadata)) as acq:
        await acq.acquire(frames(5))
    assert np.array_equal(np.random.random(3), wanted)


async def test_5_27_nothing_is_left_for_the_garbage_collector(rig: Rig) -> None:
    for _ in range(3):
        async with rig.memory(pre_hardware_hook_fn=lambda event: event, notification_callback_fn=lambda note: None) as acq:
            await acq.acquire(snaps(2))
    before = threading.active_count()
    del acq
    gc.collect()
    assert threading.active_count() <= before
    assert not [thread.name for thread in threading.enumerate() if "hook_fn" in thread.name or "storage" in thread.name]


async def test_5_28_a_device_that_is_waited_for_blocks_nobody_elses_reading(rig: Rig) -> None:
    """One lock per bridge makes every other call wait in a peer."""
    busy = threading.Event()
    busy.set()
    rig.mmc.on("deviceBusy", times=None, when=lambda label: label == "Z" and busy.is_set(), drop=True, returns=True)
    async with rig.memory() as acq:
        submission = acq.acquire({"axes": {"n": 0}, "z": 3.0})
        while not rig.mmc.calls_of("deviceBusy") if rig.java else "'Z'" not in acq.status.waiting_for:
            await asyncio.sleep(0.001)
        assert await rig.core.get_exposure() == 1.0
        assert await rig.core.get_position() == (0.0 if rig.java else 3.0)  # its engine waits before the move too
        assert not submission.done
        busy.clear()
        assert len(await submission) == 1


@pytest.mark.parametrize(
    ("key", "right"), [("exposur", "exposure"), ("axis", "axes"), ("keep_shutter", "keep_shutter_open"), ("min_start", "min_start_time")]
)
async def test_5_30_a_misspelt_event_key_is_suggested(rig: Rig, key: str, right: str) -> None:
    async with rig.memory() as acq:
        with pytest.raises(errors.EventError, match=right):
            await acq.acquire({"axes": {"n": 0}, key: 3})


async def test_5_30_a_misspelt_parameter_is_suggested(rig: Rig) -> None:
    with pytest.raises(TypeError, match="did you mean 'pre_hardware_hook_fn'"):
        rig.memory(pre_hardware_hook=lambda event: event)


async def test_5_33_feedback_does_not_starve_behind_an_endless_generator(rig: Rig) -> None:
    """In a peer what hooks put comes when the generator is exhausted."""

    def endless() -> Iterator[Event]:
        n = 0
        while True:
            yield {"axes": {"n": n}, "x": float(n % 5)}
            n += 1

    def hook(event: Event, queue: Any) -> Event:
        if event["axes"].get("n") == 10:
            queue.put({"axes": {"put": 0}})
        return event

    async with rig.memory(pre_hardware_hook_fn=hook, look_ahead=4) as acq:
        submission = acq.acquire(endless())
        async for image in submission:
            if "put" in image.axes:
                break
        submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission
    assert len(acq.get_dataset()) < 60


async def test_5_34_the_callers_events_are_not_touched(rig: Rig) -> None:
    """Peers copy row and column into the caller's axes, and append an event to the caller's list."""

    def hook(event: Event) -> Event:
        event["axes"]["mine"] = 1
        event["z"] = 7.0
        return event

    tags = {"a": "b" if rig.java else [1]}  # Micro-Manager's engine takes text only
    events = [{"axes": {"n": 0}, "row": 1, "col": 2, "channel": {"group": "Channel", "config": "DAPI"}, "tags": tags}]
    before = repr(events)
    async with rig.memory(event_generation_hook_fn=hook, pre_hardware_hook_fn=hook) as acq:
        assert len(await acq.acquire(events)) == 1
        assert repr(events) == before
        events[0]["axes"]["n"] = 1  # and they are the caller's to use again
        assert len(await acq.acquire(events)) == 1
