"""A dataset one file of which was lost tells what is there; images in that file are a clear error, the others are read."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.cli.info import describe
from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, PyramidWriter
from aiomm.errors import DatasetFormatError
from tests.dataset.support import frame

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 300


def write(folder: Path, kind: str) -> tuple[Path, list[Path]]:
    """Write small images into two files: the folder, and the files."""
    with NDTiffWriter(folder, "x", file_limit=80_000) if kind == "ndtiff" else OmeZarrWriter(folder, "x") as writer:
        for t in range(COUNT):
            writer.put(Frame({"time": t}, np.full((8, 8), t, np.uint16), {}))
    files = sorted(writer.path.glob("*.tif")) or sorted(path for path in (writer.path / "0" / "c").rglob("*") if path.is_file())
    assert len(files) == 2
    return writer.path, files


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", ["ndtiff", "ome-zarr"])
def test_a_dataset_without_one_of_its_files(tmp_path: Path, kind: str, which: int) -> None:
    path, files = write(tmp_path, kind)
    files[which].unlink()
    name = files[which].relative_to(path).as_posix()
    there, gone = (COUNT - 1, 0) if which == 0 else (0, COUNT - 1)
    with Dataset(path) as dataset:
        ((lost, count),) = dataset.missing_files.items()
        assert lost == name
        assert 0 < count < COUNT
        assert f"{COUNT} images of 8x8 16-bit uint16; time {COUNT}; " in repr(dataset)
        assert f"; {name} is not there, which has {count} of them>" in repr(dataset)
        assert dataset.finished is (kind == "ome-zarr" or which == 0), "the last file, or the log, says so"
        assert f"not there    {name}: the {count} images in it cannot be read" in describe(path)
        assert dataset.read_image(time=there)[0, 0] == there
        assert dataset.as_array()[there].compute()[0, 0] == there
        seen: Any = dataset.as_zarr()["0"]
        assert seen[there, 0, 0] == there
        for read in (dataset.read_image, dataset.to_numpy):
            with pytest.raises(DatasetFormatError, match=f"{name}: the .* names this file, but it is not there"):
                read(time=gone)


@pytest.mark.parametrize("kind", ["ndtiff", "ome-zarr"])
async def test_it_is_followed_and_its_end_is_not_waited_for(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomm.dataset.ndtiff.tail.PATIENCE", 0.1)
    path, files = await asyncio.to_thread(write, tmp_path, kind)
    await asyncio.to_thread(files[1].unlink)
    seen = 0
    async with await Dataset.open(path, live=True) as dataset:
        try:
            async for axes in dataset.watch(timeout=math.inf):
                assert axes == {"time": seen}
                seen += 1
        except DatasetFormatError as error:
            assert str(error) == f"{files[1]}: the index names this file, but it is not there"
        else:
            assert dataset.finished, "OME-Zarr's log says how it ends"
        assert seen == COUNT
        assert dataset.read_image(time=0)[0, 0] == 0


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("file", r"without resolution level 2 and those above, which cannot be read: .*x_NDTiffStack.tif: the index names this file"),
        ("folder", r"without resolution level 2, whose folder Downsampled_x4 is not there, and those above"),
    ],
)
def test_a_reduced_level_that_is_not_there(tmp_path: Path, what: str, says: str, caplog: pytest.LogCaptureFixture) -> None:
    with PyramidWriter(tmp_path, "x", max_multi_res_index=3) as writer:
        writer.put(Frame({"row": 0, "column": 0}, np.full((16, 16), 5, np.uint16), {}))
    with Dataset(writer.path, full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 4
    assert not caplog.messages
    lost = writer.path / "Downsampled_x4"
    if what == "folder":
        shutil.rmtree(lost)
    else:
        next(lost.glob("*.tif")).unlink()
    with Dataset(writer.path, full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 2
        assert (dataset.read_image(row=0, column=0) == 5).all()
    (message,) = caplog.messages
    assert re.search(says, message)
    with Dataset(writer.path) as dataset:
        assert len(dataset) == 1
    assert len(caplog.messages) == 1, "nobody asked for levels"


def test_a_whole_dataset_misses_nothing(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        assert writer.dataset.missing_files == {}
        writer.put(frame(0))
    with Dataset(writer.path) as dataset:
        assert dataset.missing_files == {}
        assert repr(dataset).endswith("finished>")
