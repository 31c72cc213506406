"""Errors of the system and of other libraries come as the project's own, and name the thing."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr

from aiomm.dataset import Dataset, Frame, NDTiffWriter, PyramidWriter, convert, rebuild_pyramid, repair
from aiomm.errors import DatasetFormatError, StorageError
from tests.dataset.support import frame, same

LONG = "x" * 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with NDTiffWriter(tmp_path, "data") as writer:
        for i in range(3):
            writer.put(frame(i))
    return writer.path


def foreign(path: Path, kind: str) -> Path:
    """Make OME-Zarr with pixels of a type that no camera has."""
    multiscale = {"axes": [{"name": name, "type": "other"} for name in "tyx"], "datasets": [{"path": "0"}]}
    group = zarr.open_group(str(path), mode="w", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    group.create_array("0", data=np.arange(40).reshape(2, 4, 5).astype(kind), chunks=(1, 4, 5))
    return path


@pytest.mark.parametrize("what", [Dataset, repair, lambda name: convert(name, "new"), lambda name: Dataset(name, live=True)])
def test_names_that_the_system_refuses(tmp_path: Path, what: Any) -> None:
    with pytest.raises(DatasetFormatError, match="too long"):
        what(tmp_path / LONG)
    with pytest.raises(DatasetFormatError, match="no such folder"):
        what(f"{tmp_path}/a\0b")


@pytest.mark.parametrize("name", [LONG, "y" * 250, "a\0b", f"{LONG}/a"])
def test_targets_that_the_system_refuses(path: Path, name: str) -> None:
    with pytest.raises(StorageError, match=r"too long|null") as caught:
        convert(path, path.parent / name)
    assert name[:3] in str(caught.value)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["complex64", "complex128", "float16", "bool", "int64"])
def test_pixels_that_no_camera_makes_are_seen_as_zarr(tmp_path: Path, kind: str) -> None:
    dataset = Dataset(foreign(tmp_path / "a.zarr", kind))
    array: Any = dataset.as_zarr()["0"]
    assert same(array[:], dataset.to_numpy())


def test_pixels_that_ome_tiff_does_not_have(tmp_path: Path) -> None:
    for kind in ("float16", "int64", "uint64"):
        source = foreign(tmp_path / f"{kind}.zarr", kind)
        with pytest.raises(DatasetFormatError, match=f"images of {kind} cannot be written as OME-TIFF"):
            convert(source, tmp_path / "a.ome.tif")
        shutil.rmtree(source)
    for kind in ("int8", "float64", "complex64"):
        convert(foreign(tmp_path / f"{kind}.zarr", kind), tmp_path / f"{kind}.ome.tif", verify=True)
    assert not (tmp_path / "a.ome.tif").exists()


@pytest.mark.parametrize(
    ("free", "says"), [(100, "the disk is full, 100 bytes are free"), (2**30, r"a.ome.tif: 1200 requested and 7 written")]
)
def test_a_full_disk_is_said_to_be_full(path: Path, monkeypatch: pytest.MonkeyPatch, free: int, says: str) -> None:
    """numpy writes to a file without telling the system's reason."""
    import tifffile

    def write(*_: Any, **__: Any) -> None:
        raise OSError("1200 requested and 7 written")

    monkeypatch.setattr(tifffile.TiffWriter, "write", write)
    monkeypatch.setattr("aiomm.dataset.ometiff.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(StorageError, match=says):
        convert(path, path.parent / "a.ome.tif")
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_nobody_may_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system cannot refuse it in every place that tests run."""
    real = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self.name == "NDTiff.index":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=r"cannot repair .*: Permission denied: .*NDTiff.index$"):
        repair(path)
    with pytest.raises(DatasetFormatError, match=r"NDTiff.index: it cannot be read: Permission denied"):
        Dataset(path)


def test_a_folder_that_nobody_may_look_into(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(DatasetFormatError, match="cannot be read: Permission denied"):
        Dataset(path)


def test_levels_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PyramidWriter(tmp_path, "x", overlap=(0, 0)) as writer:
        writer.put(frame(1, row=0, column=0))

    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(StorageError, match=r"cannot write the resolution levels of .*Permission denied"):
        rebuild_pyramid(writer.path)


async def test_what_is_no_folder_is_said_in_the_same_words(tmp_path: Path) -> None:
    for given, says in ((3, "dataset_path is 3: it must be the path of a folder"), (None, "dataset_path is missing")):
        for live in (False, True):
            with pytest.raises(TypeError, match=says):
                await Dataset.open(given, live=live)  # type: ignore[arg-type]


def test_rows_levels_and_parameters_that_are_none(path: Path) -> None:
    with Dataset(path) as dataset:
        for row in ("a", None, True, 1.0):
            with pytest.raises(TypeError, match=r"row is .*: it must be a number, 0 or more"):
                dataset.axes_of(row)  # type: ignore[arg-type]
        assert not dataset.has_image(time=0, resolution_level="a")  # type: ignore[arg-type]
        assert dataset.has_image(axes=dataset.axes_of(0))
        for joined in (dataset.to_numpy, dataset.to_xarray, dataset.zarr_store):
            with pytest.raises(TypeError, match=r"np\.asarray\(dataset\.as_array\(stitched=True\)\) joins tiles"):
                joined(stitched=True)


def test_col_is_column_among_axes_too(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "tiles") as writer:
        for i in range(4):
            writer.put(Frame({"row": i // 2, "column": i % 2}, frame(i).pixels, {}))
    with Dataset(writer.path) as dataset:
        for kind in ({}, {"stitched": True}):
            assert same(dataset.as_array(axes=["row", "col"], **kind), dataset.as_array(axes=["row", "column"], **kind))
        assert dataset.as_mask(axes=["col", "row"], stitched=True).all()
        assert same(dataset.to_numpy("col", row=1), dataset.to_numpy("column", row=1))
        with pytest.raises(ValueError, match="an axis comes twice"):
            dataset.as_array(axes=["row", "col", "column"])
