"""The numbers of the server's ports: which it is about to leave, and that it gives none meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["PortNumbers"]

_HERE: Final = frozenset({"127.0.0.1", "localhost"})
_CLOSES: Final = 0.2  # s that a port may take to close
_AGAIN: Final = 0.002  # s between two looks at a port that is about to close

_KNOWN: Final = 1.0  # s after which no port that was to close is looked at any more


class _Server:
    """What the bridges of this process share that speak to one server.

    Attributes
    ----------
    closing : dict
        The ports that they left just now, and which time of leaving it was.
    turns : mapping
        Of each loop, whose turn it is among its bridges.
    """

    def __init__(self) -> None:
        self.closing: dict[int, object] = {}
        self.turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def forget(self, number: int, which: object) -> None:
        if self.closing.get(number) is which:
            del self.closing[number]


_SERVERS: WeakValueDictionary[tuple[str, int], _Server] = WeakValueDictionary()
"""By host and first port. A server goes with its last bridge, and a little later than its last port: the next bridge is to know of that."""


class PortNumbers:
    """The numbers of one server's ports, as one bridge sees them.

    The server gives a number again before its socket has left it, and says nothing when that fails: nothing answers there then. So a
    bridge asks for no port while it or another one of its loop has one closed, and the other way round.

    Parameters
    ----------
    host, first
        Where the server listens.
    """

    def __init__(self, host: str, first: int) -> None:
        self._host = host
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._shared = _SERVERS.setdefault(self.server, _Server())
        self._lock = self._shared.turns.setdefault(self._loop, asyncio.Lock())
        self._leaving = 0  # how many of this bridge have the turn together, as none of them asks for a number

    @property
    def server(self) -> tuple[str, int]:
        """Where the server listens: its host, with one name for this computer, and its first port."""
        return "127.0.0.1" if self._host in _HERE else self._host, self._first

    def closing(self, number: int) -> None:
        """The server is about to leave a port, or it is held for a moment: bridges of this process make nothing that may get it."""
        which = self._shared.closing[number] = object()
        self._loop.call_later(_KNOWN, self._shared.forget, number, which)

    def taken(self, number: int) -> None:
        """What a bridge has just made is at this port, and stays."""
        self._shared.closing.pop(number, None)

    async def left(self) -> None:
        """Wait a little until ports that ended do not listen any more.

        No event tells of that: the server closes a connection before or after it stops to listen, and a new one may be taken for a
        stream's. So this looks again and again, while a port is closing that should be closed by now, and for a limited time.
        """
        closing = self._shared.closing
        deadline = self._loop.time() + _CLOSES
        while (left := tuple(closing)) and self._loop.time() < deadline:
            if await _listens(self._host, left[0], deadline):
                await asyncio.sleep(_AGAIN)
            else:
                closing.pop(left[0], None)
        for number in left:
            closing.pop(number, None)

    @contextlib.asynccontextmanager
    async def giving(self) -> AsyncIterator[None]:
        """While the server is asked for what takes a number."""
        held = await self._take_turn()
        try:
            await self.left()
            yield
        finally:
            if held:
                self._lock.release()

    @contextlib.asynccontextmanager
    async def leaving(self) -> AsyncIterator[None]:
        """While the server is told what makes it leave a port; those that a bridge has closed it may leave all at once."""
        held = self._leaving > 0 or await self._take_turn()
        self._leaving += held
        try:
            yield
        finally:
            self._leaving -= held
            if held and not self._leaving:
                self._lock.release()

    async def _take_turn(self) -> bool:
        """Wait for the turn, and say whether it came: nobody is held up long by a server that is busy with what another one asks."""
        held = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSES):
                held = await self._lock.acquire()
        return held


async def _listens(host: str, number: int, deadline: float) -> bool:
    """Whether somebody listens at a port.

    Here, without going there: the number may be another stream's by then, and Java's ZeroMQ gives a message to whoever comes, before
    they have shaken hands.
    """
    if host in _HERE:
        with socket.socket() as probe:
            if os.name == "posix":  # elsewhere this lets two listen at one port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                return True
        return False
    try:
        async with asyncio.timeout_at(deadline):
            _, writer = await asyncio.open_connection(host, number)
    except OSError:  # of a firewall that drops what it refuses, TimeoutError
        return False
    writer.close()
    return True
