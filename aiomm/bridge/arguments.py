"""What one Python value is to one Java type: whether it may be passed, how well it fits, what is sent for it."""

from __future__ import annotations

import array
import inspect
import math
import os
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from aiomm.bridge.handle import Handle
from aiomm.bridge.java_types import (
    ARRAYS,
    BOXES,
    FLOATS,
    INTEGERS,
    PRIMITIVES,
    SUPERTYPES,
    array_element,
    assignable,
    canonical,
    short,
    unboxed,
)
from aiomm.errors import JavaValueError

__all__ = ["VECTORS", "Kind", "Needs", "Rank", "convert", "rank", "rank_item"]

Kind: TypeAlias = Literal["array", "enum", "json", "list", "map", "null", "set", "vector"]

Rank: TypeAlias = tuple[int, int]
"""Phase (0 as it is, 1 boxed, 2 made into something else, 4 narrowed; 3 is for variable arguments) and distance within it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """A value that has to be made in Java before the call.

    Attributes
    ----------
    kind : str
        ``array``: of the type `java_type`, of the converted elements `value`. ``list``, ``set``, ``map``: a Java collection of `value`,
        whose elements (for a map: pairs) are converted. ``enum``: the constant of the name `value`. ``null``: a null that the server
        cannot be sent directly. ``json``: `value` as one of the server's JSON objects. ``vector``: one of MMCoreJ's vectors.
    java_type : str
        The declared type of the argument.
    value : object
        What it is made of.
    """

    kind: Kind
    java_type: str
    value: Any


_OBJECT: Final = "java.lang.Object"
_STRING: Final = "java.lang.String"
_JSON: Final = "mmcorej.org.json.JSONObject"
_WIDER: Final = {"byte": 0, "short": 1, "int": 2, "long": 3, "float": 4, "double": 5}
_LISTS: Final = {
    "java.util.List": 0,
    "java.util.ArrayList": 0,
    "java.util.SequencedCollection": 1,
    "java.util.Collection": 1,
    "java.lang.Iterable": 2,
}
_SETS: Final = {
    "java.util.Set": 0,
    "java.util.LinkedHashSet": 0,
    "java.util.HashSet": 0,
    "java.util.Collection": 1,
    "java.lang.Iterable": 2,
}
_MAPS: Final = {"java.util.Map": 0, "java.util.LinkedHashMap": 0, "java.util.HashMap": 0}
VECTORS: Final = {
    "mmcorej.BooleanVector": "boolean",
    "mmcorej.CharVector": "char",
    "mmcorej.DoubleVector": "double",
    "mmcorej.LongVector": "int",
    "mmcorej.StrVector": _STRING,
    "mmcorej.UnsignedVector": "long",
}
_PLAIN: Final = frozenset({bool, int, float, str, type(None)})
_LAST: Final = 9  # the distance of Object
_ONE_BY_ONE: Final = 20  # added to the distance of what the numbers of an array are boxed for
_LESS_EXACT: Final = 45  # the distance of floats for an array of doubles: behind Double[], before lists
_NUMPY: Final = {
    "i1": "byte",
    "i2": "short",
    "i4": "int",
    "i8": "long",
    "u1": "short",
    "u2": "int",
    "u4": "long",
    "u8": "long",
    "f2": "float",
    "f4": "float",
}
_NO_ENUMS: Final = ("java.lang.invoke.", "java.lang.ref.", "java.lang.reflect.", "java.io.", "java.util.function.")


def rank(value: Any, java_type: str) -> Rank | None:
    """How well a value fits a type; None if it cannot be passed as one."""
    target = canonical(java_type)
    value = _usual(value)
    if value is None:
        return None if target in PRIMITIVES else (0, _LAST if target == _OBJECT else 0)
    if isinstance(value, Handle):
        return _rank_handle(value, target)
    if isinstance(value, bool | np.bool_):
        return _rank_scalar("boolean", target)
    if isinstance(value, int):
        return _rank_int(value, target)
    if isinstance(value, np.generic) and value.dtype.kind in "iu":
        exact = _rank_scalar(_NUMPY[value.dtype.kind + str(value.dtype.itemsize)], target)
        if exact is not None and (_fits(int(value), "long") or target in {"float", "double"}):
            return exact
        like = _rank_int(int(value), target)  # numpy's default is int64: it may be an int as well, where there is no long
        return like and (like[0], like[1] + 1)
    if isinstance(value, float | np.floating):
        return _rank_float("float" if isinstance(value, np.float16 | np.float32) else "double", target)
    if isinstance(value, str):
        return _rank_str(value, target)
    if isinstance(value, bytes | bytearray):
        return (0, 0) if target == "byte[]" else (0, _LAST) if target == _OBJECT else None
    if isinstance(value, np.ma.MaskedArray):
        raise JavaValueError("a masked array has no values where it is masked: pass array.filled(...)")
    if isinstance(value, np.ndarray):
        return _rank_array(value, target)
    if isinstance(value, list | tuple):
        return _rank_list(value, target)
    if isinstance(value, set | frozenset):
        return _rank_members(value, target, _SETS)
    if isinstance(value, dict):
        return (2, 1) if target == _JSON else _rank_members([*value, *value.values()], target, _MAPS)
    return None


def rank_item(value: Any, java_type: str) -> Rank | None:
    """As `rank`, of what goes into an array: there an array has the dimensions that its type says, while elsewhere pixels may have two."""
    target = canonical(java_type)
    dimensions = target.count("[]")
    if dimensions and target[: -2 * dimensions] in PRIMITIVES and isinstance(value, np.ndarray) and value.ndim != dimensions:
        return None
    return rank(value, target)


def _usual(value: Any) -> Any:
    """Give what other kinds of values stand for: a path for a text, an array of no dimension for a number, a buffer for an array."""
    if type(value) in _PLAIN:  # most values
        return value
    if isinstance(value, np.ndarray):
        return value if value.ndim else value[()]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return np.asarray(value) if isinstance(value, memoryview | array.array) else value


def _rank_handle(value: Handle, target: str) -> Rank | None:
    """Exact class, then supertypes in the order in which the server lists them: there each comes after the last of its own subtypes."""
    if target == canonical(value.java_class):
        return 0, 0
    if not assignable(target, value.java_class, value.java_interfaces):
        return None
    last = max(
        (index for index, name in enumerate(value.java_interfaces, 1) if canonical(name) == target), default=len(value.java_interfaces) + 1
    )
    return 0, last + (1 << 20 if target == _OBJECT else 0)


def _rank_scalar(natural: str, target: str) -> Rank | None:
    """A primitive of this type: itself, wider ones, its box, what its box is."""
    if target == natural:
        return 0, 0
    if target in PRIMITIVES:
        steps = _WIDER.get(target, -1) - _WIDER.get(natural, 99)
        return (0, 2 * steps) if steps > 0 else None
    box = BOXES[natural]
    if target == box:
        return 1, 0
    if target == _OBJECT:
        return 1, _LAST
    return (1, 1) if target in SUPERTYPES[box] else None


def _rank_int(value: int, target: str) -> Rank | None:
    natural = "int" if _fits(value, "int") else "long"
    if not _fits(value, "long"):
        return (0, 1) if target == "double" else (0, 0) if target == "float" else None
    found = _rank_scalar(natural, target)
    if found is not None:
        return found
    plain = unboxed(target)
    if plain in FLOATS:
        return 4, 3 + (plain == "float")
    return (4, 2 * (64 - INTEGERS[plain]) + (plain != target)) if plain in INTEGERS and _fits(value, plain) else None


def _rank_float(natural: str, target: str) -> Rank | None:
    return _rank_scalar(natural, target) or ((4, int(target not in FLOATS)) if unboxed(target) in FLOATS else None)


def _rank_str(value: str, target: str) -> Rank | None:
    if target == _STRING:
        return 0, 0
    if target == _OBJECT:
        return 0, _LAST
    if target in SUPERTYPES[_STRING]:
        return 0, 1
    if unboxed(target) == "char":
        return (2, int(target != "char")) if len(value) == 1 and ord(value) < 0x10000 else None
    if (
        target in PRIMITIVES
        or target.endswith("[]")
        or target.startswith(_NO_ENUMS)
        or target.rpartition(".")[0] == "java.lang"  # its enums are in classes and packages there
        or target in _LISTS
        or target in _SETS
        or target in _MAPS
    ):
        return None
    return (4, 0) if value.isidentifier() else None  # the name of an enum's constant


def _rank_array(value: np.ndarray[Any, Any], target: str) -> Rank | None:
    if target == _OBJECT:
        return (2, _LAST) if value.dtype.kind in "iufb" else None
    if target == "boolean[]":
        return (0, 0) if value.dtype.kind == "b" else None
    dtype = ARRAYS.get(target)
    if dtype is None:
        found = _rank_list(list(value), target)
        if found is None or value.dtype.kind not in "iuf" or target.endswith("[][]"):
            return found
        return 4, _ONE_BY_ONE + found[1]  # Java has no such conversion: an array stays one of primitives where it can
    if value.dtype.kind not in "iuf":
        return None
    if value.dtype == dtype and target != "char[]":
        return 0, 0
    if value.dtype.kind == "u" and dtype.kind == "i" and value.dtype.itemsize == dtype.itemsize:
        return (0, 1) if dtype.itemsize <= 2 or _all_fit(value, target) else None  # pixels: Java has the same bits
    if target == "char[]":
        return (4, 10) if value.dtype.kind != "f" and _all_fit(value, target) else None
    if np.can_cast(value.dtype, dtype, "safe"):
        return 2, _WIDER[target[:-2]]
    if value.dtype.kind == "f":
        return (4, _LESS_EXACT) if dtype.kind == "f" else None
    return (4, 9 - _WIDER[target[:-2]]) if dtype.kind == "f" or _all_fit(value, target) else None


def _rank_list(value: list[Any] | tuple[Any, ...], target: str) -> Rank | None:
    dtype = ARRAYS.get(target)
    if dtype is not None:
        if target == "char[]" and all(isinstance(item, str) for item in value):
            return (2, 8) if all(rank(item, "char") for item in value) else None
        array = _numbers(value)
        if array is None:
            return None
        if not value:
            return 2, 3
        found = _rank_array(array, target)
        return None if found is None else (2, _preference(array, target))
    element = array_element(target)
    if element is not None:
        ranks = [rank_item(item, element) for item in value]
        if None in ranks:
            return None
        return 2, max([distance + 10 * phase for phase, distance in ranks], default=3) if element != _OBJECT else 20  # type: ignore[misc]
    if target in VECTORS:
        return None if None in [rank(item, VECTORS[target]) for item in value] else (2, 2)
    return _rank_members(value, target, _LISTS)


def _preference(array: np.ndarray[Any, Any], target: str) -> int:
    """For a list of numbers: the array type that these numbers would have in Java comes first, then wider ones, then narrower ones."""
    order = (
        ("double[]", "float[]") if array.dtype.kind == "f" else ("int[]", "long[]", "double[]", "float[]", "short[]", "byte[]", "char[]")
    )
    return order.index(target)


def _rank_members(values: Any, target: str, types: dict[str, int]) -> Rank | None:
    distance = _LAST if target == _OBJECT else types.get(target)
    if distance is None or any(rank(item, _OBJECT) is None for item in values):
        return None
    return 2, 30 + distance


def _numbers(value: list[Any] | tuple[Any, ...]) -> np.ndarray[Any, Any] | None:
    """A flat list of numbers as an array, or None if it is none."""
    value = [_usual(item) for item in value]
    for item in value:
        if isinstance(item, bool | np.bool_) or not isinstance(item, int | float | np.integer | np.floating):
            return None
    try:
        array = np.asarray(value) if value else np.zeros(0, np.int32)
    except (OverflowError, ValueError):
        return None
    return array if array.dtype.kind in "iuf" else None


def _fits(value: int, java_type: str) -> bool:
    half = 1 << (INTEGERS[java_type] - 1)
    return -half <= value < half


def _range(java_type: str) -> tuple[int, int]:
    if java_type == "char":
        return 0, 0xFFFF
    half = 1 << (INTEGERS[java_type] - 1)
    return -half, half - 1


def _all_fit(value: np.ndarray[Any, Any], target: str) -> bool:
    """Whether each is in the range of the type; bytes and shorts may also all be unsigned, as pixels are."""
    if not value.size:
        return True
    low, high = _range(target[:-2])
    least, most = int(value.min()), int(value.max())
    return (low <= least and most <= high) or (target in {"byte[]", "short[]"} and 0 <= least and most <= high - low)


def convert(value: Any, java_type: str) -> Any:
    """Python value -> what is sent for an argument of this type.

    Parameters
    ----------
    value : object
        A Python value.
    java_type : str
        Declared type of the argument.

    Returns
    -------
    None, bool, int, float, str, numpy scalar, numpy.ndarray, bytes, Handle or Needs
        Scalars for an Object keep their numpy type, which says what Java gets.

    Raises
    ------
    JavaValueError
        It does not fit: ``int 300 does not fit byte (-128..127)``.
    """
    if type(value) is str and java_type == _STRING:  # the common case
        return value
    target = canonical(java_type)
    value = _usual(value)
    plain = unboxed(target)
    if plain in PRIMITIVES and value is not None:
        return _convert_scalar(value, plain)
    if rank(value, target) is None:
        raise JavaValueError(_misfit(value, target))
    if value is None:
        direct = target in BOXES.values() or target in ARRAYS or target in SUPERTYPES[_STRING] or target in {_STRING, "boolean[]"}
        return None if direct else Needs("null", java_type, None)
    if isinstance(value, Handle):
        return value
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        raise JavaValueError(f"Java cannot be given {value} as a single number: the protocol has none")
    if isinstance(value, str):
        text = str.__str__(value)  # of an enum with texts, str() would be the name of the member
        return Needs("enum", java_type, text) if rank(text, target) == (4, 0) else text
    if isinstance(value, list | tuple | set | frozenset | dict | np.ndarray):
        return _convert_members(value, target, java_type)
    return value


def _convert_scalar(value: Any, plain: str) -> Any:
    if plain == "boolean":
        if isinstance(value, bool | np.bool_):
            return bool(value)
    elif plain == "char":
        if isinstance(value, str) and len(value) == 1 and ord(value) < 0x10000:
            return ord(value)
    elif not isinstance(value, bool | np.bool_):
        if plain in INTEGERS and isinstance(value, int | np.integer):
            if _fits(int(value), plain):
                return int(value)
            low, high = _range(plain)
            raise JavaValueError(f"int {int(value)} does not fit {plain} ({low}..{high})")
        if plain in FLOATS and isinstance(value, int | float | np.integer | np.floating):
            number = _as_float(value, plain)
            if not math.isfinite(number):
                raise JavaValueError(f"Java cannot be given {value} as a single number: the protocol has none")
            return number
    raise JavaValueError(_misfit(value, plain))


def _as_float(value: Any, plain: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise JavaValueError(f"int {value} does not fit {plain}") from None
    if plain == "float" and math.isfinite(number) and abs(number) > float(np.finfo(np.float32).max):
        raise JavaValueError(f"{number} does not fit float (up to {float(np.finfo(np.float32).max):.6g})")
    return number


def _convert_members(value: Any, target: str, java_type: str) -> Any:
    dtype = ARRAYS.get(target)
    if dtype is not None:
        array = (
            value
            if isinstance(value, np.ndarray)
            else np.asarray([ord(i) if isinstance(i, str) else i for i in value], dtype=None if value else dtype)
        )
        if array.dtype.kind == "u" and dtype.kind != "f" and array.dtype.itemsize == dtype.itemsize:
            return array
        with np.errstate(over="ignore"):
            cast = array.astype(dtype, copy=False)
        if dtype.kind == "f" and np.isinf(cast).sum() != (np.isinf(array).sum() if array.dtype.kind == "f" else 0):
            raise JavaValueError(f"a number in this array does not fit {target[:-2]}")
        return cast
    if isinstance(value, np.ndarray):
        if target == _OBJECT and value.dtype.kind != "b":
            return value
        value = list(value.reshape(-1)) if target == "boolean[]" or target == _OBJECT else list(value)
        target = "boolean[]" if target == _OBJECT else target
    if target == _JSON:
        if "hash-code" in value:
            raise JavaValueError("the server takes a JSON object with the member 'hash-code' for one of its own objects")
        _check_json(value, "")
        return Needs("json", java_type, value)
    element = array_element(target)
    if element is not None:
        return Needs("array", target if "$" not in java_type else java_type, [convert(item, element) for item in value])
    if target in VECTORS:
        return Needs("vector", java_type, [convert(item, VECTORS[target]) for item in value])
    if isinstance(value, dict):
        return Needs("map", java_type, [(convert(key, _OBJECT), convert(item, _OBJECT)) for key, item in value.items()])
    return Needs("set" if isinstance(value, set | frozenset) else "list", java_type, [convert(item, _OBJECT) for item in value])


def _check_json(value: Any, path: str) -> None:
    """See that JSON has what a dict holds: Java would get a text that tells of it, or a part of the protocol."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_json(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]")
    elif not (value is None or isinstance(value, bool | int | float | str | np.bool_ | np.integer | np.floating)):
        kind = value.java_class if isinstance(value, Handle) else type(value).__name__
        raise JavaValueError(
            f"{path} is a {kind}, which JSON has not: a JSON object holds numbers, text, True, False, None, lists and dicts"
        )


def _misfit(value: Any, target: str) -> str:
    if inspect.isawaitable(value):
        return f"{type(value).__name__} is no value yet: await it first"
    kind = value.java_class if isinstance(value, Handle) else type(value).__name__
    if isinstance(value, np.ndarray) and value.ndim > 1:
        kind = f"{kind} of {value.ndim} dimensions"
    shown = f" {value!r}" if isinstance(value, bool | int | float | str) and len(repr(value)) < 40 else ""
    if target != _OBJECT:
        return f"{kind}{shown} is no {short(target)}"
    if isinstance(value, int | np.integer):
        return f"int{shown} does not fit long"
    return f"Java has nothing like {kind}{shown}"
