"""From submissions to the engine: pull their sources, no further ahead than allowed, and hand over windows of events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from aiomm.acquire.callers import GRACE, ThreadCaller, wait_out
from aiomm.acquire.calls import call
from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.hooks import check_hook_result
from aiomm.acquire.orders import Window
from aiomm.acquire.run import current_submission
from aiomm.errors import EventError, HookError, SubmissionCancelled

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from aiomm.acquire.hooks import UserFunction
    from aiomm.acquire.run import Run
    from aiomm.acquire.sources import Source
    from aiomm.acquire.submission import Submission

AT_A_TIME_S = 0.005
PATIENCE_S = 0.1
"""How long a plain generator may take over one event before the engine, where it has nothing else to do, is given those before it."""

_Ready: TypeAlias = "Callable[[], bool]"

logger = logging.getLogger("aiomm")


class Feeder:
    """Feeds the engine from the submissions, one after the other, and from what hooks put.

    Parameters
    ----------
    run
        The acquisition.
    generation_hook
        ``event_generation_hook_fn``, or None.
    look_ahead
        How many events may be pulled from an iterator and not begun.
    """

    def __init__(self, run: Run, generation_hook: UserFunction | None, look_ahead: int) -> None:
        self._run = run
        self._hook = generation_hook
        self._look_ahead = look_ahead
        self._handed_over = 0
        self._in_hand = 0  # pulled from the source that is fed, and not handed over

    async def feed(self) -> None:
        """Serve the submissions in order, until the acquisition takes no more."""
        run = self._run
        while True:
            await run.wait_until(lambda: bool(run.submissions or (run.finishing and run.idle)))
            if not run.submissions:
                return
            submission = run.submissions.popleft()
            run.active[submission] = None
            try:
                await self._attend(submission, submission.source, run.engine.lane)
            finally:
                if not run.stopping:  # else it was cut short: the end of the acquisition is what ended it
                    submission.source_done = True
                run.look_again()

    async def feed_back(self) -> None:
        """Serve what hooks and processors put, in order."""
        run = self._run
        while True:
            await run.wait_until(lambda: bool(run.feedback))
            submission, source = run.feedback[0]
            try:
                if not submission.cancelling:
                    await self._attend(submission, source, run.engine.feedback)
            finally:
                if not run.stopping:
                    run.feedback.popleft()
                    run.taken(submission)
            if run.stopping:  # what is left is not served, and nothing more is awaited here
                return

    async def _attend(self, submission: Submission, source: Source, lane: deque[Window]) -> None:
        """Feed one source to its end; or until its submission is cancelled, or a hook has said that no more is to be pulled."""
        run = self._run
        feeding = _Feeding(source)
        task = feeding.start(self._feed_one(feeding, submission, lane))
        try:
            while not task.done():
                ring = asyncio.ensure_future(run.bell.wait())
                try:
                    await asyncio.wait({task, ring}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    ring.cancel()
                if submission.cancelling or (run.enough and source.scope != "list"):
                    break
        finally:
            try:
                await feeding.end()
            finally:
                self._see(submission, feeding, task)

    def _see(self, submission: Submission, feeding: _Feeding, task: asyncio.Task[None]) -> None:
        run = self._run
        if not task.done():
            task.add_done_callback(_tell_late)
            return
        if task.cancelled():
            if not feeding.ending:
                run.refuse(submission, EventError("the events' async iterator raised CancelledError although nobody cancelled it"))
            return
        error = task.exception()
        if error is None:
            return
        if feeding.ending and run.stopping:
            if isinstance(error, _HookFailed):
                run.also(error.cause, "event_generation_hook_fn raised as it was cancelled")
            elif not isinstance(error, SubmissionCancelled):
                run.also(error, "the events' generator raised as it was closed")
        elif isinstance(error, _HookFailed):
            run.fail(error.cause)
        elif isinstance(error, Exception):
            run.refuse(submission, error)
        else:
            run.fail(error)

    async def _feed_one(self, feeding: _Feeding, submission: Submission, lane: deque[Window]) -> None:
        source = feeding.source
        pull = ThreadCaller(source.next_items, "the events' generator")  # a thread of its own: a generator that blocks keeps nobody else
        try:
            if source.scope == "list":
                await self._feed_list(submission, source, lane)
            elif lane is self._run.engine.feedback:
                await self._feed_feedback(feeding, submission, lane, pull)
            elif source.scope == "windows":
                await self._feed_windows(submission, source, lane, pull)
            else:
                await self._feed_items(feeding, submission, lane)
        finally:
            feeding.closing = True
            if source.scope == "windows":
                try:
                    source.close()
                finally:
                    await pull.aclose(0 if pull.running_since is not None else GRACE)
            elif source.scope == "items":
                await source.aclose()

    async def _feed_list(self, submission: Submission, source: Source, lane: deque[Window]) -> None:
        events = await read_list(source)
        if events:
            if lane is self._run.engine.lane:  # the engine waits for feedback: feedback does not wait for the engine
                await self._wait_for_engine(0)
            await self._send(submission, events, lane)

    async def _feed_feedback(self, feeding: _Feeding, submission: Submission, lane: deque[Window], pull: ThreadCaller) -> None:
        """An iterator that a hook has put: pulled when the engine, which is within a window of the source, has done what came before."""
        source = feeding.source

        async def send(events: list[AcquisitionEvent]) -> None:
            if events:
                window = await self._send(submission, events, lane)
                await self._run.wait_until(lambda: window.ended)

        while not feeding.ending:
            if source.scope == "windows":
                events = await self._pull(source, pull, self._look_ahead, send, lambda: True)
                if not events:
                    return
            else:
                try:
                    events = await source.anext()
                except StopAsyncIteration:
                    return
            await send(events)

    async def _feed_windows(self, submission: Submission, source: Source, lane: deque[Window], pull: ThreadCaller) -> None:
        try:
            await self._pull_windows(submission, source, lane, pull)
        finally:  # what was pulled and came to nothing takes no room from the next submission
            self._in_hand = 0
            self._run.bell.ring()

    async def _pull_windows(self, submission: Submission, source: Source, lane: deque[Window], pull: ThreadCaller) -> None:
        window: list[AcquisitionEvent] = []

        async def send() -> None:
            if window:
                sent = window.copy()
                window.clear()
                await self._send(submission, sent, lane)
                self._in_hand -= len(sent)

        async def flush(pulled: list[AcquisitionEvent]) -> None:
            self._in_hand += len(pulled)
            window.extend(pulled)
            await send()

        while True:
            wanted = self._look_ahead - len(window)
            await self._wait_for_engine(min(wanted, max(1, self._look_ahead // 2)))
            room = min(wanted, self._look_ahead - self._ahead)
            try:
                events = await self._pull(source, pull, room, flush, self._is_dry)
            except Exception:  # what came before the error is acquired, as it is from an async iterator
                await send()
                await self._run.wait_until(lambda: self._engine_free(submission, lane))
                raise
            self._in_hand += len(events)
            if source.alone or not events:
                await send()
            if not events:
                return
            window += events
            if source.alone or len(window) >= self._look_ahead:
                await send()

    async def _pull(
        self,
        source: Source,
        pull: ThreadCaller,
        room: int,
        flush: Callable[[list[AcquisitionEvent]], Awaitable[None]],
        dry: Callable[[], bool],
    ) -> list[AcquisitionEvent]:
        """Pull a window; `flush` what there is of it where the engine has run dry and the generator gives nothing for a while.

        It may wait for the images of just these events.
        """
        run, loop = self._run, asyncio.get_running_loop()
        more = asyncio.Event()

        def heard() -> None:
            more.set()
            run.bell.ring()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(heard)

        pulling: asyncio.Future[list[AcquisitionEvent]] = asyncio.ensure_future(pull.call((room,)))
        pulling.add_done_callback(_ring(run))
        began = time.monotonic()
        try:
            while True:
                await run.wait_until(lambda: pulling.done() or dry())
                while (left := max(began, source.quiet_since) + PATIENCE_S - time.monotonic()) > 0 and not pulling.done():
                    await asyncio.wait({pulling}, timeout=left)
                if pulling.done():
                    return await pulling
                if dry():
                    more.clear()
                    pulled = source.take(tell)
                    await flush(pulled)
                    if not pulled:
                        await run.wait_until(lambda: pulling.done() or more.is_set())
        finally:
            if not pulling.done():
                pulling.cancel()
                await wait_out(pulling, GRACE)

    def _is_dry(self) -> bool:
        """Whether the engine has nothing to do for any submission."""
        run = self._run
        return not (run.engine.lane or any(submission.windows_open for submission in run.active))

    async def _feed_items(self, feeding: _Feeding, submission: Submission, lane: deque[Window]) -> None:
        while not feeding.ending:  # an async iterator may have swallowed its cancellation
            await self._run.wait_until(lambda: self._engine_free(submission, lane))
            try:
                events = await feeding.source.anext()
            except StopAsyncIteration:
                return
            await self._send(submission, events, lane)

    @property
    def _ahead(self) -> int:
        return self._handed_over + self._in_hand - self._run.engine.started

    async def _wait_for_engine(self, room: int) -> None:
        """Wait until ``room`` events more may be pulled; with 0, until the engine has begun nearly all it has."""
        await self._run.wait_until(lambda: self._ahead <= max(0, self._look_ahead - max(room, 1)))

    @staticmethod
    def _engine_free(submission: Submission, lane: deque[Window]) -> bool:
        return submission.windows_open == 0 and not lane

    async def _send(self, submission: Submission, events: list[AcquisitionEvent], lane: deque[Window]) -> Window:
        """Hand a window to the engine, through the generation hook; its axes are reserved first."""
        run = self._run
        if run.tiling is not None:
            events = await run.tiling.place_all(events, submission.events)
        if self._hook is not None:
            events = await self._generate(submission, events)
        if submission.cancelling:
            raise SubmissionCancelled("submission.cancel() was called")
        run.claim(events)
        self._handed_over += len(events)
        number = submission.events
        run.count_events(submission, len(events))
        submission.windows_open += 1
        window = Window(submission, events, number, submission.turn, feedback=lane is run.engine.feedback)
        run.handing_over = run.handing_over or window.feedback
        lane.append(window)
        run.engine.signal.set()
        return window

    async def _generate(self, submission: Submission, events: Sequence[AcquisitionEvent]) -> list[AcquisitionEvent]:
        """Ask ``event_generation_hook_fn`` about each event, before any merging."""
        assert self._hook is not None
        current_submission.set(submission)
        kept: list[AcquisitionEvent] = []
        for event in events:
            try:
                answers = check_hook_result(
                    await call(self._run, "feeder", self._hook, event.to_dict(), submission=submission), False, "event_generation_hook_fn"
                )
            except Exception as error:
                raise _HookFailed(error) from error
            if answers is None:
                submission.reset_due |= event.reset_event_timer
                submission.skipped += 1
                self._run.counts["skipped"] += 1
                self._run.counts["events_done"] += 1
                self._run.count_events(submission, 1)
                self._run.note("event_skipped", event.axes)
                continue
            try:
                made = self._run.place([AcquisitionEvent.from_dict(answer) for answer in answers])
            except EventError as error:
                failure = HookError(f"event_generation_hook_fn returned an event that cannot be used: {error}")
                failure.__cause__ = error
                raise _HookFailed(failure) from error
            if made and submission.reset_due:  # of an event that the hook skipped: the next one starts the clock anew in its place
                submission.reset_due, made[0].reset_event_timer = False, True
            kept += made
        return kept


async def read_list(source: Source) -> list[AcquisitionEvent]:
    """Read a list of events, and give the loop away every few milliseconds: some take long to make each event."""
    loop = asyncio.get_running_loop()
    events: list[AcquisitionEvent] = []
    began = loop.time()
    for event in source:
        events.append(event)
        if loop.time() - began > AT_A_TIME_S:
            await asyncio.sleep(0)
            began = loop.time()
    return events


def _ring(run: Run) -> Callable[[asyncio.Future[Any]], None]:
    def ended(pulling: asyncio.Future[Any]) -> None:
        if not pulling.cancelled():
            pulling.exception()  # whoever still waits reads it too
        run.bell.ring()

    return ended


class _Feeding:
    """One source on its way to the engine, in a task of its own, which is cancelled once.

    A second cancellation, or one that comes while the source is closed, would cut a generator's own clean-up short.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.ending = False  # it was told to end
        self.closing = False  # the source is closed
        self._task: asyncio.Task[None]

    def start(self, feed: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._task = asyncio.create_task(feed, name="aiomm: feeding")
        return self._task

    async def end(self) -> None:
        """Have it end; what takes longer than a moment is left behind, such as an async iterator that swallows its cancellation."""
        if not self._task.done():
            self.ending = True
            if not self.closing:
                self._task.cancel()
            await wait_out(self._task, GRACE)


def _tell_late(task: asyncio.Task[None]) -> None:
    """Tell of what a source's clean-up has raised that took longer than the acquisition could wait."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the events' generator raised after it was left behind", exc_info=error)


class _HookFailed(Exception):
    """Carries a hook's error past those that end a submission only: it ends the acquisition."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
