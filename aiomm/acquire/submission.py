"""The user's handle on one call of ``acquire()``: wait for it, take its images as they are saved, cancel it."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiomm.acquire.calls import cannot_end, elsewhere, own_call, refuse_wait
from aiomm.acquire.mailbox import Bell
from aiomm.errors import SubmissionCancelled

if TYPE_CHECKING:
    import numpy as np

    from aiomm.acquire.run import Run
    from aiomm.core.turns import Turn
    from aiomm.dataset.storage import Axes

AXES_CHUNK = 2000


@dataclass(slots=True, eq=False)
class Image:
    """One saved image.

    Attributes
    ----------
    axes : dict
        Where it belongs, e.g. ``{"time": 3, "channel": "DAPI"}``.
    pixels : numpy.ndarray
        (y, x) uint8 or uint16, or (y, x, 3) uint8; read-only, since others may be looking at the same memory.
    metadata : dict
        What was asked for it and what was in force.
    """

    axes: Axes
    pixels: np.ndarray[Any, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SubmissionStatus:
    """Counts of one submission at one moment.

    Attributes
    ----------
    events : int
        Events known so far; for generators it grows.
    acquired, saved, skipped, diverted, failed : int
        Images exposed and saved; events that a hook skipped; images that the processor diverted; events that failed.
    done : bool
        Whether nothing more will come.
    """

    events: int
    acquired: int
    saved: int
    skipped: int
    diverted: int
    failed: int
    done: bool


class Submission:
    """What ``Acquisition.acquire`` returns, at once.

    ``await submission`` waits until each of its events is saved, skipped, diverted or failed and returns the axes of the
    saved images, a list of dicts. ``async for image in submission`` yields an `Image` for each, from the first one on;
    each loop has a cursor of its own, and pixels are read when they are yielded. Both raise what ended the submission.
    """

    def __init__(self, run: Run, events: Any, *, keep_shutter_open: bool, turn: Turn | None) -> None:
        self._run = run
        self.source = events
        self.turn = turn
        self.keep_shutter_open = keep_shutter_open
        self.clock_start: float | None = None  # monotonic time at which its first event began
        self.reset_due = False  # an event that was to start the clock anew was skipped by the generation hook
        self.cancelling: bool = False
        self.feedback_pending = 0  # puts of its hooks that are not with the engine yet
        self.untold = 0  # saved images of which a callback that may put more events was not told yet
        self.source_done = False
        self.windows_open = 0
        self.frames_out = 0  # frames that are to be saved
        self.events = self.acquired = self.skipped = self.diverted = self.failed = 0
        self.rows: array[int] = array("q")  # rows of its saved images in the dataset's index
        self.error: BaseException | None = None
        self.over: bool = False
        self.late = False  # it was cancelled, and its last frames have a moment left
        self.bell: Bell = Bell()

    # ---- the user's side ----------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, list[Axes]]:
        return self._wait().__await__()

    async def _wait(self) -> list[Axes]:
        await self.wait_until(lambda: self.over)
        self.raise_error()
        axes: list[Axes] = []
        for first in range(0, len(self.rows), AXES_CHUNK):
            if first:
                await asyncio.sleep(0)
            axes.extend(self._run.dataset.axes_of(row) for row in self.rows[first : first + AXES_CHUNK])
        return axes

    def __aiter__(self) -> AsyncIterator[Image]:
        return SubmissionImages(self, self._run)

    def cancel(self) -> bool:
        """Acquire no more of its events; what waits for it gets `SubmissionCancelled`. The acquisition goes on.

        A camera sequence or a move under way is stopped, a coroutine hook of its is cancelled. Images that were taken are
        still saved, if processing and saving them takes no longer than a moment. Returns False if it was over already.
        """
        if self.over:
            return False
        self._run.cancel(self)
        return True

    @property
    def done(self) -> bool:
        """Whether each of its events is saved, skipped, diverted or failed, or it was ended by an error."""
        return self.over

    @property
    def status(self) -> SubmissionStatus:
        """Its counts at this moment."""
        return SubmissionStatus(self.events, self.acquired, len(self.rows), self.skipped, self.diverted, self.failed, self.over)

    def __repr__(self) -> str:
        state = f"ended by {self.error!r}" if self.error else "done" if self.over else "running"
        return f"<Submission: {len(self.rows)} of {self.events} events saved, {state}>"

    # ---- the acquisition's side ---------------------------------------------------------------------------------

    async def wait_until(self, ready: Callable[[], bool], *, next_image: bool = False) -> None:
        """Wait for its end, or for an image; a function of the acquisition's own for no longer than that can come."""
        call = own_call(self._run)
        if call is None:
            with elsewhere(self._run, self) as refused:
                await self._run.wait_until(lambda: ready() or refused() is not None, self.bell)
                if not ready() and (error := refused()) is not None:
                    raise error
            return
        await self._run.wait_until(lambda: ready() or cannot_end(call, self, next_image=next_image))
        if not ready():
            raise refuse_wait(call)

    def raise_error(self) -> None:
        """Raise what ended it, if anything did; from then on somebody was told of it."""
        if self.error is not None:
            self._run.delivered(self.error)
            raise self.error

    @property
    def fed(self) -> bool:
        """Whether the engine has done all of its events."""
        return self.source_done and not self.windows_open and not self.feedback_pending

    def look(self) -> bool:
        """See whether it is over now; returns True when it has just ended."""
        if self.over or not self.fed or len(self.rows) < self.frames_out or self.untold:
            return False
        if self.cancelling and self.error is None:
            self.error = SubmissionCancelled(f"submission.cancel() was called: {len(self.rows)} images were saved before")
        self.over = True
        return True

    def end(self, error: BaseException) -> None:
        """End it at once: the acquisition is over."""
        if not self.over:
            self.error = self.error or error
            self.over = True


class SubmissionImages(AsyncIterator[Image]):
    """A cursor on a submission's saved images. An unread or abandoned one slows nothing and holds nothing."""

    def __init__(self, submission: Submission, run: Run) -> None:
        self._submission = submission
        self._run = run
        self._next = 0

    async def __anext__(self) -> Image:
        rows = self._submission.rows
        if self._next >= len(rows):
            with self._run.audience.reader_waiting():
                await self._submission.wait_until(lambda: self._next < len(rows) or self._submission.over, next_image=True)
        if self._next < len(rows):
            row = rows[self._next]
            image = await self._run.audience.image(row)
            self._next += 1
            return image
        self._submission.raise_error()
        raise StopAsyncIteration
