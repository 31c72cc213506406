"""Java's NDTiffStorage reads what we write, and we read what it writes: every pixel, level, and all metadata."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import aiomm
from aiomm.cli.info import describe
from aiomm.dataset import Dataset, Frame, NDTiffWriter, PyramidWriter, convert, rebuild_pyramid, repair
from aiomm.errors import DatasetFormatError, JavaException, MissingImageError, StorageError
from tests.dataset.support import KINDS, METADATA, image
from tests.jvm.host import JavaHost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.blocks

STORAGES = "aiomm.host.Storages"
AROUND = [(0, 0), (0, 1), (-1, 0), (-1, -1), (2, -3), (-4, 1), (1, 1), (0, -1)]


def to_java(pixels: np.ndarray) -> np.ndarray:
    """Bytes as Java has them: RGB is B, G, R, 0."""
    if pixels.ndim == 3:
        pixels = np.concatenate([pixels[..., ::-1], np.zeros_like(pixels[..., :1])], axis=2)
    return np.ascontiguousarray(pixels).reshape(-1).view(np.int8)


def from_java(data: Any, shape: tuple[int, int], *, rgb: bool, depth: int) -> np.ndarray:
    raw = np.asarray(data)
    raw = np.frombuffer(raw.tobytes(), np.uint8)
    if rgb:
        return raw.reshape(*shape, 4)[..., 2::-1]
    return raw.view("<u2" if depth > 8 else np.uint8).reshape(shape)


class Java:
    """An NDTiffStorage in the JVM."""

    def __init__(self, proxy: Any) -> None:
        self.proxy = proxy

    async def create(self, folder: Path, *, name: str = "java", tiled: bool = False, overlap: tuple[int, int] = (0, 0), levels: int = 0,
                     summary: dict[str, Any] | None = None) -> Path:  # fmt: skip
        made = await self.proxy.create(str(folder), name, json.dumps(summary or {}), *overlap, tiled, levels)
        return type(folder)(made)

    async def put(self, axes: dict[str, Any], pixels: np.ndarray, metadata: dict[str, Any], depth: int | None = None) -> None:
        text = json.dumps({**metadata, "Axes": axes})
        rgb, wide = pixels.ndim == 3, pixels.itemsize == 2
        await self.proxy.put(json.dumps(axes), text, to_java(pixels), wide, rgb, depth or 8 * pixels.itemsize, *pixels.shape[:2])

    async def load(self, path: Path) -> dict[str, Any]:
        await self.proxy.load(str(path))
        contents: dict[str, Any] = json.loads(await self.proxy.contents())
        return contents

    async def read(self, axes: dict[str, Any], level: int = 0) -> tuple[np.ndarray, dict[str, Any], int]:
        about = json.loads(await self.proxy.about(json.dumps(axes), level))
        data = await self.proxy.pixels(json.dumps(axes), level)
        pixels = from_java(data, (about["height"], about["width"]), rgb=about["rgb"], depth=about["depth"])
        return pixels, about["metadata"], about["depth"]

    async def check(self, dataset: Dataset, levels: int = 1) -> int:
        """Every image at every level is for Java what it is for us; give their number."""
        assert dataset.path is not None
        contents = await self.load(dataset.path)
        keys = dataset.get_index_keys()
        assert sorted(map(repr, map(sorted_items, contents["axes"]))) == sorted(map(repr, {sorted_items(key) for key in keys}))
        assert contents["summary"] == dataset.summary_metadata
        assert contents["levels"] == dataset.num_resolution_levels == levels
        count = 0
        for level in range(levels):
            for row, axes in enumerate(dataset.get_index_keys(level)):
                pixels, metadata, depth = await self.read(axes, level)
                assert depth == (dataset.bit_depth if level else dataset._store.bit_depth_of(row))
                ours, told = get(dataset, axes, level)
                assert np.array_equal(pixels, ours)
                assert pixels.dtype == ours.dtype
                assert metadata == told
                count += 1
        await self.proxy.shut()
        return count


def get(dataset: Dataset, axes: Any, level: int = 0) -> tuple[np.ndarray, dict[str, Any]]:
    return dataset.read_image(**axes, resolution_level=level, read_metadata=True)


def sorted_items(axes: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(axes.items()))


@pytest.fixture
async def java(java_host: JavaHost) -> AsyncIterator[Java]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        yield Java(await bridge.construct_java_object(STORAGES))


def check_ours(dataset: Dataset, wanted: list[Frame]) -> None:
    """These images are there and right, and no others."""
    assert dataset.get_index_keys() == [frame.axes for frame in wanted]
    for row, frame in enumerate(wanted):
        pixels, metadata = get(dataset, frame.axes)
        assert np.array_equal(pixels, frame.pixels)
        assert pixels.dtype == frame.pixels.dtype
        assert metadata == {**frame.metadata, "Axes": frame.axes}
        assert dataset._store.bit_depth_of(row) == (frame.bit_depth or 8 * frame.pixels.itemsize)


def check_tiff(path: Path) -> int:
    """A plain TIFF reader finds each image where the index says; give their number."""
    with Dataset(path, full_res_only=False) as dataset:
        wanted = [get(dataset, axes, n)[0] for n in range(dataset.num_resolution_levels) for axes in dataset.get_index_keys(n)]
    found = []
    for file in sorted(path.rglob("*.tif")):
        with tifffile.TiffFile(file) as tiff:
            found += [page.asarray() for page in tiff.pages]
    assert sorted(map(blob, found)) == sorted(map(blob, wanted))
    return len(found)


def blob(pixels: np.ndarray) -> tuple[Any, ...]:
    return pixels.shape, pixels.dtype.str, pixels.tobytes()


def plain(kind: str, count: int = 12, shape: tuple[int, int] = (20, 31)) -> list[Frame]:
    dtype, depth, bits = KINDS[kind]
    return [
        Frame(
            {"time": i // 4, "channel": ("DAPI", "FITC")[i // 2 % 2], "z": -(i % 2)},
            image(i, shape, dtype, bits),
            {**METADATA, "i": i},
            depth,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_both_ways(tmp_path: Path, java: Java, kind: str) -> None:
    frames = plain(kind)
    path = await java.create(tmp_path, summary={"PixelSize_um": 0.5, "Who": "µm"})
    for frame in frames:
        await java.put(frame.axes, frame.pixels, frame.metadata, frame.bit_depth)
    await java.proxy.finish()
    with Dataset(path) as theirs:
        assert theirs.finished
        assert theirs.summary_metadata == {"PixelSize_um": 0.5, "Who": "µm", "TiledImageStorage": False}
        assert theirs.axes == {"time": [0, 1, 2], "channel": ["DAPI", "FITC"], "z": [-1, 0]}
        check_ours(theirs, frames)
    with NDTiffWriter(tmp_path, "ours", {"PixelSize_um": 0.5, "Who": "µm"}) as writer:
        for frame in frames:
            writer.put(frame)
    with Dataset(writer.path) as ours:
        check_ours(ours, frames)
        assert await java.check(ours) == len(frames)
    assert (await java.load(writer.path))["settings"]["DAPI"]["Name"] == "DAPI"
    assert check_tiff(writer.path) == len(frames)


def tiles(places: list[tuple[int, int]], kind: str, size: tuple[int, int], **axes: Any) -> list[Frame]:
    dtype, depth, bits = KINDS[kind]
    return [Frame({"row": r, "column": c, **axes}, image(i, size, dtype, bits), {"i": i}, depth) for i, (r, c) in enumerate(places)]


async def check_mosaic(java: Java, dataset: Dataset, **axes: Any) -> None:
    """Java joins the tiles of a level as we do, overlap cropped and missing tiles dark."""
    contents = await java.load(dataset.path)  # type: ignore[arg-type]
    rgb, depth = len(dataset.image_shape or ()) == 3, dataset.bit_depth or 0
    left, top, right, bottom = contents["bounds"]
    for level in range(dataset.num_resolution_levels):
        ours = np.asarray(dataset.as_array(stitched=True, res_level=level, **axes))
        x, y = left // 2**level, top // 2**level  # what full resolution shows
        assert ours.shape[:2] == ((bottom - top) // 2**level, (right - left) // 2**level)
        data = await java.proxy.view(json.dumps(axes), level, x, y, ours.shape[1], ours.shape[0])
        assert np.array_equal(from_java(data, ours.shape[:2], rgb=rgb, depth=depth), ours)
    await java.proxy.shut()


@pytest.mark.parametrize(
    ("kind", "size", "overlap"),
    [
        ("8-bit", (16, 24), (0, 0)),
        ("12-bit", (20, 26), (2, 4)),
        ("rgb", (20, 26), (2, 4)),
        ("16-bit", (18, 25), (1, 2)),
        ("rgb", (17, 27), (0, 0)),
        ("8-bit", (16, 32), (5, 3)),
    ],
)
async def test_pyramids_both_ways(tmp_path: Path, java: Java, kind: str, size: tuple[int, int], overlap: tuple[int, int]) -> None:
    """Java's levels and ours, of the same tiles, are equal in every pixel."""
    frames = tiles(AROUND, kind, size, z=3)
    path = await java.create(tmp_path, tiled=True, overlap=overlap, levels=3)
    for frame in frames:
        await java.put(frame.axes, frame.pixels, frame.metadata, frame.bit_depth)
    await java.proxy.finish()
    with PyramidWriter(tmp_path, "ours", overlap=overlap, max_multi_res_index=3) as writer:
        for frame in frames:
            writer.put(frame)
    with Dataset(path, full_res_only=False) as theirs, Dataset(writer.path, full_res_only=False) as ours:
        assert theirs.finished
        assert theirs.summary_metadata == ours.summary_metadata
        check_ours(theirs, frames)
        check_ours(ours, frames)
        assert theirs.num_resolution_levels == ours.num_resolution_levels == 4
        for level in range(1, 4):
            assert theirs.get_index_keys(level) == ours.get_index_keys(level)
            for axes in theirs.get_index_keys(level):
                (pixels, metadata), (mine, told) = get(theirs, axes, level), get(ours, axes, level)
                assert np.array_equal(pixels, mine), (axes, level)
                assert metadata == told
        assert await java.check(ours, 4) == await java.check(theirs, 4) > len(frames)
        await check_mosaic(java, ours, z=3)
        await check_mosaic(java, theirs, z=3)
        assert ours.bit_depth == theirs.bit_depth
    assert check_tiff(writer.path) > len(frames)


async def test_levels_that_come_later(tmp_path: Path, java: Java) -> None:
    """Both make levels of what is there already, as the viewer asks or as tiles are added."""
    frames = [frame for channel in ("DAPI", "FITC") for frame in tiles(AROUND, "16-bit", (16, 24), channel=channel)]
    path = await java.create(tmp_path, tiled=True)
    for i, frame in enumerate(frames):
        await java.put(frame.axes, frame.pixels, frame.metadata)
        if i in (3, 7):
            await java.proxy.deepen(i // 4 + 1)
    await java.proxy.finish()
    with PyramidWriter(tmp_path, "ours") as writer:
        for frame in frames:
            writer.put(frame)
    with Dataset(path, full_res_only=False) as theirs, Dataset(writer.path, full_res_only=False) as ours:
        check_ours(theirs, frames)
        assert theirs.num_resolution_levels == ours.num_resolution_levels == 3
        for level in (1, 2):
            for axes in ours.get_index_keys(level):
                assert np.array_equal(get(theirs, axes, level)[0], get(ours, axes, level)[0]), (axes, level)
        assert await java.check(ours, 3) == await java.check(theirs, 3)
        await check_mosaic(java, ours, channel="FITC")
        made = [get(theirs, at, 2)[0] for at in theirs.get_index_keys(2)]
    assert rebuild_pyramid(path, 2) == 2
    with Dataset(path, full_res_only=False) as again:
        assert sorted(map(blob, made)) == sorted(blob(get(again, at, 2)[0]) for at in again.get_index_keys(2))
        await java.check(again, 3)


async def test_java_adds_a_level_to_ours(tmp_path: Path, java: Java) -> None:
    """As its viewer does when it zooms out; the level is the one that we would have made."""
    frames = tiles(AROUND, "16-bit", (20, 26))
    for name, levels in (("more", 2), ("less", 1)):
        with PyramidWriter(tmp_path, name, overlap=(2, 4), max_multi_res_index=levels) as writer:
            for frame in frames:
                writer.put(frame)
    await java.proxy.extend(str(tmp_path / "less_1"))
    await java.proxy.deepen(2)
    await java.proxy.finish()
    with Dataset(tmp_path / "more_1", full_res_only=False) as more, Dataset(tmp_path / "less_1", full_res_only=False) as less:
        check_ours(less, frames)
        assert more.num_resolution_levels == less.num_resolution_levels == 3
        for axes in more.get_index_keys(2):
            assert np.array_equal(get(more, axes, 2)[0], get(less, axes, 2)[0])
        assert len(less.get_index_keys(2)) == len(more.get_index_keys(2))
        await java.check(less, 3)


async def test_whole_numbers_beyond_java_s(tmp_path: Path, java: Java) -> None:
    """Java's JSON has none above 64 bits: the file has the number, Java makes a double of it."""
    with NDTiffWriter(tmp_path, "ours") as writer:
        writer.put(Frame({"time": 0}, image(0), {"fits": 2**63 - 1, "does not": 2**63 + 1}))
    with Dataset(writer.path) as ours:
        assert ours.read_metadata(time=0)["does not"] == 2**63 + 1
    await java.load(writer.path)
    _, metadata, _ = await java.read({"time": 0})
    assert metadata["fits"] == 2**63 - 1
    assert metadata["does not"] == float(2**63)
    await java.proxy.shut()


async def test_sizes_and_types_may_differ(tmp_path: Path, java: Java) -> None:
    frames = [
        Frame({"time": i}, image(i, (10 + i, 31 - i), kind, depth or 16), {"i": i}, depth)
        for i, (kind, depth) in enumerate([(np.uint8, None), (np.uint16, None), ("rgb", None), (np.uint16, 11)] * 2)
    ]
    path = await java.create(tmp_path)
    for frame in frames:
        await java.put(frame.axes, frame.pixels, frame.metadata, frame.bit_depth)
    await java.proxy.finish()
    with Dataset(path) as theirs:
        check_ours(theirs, frames)
    with NDTiffWriter(tmp_path, "ours") as writer:
        for frame in frames:
            writer.put(frame)
    with Dataset(writer.path) as ours:
        check_ours(ours, frames)
        assert await java.check(ours) == len(frames)
    assert check_tiff(writer.path) == len(frames)


async def test_our_split_files(tmp_path: Path, java: Java) -> None:
    frames = plain("16-bit by type", shape=(300, 301))
    with NDTiffWriter(tmp_path, "ours", file_limit=2**20) as writer:
        for frame in frames:
            writer.put(frame)
    assert len(list(writer.path.glob("*.tif"))) > 2
    with Dataset(writer.path) as ours:
        check_ours(ours, frames)
        assert await java.check(ours) == len(frames)
    assert check_tiff(writer.path) == len(frames)


async def test_java_s_split_at_four_gigabytes(tmp_path: Path, java: Java) -> None:
    """The first file has a hole, so that it costs no room: offsets beyond 2 GiB, and a second file."""
    frames = [Frame({"time": i}, image(i, (700, 700)), {"i": i}) for i in range(8)]
    path = await java.create(tmp_path)
    for i, frame in enumerate(frames):
        await java.put(frame.axes, frame.pixels, frame.metadata)
        if i < 2:
            await java.proxy.skip((2**31, 2**32 - 9_000_000)[i])
    await java.proxy.finish()
    assert sorted(file.name for file in path.glob("*.tif")) == ["java_NDTiffStack.tif", "java_NDTiffStack_1.tif"]
    with Dataset(path) as theirs:
        check_ours(theirs, frames)
        assert np.array_equal(theirs.to_numpy(), [frame.pixels for frame in frames])
        assert theirs.finished


@pytest.mark.parametrize("tiled", [False, True], ids=["plain", "pyramid"])
async def test_java_is_killed(tmp_path: Path, own_java_host: JavaHost, java: Java, tiled: bool) -> None:
    """Everything written can be read: the index ends in zeros, the TIFF files are 4 GiB. Repaired, Java opens it too."""
    frames = tiles(AROUND, "16-bit", (16, 24)) if tiled else plain("16-bit")
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as bridge:
        doomed = Java(await bridge.construct_java_object(STORAGES))
        path = await doomed.create(tmp_path, tiled=tiled, levels=2 if tiled else 0)
        for frame in frames:
            await doomed.put(frame.axes, frame.pixels, frame.metadata, frame.bit_depth)
        own_java_host.kill()
    levels = 3 if tiled else 1
    with Dataset(path, full_res_only=False) as broken:
        assert not broken.finished
        assert broken.num_resolution_levels == levels
        check_ours(broken, frames)
    assert repair(path, dry_run=False).needed
    with Dataset(path, full_res_only=False) as repaired:
        assert repaired.finished
        check_ours(repaired, frames)
        assert await java.check(repaired, levels) >= len(frames)


async def test_java_cannot_read_what_java_left(tmp_path: Path, java: Java) -> None:
    """It takes the zeros after the index's last record for records; without them it reads everything."""
    frames = plain("16-bit", 3)
    with NDTiffWriter(tmp_path, "ours") as writer:
        for frame in frames:
            writer.put(frame)
    index = writer.path / "NDTiff.index"
    whole = index.read_bytes()
    index.write_bytes(whole + bytes(1000))
    with pytest.raises(JavaException):
        await java.load(writer.path)
    with Dataset(writer.path) as ours:
        check_ours(ours, frames)
        index.write_bytes(whole)
        assert await java.check(ours) == 3


async def test_java_opens_what_we_are_writing(tmp_path: Path, java: Java) -> None:
    frames = plain("16-bit")
    with NDTiffWriter(tmp_path, "ours") as writer:
        for frame in frames:
            writer.put(frame)
        while len(writer.dataset) < len(frames):
            writer.flush()
        before = (writer.path / "NDTiff.index").read_bytes()
        assert await java.check(writer.dataset) == len(frames)
        assert (writer.path / "NDTiff.index").read_bytes() == before


async def test_an_image_that_java_writes_twice(tmp_path: Path, java: Java) -> None:
    path = await java.create(tmp_path)
    for i in range(4):
        await java.put({"time": i % 3}, image(i), {"i": i})
    await java.proxy.finish()
    with Dataset(path) as theirs:
        assert np.array_equal(theirs.read_image(time=0), image(3))
        assert theirs.read_metadata(time=0)["i"] == 3
        assert np.array_equal(theirs.to_numpy(), [image(i) for i in (3, 1, 2)])
        await java.check(theirs)


def check_empty(path: Path, tmp_path: Path, *, finished: bool, levels: int = 1) -> None:
    """A dataset without images is one for every reader, and what it is made into is one too."""
    with Dataset(path, full_res_only=False) as empty:
        assert (len(empty), empty.axes, empty.get_index_keys(), empty.summary_metadata) == (0, {}, [], {})
        assert (empty.image_shape, empty.dtype, empty.bit_depth, empty.major_version) == (None, None, None, None)
        assert (empty.finished, empty.num_resolution_levels, empty.get_channel_names()) == (finished, levels, [])
        assert not empty.has_image(time=0)
        stitched = [partial(view, stitched=True) for view in (empty.as_array, empty.as_mask)]
        for view in (empty.as_array, empty.to_numpy, empty.as_mask, empty.to_xarray, empty.as_zarr, *stitched):
            with pytest.raises(MissingImageError, match="the dataset has no images yet"):
                view()
        with pytest.raises(MissingImageError, match="no image has an axis 'time'"):
            empty.read_image(time=0)
    assert re.search(r"^images +0$", describe(path), re.MULTILINE)
    assert re.search(r"^finished +yes$" if finished else r"^finished +no: ", describe(path), re.MULTILINE)
    for made in ("made_1", "made.ome.zarr"):
        assert convert(path, tmp_path / made, verify=True).images == 0
        with Dataset(tmp_path / made) as same:
            assert len(same) == 0
    with pytest.raises(DatasetFormatError, match="the dataset has no images, and there is no empty OME-TIFF"):
        convert(path, tmp_path / "made.ome.tif")


@pytest.mark.parametrize("tiled", [False, True], ids=["plain", "pyramid"])
async def test_a_java_dataset_without_images(tmp_path: Path, java: Java, tiled: bool) -> None:
    path = await java.create(tmp_path, summary={"Who": "x"}, tiled=tiled, levels=2 if tiled else 0)
    await java.proxy.finish()
    assert {file.name: file.stat().st_size for file in path.rglob("*") if file.is_file()} == {"NDTiff.index": 0}
    check_empty(path, tmp_path, finished=True)
    assert not repair(path, dry_run=False).needed
    if tiled:
        assert rebuild_pyramid(path) == 0


@pytest.mark.parametrize("tiled", [False, True], ids=["plain", "pyramid"])
async def test_java_is_killed_before_its_first_image(tmp_path: Path, own_java_host: JavaHost, tiled: bool) -> None:
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as bridge:
        doomed = Java(await bridge.construct_java_object(STORAGES))
        path = await doomed.create(tmp_path, tiled=tiled, levels=2 if tiled else 0)
        with pytest.raises(StorageError, match="is being written to"):
            repair(path)
        own_java_host.kill()
    check_empty(path, tmp_path, finished=False)
    assert repair(path).actions == ["index: 26214400 zero bytes at its end taken off, which its writer left"]
    assert repair(path, dry_run=False).applied
    with Dataset(path) as repaired:
        assert repaired.finished
    assert not repair(path).needed


def test_an_index_with_records_needs_its_files(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "ours") as writer:
        writer.put(plain("16-bit", 1)[0])
    (file,) = writer.path.glob("*.tif")
    file.unlink()
    with pytest.raises(DatasetFormatError, match="the index names this file, but it is not there"):
        Dataset(writer.path)
    with pytest.raises(DatasetFormatError, match="there is no NDTiff dataset here"):
        repair(writer.path)


@pytest.mark.parametrize("size_um", [0.5, 0.325, 1, 7, 20000.0, None])
async def test_the_tags_of_our_images_are_those_of_java_s(tmp_path: Path, java: Java, size_um: float | None) -> None:
    summary = {} if size_um is None else {"PixelSize_um": size_um}
    frames = [Frame({"time": i}, image(i, (20, 31), kind), {"i": i}) for i, kind in enumerate((np.uint8, np.uint16, "rgb"))]
    path = await java.create(tmp_path, summary=summary)
    for frame in frames:
        await java.put(frame.axes, frame.pixels, frame.metadata)
    await java.proxy.finish()
    with NDTiffWriter(tmp_path, "ours", summary) as writer:
        for frame in frames:
            writer.put(frame)
    assert tags(path) == tags(writer.path)


def tags(path: Path) -> list[list[tuple[Any, ...]]]:
    """Say of each image what its tags are, places in the file and the length of the metadata left out."""
    (file,) = path.glob("*.tif")
    with tifffile.TiffFile(file) as tiff:
        free = {"StripOffsets", "MicroManagerMetadata"}
        return [[(tag.code, int(tag.dtype), tag.name in free or (tag.count, tag.value)) for tag in page.tags] for page in tiff.pages]  # type: ignore[union-attr]


async def test_following_what_java_writes(tmp_path: Path, java: Java) -> None:
    frames = plain("16-bit", 8)
    path = await java.create(tmp_path)
    await java.put(frames[0].axes, frames[0].pixels, frames[0].metadata)
    async with await Dataset.open(path, live=True) as live:
        for frame in frames[1:]:
            await java.put(frame.axes, frame.pixels, frame.metadata)
            assert await live.wait_for(timeout=10, **frame.axes) == frame.axes
            assert np.array_equal(get(live, frame.axes)[0], frame.pixels)
        await java.proxy.finish()
        assert [axes async for axes in live.watch(timeout=10)] == [frame.axes for frame in frames]
        assert live.finished


@pytest.mark.parametrize("charset", ["windows-1252", "UTF-8"])
async def test_java_writes_text_as_its_machine_does(tmp_path: Path, charset: str) -> None:
    """Its axes, and the metadata of tiles, are in the platform's encoding; ours it reads whatever that is."""
    host = JavaHost(jvm_args=(f"-Dfile.encoding={charset}",)).start()
    axes = [{"channel": name, "time": 0} for name in ("µ", "é", "DAPI")]
    text = {"Text": "µm – é", "Name": "ä"}
    try:
        async with aiomm.Bridge(host.port, timeout=5000) as bridge:
            java = Java(await bridge.construct_java_object(STORAGES))
            for tiled in (False, True):
                frames = [Frame({**one, **({"row": 0, "column": 0} if tiled else {})}, image(i), text) for i, one in enumerate(axes)]
                path = await java.create(tmp_path, tiled=tiled, summary=text)
                for frame in frames:
                    await java.put(frame.axes, frame.pixels, frame.metadata)
                await java.proxy.finish()
                with Dataset(path) as theirs:
                    check_ours(theirs, frames)
                    assert theirs.summary_metadata["Text"] == text["Text"]
                with (PyramidWriter if tiled else NDTiffWriter)(tmp_path, "ours", text) as writer:
                    for frame in frames:
                        writer.put(frame)
                with Dataset(writer.path) as ours:
                    assert await java.check(ours) == len(frames)
    finally:
        host.kill()
