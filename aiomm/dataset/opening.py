"""Find out what kind of dataset a folder is, and open it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aiomm.dataset.ndtiff import reader
from aiomm.dataset.ndtiff.format import INDEX_NAME
from aiomm.dataset.ndtiff.tail import IndexTail
from aiomm.dataset.omezarr import foreign
from aiomm.dataset.omezarr import store as omezarr
from aiomm.dataset.omezarr.tail import LogTail
from aiomm.errors import DatasetFormatError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiomm.dataset.polling import Tail
    from aiomm.dataset.storage import Store

_MOST_NAMED: Final = 12


def is_dataset(path: Path) -> bool:
    """Whether a folder looks like a dataset that can be opened."""
    return reader.is_ndtiff(path) or omezarr.has_log(path) or foreign.is_ome_zarr(path)


def require_folder(path: Path) -> None:
    """Refuse what is no folder.

    Raises
    ------
    DatasetFormatError
        It is a file, or not there.
    """
    if not path.is_dir():
        raise DatasetFormatError(f"{path}: " + ("this is a file; a dataset is a folder" if path.exists() else "there is no such folder"))


def refuse_folder_of_datasets(path: Path) -> None:
    """Refuse a folder that is no dataset, if it holds some.

    Raises
    ------
    DatasetFormatError
        It names them.
    """
    if inside := sorted(entry.name for entry in path.iterdir() if entry.is_dir() and is_dataset(entry)):
        more = ", ..." if len(inside) > _MOST_NAMED else ""
        raise DatasetFormatError(f"{path} is not a dataset; it holds {', '.join(inside[:_MOST_NAMED])}{more}")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say what cannot be read where the system refuses it: a name that is too long, a folder that others may not see.

    Raises
    ------
    DatasetFormatError
        Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise DatasetFormatError(f"{error.filename or path}: it cannot be read: {error.strerror or error}") from error


def open_stores(path: Path, full_res_only: bool) -> list[Store]:
    """Open the dataset in a folder: its resolution levels, full resolution first.

    Raises
    ------
    DatasetFormatError
        It is not a dataset that can be read; the message names the file and the place.
    """
    with reading(path):
        require_folder(path)
        if reader.is_ndtiff(path):
            return [reader.open_folder(reader.level_folder(path, level)) for level in range(1 if full_res_only else reader.levels_of(path))]
        if omezarr.has_log(path):
            store = omezarr.open_log(path)
            return [store, *(() if full_res_only else foreign.open_levels(store))]
        if foreign.is_ome_zarr(path):
            return [*foreign.open_foreign(path, full_res_only)]
        refuse_folder_of_datasets(path)
        if any(path.glob("*NDTiffStack*.tif")):
            raise DatasetFormatError(f"{path}: {INDEX_NAME} is not there, the TIFF files are: `aiomm repair --apply` makes it again")
        raise DatasetFormatError(
            f"{path}: no {INDEX_NAME} in this folder, so it is not an NDTiff dataset of version 2 or 3, and no OME-Zarr metadata either"
        )


def open_tail(path: Path) -> Tail:
    """Open a dataset in order to follow it, full resolution only.

    Raises
    ------
    DatasetFormatError
        It is not a dataset, or not yet; the message says what is missing.
    UnsupportedError
        It is one that cannot be followed.
    """
    with reading(path):
        require_folder(path)
        if reader.is_ndtiff(path):
            return IndexTail(path)
        if omezarr.has_log(path):
            return LogTail(path)
        if foreign.is_ome_zarr(path):
            raise UnsupportedError(f"{path} is OME-Zarr that aiomm did not write: it cannot be followed; open it again to see more")
        return IndexTail(path)
