"""The quick way to an image finds what the long way finds, and nothing once that may be something else."""

from __future__ import annotations

import gc
import itertools
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.dataset.ndtiff.store import FolderStore
from aiomm.dataset.ndtiff.table import FILE
from aiomm.dataset.opening import open_stores
from aiomm.errors import ClosedError, DatasetFormatError, MissingImageError
from tests.dataset.support import image, same

USUAL = ("channel", "z", "time", "position", "row", "column")
SPACES: dict[str, dict[str, list[Any]]] = {
    "counted": {"time": [0, 1, 2], "channel": ["DAPI", "FITC"], "z": [0, 1]},
    "not counted": {"time": [-1, 0, 1, 300], "z": [-10, 0, 10]},
    "shuffled": {"time": [2, 0, 1], "channel": [1, 0]},
    "without time": {"channel": ["b", "a"], "z": [0, 1]},
    "named times": {"time": ["1", "0"], "position": [0, 1]},
    "tiles": {"time": [0, 1], "position": ["A1", "B2"], "row": [0, 1], "column": [-1, 0]},
}


def write(folder: Path, rows: list[dict[str, Any]], size: int = 10) -> Path:
    with NDTiffWriter(folder, "x", allow_duplicates=True) as writer:
        for i, axes in enumerate(rows):
            writer.put(Frame(axes, image(i, (size, size)), {}))
    return writer.path


def opened(path: Path) -> FolderStore:
    """A store that has its quick way."""
    store = open_stores(path, True)[0]
    assert isinstance(store, FolderStore)
    store.index.find(store.index.axes_of(0))
    store.read(0)
    return store


class LongWayError(Exception):
    pass


def quick(store: FolderStore, axes: dict[str, Any], mapped: bool = False) -> np.ndarray | None:
    """What the quick way finds: the long one is closed."""

    def long_way(row: int) -> np.ndarray:
        raise LongWayError

    channel, z, time, position, row, column = map(axes.get, USUAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read", long_way)
        patch.setattr(store, "view", long_way)
        try:
            return Dataset.of(store).read_image(channel, z, time, position, row, column, memmapped=mapped)
        except (LongWayError, MissingImageError, TypeError, ValueError):
            return None


@pytest.mark.parametrize("name", SPACES)
def test_it_finds_exactly_what_is_there(tmp_path: Path, name: str) -> None:
    space = SPACES[name]
    every = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    rows = [axes for i, axes in enumerate(every) if i != 2]  # a hole
    rows.append(rows[1])  # one image again
    store = opened(write(tmp_path, rows))
    last = {tuple(axes.items()): i for i, axes in enumerate(rows)}
    for axes in every:
        row = last.get(tuple(axes.items()))
        for found in (quick(store, axes), quick(store, axes, mapped=True)):
            assert found is None if row is None else found is not None and same(found, image(row, (10, 10)))
    for axes, other in itertools.product(every, [*USUAL]):
        for value in (None, -2, 7, "7"):
            assert quick(store, {**axes, other: value}) is None or (other not in space and value is None)


@pytest.mark.parametrize("value", [1.0, True, np.float64(1), np.True_, [1], 1 + 0j, np.array([1, 1]), float("nan"), 2**70])
@pytest.mark.parametrize("axis", USUAL)
def test_what_only_equals_a_value_is_left_to_the_long_way(tmp_path: Path, axis: str, value: Any) -> None:
    rows = [{"time": t, "channel": c, "z": z, "position": 1, "row": 1, "column": 1} for t in (0, 1) for c in (0, 1) for z in (0, 1)]
    store = opened(write(tmp_path, rows))
    good = dict.fromkeys(USUAL, 1)
    assert quick(store, {**good, axis: np.int64(1)}) is not None
    assert quick(store, {**good, axis: value}) is None


def test_an_image_is_the_callers_own(tmp_path: Path) -> None:
    dataset = Dataset(write(tmp_path, [{"time": 0}, {"time": 1}]))
    first, second = dataset.read_image(time=0), dataset.read_image(time=1)
    again = dataset.read_image(time=1)
    assert second.flags.owndata and second.flags.writeable
    second[:] = 0
    assert same(first, image(0, (10, 10))) and same(again, image(1, (10, 10)))
    assert not dataset.read_image(time=1, memmapped=True).flags.writeable


def test_it_finds_nothing_once_the_index_has_grown(tmp_path: Path) -> None:
    store = opened(write(tmp_path, [{"time": 0}, {"time": 1}]))
    dataset, before = Dataset.of(store), store.quick
    assert same(dataset.read_image(time=0), image(0, (10, 10)))
    store.table.append(tuple(store.table.row(1)))
    store.index.append({"time": 0})  # the image again, with the pixels of the other
    assert same(dataset.read_image(time=0), image(1, (10, 10)))
    assert same(dataset.read_image(time=0, memmapped=True), image(1, (10, 10)))
    store.quick = before  # as one has it who took it just before
    assert quick(store, {"time": 0}) is None
    assert same(dataset.read_image(time=0), image(1, (10, 10)))
    store.table.append(tuple(store.table.row(0)))
    store.index.append({"time": 2})
    assert same(dataset.read_image(time=2), image(0, (10, 10)))


def test_threads_that_read_while_an_image_is_saved_again(tmp_path: Path) -> None:
    store = opened(write(tmp_path, [{"time": 0}, {"time": 1}]))
    dataset, saved, done = Dataset.of(store), threading.Event(), threading.Event()
    wrong: list[str] = []

    def read() -> None:
        while not done.is_set():
            late = saved.is_set()
            got = dataset.read_image(time=0)
            if not (same(got, image(1, (10, 10))) or (not late and same(got, image(0, (10, 10))))):
                wrong.append("late" if late else "early")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    store.table.append(tuple(store.table.row(1)))
    store.index.append({"time": 0})
    saved.set()
    for _ in range(200):
        assert same(dataset.read_image(time=0), image(1, (10, 10)))
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("memmapped", [False, True])
def test_a_file_that_is_cut_after_it_was_read(tmp_path: Path, memmapped: bool) -> None:
    path = write(tmp_path, [{"time": t} for t in range(10)], 100)
    dataset = Dataset(path)
    assert same(dataset.read_image(time=0), image(0, (100, 100)))
    dataset.read_image(time=9)
    file = next(path.glob("*.tif"))
    os.truncate(file, 110_000)
    assert same(dataset.read_image(time=1, memmapped=memmapped), image(1, (100, 100)))
    with pytest.raises(DatasetFormatError, match=r"the index says 20000 bytes at \d+, but the file has 110000 bytes"):
        dataset.read_image(time=9, memmapped=memmapped)


@pytest.mark.parametrize("memmapped", [False, True])
def test_closed_after_it_was_read(tmp_path: Path, memmapped: bool) -> None:
    dataset = Dataset(write(tmp_path, [{"time": 0}, {"time": 1}]))
    for _ in range(2):
        dataset.read_image(time=1, memmapped=memmapped)
    dataset.close()
    with pytest.raises(ClosedError, match="was closed"):
        dataset.read_image(time=1, memmapped=memmapped)
    with pytest.raises(MissingImageError):
        dataset.read_image(time=2)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_keeps_the_file_open(tmp_path: Path) -> None:
    path = write(tmp_path, [{"time": 0}, {"time": 1}])

    def is_open() -> bool:
        return any(str(os.path.realpath(fd)).startswith(str(path)) for fd in Path("/proc/self/fd").iterdir())

    gc.disable()
    try:
        for close in (True, False):
            dataset = Dataset(path)
            for _ in range(2):
                dataset.read_image(time=1)
            assert is_open()
            if close:
                dataset.close()
            else:
                del dataset
            assert not is_open()
    finally:
        gc.enable()


def test_images_in_other_files_and_of_other_sizes(tmp_path: Path) -> None:
    path = write(tmp_path, [{"time": t} for t in range(4)])
    store = opened(path)
    places = store.table.take(np.arange(4))
    places[1:, FILE] = 1
    store = FolderStore(path, {}, store.index, type(store.table)(places), ["gone.tif", store.files[0]], store.version)
    dataset = Dataset.of(store)
    for _ in range(2):
        assert same(dataset.read_image(time=2), image(2, (10, 10)))
        with pytest.raises(DatasetFormatError, match=r"gone\.tif"):
            dataset.read_image(time=0)
    with NDTiffWriter(tmp_path, "y") as writer:
        for t in range(6):
            writer.put(Frame({"time": t}, image(t, (10, 10 + t % 2)), {}))
    dataset = Dataset(writer.path)
    for t in [*range(6), *range(6)]:
        for memmapped in (False, True):
            assert same(dataset.read_image(time=t, memmapped=memmapped), image(t, (10, 10 + t % 2)))


def test_names_of_axes_are_the_ones_that_keywords_are_compared_with(tmp_path: Path) -> None:
    path = write(tmp_path, [{"time": 0, "position": 1}])
    for axes in (Dataset(path).get_image_coordinates_list()[0], opened(path).index.axes_of(0)):
        assert {id(name) for name in axes} == {id("time"), id("position")}
