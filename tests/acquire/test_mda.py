"""multi_d_acquisition_events: what the seed and its tests say, without their holes."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomm.acquire.mda import multi_d_acquisition_events as mda

XY = [[0, 1], [2, 3], [4, 5]]
XYZ = [[0, 1, 10], [2, 3, 20], [4, 5, 30]]


def test_nothing_is_one_image_without_axes() -> None:
    assert mda() == [{"axes": {}}]
    assert mda(num_time_points=None) == mda(1)


@pytest.mark.parametrize("positions", [XY, np.array(XY), [tuple(p) for p in XY]])
def test_positions(positions: Any) -> None:
    assert mda(xy_positions=positions) == [{"axes": {"position": i}, "x": x, "y": y} for i, (x, y) in enumerate(XY)]


@pytest.mark.parametrize("labels", [["a", "b", "c"], np.array(["a", "b", "c"]), (7, 8, 9), np.array([7, 8, 9])])
def test_labels(labels: Any) -> None:
    assert [event["axes"]["position"] for event in mda(xy_positions=XY, position_labels=labels)] == list(labels)
    assert [event["axes"] for event in mda(xyz_positions=XYZ, position_labels=labels)] == [{"position": label, "z": 0} for label in labels]


def test_xyz_alone_is_one_slice_at_each_z() -> None:
    assert mda(xyz_positions=XYZ) == [{"axes": {"position": i, "z": 0}, "x": x, "y": y, "z": z} for i, (x, y, z) in enumerate(XYZ)]


def test_z_is_relative_to_xyz_and_absolute_with_xy() -> None:
    relative = mda(xyz_positions=XYZ, z_start=-1, z_end=1, z_step=1)
    assert [event["z"] for event in relative] == [9, 10, 11, 19, 20, 21, 29, 30, 31]
    assert [event["axes"]["z"] for event in relative] == [0, 1, 2] * 3
    assert [event["z"] for event in mda(xy_positions=XY, z_start=-1, z_end=1, z_step=1)] == [-1, 0, 1] * 3


def test_time_points() -> None:
    assert mda(num_time_points=3) == [{"axes": {"time": t}} for t in range(3)]
    assert mda(num_time_points=3, time_interval_s=10) == [{"axes": {"time": t}, "min_start_time": 10 * t} for t in range(3)]
    assert mda(num_time_points=1, time_interval_s=10) == [{"axes": {}}]
    assert all(type(event["axes"]["time"]) is int for event in mda(num_time_points=np.int64(3)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "intervals, starts",
    [([0, 10, 20, 0, 10], [0, 10, 30, 30, 40]), ([5, 10, 10], [5, 15, 25]), ((0, 10, -5), [0, 10, 5]), (np.array([0, 0.5]), [0, 0.5])],
)
def test_an_interval_before_each_time_point(intervals: Any, starts: list[float]) -> None:
    assert [event["min_start_time"] for event in mda(len(intervals), intervals)] == starts


def test_a_list_of_one_interval_delays_the_only_time_point() -> None:
    assert mda(1, [5]) == [{"axes": {}, "min_start_time": 5}]


def test_position_outside_time_gives_each_its_own_time_lapse() -> None:
    events = mda(2, 10, 0, 1, 1, xy_positions=XY[:2], order="ptz")
    assert [(e["axes"]["position"], e["axes"]["time"], e["axes"]["z"]) for e in events] == list(
        itertools.product(range(2), range(2), range(2))
    )
    assert [e["min_start_time"] for e in events] == [0, 0, 10, 10] * 2
    assert [i for i, e in enumerate(events) if "reset_event_timer" in e] == [4], "its clock begins anew"
    assert not any("reset_event_timer" in e for e in mda(2, 0, xy_positions=XY, order="pt"))
    assert not any("reset_event_timer" in e for e in mda(2, 10, 0, 1, 1, xy_positions=XY, order="tpz"))


def test_channels() -> None:
    events = mda(channel_group="Channel", channels=["DAPI", "FITC"], channel_exposures_ms=[5, 10.5])
    assert events == [
        {"axes": {}, "channel": {"group": "Channel", "config": "DAPI"}, "exposure": 5},
        {"axes": {}, "channel": {"group": "Channel", "config": "FITC"}, "exposure": 10.5},
    ]
    assert "exposure" not in mda(channel_group="Channel", channels=np.array(["DAPI"]))[0]


@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("tpcz")])
def test_order(order: str) -> None:
    events = mda(2, 0, 0, 2, 1, "Channel", ["a", "b"], None, XY, None, order)
    names = {"t": "time", "p": "position", "z": "z"}
    seen = [tuple(e["channel"]["config"] if letter == "c" else e["axes"][names[letter]] for letter in order) for e in events]
    values: dict[str, Any] = {"t": range(2), "p": range(3), "c": ["a", "b"], "z": range(3)}
    assert seen == list(itertools.product(*(values[letter] for letter in order)))
    assert mda(order=order.upper(), xy_positions=XY) == mda(xy_positions=XY)


@pytest.mark.parametrize(
    "start, end, step, expected",
    [
        (0, 5, 2, [0, 2, 4]),
        (0, 4, 2, [0, 2, 4]),
        (4, 0, -2, [4, 2, 0]),
        (5, 0, -2, [5, 3, 1]),
        (3, 3, 1, [3]),
        (0, 0, -1, [0]),
        (0, 1, 3, [0]),
    ],
)
def test_z_ranges(start: float, end: float, step: float, expected: list[float]) -> None:
    assert [event["z"] for event in mda(z_start=start, z_end=end, z_step=step)] == expected


@given(st.integers(-10_000, 10_000), st.integers(0, 300), st.integers(1, 2000), st.sampled_from([1, 10, 100, 1000]), st.booleans())
def test_a_range_that_divides_ends_at_its_end_once(start: int, count: int, step: int, scale: int, down: bool) -> None:
    sign = -1 if down else 1
    first, last, pitch = start / scale, (start + sign * count * step) / scale, sign * step / scale
    z = [event["z"] for event in mda(z_start=first, z_end=last, z_step=pitch)]
    assert len(z) == count + 1
    assert z[0] == first and z[-1] == last


@given(st.floats(-1e4, 1e4), st.floats(-1e3, 1e3), st.floats(0.5, 50))
def test_no_slice_lies_past_the_end(start: float, length: float, step: float) -> None:
    end = start + length
    z = [event["z"] for event in mda(z_start=start, z_end=end, z_step=step if end >= start else -step)]
    assert all(min(start, end) <= value <= max(start, end) for value in z)
    assert abs(end - z[-1]) < step + 1e-9
    assert z == sorted(z, reverse=end < start)


def test_z_positions_give_one_z_each_or_all_slices() -> None:
    assert [e["z"] for e in mda(xy_positions=XY, z_positions=[7, 8, 9])] == [7, 8, 9]
    events = mda(xy_positions=XY, z_positions=[[1, 2], [3, 4], [5, 6]])
    assert [(e["axes"]["position"], e["axes"]["z"], e["z"]) for e in events] == [
        (0, 0, 1),
        (0, 1, 2),
        (1, 0, 3),
        (1, 1, 4),
        (2, 0, 5),
        (2, 1, 6),
    ]
    ranged = mda(xy_positions=XY, z_positions=[0, 100, 200], z_start=-1, z_end=1, z_step=0.5)
    assert [e["z"] for e in ranged] == [z + o for z in (0, 100, 200) for o in np.arange(-1, 1, 0.5)], "half-open as its arange"


@pytest.mark.parametrize(
    "flags, marked",
    [({"keep_shutter_open_between_channels": True}, True), ({"keep_shutter_open_between_z_steps": True}, True), ({}, False)],
)
def test_shutter(flags: dict[str, bool], marked: bool) -> None:
    events = mda(1, 0, 0, 2, 1, "Channel", ["DAPI"], **flags)
    assert all(event.get("keep_shutter_open", False) is marked for event in events)
    assert not any("keep_shutter_open" in event for event in mda(num_time_points=2, **flags)), "only in that loop"


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"order": "tq"}, "letter 'q'"),
        ({"order": "tpcc"}, "twice"),
        ({"order": ["t"]}, "must be a string"),
        ({"order": "t", "channel_group": "C", "channels": ["a"]}, "has no 'c'"),
        ({"order": "pcz", "num_time_points": 2}, "has no 't'"),
        ({"order": "tcz", "xy_positions": XY}, "has no 'p'"),
        ({"order": "tpc", "z_start": 0, "z_end": 1, "z_step": 1}, "has no 'z'"),
        ({"order": "tpc", "xyz_positions": XYZ}, "has no 'z'"),
        ({"order": "zp", "xyz_positions": XYZ, "z_start": 0, "z_end": 1, "z_step": 1}, "'p' must come first"),
        ({"order": "zp", "xy_positions": XY, "z_positions": [1, 2, 3]}, "'p' must come first"),
        ({"num_time_points": 0}, "1 or more"),
        ({"num_time_points": 2.0}, "whole number"),
        ({"num_time_points": True}, "whole number"),
        ({"time_interval_s": -1, "num_time_points": 2}, "negative"),
        ({"time_interval_s": "1", "num_time_points": 2}, "must be a number"),
        ({"time_interval_s": [1, 2], "num_time_points": 3}, "2 elements for 3 time points"),
        ({"time_interval_s": [0, -2], "num_time_points": 2}, "before the start"),
        ({"channels": ["a"]}, "without channel_group"),
        ({"channel_group": "C"}, "without channels"),
        ({"channel_exposures_ms": [1]}, "without channels"),
        ({"channel_group": "C", "channels": "DAPI"}, "must be a list"),
        ({"channel_group": "C", "channels": []}, "empty"),
        ({"channel_group": "C", "channels": ["a", 1]}, "names of presets"),
        ({"channel_group": "C", "channels": ["a", "a"]}, "'a' twice"),
        ({"channel_group": "C", "channels": ["a", "b"], "channel_exposures_ms": [1]}, "1 elements for 2 channels"),
        ({"channel_group": "C", "channels": ["a"], "channel_exposures_ms": [-1]}, "negative"),
        ({"channel_group": "C", "channels": ["a"], "channel_exposures_ms": 5}, "must be a list"),
        ({"z_start": 0, "z_end": 5}, "z_step is missing"),
        ({"z_start": 0, "z_step": 5}, "z_end is missing"),
        ({"z_start": 0}, "z_end and z_step is missing"),
        ({"z_start": 0, "z_end": 5, "z_step": 0}, "z_step is 0"),
        ({"z_start": 0, "z_end": 5, "z_step": -1}, "other sign"),
        ({"z_start": 0, "z_end": float("nan"), "z_step": 1}, "finite"),
        ({"xy_positions": XY, "xyz_positions": XYZ}, "both given"),
        ({"xy_positions": XYZ}, r"shape \(N, 2\), not \(3, 3\)"),
        ({"xyz_positions": XY}, r"shape \(N, 3\), not \(3, 2\)"),
        ({"xy_positions": [1, 2]}, r"shape \(N, 2\), not \(2,\)"),
        ({"xy_positions": np.zeros((0, 2))}, "empty"),
        ({"xy_positions": [[0, float("inf")]]}, "not finite"),
        ({"xy_positions": [[0, 1], [2]]}, "array of numbers"),
        ({"position_labels": ["a"]}, "without positions"),
        ({"xy_positions": XY, "position_labels": ["a"]}, "1 labels for 3 positions"),
        ({"xyz_positions": XYZ, "position_labels": ["a"]}, "1 labels for 3 positions"),
        ({"xy_positions": XY, "position_labels": ["a", "b", "a"]}, "'a' twice"),
        ({"xy_positions": XY, "position_labels": ["a", "b", 1]}, "mixes"),
        ({"xy_positions": XY, "position_labels": ["a", "b", None]}, "strings or whole numbers"),
        ({"z_positions": [1]}, "without xy_positions"),
        ({"xyz_positions": XYZ, "z_positions": [1, 2, 3]}, "both given"),
        ({"xy_positions": XY, "z_positions": [1]}, "1 rows for 3 positions"),
        ({"xy_positions": XY, "z_positions": [[1], [2], [3]], "z_start": 0, "z_end": 1, "z_step": 1}, "both given"),
        ({"xy_positions": XY, "z_positions": [1, 2, 3], "z_start": 0, "z_end": 0, "z_step": 1}, "no slice"),
        ({"keep_shutter_open_between_z_steps": 1}, "True or False"),
    ],
)
def test_what_does_not_fit_together_is_said(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mda(**arguments)


# ---- the list -------------------------------------------------------------------------------------------------------


def test_it_is_lazy() -> None:
    events = mda(1_000_000, 0, 0, 99, 1, "Channel", ["a", "b"])
    assert len(events) == 200_000_000
    assert events[-1]["axes"] == {"time": 999_999, "z": 99}
    assert len(events[5:8]) == 3
    assert repr(events) == "<200000000 acquisition events: time 1000000 x channel 2 x z 100>"
    with pytest.raises(IndexError):
        events[200_000_000]


def test_it_is_a_list_as_the_seeds() -> None:
    events, plain = mda(4), list(mda(4).fresh())
    assert events == plain and plain == events
    assert events != plain[:-1] and events != [*plain[:-1], {}]
    for i, event in enumerate(events):
        event["exposure"] = i
    events[0]["z"] = 3
    events[1:3][0]["z"] = 4
    expected = [{"axes": {"time": i}, "exposure": i} for i in range(4)]
    expected[0]["z"], expected[1]["z"] = 3, 4
    assert events == expected, "a change in one of its dicts stays"
    assert list(events.fresh()) == expected
    events.append({"z": 1})
    events.insert(0, {"z": 0})
    del events[1]
    events[1] = {"z": 5}
    events.sort(key=lambda event: event.get("z", 99))
    assert [event.get("z") for event in events] == [0, 1, 5, None, None]
    more: list[Any] = [{}]
    assert events + more == [*events, {}] and more + events == [{}, *events]
    random.Random(1).shuffle(events)
    assert len(events) == 5 and len(events * 2) == 10
    assert "5 acquisition events" in repr(events)


def test_the_dicts_that_an_acquisition_reads_are_not_kept() -> None:
    events = mda(3)
    first = next(iter(events.fresh()))
    first["z"] = 1
    assert events == mda(3)
