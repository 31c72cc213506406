"""What a path is: a dataset, one whose index was lost, a folder of datasets, or nothing of these."""

from __future__ import annotations

import os
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiomm.dataset.damage import repair_command
from aiomm.dataset.ndtiff import reader
from aiomm.dataset.ndtiff.format import FULL_RESOLUTION, INDEX_NAME
from aiomm.dataset.omezarr import foreign
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr import store as omezarr
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_NAMED: Final = 12


def given_path(name: str, value: object) -> Path:
    """Make a path of what was given as one.

    Raises
    ------
    TypeError, ValueError
        It is none, or says nothing; the message has its name.
    """
    if not isinstance(value, (str, os.PathLike)) or isinstance(path := os.fspath(value), bytes):
        raise TypeError(f"{name} is {value!r}: it must be a path, as a string or a pathlib.Path is")
    if not path:
        raise ValueError(f"{name} is empty: it must be the path of a dataset; '.' is the folder you are in")
    return Path(path).absolute()


class Kind(Enum):
    """What a folder is; whatever comes first, if it is several of them."""

    NDTIFF = auto()
    OME_ZARR = auto()
    """Of aiomm, with its log."""
    OME_ZARR_LOST = auto()
    """Of aiomm; its log, or the metadata of its root, is not there."""
    FOREIGN = auto()
    """OME-Zarr of others."""
    NDTIFF_LOST = auto()
    """TIFF files of NDTiff without their index."""
    LEVELS = auto()
    """Reduced levels of NDTiff without full resolution."""
    ZARR = auto()
    """Zarr that does not say it is OME-Zarr."""
    SEVERAL = auto()
    """It holds datasets."""
    NOTHING = auto()


_NONE: Final = (Kind.ZARR, Kind.NOTHING)


def kind_of(path: Path) -> Kind:
    """Find out what a path is.

    Raises
    ------
    DatasetFormatError
        It is a file, or not there.
    OSError
        It cannot be looked into.
    """
    if not path.is_dir():
        raise DatasetFormatError(f"{path}: " + ("this is a file; a dataset is a folder" if path.exists() else "there is no such folder"))
    kind = _by_itself(path)
    return Kind.SEVERAL if kind in _NONE and any(_inside(path)) else kind


def require_dataset(path: Path) -> Kind:
    """Find out what kind of dataset a folder is that can be opened.

    Raises
    ------
    DatasetFormatError
        It is none; the message says what it is, and what helps.
    OSError
        It cannot be looked into.
    """
    kind = kind_of(path)
    if kind is Kind.OME_ZARR_LOST and foreign.is_ome_zarr(path):
        return Kind.FOREIGN  # without its log it is as the datasets of others are
    if kind not in (Kind.NDTIFF, Kind.OME_ZARR, Kind.FOREIGN):
        raise no_dataset(path, kind)
    return kind


def no_dataset(path: Path, kind: Kind) -> DatasetFormatError:
    """Make the error for a folder that is no dataset that can be opened."""
    if kind is Kind.SEVERAL:
        inside = sorted(_inside(path))
        more = ", ..." if len(inside) > _MOST_NAMED else ""
        return DatasetFormatError(f"{path} is not a dataset; it holds {', '.join(inside[:_MOST_NAMED])}{more}")
    if kind is Kind.NDTIFF_LOST:
        where = path if not (path / FULL_RESOLUTION).is_dir() else path / FULL_RESOLUTION
        return DatasetFormatError(f"{where}: {INDEX_NAME} is not there, the TIFF files are: {repair_command(path)} makes it again")
    if kind is Kind.OME_ZARR_LOST:
        return DatasetFormatError(f"{path}: {ome.FILE} is not there, the log of the images is: {repair_command(path)} makes it again")
    if kind is Kind.LEVELS:
        return DatasetFormatError(
            f"{path}: its folder {FULL_RESOLUTION!r} is not there, only its reduced levels are; the images cannot be made from them"
        )
    return DatasetFormatError(
        f"{path}: no {INDEX_NAME} in this folder, so it is not an NDTiff dataset of version 2 or 3, and no OME-Zarr metadata either"
    )


def _by_itself(path: Path) -> Kind:
    """Find out what a folder is without a look into those in it that may be datasets."""
    full = path / FULL_RESOLUTION
    tiled = full.is_dir()
    if (path / INDEX_NAME).is_file() or (tiled and ((full / INDEX_NAME).is_file() or not reader.has_stacks(full))):
        return Kind.NDTIFF  # Java makes the folder before the first image
    if tiled:
        return Kind.NDTIFF_LOST
    if omezarr.has_log(path):
        return Kind.OME_ZARR
    if omezarr.is_ours(path):
        return Kind.OME_ZARR_LOST
    if foreign.is_ome_zarr(path):
        return Kind.FOREIGN
    if reader.has_stacks(path):
        return Kind.NDTIFF_LOST
    if any(entry.is_dir() for entry in path.glob(f"{reader.LEVEL_PREFIX}*")):
        return Kind.LEVELS
    return Kind.ZARR if (path / ome.FILE).is_file() or (path / ".zgroup").is_file() else Kind.NOTHING


def _inside(path: Path) -> Iterator[str]:
    """Names of the datasets in a folder; what cannot be looked into is passed over."""
    for entry in path.iterdir():
        try:
            found = entry.is_dir() and _by_itself(entry) not in (Kind.LEVELS, *_NONE)
        except OSError:
            continue
        if found:
            yield entry.name
