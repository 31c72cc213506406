"""Find and read an image in one step, where images are alike and in one file, as nearly all are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.finders import PLAIN, Grid
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff import positioned
from aiomm.dataset.ndtiff.table import FILE, HEIGHT, KIND, PIXELS, WIDTH, Table

if TYPE_CHECKING:
    from aiomm.dataset.index import Index
    from aiomm.dataset.ndtiff.files import InputFile
    from aiomm.dataset.storage import Quick

LARGEST = 2**20
"""Bytes of an image beyond which it takes so long to read that nothing is won here."""


def make_quick(index: Index, grid: Grid, table: Table, row: int, file: InputFile) -> Quick:
    """Make a reader of the images that are like that of a row, and in its file.

    A small image takes hardly longer to read than a program to look about, so all is at hand and in little memory: where an
    image begins in the file is kept by the place of its axes. Once the index grows it finds nothing.
    """
    places = table.first(int(grid.rows.max()) + 1)
    like = [FILE, WIDTH, HEIGHT, KIND]
    alike = (places[:, like] == places[row, like]).all(axis=1)
    begins = np.where(grid.rows >= 0, np.where(alike, places[:, PIXELS], 0)[grid.rows], 0).astype(np.uint32)
    _, _, width, height, kind, _, _ = table.row(row)
    shape, dtype = ndtiff.shape_and_dtype(kind, width, height)
    return _make(index, grid, begins, file, shape, dtype)


def _make(index: Index, grid: Grid, begins: np.ndarray, file: InputFile, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Quick:
    times, zs, channels, tiles, no_tile, counted = grid.times, grid.zs, grid.channels, grid.tiles, grid.no_tile, grid.counted
    offsets: Any = memoryview(begins)  # type: ignore[arg-type]  # 0: not one of these images
    length = math.prod(shape) * dtype.itemsize
    small, fd, plain, empty, read_each = length <= LARGEST, file.fileno(), PLAIN, np.empty, positioned.read_each
    windows: Any = None

    def quick(channel: Any, z: Any, time: Any, position: Any, row: Any, column: Any, mapped: bool) -> np.ndarray | None:
        try:
            place = zs[z] + channels[channel]
            if type(time) is int and 0 <= time < counted:  # the place itself: a large dict is slow to look into
                place += time
            elif type(time) in plain:
                place += times[time]
            else:
                return None
            if position is None and row is None and column is None:
                place += no_tile  # None is a TypeError
            elif plain.issuperset(map(type, (position, row, column))):
                place += tiles[position, row, column]
            else:
                return None
        except (KeyError, TypeError):
            return None
        if (
            (offset := offsets[place])
            and index.finder is grid
            and (type(z) is int or type(z) in plain)
            and (type(channel) is str or type(channel) in plain)
        ):
            if mapped:
                return view(offset)
            if small:
                image: np.ndarray = empty(shape, dtype)
                if read_each(fd, (image,), offset) == length:
                    return image
        return None

    def view(offset: int) -> np.ndarray:
        nonlocal windows
        try:
            image: np.ndarray = windows[offset]
        except (TypeError, IndexError):  # not mapped yet, or not so far
            file.view(offset, length)  # maps as far, or says that the file ends before
            whole = file.whole()
            # at each byte of the file, the image that would begin there: to take one is all that numpy has to do
            steps = np.ndarray(shape, dtype, whole).strides
            made = np.ndarray((len(whole) - length + 1, *shape), dtype, whole, 0, (1, *steps))
            image, windows = made[offset], made
        return image

    return quick
