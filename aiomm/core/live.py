"""Live view: the newest frame of a running camera, as fast as the consumer asks for one.

The camera runs a continuous sequence. A frame is copied out of the circular buffer only when the consumer asks, and
then the newest; the others are never copied, only counted. While nobody asks, nothing polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aiomm.bridge.kept_here import KeptHere
from aiomm.core.calls import take
from aiomm.core.finish import finish
from aiomm.core.thread import Routine, Signal, Wait
from aiomm.core.translate import core_error
from aiomm.core.turns import Turn, current_turn
from aiomm.errors import ClosedError, CoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from aiomm.core.local import LocalCore

T = TypeVar("T")
BUSY = "live view: the camera runs a sequence already, and goes on with it; live view can begin when it has stopped"
STEP = 0.0005  # s, between two looks for a new frame while somebody waits for one


@dataclass(slots=True, eq=False)
class LiveFrame:
    """A frame of a live view.

    Attributes
    ----------
    pixels : ndarray
        (y, x), or (y, x, 3) in the order red, green, blue.
    tags : dict
        The camera's metadata, as of `TaggedImage`.
    dropped : int
        How many frames the camera made between this one and the one given before it.
    """

    pixels: NDArray[Any]
    tags: dict[str, Any]
    dropped: int


class AnyFeed:
    """The running camera of one live view, in this process or in Java. Its `LiveView` holds it, it does not hold that."""

    def __init__(self, exposure: float | None) -> None:
        self.exposure = exposure
        self.loop = asyncio.get_running_loop()
        self.asked: deque[asyncio.Future[LiveFrame | None]] = deque()
        self.error: BaseException | None = None
        self.stop_error: BaseException | None = None
        self.stopping = False
        self.running = False
        self.missed = 0  # frames that were copied, and then nobody wanted
        self.last_count = 0
        self.last_number = -1
        self.before: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the camera stands and the turn is given back."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin as soon as it is this view's turn."""
        raise NotImplementedError

    def rouse(self) -> None:
        """Have the camera's side look who asks."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the view, from any thread."""
        raise NotImplementedError

    async def ended(self) -> None:
        """Wait until the camera stands and the turn is given back."""
        raise NotImplementedError

    async def change_while_stopped(self, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Call ``fn`` while the camera stands still."""
        raise NotImplementedError

    def ask(self) -> asyncio.Future[LiveFrame | None]:
        """Ask for the newest frame that was not given yet; None comes when there are no more."""
        future: asyncio.Future[LiveFrame | None] = self.loop.create_future()
        if self.finished:
            future.set_result(None)
        else:
            self.asked.append(future)
            self.rouse()
        return future

    def withdraw(self, asked: asyncio.Future[LiveFrame | None]) -> None:
        """No longer ask."""
        with contextlib.suppress(ValueError):
            self.asked.remove(asked)

    def give(self, future: asyncio.Future[LiveFrame | None], frame: LiveFrame | None) -> None:
        """Answer who has asked, with a frame or with None: there are no more."""
        if not future.done():
            future.set_result(frame)
        elif frame is not None:  # who asked was cancelled
            self.missed += frame.dropped + 1

    def settle(self) -> None:
        """Tell whoever waits that there are no more."""
        while self.asked:
            self.give(self.asked.popleft(), None)

    def why(self) -> BaseException:
        """Why there are no more frames."""
        return self.error or StopAsyncIteration()

    async def abort_for_close(self) -> None:
        """End the view because the core is being closed."""
        if self.error is None:
            self.error = ClosedError("the core was closed while its live view was running")
        self.stop()
        await self.ended()

    def abort(self) -> None:
        """End the view because of the core's ``halt``."""
        if self.error is None:
            self.error = CoreError("live view was ended by halt()")
        self.stop()


class Feed(AnyFeed):
    """The running camera of one live view, on the hardware thread."""

    def __init__(self, core: LocalCore, exposure: float | None) -> None:
        super().__init__(exposure)
        self.core = core
        self.turn = Turn(self, current_turn.get())
        self.thread = core.thread
        self.mmc = core.mmc
        self.signal: Signal = core.thread.signal()
        self.over: Signal = core.thread.signal()
        self.started = False

    # ---- on the loop --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin as soon as it is this view's turn."""
        self.core.users.add(self)
        try:
            self.thread.spawn(self.routine(), self._done)
        except BaseException:
            self.core.users.discard(self)
            raise

    @property
    def finished(self) -> bool:
        """Whether the camera stands and the turn is given back."""
        return self.over.is_set

    def rouse(self) -> None:
        self.signal.set()

    def stop(self) -> None:
        """End the view, from any thread; what is called on the core after this finds the camera stopped."""
        if not self.stopping:
            self.stopping = True
            try:
                self.thread.post(self.halt, label="stopping live view")
            except ClosedError:
                return  # the thread ends its routines itself

    async def ended(self) -> None:
        """Wait until the camera stands and the turn is given back; on any loop."""

        def wait(cancelled: Signal) -> Routine:
            while not self.over.is_set:
                yield Wait(self.over)

        with contextlib.suppress(ClosedError):  # the thread ends its routines itself
            await self.thread.run_routine(wait)

    async def change_while_stopped(self, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Call ``fn(mmc, *args)`` on the hardware thread while the camera stands still."""
        return await self.thread.run(self.change, fn, args, label=fn)

    # ---- on the hardware thread ---------------------------------------------------------------------------------

    def routine(self) -> Routine:
        """Take the turn, run the camera, answer those who ask, and leave the camera as it was."""
        turns = self.core.turns
        while not (yield from turns.take(self.turn, self.signal)):
            if self.stopping:
                return
        try:
            if not self.stopping:
                self.begin()
            while not self.stopping:
                self.signal.clear()
                if not self.asked:
                    yield Wait(self.signal)
                elif (frame := self.newest()) is not None:
                    self.deliver(frame)
                else:
                    yield Wait(until=time.monotonic() + STEP)
        finally:
            self.halt()
            turns.give_back(self.turn)

    def begin(self) -> None:
        """Start the camera."""
        mmc = self.mmc
        self.core.touched()
        try:
            if mmc.isSequenceRunning():  # one of somebody else: it is not ours to stop
                raise CoreError(BUSY, device=mmc.getCameraDevice() or None)
            if self.exposure is not None:
                self.before = mmc.getExposure()
                mmc.setExposure(float(self.exposure))
            self.running = True  # one that fails to start may have opened the shutter
            mmc.startContinuousSequenceAcquisition(0)
            self.started = True
        except CoreError:
            raise
        except Exception as error:
            raise core_error(error, "startContinuousSequenceAcquisition", (0,)) from error
        self.last_count, self.last_number = 0, -1

    def halt(self) -> None:
        """Stop the camera; what fails is kept for who closes the view."""
        if not self.running:
            self.signal.set()
            return
        self.running = False
        mmc = self.mmc
        self.core.touched()
        try:
            mmc.stopSequenceAcquisition()
            if self.before is not None:
                mmc.setExposure(self.before)
        except Exception as error:
            if self.started:
                self.stop_error = core_error(error, "stopSequenceAcquisition")
        self.signal.set()

    def change(self, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Call ``fn(mmc, *args)`` while the camera stands still."""
        mmc = self.mmc
        if not self.running:
            raise CoreError("the live view is not running")
        self.core.touched()
        if mmc.isSequenceRunning():
            mmc.stopSequenceAcquisition()
        try:
            return fn(mmc, *args)
        finally:
            mmc.startContinuousSequenceAcquisition(0)
            self.last_count, self.last_number = 0, -1

    def newest(self) -> LiveFrame | None:
        """Copy the newest frame, if there is one that was not given yet."""
        mmc = self.mmc
        # The count grows by one per frame, as nothing is taken out; it falls when MMCore starts its full buffer anew.
        count = mmc.getRemainingImageCount()
        if count in (0, self.last_count):
            if not mmc.isSequenceRunning():
                raise CoreError("the camera stopped by itself during live view", device=mmc.getCameraDevice() or None)
            if count and mmc.getBufferFreeCapacity() == 0:  # a full buffer that drops the oldest: its count says nothing
                with contextlib.suppress(IndexError):  # it was emptied in this very moment
                    mmc.popNextImage()
                    self.last_count = count - 1
            return None
        behind = count - self.last_count
        self.last_count = count
        try:
            image = take(mmc, "getLastImageMD")
        except IndexError:
            return None  # the full buffer was emptied in this very moment
        number = image.tags.get("ImageNumber", -1)
        if isinstance(number, int) and number >= 0:
            if number == self.last_number:
                return None
            behind = number - self.last_number
            self.last_number = number
        return LiveFrame(image.pix, image.tags, max(0, behind - 1))

    def deliver(self, frame: LiveFrame) -> None:
        """Give a frame to who has asked first."""
        try:
            future = self.asked.popleft()
        except IndexError:  # it was cancelled in this moment
            self.missed += frame.dropped + 1
        else:
            self._on_loop(self.give, future, frame)

    def _done(self, result: Any, error: BaseException | None) -> None:
        if error is not None and self.error is None:
            self.error = error
        self.core.users.discard(self)
        self.over.set()
        self._on_loop(self.settle)

    def _on_loop(self, fn: Callable[..., None], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            return  # the loop was closed: nobody is left to hear it


class LiveView(KeptHere):
    """An async iterator over the newest frames of the camera; made by a core's ``live``.

    Each step gives the newest frame that was not given yet, and waits for one if there is none. The camera stops when
    the iterator is closed, or is gone: ``async for frame in core.live()`` stops it in every exit from the loop,
    also by ``break``, an exception or a cancellation. With a name of its own, use ``async with core.live() as live``; only
    then may a step be given up, by a timeout, and asked for again.

    Attributes
    ----------
    dropped : int
        How many frames were not given so far.
    """

    _instead = "ask for another one where it is needed"

    def __init__(self, make_feed: Callable[[float | None], AnyFeed], exposure: float | None = None) -> None:
        if exposure is not None and not exposure > 0:
            raise ValueError(f"exposure is a time in ms above 0, not {exposure!r}")
        self._make_feed = make_feed
        self._exposure = exposure
        self._feed: AnyFeed | None = None
        self._closed = False
        self._entered = False
        self.dropped: int = 0

    async def __aenter__(self) -> Self:
        self._entered = True
        self._start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveFrame:
        if self._closed:
            raise StopAsyncIteration
        feed = self._start()
        asked = feed.ask()
        try:
            frame = await asked
        except asyncio.CancelledError:
            if not self._entered:  # the traceback keeps this iterator alive, and nobody else would close it
                feed.stop()
            raise
        finally:
            feed.withdraw(asked)
        if frame is None:
            self._closed = True
            raise feed.why()
        frame.dropped, feed.missed = frame.dropped + feed.missed, 0
        self.dropped += frame.dropped
        return frame

    async def change(self, fn: Callable[..., T], /, *args: Any) -> T:
        """Call ``fn(mmc, *args)`` on the hardware thread with the camera stopped, then let it run on.

        For what cannot be changed while it runs: ``await live.change(lambda mmc: mmc.setExposure(20))``.
        """
        return await self._start().change_while_stopped(fn, args)

    async def aclose(self) -> None:
        """Stop the camera and wait until it stands. Again and again does no harm.

        Raises
        ------
        CoreError
            The camera could not be stopped.
        """
        self._closed = True
        feed = self._feed
        if feed is None:
            return
        feed.stop()
        if not feed.finished:
            await finish(asyncio.ensure_future(feed.ended()))
        error, feed.stop_error = feed.stop_error, None
        if error is not None:
            raise error

    def _start(self) -> AnyFeed:
        if self._feed is None:
            feed = self._make_feed(self._exposure)
            feed.start()
            self._feed = feed  # only now: one that could not start gives nothing, and has no end
        return self._feed

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)
        if feed is not None:
            feed.stop()
