"""Look at the arguments of a typed method before either home gets them: wrong ones are refused alike, and none reaches the hardware.

MMCore takes some of these without a word (NaN as a position), ends the process for others (None as a text to log), and a core in
Java refuses others than one in this process.
"""

from __future__ import annotations

import ast
import inspect
import math
import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from aiomm.core.methods import METHODS

__all__ = ["checked", "parameters"]

_Check = Callable[[Any], str | None]  # what would be right, or None: it is


def checked(snake: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give the arguments of a method back, if they are such as one of its forms takes; others than MMCore has are left to it.

    Raises
    ------
    TypeError
        One is of another type.
    ValueError
        A number is none, or endless, or too large for MMCore.
    """
    problem: Exception | None = None
    for form in _forms(snake).get(len(args), ()):
        found = None
        for value, (name, check) in zip(args, form, strict=True):
            if check is not None and (right := check(value)) is not None:
                kind = ValueError if _is_number(value) and not right.startswith("a whole") else TypeError
                found = kind(f"{snake}: {name} is {_short(value)}: it must be {right}")
                break
        if found is None:
            return args
        problem = problem or found
    if problem is not None:
        raise problem
    return args


def parameters(form: str) -> list[inspect.Parameter]:
    """Read the parameters of a form like ``label: str, n: int = 0``."""
    function = ast.parse(f"def f({form}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    names = function.args.args
    given = [ast.literal_eval(d) for d in function.args.defaults]
    defaults = [inspect.Parameter.empty] * (len(names) - len(given)) + given
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [
        inspect.Parameter(a.arg, kind, default=d, annotation=ast.unparse(a.annotation) if a.annotation else inspect.Parameter.empty)
        for a, d in zip(names, defaults, strict=True)
    ]


@cache
def _forms(snake: str) -> dict[int, list[list[tuple[str, _Check | None]]]]:
    """Give the parameters of each form of a method, by how many arguments it has."""
    forms: dict[int, list[list[tuple[str, _Check | None]]]] = {}
    for form in METHODS[snake][1] if snake in METHODS else ():
        listed = parameters(form)
        checks = [(parameter.name, _CHECKS.get(str(parameter.annotation))) for parameter in listed]
        needed = sum(parameter.default is parameter.empty for parameter in listed)
        for count in range(needed, len(listed) + 1):
            forms.setdefault(count, []).append(checks[:count])
    return forms


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _short(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # an integer of more digits than Python writes
        return f"an integer of {value.bit_length()} bits"


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _text(value: Any) -> str | None:
    return None if isinstance(value, (str, os.PathLike)) else "text"


def _number(value: Any) -> str | None:
    value = _scalar(value)
    if not _is_number(value):
        return "a number"
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    return None if finite else "a finite number"


def _integer(value: Any) -> str | None:
    value = _scalar(value)
    return None if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else "a whole number"


def _flag(value: Any) -> str | None:
    value = _scalar(value)
    return None if isinstance(value, (bool, np.bool_, int, np.integer)) else "True or False"


def _or_none(check: _Check) -> _Check:
    return lambda value: None if value is None else check(value)


def _each(check: _Check, items: str) -> _Check:
    def look(value: Any) -> str | None:
        if isinstance(value, np.ndarray):
            value = value.ravel().tolist()
        elif isinstance(value, (str, bytes, bytearray, memoryview)) or not isinstance(value, Sequence):
            return f"a list of {items}"
        return None if all(check(item) is None for item in value) else f"a list of {items}"

    return look


_CHECKS: Final[dict[str, _Check]] = {
    "str": _text,
    "str | None": _or_none(_text),
    "float": _number,
    "int": _integer,
    "int | None": _or_none(_integer),
    "bool": _flag,
    "Sequence[str]": _each(_text, "texts"),
    "Sequence[float]": _each(_number, "finite numbers"),
    "Sequence[int]": _each(_integer, "whole numbers"),
}
