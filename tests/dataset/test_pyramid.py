"""Resolution levels: what each pixel is, that they never endanger full resolution, and that they can be made again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from aiomm.dataset import Dataset, Frame, PyramidWriter, rebuild_pyramid, repair
from aiomm.dataset.ndtiff import pyramid
from aiomm.dataset.ndtiff.level import Level
from aiomm.errors import DatasetFormatError, StorageError, UnsupportedError
from tests.dataset.support import image, ndstorage_dataset, samples

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (16, 24)


def tile(i: int, row: int, column: int, kind: Any = np.uint16, size: tuple[int, int] = SIZE, **axes: Any) -> Frame:
    return Frame({"row": row, "column": column, **axes}, image(i, size, kind), {"Number": i})


def write(folder: Path, places: list[tuple[int, int]], kind: Any = np.uint16, size: tuple[int, int] = SIZE, **options: Any) -> Path:
    with PyramidWriter(folder, "tiles", {"Name": "x"}, **options) as writer:
        for i, (row, column) in enumerate(places):
            writer.put(tile(i, row, column, kind, size))
    return writer.path


def mosaic(dataset: Dataset, level: int, overlap: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """Join the tiles of a level, the slow and plain way; give also the rows and columns of pixels before zero."""
    keys = dataset.get_index_keys(level)
    first = dataset.read_image(**keys[0], resolution_level=level)
    h, w = (first.shape[0] - overlap[0], first.shape[1] - overlap[1]) if level == 0 else first.shape[:2]
    rows, columns = [int(k["row"]) for k in keys], [int(k["column"]) for k in keys]
    above, left = -min(*rows, 0), -min(*columns, 0)
    out = np.zeros(((max(*rows, 0) + above + 1) * h, (max(*columns, 0) + left + 1) * w, *first.shape[2:]), first.dtype)
    for key, r, c in zip(keys, rows, columns, strict=True):
        pixels = dataset.read_image(**key, resolution_level=level)
        if level == 0:
            pixels = pixels[overlap[0] // 2 :, overlap[1] // 2 :][:h, :w]
        out[(r + above) * h : (r + above + 1) * h, (c + left) * w : (c + left + 1) * w] = pixels
    return out, above * h, left * w


def check_levels(path: Path, overlap: tuple[int, int] = (0, 0)) -> int:
    """Every pixel of every level is the mean of four of the level below, wherever there is one."""
    with Dataset(path, full_res_only=False) as dataset:
        for level in range(1, dataset.num_resolution_levels):
            below, y0, x0 = mosaic(dataset, level - 1, overlap)
            here, y1, x1 = mosaic(dataset, level, overlap)
            wanted = np.zeros_like(here)
            for y in range(-y0 // 2 * 2, below.shape[0] - y0, 2):
                for x in range(-x0 // 2 * 2, below.shape[1] - x0, 2):
                    four = below[max(y + y0, 0) : y + y0 + 2, max(x + x0, 0) : x + x0 + 2].astype(int)
                    wanted[y // 2 + y1, x // 2 + x1] = four.sum(axis=(0, 1)) // 4
            assert np.array_equal(here, wanted), level
        return dataset.num_resolution_levels - 1


GRID = [(r, c) for r in range(3) for c in range(4)]
AROUND = [(0, 0), (-1, 0), (-1, -1), (2, -3), (-4, 1), (0, -1)]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, "rgb"])
@pytest.mark.parametrize("overlap", [0, 4, (6, 2), (0, 8)])
def test_every_pixel_of_every_level(tmp_path: Path, kind: Any, overlap: Any) -> None:
    across, down = overlap if isinstance(overlap, tuple) else (overlap, overlap)
    for name, places, levels in (("grid", GRID, 2), ("around", AROUND, 2)):
        path = write(tmp_path / name, places, kind, (SIZE[0] + down, SIZE[1] + across), overlap=overlap)
        assert check_levels(path, (down, across)) == levels
        with Dataset(path) as dataset:
            assert dataset.summary_metadata == {
                "Name": "x", "TiledImageStorage": True, "GridPixelOverlapX": across, "GridPixelOverlapY": down,
            }  # fmt: skip
            for i, (row, column) in enumerate(places):
                assert np.array_equal(dataset.read_image(row=row, column=column), image(i, (SIZE[0] + down, SIZE[1] + across), kind))


def test_levels_that_the_reference_implementation_wrote(tmp_path: Path) -> None:
    """Made again from full resolution, every tile is what Java wrote: odd sizes, overlap, RGB."""
    source = samples() / "ndtiff3.2_magellan_explore_rgb"
    shutil.copytree(source, tmp_path / "again")
    assert rebuild_pyramid(tmp_path / "again", 3) == 3
    same = 0
    with Dataset(source, full_res_only=False) as old, Dataset(tmp_path / "again", full_res_only=False) as new:
        for level in range(4):
            for key in new.get_index_keys(level):
                at = {**key, "resolution_level": level}
                assert np.array_equal(old.read_image(**at), new.read_image(**at))
                assert old.read_metadata(**at) == new.read_metadata(**at)
                same += 1
    assert same == 8


@pytest.mark.parametrize(
    ("places", "levels"),
    [([(0, 0)], 0), ([(7, 9)], 0), ([(0, 0), (0, 1)], 1), ([(-1, 0), (0, 0)], 0), ([(0, 0), (0, 8)], 4), ([(-3, 0), (0, 0)], 2)],
)
def test_as_many_levels_as_it_takes(tmp_path: Path, places: list[tuple[int, int]], levels: int) -> None:
    assert check_levels(write(tmp_path, places)) == levels
    assert check_levels(write(tmp_path, places, max_multi_res_index=2)) == 2
    assert check_levels(write(tmp_path, places, max_multi_res_index=0)) == 0


def test_other_axes_have_levels_of_their_own(tmp_path: Path) -> None:
    with PyramidWriter(tmp_path, "x", {}) as writer:
        for i, (r, c) in enumerate(GRID):
            for z in (-1, 5):
                for channel in ("DAPI", "FITC"):
                    writer.put(tile(100 * i + z + 1, r, c, z=z, channel=channel))
    with Dataset(writer.path, full_res_only=False) as dataset:
        assert len(dataset.get_index_keys(1)) == 4 * 4
        assert len(dataset.get_index_keys(2)) == 4
        full = dataset.read_image(row=2, column=2, z=5, channel="FITC").astype(int)
        mean = (full[::2, ::2] + full[1::2, ::2] + full[::2, 1::2] + full[1::2, 1::2]) // 4
        assert np.array_equal(dataset.read_image(row=1, column=1, z=5, channel="FITC", resolution_level=1)[:8, :12], mean)
        assert dataset.read_metadata(row=0, column=0, z=5, channel="DAPI", resolution_level=2)["Axes"]["row"] == 0


@pytest.mark.parametrize("kept", [None, 1])
def test_tiles_put_again(tmp_path: Path, kept: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels are overwritten in place; also tiles that were in the file only."""
    if kept:
        monkeypatch.setattr("aiomm.dataset.ndtiff.level.CACHE_BYTES", kept)
    assert check_levels(write(tmp_path, GRID + GRID[::-1] + AROUND, allow_duplicates=True)) == 2


def test_read_by_the_reference_reader_and_by_a_tiff_reader(tmp_path: Path) -> None:
    path = write(tmp_path, GRID, overlap=2)
    with Dataset(path, full_res_only=False) as ours, ndstorage_dataset(path) as theirs:
        assert sorted(theirs.res_levels) == [0, 1, 2]
        for level in range(3):
            for key in ours.get_index_keys(level):
                assert np.array_equal(ours.read_image(**key, resolution_level=level), theirs.res_levels[level].read_image(**key))
        joined = theirs.as_array(stitched=True, res_level=0).compute()
        assert np.array_equal(joined, mosaic(ours, 0, (2, 2))[0])
        folder = path / "Downsampled_x2"
        with tifffile.TiffFile(folder / "tiles_NDTiffStack.tif") as file:
            pages = [page.asarray() for page in file.pages]
        assert np.array_equal(pages, [ours.read_image(**k, resolution_level=1) for k in ours.get_index_keys(1)])
    assert sorted(p.name for p in path.iterdir()) == ["Downsampled_x2", "Downsampled_x4", "Full resolution", "display_settings.txt"]


def test_levels_are_there_while_it_goes_on(tmp_path: Path) -> None:
    """Whenever the builder has nothing to do, what it built can be read."""
    flushed = threading.Event()

    with pytest.MonkeyPatch.context() as patch:
        flush = pyramid.LevelsBuilder.flush
        patch.setattr(pyramid.LevelsBuilder, "flush", lambda self: (flush(self), self.levels and flushed.set())[0])
        with PyramidWriter(tmp_path, "x", max_multi_res_index=1) as writer:
            for i in range(5):
                flushed.clear()
                writer.put(tile(i, 0, i))
                while True:
                    assert flushed.wait(10)
                    flushed.clear()
                    with Dataset(writer.path, full_res_only=False) as dataset:
                        if dataset.has_image(row=0, column=i // 2, resolution_level=1):
                            got = dataset.read_image(row=0, column=i // 2, resolution_level=1)
                            if got[:8, i % 2 * 12 : i % 2 * 12 + 12].any():
                                break


def test_levels_never_hold_full_resolution_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the builder stuck, every tile is put, saved and readable."""
    go, saved = threading.Event(), threading.Semaphore(0)
    add = pyramid.LevelsBuilder.add
    monkeypatch.setattr(pyramid.LevelsBuilder, "add", lambda self, row: (go.wait(30), add(self, row)))
    with PyramidWriter(tmp_path, "x", queue_size=2, on_saved=lambda frames: [saved.release() for _ in frames]) as writer:
        for i in range(40):
            writer.put(tile(i, i // 8, i % 8), timeout=10)
        for _ in range(40):
            assert saved.acquire(timeout=10)
        assert len(writer.dataset) == 40
        assert writer.dataset.path == writer.path
        go.set()
    assert check_levels(writer.path) == 3


@pytest.mark.parametrize("at_once", [True, False])
def test_a_disk_that_is_full_for_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    """Every tile is saved; the levels that would miss some are not left behind; the error says what to do."""
    count = 0

    def write_level(self: Level, file: Any, data: memoryview, offset: int) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        real(self, file, data, offset)

    real = Level._write
    with monkeypatch.context() as patch:
        patch.setattr(Level, "_write", write_level)
        writer = PyramidWriter(tmp_path, "x")
        for i, (r, c) in enumerate(GRID):
            writer.put(tile(i, r, c))
        while not at_once and any(thread.name.startswith("aiomm-pyramid") for thread in threading.enumerate()):
            time.sleep(0.01)  # the levels are given up before the tiles have ended
        for _ in range(2):
            with pytest.raises(StorageError, match=r"every tile is saved.*No space left.*aiomm repair --apply /.*rebuild_pyramid"):
                writer.finish()
    assert sorted(p.name for p in writer.path.iterdir()) == [".levels-missing", "Full resolution", "display_settings.txt"]
    with ndstorage_dataset(writer.path) as theirs:
        assert all(theirs.has_image(row=r, column=c) for r, c in GRID)
    with Dataset(writer.path, full_res_only=False) as dataset:
        assert len(dataset) == len(GRID)
        assert dataset.finished
    assert repair(writer.path).actions == ["resolution levels: made again from full resolution, because they were not finished"]
    if at_once:
        assert rebuild_pyramid(writer.path) == 2
    else:
        assert repair(writer.path, dry_run=False).applied
    assert check_levels(writer.path) == 2
    assert not repair(writer.path).needed
    assert sorted(p.name for p in writer.path.iterdir() if p.is_file()) == ["display_settings.txt"]


def test_given_up(tmp_path: Path) -> None:
    writer = PyramidWriter(tmp_path, "x")
    writer.put(tile(0, 0, 0))
    writer.give_up()
    with pytest.raises(StorageError, match="given up"):
        writer.finish()
    with Dataset(writer.path, full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 1


@pytest.mark.parametrize(
    ("frame", "error", "text"),
    [
        (Frame({"column": 0}, image(0, SIZE), {}), ValueError, "no axis 'row'"),
        (Frame({"row": 0, "column": "a"}, image(0, SIZE), {}), ValueError, "no axis 'column' with an integer"),
        (tile(0, 0, 1, np.uint8), ValueError, "the first was"),
        (tile(0, 0, 1, size=(16, 25)), ValueError, "the first was"),
        (Frame({"row": 0, "column": 1}, image(0, SIZE).astype(float), {}), TypeError, "uint8 or uint16"),
    ],
)
def test_what_is_no_tile_is_refused(tmp_path: Path, frame: Frame, error: type[Exception], text: str) -> None:
    with PyramidWriter(tmp_path, "x") as writer:
        writer.put(tile(0, 0, 0))
        with pytest.raises(error, match=text):
            writer.try_put(frame)
        assert writer.try_put(tile(1, 0, 1))
    assert len(Dataset(writer.path)) == 2


def test_a_first_frame_that_is_refused_says_nothing_about_the_next(tmp_path: Path) -> None:
    with PyramidWriter(tmp_path, "x", overlap=15) as writer:
        with pytest.raises(ValueError, match="less than 2 x 2"):
            writer.put(tile(0, 0, 0))
        writer.put(tile(0, 0, 0, np.uint8, (40, 40)))
    assert len(Dataset(writer.path)) == 1


@pytest.mark.parametrize("overlap", [-1, (1, 2.5), "many", (1, True)])
def test_overlaps_that_make_no_sense(tmp_path: Path, overlap: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="overlap"):
        PyramidWriter(tmp_path, "x", overlap=overlap)
    with pytest.raises(ValueError, match="max_multi_res_index"):
        PyramidWriter(tmp_path, "x", max_multi_res_index=-1)
    assert not list(tmp_path.iterdir())


def test_rebuilt_as_written(tmp_path: Path) -> None:
    path = write(tmp_path, AROUND, overlap=(4, 2))
    with Dataset(path, full_res_only=False) as dataset:
        before = [[dataset.read_image(**k, resolution_level=n) for k in dataset.get_index_keys(n)] for n in range(3)]
    shutil.rmtree(path / "Downsampled_x2")
    assert rebuild_pyramid(path) == 2
    with Dataset(path, full_res_only=False) as dataset:
        after = [[dataset.read_image(**k, resolution_level=n) for k in dataset.get_index_keys(n)] for n in range(3)]
    assert all(np.array_equal(a, b) for one, other in zip(before, after, strict=True) for a, b in zip(one, other, strict=True))
    assert rebuild_pyramid(path, 1) == check_levels(path, (2, 4)) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_has_no_levels_to_rebuild(tmp_path: Path) -> None:
    with pytest.raises(DatasetFormatError, match="not a tiled NDTiff dataset"):
        rebuild_pyramid(tmp_path)
    with pytest.raises(UnsupportedError, match=r"NDTiff 2\.0"):
        rebuild_pyramid(samples() / "ndtiffv2.0_stitched_test")


def test_rebuilding_that_fails_keeps_the_old_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, GRID)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Level, "_write", fail)
    with pytest.raises(StorageError, match="No space left"):
        rebuild_pyramid(path)
    assert check_levels(path) == 2
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


ENDLESS = """
import os, sys
import numpy as np
from aiomm.dataset import Frame, PyramidWriter

writer = PyramidWriter(sys.argv[1], "x", queue_size=4, on_saved=lambda frames: os.write(1, b"s" * len(frames)))
for i in range(10**6):
    writer.put(Frame({"row": i // 8 % 8, "column": i % 8, "time": i // 64}, np.full((64, 64), i + 1, np.uint16), {"Number": i}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("most", [1, 100, 300])
def test_killed_and_repaired(tmp_path: Path, most: int) -> None:
    """What was reported is there at full resolution at once; repair ends the files, and makes levels of all of it."""
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        reported = len(process.stdout.read(most))
        process.kill()
        reported += len(process.stdout.read())
    path = tmp_path / "x_1"
    with Dataset(path) as dataset:
        assert len(dataset) >= reported >= most
    done = repair(path, dry_run=False)
    assert done.applied
    assert done.images >= reported
    assert not repair(path).needed
    with Dataset(path, full_res_only=False) as dataset:
        assert dataset.finished
        images = len(dataset)
        for i in range(images):
            pixels = dataset.read_image(row=i // 8 % 8, column=i % 8, time=i // 64)
            assert (pixels == i + 1).all()
            for level in range(1, dataset.num_resolution_levels):
                size = 64 >> level
                y, x = (i // 8 % 8 % 2**level) * size, (i % 8 % 2**level) * size
                at = {"row": i // 8 % 8 >> level, "column": i % 8 >> level, "time": i // 64, "resolution_level": level}
                assert (dataset.read_image(**at)[y : y + size, x : x + size] == i + 1).all()
    assert dataset.num_resolution_levels == (4 if images >= 64 else dataset.num_resolution_levels)


@pytest.mark.parametrize("renames", [True, False])
def test_a_writer_that_dies_while_it_makes_a_level(tmp_path: Path, renames: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves is no level: the dataset opens, and levels made again leave nothing of it."""
    killed, go = threading.Event(), threading.Event()

    def no_index(path: Path) -> None:
        killed.set()
        go.wait(30)
        raise OSError("killed")

    monkeypatch.setattr("aiomm.dataset.ndtiff.level.RENAMES", renames)
    with monkeypatch.context() as patch:
        patch.setattr("aiomm.dataset.ndtiff.level.OutputIndex", no_index)
        writer = PyramidWriter(tmp_path, "x")
        for i, (r, c) in enumerate(GRID):
            writer.put(tile(i, r, c))
        assert killed.wait(10)
        left = tmp_path / "left"
        shutil.copytree(writer.path, left)
        go.set()
        with pytest.raises(StorageError, match="every tile is saved"):
            writer.finish()
    assert (left / "Downsampled_x2").exists() is not renames
    with Dataset(left, full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 1
    assert rebuild_pyramid(left) == check_levels(left) == 2
    assert sorted(p.name for p in left.iterdir() if p.is_dir()) == ["Downsampled_x2", "Downsampled_x4", "Full resolution"]


def test_a_level_is_there_from_its_first_tile_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others cannot open a level that has none."""
    add, seen = Level._add, {}

    def looking(self: Level, *args: Any) -> None:
        if self not in seen:
            seen[self] = (tmp_path / "tiles_1" / f"Downsampled_x{2 ** (len(seen) + 1)}").exists()
        add(self, *args)

    monkeypatch.setattr(Level, "_add", looking)
    path = write(tmp_path, [(0, 0), (0, 7)])
    assert list(seen.values()) == [False] * 3
    assert check_levels(path) == 3


@pytest.mark.parametrize("most", [-1, "x", 1.5, True])
def test_numbers_of_levels_that_make_no_sense(tmp_path: Path, most: Any) -> None:
    path = write(tmp_path, GRID)
    with pytest.raises(ValueError, match=re.escape(f"max_multi_res_index is {most!r}: it must be the number of the coarsest level")):
        rebuild_pyramid(path, most)
    assert check_levels(path) == 2
