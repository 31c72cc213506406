"""Open an NDTiff folder: find its kind, read its header and its index."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.encode import AXIS_LIMIT
from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.files import InputFile
from aiomm.dataset.ndtiff.store import FolderStore
from aiomm.dataset.ndtiff.table import Table
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

LEVEL_PREFIX = "Downsampled_x"


def is_ndtiff(path: Path) -> bool:
    """Whether a folder looks like an NDTiff dataset."""
    return (path / ndtiff.INDEX_NAME).is_file() or (path / ndtiff.FULL_RESOLUTION).is_dir()


def level_folder(path: Path, level: int) -> Path:
    """Folder of a resolution level; 0 is full resolution."""
    full = path / ndtiff.FULL_RESOLUTION
    if level == 0:
        return full if full.is_dir() else path
    return path / f"{LEVEL_PREFIX}{2**level}"


def levels_of(path: Path) -> int:
    """How many resolution levels a dataset has, full resolution included."""
    count = 1
    while (level_folder(path, count) / ndtiff.INDEX_NAME).is_file():
        count += 1
    return count


def open_folder(folder: Path) -> FolderStore:
    """Open the folder that holds an index and TIFF files.

    Raises
    ------
    DatasetFormatError
        It cannot be read; the message names the file and the place.
    """
    index_path = folder / ndtiff.INDEX_NAME
    try:
        data = index_path.read_bytes()
    except FileNotFoundError:
        raise DatasetFormatError(f"{folder}: there is no {ndtiff.INDEX_NAME}; not an NDTiff dataset of version 2 or 3") from None
    axes, files, table = parse_index(data, str(index_path))
    tiffs = files or sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".tif"))
    if not tiffs:
        raise DatasetFormatError(f"{folder}: there is no TIFF file beside the index")
    summary, version = read_summary(folder / tiffs[0])
    try:
        index = Index.from_axes(axes)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetFormatError(f"{index_path}: {error}") from None
    return FolderStore(folder, summary, index, Table(table), files, version)


def read_summary(path: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    """Read a TIFF file's summary metadata and format version.

    Raises
    ------
    DatasetFormatError
        The file is not there, or not one of a dataset.
    """
    try:
        file = InputFile(path)
    except FileNotFoundError:
        raise DatasetFormatError(f"{path}: the index names this file, but it is not there") from None
    try:
        header = ndtiff.parse_header(file.read(0, 32))
        if header.summary_length > file.size():
            raise ValueError(f"it says that its summary metadata has {header.summary_length} bytes, more than the file")
        data = file.read(header.summary_offset, header.summary_length)
        summary = ndtiff.load_json(data)
        if not isinstance(summary, dict):
            raise ValueError("its summary metadata is not a JSON object")
    except (ValueError, RecursionError) as error:
        raise DatasetFormatError(f"{path}: {error}") from None
    return summary, (header.major, header.minor)


def parse_index(data: bytes, where: str) -> tuple[list[Any], list[str], np.ndarray]:
    """Parse an index: axes of each row, names of files, and the table of places.

    A record cut short at the end, as a killed writer leaves it, and zeros after the end, as Java leaves them, are passed over.

    Raises
    ------
    DatasetFormatError
        A record cannot be right; the message names the byte.
    """
    texts: list[bytes] = []
    numbers: list[int] = []
    tails: list[bytes] = []
    files: dict[bytes, int] = {}
    position, size = 0, len(data)
    unpack = struct.Struct("<I").unpack_from
    while position + 4 <= size:
        length = unpack(data, position)[0]
        begin = position + 4
        if length == 0:
            break
        end = begin + length
        if end + 4 > size:
            if data[begin : begin + 1] == b"{" or begin == size:
                break  # cut short
            raise DatasetFormatError(f"{where}: byte {position}: {length} is no length of axes; the index is damaged there")
        name_length = unpack(data, end)[0]
        after = end + 4 + name_length + ndtiff.LOCATION.size
        if data[begin] != 0x7B or data[end - 1] != 0x7D or not 0 < name_length < 4096:
            raise DatasetFormatError(f"{where}: byte {position}: no axes and file name; the index is damaged there")
        if after > size:
            break  # cut short
        texts.append(data[begin:end])
        name = data[end + 4 : end + 4 + name_length]
        numbers.append(files.setdefault(name, len(files)))
        tails.append(data[end + 4 + name_length : after])
        position = after
    table = np.zeros((len(texts), 7), dtype=np.uint32)
    if texts:
        places = np.frombuffer(b"".join(tails), dtype="<u4").reshape(-1, 8)
        _check_places(places, where)
        table[:, 0] = numbers
        table[:, 1:5] = places[:, :4]
        table[:, 5:7] = places[:, 5:7]
    return _parse_axes(texts, where), [_file_name(name, where) for name in files], table


def _check_places(places: np.ndarray, where: str) -> None:
    for name, wrong in (
        ("pixel type", places[:, 3] > 6),
        ("pixel compression", places[:, 4] != 0),
        ("metadata compression", places[:, 7] != 0),
        ("size", (places[:, 1] == 0) | (places[:, 2] == 0)),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            raise DatasetFormatError(f"{where}: record {row} has a {name} that the format does not know: {places[row].tolist()}")


def _file_name(name: bytes, where: str) -> str:
    text = name.decode("utf-8", "surrogateescape")
    if "/" in text or "\\" in text or "\0" in text or text in (".", ".."):
        raise DatasetFormatError(f"{where}: it names a file {text!r} outside its folder")
    return text


def _parse_axes(texts: list[bytes], where: str) -> list[Any]:
    try:
        rows: Any = json.loads(b"[" + b",".join(texts) + b"]") if texts else []
        well = len(rows) == len(texts)
    except (ValueError, RecursionError):
        well = False
    if not well:
        rows = [_parse_one(text, row, where) for row, text in enumerate(texts)]
    for row, axes in enumerate(rows):
        for name, value in axes.items():
            kind = type(value)
            if not (kind is str or (kind is int and -AXIS_LIMIT < value < AXIS_LIMIT)):
                raise DatasetFormatError(f"{where}: record {row}: axis {name!r} is {value!r:.60}, neither an integer nor a string")
    return rows  # type: ignore[no-any-return]


def _parse_one(text: bytes, row: int, where: str) -> Any:
    try:
        axes = ndtiff.load_json(text)
    except (ValueError, RecursionError) as error:
        raise DatasetFormatError(f"{where}: record {row}: the axes are not JSON: {error}") from None
    if not isinstance(axes, dict):
        raise DatasetFormatError(f"{where}: record {row}: the axes are not a JSON object")
    return axes
