"""A dataset that is sent to another process opens its folder there, when it is first read."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter, OmeZarrWriter, PyramidWriter
from aiomm.errors import ClosedError, DatasetFormatError
from tests.dataset.support import image, same

if TYPE_CHECKING:
    from pathlib import Path

KINDS: dict[str, type[NDTiffWriter | OmeZarrWriter]] = {"ndtiff": NDTiffWriter, "ome-zarr": OmeZarrWriter}


def again(dataset: Dataset) -> Dataset:
    copy = pickle.loads(pickle.dumps(dataset))
    assert type(copy) is Dataset
    return copy


def write(folder: Path, kind: str) -> Path:
    with KINDS[kind](folder, "x", {"PixelSize_um": 0.5}) as writer:
        for i in range(3):
            writer.put(Frame({"time": i}, image(i), {"Number": i}))
    return writer.path


@pytest.mark.parametrize("kind", KINDS)
def test_opens_its_folder(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, kind)
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(Dataset(path.name))
    assert len(data) < 500  # the name, none of the images
    monkeypatch.undo()
    code = "import pickle, sys; d = pickle.load(sys.stdin.buffer); print(d.path, len(d), d.finished, d.read_metadata(time=2)['Number'])"
    there = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True, timeout=40)
    assert there.stdout.decode().split() == [str(path), "3", "True", "2"]


@pytest.mark.parametrize("kind", KINDS)
def test_as_an_argument_of_dask(tmp_path: Path, kind: str) -> None:
    """What was computed of it is not taken for what it has now."""
    from dask.base import tokenize

    path = write(tmp_path, kind)
    dataset = Dataset(path)
    assert tokenize(dataset) == tokenize(Dataset(path)) == tokenize(again(dataset))
    assert tokenize(dataset) != tokenize(Dataset(write(tmp_path, kind)))
    with KINDS[kind](tmp_path, "growing") as writer:
        tokens = set()
        for i in range(3):
            writer.put(Frame({"time": i}, image(i), {}))
            while len(writer.dataset) <= i:
                writer.flush()
            tokens.add(tokenize(writer.dataset))
    assert len(tokens) == 3
    memory = [MemoryWriter().dataset for _ in range(2)]
    assert tokenize(memory[0]) != tokenize(memory[1])


def test_with_its_levels(tmp_path: Path) -> None:
    with PyramidWriter(tmp_path, "x") as writer:
        for i in range(4):
            writer.put(Frame({"row": i // 2, "column": i % 2}, image(i, (20, 30)), {}))
    assert again(Dataset(writer.path)).num_resolution_levels == 1
    copy = again(Dataset(writer.path, full_res_only=False))
    assert copy.num_resolution_levels > 1
    assert copy.as_array(stitched=True).shape == (40, 60)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["writer", "live"])
def test_one_that_is_being_written_grows_there_too(tmp_path: Path, kind: str, how: str) -> None:
    with KINDS[kind](tmp_path, "x") as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
        while len(writer.dataset) < 1:
            writer.flush()
        original = writer.dataset if how == "writer" else Dataset(writer.path, live=True)
        with again(original) as copy:
            assert not copy.finished
            assert copy._following.grows  # though nobody watches
            writer.put(Frame({"time": 1}, image(1), {}))
            writer.flush()
            asyncio.run(copy.wait_for(time=1, timeout=20))  # says what is wrong, if something is
            assert same(copy.read_image(time=1), image(1))
        if how != "writer":
            original.close()


async def test_what_has_no_folder_says_so(tmp_path: Path) -> None:
    with MemoryWriter() as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
    with pytest.raises(TypeError, match=r"in memory.* cannot be pickled.*as_array"):
        pickle.dumps(writer.dataset)

    async def records() -> Any:
        yield b""

    path = await asyncio.to_thread(write, tmp_path, "ndtiff")
    dataset = await asyncio.to_thread(Dataset, path, remote_storage_monitor=records())
    with pytest.raises(TypeError, match=r"remote_storage_monitor.* cannot be pickled"):
        pickle.dumps(dataset)
    await dataset.aclose()


def test_passes_where_the_folder_is_not_seen(tmp_path: Path) -> None:
    """As through dask's scheduler, which unpickles on its event loop: the folder is opened where it is read."""
    path = write(tmp_path, "ndtiff")
    dataset = Dataset(path, full_res_only=False)
    path.rename(tmp_path / "away")
    passed = pickle.dumps(again(dataset))
    copy = again(dataset)
    with pytest.raises(DatasetFormatError, match=r"x_1: there is no such folder"):
        copy.read_image(time=0)
    (tmp_path / "away").rename(path)
    assert same(copy.read_image(time=0), image(0))
    copy.close()
    with pytest.raises(ClosedError):
        copy.read_image(time=0)
    there = pickle.loads(passed)
    with pytest.raises(AttributeError, match="no attribute 'reed_image'"):
        there.reed_image(time=0)
    with ThreadPoolExecutor(8) as pool:
        assert all(same(one, image(1)) for one in pool.map(lambda _: there.read_image(time=1), range(8)))
