"""How MMCore's method names are spelt here, and which of its methods change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiomm.bridge.names import snake_case
from aiomm.bridge.questions import leaves_core as only_reads
from aiomm.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["only_reads", "public_methods", "snake_case", "unknown"]

_SWIG = frozenset({"acquire", "append", "disown", "next", "own", "this", "thisown"})


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
    hint = did_you_mean(snake, names, most=3, cutoff=0.75)
    return f"{owner!r} object has no attribute {name!r}{hint and f'; {hint}'}"
