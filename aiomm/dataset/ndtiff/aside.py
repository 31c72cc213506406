"""Records of images that are in the TIFF files and not in the index, since nobody can say which axes are theirs, or they are not whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.reader import level_folder
from aiomm.dataset.ndtiff.salvage import records_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aiomm.dataset.ndtiff.salvage import Record


class Aside(NamedTuple):
    """How many images of a dataset are kept aside."""

    unlabelled: int
    """They came after a lost frame: their metadata have the axes of others."""
    torn: int
    """Only a part of them was written."""


def aside_of(path: Path) -> Aside:
    """Count the images that a dataset keeps aside; none where there is no such record.

    Raises
    ------
    OSError
        The records cannot be read.
    """
    folder = level_folder(path, 0)
    records = records_aside(folder, (file.name for file in folder.glob("*.tif")))
    torn = sum(not _whole(folder, record) for record in records)
    return Aside(len(records) - torn, torn)


def records_aside(folder: Path, names: Iterable[str]) -> list[Record]:
    """Read the records that are kept aside in a folder with TIFF files of these names."""
    try:
        return records_in((folder / ndtiff.UNLABELLED_NAME).read_bytes(), names)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _whole(folder: Path, record: Record) -> bool:
    """Whether an image was written to its end: metadata come last."""
    try:
        with (folder / record.file).open("rb") as file:
            if record.end > os.fstat(file.fileno()).st_size:
                return False
            file.seek(record.metadata)
            return isinstance(ndtiff.load_json(file.read(record.length)), dict)
    except (OSError, ValueError, RecursionError):
        return False
