from __future__ import annotations

import random
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from aiomm.dataset.index import Index, canonical_order


def fill(rows: list[dict[str, Any]]) -> Index:
    index = Index()
    for axes in rows:
        index.declare(axes)
        index.append(axes)
    return index


RAGGED: list[dict[str, Any]] = [
    {"time": 0, "channel": "FITC"},
    {"time": 1, "channel": "DAPI"},
    {"time": 0, "channel": "DAPI", "z": -3},
    {"z": 4, "slice": "a"},
    {},
    {"time": 1, "channel": "DAPI"},
]


def build(kind: str, rows: list[dict[str, Any]]) -> Index:
    return fill(rows) if kind == "appended" else Index.from_axes(rows)


@pytest.mark.parametrize("kind", ["appended", "from a list"])
def test_rows_of_every_shape(kind: str) -> None:
    index = build(kind, RAGGED)
    assert len(index) == 6
    assert [index.axes_of(row) for row in range(6)] == RAGGED
    assert [index.find(axes) for axes in RAGGED] == [0, 5, 2, 3, 4, 5]
    assert index.names == ["time", "channel", "slice", "z"]
    assert index.types == {"time": int, "channel": str, "slice": str, "z": int}
    assert index.values("time") == [0, 1]
    assert index.values("channel") == ["DAPI", "FITC"]
    assert index.strings("channel") == ["FITC", "DAPI"]
    assert index.values("z") == [-3, 4]
    assert index.winners().tolist() == [0, 2, 3, 4, 5]
    assert index.all_axes() == [RAGGED[0], *RAGGED[2:]]


@pytest.mark.parametrize("kind", ["appended", "from a list"])
@pytest.mark.parametrize(
    "axes",
    [{"time": 7}, {"time": 0}, {"time": 0, "channel": "Cy5"}, {"time": "0", "channel": "DAPI"}, {"channel": 0, "time": 0}, {"nowhere": 1}],
)
def test_not_there(kind: str, axes: dict[str, Any]) -> None:
    assert build(kind, RAGGED).find(axes) == -1


@pytest.mark.parametrize("kind", ["appended", "from a list"])
def test_empty(kind: str) -> None:
    index = build(kind, [])
    assert len(index) == 0
    assert index.find({}) == -1
    assert index.find({"time": 0}) == -1
    assert index.names == []
    assert index.all_axes() == []
    with pytest.raises(IndexError):
        index.axes_of(0)


def test_image_without_axes() -> None:
    index = fill([{}])
    assert index.find({}) == 0
    assert index.axes_of(0) == {}
    assert index.all_axes() == [{}]


def test_order_of_axes_is_the_same_live_and_reopened() -> None:
    names = ["z", "laser", "channel", "time", "angle", "position", "column", "row"]
    want = ["row", "column", "position", "time", "channel", "laser", "angle", "z"]
    assert canonical_order(names) == want
    rows = [dict.fromkeys(names, 1), dict.fromkeys(reversed(names), 2)]
    assert fill(rows).names == Index.from_axes(rows).names == want
    assert list(fill(rows).axes_of(1)) == want


def test_an_axis_keeps_its_type() -> None:
    index = fill([{"time": 0, "channel": "DAPI"}])
    with pytest.raises(TypeError, match="'channel' is 3: it has had strings"):
        index.declare({"channel": 3})
    with pytest.raises(TypeError, match="'time' is 'a': it has had integers"):
        index.declare({"time": "a"})
    with pytest.raises(TypeError, match="'time'"):
        Index.from_axes([{"time": 0}, {"time": "a"}])


def test_like_a_dict_for_random_rows() -> None:
    rng = random.Random(3)
    pools: dict[str, list[Any]] = {
        "time": [-(2**40), -1, 0, 1, 255, 256, 2**61],
        "z": [0, 8, 64],
        "channel": ["a", "b", "", "µ"],
        "row": [0, 1],
    }
    rows = [{name: rng.choice(pools[name]) for name in rng.sample(list(pools), rng.randrange(5))} for _ in range(2000)]
    model = {frozenset(axes.items()): row for row, axes in enumerate(rows)}
    for index in (fill(rows), Index.from_axes(rows)):
        assert all(index.find(axes) == model[frozenset(axes.items())] for axes in rows)
        assert index.winners().tolist() == sorted(model.values())
        assert [index.axes_of(row) for row in range(2000)] == rows


DENSE: list[dict[str, Any]] = [{"time": t, "channel": c, "z": z} for t in range(5) for c in ("DAPI", "Cy5") for z in (-10, 0, 10)]
USUAL = ("channel", "z", "time", "position", "row", "column")


def usual(index: Index, axes: dict[str, Any]) -> int:
    return index.finder.find_usual(*map(axes.get, USUAL))


@pytest.mark.parametrize("kind", ["appended", "from a list"])
def test_images_that_lie_densely(kind: str) -> None:
    rows = [*DENSE[:7], *DENSE[8:], DENSE[3], {"time": 1, "z": 0}, {"time": 5, "channel": "Cy5", "z": 0}]
    index = build(kind, rows)
    model = {frozenset(axes.items()): row for row, axes in enumerate(rows)}
    everything = [
        {name: value for name, value in {"time": t, "channel": c, "z": z}.items() if value is not None}
        for t in (None, *range(-1, 7))
        for c in (None, "DAPI", "Cy5", "GFP", 0)
        for z in (None, -10, -1, 0, 10, "0")
    ]
    for axes in everything:
        assert index.find(axes) == usual(index, axes) == model.get(frozenset(axes.items()), -1)
    assert index.find({"time": 1, "z": 0, "nowhere": 1}) == -1
    assert index.winners().tolist() == sorted(model.values())


@pytest.mark.parametrize("kind", ["appended", "from a list"])
@pytest.mark.parametrize("value", [1.0, True, np.float64(1), np.True_, [1], None, 1 + 0j, np.array([1, 1])])
def test_what_equals_a_value_is_not_the_value(kind: str, value: Any) -> None:
    index = build(kind, [{"time": t, "channel": "DAPI"} for t in range(5)])
    assert index.finder.find_usual("DAPI", None, 1, None, None, None) == 1
    assert index.finder.find_usual("DAPI", None, np.int64(1), None, None, None) == 1
    assert index.finder.find_usual("DAPI", None, value, None, None, None) == -1
    assert index.finder.find_usual("DAPI", value, 1, None, None, None) == (1 if value is None else -1)
    assert index.finder.find_usual(value, None, 1, None, None, None) == -1


def test_tiles_of_a_grid() -> None:
    """Positions, rows and columns: only those together that there are."""
    rows = [{"position": i, "row": i // 3 - 1, "column": i % 3, "time": t} for t in range(4) for i in range(9)] + [{"time": 0}]
    index = Index.from_axes(rows)
    assert all(index.find(axes) == usual(index, axes) == row for row, axes in enumerate(rows))
    assert index.find({"time": 1}) == index.find({"position": 0, "row": 0, "column": 0, "time": 0}) == -1
    assert index.finder.find_usual(None, None, 1, 4, 0, 1) == 13
    assert index.finder.find_usual(None, None, 1, 4.0, 0, 1) == index.finder.find_usual(None, None, 1, 4, False, True) == -1
    assert index.winners().tolist() == list(range(37))


def test_an_index_grows_after_it_was_looked_into() -> None:
    index = Index.from_axes(DENSE)
    assert index.find(DENSE[8]) == 8
    index.append(DENSE[8])
    assert index.find(DENSE[8]) == len(DENSE)
    assert index.winners().tolist() == [row for row in range(len(DENSE) + 1) if row != 8]
    index = Index.from_axes(DENSE)
    assert index.find(DENSE[8]) == 8
    index.extend([{"time": 9, "channel": "GFP", "laser": 3}, DENSE[2]])
    assert index.find({"time": 9, "channel": "GFP", "laser": 3}) == len(DENSE)
    assert usual(index, DENSE[2]) == len(DENSE) + 1
    assert usual(index, DENSE[8]) == 8


def test_reading_while_one_thread_appends() -> None:
    index = Index()
    rows: list[dict[str, Any]] = [{"time": i // 7, "channel": f"c{i % 7}"} | ({"z": i} if i > 3000 else {}) for i in range(6000)]
    wrong: list[Any] = []
    done = threading.Event()

    def read() -> None:
        rng = random.Random(1)
        while not done.is_set():
            count = len(index)
            if count:
                row = rng.randrange(count)
                if index.axes_of(row) != rows[row]:
                    wrong.append(row)
                if row < count - 1 and index.find(rows[row]) != row:  # the last one may be counted just before it is found
                    wrong.append(row)
                index.values("time")
                index.strings("channel")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for axes in rows:
        index.declare(axes)
        index.append(axes)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_a_hundred_thousand_rows_are_small() -> None:
    rows = [{"time": i // 100, "channel": "DAPI", "z": i % 100} for i in range(100_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        index = Index.from_axes(rows)
        opened = tracemalloc.get_traced_memory()[0] - before
        assert index.find(rows[77_777]) == 77_777
        looked_up = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert opened < 4e6
    assert looked_up < 6e6  # a fifth of what ndstorage keeps would be 23 MB
    assert np.array_equal(index.winners(), np.arange(100_000))
