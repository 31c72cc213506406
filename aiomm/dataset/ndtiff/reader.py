"""Open an NDTiff folder: find its kind, read its header and its index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff import v1
from aiomm.dataset.ndtiff.files import is_there, open_input, tiffs_in
from aiomm.dataset.ndtiff.records import read_index
from aiomm.dataset.ndtiff.store import FolderStore
from aiomm.dataset.ndtiff.table import Table
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

LEVEL_PREFIX = "Downsampled_x"


def has_stacks(folder: Path) -> bool:
    """Whether there are TIFF files that should have an index beside them: NDTiff of version 2 or 3."""
    return any(entry.is_file() and not v1.is_v1(entry) for entry in folder.glob("*NDTiffStack*.tif"))


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


def has_levels_above(path: Path, level: int) -> bool:
    """Whether there is a resolution level above this one."""
    reductions = [entry.name.removeprefix(LEVEL_PREFIX) for entry in path.glob(f"{LEVEL_PREFIX}*") if (entry / ndtiff.INDEX_NAME).is_file()]
    return any(reduced.isdecimal() and int(reduced) > 2**level for reduced in reductions)


def open_folder(folder: Path) -> FolderStore:
    """Open the folder that holds an index and TIFF files; none of these before Java's first image, and if there never was one.

    Raises
    ------
    DatasetFormatError
        It cannot be read; the message names the file and the place.
    """
    index_path = folder / ndtiff.INDEX_NAME
    try:
        data = index_path.read_bytes()
    except FileNotFoundError:
        tiffs = sorted((entry.name for entry in folder.iterdir() if entry.suffix == ".tif"), key=lambda name: (len(name), name))
        if tiffs and v1.is_v1(folder / tiffs[0]):
            return v1.open_folder(folder, tiffs, folder.parent if folder.name == ndtiff.FULL_RESOLUTION else folder)
        raise DatasetFormatError(f"{folder}: there is no {ndtiff.INDEX_NAME}; not an NDTiff dataset of version 2 or 3") from None
    except OSError as error:
        raise DatasetFormatError(f"{index_path}: it cannot be read: {error.strerror}") from error
    index, names, table = read_index(data, str(index_path))
    files = [_name_on_disk(folder, name) for name in names]
    tiffs = files or tiffs_in(folder)
    if not tiffs and data.strip(b"\0"):
        raise DatasetFormatError(f"{folder}: there is no TIFF file beside the index")
    there = next((name for name in tiffs if is_there(folder / name)), tiffs[0] if tiffs else "")  # each of them says the same
    summary, version = read_summary(folder / there) if there else ({}, None)
    return FolderStore(folder, summary, index, Table(table), files, version)


def _name_on_disk(folder: Path, name: str) -> str:
    """Name of a file as the disk has it: older writers put it into the index in the encoding of their machine."""
    if name.isascii() or name in (entry.name for entry in folder.iterdir()):
        return name
    other = ndtiff.decode_text(name.encode("utf-8", "surrogateescape"))
    return other if "/" not in other else name


def read_summary(path: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    """Read a TIFF file's summary metadata and format version.

    Raises
    ------
    DatasetFormatError
        The file is not there, or not one of a dataset.
    """
    file = open_input(path)
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
