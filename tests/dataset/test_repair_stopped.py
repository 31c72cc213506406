"""A repair that is killed or interrupted at any of its steps: the next one completes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, OmeZarrWriter, PyramidWriter, rebuild_pyramid, repair
from aiomm.dataset.ndtiff import repair as module
from aiomm.dataset.ndtiff.reader import open_folder
from tests.dataset.support import image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STOPPED = """
import os, sys
from pathlib import Path
from aiomm.dataset import repair
path, way, most, only = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
count = 0
def step(event, arguments):  # every change to a file or folder
    global count
    opened = event == "open" and isinstance(arguments[1], str) and any(letter in arguments[1] for letter in "wax+")
    if opened or event in ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir"):
        count += 1
        if count == most:
            if way == "kill":
                os._exit(9)
            raise KeyboardInterrupt
sys.addaudithook(step)
try:
    repair(path, dry_run=False)
except KeyboardInterrupt:
    sys.exit(9)
"""


def pyramid(folder: Path) -> Path:
    with PyramidWriter(folder, "x", {}) as writer:
        for i in range(12):
            writer.put(Frame({"row": i // 4, "column": i % 4}, image(i, (16, 24)), {}))
    return writer.path


def zarr(folder: Path) -> Path:
    with OmeZarrWriter(folder, "x", {}, levels=1) as writer:
        for i in range(4):
            writer.put(Frame({"position": f"A{i % 2 + 1}", "time": i // 2}, image(i, (16, 24)), {}))
    return writer.path


def blank(path: Path) -> None:
    """Make the levels wrong, and damage something that has to be repaired, so that it shows whether they were made again."""
    if (path / "Full resolution").is_dir():
        for folder in path.glob("Downsampled_x*"):
            store = open_folder(folder)
            for row in range(len(store.index)):
                _, offset, width, height, *_ = store.table.row(row)
                with next(folder.glob("*.tif")).open("r+b") as file:
                    file.seek(offset)
                    file.write(bytes(2 * width * height))
            store.close()
        (path / "Full resolution" / "NDTiff.index").unlink()
    else:
        for shard in path.glob("*/*/*/1/c/**/*"):
            if shard.is_file():
                with shard.open("r+b") as file:
                    file.seek(4096)
                    file.write(bytes(100))
        os.truncate(path / "index.ndjson", 300)


def pictures(path: Path) -> list[list[np.ndarray]]:
    with Dataset(path, full_res_only=False) as dataset:
        keys = [sorted(dataset.get_index_keys(n), key=str) for n in range(dataset.num_resolution_levels)]
        return [[dataset.read_image(axes=key, resolution_level=n) for key in found] for n, found in enumerate(keys)]


def alike(one: list[list[np.ndarray]], other: list[list[np.ndarray]]) -> bool:
    return [len(level) for level in one] == [len(level) for level in other] and all(
        np.array_equal(a, b) for level, found in zip(one, other, strict=True) for a, b in zip(level, found, strict=True)
    )


def stopped(path: Path, way: str, steps: list[int]) -> list[int]:
    """Repair copies, each stopped at another step; say after which of them the next repair did not make it whole."""
    wanted, wrong = pictures(path), []
    blank(path)
    for step in steps:
        room = path.parent / "copies"
        copy = room / path.name
        shutil.copytree(path, copy)
        done = subprocess.run([sys.executable, "-c", STOPPED, str(copy), way, str(step)], check=False)
        assert done.returncode in (0, 9)
        repair(copy, dry_run=False)
        if not alike(pictures(copy), wanted) or repair(copy).needed or [entry.name for entry in room.iterdir()] != [copy.name]:
            wrong.append(step)
        shutil.rmtree(room)
        if done.returncode == 0:
            return wrong
    return wrong


@pytest.mark.parametrize("way", ["kill", "interrupt"])
@pytest.mark.parametrize(("make", "steps"), [(pyramid, [2, 4, 5, 6, 9, 13, 16, 17, 18, 20, 23]), (zarr, [3, 6, 8, 9, 10, 11, 13, 15])])
def test_the_next_repair_completes_it(tmp_path: Path, make: Callable[[Path], Path], way: str, steps: list[int]) -> None:
    assert stopped(make(tmp_path), way, steps[::2] if way == "kill" else steps[1::2]) == []


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["kill", "interrupt"])
@pytest.mark.parametrize("make", [pyramid, zarr])
def test_the_next_repair_completes_it_at_every_step(tmp_path: Path, make: Callable[[Path], Path], way: str) -> None:
    assert stopped(make(tmp_path), way, list(range(1, 200))) == []


def test_levels_that_were_not_begun_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pyramid(tmp_path)
    wanted = pictures(path)
    blank(path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_levels", stop)
        with pytest.raises(KeyboardInterrupt):
            repair(path, dry_run=False)
    assert "made again" in repair(path).actions[-1]
    assert repair(path, dry_run=False).applied
    assert alike(pictures(path), wanted)
    assert not repair(path).needed


def test_what_an_interrupted_rebuild_has_left_is_told_and_removed(tmp_path: Path) -> None:
    path = pyramid(tmp_path)
    left, other = tmp_path / f".{path.name}-levels-ab12_34x", tmp_path / f".{path.name}-levels-of mine"
    for folder in (left, other):
        folder.mkdir()
        (folder / "old").touch()
    assert repair(path).actions == [f"../{left.name}: removed, an interrupted repair has left it"]
    assert left.is_dir()
    assert repair(path, dry_run=False).applied
    assert not left.exists()
    assert other.is_dir()
    left.mkdir()
    rebuild_pyramid(path)
    assert not left.exists()


KILLED = """
import os, sys, threading
import numpy as np
from aiomm.dataset import Frame, PyramidWriter
from aiomm.dataset.ndtiff.levels import LevelsBuilder
LevelsBuilder.add = lambda self, row: None  # it has not come to the levels
most = None if sys.argv[2] == "None" else int(sys.argv[2])
count, done = 0, threading.Event()
def saved(frames):
    global count
    count += len(frames)
    if count == 16:
        done.set()
writer = PyramidWriter(sys.argv[1], "x", {}, max_multi_res_index=most, on_saved=saved)
for i in range(16):
    writer.put(Frame({"row": i // 4, "column": i % 4}, np.full((16, 24), i, np.uint16), {}))
done.wait()
os._exit(9)
"""


@pytest.mark.parametrize(("most", "levels"), [("None", 2), ("1", 1), ("0", 0)])
def test_a_writer_killed_before_its_first_level(tmp_path: Path, most: str, levels: int) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), most], check=False).returncode == 9
    path = tmp_path / "x_1"
    assert repair(path, dry_run=False).applied
    assert len(pictures(path)) == 1 + levels
    assert not repair(path).needed
    assert not (path / ".levels-missing").exists()
