"""The running camera of a live view in Java: asked for frames through a port of its own.

Java does not tell of new frames. While somebody waits for one, its camera is asked every few milliseconds; while nobody
does, nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from aiomm.bridge import bridge_of
from aiomm.core.finish import finish
from aiomm.core.java_values import core_of_its_own
from aiomm.core.live import BUSY, AnyFeed, LiveFrame
from aiomm.errors import AiommError, ClosedError, CoreError, ServerLostError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.core.bridged import BridgedCore

T = TypeVar("T")
STEP = 0.003  # s, between two looks for a new frame while somebody waits for one
ANSWERS = 2.0  # s, that a view which is to end waits for the answer to its last look
STOPS = 5.0  # s, that the camera has to stop, besides two exposures; a server that answers no more would hold up the end for ever


class JavaFeed(AnyFeed):
    """The running camera of one live view, in a task of its own."""

    def __init__(self, core: BridgedCore, turn: asyncio.Lock, exposure: float | None) -> None:
        super().__init__(exposure)
        self.core = core
        self.bridge = bridge_of(core)
        self.turn = turn
        self.task: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()
        self.begun = False
        self.halting = False
        self.stops = STOPS

    @property
    def finished(self) -> bool:
        """Whether the camera stands and the turn is given back."""
        return self.task is not None and self.task.done()

    def start(self) -> None:
        """Begin as soon as it is this view's turn."""
        self.bridge.users.add(self)
        self.task = self.loop.create_task(self._run(), name="aiomm: live view in Java")
        self.task.add_done_callback(self._done)

    def rouse(self) -> None:
        self.wake.set()

    def stop(self) -> None:
        """End the view, from any thread."""
        if not self.stopping:
            self.stopping = True
            with contextlib.suppress(RuntimeError):  # the loop was closed, and the bridge with it
                self.loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self.wake.set()
        if self.task is None:
            return
        if not self.begun:
            self.task.cancel()  # it waits for its turn
        else:
            late = self.loop.call_later(ANSWERS, self._give_up)
            self.task.add_done_callback(lambda _: late.cancel())

    def _give_up(self) -> None:
        """Look no more: no answer comes."""
        if self.task is not None and not self.halting:
            self.task.cancel()

    async def ended(self) -> None:
        """Wait until the camera stands and the turn is given back."""
        if self.task is not None:
            await asyncio.wait([self.task])

    async def abort_for_close(self) -> None:
        """End the view because the core or its bridge is being closed; raises CoreError if the camera could not be stopped."""
        await super().abort_for_close()
        error, self.stop_error = self.stop_error, None
        if error is not None:
            raise error

    async def change_while_stopped(self, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Refuse: there is no raw core in this process."""
        raise UnsupportedError(
            "live.change() gives a function the raw core, and that is in another process: end the live view, change, begin anew"
        )

    # ---- the task -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        async with self.turn:
            self.begun = True
            if self.stopping:
                return
            camera = await core_of_its_own(self.bridge)
            try:
                await self._begin(camera)
                while not self.stopping:
                    self.wake.clear()
                    if not self.asked:
                        await self.wake.wait()
                    elif (frame := await self._newest(camera)) is not None:
                        self._deliver(frame)
                    else:
                        await asyncio.sleep(STEP)
            finally:
                await finish(self.loop.create_task(self._halt(camera), name="aiomm: stopping live view in Java"))

    async def _begin(self, camera: Any) -> None:
        if await camera.is_sequence_running():  # one of somebody else: it is not ours to stop
            raise CoreError(BUSY, device=await camera.get_camera_device() or None)
        before = await camera.get_exposure()
        if self.exposure is not None:
            await camera.set_exposure(float(self.exposure))
            self.before = before
        self.stops = STOPS + 2 * (before if self.exposure is None else self.exposure) / 1000
        self.running = True  # one that fails to start may have opened the shutter
        await camera.start_continuous_sequence_acquisition(0)

    async def _halt(self, camera: Any) -> None:
        """Stop the camera; what fails is kept for who closes the view."""
        self.halting = True
        try:
            async with asyncio.timeout(self.stops):
                if self.running:
                    await camera.stop_sequence_acquisition()
                if self.before is not None:
                    await camera.set_exposure(self.before)
        except (ServerLostError, ClosedError):
            return  # the core is gone, or the bridge to it: what failed first says so
        except AiommError as error:
            self.stop_error = error
        except TimeoutError:
            what = f"live view: Micro-Manager did not answer within {self.stops:g} s that the camera has stopped; it may still run"
            self.stop_error = CoreError(what)
            return  # nor will it release anything now
        with contextlib.suppress(AiommError, TimeoutError):
            async with asyncio.timeout(ANSWERS):
                await camera.aclose()

    async def _newest(self, camera: Any) -> LiveFrame | None:
        """Take the newest frame, if there is one that was not given yet; see `aiomm.core.live.Feed.newest`."""
        count = await camera.get_remaining_image_count()
        if count in (0, self.last_count):
            if not await camera.is_sequence_running():
                raise CoreError("the camera stopped by itself during live view", device=await camera.get_camera_device() or None)
            if count and await camera.get_buffer_free_capacity() == 0:
                with contextlib.suppress(CoreError):  # it was emptied in this very moment
                    await camera.pop_next_tagged_image()
                    self.last_count = count - 1
            return None
        behind = count - self.last_count
        self.last_count = count
        try:
            image = await camera.get_last_tagged_image()
        except CoreError:
            if await camera.get_remaining_image_count() == 0:
                return None  # the full buffer was emptied in this very moment
            raise
        number = image.tags.get("ImageNumber", -1)
        if isinstance(number, int) and number >= 0:
            if number == self.last_number:
                return None
            if self.last_number >= 0 or number < behind:
                behind = number - self.last_number
            self.last_number = number
        return LiveFrame(image.pix, image.tags, max(0, behind - 1))

    def _deliver(self, frame: LiveFrame) -> None:
        if self.asked:
            self.give(self.asked.popleft(), frame)
        else:  # it was cancelled meanwhile
            self.missed += frame.dropped + 1

    def _done(self, task: asyncio.Task[None]) -> None:
        self.bridge.users.discard(self)
        if not task.cancelled() and (error := task.exception()) is not None and self.error is None:
            self.error = error
        self.settle()
