"""Build resolution levels: each level's tiles are means of 2 x 2 pixels of the level below."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.level import Level
from aiomm.dataset.ndtiff.reader import level_folder

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.dataset import Dataset
    from aiomm.dataset.storage import Axes


def halve(pixels: np.ndarray) -> np.ndarray:
    """Mean of each 2 x 2 pixels, rounded down; of 2, or 1, along the edge of an odd size."""
    wide = np.dtype(np.uint32 if pixels.dtype.itemsize > 1 else np.uint16)
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    out = np.empty(((pixels.shape[0] + 1) // 2, (pixels.shape[1] + 1) // 2, *pixels.shape[2:]), pixels.dtype)
    rows = np.add(pixels[0 : 2 * height : 2], pixels[1::2], dtype=wide)
    out[:height, :width] = (rows[:, 0 : 2 * width : 2] + rows[:, 1::2]) >> 2
    if pixels.shape[1] % 2:
        out[:height, -1] = rows[:, -1] >> 1
    if pixels.shape[0] % 2:
        last = pixels[-1].astype(wide)
        out[-1, :width] = (last[0 : 2 * width : 2] + last[1::2]) >> 1
        if pixels.shape[1] % 2:
            out[-1, -1] = last[-1]
    return out


def overlap_of(summary: dict[str, Any]) -> tuple[int, int]:
    """Pixels (y, x) by which neighbouring tiles overlap, as summary metadata says.

    Raises
    ------
    ValueError
        It says nothing that makes sense.
    """
    found = []
    for name in ("GridPixelOverlapY", "GridPixelOverlapX"):
        value = summary.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"summary metadata: {name} is {value!r}: it must be a number of pixels, 0 or more")
        found.append(value)
    return found[0], found[1]


def check_tile(axes: Axes) -> None:
    """Refuse what is no tile."""
    for name in ("row", "column"):
        if isinstance(axes.get(name), bool) or not isinstance(axes.get(name), (int, np.integer)):
            raise ValueError(f"image {axes} has no axis {name!r} with an integer, so it is no tile")


def cropped(shape: tuple[int, ...], overlap: tuple[int, int]) -> tuple[int, ...]:
    """Shape of a tile without what it shares with its neighbours."""
    rest = (shape[0] - overlap[0], shape[1] - overlap[1], *shape[2:])
    if min(rest[:2]) < 2:
        raise ValueError(
            f"tiles of {shape[1]} x {shape[0]} pixels overlap by {overlap[1]} x {overlap[0]}: less than 2 x 2 are left of each"
        )
    return rest


class LevelsBuilder:
    """Builds the levels of a dataset from its tiles, one at a time.

    Parameters
    ----------
    base : Path
        Where the levels' folders are made.
    prefix : str
        What the TIFF files' names begin with.
    dataset : Dataset
        The tiles at full resolution.
    most : int, optional
        How many levels to build. None: as many as it takes until one tile shows everything (one each side of zero, for
        tiles with negative numbers).
    """

    def __init__(self, base: Path, prefix: str, dataset: Dataset, most: int | None) -> None:
        self._base, self._prefix, self._dataset, self._most = base, prefix, dataset, most
        summary = dataset.summary_metadata
        self._header = ndtiff.pack_header(summary)
        self._per_cm = ndtiff.resolution(summary.get("PixelSize_um", summary.get("PixelSizeUm")))
        self._overlap = overlap_of(summary)
        self._tile: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        self._shape: tuple[int, ...] = ()
        self._kind = ndtiff.GRAY8
        self._extent: list[int] = []  # first and last row, first and last column
        self._early: list[int] = []  # rows of tiles that came before there was a level
        self.levels: list[Level] = []

    def add(self, row: int) -> None:
        """Take a tile in: every level shows it.

        Raises
        ------
        ValueError
            It is no tile, or another size than the first.
        OSError
            It cannot be written.
        """
        axes = self._dataset.axes_of(row)
        check_tile(axes)
        pixels, _ = self._dataset.read_row(row)
        if self._tile is None:
            self._begin(pixels)
        elif (pixels.shape, pixels.dtype) != self._tile:
            raise ValueError(
                f"tile {axes} is {pixels.shape} {pixels.dtype}, the first was {self._tile[0]} {self._tile[1]}; tiles are alike"
            )
        self._reach(axes, pixels.dtype)
        if self.levels:
            self._bring(row, axes, pixels)
        else:
            self._early.append(row)

    def _bring(self, row: int, axes: Axes, pixels: np.ndarray) -> None:
        """Bring a tile of full resolution into the levels there are."""
        (top, left), (height, width) = (o // 2 for o in self._overlap), self._shape[:2]
        # an odd tile's last pixels are averaged with those beyond, as far as the overlap has them
        tile = pixels[top : top + height + height % 2, left : left + width + width % 2]
        self._raise(0, axes, tile, (0, height, 0, width), row)

    def flush(self) -> None:
        """Write what has changed, so that readers see it."""
        for level in self.levels:
            level.flush()

    def close(self, *, sync: bool = False) -> None:
        """End the files, whole or not."""
        levels, self.levels = self.levels, []
        with contextlib.ExitStack() as stack:
            for level in levels:
                stack.callback(level.close, sync=sync)

    def _begin(self, pixels: np.ndarray) -> None:
        self._shape = cropped(pixels.shape, self._overlap)
        self._tile = (pixels.shape, pixels.dtype)
        self._kind = ndtiff.pixel_type(pixels, self._dataset.bit_depth)

    def _reach(self, axes: Axes, dtype: np.dtype[Any]) -> None:
        """Add levels until the last one is small enough for the tiles seen so far."""
        r, c = _number(axes, "row"), _number(axes, "column")
        old = self._extent or [r, r, c, c]
        self._extent = [min(old[0], r), max(old[1], r), min(old[2], c), max(old[3], c)]
        wanted = levels_for(self._extent) if self._most is None else self._most
        while len(self.levels) < wanted:
            level = Level(
                level_folder(self._base, len(self.levels) + 1), self._prefix, self._header,
                shape=self._shape, dtype=dtype, kind=self._kind, per_cm=self._per_cm,
            )  # fmt: skip
            self.levels.append(level)
            number = len(self.levels) - 1
            if number == 0:
                early, self._early = self._early, []
                for row in early:
                    self._bring(row, self._dataset.axes_of(row), self._dataset.read_row(row)[0])
            else:
                for below, tile, source in self.levels[number - 1].tiles():
                    self._raise(number, below, tile, (0, self._shape[0], 0, self._shape[1]), source)

    def _raise(self, number: int, axes: Axes, tile: np.ndarray, box: tuple[int, int, int, int], source: int) -> None:
        """Bring a part (y from, to, x from, to) of a tile below level ``number`` into that level and those above."""
        height, width = self._shape[:2]
        for level in self.levels[number:]:
            row, column = _number(axes, "row"), _number(axes, "column")
            parent: Axes = {**axes, "row": row // 2, "column": column // 2}
            to = level.tile(parent, source, lambda row: self._dataset.read_row(row)[1])
            if height % 2 or width % 2:
                box = (0, tile.shape[0], 0, tile.shape[1])  # odd tiles share a seam in their parent, so that all of it counts
            y, x = box[0] & ~1, box[2] & ~1
            small = halve(tile[y : box[1] + box[1] % 2, x : box[3] + box[3] % 2])
            y, x = (row % 2 * height + y) // 2, (column % 2 * width + x) // 2
            to[y : y + small.shape[0], x : x + small.shape[1]] = small
            box = (y, y + small.shape[0], x, x + small.shape[1])
            tile, axes = to, parent


def _number(axes: Axes, name: str) -> int:
    value = axes[name]
    assert isinstance(value, int)
    return value


def levels_for(extent: list[int]) -> int:
    """How many levels it takes until one tile shows everything; tiles on both sides of zero never come together."""
    first_row, last_row, first_column, last_column = extent
    count = 0
    while last_row - first_row + last_column - first_column > 0 and (
        first_row < -1 or last_row > 0 or first_column < -1 or last_column > 0
    ):
        first_row, last_row, first_column, last_column = first_row // 2, last_row // 2, first_column // 2, last_column // 2
        count += 1
    return count
