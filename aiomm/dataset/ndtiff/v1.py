"""Read NDTiff 0 and 1, which kept an index map in each file; best effort, for no published dataset was at hand to test with.

Images had four axes then: channel, z, time, position. Whatever other axes an acquisition had was folded, with the channel,
into one number; a file ``Axes_metedata`` (so spelt) says which number meant what. Tiles were positions; their row and column
stand in the images' metadata.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.files import open_input
from aiomm.dataset.ndtiff.store import FolderStore, decode_metadata
from aiomm.dataset.ndtiff.table import Table
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.ndtiff.files import InputFile

AXES_FILE = "Axes_metedata"
_INDEX_MAP_OFFSET, _INDEX_MAP, _SUMMARY = 54773648, 3453623, ndtiff.SUMMARY_MAGIC
_HEADER = struct.Struct("<2sH9I")
_INT = struct.Struct("<i")
_AXIS = re.compile(r"([^_]+)_(-?\d+)")


def is_v1(path: Path) -> bool:
    """Whether a TIFF file begins as one of these versions does."""
    try:
        with path.open("rb") as file:
            data = file.read(12)
    except OSError:
        return False
    return data[:4] == b"II*\0" and data[8:] == struct.pack("<I", _INDEX_MAP_OFFSET)


def open_folder(folder: Path, tiffs: list[str], extra: Path) -> FolderStore:
    """Open a folder of these files; ``extra`` is the folder that may hold what super-channels mean.

    Raises
    ------
    DatasetFormatError
        A file cannot be read; the message names it and the place.
    """
    rows: list[tuple[int, ...]] = []
    keys: list[tuple[int, int, int, int]] = []
    summary: dict[str, Any] = {}
    version = 1
    for number, name in enumerate(tiffs):
        path = folder / name
        file = open_input(path)
        try:
            version, text, entries = _read_map(file)
            if not number:
                summary = decode_metadata(text, str(path))
            for *key, offset in entries:
                if offset:  # else the map has no more
                    keys.append((key[0], key[1], key[2], key[3]))
                    rows.append((number, *_place(file, offset & 0xFFFFFFFF)))
        except (struct.error, ValueError) as error:
            raise DatasetFormatError(f"{path}: NDTiff version {version}: {error}") from None
    table = Table(np.array(rows, np.uint32).reshape(-1, 7))
    index = Index.from_axes([{"channel": c, "z": z, "time": t, "position": p} for c, z, t, p in keys])
    store = FolderStore(folder, summary, index, table, tiffs, (version, 0))
    named = _named_axes(extra / AXES_FILE)
    tiles = _tiles(store, keys) if "GridPixelOverlapX" in summary else {}
    axes: list[dict[str, Any]] = []
    for channel, z, time, position in keys:
        axes.append({**named.get(channel, {"channel": channel}), "z": z, "time": time, **tiles.get(position, {"position": position})})
    try:
        store.index = Index.from_axes(axes)
    except TypeError as error:
        raise DatasetFormatError(f"{folder}: {error}") from None
    return store


def _read_map(file: InputFile) -> tuple[int, bytes, list[tuple[int, ...]]]:
    """Version, summary metadata, and entries: channel, z, time, position, offset of the IFD."""
    data = file.read(0, 40)
    _, _, _, _, at, _, _, magic, version, begin, length = _HEADER.unpack(data)
    start = 40
    if magic != ndtiff.MAGIC:  # version 0 has neither this number nor a version
        version, start = 0, 32
        begin, length = struct.unpack_from("<2I", data, 24)
    if begin != _SUMMARY:
        raise ValueError("its summary metadata is not where it should be")
    text = file.read(start, length)
    for place in (start + length, at):
        head = file.read(place, 8)
        if len(head) == 8:
            sign, count = struct.unpack("<2I", head)
            if sign == _INDEX_MAP:
                entries = file.read(place + 8, 20 * count)
                return version, text, list(struct.iter_unpack("<5i", entries[: len(entries) // 20 * 20]))
    raise ValueError("its index map is not where it should be")


def _place(file: InputFile, offset: int) -> tuple[int, int, int, int, int, int]:
    """Pixel offset, width, height, pixel type, metadata offset and length, from an IFD."""
    data = file.read(offset, 2 + 12 * 20)
    count = struct.unpack_from("<H", data)[0]
    tags = (
        {tag: (length, value) for tag, _, length, value in struct.iter_unpack("<HHII", data[2 : 2 + 12 * min(count, 20)])}
        if count < 20
        else {}
    )
    if not tags.keys() >= {256, 257, 258, 273, 277, 51123}:
        raise ValueError(f"there is no image at byte {offset}")
    samples, bits = tags[277][1] & 0xFFFF, tags[258][1] & 0xFFFF
    kind = ndtiff.RGB if samples == 3 else ndtiff.GRAY8 if bits == 8 else ndtiff.GRAY16
    return tags[273][1], tags[256][1], tags[257][1], kind, tags[51123][1], tags[51123][0]


def _named_axes(path: Path) -> dict[int, dict[str, Any]]:
    """Axes that each number of a channel stands for, as far as the file says; channels have their names."""
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    names: dict[int, str] = {}
    others: dict[int, dict[str, Any]] = {}
    at = 0
    try:
        while at < len(data):
            flag = _INT.unpack_from(data, at)[0]
            number, at = (_INT.unpack_from(data, at + 4)[0], at + 8) if flag == -1 else (flag, at + 4)
            length = _INT.unpack_from(data, at)[0]
            text = data[at + 4 : at + 4 + length].decode("latin-1")
            if length < 0 or len(text) < length:
                raise ValueError(f"{length} bytes of text at byte {at}")
            if flag == -1:
                names[number] = text
            else:
                others[number] = {name: int(value) for part in text.split("Axis_") if part for name, value in _AXIS.findall(part)}
            at += 4 + length
    except (struct.error, ValueError) as error:
        raise DatasetFormatError(f"{path}: it is damaged: {error}") from None
    made: dict[int, dict[str, Any]] = {number: {"channel": name} for number, name in names.items()}
    for number, axes in others.items():
        channel = axes.get("channel")
        made[number] = {**axes, **({"channel": names[channel]} if channel in names else {})}
    kinds = {type(axes["channel"]) for axes in made.values() if "channel" in axes}
    return made if len(kinds) < 2 else {}


def _tiles(store: FolderStore, keys: list[tuple[int, int, int, int]]) -> dict[int, dict[str, Any]]:
    """Row and column of each position, as its first image says; nothing if one does not."""
    tiles: dict[int, dict[str, Any]] = {}
    for row, (_, _, _, position) in enumerate(keys):
        if position not in tiles:
            metadata = store.metadata(row)
            place = metadata.get("GridRowIndex"), metadata.get("GridColumnIndex")
            if not all(type(value) is int for value in place):
                return {}
            tiles[position] = {"row": place[0], "column": place[1]}
    return tiles
