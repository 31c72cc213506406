"""What it takes to find and read an image in one step, where images are alike and in one file, as nearly all are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.table import FILE, HEIGHT, KIND, PIXELS, WIDTH, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.dataset.finders import Grid
    from aiomm.dataset.ndtiff.files import InputFile
    from aiomm.dataset.storage import Quick

LARGEST = 2**20
"""Bytes of an image beyond which it takes so long to read that nothing is won here."""


def make_quick(grid: Grid, table: Table, row: int, file: InputFile) -> Quick:
    """Make what reads the images that are like that of a row, and in its file.

    A small image takes hardly longer to read than a program to look about, so all is at hand and in little memory: where an
    image begins in the file is kept by the place of its axes.
    """
    places = table.first(int(grid.rows.max()) + 1)
    like = [FILE, WIDTH, HEIGHT, KIND]
    alike = (places[:, like] == places[row, like]).all(axis=1)
    begins = np.where(grid.rows >= 0, np.where(alike, places[:, PIXELS], 0)[grid.rows], 0).astype(np.uint32)
    _, _, width, height, kind, _, _ = table.row(row)
    shape, dtype = ndtiff.shape_and_dtype(kind, width, height)
    length = math.prod(shape) * dtype.itemsize
    offsets: Any = memoryview(begins)  # type: ignore[arg-type]
    no_tile = grid.tiles.get((None, None, None))
    zs = {} if no_tile is None else {z: step + no_tile for z, step in grid.zs.items()}
    view = _viewer(file, length, shape, dtype)
    small = length if length <= LARGEST else 0
    return grid, grid.counted, zs, grid.channels, offsets, grid.place_of, file.fileno(), small, shape, dtype, view


def _viewer(file: InputFile, length: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[int], np.ndarray]:
    windows: Any = None

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

    return view
