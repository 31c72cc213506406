"""Find a row by the values of its axes: with an array where images lie densely, with a dict where they do not or are added."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from aiomm.dataset.columns import Column, Labels, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiomm.dataset.storage import Axes

USUAL = ("channel", "z", "time", "position", "row", "column")
"""The axes that ``find_usual`` takes, in this order."""

_TILE = ("position", "row", "column")

SPARE: Final = 4
"""How many places an array may have for each row."""

PLAIN: Final = frozenset({int, str, type(None), *(np.dtype(code).type for code in "bhilqBHILQU")})
"""Types of which values can be told apart as they are: 1.0 and True are equal to 1."""


class Finder(Protocol):
    """Finds rows by the values of their axes; any thread may."""

    def find(self, axes: Axes) -> int:
        """As of `Keys`."""
        ...

    def find_usual(self, channel: Any, z: Any, time: Any, position: Any, row: Any, column: Any) -> int:
        """As of `Keys`."""
        ...

    def winners(self, count: int) -> np.ndarray:
        """As of `Keys`."""
        ...


class Keys:
    """Rows by all their values, for one set of axes. One thread adds, any thread reads."""

    def __init__(self, names: Sequence[str]) -> None:
        others = [name for name in names if name not in USUAL]
        self._names = (*USUAL, *others)
        self._nothing = (None,) * len(others)
        self._rows: dict[tuple[Any, ...], int] = {}  # values of the names; None: an axis that the image does not have
        self._duplicates = 0

    def add(self, columns: Mapping[str, Column], first: int, end: int) -> None:
        """Add rows."""
        before = len(self._rows)
        values = (values_of(columns[name]) if name in columns else itertools.repeat(None, end - first) for name in self._names)
        self._rows.update(zip(zip(*values, strict=True), range(first, end), strict=True))
        self._duplicates += end - first - (len(self._rows) - before)

    def key(self, axes: Axes) -> tuple[Any, ...]:
        """What `put` takes for these axes; counts an image saved again."""
        key = tuple(map(axes.get, self._names))
        self._duplicates += key in self._rows
        return key

    def put(self, key: tuple[Any, ...], row: int) -> None:
        """Add a row."""
        self._rows[key] = row

    def find(self, axes: Axes) -> int:
        """Row of the image with exactly these axes (checked values); -1 if there is none."""
        key = tuple(map(axes.get, self._names))
        if len(axes) + key.count(None) != len(key):
            return -1  # it has an axis that no image has
        return self._rows.get(key, -1)

    def find_usual(self, channel: Any, z: Any, time: Any, position: Any, row: Any, column: Any) -> int:
        """Row of the image with exactly these values, None for no such axis; -1 if there is none.

        Values may be anything. For an image at random this is the quickest way; -1 does not say that there is none.
        """
        values = (channel, z, time, position, row, column)
        try:
            found = self._rows.get(values + self._nothing if self._nothing else values, -1)
            return found if PLAIN.issuperset(map(type, values)) else -1
        except TypeError:  # no value that could be a key
            return -1

    def winners(self, count: int) -> np.ndarray:
        """Of the first rows those that count, ascending."""
        if not self._duplicates:
            return np.arange(count)
        rows = list(self._rows.values())
        return np.sort(np.array([row for row in rows if row < count], dtype=np.int64))


class Grid:
    """Rows by the place of their values, one for each combination of time, z, channel and tile: little memory to look through.

    Parameters
    ----------
    steps : sequence of dict
        For time, z, channel and tile, how far each value is from the first place; None for images that do not have the axis. A
        tile is (position, row, column).
    rows : numpy.ndarray
        int32: row by place, -1 where there is none.
    """

    def __init__(self, steps: Sequence[dict[Any, int]], rows: np.ndarray) -> None:
        self.times, self.zs, self.channels, self.tiles = steps
        self.counted = len(self.times) if all(type(time) is int and time == step for time, step in self.times.items()) else 0
        """How many times there are, if each is a number, and its step that number."""
        self.rows = rows

    def find(self, axes: Axes) -> int:
        """As of `Keys`."""
        values = list(map(axes.get, USUAL))
        return self.find_usual(*values) if len(axes) + values.count(None) == len(USUAL) else -1

    def find_usual(self, channel: Any, z: Any, time: Any, position: Any, row: Any, column: Any) -> int:
        """As of `Keys`."""
        try:
            return int(self.rows[self.place_of(channel, z, time, position, row, column)])
        except (KeyError, TypeError):
            return -1

    def place_of(self, channel: Any, z: Any, time: Any, position: Any, row: Any, column: Any) -> int:
        """Place of these values; KeyError or TypeError if they are not on the grid."""
        if not PLAIN.issuperset(map(type, (channel, z, time, position, row, column))):
            raise TypeError
        return self.times[time] + self.zs[z] + self.channels[channel] + self.tiles[position, row, column]

    def winners(self, count: int) -> np.ndarray:
        """As of `Keys`."""
        return np.sort(self.rows[(self.rows >= 0) & (self.rows < count)]).astype(np.int64)


class Later:
    """Stands for the finder of rows that nobody has looked for yet, which ``make`` makes."""

    def __init__(self, make: Callable[[], Finder]) -> None:
        self._make = make

    def find(self, axes: Axes) -> int:
        """As of `Keys`."""
        return self._make().find(axes)

    def find_usual(self, channel: Any, z: Any, time: Any, position: Any, row: Any, column: Any) -> int:
        """As of `Keys`."""
        return self._make().find_usual(channel, z, time, position, row, column)

    def winners(self, count: int) -> np.ndarray:
        """As of `Keys`."""
        return self._make().winners(count)


def make_grid(columns: Mapping[str, Column], count: int) -> Grid | None:
    """Make the `Grid` of so many rows; None if they lie too loosely, or have other axes."""
    if not columns.keys() <= set(USUAL):
        return None
    ranks = {name: _rank(columns[name]) if name in columns else ([None], np.zeros(count, np.int64)) for name in USUAL}
    tile = np.zeros(count, np.int64)
    for name in _TILE:  # each time the combinations so far, as numbers without gaps
        values, places = ranks[name]
        tile = np.unique(tile * len(values) + places, return_inverse=True)[1]
    first = np.unique(tile, return_index=True)[1]
    tiles = list(zip(*([values[rank] for rank in places[first].tolist()] for values, places in map(ranks.__getitem__, _TILE)), strict=True))
    steps: list[dict[Any, int]] = []
    every, size = np.zeros(count, np.int64), 1
    for values, places in (ranks["time"], ranks["z"], ranks["channel"], (tiles, tile)):
        steps.append({value: rank * size for rank, value in enumerate(values)})
        every += places * size
        size *= len(values)
    if size > SPARE * count:
        return None
    rows = np.full(size, -1, np.int32)
    rows[every] = np.arange(count)  # of equal places the last one stays
    return Grid(steps, rows)


def _rank(column: Column) -> tuple[list[Any], np.ndarray]:
    """Values of a column, each once, and which of them each row has."""
    codes, ranks = np.unique(column.codes if isinstance(column, Labels) else column, return_inverse=True)
    return values_of(Labels(column.names, codes) if isinstance(column, Labels) else codes), ranks
