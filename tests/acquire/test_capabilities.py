"""Capabilities, read from real devices; the checks of what events ask for; soft limits; the plan for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymmcore
import pytest
from mm_test_adapters import device_adapter_path

from aiomm.acquire.capabilities import Capabilities, Needs, PropertyInfo, SlmInfo, check_events, needs, read_capabilities
from aiomm.acquire.limits import Limits
from aiomm.acquire.mda import multi_d_acquisition_events
from aiomm.acquire.plan import make_plan
from aiomm.acquire.sequencing import iter_groups
from aiomm.acquire.sources import open_source
from aiomm.errors import EventError, LimitError
from tests.support import sequence_tester as tester
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiomm.acquire.events import AcquisitionEvent


@pytest.fixture(scope="module")
def demo() -> Iterator[RecordingCore]:
    mmc = RecordingCore()
    mmc.setDeviceAdapterSearchPaths([device_adapter_path()])
    mmc.loadSystemConfiguration(f"{device_adapter_path()}/MMConfig_demo.cfg")
    mmc.setProperty("Z", "UseSequences", "Yes")
    mmc.defineConfig("Lost", "gone", "Camera", "Gain", "1")
    mmc.defineConfig("Lost", "gone", "Laser", "Power", "1")
    mmc.defineConfig("Far", "away", "Z", "Position", "500")
    mmc.defineConfig("Slow", "scan", "Camera", "ScanMode", "2")
    yield mmc
    mmc.unloadAllDevices()


@pytest.fixture
def tester_core() -> Iterator[pymmcore.CMMCore]:
    with tester.sequence_tester() as mmc:
        yield mmc


def events_of(*events: dict[str, Any]) -> list[AcquisitionEvent]:
    return list(open_source(list(events)))


def caps_of(mmc: Any, *events: dict[str, Any], image: bool = False) -> Capabilities:
    return read_capabilities(mmc, needs(events_of(*events)), image=image)


# ---- needs ----------------------------------------------------------------------------------------------------------


def test_needs_are_what_events_touch() -> None:
    assert needs([]) == Needs()
    many = events_of(
        {"z": 1, "config_group": ["G", "a"]},
        {"y": 1, "stage_positions": [["S", 1]], "camera": "C", "properties": [["D", "p", 1], ["Core", "Focus", "Z2"]]},
        {"exposure": 1, "slm_pattern": b"a"},
    )
    found = needs(many)
    assert found == Needs(
        frozenset({("G", "a")}), frozenset({("D", "p"), ("Core", "Focus")}), frozenset("S"), frozenset("C"), frozenset({("focus", "Z2")}),
        True, True, True, True,
    )  # fmt: skip
    assert needs(many[:1]) | needs(many[1:]) == found


# ---- reading --------------------------------------------------------------------------------------------------------


def test_nothing_is_asked_of_devices_that_no_event_touches(demo: RecordingCore) -> None:
    demo.forget()
    caps = caps_of(demo, {"axes": {}})
    asked = {call.name for call in demo.calls}
    assert not {name for name in asked if "Sequence" in name or "Property" in name or "Config" in name} - {"getAvailableConfigGroups"}
    assert (caps.camera, caps.focus, caps.xy_stage, caps.slm) == ("Camera", "Z", "XY", "")
    assert caps.devices["Z"] == "Stage" and caps.devices["Dichroic"] == "State"
    assert caps.stages == caps.presets == caps.properties == caps.exposures == {}
    assert caps.image is None


def test_what_the_demo_camera_can_do(demo: RecordingCore) -> None:
    caps = caps_of(
        demo,
        {"z": 1, "x": 1, "y": 1, "exposure": 5, "channel": {"group": "Channel", "config": "DAPI"}},
        {"properties": [["Camera", "Gain", 1], ["Camera", "Giant", 1]]},
        image=True,
    )
    assert caps.stages["Z"] > 100
    assert caps.xy_stages == {"XY": 0} and caps.exposures == {"Camera": 0}
    assert caps.groups["Channel"] == ("Cy5", "DAPI", "FITC", "Rhodamine") and caps.groups["Camera"] == ()
    assert ("Dichroic", "Label", "400DCLP") in caps.presets["Channel", "DAPI"]
    assert caps.properties["Camera", "Gain"].limits == (-5, 8)
    assert "400DCLP" in caps.properties["Dichroic", "Label"].allowed
    assert "Gain" in caps.property_names["Camera"]
    assert caps.image is not None and (caps.image.width, caps.image.height, caps.image.exposure) == (512, 512, 10.0)


def test_what_can_be_sequenced_is_read_from_the_devices(tester_core: pymmcore.CMMCore) -> None:
    caps = caps_of(tester_core, {"z": 1, "config_group": ["Light", "Low"], "stage_positions": [[tester.Z_2, 1]]})
    assert caps.stages == {tester.Z: 5, tester.Z_2: 0}
    assert caps.properties[tester.SWITCHER, "State"].max_length == 5


def test_a_preset_that_chooses_a_focus_device_has_it_read(tester_core: pymmcore.CMMCore) -> None:
    tester_core.defineConfig("Stage", "second", "Core", "Focus", tester.Z_2)
    events = events_of(*({"axes": {"i": i}, "z": i, "config_group": ["Stage", "second"]} for i in range(3)))
    caps = read_capabilities(tester_core, needs(events))
    assert caps.role_presets == {("Stage", "second"): (("focus", tester.Z_2),)}
    assert next(group.boundary for group in iter_groups(events, caps)) == f"z: stage '{tester.Z_2}' cannot be sequenced"


# ---- checking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event, key, words",
    [
        ({"channel": {"group": "Chanel", "config": "DAPI"}}, "channel", "no config group 'Chanel'; did you mean 'Channel'?"),
        ({"channel": {"group": "Channel", "config": "dapi"}}, "channel", "no preset 'dapi'; did you mean 'DAPI'?"),
        ({"config_group": ["Channel", "Blue"]}, "config_group", "it has 'Cy5', 'DAPI', 'FITC', 'Rhodamine'"),
        ({"config_group": ["Lost", "gone"]}, "config_group", "preset 'gone' of group 'Lost' cannot be set: there is no device 'Laser'"),
        ({"properties": [["Camera", "Gian", 1]]}, "properties", "no property 'Gian'; did you mean 'Gain'?"),
        ({"properties": [["Camra", "Gain", 1]]}, "properties", "no device 'Camra'; did you mean 'Camera'?"),
        ({"properties": [["Camera", "Gain", 100]]}, "properties", "'Camera-Gain' cannot be '100': it may lie from -5 to 8"),
        ({"properties": [["Camera", "Gain", "x"]]}, "properties", "it must be a number"),
        ({"properties": [["Camera", "ScanMode", 1.5]]}, "properties", "it must be a whole number"),
        ({"properties": [["Camera", "Binning", 3]]}, "properties", "not one of its values"),
        ({"properties": [["Dichroic", "Label", "400dclp"]]}, "properties", "did you mean '400DCLP'?"),
        ({"properties": [["Camera", "CameraName", "mine"]]}, "properties", "read-only"),
        ({"camera": "Z"}, "camera", "'Z' is a Stage; cameras are 'Camera'"),
        ({"camera": "Camera1"}, "camera", "there is no device 'Camera1'; did you mean 'Camera'?"),
        ({"stage_positions": [["XY", 1]]}, "stage_positions", "'XY' is a XYStage; single-axis stages are 'Z'"),
        ({"stage_positions": [["Z", 1]], "z": 2}, "stage_positions", "'Z' is the focus device, and z says 2"),
        ({"slm_pattern": b"abc"}, "slm_pattern", "there is no SLM"),
        ({"exposure": 1e7}, "exposure", "camera 'Camera' cannot expose for 1e+07 ms: it may lie from 0 to 10000 ms"),
        ({"exposure": 10000.5, "camera": "Camera"}, "exposure", "camera 'Camera' cannot expose for 10000.5 ms"),
        ({"exposure": 1e7, "properties": [["Camera", "Exposure", 5], ["Z", "Position", 1]]}, "exposure", "cannot expose for 1e+07 ms"),
    ],
)
def test_what_the_hardware_cannot_do_is_named(demo: RecordingCore, event: dict[str, Any], key: str, words: str) -> None:
    events = events_of({"axes": {}, "z": 1}, {"axes": {}, **event})
    with pytest.raises(EventError) as caught:
        check_events(events, read_capabilities(demo, needs(events)), first=40)
    assert str(caught.value).startswith(f"event 41: {key}: ")
    assert words in str(caught.value)
    assert caught.value.key == key


def test_what_the_hardware_can_do_passes(demo: RecordingCore) -> None:
    events = events_of(
        *multi_d_acquisition_events(2, 0, 0, 2, 1, "Channel", ["DAPI", "Cy5"], [1, 2], [[0, 0]]),
        {
            "properties": [
                ["Camera", "Gain", "3.0"],
                ["Camera", "Binning", 2],
                ["Dichroic", "Label", "400DCLP"],
                ["Core", "Shutter", "LED Shutter"],
            ]
        },
        {"stage_positions": [["Z", 3]], "z": 3, "camera": "Camera"},
    )
    check_events(events, read_capabilities(demo, needs(events)), {"z": (0, 3), "XY": ((0, 0), (None, None))})


@pytest.mark.parametrize(
    "event, key", [({"z": 1}, "z"), ({"x": 1}, "x"), ({"y": 1}, "y"), ({"axes": {}}, "axes"), ({"exposure": 1}, "exposure")]
)
def test_a_core_without_devices(event: dict[str, Any], key: str) -> None:
    mmc = pymmcore.CMMCore()
    events = events_of(event)
    with pytest.raises(EventError, match=f"event 0: {key}: there is no") as caught:
        check_events(events, read_capabilities(mmc, needs(events)))
    assert caught.value.key == key


@pytest.mark.parametrize(
    "before",
    [{"properties": [["Camera", "Gain", 2]]}, {"config_group": ["Slow", "scan"]}],
)
def test_a_camera_that_events_set_otherwise_may_have_other_limits(demo: RecordingCore, before: dict[str, Any]) -> None:
    events = events_of({"axes": {}, "exposure": 10000}, {"axes": {}, **before}, {"axes": {}, "exposure": 10001})
    check_events(events, read_capabilities(demo, needs(events)))
    with pytest.raises(EventError, match="event 0: exposure: camera 'Camera' cannot expose for 10001 ms"):
        check_events(events[::-1], read_capabilities(demo, needs(events)))


def test_a_camera_that_tells_no_limits_has_none() -> None:
    caps = Capabilities(camera="C", devices={"C": "Camera"}, exposures={"C": 0})
    check_events(events_of({"exposure": 1e7}), caps)


def test_patterns_must_fit_their_slm() -> None:
    caps = Capabilities(slm="SLM", camera="C", devices={"SLM": "SLM"}, slms={"SLM": SlmInfo(2, 3, 1)})
    check_events(events_of({"slm_pattern": b"123456"}, {"slm_pattern": np.zeros((2, 3), np.uint8)}), caps)
    with pytest.raises(EventError, match=r"5 bytes given; SLM 'SLM' has 2 x 3 pixels of 1 byte$"):
        check_events(events_of({"slm_pattern": b"12345"}), caps)


def test_a_focus_device_that_an_event_chooses_is_one() -> None:
    caps = Capabilities(
        devices={"Z": "Stage", "Core": "Core"}, properties={("Core", "Focus"): PropertyInfo(allowed=("", "Z"))}
    )  # fmt: skip
    check_events(events_of({"properties": [["Core", "Focus", "Z"]]}, {"z": 3}), caps, {"Z": (0, 5)})


# ---- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits, event, words",
    [
        ({"z": (0, 100)}, {"z": 100.1}, "z: 100.1 µm is outside the soft limits of z, 0 to 100 µm"),
        ({"Z": (0, None)}, {"z": -1}, "stage 'Z', 0 to inf"),
        ({"x": (0, 5)}, {"x": 6}, "x: 6 µm"),
        ({"XY": ((0, 5), (0, 5))}, {"y": -1}, "y of XY stage 'XY'"),
        ({"z": (0, 100)}, {"stage_positions": [["Z", 101]]}, "stage_positions: 101 µm"),
        ({"Z": (0, 100)}, {"properties": [["Z", "Position", 101]]}, "properties: 101 µm"),
        ({"z": (0, 100)}, {"config_group": ["Far", "away"]}, "500 µm"),
    ],
)
def test_no_way_past_a_soft_limit(demo: RecordingCore, limits: Any, event: dict[str, Any], words: str) -> None:
    events = events_of({"axes": {}}, event)
    caps = read_capabilities(demo, needs(events))
    check_events(events, caps)
    with pytest.raises(LimitError, match=r"^event 1: ") as caught:
        check_events(events, caps, limits)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "limits, words",
    [
        ({"Q": (0, 1)}, "there is no device 'Q'"),
        ({"Camera": (0, 1)}, "device 'Camera' is a Camera, no stage"),
        ({"XY": (0, 1)}, "lowest x, highest x"),
        ({"Z": ((0, 1), (0, 1))}, "(lowest, highest)"),
        ({"z": ((0, 1), (0, 1))}, "'z' has one range"),
        ({"Z": (2, 1)}, "(lowest, highest) is needed"),
        ({"Z": (0, float("nan"))}, "(lowest, highest) is needed"),
        ({"Z": 3}, "(lowest, highest) in µm"),
        ({"Z": ("a", 1)}, "'a' where a number"),
        ([("z", (0, 1))], "limits is a dict"),
    ],
)
def test_a_limit_that_guards_nothing_is_an_error(demo: RecordingCore, limits: Any, words: str) -> None:
    with pytest.raises(EventError) as caught:
        check_events([], caps_of(demo), limits)
    assert words in str(caught.value)


def test_limits_of_the_cores_stages_need_them() -> None:
    with pytest.raises(EventError, match="no focus device"):
        Limits({"z": (0, 1)}).check_devices(Capabilities())
    assert not Limits(None) and Limits({"z": np.array([0, 1])})


# ---- the plan -------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_will_be_done(demo: RecordingCore) -> None:
    events = events_of(*multi_d_acquisition_events(3, 2, 0, 9, 1, "Channel", ["DAPI", "FITC"], [10, 20]))
    plan = make_plan(events, read_capabilities(demo, needs(events), image=True), {"z": (0, 8.5)})
    assert [len(group.events) for group in plan.groups] == [10] * 6
    assert (plan.events, plan.images) == (60, 60)
    image = demo.getBytesPerPixel() * 512 * 512
    assert plan.nbytes == 60 * image
    assert plan.light_dose == pytest.approx(3 * 10 * (0.010 + 0.020))
    assert 4.3 < plan.duration < 6
    assert len(plan.out_of_limits) == 6 and plan.out_of_limits[0].startswith("event 9: z: 9 µm")
    assert plan.reasons == {
        "exposure: camera 'Camera' cannot change it within a sequence": 3,
        "the next event starts 2 s later (min_start_time)": 2,
    }
    shown = str(plan)
    for words in ("60 events in 6 groups: 60 images", "50-59", "z ", "it is the last", "and 1 more", "2 s later"):
        assert words in shown


def test_a_plan_of_thousands_is_short(demo: RecordingCore) -> None:
    events = events_of(*multi_d_acquisition_events(500, 1, 0, 9, 1, "Channel", ["DAPI", "FITC"]))
    caps = read_capabilities(demo, needs(events), image=True)
    assert len(str(make_plan(events, caps)).splitlines()) < 40
    assert len(str(make_plan(events, caps, sequencing="off")).splitlines()) < 10
    assert str(make_plan([], caps)).startswith("0 events in 0 groups")


def test_a_plan_of_what_cannot_be_is_an_error(demo: RecordingCore) -> None:
    events = events_of({"axes": {}}, {"axes": {}, "camera": "Nothing"})
    with pytest.raises(EventError, match="event 1: camera: there is no device 'Nothing'"):
        make_plan(events, read_capabilities(demo, needs(events)))


def test_a_plan_counts_time_lapses_of_each_position() -> None:
    caps = Capabilities(camera="C", xy_stage="XY", devices={"C": "Camera"})
    events = events_of(*multi_d_acquisition_events(2, 10, xy_positions=[[0, 0], [1, 1]], order="pt"))
    plan = make_plan(events, caps)
    assert 20 < plan.duration < 22
    assert plan.nbytes is None and "size not known" in str(plan)
