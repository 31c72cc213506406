"""Numbers of metadata that no float holds: ignored where something is reckoned with them, and kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, convert
from aiomm.dataset.ndtiff.format import resolution
from aiomm.dataset.numbers import finite, positive
from aiomm.dataset.tiles import overlap_of

if TYPE_CHECKING:
    from pathlib import Path

HUGE = 10**309
IMAGES = ("XOrigin_um", "YOrigin_um", "ZOrigin_um", "TOrigin_ms", "ElapsedTime-ms", "ZPosition_um", "PixelSize_um")
SUMMARY = ("PixelSize_um", "z-step_um", "Interval_ms")


@pytest.mark.parametrize("value", [HUGE, -HUGE, float("inf"), float("nan"), True, "1", None, [1]])
def test_what_is_no_number_to_reckon_with(value: object) -> None:
    assert finite(value) is None
    assert positive(value) is None


def test_numbers() -> None:
    assert (finite(3), finite(-0.5), positive(3), positive(-0.5), positive(0)) == (3.0, -0.5, 3.0, None, None)
    assert resolution(HUGE) == resolution(None) == (10000, 1)
    assert resolution(np.float64(0.5)) == (20000, 1)
    assert resolution(5e-324) == (2**32 - 1, 1)
    assert overlap_of({"GridPixelOverlapX": float("inf"), "GridPixelOverlapY": 4.0}) == (4, 0)


@pytest.mark.parametrize("kind", [NDTiffWriter, OmeZarrWriter])
@pytest.mark.parametrize("tell_of", ["images", "summary"])
def test_huge_numbers_end_nothing(tmp_path: Path, kind: type[NDTiffWriter | OmeZarrWriter], tell_of: str) -> None:
    metadata = dict.fromkeys(IMAGES if tell_of == "images" else (), HUGE)
    summary = {"PixelSize_um": 0.5} if tell_of == "images" else dict.fromkeys(SUMMARY, HUGE)
    with kind(tmp_path, "x", summary) as writer:
        for time in range(2):
            for z in range(2):
                writer.put(Frame({"time": time, "z": z}, np.zeros((8, 8), np.uint16), metadata))
    for number, target in enumerate(("nd", "b.zarr", "c.ome.tif")):
        convert(writer.path, tmp_path / target, verify=True)
        if number < 2:
            dataset = Dataset(tmp_path / target)
            assert dataset.read_metadata(time=1, z=1).items() >= metadata.items()
            array = dataset.to_xarray()
            assert (array.time.values.tolist(), array.z.values.tolist()) == ([0, 1], [0, 1])
            assert ("x" in array.coords) == (tell_of == "images")
            dataset.as_zarr()
