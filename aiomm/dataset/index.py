"""The index in memory: which image is in which row. One thread appends, any thread reads."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.encode import AXIS_LIMIT
from aiomm.dataset.growth import Growth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiomm.dataset.storage import Axes

ABSENT = -(1 << 63)
"""The code of an axis that an image does not have."""

USUAL = ("channel", "z", "time", "position", "row", "column")
"""The axes that `Index.find_usual` takes, in this order."""

_PLAIN: Final = frozenset({int, str, type(None), *(np.dtype(code).type for code in "bhilqBHILQU")})
"""Types of which values can be told apart as they are; the others take the slow way, which refuses them."""

_RANK = {"row": 0, "column": 1, "position": 2, "time": 3, "channel": 4, "z": 6}


def canonical_order(names: Iterable[str]) -> list[str]:
    """Sort axis names: row, column, position, time, channel, others as they came, z."""
    return sorted(names, key=lambda name: _RANK.get(name, 5))


def columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """Values of each key by row; None where a row does not have it."""
    return {name: [axes.get(name) for axes in rows] for name in dict.fromkeys(itertools.chain.from_iterable(rows))}


class _Keys:
    """Values -> row, for one set of axes. Replaced whole when an axis is added, so that readers see one or the other."""

    __slots__ = ("names", "nothing", "rows")

    def __init__(self, names: Sequence[str]) -> None:
        others = [name for name in names if name not in USUAL]
        self.names = (*USUAL, *others)
        self.nothing = (None,) * len(others)
        self.rows: dict[tuple[Any, ...], int] = {}  # values of the names; None: an axis that the image does not have

    def add(self, columns: Mapping[str, Sequence[Any]], first: int, end: int) -> None:
        """Add rows, given as the values of each axis."""
        values = (columns[name] if name in columns else itertools.repeat(None, end - first) for name in self.names)
        self.rows.update(zip(zip(*values, strict=True), range(first, end), strict=True))


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
        self._keys: _Keys | None = _Keys(())
        self._building = threading.Lock()
        self._values: dict[str, tuple[int, list[Any]]] = {}  # sorted values, as of a number of rows
        self._duplicates = 0
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
        index._keys = None  # built when somebody looks an image up
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
        if not axes.keys() <= self._column.keys():
            self._add_axes({name: type(value) for name, value in axes.items()})
        keys = self._current_keys()
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
        key = tuple(map(axes.get, keys.names))
        if key in keys.rows:
            self._duplicates += 1
        self._count = row + 1  # published before the key, so that a row found by its key is always readable
        keys.rows[key] = row
        return row

    def extend(self, rows: Sequence[Any]) -> None:
        """Add many rows at once, dicts of axes as read from a file.

        Raises
        ------
        TypeError, ValueError, OverflowError
            An axis has integers and strings, or neither. Nothing was added.
        """
        self.extend_columns(columns_of(rows), len(rows))

    def extend_columns(self, columns: dict[str, Sequence[Any]], count: int) -> None:
        """Add ``count`` rows, given as the values of each axis; None where a row does not have the axis. See `extend`."""
        if not count:
            return
        new: dict[str, type] = {}
        absent: set[str] = set()  # axes that some rows do not have
        for name, values in columns.items():
            kinds = set(map(type, values))
            if type(None) in kinds:
                kinds.discard(type(None))
                absent.add(name)
            old = self._types.get(name)
            if kinds not in ({int}, {str}) or (old is not None and kinds != {old}):
                names = sorted(kind.__name__ for kind in kinds | ({old} if old else set()))
                raise TypeError(f"axis {name!r} has values of types {names}; an axis is all integers or all strings")
            if name not in self._column:
                new[name] = next(iter(kinds))
        codes = np.full((count, len(self._names) + len(new)), ABSENT, dtype=np.int64)
        places = {**self._column, **{name: len(self._names) + i for i, name in enumerate(new)}}
        labels: dict[str, list[str]] = {}
        for name, values in columns.items():
            if (new.get(name) or self._types[name]) is str:
                table: dict[Any, int] = dict(self._strings.get(name, {}))
                known = len(table)
                for value in dict.fromkeys(values):
                    if value is not None and value not in table:
                        table[value] = len(table)
                labels[name] = list(table)[known:]
                table[None] = ABSENT
                codes[:, places[name]] = list(map(table.__getitem__, values))
            elif name in absent:
                codes[:, places[name]] = [ABSENT if value is None else value for value in values]
            else:
                codes[:, places[name]] = values
            if (codes[:, places[name]] <= -AXIS_LIMIT).sum() > (values.count(None) if name in absent else 0) or (
                codes[:, places[name]] >= AXIS_LIMIT
            ).any():
                raise ValueError(f"axis {name!r} has integers beyond 2**62")
        first, end = self._count, self._count + count
        if new:
            self._add_axes(new)
        for name, more in labels.items():
            table = self._strings[name]
            self._labels[name].extend(more)
            table.update({value: len(table) + i for i, value in enumerate(more)})
        self._grow(end)
        self._codes[first:end] = codes
        with self._building:
            self._count = end
            keys = self._keys
            if keys is not None:
                before = len(keys.rows)
                keys.add(columns, first, end)
                self._duplicates += count - (len(keys.rows) - before)

    def _grow(self, count: int) -> None:
        """Make room for so many rows."""
        room, columns = self._codes.shape
        if count > room:
            grown = np.full((max(count, room + room // 2), columns), ABSENT, dtype=np.int64)
            grown[: self._count] = self._codes[: self._count]
            self._codes = grown

    def _add_axes(self, axes: dict[str, type]) -> None:
        new = [name for name in axes if name not in self._column]
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
            keys = None if self._keys is None else self._build_keys(names)
            self._names = names
            self._column = {name: i for i, name in enumerate(names)}
            self._keys = keys

    def _build_keys(self, names: list[str]) -> _Keys:
        codes = self._codes
        keys = _Keys(names)
        count = self._count
        columns: dict[str, list[Any]] = {}
        for i, name in enumerate(names):
            column = codes[:count, i]
            values: list[Any]
            if name in self._strings:
                labels = [*self._labels[name], None]
                values = [labels[code] for code in np.where(column == ABSENT, -1, column).tolist()]
            else:
                values = column.tolist()
                shared: dict[Any, Any] = {}
                values = list(map(shared.setdefault, values, values))
                if ABSENT in shared:
                    values = [None if value == ABSENT else value for value in values]
            columns[name] = values
        keys.add(columns, 0, count)
        self._duplicates = count - len(keys.rows)
        return keys

    def _current_keys(self) -> _Keys:
        keys = self._keys
        if keys is None:
            with self._building:  # one thread builds, so that no row appended meanwhile is lost
                keys = self._keys
                if keys is None:
                    self._keys = keys = self._build_keys(self._names)
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
        key = tuple(map(axes.get, keys.names))
        if len(axes) + key.count(None) != len(key):
            return -1  # it has an axis that no image has
        return keys.rows.get(key, -1)

    def find_usual(self, values: tuple[Any, ...]) -> int:
        """Row of the image with exactly these values of the `USUAL` axes, None for no such axis; -1 if there is none.

        Values may be anything. For an image at random this is the quickest way; -1 does not say that there is none.
        """
        keys = self._keys or self._current_keys()
        try:
            row = keys.rows.get(values + keys.nothing if keys.nothing else values, -1)
            return row if _PLAIN.issuperset(map(type, values)) else -1  # 1.0 and True are equal to 1
        except TypeError:  # no value that could be a key
            return -1

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
