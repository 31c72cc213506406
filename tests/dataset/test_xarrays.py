from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter, calibration
from aiomm.errors import MissingImageError, UnsupportedError
from tests.dataset.support import image, same, samples

if TYPE_CHECKING:
    from pathlib import Path


def test_calibrated(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", {"PixelSize_um": 0.5, "Objective": "20x"}) as writer:
        for t in (0, 3):
            for c in ("FITC", "DAPI"):
                for z in (-1, 1):
                    metadata = {"ZPosition_um": z * 2.0 + 100, "ElapsedTime-ms": t * 1000.0 + z}
                    writer.put(Frame({"time": t, "channel": c, "z": z}, image(50 + t * 10 + z + 5 * (c == "DAPI")), metadata))
    array = Dataset(writer.path).to_xarray()
    assert array.dims == ("time", "channel", "z", "y", "x")
    assert isinstance(array.data, da.Array)
    assert array.name == "x_1"
    assert array.attrs["Objective"] == "20x"
    assert array.channel.values.tolist() == ["DAPI", "FITC"]
    assert array.z.values.tolist() == [98.0, 102.0]
    assert array.z.attrs["units"] == "µm"
    assert array.z_index.values.tolist() == [-1, 1]
    assert array.time.values == pytest.approx([-0.001, 2.999])
    assert array.x.values.tolist() == (np.arange(30) * 0.5).tolist()
    assert array.y.attrs["units"] == "µm"
    assert same(array.sel(channel="FITC", z=102.0)[1], image(81))
    assert same(array.sel(y=slice(2, 5))[0, 1, 0], image(49)[4:11])
    fixed = Dataset(writer.path).to_xarray(axes=["z"], channel="DAPI", time=0)
    assert fixed.dims == ("z", "y", "x")


def test_without_calibration() -> None:
    with MemoryWriter() as writer:
        for i in range(3):
            writer.put(Frame({"time": 2 * i, "z": 0}, image(i, kind="rgb"), {}))
    array = writer.dataset.to_xarray()
    assert array.dims == ("time", "z", "y", "x", "rgb")
    assert array.time.values.tolist() == [0, 2, 4]
    assert "y" not in array.coords
    assert same(array.sel(time=4, rgb="green")[0], image(2, kind="rgb")[..., 1])


def test_stages_that_do_not_move_keep_their_numbers() -> None:
    with MemoryWriter() as writer:
        for i in range(3):
            writer.put(Frame({"z": i}, image(i), {"ZPosition_um": 7.0}))
    assert writer.dataset.to_xarray().z.values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", [np.uint16, "rgb"])
def test_axes_that_are_named_like_dimensions(kind: object) -> None:
    with MemoryWriter({"PixelSize_um": 0.5}) as writer:
        for i in range(24):
            axes = {"x": i % 2, "y": i // 2 % 2, "rgb": i // 4 % 3, "x_axis": i // 12, "time": i // 12, "time_index": 5}
            writer.put(Frame(axes, image(i, kind=kind), {"ElapsedTime-ms": 1000.0 * i}))
    array = writer.dataset.to_xarray(["x", "y", "rgb", "x_axis", "time_index"], time=0)
    grey = kind is np.uint16
    assert array.dims == ("x_axis_", "y_axis", "rgb" if grey else "rgb_axis", "x_axis", "time_index", "y", "x", *(() if grey else ("rgb",)))
    assert array.x_axis_.values.tolist() == [0, 1]
    assert array.x.values[1] == 0.5
    assert array["rgb" if grey else "rgb_axis"].values.tolist() == [0, 1, 2]
    assert same(array.sel(x_axis_=1, y_axis=0, x_axis=0, time_index=5)[2], image(9, kind=kind))
    both = writer.dataset.to_xarray(["time", "x_axis", "time_index"], x=0, y=0, rgb=0)
    assert both.dims[:3] == ("time", "x_axis", "time_index")
    assert both.time_index.values.tolist() == [5]


def test_real_datasets() -> None:
    dataset = Dataset(samples() / "ndtiffv2.0_test")
    array = dataset.to_xarray()
    assert array.channel.values.tolist() == dataset.get_channel_names()
    assert array.x.values[1] == 1.0
    levels = Dataset(samples() / "ndtiff3.2_magellan_explore_rgb", full_res_only=False)
    assert levels.to_xarray(res_level=1).x.values[:2].tolist() == [0.5, 2.5]  # its pixels are means of four


def test_what_cannot_be() -> None:
    with MemoryWriter() as writer:
        with pytest.raises(MissingImageError):
            writer.dataset.to_xarray()
        writer.put(Frame({"z": 0}, image(0), {}))


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with MemoryWriter() as writer:
        writer.put(Frame({"z": 0}, image(0), {}))
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'aiomm\[xarray\]'"):
        writer.dataset.to_xarray()


def test_positions_whose_stacks_begin_elsewhere() -> None:
    with MemoryWriter({"z-step_um": 2.0, "Interval_ms": 500.0}) as writer:
        for position in (0, 1):
            for z in (1, 2):
                metadata = {"ZOrigin_um": 10.0 * position, "TOrigin_ms": 1000.0 * position}
                writer.put(Frame({"position": position, "time": 0, "z": z}, image(z), metadata))
    array = writer.dataset.to_xarray()
    assert (array.z.values.tolist(), array.time.values.tolist()) == ([2, 4], [0])
    assert (array.z_index.values.tolist(), array.z.attrs["units"], array.z_origin.attrs["units"]) == ([1, 2], "µm", "µm")
    assert (array.z_origin.dims, array.time_origin.dims) == (("position",), ("position",))
    assert (array.z_origin.values.tolist(), array.time_origin.values.tolist()) == ([0, 10], [0, 1])
    assert array.time_origin.attrs["units"] == "s"
    for position in (0, 1):
        one = writer.dataset.to_xarray(position=position)
        assert one.z.values.tolist() == (array.z + array.z_origin).sel(position=position).values.tolist()
        assert one.time.values.tolist() == [position]
        assert "z_origin" not in one.coords


def test_more_places_than_are_looked_at_have_no_coordinates_as_if_they_were_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "CHEAP", 3)
    told = {"YOrigin_um": 7.0, "XOrigin_um": 1.0, "ZOrigin_um": 5.0}
    for count, metadata in ((3, told), (4, told), (4, {})):
        with MemoryWriter({"PixelSize_um": 0.5, "z-step_um": 2.0}) as writer:
            for position in range(count):
                writer.put(Frame({"position": position, "z": 1}, image(position), metadata))
        array = writer.dataset.to_xarray()
        first = {axis: float(array[axis].values[0]) for axis in "zyx" if axis in array.coords}
        assert first == ({"z": 1} if count > 3 and metadata else {"z": 7, "y": 7, "x": 1} if metadata else {"z": 2, "y": 0, "x": 0})
        assert not [name for name in array.coords if str(name).endswith("_origin")]
        assert writer.dataset.to_xarray(position=1).z.values.tolist() == ([7] if metadata else [2])
