"""Reduced levels of OME-Zarr images: right, listed only when whole, and never in the way of saving."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from aiomm.dataset import Dataset, Frame, OmeZarrWriter
from aiomm.dataset.omezarr.pyramid import LARGEST, OPEN_SHARDS, build_levels, halve, level_shapes
from aiomm.dataset.omezarr.shard import ShardFile
from aiomm.errors import StorageError
from tests.dataset.support import image, same

AXES = [{"time": t, "channel": c} for t in range(2) for c in ("DAPI", "FITC")]
SHAPE = (1100, 700)


def listed(group: Path) -> list[str]:
    attributes: Any = zarr.open_group(str(group), mode="r").attrs["ome"]
    return [one["path"] for one in attributes["multiscales"][0]["datasets"]]


def write(folder: Path, **options: Any) -> OmeZarrWriter:
    with OmeZarrWriter(folder, "x", {"PixelSize_um": 0.5}, **options) as writer:
        for i, axes in enumerate(AXES):
            writer.put(Frame(axes, image(i, SHAPE), {"Seed": i}))
    return writer


def check(path: Path) -> None:
    import yaozarrs

    yaozarrs.validate_zarr_store(str(path))
    assert listed(path) == ["0", "1", "2"]
    with Dataset(path, full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 3
        for i, axes in enumerate(AXES):
            expected = image(i, SHAPE)
            for level in range(3):
                assert same(dataset.read_image(**axes, resolution_level=level), expected)  # type: ignore[call-overload]
                expected = halve(expected)
            assert dataset.read_metadata(**axes, resolution_level=2)["Seed"] == i  # type: ignore[arg-type]
        assert dataset.as_array(axes=["time", "channel"], res_level=2).shape == (2, 2, 275, 175)
    scale = zarr.open_group(str(path), mode="r").attrs["ome"]["multiscales"][0]["datasets"][2]  # type: ignore[index,call-overload]
    moves = [{"type": "scale", "scale": [1, 1, 2.0, 2.0]}, {"type": "translation", "translation": [0, 0, 0.75, 0.75]}]
    assert scale["coordinateTransformations"] == moves  # type: ignore[index,call-overload]


def test_built_while_acquiring_and_by_finish(tmp_path: Path) -> None:
    check(write(tmp_path, levels=None).path)


def test_built_afterwards_and_again(tmp_path: Path) -> None:
    path = write(tmp_path).path
    assert listed(path) == ["0"]
    assert build_levels(path) == 3
    check(path)
    shutil.rmtree(path / "2")
    assert build_levels(path) == 3
    check(path)


def test_as_many_as_asked_for(tmp_path: Path) -> None:
    """Also of images that are small, as far as there is more than a pixel; fewer later leave nothing of the others."""
    for asked, count in ((1, 1), (3, 3), (20, 5)):
        with OmeZarrWriter(tmp_path, "x", levels=asked) as writer:
            writer.put(Frame({"time": 0}, image(1, (20, 33)), {}))
        assert listed(writer.path) == [str(n) for n in range(count + 1)]
        with Dataset(writer.path, full_res_only=False) as dataset:
            expected = image(1, (20, 33))
            for level in range(count + 1):
                assert same(dataset.read_image(time=0, resolution_level=level), expected)
                expected = halve(expected)
    assert build_levels(writer.path, 2) == 3
    assert listed(writer.path) == ["0", "1", "2"]
    assert sorted(entry.name for entry in writer.path.iterdir() if entry.is_dir()) == ["0", "1", "2"]
    for wrong in (-1, True, "2"):
        with pytest.raises(ValueError, match="levels is"):
            OmeZarrWriter(tmp_path, "x", levels=wrong)  # type: ignore[arg-type]


def test_rgb_and_positions_and_gaps(tmp_path: Path) -> None:
    with OmeZarrWriter(tmp_path, "x", levels=None) as writer:
        for i in range(3):
            writer.put(Frame({"position": i, "time": 2 * i}, image(i, (600, 520), "rgb"), {}))
    dataset = Dataset(writer.path, full_res_only=False)
    assert dataset.num_resolution_levels == 2
    for i in range(3):
        assert same(dataset.read_image(position=i, time=2 * i, resolution_level=1), halve(image(i, (600, 520), "rgb")))
    assert dataset.as_mask(["position", "time"], res_level=1).tolist() == np.eye(3, dtype=bool).tolist()


def test_saving_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While images wait to be saved no level is built; when none does, they are."""
    busy, done = threading.Event(), threading.Event()
    wrong: list[int] = []

    def counted(one: np.ndarray) -> np.ndarray:
        if busy.is_set():
            wrong.append(1)
        done.set()
        return halve(one)

    monkeypatch.setattr("aiomm.dataset.omezarr.pyramid.halve", counted)
    gate, entered = threading.Event(), threading.Event()
    held = [True]

    def on_saved(_: list[Frame]) -> None:
        if held:
            busy.set()
            entered.set()
            assert gate.wait(30)
            busy.clear()
            held.clear()

    with OmeZarrWriter(tmp_path, "x", on_saved=on_saved, levels=None, queue_size=10) as writer:
        writer.put(Frame(AXES[0], image(0, SHAPE), {}))
        assert entered.wait(10)
        for i in (1, 2, 3):
            writer.put(Frame(AXES[i], image(i, SHAPE), {}))
        assert not done.is_set()
        gate.set()
        assert done.wait(10)  # before finish
    assert not wrong


def test_images_that_wait_to_be_synced_together_hold_no_level_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr("aiomm.dataset.omezarr.pyramid.halve", lambda one: (done.set(), halve(one))[1])  # type: ignore[func-returns-value]
    saved = threading.Event()
    gate = threading.Event()

    def on_saved(_: list[Frame]) -> None:
        if saved.is_set():
            return
        saved.set()
        assert gate.wait(30)

    with OmeZarrWriter(tmp_path, "x", levels=None, on_saved=on_saved, durability="interval", sync_interval=3600.0) as writer:
        writer.put(Frame(AXES[0], image(0, SHAPE), {}))
        writer.flush()
        assert saved.wait(10)
        writer.put(Frame(AXES[1], image(1, SHAPE), {}))  # held for an hour
        gate.set()
        assert done.wait(10)
        assert len(writer.dataset) == 1


def test_no_room_for_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image is saved, the error says so, and no half level is listed."""
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if Path(f"/proc/self/fd/{fd}").readlink().parts[-6] == "1" and offset:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(StorageError, match=r"every image is saved.*full"):
        write(tmp_path, levels=None)
    monkeypatch.undo()
    path = tmp_path / "x_1"
    assert listed(path) == ["0"]
    assert len(Dataset(path)) == 4
    build_levels(path)
    check(path)


def test_given_up(tmp_path: Path) -> None:
    writer = OmeZarrWriter(tmp_path, "x", levels=None)
    writer.put(Frame(AXES[0], image(0, SHAPE), {}))
    writer.give_up()
    with pytest.raises(StorageError, match="given up"):
        writer.finish()
    assert len(Dataset(writer.path)) == len(writer.dataset)


def test_halve() -> None:
    assert halve(np.array([[1, 2], [3, 4]], np.uint8)).tolist() == [[3]]
    assert halve(np.full((5, 7), 65535, np.uint16)).tolist() == [[65535] * 3] * 2
    assert halve(np.array([[1, 3, 5]], np.uint8)).shape == (1, 1)
    assert halve(np.zeros((4, 6, 3), np.uint8)).shape == (2, 3, 3)
    assert level_shapes((LARGEST, LARGEST)) == []
    assert level_shapes((2048, 2000)) == [(1024, 1000), (512, 500)]


@pytest.mark.parametrize("often", [1, 10**6])
def test_a_shard_keeps_its_place_until_its_index_is_written(tmp_path: Path, often: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of more shards than are open whose index was not written behind the acquisition gets it at the end, or no level is listed."""
    real, failed = ShardFile.renew_index, threading.Event()
    left = often

    def renew(shard: ShardFile) -> None:
        nonlocal left
        if "/1/c/" in shard.path.as_posix() and left:
            left -= 1
            failed.set()
            raise OSError(errno.EIO, "Input/output error")
        real(shard)

    monkeypatch.setattr(ShardFile, "renew_index", renew)
    writer = OmeZarrWriter(tmp_path, "x", levels=1)
    for position in range(OPEN_SHARDS + 1):
        writer.put(Frame({"position": position}, np.full((64, 64), position + 1, np.uint16), {}))
    writer.flush()
    assert failed.wait(30)
    if often > 1:
        with pytest.raises(StorageError, match=r"every image is saved.*Input/output error"):
            writer.finish()
        assert listed(writer.path / "0") == ["0"]
        return
    writer.finish()
    with Dataset(writer.path, full_res_only=False) as dataset:
        found = [dataset.read_image(position=position, resolution_level=1).max() for position in range(OPEN_SHARDS + 1)]
    assert found == list(range(1, OPEN_SHARDS + 2))


def test_a_level_that_may_not_be_on_the_device_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says so once; another try would pass."""
    real, failed = ShardFile.sync, threading.Event()

    def sync(shard: ShardFile) -> None:
        if "/1/c/" in shard.path.as_posix() and not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, "Input/output error")
        real(shard)

    monkeypatch.setattr(ShardFile, "sync", sync)
    writer = OmeZarrWriter(tmp_path, "x", levels=1, durability="every")
    for position in range(OPEN_SHARDS + 1):
        writer.put(Frame({"position": position}, np.ones((64, 64), np.uint16), {}))
    writer.flush()
    assert failed.wait(30)
    with pytest.raises(StorageError, match=r"every image is saved.*Input/output error"):
        writer.finish()
    assert listed(writer.path / "0") == ["0"]
