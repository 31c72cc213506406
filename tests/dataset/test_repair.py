"""Repair: whatever is whole in the TIFF files comes back, nothing else changes, a dry run changes nothing at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import random
import shutil
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm.dataset.ndtiff.repair as module
from aiomm.dataset import Dataset, Frame, NDTiffWriter, PyramidWriter, rebuild_pyramid, repair
from aiomm.errors import DatasetFormatError, StorageError, UnsupportedError
from tests.dataset.support import image, ndstorage_dataset, samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPES = [(20, 30), (31, 33), (200, 301)]


def frame(i: int) -> Frame:
    if i % 7 == 3:
        return Frame({"time": i, "channel": "RGB"}, image(i, (20, 30), "rgb"), {"Number": i, "Text": "é" * (i % 5)})
    bits = 12 if i % 5 == 0 else 16
    return Frame({"time": i, "channel": "DAPI"}, image(i, SHAPES[i % 3], bits=bits), {"Number": i, "BitDepth": bits}, bits)


def write(folder: Path, count: int = 40, **options: Any) -> Path:
    with NDTiffWriter(folder, "whole", {"Name": "x"}, **options) as writer:
        for i in range(count):
            writer.put(frame(i))
    return writer.path


def check(path: Path, numbers: list[int] | range) -> None:
    """These images are there and right, and no others; aiomm and the reference reader agree."""
    with Dataset(path) as dataset:
        assert dataset.finished
        assert len(dataset.get_index_keys()) == len(numbers)
        for i in numbers:
            wanted = frame(i)
            pixels, metadata = dataset.read_image(**wanted.axes, read_metadata=True)
            assert np.array_equal(pixels, wanted.pixels)
            assert pixels.dtype == wanted.pixels.dtype
            assert metadata == {**wanted.metadata, "Axes": wanted.axes}
        depths = {dataset._store.bit_depth_of(row): dataset.axes_of(row)["time"] for row in range(len(dataset))}
        assert set(depths) <= {8, 12, 16}
    if len(numbers):
        with ndstorage_dataset(path) as other:
            for i in numbers:
                assert np.array_equal(other.read_image(**frame(i).axes), frame(i).pixels)


def state(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).digest() for file in sorted(path.rglob("*")) if file.is_file()}


def repaired(path: Path) -> Any:
    """Repair; the dry run before says the same and changes nothing, a second repair has nothing to do."""
    before = state(path)
    dry = repair(path)
    assert state(path) == before
    assert not dry.applied
    done = repair(path, dry_run=False)
    assert (dry.actions, dry.images, dry.recovered, dry.lost) == (done.actions, done.images, done.recovered, done.lost)
    assert done.applied == done.needed
    again = repair(path)
    assert not again.needed, again
    assert again.images == done.images
    return done


def test_nothing_to_do(tmp_path: Path) -> None:
    path = write(tmp_path, file_limit=2**20)
    before = state(path)
    report = repair(path, dry_run=False)
    assert not report.needed
    assert not report.applied
    assert "nothing to repair, 40 images" in str(report)
    assert state(path) == before


@pytest.mark.parametrize("name", ["12_bit_pycromanager_mda", "ndtiff3.2_multichannel", "ndtiff3.2_monochrome", "ndtiffv2.0_test"])
def test_a_lost_index_of_real_datasets(name: str, tmp_path: Path) -> None:
    source = samples() / name
    path = tmp_path / name
    shutil.copytree(source, path)
    assert not repair(path).needed
    next(path.rglob("NDTiff.index")).unlink()
    report = repaired(path)
    with Dataset(source) as old, Dataset(path) as new:
        assert report.recovered == len(new) == len(old)
        assert {frozenset(k.items()) for k in old.get_index_keys()} == {frozenset(k.items()) for k in new.get_index_keys()}
        for key in old.get_index_keys():
            assert np.array_equal(old.read_image(**key), new.read_image(**key))
            assert old.read_metadata(**key) == new.read_metadata(**key)
        assert old.bit_depth == new.bit_depth


@pytest.mark.parametrize("limit", [2**32, 2**20])
def test_a_lost_index(tmp_path: Path, limit: int) -> None:
    path = write(tmp_path, file_limit=limit)
    index = path / "NDTiff.index"
    whole = index.read_bytes()
    index.unlink()
    report = repaired(path)
    assert (report.images, report.recovered, report.lost) == (40, 40, 0)
    assert index.read_bytes() == whole
    check(path, range(40))


def test_an_index_cut_anywhere(tmp_path: Path) -> None:
    path = write(tmp_path)
    index = path / "NDTiff.index"
    whole = index.read_bytes()
    rng = random.Random(1)
    for cut in [0, 1, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(12))]:
        index.write_bytes(whole[:cut])
        report = repair(path, dry_run=False)
        assert report.recovered > 0
        assert index.read_bytes() == whole
        (path / module.BACKUP).unlink()
    check(path, range(40))


def test_an_index_damaged_in_the_middle(tmp_path: Path) -> None:
    """Garbage written over, taken out, or put in: every image comes back; records behind it are found by the files' names."""
    path = write(tmp_path)
    index = path / "NDTiff.index"
    whole = index.read_bytes()
    rng = random.Random(2)
    for _ in range(15):
        start = rng.randrange(len(whole))
        end = min(len(whole), start + rng.randrange(1, 400))
        garbage = rng.randbytes(rng.choice([0, end - start, 37])) if rng.random() < 0.8 else bytes(end - start)
        index.write_bytes(whole[:start] + garbage + whole[end:])
        report = repair(path, dry_run=False)
        assert report.images == 40, report
        with Dataset(path) as dataset:
            assert len(dataset.get_index_keys()) == 40
    check(path, range(40))


def test_records_without_axes_in_their_metadata_are_found_behind_damage(tmp_path: Path) -> None:
    """What only the index knows is not given up where the index can still be read."""
    import ndstorage

    with contextlib.redirect_stdout(io.StringIO()):
        other = ndstorage.NDTiffDataset(str(tmp_path), name="theirs", summary_metadata={"a": 1}, writable=True)
        for i in range(30):
            other.put_image({"time": i}, image(i), {"Number": i})
        reader = other.current_writer.reader
        other.finish()
        reader.close()
        other.close()
    path = tmp_path / "theirs_1"
    index = path / "NDTiff.index"
    whole = index.read_bytes()
    index.write_bytes(whole[:500] + b"\xff" * 20 + whole[520:])
    report = repaired(path)
    assert 27 <= report.images < 30
    assert report.recovered == 0
    assert "do not say on which axes" in report.problems[0]
    with Dataset(path) as dataset:
        for row in range(len(dataset)):
            time = dataset.axes_of(row)["time"]
            assert np.array_equal(dataset.read_row(row)[0], image(int(time)))
    assert (path / module.BACKUP).read_bytes() != index.read_bytes()


def as_java_leaves_it(path: Path) -> None:
    """Zeros behind the index and the images."""
    for file in [path / "NDTiff.index", *path.glob("*.tif")]:
        os.truncate(file, file.stat().st_size + 25 * 2**20)


def as_a_killed_writer_leaves_it(path: Path) -> None:
    """The last image says that another one follows, of which there is a part; and a file that has no header yet."""
    tiff = max(path.glob("*.tif"), key=lambda p: (len(p.name), p.name))
    with Dataset(path) as dataset:
        place = max(dataset._store.table.row(row) for row in range(len(dataset)) if dataset._store.table.row(row)[0] == 0)
    size = tiff.stat().st_size
    ifd = min(place[1], place[5]) - 178
    data = bytearray(tiff.read_bytes())
    assert data[ifd : ifd + 2] == b"\x0d\0"
    data[ifd + 158 : ifd + 162] = size.to_bytes(4, "little")
    tiff.write_bytes(bytes(data) + data[ifd : ifd + 178] + b"half an image")
    (path / "whole_NDTiffStack_9.tif.new").write_bytes(b"II")
    with (path / "NDTiff.index").open("ab") as index:
        index.write(b'\x10\0\0\0{"time')


@pytest.mark.parametrize("damage", [as_java_leaves_it, as_a_killed_writer_leaves_it])
def test_files_that_were_not_ended(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = write(tmp_path, 38)
    size = sum(file.stat().st_size for file in path.glob("*.tif"))
    damage(path)
    with Dataset(path) as dataset:
        assert not dataset.finished
    report = repaired(path)
    assert (report.images, report.recovered, report.lost) == (38, 0, 0)
    assert sum(file.stat().st_size for file in path.glob("*.tif")) <= size
    assert not list(path.glob("*.new"))
    check(path, range(38))


def test_damage_in_the_chain_of_images(tmp_path: Path) -> None:
    """Without an index, images behind a broken pointer or a broken IFD are found all the same."""
    path = write(tmp_path)
    (tiff,) = path.glob("*.tif")
    with Dataset(path) as dataset:
        places = [dataset._store.table.row(row) for row in range(40)]
    ifds = [min(p[1], p[5]) - (184 if p[4] == 2 else 178) for p in places]
    with tiff.open("r+b") as file:
        file.seek(ifds[5] + 158)
        file.write(bytes(4))
        file.seek(ifds[20])
        file.write(b"\xff" * 30)
    (path / "NDTiff.index").unlink()
    report = repaired(path)
    assert report.images == 39
    check(path, [i for i in range(40) if i != 20])


def test_an_image_whose_ifd_alone_is_damaged_stays(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tiff,) = path.glob("*.tif")
    with Dataset(path) as dataset:
        place = dataset._store.table.row(20)
    with tiff.open("r+b") as file:
        file.seek(min(place[1], place[5]) - 178)
        file.write(b"\xff" * 30)
    report = repaired(path)
    assert (report.images, report.lost) == (40, 0)
    check(path, range(40))


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, file_limit=2**20)
    with Dataset(path) as dataset:
        table = [dataset._store.table.row(row) for row in range(40)]
        files = list(dataset._store.files)
    (path / files[1]).unlink()
    left = [i for i in range(40) if table[i][0] != 1]
    report = repaired(path)
    assert (report.images, report.lost) == (len(left), 40 - len(left))
    assert any(files[1] in action and "is not there" in action for action in report.actions)
    check(path, left)


def test_a_file_that_was_renamed(tmp_path: Path) -> None:
    """Its images are taken out under the old name and found under the new one: none is lost. Of those put twice each counts."""
    path = write(tmp_path)
    (tiff,) = path.glob("*.tif")
    tiff.rename(path / f"copy_{tiff.name}")
    report = repaired(path)
    assert (report.images, report.recovered, report.lost) == (40, 40, 0)
    assert "40 images whole, 40 of them recovered, 0 lost" in str(report)
    check(path, range(40))
    with NDTiffWriter(tmp_path, "twice", allow_duplicates=True, file_limit=2**20) as writer:
        for _ in range(2):
            for i in range(3):
                writer.put(Frame({"time": i}, image(i, (500, 500)), {}))
    with Dataset(writer.path) as dataset:
        files = [dataset._store.table.row(row)[0] for row in range(6)]
        assert files == [0, 0, 1, 1, 2, 2]
        names = list(dataset._store.files)
    (writer.path / names[0]).rename(writer.path / "other_NDTiffStack.tif")  # times 0 and 1
    (writer.path / names[1]).unlink()  # times 2 and 0
    report = repaired(writer.path)
    assert (report.images, report.recovered, report.lost) == (4, 2, 2)


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tiff,) = path.glob("*.tif")
    with Dataset(path) as dataset:
        place = dataset._store.table.row(30)
    os.truncate(tiff, place[1] + 3)
    report = repaired(path)
    assert (report.images, report.lost) == (30, 10)
    check(path, range(30))


def test_records_that_point_into_other_images(tmp_path: Path) -> None:
    path = write(tmp_path)
    index = path / "NDTiff.index"
    whole = bytearray(index.read_bytes())
    at = whole.index(b'{"time":11,') + len(b'{"time":11,"channel":"DAPI"}') + 4 + len("whole_NDTiffStack.tif")
    whole[at] ^= 0x40
    index.write_bytes(whole)
    report = repaired(path)
    assert (report.images, report.lost, report.recovered) == (40, 0, 1)
    check(path, range(40))


def test_of_images_put_twice_the_last_counts_still(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", allow_duplicates=True) as writer:
        for i in range(30):
            writer.put(Frame({"time": i % 10}, image(i), {"Number": i}))
    (writer.path / "NDTiff.index").unlink()
    assert repaired(writer.path).images == 30
    with Dataset(writer.path) as dataset:
        assert [dataset.read_metadata(time=t)["Number"] for t in range(10)] == list(range(20, 30))


def test_every_old_index_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path, 5)
    index = path / "NDTiff.index"
    for text in (b"one", b"two", b"three"):
        index.write_bytes(text)
        repair(path, dry_run=False)
    assert [(path / (module.BACKUP + tail)).read_bytes() for tail in ("", "-2", "-3")] == [b"one", b"two", b"three"]
    check(path, range(5))


@pytest.mark.parametrize("synced", [0, 1])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: int) -> None:
    path = write(tmp_path)
    index = path / "NDTiff.index"
    index.write_bytes(index.read_bytes()[:-50])
    before = state(path)
    real, count = os.fsync, [0]

    def fsync(fd: int) -> None:
        count[0] += 1
        if count[0] > synced:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left"):
        repair(path, dry_run=False)
    monkeypatch.undo()
    assert state(path) == before
    repair(path, dry_run=False)
    check(path, range(40))


def tiles(folder: Path) -> Path:
    with PyramidWriter(folder, "tiles", {}, overlap=2) as writer:
        for i in range(12):
            writer.put(Frame({"row": i // 4, "column": i % 4 - 2}, image(i, (18, 26)), {"Number": i}))
    return writer.path


def levels(path: Path) -> list[list[np.ndarray]]:
    with Dataset(path, full_res_only=False) as dataset:
        assert dataset.finished
        return [
            [dataset.read_image(**key, resolution_level=n) for key in sorted(dataset.get_index_keys(n), key=str)]
            for n in range(dataset.num_resolution_levels)
        ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "Full resolution" / "NDTiff.index").unlink(),
        lambda path: (path / "Downsampled_x2" / "NDTiff.index").unlink(),
        lambda path: (path / "Downsampled_x4" / "tiles_NDTiffStack.tif").unlink(),
        lambda path: os.truncate(path / "Downsampled_x2" / "NDTiff.index", 100),
        lambda path: shutil.rmtree(path / "Downsampled_x2"),
        lambda path: as_java_leaves_it(path / "Downsampled_x2"),
    ],
)
def test_levels_are_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tiles(tmp_path)
    before = levels(path)
    assert not repair(path).needed
    damage(path)
    report = repaired(path)
    assert report.images == 12
    assert "made again" in report.actions[-1]
    after = levels(path)
    assert len(before) == len(after) == 3
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one, other)


def test_what_cannot_be_repaired(tmp_path: Path) -> None:
    for path, error, text in [
        (tmp_path / "nowhere", DatasetFormatError, "no such folder"),
        (tmp_path, DatasetFormatError, "no NDTiff dataset here"),
    ]:
        with pytest.raises(error, match=text):
            repair(path)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetFormatError, match="this is a file"):
        repair(tmp_path / "file")
    (tmp_path / "zarr.json").write_text("{}")
    with pytest.raises(UnsupportedError, match="OME-Zarr"):
        repair(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x_NDTiffStack.tif").write_bytes(b"something else")
    with pytest.raises(DatasetFormatError, match="no TIFF file here has the header"):
        repair(tmp_path / "other")


def test_a_dataset_that_is_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, 5)
    (path / "NDTiff.index").write_bytes(b"")
    real = module._Folder._recover

    def meanwhile(self: Any, *arguments: Any) -> None:
        real(self, *arguments)
        with (path / "NDTiff.index").open("ab") as file:
            file.write(b"x")

    monkeypatch.setattr(module._Folder, "_recover", meanwhile)
    with pytest.raises(StorageError, match="is being written to"):
        repair(path, dry_run=False)
    assert not (path / module.BACKUP).exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who has a file open")
@pytest.mark.parametrize("make", [NDTiffWriter, PyramidWriter])
def test_a_dataset_whose_writer_lives_is_left_alone(tmp_path: Path, make: Any) -> None:
    """Also when nothing has come for a while: its writer would go on into files that are no longer its own."""
    with make(tmp_path, "x") as writer:
        writer.put(Frame({"row": 0, "column": 0}, image(0), {}))
        before = state(writer.path)
        with Dataset(writer.path), pytest.raises(StorageError, match=f"by process {os.getpid()}"):
            repair(writer.path, dry_run=False)
        assert state(writer.path).keys() == before.keys()
    with Dataset(writer.path) as dataset:
        dataset.read_row(0)
        assert not repair(writer.path).needed


def test_an_image_whose_metadata_alone_is_damaged_stays(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tiff,) = path.glob("*.tif")
    with Dataset(path) as dataset:
        place = dataset._store.table.row(20)
    with tiff.open("r+b") as file:
        file.seek(place[5] + 1)
        file.write(b"\xff")
    assert not repair(path).needed
    (path / "NDTiff.index").write_bytes((path / "NDTiff.index").read_bytes()[:-10])
    assert repaired(path).images == 40
    with Dataset(path) as dataset:
        assert np.array_equal(dataset.read_image(**frame(20).axes), frame(20).pixels)


def test_records_of_what_has_moved_are_taken_out(tmp_path: Path) -> None:
    """Bytes lost in the middle of a file: what its index says of the images behind is not true any more."""
    path = write(tmp_path)
    (tiff,) = path.glob("*.tif")
    with Dataset(path) as dataset:
        place = dataset._store.table.row(20)
    data = tiff.read_bytes()
    tiff.write_bytes(data[: place[1] + 2] + data[place[1] + 4 :])
    report = repaired(path)
    assert report.lost == 19  # of the image that has the gap, only a person can say so
    assert "hold parts of others; they are left as they are" in report.problems[0]
    assert tiff.stat().st_size == len(data) - 2
    with Dataset(path) as dataset:
        assert len(dataset) == 21
        for i in range(20):
            assert np.array_equal(dataset.read_image(**frame(i).axes), frame(i).pixels)


@pytest.mark.parametrize("given", [None, 3, b"x", ""])
def test_what_is_no_path(given: Any) -> None:
    for work in (repair, rebuild_pyramid):
        with pytest.raises((TypeError, ValueError), match=r"^path is (empty|.*: it must be a path)"):
            work(given)
