"""An OME-Zarr dataset is followed from another process: each image once it is in the log, whatever becomes of the writer."""

from __future__ import annotations

import asyncio
import errno
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, OmeZarrWriter
from aiomm.errors import DatasetFormatError, UnsupportedError
from tests.dataset.support import image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
WRITER = """
import sys, time
from aiomm.dataset import Frame, OmeZarrWriter
from tests.dataset.support import image
from tests.dataset.test_omezarr_follow import axes_of
writer = OmeZarrWriter(sys.argv[1], "grown", {"Who": "another"}, shard_bytes=60_000)
for i in range(int(sys.argv[2])):
    writer.put(Frame(axes_of(i), image(i), {"Number": i}))
    time.sleep(0.002)
sys.stdin.readline()
writer.finish()
"""


def axes_of(number: int) -> dict[str, Any]:
    """Two positions, the second a channel behind; a new channel comes late."""
    return {"position": ["A1", "A2"][number % 2], "time": number // 6, "channel": ["DAPI", "FITC", "Cy5"][number // 2 % 3]}


@asynccontextmanager
async def writing(folder: Path, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(folder), str(count), stdin=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_another_process_is_followed_from_before_its_folder_exists(tmp_path: Path) -> None:
    opening = asyncio.create_task(Dataset.open(tmp_path / "data" / "grown_1", live=True, wait=30))
    async with writing(tmp_path / "data", 60) as process, await opening as dataset:
        assert dataset.summary_metadata == {"Who": "another"}
        count = 0
        async for axes in dataset.watch(timeout=20):
            pixels, metadata = await dataset.read_row_async(count)
            assert axes == axes_of(count) == metadata["Axes"]
            assert metadata["Number"] == count
            assert np.array_equal(pixels, image(count))
            count += 1
            if count == 59:
                assert not dataset.finished
                assert process.stdin is not None
                process.stdin.write(b"\n")
        assert count == 60
        assert dataset.finished
        array = await dataset.to_numpy_async(axes=["time", "channel"], position="A2")
        assert array.shape == (10, 3, 20, 30)


async def test_a_killed_writer_ends_no_watch_and_loses_nothing(tmp_path: Path) -> None:
    async with writing(tmp_path, 20) as process:
        async with await Dataset.open(tmp_path / "grown_1", live=True, wait=30) as dataset:
            await dataset.wait_for(**axes_of(19), timeout=20)
            process.kill()
            await process.wait()
            watch = dataset.watch(timeout=0.2)
            assert [await anext(watch) for _ in range(20)] == [axes_of(i) for i in range(20)]
            with pytest.raises(TimeoutError):
                await anext(watch)
            assert not dataset.finished


async def test_a_log_that_is_cut_or_gone_or_damaged(tmp_path: Path) -> None:
    def write() -> Path:
        with OmeZarrWriter(tmp_path, "x") as writer:
            for i in range(3):
                writer.put(Frame({"time": i}, image(i), {}))
        log = writer.path / "index.ndjson"
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))  # not finished
        return writer.path

    for harm, says in [
        (lambda log: log.write_bytes(b""), "shorter"),
        (lambda log: log.unlink(), "gone"),
        (lambda log: log.write_bytes(log.read_bytes() + b"nonsense\n"), "line 5 is not JSON"),
    ]:
        path = await asyncio.to_thread(write)
        async with await Dataset.open(path, live=True) as dataset:
            assert len(dataset) == 3
            await asyncio.to_thread(harm, path / "index.ndjson")
            with pytest.raises(DatasetFormatError, match=says):
                await dataset.wait_for(time=9, timeout=20)
            assert np.array_equal(await dataset.read_image_async(time=2), image(2))


@pytest.mark.parametrize("what", ["repaired", "another", "gone on in place"])
async def test_a_log_that_is_replaced_by_one_not_shorter(tmp_path: Path, what: str) -> None:
    def write() -> tuple[Path, list[bytes]]:
        with OmeZarrWriter(tmp_path, "x") as writer:
            for i in range(6):
                writer.put(Frame({"time": i}, image(i), {}))
        log = writer.path / "index.ndjson"
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[:4]))  # the group and three frames
        return log, lines

    def replace(log: Path, lines: list[bytes]) -> None:
        if what == "gone on in place":
            log.write_bytes(b"".join(lines))
            return
        new = log.with_name("new")
        new.write_bytes(b"".join(lines if what == "repaired" else [lines[0], *lines[-2:0:-1], lines[-1]]))
        new.replace(log)

    log, lines = await asyncio.to_thread(write)
    async with await Dataset.open(log.parent, live=True) as dataset:
        assert len(dataset) == 3
        await asyncio.to_thread(replace, log, lines)
        if what == "another":
            with pytest.raises(DatasetFormatError, match=r"index.ndjson: the log was replaced by another"):
                await dataset.wait_for(time=5, timeout=20)
        else:
            assert [axes async for axes in dataset.watch(timeout=20)] == [{"time": i} for i in range(6)]
            assert dataset.finished


@pytest.mark.parametrize("live", [False, True])
async def test_a_log_that_cannot_be_read(tmp_path: Path, live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> Path:
        with OmeZarrWriter(tmp_path, "x") as writer:
            writer.put(Frame({"time": 0}, image(0), {}))
        return writer.path

    path = await asyncio.to_thread(write)
    error = PermissionError(errno.EACCES, "Permission denied")

    def refuse(*_: Any) -> Any:
        raise error

    monkeypatch.setattr("aiomm.dataset.omezarr.tail.InputFile", refuse)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda file: refuse() if file.name == "index.ndjson" else read(file))
    says = r"index.ndjson: it cannot be read: Permission denied; it must be the file in which aiomm wrote"
    with pytest.raises(DatasetFormatError, match=says):
        await Dataset.open(path, live=live)
    error = FileNotFoundError(errno.ENOENT, "No such file")  # it went between two looks
    with pytest.raises(DatasetFormatError, match=r"index.ndjson: it is not there; it must be"):
        await Dataset.open(path, live=live)


async def test_what_others_write_cannot_be_followed(tmp_path: Path) -> None:
    def write() -> Path:
        with OmeZarrWriter(tmp_path, "x") as writer:
            writer.put(Frame({"time": 0}, image(0), {}))
        (writer.path / "index.ndjson").unlink()
        return writer.path

    with pytest.raises(UnsupportedError, match="did not write"):
        await Dataset.open(await asyncio.to_thread(write), live=True)
