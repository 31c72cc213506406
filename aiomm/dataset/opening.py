"""Open the dataset in a folder, of whatever kind it is."""

from __future__ import annotations

import contextlib
import logging
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

_log = logging.getLogger("aiomm")


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
            full = reader.open_folder(reader.level_folder(path, 0))
            return [full, *(() if full_res_only else _reduced(path))]
        if kind is Kind.OME_ZARR:
            store = omezarr.open_log(path)
            return [store, *(() if full_res_only else foreign.open_levels(store))]
        return [*foreign.open_foreign(path, full_res_only)]


def _reduced(path: Path) -> Iterator[Store]:
    """Open the reduced levels of NDTiff, up to one that cannot be: full resolution is whole without."""
    count = reader.levels_of(path)
    for level in range(1, count):
        try:
            yield reader.open_folder(reader.level_folder(path, level))
        except DatasetFormatError as error:
            _log.warning("%s: opened without resolution level %d and those above, which cannot be read: %s", path, level, error)
            return
    if reader.has_levels_above(path, count):
        folder = reader.level_folder(path, count).name
        _log.warning("%s: opened without resolution level %d, whose folder %s is not there, and those above", path, count, folder)


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
