"""The typed face of a core: each of MMCore's methods, awaitable, in snake_case (types and documentation in api.pyi)."""

from __future__ import annotations

import inspect
from types import MethodType
from typing import TYPE_CHECKING, Any

import pymmcore

from aiomm.core.checks import checked, parameters
from aiomm.core.methods import METHODS
from aiomm.core.names import public_methods, snake_case, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence


class Core:
    """A Micro-Manager core whose methods are awaited.

    Each of MMCore's methods is here in snake_case: ``await core.set_xy_position(10, 20)``. Units are ms for exposures
    and delays, µm for positions. Each method raises `CoreError`, with the device and MMCore's own text, when MMCore or
    a device refuses, and `ClosedError` after the core was closed.
    """

    async def call_core(self, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method by MMCore's name (``setXYPosition``); each home of a microscope has its own way."""
        raise NotImplementedError

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            known = [n for n in dir(type(self)) if not n.startswith("_")]
            # With obj= or without name=, Python would add a suggestion of its own.
            raise AttributeError(unknown(name, known, type(self).__name__), name=name)


def bind(snake: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Put keyword arguments in their places; `TypeError` names the forms of the call if they fit none."""
    forms = METHODS[snake][1] if snake in METHODS else ()
    for form in forms:
        values, rest = list(args), dict(kwargs)
        for parameter in parameters(form)[len(args) :]:
            if parameter.name in rest:
                values.append(rest.pop(parameter.name))
            elif parameter.default is not parameter.empty:
                values.append(parameter.default)
            else:
                break
        else:
            if not rest:
                return tuple(values)
    wanted = " or ".join(f"{snake}({form})" for form in forms) or f"{snake}(*args)"
    given = ", ".join([*(f"{a!r:.80}" for a in args), *(f"{k}={v!r:.80}" for k, v in kwargs.items())])
    raise TypeError(f"{snake}({given}): takes other arguments; it is {wanted}")


def _method(snake: str, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def method(self: Core, *args: Any, **kwargs: Any) -> Any:
        given = bind(snake, args, kwargs) if kwargs else args
        return await self.call_core(name, checked(snake, given) if given else given)

    method.__name__ = snake
    method.__qualname__ = f"Core.{snake}"
    if snake in METHODS:
        _, forms, result, doc = METHODS[snake]
        calls = "\n".join(f"    {snake}({form}) -> {result}" for form in forms)
        method.__doc__ = f"{doc}\n\n::\n\n{calls}\n"
        if (taken := _in_one(forms)) is not None:
            own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
            method.__signature__ = inspect.Signature([own, *taken], return_annotation=result)  # type: ignore[attr-defined]
    else:
        method.__doc__ = f"MMCore's ``{name}``: newer than this version of aiomm, so its arguments are passed as they are."
    return method


def _in_one(forms: Sequence[str]) -> list[inspect.Parameter] | None:
    """Give the parameters of all forms, where each form has one more at its end than the one before; else the documentation tells."""
    *shorter, longest = sorted((parameters(form) for form in forms), key=len)
    fewest = len(longest) - len(shorter)
    for count, form in enumerate(shorter, fewest):
        if len(form) != count or any(
            (one.name, one.annotation) != (two.name, two.annotation) for one, two in zip(form, longest, strict=False)
        ):
            return None
    return [*longest[:fewest], *(one.replace(default=...) for one in longest[fewest:])]


class _Later:
    """A method of `Core` until it is first looked at: to make all of them with their signatures takes milliseconds."""

    __slots__ = ("_snake",)

    def __init__(self, snake: str) -> None:
        self._snake = snake

    def __get__(self, core: Core | None, kind: type[Core] | None = None) -> Any:
        method = _method(self._snake, _NAMES[self._snake])
        setattr(Core, self._snake, method)
        return method if core is None else MethodType(method, core)


_NAMES = {snake: name for snake, (name, *_) in METHODS.items()}


def core_method(snake: str) -> str | None:
    """Give MMCore's name for a method of `Core`, or None if it has no such method."""
    return _NAMES.get(snake)


def method_names() -> list[str]:
    """Name the methods of `Core`, in snake_case."""
    return list(_NAMES)


def _fill() -> None:
    """Give `Core` its methods: those that aiomm knows, and those that only the installed pymmcore knows."""
    for name in public_methods(dir(pymmcore.CMMCore)):
        _NAMES.setdefault(snake_case(name), name)
    for snake in _NAMES:
        setattr(Core, snake, _Later(snake))


_fill()
