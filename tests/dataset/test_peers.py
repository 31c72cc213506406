"""ndstorage and tifffile read what we write, equal in every pixel and all metadata; we read what ndstorage writes."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.dataset.ndtiff import output
from tests.dataset.support import KINDS, METADATA, image, ndstorage_dataset

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("shape", [(20, 30), (21, 31), (200, 301)], ids=["small", "odd", "aligned"])
@pytest.mark.parametrize("kind", KINDS)
def test_they_read_ours(tmp_path: Path, kind: str, shape: tuple[int, int]) -> None:
    dtype, depth, bits = KINDS[kind]
    keys = [(t, c, z) for t in range(4) for c in ("DAPI", "µ") for z in (-1, 0, 5)]
    images = {key: image(i, shape, dtype, bits) for i, key in enumerate(keys)}
    with NDTiffWriter(tmp_path, "x", {"PixelSize_um": 1}) as writer:
        for (t, c, z), pixels in images.items():
            writer.put(Frame({"time": t, "channel": c, "z": z}, pixels, {**METADATA, "t": t}, depth))
    ours = Dataset(writer.path)
    assert ours.bit_depth == bits
    assert ours.finished
    with ndstorage_dataset(writer.path) as other:
        for (t, c, z), pixels in images.items():
            axes = {"time": t, "channel": c, "z": z}
            assert other.has_image(**axes)
            theirs = other.read_image(**axes)
            mine = ours.read_image(**axes)
            assert theirs.dtype == mine.dtype == pixels.dtype
            assert np.array_equal(theirs, mine)
            assert np.array_equal(mine, pixels)
            assert other.read_metadata(**axes) == ours.read_metadata(**axes) == {**METADATA, "t": t, "Axes": axes}
        assert other.summary_metadata == ours.summary_metadata
        assert len(other.get_image_coordinates_list()) == len(images)
        assert {name: list(values) for name, values in other.axes.items()} == ours.axes
        if dtype != "rgb":
            assert np.array_equal(np.asarray(other.as_array(axes=["time", "channel", "z"])), np.asarray(ours.as_array()))
    with tifffile.TiffFile(next(writer.path.glob("*.tif"))) as tiff:
        assert len(tiff.pages) == len(images)
        for page, pixels in zip(tiff.pages, images.values(), strict=True):
            assert np.array_equal(page.asarray(), pixels)
            assert page.asarray().dtype == pixels.dtype


def test_they_open_a_dataset_without_images(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", {"a": 1}) as writer:
        pass
    with ndstorage_dataset(writer.path) as other:
        assert other.get_image_coordinates_list() == []
        assert other.summary_metadata["a"] == 1


def test_they_open_what_is_still_being_written(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(20):
            writer.put(Frame({"time": i}, image(i, (300, 301)), METADATA))
        while len(writer.dataset) < 20:
            writer.flush()
        with ndstorage_dataset(writer.path) as other:
            assert all(np.array_equal(other.read_image(time=i), image(i, (300, 301))) for i in range(20))
        ours = Dataset(writer.path)
        assert not ours.finished
        assert all(np.array_equal(ours.read_image(time=i), image(i, (300, 301))) for i in range(20))


def test_offsets_beyond_two_gigabytes_and_the_split_at_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has a hole where its first images would be."""
    monkeypatch.setattr(output, "reserve", lambda *_: False)
    writer = NDTiffWriter(tmp_path, "x")
    writer._position = (2**32 - 9_000_000) // 4096 * 4096
    for i in range(8):
        writer.put(Frame({"time": i}, image(i, (1000, 1000)), METADATA))
    writer.finish()
    files = sorted(writer.path.glob("*.tif"))
    assert [p.name for p in files] == ["x_NDTiffStack.tif", "x_NDTiffStack_1.tif"]
    assert 2**32 - 9_000_000 < files[0].stat().st_size < 2**32 - 5_000_000
    ours = Dataset(writer.path)
    with ndstorage_dataset(writer.path) as other:
        for i in range(8):
            assert np.array_equal(ours.read_image(time=i), image(i, (1000, 1000)))
            assert np.array_equal(ours.read_image(time=i, memmapped=True), image(i, (1000, 1000)))
            assert np.array_equal(other.read_image(time=i), image(i, (1000, 1000)))
    assert np.array_equal(ours.to_numpy(), [image(i, (1000, 1000)) for i in range(8)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_we_read_theirs(tmp_path: Path, dtype: Any) -> None:
    from ndstorage import NDTiffDataset

    with contextlib.redirect_stdout(io.StringIO()):
        theirs = NDTiffDataset(str(tmp_path), name="x", summary_metadata={"a": "µ"}, writable=True)
        for t in range(5):
            for channel in ("FITC", "DAPI"):
                theirs.put_image({"channel": channel, "time": t}, image(t + len(channel), (20, 31), dtype), {"t": t, "Axes": {}})
        reader = theirs.current_writer.reader
        theirs.finish()
        reader.close()
        theirs.close()
    ours = Dataset(tmp_path / "x_1")
    assert ours.finished
    assert ours.summary_metadata == {"a": "µ"}
    assert ours.axes == {"time": [0, 1, 2, 3, 4], "channel": ["DAPI", "FITC"]}
    assert ours.get_channel_names() == ["FITC", "DAPI"]
    for t in range(5):
        assert np.array_equal(ours.read_image(time=t, channel="DAPI"), image(t + 4, (20, 31), dtype))
        assert ours.read_metadata(time=t, channel=0) == {"t": t, "Axes": {}}
