"""Resolution levels on a disk that gets full: full resolution stays right, there is one clear error, and levels can be made afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, OmeZarrWriter, PyramidWriter, repair
from aiomm.dataset.ndtiff.pyramid import LevelsBuilder
from aiomm.dataset.omezarr.pyramid import LevelBuilder, halve
from aiomm.errors import StorageError
from tests.dataset.support import image
from tests.dataset.test_pyramid import mosaic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounting a small file system needs root")
SIZE = (1100, 700)
COUNT = 8
BYTES = 2 * SIZE[0] * SIZE[1]
Writer = PyramidWriter | OmeZarrWriter


class Disk:
    """A small file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hold(self, size: int, *, again: bool = True) -> None:
        """Have room for so many bytes in all."""
        options = f"{'remount,' if again else ''}size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], capture_output=True, check=True)

    def leave(self, room: int) -> None:
        """Have room for so many bytes more."""
        used = os.statvfs(self.path)
        self.hold((used.f_blocks - used.f_bfree) * used.f_frsize + room)


class Saved:
    """What a writer has reported."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._more = threading.Condition()

    def __call__(self, frames: list[Frame]) -> None:
        with self._more:
            self.frames += frames
            self._more.notify_all()

    def wait_for(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.frames) >= count, 30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    try:
        disk.hold(64 * 2**20, again=False)
    except subprocess.CalledProcessError:
        pytest.skip("mounting is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk.path)], check=True)


def make(kind: str, folder: Path, saved: Saved) -> Writer:
    if kind == "ndtiff":
        return PyramidWriter(folder, "x", on_saved=saved)
    return OmeZarrWriter(folder, "x", levels=None, on_saved=saved, shard_bytes=4 * BYTES)


def frame(i: int, kind: str) -> Frame:
    axes: dict[str, int | str] = {"row": i // 8, "column": i % 8} if kind == "ndtiff" else {"time": i}
    return Frame(axes, image(i, SIZE), {"Number": i})


def check_full(path: Path, saved: Saved, levels: int | None = None) -> None:
    with Dataset(path, full_res_only=False) as dataset:
        assert levels in (None, dataset.num_resolution_levels)
        assert dataset.finished
        assert len(dataset) == len(saved.frames)
        for one in saved.frames:
            assert np.array_equal(dataset.read_image(**one.axes), one.pixels)
            assert dataset.read_metadata(**one.axes) == {**one.metadata, "Axes": one.axes}


def check_made(kind: str, path: Path, saved: Saved) -> None:
    """The levels are there, and right."""
    with Dataset(path, full_res_only=False) as dataset:
        if kind == "ndtiff":
            assert dataset.num_resolution_levels > 1
            for level in range(1, dataset.num_resolution_levels):
                below, here = (mosaic(dataset, number, (0, 0))[0] for number in (level - 1, level))
                height, width = below.shape
                below = np.pad(below.astype(np.uint32), ((0, 2 * len(here) - height), (0, 2 * here.shape[1] - width)))
                assert np.array_equal(here, below.reshape(len(here), 2, -1, 2).sum(axis=(1, 3)) // 4)
            return
        assert dataset.num_resolution_levels == 3
        for one in saved.frames:
            assert np.array_equal(dataset.read_image(**one.axes, resolution_level=1), halve(one.pixels))  # type: ignore[call-overload]


def make_levels(kind: str, path: Path) -> None:
    """As the error says."""
    repair(path, dry_run=False)
    assert not repair(path).needed


@pytest.mark.parametrize("kind", ["ndtiff", "ome-zarr"])
def test_room_for_full_resolution_alone(disk: Disk, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    builder, step = (LevelsBuilder, "add") if kind == "ndtiff" else (LevelBuilder, "step")
    real: Any = getattr(builder, step)

    def late(self: Any, *args: Any) -> Any:
        assert go.wait(30)
        return real(self, *args)

    monkeypatch.setattr(builder, step, late)
    saved = Saved()
    writer = make(kind, disk.path, saved)
    for i in range(COUNT):
        writer.put(frame(i, kind))
    writer.flush()
    saved.wait_for(COUNT)
    disk.leave(BYTES)
    go.set()
    says = (
        r"every tile is saved.*No space left.*aiomm repair --apply" if kind == "ndtiff" else r"every image is saved.*No space left.*repair"
    )
    for _ in range(2):
        with pytest.raises(StorageError, match=says):
            writer.finish()
    assert len(saved.frames) == COUNT
    check_full(writer.path, saved, levels=1)
    for _ in range(2):
        assert not [entry for entry in writer.path.iterdir() if entry.name in ("1", "2") or entry.name.startswith("Downsampled")]
        check_full(writer.path, saved, levels=1)
        with pytest.raises((StorageError, OSError)):
            make_levels(kind, writer.path)
    disk.hold(64 * 2**20)
    make_levels(kind, writer.path)
    check_made(kind, writer.path, saved)


@pytest.mark.parametrize("kind", ["ndtiff", "ome-zarr"])
def test_no_room_for_full_resolution_either(disk: Disk, kind: str) -> None:
    saved = Saved()
    disk.hold(16 * 2**20)
    writer = make(kind, disk.path, saved)
    with pytest.raises(StorageError) as caught:
        for i in range(100):
            writer.put(frame(i, kind))
    with pytest.raises(StorageError) as again:
        writer.finish()
    assert caught.value is again.value
    assert 4 < len(saved.frames) < 11
    check_full(writer.path, saved)
    disk.hold(64 * 2**20)
    make_levels(kind, writer.path)
    check_made(kind, writer.path, saved)
