"""Have the error for a misspelt word suggest the right one."""

from __future__ import annotations

import difflib
import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
T = TypeVar("T")


def did_you_mean(word: object, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """Ask for the known words that are near, the nearest first, ``most`` of them; empty if none is.

    ``cutoff`` is how much alike they have to be, from 0 to 1. What differs in upper and lower case only is near.
    """
    names = list(known)
    near = difflib.get_close_matches(str(word), names, n=most, cutoff=cutoff)
    if not near:
        near = [name for name in names if name.lower() == str(word).lower()][:most]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def suggest_parameters(function: Callable[P, T]) -> Callable[P, T]:
    """Check the names of keyword arguments before the function is called; a constructor goes by its class's name."""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    called = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in names:
                hint = did_you_mean(name, names) or (f"the parameters are {', '.join(names)}" if names else "it has none")
                raise TypeError(f"{called} has no parameter {name!r}; {hint}")
        return function(*args, **kwargs)

    return checked
