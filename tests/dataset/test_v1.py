"""NDTiff 0 and 1: files made here by the description of the format, since no published dataset is at hand."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset
from aiomm.errors import DatasetFormatError
from tests.dataset.support import image, same

if TYPE_CHECKING:
    from pathlib import Path

Key = tuple[int, int, int, int]


def write_file(path: Path, images: dict[Key, tuple[np.ndarray, dict[str, Any]]], summary: dict[str, Any], version: int = 1) -> None:
    """Header, summary, index map with room for two more; of each image its IFD, pixels, resolution, metadata."""
    text = json.dumps(summary).encode()
    start = 40 if version else 32
    room = len(images) + 2
    first = start + len(text) + 8 + 20 * room
    entries, body, at = b"", b"", first
    for number, (key, (pixels, metadata)) in enumerate(images.items()):
        rgb = pixels.ndim == 3
        said = json.dumps(metadata).encode()
        data = pixels.tobytes()
        extra = (b"\x08\0" * 3 if rgb else b"") + struct.pack("<4I", 1, 1, 1, 1)
        at_pixels = at + 162
        at_extra = at_pixels + len(data)
        at_said = at_extra + len(extra)
        end = at_said + len(said)
        end += end % 2
        rational = at_said - 16
        tags = [
            (256, 4, 1, pixels.shape[1]), (257, 4, 1, pixels.shape[0]), (258, 3, 3 if rgb else 1, at_extra if rgb else 8 * pixels.itemsize),
            (259, 3, 1, 1), (262, 3, 1, 2 if rgb else 1), (273, 4, 1, at_pixels), (277, 3, 1, 3 if rgb else 1),
            (278, 3, 1, pixels.shape[0]), (279, 4, 1, len(data)),
            (282, 5, 1, rational), (283, 5, 1, rational + 8), (296, 3, 1, 3), (51123, 2, len(said), at_said),
        ]  # fmt: skip
        ifd = struct.pack("<H", 13) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        ifd += struct.pack("<I", 0 if number == len(images) - 1 else end)
        body += (ifd + data + extra + said).ljust(end - at, b"\0")
        entries += struct.pack("<4iI", *key, at)
        at = end
    header = b"II*\0" + struct.pack("<5I", first, 54773648, start + len(text), 483765892, 0)
    header += struct.pack("<2I", 483729, version) if version else b""
    index = struct.pack("<2I", 3453623, room) + entries.ljust(20 * room, b"\0")
    path.write_bytes(header + struct.pack("<2I", 2355492, len(text)) + text + index + body)


def whole(channels: int = 2, kind: Any = np.uint16) -> dict[Key, tuple[np.ndarray, dict[str, Any]]]:
    return {
        (c, z, t, p): (
            image(seed(c, z, t, p), (11, 13), kind),
            {"seed": seed(c, z, t, p), "GridRowIndex": p // 2, "GridColumnIndex": p % 2},
        )
        for t in range(2)
        for p in range(3)
        for c in range(channels)
        for z in (0, 1)
    }


def seed(c: int, z: int, t: int, p: int) -> int:
    return 1000 * c + 100 * z + 10 * t + p


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "old" / "Full resolution"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, "rgb"])
def test_every_image(folder: Path, version: int, kind: Any) -> None:
    images = list(whole(kind=kind).items())
    for i, name in enumerate(["x_NDTiffStack.tif", "x_NDTiffStack_1.tif", "x_NDTiffStack_2.tif"]):
        write_file(folder / name, dict(images[8 * i : 8 * i + 8]), {"Name": "x"}, version)
    with Dataset(folder.parent) as dataset:
        assert len(dataset) == 24
        assert dataset.major_version == version
        assert dataset.summary_metadata == {"Name": "x"}
        assert dataset.axes == {"position": [0, 1, 2], "time": [0, 1], "channel": [0, 1], "z": [0, 1]}
        for (c, z, t, p), (pixels, metadata) in images:
            assert same(dataset.read_image(channel=c, z=z, time=t, position=p), pixels)
            assert dataset.read_metadata(channel=c, z=z, time=t, position=p) == metadata
        assert np.asarray(dataset.as_array()).shape[:4] == (3, 2, 2, 2)


def test_names_of_channels_and_other_axes(folder: Path) -> None:
    write_file(folder / "x_NDTiffStack.tif", whole(4), {})
    names = b"".join(struct.pack("<3i", -1, i, len(name)) + name for i, name in enumerate([b"DAPI", b"GF\xe9"]))
    texts = {2: b"Axis_channel_0Axis_angle_7", 3: b"Axis_channel_1Axis_angle_-2"}
    others = b"".join(struct.pack("<2i", number, len(text)) + text for number, text in texts.items())
    (folder.parent / "Axes_metedata").write_bytes(names + others)
    dataset = Dataset(folder.parent)
    assert dataset.axes["channel"] == ["DAPI", "GFé"]
    assert dataset.axes["angle"] == [-2, 7]
    assert same(dataset.read_image(channel="GFé", z=1, time=0, position=2), image(seed(1, 1, 0, 2), (11, 13)))
    assert same(dataset.read_image(channel="DAPI", angle=7, z=1, time=0, position=2), image(seed(2, 1, 0, 2), (11, 13)))
    (folder.parent / "Axes_metedata").write_bytes(names[:-3])
    with pytest.raises(DatasetFormatError, match="Axes_metedata"):
        Dataset(folder.parent)


def test_tiles(folder: Path) -> None:
    write_file(folder / "x_NDTiffStack.tif", whole(1), {"GridPixelOverlapX": 3, "GridPixelOverlapY": 1})
    dataset = Dataset(folder.parent)
    assert (dataset.axes["row"], dataset.axes["column"]) == ([0, 1], [0, 1])
    assert same(dataset.read_image(row=1, col=0, z=1, time=1), image(seed(0, 1, 1, 2), (11, 13)))
    assert dataset.as_array(stitched=True, time=0, z=0, channel=0).shape == (20, 20)


@pytest.mark.parametrize("at", [32, 36, 41, 60, 200])
def test_damaged(folder: Path, at: int) -> None:
    file = folder / "x_NDTiffStack.tif"
    write_file(file, whole(1), {"a": "b" * 30})
    data = bytearray(file.read_bytes())
    for value in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x01\x02\x03\x04"):
        data[at : at + 4] = value
        file.write_bytes(data)
        try:
            dataset = Dataset(folder.parent)
        except DatasetFormatError as error:
            assert "x_NDTiffStack.tif" in str(error)
        else:
            assert len(dataset) <= 12
