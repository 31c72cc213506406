"""Bad datasets: a clear error or the images that are whole, never wrong pixels, a crash, or endless memory."""

from __future__ import annotations

import json
import os
import random
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.errors import DatasetError, DatasetFormatError, MissingImageError
from tests.dataset.support import frame, image, same

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    with NDTiffWriter(tmp_path, "x", {"a": 1}) as writer:
        for i in range(20):
            writer.put(frame(i, time=i, channel="DAPI"))
    return writer.path


def index(path: Path) -> Path:
    return path / "NDTiff.index"


def tiff(path: Path) -> Path:
    return path / "x_NDTiffStack.tif"


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 30, 60, 80])
def test_index_cut_short_as_by_a_kill(whole: Path, cut: int) -> None:
    data = index(whole).read_bytes()
    index(whole).write_bytes(data[:-cut])
    dataset = Dataset(whole)
    assert len(dataset) == 19
    assert all(same(dataset.read_image(time=i), image(i)) for i in range(19))


def test_index_with_zeros_after_its_end_as_java_leaves(whole: Path) -> None:
    index(whole).write_bytes(index(whole).read_bytes() + bytes(10_000))
    assert len(Dataset(whole)) == 20


def test_empty_index(whole: Path) -> None:
    index(whole).write_bytes(b"")
    dataset = Dataset(whole)
    assert len(dataset) == 0
    assert dataset.summary_metadata["a"] == 1
    assert not dataset.finished
    with pytest.raises(MissingImageError, match="empty"):
        dataset.read_image()


def test_no_index(whole: Path) -> None:
    index(whole).unlink()
    with pytest.raises(DatasetFormatError, match=r"NDTiff\.index"):
        Dataset(whole)


def test_no_tiff(whole: Path) -> None:
    tiff(whole).unlink()
    with pytest.raises(DatasetFormatError, match=r"x_NDTiffStack\.tif"):
        Dataset(whole)
    index(whole).write_bytes(b"\x20\0\0\0{")
    with pytest.raises(DatasetFormatError, match="no TIFF file"):
        Dataset(whole)
    index(whole).write_bytes(b"")  # what Java leaves of a dataset without images
    with Dataset(whole) as empty:
        assert (len(empty), empty.finished) == (0, True)


def test_a_file_that_java_has_not_begun(whole: Path) -> None:
    """Both files are long and full of zeros before the first image is written."""
    index(whole).write_bytes(bytes(10_000))
    tiff(whole).write_bytes(bytes(10_000))
    with Dataset(whole) as empty:
        assert (len(empty), empty.finished) == (0, False)
    tiff(whole).write_bytes(b"what is this?")
    with pytest.raises(DatasetFormatError, match="too few for a header"):
        Dataset(whole)


def test_a_second_file_is_missing(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", file_limit=2**20) as writer:
        for i in range(30):
            writer.put(frame(i, (200, 300)))
    (writer.path / "x_NDTiffStack_2.tif").unlink()
    dataset = Dataset(writer.path)
    assert same(dataset.read_image(time=0), image(0, (200, 300)))
    missing = 0
    for i in range(30):
        try:
            assert same(dataset.read_image(time=i), image(i, (200, 300)))
        except DatasetFormatError as error:
            assert "x_NDTiffStack_2.tif" in str(error)
            missing += 1
    assert 0 < missing < 30


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"garbage garbage garbage", "byte 0"),
        (struct.pack("<I", 5) + b"[1,2]" + struct.pack("<I", 1) + b"x" + bytes(32), "byte 0"),
        (struct.pack("<I", 5) + b"{1,2}" + struct.pack("<I", 1) + b"x" + bytes(32), "record 0"),
        (struct.pack("<I", 7) + b'{"a":1}' + struct.pack("<I", 1) + b"x" + struct.pack("<8I", 0, 2, 2, 9, 0, 0, 0, 0), "pixel type"),
        (struct.pack("<I", 7) + b'{"a":1}' + struct.pack("<I", 1) + b"x" + struct.pack("<8I", 0, 2, 2, 1, 1, 0, 0, 0), "compression"),
        (struct.pack("<I", 7) + b'{"a":1}' + struct.pack("<I", 1) + b"x" + struct.pack("<8I", 0, 0, 2, 1, 0, 0, 0, 0), "size"),
        (struct.pack("<I", 9) + b'{"a":1.5}' + struct.pack("<I", 1) + b"x" + struct.pack("<8I", 0, 2, 2, 1, 0, 0, 0, 0), "'a' is 1.5"),
        (
            struct.pack("<I", 7) + b'{"a":1}' + struct.pack("<I", 4) + b"../x" + struct.pack("<8I", 0, 2, 2, 1, 0, 0, 0, 0),
            "outside its folder",
        ),
    ],
)
def test_index_that_is_none(whole: Path, data: bytes, says: str) -> None:
    index(whole).write_bytes(data)
    with pytest.raises(DatasetFormatError, match=says):
        Dataset(whole)


def test_axis_with_both_types(whole: Path) -> None:
    data = index(whole).read_bytes()
    index(whole).write_bytes(data.replace(b'"time":11', b'"time":""'))
    with pytest.raises(DatasetFormatError, match="'time'"):
        Dataset(whole)


def test_axes_that_are_not_utf8(whole: Path) -> None:
    """Java once wrote them in the encoding of its machine."""
    data = index(whole).read_bytes()
    index(whole).write_bytes(data.replace(b'"DAPI"', '"DAPé"'.encode("latin-1")))
    assert Dataset(whole).get_channel_names() == ["DAPé"]


def test_metadata_that_is_not_utf8(whole: Path) -> None:
    data = tiff(whole).read_bytes()
    tiff(whole).write_bytes(data.replace(b'"Camera":"Camera"', '"Camera":"Caméra"'.encode("latin-1")))
    assert Dataset(whole).read_metadata(time=3)["Camera"] == "Caméra"


def test_metadata_that_is_not_json(whole: Path) -> None:
    data = tiff(whole).read_bytes()
    tiff(whole).write_bytes(data.replace(b'{"Camera"', b'["Camera"'))
    dataset = Dataset(whole)
    with pytest.raises(DatasetFormatError, match=r"x_NDTiffStack\.tif.*'time': 3.*not JSON"):
        dataset.read_metadata(time=3)
    assert same(dataset.read_image(time=3), image(3))


@pytest.mark.parametrize("numbers", [(2**32 - 2, 30, 20, 1), (0, 2**32 - 1, 2**32 - 1, 2), (0, 2**31, 2**31, 1), (4096, 30, 2**30, 0)])
def test_places_outside_the_file(whole: Path, numbers: tuple[int, ...]) -> None:
    axes, name = b'{"time":0}', b"x_NDTiffStack.tif"
    record = struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name
    index(whole).write_bytes(record + struct.pack("<8I", *numbers, 0, 2**32 - 1, 2**32 - 1, 0))
    dataset = Dataset(whole)
    for read in (
        lambda: dataset.read_image(time=0),
        lambda: dataset.read_image(time=0, memmapped=True),
        dataset.as_array,
        dataset.to_numpy,
    ):
        with pytest.raises(DatasetFormatError, match="bytes"):
            read()
    with pytest.raises(DatasetFormatError):
        dataset.read_metadata(time=0)
    assert not dataset.finished


@pytest.mark.parametrize("length", [2**32 - 1, 10**6])
def test_summary_of_a_huge_length(whole: Path, length: int) -> None:
    with tiff(whole).open("r+b") as file:
        file.seek(24)
        file.write(struct.pack("<I", length))
    with pytest.raises(DatasetFormatError, match="summary metadata"):
        Dataset(whole)


def test_seeded_corruptions(whole: Path) -> None:
    """Bytes changed in the index or in what frames an image: a clear error, or what is read is right or cannot be known to be wrong."""
    rng = random.Random(7)
    good_index, good_tiff = index(whole).read_bytes(), tiff(whole).read_bytes()
    pixels = {i: image(i) for i in range(20)}
    outcomes = {"refused": 0, "read": 0}
    for _ in range(400):
        data = bytearray(good_index)
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        index(whole).write_bytes(data)
        try:
            with Dataset(whole) as dataset:
                for row in range(len(dataset)):
                    try:
                        dataset.read_row(row)
                    except DatasetError:
                        continue
        except DatasetError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
    index(whole).write_bytes(good_index)
    for _ in range(100):
        data = bytearray(good_tiff)
        for _ in range(4):
            data[rng.randrange(2000)] = rng.randrange(256)
        tiff(whole).write_bytes(data)
        try:
            with Dataset(whole) as dataset:
                assert same(dataset.read_image(time=19), pixels[19])
        except DatasetError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 10


def test_old_channel_names(tmp_path: Path) -> None:
    """Before version 3.2 a channel was a number, its name in the summary or in the images."""
    for summary, names in (({"ChNames": ["a", "b"]}, ["a", "b"]), ({}, ["DAPI", "FITC"])):
        with NDTiffWriter(tmp_path, "x", summary) as writer:
            for channel, name in enumerate(("DAPI", "FITC")):
                writer.put(Frame({"time": 0, "channel": channel}, image(channel), {"Channel": name}))
        dataset = Dataset(writer.path)
        assert dataset.get_channel_names() == names
        assert same(dataset.read_image(channel=names[1], time=0), image(1))
        assert same(dataset.read_image(channel=1, time=0), image(1))
        assert same(dataset.as_array(channel=names[1]), [image(1)])
        with pytest.raises(MissingImageError, match="'c'"):
            dataset.read_image(channel="c", time=0)


def test_finished_is_what_the_file_says(whole: Path) -> None:
    assert Dataset(whole).finished
    with tiff(whole).open("r+b") as file:
        file.seek(0, 2)
        file.write(bytes(100_000))
    assert not Dataset(whole).finished


def test_index_keys_are_json(whole: Path) -> None:
    assert json.loads(json.dumps(Dataset(whole).get_index_keys()))[3] == {"time": 3, "channel": "DAPI"}


def test_systems_without_positioned_calls(whole: Path) -> None:
    """The substitutes do as the calls they stand for."""
    from aiomm.dataset.ndtiff import positioned

    fd = os.open(tiff(whole), os.O_RDWR)
    try:
        buffer = np.zeros((4, 5), np.uint8)
        assert positioned.seek_read(fd, 30, 10) == os.pread(fd, 30, 10)
        assert positioned.seek_read_into(fd, buffer.data, 3) == 20
        assert buffer.tobytes() == os.pread(fd, 20, 3)
        end = os.fstat(fd).st_size
        assert positioned.seek_read_into(fd, buffer.data, end - 7) == 7
        assert positioned.seek_write(fd, memoryview(b"abc"), end - 1) == 3
        assert os.pread(fd, 9, end - 1) == b"abc"
    finally:
        os.close(fd)
