"""Tiles joined into one picture: overlap cropped, missing tiles zeros, any part read by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset import arrays, bulk
from aiomm.dataset.numbers import positive
from aiomm.dataset.selection import spell_name
from aiomm.errors import MissingImageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.array as da

    from aiomm.dataset.selection import ChannelNames
    from aiomm.dataset.storage import BlockReader, Store

ROW, COLUMN = "row", "column"
_FEW_PLACES = 1_000_000


def overlap_of(summary: Mapping[str, Any]) -> tuple[int, int]:
    """Pixels that neighbouring tiles share, along y and x, as summary metadata has it; 0 if it does not say."""
    y, x = (int(positive(summary.get(f"GridPixelOverlap{axis}")) or 0) for axis in "YX")
    return y, x


def overlap_at(levels: Sequence[Store], level: int) -> tuple[int, int]:
    """Pixels that neighbouring tiles of a level share, along y and x.

    NDTiff's tiles of a level are made of tiles without their overlap; OME-Zarr reduces each tile with it.

    Raises
    ------
    ValueError
        Tiles were reduced with an overlap of which no whole pixels are left: they cannot be joined.
    """
    full, scale = levels[0], 2**level
    if level and levels[level].index is not full.index:
        return 0, 0
    shared = overlap_of(full.summary)
    if any(cut % scale for pixels in shared for cut in (pixels // 2, pixels)):
        raise ValueError(
            f"tiles that overlap by {shared[1]} x {shared[0]} pixels and were reduced {scale} times cannot be joined: half of the overlap "
            f"would have to be a multiple of {scale}; full resolution (res_level=0) can be joined"
        )
    return shared[0] // scale, shared[1] // scale


class Mosaic:
    """Where the tiles of a level lie, for each place on the other axes.

    Attributes
    ----------
    rows : numpy.ndarray
        Row in the index of each tile, the other axes first, then every row and column from the first to the last; -1 where
        there is no tile.
    start : tuple of int
        Least row and column.
    """

    def __init__(self, store: Store, axes: Sequence[str] | None, slices: Mapping[str, Any], channel_names: ChannelNames) -> None:
        tiled = (ROW, COLUMN)
        arrays.check_images(store.index)
        for name in tiled:
            if name not in store.index.types:
                raise MissingImageError(f"stitched=True joins tiles by their axes 'row' and 'column', but no image has an axis {name!r}")
            if name in slices:
                raise ValueError(f"stitched=True joins all tiles; {name!r} cannot have a fixed value too")
        if axes is not None:
            axes = [spell_name(store.index, name) for name in ([axes] if isinstance(axes, str) else axes)]
            axes = [*(name for name in axes if name not in tiled), *tiled]
        values, rows = arrays.plan_grid(store.index, axes, slices, channel_names)
        names = list(values)
        if any(name not in names for name in tiled):
            raise MissingImageError("stitched=True joins tiles by their axes 'row' and 'column'; these images have none")
        rows = np.moveaxis(rows, [names.index(name) for name in tiled], [-2, -1])
        at = [np.array(values[name]) for name in tiled]
        self.start: tuple[int, int] = (int(at[0][0]), int(at[1][0]))
        spans = [int(a[-1] - a[0]) + 1 for a in at]
        if math.prod((*rows.shape[:-2], *spans)) > max(_FEW_PLACES, 1000 * int((rows >= 0).sum())):
            raise ValueError(f"the tiles are too far apart to be joined: {spans[0]} rows and {spans[1]} columns")
        self.rows = np.full((*rows.shape[:-2], *spans), -1, rows.dtype)
        self.rows[..., (at[0] - at[0][0])[:, None], at[1] - at[1][0]] = rows

    def source(self, store: Store, overlap: tuple[int, int]) -> TileSource:
        """Make the array-like of the joined tiles.

        Raises
        ------
        ValueError
            The tiles differ in size or type.
        """
        return TileSource(*arrays.reader_of(store, self.rows), overlap)


class TileSource:
    """Joined tiles as dask wants an array: shape, dtype, and parts of it; can be pickled.

    Parameters
    ----------
    reader : BlockReader
        Reads tiles.
    grid : numpy.ndarray
        (..., rows, columns): number of each tile for the reader; negative where there is none.
    image : tuple of int
        Shape of a tile.
    dtype : numpy.dtype
        Of the pixels.
    overlap : tuple of int
        Pixels along y and x that a tile shares with the next. Half of it is cropped at each side; of an odd number the
        greater half at the bottom and at the right.
    """

    def __init__(
        self, reader: BlockReader, grid: np.ndarray, image: tuple[int, ...], dtype: np.dtype[Any], overlap: tuple[int, int]
    ) -> None:
        self._reader, self._grid, self._overlap = reader, grid, overlap
        self.tile = (image[0] - overlap[0], image[1] - overlap[1])
        if min(self.tile) <= 0:
            raise ValueError(
                f"tiles of {image[0]}x{image[1]} pixels cannot overlap by {overlap[0]}x{overlap[1]}, as the summary metadata says"
            )
        self.dtype = dtype
        self.shape = (*grid.shape[:-2], grid.shape[-2] * self.tile[0], grid.shape[-1] * self.tile[1], *image[2:])
        self.ndim = len(self.shape)
        self.leading = grid.ndim - 2
        """How many axes come before y and x."""

    def __getitem__(self, key: Any) -> np.ndarray:
        parts = _full_key(key, self.ndim)
        leading = self._grid.ndim - 2
        tiles = self._grid
        for axis in reversed(range(leading)):  # one by one: numpy would move dimensions when numbers and lists mix
            tiles = np.asarray(tiles[(*[slice(None)] * axis, parts[axis])])
        flat = tiles.reshape(-1, *self._grid.shape[-2:])
        ys, xs = (np.arange(length)[part] for length, part in zip(self.shape[leading:], parts[leading : leading + 2], strict=False))
        top, left = (int(at.min()) if at.size else 0 for at in (ys, xs))
        size = (int(at.max()) + 1 - least if at.size else 0 for at, least in ((ys, top), (xs, left)))
        box = np.zeros((len(flat), *size, *self.shape[leading + 2 :]), self.dtype)
        if box.size:
            for out, numbers in zip(box, flat, strict=True):
                self._fill(out, numbers, top, left)
        taken = box.reshape(tiles.shape[:-2] + box.shape[1:])
        before = (slice(None),) * (tiles.ndim - 2)
        taken = taken[(*before, slice(None), _within(xs, left, box.shape[2]))]
        taken = taken[(*before, _within(ys, top, box.shape[1]))]
        return taken[(..., *parts[leading + 2 :])]

    def _fill(self, out: np.ndarray, tiles: np.ndarray, top: int, left: int) -> None:
        """Fill a part of one picture that begins at (top, left)."""
        (height, width), crop = self.tile, [overlap // 2 for overlap in self._overlap]
        bottom, right = top + out.shape[0], left + out.shape[1]
        for r in range(top // height, -(-bottom // height)):
            y0, y1 = max(top, r * height), min(bottom, (r + 1) * height)
            for c in range(left // width, -(-right // width)):
                number = int(tiles[r, c])
                if number < 0:
                    continue
                x0, x1 = max(left, c * width), min(right, (c + 1) * width)
                whole = (y1 - y0, x1 - x0) == out.shape[:2]
                tile = out[np.newaxis] if whole else np.empty((1, y1 - y0, x1 - x0, *out.shape[2:]), out.dtype)
                window = (
                    slice(y0 - r * height + crop[0], y1 - r * height + crop[0]),
                    slice(x0 - c * width + crop[1], x1 - c * width + crop[1]),
                )
                self._reader.read_into([number], tile, window)
                if not whole:
                    out[y0 - top : y1 - top, x0 - left : x1 - left] = tile[0]

    def chunks(self) -> tuple[int, ...]:
        """As many pictures as make a block, or as many whole tiles of one."""
        tile_bytes = math.prod(self.tile) * math.prod(self.shape[self._grid.ndim :]) * self.dtype.itemsize
        *several, rows, columns = arrays.chunk_shape(self._grid.shape, tile_bytes)
        return (*several, rows * self.tile[0], columns * self.tile[1], *self.shape[self._grid.ndim :])

    def read(self) -> np.ndarray:
        """Read all of it, with a few threads."""
        out = np.empty(self.shape, self.dtype)
        bulk.read_images(self, np.arange(math.prod(self.shape[: self.leading])), out.reshape(-1, *self.shape[self.leading :]))
        return out

    def read_into(self, rows: list[int], out: np.ndarray, window: tuple[slice, slice]) -> None:
        """Fill ``out`` with whole pictures, by their number; as of `BlockReader`, and ``window`` is all of a picture."""
        down, across = self._grid.shape[-2:]
        tiles = self._grid.reshape(-1, down * across)[rows].reshape(-1)
        (height, width), (top, left) = self.tile, (overlap // 2 for overlap in self._overlap)
        read = np.empty((len(tiles), height + self._overlap[0], width + self._overlap[1], *out.shape[3:]), out.dtype)
        if (tiles < 0).any():
            read[tiles < 0] = 0
        self._reader.read_into(tiles.tolist(), read, (slice(None), slice(None)))  # whole ones are read quickest
        read = read[:, top : top + height, left : left + width]
        joined = read.reshape(len(rows), down, across, *read.shape[1:]).swapaxes(2, 3)
        out.reshape(len(rows), down, height, across, *read.shape[2:])[...] = joined


def _full_key(key: Any, ndim: int) -> tuple[Any, ...]:
    """Say of each dimension what to take of it."""
    parts = key if isinstance(key, tuple) else (key,)
    places = [i for i, part in enumerate(parts) if part is Ellipsis]
    at = places[0] if places else len(parts)
    after = parts[at + 1 :]
    return (*parts[:at], *[slice(None)] * (ndim - at - len(after)), *after)


def _within(at: np.ndarray, least: int, length: int) -> Any:
    """What to take of the pixels read, from ``least`` on; all of them most often."""
    return slice(None) if at.ndim and len(at) == length and (not length or at[0] == least) else at - least


def _lazy(source: TileSource) -> da.Array:
    import dask.array as da  # slow to import, and not everybody wants arrays

    from aiomm.dataset.lazy import LazyImages

    meta = np.empty((0,) * source.ndim, source.dtype)
    chunks = source.chunks()
    array: da.Array = da.from_array(source, chunks=chunks, name=False, meta=meta)  # type: ignore[no-untyped-call]
    whole = chunks[source.leading :] == source.shape[source.leading :]  # else blocks of one picture are read side by side
    return LazyImages.of(array, source) if whole and type(array) is da.Array else array


@dataclass
class _Shown:
    """The first pixel that full resolution shows, from row 0 and column 0 of tiles on, and how many it shows, along y and x."""

    start: tuple[int, int]
    size: tuple[int, int]
    leading: int
    """How many axes come before y and x."""


def make_array(levels: Sequence[Store], level: int, axes: Sequence[str] | None, slices: Mapping[str, Any], names: ChannelNames) -> da.Array:
    """Make the lazy array of a level's joined tiles, cropped to what full resolution shows."""
    overlap = overlap_at(levels, level)
    full = _join(levels[0], overlap_at(levels, 0), axes, slices, names)[1] if level else None
    array, own = _join(levels[level], overlap, axes, slices, names)
    return array if full is None else _crop(array, own, full, 2**level)


def make_pyramid(levels: Sequence[Store], axes: Sequence[str] | None, slices: Mapping[str, Any], names: ChannelNames) -> list[da.Array]:
    """Make the joined tiles of every level, each cropped to what full resolution shows.

    Pixel y of level n is the mean of the pixels from y * 2**n of level 0; a level of which that cannot be is left out, and
    those above it.
    """
    made: list[da.Array] = []
    full: _Shown | None = None
    for level, store in enumerate(levels):
        try:
            overlap = overlap_at(levels, level)
        except ValueError:
            break
        array, own = _join(store, overlap, axes, slices, names)
        full = full or own
        made.append(_crop(array, own, full, 2**level) if level else array)
    return made


def _join(
    store: Store, overlap: tuple[int, int], axes: Sequence[str] | None, slices: Mapping[str, Any], names: ChannelNames
) -> tuple[da.Array, _Shown]:
    mosaic = Mosaic(store, axes, slices, names)
    source = mosaic.source(store, overlap)
    y, x = source.shape[source.leading : source.leading + 2]
    return _lazy(source), _Shown((mosaic.start[0] * source.tile[0], mosaic.start[1] * source.tile[1]), (y, x), source.leading)


def _crop(array: da.Array, own: _Shown, full: _Shown, scale: int) -> da.Array:
    parts = map(shown, full.start, full.size, own.start, [scale] * 2)
    cropped: da.Array = array[(*[slice(None)] * own.leading, *[slice(first, first + length) for first, length in parts])]
    return cropped


def shown(start: int, size: int, begin: int, scale: int) -> tuple[int, int]:
    """Say where in a level the pixels begin that full resolution shows, and how many they are, along y or x.

    Parameters
    ----------
    start, size : int
        First pixel of full resolution, and how many there are.
    begin : int
        First pixel of the level.
    scale : int
        How many times it is reduced.
    """
    return max(0, start // scale - begin), max(1, size // scale)
