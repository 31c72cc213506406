"""When an OME-Zarr dataset cannot be written: an error at once, and what was saved reads back everywhere."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, OmeZarrWriter
from aiomm.errors import StorageError
from tests.dataset.failing import BIG, SMALL, Said, put_until_it_fails
from tests.dataset.support import frame, image
from tests.dataset.test_omezarr import stored

SHAPES = pytest.mark.parametrize("shape", [BIG, SMALL], ids=["big", "small"])


class Report(Said):
    """What a writer said, and whether it is true."""

    def check(self, writer: OmeZarrWriter, frames: list[Frame]) -> None:
        """Every frame accepted was saved or lost, in order, and what was saved reads back in Dataset and zarr-python."""
        self.check_end(writer, frames)
        for dataset in (writer.dataset, Dataset(writer.path)):
            assert dataset.finished
            assert len(dataset) == len(self.saved)
            for one in self.saved:
                assert np.array_equal(dataset.read_image(**one.axes), one.pixels)
                assert dataset.read_metadata(**one.axes)["Seed"] == one.metadata["Seed"]
        found = stored(writer.path)
        assert len(found) == len(self.saved)
        for one, (axes, pixels) in zip(self.saved, found, strict=True):
            assert axes == one.axes
            assert np.array_equal(pixels, one.pixels)


def break_pwrite(monkeypatch: pytest.MonkeyPatch, capacity: int, code: int) -> None:
    """The device takes a number of bytes, then says an error; what is there can be written over."""
    real = os.pwrite
    taken = [0]

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if offset == 0:
            return real(fd, data, offset)
        room = (capacity - taken[0]) // 4096 * 4096
        if room <= 0:
            raise OSError(code, os.strerror(code))
        done = real(fd, data[:room], offset)
        taken[0] += done
        return done

    monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@SHAPES
@pytest.mark.parametrize("capacity", [1_000_000, 4096, 0])
def test_the_device_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, shape: tuple[int, int], capacity: int) -> None:
    report = Report()
    writer = OmeZarrWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed, shard_bytes=2**20)
    break_pwrite(monkeypatch, capacity, code)
    frames = put_until_it_fails(writer, shape, 1000)
    assert report.failed.wait(30)
    monkeypatch.undo()
    assert f"'time': {len(report.saved)}" in str(report.failures[0][0])
    assert report.failures[0][0].__cause__.errno == code  # type: ignore[union-attr]
    report.check(writer, frames)
    if capacity > 4096:
        assert len(report.saved) >= 1


@pytest.mark.parametrize("size", [0, 1000, 3037])
@pytest.mark.parametrize("log", ["index.ndjson", "frames.ndjson"])
def test_a_log_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, log: str) -> None:
    """What the logs took whole is saved; a line cut short is removed."""
    real = os.write
    written = [0]

    def write(fd: int, data: Any) -> int:
        if Path(f"/proc/self/fd/{fd}").readlink().name != log:
            return real(fd, data)
        room = size - written[0]
        if room <= 0:
            raise OSError(errno.ENOSPC, "full")
        count = real(fd, data[:room])
        written[0] += count
        return count

    report = Report()
    writer = OmeZarrWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed)
    monkeypatch.setattr(os, "write", write)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    monkeypatch.undo()
    assert "log of frames" in str(report.failures[0][0])
    report.check(writer, frames)
    assert bool(report.saved) == (size > 0)


@pytest.mark.parametrize("failing", range(1, 8))
def test_metadata_of_groups_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """Each ``zarr.json`` is the old one or the new one; images beyond the array's shape are not saved."""
    real = Path.replace
    calls = [0]

    def replace(path: Path, target: Any) -> Path:
        calls[0] += 1
        if calls[0] >= failing:
            raise OSError(errno.ENOSPC, "full")
        return real(path, target)

    report = Report()
    writer = OmeZarrWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed, queue_size=1)
    monkeypatch.setattr(Path, "replace", replace)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    monkeypatch.undo()
    assert "metadata of an array" in str(report.failures[0][0])
    report.check(writer, frames)
    assert not list(writer.path.rglob("*.part"))


@pytest.mark.parametrize("durability", ["every", "interval"])
def test_sync_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any) -> None:
    real = os.fdatasync
    calls = [0]

    def fdatasync(fd: int) -> None:
        calls[0] += 1
        if calls[0] == 9:
            raise OSError(errno.EIO, "the device is gone")
        real(fd)

    report = Report()
    writer = OmeZarrWriter(
        tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed, durability=durability, sync_interval=0.001, queue_size=4
    )
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    assert report.saved
    report.check(writer, frames)


def test_order_of_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels, the shard's index, the array's shape, the metadata, the log, the report; each on the device before the next."""
    calls: list[str] = []

    def kind(fd: int, offset: int = 1) -> str:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        return name if name.endswith("ndjson") else "index" if offset == 0 else "shard"

    real_write, real_pwrite, real_sync, real_replace = os.write, os.pwrite, os.fdatasync, Path.replace
    monkeypatch.setattr(os, "write", lambda fd, data: (calls.append(f"write {kind(fd)}"), real_write(fd, data))[1])
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: (calls.append(f"write {kind(fd, at)}"), real_pwrite(fd, data, at))[1])
    monkeypatch.setattr(os, "fdatasync", lambda fd: (calls.append(f"sync {kind(fd)}"), real_sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (calls.append("shape"), real_replace(path, to))[1])
    saved = threading.Event()
    with OmeZarrWriter(tmp_path, "x", durability="every", on_saved=lambda _: (calls.append("saved"), saved.set())) as writer:  # type: ignore[func-returns-value]
        writer.put(frame(0))
        assert saved.wait(10)
        calls.clear()
        saved.clear()
        writer.put(frame(1))
        assert saved.wait(10)
        assert calls == [
            "write shard", "sync shard", "write index", "sync shard", "shape",
            "write frames.ndjson", "sync frames.ndjson", "write index.ndjson", "sync index.ndjson", "saved",
        ]  # fmt: skip


def test_metadata_that_cannot_be_encoded_fails_at_that_image(tmp_path: Path) -> None:
    report = Report()
    writer = OmeZarrWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed)
    frames = [frame(i) for i in range(3)]
    frames[1].metadata["odd"] = object()
    for one in frames:
        try:
            writer.put(one)
        except StorageError:
            break
    assert report.failed.wait(30)
    assert "'odd'" in str(report.failures[0][0])
    assert len(report.saved) == 1
    report.check(writer, frames)


def test_a_shard_cannot_be_made(tmp_path: Path) -> None:
    report = Report()
    writer = OmeZarrWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed, shard_bytes=200_000)
    (writer.path / "0" / "c" / "3" / "0" / "0").mkdir(parents=True)
    frames = put_until_it_fails(writer, BIG)
    assert report.failed.wait(30)
    (writer.path / "0" / "c" / "3" / "0" / "0").rmdir()
    assert len(report.saved) == 3
    report.check(writer, frames)


def test_given_up_while_the_disk_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, entered = threading.Event(), threading.Event()
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if len(data) > 100_000 and offset > 4096:
            entered.set()
            assert gate.wait(30)
        return real(fd, data, offset)

    report = Report()
    writer = OmeZarrWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed)
    frames = [frame(i, BIG) for i in range(5)]
    writer.put(frames[0])
    while not len(writer.dataset):
        pass
    monkeypatch.setattr(os, "pwrite", pwrite)
    for one in frames[1:]:
        writer.put(one)
    assert entered.wait(30)
    writer.give_up()
    assert report.failed.wait(30)
    gate.set()
    assert len(report.saved) + len(report.failures[0][1]) == 5
    report.check(writer, frames)


def test_a_file_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with OmeZarrWriter(tmp_path, "x") as writer:
        for i in range(10):
            writer.put(frame(i, (600, 601)))
    dataset = Dataset(writer.path)
    assert all(np.array_equal(dataset.read_image(time=i), image(i, (600, 601))) for i in range(10))


LIMITED = """
import resource, sys
from pathlib import Path
from aiomm.dataset import OmeZarrWriter
from tests.dataset.test_omezarr_failures import Report, put_until_it_fails
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
report = Report()
writer = OmeZarrWriter(Path(sys.argv[1]), "x", on_saved=report.on_saved, on_failed=report.on_failed)
frames = put_until_it_fails(writer, eval(sys.argv[3]), 100000)
assert report.failed.wait(30)
report.check(writer, frames)
print(len(report.saved))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_FSIZE stands for a full disk on Linux")
@SHAPES
def test_a_file_size_limit(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A real limit of the system: the write that crosses it is cut short, the next one fails."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), "1000000" if shape is BIG else "200000", repr(shape)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounting a small file system needs root")
@SHAPES
def test_a_small_file_system(tmp_path: Path, shape: tuple[int, int]) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        report = Report()
        writer = OmeZarrWriter(mount, "x", on_saved=report.on_saved, on_failed=report.on_failed)
        frames = put_until_it_fails(writer, shape, 100000)
        assert report.failed.wait(30)
        assert report.failures[0][0].__cause__.errno == errno.ENOSPC  # type: ignore[union-attr]
        assert len(report.saved) > 10
        report.check(writer, frames)
        writer.dataset.close()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)
