"""Physical sizes in OME-Zarr metadata: read in any unit, told in the words of Micro-Manager's summary metadata."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


def sizes_of(multiscale: Mapping[str, Any], level: int) -> dict[str, float | None]:
    """Read the sizes of a level along y, x and z in µm, and time in ms; None for one that has no unit, or an unknown one.

    What has neither a unit nor a scale other than 1 says nothing, and is left out.
    """
    axes = [axis for axis in multiscale.get("axes", ()) if isinstance(axis, dict)]
    scale = [1.0] * len(axes)
    for several in (multiscale["datasets"][level].get("coordinateTransformations"), multiscale.get("coordinateTransformations")):
        for one in several if isinstance(several, list) else ():
            if isinstance(one, dict) and one.get("type") == "scale":
                by = one.get("scale")
                if not isinstance(by, list) or len(by) != len(axes) or not all(map(_is_size, by)):
                    return {}
                scale = [size * factor for size, factor in zip(scale, by, strict=True)]
    found: dict[str, float | None] = {}
    for axis, size in zip(axes, scale, strict=True):
        name, unit = axis.get("name"), axis.get("unit")
        units = _MILLISECONDS if name in ("t", "time") else _MICROMETERS
        if name in ("y", "x", "z", "t", "time") and (unit is not None or size != 1):
            factor = units.get(unit) if isinstance(unit, str) else None
            found["time" if name == "t" else name] = None if factor is None else size * factor
    return found


def common_sizes(images: Sequence[Mapping[str, float | None]]) -> tuple[dict[str, float], list[str]]:
    """Take the sizes on which all images agree, for a summary holds for all of them; and name the others."""
    agreed: dict[str, float] = {}
    others = []
    for name in dict.fromkeys(name for sizes in images for name in sizes):
        found = [sizes[name] for sizes in images if name in sizes]
        first = found[0]
        if first is not None and all(size is not None and math.isclose(size, first, rel_tol=1e-6) for size in found):
            agreed[name] = first
        else:
            others.append(name)
    return agreed, others


def summary_of(images: Sequence[Mapping[str, float | None]], told: Path | None) -> dict[str, float]:
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


def _is_size(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
