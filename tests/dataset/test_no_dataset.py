"""What is said of a folder that is no dataset: of a folder of datasets, of one whose index was lost, of anything else."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, PyramidWriter, convert, repair
from aiomm.errors import DatasetFormatError
from tests.dataset.support import image


def write(folder: Path, kind: type[NDTiffWriter | OmeZarrWriter]) -> Path:
    with kind(folder, "cells") as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
    return writer.path


def test_a_folder_of_datasets(tmp_path: Path) -> None:
    for kind in (NDTiffWriter, OmeZarrWriter):
        write(tmp_path, kind)
    (tmp_path / "something else").mkdir()
    says = re.escape(f"{tmp_path} is not a dataset; it holds cells_1, cells_2")
    with pytest.raises(DatasetFormatError, match=f"^{says}$"):
        Dataset(tmp_path)
    with pytest.raises(DatasetFormatError, match=says):
        convert(tmp_path, tmp_path / "new")
    with pytest.raises(DatasetFormatError, match=says):
        repair(tmp_path)


def test_many_datasets(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, NDTiffWriter).rename(tmp_path / f"a{number:02}")
    with pytest.raises(DatasetFormatError, match=r"it holds a00, a01, .*, a11, \.\.\.$"):
        Dataset(tmp_path)


def test_a_lost_index_can_be_made_again(tmp_path: Path) -> None:
    path = write(tmp_path, NDTiffWriter)
    (path / "NDTiff.index").unlink()
    with pytest.raises(DatasetFormatError, match=r"NDTiff\.index is not there, the TIFF files are: .*aiomm repair --apply"):
        Dataset(path)
    assert repair(path, dry_run=False).recovered == 1
    assert len(Dataset(path)) == 1


def test_anything_else(tmp_path: Path) -> None:
    with pytest.raises(DatasetFormatError, match=r"no NDTiff\.index in this folder.*no OME-Zarr metadata"):
        Dataset(tmp_path)
    with pytest.raises(DatasetFormatError, match=r"no NDTiff dataset here: no file \*NDTiffStack\.tif"):
        repair(tmp_path)


def refused(path: Path, target: Path, says: str, *, by_repair: bool = True) -> None:
    """Opening and converting say the same, and repair too where it cannot help."""
    for call in (lambda: Dataset(path), lambda: convert(path, target), *([lambda: repair(path)] if by_repair else [])):
        with pytest.raises(DatasetFormatError, match=says):
            call()


def pyramid(folder: Path) -> Path:
    with PyramidWriter(folder, "tiles") as writer:
        for row in range(3):
            writer.put(Frame({"row": row, "column": 0}, image(row), {}))
    return writer.path


def test_what_cannot_be_looked_into_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, NDTiffWriter)
    (tmp_path / "lost+found").mkdir()
    real = os.stat

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if not isinstance(path, int) and Path(path).parent.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(PermissionError):
        (tmp_path / "lost+found" / "x").is_file()
    refused(tmp_path, tmp_path / "new", re.escape(f"{tmp_path} is not a dataset; it holds cells_1") + "$")


def test_a_lost_index_beside_another_dataset(tmp_path: Path) -> None:
    """It is the dataset whose index was lost, to all of them; and to the folder that it is in it is a dataset."""
    path = write(tmp_path / "of somebody's", NDTiffWriter)
    shutil.copytree(path, path / "copy")
    (path / "NDTiff.index").unlink()
    command = re.escape(f"`aiomm repair --apply {shlex.quote(str(path))}`")
    refused(path, tmp_path / "new", rf"NDTiff\.index is not there, the TIFF files are: {command}", by_repair=False)
    refused(path.parent, tmp_path / "new", "it holds cells_1$")
    assert repair(path, dry_run=False).recovered == 1
    assert len(Dataset(path)) == 1


def test_a_lost_index_of_tiles(tmp_path: Path) -> None:
    path = pyramid(tmp_path)
    (path / "Full resolution" / "NDTiff.index").unlink()
    says = rf"Full resolution: NDTiff\.index is not there, the TIFF files are: `aiomm repair --apply {re.escape(str(path))}`"
    refused(path, tmp_path / "new", says, by_repair=False)
    assert repair(path, dry_run=False).recovered == 3
    assert len(Dataset(path)) == 3


def test_full_resolution_lost(tmp_path: Path) -> None:
    path = pyramid(tmp_path)
    shutil.rmtree(path / "Full resolution")
    refused(path, tmp_path / "new", "its folder 'Full resolution' is not there, only its reduced levels are")


def test_a_log_whose_root_was_lost(tmp_path: Path) -> None:
    path = write(tmp_path, OmeZarrWriter)
    (path / "zarr.json").unlink()
    refused(path, tmp_path / "new", rf"zarr\.json is not there, .*: `aiomm repair --apply {re.escape(str(path))}`", by_repair=False)
    repair(path, dry_run=False)
    assert len(Dataset(path)) == 1
