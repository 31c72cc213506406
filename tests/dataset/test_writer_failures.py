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

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.errors import StorageError
from tests.dataset.failing import BIG, SMALL, Said, put_until_it_fails
from tests.dataset.support import frame, image, ndstorage_dataset


class Report(Said):
    """What a writer said, and whether it is true."""

    def check(self, writer: NDTiffWriter, frames: list[Frame]) -> None:
        """Every frame accepted was saved or lost, in order, and what was saved reads back in both readers."""
        self.check_end(writer, frames)
        with ndstorage_dataset(writer.path) as other:
            for dataset in (writer.dataset, Dataset(writer.path)):
                assert dataset.finished
                assert len(dataset) == len(self.saved)
                for one in self.saved:
                    assert np.array_equal(dataset.read_image(**one.axes), one.pixels)
                    if dataset.axes:
                        assert np.array_equal(other.read_image(**one.axes), one.pixels)
                        assert other.read_metadata(**one.axes) == dataset.read_metadata(**one.axes)


def break_pwrite(monkeypatch: pytest.MonkeyPatch, capacity: int, code: int) -> None:
    """The device takes bytes up to an offset: short writes there, then an error; elsewhere it works."""
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if offset >= capacity:
            raise OSError(code, os.strerror(code))
        room = capacity - offset
        return (
            real(fd, data[:room], offset)
            if len(data) > room and room % 4096 == 0
            else real(fd, data, offset)
            if len(data) <= room
            else real(fd, data[: room // 4096 * 4096 or room], offset)
        )

    monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("shape", [BIG, SMALL], ids=["big", "small"])
@pytest.mark.parametrize("capacity", [1_000_000, 1_000_448, 4096, 5000])
def test_the_device_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, shape: tuple[int, int], capacity: int) -> None:
    report = Report()
    writer = NDTiffWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed)
    break_pwrite(monkeypatch, capacity, code)
    frames = put_until_it_fails(writer, shape, 1000)
    assert report.failed.wait(30)
    assert f"'time': {len(report.saved)}" in str(report.failures[0][0])
    assert report.failures[0][0].__cause__.errno == code  # type: ignore[union-attr]
    report.check(writer, frames)
    each = 186_600 + 4096 if shape is BIG else 1200 + 400
    assert len(report.saved) >= (capacity - 4096) // each - 2  # the images before it are not lost with it


def test_short_writes_and_interrupts_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, real_write = os.pwrite, os.write
    calls = [0]

    def pwrite(fd: int, data: Any, offset: int) -> int:
        calls[0] += 1
        if calls[0] % 3 == 1:
            raise InterruptedError
        return real(fd, data[: 4096 if len(data) > 4096 and calls[0] % 3 == 0 else len(data)], offset)

    def write(fd: int, data: Any) -> int:
        calls[0] += 1
        if calls[0] % 3 == 1:
            raise InterruptedError
        return real_write(fd, data[: max(1, len(data) // 2)])

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "write", write)
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(30):
            writer.put(frame(i, BIG))
    dataset = Dataset(writer.path)
    assert all(np.array_equal(dataset.read_image(time=i), image(i, BIG)) for i in range(30))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    import fcntl

    real = os.pwrite
    refused = [0]

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            refused[0] += 1
            raise OSError(code, os.strerror(code))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(10):
            writer.put(frame(i, (600, 601)))
    assert refused == [1]
    dataset = Dataset(writer.path)
    assert all(np.array_equal(dataset.read_image(time=i), image(i, (600, 601))) for i in range(10))


def test_open_refuses_direct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(frame(1, (600, 601)))
    assert np.array_equal(Dataset(writer.path).read_image(), image(1, (600, 601)))


@pytest.mark.parametrize("size", [0, 1000, 1037])
def test_the_index_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """What the index took whole is saved; a record cut short is removed."""
    real = os.write
    written = [0]

    def write(fd: int, data: Any) -> int:
        room = size - written[0]
        if room <= 0:
            raise OSError(errno.ENOSPC, "full")
        count = real(fd, data[:room])
        written[0] += count
        return count

    report = Report()
    writer = NDTiffWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed)
    monkeypatch.setattr(os, "write", write)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    monkeypatch.undo()
    assert "index" in str(report.failures[0][0])
    report.check(writer, frames)
    assert (len(report.saved) > 5) == (size > 0)


@pytest.mark.parametrize("durability", ["every", "interval"])
def test_sync_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any) -> None:
    real = os.fdatasync
    calls = [0]

    def fdatasync(fd: int) -> None:
        calls[0] += 1
        if calls[0] == 5:
            raise OSError(errno.EIO, "the device is gone")
        real(fd)

    report = Report()
    writer = NDTiffWriter(
        tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed, durability=durability, sync_interval=0.001, queue_size=4
    )
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    assert report.saved
    report.check(writer, frames)


def test_metadata_that_cannot_be_encoded_fails_at_that_image(tmp_path: Path) -> None:
    report = Report()
    writer = NDTiffWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed)
    frames = [frame(i) for i in range(3)]
    frames[1].metadata["odd"] = object()
    for one in frames:
        try:
            writer.put(one)
        except StorageError:
            break
    assert report.failed.wait(30)
    assert "'odd'" in str(report.failures[0][0])
    assert "'time': 1" in str(report.failures[0][0])
    assert len(report.saved) == 1
    report.check(writer, frames)


@pytest.mark.parametrize("which", ["on_saved", "on_room"])
def test_a_callback_that_raises_is_a_failure(tmp_path: Path, which: str) -> None:
    report = Report()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("mine")

    options: dict[str, Any] = {"on_saved": report.on_saved, "on_failed": report.on_failed, which: broken}
    writer = NDTiffWriter(tmp_path, "x", queue_size=1, **options)
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


def test_the_next_file_cannot_be_made(tmp_path: Path) -> None:
    report = Report()
    writer = NDTiffWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed, file_limit=2**21)
    (writer.path / "x_NDTiffStack_1.tif").mkdir()
    frames = put_until_it_fails(writer, BIG)
    assert report.failed.wait(30)
    (writer.path / "x_NDTiffStack_1.tif").rmdir()
    assert "another file" in str(report.failures[0][0])
    assert len(report.saved) >= 5
    report.check(writer, frames)


def test_waiting_puts_end_with_the_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if offset:
            assert gate.wait(30)
            raise OSError(errno.EIO, "gone")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    writer = NDTiffWriter(tmp_path, "x", queue_size=2)
    writer.put(frame(0))
    writer.put(frame(1))
    errors: list[BaseException] = []

    def put() -> None:
        try:
            writer.put(frame(2))
        except StorageError as error:
            errors.append(error)

    late = threading.Thread(target=put)
    late.start()
    gate.set()
    late.join(30)
    assert len(errors) == 1
    with pytest.raises(StorageError):
        writer.finish()


LIMITED = """
import resource, sys
from pathlib import Path
from aiomm.dataset import NDTiffWriter
from tests.dataset.failing import put_until_it_fails
from tests.dataset.test_writer_failures import Report
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
report = Report()
writer = NDTiffWriter(Path(sys.argv[1]), "x", on_saved=report.on_saved, on_failed=report.on_failed)
frames = put_until_it_fails(writer, eval(sys.argv[3]), 100000)
assert report.failed.wait(30)
report.check(writer, frames)
print(len(report.saved))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_FSIZE stands for a full disk on Linux")
@pytest.mark.parametrize("shape", [BIG, SMALL], ids=["big", "small"])
def test_a_file_size_limit(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A real limit of the system: the write that crosses it is cut short, the next one fails."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), "3000000", repr(shape)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == pytest.approx((3_000_000 - 4096) // (2 * shape[0] * shape[1] + (4096 if shape is BIG else 300)), rel=0.15)
    with NDTiffWriter(tmp_path, "x") as later:  # a later acquisition works
        later.put(frame(1))
    assert len(Dataset(later.path)) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.parametrize("shape", [BIG, SMALL], ids=["big", "small"])
def test_a_small_file_system(tmp_path: Path, shape: tuple[int, int]) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        report = Report()
        writer = NDTiffWriter(mount, "x", on_saved=report.on_saved, on_failed=report.on_failed)
        frames = put_until_it_fails(writer, shape, 100000)
        assert report.failed.wait(30)
        assert report.failures[0][0].__cause__.errno == errno.ENOSPC  # type: ignore[union-attr]
        assert len(report.saved) > 10
        report.check(writer, frames)
        writer.dataset.close()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_given_up_while_the_disk_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was reported lost is not there afterwards, though its write ended well at last."""
    gate, entered = threading.Event(), threading.Event()
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if len(data) > 100_000 and offset > 4096:
            entered.set()
            assert gate.wait(30)
        return real(fd, data, offset)

    report = Report()
    writer = NDTiffWriter(tmp_path, "x", on_saved=report.on_saved, on_failed=report.on_failed)
    monkeypatch.setattr(os, "pwrite", pwrite)
    frames = [frame(i, BIG) for i in range(5)]
    writer.put(frames[0])
    while not len(writer.dataset):
        pass
    for one in frames[1:]:
        writer.put(one)
    assert entered.wait(30)
    writer.give_up()
    assert report.failed.wait(30)
    gate.set()
    assert len(report.saved) + len(report.failures[0][1]) == 5
    report.check(writer, frames)


def test_a_file_has_its_header_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers take a TIFF file without a header for broken: a kill between the two must not leave one."""
    before_the_header: list[list[str]] = []
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if offset == 0:
            before_the_header.append([path.name for path in tmp_path.rglob("*.tif") if path.stat().st_size == 0])
        return real(fd, data, offset)

    monkeypatch.setattr("aiomm.dataset.ndtiff.positioned.write_at", pwrite)
    writer = NDTiffWriter(tmp_path, "header", {}, file_limit=1_000_000)
    for i in range(8):
        writer.put(frame(i, BIG), timeout=30)
    writer.finish()
    assert len(before_the_header) > 1
    assert not any(before_the_header)
    assert len(list(writer.path.glob("*_NDTiffStack*"))) == len(before_the_header)


def test_no_room_for_a_header_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(fd: int, data: Any, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("aiomm.dataset.ndtiff.positioned.write_at", pwrite)
    with pytest.raises(StorageError, match="No space left"):
        NDTiffWriter(tmp_path, "header", {})
    assert not list(tmp_path.rglob("*NDTiffStack*"))
