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
    if parameters["tile_overlap"] is not None or parameters["max_multi_res_index"] is not None:
        raise UnsupportedError("tile_overlap= and max_multi_res_index= (XY tiling with a pyramid) are not made yet")
    if parameters["magellan_acq_index"] is not None or parameters["magellan_explore"]:
        raise UnsupportedError("magellan_acq_index= and magellan_explore= need Micro-Magellan in a running Micro-Manager; not made yet")
