"""One acquisition of Micro-Manager's engine: its Java objects and its sockets, and their end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomm.acquire.remote.pipes import HookPipe, ImagePipe, Notice
    from aiomm.bridge import Bridge, JavaObject
    from aiomm.errors import BridgeError, JavaException

__all__ = ["JavaSession", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make in Java."""

    directory: str | None
    name: str | None
    show_viewer: bool
    queue_size: int
    debug: bool
    hooks: frozenset[str]
    images: bool
    tiling: tuple[int, int, int | None] | None


class JavaSession:
    """One acquisition of Micro-Manager's engine."""

    acquisition: JavaObject
    path: Path | None
    summary: dict[str, Any]
    hooks: dict[str, HookPipe]
    images: ImagePipe | None
    notices: AsyncIterator[Notice]
    lost: BridgeError | None
    gone: asyncio.Future[BridgeError | None]

    @classmethod
    async def open(cls, bridge: Bridge, wanted: Wanted, *, existing: JavaObject | None = None) -> JavaSession:
        """Make it."""
        raise NotImplementedError

    async def send(self, events: list[dict[str, Any]]) -> None:
        """Send one message of events."""
        raise NotImplementedError

    async def send_end(self) -> None:
        """Send the end of the acquisition, once."""
        raise NotImplementedError

    async def abort(self) -> None:
        """Abort it in Java."""
        raise NotImplementedError

    async def check(self) -> JavaException | None:
        """Give the exception that ended it in Java, if any."""
        raise NotImplementedError

    async def close(self) -> None:
        """End it from any state."""
        raise NotImplementedError
