"""Read many images of files into one array: small ones that lie close together with one call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.files import InputFiles
from aiomm.dataset.ndtiff.table import FILE, HEIGHT, KIND, PIXELS, WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomm.dataset.ndtiff.files import InputFile

SMALL: Final = 64 * 2**10
"""Bytes of an image below which several are read with one call."""
GAP: Final = 16 * 2**10
"""Bytes between two images, read and thrown away, that cost less than another call."""
AT_ONCE: Final = 500
"""Images read with one call; systems take 1024 buffers, and there is one between each two images."""


class FolderBlocks:
    """Reads many images of a folder into one array; can be pickled."""

    def __init__(self, folder: Path, files: list[str], places: np.ndarray) -> None:
        self._folder, self._files, self._places = folder, files, places
        self._inputs = InputFiles(folder, files)

    def __getstate__(self) -> tuple[Path, list[str], np.ndarray]:
        return self._folder, self._files, self._places

    def __setstate__(self, state: tuple[Path, list[str], np.ndarray]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def read_into(self, rows: list[int], out: np.ndarray, window: tuple[slice, slice]) -> None:
        wanted = np.array(rows, dtype=np.int64)
        at = np.flatnonzero(wanted >= 0)
        if not len(at):
            return
        places = self._places[wanted[at]]
        full, dtype = ndtiff.shape_and_dtype(*places[0, [KIND, WIDTH, HEIGHT]].tolist())
        count = math.prod(full) * dtype.itemsize
        get = self._inputs.get
        if full != out.shape[1:]:
            for i, number, offset in zip(at.tolist(), places[:, FILE].tolist(), places[:, PIXELS].tolist(), strict=True):
                out[i] = get(number).view(offset, count).view(dtype).reshape(full)[window]
            return
        read_near(get, places[:, FILE], places[:, PIXELS].astype(np.int64), at, out)


def read_near(get: Callable[[int], InputFile], numbers: np.ndarray, offsets: np.ndarray, at: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out[at[k]]`` with the bytes at ``offsets[k]`` of the file ``get(numbers[k])``: small neighbours with one call.

    Raises
    ------
    DatasetFormatError
        A file is not there, or ends before.
    """
    count = math.prod(out.shape[1:]) * out.itemsize
    if count > SMALL:
        for i, number, offset in zip(at.tolist(), numbers.tolist(), offsets.tolist(), strict=True):
            get(number).read_into(out[i], offset)
        return
    gaps = np.diff(offsets) - count
    together = (np.diff(numbers) == 0) & (np.diff(at) == 1) & (gaps >= 0) & (gaps <= GAP)  # with the one before
    firsts = [0, *(np.flatnonzero(~together) + 1).tolist()]
    between = gaps.tolist()
    for first, end in zip(firsts, [*firsts[1:], len(at)], strict=True):
        for k in range(first, end, AT_ONCE):
            several = min(AT_ONCE, end - k)
            file, offset = get(int(numbers[k])), int(offsets[k])
            if several == 1:
                file.read_into(out[at[k]], offset)
            else:
                file.read_each(out[at[k] : at[k] + several], offset, between[k : k + several - 1])
