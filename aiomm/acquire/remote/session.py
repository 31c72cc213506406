"""One acquisition of Micro-Manager's engine, spoken with and ended; `opening` has made it. No logic of events."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiomm.acquire.mailbox import outlast
from aiomm.acquire.remote.ending import end_unstarted, ended_by_java, expose_no_more, force_end, quietly, start_if_not, unwrapped
from aiomm.acquire.remote.events import write_events
from aiomm.acquire.remote.opening import END, Ahead, Made, Opening, Wanted, handled
from aiomm.bridge import wire
from aiomm.errors import AcquisitionAborted, AiommError, BridgeError, BridgeTimeoutError, ClosedError, JavaException, ServerLostError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.acquire.remote.gate import Gate
    from aiomm.acquire.remote.pipes import HookPipe, ImagePipe, Notices
    from aiomm.bridge import Bridge, JavaObject

__all__ = ["JavaSession", "Wanted"]

log = logging.getLogger("aiomm")

_IN_THREAD: Final = 1000  # events of which more are written in a thread
_FIRST_EVENTS: Final = 5.0  # s that Java may take to connect for events; it tries each tenth of a second


class JavaSession:
    """One acquisition of Micro-Manager's engine; made by `open`.

    Attributes
    ----------
    acquisition : JavaObject
        Java's acquisition.
    path : Path or None
        Folder of the dataset; None in Java's memory.
    summary : dict
        Java's summary metadata.
    notices : Notices
        What Java's engine tells by itself: an async iterator. It ends after the last two; ServerLostError when the server is gone.
    hooks : dict of HookPipe
        By name.
    viewer : JavaObject or None
        Java's viewer of this acquisition, if there is one.
    gates : dict of Gate
        Of those hooks that an acquisition of Micro-Manager's own making runs; of one of ours, see `Wanted`.
    images : ImagePipe or None
        Images from Java and back.
    lost : BridgeError or None
        Why nothing more can be had of Java.
    gone : asyncio.Future
        Gets that error as soon as the server is gone; None if the session was closed before.
    """

    acquisition: JavaObject
    notices: Notices
    path: Path | None
    summary: dict[str, Any]
    hooks: dict[str, HookPipe]
    viewer: JavaObject | None
    gates: dict[str, Gate]
    images: ImagePipe | None

    def __init__(self, bridge: Bridge, made: Made, *, last: bool) -> None:
        self._bridge = bridge
        self._last = last
        self._made = made
        self._ahead: Ahead
        self._loop = asyncio.get_running_loop()
        self.lost: BridgeError | None = None
        self.gone: asyncio.Future[BridgeError | None] = self._loop.create_future()
        self._started = self._connected = False  # events were sent; Java has connected for them
        self._end_said = False
        self._aborting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    # ---- opening ------------------------------------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
        bridge: Bridge,
        wanted: Wanted,
        *,
        existing: JavaObject | None = None,
        core: JavaObject | None = None,
        ahead: Ahead | None = None,
        last: bool = False,
    ) -> JavaSession:
        """Make an acquisition in Java and connect to it; a failure or cancellation half-way ends and releases all that was made.

        Parameters
        ----------
        bridge
            To the running Micro-Manager.
        wanted
            What to make.
        existing
            An acquisition that Micro-Manager has made: it gets our hooks and is listened to, and takes its events from elsewhere.
        core
            Java's core, of this bridge, where it is at hand.
        ahead
            Ports that are opened already; closed with the session.
        last
            The bridge is closed with it, and releases what was made.

        Raises
        ------
        BridgeError
            Java throws, does not answer, or is gone; or a port cannot be used.
        UnsupportedError
            Java cannot make this.
        """
        made = Made(ours=existing is None)
        self = cls(bridge, made, last=last)
        self._ahead = ahead or Ahead(bridge, existing=existing is not None)
        opening = Opening(bridge, wanted, made, self._ahead, lost=self._lose_server)
        building = self._loop.create_task(opening.run(existing, core), name="aiomm: open an acquisition of Micro-Manager")
        try:
            # Not cancelled in the middle of a call that makes something: what nobody heard of could not be ended.
            await asyncio.wait([building])
            building.result()
        except BaseException:
            self._closing = self._loop.create_task(self._undo(building), name="aiomm: end an acquisition of Micro-Manager")
            await self._outlast(self._closing)
            raise
        assert made.acquisition is not None and made.notices is not None
        self.acquisition, self.notices, self.hooks, self.images = made.acquisition, made.notices, made.hooks, made.images
        self.path, self.summary, self.viewer, self.gates = made.path, made.summary, made.viewer, made.gates
        return self

    async def _undo(self, building: asyncio.Task[None]) -> None:
        if not building.done():
            await asyncio.wait([building], timeout=self._made.timeout)
            building.cancel()
            await asyncio.wait([building])
        if not building.cancelled():
            building.exception()
        await self._close()

    # ---- events -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start an acquisition that Micro-Manager has made; one of ours starts with its first events."""
        self._started = True
        await start_if_not(self.acquisition)

    async def send(self, events: list[dict[str, Any]]) -> None:
        """Send one message of events; those that Java can merge become hardware sequences.

        Raises
        ------
        ServerLostError
            The server is gone.
        JavaException, AcquisitionAborted
            Java has ended the acquisition.
        ClosedError
            The end was said, or the session is closed.
        """
        frames = write_events(events) if len(events) <= _IN_THREAD else await asyncio.to_thread(write_events, events)
        if self._end_said or self._closing is not None:
            raise ClosedError("no events can be sent after the end of the acquisition")
        self._started = True
        await self._push(frames)

    async def send_end(self) -> None:
        """Say that no more events come; once."""
        if not self._end_said and self._made.events is not None:
            self._end_said = True
            try:
                await self._push(wire.encode(END))
            except ServerLostError:
                raise
            except (AcquisitionAborted, BridgeError) as error:  # it has ended already, or hears us no more, or never did
                log.debug("Micro-Manager does not hear that an acquisition ends, and is made to end it: %s", error)
                if self._made.acquisition is not None:
                    await quietly(force_end(self._made.acquisition))
            finally:
                # Java may give the port's number to something else as soon as it has this.
                self._made.events.close(linger=self._made.timeout)

    async def _push(self, frames: list[bytes | memoryview]) -> None:
        events = self._made.events
        if events is None:
            raise ClosedError("this acquisition takes its events from Micro-Manager itself")
        self._check_lost()
        try:
            await events.send(frames, timeout=None if self._connected else _FIRST_EVENTS)
        except BridgeTimeoutError:
            raise BridgeTimeoutError(
                f"Micro-Manager did not connect to port {self._made.event_port} for events within {_FIRST_EVENTS:g} s: it looks for it on "
                "its own computer, 127.0.0.1; where a tunnel leads there, it has to bring that port back too"
            ) from None
        except ServerLostError:
            self._check_lost()
            await self._say_why()
        else:
            self._connected = True

    async def _say_why(self) -> None:
        """Java has closed its side of the events: because of an error in its engine, of an abort there, or of its death."""
        error = await self.check()
        self._check_lost()
        raise error or ended_by_java(None)

    async def abort(self) -> None:
        """End it now: Java exposes nothing more, hooks that wait get their answer, and the last two notices will come.

        Images that Java has taken come still; whoever takes them goes on until there are no more.
        """
        aborting = self._abort_begun()
        await self._outlast(aborting)
        aborting.result()

    def _abort_begun(self) -> asyncio.Task[None]:
        """Abort in a task: one that was cancelled half-way would leave Java's engine with an acquisition that never ends."""
        if self._aborting is None:
            self._aborting = self._loop.create_task(self._abort(), name="aiomm: abort an acquisition of Micro-Manager")
        return self._aborting

    async def _abort(self) -> None:
        if self.lost is not None:
            return
        try:
            async with asyncio.timeout(self._made.timeout):
                acquisition = self._made.acquisition
                assert acquisition is not None
                if not self._made.ours:
                    await self._abort_existing(acquisition)
                elif self._started:  # else the end alone does it, and lets Java's storage end as it should
                    await expose_no_more(acquisition)
                    await self._let_hooks_go()
                    await start_if_not(acquisition)  # of what was sent, it may have heard nothing
                    await acquisition.call("finish")
        except ServerLostError as error:
            self._lose(error)
        except (AiommError, TimeoutError) as error:
            log.warning("Micro-Manager has not taken the abort of an acquisition: %s", str(error) or "it takes too long")
        finally:
            await self._let_hooks_go()
        try:
            await self.send_end()
        except ServerLostError as error:
            self._lose(error)

    async def _abort_existing(self, acquisition: JavaObject) -> None:
        aborting = self._loop.create_task(acquisition.call("abort"), name="aiomm: abort in Java")
        try:
            await asyncio.sleep(0)  # it is sent before the hooks are let go
            await self._let_hooks_go()
            await asyncio.wait([aborting])
        finally:
            aborting.cancel()
            await self._outlast(aborting)

    async def _let_hooks_go(self) -> None:
        if self._made.ours:
            for gate in self._made.gates.values():  # first: what it holds is the event before
                await quietly(gate.shut())
        for pipe in self._made.hooks.values():
            await quietly(pipe.let_go())

    async def see_that_it_runs(self, seconds: float) -> None:
        """Take Micro-Manager for gone if its process does not even greet within ``seconds``."""
        if self._made.channels is not None and self.lost is None:
            try:
                await self._made.channels.see_that_it_runs(seconds)
            except ServerLostError as error:
                self._lose(error)

    async def check(self) -> JavaException | None:
        """Give the exception that ended it in Java, if one did.

        Raises
        ------
        ServerLostError
            The server is gone.
        """
        try:
            await self.acquisition.call("checkForExceptions")
        except JavaException as error:
            return unwrapped(error)
        except ServerLostError as error:
            self._lose(error)
            raise
        return None

    def give_up(self, error: BridgeError) -> None:
        """Nothing more can be had of Java's engine: every wait for it ends with this."""
        self._lose(error)

    # ---- a lost server ------------------------------------------------------------------------------------------

    def _check_lost(self) -> None:
        if self.lost is not None:
            raise type(self.lost)(*self.lost.args)

    def _lose_server(self) -> None:
        """Java does not listen for notices any more, though it does so to the end."""
        notices = self._made.notices
        if self._closing is None and not (notices is not None and notices.complete):
            self._lose(ServerLostError("Micro-Manager is gone: it has closed the stream of this acquisition's notifications"))

    def _lose(self, error: BridgeError) -> None:
        if self.lost is None:
            self.lost = error
            if not self.gone.done():
                self.gone.set_result(error)
            for pipe in self._made.pipes():
                pipe.lose(error)
            if self._made.events is not None:
                self._made.events.give_up(str(error))

    # ---- ending -------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close everything, on both sides, from any state, within the control timeout; whoever cancels this, it is done first."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(), name="aiomm: close an acquisition of Micro-Manager")
        await self._outlast(self._closing)
        self._closing.result()

    async def _outlast(self, task: asyncio.Task[Any]) -> None:
        """Wait for a task, then give way to a cancellation."""
        cancelled = await outlast(task)
        if not task.cancelled():
            task.exception()
        if cancelled is not None:
            raise cancelled

    async def _close(self) -> None:
        try:
            if self._made.acquisition is not None and self.lost is None and not self._bridge.closed:
                async with asyncio.timeout(self._made.timeout):
                    await self._finish(self._made.acquisition)
        except (AiommError, TimeoutError) as error:
            if self.lost is None and not isinstance(error, ServerLostError | ClosedError):
                log.warning("Micro-Manager has not ended an acquisition that was closed: %s", str(error) or "it takes too long")
        finally:
            await self._release()
            if not self.gone.done():
                self.gone.set_result(None)

    async def _finish(self, acquisition: JavaObject) -> None:
        """Have Java end the acquisition, if it has not."""
        made = self._made
        if made.notices is not None and made.notices.complete:
            await made.notices.inbox.settled()
            return
        if not made.ours or made.events is not None:
            aborting = self._abort_begun()  # before hooks and images are let go: what waits for them would be exposed
            await asyncio.wait([aborting])
            aborting.result()
        await self._let_hooks_go()
        if made.images is not None:
            await quietly(made.images.let_go())
        if made.ours and made.events is None:
            await force_end(acquisition)
        elif not made.ours and not self._started:
            await end_unstarted(acquisition)
        if made.notices is not None:
            made.notices.inbox.drop()
            await made.notices.inbox.settled()
            return
        for pipe in made.pipes():  # Java says the end to each
            await pipe.inbox.settled()
        if made.handler is not None:
            await handled(made.handler)

    async def _release(self) -> None:
        made = self._made
        if self._aborting is not None:
            self._aborting.cancel()
            await self._outlast(self._aborting)
        await self._ahead.aclose()
        if made.ahead is not None:
            made.ahead[1].close(linger=made.timeout)
        if made.events is not None:
            made.events.close()
        if made.notices is not None:
            await made.notices.inbox.aclose()
        for pipe in made.pipes():
            await pipe.aclose()
        if made.channels is not None:
            for port in made.ports:
                made.channels.left(port)
        if self.lost is None and made.generation is not None:  # Java may have closed it; again does no harm
            await quietly(made.generation.call("close"))
        if not self._last:
            owned, made.owned = made.owned, []
            if self.lost is None:
                await asyncio.gather(*(quietly(obj.aclose()) for obj in reversed(owned)))
