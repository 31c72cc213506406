"""Datasets as lazy xarray arrays: dimensions by name, coordinates in µm and seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset import calibration
from aiomm.dataset.arrays import make_array, plan_grid
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray

    from aiomm.dataset.selection import ChannelNames
    from aiomm.dataset.storage import Store

_NOWHERE: Final = np.empty(0)
_UNITS: Final = {"time": "s", "z": "µm", "y": "µm", "x": "µm"}


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
    pixels = ["y", "x", "rgb"][: array.ndim - grid.ndim]
    dimensions = [*_free(list(values), pixels), *pixels]
    coordinates: dict[str, Any] = {}
    outer, begins = calibration.begins(store, list(values), grid)

    def begin(axis: str) -> float | None:
        """Where coordinates along an axis begin: at 0 for images that differ, or do not tell; None where it is not known."""
        at = begins.get(axis, _NOWHERE)
        several = {None} if at is None else set(at[~np.isnan(at)].tolist())
        if len(several) < 2:
            return several.pop() if several else 0.0
        if f"{axis}_origin" in dimensions:
            return None
        along = [dimensions[list(values).index(name)] for name in outer]
        coordinates[f"{axis}_origin"] = (along, at, {"units": _UNITS[axis]})
        return 0.0

    for i, (axis, along) in enumerate(values.items()):
        coordinates[dimensions[i]] = (dimensions[i], along)
        if axis == "channel" and along and isinstance(along[0], int):
            names = dict(zip(store.index.values("channel"), channel_names(), strict=False))
            coordinates[axis] = (axis, [names.get(value, str(value)) for value in along])
        elif axis in ("z", "time"):
            step = calibration.counted(store, axis, along, grid)
            if step is None:
                found = calibration.positions(store, axis, along, grid, i)
            else:
                first = begin(axis)
                found = None if first is None else [first + value * step for value in along]
            if found is not None and len(set(found)) == len(found):  # places that coincide would make a label useless
                if f"{axis}_index" not in dimensions:
                    coordinates[f"{axis}_index"] = (axis, along)
                coordinates[axis] = (axis, found, {"units": _UNITS[axis]})
    pixel = calibration.pixel_at(store, level, int(grid[grid >= 0][0]))
    for axis, length in zip("yx", array.shape[grid.ndim : grid.ndim + 2], strict=True):
        if axis in pixel and (first := begin(axis)) is not None:
            middle = first + calibration.shift(store, level) * pixel[axis]
            coordinates[axis] = (axis, middle + np.arange(length) * pixel[axis], {"units": _UNITS[axis]})
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
