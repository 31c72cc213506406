"""Streams beside the calls of a bridge: what Java objects push here, and what they pull from here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiomm.bridge.core_events import FORWARD
from aiomm.bridge.gone import unless_gone
from aiomm.bridge.places import Place
from aiomm.bridge.proxy import line_of
from aiomm.errors import BridgeError, ServerLostError, ServerNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.bridge.client import Bridge
    from aiomm.bridge.proxy import JavaObject
    from aiomm.bridge.session import Session
    from aiomm.bridge.streams import PullSocket, PushSocket
    from aiomm.errors import AiommError

__all__ = ["Channels", "channels_of", "channels_on"]

_AHEAD = 20  # numbers tried for a port that is not known yet
_AGAIN = 0.005  # s between two attempts to use a port that somebody is about to leave


class Channels:
    """Makes the sockets for streams of one bridge; the server chooses the ports of both directions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def timeout(self) -> float:
        """Of connecting and control messages, in s."""
        return self._session.timeout

    def watch(self, gone: Callable[[AiommError], None]) -> Callable[[], None]:
        """Call ``gone`` on the loop, with the error, when the server is gone, or at once if it is; give what ends that."""
        session = self._session
        if isinstance(session.error, ServerLostError):
            gone(session.error)
        session.watchers.add(gone)
        return lambda: session.watchers.discard(gone)

    async def see_that_it_runs(self, seconds: float) -> None:
        """Take the server for gone if it does not even greet within ``seconds``, and say so.

        The connections of a process that is stopped, or that hangs, stay, and what waits for it would wait for ever.

        Raises
        ------
        ServerLostError
            It is gone.
        """
        session = self._session
        if session.error is None and not await session.greets(seconds):
            session.give_up("its process is stopped, or hangs, as it does not greet; what it was told may still be done")
        if isinstance(session.error, ServerLostError):
            raise ServerLostError(*session.error.args)

    def place(self, classpath: str) -> Place:
        """Have a port opened for an object of this class, which is made there later."""
        self._session.check()
        return Place(self._session, classpath)

    async def free(self) -> None:
        """Wait a little until ports that were left do not listen any more: what Java makes next may take them."""
        await self._session.numbers.left()

    def left(self, port: int) -> None:
        """Java is about to leave a port at which it listened."""
        self._session.numbers.closing(port)

    async def pull(self, port: int, *, queue: int = 1000, lost: Callable[[], None] | None = None) -> PullSocket:
        """Connect to where Java listens, within the control timeout.

        Parameters
        ----------
        port
            Java's.
        queue
            How many messages wait here at most.
        lost
            Called on the loop as soon as Java's side is gone.

        Raises
        ------
        ServerNotFoundError
            Nothing listens there.
        """
        session = self._session
        session.check()
        socket = session.pull_socket(hwm=queue, lost=lost)
        try:
            await unless_gone(session, socket.connect(session.host, port, timeout=session.timeout))
        except BaseException as error:
            socket.close()
            if isinstance(error, ServerNotFoundError):
                raise ServerNotFoundError(f"{error}. {FORWARD}") from None
            raise
        session.numbers.taken(port)
        return socket

    async def push(self, port: int, *, queue: int = 1000, lost: Callable[[], None] | None = None) -> PushSocket:
        """Listen where Java will connect to; while somebody else does, tries again until the control timeout.

        Parameters
        ----------
        port
            That Java has chosen.
        queue
            How many messages wait here at most.
        lost
            Called on the loop as soon as Java's side is gone.

        Raises
        ------
        BridgeError
            The port is taken.
        """
        session = self._session
        session.check()
        deadline = session.loop.time() + session.timeout
        while True:
            socket = session.push_socket(hwm=queue, lost=lost)
            try:
                socket.bind(port)
            except BridgeError:
                socket.close()
                if session.loop.time() + _AGAIN >= deadline:
                    raise
            else:
                session.numbers.taken(port)
                return socket
            await asyncio.sleep(_AGAIN)
            session.check()

    def push_ahead(self, beyond: JavaObject, *, queue: int = 1000) -> tuple[int, PushSocket] | None:
        """Listen where Java will probably connect to for what it makes next; its first attempt to connect is then not in vain.

        Java tries again only after a tenth of a second. It takes the lowest number that is free, and so did the port of an object that
        was just made at a port of its own: the next is the first one above that can be had. To be compared with what Java says then
        (`keep` it, or close it), and to be asked for right before Java is: a number held in vain may be one that somebody else's object
        gets. Bridges of this process wait meanwhile.

        Parameters
        ----------
        beyond
            An object at a port of its own, made just before.
        queue
            How many messages wait here at most.

        Returns
        -------
        (int, PushSocket) or None
            The number, and the socket that listens there.
        """
        session = self._session
        session.check()
        number = line_of(beyond).number
        for port in range(number + 1, min(number + _AHEAD, 65536)):
            socket = session.push_socket(hwm=queue)
            try:
                socket.bind(port)
            except BridgeError:
                socket.close()
            else:
                session.numbers.closing(port)
                return port, socket
        return None

    def keep(self, port: int) -> None:
        """The number of `push_ahead` is the one that Java has chosen."""
        self._session.numbers.taken(port)


def channels_of(obj: JavaObject) -> Channels:
    """Give the streams of the bridge that an object came over."""
    return Channels(line_of(obj).session)


def channels_on(bridge: Bridge) -> Channels:
    """Give the streams of an open bridge."""
    return Channels(bridge._open())  # noqa: SLF001
