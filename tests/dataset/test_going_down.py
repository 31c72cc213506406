"""A stack that was taken from the top down: planes lie in the order of their z, sizes are distances, positions go down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.dataset.convert import convert
from tests.dataset.support import image, same

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = {"PixelSize_um": 0.5, "z-step_um": -2.0}
TELLS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "where the stack begins": ({"ZOrigin_um": 100.0}, [100, 98, 96]),
    "where each plane is": ({}, [7, 5, 3]),
}


def write(folder: Path, tells: dict[str, Any], summary: dict[str, Any] = SUMMARY) -> Path:
    with NDTiffWriter(folder, "x", summary) as writer:
        for i in (2, 0, 1):
            writer.put(Frame({"z": i}, image(i), tells or {"ZPosition_um_Intended": 7.0 - 2 * i}))
    return writer.path


@pytest.mark.parametrize(("tells", "summary"), [*((tells, SUMMARY) for tells in TELLS), ("where each plane is", {"PixelSize_um": 0.5})])
def test_in_ome_tiff(tmp_path: Path, tells: str, summary: dict[str, Any]) -> None:
    import tifffile

    metadata, heights = TELLS[tells]
    convert(write(tmp_path, metadata, summary), tmp_path / "b.ome.tif", verify=True)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]["Pixels"]
        planes = file.series[0].asarray()
    assert pixels["PhysicalSizeZ"] == 2
    assert [plane["PositionZ"] for plane in pixels["Plane"]] == heights
    assert [plane["TheZ"] for plane in pixels["Plane"]] == [0, 1, 2]
    assert all(same(planes[i], image(i)) for i in range(3))


@pytest.mark.parametrize("tells", TELLS)
async def test_in_ome_zarr(tmp_path: Path, tells: str) -> None:
    import zarr.api.asynchronous as zarr

    path = await asyncio.to_thread(write, tmp_path, TELLS[tells][0])
    await asyncio.to_thread(convert, path, tmp_path / "b.zarr", verify=True)
    again = await Dataset.open(tmp_path / "b.zarr")
    assert again.summary_metadata["z-step_um"] == -2.0
    for store in ((await Dataset.open(path)).zarr_store(), str(tmp_path / "b.zarr")):
        group = await zarr.open_group(store, mode="r")
        multiscales = group.attrs["ome"]["multiscales"][0]  # type: ignore[index, call-overload]
        assert multiscales["axes"][0] == {"name": "z", "type": "space", "unit": "micrometer"}  # type: ignore[index, call-overload]
        assert multiscales["datasets"][0]["coordinateTransformations"][0]["scale"] == [2.0, 0.5, 0.5]  # type: ignore[index, call-overload]
        planes = await (await group.getitem("0")).getitem(slice(None))  # type: ignore[union-attr]
        assert all(same(np.asarray(planes)[i], image(i)) for i in range(3))


@pytest.mark.parametrize("tells", TELLS)
def test_in_xarray(tmp_path: Path, tells: str) -> None:
    metadata, heights = TELLS[tells]
    array = Dataset(write(tmp_path, metadata)).to_xarray()
    assert array.z.values.tolist() == heights
    assert same(array.sel(z=heights[2]).values, image(2))


def test_the_first_plane_that_is_there_says_where_it_is(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", SUMMARY) as writer:
        for z in (3, 4):
            writer.put(Frame({"z": z}, image(z), {"ZOrigin_um": 100.0}))
    group = Dataset(writer.path).as_zarr()
    moves = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]  # type: ignore[index, call-overload]
    assert moves[1]["translation"] == [94.0, 0.0, 0.0]  # type: ignore[index, call-overload]
