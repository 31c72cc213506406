"""Check and encode what a frame carries: axes, pixels, metadata. Pure functions."""

from __future__ import annotations

import datetime
import enum
import json
import math
import operator
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from aiomm.dataset.storage import Axes

AXIS_LIMIT = 1 << 62
"""Integer axis values stay below this, either sign."""

MOST_AXES = 100
"""Each axis takes memory for each image; a damaged index could name an axis per image."""

_UINT8 = np.dtype(np.uint8)
_UINT16 = np.dtype(np.uint16)


def check_axis_value(name: str, value: object) -> int | str:
    """Coerce one axis value to int or str; refuse what is neither.

    Raises
    ------
    TypeError, ValueError
        Naming the axis and the value.
    """
    kind = type(value)
    if kind is int or kind is str:
        plain: Any = value
    elif isinstance(value, (bool, np.bool_)):
        raise TypeError(f"axis {name!r} is {value!r}: an axis value is an integer or a string, not a bool")
    elif isinstance(value, str):
        plain = str.__str__(value)
    elif isinstance(value, (int, np.integer)):
        plain = operator.index(value)
    else:
        raise TypeError(f"axis {name!r} is {value!r}: an axis value is an integer or a string, not {type(value).__name__}")
    if type(plain) is int and not -AXIS_LIMIT < plain < AXIS_LIMIT:
        raise ValueError(f"axis {name!r} is {plain}: integers on an axis must be between -2**62 and 2**62")
    return plain  # type: ignore[no-any-return]


def check_axes(axes: Mapping[str, Any]) -> Axes:
    """Copy axes with plain integers and strings as values.

    Raises
    ------
    TypeError, ValueError
        Naming the axis at fault.
    """
    if not isinstance(axes, Mapping):
        raise TypeError(f"axes must be a dict such as {{'time': 0}}, not {type(axes).__name__}")
    plain: Axes = {}
    for name, value in axes.items():
        if not isinstance(name, str):
            raise TypeError(f"axis names are strings; {name!r} is {type(name).__name__}")
        if not name:
            raise ValueError("an axis needs a name; one is empty")
        plain[name] = value if type(value) is str else check_axis_value(name, value)
    return plain


def check_pixels(pixels: object, bit_depth: object) -> None:
    """Refuse pixels that cannot be stored.

    Raises
    ------
    TypeError, ValueError
        Naming what is wrong and what would be right.
    """
    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"pixels must be a numpy array, not {type(pixels).__name__}")
    shape, dtype = pixels.shape, pixels.dtype
    if len(shape) == 2:
        if dtype != _UINT16 and dtype != _UINT8:
            raise TypeError(f"pixels are {dtype}: grey images must be uint8 or uint16")
    elif len(shape) == 3 and shape[2] == 3:
        if dtype != _UINT8:
            raise TypeError(f"pixels are {dtype}: RGB images must be uint8")
    else:
        raise ValueError(f"pixels have shape {shape}: an image is (y, x), or (y, x, 3) for RGB")
    if not pixels.size:
        raise ValueError(f"pixels have shape {shape}: an image has at least one pixel")
    if bit_depth is not None:
        if isinstance(bit_depth, bool) or not isinstance(bit_depth, (int, np.integer)):
            raise TypeError(f"bit_depth is {bit_depth!r}: it must be an integer or None")
        most = 8 * dtype.itemsize
        if not 1 <= bit_depth <= most:
            raise ValueError(f"bit_depth is {bit_depth}: {dtype} pixels have 1 to {most} bits")


def _default(value: object) -> Any:
    """Say in JSON what ``json`` cannot."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (PurePath, complex)):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r:.80} cannot be written as JSON")


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_default).encode


def as_mapping(name: str, value: object) -> dict[str, Any]:
    """Take a setting that is a mapping; nothing is an empty one.

    Raises
    ------
    TypeError
        It is none; the message has its name.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {value!r}: it must be a mapping of names to values, as a dict is, or None")
    return dict(value)


def encode_json(value: Any) -> bytes:
    """Encode as JSON in ASCII. NaN and infinities, which JSON does not have, become null.

    Raises
    ------
    TypeError
        Naming the key of what cannot be encoded.
    """
    try:
        return _encode(value).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        return _encode(_clean(value, "", 0)).encode("ascii")


def _clean(value: Any, where: str, depth: int) -> Any:
    """Copy a value as plain JSON types; say where it cannot be done."""
    if depth > 100:
        raise TypeError(f"key {where[:200]}: nested too deep, or in itself")
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(k, where): _clean(v, f"{where}.{k}" if where else repr(k), depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    try:
        plain = _default(value)
    except TypeError as error:
        raise TypeError(f"key {where}: {error}") from None
    return _clean(plain, where, depth + 1)


def _key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, np.generic):
        key = key.item()
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    raise TypeError(f"key {where or key!r}: keys are strings, not {type(key).__name__}")


_PLAIN = frozenset({str, bool, int, float, type(None), *(np.dtype(code).type for code in "?bhilqBHILQefd")})
_HOLDERS = frozenset({dict, list, tuple})
_KEYS = frozenset({str})
_LARGE = 2**64


def _is_plain(values: Collection[Any]) -> bool:
    """Whether values are sure to become JSON, as far as that can be said in no time."""
    kinds = set(map(type, values))
    if int in kinds:
        numbers = [value for value in values if type(value) is int]
        if min(numbers) <= -_LARGE or max(numbers) >= _LARGE:
            return False
    kinds -= _PLAIN
    if not kinds:
        return True
    return kinds <= _HOLDERS and all(map(_holds_plain, [value for value in values if type(value) in _HOLDERS]))


def _holds_plain(holder: Any) -> bool:
    if type(holder) is dict:
        return _KEYS.issuperset(map(type, holder)) and _is_plain(holder.values())
    return _is_plain(holder)


def check_metadata(metadata: object, axes: Axes) -> None:
    """Refuse an image's metadata that JSON cannot hold.

    Raises
    ------
    TypeError, ValueError
        Naming the image and the key.
    """
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dict, not {type(metadata).__name__}")
    try:
        if _holds_plain(metadata):  # most often, and much faster than to encode it
            return
    except RecursionError:
        pass  # what is nested too deep is found below
    try:
        encode_metadata(metadata, axes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"metadata of image {axes}: {error}") from None


def encode_metadata(metadata: Mapping[str, Any], axes: Axes) -> bytes:
    """Encode an image's metadata, with its axes in it."""
    return encode_json({**metadata, "Axes": axes})
