"""Check the parameters of an acquisition: each has its effect, or is refused by name with the reason."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiomm.acquire.functions import HOOK_POINTS, KINDS
from aiomm.acquire.home import Magellan, make_home
from aiomm.acquire.target import Target
from aiomm.bridge import Bridge, bridge_of
from aiomm.core import BridgedCore, LocalCore
from aiomm.dataset.encode import as_mapping
from aiomm.errors import UnsupportedError
from aiomm.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiomm.acquire.home import Home

DEFAULT_PORT = 4827
DEFAULT_TIMEOUT_MS = 500
FORMATS = ("ndtiff", "ome-zarr", "memory")
_SAVES = "Micro-Magellan saves NDTiff where its window says"
_EVENTS = "Micro-Magellan makes the events, and Micro-Manager's engine carries them out by itself"
NOT_FOR_MAGELLAN = {
    **dict.fromkeys(("directory", "name", "format", "durability", "summary_metadata"), _SAVES),
    **dict.fromkeys(("tile_overlap", "max_multi_res_index"), "Micro-Magellan's window says how tiles overlap"),
    **dict.fromkeys(("look_ahead", "limits", "clock", "sequencing", "allow_duplicates"), _EVENTS),
}
"""Parameters that Micro-Magellan decides itself, and why."""
_AS_GIVEN = ("process", "executor", "debug", "core_log_debug", "on_error", "limits", "clock", "sequencing", "allow_duplicates")

logger = logging.getLogger("aiomm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked of an acquisition, and can be; see `Acquisition` for each."""

    make_home: Callable[[], Home]
    target: Target
    functions: Mapping[str, Callable[..., Any] | None]
    hooks: frozenset[str]
    """Those of `HOOK_POINTS` that there are."""
    process: bool
    executor: Any
    look_ahead: int
    debug: bool
    core_log_debug: bool
    on_error: str
    limits: Mapping[str, Any] | None
    clock: str
    sequencing: str
    allow_duplicates: bool


def read(given: dict[str, Any]) -> Settings:
    """Read all parameters of an `Acquisition`, by their names; ``self`` is one of them.

    Raises
    ------
    TypeError, ValueError, UnsupportedError
        As `Acquisition` says.
    """
    summary = as_mapping("summary_metadata", given["summary_metadata"])
    where = check_home(given)
    attached = magellan(given)
    directory, format = given["directory"], given["format"]
    one_of("format", format, FORMATS)
    one_of("on_error", given["on_error"], ("raise", "continue"))
    one_of("durability", given["durability"], ("none", "interval", "every"))
    one_of("clock", given["clock"], ("submission", "acquisition"))
    one_of("sequencing", given["sequencing"], ("auto", "off"))
    if directory is not None and not given["name"]:
        raise ValueError("directory= needs name=: the dataset becomes the folder directory/name_1")
    if directory is not None and format == "memory":
        raise ValueError('format="memory" saves nothing: leave out directory=')
    if directory is None and format == "ome-zarr":
        raise ValueError('format="ome-zarr" saves to disk: it needs directory= and name=')
    tiles = overlap(given["tile_overlap"])
    reduced = levels(given["max_multi_res_index"], tiled=tiles is not None, format=format, on_disk=directory is not None)
    functions = {name: given[name] for name in KINDS}
    hooks = frozenset(which for which in HOOK_POINTS if functions[f"{which}_hook_fn"] is not None)
    asked = hooks
    if attached is not None and functions["event_generation_hook_fn"] is not None:
        asked |= {"event_generation"}  # of events that are made in Java
    return Settings(
        make_home=partial(
            make_home, where, given["port"], given["bridge_timeout"],
            hooks=asked, show_viewer=given["show_display"], debug=given["debug"], magellan=attached,
        ),
        target=Target(
            directory=None if directory is None else Path(directory).expanduser().absolute(),
            name=given["name"] or "acquisition",
            format=format,
            durability=given["durability"],
            queue_size=at_least_one("saving_queue_size", given["saving_queue_size"]),
            summary=summary,
            overlap=tiles,
            levels=reduced,
        ),
        functions=functions,
        hooks=hooks,
        look_ahead=at_least_one("look_ahead", given["look_ahead"]),
        **{name: given[name] for name in _AS_GIVEN},
    )  # fmt: skip


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not among those allowed."""
    if value not in allowed:
        hint = did_you_mean(value, allowed)
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}{hint and f'; {hint}'}")


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


def check_home(parameters: dict[str, Any]) -> Bridge | LocalCore | None:
    """Say where the microscope is, and refuse what has no effect there.

    Returns
    -------
    LocalCore, Bridge or None
        The core in this process; the bridge to a running Micro-Manager; None: a Micro-Manager at ``port``.

    Raises
    ------
    UnsupportedError
        Naming the parameter and the reason.
    TypeError
        ``core=`` is no core, ``bridge=`` no bridge.
    """
    core: Any = parameters["core"]
    bridge: Any = parameters["bridge"]
    if bridge is not None and not isinstance(bridge, Bridge):
        raise TypeError(f"bridge= is a Bridge to a running Micro-Manager, not {type(bridge).__name__}")
    if isinstance(core, LocalCore):
        refuse_java_only(parameters)
        return core
    if isinstance(core, BridgedCore):
        if bridge is not None and bridge_of(core) is not bridge:
            raise UnsupportedError("core= and bridge= are two microscopes: give one of them")
        bridge = bridge_of(core)
    elif core is not None:
        raise TypeError(f"core= is the microscope, a LocalCore or what bridge.get_core() gives, not {type(core).__name__}")
    refuse_on_java(parameters, connected=bridge is not None)
    found: Bridge | None = bridge
    return found


def refuse_on_java(parameters: dict[str, Any], *, connected: bool) -> None:
    """Refuse what a running Micro-Manager cannot do."""
    if connected and parameters["port"] != DEFAULT_PORT:
        raise UnsupportedError("port= chooses a running Micro-Manager, and bridge= (or core=) is one already: give one of them")
    if connected and parameters["bridge_timeout"] != DEFAULT_TIMEOUT_MS:
        raise UnsupportedError("bridge_timeout= is for the connection that port= makes; the bridge that you gave has a timeout of its own")
    if parameters["on_error"] == "continue":
        raise UnsupportedError('on_error="continue": the engine of a running Micro-Manager ends an acquisition at its first device error')
    brought = parameters["image_process_fn"] is not None and not parameters["show_display"]
    java_saves = parameters["directory"] is not None and parameters["format"] == "ndtiff" and not brought
    if java_saves and parameters["durability"] != "none":
        raise UnsupportedError(
            f'durability={parameters["durability"]!r}: NDTiff is saved by Micro-Manager there, which syncs nothing; format="ome-zarr" is '
            "saved here, and can"
        )
    if java_saves and parameters["summary_metadata"]:
        raise UnsupportedError(
            'summary_metadata=: NDTiff is saved by Micro-Manager there, which takes no more summary metadata; format="ome-zarr" does'
        )


def magellan(parameters: dict[str, Any]) -> Magellan | None:
    """Read ``magellan_acq_index`` and ``magellan_explore``, and refuse what Micro-Magellan decides itself.

    Raises
    ------
    UnsupportedError
        A parameter has no effect on its acquisitions; or both are given.
    ValueError
        The index cannot be one.
    """
    index, explore = parameters["magellan_acq_index"], parameters["magellan_explore"]
    if index is None and not explore:
        return None
    if index is not None and explore:
        raise UnsupportedError("magellan_acq_index= and magellan_explore= are two acquisitions of Micro-Magellan's: give one of them")
    if index is not None and (isinstance(index, bool) or not hasattr(index, "__index__") or int(index) < 0):
        raise ValueError(f"magellan_acq_index must be a position in Micro-Magellan's list, 0 or more, not {index!r}")
    defaults = inspect.signature(parameters["self"].__init__).parameters
    for name, reason in NOT_FOR_MAGELLAN.items():
        if parameters[name] != defaults[name].default:
            raise UnsupportedError(f"{name}= has no effect with magellan_acq_index= or magellan_explore=: {reason}")
    return Magellan(None if index is None else int(index))


def refuse_java_only(parameters: dict[str, Any]) -> None:
    """Refuse what needs a running Micro-Manager."""
    if parameters["bridge"] is not None:
        raise UnsupportedError("core= and bridge= are two microscopes: give one of them")
    if parameters["port"] != DEFAULT_PORT:
        raise UnsupportedError("port= chooses a running Micro-Manager, and core= is a microscope in this process: give one of them")
    if parameters["bridge_timeout"] != DEFAULT_TIMEOUT_MS:
        raise UnsupportedError("bridge_timeout= is for a running Micro-Manager; a microscope in this process has no bridge to wait for")
    if parameters["magellan_acq_index"] is not None or parameters["magellan_explore"]:
        raise UnsupportedError("magellan_acq_index= and magellan_explore= need a running Micro-Manager, with Micro-Magellan: give no core=")
