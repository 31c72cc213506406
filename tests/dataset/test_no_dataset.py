"""What is said of a folder that is no dataset: of a folder of datasets, of one whose index was lost, of anything else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, convert, repair
from aiomm.errors import DatasetFormatError
from tests.dataset.support import image

if TYPE_CHECKING:
    from pathlib import Path


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
