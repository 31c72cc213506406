"""One port of the server, the objects that live there, and their release."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import get_running_loop
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal

from aiomm.bridge import reflection, wire
from aiomm.bridge.handle import Handle
from aiomm.errors import AiommError, BridgeError, BridgeTimeoutError, ClosedError, JavaException, ProtocolError, ServerLostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import zmq

    from aiomm.bridge.port import Port
    from aiomm.bridge.reflection import Plan
    from aiomm.bridge.request import Request
    from aiomm.bridge.session import Session

__all__ = ["Line", "Quiet", "part_of_a_call"]

log = logging.getLogger("aiomm.bridge")

_HALF_MADE: Final = 100  # calls that may meet a port which is just being made: that takes Java well below a millisecond
_NULL: Final = "java.lang.NullPointerException"


_part: ContextVar[bool] = ContextVar("aiomm_part_of_a_call", default=False)


@contextlib.contextmanager
def part_of_a_call() -> Iterator[None]:
    """What is asked within is a step of a method call, and may take as long as one."""
    token = _part.set(True)
    try:
        yield
    finally:
        _part.reset(token)


class Quiet(asyncio.Task[None]):
    """A task that says nothing when its loop ends before it.

    A loop that ends cancels its tasks once, and their proxies are dropped by that: nobody misses this one if it is too late.
    """

    def __del__(self) -> None:
        if self.done():
            super().__del__()  # tells of an error that nobody has seen


class Line:
    """A port and what lives there.

    Every object that the server sends is kept by it until it gets a destructor. `drop` may be called anywhere, by
    ``__del__`` too: it notes the object and wakes the loop; the destructors are sent by a task, in the order of the
    drops and in turn with calls. A port made by ``new_socket`` is closed by the server after its last destructor.

    Attributes
    ----------
    live : set of str
        Hash codes of the objects that the server keeps here for us.
    kept : set of str
        Those of them that no proxy is of: they are of use as long as another lives here, and go after the last.
    ended : bool
        The server has closed this port, or is about to.
    calls : int
        Requests that are under way or waiting.
    opening : asyncio.Task or None
        What connects it, of one that others may see before that is done.
    """

    def __init__(self, session: Session, number: int, *, main: bool) -> None:
        self.session = session
        self.number = number
        self.port: Port = session.port(number, self.lost, main=main)
        self.main = main
        self.live: set[str] = set()
        self.kept: set[str] = set()
        self.ended = False
        self.calls = 0
        self.opening: asyncio.Task[None] | None = None
        self._loop = session.loop
        self._dropped: deque[str] = deque()
        self._doubtful: set[str] = set()  # of `live`: their destructors may have left, and nobody waited for the replies
        self._waking = False
        self._stopped = False
        self._releasing: asyncio.Task[None] | None = None
        self._waiters: dict[str, asyncio.Future[None]] = {}

    # ---- calling ------------------------------------------------------------------------------------------------

    async def call(
        self,
        message: Mapping[str, Any],
        timeout: float | None,
        what: str,
        *,
        order: Literal["big", "native"] = "big",
        keep: bool = False,
        control: bool = False,
    ) -> Any:
        """Send a request and give what came back; an object as `wire.Shadow`.

        Parameters
        ----------
        message : mapping
            One of `wire`'s requests.
        timeout : float or None
            In seconds, with the wait for its turn; of a control message, from when Java has ended the calls before it.
        what : str
            What it is, for errors.
        order : {"big", "native"}
            Byte order of arrays in the message.
        keep : bool
            Leave an object in Java for ever if its reply comes when nobody waits for it any more.
        control : bool
            Java answers at once, when it is free.
        """
        return await self.exchange(wire.encode(message, order=order), timeout, what, keep=keep, control=control)

    async def exchange(
        self, frames: Request, timeout: float | None, what: str, *, keep: bool = False, control: bool = False, reads: bool = False
    ) -> Any:
        """Send a request that is written already; otherwise like `call`. One that only ``reads`` may go out behind another such."""
        session = self.session
        if session.error is not None or get_running_loop() is not self._loop:
            session.check()
        if session.debug:
            log.debug("to port %d: %s", self.number, wire.summarise(frames))
        late = None if keep or reads else self._late
        patience = None
        if control and timeout is not None:
            patience, calls = timeout, session.call_timeout
            timeout = None if calls is None else calls + patience
        self.calls += 1
        try:
            tried = 0
            while True:
                reply = await self.port.request(frames, what=what, late=late, reads=reads, timeout=timeout, patience=patience)
                if session.debug:
                    log.debug("from port %d: %s", self.number, wire.summarise(reply))
                try:
                    return wire.parse_reply(reply)
                except JavaException as error:
                    tried += 1
                    if tried == _HALF_MADE or not _half_made(error):
                        raise
        except ProtocolError as error:
            self.port.broken(error)
            raise
        finally:
            self.calls -= 1

    async def ask(self, message: Mapping[str, Any], what: str, *, order: Literal["big", "native"] = "big") -> Any:
        """Send a control message.

        The control timeout counts from when Java has ended what we asked it for before: calls may take long, those that were given
        up too. Where calls have a timeout, the wait for them has it as well.
        """
        if _part.get():
            return await self.call(message, self.session.call_timeout, what, order=order)
        return await self.call(message, self.session.timeout, what, order=order, control=True)

    async def follow(self, plan: Plan, timeout: float | None, what: str) -> Any:
        """Send the messages of a plan, one after the other, and give its result.

        What was made on the way is released, but for the result, or what a tuple as result has of it.
        """
        made: list[wire.Shadow] = []
        result = None
        try:
            message = next(plan)
            while True:
                try:
                    value = await self.call(message, timeout, what)
                except JavaException as error:
                    message = plan.throw(error)
                    continue
                if type(value) is wire.Shadow:
                    self.live.add(value.hash_code)
                    made.append(value)
                message = plan.send(value)
        except StopIteration as end:
            result = end.value
            return result
        finally:
            plan.close()
            kept = {one.hash_code for one in result if isinstance(one, Handle)} if isinstance(result, tuple) else ()
            for shadow in made:
                if shadow is not result and shadow.hash_code not in kept:
                    self.drop(shadow.hash_code)

    def _late(self, reply: Sequence[zmq.Frame]) -> list[Any] | None:
        """Deal with a reply that nobody waits for any more: an object in it is released."""
        try:
            value = wire.parse_reply(reply)
        except (AiommError, ValueError):
            return None  # Java threw, or it cannot be read: there is nothing to release
        if not isinstance(value, wire.Shadow):
            return None
        if value.port != self.number:
            self.session.abandon(value)
            return None
        return wire.encode(wire.destructor(value.hash_code))

    # ---- releasing ----------------------------------------------------------------------------------------------

    def drop(self, hash_code: str) -> None:
        """Release an object when its turn comes. From any thread and at any moment; does no I/O."""
        self._dropped.append(hash_code)
        if not self._waking:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to send it
                self._loop.call_soon_threadsafe(self._wake)

    async def release(self, hash_code: str) -> None:
        """Release an object, and wait until the server has done so, at most the control timeout: it will when it is free.

        A cancellation ends the waiting alone.
        """
        if hash_code not in self.live:
            return
        waiter = self._waiters.get(hash_code)
        if waiter is None:
            waiter = self._waiters[hash_code] = self._loop.create_future()
            self.drop(hash_code)
        await asyncio.wait([waiter], timeout=self.session.timeout)

    def _wake(self) -> None:
        self._waking = False  # before the task looks, so that nothing slips between
        if self._releasing is None and self._dropped and self.session.error is None and not self._stopped:
            self._releasing = Quiet(self._release(), loop=self._loop, name=f"aiomm-bridge-release-{self.number}")

    async def _release(self) -> None:
        try:
            while self._dropped:
                with contextlib.suppress(BridgeTimeoutError):  # it was sent; whether its reply was lost matters no more
                    await self.destroy(self._dropped.popleft(), None)
        except (BridgeError, ClosedError):
            pass  # the server is gone, and its objects with it; or the bridge closes, which releases them itself
        except asyncio.CancelledError:
            self._stopped = True  # by a bridge that closes, or a loop that ends: there is to be no other task after this
            raise
        finally:
            self._releasing = None

    async def destroy(self, hash_code: str, timeout: float | None) -> None:
        """Send the destructor of an object now, and wait for its reply up to `timeout` (s)."""
        if hash_code not in self.live:
            self._told(hash_code)
            return
        # The server closes a port of its own accord when nothing lives there: after this, nothing may be asked.
        if self._is_last():
            async with self.session.numbers.leaving():
                await self._destroy(hash_code, timeout, last=self._is_last())
        else:
            await self._destroy(hash_code, timeout, last=False)
        if self.kept and self.kept >= self.live and not self.main:
            for left in self.kept:
                self.drop(left)
            self.kept.clear()

    def _is_last(self) -> bool:
        """Whether nothing will be asked here after one more release."""
        return not self.main and len(self.live) == 1 and not self.calls and not self.port.stats.set_aside

    async def _destroy(self, hash_code: str, timeout: float | None, *, last: bool) -> None:
        self.live.discard(hash_code)
        self._doubtful.discard(hash_code)
        self.ended = last
        if last:
            self.session.numbers.closing(self.number)
        told = True
        try:
            message = wire.destructor(hash_code)
            patience = self.session.timeout if timeout is None else None
            if self.session.debug:
                log.debug("to port %d: %s", self.number, wire.summarise(message))
            await self.port.request(wire.encode(message), what="releasing an object", last=last, timeout=timeout, patience=patience)
        except ServerLostError:
            if not last:  # the server may close the port before its reply has left
                raise
        except (asyncio.CancelledError, ClosedError):
            # It may not have left; the server does not mind a second one.
            self.live.add(hash_code)
            self._doubtful.add(hash_code)
            told = self.ended = False
            raise
        finally:
            if told:
                self._told(hash_code)
                if last:
                    self.session.forget(self, told=True)
        if last:
            await self.port.aclose(0)

    def _told(self, hash_code: str) -> None:
        waiter = self._waiters.pop(hash_code, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ---- ending -------------------------------------------------------------------------------------------------

    def lost(self, port: Port, error: BridgeError) -> None:
        """The connection broke: the end of the server, or of this port alone when nothing lives here any more."""
        if port is not self.port:
            return
        if self.main or self.live - self._doubtful:
            self.session.lose(error)
        self.ended = True
        self.session.forget(self)
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def aclose(self, *, release: bool) -> None:
        """Close the port; release what lives here first, as long as the server answers within the control timeout."""
        timeout = self.session.timeout
        self._stopped = True
        if self.opening is not None:
            await asyncio.wait([self.opening])  # what lives there can be released only then
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.wait([self._releasing])
        try:
            if release and not self.ended:
                if busy := bool(self.calls or self.port.stats.set_aside):
                    # Calls that wait are not to run any more, and an object that comes late is released.
                    started = self._loop.time()
                    await self.port.aclose(timeout)
                    if self._loop.time() - started >= timeout:
                        return  # the server is busy with a call
                    await asyncio.sleep(0)  # who has an object in the last reply takes it now
                if self.live:
                    if busy:
                        self.port = self.session.port(self.number, self.lost, main=self.main)
                        await self.session.connect(self.port, again=False)  # the server listened there all the time
                    # What Java may have forgotten first: as long as another lives here, it keeps the port.
                    for hash_code in sorted(self.live, key=lambda one: one not in self._doubtful):
                        await self.destroy(hash_code, timeout)
        except (BridgeError, ClosedError) as error:
            if stay := self.live - self._doubtful:  # a port that is gone has none of those whose destructors had left
                log.debug("port %d: %d objects stay on the server: %s", self.number, len(stay), error)
        finally:
            await self.port.aclose(0)
            for hash_code in list(self._waiters):
                self._told(hash_code)


def _half_made(error: JavaException) -> bool:
    """Whether the server has run nothing, because it looked for an argument at a port that another thread was just making."""
    where = error.java_stack.partition("(")[0].strip()
    return error.java_class == _NULL and where.endswith("ZMQServer.getObjectKnownToServer") and reflection.not_run(error)
