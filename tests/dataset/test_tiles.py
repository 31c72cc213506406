"""Tiles are cut out of one picture; joined, they must give the picture again."""

from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter
from aiomm.errors import MissingImageError
from tests.dataset.support import image, same, samples

if TYPE_CHECKING:
    from pathlib import Path

ROWS, COLUMNS, TILE = 3, 4, (10, 14)


def picture_of(overlap: tuple[int, int], seed: int, kind: Any = np.uint16) -> np.ndarray:
    step = (TILE[0] - overlap[0], TILE[1] - overlap[1])
    return image(seed, (ROWS * step[0] + overlap[0], COLUMNS * step[1] + overlap[1]), kind)


def cropped(picture: np.ndarray, overlap: tuple[int, int]) -> np.ndarray:
    """What the tiles show together: half of the overlap is lost at the rim, the greater half at the end."""
    (y, x), (height, width) = [o // 2 for o in overlap], picture.shape[:2]
    return picture[y : height - overlap[0] + y, x : width - overlap[1] + x]


def put_tiles(writer: Any, picture: np.ndarray, overlap: tuple[int, int], start: tuple[int, int] = (-2, 5), **axes: Any) -> None:
    step = (TILE[0] - overlap[0], TILE[1] - overlap[1])
    for r in reversed(range(ROWS)):
        for c in range(COLUMNS):
            y, x = r * step[0], c * step[1]
            tile = np.ascontiguousarray(picture[y : y + TILE[0], x : x + TILE[1]])
            writer.put(Frame({"row": r + start[0], "column": c + start[1], **axes}, tile, {}))


def summary(overlap: tuple[int, int]) -> dict[str, Any]:
    return {"GridPixelOverlapY": overlap[0], "GridPixelOverlapX": overlap[1]}


OVERLAPS = [(0, 0), (4, 4), (3, 5), (0, 3), (2, 0)]


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("kind", [np.uint16, np.uint8, "rgb"])
def test_joined_tiles_are_the_picture(tmp_path: Path, overlap: tuple[int, int], kind: Any) -> None:
    pictures = {(t, z): picture_of(overlap, 10 * t + z, kind) for t in (0, 3) for z in (0, 1)}
    with NDTiffWriter(tmp_path, "x", summary(overlap)) as writer:
        for (t, z), picture in pictures.items():
            put_tiles(writer, picture, overlap, time=t, z=z)
    dataset = Dataset(writer.path)
    assert dataset.overlap == overlap
    array = dataset.as_array(stitched=True)
    whole = np.array([[cropped(pictures[t, z], overlap) for z in (0, 1)] for t in (0, 3)])
    assert same(array, whole)
    assert same(dataset.as_array(stitched=True, time=3, z=1), whole[1, 1])
    assert same(dataset.as_array(["z", "time"], stitched=True), whole.swapaxes(0, 1))
    assert same(dataset.as_array(["z", "row", "column"], stitched=True, time=0), whole[0])
    assert dataset.as_mask(stitched=True).shape == (2, 2, ROWS, COLUMNS)
    assert dataset.as_mask(stitched=True).all()


@pytest.mark.parametrize(
    "key",
    [
        np.s_[0],
        np.s_[1, 3:17, 5:31],
        np.s_[..., 3],
        np.s_[:, ::3, ::-2],
        np.s_[1, -1],
        np.s_[0, 5:5],
        np.s_[[1, 0], 4],
        np.s_[:, [20, 1, 7], 2:9],
        np.s_[1:, 4:8, [3, 3, 30]],
        np.s_[::-1, 9, 9],
    ],
)
def test_parts(key: Any) -> None:
    overlap = (3, 2)
    with MemoryWriter(summary(overlap)) as writer:
        for t in range(2):
            put_tiles(writer, picture_of(overlap, t), overlap, time=t)
    array = writer.dataset.as_array(stitched=True)
    assert same(array[key], np.asarray(array)[key])


def test_only_the_tiles_that_are_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiomm.dataset.ndtiff.blocks import FolderBlocks

    with NDTiffWriter(tmp_path, "x", summary((0, 0))) as writer:
        put_tiles(writer, picture_of((0, 0), 1), (0, 0))
    array = Dataset(writer.path).as_array(stitched=True)
    read: list[int] = []
    real = FolderBlocks.read_into
    monkeypatch.setattr(FolderBlocks, "read_into", lambda self, rows, *rest: (read.extend(rows), real(self, rows, *rest))[1])
    assert same(array[5:12, 3], picture_of((0, 0), 1)[5:12, 3])
    assert len(read) == 2


def test_missing_tiles_are_zeros_and_told() -> None:
    picture = picture_of((0, 0), 5)
    with MemoryWriter() as writer:
        for r, c in ((-1, -7), (1, -4)):
            writer.put(Frame({"row": r, "column": c}, np.ascontiguousarray(picture[:10, :14]), {}))
    dataset = writer.dataset
    array = np.asarray(dataset.as_array(stitched=True))
    assert array.shape == (30, 56)  # rows -1, 0, 1; columns -7 to -4
    assert same(array[:10, :14], picture[:10, :14])
    assert same(array[20:, 42:], picture[:10, :14])
    array[:10, :14] = array[20:, 42:] = 0
    assert not array.any()
    assert np.argwhere(dataset.as_mask(stitched=True)).tolist() == [[0, 0], [2, 3]]


def test_can_be_pickled_and_has_blocks_of_whole_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiomm.dataset import arrays

    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2 * 10 * 14 * 2)
    with NDTiffWriter(tmp_path, "x") as writer:
        put_tiles(writer, picture_of((0, 0), 1), (0, 0), time=0)
    array = Dataset(writer.path).as_array(stitched=True)
    assert array.chunks == ((1,), (10, 10, 10), (28, 28))
    assert same(pickle.loads(pickle.dumps(array))[0], picture_of((0, 0), 1))


@pytest.mark.parametrize("kind", [np.uint16, "rgb"])
@pytest.mark.parametrize("overlap", [(0, 0), (3, 5)])
def test_small_pictures_share_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: tuple[int, int], kind: Any) -> None:
    with NDTiffWriter(tmp_path, "x", summary(overlap)) as writer:
        for time in range(12):
            for c in "ab":
                put_tiles(writer, picture_of(overlap, time, kind), overlap, time=time, channel=c)
        writer.put(Frame({"row": -2, "column": 5, "time": 12, "channel": "a"}, writer.dataset.read_row(0)[0], {}))
    dataset = Dataset(writer.path)
    array = dataset.as_array(stitched=True)
    assert array.npartitions == 1
    whole = array.compute()
    monkeypatch.setattr("aiomm.dataset.bulk.PIECE_BYTES", 3 * whole[0, 0].nbytes)
    for found in (whole, array.compute(), np.asarray(array), array.compute(scheduler="sync")):
        for time in range(12):
            assert same(found[time, 0], cropped(picture_of(overlap, time, kind), overlap))
            assert same(found[time, 1], found[time, 0])
        assert found[12, 0].any()
        assert not found[12, 1].any()
        assert same(found, whole)


def test_what_cannot_be_joined() -> None:
    with MemoryWriter() as writer:
        writer.put(Frame({"time": 0}, image(1), {}))
    with pytest.raises(MissingImageError, match="'row' and 'column', but no image has an axis 'row'"):
        writer.dataset.as_array(stitched=True)
    with MemoryWriter(summary((10, 14))) as writer:
        put_tiles(writer, picture_of((0, 0), 1), (0, 0))
    with pytest.raises(ValueError, match="tiles of 10x14 pixels cannot overlap by 10x14"):
        writer.dataset.as_array(stitched=True)
    with pytest.raises(ValueError, match="'row' cannot have a fixed value"):
        writer.dataset.as_array(stitched=True, row=-2)
    with MemoryWriter() as writer:
        writer.put(Frame({"row": 0, "column": 0}, image(1), {}))
        writer.put(Frame({"row": 0, "column": 1}, image(1, (5, 5)), {}))
    with pytest.raises(ValueError, match="images differ"):
        writer.dataset.as_array(stitched=True)
    with MemoryWriter() as writer:
        writer.put(Frame({"row": 0, "column": 0}, image(1), {}))
        writer.put(Frame({"row": 2**40, "column": 2**40}, image(1), {}))
    with pytest.raises(ValueError, match="too far apart"):
        writer.dataset.as_array(stitched=True)


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    """Two levels: rows -1 to 1 and columns 2 to 4, each pixel of level 1 the mean of four."""
    folder = tmp_path / "pyramid"
    folder.mkdir()
    big = image(3, (24, 24), np.uint16, 14)
    with NDTiffWriter(tmp_path, "x") as full:
        for r in range(-1, 2):
            for c in range(2, 5):
                y, x = 8 * (r + 1), 8 * (c - 2)
                full.put(Frame({"row": r, "column": c}, np.ascontiguousarray(big[y : y + 8, x : x + 8]), {}))
    full.path.rename(folder / "Full resolution")
    padded = np.zeros((32, 32), np.uint16)  # level 1 has rows -1 and 0 (full -2 to 1), columns 1 and 2 (full 2 to 5)
    padded[8:, :24] = big
    half = padded.reshape(16, 2, 16, 2).mean(axis=(1, 3)).astype(np.uint16)
    with NDTiffWriter(tmp_path, "x") as low:
        for r in (-1, 0):
            for c in (1, 2):
                y, x = 8 * (r + 1), 8 * (c - 1)
                low.put(Frame({"row": r, "column": c}, np.ascontiguousarray(half[y : y + 8, x : x + 8]), {}))
    shutil.move(low.path, folder / "Downsampled_x2")
    return folder


def test_levels(pyramid: Path) -> None:
    dataset = Dataset(pyramid, full_res_only=False)
    assert dataset.num_resolution_levels == 2
    big = image(3, (24, 24), np.uint16, 14)
    assert same(dataset.as_array(stitched=True), big)
    levels = dataset.as_array(stitched=True, res_level=None)
    assert [level.shape for level in levels] == [(24, 24), (12, 12)]
    assert same(levels[1], big.reshape(12, 2, 12, 2).mean(axis=(1, 3)).astype(np.uint16))
    assert same(dataset.as_array(stitched=True, res_level=1), levels[1])
    assert [level.shape for level in dataset.as_array(res_level=None)] == [(3, 3, 8, 8), (2, 2, 8, 8)]
    assert dataset.has_image(row=-1, col=1, resolution_level=1)
    assert same(
        dataset.read_image(row=0, column=1, resolution_level=1), big[8:, :16].reshape(8, 2, 8, 2).mean(axis=(1, 3)).astype(np.uint16)
    )
    assert Dataset(pyramid).num_resolution_levels == 1


@pytest.mark.parametrize("name", ["ndtiff3.2_magellan_explore_rgb", "ndtiffv2.0_stitched_test"])
def test_samples_stitched(name: str) -> None:
    dataset = Dataset(samples() / name, full_res_only=False)
    y, x = dataset.overlap
    assert (y, x) != (0, 0)
    rest: dict[str, Any] = {axis: values[0] for axis, values in dataset.axes.items() if axis not in ("row", "column")}
    levels = dataset.as_array(stitched=True, res_level=None, **rest)
    assert len(levels) == dataset.num_resolution_levels
    whole = np.asarray(levels[0])
    shape = dataset.image_shape
    assert shape is not None
    size = (shape[0] - y, shape[1] - x)
    for axes in dataset.get_index_keys():
        r, c = (int(axes[axis]) - int(dataset.axes[axis][0]) for axis in ("row", "column"))
        tile = dataset.read_image(**axes)  # type: ignore[arg-type]
        assert same(
            whole[r * size[0] : (r + 1) * size[0], c * size[1] : (c + 1) * size[1]],
            tile[y // 2 : y // 2 + size[0], x // 2 : x // 2 + size[1]],
        )
    half = whole[: whole.shape[0] // 2 * 2, : whole.shape[1] // 2 * 2].astype(int)
    mean = (half[::2, ::2] + half[1::2, ::2] + half[::2, 1::2] + half[1::2, 1::2]) // 4
    assert levels[1].shape[:2] == mean.shape[:2]
    if not size[0] % 2 and not size[1] % 2:  # of odd tiles the writer drops a line at each level
        assert same(levels[1], mean.astype(whole.dtype))
