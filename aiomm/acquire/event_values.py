"""The values in an event's dict: each read and checked by its key, with an error that says what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np

from aiomm.errors import EventError
from aiomm.suggest import did_you_mean

if TYPE_CHECKING:
    from aiomm.acquire.events import AcquisitionEvent

KEYS = (
    "axes", "channel", "config_group", "exposure", "z", "x", "y", "row", "col", "column", "min_start_time", "keep_shutter_open",
    "properties", "stage_positions", "camera", "slm_pattern", "tags", "timeout", "timeout_ms", "reset_event_timer",
)  # fmt: skip

# What people write who have another program's names in their fingers.
SYNONYMS = {
    "time": "axes", "t": "axes", "position": "axes", "index": "axes", "config": "channel", "preset": "channel", "group": "channel",
    "z_pos": "z", "x_pos": "x", "y_pos": "y", "stage": "stage_positions", "slm_image": "slm_pattern", "metadata": "tags",
    "channel_group": "config_group", "exposure_ms": "exposure", "delay": "min_start_time", "property": "properties",
}  # fmt: skip

# How the user wrote what is stored in one form only; `to_dict` gives it back in the same way.
CHANNEL, INFERRED, TOP_ROW, TOP_COL, TOP_COLUMN, AXES_COL, TIMEOUT_MS = (1 << i for i in range(7))
# Which of x and y are not the user's: they follow row and column, see `Tiling`.
TILE_X, TILE_Y = 1 << 7, 1 << 8

INF = math.inf
LONGEST_S = 1e8
"""The longest time an event may name, over three years: what is above is a mistake, such as a time of day."""
LONGEST_MS = 1000 * LONGEST_S


class Inferred(str):
    """An axis value that stands in a hook's dict and follows another key: the channel axis follows ``channel``.

    It is an ordinary string. A hook that changes ``event["channel"]["config"]`` need not change the axis too, and one
    that writes an axis value of its own gets what it wrote.
    """

    __slots__ = ()


class InferredInt(int):
    """The same for ``row`` and ``column`` that the user wrote outside ``axes``."""

    __slots__ = ()


class InferredFloat(float):
    """The same for ``x`` and ``y`` that follow ``row`` and ``column`` of a tile."""

    __slots__ = ()


def suggest(word: object, known: Iterable[str], *, otherwise: str = "known are") -> str:
    """End of an error sentence: the nearest known word, or all of them when they are few."""
    names = list(known)
    if hint := did_you_mean(word, names):
        return hint
    if not names:
        return "there are none"
    shown = ", ".join(map(repr, names[:12]))
    return f"{otherwise} {shown}{', ...' if len(names) > 12 else ''}"


def fail(key: str, value: object, want: str) -> NoReturn:
    shown = repr(value)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    raise EventError(f"{key}: {shown} given; {want}", key=key, value=value)


def numbered(number: int, error: EventError) -> EventError:
    """Return the same error with the event's number before it (counted from 0, as in the list)."""
    return type(error)(f"event {number}: {error}", key=error.key, value=error.value)


def number(key: str, value: object, *, least: float = -INF, above: float | None = None, most: float = INF, hint: str = "") -> float:
    """Return a finite Python float, from any real number of Python's or numpy's, but not from a bool."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        wrong = "leave the key out for what is to stay as it is" if value is None else f"not a {type(value).__name__}"
        fail(key, value, f"it must be a number; {wrong}")
    try:
        result = float(value)
    except OverflowError:  # an int of hundreds of digits
        result = INF
    if not -INF < result < INF:
        fail(key, value, "it must be finite")
    if result < least:
        fail(key, value, f"it must not be below {least:g}")
    if above is not None and result <= above:
        fail(key, value, f"it must be above {above:g}")
    if result > most:
        fail(key, value, f"it must not be above {most:g}{hint}")
    return result


def flag(key: str, value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        fail(key, value, "it must be True or False")
    return bool(value)


def text(key: str, value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        fail(key, value, f"{what} is a string, and not an empty one")
    return str(value)


def rows(key: str, value: object, width: int, want: str) -> list[Sequence[Any]]:
    """Return the entries of a list of short lists, from lists, tuples or arrays."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        fail(key, value, want)
    result: list[Sequence[Any]] = []
    for entry in value:
        if isinstance(entry, (str, bytes)) or not isinstance(entry, (Sequence, np.ndarray)) or len(entry) != width:
            fail(key, value, want)
        result.append(cast("Sequence[Any]", entry))
    return result


def axis_value(name: object, value: object) -> int | str:
    key = f"axes[{name!r}]"
    if not isinstance(name, str) or not name:
        fail("axes", {name: value}, "the name of an axis is a string, and not an empty one")
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        fail(key, value, f"a place on an axis is a whole number or a string: write {int(value)}")
    fail(key, value, "a place on an axis is a whole number or a string")


def property_value(key: str, value: object) -> str:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)):
        fail(key, value, "write the device's own word for it, such as '1', '0', 'On' or 'Off'")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        exact = number(key, value)
        return str(int(exact)) if exact.is_integer() and abs(exact) < 1e15 else repr(exact)
    fail(key, value, "the value of a property is a string or a number")


def parse_properties(event: AcquisitionEvent, key: str, value: object) -> None:
    want = "it must be a list of [device, property, value]"
    result: dict[tuple[str, str], str] = {}
    for device, name, setting in rows(key, value, 3, want):
        which = (text(key, device, "the label of a device"), text(key, name, "the name of a property"))
        new = property_value(f"{key} {which[0]}-{which[1]}", setting)
        if result.setdefault(which, new) != new:
            fail(key, value, f"'{which[0]}-{which[1]}' is set twice, to {result[which]!r} and to {new!r}")
    event.properties = tuple((device, name, setting) for (device, name), setting in result.items())


def parse_stage_positions(event: AcquisitionEvent, key: str, value: object) -> None:
    result: dict[str, float] = {}
    for device, position in rows(key, value, 2, "it must be a list of [stage, position in µm]"):
        stage = text(key, device, "the label of a stage")
        new = number(f"{key} {stage!r}", position)
        if result.setdefault(stage, new) != new:
            fail(key, value, f"stage {stage!r} is given twice, at {result[stage]:g} and at {new:g} µm")
    event.stage_positions = tuple(result.items())


def parse_slm(event: AcquisitionEvent, key: str, value: object) -> None:
    if isinstance(value, (bytes, bytearray, memoryview)):
        event.slm_pattern = bytes(value)
        return
    want = (
        "it must be bytes, or an array (height, width) of uint8; for a colour SLM (height, width, 4) of uint8 or (height, width) of uint32"
    )
    if isinstance(value, str) or not isinstance(value, (Sequence, np.ndarray)):
        fail(key, value, want)
    try:
        pattern = np.array(value)
    except ValueError:
        fail(key, value, want)
    if pattern.dtype == np.bool_:
        pattern = pattern.astype(np.uint8) * np.uint8(255)
    if pattern.dtype.kind not in "ui" or not pattern.size or pattern.ndim > 3 or (pattern.ndim == 3 and pattern.shape[2] != 4):
        fail(key, f"array of {pattern.dtype}, shape {pattern.shape}", want)
    if pattern.dtype == np.uint32 and pattern.ndim == 2 and isinstance(value, np.ndarray):  # four bytes for each pixel
        pattern = np.ascontiguousarray(pattern).view(np.uint8).reshape(*pattern.shape, 4)
    elif pattern.dtype != np.uint8:
        if pattern.min() < 0 or pattern.max() > 255:
            fail(key, f"values from {pattern.min()} to {pattern.max()}", "they must lie in 0 to 255")
        pattern = pattern.astype(np.uint8)
    pattern = np.ascontiguousarray(pattern)
    pattern.setflags(write=False)
    event.slm_pattern = pattern


def plain(key: str, value: object) -> Any:
    """Return a copy made of JSON's own types; numpy's scalars and arrays become numbers and lists."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                fail(key, value, f"names in it are strings, not {name!r}")
        return {str(name): plain(f"{key}[{name!r}]", entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(key, entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(key, value.tolist())
    if isinstance(value, np.generic):
        return plain(key, value.item())
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    fail(key, value, f"it must be something that JSON knows, not a {type(value).__name__}")


def parse_tags(event: AcquisitionEvent, key: str, value: object) -> None:
    if not isinstance(value, Mapping):
        fail(key, value, "it must be a dict")
    event.tags = plain(key, value)


def parse_timeout(event: AcquisitionEvent, key: str, value: object) -> None:
    new = number(key, value, above=0.0, most=LONGEST_MS, hint=" ms")
    if event.timeout is not None and event.timeout != new:
        fail(key, value, f"'timeout' and 'timeout_ms' are the same thing, and the other one is {event.timeout:g}")
    event.timeout = new
    if key == "timeout_ms":
        event.dialect |= TIMEOUT_MS


def parse_min_start_time(event: AcquisitionEvent, key: str, value: object) -> None:
    hint = " s: it counts from the start of the submission, and is no time of day"
    event.min_start_time = number(key, value, least=0.0, most=LONGEST_S, hint=hint)


def parse_keep_shutter_open(event: AcquisitionEvent, key: str, value: object) -> None:
    event.keep_shutter_open = flag(key, value)


def parse_camera(event: AcquisitionEvent, key: str, value: object) -> None:
    event.camera = text(key, value, "the label of a camera")


def parse_reset(event: AcquisitionEvent, key: str, value: object) -> None:
    event.reset_event_timer = flag(key, value)


OTHERS: dict[str, Callable[[AcquisitionEvent, str, object], None]] = {
    "properties": parse_properties,
    "stage_positions": parse_stage_positions,
    "slm_pattern": parse_slm,
    "tags": parse_tags,
    "timeout": parse_timeout,
    "timeout_ms": parse_timeout,
    "min_start_time": parse_min_start_time,
    "keep_shutter_open": parse_keep_shutter_open,
    "camera": parse_camera,
    "reset_event_timer": parse_reset,
}


def parse_channel(value: object) -> tuple[str, str]:
    want = "it must be {'group': a config group, 'config': one of its presets}"
    if not isinstance(value, Mapping):
        hint = "; a pair [group, preset] goes into 'config_group'" if isinstance(value, (list, tuple)) else ""
        fail("channel", value, want + hint)
    for name in value:
        if name not in ("group", "config"):
            fail("channel", value, f"{want}; {name!r} does not belong there")
    if len(value) != 2:
        fail("channel", value, want)
    return text("channel", value["group"], "the config group"), text("channel", value["config"], "the preset ('config')")


def parse_config_group(value: object) -> tuple[str, str]:
    want = "it must be [config group, preset]"
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)) or len(value) != 2:
        fail("config_group", value, want)
    return text("config_group", value[0], "the config group"), text("config_group", value[1], "the preset")


def unknown_key(key: object, value: object) -> NoReturn:
    if key in SYNONYMS:
        hint = f"did you mean {SYNONYMS[str(key)]!r}?"
        if SYNONYMS[str(key)] == "axes":
            hint = f"did you mean {{'axes': {{{key!r}: ...}}}}?"
    else:
        hint = suggest(key, KEYS, otherwise="an event may have")
    raise EventError(f"unknown key {key!r} in an event; {hint}", key=str(key), value=value)
