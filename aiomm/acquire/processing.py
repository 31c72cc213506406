"""Between camera and storage: the user's image processor, fed by a bounded queue, its results saved in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.calls import call
from aiomm.acquire.hooks import check_processor_result
from aiomm.acquire.run import current_submission
from aiomm.dataset.storage import Frame
from aiomm.errors import HookError

if TYPE_CHECKING:
    from aiomm.acquire.hooks import UserFunction
    from aiomm.acquire.run import Run
    from aiomm.acquire.submission import Submission


class Processing:
    """Calls the image processor for each frame and puts what it returns into the storage.

    Parameters
    ----------
    run
        The acquisition.
    function
        The image processor; up to ``function.concurrent`` calls are under way at once, results are saved in order.
    queue_size
        How many frames may wait for it.
    """

    def __init__(self, run: Run, function: UserFunction, queue_size: int) -> None:
        self._run = run
        self._function = function
        self._limit = queue_size
        self._waiting: deque[Frame] = deque()
        self._under_way: deque[tuple[Frame, asyncio.Task[Any] | None]] = deque()  # None: the call is awaited by `serve` itself
        self._alone = function.concurrent == 1
        self._server: asyncio.Task[Any] | None = None
        self._looking = True  # it has to be told of frames
        self._saving: Frame | None = None  # of which not all that came of it was taken by the writer
        self._refused = False
        self.closing = False
        self.given_up = False  # the acquisition has ended without what it still returns, and the writer is closed

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    @property
    def frames(self) -> list[Frame]:
        """Those that are not with the writer yet, in order."""
        saving = [] if self._saving is None else [self._saving]
        return [*saving, *(frame for frame, _ in self._under_way), *self._waiting.copy()]

    def try_put(self, frame: Frame) -> bool:
        """Take a frame, if there is room; on the hardware thread."""
        if len(self._waiting) >= self._limit:
            self._refused = True
            if len(self._waiting) >= self._limit:  # it may have been taken meanwhile, before the flag was seen
                return False
        self._waiting.append(frame)
        if self._looking:
            self._run.post(("frame",))
        return True

    def has(self, submission: Submission) -> bool:
        """Whether frames of a submission are waiting or processed."""
        return any(frame.token[0] is submission for frame in [*self._waiting.copy(), *(frame for frame, _ in self._under_way)])

    def drop(self, submission: Submission) -> None:
        """Give up a submission's frames: it was cancelled and is over."""
        for frame, task in self._under_way:
            if frame.token[0] is submission and (serving := task or self._server) is not None:
                serving.cancel()
        self._run.frame_bell.ring()

    async def serve(self) -> None:
        """Process frames until told to close and none is left."""
        run = self._run
        self._server = asyncio.current_task()
        try:
            while True:
                if not self._waiting:
                    self._looking = True
                    await run.wait_until(lambda: bool(self._waiting or self._under_way or self.closing), run.frame_bell)
                self._looking = not self._alone
                while self._waiting and len(self._under_way) < self._function.concurrent:
                    frame = self._waiting.popleft()
                    if frame.token[0].over:  # it was cancelled
                        run.dropped(frame.token[1])
                    else:
                        self._begin(frame)
                    if self._refused:
                        self._refused = False
                        run.room()
                if self._under_way:
                    await self._finish_first()
                elif self.closing and not self._waiting:
                    return
        except Exception as error:
            if not self.given_up:
                run.fail(error)
        finally:
            self._looking = True
            tasks = [task for _, task in self._under_way if task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, frame: Frame) -> None:
        current_submission.set(frame.token[0])
        task = None if self._alone else asyncio.create_task(self._call(frame), name="aiomm: image_process_fn")
        self._under_way.append((frame, task))

    async def _call(self, frame: Frame) -> Any:
        metadata = {**frame.metadata, "Axes": dict(frame.axes)}
        return await call(self._run, "frames", self._function, frame.pixels, metadata, submission=frame.token[0])

    async def _finish_first(self) -> None:
        """Wait for the oldest call and save what it returned; more may be begun meanwhile."""
        run = self._run
        frame, task = self._under_way[0]
        if task is not None:
            await self._first_done(task)
            if not task.done():
                return
        try:
            result = await (self._call(frame) if task is None else task)
        except asyncio.CancelledError:
            if run.stopping or not frame.token[0].over:
                raise
            if task is None and self._server is not None:
                self._server.uncancel()
            self._under_way.popleft()
            run.dropped(frame.token[1])
            return
        self._under_way.popleft()
        self._saving = frame
        outputs = check_processor_result(result)
        submission, event, _ = frame.token
        for pixels, metadata in outputs:
            axes = metadata.get("Axes")
            if not isinstance(axes, dict):
                raise HookError(f"image_process_fn returned metadata whose 'Axes' is {axes!r}: it must be the dict of the image's axes")
            if pixels.shape[:2] != frame.pixels.shape[:2]:
                metadata = {**metadata, "Width": pixels.shape[1], "Height": pixels.shape[0]}
            depth = frame.bit_depth
            if pixels.dtype != frame.pixels.dtype or pixels.ndim != frame.pixels.ndim:
                depth, kind = (16, "GRAY16") if pixels.dtype == np.uint16 else (8, "GRAY8" if pixels.ndim == 2 else "RGB32")
                metadata = {**metadata, "PixelType": kind, "BitDepth": depth}
            await self._save(Frame(dict(axes), pixels, metadata, depth, frame.token))
        self._saving = None
        run.diverted(submission, event, len(outputs))

    async def _first_done(self, task: asyncio.Task[Any]) -> None:
        """Wait for the oldest call, or for another frame to begin with."""
        more = asyncio.ensure_future(self._run.frame_bell.wait())
        try:
            await asyncio.wait({task, more}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            more.cancel()

    async def _save(self, frame: Frame) -> None:
        run = self._run
        while not run.writer.try_put(frame):
            await run.frame_bell.wait()
