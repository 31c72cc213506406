from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter, bulk
from aiomm.dataset.arrays import ImageSource
from aiomm.dataset.ndtiff import blocks, positioned
from aiomm.errors import DatasetFormatError
from tests.dataset.support import image, same

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, count: int, shape: tuple[int, int] = (20, 30), leave_out: tuple[int, ...] = (), **options: Any) -> Dataset:
    with NDTiffWriter(folder, "x", **options) as writer:
        for i in range(count):
            for c in range(2):
                if 2 * i + c not in leave_out:  # metadata of many lengths, so that no two images lie equally far apart
                    writer.put(Frame({"time": i, "channel": c}, image(2 * i + c, shape), {"Text": "x" * (97 * i % 500)}))
    return Dataset(writer.path)


@pytest.mark.parametrize("shape", [(20, 30), (200, 300)])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], threads: int) -> None:
    monkeypatch.setattr(bulk, "THREADS", threads)
    monkeypatch.setattr(bulk, "PIECE_BYTES", 7 * shape[0] * shape[1] * 2)
    monkeypatch.setattr(blocks, "AT_ONCE", 3)
    dataset = write(tmp_path, 20, shape, leave_out=(0, 7, 20, 21, 39))
    whole = dataset.to_numpy()
    for i, pixels in enumerate(whole.reshape(-1, *shape)[:38]):
        assert same(pixels, np.zeros(shape, np.uint16) if i in (0, 7, 37) else image(i + 2 * (i >= 20), shape))
    assert same(dataset.to_numpy(axes=["channel", "time"]), whole.swapaxes(0, 1))
    assert same(dataset.to_numpy(axes=["time"], channel=1), np.delete(whole[:, 1], [3, 18], axis=0))


@pytest.mark.parametrize("most", [1, 1000, 10**9])
def test_a_system_that_reads_less_than_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    dataset = write(tmp_path, 10)
    monkeypatch.setattr(positioned, "read_each", lambda fd, buffers, offset: min(most, positioned.seek_read_each(fd, buffers, offset)))
    assert same(dataset.to_numpy().reshape(20, 20, 30), [image(i) for i in range(20)])


def test_systems_without_positioned_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write(tmp_path, 10)
    monkeypatch.setattr(positioned, "read_each", positioned.seek_read_each)
    monkeypatch.setattr(positioned, "read_into", positioned.seek_read_into)
    assert same(dataset.to_numpy().reshape(20, 20, 30), [image(i) for i in range(20)])


def test_several_files(tmp_path: Path) -> None:
    dataset = write(tmp_path, 10, (60, 70), file_limit=100_000)
    assert len(list(tmp_path.rglob("*.tif"))) > 1
    assert same(dataset.to_numpy().reshape(20, 60, 70), [image(i, (60, 70)) for i in range(20)])


def test_into_an_array_that_is_there(tmp_path: Path) -> None:
    dataset = write(tmp_path, 3)
    want = dataset.to_numpy()
    out = np.full(want.shape, 9, np.uint16)
    assert dataset.to_numpy(out=out) is out
    assert same(out, want)
    part = np.zeros((*want.shape[:-1], 60), np.uint16)[..., ::2]  # not contiguous
    assert dataset.to_numpy(out=part) is part
    assert same(part, want)
    for wrong, says in [
        (np.zeros((3, 2, 20, 31), np.uint16), r"out is \(3, 2, 20, 31\) uint16; the images make \(3, 2, 20, 30\) uint16"),
        (np.zeros(want.shape, np.int16), "int16"),
        ([1], "out is list"),
    ]:
        with pytest.raises(ValueError, match=says):
            dataset.to_numpy(out=wrong)  # type: ignore[arg-type]
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        dataset.to_numpy(out=out)


def test_a_file_cut_short_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PIECE_BYTES", 3000)
    dataset = write(tmp_path, 20)
    array = dataset.as_array()
    with next(dataset.path.glob("*.tif")).open("r+b") as file:  # type: ignore[union-attr]
        file.truncate(20_000)
    with pytest.raises(DatasetFormatError, match="the file has 20000 bytes"):
        np.asarray(array)


class Slow:
    """A reader that waits before each piece."""

    def __init__(self) -> None:
        self.began, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.pieces = self.written = 0

    def read_into(self, rows: list[int], out: np.ndarray, window: Any) -> None:
        self.pieces += 1
        self.began.release()
        assert self.go.acquire(timeout=20)
        out[...] = 1
        self.written += 1


async def test_a_cancelled_read_writes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "THREADS", 2)
    monkeypatch.setattr(bulk, "PIECE_BYTES", 2 * 6)
    reader = Slow()
    source = ImageSource(reader, np.arange(10), (2, 3), np.dtype(np.uint8))
    out = np.zeros(source.shape, np.uint8)
    task = asyncio.create_task(bulk.in_thread(lambda stop: source.read(out, stop)))
    for _ in range(2):
        assert await asyncio.to_thread(reader.began.acquire, timeout=20)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # again, while it waits for its thread
    await asyncio.sleep(0)
    assert not task.done()
    reader.go.release(100)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reader.pieces == reader.written < 5
    seen = out.copy()
    assert int(seen.sum()) == reader.written * 12
    assert same(out, seen)


async def test_a_read_cancelled_before_it_began() -> None:
    ran = []
    gate = threading.Event()
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    busy = loop.run_in_executor(None, gate.wait, 20)
    task = asyncio.create_task(bulk.in_thread(lambda stop: ran.append(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task  # although no thread is free
    gate.set()
    await busy
    await asyncio.to_thread(int)
    assert not ran


async def test_an_error_arrives(tmp_path: Path) -> None:
    dataset = await asyncio.to_thread(write, tmp_path, 2)
    with pytest.raises(ValueError, match="out is"):
        await dataset.to_numpy_async(out=np.zeros(3))


def dataset_in_memory() -> Dataset:
    with MemoryWriter() as writer:
        for i in range(5):
            writer.put(Frame({"time": i}, image(i), {}))
    return writer.dataset


def test_computing_all_of_it_goes_past_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_in_memory()
    want = dataset.to_numpy()
    array = dataset.as_array()
    keys: list[Any] = []
    monkeypatch.setattr(ImageSource, "__getitem__", lambda *_: pytest.fail("by blocks"))
    assert same(array, want)
    assert same(array.compute(), want)
    monkeypatch.undo()
    with Callback(pretask=lambda key, *_: keys.append(key)):  # a progress bar, say
        assert same(array.compute(), want)
    assert keys
    assert same(array.compute(scheduler="sync"), want)
    with dask.config.set(scheduler="sync"):
        assert same(array, want)


def test_what_is_made_from_it_is_dask() -> None:
    dataset = dataset_in_memory()
    want = dataset.to_numpy()
    array = dataset.as_array()
    assert isinstance(array, da.Array)
    for made in (array[1:], array + 1, array.rechunk((1, 20, 30)), array.T, array.astype(np.int32)):
        assert type(made) is da.Array
    assert same(array[1:] + 1, want[1:] + 1)
    assert same(dask.compute(array)[0], want)
    assert same(array.persist(), want)
    array[2] = 7
    want[2] = 7
    assert same(array, want)
