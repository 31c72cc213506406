"""The ten facts of section 0 that aiomm is shaped by: what breaks in a peer holds here."""

from __future__ import annotations

import asyncio
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
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.sampled(6, of="module")


async def test_0_1_the_first_event_may_wait(rig: Rig) -> None:
    """A peer's clock starts with the first image: its `[2 s, 1 s]` gives the first image at once."""
    async with rig.memory(sequencing="off") as acq:
        began = time.monotonic()
        await acq.acquire(numbered({"min_start_time": 0.2}, {"min_start_time": 0.1}))
    moments = [start - began for _, start in rig.exposures()]
    assert moments[0] >= 0.2
    if rig.java:  # whose images have Micro-Manager's metadata
        return
    assert acq.get_dataset().read_metadata(n=1)["Lateness-ms"] >= 90  # it could not be in time, and says so


async def test_0_2_properties_are_never_dropped_by_merging(rig: Rig) -> None:
    """In a peer four events with Gain 0..3 merge and Gain is never set: this property cannot be sequenced, so they must not."""
    set_to = []
    rig.mmc.on("snapImage", times=None, do=lambda original: (set_to.append(rig.mmc.getProperty("Camera", "Gain")), original())[1])
    async with rig.memory() as acq:
        events = numbered(*({"properties": [["Camera", "Gain", str(gain)]]} for gain in range(4)))
        assert len((await acq.plan(events)).groups) == 4
        await acq.acquire(events)
    assert set_to == ["0", "1", "2", "3"]


async def test_0_2_properties_that_can_be_sequenced_are(tester: Rig) -> None:
    async with tester.memory() as acq:
        await acq.acquire(numbered(*({"properties": [[st.SWITCHER, "State", str(i)]]} for i in (3, 1, 4, 1))))
    images = [st.decode(acq.get_dataset().read_image(n=n)) for n in range(4)]
    assert [image.switcher for image in images] == [3, 1, 4, 1]
    assert all(image.in_sequence is not tester.java for image in images)  # Micro-Manager's engine would drop them from a sequence


@only_local("the SLM is feigned there; on Micro-Manager's engine: tests/acquire/remote/test_java_events.py")
async def test_0_2_slm_patterns_are_never_dropped_by_merging(rig: Rig) -> None:
    """No simulated SLM is at hand: one is feigned that holds no sequences. A peer merges, and shows no pattern at all."""
    mmc = rig.mmc
    answers = {"getSLMHeight": 4, "getSLMWidth": 6, "getSLMBytesPerPixel": 1, "getSLMSequenceMaxLength": 0, "deviceBusy": False}
    for method, value in answers.items():
        mmc.on(method, times=None, when=lambda label, *_: label == "SLM", drop=True, returns=value)
    mmc.on("getDeviceType", times=None, when=lambda label: label == "SLM", drop=True, returns=14)
    mmc.on("getLoadedDevices", times=None, do=lambda original: (*original(), "SLM"))
    mmc.on("getSLMDevice", times=None, drop=True, returns="SLM")
    shown: list[Any] = []
    mmc.on("setSLMImage", times=None, do=lambda original, label, pattern: shown.append(np.array(pattern)))
    mmc.on("displaySLMImage", times=None, do=lambda original, label: shown.append("shown"))
    mmc.on("snapImage", times=None, do=lambda original: (shown.append("snap"), original())[1])
    patterns = [np.full((4, 6), value, np.uint8) for value in (1, 2, 3)]
    async with rig.memory() as acq:
        await acq.acquire(numbered(*({"slm_pattern": pattern} for pattern in patterns)))
    assert [each if isinstance(each, str) else int(each[0, 0]) for each in shown] == [
        1, "shown", "snap", 2, "shown", "snap", 3, "shown", "snap",
    ]  # fmt: skip


@pytest.mark.parametrize("axis", ["x", "y"])
async def test_0_3_a_scan_along_one_axis_moves(tester: Rig, axis: str) -> None:
    """Peers merge it and load nothing, since they want more than one x and more than one y: all frames at the first position."""
    tester.mmc.feign_xy_sequence(st.XY, 10)
    other = {"x": "y", "y": "x"}[axis]
    async with tester.memory() as acq:
        await acq.acquire(numbered(*({axis: float(i), other: 5.0} for i in range(4))))
    images = [st.decode(acq.get_dataset().read_image(n=n)) for n in range(4)]
    if tester.java:  # whose engine would load nothing: the stage is sent to each place
        assert [image.xy for image in images] == [(float(i), 5.0) if axis == "x" else (5.0, float(i)) for i in range(4)]
        return
    [call] = tester.mmc.calls_of("loadXYStageSequence")
    assert call.args == ((st.XY, [0, 1, 2, 3], [5] * 4) if axis == "x" else (st.XY, [5] * 4, [0, 1, 2, 3]))
    assert len(tester.mmc.calls_of("startXYStageSequence")) == 1


@pytest.mark.parametrize("count", [1, 3])
async def test_0_4_an_error_of_the_last_group_is_not_lost(rig: Rig, count: int) -> None:
    """A peer succeeds, 30 times of 30."""
    rig.mmc.on("setPosition", when=lambda _, um: um == 9.0, times=None, raises=RuntimeError("the last one"))
    with pytest.raises(errors.HardwareError, match="the last one"):
        async with rig.memory() as acq:
            acq.acquire([*snaps(count - 1), {"axes": {"last": 0}, "z": 9.0}])


@pytest.mark.parametrize("point", ["event_generation", "pre_hardware", "post_hardware", "post_camera"])
async def test_0_5_an_assertion_in_a_hook_is_heard(rig: Rig, point: str) -> None:
    """Peers print it and go on, so that tests which assert inside hooks pass."""

    def hook(event: Event) -> Event:
        assert event is None, "this must be heard"
        return event

    with pytest.raises(AssertionError, match="this must be heard"):
        async with rig.memory(**{f"{point}_hook_fn": hook}) as acq:
            acq.acquire(snaps(2))


async def test_0_5_two_arguments_lists_and_tags_work(rig: Rig) -> None:
    """In a peer hooks with two arguments fail, lists from processors break, and `tags` hangs the acquisition for ever."""
    queues = []

    def processor(image: Any, metadata: Any) -> Any:
        return [(image, metadata), (image, {**metadata, "Axes": {**metadata["Axes"], "copy": 1}})]

    def hook(event: Event, queue: Any) -> Event:
        queues.append(queue)
        return event

    async with rig.memory(pre_hardware_hook_fn=hook, image_process_fn=processor) as acq:
        tags = {"dose": "3" if rig.java else 3, "who": "Ada"}  # Micro-Manager's engine takes text only
        assert len(await acq.acquire({"axes": {"n": 0}, "tags": tags})) == 2
    assert len(queues) == 1
    assert acq.get_dataset().read_metadata(n=0, copy=1)["tags"] == tags


@pytest.mark.parametrize("how", ["abort", "cancel", "skipped", "diverted", "after the end"])
async def test_0_6_no_wait_hangs(rig: Rig, how: str) -> None:
    """A peer's futures wait for ever in each of these cases."""
    options: dict[str, Any] = {}
    if how == "skipped":
        options["pre_hardware_hook_fn"] = lambda event: None
    if how == "diverted":
        options["image_process_fn"] = lambda image, metadata: None
    async with rig.memory(**options) as acq:
        endless = how in ("abort", "cancel")
        submission = acq.acquire(numbered({}, *([{"min_start_time": 60.0}] if endless else [])))
        waiters = [asyncio.ensure_future(each) for each in (submission._wait(), collect(submission))]
        await asyncio.sleep(0.05)
        if how == "abort":
            acq.abort()
        elif how == "cancel":
            submission.cancel()
        results = await asyncio.gather(*waiters, return_exceptions=True)
    kind = {"abort": errors.AcquisitionAborted, "cancel": errors.SubmissionCancelled}.get(how)
    if kind is None:
        assert [len(result) for result in results] == ([1, 1] if how == "after the end" else [0, 0])
        assert len(await submission) == len(results[0])
    else:
        assert [type(result) for result in results] == [kind, kind]
        with pytest.raises(kind):
            await submission


async def collect(submission: aiomm.Submission) -> list[aiomm.Image]:
    return [image async for image in submission]


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_0_6_a_generators_submission_waits_for_all_of_it(rig: Rig, kind: str) -> None:
    """A peer's future of a generator does not wait at all."""

    def events() -> Iterator[Event]:
        yield from snaps(70)

    async def aevents() -> AsyncIterator[Event]:
        for event in snaps(70):
            yield event

    async with rig.memory() as acq:
        assert len(await acq.acquire(events() if kind == "generator" else aevents())) == 70


@pytest.mark.parametrize("point", ["event_generation", "pre_hardware", "post_hardware"])
@pytest.mark.parametrize("events", [snaps(4), frames(4)], ids=["snaps", "sequence"])
async def test_0_7_a_cancelled_event_takes_no_image(rig: Rig, point: str, events: list[Event]) -> None:
    """In a peer a hook's None becomes an empty event, which is imaged, with empty axes; in another it drops the rest of the batch."""

    def hook(event: Any) -> Any:
        if isinstance(event, list):
            return [each for each in event if each["axes"]["n"] != 1]
        return None if event["axes"]["n"] == 1 else event

    async with rig.memory(**{f"{point}_hook_fn": hook}) as acq:
        assert [axes["n"] for axes in await acq.acquire(events)] == [0, 2, 3]
    shots = len(rig.mmc.calls_of("snapImage")) + sum(call.args[1] for call in rig.mmc.calls_of("startSequenceAcquisition"))
    assert shots == 3
    assert not acq.get_dataset().has_image()


@pytest.mark.parametrize("events", [snaps(3), frames(3)], ids=["snaps", "sequence"])
async def test_0_8_keep_shutter_open_works_in_sequences_and_false_gives_autoshutter_back(rig: Rig, events: list[Event]) -> None:
    """The seed's engine ignored it for sequences, and an explicit False never restored autoshutter."""
    states = []
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"before": 0}})
        submission = acq.acquire([*events[:-1], {**events[-1], "keep_shutter_open": True}], keep_shutter_open=True)
        rig.mmc.on("popNextImageMD", times=None, do=lambda original, *args: states.append(rig.mmc.getAutoShutter()) or original(*args))
        rig.mmc.on("snapImage", times=None, do=lambda original: (original(), states.append(rig.mmc.getAutoShutter()))[0])
        await submission
        assert states and not any(states)
        await acq.acquire({"axes": {"after": 0}, "keep_shutter_open": False})
        assert states[-1] is True
        assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen(SHUTTER)


@pytest.mark.parametrize(("start", "end", "step"), [(0, 5, 2), (0, 0.3, 0.1), (-1.2, 1.2, 0.4), (10, 4, -4), (0, 1, 1 / 3)])
def test_0_9_z_never_passes_its_end(start: float, end: float, step: float) -> None:
    """In a peer `0..5 step 2` has a slice at 6, and 17 % of exactly divisible ranges one too many: an objective may crash."""
    zs = [event["z"] for event in aiomm.multi_d_acquisition_events(z_start=start, z_end=end, z_step=step)]
    assert max(zs) <= max(start, end) and min(zs) >= min(start, end)
    assert len(zs) == int((end - start) / step + 1e-9) + 1


@pytest.mark.blocks
async def test_0_10_an_array_has_the_same_axes_live_and_reopened(rig: Rig) -> None:
    """In a peer it is (z, channel, time) live, and (time, channel, z) when opened again."""
    events = [
        {"axes": {"z": z, "time": t}, "channel": {"group": "Channel", "config": channel}, "z": float(z)}
        for z in range(2)
        for channel in ("FITC", "DAPI")
        for t in range(3)
    ]
    async with rig.acquisition() as acq:
        await acq.acquire(events)
        live = acq.get_dataset().as_array()
        live_axes = list(acq.get_dataset().axes)
    again = await aiomm.Dataset.open(str(acq.path))
    assert live.shape == again.as_array().shape == (3, 2, 2, 64, 64)
    assert live_axes == list(again.axes) == ["time", "channel", "z"]
    assert np.array_equal(await asyncio.to_thread(live.compute), await asyncio.to_thread(again.as_array().compute))
