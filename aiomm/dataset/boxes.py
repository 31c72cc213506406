"""An index of images that lie in boxes, as in arrays: what is in a row is computed, not kept, however many rows there are."""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.finders import USUAL
from aiomm.dataset.index import ABSENT, Index, canonical_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomm.dataset.storage import Axes


@dataclass(frozen=True)
class Box:
    """Images at every place of a grid, the last axis running fastest.

    Attributes
    ----------
    fixed : dict
        Axes that have one value in all of it.
    lengths : dict
        How many values each further axis has: the integers from 0 on, if it has no labels.
    labels : dict
        The strings along an axis, each once.
    """

    fixed: Axes
    lengths: dict[str, int]
    labels: dict[str, list[str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many images it has."""
        return math.prod(self.lengths.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths along its axes."""
        return tuple(self.lengths.values())


def place_in(shape: Sequence[int], number: int) -> tuple[int, ...]:
    """Place of the image of a number in a box; as ``numpy.unravel_index``, of plain integers."""
    place = []
    for length in reversed(shape):
        number, at = divmod(number, length)
        place.append(at)
    return tuple(reversed(place))


class BoxFinder:
    """Finds rows in boxes; see `finders.Keys`."""

    def __init__(self, boxes: Sequence[Box], firsts: Sequence[int]) -> None:
        self._fixed = list(dict.fromkeys(itertools.chain.from_iterable(box.fixed for box in boxes)))
        self._boxes: dict[tuple[Any, ...], list[tuple[int, Box, dict[str, dict[str, int]]]]] = {}
        ranks: dict[tuple[str, ...], dict[str, int]] = {}  # of labels, which most boxes share
        for box, first in zip(boxes, firsts, strict=False):
            tables = {}
            for name, labels in box.labels.items():
                table = ranks.get(tuple(labels))
                if table is None:
                    table = ranks[tuple(labels)] = {label: i for i, label in enumerate(labels)}
                tables[name] = table
            self._boxes.setdefault(tuple(map(box.fixed.get, self._fixed)), []).append((first, box, tables))

    def find(self, axes: Axes) -> int:
        """Row of the image with exactly these axes (checked values); -1 if there is none."""
        for first, box, tables in self._boxes.get(tuple(map(axes.get, self._fixed)), ()):
            if len(axes) != len(box.fixed) + len(box.lengths):
                continue
            number = 0
            for name, length in box.lengths.items():
                value: Any = axes.get(name)
                at = tables[name].get(value, -1) if name in tables else value if type(value) is int and value < length else -1
                if at < 0:
                    break
                number = number * length + at
            else:
                return first + number
        return -1

    def find_usual(self, channel: Any, z: Any, time: Any, position: Any, row: Any, column: Any) -> int:
        """Row of the image with exactly these values, None for no such axis; -1 if there is none, or they are of other types."""
        values = (channel, z, time, position, row, column)
        given = {name: value for name, value in zip(USUAL, values, strict=True) if value is not None}
        return self.find(given) if all(type(value) in (int, str) for value in given.values()) else -1

    def winners(self, count: int) -> np.ndarray:
        """Of the first rows those that count: all, for no image is there twice."""
        return np.arange(count)


class BoxIndex(Index):
    """The rows of boxes, one after the other.

    Raises
    ------
    ValueError
        Two boxes have the same images.
    """

    def __init__(self, boxes: Sequence[Box]) -> None:
        super().__init__()
        self._boxes = boxes = [box for box in boxes if box.count]
        seen = {(frozenset(box.fixed.items()), frozenset(box.lengths)) for box in boxes}
        if len(seen) < len(boxes):
            raise ValueError("it lists an image twice, or two of one name; which of them is meant cannot be said")
        for box in boxes:
            for name, value in box.fixed.items():
                self._add(name, [value] if isinstance(value, str) else None)
            for name in box.lengths:
                self._add(name, box.labels.get(name))
        self._column = {name: i for i, name in enumerate(self._names)}
        self._firsts = [0, *itertools.accumulate(box.count for box in boxes)]
        self._count = self._firsts[-1]
        self.finder = BoxFinder(boxes, self._firsts)

    def _add(self, name: str, labels: list[str] | None) -> None:
        if name not in self._types:
            self._names.append(name)
            self._types[name] = int if labels is None else str
            if labels is not None:
                self._labels[name], self._strings[name] = [], {}
        for label in labels or ():
            if label not in self._strings[name]:
                self._strings[name][label] = len(self._labels[name])
                self._labels[name].append(label)

    def axes_of(self, row: int) -> Axes:
        """Axes of a row, in canonical order."""
        if not 0 <= row < self._count:
            raise IndexError(f"row {row}: the dataset has {self._count} rows")
        number = bisect.bisect_right(self._firsts, row) - 1
        box = self._boxes[number]
        found = dict(box.fixed)
        for name, at in zip(box.lengths, place_in(box.shape, row - self._firsts[number]), strict=True):
            found[name] = box.labels[name][at] if name in box.labels else at
        return {name: found[name] for name in canonical_order(found)}

    def column(self, name: str) -> np.ndarray:
        """Codes of one axis by row, made when asked for."""
        codes = np.full(self._count, ABSENT, np.int64)
        for box, first in zip(self._boxes, self._firsts, strict=False):
            there = codes[first : first + box.count]
            if name in box.fixed:
                there[:] = self._codes_of(name, [box.fixed[name]])
            elif name in box.lengths:
                along = list(box.lengths).index(name)
                values = self._codes_of(name, box.labels.get(name, range(box.lengths[name])))
                there.reshape(box.shape)[...] = values.reshape(-1, *[1] * (len(box.shape) - along - 1))
        return codes

    def _codes_of(self, name: str, values: Sequence[int | str]) -> np.ndarray:
        if isinstance(values, range):
            return np.arange(len(values))
        table: Any = self._strings.get(name)
        return np.array(values if table is None else [table[value] for value in values], np.int64)

    def values(self, name: str) -> list[Any]:
        """Sorted values of an axis."""
        if name in self._strings:
            return sorted(self._labels[name])
        longest = max((box.lengths.get(name, 0) for box in self._boxes), default=0)
        fixed = {box.fixed[name] for box in self._boxes if name in box.fixed}
        return sorted({*range(longest), *fixed}) if fixed else list(range(longest))

    def strings(self, name: str) -> list[str]:
        """Values of a string axis in order of first appearance."""
        return list(self._labels[name])
