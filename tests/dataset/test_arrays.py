from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter
from aiomm.dataset.arrays import BLOCK_BYTES, chunk_shape
from aiomm.errors import DatasetFormatError, MissingImageError
from tests.dataset.support import image, same

if TYPE_CHECKING:
    from pathlib import Path


def value(t: int, c: str, z: int) -> int:
    return t * 100 + "ab".index(c) * 10 + z


@pytest.fixture(params=["memory", "live", "opened"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    writer: Any = MemoryWriter() if request.param == "memory" else NDTiffWriter(tmp_path, "x")
    for z in (3, 1):
        for t in (2, 0, 5):
            for c in "ba":
                if (t, c, z) != (5, "a", 3):
                    writer.put(Frame({"z": z, "time": t, "channel": c}, image(value(t, c, z)), {}))
    while len(writer.dataset) < 11:
        writer.flush()
    if request.param != "live":
        writer.finish()
    yield Dataset(writer.path) if request.param == "opened" else writer.dataset
    writer.finish()


def test_all_axes(dataset: Dataset) -> None:
    array = dataset.as_array()
    assert array.shape == (3, 2, 2, 20, 30)
    assert array.dtype == np.uint16
    whole = np.asarray(array)
    mask = dataset.as_mask()
    for i, t in enumerate((0, 2, 5)):
        for j, c in enumerate("ab"):
            for k, z in enumerate((1, 3)):
                if (t, c, z) == (5, "a", 3):
                    assert not mask[i, j, k]
                    assert not whole[i, j, k].any()
                else:
                    assert mask[i, j, k]
                    assert same(whole[i, j, k], image(value(t, c, z)))
    assert same(dataset.to_numpy(), whole)


def test_axes_in_the_order_asked(dataset: Dataset) -> None:
    array = np.asarray(dataset.as_array(axes=["z", "time", "channel"]))
    assert same(array, np.asarray(dataset.as_array()).transpose(2, 0, 1, 3, 4))


def test_slices_fix_values_not_positions(dataset: Dataset) -> None:
    assert same(dataset.as_array(time=5, channel="b"), [image(value(5, "b", 1)), image(value(5, "b", 3))])
    assert same(dataset.as_array(axes=["time"], channel=0, z=1), [image(value(t, "b", 1)) for t in (0, 2, 5)])  # b was first
    assert same(dataset.as_array(time=5, channel="b", z=3), image(value(5, "b", 3)))
    assert dataset.as_array(time=5, channel="a").shape == (1, 20, 30)  # only what there is
    assert dataset.as_mask(axes=["z", "channel"], time=np.int64(5)).tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize(
    "key",
    [
        np.s_[0],
        np.s_[1, 1, 0],
        np.s_[..., 3],
        np.s_[:, 0, 1, 5:9, ::2],
        np.s_[::-1],
        np.s_[2, :, :, -1],
        np.s_[[0, 2], 1],
        np.s_[:, :, :, 3, 4],
        np.s_[1:1],
        np.s_[..., [3, 1], :],
        np.s_[1:2, :, :, :, [0, 7]],
        np.s_[1:3, 0, [1, 0]],
    ],
)
def test_parts(dataset: Dataset, key: Any) -> None:
    assert same(np.asarray(dataset.as_array()[key]), dataset.to_numpy()[key])


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiomm.dataset.ndtiff.files import InputFile

    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(40):
            writer.put(Frame({"time": i}, image(i, (100, 100)), {}))
    array = Dataset(writer.path).as_array()
    assert array.numblocks == (1, 1, 1)
    read: list[int] = []
    real = InputFile.read_into
    monkeypatch.setattr(InputFile, "read_into", lambda self, out, offset: (read.append(offset), real(self, out, offset))[1])
    assert same(array[7], image(7, (100, 100)))
    assert len(read) == 1


def test_what_cannot_be_laid_out(dataset: Dataset) -> None:
    for axes, error, says in [
        (["time"], ValueError, "leaves out 'channel', 'z'"),
        (["tine"], MissingImageError, "did you mean 'time'"),
        (["time", "time"], ValueError, "twice"),
    ]:
        with pytest.raises(error, match=says):
            dataset.as_array(axes=axes)
    with pytest.raises(ValueError, match="fixed value too"):
        dataset.as_array(axes=["time"], time=0)
    with pytest.raises(MissingImageError, match="no value 7; it has 0, 2, 5"):
        dataset.as_array(time=7)
    with pytest.raises(MissingImageError, match="no value 'c'"):
        dataset.as_array(channel="c")
    with pytest.raises(MissingImageError, match="'tile'"):
        dataset.as_array(tile=7)
    with pytest.raises(MissingImageError, match="stitched"):
        dataset.as_array(stitched=True)


def test_one_axis_by_name_alone() -> None:
    with MemoryWriter() as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
    assert writer.dataset.as_array(axes="time").shape == (1, 20, 30)


def test_no_images() -> None:
    with pytest.raises(MissingImageError, match="no images"):
        MemoryWriter().dataset.as_array()


def test_ragged() -> None:
    with MemoryWriter() as writer:
        for axes in ({"time": 0}, {"time": 1}, {"time": 0, "z": 5}, {"time": 1, "z": 5}):
            writer.put(Frame(axes, image(10 * axes["time"] + len(axes)), {}))  # type: ignore[arg-type]
    dataset = writer.dataset
    with pytest.raises(ValueError, match="some images have axis 'z' and some do not"):
        dataset.as_array()
    assert same(dataset.as_array(axes=["time"]), [image(1), image(11)])
    assert same(dataset.as_array(z=5), [image(2), image(12)])
    assert same(dataset.as_array(axes=["time", "z"])[:, 0], [image(2), image(12)])


def test_images_that_differ(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
        writer.put(Frame({"time": 1}, image(0, (5, 5)), {}))
        writer.put(Frame({"time": 2}, image(0, (20, 30), np.uint8), {}))
        writer.put(Frame({"time": 3}, image(0), {}, 12))
    dataset = Dataset(writer.path)
    with pytest.raises(ValueError, match=r"images differ: \{'time': 0\} is \(20, 30\) uint16, \{'time': 1\} is \(5, 5\) uint16"):
        dataset.as_array()
    assert dataset.as_array(time=1).shape == (5, 5)


def test_images_far_apart() -> None:
    with MemoryWriter() as writer:
        for i in range(400):
            writer.put(Frame({"a": i, "b": i, "c": i}, np.zeros((1, 1), np.uint8), {}))
    with pytest.raises(ValueError, match="far apart"):
        writer.dataset.as_array()


@pytest.mark.parametrize("kind", ["rgb", np.uint8])
def test_other_pixels(tmp_path: Path, kind: Any) -> None:
    images = [image(i, (20, 30), kind) for i in range(5)]
    with NDTiffWriter(tmp_path, "x") as writer:
        for i, pixels in enumerate(images):
            writer.put(Frame({"time": i}, pixels, {}))
    array = Dataset(writer.path).as_array()
    assert same(array, images)
    assert same(array[1:3, 4, :, ...], np.array(images)[1:3, 4])
    if kind == "rgb":
        assert same(array[..., 1], np.array(images)[..., 1])


def test_blocks_are_large_and_even() -> None:
    assert chunk_shape((20000,), 64 * 64 * 2)[0] * 64 * 64 * 2 > BLOCK_BYTES // 2
    assert chunk_shape((150, 2), 512 * 512 * 2) == (15, 2)
    assert chunk_shape((10, 100), 512 * 512 * 2) == (1, 25)
    assert chunk_shape((10, 3), 2**30) == (1, 1)
    assert chunk_shape((), 100) == ()
    for grid in [(7, 13), (1, 1), (1000, 3, 5), (33,)]:
        for size in (1, 8192, 524288, 8 * 2**20, 2**26):
            chunks = chunk_shape(grid, size)
            assert all(1 <= chunk <= length for chunk, length in zip(chunks, grid, strict=True))
            assert int(np.prod(chunks)) * size <= max(BLOCK_BYTES, size)


def test_other_processes_compute(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(50):
            writer.put(Frame({"time": i}, image(i, (500, 500)), {}))
    array = Dataset(writer.path).as_array()
    assert array.numblocks[0] > 1
    assert len(pickle.dumps(array)) < 100_000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, dask.config.set(scheduler="processes", pool=pool):
        sums = array.sum(axis=(1, 2)).compute()
    assert sums.tolist() == [int(image(i, (500, 500)).sum()) for i in range(50)]


def test_array_of_a_live_dataset_is_what_was_saved_then(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(3):
            writer.put(Frame({"time": i}, image(i), {}))
        while len(writer.dataset) < 3:
            writer.flush()
        array = writer.dataset.as_array()
        for i in range(3, 6):
            writer.put(Frame({"time": i}, image(i), {}))
    assert same(array, [image(i) for i in range(3)])
    assert writer.dataset.as_array().shape[0] == 6


def test_a_file_cut_short_is_told_before_memory_is_taken(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(20):
            writer.put(Frame({"time": i}, image(i, (100, 100)), {}))
    file = next(writer.path.glob("*.tif"))
    with file.open("r+b") as out:
        out.truncate(100_000)
    dataset = Dataset(writer.path)
    with pytest.raises(DatasetFormatError, match=r"the file has 100000 bytes"):
        dataset.as_array()
    with pytest.raises(DatasetFormatError, match=r"the file has 100000 bytes"):
        dataset.read_image(time=19)
    with pytest.raises(DatasetFormatError, match=r"the file has 100000 bytes"):
        dataset.read_image(time=19, memmapped=True)
    assert same(dataset.read_image(time=0), image(0, (100, 100)))
