"""When a dataset cannot be written, in either format: an error at once, and what was saved reads back everywhere."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame
from aiomm.errors import StorageError
from tests.dataset.failing import BIG, SHAPES, SMALL, NDTiffReport, OmeZarrReport, Report, put_until_it_fails
from tests.dataset.support import frame, image


@pytest.fixture(params=[NDTiffReport, OmeZarrReport], ids=["ndtiff", "omezarr"])
def report(request: pytest.FixtureRequest) -> Report:
    return request.param()  # type: ignore[no-any-return]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@SHAPES
@pytest.mark.parametrize("capacity", [1_000_000, 1_000_448, 5000, 4096, 2000])
def test_the_device_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report, code: int, shape: tuple[int, int], capacity: int
) -> None:
    writer = report.writer(tmp_path, **report.small_files)
    report.fill(monkeypatch, capacity, code)
    frames = put_until_it_fails(writer, shape, 1000)
    assert report.failed.wait(30)
    assert f"'time': {len(report.saved)}" in str(report.failures[0][0])
    assert report.failures[0][0].__cause__.errno == code  # type: ignore[union-attr]
    report.check(writer, frames)
    each = 186_600 + 4096 if shape is BIG else 1200 + 400
    assert len(report.saved) >= (capacity - 4096) // each - 2  # the images before it are not lost with it


@pytest.mark.parametrize("size", [0, 1000, 1037, 3037])
@pytest.mark.parametrize(
    ("kind", "log", "line", "words"),
    [
        (NDTiffReport, "NDTiff.index", 150, "index record"),
        (OmeZarrReport, "index.ndjson", 500, "log of frames"),
        (OmeZarrReport, "frames.ndjson", 500, "log of frames"),
    ],
    ids=["ndtiff", "omezarr", "omezarr metadata"],
)
def test_a_log_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Report], log: str, line: int, words: str, size: int
) -> None:
    """What the log took whole is saved; a line cut short is removed."""
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

    report = kind()
    writer = report.writer(tmp_path)
    monkeypatch.setattr(os, "write", write)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    monkeypatch.undo()
    assert words in str(report.failures[0][0])
    report.check(writer, frames)
    assert len(report.saved) >= size // line
    assert bool(report.saved) == (size > 0)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report, code: int) -> None:
    real = os.pwrite
    refused = [0]

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            refused[0] += 1
            raise OSError(code, os.strerror(code))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with report.kind(tmp_path, "x") as writer:
        for i in range(10):
            writer.put(frame(i, (600, 601)))
    assert refused == [1]
    dataset = Dataset(writer.path)
    assert all(np.array_equal(dataset.read_image(time=i), image(i, (600, 601))) for i in range(10))


@pytest.mark.parametrize("durability", ["every", "interval"])
def test_sync_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report, durability: Any) -> None:
    real = os.fdatasync
    calls = [0]

    def fdatasync(fd: int) -> None:
        calls[0] += 1
        if calls[0] == 9:
            raise OSError(errno.EIO, "the device is gone")
        real(fd)

    writer = report.writer(tmp_path, durability=durability, sync_interval=0.001, queue_size=4)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    assert report.saved
    report.check(writer, frames)


def test_metadata_that_was_spoilt_after_it_was_put_fails_at_that_image(tmp_path: Path, report: Report) -> None:
    saved, go = threading.Event(), threading.Event()

    def on_saved(frames: list[Frame]) -> None:
        report.on_saved(frames)
        saved.set()
        assert go.wait(30)

    writer = report.writer(tmp_path, on_saved=on_saved)
    frames = [frame(i) for i in range(3)]
    writer.put(frames[0])
    assert saved.wait(30)
    writer.put(frames[1])
    frames[1].metadata["odd"] = object()
    writer.put(frames[2])
    go.set()
    assert report.failed.wait(30)
    assert "'odd'" in str(report.failures[0][0])
    assert "'time': 1" in str(report.failures[0][0])
    assert len(report.saved) == 1
    report.check(writer, frames)


@pytest.mark.parametrize("which", ["on_saved", "on_room"])
def test_a_callback_that_raises_is_a_failure(tmp_path: Path, report: Report, which: str) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("mine")

    writer = report.writer(tmp_path, queue_size=1, **{which: broken})
    try:
        for i in range(200):
            while not writer.try_put(frame(i)):
                pass
    except StorageError:
        pass
    with pytest.raises(StorageError, match="ZeroDivisionError: mine"):
        writer.finish()
    assert len(report.failures) == 1
    assert len(Dataset(writer.path)) >= 1


LIMITED = """
import resource, sys
from pathlib import Path
from tests.dataset import failing
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
report = getattr(failing, sys.argv[4])()
writer = report.writer(Path(sys.argv[1]))
frames = failing.put_until_it_fails(writer, eval(sys.argv[3]), 100000)
assert report.failed.wait(30)
report.check(writer, frames)
print(len(report.saved))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_FSIZE stands for a full disk on Linux")
@SHAPES
def test_a_file_size_limit(tmp_path: Path, report: Report, shape: tuple[int, int]) -> None:
    """A real limit of the system: the write that crosses it is cut short, the next one fails."""
    limit, each = (1_000_000, 2 * 300 * 301 + 4096) if shape is BIG else (300_000, 2 * 20 * 30 + 300)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(limit), repr(shape), type(report).__name__],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 0.85 * ((limit - 4096) // each)
    with report.kind(tmp_path, "x") as later:  # a later acquisition works
        later.put(frame(1))
    assert len(Dataset(later.path)) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounting a small file system needs root")
@SHAPES
def test_a_small_file_system(tmp_path: Path, report: Report, shape: tuple[int, int]) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        writer = report.writer(mount)
        frames = put_until_it_fails(writer, shape, 100000)
        assert report.failed.wait(30)
        assert report.failures[0][0].__cause__.errno == errno.ENOSPC  # type: ignore[union-attr]
        assert len(report.saved) > 10
        report.check(writer, frames)
        writer.dataset.close()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_given_up_while_the_disk_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    """What was reported lost is not there afterwards, though its write ended well at last."""
    gate, entered = threading.Event(), threading.Event()
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if len(data) > 100_000 and offset > 4096:
            entered.set()
            assert gate.wait(30)
        return real(fd, data, offset)

    writer = report.writer(tmp_path)
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
