from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.dataset.ndtiff import format as ndtiff
from tests.dataset.support import KINDS, METADATA, image

TYPE_IN_INDEX = {"8-bit": 0, "10-bit": 3, "11-bit": 6, "12-bit": 4, "14-bit": 5, "16-bit": 1, "16-bit by type": 1, "rgb": 2}


def records(data: bytes) -> list[tuple[dict[str, Any], str, tuple[int, ...]]]:
    """Parse an index as the format's description says, without the code under test."""
    found = []
    at = 0
    while at < len(data):
        (k,) = struct.unpack_from("<I", data, at)
        axes = json.loads(data[at + 4 : at + 4 + k])
        at += 4 + k
        (n,) = struct.unpack_from("<I", data, at)
        name = data[at + 4 : at + 4 + n].decode()
        found.append((axes, name, struct.unpack_from("<8I", data, at + 4 + n)))
        at += 4 + n + 32
    return found


@pytest.mark.parametrize("shape", [(20, 30), (21, 31), (200, 301)], ids=["small", "odd", "aligned"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_that_the_format_fixes(tmp_path: Any, kind: str, shape: tuple[int, int]) -> None:
    dtype, depth, bits = KINDS[kind]
    images = [image(i, shape, dtype, bits) for i in range(3)]
    summary = {"PixelSize_um": 0.5, "Name": "µ"}
    with NDTiffWriter(tmp_path, "x", summary) as writer:
        for i, pixels in enumerate(images):
            writer.put(Frame({"time": i, "channel": "µ"}, pixels, METADATA, depth))
    assert writer.path == tmp_path / "x_1"
    assert sorted(p.name for p in writer.path.iterdir()) == ["NDTiff.index", "display_settings.txt", "x_NDTiffStack.tif"]

    data = (writer.path / "x_NDTiffStack.tif").read_bytes()
    order, version, first, magic, major, minor, summary_magic, length = struct.unpack_from("<2sHIIIIII", data)
    assert (order, version, magic, major, minor, summary_magic) == (b"II", 42, 483729, 3, 3, 2355492)
    assert json.loads(data[28 : 28 + length]) == {**summary, "TiledImageStorage": False}
    assert first % 2 == 0
    assert first >= 28 + length

    entries = records((writer.path / "NDTiff.index").read_bytes())
    rgb = kind == "rgb"
    at = first
    for i, (axes, name, numbers) in enumerate(entries):
        pixel_offset, width, height, pixel_type, compression, metadata_offset, metadata_length, more = numbers
        assert axes == {"time": i, "channel": "µ"}
        assert name == "x_NDTiffStack.tif"
        assert (width, height, pixel_type, compression, more) == (shape[1], shape[0], TYPE_IN_INDEX[kind], 0, 0)
        count = struct.unpack_from("<H", data, at)[0]
        assert count == 13
        tags = {}
        for k in range(13):
            tag, tag_type, n, value = struct.unpack_from("<HHII", data, at + 2 + 12 * k)
            tags[tag] = (tag_type, n, value)
        assert list(tags) == sorted(tags) == [256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 283, 296, 51123]
        size = images[i].nbytes
        assert tags[256] == (4, 1, shape[1])
        assert tags[257] == (4, 1, shape[0])
        if rgb:
            assert tags[258][:2] == (3, 3)
            assert struct.unpack_from("<3H", data, tags[258][2]) == (8, 8, 8)
        else:
            assert tags[258] == (3, 1, 8 if kind == "8-bit" else 16)
        assert tags[259] == (3, 1, 1)
        assert tags[262] == (3, 1, 2 if rgb else 1)
        assert tags[273] == (4, 1, pixel_offset)
        assert tags[277] == (3, 1, 3 if rgb else 1)
        assert tags[278] == (3, 1, shape[0])
        assert tags[279] == (4, 1, size)
        for tag in (282, 283):
            assert tags[tag][:2] == (5, 1)
            assert struct.unpack_from("<II", data, tags[tag][2]) == (20000, 1)
        assert tags[296] == (3, 1, 3)
        assert tags[51123] == (2, metadata_length, metadata_offset)
        assert pixel_offset % 2 == 0
        assert data[pixel_offset : pixel_offset + size] == images[i].tobytes()
        assert json.loads(data[metadata_offset : metadata_offset + metadata_length]) == {**METADATA, "Axes": axes}
        (after,) = struct.unpack_from("<I", data, at + 158)
        if size >= 64 * 1024:
            assert pixel_offset % 4096 == 0
        assert after % 2 == 0
        at = after
    assert at == 0
    assert len(data) - (entries[-1][2][0] + images[-1].nbytes) < 4096


def test_bytes_between_the_parts_are_zero(tmp_path: Any) -> None:
    """A buffer is used again: nothing of an earlier image may show."""
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(120):
            writer.put(Frame({"time": i}, np.full((300, 301), 0xFFFF, np.uint16), {"a": "x" * (5000 if i < 80 else 10)}))
    data = np.fromfile(next(writer.path.glob("*.tif")), np.uint8)
    entries = records((writer.path / "NDTiff.index").read_bytes())
    for _, _, (pixels, _, _, _, _, metadata, length, _) in entries[80:]:
        assert not data[metadata + length : pixels].any()
        end = pixels + 300 * 301 * 2
        assert not data[end : -(-end // 4096) * 4096].any()


@pytest.mark.parametrize(
    ("size", "want"),
    [
        (1, (10000, 1)),
        (0.5, (20000, 1)),
        (0.065, (153846, 1)),
        (20000, (1, 2)),
        (None, (10000, 1)),
        (0, (10000, 1)),
        ("", (10000, 1)),
        (float("nan"), (10000, 1)),
    ],
)
def test_resolution(size: Any, want: tuple[int, int]) -> None:
    assert ndtiff.resolution(size) == want


def test_depths_that_the_format_does_not_know_are_stored_as_sixteen(tmp_path: Any) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(Frame({"time": 0}, image(1), {}, 13))
    assert Dataset(writer.path).bit_depth == 16


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"PK" + bytes(40), "not a TIFF"),
        (b"MM\0*" + bytes(40), "big-endian"),
        (b"II*\0" + bytes(40), "not of NDTiff"),
        (struct.pack("<2sHIIIIII", b"II", 42, 28, 483729, 9, 0, 2355492, 0), "version 9"),
        (struct.pack("<2sHIIIIII", b"II", 42, 28, 483729, 3, 0, 1, 0), "header"),
    ],
)
def test_headers_of_other_files(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ndtiff.parse_header(data)


def test_display_settings(tmp_path: Any) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for channel in ("DAPI", "FITC"):
            writer.put(Frame({"channel": channel}, image(1), {}, 12))
    settings = json.loads((writer.path / "display_settings.txt").read_text("utf-8"))
    assert list(settings) == ["All channel settings", "DAPI", "FITC"]
    assert settings["FITC"]["Max"] == 4095
    assert -(2**31) <= settings["FITC"]["Color"] < 2**31
    with NDTiffWriter(tmp_path, "y", display_settings={"mine": 1}) as writer:
        pass
    assert json.loads((writer.path / "display_settings.txt").read_text("utf-8")) == {"mine": 1}
