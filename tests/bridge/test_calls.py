"""What is written of a call ahead of time is what `wire` would write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from aiomm.bridge import wire
from aiomm.bridge.calls import Method, opening
from aiomm.bridge.handle import Handle
from aiomm.bridge.members import Members
from aiomm.bridge.wire import Shadow, Signature

S = "java.lang.String"
HANDLE = Handle("1a2b%s", 4827, "a.B")
SHADOW = Shadow("a.B", HANDLE.hash_code, 4827, ("a.B", "java.lang.Object"), (), [])


def method(*overloads: tuple[str, ...]) -> Method:
    return Method(Members(SHADOW, snake=True), tuple(Signature("doIt", types, "void") for types in overloads))


@pytest.mark.parametrize(
    ("types", "args"),
    [
        ((), ()),
        (("int",), (-5,)),
        (("long",), (1 << 62,)),
        (("double",), (3,)),
        (("double",), (1e-300,)),
        (("float",), (np.float32(0.1),)),
        (("java.lang.Double",), (-0.0,)),
        (("boolean", "boolean"), (True, np.bool_(False))),
        (("char",), ("x",)),
        ((S, S), ("C:/x", '"quoted" \\ \n 100% @1_2')),
        ((S,), ("",)),
    ],
)
def test_written_ahead(types: tuple[str, ...], args: tuple[Any, ...]) -> None:
    one = method(types)
    written = one.written(opening(HANDLE.hash_code), args)
    assert written is not None
    signature, values, frames = written
    assert (signature, list(values)) == (one.choose(args)[0], list(one.choose(args)[1]))
    expected = wire.encode(wire.run_method(HANDLE, False, signature, values))
    assert [json.loads(frame) for frame in frames] == [json.loads(bytes(frame)) for frame in expected]


@pytest.mark.parametrize(
    ("overloads", "args"),
    [
        ([(S,)], ("µm",)),
        ([(S,)], ("\\u0041",)),
        ([(S,)], ("\ud800",)),
        ([(S,)], (None,)),
        ([(S,)], (HANDLE,)),
        ([("double",)], (float("nan"),)),
        ([("int",)], (1 << 40,)),
        ([("int",)], (1, 2)),
        ([("int",), ("double",)], (1,)),
        ([("int",), ("int[]",)], (1,)),
        ([("byte[]",)], (np.zeros(3, np.uint8),)),
        ([("java.lang.Object",)], (1,)),
        ([("java.util.List",)], ([1],)),
    ],
)
def test_left_to_others(overloads: list[tuple[str, ...]], args: tuple[Any, ...]) -> None:
    assert method(*overloads).written(opening(HANDLE.hash_code), args) is None
