"""Which Java method Python arguments call, without a server; `test_wire_on_java` shows that Java agrees."""

from __future__ import annotations

import enum
import math
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomm.bridge import wire
from aiomm.bridge.handle import Handle
from aiomm.bridge.java_types import ARRAYS, BOXES, assignable, canonical, notation
from aiomm.bridge.overloads import Needs, choose, convert, sure
from aiomm.bridge.wire import Signature
from aiomm.errors import JavaValueError, OverloadError

S, OBJ, CS, N, C = "java.lang.String", "java.lang.Object", "java.lang.CharSequence", "java.lang.Number", "java.lang.Comparable"
LIST, COLLECTION, ITERABLE, MAP = "java.util.List", "java.util.Collection", "java.lang.Iterable", "java.util.Map"
INTEGER, LONG, DOUBLE = "java.lang.Integer", "java.lang.Long", "java.lang.Double"
ARRAY_LIST = Handle(
    "1",
    4827,
    "java.util.ArrayList",
    # as the server lists them: a class, its interfaces with theirs, then the superclass in the same way
    (
        "java.util.ArrayList",
        *(LIST, COLLECTION, ITERABLE, "java.util.RandomAccess", "java.lang.Cloneable", "java.io.Serializable"),
        *("java.util.AbstractList", LIST, COLLECTION, ITERABLE, "java.util.AbstractCollection", COLLECTION, ITERABLE, OBJ),
    ),
)
DOG = Handle("2", 4827, "a.Dog", ("a.Dog", "a.Animal", "a.Named", OBJ))
STRINGS = Handle("3", 4827, "[Ljava.lang.String;", ("[Ljava.lang.String;", "java.lang.Cloneable", "java.io.Serializable", OBJ))
ENTRY = Handle("4", 4827, "java.util.HashMap$Node", ("java.util.HashMap$Node", "java.util.Map$Entry", OBJ))


class Preset(str, enum.Enum):  # noqa: UP042
    """Texts with names: `str()` of one is ``Preset.DAPI``."""

    DAPI = "dapi"


def chosen(overloads: list[tuple[str, ...]], *args: Any) -> tuple[str, ...]:
    return choose([Signature("f", types) for types in overloads], args, what="a.B.f")[0].arguments


@pytest.mark.parametrize(
    ("args", "overloads", "expected"),
    [
        # exact, then widening, then boxing, then Object, then narrowing
        ((1,), [("double",), ("long",), ("int",), (INTEGER,), (OBJ,)], ("int",)),
        ((1,), [(OBJ,), (INTEGER,), ("double",), ("long",)], ("long",)),
        ((1,), [(OBJ,), (INTEGER,), ("double",), ("float",)], ("float",)),
        ((1,), [(OBJ,), (INTEGER,), (N,)], (INTEGER,)),
        ((1,), [(OBJ,), (N,)], (N,)),
        ((1,), [(OBJ,), ("byte",)], (OBJ,)),
        ((1,), [("byte",), ("short",)], ("short",)),
        ((300,), [("byte",), ("short",)], ("short",)),
        ((2**31,), [("int",), ("long",), ("double",)], ("long",)),
        ((2**31,), [("int",), ("double",)], ("double",)),
        ((2**70,), [("long",), ("double",)], ("double",)),
        ((5,), [(DOUBLE,)], (DOUBLE,)),
        ((5,), [(LONG,), (DOUBLE,)], (LONG,)),
        ((1.5,), [("int",), ("float",)], ("float",)),
        ((1.5,), [("float",), ("double",)], ("double",)),
        ((1.5,), [("float",), (OBJ,)], (OBJ,)),
        ((1.5,), [(OBJ,), (DOUBLE,), ("int",)], (DOUBLE,)),
        ((True,), [("int",), ("boolean",)], ("boolean",)),
        ((True,), [("int",), (OBJ,)], (OBJ,)),
        # numpy's numbers by their dtypes
        ((np.int64(1),), [("int",), ("long",)], ("long",)),
        ((np.int64(1),), [("int",), ("double",)], ("int",)),
        ((np.int64(2**40),), [("int",), ("double",)], ("double",)),
        ((np.int16(1),), [("byte",), ("short",), ("int",)], ("short",)),
        ((np.uint8(200),), [("byte",), ("short",), ("int",)], ("short",)),
        ((np.uint16(7),), [("byte",)], ("byte",)),
        ((np.uint64(2**63),), [("long",), ("double",)], ("double",)),
        ((np.float32(1),), [("float",), ("double",)], ("float",)),
        ((np.float64(1),), [("float",), ("double",)], ("double",)),
        ((np.bool_(True),), [("int",), ("boolean",)], ("boolean",)),
        ((np.array(3),), [("int",), ("int[]",)], ("int",)),
        # text
        (("a",), [(OBJ,), (S,), ("char",), (CS,)], (S,)),
        (("a",), [(OBJ,), (CS,), ("char",)], (CS,)),
        (("a",), [("int",), ("char",)], ("char",)),
        (("RED",), [("a.Color",), (OBJ,)], (OBJ,)),
        (("RED",), [("a.Color",), ("int",)], ("a.Color",)),
        ((PurePosixPath("/x"),), [(S,), ("a.Color",)], (S,)),
        # null is any object: the most specific
        ((None,), [("int",), (S,)], (S,)),
        ((None,), [(OBJ,), (S,)], (S,)),
        ((None,), [(N,), (INTEGER,), (OBJ,)], (INTEGER,)),
        # objects: the class itself, the nearest supertype, Object
        ((DOG,), [("a.Animal",), ("a.Dog",), (OBJ,)], ("a.Dog",)),
        ((DOG,), [("a.Named",), ("a.Animal",), (OBJ,)], ("a.Animal",)),
        ((DOG,), [("a.Cat",), (OBJ,)], (OBJ,)),
        ((ARRAY_LIST,), [(COLLECTION,), (LIST,), (ITERABLE,)], (LIST,)),
        ((ARRAY_LIST,), [(ITERABLE,), (COLLECTION,), (OBJ,)], (COLLECTION,)),
        ((STRINGS,), [(OBJ,), ("java.lang.Object[]",)], ("java.lang.Object[]",)),
        ((STRINGS,), [("java.lang.String[]",), ("java.lang.Object[]",)], ("java.lang.String[]",)),
        ((ENTRY,), [("java.util.Map$Entry",), (OBJ,)], ("java.util.Map$Entry",)),
        ((ENTRY,), [("java.util.Map.Entry",)], ("java.util.Map.Entry",)),
        # arrays
        ((np.zeros(2, np.uint16),), [("char[]",), ("short[]",), ("int[]",), (OBJ,)], ("short[]",)),
        ((np.zeros(2, np.uint32),), [("float[]",), ("int[]",), ("long[]",)], ("int[]",)),
        ((np.zeros(2, np.float32),), [("double[]",), ("float[]",)], ("float[]",)),
        ((np.zeros(2),), [("float[]",)], ("float[]",)),
        # a number that is narrowed: rather a primitive than its box
        ((1,), [("byte",), ("java.lang.Byte",)], ("byte",)),
        ((1,), [("short",), ("java.lang.Byte",)], ("short",)),
        ((1,), [("java.lang.Short",), ("byte",)], ("java.lang.Short",)),
        ((1,), [("java.lang.Float",), (DOUBLE,)], (DOUBLE,)),
        ((1.5,), [("float",), ("java.lang.Float",)], ("float",)),
        (("a",), [("char",), ("java.lang.Character",)], ("char",)),
        # an array of numbers: one of primitives, Object, then what each number is boxed for
        ((np.zeros(2, np.int64),), [("int[]",), ("java.lang.Integer[]",)], ("int[]",)),
        ((np.zeros(2, np.int64),), [("long[]",), ("java.lang.Integer[]",), ("java.lang.Long[]",)], ("long[]",)),
        ((np.zeros(2, np.int64),), [("java.lang.Integer[]",), (OBJ,)], (OBJ,)),
        ((np.zeros(2, np.int64),), [("java.lang.Long[]",), (LIST,)], ("java.lang.Long[]",)),
        ((np.zeros(2, np.int32),), [("byte[]",), ("char[]",)], ("byte[]",)),
        ((np.zeros(2),), [("float[]",), ("java.lang.Double[]",)], ("java.lang.Double[]",)),
        ((np.zeros(2),), [("float[]",), ("java.lang.Float[]",), (LIST,)], ("float[]",)),
        ((np.zeros((2, 2), np.int32),), [("int[][]",), (OBJ,)], ("int[][]",)),
        ((np.zeros(2, np.int64),), [("long",), ("java.lang.Integer[]",)], ("java.lang.Integer[]",)),
        ((1,), [("long",), ("java.lang.Integer[]",)], ("long",)),
        ((np.zeros(2),), [("float[]",), (OBJ,)], (OBJ,)),
        ((np.zeros(2, np.int64),), [("int[]",), ("long[]",)], ("long[]",)),
        ((np.zeros(2, bool),), [("boolean[]",), (OBJ,)], ("boolean[]",)),
        ((b"x",), [("byte[]",), (OBJ,), (S,)], ("byte[]",)),
        (([1, 2],), [("double[]",), ("int[]",), (LIST,), (OBJ,)], ("int[]",)),
        (([1, 2.5],), [("float[]",), ("double[]",), ("int[]",)], ("double[]",)),
        (([1, 2**40],), [("int[]",), ("long[]",)], ("long[]",)),
        (([0, 255],), [("byte[]",)], ("byte[]",)),
        ((["a", "b"],), [("java.lang.String[]",), (LIST,), (OBJ,)], ("java.lang.String[]",)),
        ((["a", 1],), [("java.lang.String[]",), (LIST,)], (LIST,)),
        (((1, "x"),), [(COLLECTION,), (ITERABLE,)], (COLLECTION,)),
        (([True],), [("boolean[]",), ("int[]",)], ("boolean[]",)),
        (([[1], [2, 3]],), [("int[][]",), ("int[]",)], ("int[][]",)),
        (([DOG],), [("a.Animal[]",), ("a.Cat[]",)], ("a.Animal[]",)),
        (({"a": 1},), [(MAP,), (OBJ,)], (MAP,)),
        (({1, 2},), [("java.util.Set",), (COLLECTION,)], ("java.util.Set",)),
        (([1.5, 2],), [("mmcorej.DoubleVector",)], ("mmcorej.DoubleVector",)),
        # variable arguments after all else
        ((1, 2), [("int[]",), ("int", OBJ)], ("int", OBJ)),
        ((1, 2), [("int[]",), ("java.lang.Object[]",)], ("int[]",)),
        (("x", 1, 2.5), [(S, "java.lang.Object[]"), (S,)], (S, "java.lang.Object[]")),
        ((), [("int[]",), ()], ()),
        ((), [("int[]",), ("int",)], ("int[]",)),
        # several arguments
        (("a", 1), [(S, "double"), (S, "int")], (S, "int")),
        (("a", 1.0), [(S, "double"), (S, "int")], (S, "double")),
        ((1, 2), [(S, "double", "double"), ("double", "double")], ("double", "double")),
    ],
)
def test_java_chooses_so(args: tuple[Any, ...], overloads: list[tuple[str, ...]], expected: tuple[str, ...]) -> None:
    assert chosen(overloads, *args) == expected
    assert chosen(overloads[::-1], *args) == expected  # their order says nothing


@pytest.mark.parametrize(
    ("args", "overloads", "what"),
    [
        ((None,), [(S,), (INTEGER,)], r"a\.B\.f\(NoneType\) could be any of f\(String\), f\(Integer\)"),
        (("x",), [(C,), (CS,)], "could be any"),
        ((1, 1), [("int", "long"), ("long", "int")], "could be any"),
        ((300,), [("byte",)], r"argument 1: int 300 does not fit byte \(-128\.\.127\)"),
        ((2**63,), [("long",)], "does not fit long"),
        ((2.0,), [("int",)], r"float 2\.0 is no int"),
        ((True,), [("int",)], "bool True is no int"),
        ((1,), [("boolean",)], "int 1 is no boolean"),
        ((None,), [("int",)], "NoneType is no int"),
        (("xy",), [("char",)], "str 'xy' is no char"),
        (("\N{GRINNING FACE}",), [("char",)], "is no char"),
        ((1,), [(S,)], "int 1 is no String"),
        ((np.uint64(2**63),), [(OBJ,)], "does not fit long"),
        ((np.uint64(2**63),), [(LONG,)], "does not fit long"),
        ((DOG,), [("a.Cat",)], r"a\.Dog is no Cat"),
        ((DOG,), [("int",)], r"a\.Dog is no int"),
        ((2**70,), [(OBJ,)], "int 1180591620717411303424 does not fit long"),
        ((1j,), [(OBJ,)], "Java has nothing like complex"),
        (("not a name",), [("a.Color",)], "is no Color"),
        (("x",), [(LIST,)], "is no List"),
        (([1, "x"],), [("int[]",)], r"list is no int\[\]"),
        (([2**70],), [("long[]",)], r"list is no long\[\]"),
        (([2**63],), [("long[]",)], r"list is no long\[\]"),  # and no negative number either
        ((np.array([2**64 - 1], np.uint64),), [("long[]",)], r"ndarray is no long\[\]"),
        ((np.array([2**31], np.uint32),), [("int[]",)], r"ndarray is no int\[\]"),
        (([-1, 255],), [("byte[]",)], r"list is no byte\[\]"),
        ((np.zeros(2, np.complex64),), [("double[]",)], r"double\[\]"),
        ((1, 2), [("int",)], r"\(2 arguments\); there is f\(int\)"),
        ((), [("int",)], r"\(0 arguments\)"),
        ((1,), [], "no public method"),
        (("x", "y"), [(S, "double", "double"), ("double", "double")], r"there is f\(String, double, double\), f\(double, double\)"),
    ],
)
def test_what_no_method_takes(args: tuple[Any, ...], overloads: list[tuple[str, ...]], what: str) -> None:
    with pytest.raises(OverloadError, match=what) as caught:
        chosen(overloads, *args)
    assert set(caught.value.candidates) == {notation("f", types) for types in overloads}


@pytest.mark.parametrize(
    ("value", "java_type", "what"),
    [
        (math.nan, "double", "nan"),
        (math.inf, DOUBLE, "inf"),
        (math.nan, OBJ, "nan"),
        (1e300, "float", "does not fit float"),
        (10**400, "double", "does not fit double"),
        ([1e300], "float[]", "does not fit float"),
        ({"hash-code": "x"}, "mmcorej.org.json.JSONObject", "hash-code"),
        ({"a": {"b": [1, DOG]}}, "mmcorej.org.json.JSONObject", r"\['a'\]\['b'\]\[1\] is a a\.Dog"),
        ({"a": b"x"}, "mmcorej.org.json.JSONObject", r"\['a'\] is a bytes"),
        ({"a": np.arange(2)}, "mmcorej.org.json.JSONObject", r"\['a'\] is a ndarray"),
    ],
)
def test_values_that_cannot_be_carried(value: Any, java_type: str, what: str) -> None:
    with pytest.raises(JavaValueError, match=f"a.B.f: .*{what}"):
        choose([Signature("f", (java_type,))], [value], what="a.B.f")


def test_data_that_contain_themselves() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(JavaValueError, match="themselves"):
        chosen([(LIST,)], cycle)


@pytest.mark.parametrize(
    ("value", "java_type", "sent"),
    [
        (1, "double", 1.0),
        (np.int64(3), "int", 3),
        (np.float32(0.5), "double", 0.5),
        ("a", "char", 97),
        ("中", "java.lang.Character", 0x4E2D),
        (np.bool_(True), "boolean", True),
        (None, S, None),
        (None, INTEGER, None),
        (None, "int[]", None),
        (None, OBJ, None),
        (None, LIST, Needs("null", LIST, None)),
        ("RED", "a.Color", Needs("enum", "a.Color", "RED")),
        (["a", None], "java.lang.String[]", Needs("array", "java.lang.String[]", ["a", None])),
        ([True, False], "boolean[]", Needs("array", "boolean[]", [True, False])),
        ((1, "x"), LIST, Needs("list", LIST, [1, "x"])),
        ({"x"}, COLLECTION, Needs("set", COLLECTION, ["x"])),
        ({"x": [1]}, MAP, Needs("map", MAP, [("x", Needs("list", OBJ, [1]))])),
        ({"x": 1}, "mmcorej.org.json.JSONObject", Needs("json", "mmcorej.org.json.JSONObject", {"x": 1})),
        (["a"], "mmcorej.StrVector", Needs("vector", "mmcorej.StrVector", ["a"])),
        (PurePosixPath("/x"), S, "/x"),
        (Preset.DAPI, S, "dapi"),
        (Preset.DAPI, OBJ, "dapi"),
        (Preset.DAPI, "a.Color", Needs("enum", "a.Color", "dapi")),
        (DOG, "a.Animal", DOG),
    ],
)
def test_what_is_sent(value: Any, java_type: str, sent: Any) -> None:
    converted = convert(value, java_type)
    assert converted == sent
    assert type(converted) is type(sent)


@pytest.mark.parametrize(
    ("value", "java_type", "dtype", "items"),
    [
        ([1, 2], "double[]", np.float64, [1.0, 2.0]),
        ([], "int[]", np.int32, []),
        (["a", "µ"], "char[]", np.uint16, [97, 181]),
        ([0, 255], "byte[]", np.int8, [0, -1]),
        (np.array([65535], np.uint16), "short[]", np.uint16, [65535]),
        (np.array([65535], np.uint16), "int[]", np.int32, [65535]),
        (np.array([1, 2]), "int[]", np.int32, [1, 2]),
        (np.array([1.5]), "float[]", np.float32, [1.5]),
        ([np.inf, 1], "float[]", np.float32, [math.inf, 1.0]),
        (np.zeros((2, 2), ">f8"), "double[]", np.float64, [[0, 0], [0, 0]]),
    ],
)
def test_arrays_get_the_type_of_the_argument(value: Any, java_type: str, dtype: type, items: list[Any]) -> None:
    array = convert(value, java_type)
    assert array.dtype == dtype
    assert array.tolist() == items


def test_variable_arguments_become_an_array() -> None:
    signature, values = choose([Signature("format", (S, "java.lang.Object[]"))], ["%d", 1, "x"], what="f")
    assert values == ["%d", Needs("array", "java.lang.Object[]", [1, "x"])]
    assert signature.arguments == (S, "java.lang.Object[]")
    (array,) = choose([Signature("f", ("int[]",))], [1, 2], what="f")[1]
    assert array.tolist() == [1, 2]


def test_of_one_method_declared_twice_the_more_special_result_counts() -> None:
    two = [Signature("f", ("int",), OBJ), Signature("f", ("int",), S)]
    assert choose(two, [1], what="f")[0].returns == S
    assert choose(two[::-1], [1], what="f")[0].returns == S


# --- would the server take the same one? ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "overloads", "plain"),
    [
        ((), [(), ("int",)], True),
        ((1,), [("int",), ("long",), (OBJ,)], True),  # a primitive is looked up exactly
        ((1,), [(INTEGER,), (OBJ,)], False),
        ((1,), [(OBJ,)], True),
        (("x",), [(S,)], True),
        (("x",), [(S,), (OBJ,)], False),
        (("x",), [(S,), (OBJ, OBJ)], True),
        ((DOG,), [("a.Dog",), ("a.Animal",)], False),
        ((DOG,), [("a.Animal",), ("a.Cat",)], True),
        ((None,), [(S,)], True),
        ((None,), [(LIST,)], False),
        (([1],), [(LIST,)], False),
        (({"a": 1},), [("mmcorej.org.json.JSONObject",)], False),
        ((np.zeros(2),), [("double[]",)], True),
        ((np.zeros(2),), [("double[]",), (OBJ,)], False),
        (("a@b", b"x"), [(S, "byte[]")], False),
        ((b"x", "a@b"), [("byte[]", S)], True),
        (("a@b", 1), [(S, "int")], True),
    ],
)
def test_whether_the_server_surely_takes_the_same_one(args: tuple[Any, ...], overloads: list[tuple[str, ...]], plain: bool) -> None:
    signatures = [Signature("f", types) for types in overloads]
    signature, values = choose(signatures, args, what="f")
    assert sure(signatures, signature, values) is plain


# --- anything at all -------------------------------------------------------------------------------------------------

TYPES = st.sampled_from(
    [*BOXES, *BOXES.values(), *ARRAYS, "boolean[]", S, OBJ, CS, N, C, LIST, MAP, "java.lang.String[]", "a.Color", "a.Dog", "int[][]"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.sampled_from(
        [
            DOG,
            ARRAY_LIST,
            np.int8(1),
            np.uint64(2**64 - 1),
            np.float16(1),
            np.zeros(3, np.uint8),
            np.zeros((2, 2)),
            np.array(1.0),
            1j,
            object(),
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(TYPES, max_size=3).map(tuple), max_size=4), st.lists(VALUES, max_size=3))
def test_any_arguments_are_converted_or_refused(overloads: list[tuple[str, ...]], args: list[Any]) -> None:
    signatures = [Signature("f", types) for types in overloads]
    try:
        signature, values = choose(signatures, args, what="f")
    except (OverloadError, JavaValueError):
        return
    assert signature in signatures
    assert len(values) == len(signature.arguments)
    if sure(signatures, signature, values):
        try:
            wire.encode(wire.run_method(DOG, False, signature, values))
        except JavaValueError as error:
            assert "surrogate" in str(error)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["byte", "short", "int", "long"]), st.integers(-(2**65), 2**65))
def test_an_integer_is_sent_as_it_is_or_refused(java_type: str, value: int) -> None:
    bits = {"byte": 8, "short": 16, "int": 32, "long": 64}[java_type]
    fits = -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)
    for name in (java_type, BOXES[java_type]):
        if fits:
            assert choose([Signature("f", (name,))], [value], what="f")[1] == [value]
        else:
            with pytest.raises(OverloadError, match="does not fit"):
                choose([Signature("f", (name,))], [value], what="f")


# --- names of types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("[[I", "int[][]"),
        ("[Ljava.util.Map$Entry;", "java.util.Map.Entry[]"),
        ("java.lang.String[]", "java.lang.String[]"),
        ("int", "int"),
        ("I", "I"),
    ],
)
def test_one_spelling_of_a_type(name: str, expected: str) -> None:
    assert canonical(name) == expected


def test_what_java_assigns_to_what() -> None:
    assert assignable(OBJ, "int[]")
    assert assignable("java.io.Serializable", "[[I")
    assert assignable("java.lang.Object[]", "java.lang.String[][]")
    assert assignable("java.lang.Comparable[]", "java.lang.String[]")
    assert not assignable("java.lang.Object[]", "int[]")
    assert not assignable("long", "int")
    assert not assignable(OBJ, "int")
    assert not assignable(LIST, "a.B")
    assert assignable(LIST, "a.B", ("a.B", LIST))
    assert notation("f", ("java.lang.String", "[I", "java.util.Map$Entry")) == "f(String, int[], Entry)"
