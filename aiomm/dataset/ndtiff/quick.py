"""Read images that are all alike and in one file, as nearly all are, without looking at each one's place in full."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff import positioned
from aiomm.dataset.ndtiff.table import FILE, HEIGHT, KIND, PIXELS, WIDTH, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.dataset.ndtiff.files import InputFile, InputFiles

LARGEST = 2**20
"""Bytes of an image beyond which it takes so long to read that nothing is won here."""


class Quick:
    """The first ``count`` rows of a table, which have one file, size and type."""

    __slots__ = ("_dtype", "_file", "_length", "_offsets", "_shape", "_windows", "count", "read")

    def __init__(self, file: InputFile, offsets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = file
        self._windows: np.ndarray | None = None
        self._shape, self._dtype = shape, dtype
        self._length = math.prod(shape) * dtype.itemsize
        self._offsets: Any = memoryview(offsets)  # type: ignore[arg-type]
        self.count = len(offsets)
        self.read = self._make_read(file.fileno())
        """Read a row; None where it has to be read the other way."""

    def _make_read(self, fd: int) -> Callable[[int], np.ndarray | None]:
        """Make `read`, which finds all it needs in itself: a small image takes hardly longer than this takes to look about."""
        shape, dtype, length, offsets = self._shape, self._dtype, self._length, self._offsets
        count = self.count if length <= LARGEST else 0
        empty, read_each = np.empty, positioned.read_each

        def read(row: int) -> np.ndarray | None:
            if row < count:
                image = empty(shape, dtype)
                if read_each(fd, [image], offsets[row]) == length:
                    return image
            return None

        return read

    def view(self, row: int) -> np.ndarray:
        """Map a row, read-only."""
        offset = self._offsets[row]
        try:
            image: np.ndarray = self._windows[offset]  # type: ignore[index]
        except (TypeError, IndexError):  # not mapped yet, or not so far
            self._file.view(offset, self._length)  # maps as far, or says that the file ends before
            whole = self._file.whole()
            # at each byte of the file, the image that would begin there: to take one is all that numpy has to do
            steps = np.ndarray(self._shape, self._dtype, whole).strides
            self._windows = np.ndarray((len(whole) - self._length + 1, *self._shape), self._dtype, whole, 0, (1, *steps))
            image = self._windows[offset]
        return image


def find_quick(table: Table, rows: int, files: InputFiles) -> Quick | None:
    """Make the `Quick` of a table's first rows; None without rows."""
    if not rows:
        return None
    places = table.first(rows)
    alike = (places[:, [FILE, WIDTH, HEIGHT, KIND]] == places[0, [FILE, WIDTH, HEIGHT, KIND]]).all(axis=1)
    count = rows if alike.all() else int(alike.argmin())
    first = places[0].tolist()
    shape, dtype = ndtiff.shape_and_dtype(first[KIND], first[WIDTH], first[HEIGHT])
    return Quick(files.get(first[FILE]), places[:count, PIXELS].copy(), shape, dtype)
