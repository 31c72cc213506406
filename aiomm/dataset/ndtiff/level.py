"""One resolution level being written: tiles that grow in memory, and are overwritten in place in the file."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.encode import encode_json
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.files import InputFile
from aiomm.dataset.ndtiff.output import OutputFile, OutputIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aiomm.dataset.storage import Axes

CACHE_BYTES: Final = 32 * 2**20
"""So many bytes of tiles stay in memory, at each level; one tile always does."""

RENAMES: Final = os.name == "posix"

Key = frozenset[tuple[str, int | str]]


def unshown(folder: Path) -> Path:
    """Name of a level's folder before its first tile."""
    return folder.with_name(f".{folder.name}.new")


@dataclass(slots=True)
class Place:
    """Where a tile is in the files."""

    axes: Axes
    source: int  # the row of full resolution that its metadata is from
    file: int
    offset: int


class Level:
    """The tiles of one resolution level. One thread uses it.

    Parameters
    ----------
    folder : Path
        Made new. Where folders with open files can be renamed, it has its name from its first tile on: others than aiomm cannot
        open a level that has none.
    prefix : str
        What the TIFF files' names begin with.
    header : bytes
        What each file begins with.
    shape, dtype, kind
        Of every tile, as numpy and as the index's pixel type.
    per_cm : tuple of int
        Pixels per centimetre, as a fraction.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        header: bytes,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        kind: int,
        per_cm: tuple[int, int],
        file_limit: int = ndtiff.FILE_LIMIT,
    ) -> None:
        self._shown = folder
        self.folder = unshown(folder) if RENAMES else folder
        self.folder.mkdir()
        self._prefix, self._header, self._limit = prefix, header, file_limit
        self._shape, self._dtype, self._kind, self._per_cm = shape, dtype, kind, per_cm
        self._bytes = int(np.prod(shape)) * dtype.itemsize
        self._kept = max(1, CACHE_BYTES // self._bytes)
        self._places: dict[Key, Place] = {}
        self._tiles: OrderedDict[Key, np.ndarray] = OrderedDict()
        self._dirty: set[Key] = set()
        self._files: list[OutputFile] = []
        self._inputs: list[InputFile] = []
        self._next_file()
        try:
            self._index = OutputIndex(self.folder / ndtiff.INDEX_NAME)  # last: a folder without it is no level yet
        except BaseException:
            self._files[0].finish(sync=False)
            raise

    def tile(self, axes: Axes, source: int, metadata: Callable[[int], dict[str, Any]]) -> np.ndarray:
        """Get a tile to write into. One that is new is dark, and gets the metadata of the row ``source``."""
        key = frozenset(axes.items())
        tile = self._tiles.get(key)
        if tile is None:
            place = self._places.get(key)
            if place is None:
                self._add(key, axes, source, metadata(source))
                tile = np.zeros(self._shape, self._dtype)
            else:
                tile = self._read(place)
            self._tiles[key] = tile
            while len(self._tiles) > self._kept:
                self._put_back(*self._tiles.popitem(last=False))
        else:
            self._tiles.move_to_end(key)
        self._dirty.add(key)
        return tile

    def tiles(self) -> Iterator[tuple[Axes, np.ndarray, int]]:
        """Go through the tiles there are, in the order made, with the row that each has its metadata from."""
        for key, place in list(self._places.items()):
            tile = self._tiles.get(key)
            yield place.axes, self._read(place) if tile is None else tile, place.source

    def flush(self) -> None:
        """Write what has changed, so that readers see it."""
        for key in list(self._dirty):
            self._put_back(key, self._tiles[key])

    def close(self, *, sync: bool) -> None:
        """End the files, all of them whatever happens. Once."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._index.finish, sync=sync)
            for file in self._files:
                stack.callback(file.finish, sync=sync)
        self._files, self._inputs = [], []

    def _read(self, place: Place) -> np.ndarray:
        tile = np.empty(self._shape, self._dtype)
        self._inputs[place.file].read_into(tile, place.offset)
        return tile

    def _put_back(self, key: Key, tile: np.ndarray) -> None:
        if key in self._dirty:
            place = self._places[key]
            self._write(self._files[place.file], tile.reshape(-1).view(np.uint8).data, place.offset)
            self._dirty.discard(key)

    def _add(self, key: Key, axes: Axes, source: int, metadata: dict[str, Any]) -> None:
        """Write a new tile, dark, and its index record: its place and its metadata stay."""
        text = encode_json(metadata)
        record = ndtiff.RGB_RECORD if self._kind == ndtiff.RGB else ndtiff.GRAY_RECORD
        slot = ndtiff.lay_out(record, len(text), self._bytes, 2)
        if self._files[-1].end + slot.end > self._limit and self._files[-1].end > len(self._header):
            self._next_file()
        file = self._files[-1]
        start = file.end
        data = bytearray(slot.end)
        ndtiff.pack_ifd_into(
            memoryview(data), 0, start=start, slot=slot, shape=self._shape, itemsize=self._dtype.itemsize,
            metadata=len(text), per_cm=self._per_cm,
        )  # fmt: skip
        data[slot.metadata : slot.metadata + len(text)] = text
        self._write(file, memoryview(data), start)
        head = ndtiff.pack_index_head(axes, file.name.encode())
        height, width = self._shape[:2]
        where = ndtiff.LOCATION.pack(start + slot.pixels, width, height, self._kind, 0, start + slot.metadata, len(text), 0)
        _, error = self._index.append([head + where], sync=False)
        if error is not None:
            raise error
        file.ends_with(start, start + slot.end)
        if self.folder != self._shown:
            self.folder.rename(self._shown)
            self.folder = self._shown
        self._places[key] = Place(axes, source, len(self._files) - 1, start + slot.pixels)

    def _write(self, file: OutputFile, data: memoryview, offset: int) -> None:
        _, error = file.write(data, offset, direct=False)
        if error is not None:
            raise error

    def _next_file(self) -> None:
        number = f"_{len(self._files)}" if self._files else ""
        path = self.folder / f"{self._prefix}_NDTiffStack{number}.tif"
        self._files.append(OutputFile(path, self._header, direct=False))
        self._inputs.append(InputFile(path))
