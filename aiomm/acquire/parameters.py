"""Check the parameters of an acquisition: each has its effect, or is refused by name with the reason."""

from __future__ import annotations

import difflib
import logging
from typing import Any

from aiomm.core import Core, LocalCore
from aiomm.errors import UnsupportedError

DEFAULT_PORT = 4827
DEFAULT_TIMEOUT_MS = 500
FORMATS = ("ndtiff", "ome-zarr", "memory")

logger = logging.getLogger("aiomm")


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not among those allowed."""
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}{hint}")


def at_least_one(name: str, value: Any) -> int:
    """Refuse what is not a whole number of 1 or more."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more, not {value!r}")
    return int(value)


def overlap(value: Any) -> tuple[int, int] | None:
    """Read ``tile_overlap``: pixels along x and y, or None."""
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or any(isinstance(one, bool) or not hasattr(one, "__index__") or int(one) < 0 for one in pair):
        raise ValueError(f"tile_overlap must be a number of pixels, 0 or more, or two of them (x, y), not {value!r}")
    return int(pair[0]), int(pair[1])


def levels(value: Any, *, tiled: bool, format: str, on_disk: bool) -> int | None:
    """Read ``max_multi_res_index``: how many reduced levels to make; None for as many as it takes."""
    if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0):
        raise ValueError(f"max_multi_res_index must be the number of the coarsest level, 0 or more, not {value!r}")
    if value is not None and not tiled and format != "ome-zarr":
        raise ValueError(
            "max_multi_res_index= needs tile_overlap=: NDTiff has reduced levels of tiles only "
            '(format="ome-zarr" has them of any images; tile_overlap=0 is for tiles that do not overlap)'
        )
    if value and not on_disk:
        raise ValueError("max_multi_res_index= needs directory=: images that are kept in memory have no reduced levels")
    if value is None:
        return None if tiled else 0
    return int(value)


def refuse_java_only(parameters: dict[str, Any], *, on_core: bool) -> None:
    """Refuse what needs a running Micro-Manager, or comes later.

    Raises
    ------
    UnsupportedError
        Naming the parameter and the reason.
    TypeError
        ``core=`` is no core.
    """
    if not on_core:
        raise UnsupportedError(
            "this acquisition was given no core=: acquisitions on a running Micro-Manager (port=, bridge=) are not made yet; "
            "give core=, a LocalCore"
        )
    core = parameters["core"]
    if not isinstance(core, LocalCore):
        if not isinstance(core, Core):
            raise TypeError(f"core= is the microscope, a LocalCore, not {type(core).__name__}")
        raise UnsupportedError(
            f"core= is in a running Micro-Manager ({core!r}): acquisitions there are not made yet. Its own methods work, core.snap() "
            "and core.live() among them; an acquisition needs a LocalCore"
        )
    if parameters["bridge"] is not None:
        raise UnsupportedError("core= and bridge= are two microscopes: give one of them")
    if parameters["port"] != DEFAULT_PORT:
        raise UnsupportedError("port= chooses a running Micro-Manager, and core= is a microscope in this process: give one of them")
    if parameters["bridge_timeout"] != DEFAULT_TIMEOUT_MS:
        raise UnsupportedError("bridge_timeout= is for a running Micro-Manager; a microscope in this process has no bridge to wait for")
    if parameters["magellan_acq_index"] is not None or parameters["magellan_explore"]:
        raise UnsupportedError("magellan_acq_index= and magellan_explore= need Micro-Magellan in a running Micro-Manager; not made yet")
