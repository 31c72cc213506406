"""Hazards of sections 2 and 3: from events to hardware, merging, cached state, and what images say of themselves."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.support import sequence_tester as st
from tests.support.homes import only_local
from tests.support.rigs import Event, Rig, frames, numbered, snaps


def mda(**arguments: Any) -> list[Event]:
    return list(aiomm.multi_d_acquisition_events(**arguments))


CHANNELS = {"channel_group": "Channel", "channels": ["DAPI", "FITC"]}

# ---- 2: multi_d_acquisition_events ----------------------------------------------------------------------------------

SILENT_IN_A_PEER: dict[str, dict[str, Any]] = {
    "a letter left out drops its axis": {"order": "t", **CHANNELS},
    "a letter twice doubles the events": {"order": "tt", "num_time_points": 2},
    "an unknown letter is skipped": {"order": "tq", "num_time_points": 2},
    "the wrong sign gives no events": {"z_start": 5, "z_end": 0, "z_step": 1},
    "a step of 0 is an incidental error": {"z_start": 0, "z_end": 5, "z_step": 0},
    "all zero is no z": {"z_start": 0, "z_end": 0, "z_step": 0},
    "z_start=0 alone is ignored": {"z_start": 0},
    "(0, 0, None) is ignored": {"z_start": 0, "z_end": 0},
    "xyz without z in order loses z": {"order": "tpc", "xyz_positions": [[1, 2, 3]]},
    "no p in order makes z an array": {"order": "tzc", "xyz_positions": [[1, 2, 3]], "z_start": 0, "z_end": 1, "z_step": 1},
    "xyz of two columns": {"xyz_positions": [[1, 2]]},
    "xy of three columns": {"xy_positions": [[1, 2, 3]]},
    "no positions give no events": {"xy_positions": np.zeros((0, 2))},
    "labels twice take the first's z": {
        "xyz_positions": [[1, 2, 3], [4, 5, 6]], "position_labels": ["a", "a"], "z_start": 0, "z_end": 1, "z_step": 1,
    },
    "labels without positions": {"position_labels": ["a"]},
    "times before the start": {"num_time_points": 3, "time_interval_s": [0, -1, 3]},
    "channels without group": {"channels": ["DAPI"]},
    "no channels give no events": {"channel_group": "Channel", "channels": []},
    "too few exposures": {**CHANNELS, "channel_exposures_ms": [1]},
    "too many exposures": {**CHANNELS, "channel_exposures_ms": [1, 2, 3]},
    "exposures without channels": {"channel_exposures_ms": [1]},
    "a string is iterated": {"channel_group": "Channel", "channels": "DAPI"},
}  # fmt: skip


@pytest.mark.parametrize("what", SILENT_IN_A_PEER)
def test_2_what_is_inconsistent_is_said(what: str) -> None:
    """Silent, or an incidental IndexError, ZeroDivisionError or AttributeError in a peer."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        mda(**SILENT_IN_A_PEER[what])


def test_2_a_tuple_of_intervals_is_a_list_of_intervals() -> None:
    """A peer multiplies the tuple."""
    assert mda(num_time_points=3, time_interval_s=(1, 2, 3)) == mda(num_time_points=3, time_interval_s=[1, 2, 3])
    assert [event["min_start_time"] for event in mda(num_time_points=3, time_interval_s=(1, 2, 3))] == [1, 3, 6]


def test_2_labels_may_be_an_array() -> None:
    events = mda(xyz_positions=[[1, 2, 3], [4, 5, 6]], position_labels=np.array(["a", "b"]), z_start=0, z_end=1, z_step=1)
    assert [event["z"] for event in events] == [3, 4, 6, 7]


def test_2_no_numpy_scalars_come_out() -> None:
    events = mda(
        num_time_points=np.int64(2), time_interval_s=np.float32(2), xy_positions=np.ones((1, 2)), z_start=np.int8(0), z_end=1, z_step=1
    )
    for event in events:
        assert all(type(event[key]) is float for key in ("x", "y", "z", "min_start_time"))
        assert all(type(value) is int for value in event["axes"].values())


async def test_2_time_starts_again_for_each_position(rig: Rig) -> None:
    """In a peer the second position's time lapse does not wait at all."""
    began = time.monotonic()
    async with rig.memory() as acq:
        await acq.acquire(mda(num_time_points=2, time_interval_s=0.4, xy_positions=[[0, 0], [1, 1]], order="pt"))
    if rig.java:  # whose images have Micro-Manager's metadata
        starts = [start for _, start in rig.exposures()]
        assert len(starts) == 4 and starts[1] - began >= 0.4 and starts[3] - starts[1] >= 0.2
        return
    said = acq.get_dataset()
    for position in (0, 1):
        one, two = (said.read_metadata(position=position, time=t)["MonotonicTime-s"] for t in (0, 1))
        assert two - one >= 0.2  # the first may be late, on a loaded machine
        assert said.read_metadata(position=position, time=1)["Lateness-ms"] < 350


# ---- 3.1: keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["stage", "exposure_ms", "position", "config"])
async def test_3_1_keys_without_effect_are_refused(rig: Rig, key: str) -> None:
    async with rig.memory() as acq:
        with pytest.raises(errors.EventError, match=key):
            await acq.acquire({"axes": {"n": 0}, key: {"device_name": "Z", "position": 3}})


async def test_3_1_both_dialects_of_a_channel(rig: Rig) -> None:
    """Each is silently ignored by one of the peers."""
    async with rig.memory() as acq:
        assert await acq.acquire({"channel": {"group": "Channel", "config": "FITC"}}) == [{"channel": "FITC"}]
        assert rig.mmc.getCurrentConfig("Channel") == "FITC"
        assert await acq.acquire({"axes": {"n": 0}, "config_group": ["Channel", "DAPI"]}) == [{"n": 0, "channel": "DAPI"}]
        assert rig.mmc.getCurrentConfig("Channel") == "DAPI"


@pytest.mark.parametrize("axis", ["x", "y"])
async def test_3_1_x_or_y_alone_moves(rig: Rig, axis: str) -> None:
    """Nothing happens in a peer."""
    rig.mmc.setXYPosition(30.0, 30.0)
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}, axis: 60.0})
    there = rig.mmc.getXYPosition("XY")
    assert there == pytest.approx((60, 30) if axis == "x" else (30, 60), abs=0.02)


async def test_3_1_the_focus_named_among_the_stages_does_not_undo_z(tester: Rig) -> None:
    """In a peer a z stack stored this way was driven back to its origin; two places for one stage are refused."""
    async with tester.memory() as acq:
        with pytest.raises(errors.EventError, match="z says 2"):
            await acq.acquire(numbered(*({"z": float(z), "stage_positions": [[st.Z, 1.0], [st.Z_2, 1.0]]} for z in (1, 2))))
        await acq.acquire(numbered(*({"stage_positions": [[st.Z, float(z)], [st.Z_2, 1.0]]} for z in range(3))))
    assert [st.decode(acq.get_dataset().read_image(n=n)).z for n in range(3)] == [0, 1, 2]


async def test_3_1_properties_are_waited_for_and_keep_their_order(rig: Rig) -> None:
    """A peer sorts them, and does not wait for their devices."""
    rig.mmc.on("deviceBusy", times=5, when=lambda label: label == "LED", drop=True, returns=True)
    events = [["LED", "State", "4"], ["Camera", "Gain", "3"], ["Camera", "Binning", "2"]]
    async with rig.memory() as acq:
        await acq.acquire({"axes": {}, "properties": events})
    told = [list(call.args) for call in rig.mmc.calls_of("setProperty")]
    assert told == events
    names = [(call.name, call.args[:1]) for call in rig.mmc.calls_of("deviceBusy", "snapImage")]
    assert names[: names.index(("snapImage", ()))].count(("deviceBusy", ("LED",))) > 5


async def test_3_1_min_start_time_has_no_whole_seconds(rig: Rig) -> None:
    """A peer truncates it to whole seconds on its way to hooks, and drops 0."""
    seen = []
    async with rig.memory(pre_hardware_hook_fn=lambda event: seen.append(event["min_start_time"]) or event) as acq:
        await acq.acquire(numbered({"min_start_time": 0}, {"min_start_time": 0.025}))
    assert seen == [0, 0.025]


async def test_3_1_no_stage_is_an_error_before_anything_moves(tester: Rig) -> None:
    tester.mmc.setXYStageDevice("")
    async with tester.memory() as acq:
        with pytest.raises(errors.EventError, match="XY stage"):
            await acq.acquire(numbered({"z": 5.0}, {"x": 1.0, "y": 1.0}))
    assert not tester.mmc.calls_of("setPosition")


@only_local('on_error="continue" is refused on a running Micro-Manager, whose engine ends at its first device error')
async def test_3_1_timeout_is_in_ms_and_reported(rig: Rig) -> None:
    """In a peer it is compared with seconds, printed only, and missing frames leave no trace."""
    rig.mmc.on("getRemainingImageCount", times=None, drop=True, returns=0)
    armed = lambda *args: bool(rig.mmc.calls_of("startSequenceAcquisition"))  # noqa: E731
    rig.mmc.on("isSequenceRunning", times=None, when=armed, drop=True, returns=True)
    async with rig.memory(on_error="continue") as acq:
        notifications = acq.notifications()
        submission = acq.acquire(frames(4, timeout=50))
        assert await submission == []
        assert submission.status.failed == 4
        assert "50 ms" in acq.status.notes[0]
        rig.mmc.heal()
    assert "event_failed" in [n.milestone async for n in notifications]


# ---- 3.2: cached state ----------------------------------------------------------------------------------------------


async def test_3_2_presets_are_compared_with_their_group(tester: Rig) -> None:
    """A peer compares names only: the other group's preset of that name is skipped."""
    async with tester.memory(sequencing="off") as acq:
        await acq.acquire(numbered(*({"config_group": [group, "Cy5"]} for group in (st.GROUP, st.OTHER_GROUP))))
    image = st.decode(acq.get_dataset().read_image(n=1))
    assert (image.switcher, image.switcher_2) == (3, 4)


async def test_3_2_a_move_by_hand_is_noticed(tester: Rig) -> None:
    """A peer remembers where it sent the stage, and does not move it again."""
    event = {"z": 3.0, "x": 1.0, "y": 1.0}
    async with tester.memory() as acq:
        await acq.acquire({"axes": {"n": 0}, **event})
        await tester.core.set_position(90.0)
        await tester.core.set_xy_position(50.0, 50.0)
        await acq.acquire({"axes": {"n": 1}, **event})
    image = st.decode(acq.get_dataset().read_image(n=1))
    assert (image.z, image.xy) == (3.0, (1.0, 1.0))


async def test_3_2_a_joystick_is_noticed_too(rig: Rig) -> None:
    """A move that does not come through the core's methods."""
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}, "z": 3.0})
        rig.mmc.setPosition("Z", 90.0)
        await acq.acquire({"axes": {"n": 1}, "z": 3.0})
        assert rig.mmc.getPosition("Z") == 3.0


async def test_3_2_after_a_z_sequence_the_stage_is_commanded_again(tester: Rig) -> None:
    """A peer's cache says "last z"; the stage may be back at its first position."""
    async with tester.memory() as acq:
        await acq.acquire(numbered(*({"z": float(z)} for z in range(4))))
        await acq.acquire({"axes": {"n": 9}, "z": 3.0})
    assert st.decode(acq.get_dataset().read_image(n=9)).z == 3.0


async def test_3_2_another_acquisitions_state_is_not_believed(tester: Rig) -> None:
    async with tester.memory() as a, tester.memory() as b:
        await a.acquire({"axes": {"n": 0}, "z": 3.0, "exposure": 2.0})
        await b.acquire({"axes": {"n": 0}, "z": 8.0, "exposure": 4.0})
        await a.acquire({"axes": {"n": 1}, "z": 3.0, "exposure": 2.0})
    image = st.decode(a.get_dataset().read_image(n=1))
    assert (image.z, image.exposure) == (3.0, 2.0)


# ---- 3.3: merging ---------------------------------------------------------------------------------------------------


async def sizes(rig: Rig, events: list[Event]) -> list[int]:
    async with rig.memory() as acq:
        plan = await acq.plan(events)
        assert len(await acq.acquire(events)) == len(events)
    return [len(group.events) for group in plan.groups]


async def test_3_3_z_that_comes_or_goes_is_no_crash(tester: Rig) -> None:
    """A peer merges any value with a missing one, then fails when it builds the sequence, and that error was lost."""
    assert await sizes(tester, numbered({}, {"z": 1.0}, {}, {"z": 2.0}, {})) == [1, 4]


async def test_3_3_named_stages_that_come_and_go(tester: Rig) -> None:
    """A NullPointerException in a peer."""
    assert sum(await sizes(tester, numbered({"stage_positions": [[st.Z_2, 1.0]]}, {}, {"stage_positions": [[st.Z_2, 2.0]]}))) == 3


async def test_3_3_later_constant_steps_do_not_pass_a_devices_length(tester: Rig) -> None:
    """A peer compares the length only where the value changes."""
    got = await sizes(tester, numbered(*({"z": min(float(i), 2.0)} for i in range(9))))
    assert max(got) <= 5 and sum(got) == 9
    assert all(len(call.args[1]) <= 5 for call in tester.mmc.calls_of("loadStageSequence"))


async def test_3_3_a_sequence_is_as_short_as_its_shortest_device(tester: Rig) -> None:
    tester.mmc.setProperty(st.SWITCHER, "TriggerSequenceMaxLength", 2)
    got = await sizes(tester, numbered(*({"z": float(i), "properties": [[st.SWITCHER, "State", str(i)]]} for i in range(6))))
    assert got == ([1] * 6 if tester.java else [2, 2, 2])


async def test_3_3_cameras_do_not_merge(rig: Rig) -> None:
    mmc = rig.mmc
    mmc.loadDevice("Second", "DemoCamera", "DCam")
    mmc.setParentLabel("Second", "DHub")
    mmc.initializeDevice("Second")
    mmc.setProperty("Second", "PixelType", "16bit")
    assert await sizes(rig, numbered({}, {"camera": "Second"}, {"camera": "Second"}, {})) == [1, 2, 1]


async def test_3_3_text_on_the_time_axis(rig: Rig) -> None:
    """A peer casts it to an integer."""
    events = [{"axes": {"time": name}, "min_start_time": start} for name, start in (("before", 0.0), ("after", 0.03))]
    assert await sizes(rig, events) == [1, 1]


async def test_3_3_preset_sequences_are_carried_out(tester: Rig) -> None:
    """Not implemented in a peer, the error lost: no images."""
    events = numbered(*({"config_group": [st.PAIR_GROUP, name]} for name in ("Low", "High", "Other")))
    async with tester.memory() as acq:
        await acq.acquire(events)
    images = [st.decode(acq.get_dataset().read_image(n=n, channel=name)) for n, name in enumerate(("Low", "High", "Other"))]
    assert [(image.switcher, image.switcher_2, image.in_sequence) for image in images] == [(6, 3, True), (7, 3, True), (7, 9, True)]


async def test_3_3_one_call_is_one_scope(rig: Rig) -> None:
    async with rig.memory() as acq:
        for event in frames(3):
            await acq.acquire(event)
    assert not rig.mmc.calls_of("startSequenceAcquisition")


# ---- 3.4 and 3.5: metadata ------------------------------------------------------------------------------------------


async def test_3_4_both_cameras_of_the_adapter_are_kept(tester: Rig) -> None:
    """A peer overwrites the one camera's image with the other's."""
    mmc = tester.mmc
    mmc.loadDevice(st.CAMERA_2, "SequenceTester", st.CAMERA_2)
    mmc.setParentLabel(st.CAMERA_2, st.HUB)
    mmc.setProperty(st.CAMERA_2, "ImageMode", "MachineReadable")
    for key in ("ImageWidth", "ImageHeight"):
        mmc.setProperty(st.CAMERA_2, key, 256)
    mmc.initializeDevice(st.CAMERA_2)
    st.combine_cameras(mmc, [st.CAMERA, st.CAMERA_2])
    async with tester.memory() as acq:
        saved = await acq.acquire([*snaps(1), *({"axes": {"m": i}} for i in range(3))])
    assert len(saved) == 8
    for axes in saved:
        assert st.decode(acq.get_dataset().read_image(**axes)).camera == axes["camera"]


@only_local("images of Micro-Manager's engine have its metadata")
async def test_3_4_each_frame_of_a_sequence_has_its_own_time(rig: Rig) -> None:
    """0.0 for all in a peer; strings in a sequence and numbers in a snap."""
    async with rig.memory() as acq:
        await acq.acquire([*frames(4, exposure=5.0), *({**event, "axes": {"n": 9}} for event in snaps(1))])
    said = [acq.get_dataset().read_metadata(n=n) for n in (0, 1, 2, 3, 9)]
    times = [md["ElapsedTime-ms"] for md in said]
    assert times == sorted(times) and times[1] - times[0] >= 4
    for key in ("ElapsedTime-ms", "Width", "Binning", "BitDepth", "PixelType", "ImageNumber"):
        assert len({type(md[key]) for md in said}) == 1


@only_local("images of Micro-Manager's engine have its metadata")
async def test_3_4_actual_positions_are_recorded(rig: Rig) -> None:
    """Never, in peers."""
    rig.mmc.on("setPosition", times=None, do=lambda original, label, um: original(label, um + 0.25))
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}, "z": 2.0, "x": 30.0, "y": 30.0})
    md = acq.get_dataset().read_metadata(n=0)
    assert (md["ZPosition_um_Intended"], md["ZPosition_um"]) == (2.0, 2.25)
    assert md["XPosition_um"] == rig.mmc.getXPosition("XY")


async def test_3_5_colour_is_saved(rig: Rig) -> None:
    """Fails in a peer."""
    rig.mmc.setProperty("Camera", "PixelType", "32bitRGB")
    async with rig.acquisition() as acq:
        await acq.acquire([*snaps(1), *({"axes": {"m": i}} for i in range(2))])
    dataset = await aiomm.Dataset.open(str(acq.path))
    assert dataset.summary_metadata["PixelType"] == "RGB32"
    assert [dataset.read_image(**axes).shape for axes in ({"n": 0}, {"m": 1})] == [(64, 64, 3)] * 2


# ---- an exposure that the camera cannot have -------------------------------------------------------------------------


async def test_an_exposure_beyond_the_cameras_limits_is_refused_before_anything_moves(rig: Rig) -> None:
    """The camera would keep the one of before, and the image be labelled with what was asked."""
    rig.mmc.forget()
    async with rig.memory() as acq:
        with pytest.raises(errors.EventError, match=r"event 2: exposure: camera 'Camera' cannot expose for 1e\+07 ms: it may"):
            await acq.acquire(numbered({"z": 1.0, "exposure": 2}, {"exposure": 3}, {"exposure": 1e7}))
        assert rig.mmc.calls_of("setPosition", "setExposure", "snapImage", "startSequenceAcquisition") == []
        with pytest.raises(errors.EventError, match=r"cannot expose for 1e\+07 ms"):
            await acq.plan(numbered({"exposure": 1e7}))
        assert len(await acq.acquire(numbered({"exposure": 2}))) == 1


# ---- pixels that cannot be saved -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["a property", "a preset"])
@pytest.mark.parametrize("memory", [False, True])
async def test_pixels_that_cannot_be_saved_are_named(rig: Rig, how: str, memory: bool) -> None:
    """Before the exposure, except where Micro-Manager's engine sets the preset itself."""
    rig.mmc.defineConfig("Pixels", "float", "Camera", "PixelType", "32bit")
    change = {"properties": [["Camera", "PixelType", "32bit"]]} if how == "a property" else {"config_group": ["Pixels", "float"]}
    acq = rig.memory() if memory else rig.acquisition()
    with pytest.raises(errors.UnsupportedError, match=r"camera 'Camera' gives pixels of 4 bytes in 1 component|GRAY32"):
        async with acq:
            await acq.acquire({"axes": {"n": 0}})
            rig.mmc.forget()
            await acq.acquire({"axes": {"n": 1}, **change})
    if how == "a property" or not rig.java:
        assert rig.exposures() == []
    assert len(acq.get_dataset()) == 1
