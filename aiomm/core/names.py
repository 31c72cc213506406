"""How MMCore's method names are spelt here, and which of its methods change nothing."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from aiomm.bridge.names import snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["only_reads", "public_methods", "snake_case", "unknown"]

_SWIG = frozenset({"acquire", "append", "disown", "next", "own", "this", "thisown"})

_READ_PREFIXES = ("get", "is", "has", "uses", "supports")
_READS = frozenset(
    {
        "debugLogEnabled",
        "deviceBusy",
        "deviceTypeBusy",
        "log",
        "logMessage",
        "noop",
        "pressurePumpRequiresCalibration",
        "sleep",
        "stderrLogEnabled",
        "systemBusy",
        "volumetricPumpRequiresHoming",
        "waitForConfig",
        "waitForDevice",
        "waitForDeviceType",
        "waitForSystem",
    }
)
# These begin like a question, but take something away, talk to hardware that is not set up yet, or load a library.
_CHANGES = frozenset({"getAvailableDevices", "getInstalledDevices", "getSerialPortAnswer"})


def only_reads(method: str) -> bool:
    """Whether an MMCore method (``getPosition``) leaves hardware, settings and buffers as they are."""
    return method in _READS or (method.startswith(_READ_PREFIXES) and method not in _CHANGES)


def public_methods(names: Iterable[str]) -> list[str]:
    """Of the attributes of ``pymmcore.CMMCore``, those that are MMCore's methods."""
    return [n for n in names if not n.startswith("_") and n not in _SWIG]


def unknown(name: str, known: Iterable[str], owner: str) -> str:
    """Say that ``owner`` has no attribute ``name``, and which one was probably meant."""
    if name.startswith("_"):  # asked by Python itself, not by people
        return f"{owner!r} object has no attribute {name!r}"
    names = list(known)
    snake = snake_case(name)
    if snake in names:
        return f"{owner!r} object has no attribute {name!r}: MMCore's methods are in snake_case here, it is {snake!r}"
    close = difflib.get_close_matches(snake, names, n=3, cutoff=0.75)
    hint = f". Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"{owner!r} object has no attribute {name!r}{hint}"
