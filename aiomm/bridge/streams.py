"""Streams of messages on asyncio: one way, bounded, and with a notice when the peer is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import zmq

from aiomm.bridge.watch import Link, LinkError, connected
from aiomm.errors import BridgeError, BridgeTimeoutError, ClosedError, ServerLostError, ServerNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

__all__ = ["PullSocket", "PushSocket"]

_LEAVES = 1.0  # s that a port may take until it can be listened at again
_AGAIN = 0.002  # s between two attempts to do so


class _Stream:
    """What both directions share: one link, one task that waits for it, and the end."""

    _kind: int

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], *, hwm: int = 1000, lost: Callable[[], None] | None = None) -> None:
        self._context = context
        self._hwm = hwm
        self._tell_lost = lost
        self._silent: Callable[[], None] | None = None
        self._link: Link | None = None
        self._where = ""
        self._closed = False
        self._lost: str | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self._closed

    def close(self, linger: float = 0.0) -> None:
        """Close; what was not sent yet gets `linger` seconds. A task that waits gets ClosedError."""
        self._closed = True
        link, self._link = self._link, None
        self._wake()
        if link is not None:
            link.close(linger=round(linger * 1000))

    def give_up(self, seen: str) -> None:
        """The peer is known to be gone, or will never come: whoever waits here hears of it as of a broken connection."""
        if self._lost is None:
            self._lost = seen
            self._wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _make(self) -> Link:
        return Link(self._context, self._kind, hwm=self._hwm, readable=self._noticed, lost=self._lose, silent=self._silent)

    def _lose(self, seen: str) -> None:
        self._lost = seen
        self._wake()
        if self._tell_lost is not None and not self._closed:
            self._tell_lost()

    def _noticed(self) -> None:
        if self._link is not None:
            _ = self._link.events
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _open_link(self) -> Link:
        if self._link is None:
            raise ClosedError(f"the stream {self._where} is closed" if self._closed else "the stream is not open")
        return self._link

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError(f"another task waits on the stream {self._where} already; one task at a time")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _gone(self) -> ServerLostError:
        return ServerLostError(f"the stream {self._where} of the Micro-Manager server broke: {self._lost}")


class PullSocket(_Stream):
    """Receives what the server pushes; ``async for frames in pull``.

    The iteration ends when this side closes it, and raises ServerLostError when the server is gone, after all that it sent
    was taken.

    Parameters
    ----------
    context
        Makes the socket.
    hwm
        How many messages wait here at most; then the server has to wait.
    lost
        Called on the loop as soon as the server is gone, also while nobody receives.
    """

    _kind = zmq.PULL
    gather = 0.0
    """Seconds that messages may wait for others once one has come: while they come closely, to be woken costs more than to take them."""

    async def connect(self, host: str, port: int, *, timeout: float = 0.5) -> None:
        """Connect, within `timeout` seconds.

        Raises
        ------
        ServerNotFoundError
            Not connected in time.
        """
        self._where = f"from {host}:{port}"
        try:
            link = await connected(self._make, host, port, asyncio.get_running_loop().time() + timeout)
        except LinkError as error:
            raise ServerNotFoundError(f"no stream {self._where}: {error}") from None
        if self._closed:
            link.close()
            raise ClosedError(f"the stream {self._where} was closed while it connected")
        self._link = link

    async def recv(self) -> list[zmq.Frame]:
        """Return the frames of the next message. A cancelled call takes none.

        Raises
        ------
        ServerLostError
            The server is gone, and all that it sent was taken.
        ClosedError
            Closed on this side.
        """
        while True:
            frames = self._received()
            if frames is not None:
                return frames
            if self._lost is not None:
                raise self._gone()
            await self._wait()
            if self.gather and self._lost is None:
                await asyncio.sleep(self.gather)

    def _received(self) -> list[zmq.Frame] | None:
        """Give the frames of the next message, or None: there is none now. Half as long as with `recv_multipart`."""
        recv = self._open_link().socket.recv
        try:
            frame = recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        frames = [frame]
        while frame.more:  # of a message all is there
            frame = recv(zmq.DONTWAIT, copy=False)
            frames.append(frame)
        return frames

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[zmq.Frame]:
        try:
            return await self.recv()
        except ClosedError:
            raise StopAsyncIteration from None


class PushSocket(_Stream):
    """Sends to a server that connects here; several tasks may, one after the other.

    The server gives a port's number again as soon as it has left it, and what had it before may still come here, and go. So who has
    come before anything was sent need not be who is meant: unless exactly one has, and is still there, all are sent away before the
    first message. Whom the server means comes again.

    Parameters
    ----------
    context
        Makes the socket.
    hwm
        How many messages wait here at most; then `send` waits.
    lost
        Called on the loop as soon as the peer that was there is gone.
    silent
        Called on the loop while a peer has connected and does not greet.
    """

    _kind = zmq.PUSH

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        hwm: int = 1000,
        lost: Callable[[], None] | None = None,
        silent: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(context, hwm=hwm, lost=lost)
        self._silent = silent
        self._turn = asyncio.Lock()
        self._address = ("", 0)
        self._sent = False
        self._crossed = False  # somebody has come and gone before anything was sent

    def bind(self, port: int, host: str = "127.0.0.1") -> None:
        """Listen on that port.

        Raises
        ------
        BridgeError
            The port is taken.
        """
        self._where, self._address = f"to {host}:{port}", (host, port)
        link = self._make()
        try:
            link.bind(host, port)
        except zmq.ZMQError as error:
            link.close()
            raise BridgeError(f"the port {port}, which the server chose for a stream from Python, cannot be used: {error}") from error
        self._link = link

    async def send(self, frames: Sequence[bytes | memoryview], *, timeout: float | None = None) -> None:
        """Hand over one message; waits for a peer, and for room. A cancelled call sends nothing.

        Raises
        ------
        BridgeTimeoutError
            No peer or no room within `timeout` seconds.
        ServerLostError
            The peer that was there is gone.
        ClosedError
            Closed on this side.
        """
        try:
            async with asyncio.timeout(timeout), self._turn:
                while not self._try(frames):
                    await (self._begin_again() if self._crossed else self._wait())
        except TimeoutError:
            raise BridgeTimeoutError(f"the stream {self._where} took nothing within {timeout:g} s") from None

    def _try(self, frames: Sequence[bytes | memoryview]) -> bool:
        link = self._open_link()
        if self._lost is not None:
            raise self._gone()
        if not self._sent and (self._crossed or link.came > 1):
            self._crossed = True
            return False
        if not link.events & zmq.POLLOUT:
            return False
        try:
            link.socket.send_multipart(frames, zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return False
        self._sent = True
        return True

    def _lose(self, seen: str) -> None:
        if self._sent:
            super()._lose(seen)
        else:
            self._crossed = True
            self._wake()

    async def _begin_again(self) -> None:
        """Send away whoever has come, and listen anew."""
        host, port = self._address
        self._open_link().close()
        until = asyncio.get_running_loop().time() + _LEAVES
        while not self._closed and self._lost is None:
            try:
                self.bind(port, host)
            except BridgeError:  # ZeroMQ leaves it in a thread of its own
                if asyncio.get_running_loop().time() >= until:
                    raise
            else:
                self._crossed = False
                return
            await asyncio.sleep(_AGAIN)
