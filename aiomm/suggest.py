"""Have a misspelt keyword argument's error suggest the right one."""

from __future__ import annotations

import difflib
import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def suggest_parameters(function: Callable[P, T]) -> Callable[P, T]:
    """Check the names of keyword arguments before the function is called; a constructor goes by its class's name."""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    called = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the parameters are {', '.join(names)}" if names else "it has none"
                raise TypeError(f"{called} has no parameter {name!r}; {hint}")
        return function(*args, **kwargs)

    return checked
