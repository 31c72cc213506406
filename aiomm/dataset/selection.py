"""Find images by what a user says: names of axes, values, the n-th channel, an axis left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.encode import check_axis_value
from aiomm.dataset.index import ABSENT, Index, canonical_order
from aiomm.errors import MissingImageError
from aiomm.suggest import did_you_mean

if TYPE_CHECKING:
    from aiomm.dataset.storage import Axes

ChannelNames = Callable[[], list[str]]


RESERVED = frozenset(
    {"self", "axes", "channel_name", "resolution_level", "memmapped", "read_metadata", "stitched", "verbose", "out", "res_level", "timeout"}
)
"""Parameters of `Dataset`'s methods: an axis of such a name is given in a mapping."""


def check_row(row: object) -> None:
    """Refuse what is no number of a row.

    Raises
    ------
    TypeError
        Naming it.
    """
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
        raise TypeError(f"row is {row!r}: it must be a number, 0 or more")


def spell_name(index: Index, name: str) -> str:
    """Give an axis the name that it has: ``col`` is ``column``, unless that is what the dataset says."""
    return "column" if name == "col" and ("col" not in index.types or "column" in index.types) else name


def spell(index: Index, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give axes the names that they have, and leave out those that are None.

    ``col`` is ``column``, unless that is what the dataset says; a mapping as ``axes`` has names as they are.

    Raises
    ------
    TypeError
        An axis is given twice.
    """
    plain: dict[str, Any] = {}
    for name, value in given.items():
        several = value if name == "axes" and isinstance(value, Mapping) else {name: value}
        for axis, one in several.items():
            if one is None:
                continue
            if several is not value:
                axis = spell_name(index, axis)
            if axis in plain:
                raise TypeError(f"axis {axis!r} is given twice")
            plain[axis] = one
    return plain


def resolve_value(index: Index, name: str, value: Any, channel_names: ChannelNames) -> int | str:
    """Turn what a user gave for an axis into a value that is on it.

    Raises
    ------
    MissingImageError
        The value is not on the axis.
    TypeError
        It is neither an integer nor a string.
    """
    plain = check_axis_value(name, value)
    kind = index.types[name]
    if kind is str and isinstance(plain, int):
        names = index.strings(name)
        if 0 <= plain < len(names):
            return names[plain]
        raise MissingImageError(f"axis {name!r} has {len(names)} values ({_some(names)}); there is no number {plain}, counted from 0")
    if kind is int and isinstance(plain, str):
        if name == "channel":
            names = channel_names()
            if plain in names:
                return int(index.values(name)[names.index(plain)])
            raise MissingImageError(f"there is no channel {plain!r}; the channels are {_some(names)}{_close(plain, names)}")
        raise MissingImageError(f"axis {name!r} has integers ({_some(index.values(name))}), not {plain!r}")
    return plain


def no_axis(index: Index, name: str) -> MissingImageError:
    """Make the error for an axis that no image has."""
    names = index.names
    return MissingImageError(f"no image has an axis {name!r}; the axes are {_some(names) or 'none'}{_close(name, names)}")


def find_row(index: Index, given: Mapping[str, Any], channel_names: ChannelNames) -> int:
    """Row of the image that a user means.

    An axis left out means its only value. A channel given as a number is the n-th name.

    Raises
    ------
    MissingImageError
        There is no such image; the message says what comes nearest.
    """
    if all(type(value) is int or type(value) is str for value in given.values()):
        row = index.find(given)  # type: ignore[arg-type]  # most often just this
        if row >= 0:
            return row
    types = index.types
    axes: Axes = {}
    for name, value in given.items():
        if name in types:
            axes[name] = resolve_value(index, name, value, channel_names)
        elif name == "channel" and isinstance(value, (int, np.integer)) and value == 0:
            continue  # as the seed's default: the only channel of a dataset without channels
        else:
            raise no_axis(index, name)
    row = index.find(axes)
    if row >= 0:
        return row
    full = dict(axes)
    several = []
    for name in types:
        if name not in axes:
            values = index.values(name)
            if len(values) == 1:
                full[name] = values[0]
            elif values:
                several.append(f"{name!r} ({len(values)} values: {_some(values)})")
    if full != axes:
        row = index.find(full)
        if row >= 0:
            return row
    raise MissingImageError(_missing(index, axes, several))


def select_rows(index: Index, slices: Mapping[str, Any], channel_names: ChannelNames) -> tuple[np.ndarray, Axes]:
    """Rows whose image has the given value on each given axis, and those values resolved.

    Raises
    ------
    MissingImageError
        An axis does not exist, or no image has the value.
    """
    rows = index.winners()
    types = index.types
    fixed: Axes = {}
    for name, value in slices.items():
        if name not in types:
            if name == "channel" and isinstance(value, (int, np.integer)) and value == 0:
                continue
            raise no_axis(index, name)
        plain = resolve_value(index, name, value, channel_names)
        fixed[name] = plain
        code = index.code(name, plain)
        column = index.column(name)
        rows = rows[rows < len(column)]
        rows = rows[column[rows] == code] if code is not None else rows[:0]
        if not len(rows):
            values = index.values(name)
            if plain not in values:
                raise MissingImageError(f"axis {name!r} has no value {plain!r}; it has {_some(values)}{_close(plain, values)}")
            raise MissingImageError(f"no image has all of {fixed}")
    return rows, fixed


def axes_of_rows(index: Index, rows: np.ndarray, leave: Axes) -> dict[str, bool]:
    """Axes that some of the rows have, in canonical order, but those to leave; whether all of them have it."""
    found = {}
    for name in index.names:
        if name not in leave:
            present = index.column(name)[rows] != ABSENT
            if present.any():
                found[name] = bool(present.all())
    return {name: found[name] for name in canonical_order(found)}


def _missing(index: Index, axes: Axes, several: list[str]) -> str:
    if not len(index):
        return f"there is no image with axes {axes}: the dataset is empty"
    text = f"there is no image with axes {axes}"
    if several:
        text += "; " + ", ".join(several) + " must be given too"
        odd = [name for name in index.names if name in RESERVED and name not in axes]
        if odd:
            text += f", as axes={{{odd[0]!r}: ...}}: {odd[0]} is a parameter's name"
    near = nearest(index, axes)
    if near:
        text += "; the nearest are " + ", ".join(map(str, near))
    return text


def nearest(index: Index, axes: Axes, count: int = 3) -> list[Axes]:
    """Images whose axes agree most with those given; among them, those with the nearest integers."""
    rows = index.winners()
    if not len(rows):
        return []
    differ = np.zeros(len(rows))
    distance = np.zeros(len(rows))
    for name in index.names:
        column = index.column(name)[rows]
        value = axes.get(name)
        code = None if value is None else index.code(name, value)
        if code is None:
            differ += column != ABSENT if value is None else 1
            continue
        differ += column != code
        if isinstance(value, int):
            distance += np.where(column == ABSENT, 0, np.abs(column.astype(np.float64) - code))
    best = np.lexsort((rows, distance, differ))[:count]
    return [index.axes_of(int(rows[i])) for i in best]


def _some(values: list[Any], limit: int = 6) -> str:
    shown = ", ".join(repr(value) for value in values[:limit])
    return shown if len(values) <= limit else f"{shown}, ... {values[-1]!r}"


def _close(wrong: object, right: list[Any]) -> str:
    hint = did_you_mean(wrong, map(str, right)) if isinstance(wrong, str) else ""
    return hint and f"; {hint}"
