"""Acquisitions with ``format="ome-zarr"``: saved, read live and afterwards, by Dataset and by other readers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import aiomm
from tests.support.rigs import Rig, frames, snaps

if TYPE_CHECKING:
    from pathlib import Path


def read_array(path: Path) -> tuple[Any, np.ndarray]:
    array = zarr.open_array(str(path), mode="r")
    return array, np.asarray(array[:])


@pytest.mark.parametrize("events", [snaps(5), frames(5)], ids=["snaps", "sequence"])
async def test_images_are_saved_and_read_live(rig: Rig, events: list[dict[str, Any]]) -> None:
    async with rig.acquisition(format="ome-zarr") as acq:
        seen = {image.axes["n"]: image.pixels async for image in acq.acquire(events)}
        assert len(acq.get_dataset()) == 5
    dataset = await aiomm.Dataset.open(str(acq.path))
    assert dataset.finished
    _, stored = await asyncio.to_thread(read_array, acq.path / "0")
    for n, pixels in seen.items():
        assert np.array_equal(await dataset.read_image_async(n=n), pixels)
        assert np.array_equal(stored[n], pixels)
    assert (await dataset.read_metadata_async(n=3))["PixelType"] == "GRAY16"


async def test_multi_d_with_a_processor(rig: Rig) -> None:
    def process(image: np.ndarray, metadata: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        return image + np.uint16(1), metadata

    events = aiomm.multi_d_acquisition_events(num_time_points=2, z_start=0, z_end=4, z_step=2)
    async with rig.acquisition(format="ome-zarr", image_process_fn=process, durability="interval") as acq:
        await acq.acquire(events)
    array, _ = await asyncio.to_thread(read_array, acq.path / "0")
    assert array.shape[:2] == (2, 3)
    assert array.metadata.dimension_names == ("t", "z", "y", "x")
    group = await asyncio.to_thread(lambda: zarr.open_group(str(acq.path), mode="r").attrs.asdict())
    scale = group["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale[1] == 2.0  # µm, learnt from where the stage was sent


async def test_it_needs_a_directory(rig: Rig) -> None:
    with pytest.raises(ValueError, match=r"directory="):
        aiomm.Acquisition(**rig.where, format="ome-zarr")


async def test_an_acquisition_that_fails_leaves_what_was_saved(rig: Rig) -> None:
    def process(image: np.ndarray, metadata: dict[str, Any]) -> Any:
        if metadata["Axes"]["n"] == 3:
            raise RuntimeError("no more")
        return image, metadata

    acq = rig.acquisition(format="ome-zarr", image_process_fn=process)
    with pytest.raises(RuntimeError, match="no more"):
        async with acq:
            await acq.acquire(snaps(6))
    dataset = await aiomm.Dataset.open(str(acq.path))
    assert dataset.finished
    assert len(dataset) <= 3
    assert [key["n"] for key in dataset.get_index_keys()] == list(range(len(dataset)))
