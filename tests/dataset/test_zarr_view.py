from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter
from aiomm.errors import MissingImageError
from tests.dataset.support import image, same, samples

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two times, two channels and two z; one image is missing."""
    with NDTiffWriter(tmp_path, "x", {"PixelSize_um": 0.5}) as writer:
        for t in (0, 3):
            for c in ("FITC", "DAPI"):
                for z in (-1, 1):
                    if (t, c, z) != (3, "DAPI", 1):
                        metadata = {"ZPosition_um": z * 2.0, "ElapsedTime-ms": t * 1000.0}
                        writer.put(Frame({"time": t, "channel": c, "z": z}, image(50 + t * 10 + z + 5 * (c == "DAPI")), metadata))
    return Dataset(writer.path)


def test_zarr_python_reads_it(dataset: Dataset) -> None:
    group = dataset.as_zarr()
    array = group["0"]
    assert isinstance(array, zarr.Array)
    assert array.shape == (2, 2, 2, 20, 30)
    assert array.chunks == (1, 1, 1, 20, 30)
    assert array.metadata.dimension_names == ("t", "c", "z", "y", "x")
    assert same(array[:], dataset.to_numpy(["time", "channel", "z"]))
    assert same(array[1, 0, 1], np.zeros((20, 30), np.uint16))
    assert array.nchunks_initialized == 7
    assert group.attrs["aiomm"]["axis_values"] == {"time": [0, 3], "channel": ["DAPI", "FITC"], "z": [-1, 1]}
    assert group.attrs["aiomm"]["summary"]["PixelSize_um"] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        del group["0"]


async def test_zarr_python_reads_it_on_the_loop(dataset: Dataset) -> None:
    group = await zarr.api.asynchronous.open_group(dataset.zarr_store(), mode="r")
    array: Any = await group.getitem("0")
    assert same(await array.getitem((slice(None), 1, 0)), dataset.to_numpy(["time"], channel="FITC", z=-1))
    assert sorted([name async for name in group.keys()]) == ["0"]


def test_dask_reads_it_as_viewers_do(dataset: Dataset) -> None:
    array = da.from_zarr(dataset.as_zarr()["0"])
    assert same(array[0], dataset.to_numpy(["channel", "z"], time=0))


def test_the_metadata_are_valid_and_calibrated(dataset: Dataset) -> None:
    from ome_zarr_models.v05.image import Image

    group = dataset.as_zarr()
    Image.from_zarr(group)
    ome = group.attrs["ome"]
    (multiscale,) = ome["multiscales"]
    assert multiscale["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [3.0, 1.0, 4.0, 0.5, 0.5]}]
    assert [axis.get("unit") for axis in multiscale["axes"]] == ["second", None, "micrometer", "micrometer", "micrometer"]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["DAPI", "FITC"]


def test_a_reader_of_ome_zarr_reads_it(dataset: Dataset) -> None:
    import ngff_zarr

    store = dataset.zarr_store()  # ngff-zarr takes a mapping of keys, and no store of zarr-python

    async def everything() -> dict[str, bytes]:
        prototype = default_buffer_prototype()
        return {key: (await store.get(key, prototype)).to_bytes() async for key in store.list()}  # type: ignore[union-attr]

    found = ngff_zarr.from_ngff_zarr(asyncio.run(everything()), version="0.5").images[0]
    assert found.dims == ("t", "c", "z", "y", "x")
    assert found.scale["x"] == 0.5
    assert same(found.data, dataset.to_numpy(["time", "channel", "z"]))


def test_rgb_is_three_channels(tmp_path: Path) -> None:
    from ome_zarr_models.v05.image import Image

    with NDTiffWriter(tmp_path, "x") as writer:
        for t in range(3):
            for c in "ab":
                writer.put(Frame({"time": t, "channel": c}, image(t * 2 + (c == "b"), kind="rgb"), {}))
    dataset = Dataset(writer.path)
    group = dataset.as_zarr()
    Image.from_zarr(group)
    array: Any = group["0"]
    assert array.shape == (3, 6, 20, 30)
    pixels = dataset.to_numpy(["time", "channel"])
    assert same(array[:], np.moveaxis(pixels, -1, 2).reshape(3, 6, 20, 30))
    assert array.nchunks_initialized == 6
    alone: Any = dataset.as_zarr(axes=["time"], channel="b")["0"]
    assert same(alone[:], np.moveaxis(pixels[:, 1], -1, 1))


def test_other_axes_make_image_groups(tmp_path: Path) -> None:
    from ome_zarr_models.v05.image import Image

    with NDTiffWriter(tmp_path, "x") as writer:
        for p in ("A", "B"):
            for t in range(2):
                writer.put(Frame({"position": p, "time": t}, image(t + 10 * (p == "B")), {}))
    group = Dataset(writer.path).as_zarr()
    assert group.attrs["ome"]["bioformats2raw.layout"] == 3
    assert group["OME"].attrs["ome"]["series"] == ["0", "1"]
    second: Any = group["1"]
    Image.from_zarr(second)
    assert second.attrs["ome"]["multiscales"][0]["name"] == "position B"
    assert same(second["0"][:], [image(10), image(11)])
    assert sorted(group.keys()) == ["0", "1", "OME"]
    assert sorted(second.keys()) == ["0"]


def test_places_without_images_have_no_group() -> None:
    with MemoryWriter() as writer:
        for i in range(300):  # 90 000 places
            writer.put(Frame({"a": i, "b": 2 * i}, image(i % 200), {}))
    group = writer.dataset.as_zarr()
    ome: Any = group["OME"].attrs["ome"]
    assert ome["series"] == [str(i) for i in range(300)]
    last: Any = group["299"]
    assert last.attrs["aiomm"]["axes"] == {"a": 299, "b": 598}
    assert same(last["0"][:], image(99))
    assert repr(writer.dataset.zarr_store()) == "<DatasetStore: 300 arrays>"


@pytest.mark.parametrize("overlap", [(0, 0), (4, 7)])
def test_tiles_are_one_image_with_levels(tmp_path: Path, overlap: tuple[int, int]) -> None:
    from ome_zarr_models.v05.image import Image

    from aiomm.dataset.ndtiff.pyramid import PyramidWriter

    oy, ox = overlap
    summary = {"PixelSize_um": 0.5}
    with PyramidWriter(tmp_path, "x", summary, overlap=(ox, oy), max_multi_res_index=1) as writer:
        for row, column in [(-1, 0), (0, 0), (0, 2)]:
            writer.put(Frame({"row": row, "column": column, "time": 0}, image(10 * row + column + 20), {}))
    dataset = Dataset(writer.path, full_res_only=False)
    assert dataset.num_resolution_levels == 2
    group = dataset.as_zarr()
    Image.from_zarr(group)
    array: Any = group["0"]
    height, width = 20 - oy, 30 - ox
    assert array.shape == (1, 2 * height, 3 * width)
    whole = array[0]
    for row, column in [(-1, 0), (0, 0), (0, 2)]:
        pixels = image(10 * row + column + 20)[oy // 2 : oy // 2 + height, ox // 2 : ox // 2 + width]
        assert same(whole[(row + 1) * height : (row + 2) * height, column * width : (column + 1) * width], pixels)
    assert not whole[:height, width:].any()
    low: Any = group["1"]
    assert low.chunks == (1, height, width)
    assert same(low[:], dataset.as_array(["time"], stitched=True, res_level=None)[1])
    moves = group.attrs["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    assert moves[0] == {"type": "scale", "scale": [1.0, 1.0, 1.0]}
    # the lower level's first tile begins at row -2 of full resolution, whose first row is -1: half of it is cropped
    assert moves[1] == {"type": "translation", "translation": [0.0, 0.25, 0.25]}


@pytest.mark.parametrize("first", [(0, 0), (1, 2), (3, -3), (-5, 7)])
@pytest.mark.parametrize("kind", [np.uint8, "rgb"])
def test_levels_show_the_same_part_from_the_largest_to_the_smallest(tmp_path: Path, first: tuple[int, int], kind: Any) -> None:
    from aiomm.dataset.ndtiff.pyramid import PyramidWriter

    with PyramidWriter(tmp_path, "x", overlap=(3, 1), max_multi_res_index=3) as writer:
        for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 1), (2, 4)]):
            writer.put(Frame({"row": first[0] + row, "column": first[1] + column, "time": i % 2}, image(i, kind=kind), {}))
    with Dataset(writer.path, full_res_only=False) as dataset:
        group = dataset.as_zarr()
        wanted = dataset.as_array(["time"], stitched=True, res_level=None)
        assert len(wanted) == dataset.num_resolution_levels == 4
        sizes = []
        for level, array in enumerate(wanted):
            seen: Any = group[str(level)]
            pixels = seen[:] if kind != "rgb" else np.moveaxis(seen[:], 1, -1)
            assert same(pixels, array)
            assert same(dataset.as_array(["time"], stitched=True, res_level=level), array)
            sizes.append(pixels.shape[1:3])
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == 4


def test_real_datasets() -> None:
    for name in ("ndtiffv2.0_test", "ndtiff3.2_multichannel", "ndtiff3.2_magellan_explore_rgb", "ndtiffv2.0_stitched_test"):
        dataset = Dataset(samples() / name, full_res_only=False)
        array: Any = dataset.as_zarr()["0"]
        last = dataset.get_index_keys()[-1]
        pixels = dataset.read_image(**last)
        assert pixels.max() in array[:]
        assert array.nchunks_initialized == len(dataset)


async def test_keys_and_parts_of_them(dataset: Dataset) -> None:
    store = dataset.zarr_store()
    prototype = default_buffer_prototype()
    whole = image(54).tobytes()  # time 0, DAPI, z -1

    async def get(key: str, part: Any = None) -> bytes | None:
        buffer = await store.get(key, prototype, part)
        return None if buffer is None else buffer.to_bytes()

    key = "0/c/0/0/0/0/0"
    assert await get(key) == whole
    assert await get(key, RangeByteRequest(5, 9)) == whole[5:9]
    assert await get(key, OffsetByteRequest(1000)) == whole[1000:]
    assert await get(key, SuffixByteRequest(7)) == whole[-7:]
    assert await store.exists(key)
    places = ("c/1/0/1/0/0", "c/2/0/0/0/0", "c/0/0/0/1/0", "c/0/0", "c/0/0/0/0/x")
    for missing in (*(f"0/{place}" for place in places), "1/c/0/0/0/0/0", "c/0", "", "0", ".zgroup"):
        assert await get(missing) is None
        assert not await store.exists(missing)
    listed = [name async for name in store.list()]
    assert len(listed) == len(set(listed)) == 9
    assert all([await store.exists(name) for name in listed])
    assert sorted([name async for name in store.list_dir("")]) == ["0", "zarr.json"]
    assert sorted([name async for name in store.list_dir("0")]) == ["c", "zarr.json"]
    assert sorted([name async for name in store.list_dir("0/c/1")]) == ["0", "1"]
    assert [name async for name in store.list_dir("nothing")] == []


def test_it_goes_to_other_processes(dataset: Dataset) -> None:
    again = zarr.open_group(pickle.loads(pickle.dumps(dataset.zarr_store())), mode="r")
    assert same(again["0"][:], dataset.as_zarr()["0"][:])  # type: ignore[index]


def test_what_cannot_be_seen_so() -> None:
    with MemoryWriter() as writer:
        with pytest.raises(MissingImageError, match="no images"):
            writer.dataset.as_zarr()
        writer.put(Frame({"time": 0}, image(0), {}))
        writer.put(Frame({"time": 1}, image(0, (5, 5)), {}))
    with pytest.raises(ValueError, match="images differ"):
        writer.dataset.as_zarr()
    array: Any = writer.dataset.as_zarr(time=1)["0"]
    assert same(array[:], image(0, (5, 5)))


def test_a_view_of_a_live_dataset_is_a_snapshot(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
        while not len(writer.dataset):
            writer.flush()
        array: Any = writer.dataset.as_zarr()["0"]
        writer.put(Frame({"time": 1}, image(1), {}))
    assert same(array[:], [image(0)])


def test_ten_million_places_are_a_few_numbers_each() -> None:
    count = 3100
    with MemoryWriter() as writer:
        for i in range(count):
            writer.put(Frame({"time": i, "z": i}, image(1, (2, 2)), {}))
    writer.dataset.zarr_store()  # what is set up once
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        store = writer.dataset.zarr_store()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 12 * count**2
    assert repr(store) == "<DatasetStore: 1 arrays>"


_MANY_AT_ONCE = """
import os, sys
os.cpu_count = lambda: 1  # as few threads as there can be
import dask, dask.array as da, numpy as np
from aiomm.dataset import Dataset, Frame, OmeZarrWriter

which, folder = sys.argv[1:]
tile = {} if which == "foreign" else {"row": 0, "column": 0}
overlap = {"GridPixelOverlapX": 0, "GridPixelOverlapY": 0}
with OmeZarrWriter(folder, "x", overlap, levels=1) as writer:
    for t in range(40):
        writer.put(Frame({"time": t, **tile}, np.full((8, 8), t, np.uint16), {}))
if which == "foreign":
    os.remove(writer.path / "index.ndjson")
array = Dataset(writer.path, full_res_only=which == "foreign").as_zarr()["0" if which == "foreign" else "1"]
whole = array[...]
assert np.unique(whole).tolist() == list(range(40))
if hasattr(os, "fork"):
    import warnings
    warnings.simplefilter("ignore")  # of forks where there are threads: it is what is tried
    if not (child := os.fork()):
        os._exit(int(not np.array_equal(array[...], whole)))
    assert os.waitpid(child, 0)[1] == 0
with dask.config.set(num_workers=16):
    assert np.array_equal(da.from_zarr(array, chunks=(20, *array.shape[1:])).compute(), whole)
print("read")
"""


@pytest.mark.parametrize("which", ["foreign", "level"])
def test_many_chunks_of_zarr_arrays_are_read_at_once(tmp_path: Path, which: str) -> None:
    found = subprocess.run([sys.executable, "-c", _MANY_AT_ONCE, which, tmp_path], capture_output=True, text=True, timeout=25, check=False)
    assert (found.stderr, found.stdout, found.returncode) == ("", "read\n", 0)
