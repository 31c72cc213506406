"""Which Java objects are among values that are to be sent, and whether Java knows them where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.bridge.handle import Handle
from aiomm.errors import JavaValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiomm.bridge.session import Session

__all__ = ["check_lives", "objects_in"]

_HOLDERS = (list, tuple, set, frozenset, dict)


def objects_in(values: Iterable[Any]) -> Iterator[Handle]:
    """Give each Java object among the values, in a list or a dict too."""
    inside: list[Any] = []
    for value in values:
        if isinstance(value, Handle):
            yield value
        elif isinstance(value, _HOLDERS):
            inside.append(value)
    seen: set[int] = set()  # a list may hold itself
    while inside:
        holder = inside.pop()
        if id(holder) not in seen:
            seen.add(id(holder))
            for value in (*holder, *holder.values()) if isinstance(holder, dict) else holder:
                if isinstance(value, Handle):
                    yield value
                elif isinstance(value, _HOLDERS):
                    inside.append(value)


def check_lives(obj: Handle, own: Session, session: Session) -> None:
    """See that an object of one bridge is known to Java where another one sends it.

    Java makes null of an object that it does not know, or takes another one for it.

    Raises
    ------
    ClosedError, ServerLostError
        Its bridge is closed, or the server of it gone.
    JavaValueError
        It lives in another Micro-Manager.
    """
    if own is session:
        return
    if own.error is not None:
        raise type(own.error)(f"{obj!r} cannot be sent: {own.error}")
    if own.numbers.server != session.numbers.server:
        there = ":".join(map(str, own.numbers.server))
        raise JavaValueError(f"{obj!r} cannot be sent to another Micro-Manager than its own, at {there}")
