"""Tell the event loop when a ZeroMQ socket has something to do, and when its peer comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, Final

import anyio
import zmq

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Link", "LinkError", "address", "connected", "watch"]

_REACHED: Final = zmq.Event.CONNECTED
_UP: Final = zmq.Event.HANDSHAKE_SUCCEEDED
_FAILED: Final = zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH
_DOWN: Final = zmq.Event.DISCONNECTED | zmq.Event.CLOSED
_EVENT: Final = struct.Struct("=H")
_RETRY_FIRST: Final = 0.002  # s; the server answers that it opened a port before it has bound it
_RETRY_LONGEST: Final = 0.05
_NO_HANDSHAKE: Final = "what listens there does not shake hands as ZeroMQ does"
_UNREACHED: Final = "no answer from that address in time: there may be no such name, or no way there"
_NEVER_MS: Final = 10**9
_CAME: Final = zmq.Event.ACCEPTED
_GREETS: Final = 0.1  # s that a peer which has connected may take to greet
_LARGEST_FRAME: Final = 2**31 + 2**20  # a Java array has fewer bytes; what claims more is damaged


class LinkError(Exception):
    """No connection; the message says what was seen."""


def address(host: str, port: int) -> str:
    """Return the ZeroMQ address of a TCP port; IPv6 hosts get their brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def watch(fd: int, callback: Callable[[], None]) -> Callable[[], None]:
    """Call `callback` on the running loop whenever `fd` is readable; return what ends that.

    Loops without ``add_reader`` (Windows' default one) get a task that waits in anyio's selector thread.
    """
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(fd, callback)
    except NotImplementedError:
        stopped = asyncio.Event()
        task = loop.create_task(_wait_again(fd, callback, stopped), name="aiomm-bridge-watch")

        def stop() -> None:
            stopped.set()
            if not loop.is_closed():
                task.cancel()
    else:

        def stop() -> None:
            if not loop.is_closed():
                loop.remove_reader(fd)

    return stop


async def _wait_again(fd: int, callback: Callable[[], None], stopped: asyncio.Event) -> None:
    while not stopped.is_set():  # `callback` may have closed it
        await anyio.wait_readable(fd)
        callback()


class Link:
    """One ZeroMQ socket on the running loop, which never connects again by itself.

    A socket that reconnects would hand what was queued for a dead server to the next one on that port. So a connection
    that breaks ends the socket, and nothing is queued for a peer that is not there.

    Parameters
    ----------
    context
        The context of the socket.
    kind
        The type of the socket.
    hwm
        How many messages it may hold each way; 0 is no limit.
    readable
        Called, once connected, when messages may have come or may be sent; must read `events` or receive until there is nothing.
    lost
        Called when the last peer that had shaken hands is gone, with what was seen.
    silent
        Called when a peer has connected to this socket and does not greet, again and again, more and more seldom, while it does not.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        kind: int,
        *,
        hwm: int = 0,
        readable: Callable[[], None],
        lost: Callable[[str], None],
        silent: Callable[[], None] | None = None,
    ) -> None:
        self.socket = context.socket(kind)
        self._silent = silent
        self._greets: asyncio.TimerHandle | None = None
        pulls = kind == zmq.PULL  # told not to reconnect, or to drop a broken connection, it drops what nobody has received of it yet
        self._readable, self._lost = readable, lost
        self._reached = False
        self._peers = 0
        self._strangers = 0  # connections that are about to be told as gone, and had not shaken hands
        self.came = 0
        """How many peers have shaken hands, ever."""
        self._opened: asyncio.Future[None] | None = None
        self._stops: list[Callable[[], None]] = []
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            for option, value in (
                (zmq.LINGER, 0),
                (zmq.IMMEDIATE, int(not pulls)),
                (zmq.RECONNECT_IVL, _NEVER_MS if pulls else -1),
                (zmq.SNDHWM, hwm),
                (zmq.RCVHWM, hwm),
                (zmq.MAXMSGSIZE, _LARGEST_FRAME),
                (zmq.TCP_KEEPALIVE, 1),  # finds a machine that vanished; a JVM that pauses answers still
                (zmq.TCP_KEEPALIVE_IDLE, 15),
                (zmq.TCP_KEEPALIVE_INTVL, 5),
                (zmq.TCP_KEEPALIVE_CNT, 3),
            ):
                self.socket.setsockopt(option, value)
            self._monitor = self.socket.get_monitor_socket(_REACHED | _CAME | _UP | _FAILED | _DOWN)
            self._monitor.setsockopt(zmq.LINGER, 0)
            self._stops.append(watch(_integer(self._monitor, zmq.FD), self._watch_peers))
            self._watch_peers()  # a socket gives notice only after it was found empty
        except BaseException:
            self.close()
            raise

    @property
    def events(self) -> int:
        """What can be done now: ``zmq.POLLIN``, ``zmq.POLLOUT``; re-arms the notice."""
        return _integer(self.socket, zmq.EVENTS)

    async def connect(self, host: str, port: int, deadline: float) -> None:
        """Connect and shake hands until `deadline` on the loop's clock.

        Raises
        ------
        LinkError
            Not connected; the text says what was seen.
        """
        if ":" in host:
            self.socket.setsockopt(zmq.IPV6, 1)
        loop = asyncio.get_running_loop()
        self._opened = loop.create_future()
        timer = loop.call_at(deadline, self._out_of_time)
        try:
            self.socket.connect(address(host, port))
            await self._opened
            self._start()
        except zmq.ZMQError as error:
            raise LinkError(str(error)) from error
        finally:
            timer.cancel()
            self._opened = None

    def bind(self, host: str, port: int) -> None:
        """Listen there."""
        self.socket.bind(address(host, port))
        self._start()

    def close(self, *, linger: int = 0) -> None:
        """Close at once; what is not sent yet gets `linger` ms in ZeroMQ's own thread."""
        self._greeted()
        for stop in self._stops:
            stop()
        self._stops.clear()
        if self._monitor is not None:
            monitor, self._monitor = self._monitor, None
            with contextlib.suppress(zmq.ZMQError):
                self.socket.disable_monitor()
            monitor.close(0)
        if not self.socket.closed:
            self.socket.close(linger)

    def _start(self) -> None:
        self._stops.append(watch(_integer(self.socket, zmq.FD), self._readable))
        _ = self.events  # takes the peer that came just now: it can be written to

    def _watch_peers(self) -> None:
        while self._monitor is not None:
            try:
                frame, _ = self._monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            (event,) = _EVENT.unpack_from(frame)
            if event == _REACHED:
                self._reached = True
            elif event == _CAME:
                self._await_greeting()
            elif event == _UP:
                self._greeted()
                self._peers += 1
                self.came += 1
                self._settle(None)
            elif event & _FAILED:
                self._strangers += 1
            else:
                self._greeted()
                self._settle(LinkError("connection refused" if event == zmq.Event.CLOSED else _NO_HANDSHAKE))
                if event == zmq.Event.DISCONNECTED and self._strangers:  # somebody looked who listens here
                    self._strangers -= 1
                elif event == zmq.Event.DISCONNECTED and self._peers:
                    self._peers -= 1
                    if not self._peers:
                        self._lost("the other side closed it")

    def _await_greeting(self, patience: float = _GREETS) -> None:
        self._greeted()
        if self._silent is not None:
            self._greets = asyncio.get_running_loop().call_later(patience, self._still_silent, self._silent, patience)

    def _still_silent(self, tell: Callable[[], None], patience: float) -> None:
        tell()
        self._await_greeting(2 * patience)

    def _greeted(self) -> None:
        if self._greets is not None:
            self._greets.cancel()
            self._greets = None

    def _out_of_time(self) -> None:
        self._watch_peers()  # a loop that was held up for so long has not looked yet: what came meanwhile came in time
        self._settle(LinkError(_NO_HANDSHAKE if self._reached else _UNREACHED))

    def _settle(self, problem: LinkError | None) -> None:
        if self._opened is not None and not self._opened.done():
            if problem is None:
                self._opened.set_result(None)
            else:
                self._opened.set_exception(problem)


async def connected(make: Callable[[], Link], host: str, port: int, deadline: float, *, again: bool = True) -> Link:
    """Return a link that has shaken hands with `host`:`port`; tries again, quickly, until `deadline` on the loop's clock, or not `again`.

    Raises
    ------
    LinkError
        No handshake until then; the text says what was seen last.
    """
    loop = asyncio.get_running_loop()
    pause = _RETRY_FIRST
    seen: LinkError | None = None
    while True:
        link = make()
        try:
            await link.connect(host, port, deadline)
        except LinkError as error:
            link.close()
            if seen is None or str(error) != _UNREACHED:  # the last attempt may have had no time to see anything
                seen = error
            if not again or loop.time() + pause >= deadline:
                raise seen from None
        except BaseException:
            link.close()
            raise
        else:
            return link
        await asyncio.sleep(pause)
        pause = min(2 * pause, _RETRY_LONGEST)


def _integer(socket: zmq.Socket[bytes], option: int) -> int:
    value = socket.getsockopt(option)
    assert isinstance(value, int)
    return value
