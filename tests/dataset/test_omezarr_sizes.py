"""Physical sizes of OME-Zarr that others wrote, and what opening large ones takes."""

from __future__ import annotations

import logging
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from aiomm.dataset import Dataset, Frame, OmeZarrWriter, convert
from aiomm.dataset.boxes import Box, BoxIndex
from aiomm.dataset.finders import USUAL
from aiomm.dataset.index import Index
from aiomm.errors import DatasetFormatError
from tests.dataset.support import image

if TYPE_CHECKING:
    from pathlib import Path

UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}


def foreign(path: Path, scale: list[float], units: dict[str, str] = UNITS, whole: list[float] | None = None, levels: int = 1) -> Path:
    """Make (t, c, z, y, x) of (2, 2, 3, 16, 20), each further level of (2, 2, 3, 8, 5)."""
    axes = [{"name": name, "unit": units[name]} if name in units else {"name": name} for name in "tczyx"]
    scales = [scale, [*scale[:3], 2 * scale[3], 4 * scale[4]]][:levels]
    datasets = [{"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": by}]} for i, by in enumerate(scales)]
    multiscale: dict[str, Any] = {"axes": axes, "datasets": datasets}
    if whole is not None:
        multiscale["coordinateTransformations"] = [{"type": "scale", "scale": whole}]
    group = zarr.open_group(str(path), mode="w", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    for i in range(levels):
        group.create_array(str(i), data=np.ones((2, 2, 3, *[(16, 20), (8, 5)][i]), np.uint16), chunks=(1, 1, 1, 8, 5))
    return path


@pytest.mark.parametrize(
    ("scale", "units", "whole"),
    [
        ([3, 1, 2, 0.5, 0.5], UNITS, None),
        ([3000, 1, 2000, 500, 500], {"t": "millisecond", "z": "nanometer", "y": "nanometer", "x": "nm"}, None),
        ([0.05, 1, 0.002, 5000, 5000], {"t": "minute", "z": "millimeter", "y": "angstrom", "x": "angstrom"}, None),
        ([1, 1, 2, 0.25, 0.25], UNITS, [3, 1, 1, 2, 2]),
    ],
)
def test_sizes_are_kept(tmp_path: Path, scale: list[float], units: dict[str, str], whole: list[float] | None) -> None:
    import tifffile

    path = foreign(tmp_path / "a.zarr", scale, units, whole)
    for target in ("b.zarr", "nd"):
        convert(path, tmp_path / target, verify=True)
    for name in ("a.zarr", "b.zarr", "nd"):
        dataset = Dataset(tmp_path / name)
        array = dataset.to_xarray()
        for axis, want, unit in (("x", [0, 0.5, 1], "µm"), ("y", [0, 0.5, 1], "µm"), ("z", [0, 2, 4], "µm"), ("time", [0, 3], "s")):
            assert array[axis].values[:3] == pytest.approx(want), (name, axis)
            assert array[axis].attrs["units"] == unit
        ome: Any = dataset.as_zarr().attrs["ome"]
        (seen,) = ome["multiscales"][0]["datasets"]
        assert seen["coordinateTransformations"][0]["scale"] == pytest.approx([3, 1, 2, 0.5, 0.5])
    convert(path, tmp_path / "c.ome.tif")
    with tifffile.TiffFile(tmp_path / "c.ome.tif") as file:
        said = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]["Pixels"]
    assert [said[f"PhysicalSize{axis}"] for axis in "XYZ"] == pytest.approx([0.5, 0.5, 2])
    assert said["TimeIncrement"] == pytest.approx(3)


def test_sizes_of_a_level_are_its_own(tmp_path: Path) -> None:
    dataset = Dataset(foreign(tmp_path / "a.zarr", [3, 1, 2, 0.5, 0.5], levels=2), full_res_only=False)
    array = dataset.to_xarray(res_level=1)
    assert (array.y.values[1], array.x.values[1]) == (1.0, 2.0)
    assert dataset.to_xarray().x.values[1] == 0.5


@pytest.mark.parametrize(
    ("scale", "units", "said", "lost"),
    [
        ([3, 1, 2, 0.5, 0.5], {**UNITS, "x": "furlong", "y": "furlong", "t": "fortnight"}, {"z-step_um"}, "time, y, x"),
        ([1, 1, 1, 0.5, 0.5], {}, set(), "y, x"),
        ([3, 1, 2, 0.5, 0.6], UNITS, {"z-step_um", "Interval_ms"}, "y, x"),
        ([1, 1, 1, 1, 1], {}, set(), None),
        ([3, 1, -2, 0.5, 0.5], UNITS, set(), None),
    ],
)
def test_sizes_that_cannot_be_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scale: list[float], units: dict[str, str], said: set[str], lost: str | None
) -> None:
    with caplog.at_level(logging.WARNING, "aiomm"):
        dataset = Dataset(foreign(tmp_path / "a.zarr", scale, units))
    assert set(dataset.summary_metadata) - {"ome"} == said
    assert [f"along {lost}:" in record.getMessage() for record in caplog.records] == ([] if lost is None else [True])
    array = dataset.to_xarray()
    assert (array.z.attrs.get("units") == "µm") == ("z-step_um" in said)
    assert ("x" in array.coords) == (scale[3] != scale[4])


def test_pixels_that_are_no_squares_have_coordinates(tmp_path: Path) -> None:
    array = Dataset(foreign(tmp_path / "a.zarr", [3, 1, 2, 0.5, 0.6])).to_xarray()
    assert (array.y.values[1], array.x.values[1]) == (0.5, 0.6)


def test_sizes_of_our_own_without_its_log(tmp_path: Path) -> None:
    with OmeZarrWriter(tmp_path, "x", {"PixelSize_um": 0.5, "z-step_um": 2.0, "Interval_ms": 3000.0}) as writer:
        for i in range(6):
            writer.put(Frame({"position": f"P{i % 2}", "time": i // 2, "z": 0}, image(i), {}))
    (writer.path / "index.ndjson").unlink()
    summary = Dataset(writer.path).summary_metadata
    assert {key: summary[key] for key in summary if key != "ome"} == {"PixelSize_um": 0.5, "z-step_um": 2.0, "Interval_ms": 3000.0}


def test_opening_takes_no_memory_for_each_image(tmp_path: Path) -> None:
    axes = [{"name": name} for name in "tyx"]
    attributes: Any = {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}}
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", attributes=attributes)
    array = group.create_array("0", shape=(10_000_000, 4, 4), chunks=(1000, 4, 4), dtype="u1")
    array[9_999_999] = 7
    Dataset(tmp_path / "a.zarr")  # what is imported
    tracemalloc.start()
    try:
        dataset = Dataset(tmp_path / "a.zarr")
        assert (dataset.read_image(time=9_999_999) == 7).all()
        assert dataset.axes_of(1_234_567) == {"time": 1_234_567}
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20e6
    assert len(dataset) == 10_000_000
    array.resize((30_000_000, 4, 4))
    with pytest.raises(DatasetFormatError, match="more than 20000000 images"):
        Dataset(tmp_path / "a.zarr")


BOXES = [
    Box({"position": "A1"}, {"time": 2, "channel": 2, "z": 3}, {"channel": ["GFP", "DAPI"]}),
    Box({"position": "B"}, {"time": 0, "channel": 1}, {"channel": ["none"]}),
    Box({"position": "B"}, {"channel": 3, "q": 2}, {"channel": ["Cy5", "DAPI", "a"]}),
    Box({"position": "A1"}, {"channel": 2}, {"channel": ["Cy5", "DAPI"]}),
    Box({"position": "C"}, {}),
]


@pytest.mark.parametrize("boxes", [BOXES, [Box({}, {"time": 4})], [Box({}, {})], [Box({"position": i}, {"z": 2}) for i in (3, 1)], []])
def test_boxes_have_the_rows_that_a_list_of_them_has(boxes: list[Box]) -> None:
    rows: list[dict[str, Any]] = []
    for box in boxes:
        for place in np.ndindex(*box.shape):
            along = zip(box.lengths, place, strict=True)
            rows.append({**box.fixed, **{name: box.labels[name][at] if name in box.labels else at for name, at in along}})
    listed, index = Index.from_axes(rows), BoxIndex(boxes)
    assert len(index) == len(rows)
    assert (index.names, index.types) == (listed.names, listed.types)
    assert [list(index.axes_of(row).items()) for row in range(len(rows))] == [list(listed.axes_of(row).items()) for row in range(len(rows))]
    assert index.all_axes() == listed.all_axes()
    for name in index.names:
        assert index.values(name) == listed.values(name)
        assert np.array_equal(index.column(name), listed.column(name))
    for row, axes in enumerate(rows):
        assert index.find(axes) == row
        if axes.keys() <= set(USUAL):
            assert index.finder.find_usual(*map(axes.get, USUAL)) == row
        for wrong in ({**axes, "zz": 0}, {**axes, "z": 99}, {**axes, "time": -1}, dict(list(axes.items())[1:])):
            assert index.find(wrong) == listed.find(wrong)
    assert index.finder.find_usual("DAPI", True, 1.0, "A1", None, None) == -1
    assert index.winners().tolist() == list(range(len(rows)))


def test_boxes_that_have_the_same_images() -> None:
    with pytest.raises(ValueError, match="two of one name"):
        BoxIndex([Box({"position": "A"}, {"time": 1}), Box({"position": "A"}, {"time": 2})])
