from __future__ import annotations

import datetime
import enum
import json
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from aiomm.dataset.encode import check_axes, check_pixels, encode_json, encode_metadata


def test_axes_become_plain_and_the_callers_stay() -> None:
    given = {"time": np.int64(3), "channel": np.str_("DAPI"), "z": -1}
    plain = check_axes(given)
    assert plain == {"time": 3, "channel": "DAPI", "z": -1}
    assert [type(value) for value in plain.values()] == [int, str, int]
    assert isinstance(given["time"], np.int64)


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ({"time": True}, "'time' is True"),
        ({"time": np.True_}, "'time'"),
        ({"z": 1.0}, "'z' is 1.0"),
        ({"z": np.float32(1)}, "'z'"),
        ({"z": None}, "'z' is None"),
        ({"z": (1,)}, "'z'"),
        ({3: 1}, "3 is int"),
        ([("z", 1)], "dict"),
    ],
)
def test_axes_that_cannot_be(axes: Any, names: str) -> None:
    with pytest.raises(TypeError, match=names.replace("(", r"\(")):
        check_axes(axes)


@pytest.mark.parametrize("value", [2**62, -(2**62), 10**30])
def test_axis_values_are_bounded(value: int) -> None:
    with pytest.raises(ValueError, match="'z'"):
        check_axes({"z": value})


@pytest.mark.parametrize(
    ("pixels", "depth", "error", "names"),
    [
        ([[1]], None, TypeError, "list"),
        (np.zeros((2, 2)), None, TypeError, "float64"),
        (np.zeros((2, 2), np.int16), None, TypeError, "int16"),
        (np.zeros((2, 2), ">u2"), None, TypeError, ">u2"),
        (np.zeros((2, 2), bool), None, TypeError, "bool"),
        (np.zeros((2, 2, 3), np.uint16), None, TypeError, "uint16"),
        (np.zeros((2, 2, 4), np.uint8), None, ValueError, "(2, 2, 4)"),
        (np.zeros(4, np.uint8), None, ValueError, "(4,)"),
        (np.zeros((0, 4), np.uint8), None, ValueError, "(0, 4)"),
        (np.zeros((2, 2), np.uint8), 12, ValueError, "12"),
        (np.zeros((2, 2), np.uint16), 0, ValueError, "0"),
        (np.zeros((2, 2), np.uint16), 17, ValueError, "17"),
        (np.zeros((2, 2), np.uint16), 12.0, TypeError, "12.0"),
        (np.zeros((2, 2), np.uint16), True, TypeError, "True"),
    ],
)
def test_pixels_that_cannot_be_stored(pixels: Any, depth: Any, error: type[Exception], names: str) -> None:
    with pytest.raises(error) as caught:
        check_pixels(pixels, depth)
    assert names in str(caught.value)


class Color(enum.Enum):
    RED = "red"


def test_metadata_of_many_kinds() -> None:
    metadata = {
        "int": np.int32(4),
        "float": np.float32(0.5),
        "bool": np.True_,
        "array": np.arange(4).reshape(2, 2),
        "nan": float("nan"),
        "inf": [np.inf, np.float32("nan")],
        "path": PurePosixPath("a/b"),
        "enum": Color.RED,
        "date": datetime.date(2024, 2, 3),
        "set": {2, 1},
        "tuple": (1, (2,)),
        np.int64(7): "numpy key",
        8: "int key",
        "µ": "µ",
    }
    assert json.loads(encode_metadata(metadata, {"time": 1})) == {
        "int": 4,
        "float": 0.5,
        "bool": True,
        "array": [[0, 1], [2, 3]],
        "nan": None,
        "inf": [None, None],
        "path": "a/b",
        "enum": "red",
        "date": "2024-02-03",
        "set": [1, 2],
        "tuple": [1, [2]],
        "7": "numpy key",
        "8": "int key",
        "µ": "µ",
        "Axes": {"time": 1},
    }


def test_axes_in_metadata_are_the_images() -> None:
    assert json.loads(encode_metadata({"Axes": {"time": 5}}, {"time": 1})) == {"Axes": {"time": 1}}


def test_json_is_ascii_and_strict() -> None:
    data = encode_json({"a": "µ", "b": float("nan")})
    assert data.isascii()
    json.loads(data, parse_constant=lambda text: pytest.fail(text))


def test_metadata_that_cannot_be_encoded_names_the_key() -> None:
    with pytest.raises(TypeError, match=r"'a'\.b\[1\].*object"):
        encode_json({"a": {"b": [1, object()]}})
    with pytest.raises(TypeError, match="keys are strings, not tuple"):
        encode_json({"a": {(1, 2): 3}})
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(TypeError, match="in itself"):
        encode_json(endless)
