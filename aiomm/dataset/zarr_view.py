"""A dataset seen as OME-Zarr 0.5, without a copy: a read-only zarr store that makes metadata and chunks as they are asked for."""

from __future__ import annotations

import asyncio
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from aiomm.dataset import calibration
from aiomm.dataset.arrays import plan_grid, reader_of
from aiomm.dataset.omezarr.metadata import group
from aiomm.dataset.tiles import TileSource, overlap_at, shown
from aiomm.errors import MissingImageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from zarr.core.buffer import Buffer, BufferPrototype

    from aiomm.dataset.selection import ChannelNames
    from aiomm.dataset.storage import Store as Images

FILE: Final = "zarr.json"
MOST_PLACES: Final = 50_000_000
_OURS: Final = {"time": "t", "channel": "c", "z": "z"}
_TYPES: Final = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


class _Readers:
    """Threads that read the chunks of all views.

    Such a read may wait for zarr-python, which reads in the threads of its own loop: in those of the loop that asked for the
    chunk, which may be the same one, there would be none left for what is waited for.
    """

    def __init__(self) -> None:
        self._pool = self._new()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)  # threads are not forked

    def _new(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), thread_name_prefix="aiomm-view")

    def _renew(self) -> None:
        self._pool = self._new()

    async def run(self, read: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, read)


_readers: Final = _Readers()


@dataclass
class Level:
    """One resolution level: joined tiles on a grid of (others..., time, channel, z), cropped to what full resolution shows.

    Attributes
    ----------
    source : TileSource
        The tiles, joined.
    begin : tuple of int
        Its first pixel, y and x, in pixels of this level from row 0 and column 0 of tiles on.
    crop : tuple of int
        Pixels of it at the top and at the left that are not shown.
    size : tuple of int
        Pixels that are shown.
    there : numpy.ndarray
        Of each chunk, on the grid and along y and x, whether there is an image in it.
    """

    source: TileSource
    begin: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]
    there: np.ndarray

    @property
    def tile(self) -> tuple[int, int]:
        """Pixels of a chunk along y and x."""
        return self.source.tile

    def read(self, where: tuple[int, ...]) -> np.ndarray:
        """Read a chunk; what of it is outside is zeros."""
        *place, row, column = where
        begins = [n * length for n, length in zip((row, column), self.tile, strict=True)]
        ends = [min(at + length, size) for at, length, size in zip(begins, self.tile, self.size, strict=True)]
        parts = (slice(at + cut, end + cut) for at, end, cut in zip(begins, ends, self.crop, strict=True))
        pixels = self.source[(*place, *parts)]
        outside = [(0, length - there) for length, there in zip(self.tile, pixels.shape, strict=False)]
        return np.pad(pixels, [*outside, *[(0, 0)] * (pixels.ndim - 2)]) if any(map(any, outside)) else pixels


class DatasetStore(Store):
    """Images of a dataset as the chunks of zarr arrays; one chunk is one image, a missing image has no chunk.

    Arrays have the dimensions t, c, z, y and x, as far as the dataset has them; RGB is three values of c. Other axes make an
    image group for each combination of their values that has images. Tiles are joined, overlap is cropped, resolution levels
    are there. It is a snapshot: what is saved later is not in it. It can be pickled.
    """

    supports_writes: bool = False
    supports_deletes: bool = False
    supports_listing: bool = True

    def __init__(self, documents: dict[str, bytes], arrays: dict[str, tuple[Level, tuple[int, ...], tuple[str, ...]]]) -> None:
        super().__init__(read_only=True)
        self._documents = documents
        self._arrays = arrays  # path -> level, place along the other axes, dimensions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetStore) and self._arrays is other._arrays

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<DatasetStore: {len(self._arrays)} arrays>"

    def _chunk(self, key: str) -> tuple[Level, tuple[int, ...]] | None:
        """Level and place on its grid of a chunk that is there."""
        path, _, chunk = key.rpartition("/c/")
        found = self._arrays.get(path)
        if found is None:
            return None
        level, place, dimensions = found
        parts = chunk.split("/")
        if len(parts) != len(dimensions) or not all(part.isdecimal() for part in parts):
            return None
        at = dict(zip(dimensions, map(int, parts), strict=True))
        where = (*place, at.get("t", 0), at.get("c", 0), at.get("z", 0), at["y"], at["x"])
        if any(i >= length for i, length in zip(where, level.there.shape, strict=True)) or not level.there[where]:
            return None
        return level, where

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        data = self._documents.get(key)
        if data is None:
            chunk = self._chunk(key)
            if chunk is None:
                return None
            level, where = chunk
            data = await _readers.run(lambda: level.read(where).tobytes())
        if isinstance(byte_range, RangeByteRequest):
            data = data[byte_range.start : byte_range.end]
        elif isinstance(byte_range, OffsetByteRequest):
            data = data[byte_range.offset :]
        elif isinstance(byte_range, SuffixByteRequest):
            data = data[max(0, len(data) - byte_range.suffix) :]
        buffer: Buffer = prototype.buffer.from_bytes(data)
        return buffer

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return key in self._documents or self._chunk(key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        raise ValueError("a dataset seen as zarr is read-only")

    async def set_partial_values(self, key_start_values: Iterable[tuple[str, int, Any]]) -> None:
        raise ValueError("a dataset seen as zarr is read-only")

    async def delete(self, key: str) -> None:
        raise ValueError("a dataset seen as zarr is read-only")

    async def delete_dir(self, prefix: str) -> None:
        raise ValueError("a dataset seen as zarr is read-only")

    def _chunks(self, path: str) -> Iterable[str]:
        level, place, dimensions = self._arrays[path]
        names = ("t", "c", "z", "y", "x")
        keep = [names.index(name) for name in dimensions]
        for where in np.argwhere(level.there[place]).tolist():
            yield f"{path}/c/" + "/".join(str(where[i]) for i in keep)

    async def list(self) -> AsyncIterator[str]:
        for key in self._documents:
            yield key
        for path in self._arrays:
            for key in self._chunks(path):
                yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for key in self.list():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        keys: Iterable[str] = self._documents
        path, found, _ = start.partition("/c/")
        if found:
            keys = self._chunks(path) if path in self._arrays else ()
        elif start.rstrip("/") in self._arrays:
            keys = [*keys, f"{start}c/"]
        for name in dict.fromkeys(key[len(start) :].split("/", 1)[0] for key in keys if key.startswith(start)):
            yield name


def make_store(levels: Sequence[Images], axes: Sequence[str] | None, slices: Mapping[str, Any], channels: ChannelNames) -> DatasetStore:
    """Make the store of a dataset.

    Parameters
    ----------
    levels : sequence of Store
        Full resolution first.
    axes, slices
        As of `plan_grid`.
    channels : callable
        Gives the channels' names.

    Raises
    ------
    MissingImageError, ValueError
        As of `plan_grid`; or the images differ in size.
    """
    full = levels[0]
    values, grid = plan_grid(full.index, axes, slices, channels)
    tiled = all(full.index.types.get(name) is int and name in values for name in ("row", "column"))
    tiled = tiled and "GridPixelOverlapX" in full.summary  # else rows and columns may be anything
    others = [name for name in values if name not in _OURS and not (tiled and name in ("row", "column"))]
    used = [levels[0], *(levels[1:] if tiled else ())]
    lengths = {name: values[name] for name in (*others, *_OURS) if name in values}
    made: list[Level] = []
    for i, store in enumerate(used):
        try:
            overlap = overlap_at(used, i) if tiled else (0, 0)
        except ValueError:
            break  # its tiles cannot be joined
        try:
            names = [*lengths, *(("row", "column") if tiled else ())]
            if i:
                places, rows = plan_grid(store.index, names, slices, channels)
            else:  # as it is laid out already, but for the order
                places, rows = {name: values[name] for name in names}, grid.transpose([*map(list(values).index, names)])
            made.append(_level(store, lengths, places, rows, overlap, made[0] if made else None, 2**i))
        except MissingImageError:
            break  # a level that has nothing of this yet, and so have those above
    return _Describer(full, made, lengths, others, values, grid, channels).store()


def _level(
    store: Images,
    lengths: Mapping[str, list[Any]],
    values: Mapping[str, list[Any]],
    grid: np.ndarray,
    overlap: tuple[int, int],
    full: Level | None,
    scale: int,
) -> Level:
    """Lay a level's images out on the values of full resolution, tiles from the first row and column on; show what that shows."""
    first = (0, 0)
    tiled = len(values) > len(lengths)  # rows and columns are no axes of their own then
    targets: list[list[int]] = []
    shape: list[int] = []
    for name in values:
        if name in ("row", "column") and name not in lengths:
            low = values[name][0]
            targets.append([value - low for value in values[name]])
            shape.append(values[name][-1] - low + 1)
            first = (low, first[1]) if name == "row" else (first[0], low)
        else:
            at = {value: i for i, value in enumerate(lengths[name])}
            known = [i for i, value in enumerate(values[name]) if value in at]  # a level may have grown since
            if len(known) < grid.shape[len(targets)]:
                grid = np.take(grid, known, axis=len(targets))
            targets.append([at[values[name][i]] for i in known])
            shape.append(len(at))
    if math.prod(shape) > MOST_PLACES:
        raise ValueError(f"the tiles lie too far apart to be one image: {shape[-2]} rows and {shape[-1]} columns")
    rows = grid
    if any(target != [*range(length)] for target, length in zip(targets, shape, strict=True)):  # there are gaps
        rows = np.full(shape, -1, grid.dtype)
        rows[np.ix_(*targets)] = grid
    others = [name for name in lengths if name not in _OURS]
    wide = [len(lengths[name]) for name in others] + [len(lengths.get(name, [0])) for name in _OURS] + (shape[-2:] if tiled else [1, 1])
    rows = rows.reshape(wide)
    source = TileSource(*reader_of(store, rows), overlap)
    begin = (first[0] * source.tile[0], first[1] * source.tile[1])
    if full is None:
        crop, size = (0, 0), (wide[-2] * source.tile[0], wide[-1] * source.tile[1])
    else:
        (top, height), (left, width) = (shown(full.begin[k], full.size[k], begin[k], scale) for k in (0, 1))
        crop, size = (top, left), (height, width)
    there = rows >= 0
    for k, axis in enumerate((-2, -1)):  # a chunk that is cropped has parts of two tiles
        begins = np.arange(0, size[k], source.tile[k])
        ends = np.minimum(begins + source.tile[k], size[k])
        last = there.shape[axis] - 1
        one, other = ((at // source.tile[k]).clip(max=last) for at in (begins + crop[k], ends + crop[k] - 1))
        if not (np.array_equal(one, other) and np.array_equal(one, np.arange(last + 1))):
            there = there.take(one, axis) | there.take(other, axis)
    return Level(source, begin, crop, size, there)


class _Describer:
    """Writes the JSON of a store."""

    def __init__(
        self,
        store: Images,
        levels: list[Level],
        lengths: Mapping[str, list[Any]],
        others: list[str],
        values: Mapping[str, list[Any]],
        grid: np.ndarray,
        channels: ChannelNames,
    ) -> None:
        self._store, self._levels, self._lengths, self._others = store, levels, lengths, others
        self._values, self._grid, self._channels = values, grid, channels
        self._rgb = levels[0].source.ndim > levels[0].there.ndim
        names = [short for name, short in _OURS.items() if name in lengths or (short == "c" and self._rgb)]
        self._dimensions = (*names, "y", "x")

    def store(self) -> DatasetStore:
        """Make all of it."""
        documents: dict[str, bytes] = {}
        arrays: dict[str, tuple[Level, tuple[int, ...], tuple[str, ...]]] = {}
        own = {"summary": self._store.summary, "axis_values": dict(self._values)}
        filled = self._levels[0].there.any(axis=(-5, -4, -3, -2, -1))
        places = [tuple(place) for place in np.argwhere(filled).tolist()]  # those of the grid that have images
        root: dict[str, Any] = {"aiomm": own}
        several = bool(self._others)
        if several:
            root["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
            series = {"ome": {"version": "0.5", "series": [str(i) for i in range(len(places))]}}
            documents[f"OME/{FILE}"] = _json(group(series))
        scales = self._scales()
        moved = bool(calibration.origins(self._store, int(self._grid[self._grid >= 0][0])))  # one that says so is not alone
        for number, place in enumerate(places):
            prefix = f"{number}/" if several else ""
            what = {name: self._lengths[name][i] for name, i in zip(self._others, place, strict=True)}
            name = " ".join(f"{key} {value}" for key, value in what.items()) or (self._store.path.name if self._store.path else "image")
            image = {"ome": self._multiscales(name, scales, self._begins(place, scales) if moved else {})}
            if several:
                documents[f"{prefix}{FILE}"] = _json(group({**image, "aiomm": {"axes": what}}))
            else:
                root.update(image)
            for i, level in enumerate(self._levels):
                documents[f"{prefix}{i}/{FILE}"] = _json(self._array(level))
                arrays[f"{prefix}{i}"] = (level, place, self._dimensions)
        documents[FILE] = _json(group(root))
        return DatasetStore(documents, arrays)

    def _scales(self) -> dict[str, float | None]:
        sizes: dict[str, float | None] = {}
        first = int(self._grid[self._grid >= 0][0])
        sizes.update(calibration.pixel_at(self._store, 0, first))
        names = list(self._values)
        for name, short in (("time", "t"), ("z", "z")):
            if name in names:
                sizes[short] = calibration.step(self._store, name, self._values[name], self._grid, names.index(name))
        return sizes

    def _begins(self, place: tuple[int, ...], scales: Mapping[str, float | None]) -> dict[str, float]:
        """Where the images of a place begin, in the units of ``scales``."""
        names = list(self._values)
        rows = np.moveaxis(self._grid, [names.index(name) for name in self._others], range(len(self._others)))[place]
        begins = {_OURS.get(name, name): at for name, at in calibration.origins(self._store, int(rows[rows >= 0][0])).items()}
        for name, short in _OURS.items():  # the first ones may be missing
            if short in begins and isinstance(first := self._lengths.get(name, [0])[0], int):
                down = (calibration.told(self._store, name) or 0.0) < 0 if short == "z" else False
                begins[short] += first * (scales.get(short) or 0.0) * (-1 if down else 1)
        return begins

    def _multiscales(self, name: str, scales: Mapping[str, float | None], begins: Mapping[str, float]) -> dict[str, Any]:
        axes = []
        for short in self._dimensions:
            axis = {"name": short, "type": _TYPES[short]}
            if scales.get(short) is not None:
                axis["unit"] = "second" if short == "t" else "micrometer"
            axes.append(axis)
        datasets = []
        for i, level in enumerate(self._levels):
            factor = 2.0**i
            scale = [(scales.get(short) or 1.0) * (factor if short in "yx" else 1.0) for short in self._dimensions]
            moves: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
            origin = {short: at for short, at in begins.items() if scales.get(short) is not None and short in self._dimensions}
            if i:  # its pixels are means of several
                for k, short in enumerate("yx"):
                    shift = (level.begin[k] + level.crop[k]) * factor - self._levels[0].begin[k] + (factor - 1) / 2
                    origin[short] = origin.get(short, 0.0) + shift * (scales.get(short) or 1.0)
            if origin:
                moves.append({"type": "translation", "translation": [origin.get(short, 0.0) for short in self._dimensions]})
            datasets.append({"path": str(i), "coordinateTransformations": moves})
        ome: dict[str, Any] = {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
        if "c" in self._dimensions:
            ome["omero"] = {"channels": self._omero()}
        return ome

    def _omero(self) -> list[dict[str, Any]]:
        values = self._lengths.get("channel", [""])
        known = self._channels() if "channel" in self._lengths else []
        labels = [str(value) for value in values]
        if values and isinstance(values[0], int) and len(known) == len(values):
            labels = known
        colours: tuple[str, ...] = (
            ("FF0000", "00FF00", "0000FF") if self._rgb else ("00FF00", "FF0000", "0000FF", "FF00FF", "00FFFF", "FFFF00")
        )
        if self._rgb:
            labels = [f"{label} {colour}".strip() for label in labels for colour in ("red", "green", "blue")]
        elif len(labels) == 1:
            colours = ("FFFFFF",)
        top = 2 ** self._store.bit_depth_of(int(self._grid[self._grid >= 0][0])) - 1
        window = {"min": 0, "max": top, "start": 0, "end": top}
        return [{"label": label, "color": colours[i % len(colours)], "active": True, "window": window} for i, label in enumerate(labels)]

    def _array(self, level: Level) -> dict[str, Any]:
        t, c, z = level.there.shape[-5:-2]
        colours = 3 if self._rgb else 1
        lengths = {"t": t, "c": c * colours, "z": z, "y": level.size[0], "x": level.size[1]}
        chunk = {"t": 1, "c": colours, "z": 1, "y": level.tile[0], "x": level.tile[1]}
        codecs: list[dict[str, Any]] = []
        if self._rgb:  # the bytes of a pixel stay together
            at = self._dimensions.index("c")
            codecs.append({"name": "transpose", "configuration": {"order": [*(i for i in range(len(self._dimensions)) if i != at), at]}})
        kind = str(level.source.dtype)
        codecs.append({"name": "bytes"} if kind == "uint8" else {"name": "bytes", "configuration": {"endian": "little"}})
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [lengths[name] for name in self._dimensions],
            "data_type": kind,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk[name] for name in self._dimensions]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": [0, 0] if level.source.dtype.kind == "c" else 0,
            "codecs": codecs,
            "dimension_names": list(self._dimensions),
            "attributes": {},
        }


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()
