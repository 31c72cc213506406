"""Arrays, buffers and numbers in numpy's wrapping as arguments, on the real server: right, or refused by name."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

import aiomm
from aiomm import errors

INTS = np.arange(4, dtype=np.int32)


@pytest.mark.parametrize(
    ("method", "args", "shown"),
    [
        # numpy's arrays of no dimension are the numbers in them
        ("one", (np.array(1.5),), "1.5"),
        ("one", (np.array(3),), "3.0"),
        ("flat", ([np.array(1), 2],), "[1, 2]"),
        ("many_ints", (np.array(1), np.array(2)), "[1, 2]"),
        ("many_ints", (np.array(1), 2), "[1, 2]"),
        ("many_doubles", ("x", np.array(1.5), np.array(2)), "x[1.5, 2.0]"),
        ("many_boxes", (np.array(1), np.array(2)), "[1, 2]"),
        ("many_objects", (np.array(1.5), np.array("t"), np.array(True)), "[1.5, t, true]"),
        # as many dimensions as the type has; pixels may have two where Java has one
        ("ints", (INTS.reshape(2, 2),), "[[0, 1], [2, 3]]"),
        ("ints", ([INTS[:2], [5]],), "[[0, 1], [5]]"),
        ("doubles", (INTS.reshape(2, 2),), "[[0.0, 1.0], [2.0, 3.0]]"),
        ("cube", (INTS.astype(np.int16).reshape(1, 2, 2),), "[[[0, 1], [2, 3]]]"),
        ("flat", (INTS.reshape(2, 2),), "[0, 1, 2, 3]"),
        # buffers
        ("bytes", (bytearray(b"ab"),), "[97, 98]"),
        ("bytes", (memoryview(b"ab"),), "[97, 98]"),
        ("bytes", (memoryview(b"abcd")[::2],), "[97, 99]"),
        ("bytes", (array.array("b", [1, -2]),), "[1, -2]"),
        ("flat", (memoryview(INTS),), "[0, 1, 2, 3]"),
        ("flat", (array.array("i", [1, 2]),), "[1, 2]"),
        ("doubles_flat", (array.array("d", [1, 2.5]),), "[1.0, 2.5]"),
        ("ints", ([array.array("i", [1]), array.array("i", [])],), "[[1], []]"),
    ],
)
async def test_what_java_gets(method: str, args: tuple[Any, ...], shown: str, bridge: aiomm.Bridge) -> None:
    nested = await bridge.construct_java_object("aiomm.host.Nested")
    assert await nested.call(method, args) == shown


@pytest.mark.parametrize(
    ("method", "value", "what"),
    [
        ("ints", INTS.reshape(1, 2, 2), r"ndarray of 3 dimensions is no int\[\]\[\]"),
        ("doubles", np.zeros((2, 2, 2)), r"ndarray of 3 dimensions is no double\[\]\[\]"),
        ("cube", np.zeros((1, 1, 1, 1), np.int16), r"ndarray of 4 dimensions is no short\[\]\[\]\[\]"),
        ("ints", [INTS.reshape(2, 2)], r"list is no int\[\]\[\]"),
        ("ints", [[[1]]], r"list is no int\[\]\[\]"),
        ("bytes", memoryview(np.array([1, 1000], np.int32)), r"is no byte\[\]"),
        ("flat", array.array("u", "ab"), r"is no int\[\]"),
        ("flat", np.array("x"), r"'x'.* is no int\[\]"),
    ],
)
async def test_what_is_refused(method: str, value: Any, what: str, bridge: aiomm.Bridge) -> None:
    nested = await bridge.construct_java_object("aiomm.host.Nested")
    with pytest.raises(errors.OverloadError, match=what):
        await nested.call(method, [value])


@pytest.mark.parametrize(
    ("method", "value", "ran"),
    [
        ("boxed_or_not", 1, "byte"),
        ("boxed_or_not", np.int8(1), "byte"),
        ("boxes", INTS, "int[]"),
        ("boxes", INTS.astype(np.int64), "int[]"),
        ("boxes", [1, 2], "int[]"),
        ("arrays", array.array("f", [1]), "float[]"),
        ("arrays", memoryview(b"ab"), "byte[]"),
    ],
)
async def test_which_overload_runs(method: str, value: Any, ran: str, bridge: aiomm.Bridge) -> None:
    overloads = await bridge.construct_java_object("aiomm.host.Overloads")
    assert await overloads.call(method, [value]) == ran
