"""The lock on a dataset's folder: who writes is told apart from who has died, whoever runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, PyramidWriter, damage, locking, rebuild_pyramid, repair
from aiomm.dataset.locking import FolderLock
from aiomm.errors import StorageError
from tests.dataset.support import image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks of folders there")

WRITES = """
import os, sys
import numpy as np
from aiomm import dataset
writer = getattr(dataset, sys.argv[1])(sys.argv[2], "x", {})
writer.put(dataset.Frame({"row": 0, "column": 0}, np.zeros((16, 24), np.uint16), {}))
print("there", flush=True)
sys.stdin.readline()
os._exit(9) if sys.argv[3] == "dies" else writer.finish()
print("ended", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def others_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of another user."""
    monkeypatch.setattr(damage, "who_writes", lambda _: None)


@pytest.mark.parametrize("end", ["dies", "finishes"])
@pytest.mark.parametrize("make", ["NDTiffWriter", "PyramidWriter", "OmeZarrWriter"])
def test_a_writer_that_lives(tmp_path: Path, make: str, end: str) -> None:
    command = [sys.executable, "-c", WRITES, make, str(tmp_path), end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        for dry_run in (True, False):
            with pytest.raises(StorageError, match="being written to, by another process of this machine; repair it when"):
                repair(tmp_path / "x_1", dry_run=dry_run)
        if make == "PyramidWriter":
            with pytest.raises(StorageError, match=r"being written to.*rebuild it when"):
                rebuild_pyramid(tmp_path / "x_1")
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == (b"" if end == "dies" else b"ended\n")
        if end == "dies":
            process.wait()
        repair(tmp_path / "x_1", dry_run=False)
        assert not repair(tmp_path / "x_1").needed
        process.stdin.close()


@pytest.mark.parametrize("make", [NDTiffWriter, PyramidWriter, OmeZarrWriter])
def test_no_file_stays_open(tmp_path: Path, make: Any) -> None:
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    with make(tmp_path, "x") as writer:
        writer.put(Frame({"row": 0, "column": 0}, image(0), {}))
        with pytest.raises(StorageError, match="being written to"):
            repair(writer.path)
    with Dataset(writer.path):
        assert not repair(writer.path).needed  # who reads is in nobody's way
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
    assert not repair(writer.path).needed
    lock = FolderLock(tmp_path, alone=True)
    assert not lock.refused
    lock.release()
    lock.release()
    assert not FolderLock(tmp_path / "nowhere", alone=True).refused
