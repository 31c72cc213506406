"""Datasets as lazy xarray arrays: dimensions by name, coordinates in µm and seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset import calibration
from aiomm.dataset.arrays import make_array, plan_grid
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray

    from aiomm.dataset.selection import ChannelNames
    from aiomm.dataset.storage import Store


def make_dataarray(
    store: Store, level: int, axes: Sequence[str] | None, slices: Mapping[str, Any], channel_names: ChannelNames, name: str | None
) -> xarray.DataArray:
    """Make the DataArray of images; see `Dataset.to_xarray`.

    Raises
    ------
    UnsupportedError
        xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise UnsupportedError("to_xarray needs xarray: pip install 'aiomm[xarray]'") from None
    values, grid = plan_grid(store.index, axes, slices, channel_names)
    array = make_array(store, grid)
    first = int(grid[grid >= 0][0])
    pixels = ["y", "x", "rgb"][: array.ndim - grid.ndim]
    dimensions = [*_free(list(values), pixels), *pixels]
    coordinates: dict[str, Any] = {}
    for i, (axis, along) in enumerate(values.items()):
        coordinates[dimensions[i]] = (dimensions[i], along)
        if axis == "channel" and along and isinstance(along[0], int):
            names = dict(zip(store.index.values("channel"), channel_names(), strict=False))
            coordinates[axis] = (axis, [names.get(value, str(value)) for value in along])
        elif axis in ("z", "time"):
            found = calibration.positions(store, axis, along, grid, i)
            if found is not None and len(set(found)) == len(found):  # places that coincide would make a label useless
                if f"{axis}_index" not in dimensions:
                    coordinates[f"{axis}_index"] = (axis, along)
                coordinates[axis] = (axis, found, {"units": "µm" if axis == "z" else "s"})
    pixel = calibration.pixel_at(store, level, first)
    outer, begins = calibration.pixel_origins(store, list(values), grid)
    for axis, length in zip("yx", array.shape[grid.ndim : grid.ndim + 2], strict=True):
        if axis not in pixel:
            continue
        begin, shift = 0.0, calibration.shift(store, level) * pixel[axis]
        if axis in begins:
            several = set(begins[axis][~np.isnan(begins[axis])].tolist())
            if len(several) == 1:
                begin = several.pop()
            elif f"{axis}_origin" not in dimensions:  # pixels count from the first one of each image, which is there
                along = [dimensions[list(values).index(name)] for name in outer]
                coordinates[f"{axis}_origin"] = (along, begins[axis], {"units": "µm"})
        coordinates[axis] = (axis, begin + shift + np.arange(length) * pixel[axis], {"units": "µm"})
    if "rgb" in pixels:
        coordinates["rgb"] = ("rgb", ["red", "green", "blue"])
    return xarray.DataArray(array, dims=dimensions, coords=coordinates, attrs=dict(store.summary), name=name)


def _free(axes: list[str], taken: list[str]) -> list[str]:
    """Name dimensions after axes; an axis x, say, that is not that of the pixels is ``x_axis``."""
    names: list[str] = []
    for axis in axes:
        name = axis
        if name in taken:
            name += "_axis"
            while name in taken or name in axes:
                name += "_"
        names.append(name)
    return names
