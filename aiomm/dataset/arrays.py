"""Datasets as lazy dask arrays: blocks large enough to read at disk speed, readers that other processes can use."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset import bulk
from aiomm.dataset.index import ABSENT
from aiomm.dataset.selection import ChannelNames, axes_of_rows, no_axis, select_rows, spell, spell_name
from aiomm.errors import MissingImageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    import dask.array as da

    from aiomm.dataset.index import Index
    from aiomm.dataset.storage import BlockReader, Store

BLOCK_BYTES = 16 * 2**20


def plain_slices(index: Index, slices: Mapping[str, Any]) -> dict[str, Any]:
    """Give axes the names that they have, and leave out those that are None; ``channel_name`` counts more than ``channel``.

    Raises
    ------
    TypeError
        An axis is given twice, or it is a parameter of others than the caller.
    """
    if "stitched" in slices and "stitched" not in index.types:
        raise TypeError("stitched=... is of as_array and as_mask: np.asarray(dataset.as_array(stitched=True)) joins tiles and reads them")
    name = slices.get("channel_name")
    given = {key: value for key, value in slices.items() if key != "channel_name" and not (key == "channel" and name is not None)}
    return spell(index, given if name is None else {**given, "channel": name})


def check_images(index: Index) -> None:
    """Refuse to lay out a dataset without images.

    Raises
    ------
    MissingImageError
        It has none.
    """
    if not len(index):
        raise MissingImageError("the dataset has no images yet")


def plan_grid(
    index: Index, axes: Sequence[str] | None, slices: Mapping[str, Any], channel_names: ChannelNames
) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Lay images out on a grid.

    Returns
    -------
    values : dict
        Of each axis of the grid, in order.
    rows : numpy.ndarray
        Row of the image at each point of the grid; -1 where there is none.

    Raises
    ------
    MissingImageError
        An axis or a value does not exist, or there are no images.
    ValueError
        The images cannot be laid out so; the message says which axes would have to be given.
    """
    check_images(index)
    if not (axes is None or isinstance(axes, Iterable)):
        raise TypeError(f'axes is {axes!r}: it must be names of axes, as in axes=["time", "z"]')
    names = None if axes is None else [spell_name(index, name) for name in ([axes] if isinstance(axes, str) else axes)]
    if names is not None:
        for name in names:
            if name not in index.types:
                raise no_axis(index, name)
            if name in slices:
                raise ValueError(f"axis {name!r} is in axes and has a fixed value too; it can be one of them")
        if len(set(names)) != len(names):
            raise ValueError(f"axes are {names}: an axis comes twice")
    rows, fixed = select_rows(index, slices, channel_names)
    found = axes_of_rows(index, rows, fixed)
    if names is None:
        names = list(found)
        ragged = [name for name, every in found.items() if not every]
        if ragged:
            raise ValueError(f"some images have axis {ragged[0]!r} and some do not, so they make no one array; give axes=[...] to choose")
    else:
        rows = _rows_with(index, rows, names, [name for name in found if name not in names])
    values, points = {}, []
    for name in names:
        codes, position = np.unique(index.column(name)[rows], return_inverse=True)
        if index.types[name] is str:  # sorted by name, not by code
            labels = [index.strings(name)[code] for code in codes.tolist()]
            order = sorted(range(len(labels)), key=labels.__getitem__)
            rank = np.empty(len(order), dtype=np.int64)
            rank[order] = np.arange(len(order))
            values[name] = [labels[i] for i in order]
            position = rank[position]
        else:
            values[name] = codes.tolist()
        points.append(position)
    shape = tuple(len(v) for v in values.values())
    if math.prod(shape) > max(10_000_000, 1000 * len(rows)):
        raise ValueError(
            f"{len(rows)} images lie so far apart that an array of them would have {math.prod(shape)} ({shape}); fix some axes"
        )
    grid = np.full(shape, -1, dtype=np.int32)
    grid[tuple(points)] = rows if names else rows[-1]
    return values, grid


def _rows_with(index: Index, rows: np.ndarray, names: list[str], others: list[str]) -> np.ndarray:
    """Rows that have every named axis; the other axes must be absent or have one value only."""
    for name in names:
        rows = rows[index.column(name)[rows] != ABSENT]
    if not len(rows):
        raise MissingImageError(f"no image has all of the axes {names}")
    bare = rows
    for name in others:
        bare = bare[index.column(name)[bare] == ABSENT]
    if len(bare):
        return bare
    several = [name for name in others if len(np.unique(index.column(name)[rows])) > 1]
    if several:
        raise ValueError(
            f"axes={names} leaves out "
            + ", ".join(map(repr, several))
            + f", which has more than one value; add it to axes or fix it ({several[0]}=...)"
        )
    return rows


class ImageSource:
    """An array that reads images when it is indexed: what dask takes its blocks from. Can be pickled.

    Parameters
    ----------
    reader : BlockReader
        Reads images by their number in ``grid``.
    grid : numpy.ndarray
        Number of the image at each point; -1 where there is none, which reads as zeros.
    image : tuple of int
        Shape of one image.
    dtype : numpy.dtype
        Of the pixels.
    """

    def __init__(self, reader: BlockReader, grid: np.ndarray, image: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._reader = reader
        self._grid = grid
        self.dtype = dtype
        self.shape = grid.shape + image
        self.ndim = len(self.shape)

    def read(self, out: np.ndarray | None = None, stop: threading.Event | None = None) -> np.ndarray:
        """Read all of it, with a few threads, into ``out`` or a new array; see `bulk.read_images`.

        Raises
        ------
        ValueError
            ``out`` has another shape or type, or cannot be written to.
        """
        if out is None:
            out = np.empty(self.shape, self.dtype)
        elif not isinstance(out, np.ndarray) or out.shape != self.shape or out.dtype != self.dtype:
            what = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
            raise ValueError(f"out is {what}; the images make {self.shape} {self.dtype}")
        elif not out.flags.writeable:
            raise ValueError("out is read-only")
        rows = self._grid.reshape(-1)
        whole = out if out.flags.c_contiguous else np.empty(self.shape, self.dtype)
        bulk.read_images(self._reader, rows, whole.reshape(rows.size, *self.shape[self._grid.ndim :]), stop)
        if whole is not out:
            out[...] = whole
        return out

    def __getitem__(self, key: Any) -> np.ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts = (*parts[:at], *[slice(None)] * (self.ndim - len(parts) + 1), *parts[at + 1 :])
        parts = (*parts, *[slice(None)] * (self.ndim - len(parts)))
        leading = self._grid.ndim
        rows: np.ndarray = self._grid
        for part in reversed(parts[:leading]):  # one by one: numpy would move dimensions when numbers and lists mix
            leading -= 1
            rows = np.asarray(rows[(*[slice(None)] * leading, part)])
        leading = self._grid.ndim
        y, x = (_as_slice(part) for part in parts[leading : leading + 2])
        image = self.shape[leading:]
        shape = (len(range(*y.indices(image[0]))), len(range(*x.indices(image[1]))), *image[2:])
        flat = rows.reshape(-1)
        out = np.empty((flat.size, *shape), self.dtype)
        missing = flat < 0
        if missing.any():
            out[missing] = 0
        self._reader.read_into(flat.tolist(), out, (y, x))
        out = out.reshape(rows.shape + shape)
        tail = tuple(_after(part) for part in parts[leading : leading + 2])
        taken: np.ndarray = out[(..., *tail, *parts[leading + 2 :])]
        return taken


def _as_slice(part: Any) -> slice:
    """What to read of a dimension for the part of it that is asked for."""
    if isinstance(part, slice):
        return part
    if isinstance(part, (int, np.integer)):
        return slice(int(part), int(part) + 1 or None)
    return slice(None)


def _after(part: Any) -> Any:
    """What to take of what was read: a number drops its dimension, a list picks from all of it."""
    if isinstance(part, slice):
        return slice(None)
    return 0 if isinstance(part, (int, np.integer)) else part


def chunk_shape(grid: tuple[int, ...], image_bytes: int) -> tuple[int, ...]:
    """How many images a block has along each axis: whole trailing axes, up to `BLOCK_BYTES`."""
    left = max(1, BLOCK_BYTES // image_bytes)
    chunks: list[int] = []
    for length in reversed(grid):
        # blocks of even size, rather than full ones and a rest
        take = min(length, left)
        take = -(-length // -(-length // take)) if length else 1
        chunks.append(max(1, take))
        left = max(1, left // max(1, take)) if take == length else 1
    return tuple(reversed(chunks))


def reader_of(store: Store, grid: np.ndarray) -> tuple[BlockReader, np.ndarray, tuple[int, ...], np.dtype[Any]]:
    """Make what reads the images on a grid: the reader, their numbers for it on the grid, and the shape and type of each.

    Raises
    ------
    ValueError
        They differ in size or type.
    """
    there = grid >= 0
    rows = np.sort(grid[there])  # an image has one place
    image, dtype = store.shape_of(int(rows[0]))
    odd = store.differing(rows)
    if odd >= 0:
        first, second, other = store.index.axes_of(int(rows[0])), store.index.axes_of(odd), store.shape_of(odd)
        raise ValueError(f"images differ: {first} is {image} {dtype}, {second} is {other[0]} {other[1]}; they make no one array")
    numbers = np.full(grid.shape, -1, dtype=np.int32)
    numbers[there] = np.searchsorted(rows, grid[there])
    return store.blocks(rows), numbers, image, dtype


def make_source(store: Store, grid: np.ndarray) -> ImageSource:
    """Make the array-like of the images on a grid; see `reader_of`."""
    return ImageSource(*reader_of(store, grid))


def make_array(store: Store, grid: np.ndarray) -> da.Array:
    """Make the lazy array of the images on a grid; see `make_source`."""
    import dask.array as da  # slow to import, and not everybody wants arrays

    from aiomm.dataset.lazy import LazyImages

    source = make_source(store, grid)
    image = source.shape[grid.ndim :]
    chunks = (*chunk_shape(grid.shape, math.prod(image) * source.dtype.itemsize), *image)
    meta = np.empty((0,) * source.ndim, source.dtype)
    # asarray stays True: only then does dask pass a slice on to the source, which reads no more than it is asked for
    array: da.Array = da.from_array(source, chunks=chunks, name=False, meta=meta)  # type: ignore[no-untyped-call]
    return LazyImages.of(array, source) if type(array) is da.Array else array
