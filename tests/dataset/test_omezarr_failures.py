"""When an OME-Zarr dataset cannot be written: an error at once, and what was saved reads back everywhere."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aiomm.dataset import OmeZarrWriter
from tests.dataset.failing import BIG, SMALL, OmeZarrReport, put_until_it_fails
from tests.dataset.support import frame


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

    report = OmeZarrReport()
    writer = report.writer(tmp_path, queue_size=1)
    monkeypatch.setattr(Path, "replace", replace)
    frames = put_until_it_fails(writer, SMALL)
    assert report.failed.wait(30)
    monkeypatch.undo()
    assert "metadata of an array" in str(report.failures[0][0])
    report.check(writer, frames)
    assert not list(writer.path.rglob("*.part"))


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


def test_a_shard_cannot_be_made(tmp_path: Path) -> None:
    report = OmeZarrReport()
    writer = report.writer(tmp_path, shard_bytes=200_000)
    (writer.path / "0" / "c" / "3" / "0" / "0").mkdir(parents=True)
    frames = put_until_it_fails(writer, BIG)
    assert report.failed.wait(30)
    (writer.path / "0" / "c" / "3" / "0" / "0").rmdir()
    assert len(report.saved) == 3
    report.check(writer, frames)
