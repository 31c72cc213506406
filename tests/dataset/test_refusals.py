"""What a dataset could not give back is refused when it is put, and nothing else is lost by it."""

from __future__ import annotations

import math
import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter, OmeZarrWriter, PyramidWriter, repair
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.errors import DatasetFormatError
from tests.dataset.support import image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(params=["ndtiff", "ome-zarr", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Make a writer of each format."""
    kinds: dict[str, Callable[[], Any]] = {
        "ndtiff": lambda: NDTiffWriter(tmp_path, "x"),
        "ome-zarr": lambda: OmeZarrWriter(tmp_path, "x"),
        "memory": MemoryWriter,
    }
    return kinds[request.param]


def reopened(writer: Any) -> Dataset:
    return writer.dataset if writer.path is None else Dataset(writer.path)


def put(writer: Any, axes: Any, metadata: Any = None) -> None:
    writer.put(Frame(axes, image(1), metadata or {}))


def test_more_axes_than_can_be_read(make: Callable[[], Any]) -> None:
    with make() as writer:
        with pytest.raises(ValueError, match="101 axes: a dataset has at most 100"):
            put(writer, {f"a{i}": i for i in range(101)})
        put(writer, {f"a{i}": i for i in range(100)})
        put(writer, {f"a{i}": i + 1 for i in range(100)})
    dataset = reopened(writer)
    assert len(dataset) == 2
    assert np.array_equal(dataset.read_row(0)[0], image(1))


def test_more_axes_than_can_be_read_one_by_one(make: Callable[[], Any]) -> None:
    with make() as writer:
        for i in range(100):
            put(writer, {f"well{i}": i})
        with pytest.raises(ValueError, match=r"101 axes.*'well100'"):
            put(writer, {"well100": 1})
        put(writer, {"well7": 1})
    dataset = reopened(writer)
    assert len(dataset) == 101
    assert dataset.has_image(well7=1)
    assert "well100" not in dataset.axes


def test_a_refused_image_leaves_no_axes(make: Callable[[], Any]) -> None:
    with make() as writer:
        put(writer, {"time": 0})
        with pytest.raises(TypeError, match="time"):
            put(writer, {"well": 1, "time": "0"})
        put(writer, {"well": "A", "time": 0})
    assert reopened(writer).axes == {"time": [0], "well": ["A"]}


@pytest.mark.parametrize("axes", [[{f"a{i}": i for i in range(101)}], [{"a": 1}, {"a": "x"}]], ids=["too many", "mixed"])
def test_repair_says_that_a_dataset_does_not_open(tmp_path: Path, axes: list[Any]) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(len(axes)):
            put(writer, {"number": i})
    index = writer.path / ndtiff.INDEX_NAME
    data = index.read_bytes()
    for i, one in enumerate(axes):
        head = b'{"number":%d}' % i
        name = b"x_NDTiffStack.tif"
        data = data.replace(ndtiff.pack_index_head({"number": i}, name), ndtiff.pack_index_head(one, name))
        assert head not in data
    index.write_bytes(data)
    with pytest.raises(DatasetFormatError) as refused:
        Dataset(writer.path)
    for dry_run in (True, False):
        report = repair(writer.path, dry_run)
        assert not report.needed
        assert not report.opens
        assert str(refused.value) in "".join(report.problems)
        assert "nothing to repair" not in str(report)
    assert index.read_bytes() == data


BAD = {"object": {"x": object()}, "key": {(1, 2): 3}, "inside": {"x": [1, {"y": {object()}}]}, "huge": {"x": 10**5000}}
LOOP: dict[str, Any] = {}
LOOP["x"] = LOOP


@pytest.mark.parametrize("metadata", [*BAD.values(), LOOP], ids=[*BAD, "itself"])
def test_metadata_that_json_cannot_hold(make: Callable[[], Any], metadata: dict[Any, Any]) -> None:
    with make() as writer:
        put(writer, {"time": 0})
        with pytest.raises((TypeError, ValueError), match=r"metadata of image .*'time': 1"):
            put(writer, {"time": 1}, metadata)
        put(writer, {"time": 1}, {"good": True})
        put(writer, {"time": 2})
    dataset = reopened(writer)
    assert len(dataset) == 3
    assert dataset.read_metadata(time=1)["good"] is True


def test_metadata_that_json_says_otherwise(make: Callable[[], Any]) -> None:
    nested = {"t": (1, np.int64(2), [None])}
    metadata = {"nan": float("nan"), "numpy": np.float32(0.5), "array": np.arange(3), "nested": nested, 3: "n", "mu": "µ\ud800"}
    with make() as writer:
        put(writer, {"time": 0}, metadata)
    found = reopened(writer).read_metadata(time=0)
    found.pop("Axes")
    assert found == {"nan": None, "numpy": 0.5, "array": [0, 1, 2], "nested": {"t": [1, 2, [None]]}, "3": "n", "mu": "µ\ud800"}


WRITERS = {"NDTiffWriter": NDTiffWriter, "PyramidWriter": PyramidWriter, "OmeZarrWriter": OmeZarrWriter}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sync_interval", [-1, -0.5, float("nan"), "1", True, None]),
        ("summary_metadata", [5, "x", ["Name"], [], 0]),
        ("file_limit", [-1, 0, 100, 2**16, 2.5e6, True, "1", None]),
        ("display_settings", [5, "x", ["DAPI"], []]),
    ],
)
def test_settings_that_cannot_be_right(tmp_path: Path, writer: str, name: str, values: list[Any]) -> None:
    """One error that names the setting and the value, before a folder is made."""
    if writer == "OmeZarrWriter" and name in ("file_limit", "display_settings"):
        return
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"{name} is {re.escape(repr(value))}: it must be "):
            WRITERS[writer](tmp_path / "new", "x", **{name: value})
    assert not (tmp_path / "new").exists()


def test_summary_metadata_in_memory() -> None:
    with pytest.raises(TypeError, match="summary_metadata is 5: it must be a mapping"):
        MemoryWriter(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("writer", [NDTiffWriter, OmeZarrWriter])
def test_an_interval_without_end(tmp_path: Path, writer: Any) -> None:
    saved = threading.Event()
    with writer(tmp_path, "x", durability="interval", sync_interval=math.inf, on_saved=lambda _: saved.set()) as one:
        put(one, {"time": 0})
        assert not saved.wait(0.1)
        one.flush()
        assert saved.wait(10)
