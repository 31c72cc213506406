"""Datasets that Micro-Manager, Micro-Magellan and pycro-manager wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aiomm.dataset import Dataset
from tests.dataset.support import ndstorage_dataset, same, samples

# name: images, axes, shape, bit depth, channel names, resolution levels
WANTED: dict[str, tuple[int, dict[str, list[Any]], tuple[int, ...], int, list[str], int]] = {
    "12_bit_pycromanager_mda": (8, {"time": [0, 1, 2, 3], "channel": ["DAPI", "FITC"]}, (64, 64), 12, ["DAPI", "FITC"], 1),
    "ndtiff3.2_magellan_explore_rgb": (3, {"row": [11, 12, 13], "column": [11, 12, 13], "z": [0]}, (32, 32, 3), 8, [], 6),
    "ndtiff3.2_monochrome": (128, {"time": list(range(8)), "z": list(range(16))}, (64, 64), 16, [], 1),
    "ndtiff3.2_multichannel": (
        256,
        {"time": list(range(8)), "channel": ["DAPI", "FITC"], "z": list(range(16))},
        (64, 64),
        16,
        ["DAPI", "FITC"],
        1,
    ),
    "ndtiffv2.0_stitched_test": (2, {"row": [0, 1], "column": [0, 1], "channel": [0]}, (32, 32), 16, [""], 5),
    "ndtiffv2.0_test": (10, {"time": [0, 1, 2, 3, 4], "channel": [0, 1]}, (32, 32), 16, ["DAPI", "FITC"], 1),
}


@pytest.mark.parametrize("name", WANTED)
def test_samples_open(name: str) -> None:
    images, axes, shape, bits, channels, levels = WANTED[name]
    dataset = Dataset(samples() / name, full_res_only=False)
    assert len(dataset) == images
    assert dataset.axes == axes
    assert dataset.image_shape == shape
    assert dataset.bit_depth == bits
    assert dataset.get_channel_names() == channels
    assert dataset.num_resolution_levels == levels
    assert dataset.finished
    array = np.asarray(dataset.as_array())
    assert array.shape == (*map(len, axes.values()), *shape)
    assert same(array, dataset.to_numpy())
    assert dataset.as_mask().sum() == images
    for row, key in enumerate(dataset.get_index_keys()):
        pixels, metadata = dataset.read_row(row)
        at = tuple(axes[axis].index(key[axis]) for axis in axes)
        assert same(array[at], pixels)
        assert same(dataset.read_image(**key, memmapped=True), pixels)  # type: ignore[arg-type]
        assert metadata["Axes"] == key
        assert dataset.has_image(**key)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in WANTED if "v2" not in name])
def test_samples_are_read_as_ndstorage_reads_them(name: str) -> None:
    folder = samples() / name
    ours = Dataset(folder)
    keys = ours.get_index_keys()
    with ndstorage_dataset(folder) as other:
        for key in keys:
            assert same(other.read_image(**key), ours.read_image(**key))  # type: ignore[arg-type]
            assert other.read_metadata(**key) == ours.read_metadata(**key)  # type: ignore[arg-type]
        assert other.summary_metadata == ours.summary_metadata


def test_channels_by_name_and_by_number() -> None:
    new = Dataset(samples() / "ndtiff3.2_multichannel")
    old = Dataset(samples() / "ndtiffv2.0_test")
    for dataset, rest in ((new, {"time": 3, "z": 5}), (old, {"time": 3})):
        fitc = dataset.read_image(channel="FITC", **rest)  # type: ignore[arg-type]
        assert same(fitc, dataset.read_image(channel=1, **rest))  # type: ignore[arg-type]
        assert same(fitc, dataset.read_image(channel=0, channel_name="FITC", **rest))  # type: ignore[arg-type]
        assert dataset.read_metadata(channel=1, **rest)["Channel"] == "FITC"  # type: ignore[arg-type]
        assert same(dataset.as_array(channel="FITC", **rest), fitc)


def test_resolution_levels() -> None:
    dataset = Dataset(samples() / "ndtiff3.2_magellan_explore_rgb", full_res_only=False)
    assert dataset.read_image(row=5, col=5, resolution_level=1).shape == (31, 31, 3)
    assert len(dataset.get_index_keys(res_level=1)) == 2
    assert not dataset.has_image(row=5, col=5)
    assert dataset.as_array(res_level=1).shape == (2, 2, 1, 31, 31, 3)
