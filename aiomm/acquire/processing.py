"""Between camera and storage: the user's image processor, fed by a bounded queue, its results saved in order."""

from __future__ import annotations

import asyncio
import operator
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.calls import call
from aiomm.acquire.hooks import check_processor_result
from aiomm.acquire.run import current_submission
from aiomm.dataset.storage import Frame
from aiomm.errors import HookError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aiomm.acquire.hooks import UserFunction
    from aiomm.acquire.run import Run
    from aiomm.acquire.submission import Submission

TURN_S = 0.002
"""How long calls that return at once may follow one another before others on the loop go first."""


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
        self._under_way: deque[tuple[Frame, asyncio.Task[Any] | None]] = deque()  # None: one call at a time, by `_one_by_one`
        self._alone = function.concurrent == 1
        self._server: asyncio.Task[Any] | None = None
        self._looking = True  # it has to be told of frames
        self._dropped: Frame | None = None  # its call is cancelled, and the others go on
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
            if frame.token[0] is not submission:
                continue
            if task is not None:
                task.cancel()
            elif self._server is not None:
                self._dropped = frame
                self._server.cancel()
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
                if self._alone and self._waiting:
                    await self._drop_or_serve(self._function.together(self._one_by_one()))
                    continue
                while self._waiting and len(self._under_way) < self._function.concurrent:
                    if (frame := self._next()) is not None:
                        self._under_way.append((frame, asyncio.create_task(self._call(frame), name="aiomm: image_process_fn")))
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

    def _next(self) -> Frame | None:
        """Take a frame that waits; None if its submission was cancelled."""
        frame = self._waiting.popleft()
        submission, event, _ = frame.token
        if self._refused:
            self._refused = False
            self._run.room()
        if submission.over:
            self._run.dropped(event)
            return None
        current_submission.set(submission)
        return frame

    async def _one_by_one(self) -> None:
        """Process frames, one after the other, until none waits."""
        turn = self._run.loop.time()
        while self._waiting:
            if (frame := self._next()) is not None:
                self._under_way.append((frame, None))
                result = await self._call(frame)
                if frame is self._dropped:  # it has returned nevertheless
                    raise asyncio.CancelledError
                self._under_way.popleft()
                await self._keep(frame, result)
            if self._run.loop.time() - turn > TURN_S:
                await asyncio.sleep(0)
                turn = self._run.loop.time()

    async def _drop_or_serve(self, serving: Awaitable[None]) -> None:
        """Await what serves frames one by one; where the call for one is given up, that one is dropped."""
        try:
            await serving
        except asyncio.CancelledError:
            if self._run.stopping or self._dropped is None:
                raise
            assert self._server is not None
            self._server.uncancel()
            self._dropped = None
            frame, _ = self._under_way.popleft()
            self._run.dropped(frame.token[1])

    async def _call(self, frame: Frame) -> Any:
        metadata = {**frame.metadata, "Axes": dict(frame.axes)}
        return await call(self._run, "frames", self._function, frame.pixels, metadata, submission=frame.token[0])

    async def _finish_first(self) -> None:
        """Wait for the oldest call and save what it returned; more may be begun meanwhile."""
        run = self._run
        frame, task = self._under_way[0]
        assert task is not None
        await self._first_done(task)
        if not task.done():
            return
        try:
            result = await task
        except asyncio.CancelledError:
            if run.stopping or not frame.token[0].over:
                raise
            self._under_way.popleft()
            run.dropped(frame.token[1])
            return
        self._under_way.popleft()
        await self._keep(frame, result)

    async def _keep(self, frame: Frame, result: Any) -> None:
        """Save what a call returned."""
        run = self._run
        self._saving = frame
        outputs = check_processor_result(result)
        submission, event, _ = frame.token
        for pixels, metadata in outputs:
            axes = metadata.get("Axes")
            if not isinstance(axes, dict):
                raise HookError(f"image_process_fn returned metadata whose 'Axes' is {axes!r}: it must be the dict of the image's axes")
            text = frame.text if _unchanged(frame, metadata) else None
            if pixels.shape[:2] != frame.pixels.shape[:2]:
                text = None
                metadata = {**metadata, "Width": pixels.shape[1], "Height": pixels.shape[0]}
            depth = frame.bit_depth
            if pixels.dtype != frame.pixels.dtype or pixels.ndim != frame.pixels.ndim:
                text = None
                depth, kind = (16, "GRAY16") if pixels.dtype == np.uint16 else (8, "GRAY8" if pixels.ndim == 2 else "RGB32")
                metadata = {**metadata, "PixelType": kind, "BitDepth": depth}
            await self._save(Frame(dict(axes), pixels, metadata, depth, frame.token, text=text))
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


def _unchanged(frame: Frame, metadata: dict[str, Any]) -> bool:
    """Whether what a processor returned are the metadata that it got, to the last type.

    Only asked of metadata which hold nothing that can be changed, but for their axes (`plain`): then the same objects say the same.
    """
    before = frame.metadata
    if frame.text is None or list(before) != list(metadata):
        return False
    other = [*map(operator.is_not, before.values(), metadata.values())].count(True)
    return other == (before["Axes"] is not metadata["Axes"]) and same_axes(frame.axes, metadata["Axes"])


def plain(metadata: dict[str, Any]) -> bool:
    """Whether metadata hold texts and numbers, and only their axes else."""
    kinds = [*map(type, metadata.values())]
    return list not in kinds and kinds.count(dict) == 1 and type(metadata.get("Axes")) is dict


def same_axes(one: Mapping[str, Any], other: Any) -> bool:
    """Whether two are the same axes with the same values, ``True`` and 1 apart."""
    return type(other) is dict and one == other and all(type(value) is type(other[name]) for name, value in one.items())
