"""The index in memory: which image is in which row. One thread appends, any thread reads."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.columns import ABSENT as ABSENT
from aiomm.dataset.columns import Column, Labels, columns_of, in_order_seen, mixed
from aiomm.dataset.encode import MOST_AXES
from aiomm.dataset.finders import Finder, Grid, Keys, Later, make_grid
from aiomm.dataset.growth import Growth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiomm.dataset.storage import Axes

_RANK = {"row": 0, "column": 1, "position": 2, "time": 3, "channel": 4, "z": 6}


def canonical_order(names: Iterable[str]) -> list[str]:
    """Sort axis names: row, column, position, time, channel, others as they came, z."""
    return sorted(names, key=lambda name: _RANK.get(name, 5))


class Index:
    """Rows in the order saved. Row ``i`` has axes; the last row with the same axes wins.

    A value is kept as one int64: an integer as itself, a string as its number in order of first appearance.
    """

    def __init__(self) -> None:
        self._count = 0
        self._names: list[str] = []  # in order of first appearance
        self._column: dict[str, int] = {}
        self._codes = np.full((16, 0), ABSENT, dtype=np.int64)
        self._strings: dict[str, dict[str, int]] = {}  # of axes with strings: value -> code
        self._labels: dict[str, list[str]] = {}  # and back
        self._types: dict[str, type] = {}
        self.finder: Finder = Keys(())
        """Finds rows by axes. Another one when axes are added, so take it anew each time."""
        self._building = threading.Lock()
        self._values: dict[str, tuple[int, list[Any]]] = {}  # sorted values, as of a number of rows
        self.growth = Growth()
        """Told when there are more rows, and when there will be no more."""

    @classmethod
    def from_axes(cls, rows: list[Any]) -> Index:
        """Build from the axes of every row, e.g. as read from a file.

        Raises
        ------
        TypeError, ValueError
            Naming the row, if an axis has integers and strings, or neither.
        """
        index = cls()
        index.finder = Later(index._make_finder)
        index.extend(rows)
        return index

    def __len__(self) -> int:
        return self._count

    # ---- the one thread that appends ----------------------------------------------------------------------------

    def declare(self, axes: Axes) -> None:
        """Fix the types of new axes; refuse a value of the other type. For the thread that accepts frames.

        Raises
        ------
        TypeError
            An axis that has had integers gets a string, or the other way round. No axis is declared then.
        ValueError
            There would be more than `MOST_AXES` axes. No axis is declared then.
        """
        types = self._types
        new: dict[str, type] = {}
        for name, value in axes.items():
            kind = types.get(name)
            if kind is None:
                new[name] = type(value)
            elif kind is not type(value):
                was, now = ("integers", "a string") if kind is int else ("strings", "an integer")
                raise TypeError(f"axis {name!r} is {value!r}: it has had {was} so far and cannot hold {now} too")
        if new:
            count = len(types) + len(new)
            if count > MOST_AXES:
                raise ValueError(
                    f"the dataset would have {count} axes: a dataset has at most {MOST_AXES}. The image has the new "
                    f"{', '.join(map(repr, list(new)[:3]))}{', ...' if len(new) > 3 else ''}; what differs may be values of one axis"
                )
            types.update(new)

    def append(self, axes: Axes) -> int:
        """Add a row and return its number. The axes must be checked and declared."""
        row = self._count
        if not axes.keys() <= self._column.keys():
            self._add_axes({name: type(value) for name, value in axes.items()})
        keys = self._growing()
        codes = [ABSENT] * len(self._names)
        for name, value in axes.items():
            if isinstance(value, str):
                table = self._strings[name]
                code = table.get(value)
                if code is None:
                    code = len(table)
                    self._labels[name].append(value)  # before the code is known to anybody
                    table[value] = code
                codes[self._column[name]] = code
            else:
                codes[self._column[name]] = value
        self._grow(row + 1)
        self._codes[row] = codes
        key = keys.key(axes)
        self._count = row + 1  # published before the key, so that a row found by its key is always readable
        keys.put(key, row)
        return row

    def extend(self, rows: Sequence[Any]) -> None:
        """Add many rows at once, dicts of axes as read from a file.

        Raises
        ------
        TypeError, ValueError, OverflowError
            An axis has integers and strings, or neither. Nothing was added.
        """
        self.extend_columns(columns_of(rows), len(rows))

    def extend_columns(self, columns: Mapping[str, Column], count: int) -> None:
        """Add ``count`` rows, given as columns. See `extend`."""
        if not count:
            return
        new: dict[str, type] = {}
        for name, column in columns.items():
            kind = str if isinstance(column, Labels) else int
            old = self._types.get(name, kind)
            if kind is not old:
                raise mixed(name, {kind, old})
            if name not in self._column:
                new[name] = kind
        columns = {name: in_order_seen(column) if isinstance(column, Labels) else column for name, column in columns.items()}
        if new:
            self._add_axes(new)
        first, end = self._count, self._count + count
        self._grow(end)
        for name, column in columns.items():
            self._codes[first:end, self._column[name]] = self._number(name, column) if isinstance(column, Labels) else column
        with self._building:
            self._count = end
            if isinstance(self.finder, Keys):
                self.finder.add(columns, first, end)
            elif isinstance(self.finder, Grid):
                self.finder = self._build_keys(self._names)

    def _number(self, name: str, column: Labels) -> np.ndarray:
        """Codes of strings, new ones too."""
        table = self._strings[name]
        for value in column.names:
            if value not in table:
                self._labels[name].append(value)  # before the code is known to anybody
                table[value] = len(table)
        numbers = np.array([*map(table.__getitem__, column.names), ABSENT], np.int64)
        return numbers[np.where(column.codes == ABSENT, -1, column.codes)]

    def _grow(self, count: int) -> None:
        """Make room for so many rows."""
        room, columns = self._codes.shape
        if count > room:
            grown = np.full((max(count, room + room // 2), columns), ABSENT, dtype=np.int64)
            grown[: self._count] = self._codes[: self._count]
            self._codes = grown

    def _add_axes(self, axes: dict[str, type]) -> None:
        # as a program's own keywords are kept: they are compared at once
        new = [sys.intern(str(name)) for name in axes if name not in self._column]
        for name in new:
            if axes[name] is str:
                self._labels[name] = []
                self._strings[name] = {}
            self._types.setdefault(name, axes[name])
        codes = np.full((len(self._codes), len(self._names) + len(new)), ABSENT, dtype=np.int64)
        codes[:, : len(self._names)] = self._codes
        names = self._names + new
        self._codes = codes
        with self._building:
            finder = self.finder if isinstance(self.finder, Later) else self._build_keys(names)
            self._names = names
            self._column = {name: i for i, name in enumerate(names)}
            self.finder = finder

    def _columns(self, names: list[str]) -> dict[str, Column]:
        codes = self._codes[: self._count]
        return {name: Labels(self._labels[name], codes[:, i]) if name in self._strings else codes[:, i] for i, name in enumerate(names)}

    def _build_keys(self, names: list[str]) -> Keys:
        keys = Keys(names)
        keys.add(self._columns(names), 0, self._count)
        return keys

    def _growing(self) -> Keys:
        finder = self.finder
        if isinstance(finder, Keys):
            return finder
        with self._building:
            self.finder = keys = self._build_keys(self._names)
        return keys

    def _make_finder(self) -> Finder:
        with self._building:  # one thread makes it, so that no row added meanwhile is lost
            if isinstance(self.finder, Later):
                self.finder = make_grid(self._columns(self._names), self._count) or self._build_keys(self._names)
            return self.finder

    # ---- any thread ---------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Axis names in canonical order."""
        return canonical_order(self._names)

    @property
    def types(self) -> dict[str, type]:
        """Int or str, by axis."""
        return {name: self._types[name] for name in self.names}

    def find(self, axes: Axes) -> int:
        """Row of the image with exactly these axes (checked values); -1 if there is none."""
        return self.finder.find(axes)

    def axes_of(self, row: int) -> Axes:
        """Axes of a row, in canonical order."""
        if not 0 <= row < self._count:
            raise IndexError(f"row {row}: the dataset has {self._count} rows")
        names = self._names
        codes = self._codes[row].tolist()
        found = {name: code for name, code in zip(names, codes, strict=False) if code != ABSENT}
        strings = self._strings
        return {name: self._labels[name][found[name]] if name in strings else found[name] for name in canonical_order(found)}

    def all_axes(self) -> list[Axes]:
        """Axes of every image, in the order saved; an image saved twice comes once."""
        columns = {name: self.column(name) for name in self.names}
        rows = self.winners()
        count = int(rows[-1]) + 1 if len(rows) else 0
        lists: dict[str, list[Any]] = {}
        for name, column in columns.items():
            codes = column[rows].tolist()
            if name in self._strings:
                labels = self._labels[name]
                lists[name] = [None if code == ABSENT else labels[code] for code in codes]
            else:
                lists[name] = [None if code == ABSENT else code for code in codes]
        if not lists:
            return [{}] if count else []
        names = list(lists)
        return [{n: v for n, v in zip(names, values, strict=True) if v is not None} for values in zip(*lists.values(), strict=True)]

    def winners(self) -> np.ndarray:
        """Rows that count, ascending: the last one of each image."""
        count = self._count
        return self.finder.winners(count)

    def column(self, name: str) -> np.ndarray:
        """Codes of one axis by row; `ABSENT` where an image does not have it."""
        count, column = self._count, self._column[name]  # before the codes, which may grow meanwhile
        return self._codes[:count, column]

    def code(self, name: str, value: int | str) -> int | None:
        """Code of a value on an axis; None if no image has it."""
        if name in self._strings:
            return self._strings[name].get(value) if isinstance(value, str) else None
        return value if isinstance(value, int) else None

    def values(self, name: str) -> list[Any]:
        """Sorted values of an axis."""
        count = self._count
        cached = self._values.get(name)
        if cached is not None and cached[0] == count:
            return cached[1]
        codes = np.unique(self.column(name)[:count]).tolist()
        codes = [code for code in codes if code != ABSENT]
        if name in self._strings:
            labels = self._labels[name]
            values: list[Any] = sorted(labels[code] for code in codes)
        else:
            values = codes
        self._values[name] = (count, values)
        return values

    def strings(self, name: str) -> list[str]:
        """Values of a string axis in order of first appearance."""
        last = int(self.column(name).max(initial=-1))
        return self._labels[name][: last + 1]
