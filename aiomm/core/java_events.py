"""Notifications of a core in Java, as the same async iterator over `CoreNotification`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aiomm.bridge.core_events import KINDS as bridge_kinds
from aiomm.bridge.kept_here import KeptHere
from aiomm.core.names import snake_case
from aiomm.core.notifications import CoreNotification, chosen_kinds, notification
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from aiomm.bridge import Bridge

_NAMES = {snake_case(name): name for name in bridge_kinds}
"""Of each kind, the name under which Micro-Manager's server passes it on."""


def _method(name: str) -> str:
    """Give the name of `MMEventCallback`'s method for what the server calls ``stagePositionChanged``."""
    return f"on{name[0].upper()}{name[1:]}"


class JavaEvents(KeptHere):
    """An async iterator over `CoreNotification`; made by `BridgedCore.events`.

    It hears what happens from its first step on, or from ``async with`` on. It ends when the bridge is closed, and raises
    `ServerLostError` when the server is gone.

    Attributes
    ----------
    dropped : int
        How many notifications were lost, the oldest first, because ``buffer`` were waiting to be taken.
    """

    _instead = "ask for another one where it is needed"

    def __init__(self, bridge: Bridge, kinds: Iterable[str] | str | None, buffer: int) -> None:
        chosen = chosen_kinds(kinds, buffer)
        if chosen is not None and (never := sorted(chosen - set(_NAMES))):
            raise UnsupportedError(f"Micro-Manager's server passes on no {', '.join(never)}; it passes on {', '.join(_NAMES)}")
        self._changes = bridge.core_events(None if chosen is None else [_NAMES[kind] for kind in sorted(chosen)], buffer=buffer)

    @property
    def dropped(self) -> int:
        """How many notifications were lost."""
        return self._changes.dropped

    async def __aenter__(self) -> Self:
        await self._changes.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CoreNotification:
        change = await anext(self._changes)
        return replace(notification(_method(change.name), change.arguments), time=change.time)

    async def aclose(self) -> None:
        """Listen no more. Again and again does no harm."""
        await self._changes.aclose()
