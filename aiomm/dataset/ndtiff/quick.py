"""Read images that are all alike and in one file, as nearly all are, without looking at each one's place in full."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.table import FILE, HEIGHT, KIND, PIXELS, WIDTH, Table

if TYPE_CHECKING:
    from aiomm.dataset.ndtiff.files import InputFile, InputFiles

LARGEST = 2**20
"""Bytes of an image beyond which it takes so long to read that nothing is won here."""


class Quick:
    """The first ``count`` rows of a table, which have one file, size and type."""

    __slots__ = ("_file", "_windows", "count", "dtype", "fd", "length", "offsets", "shape", "small")

    def __init__(self, file: InputFile, offsets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = file
        self._windows: np.ndarray | None = None
        self.fd = file.fileno()
        self.shape, self.dtype = shape, dtype
        self.length = math.prod(shape) * dtype.itemsize
        """Bytes of an image."""
        self.offsets: Any = memoryview(offsets)  # type: ignore[arg-type]
        """Of the pixels of each row."""
        self.count = len(offsets)
        self.small = self.count if self.length <= LARGEST else 0
        """How many of the rows are small enough to be read the quick way."""

    def view(self, row: int) -> np.ndarray:
        """Map a row, read-only."""
        offset = self.offsets[row]
        try:
            image: np.ndarray = self._windows[offset]  # type: ignore[index]
        except (TypeError, IndexError):  # not mapped yet, or not so far
            self._file.view(offset, self.length)  # maps as far, or says that the file ends before
            whole = self._file.whole()
            # at each byte of the file, the image that would begin there: to take one is all that numpy has to do
            steps = np.ndarray(self.shape, self.dtype, whole).strides
            self._windows = np.ndarray((len(whole) - self.length + 1, *self.shape), self.dtype, whole, 0, (1, *steps))
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
