"""The engine of each home: the order of its calls, what it tries again, shutter, clock, cameras, and what it does when frames fail."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.support import sequence_tester as st
from tests.support.homes import only_local
from tests.support.rigs import SHUTTER, Event, Rig, frames, numbered, snaps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.homes import Home

pytestmark = pytest.mark.sampled(4, of="module")

ACTS = ("setPosition", "setXYPosition", "setConfig", "setExposure", "setProperty", "snapImage", "getImage", "setShutterOpen")


def acts(rig: Rig) -> list[tuple[str, tuple[Any, ...]]]:
    return [(call.name, call.args) for call in rig.mmc.calls_of(*ACTS)]


# ---- the order ------------------------------------------------------------------------------------------------------


async def test_the_order_of_one_event(tester: Rig) -> None:
    """Other stages, XY, preset, exposure, properties, then the focus when all else has arrived, then the camera."""
    event = {
        "axes": {"n": 0},
        "z": 5.0,
        "x": 1.0,
        "y": 2.0,
        "exposure": 2.0,
        "config_group": [st.GROUP, "DAPI"],
        "properties": [[st.SWITCHER_2, "State", "4"]],
        "stage_positions": [[st.Z_2, 3.0]],
    }
    async with tester.memory() as acq:
        tester.mmc.forget()
        await acq.acquire(event)
        told = acts(tester)
    if tester.java:  # its own order; the exposure twice, since a preset may change it
        assert [*told[:3], *sorted(told[3:6]), *told[6:]] == [
            ("setProperty", (st.SWITCHER_2, "State", "4")),
            ("setPosition", (st.Z_2, 3.0)),
            ("setXYPosition", (st.XY, 1.0, 2.0)),
            ("setConfig", (st.GROUP, "DAPI")),
            ("setExposure", (2.0,)),
            ("setExposure", (2.0,)),
            ("setPosition", (st.Z, 5.0)),
            ("snapImage", ()),
            ("getImage", (0,)),
        ]
        return
    assert told == [
        ("setPosition", (st.Z_2, 3.0)),
        ("setXYPosition", (st.XY, 1.0, 2.0)),
        ("setConfig", (st.GROUP, "DAPI")),
        ("setExposure", (st.CAMERA, 2.0)),
        ("setProperty", (st.SWITCHER_2, "State", "4")),
        ("setPosition", (st.Z, 5.0)),
        ("snapImage", ()),
        ("getImage", ()),
    ]
    calls = tester.mmc.calls
    z = next(i for i, call in enumerate(calls) if call.args == (st.Z, 5.0))
    asked = {call.args[0] for call in calls[:z] if call.name == "deviceBusy"}
    assert asked >= {st.Z_2, st.XY, st.SWITCHER, st.SWITCHER_2}  # the focus waits for all of them


async def test_the_focus_waits_for_the_rest(rig: Rig) -> None:
    rig.mmc.on("deviceBusy", times=20, when=lambda label: label == "XY", drop=True, returns=True)
    async with rig.memory() as acq:
        await acq.acquire({"axes": {}, "x": 5.0, "y": 5.0, "z": 9.0})
    names = [(call.name, call.args[0]) for call in rig.mmc.calls_of("deviceBusy", "setPosition")]
    assert names.count(("deviceBusy", "XY")) > 20
    assert names.index(("setPosition", "Z")) > 20


async def test_the_order_of_a_sequence(tester: Rig) -> None:
    tester.mmc.feign_exposure_sequence(st.CAMERA, 9)
    async with tester.memory(post_camera_hook_fn=lambda event: tester.mmc.getCameraDevice() and event) as acq:
        tester.mmc.forget()
        await acq.acquire(numbered(*({"z": float(i), "exposure": 1.0 + i, "x": 3.0, "y": 0.0} for i in range(4))))
    if tester.java:
        names = tester.mmc.names()
        before = names[: names.index("startSequenceAcquisition")]
        started = ["setXYPosition", "loadStageSequence", "loadExposureSequence", "startStageSequence", "startExposureSequence"]
        assert set(started) <= set(before) and before.index("loadStageSequence") < before.index("startStageSequence")
        after = names[len(before) :]
        assert after.count("popNextImageMD") == 4
        last = len(after) - after[::-1].index("popNextImageMD")
        assert {"stopSequenceAcquisition", "stopExposureSequence", "stopStageSequence"} <= set(after[last:])
        return
    names = tester.mmc.names(
        [
            "setXYPosition", "setPosition", "loadStageSequence", "startStageSequence", "stopStageSequence", "loadExposureSequence",
            "startExposureSequence", "stopExposureSequence", "prepareSequenceAcquisition", "startSequenceAcquisition",
            "stopSequenceAcquisition", "popNextImageMD", "getCameraDevice",
        ]
    )  # fmt: skip
    order = [name for name in names if name != "getCameraDevice"]
    assert order[:9] == [
        "setXYPosition", "setPosition", "loadStageSequence", "loadExposureSequence", "startStageSequence", "startExposureSequence",
        "prepareSequenceAcquisition", "startSequenceAcquisition", "popNextImageMD",
    ]  # fmt: skip
    assert order[9:] == ["popNextImageMD"] * 3 + ["stopSequenceAcquisition", "stopExposureSequence", "stopStageSequence"]
    armed, first = names.index("startSequenceAcquisition"), names.index("popNextImageMD")
    assert "getCameraDevice" in names[armed:first]  # the hook: the camera is armed, no image was waited for


async def test_only_what_changes_is_commanded(rig: Rig) -> None:
    same: Event = {"z": 3.0, "x": 1.0, "y": 2.0, "exposure": 2.0, "channel": {"group": "Channel", "config": "DAPI"}}
    async with rig.memory(sequencing="off") as acq:
        rig.mmc.forget()
        await acq.acquire(numbered(same, same, same))
        told = [name for name, _ in acts(rig)]
    if rig.java:  # aiomm empties its memory before each event: what somebody has moved meanwhile is commanded again
        assert told.count("setXYPosition") == told.count("setConfig") == told.count("setPosition") == told.count("snapImage") == 3
        return
    assert told == ["setXYPosition", "setConfig", "setExposure", "setPosition", *["snapImage", "getImage"] * 3]


async def test_an_event_without_axes_and_channel_moves_only(rig: Rig) -> None:
    async with rig.memory() as acq:
        assert await acq.acquire([{"z": 4.0}, {"keep_shutter_open": False}]) == []
        assert rig.mmc.getPosition() == 4.0
        assert await acq.acquire({"axes": {}}) == [{}]
        assert await acq.acquire({"channel": {"group": "Channel", "config": "FITC"}}) == [{"channel": "FITC"}]
    assert len(rig.mmc.calls_of("snapImage")) == 2


async def test_a_preset_may_choose_another_focus(tester: Rig) -> None:
    tester.mmc.defineConfig("Drive", "second", "Core", "Focus", st.Z_2)
    async with tester.memory() as acq:
        await acq.acquire(numbered({"z": 1.0}, {"config_group": ["Drive", "second"], "z": 6.0}))
    image = st.decode(acq.get_dataset().read_image(n=1))
    assert (image.z, image.state[st.Z_2, "ZPositionUm"]) == (1.0, 6.0)


# ---- trying again ---------------------------------------------------------------------------------------------------

MOVES: dict[str, Event] = {
    "setPosition": {"z": 1.0},
    "setXYPosition": {"x": 1.0, "y": 1.0},
    "setConfig": {"config_group": ["Channel", "Cy5"]},
    "setExposure": {"exposure": 3.0},
    "setProperty": {"properties": [["LED", "State", "3"]]},
}


@pytest.mark.parametrize("method", MOVES)
async def test_five_failures_are_tried_again(rig: Rig, method: str) -> None:
    rig.mmc.on(method, times=5, raises=RuntimeError("no"))
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}, **MOVES[method]})
    calls = rig.mmc.calls_of(method)
    assert [call.error is None for call in calls] == [False] * 5 + [True]
    assert all(after.start - before.end >= 0.0049 for before, after in itertools.pairwise(calls))
    assert acq.get_dataset().read_metadata(n=0).get("Retries") == (None if rig.java else 5)


@pytest.mark.parametrize("method", MOVES)
async def test_the_sixth_failure_ends_the_acquisition(rig: Rig, method: str) -> None:
    rig.mmc.on(method, times=None, raises=RuntimeError("stuck for good"))
    with pytest.raises(errors.HardwareError, match="stuck for good" if rig.java else r"stuck for good.*6 times") as caught:
        async with rig.memory() as acq:
            await acq.acquire([*snaps(1), {"axes": {"n": 9}, **MOVES[method]}] if method != "setXYPosition" else MOVES[method])
    assert isinstance(caught.value.__cause__, errors.CoreError | errors.JavaException)
    failed = [call for call in rig.mmc.calls_of(method) if call.error]
    assert len(failed) == 6
    assert rig.mmc.getAutoShutter()


@pytest.mark.parametrize("times", [5, 6])
async def test_a_camera_that_does_not_start(rig: Rig, times: int) -> None:
    """Micro-Manager's engine tries that once."""
    rig.mmc.on("startSequenceAcquisition", times=times, raises=RuntimeError("no start"))
    ends = rig.java or times == 6
    with pytest.raises(errors.HardwareError, match="no start") if ends else contextlib.nullcontext():
        async with rig.memory() as acq:
            await acq.acquire(frames(3))
    failed = [call for call in rig.mmc.calls_of("startSequenceAcquisition") if call.error]
    assert len(failed) == (1 if rig.java else times)


@only_local('on_error="continue" is refused on a running Micro-Manager, whose engine ends at its first device error')
async def test_on_error_continue_goes_on(rig: Rig) -> None:
    rig.mmc.on("setPosition", when=lambda _, um: um == 2.0, times=None, raises=RuntimeError("stuck"))
    async with rig.memory(on_error="continue") as acq:
        events = [{"axes": {"z": i}, "z": float(i)} for i in range(4)]
        submission = acq.acquire(events)
        assert [axes["z"] for axes in await submission] == [0, 1, 3]
        assert (submission.status.failed, acq.status.failed, acq.status.events_done) == (1, 1, 4)
        assert "stuck" in acq.status.notes[0]
        rig.mmc.heal()
        assert await acq.acquire(events[2]) == [{"z": 2}]  # its axes are free


async def test_a_device_that_stays_busy_is_an_error(rig: Rig) -> None:
    rig.mmc.setTimeoutMs(50)
    rig.mmc.on("deviceBusy", times=None, when=lambda label: label == "Z", drop=True, returns=True)
    with pytest.raises(errors.HardwareError, match='"Z" is still busy' if rig.java else r"'Z' is still busy after 0\.05 s"):
        async with rig.memory() as acq:
            await acq.acquire({"axes": {}, "z": 1.0})


# ---- the shutter ----------------------------------------------------------------------------------------------------


def shutter_calls(rig: Rig) -> list[tuple[Any, ...]]:
    return [(call.name.removeprefix("set"), call.args[-1]) for call in rig.mmc.calls_of("setAutoShutter", "setShutterOpen")]


FORMS: dict[str, tuple[list[Event], dict[str, Any]]] = {
    "event key": (snaps(4, keep_shutter_open=True), {}),
    "argument": (snaps(4), {"keep_shutter_open": True}),
    "event key in a sequence": (frames(4, keep_shutter_open=True), {}),
    "argument in a sequence": (frames(4), {"keep_shutter_open": True}),
    "between z steps": (
        list(aiomm.multi_d_acquisition_events(z_start=0, z_end=3, z_step=1, keep_shutter_open_between_z_steps=True)),
        {},
    ),
    "between channels": (
        list(
            aiomm.multi_d_acquisition_events(
                channel_group="Channel", channels=["DAPI", "FITC", "Cy5"], keep_shutter_open_between_channels=True
            )
        ),
        {},
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_keep_shutter_open(rig: Rig, form: str) -> None:
    """Opened once for all events, closed and given back to autoshutter once, when the submission has ended."""
    events, options = FORMS[form]
    seen = []
    rig.mmc.on("snapImage", times=None, do=lambda original: (original(), seen.append(rig.mmc.getShutterOpen(SHUTTER)))[0])
    rig.mmc.on("popNextImageMD", times=None, do=lambda original, *args: (original(*args), seen.append(rig.mmc.getShutterOpen(SHUTTER)))[0])
    async with rig.memory() as acq:
        rig.mmc.forget()
        saved = await acq.acquire(events, **options)
        assert len(saved) == len(events)
        await acq.acquire({"axes": {"after": 0}, "x": 1.0})
        told = shutter_calls(rig)
    assert seen[: len(events)] == [True] * len(events)
    assert seen[len(events) :] == [False]
    assert told == [("AutoShutter", False), ("ShutterOpen", True), ("ShutterOpen", False), ("AutoShutter", True)]
    assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen(SHUTTER)


async def test_an_events_own_word_counts_more_than_the_arguments(rig: Rig) -> None:
    async with rig.memory() as acq:
        rig.mmc.forget()
        events = snaps(3)
        events[1]["keep_shutter_open"] = False
        await acq.acquire(events, keep_shutter_open=True)
        await acq.acquire({"axes": {"after": 0}})
        told = [on for what, on in shutter_calls(rig) if what == "AutoShutter"]
    assert told == [False, True, False, True]


async def test_it_stays_open_across_the_windows_of_a_generator(rig: Rig) -> None:
    async with rig.memory(look_ahead=2) as acq:
        rig.mmc.forget()
        await acq.acquire((event for event in snaps(9)), keep_shutter_open=True)
    assert shutter_calls(rig).count(("ShutterOpen", True)) == shutter_calls(rig).count(("ShutterOpen", False)) == 1


async def test_it_is_restored_after_an_error(rig: Rig) -> None:
    rig.mmc.on("snapImage", nth=3, times=None, raises=RuntimeError("dead"))
    with pytest.raises(errors.HardwareError, match="dead"):
        async with rig.memory() as acq:
            await acq.acquire(snaps(5), keep_shutter_open=True)
    assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen(SHUTTER)


# ---- the clock ------------------------------------------------------------------------------------------------------


def lateness(acq: aiomm.Acquisition) -> list[float]:
    return [acq.get_dataset().read_metadata(n=n)["Lateness-ms"] for n in range(len(acq.get_dataset()))]


async def test_the_first_event_waits_too_and_lateness_is_recorded(rig: Rig) -> None:
    async with rig.memory() as acq:
        began = time.monotonic()
        await acq.acquire(numbered({"min_start_time": 0.1}, {"min_start_time": 0.15}))
    taken = [start for _, start in rig.exposures()]
    assert taken[0] >= began + 0.1
    assert taken[1] >= began + 0.15
    if not rig.java:  # whose images have Micro-Manager's metadata
        assert all(ms >= 0 for ms in lateness(acq))


@only_local("images of Micro-Manager's engine have its metadata, which say nothing of lateness")
async def test_an_event_that_could_not_be_in_time_says_how_late_it_was(rig: Rig) -> None:
    rig.mmc.on("snapImage", nth=1, delay=0.1)
    async with rig.memory(sequencing="off") as acq:
        await acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 0.001}))
    assert lateness(acq)[1] >= 90


@pytest.mark.parametrize("clock", ["submission", "acquisition"])
async def test_whose_start_counts(rig: Rig, clock: str) -> None:
    async with rig.memory(clock=clock) as acq:
        await acq.acquire({"axes": {"n": 0}, "min_start_time": 0})
        await asyncio.sleep(0.15)
        submitted = time.monotonic()
        await acq.acquire({"axes": {"n": 1}, "min_start_time": 0.05})
    (_, one), (_, two) = rig.exposures()
    assert two - one >= 0.15
    if rig.java:
        assert (two - submitted >= 0.05) or clock == "acquisition"
        return
    second = acq.get_dataset().read_metadata(n=1)
    if clock == "acquisition":
        assert second["Lateness-ms"] >= 90  # its time had passed before it was submitted
    else:
        assert second["Lateness-ms"] < 90


async def test_a_hook_may_move_the_start(rig: Rig) -> None:
    async with rig.memory(pre_hardware_hook_fn=lambda event: {**event, "min_start_time": 0.12}) as acq:
        began = time.monotonic()
        await acq.acquire({"axes": {"n": 0}, "min_start_time": 0.0})
    assert rig.exposures()[0][1] - began >= 0.12


async def test_the_wall_clock_has_no_say(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    steps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(steps))
    async with rig.memory() as acq:
        assert len(await acq.acquire(numbered({"min_start_time": 0.02}, {"min_start_time": 0.04}))) == 2


# ---- cameras and frames ---------------------------------------------------------------------------------------------


async def test_the_cores_camera_is_back_after_an_event_that_names_another(rig: Rig) -> None:
    mmc = rig.mmc
    mmc.loadDevice("Second", "DemoCamera", "DCam")
    mmc.setParentLabel("Second", "DHub")
    mmc.initializeDevice("Second")
    mmc.setProperty("Second", "PixelType", "8bit")
    async with rig.memory() as acq:
        await acq.acquire([{"axes": {"n": 0}, "camera": "Second", "exposure": 7.0}, {"axes": {"n": 1}}])
        await acq.acquire([{"axes": {"n": n}, "camera": "Second"} for n in (2, 3, 4)])
    dataset = acq.get_dataset()
    said = [dataset.read_metadata(n=n) for n in range(5)]
    if not rig.java:  # whose images do not say which camera took them
        assert [md["Camera"] for md in said] == ["Second", "Camera", "Second", "Second", "Second"]
    assert [md["Exposure"] for md in said] == [7.0, 1.0, 7.0, 7.0, 7.0]
    assert [dataset.read_image(n=n).dtype for n in range(3)] == [np.uint8, np.uint16, np.uint8]
    assert mmc.getCameraDevice() == "Camera"
    mmc.on("snapImage", raises=RuntimeError("dead"))
    with pytest.raises(errors.HardwareError, match="dead"):
        async with rig.memory() as acq:
            await acq.acquire({"axes": {}, "camera": "Second"})
    assert mmc.getCameraDevice() == "Camera"


def missed(rig: Rig, after: int) -> None:
    """Let the camera deliver no frame after some, until it is stopped: a trigger was missed."""
    left = [after]

    def count(original: Any) -> int:
        return int(original()) if left[0] > 0 else 0

    def pop(original: Any, *args: Any) -> Any:
        if left[0] <= 0:
            raise RuntimeError("Circular buffer is empty.")
        image = original(*args)
        left[0] -= 1
        return image

    def stop(original: Any, *args: Any) -> None:
        waits.heal()
        original(*args)

    rig.mmc.on("getRemainingImageCount", times=None, do=count)
    rig.mmc.on("popNextImageMD", times=None, do=pop)
    waits = rig.mmc.on("isSequenceRunning", times=None, when=lambda *a: bool(left[0] <= 0), drop=True, returns=True)
    rig.mmc.on("stopSequenceAcquisition", times=None, do=stop)


async def test_a_missed_trigger_ends_the_acquisition(rig: Rig) -> None:
    missed(rig, after=3)
    timed_out = (errors.FrameTimeoutError, "no frame for 1000 ms") if rig.java else (errors.FrameTimeoutError, "3 of 6 frames")
    with pytest.raises(timed_out[0], match=timed_out[1]):
        async with rig.acquisition() as acq:
            await acq.acquire(frames(6, timeout=1000 if rig.java else 60))
    rig.mmc.heal()
    assert not rig.mmc.isSequenceRunning()
    assert len(await aiomm.Dataset.open(str(acq.path))) == 3


@only_local('on_error="continue" is refused on a running Micro-Manager, whose engine ends at its first device error')
async def test_a_missed_trigger_and_on(rig: Rig) -> None:
    missed(rig, after=3)
    async with rig.acquisition(on_error="continue") as acq:
        submission = acq.acquire(frames(6, timeout=60))
        assert [axes["n"] for axes in await submission] == [0, 1, 2]
        assert (submission.status.failed, submission.status.saved) == (3, 3)
        rig.mmc.heal()
        again = await acq.acquire(frames(6)[3:])
        assert [axes["n"] for axes in again] == [3, 4, 5]
    assert len(await aiomm.Dataset.open(str(acq.path))) == 6


async def test_a_camera_that_stops_early(rig: Rig) -> None:
    rig.mmc.on("startSequenceAcquisition", do=lambda original, camera, n, interval, stop: original(camera, n - 2, interval, stop))
    stopped = (errors.HardwareError, "Expected images did not arrive") if rig.java else (errors.FrameTimeoutError, "stopped after 4 of 6")
    with pytest.raises(stopped[0], match=stopped[1]):
        async with rig.acquisition() as acq:
            await acq.acquire(frames(6))
    assert len(acq.get_dataset()) == 4


async def test_a_buffer_that_overflows(home: Home, tmp_path: Path) -> None:
    """The camera is faster than what takes its frames: a clear error, and what has arrived is saved."""
    gate = threading.Event()

    async with home.demo(tmp_path, size=512) as rig:  # 8 frames fill the buffer of 4 MB
        rig.mmc.on("popNextImageMD", nth=3, do=lambda original, *args: (gate.wait(2), original(*args))[1])
        rig.mmc.on("isBufferOverflowed", times=None, do=lambda original: original())
        threading.Timer(0.5, gate.set).start()
        overflow = (errors.HardwareError, "buffer overflow") if rig.java else (errors.BufferOverflowError, r"4 MB.*of 100 frames")
        with pytest.raises(overflow[0], match=overflow[1]) as caught:
            async with rig.acquisition() as acq:
                await acq.acquire(frames(100))
        assert not rig.mmc.isSequenceRunning()
        dataset = await aiomm.Dataset.open(str(acq.path))
        taken = len(dataset)
        assert (0 if rig.java else 2) < taken < 20  # its engine leaves in the buffer what has arrived
        assert rig.java or f"{taken} of 100" in str(caught.value)
        assert [dataset.has_image(n=n) for n in range(100)] == [True] * taken + [False] * (100 - taken)


async def test_a_live_camera_is_not_stolen(rig: Rig) -> None:
    rig.mmc.startContinuousSequenceAcquisition(0)
    with pytest.raises(errors.AiommError, match="running"):
        async with rig.memory() as acq:
            await acq.acquire(frames(3))
    rig.mmc.stopSequenceAcquisition()


async def test_a_camera_that_was_made_live_between_submissions(rig: Rig) -> None:
    """Micro-Manager's engine would wait for it for ever."""
    async with rig.memory() as acq:
        assert len(await acq.acquire(frames(2))) == 2
        rig.mmc.startContinuousSequenceAcquisition(0)
        with pytest.raises(errors.AiommError, match="running"):
            async with asyncio.timeout(10):
                await acq.acquire([{"axes": {"n": n}} for n in (7, 8)])
    rig.mmc.stopSequenceAcquisition()


async def test_a_size_that_changes_between_events(rig: Rig) -> None:
    async with rig.acquisition() as acq:
        await acq.acquire(numbered(*({"properties": [["Camera", "Binning", b]]} for b in ("1", "2", "4"))))
        rig.mmc.setROI("Camera", 0, 0, 8, 6)
        await acq.acquire([{"axes": {"n": n}} for n in (3, 4)])
    shapes = [acq.get_dataset().read_image(n=n).shape for n in range(5)]
    assert shapes == [(64, 64), (32, 32), (16, 16), (6, 8), (6, 8)]


# ---- turns ----------------------------------------------------------------------------------------------------------


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_acquisitions_take_turns_and_keep_their_own_settings(tester: Rig) -> None:
    """Each names its preset, exposure and z once; what the other does in between changes nothing."""
    events = {
        "a": numbered({"z": 1.0, "exposure": 2.0, "config_group": [st.GROUP, "DAPI"]}, *({"x": float(i)} for i in range(8))),
        "b": numbered({"z": 9.0, "exposure": 3.0, "config_group": [st.GROUP, "Cy5"]}, *({"x": float(-i)} for i in range(8))),
    }
    async with tester.memory() as a, tester.memory() as b:
        tasks = [asyncio.ensure_future(acq.acquire(events[key])) for acq, key in ((a, "a"), (b, "b"))]
        await asyncio.gather(*tasks)
    packets: dict[str, list[int]] = {}
    for acq, key, wanted in ((a, "a", (1.0, 2.0, 1)), (b, "b", (9.0, 3.0, 3))):
        images = [st.decode(acq.get_dataset().read_image(n=n)) for n in range(9)]
        assert [(image.z, image.exposure, image.switcher) for image in images] == [wanted] * 9
        packets[key] = [image.packet for image in images]
    assert min(packets["a"]) < max(packets["b"]) and min(packets["b"]) < max(packets["a"])  # they did take turns


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_what_an_acquisition_never_named_is_as_it_was_when_its_turn_comes(tester: Rig) -> None:
    tester.mmc.setPosition(5.0)
    tester.mmc.setExposure(2.0)
    async with tester.memory() as a, tester.memory() as b:
        await a.acquire({"axes": {"n": 0}})
        await b.acquire({"axes": {"n": 0}, "z": 50.0, "exposure": 4.0, "x": 30.0, "y": 30.0})
        await a.acquire({"axes": {"n": 1}})
    image = st.decode(a.get_dataset().read_image(n=1))
    assert (image.z, image.exposure, image.xy) == (5.0, 2.0, (0.0, 0.0))


@only_local("one engine runs all acquisitions of a Micro-Manager: what a hook waits for must not wait for it")
@pytest.mark.parametrize("point", ["event_generation", "pre_hardware", "post_hardware"])
async def test_an_acquisition_inside_a_hook_of_another(tester: Rig, point: str) -> None:
    inner: list[list[float]] = []

    async def hook(event: Event) -> Event:
        async with tester.memory() as acq:
            await acq.acquire([{"axes": {"z": i}, "z": 20.0 + i, "exposure": 5.0, "x": float(i)} for i in range(3)])
        inner.append([st.decode(acq.get_dataset().read_image(z=i)).z for i in range(3)])
        return event

    events = numbered(*({"z": float(i), "x": float(i)} for i in range(3)))
    async with asyncio.timeout(20), tester.memory(**{f"{point}_hook_fn": hook}) as acq:
        assert len(await acq.acquire(events)) == 3
    assert inner == [[20.0, 21.0, 22.0]] * 3
    images = [st.decode(acq.get_dataset().read_image(n=n)) for n in range(3)]
    if point != "post_hardware":
        assert [image.z for image in images] == [0.0, 1.0, 2.0]


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_while_the_camera_is_armed_no_other_acquisition_can_use_it(rig: Rig) -> None:
    async def hook(event: Event) -> Event:
        async with rig.memory() as acq:
            await acq.acquire({"axes": {}})
        return event

    async with asyncio.timeout(20):
        with pytest.raises(errors.HardwareError, match="Camera"):
            async with rig.memory(post_camera_hook_fn=hook) as acq:
                await acq.acquire(frames(3, exposure=100.0))
    assert not rig.mmc.isSequenceRunning()


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_a_stage_moved_by_hand_between_turns_stays_there(tester: Rig) -> None:
    async with tester.memory() as a, tester.memory() as b:
        await a.acquire({"axes": {"n": 0}, "z": 1.0})
        await b.acquire({"axes": {"n": 0}, "z": 9.0})
        await tester.core.set_position(40.0)
        await a.acquire({"axes": {"n": 1}})
    assert st.decode(a.get_dataset().read_image(n=1)).z == 40.0


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_a_turn_that_fails_to_begin_is_given_back(tester: Rig) -> None:
    tester.mmc.on("setPosition", times=None, when=lambda _, um: um == 1.0 and broken.is_set(), raises=RuntimeError("stuck"))
    broken = threading.Event()
    async with asyncio.timeout(20), tester.memory(on_error="continue") as a, tester.memory() as b:
        await a.acquire({"axes": {"n": 0}, "z": 1.0})
        await b.acquire({"axes": {"n": 0}, "z": 9.0})
        broken.set()
        assert await a.acquire({"axes": {"n": 1}}) == []  # its z could not be brought back
        assert len(await b.acquire({"axes": {"n": 1}})) == 1
        broken.clear()
        assert len(await a.acquire({"axes": {"n": 2}, "z": 2.0})) == 1
