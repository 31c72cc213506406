"""The index in memory: which image is in which row. One thread appends, any thread reads."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiomm.dataset.storage import Axes

ABSENT = -(1 << 63)
"""The code of an axis that an image does not have."""

_RANK = {"row": 0, "column": 1, "position": 2, "time": 3, "channel": 4, "z": 6}


def canonical_order(names: Iterable[str]) -> list[str]:
    """Sort axis names: row, column, position, time, channel, others as they came, z."""
    return sorted(names, key=lambda name: _RANK.get(name, 5))


class _Keys:
    """Codes -> row, for one number of axes. Replaced whole when an axis is added, so that readers see one or the other."""

    __slots__ = ("pack", "rows")

    def __init__(self, axes: int) -> None:
        self.pack: Callable[..., bytes] = struct.Struct(f"<{axes}q").pack
        self.rows: dict[bytes, int] = {}


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
        self._keys: _Keys | None = _Keys(0)
        self._values: dict[str, tuple[int, list[Any]]] = {}  # sorted values, as of a number of rows
        self._duplicates = 0

    @classmethod
    def from_axes(cls, rows: list[Any]) -> Index:
        """Build from the axes of every row, e.g. as read from a file.

        Raises
        ------
        TypeError, ValueError
            Naming the row, if an axis has integers and strings, or neither.
        """
        index = cls()
        names = list(dict.fromkeys(name for axes in rows for name in axes))
        columns = np.full((max(16, len(rows)), len(names)), ABSENT, dtype=np.int64)
        for column, name in enumerate(names):
            values = [axes.get(name) for axes in rows]
            kinds = set(map(type, values)) - {type(None)}
            if kinds == {int}:
                columns[: len(rows), column] = [ABSENT if value is None else value for value in values]
            elif kinds == {str}:
                labels: list[Any] = list(dict.fromkeys(value for value in values if value is not None))
                table: dict[Any, int] = {value: code for code, value in enumerate(labels)}
                index._strings[name], index._labels[name] = table, labels
                table_or_absent = {**table, None: ABSENT}
                columns[: len(rows), column] = [table_or_absent[value] for value in values]
            else:
                raise TypeError(
                    f"axis {name!r} has values of types {sorted(k.__name__ for k in kinds)}; an axis is all integers or all strings"
                )
            index._types[name] = next(iter(kinds))
        index._names, index._codes, index._count = names, columns, len(rows)
        index._column = {name: i for i, name in enumerate(names)}
        index._keys = None  # built when somebody looks an image up
        return index

    def __len__(self) -> int:
        return self._count

    # ---- the one thread that appends ----------------------------------------------------------------------------

    def declare(self, axes: Axes) -> None:
        """Fix the types of new axes; refuse a value of the other type. For the thread that accepts frames.

        Raises
        ------
        TypeError
            An axis that has had integers gets a string, or the other way round.
        """
        types = self._types
        for name, value in axes.items():
            kind = types.get(name)
            if kind is None:
                types[name] = type(value)
            elif kind is not type(value):
                was, now = ("integers", "a string") if kind is int else ("strings", "an integer")
                raise TypeError(f"axis {name!r} is {value!r}: it has had {was} so far and cannot hold {now} too")

    def append(self, axes: Axes) -> int:
        """Add a row and return its number. The axes must be checked and declared."""
        row = self._count
        keys = self._current_keys()
        if not axes.keys() <= self._column.keys():
            keys = self._add_axes(axes)
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
        if row == len(self._codes):
            grown = np.full((2 * row, len(self._names)), ABSENT, dtype=np.int64)
            grown[:row] = self._codes
            self._codes = grown
        self._codes[row] = codes
        key = keys.pack(*codes)
        if key in keys.rows:
            self._duplicates += 1
        self._count = row + 1  # published before the key, so that a row found by its key is always readable
        keys.rows[key] = row
        return row

    def _add_axes(self, axes: Axes) -> _Keys:
        new = [name for name in axes if name not in self._column]
        for name in new:
            if isinstance(axes[name], str):
                self._labels[name] = []
                self._strings[name] = {}
            self._types.setdefault(name, type(axes[name]))
        codes = np.full((len(self._codes), len(self._names) + len(new)), ABSENT, dtype=np.int64)
        codes[:, : len(self._names)] = self._codes
        names = self._names + new
        self._codes = codes
        keys = self._build_keys()
        self._names = names
        self._column = {name: i for i, name in enumerate(names)}
        self._keys = keys
        return keys

    def _build_keys(self) -> _Keys:
        codes = self._codes
        keys = _Keys(codes.shape[1])
        count = self._count
        if codes.shape[1] and count:
            packed = np.ascontiguousarray(codes[:count]).view(f"V{8 * codes.shape[1]}")[:, 0].tolist()
            keys.rows = dict(zip(packed, range(count), strict=True))
        elif count:
            keys.rows = {b"": count - 1}
        self._duplicates = count - len(keys.rows)
        return keys

    def _current_keys(self) -> _Keys:
        keys = self._keys
        if keys is None:
            self._keys = keys = self._build_keys()
        return keys

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
        keys = self._current_keys()
        column = self._column
        codes = [ABSENT] * len(column)
        for name, value in axes.items():
            i = column.get(name)
            if i is None:
                return -1
            if isinstance(value, str):
                code = self._strings.get(name, {}).get(value)
                if code is None:
                    return -1
                codes[i] = code
            elif name in self._strings:
                return -1
            else:
                codes[i] = value
        try:
            return keys.rows.get(keys.pack(*codes), -1)
        except struct.error:  # an axis was added in between
            return self.find(axes)

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
        keys = self._current_keys()
        if not self._duplicates:
            return np.arange(count)
        rows = list(keys.rows.values())
        return np.sort(np.array([row for row in rows if row < count], dtype=np.int64))

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
