"""Where the pixels of a dataset are: µm along x, y and z, seconds along time, from what its metadata say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.errors import DatasetError

if TYPE_CHECKING:
    from aiomm.dataset.storage import Store

CHEAP: Final = 2000
"""Images at most whose metadata are read for the coordinates of one axis."""
_PIXEL: Final = ("PixelSize_um", "PixelSizeUm")
_KEYS: Final = {"z": (("ZPosition_um_Intended", "ZPosition_um"), 1.0), "time": (("ElapsedTime-ms",), 1e-3)}
_STEPS: Final = {"z": (("z-step_um", "z_step_um"), 1.0), "time": (("Interval_ms",), 1e-3)}


def _number(metadata: dict[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = metadata.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
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
    own: dict[str, float] | None = getattr(store, "sizes", None)
    if own is not None:
        return own
    size = pixel_size(store, row)
    return {} if size is None else dict.fromkeys("yx", size * 2**level)


def step(store: Store, name: str, values: list[Any], grid: np.ndarray, axis: int) -> float | None:
    """Distance of neighbours along ``z`` in µm or ``time`` in s, taken from two images or the summary; None where unknown."""
    keys, factor = _STEPS[name]
    known = _number(store.summary, keys)
    if known is not None and known > 0:
        return known * factor
    ends = [0, len(values) - 1] if len(values) > 1 else [0]
    at = positions(store, name, [values[i] for i in ends], np.take(grid, ends, axis), axis)
    if at is None or len(at) < 2 or at[-1] == at[0]:
        return None
    return abs(at[-1] - at[0]) / (len(values) - 1)


def positions(store: Store, name: str, values: list[Any], grid: np.ndarray, axis: int) -> list[float] | None:
    """Positions along ``z`` in µm or times in s, from the first image at each value; None if one does not tell, or it is not cheap.

    Where the images have no such thing, the step that the summary metadata says is between the integers of the axis.
    """
    keys, factor = _KEYS[name]
    step_keys, step_factor = _STEPS[name]
    known = _number(store.summary, step_keys)
    if known is not None and known > 0 and values and isinstance(values[0], int):
        some = grid[grid >= 0]
        if len(some) and not _metadata(store, int(some[0])).keys() & set(keys):
            return [value * known * step_factor for value in values]
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
