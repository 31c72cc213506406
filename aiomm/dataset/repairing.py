"""Repair a dataset: find out what kind it is, and what of it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiomm.dataset.kinds import Kind, given_path, kind_of, no_dataset
from aiomm.dataset.ndtiff.repair import repair_ndtiff
from aiomm.dataset.omezarr.repair import repair_omezarr
from aiomm.dataset.opening import reading
from aiomm.errors import StorageError, UnsupportedError

if TYPE_CHECKING:
    import os

    from aiomm.dataset.damage import RepairReport


def repair(path: str | os.PathLike[str], dry_run: bool = True) -> RepairReport:
    """Find what is damaged in a dataset, and repair it unless it is a dry run.

    Whole images that the index or the log does not have, because it was lost, cut or damaged, come back into it; records of
    images that are not there leave it; files that were never ended are ended, metadata that is torn is made again;
    resolution levels that may miss something are made again. What is replaced stays beside the new one, with
    ``.before-repair`` behind its name. Pixels are never changed. Nobody may write to the dataset meanwhile.

    Parameters
    ----------
    path : path
        Folder of the dataset.
    dry_run : bool
        Only find out and report.

    Raises
    ------
    DatasetFormatError
        There is no NDTiff dataset of version 2 or 3, and no OME-Zarr dataset of aiomm.
    UnsupportedError
        It is an OME-Zarr dataset of somebody else.
    StorageError
        The dataset is being written to, or a file cannot be read or changed.
    """
    base = given_path("path", path)
    with reading(base):
        kind = kind_of(base)
    try:
        if kind in (Kind.OME_ZARR, Kind.OME_ZARR_LOST):
            return repair_omezarr(base, dry_run=dry_run)
        if kind in (Kind.FOREIGN, Kind.ZARR):
            raise UnsupportedError(f"{base} is an OME-Zarr dataset that aiomm did not write: there is nothing to repair it by")
        if kind in (Kind.SEVERAL, Kind.LEVELS):
            raise no_dataset(base, kind)
        return repair_ndtiff(base, dry_run=dry_run)
    except OSError as error:
        where = f": {error.filename}" if error.filename is not None else ""
        raise StorageError(f"cannot repair {base}: {error.strerror or error}{where}") from error
