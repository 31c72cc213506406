"""The planner: groups are what the hardware could do by itself, and replaying them gives what the events say."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomm.acquire.capabilities import Capabilities, PropertyInfo, SlmInfo
from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.mda import multi_d_acquisition_events
from aiomm.acquire.sequencing import Group, iter_groups

make = AcquisitionEvent.from_dict

PRESETS = {
    ("Channel", "DAPI"): (("Wheel", "Label", "one"), ("Laser", "Power", "1"), ("Core", "Shutter", "S")),
    ("Channel", "FITC"): (("Wheel", "Label", "two"), ("Laser", "Power", "1"), ("Core", "Shutter", "S")),
    ("Channel", "Cy5"): (("Wheel", "Label", "two"), ("Core", "Shutter", "S")),
    ("Light", "DAPI"): (("Laser", "Power", "9"),),
    ("Light", "low"): (("Laser", "Power", "1"), ("Laser", "Mode", "slow")),
    ("Focus", "coarse"): (("Core", "Focus", "Z"),),
    ("Focus", "fine"): (("Core", "Focus", "Piezo"),),
    ("Home", "home"): (("Z", "Position", "0"), ("Camera", "Exposure", "7")),
}
ROLE_PRESETS = {key: (("focus", settings[0][2]),) for key, settings in PRESETS.items() if key[0] == "Focus"}
DEVICES = {"Camera": "Camera", "Camera2": "Camera", "Z": "Stage", "Piezo": "Stage", "XY": "XYStage", "Wheel": "State", "Laser": "Generic"}
PROPERTIES = [("Wheel", "Label"), ("Wheel", "State"), ("Laser", "Power"), ("Laser", "Mode"), ("Z", "Position"), ("Camera", "Exposure")]


def capabilities(longest: dict[Any, int] | int = 100) -> Capabilities:
    """Hardware that can hold so many steps: one number for all, or one for each."""

    def of(key: Any) -> int:
        return longest if isinstance(longest, int) else longest.get(key, 0)

    return Capabilities(
        camera="Camera",
        focus="Z",
        xy_stage="XY",
        slm="SLM",
        devices=DEVICES,
        presets=PRESETS,
        role_presets=ROLE_PRESETS,
        properties={key: PropertyInfo(max_length=of(key)) for key in PROPERTIES},
        stages={"Z": of("Z"), "Piezo": of("Piezo")},
        xy_stages={"XY": of("XY")},
        exposures={"Camera": of("Camera"), "Camera2": of("Camera2")},
        slms={"SLM": SlmInfo(1, 2, 1, of("SLM"))},
    )


def groups_of(events: list[dict[str, Any]], caps: Capabilities | None = None, sequencing: str = "auto") -> list[Group]:
    return list(iter_groups([make({"axes": {"i": i}, **event}) for i, event in enumerate(events)], caps or capabilities(), sequencing))


def sizes(groups: list[Group]) -> list[int]:
    return [len(group.events) for group in groups]


# ---- a microscope that is only a dict -------------------------------------------------------------------------------


class Microscope:
    """What is in force, by name; what was never set is not there."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}
        self.roles = {"Focus": "Z", "Camera": "Camera"}

    def set_property(self, label: str, name: str, value: str) -> None:
        if label == "Core":
            self.roles[name] = value
        elif (label, name) == ("Wheel", "Label"):
            self.state["Wheel"] = {"one": "1", "two": "2"}[value]
        elif (label, name) == ("Wheel", "State"):
            self.state["Wheel"] = value
        elif name == "Position":
            self.state[label] = float(value)
        elif name == "Exposure":
            self.state[label] = float(value)
        else:
            self.state[label, name] = value

    def apply(self, event: AcquisitionEvent) -> None:
        """As section 3.2 of the reference orders it."""
        for label, um in event.stage_positions:
            self.state[label] = um
        for key, value in (("x", event.x), ("y", event.y)):
            if value is not None:
                self.state[key] = value
        if event.config is not None:
            for setting in PRESETS[event.config]:
                self.set_property(*setting)
        for setting in event.properties:
            self.set_property(*setting)
        if event.exposure is not None:
            self.state[event.camera or self.roles["Camera"]] = event.exposure
        if event.slm_pattern is not None:
            self.state["slm"] = bytes(event.slm_pattern)
        if event.z is not None:
            self.state[self.roles["Focus"]] = event.z

    def step(self, group: Group, index: int) -> None:
        """One trigger: every loaded sequence goes to its next step."""
        if group.z is not None:
            self.state[self.roles["Focus"]] = group.z[index]
        if group.xy is not None:
            self.state["x"], self.state["y"] = group.xy[index]
        if group.exposure is not None:
            self.state[group.events[0].camera or self.roles["Camera"]] = group.exposure[index]
        if group.slm is not None:
            self.state["slm"] = bytes(group.slm[index])
        for label, places in group.stages.items():
            self.state[label] = places[index]
        for setting, values in group.properties.items():
            self.set_property(*setting, values[index])

    def image(self, event: AcquisitionEvent) -> Any:
        return event.camera or self.roles["Camera"], dict(self.state), dict(self.roles)


def one_by_one(events: list[AcquisitionEvent]) -> list[Any]:
    scope, images = Microscope(), []
    for event in events:
        scope.apply(event)
        images.append(scope.image(event))
    return images


def by_groups(groups: list[Group]) -> list[Any]:
    scope, images = Microscope(), []
    for group in groups:
        scope.apply(group.events[0])
        for index in range(len(group.events)):
            if len(group.events) > 1:
                scope.step(group, index)
            images.append(scope.image(group.events[0]))
    return images


numbers = st.sampled_from([0.0, 1.0, 2.0])
setting = st.sampled_from(
    [("Wheel", "Label", "one"), ("Wheel", "Label", "two"), ("Wheel", "State", "2"), ("Laser", "Power", "1"), ("Laser", "Power", "5"),
     ("Laser", "Mode", "fast"), ("Z", "Position", "4"), ("Camera", "Exposure", "3")]
)  # fmt: skip
keys: dict[str, st.SearchStrategy[Any]] = {
    "z": numbers,
    "x": numbers,
    "y": numbers,
    "exposure": numbers,
    "config_group": st.sampled_from(list(PRESETS)),
    "properties": st.lists(setting, min_size=1, max_size=2, unique_by=lambda s: s[:2]),
    "slm_pattern": st.sampled_from([b"ab", b"cd"]),
    "stage_positions": st.lists(st.tuples(st.sampled_from(["Z", "Piezo"]), numbers), min_size=1, max_size=2, unique_by=lambda s: s[0]),
    "camera": st.sampled_from(["Camera", "Camera2"]),
    "min_start_time": st.sampled_from([0.0, 1.0, 2.0]),
    "keep_shutter_open": st.booleans(),
    "timeout": st.sampled_from([100.0, 200.0]),
    "reset_event_timer": st.just(True),
}


@st.composite
def lists_of_events(draw: st.DrawFn) -> list[AcquisitionEvent]:
    """Lists as people make them: some keys in nearly every event, others here and there."""
    usual = draw(st.lists(st.sampled_from(list(keys)), max_size=4, unique=True))
    rare = draw(st.lists(st.sampled_from(list(keys)), max_size=2, unique=True))
    events = []
    for index in range(draw(st.integers(1, 14))):
        event: dict[str, Any] = {"axes": {"i": index}} if draw(st.integers(0, 9)) else {}
        for name in usual:
            if draw(st.integers(0, 7)):
                event[name] = draw(keys[name])
        for name in rare:
            if not draw(st.integers(0, 5)):
                event[name] = draw(keys[name])
        events.append(make(event))
    return events


lengths = st.dictionaries(st.sampled_from(["Z", "Piezo", "XY", "Camera", "Camera2", "SLM", *PROPERTIES]), st.sampled_from([2, 3, 100]))


@settings(max_examples=1500, deadline=None)
@given(lists_of_events(), st.one_of(st.just(100), lengths))
def test_groups_do_what_the_events_say(events: list[AcquisitionEvent], longest: Any) -> None:
    caps = capabilities(longest)
    groups = list(iter_groups(iter(events), caps))
    assert [event for group in groups for event in group.events] == events
    assert all(group.boundary for group in groups[:-1])
    assert groups[-1].boundary == ""
    assert by_groups(groups) == one_by_one(events)


@settings(max_examples=500, deadline=None)
@given(lists_of_events(), lengths)
def test_no_device_is_asked_for_more_than_it_holds(events: list[AcquisitionEvent], longest: dict[Any, int]) -> None:
    clock = 0.0
    roles = capabilities(longest).roles()
    for group in iter_groups(events, capabilities(longest)):
        first, count = group.events[0], len(group.events)
        roles.follow(first, capabilities())
        loaded: dict[Any, Any] = {**group.properties, **group.stages}
        loaded |= {} if group.z is None else {roles.focus: group.z}
        loaded |= {} if group.xy is None else {"XY": group.xy}
        loaded |= {} if group.slm is None else {"SLM": group.slm}
        loaded |= {} if group.exposure is None else {first.camera or "Camera": group.exposure}
        for key, values in loaded.items():
            assert len(values) == count <= longest[key]
            assert len(set(values)) > 1, "loaded, though it never changes"
        if first.reset_event_timer:
            clock = 0.0
        clock = max(clock, first.min_start_time or 0.0)
        for event in group.events[1:]:
            assert event.acquire and first.acquire
            assert not event.reset_event_timer
            assert (event.min_start_time or 0.0) <= clock
            assert (event.camera or "Camera") == (first.camera or "Camera")
            assert (event.keep_shutter_open, event.timeout) == (first.keep_shutter_open, first.timeout)


@settings(max_examples=200, deadline=None)
@given(lists_of_events())
def test_off_takes_each_event_by_itself(events: list[AcquisitionEvent]) -> None:
    groups = list(iter_groups(events, capabilities(), "off"))
    assert [group.events for group in groups] == [(event,) for event in events]
    assert {group.boundary for group in groups[:-1]} <= {"sequencing is off"}


def test_off_or_auto_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="'always'"):
        list(iter_groups([], capabilities(), "always"))


# ---- what merges ----------------------------------------------------------------------------------------------------


def test_everything_merges_when_everything_can() -> None:
    events = multi_d_acquisition_events(
        3, 0, 0, 4, 1, channel_group="Channel", channels=["DAPI", "FITC"], channel_exposures_ms=[5, 9], xy_positions=[[0, 0], [0, 7]]
    )
    (group,) = iter_groups(map(make, events), capabilities())
    assert len(group.events) == 60
    assert group.z is not None and group.z[:6] == (0, 1, 2, 3, 4, 0)
    assert group.xy is not None and group.xy[9:11] == ((0, 0), (0, 7))
    assert group.exposure is not None and group.exposure[4:6] == (5, 9)
    assert group.properties == {("Wheel", "Label"): (("one",) * 5 + ("two",) * 5) * 6}, "and not the ones that both presets set alike"


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_scan_along_one_axis_is_loaded(axis: str) -> None:
    (group,) = groups_of([{"x": 3, "y": 4, axis: step} for step in range(5)])
    assert group.xy == tuple((step, 4) if axis == "x" else (3, step) for step in range(5))


def test_one_coordinate_alone_is_not_sequenced() -> None:
    first, _ = groups_of([{"x": 1}, {"x": 2}])
    assert "only one of them" in first.boundary


def test_what_later_events_leave_out_stays() -> None:
    (group,) = groups_of([{"z": 1, "exposure": 5}, {"z": 2}, {}, {"z": 1, "exposure": 5}])
    assert group.z == (1, 2, 2, 1)
    assert group.exposure is None


@pytest.mark.parametrize(
    "key, value",
    [("z", 1), ("exposure", 5), ("slm_pattern", b"ab"), ("config_group", ["Channel", "DAPI"]), ("properties", [["Laser", "Power", 1]]),
     ("stage_positions", [["Piezo", 1]])],
)  # fmt: skip
def test_what_was_not_known_before_ends_the_group(key: str, value: Any) -> None:
    first, second = groups_of([{}, {key: value}])
    assert "not before" in first.boundary
    assert second.boundary == ""


def test_the_longest_sequence_of_every_loaded_device_counts_also_where_nothing_changes() -> None:
    caps = capabilities({"Z": 3})
    groups = groups_of([{"z": 0}, {"z": 1}, {"z": 1}, {"z": 1}, {"z": 1}], caps)
    assert sizes(groups) == [3, 2]
    assert groups[0].boundary == "longer than the 3 steps that stage 'Z' can hold"


def test_a_device_that_begins_to_change_late_must_hold_all_steps() -> None:
    groups = groups_of([{"z": 0}] * 4 + [{"z": 1}], capabilities({"Z": 4}))
    assert sizes(groups) == [4, 1]


def test_properties_are_sequenced_or_split_but_never_dropped() -> None:
    events = [{"properties": [["Laser", "Power", power]]} for power in range(4)]
    (group,) = groups_of(events)
    assert group.properties == {("Laser", "Power"): ("0", "1", "2", "3")}
    split = groups_of(events, capabilities(0))
    assert sizes(split) == [1, 1, 1, 1]
    assert split[0].boundary == "'Laser-Power' changes and cannot be sequenced"


def test_patterns_are_sequenced_or_split() -> None:
    events = [{"slm_pattern": np.array([[i, 7]], np.uint8)} for i in (0, 1, 1)]
    (group,) = groups_of(events)
    assert group.slm is not None and [pattern[0, 0] for pattern in np.array(group.slm)] == [0, 1, 1]
    assert sizes(groups_of(events, capabilities(0))) == [1, 2], "equal patterns are constant"


def test_presets_are_compared_with_their_group() -> None:
    first, _ = groups_of(
        [{"config_group": ["Channel", "DAPI"]}, {"config_group": ["Light", "DAPI"]}], capabilities({("Laser", "Power"): 1})
    )
    assert "Laser-Power" in first.boundary


def test_presets_are_compared_by_property_and_not_by_place() -> None:
    (group,) = groups_of([{"config_group": ["Channel", preset]} for preset in ("FITC", "Cy5", "FITC")], capabilities(0))
    assert group.properties == {}, "Cy5 leaves out what FITC sets first, and the rest is equal"


def test_a_preset_that_is_named_again_brings_its_values_back() -> None:
    power = [["Laser", "Power", 5]]
    (group,) = groups_of([{"config_group": ["Channel", "DAPI"]}, {"config_group": ["Channel", "DAPI"], "properties": power},
                          {"config_group": ["Channel", "DAPI"]}, {}])  # fmt: skip
    assert group.properties == {("Laser", "Power"): ("1", "5", "1", "1")}


@pytest.mark.parametrize(
    "one, other, reason",
    [
        ({"camera": "Camera"}, {"camera": "Camera2"}, "camera: 'Camera' here, then 'Camera2'"),
        ({}, {"keep_shutter_open": True}, "keep_shutter_open changes"),
        ({"timeout": 100}, {"timeout": 200}, "timeout changes"),
        ({}, {"reset_event_timer": True}, "the next event starts the clock anew (reset_event_timer)"),
        ({"min_start_time": 1}, {"min_start_time": 3.5}, "the next event starts 2.5 s later (min_start_time)"),
        ({}, {"min_start_time": 2}, "the next event starts 2 s later (min_start_time)"),
    ],
)
def test_what_splits_with_any_hardware(one: dict[str, Any], other: dict[str, Any], reason: str) -> None:
    groups = groups_of([one, other])
    assert [group.boundary for group in groups] == [reason, ""]


def test_naming_the_cores_camera_is_no_other_camera() -> None:
    assert sizes(groups_of([{}, {"camera": "Camera"}])) == [2]


def test_hardware_only_events_stand_alone() -> None:
    events = [make({"z": 1}), make({"axes": {}, "z": 1}), make({"z": 1}), make({"z": 1})]
    groups = list(iter_groups(events, capabilities()))
    assert [group.boundary for group in groups[:2]] == ["this event takes no image", "the next event takes no image"]
    assert sizes(groups) == [1, 1, 1, 1]


def test_equal_earlier_or_no_start_times_merge() -> None:
    assert sizes(groups_of([{"min_start_time": t} if t is not None else {} for t in (0, 0, None, 5, 5, None, 4, 6)])) == [3, 4, 1]


def test_a_time_lapse_for_each_position_keeps_its_interval() -> None:
    events = multi_d_acquisition_events(2, 10, xy_positions=[[0, 0], [1, 1]], order="pt")
    groups = list(iter_groups(map(make, events), capabilities()))
    assert sizes(groups) == [1, 1, 1, 1]
    assert "10 s later" in groups[2].boundary


def test_a_preset_that_chooses_another_focus_device_is_followed() -> None:
    events = [{"config_group": ["Focus", "fine"], "z": 0}, {"z": 1}, {"z": 2}]
    assert sizes(groups_of(events, capabilities({"Piezo": 100}))) == [3]
    first, *_ = groups_of(events, capabilities({"Z": 100}))
    assert first.boundary == "z: stage 'Piezo' cannot be sequenced"


def test_what_the_capabilities_do_not_know_is_not_sequenced() -> None:
    events = [{"z": i, "config_group": ["Nothing", str(i)]} for i in range(3)]
    assert sizes(groups_of(events, Capabilities(camera="Camera", focus="Z"))) == [1, 1, 1]


def test_events_are_pulled_one_ahead() -> None:
    pulled = []

    def events() -> Any:
        for i in range(10):
            pulled.append(i)
            yield make({"axes": {"i": i}, "z": i})

    groups = iter_groups(events(), capabilities(0))
    next(groups)
    assert pulled == [0, 1]


def test_planning_software_timed_events_is_quick() -> None:
    """A timing decides nothing: this only prints, for whoever wonders (10 µs was the budget, about 2 is usual)."""
    events = [make(e) for e in multi_d_acquisition_events(50, 0, 0, 9, 1, "Channel", ["DAPI", "FITC"])]
    start = time.perf_counter()
    count = sum(1 for _ in iter_groups(events, capabilities(0)))
    print(f"{(time.perf_counter() - start) / len(events) * 1e6:.2f} µs per event")
    assert count == 1000
