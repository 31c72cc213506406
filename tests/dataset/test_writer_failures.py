from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, NDTiffWriter
from aiomm.errors import StorageError
from tests.dataset.failing import BIG, NDTiffReport, put_until_it_fails
from tests.dataset.support import frame, image

if TYPE_CHECKING:
    from pathlib import Path


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


def test_the_next_file_cannot_be_made(tmp_path: Path) -> None:
    report = NDTiffReport()
    writer = report.writer(tmp_path, file_limit=2**21)
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
