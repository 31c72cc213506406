"""Where the pixels of a dataset are: µm along x, y and z, seconds along time, from what its metadata say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.numbers import finite
from aiomm.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiomm.dataset.storage import Store

CHEAP: Final = 2000
"""Images at most whose metadata are read for the coordinates of one axis, and places at most that are looked at for where they begin."""
_PIXEL: Final = ("PixelSize_um", "PixelSizeUm")
_KEYS: Final = {"z": (("ZPosition_um_Intended", "ZPosition_um"), 1.0), "time": (("ElapsedTime-ms",), 1e-3)}
ORIGINS: Final = {"x": "XOrigin_um", "y": "YOrigin_um", "z": "ZOrigin_um", "time": "TOrigin_ms"}
"""Metadata of an image that say where what it belongs to begins: the centre of the first pixel, the first z, the first time."""
_STEPS: Final = {"z": (("z-step_um", "z_step_um"), 1.0), "time": (("Interval_ms",), 1e-3)}


def _number(metadata: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = finite(metadata.get(key))
        if value is not None:
            return value
    return None


def _metadata(store: Store, row: int) -> dict[str, Any]:
    """Metadata of an image; nothing, if they cannot be read: images are of use without."""
    try:
        return store.metadata(row)
    except (DatasetError, OSError):
        return {}


def pixel_size(store: Store, row: int) -> float | None:
    """Size of a pixel in µm, from the summary metadata or those of the image in a row; None where unknown."""
    for metadata in (store.summary, _metadata(store, row)):
        size = _number(metadata, _PIXEL)
        if size is not None and size > 0:
            return size
    return None


def pixel_at(store: Store, level: int, row: int) -> dict[str, float]:
    """Size of a pixel of a resolution level in µm along y and x, as far as known."""
    if store.sizes is not None:
        return store.sizes
    size = pixel_size(store, row)
    return {} if size is None else dict.fromkeys("yx", size * 2**level)


def origins(store: Store, row: int) -> dict[str, float]:
    """Where the image in a row begins, see `origins_in`."""
    return origins_in(_metadata(store, row))


def origins_in(metadata: Mapping[str, Any]) -> dict[str, float]:
    """Where an image begins along x and y, its stack along z, in µm, and its series in s; as far as its metadata tell."""
    found = {name: _number(metadata, (key,)) for name, key in ORIGINS.items()}
    return {name: at * (1e-3 if name == "time" else 1.0) for name, at in found.items() if at is not None}


def begins(store: Store, names: list[str], grid: np.ndarray) -> tuple[list[str], dict[str, np.ndarray | None]]:
    """Where images begin along y, x, z and time, as far as they tell; None for an axis if there are too many places to look at.

    Images that differ in time, channel and z only are in one place: the arrays, NaN where a place does not tell, have the other
    axes, whose names come first.
    """
    outer = [i for i, name in enumerate(names) if name not in ("time", "channel", "z")]
    rows = np.moveaxis(grid, outer, range(len(outer)))
    shape = rows.shape[: len(outer)]
    told = sorted(origins(store, int(grid[grid >= 0][0])))
    if not told or math.prod(shape) > CHEAP:
        return [], dict.fromkeys(told)
    firsts = [there[0] if len(there := some[some >= 0]) else -1 for some in rows.reshape(math.prod(shape), -1)]
    found = [origins(store, int(row)) if row >= 0 else {} for row in firsts]
    return [names[i] for i in outer], {axis: np.array([at.get(axis, np.nan) for at in found]).reshape(shape) for axis in told}


def shift(store: Store, level: int) -> float:
    """Where a level's first pixel, a mean of several, lies behind that of full resolution, in its own pixels; 0 if it says itself."""
    return (1 - 0.5**level) / 2 if store.sizes is None else 0.0


def told(store: Store, name: str) -> float | None:
    """Step of an axis as the summary says it; a stack that was taken from the top down has a negative one."""
    known = _number(store.summary, _STEPS[name][0])
    return known if known is not None and (known > 0 or (name == "z" and known < 0)) else None


def step(store: Store, name: str, values: list[Any], grid: np.ndarray, axis: int) -> float | None:
    """Distance of neighbours along ``z`` in µm or ``time`` in s, taken from two images or the summary; None where unknown."""
    factor = _STEPS[name][1]
    known = told(store, name)
    if known is not None:
        return abs(known) * factor
    ends = [0, len(values) - 1] if len(values) > 1 else [0]
    at = positions(store, name, [values[i] for i in ends], np.take(grid, ends, axis), axis)
    if at is None or len(at) < 2 or at[-1] == at[0]:
        return None
    return abs(at[-1] - at[0]) / (len(values) - 1)


def counted(store: Store, name: str, values: list[Any], grid: np.ndarray) -> float | None:
    """Distance along ``z`` in µm or ``time`` in s by which the integers of the axis count, from where the images begin.

    It is negative where a stack goes down.
    None where the images have positions or times of their own, see `positions`, and where the summary metadata say no step.
    """
    factor = _STEPS[name][1]
    known = told(store, name)
    some = grid[grid >= 0]
    if known is None or not values or not isinstance(values[0], int) or not len(some):
        return None
    return None if _metadata(store, int(some[0])).keys() & set(_KEYS[name][0]) else known * factor


def positions(store: Store, name: str, values: list[Any], grid: np.ndarray, axis: int) -> list[float] | None:
    """Positions along ``z`` in µm or times in s, from the first image at each value; None if one does not tell, or it is not cheap."""
    keys, factor = _KEYS[name]
    if len(values) > CHEAP:
        return None
    found = []
    for rows in np.moveaxis(grid, axis, 0).reshape(len(values), -1):
        there = rows[rows >= 0]
        value = _number(_metadata(store, int(there[0])), keys) if len(there) else None
        if value is None:
            return None
        found.append(value * factor)
    return found
