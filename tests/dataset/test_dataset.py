from __future__ import annotations

import asyncio
import inspect
import pickle
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter
from aiomm.errors import ClosedError, DatasetFormatError, MissingImageError
from tests.dataset.support import frame, image, same

if TYPE_CHECKING:
    from pathlib import Path

TIMES, CHANNELS, ZS = 3, ["FITC", "DAPI"], [-2, 0, 7]


def seed(t: int, c: str, z: int) -> int:
    return 1000 * t + 100 * CHANNELS.index(c) + z + 10


@pytest.fixture(params=["memory", "live", "opened"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    writer: Any = MemoryWriter({"a": 1}) if request.param == "memory" else NDTiffWriter(tmp_path, "x", {"a": 1})
    for z in ZS:  # not in the canonical order
        for t in range(TIMES):
            for c in CHANNELS:
                writer.put(Frame({"z": z, "time": t, "channel": c, "position": 4}, image(seed(t, c, z)), {"seed": seed(t, c, z)}, 12))
    while len(writer.dataset) < 18:
        writer.flush()
    if request.param == "live":
        yield writer.dataset
        writer.finish()
    else:
        writer.finish()
        yield writer.dataset if request.param == "memory" else Dataset(writer.path)


def test_signatures_take_the_older_parameters() -> None:
    assert list(inspect.signature(Dataset).parameters)[:3] == ["dataset_path", "full_res_only", "remote_storage_monitor"]
    seeds = {
        "as_array": ["axes", "stitched", "verbose"],
        "get_index_keys": ["res_level"],
        "has_image": ["channel", "z", "time", "position", "channel_name", "resolution_level", "row", "col"],
        "read_image": ["channel", "z", "time", "position", "row", "col", "channel_name", "resolution_level", "memmapped"],
        "read_metadata": ["channel", "z", "time", "position", "channel_name", "row", "col", "resolution_level"],
    }
    for name, parameters in seeds.items():
        assert list(inspect.signature(getattr(Dataset, name)).parameters)[1 : 1 + len(parameters)] == parameters
    assert inspect.signature(Dataset.as_array).parameters["verbose"].default is True


def test_finished_says_whether_more_may_be_written(tmp_path: Path) -> None:
    writer = NDTiffWriter(tmp_path, "cells", {})
    try:
        assert not writer.dataset.is_finished()
        assert not writer.dataset.finished
    finally:
        writer.finish()
    for dataset in (writer.dataset, Dataset(writer.path)):
        assert dataset.is_finished()
        assert dataset.finished


def test_what_there_is(dataset: Dataset) -> None:
    assert dataset.axes == {"position": [4], "time": [0, 1, 2], "channel": ["DAPI", "FITC"], "z": [-2, 0, 7]}
    assert list(dataset.axes) == ["position", "time", "channel", "z"]
    assert dataset.axes_types == {"position": int, "time": int, "channel": str, "z": int}
    assert dataset.get_channel_names() == ["FITC", "DAPI"]
    assert dataset.dtype == np.uint16
    assert (dataset.image_shape, dataset.image_height, dataset.image_width, dataset.bytes_per_pixel) == ((20, 30), 20, 30, 2)
    assert dataset.bit_depth == 12
    assert dataset.summary_metadata["a"] == 1
    keys = dataset.get_index_keys()
    assert keys == dataset.get_image_coordinates_list()
    assert len(keys) == len(dataset) == 18
    assert keys[0] == {"position": 4, "time": 0, "channel": "FITC", "z": -2} == dataset.axes_of(0)
    assert "18 images of 20x30 12-bit uint16" in repr(dataset)
    assert "channel 2" in repr(dataset)


def test_every_image(dataset: Dataset) -> None:
    for t in range(TIMES):
        for n, c in enumerate(CHANNELS):
            for z in ZS:
                want = image(seed(t, c, z))
                assert same(dataset.read_image(channel=c, z=z, time=t, position=4), want)
                assert same(dataset.read_image(channel=c, z=z, time=t), want)  # the only position
                assert same(dataset.read_image(n, z, t), want)
                assert same(dataset.read_image(channel=np.int64(n), z=np.int16(z), time=t), want)  # type: ignore[arg-type]
                assert dataset.read_metadata(channel_name=c, z=z, time=t)["seed"] == seed(t, c, z)
                assert dataset.has_image(channel=c, z=z, time=t)
    pixels, metadata = dataset.read_image(channel=0, z=0, time=0, read_metadata=True)
    assert metadata["Axes"] == {"position": 4, "time": 0, "channel": "FITC", "z": 0}
    pixels[:] = 0  # the caller's own
    assert same(dataset.read_image(channel=0, z=0, time=0), image(seed(0, "FITC", 0)))


def test_memmapped_is_a_read_only_view(dataset: Dataset) -> None:
    view = dataset.read_image(channel="DAPI", z=0, time=1, memmapped=True)
    assert same(view, image(seed(1, "DAPI", 0)))
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1


def test_values_that_cannot_be_are_plainly_not_there(dataset: Dataset) -> None:
    there = {"time": 1, "channel": "DAPI", "z": 0}
    wrong: list[dict[str, Any]] = [{"z": 10**30}, {"channel": True}, {"z": 0.5}, {"time": [1]}, {"resolution_level": 3}]
    for change in wrong:
        assert not dataset.has_image(**{**there, **change})


def test_a_numbered_channel_is_missed_by_its_name() -> None:
    with MemoryWriter({"ChNames": ["DAPI", "FITC"]}) as writer:
        for i in range(2):
            writer.put(Frame({"channel": i}, image(i), {}))
    with pytest.raises(MissingImageError, match=r"no channel 'FITS'; the channels are 'DAPI', 'FITC'; did you mean 'FITC'"):
        writer.dataset.read_image(channel="FITS")


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"time": 9, "channel": "DAPI", "z": 0}, ["'time': 9", "nearest", "'time': 2"]),
        ({"time": 1, "channel": "DAPI"}, ["'z' (3 values: -2, 0, 7) must be given"]),
        ({"time": 1, "channel": "DAPI", "z": 3}, ["'z': 3", "nearest are {'position': 4, 'time': 1, 'channel': 'DAPI', 'z': 0}"]),
        ({"time": 1, "channel": "Cy5", "z": 0}, ["Cy5"]),
        ({"time": 1, "channel": 2, "z": 0}, ["'channel' has 2 values ('FITC', 'DAPI')", "number 2"]),
        ({"time": 1, "channel": -1, "z": 0}, ["number -1"]),
        ({"tine": 1, "channel": 0, "z": 0}, ["'tine'", "did you mean 'time'"]),
        ({"time": "a", "channel": 0, "z": 0}, ["'time' has integers", "'a'"]),
    ],
)
def test_missing_images_are_told(dataset: Dataset, axes: dict[str, Any], says: list[str]) -> None:
    assert not dataset.has_image(**axes)
    for read in (dataset.read_image, dataset.read_metadata):
        with pytest.raises(MissingImageError) as caught:
            read(**axes)
        assert isinstance(caught.value, KeyError)
        for text in says:
            assert text in str(caught.value)


def test_axis_values_of_other_types_are_refused(dataset: Dataset) -> None:
    with pytest.raises(TypeError, match=r"'time' is 1\.5"):
        dataset.read_image(time=1.5, channel=0, z=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="given twice"):
        dataset.read_image(col=1, column=2)


def test_the_default_channel_of_a_dataset_without_channels() -> None:
    with MemoryWriter() as writer:
        writer.put(Frame({"time": 0}, image(1), {}))
    assert same(writer.dataset.read_image(channel=0, time=0), image(1))
    assert writer.dataset.as_array(channel=0).shape == (1, 20, 30)
    assert not writer.dataset.has_image(channel=1)
    assert not writer.dataset.has_image(channel="DAPI")


def test_columns_have_two_names() -> None:
    with MemoryWriter() as writer:
        for c in (-1, 0):
            writer.put(Frame({"row": 2, "column": c}, image(c + 1), {}))
    dataset = writer.dataset
    assert same(dataset.read_image(row=2, col=-1), image(0))
    assert same(dataset.read_image(column=0), image(1))
    assert same(dataset.as_array(col=0, row=2), image(1))


def test_an_axis_that_is_named_col(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for c in (1, 2):
            writer.put(Frame({"col": c}, image(c), {}))
    dataset = Dataset(writer.path)
    assert dataset.axes == {"col": [1, 2]}
    assert same(dataset.read_image(col=2), image(2))
    assert dataset.read_metadata(col=2)["Axes"] == {"col": 2}
    assert same(dataset.as_array(col=1), image(1))


NAMES = ["self", "axes", "channel_name", "resolution_level", "memmapped", "read_metadata", "stitched", "out", "res_level", "timeout", "col"]


@pytest.mark.parametrize("name", NAMES)
async def test_axes_that_are_named_like_parameters(name: str) -> None:
    with MemoryWriter() as writer:
        for i in (1, 2):
            writer.put(Frame({name: i, "time": 0}, image(i), {"i": i}))
    dataset = writer.dataset
    assert same(dataset.read_image(axes={name: 2}, time=0), image(2))
    assert same(dataset.read_image(axes={name: 2, "time": 0}, read_metadata=True)[0], image(2))
    assert dataset.read_metadata(axes={name: 1})["i"] == 1
    assert dataset.has_image(axes={name: 1})
    assert not dataset.has_image(axes={name: 3})
    assert same(await dataset.read_image_async(axes={name: 1}), image(1))
    assert await dataset.wait_for(axes={name: 2}, timeout=1) == {name: 2, "time": 0}
    assert same(dataset.to_numpy([name])[1], image(2))
    if name != "col":
        with pytest.raises(MissingImageError, match=rf"as axes={{'{name}': ...}}"):
            dataset.read_image(time=0)
    with pytest.raises(TypeError, match="twice"):
        dataset.read_image(axes={"time": 0}, time=0)


def test_ragged_axes() -> None:
    with MemoryWriter() as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
        writer.put(Frame({"time": 0, "z": 5}, image(1), {}))
        writer.put(Frame({"time": 1, "z": 5}, image(2), {}))
        writer.put(Frame({}, image(3), {}))
    dataset = writer.dataset
    assert same(dataset.read_image(time=0), image(0))  # what is there exactly comes first
    assert same(dataset.read_image(time=1), image(2))  # then the only value
    assert same(dataset.read_image(), image(3))
    assert same(dataset.read_image(time=0, z=5), image(1))


async def test_async_twins(dataset: Dataset) -> None:
    axes: dict[str, Any] = {"channel": "DAPI", "z": 0, "time": 1}
    want = image(seed(1, "DAPI", 0))
    assert same(await dataset.read_image_async(**axes), want)
    assert (await dataset.read_metadata_async(**axes))["seed"] == seed(1, "DAPI", 0)
    pixels, metadata = await dataset.read_row_async(3)
    assert same(pixels, image(metadata["seed"]))
    assert same((await dataset.to_numpy_async(channel="DAPI", z=0))[0, 1], want)
    with pytest.raises(MissingImageError):
        await dataset.read_image_async(time=99, channel=0, z=0)
    if dataset.path is not None:
        async with await Dataset.open(dataset.path) as other:
            images = await asyncio.gather(*(other.read_image_async(**axes) for _ in range(20)))
        assert all(same(one, want) for one in images)


def test_many_threads_read(dataset: Dataset) -> None:
    wrong: list[Any] = []

    def read(start: int) -> None:
        for i in range(start, start + 200):
            pixels, metadata = dataset.read_row(i % 18)
            if not same(pixels, image(metadata["seed"])):
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rows_outside(dataset: Dataset) -> None:
    for row in (-1, 18):
        with pytest.raises(IndexError, match="18 rows"):
            dataset.read_row(row)
        with pytest.raises(IndexError):
            dataset.axes_of(row)


def test_resolution_levels_that_are_not_there(dataset: Dataset) -> None:
    with pytest.raises(MissingImageError, match="level 1: open it with full_res_only=False"):
        dataset.read_image(time=0, resolution_level=1)
    with pytest.raises(TypeError, match="integer"):
        dataset.as_array(res_level=0.5)  # type: ignore[arg-type]


def test_closed(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(Frame({"time": 0}, image(1), {}))
    dataset = Dataset(writer.path)
    array, view = dataset.as_array(), dataset.read_image(memmapped=True)
    with dataset:
        dataset.read_image()
    dataset.close()
    with pytest.raises(ClosedError):
        dataset.read_image()
    with pytest.raises(ClosedError):
        dataset.as_array()
    assert same(array[0], image(1))
    assert same(view, image(1))


def test_closed_while_others_read(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(50):
            writer.put(Frame({"time": i}, image(i, (100, 100)), {}))
    for _ in range(20):
        dataset = Dataset(writer.path)
        wrong: list[int] = []
        ended: list[int] = []

        def read(dataset: Dataset = dataset, wrong: list[int] = wrong, ended: list[int] = ended) -> None:
            try:
                for i in range(10000):
                    if not same(dataset.read_image(time=i % 50), image(i % 50, (100, 100))):
                        wrong.append(i)
            except ClosedError:
                ended.append(1)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        dataset.close()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(ended) == 3


def test_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="dataset_path"):
        Dataset()
    with pytest.raises(TypeError, match="remote_storage_monitor"):
        Dataset(tmp_path, remote_storage_monitor=object())
    with pytest.raises(DatasetFormatError, match="no such folder"):
        Dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetFormatError, match="a file"):
        Dataset(tmp_path / "file")
    with pytest.raises(DatasetFormatError, match=r"NDTiff\.index"):
        Dataset(tmp_path)


def test_memory_arrays_can_be_pickled() -> None:
    with MemoryWriter() as writer:
        writer.put(Frame({"time": 0}, image(1), {}))
    assert same(pickle.loads(pickle.dumps(writer.dataset.as_array()))[0], image(1))


def test_memory_dataset_is_gone_when_closed() -> None:
    writer = MemoryWriter()
    writer.put(Frame({"time": 0}, image(1), {}))
    writer.dataset.close()  # still being acquired: stays
    assert same(writer.dataset.read_image(), image(1))
    writer.finish()
    writer.dataset.close()
    with pytest.raises(ClosedError):
        writer.dataset.read_image()


@pytest.mark.parametrize("wrong", [True, False, 0.0, 1.0, np.float64(0), np.bool_(True)])
def test_values_that_only_equal_an_integer_are_refused(tmp_path: Path, wrong: Any) -> None:
    with NDTiffWriter(tmp_path, "x", {}) as writer:
        for time in range(2):
            writer.put(frame(time))
    with Dataset(writer.path) as dataset:
        assert dataset.read_image(time=np.uint8(1)).shape == (20, 30)  # type: ignore[arg-type]
        assert not dataset.has_image(time=wrong)
        for ask in (dataset.read_image, dataset.read_metadata):
            with pytest.raises(TypeError, match="axis 'time'"):
                ask(time=wrong)


def test_what_is_no_path_no_axes_and_no_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="dataset_path is 5: it must be the path of a folder"):
        Dataset(5)  # type: ignore[arg-type]
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(frame(1))
    with Dataset(writer.path) as dataset:
        with pytest.raises(TypeError, match="axes is 5: it must be names of axes"):
            dataset.as_array(axes=5)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="row is 'a'"):
            dataset.read_row("a")  # type: ignore[arg-type]
