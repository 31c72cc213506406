"""Events: every key is checked, the caller's dict is left alone, and hooks get back what they can edit."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomm.acquire.events import AcquisitionEvent
from aiomm.errors import EventError

read = AcquisitionEvent.from_dict

SEED: dict[str, Any] = {
    "axes": {"time": 1, "z": 3},
    "channel": {"group": "Channel", "config": "DAPI"},
    "exposure": 10,
    "z": 1.5,
    "min_start_time": 2,
    "x": 1,
    "y": 2,
    "row": 4,
    "col": 5,
    "keep_shutter_open": True,
    "properties": [["Camera", "Gain", 3], ["Camera", "Binning", "2"]],
}


def test_all_keys_of_the_seed() -> None:
    event = read(SEED)
    assert event.axes == {"time": 1, "z": 3, "row": 4, "column": 5, "channel": "DAPI"}
    assert event.acquire
    assert event.config == ("Channel", "DAPI")
    assert (event.exposure, event.z, event.x, event.y, event.min_start_time) == (10.0, 1.5, 1.0, 2.0, 2.0)
    assert event.keep_shutter_open is True
    assert event.properties == (("Camera", "Gain", "3"), ("Camera", "Binning", "2"))


def test_all_keys_of_the_newer_dialect() -> None:
    pattern = np.arange(6, dtype=np.uint8).reshape(2, 3)
    event = read(
        {"axes": {"position": "well A1", "channel": "mine"}, "config_group": ["Channel", "FITC"], "camera": "Camera2", "timeout": 500,
         "stage_positions": [["Z", 3], ("Piezo", np.float32(0.5))], "slm_pattern": pattern, "tags": {"a": np.int64(1), "b": [True, None]}}
    )  # fmt: skip
    assert event.axes == {"position": "well A1", "channel": "mine"}
    assert event.config == ("Channel", "FITC")
    assert (event.camera, event.timeout, event.stage_positions) == ("Camera2", 500.0, (("Z", 3.0), ("Piezo", 0.5)))
    assert event.tags == {"a": 1, "b": [True, None]}
    assert type(event.tags["a"]) is int
    pattern[:] = 0
    assert isinstance(event.slm_pattern, np.ndarray)
    assert event.slm_pattern.max() == 5, "a copy"
    assert not event.slm_pattern.flags.writeable
    assert read({"timeout_ms": 7}).timeout == 7


@pytest.mark.parametrize(
    "mapping, acquire, axes",
    [
        ({}, False, {}),
        ({"axes": {}}, True, {}),
        ({"keep_shutter_open": False}, False, {}),
        ({"config_group": ["Channel", "DAPI"]}, False, {}),
        ({"channel": {"group": "Channel", "config": "DAPI"}}, True, {"channel": "DAPI"}),
        ({"axes": {}, "config_group": ["Channel", "DAPI"]}, True, {"channel": "DAPI"}),
        ({"row": 1, "col": 2}, True, {"row": 1, "column": 2}),
        ({"axes": {"row": -1, "col": np.int16(2)}}, True, {"row": -1, "column": 2}),
        ({"axes": {"row": 1}, "row": 1, "column": 2}, True, {"row": 1, "column": 2}),
    ],
)
def test_image_or_not(mapping: dict[str, Any], acquire: bool, axes: dict[str, Any]) -> None:
    event = read(mapping)
    assert (event.acquire, event.axes) == (acquire, axes)
    again = read(event.to_dict())
    assert (again.acquire, again.axes) == (acquire, axes)


@pytest.mark.parametrize(
    "mapping, key, words",
    [
        ({"exposur": 1}, "exposur", "did you mean 'exposure'"),
        ({"z_pos": 1}, "z_pos", "did you mean 'z'"),
        ({"time": 1}, "time", "'axes': {'time'"),
        ({"nonsense": 1}, "nonsense", "an event may have 'axes'"),
        ({7: 1}, "7", "unknown key 7"),
        ({"z": True}, "z", "not a bool"),
        ({"z": "3"}, "z", "not a str"),
        ({"z": None}, "z", "leave the key out"),
        ({"z": np.array([1.0])}, "z", "not a ndarray"),
        ({"x": float("nan")}, "x", "finite"),
        ({"y": np.float64("inf")}, "y", "finite"),
        ({"exposure": -1}, "exposure", "not be below 0"),
        ({"min_start_time": -1}, "min_start_time", "not be below 0"),
        ({"min_start_time": 1.76e9}, "min_start_time", "not be above 1e+08 s: it counts from the start of the submission"),
        ({"min_start_time": 1e300}, "min_start_time", "not be above 1e+08 s"),
        ({"min_start_time": 10**400}, "min_start_time", "finite"),
        ({"min_start_time": float("inf")}, "min_start_time", "finite"),
        ({"exposure": 1e300}, "exposure", "not be above 1e+11 ms"),
        ({"exposure": 2 * 10**11}, "exposure", "not be above 1e+11 ms"),
        ({"timeout": 1e12}, "timeout", "not be above 1e+11 ms"),
        ({"timeout_ms": float("inf")}, "timeout_ms", "finite"),
        ({"axes": {"time": 1.0}}, "axes['time']", "write 1"),
        ({"axes": {"time": True}}, "axes['time']", "whole number or a string"),
        ({"axes": {3: 1}}, "axes", "name of an axis"),
        ({"axes": [1]}, "axes", "must be a dict"),
        ({"channel": "DAPI"}, "channel", "'group'"),
        ({"channel": ["Channel", "DAPI"]}, "channel", "'config_group'"),
        ({"channel": {"group": "Channel"}}, "channel", "'config'"),
        ({"channel": {"group": "Channel", "preset": "x"}}, "channel", "'preset' does not belong"),
        ({"config_group": "DAPI"}, "config_group", "[config group, preset]"),
        ({"config_group": ["Channel", ""]}, "config_group", "not an empty one"),
        ({"channel": {"group": "A", "config": "b"}, "config_group": ["A", "c"]}, "config_group", "give one of the two"),
        ({"axes": {"row": 1}, "row": 2}, "row", "already"),
        ({"axes": {"column": 1, "col": 2}}, "axes['col']", "give one"),
        ({"col": 1, "column": 2}, "column", "already"),
        ({"row": "A"}, "row", "whole number"),
        ({"properties": {"Camera": 1}}, "properties", "list of [device, property, value]"),
        ({"properties": [["Camera", "Gain"]]}, "properties", "list of [device, property, value]"),
        ({"properties": [["Camera", "Gain", True]]}, "properties Camera-Gain", "'On'"),
        ({"properties": [["Camera", "Gain", None]]}, "properties Camera-Gain", "string or a number"),
        ({"properties": [["Camera", "Gain", 1], ["Camera", "Gain", 2]]}, "properties", "set twice, to '1' and to '2'"),
        ({"stage_positions": [["Z", "up"]]}, "stage_positions 'Z'", "must be a number"),
        ({"stage_positions": [["Z", 1], ["Z", 2]]}, "stage_positions", "given twice"),
        ({"stage_positions": "Z"}, "stage_positions", "[stage, position in µm]"),
        ({"camera": ""}, "camera", "not an empty one"),
        ({"keep_shutter_open": 1}, "keep_shutter_open", "True or False"),
        ({"timeout": 0}, "timeout", "above 0"),
        ({"timeout": 1, "timeout_ms": 2}, "timeout_ms", "the same thing"),
        ({"tags": {"a": object()}}, "tags['a']", "JSON"),
        ({"tags": {1: 2}}, "tags", "names in it"),
        ({"tags": "a"}, "tags", "must be a dict"),
        ({"slm_pattern": "a"}, "slm_pattern", "bytes"),
        ({"slm_pattern": np.zeros((2, 2))}, "slm_pattern", "float64"),
        ({"slm_pattern": np.array([[300]])}, "slm_pattern", "0 to 255"),
        ({"slm_pattern": [[1], [1, 2]]}, "slm_pattern", "bytes"),
    ],
)
def test_what_is_wrong_is_named(mapping: dict[Any, Any], key: str, words: str) -> None:
    with pytest.raises(EventError) as caught:
        read(mapping)
    assert caught.value.key == key
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("thing", [None, 3, "axes", [("axes", {})]])
def test_no_dict_is_no_event(thing: Any) -> None:
    with pytest.raises(EventError, match="an event is a dict"):
        read(thing)


def test_numpy_is_welcome_and_leaves_no_trace() -> None:
    event = read(
        {"axes": {"t": np.int64(3), "p": np.str_("A")}, "z": np.float32(1), "x": np.array(2.0), "y": np.int8(3), "exposure": np.uint16(5)}
    )
    assert [type(value) for value in event.axes.values()] == [int, str]
    assert [type(value) for value in (event.z, event.x, event.y, event.exposure)] == [float] * 4
    assert json.loads(json.dumps(event.to_dict()))["x"] == 2.0
    properties = np.array([["Camera", "Gain", "1"]])
    assert read({"properties": properties}).properties == (("Camera", "Gain", "1"),)


def test_numbers_of_properties_are_written_as_devices_read_them() -> None:
    event = read({"properties": [["D", "a", 10.0], ["D", "b", 0.25], ["D", "c", np.int32(4)], ["D", "d", "On"]]})
    assert [value for _, _, value in event.properties] == ["10", "0.25", "4", "On"]


def test_a_mask_is_a_pattern() -> None:
    event = read({"slm_pattern": np.array([[True, False]])})
    assert np.asarray(event.slm_pattern).tolist() == [[255, 0]]
    colour = read({"slm_pattern": np.array([[1, 2]], np.uint32)}).slm_pattern
    assert isinstance(colour, np.ndarray) and colour.shape == (1, 2, 4) and colour.dtype == np.uint8


def test_the_callers_dict_is_not_changed_nor_kept() -> None:
    mapping = copy.deepcopy(SEED)
    event = read(mapping)
    assert mapping == SEED
    shown = event.to_dict()
    shown["axes"]["time"] = 9
    shown["properties"][0][2] = "9"
    mapping["axes"]["time"] = 8
    assert event.axes["time"] == 1
    assert event.properties[0][2] == "3"


# ---- what hooks get, and give back ----------------------------------------------------------------------------------


def test_hooks_get_the_users_own_dialect() -> None:
    shown = read(SEED).to_dict()
    assert shown == {**SEED, "axes": {"time": 1, "z": 3, "row": 4, "column": 5, "channel": "DAPI"},
                     "properties": [["Camera", "Gain", "3"], ["Camera", "Binning", "2"]]}  # fmt: skip
    assert read({"axes": {"col": 1}, "config_group": ["A", "b"], "timeout_ms": 5}).to_dict() == {
        "axes": {"col": 1, "channel": "b"}, "config_group": ["A", "b"], "timeout_ms": 5.0}  # fmt: skip


def through(how: str, mapping: dict[str, Any]) -> dict[str, Any]:
    if how == "deepcopy":
        return copy.deepcopy(mapping)
    if how == "pickle":
        return pickle.loads(pickle.dumps(mapping))  # type: ignore[no-any-return]
    return {**mapping, "axes": {**mapping["axes"]}}


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "unpacked"])
def test_the_channel_axis_follows_a_hooks_change(how: str) -> None:
    shown = through(how, read(SEED).to_dict())
    shown["channel"]["config"] = "FITC"
    shown["z"] += 1
    shown["row"] = 7
    event = read(shown)
    assert event.config == ("Channel", "FITC")
    assert event.axes == {"time": 1, "z": 3, "row": 7, "column": 5, "channel": "FITC"}
    assert event.z == 2.5


def test_a_channel_axis_of_ones_own_stays() -> None:
    shown = read({**SEED, "axes": {"channel": "mine"}}).to_dict()
    shown["channel"]["config"] = "FITC"
    assert read(shown).axes["channel"] == "mine"
    shown = read(SEED).to_dict()
    shown["axes"]["channel"] = "mine"
    assert read(shown).axes["channel"] == "mine"


def test_a_hook_may_take_the_channel_away() -> None:
    shown = read(SEED).to_dict()
    del shown["channel"]
    event = read(shown)
    assert event.config is None
    assert event.axes["channel"] == "DAPI", "the image keeps its name"


def test_an_event_made_directly_is_checked_too() -> None:
    event = AcquisitionEvent(axes={"z": np.int64(1)}, config=("Channel", "DAPI"), z=3)  # type: ignore[dict-item]
    assert event.axes == {"z": 1, "channel": "DAPI"}
    assert dataclasses.replace(event, config=("Channel", "FITC")).axes == {"z": 1, "channel": "FITC"}
    assert not AcquisitionEvent(acquire=False, z=1.0).acquire
    with pytest.raises(EventError, match="exposure"):
        AcquisitionEvent(exposure=-1.0)
    with pytest.raises(EventError, match="acquire=False"):
        AcquisitionEvent(axes={"z": 1}, acquire=False)


def test_key_is_the_identity_of_the_image() -> None:
    assert read({"axes": {"a": 1, "b": "x"}}).key == read({"axes": {"b": "x", "a": 1}}).key
    assert len({read({"axes": {"a": 1}}).key, read({"axes": {"a": 2}}).key, read({"axes": {}}).key}) == 3


names = st.text("abrowclm", min_size=1, max_size=4)
events = st.fixed_dictionaries(
    {},
    optional={
        "axes": st.dictionaries(names.filter(lambda n: n not in ("row", "col", "column", "channel")), st.one_of(st.integers(-9, 9), names)),
        "channel": st.fixed_dictionaries({"group": names, "config": names}),
        "z": st.floats(-1e4, 1e4),
        "x": st.integers(-9, 9),
        "exposure": st.floats(0, 1e4),
        "row": st.integers(-9, 9),
        "col": st.integers(-9, 9),
        "camera": names,
        "keep_shutter_open": st.booleans(),
        "properties": st.lists(st.tuples(names, names, names), unique_by=lambda p: p[:2]),
        "stage_positions": st.lists(st.tuples(names, st.floats(-9, 9)), unique_by=lambda p: p[0]),
        "tags": st.dictionaries(names, st.one_of(st.none(), st.integers(), names, st.lists(st.booleans()))),
        "timeout_ms": st.floats(1, 9),
        "reset_event_timer": st.booleans(),
    },
)


@given(events)
def test_an_event_survives_the_way_through_a_hook(mapping: dict[str, Any]) -> None:
    event = read(mapping)
    again = read(event.to_dict())
    for field in dataclasses.fields(AcquisitionEvent):
        assert getattr(again, field.name) == getattr(event, field.name), field.name
    for key, value in mapping.items():
        if key not in ("axes", "properties", "stage_positions", "reset_event_timer"):
            assert event.to_dict()[key] == value
