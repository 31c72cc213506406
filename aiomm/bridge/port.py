"""Ask one command port of a Micro-Manager server: one call at a time, in fair order, each reply to the call it belongs to."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

import zmq

from aiomm.bridge.clocks import Clocks
from aiomm.bridge.envelope import Envelopes
from aiomm.bridge.late import Late
from aiomm.bridge.probes import Probes
from aiomm.bridge.request import Call, PortStats, Reply, Request
from aiomm.bridge.watch import Link, LinkError, connected
from aiomm.errors import (
    AiommError,
    BridgeError,
    BridgeTimeoutError,
    ClosedError,
    ProtocolError,
    ServerLostError,
    ServerNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Port"]

_AT_ONCE: Final = 64  # replies read in one go, so that a flood cannot hold the loop
_ADVICE: Final = (
    "Check that Micro-Manager runs, that its server is switched on (Tools > Options > Run server on port) and that it has this port"
)
_AHEAD: Final = 2  # questions that may be sent behind another one: its answer is on the way meanwhile


class Port:
    """One command port of the server, on one loop.

    The server answers one request at a time. So requests wait here, where they can still be withdrawn, and go out
    one by one; only what reads and nothing else may go out behind another such, so that Java finds it when it is done with
    that one. Each carries a key in its ZeroMQ envelope, which the server's socket gives back with the reply: no reply
    is ever taken for another call's. When nobody waits any more for the reply of a call that was sent, the next one
    goes out as soon as that late reply, or the reply to a handshake sent after it, shows that the server is free.

    Parameters
    ----------
    context
        Makes the socket; the caller ends it.
    host, number
        Where the server listens.
    timeout
        Seconds for connecting, and again for each handshake with a server that runs no call of ours.
    on_lost
        Called once, on the loop, when the connection broke; every waiting request has its error then.
    advice
        What to look at when nothing answers there.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        host: str,
        number: int,
        *,
        timeout: float,
        on_lost: Callable[[Port, BridgeError], None],
        advice: str = _ADVICE,
    ) -> None:
        self.host = host
        self.number = number
        self.lost: BridgeError | None = None
        self._calls = self._attempts = 0
        self._context = context
        self._timeout = timeout
        self._on_lost = on_lost
        self._advice = advice
        self._link: Link | None = None
        self._closed = False
        self._waiting: OrderedDict[Call, None] = OrderedDict()
        self._current: Call | None = None
        self._ahead: deque[Call] = deque()  # sent behind the current one: all of them only read
        self._probes = Probes()
        self._doubt: BridgeError | None = None
        self._late = Late()
        self._opened = False
        self._idle = asyncio.Event()

    def __repr__(self) -> str:
        state = "lost" if self.lost else "closed" if self._closed else "open" if self._link else "new"
        return f"<Port {self.host}:{self.number} {state}>"

    @property
    def stats(self) -> PortStats:
        """How it fares."""
        abandoned = sum(call is not None and call.abandoned for call in (self._current, *self._ahead))
        return PortStats(self._calls, len(self._late) + abandoned, max(self._attempts - 1, 0))

    async def open(self, hello: Callable[[], Request], check: Callable[[Reply], None], *, again: bool = True) -> None:
        """Connect and shake hands.

        Parameters
        ----------
        hello
            Makes the ``connect`` request.
        check
            Takes its reply; raises if it is not a server's.
        again
            Whether to try again when nothing listens there, until the timeout.

        Raises
        ------
        ServerNotFoundError
            Nothing answers in time, or not as a server would.
        """
        self._loop = asyncio.get_running_loop()
        self._clocks = Clocks(self._loop, self.host, self.number, self._waiting, self._abandon, self._read)
        self._hello, self._check = hello, check
        deadline = self._loop.time() + self._timeout
        try:
            self._link = await connected(self._make, self.host, self.number, deadline, again=again)
            if self._closed:
                raise ClosedError(f"the port {self.number} was closed while it connected")
            self._envelopes = Envelopes(self._link.socket)
            try:
                reply = await self.request(hello(), timeout=self._timeout, what="connect")
            except BridgeTimeoutError:
                raise LinkError(
                    "it accepts the connection but does not answer: it may be busy with a call that has not ended, "
                    "perhaps of this program's earlier run (then give a longer timeout)"
                ) from None
            except ServerLostError:
                raise LinkError("it closed the connection instead of an answer") from None
            try:
                check(reply)
            except ProtocolError as error:
                raise self._not_found(f"what answers there is no Micro-Manager server: {error}") from error
            self._opened = True
        except LinkError as error:
            raise self._not_found(str(error)) from None
        except BaseException:
            self._shut()
            raise

    async def request(
        self,
        frames: Request,
        *,
        timeout: float | None = None,
        what: str,
        late: Callable[[Reply], Request | None] | None = None,
        last: bool = False,
        patience: float | None = None,
        reads: bool = False,
    ) -> Reply:
        """Send `frames` when it is their turn and return the frames of the reply.

        A request that is cancelled or runs out of time before its turn is never sent.

        Parameters
        ----------
        frames
            The request.
        timeout
            Seconds until a reply must be there, the wait for its turn included; None for as long as it takes.
        what
            What it does, for the text of errors.
        late
            Called on the loop with the reply of a request that nobody waits for any more; may return one more request to send,
            the reply of which is dropped.
        last
            The server closes this port after the reply, or before the reply went out: then there are no frames.
        patience
            For what Java answers at once when it is free: seconds until a reply must be there from when no request without this is
            before it, nor one that was given up and that Java may still run; ``timeout`` bounds the wait until then.
        reads
            It changes nothing, and its reply has nothing to release: it may be sent before its turn, behind another such request.

        Raises
        ------
        BridgeTimeoutError
            No reply in time.
        ServerLostError
            The connection broke.
        ProtocolError
            What came is not a reply to any request.
        ClosedError
            The port is closed.
        """
        if self._link is None or self._closed:
            raise self._gone(what)
        future: asyncio.Future[Reply] = self._loop.create_future()
        call = Call(frames, future, what, late, last, patience, reads)
        if timeout is not None:
            self._clocks.start(call, timeout)
        current = self._current
        if not self._waiting and self._doubt is None and (current is None or (reads and self._may_read_ahead(current))):
            if self._send(call) and self._envelopes.there():
                if call is self._current:
                    self._loop.call_soon(self._read)  # it may be the reply to this one: first it is others' turn
                else:
                    self._read()
        else:
            self._waiting[call] = None
            if patience is not None:
                self._clocks.go_on((self._current, *self._ahead), self._waiting)
            if current is None or current.abandoned:
                self._pump()
                self._look_again()
        try:
            return await future
        except (asyncio.CancelledError, GeneratorExit):
            if not future.done() or future.cancelled():
                self._abandon(call)
            elif future.exception() is None and late is not None:  # the reply and the cancellation came together
                self._run_late(call, future.result())
                self._look_again()
            raise
        finally:
            if call.timer is not None:
                call.timer.cancel()

    def broken(self, error: BridgeError) -> None:
        """Say that a reply could not be understood: the next request waits for a handshake that goes well."""
        if self._link is not None and self._doubt is None:
            self._doubt = error

    async def aclose(self, timeout: float) -> None:
        """Close; every waiting request raises ClosedError. A late reply with an object to release gets up to `timeout` seconds."""
        self._closed = True
        if self._link is None:
            return
        for call in [call for call in self._waiting if call.future is not None]:
            del self._waiting[call]
            call.fail(self._gone(call.what))
        current = self._current
        for sent in (current, *self._ahead):
            if sent is not None and sent.future is not None:
                sent.fail(ClosedError(f"{sent.what}: the bridge was closed before its reply came; whether it ran is not known"))
                sent.abandoned = True
        self._idle.clear()
        try:
            if current is not None and (current.late is not None or current.future is None):
                async with asyncio.timeout(timeout):
                    await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            self._shut()

    def _make(self) -> Link:
        self._attempts += 1
        return Link(self._context, zmq.DEALER, readable=self._read, lost=self._lose)

    def _not_found(self, seen: str) -> ServerNotFoundError:
        self._shut()
        return ServerNotFoundError(f"no Micro-Manager server at {self.host}:{self.number}: {seen}. {self._advice}")

    def _gone(self, what: str) -> AiommError:
        if self.lost is not None:
            return ServerLostError(f"{what}: not sent, {self.lost}")
        return ClosedError(f"{what}: the bridge is {'closed' if self._closed else 'not open'}")

    def _shut(self) -> None:
        """Close the socket and let nobody wait."""
        link, self._link = self._link, None
        for sent in (self._current, *self._ahead):
            if sent is not None:
                sent.fail(self._gone(sent.what))
        for call in self._waiting:
            call.fail(self._gone(call.what))
        self._end_probes()
        self._current = self._doubt = None
        self._ahead.clear()
        self._waiting.clear()
        self._late.forget()
        self._idle.set()
        if link is not None:
            link.close()

    def _lose(self, seen: str) -> None:
        """The peer is gone: what it had sent before that counts."""
        if self._link is None:
            return  # it shook hands and left, before anything was asked: the greeting will find that out
        self._read()
        self.give_up(seen)

    def give_up(self, seen: str) -> None:
        """Take the peer for gone: everything that waits ends."""
        if self._link is None:
            return
        current = self._current
        where = f"the connection to the Micro-Manager server at {self.host}:{self.number} broke: {seen}"
        last = current is not None and current.last
        if last or self._closed or not self._opened:
            self._closed = True
        else:
            self.lost = ServerLostError(where)
        if last and current is not None and current.future is not None and not current.future.done():
            current.future.set_result([])  # the server closes the port without waiting for its reply to go out
        else:
            for sent in (current, *self._ahead):
                if sent is not None:
                    sent.fail(ServerLostError(f"{sent.what}: {where}; whether it ran is not known"))
        if not self._opened:
            for call in self._waiting:  # the handshake, of which the server took nothing any more
                call.fail(ServerLostError(f"{call.what}: {where}"))
        self._shut()
        if self.lost is not None:
            self._on_lost(self, self.lost)

    def _send(self, call: Call) -> bool:
        """Send, behind the current one if there is one; whether that was possible."""
        if not self._put(call):
            self._waiting[call] = None
            self._waiting.move_to_end(call, last=False)
            return False
        if self._current is None:
            self._current = call
        else:
            self._ahead.append(call)
        self._clocks.have_patience(call)
        return True

    def _put(self, call: Call) -> bool:
        """Send; whether that was possible."""
        try:
            self._envelopes.put(call.key, call.frames)
        except zmq.ZMQError:
            # nothing is queued for a peer that is gone, and a half message is not sent; the monitor's notice is on its way
            self._loop.call_soon(self._lose, "the other side closed it")
            return False
        self._calls += 1
        return True

    def _pump(self) -> None:
        """Send the next waiting request, if the server is free or both only read; ask whether it is free, if that is not known."""
        waiting = self._waiting
        while waiting and self._link is not None:
            current = self._current
            if current is None and self._doubt is None:
                pass
            elif current is None or current.abandoned:
                if not self._probes.keys:
                    self._ask_if_free(self._timeout)
                return
            elif self._doubt is not None or not self._may_read_ahead(current) or not next(iter(waiting)).reads:
                return
            call, _ = waiting.popitem(last=False)
            if not self._send(call):
                return

    def _may_read_ahead(self, current: Call) -> bool:
        return current.reads and len(self._ahead) < _AHEAD and not current.abandoned

    def _ask_if_free(self, patience: float) -> None:
        """Shake hands: the reply comes after those to all that was sent before.

        It comes late when Java still runs a call that was given up. It is asked for again, more and more seldom, for the case that
        the reply was lost.
        """
        self._probes.stop_timer()
        if not self._waiting:
            return self._end_probes()
        probe = Call(self._hello(), None, "connect")
        if self._current is None:
            timer = self._loop.call_later(patience, self.give_up, "it answers no more")
        else:
            timer = self._loop.call_later(patience, self._ask_if_free, 2 * patience)
        self._probes.sent(probe.key, timer)
        self._put(probe)
        self._look_again()
        return None

    def _look_again(self) -> None:
        """Read soon if there is something; to be called after each send, which can take the notice of a message that came."""
        if self._link is not None and self._envelopes.there():
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        """Take the replies that are there."""
        envelopes = self._envelopes
        for _ in range(_AT_ONCE):
            if self._link is None:
                return
            try:
                key, frames = envelopes.take()
            except zmq.Again:
                return
            current = self._current
            if current is not None and current.key == key and frames:
                self._current = self._ahead.popleft() if self._ahead else None
                self._finish(current, frames)
            else:
                self._take_other(key, frames)
            if self._waiting:
                self._clocks.go_on((self._current, *self._ahead), self._waiting)
                self._pump()
            if self._current is None and not self._probes.keys:
                if self._closed:
                    self._idle.set()
                return
            if self._link is None or not envelopes.there():
                return
        self._loop.call_soon(self._read)

    def _finish(self, call: Call, frames: Reply) -> None:
        self._late.over([call.key])
        if self._probes.keys:
            self._end_probes()
        if call.abandoned:
            self._run_late(call, frames)
        elif call.future is not None and not call.future.done():
            call.future.set_result(frames)
        elif call.future is not None and call.future.cancelled():  # and who waits has not had the time to say so
            self._run_late(call, frames)
        if call.last:
            self._closed = True
            self._shut()

    def _take_other(self, key: bytes, frames: Reply) -> None:
        """Take what is not the reply that is waited for."""
        current = self._current
        if self._late.is_over(key):
            return  # sent twice, or no longer of interest
        if frames and key in self._probes.keys:
            self._take_probe(frames)
        elif frames and current is not None and any(key == call.key for call in self._ahead):
            while current is not None and current.key != key:
                current = self._without_reply()
            self._current = self._ahead.popleft() if self._ahead else None
            assert current is not None
            self._finish(current, frames)
        elif frames and (put_off := self._late.take(key)) is not None:
            self._run_late(put_off, frames)
        elif current is not None and not current.abandoned:
            # it may be what became of this call's reply; if that still comes, it is a late one
            seen = "a message that belongs to no request"
            current.abandoned = True
            current.fail(ProtocolError(f"{current.what}: the server at {self.host}:{self.number} sent {seen}; whether it ran is not known"))
        elif self._probes.keys:
            if self._probes.nonsense():
                return self.give_up("it answers handshakes with something else")
            self._ask_if_free(self._timeout)

    def _take_probe(self, frames: Reply) -> None:
        """The server answered a handshake: it is done with all that was sent before."""
        self._end_probes()
        self._probes.answered()
        while self._current is not None:
            self._without_reply()
        if self._doubt is not None:
            try:
                self._check(frames)
            except BridgeError as error:
                return self.give_up(f"after a reply that was not understood came another: {error}")
            self._doubt = None
        return None

    def _without_reply(self) -> Call | None:
        """The server is done with the current request, and its reply has not come; perhaps it does later. Gives the next one."""
        lost = self._current
        assert lost is not None
        lost.fail(ProtocolError(f"{lost.what}: its reply did not come, but one to a later message; whether it ran is not known"))
        self._late.put_off(lost)
        self._current = self._ahead.popleft() if self._ahead else None
        return self._current

    def _end_probes(self) -> None:
        self._late.over(self._probes.end())

    def _run_late(self, call: Call, frames: Reply) -> None:
        """Give a late reply to who wants to release what is in it, and send what they want to send for that."""
        if self._link is not None and (release := self._late.release(call, frames, self._loop)) is not None:
            self._waiting[release] = None
            self._waiting.move_to_end(release, last=False)
            self._pump()

    def _abandon(self, call: Call) -> None:
        """Nobody waits for this call any more."""
        if call in self._waiting:
            del self._waiting[call]
            if call.long and self._waiting:
                self._clocks.go_on((self._current, *self._ahead), self._waiting)
        elif call is self._current:
            call.abandoned = True
            if self._loop.is_running():  # else its task was thrown away, perhaps at the end of the interpreter: nothing is sent
                self._pump()
                self._look_again()
        elif call in self._ahead:
            call.abandoned = True
