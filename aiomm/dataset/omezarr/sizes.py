"""Physical sizes and origins in OME-Zarr metadata: read in any unit, told in the words of Micro-Manager's metadata."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiomm.dataset.calibration import ORIGINS
from aiomm.dataset.numbers import finite, positive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_log = logging.getLogger("aiomm")

_KEYS: Final = {"z": "z-step_um", "time": "Interval_ms"}
_PREFIXES: Final = {
    "yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2, "deca": 1, "": 0,
    "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18, "zepto": -21, "yocto": -24,
}  # fmt: skip
_MICROMETERS: Final = {
    **{f"{prefix}meter": float(f"1e{power + 6}") for prefix, power in _PREFIXES.items()},
    **{"m": 1e6, "mm": 1e3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "nm": 1e-3, "pm": 1e-6},
    **{"angstrom": 1e-4, "inch": 25400.0, "foot": 304800.0, "yard": 914400.0, "mile": 1609344000.0},
}
_MILLISECONDS: Final = {
    **{f"{prefix}second": float(f"1e{power + 3}") for prefix, power in _PREFIXES.items()},
    **{"s": 1e3, "ms": 1.0, "us": 1e-3, "\u00b5s": 1e-3, "\u03bcs": 1e-3, "ns": 1e-6, "minute": 6e4, "hour": 3.6e6, "day": 8.64e7},
}


class Along(NamedTuple):
    """A level along one axis, in µm, or ms of time: the distance of neighbours, and where the first one is."""

    size: float
    origin: float


def sizes_of(multiscale: Mapping[str, Any], level: int) -> tuple[dict[str, Along | None], bool]:
    """Read the sizes and origins of a level along y, x, z and time; None for one that has no unit, an unknown one, or no finite size.

    What has neither a unit, nor a scale other than 1, nor a translation says nothing, and is left out. Says too whether the
    origins are as the metadata say: with a translation that cannot be read they are all 0, and the sizes hold.
    """
    axes = [axis for axis in multiscale.get("axes", ()) if isinstance(axis, dict)]
    scale, origin, told = [1.0] * len(axes), [0.0] * len(axes), True
    for several in (multiscale["datasets"][level].get("coordinateTransformations"), multiscale.get("coordinateTransformations")):
        for one in several if isinstance(several, list) else ():  # first those of the level, then those of all levels; in order
            kind = one.get("type") if isinstance(one, dict) else None
            if kind == "scale":
                by = _numbers(one.get(kind), len(axes), positive)
                if by is None:
                    return {}, True
                scale = [size * factor for size, factor in zip(scale, by, strict=True)]
                origin = [at * factor for at, factor in zip(origin, by, strict=True)]
            elif kind == "translation":
                by = _numbers(one.get(kind), len(axes), finite)
                told = told and by is not None
                origin = [at + move for at, move in zip(origin, by or origin, strict=True)]
    factors = [_factor(axis) for axis in axes]
    begins = [at * (factor or 0.0) for at, factor in zip(origin, factors, strict=True)]
    if not told or not all(map(math.isfinite, (*origin, *begins))):
        origin, begins, told = [0.0] * len(axes), [0.0] * len(axes), False
    found: dict[str, Along | None] = {}
    for axis, size, at, factor, begin in zip(axes, scale, origin, factors, begins, strict=True):
        name = axis.get("name")
        if name in ("y", "x", "z", "t", "time") and (axis.get("unit") is not None or size != 1 or at != 0):
            length = None if factor is None else positive(size * factor)  # a product may be more than a float holds
            found["time" if name == "t" else name] = None if length is None else Along(length, begin)
    return found, told


def _factor(axis: Mapping[str, Any]) -> float | None:
    """How many µm, or ms of time, the unit of an axis is; None if it has none that is known."""
    units = _MILLISECONDS if axis.get("name") in ("t", "time") else _MICROMETERS
    unit = axis.get("unit")
    return units.get(unit) if isinstance(unit, str) else None


def origins_of(images: Sequence[Mapping[str, Along | None]]) -> list[dict[str, float]]:
    """Say where each image begins, as the metadata of a single image do, along the axes where one of them begins elsewhere than at 0."""
    moved = [name for name in ORIGINS if any(along.origin for sizes in images if (along := sizes.get(name)) is not None)]
    return [{ORIGINS[name]: along.origin for name in moved if (along := sizes.get(name)) is not None} for sizes in images]


def common_sizes(images: Sequence[Mapping[str, Along | None]]) -> tuple[dict[str, float], list[str]]:
    """Take the sizes on which all images agree, for a summary holds for all of them; and name the others."""
    agreed: dict[str, float] = {}
    others = []
    for name in dict.fromkeys(name for sizes in images for name in sizes):
        of_images = [sizes[name] for sizes in images if name in sizes]
        found = [None if along is None else along.size for along in of_images]
        first = found[0]
        if first is not None and all(size is not None and math.isclose(size, first, rel_tol=1e-6) for size in found):
            agreed[name] = first
        else:
            others.append(name)
    return agreed, others


def summary_of(images: Sequence[Mapping[str, Along | None]], told: Path | None) -> dict[str, float]:
    """Say the sizes that images have in common as a summary does; log those that it cannot hold, where the path is given."""
    sizes, lost = common_sizes(images)
    summary = {_KEYS[name]: size for name, size in sizes.items() if name in _KEYS}
    if "x" in sizes and "y" in sizes:
        if math.isclose(sizes["x"], sizes["y"], rel_tol=1e-6):
            summary["PixelSize_um"] = sizes["x"]
        else:
            lost += ["y", "x"]
    if lost and told is not None:
        why = "their unit is none that is known, the images differ, or pixels are no squares"
        _log.warning("%s: the summary metadata have no sizes along %s: %s", told, ", ".join(lost), why)
    return summary


def _numbers(values: object, count: int, taken: Callable[[object], float | None]) -> list[float] | None:
    """Read a list of so many numbers; None if it is anything else."""
    found = [taken(value) for value in values] if isinstance(values, list) and len(values) == count else []
    numbers = [value for value in found if value is not None]
    return numbers if len(numbers) == count else None
