"""Open the dataset in a folder, of whatever kind it is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiomm.dataset.kinds import Kind, kind_of, require_dataset
from aiomm.dataset.ndtiff import reader
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
        kind = require_dataset(path)
        if kind is Kind.NDTIFF:
            return [reader.open_folder(reader.level_folder(path, level)) for level in range(1 if full_res_only else reader.levels_of(path))]
        if kind is Kind.OME_ZARR:
            store = omezarr.open_log(path)
            return [store, *(() if full_res_only else foreign.open_levels(store))]
        return [*foreign.open_foreign(path, full_res_only)]


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
        kind = kind_of(path)
        if kind is Kind.OME_ZARR:
            return LogTail(path)
        if kind is Kind.FOREIGN or (kind is Kind.OME_ZARR_LOST and foreign.is_ome_zarr(path)):
            raise UnsupportedError(f"{path} is OME-Zarr that aiomm did not write: it cannot be followed; open it again to see more")
        return IndexTail(path)
