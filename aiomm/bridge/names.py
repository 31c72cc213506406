"""How Java's names are spelt in Python, and which name was probably meant."""

from __future__ import annotations

import functools
import keyword
import re
from typing import TYPE_CHECKING

from aiomm.suggest import did_you_mean as nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "python_name", "snake_case"]

_WORD = re.compile(r"(.)([A-Z][a-z]+)")
_END = re.compile(r"([a-z0-9])([A-Z])")


@functools.lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """Spell a camelCase name as pycromanager does: ``setXYPosition`` is ``set_xy_position``."""
    return _END.sub(r"\1_\2", _WORD.sub(r"\1_\2", name)).lower()


def python_name(name: str) -> str:
    """Give a name that Python keeps for itself (``in``, ``from``) a trailing underscore."""
    return f"{name}_" if keyword.iskeyword(name) else name


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Go on with a sentence by which of the known names are near; empty when none is."""
    hint = nearest(snake_case(name), known, most=3, cutoff=0.7)
    return hint and f"; {hint}"
