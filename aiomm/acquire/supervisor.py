"""One task that owns every stage of an acquisition, and brings each to its end, however the acquisition ends.

The stages record their first error in the `Run` and return; none of them raises into the task group. What has to
happen at the end happens here, in this order: the engine ends (hardware as it was found), the processor ends, the
writer finishes the dataset, the callbacks catch up, whoever waits gets its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import anyio

from aiomm.acquire.calls import call
from aiomm.acquire.hooks import UserFunction, check_hook_result
from aiomm.acquire.run import current_submission
from aiomm.core.turns import current_turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiomm.acquire.callbacks import NotificationCallback, SavedCallback
    from aiomm.acquire.feeder import Feeder
    from aiomm.acquire.home import Home
    from aiomm.acquire.run import Run

GRACE_S = 0.3  # what processor, writer and callbacks together get to catch up after an abort or an error
LEAVE_S = 0.1  # what a function in progress gets to return before it is left behind
WRITE_S = 0.4  # what a write in progress gets
ABANDON_S = 2.0  # what a device call in progress gets while the loop itself shuts down

logger = logging.getLogger("aiomm")


class Supervisor:
    """Owns the stages.

    Parameters
    ----------
    run
        The acquisition.
    home
        Where its microscope is.
    feeder
        Feeds the engine.
    hooks
        The hooks by name: ``pre_hardware``, ``post_hardware``, ``post_camera``.
    callbacks
        Those who are told of saved images and notifications.
    functions
        All of the user's functions, to be closed at the end.
    """

    def __init__(
        self,
        run: Run,
        home: Home,
        feeder: Feeder,
        hooks: dict[str, UserFunction],
        callbacks: list[SavedCallback | NotificationCallback],
        functions: list[UserFunction],
    ) -> None:
        self._run = run
        self._home = home
        self._feeder = feeder
        self._hooks = hooks
        self._callbacks = callbacks
        self._functions = functions
        self._engine_end: asyncio.Future[None] = run.loop.create_future()
        self._writing_ends = False  # the writer was told to finish
        self._grace_ends: float | None = None
        self._leave_at: float | None = None  # the loop shuts down: nothing is waited for after this

    async def supervise(self) -> None:
        """Everything, to the end. Cancelling this task aborts the acquisition and its clean-up goes on."""
        run = self._run
        try:
            self._home.start(run, self._engine_ended)
            async with anyio.create_task_group() as stages:
                self._start(stages, self._feeder.feed)
                self._start(stages, self._feeder.feed_back)
                if self._hooks:
                    self._start(stages, self._serve_hooks)
                processed = self._start(stages, run.processing.serve) if run.processing is not None else None
                for serve in (*self._home.stages(run), *(callback.serve for callback in self._callbacks)):
                    self._start(stages, serve)
                await self._until(lambda: run.stopping or (run.finishing and run.idle))
                run.engine.finish()
                await self._outlast(self._engine_end)
                if not self._engine_end.done():
                    self._home.abandon()
                if run.processing is not None and processed is not None:
                    run.processing.closing = True
                    run.frame_bell.ring()
                    await self._catch_up(processed.done)
                    run.processing.given_up = not processed.done()
                await self._finish_writing()
                run.mailbox.read()
                run.note("data_sink_finished", None)
                await self._catch_up(lambda: not any(callback.behind for callback in self._callbacks))
                run.untold += [missed for callback in self._callbacks if (missed := callback.missed)]
                stages.cancel_scope.cancel()
        except BaseException as error:  # a fault of aiomm's own: nobody may wait for ever because of it
            run.fail(error)
        finally:
            if not self._writing_ends:
                await self._finish_writing()
            await self._outlast(asyncio.ensure_future(self._close_functions()))
            run.lose(frame.axes for frame in self._home.lost(run))
            run.lose(run.left)
            await self._outlast(asyncio.ensure_future(self._home.aclose()))
            run.tell_lost()
            run.end()

    # ---- stages -------------------------------------------------------------------------------------------------

    def _start(self, stages: anyio.abc.TaskGroup, serve: Callable[[], Awaitable[None]]) -> asyncio.Future[None]:
        ended: asyncio.Future[None] = self._run.loop.create_future()

        async def stage() -> None:
            try:
                await serve()
            except Exception as error:
                self._run.fail(error)
            finally:
                if not ended.done():
                    ended.set_result(None)
                self._run.bell.ring()

        stages.start_soon(stage, name=f"aiomm: {getattr(serve, '__qualname__', 'stage')}")
        return ended

    async def _serve_hooks(self) -> None:
        """Run the hooks that the engine asks for, one at a time."""
        run = self._run
        run.hook_task = task = asyncio.current_task()
        assert task is not None
        while True:
            await run.wait_until(lambda: bool(run.hook_calls), run.hook_bell)
            asked = run.hook_call = run.hook_calls.popleft()
            current_turn.set(asked.turn)
            current_submission.set(asked.submission)
            run.hook_submission = asked.submission
            name = f"{asked.which}_hook_fn"
            if asked.submission.cancelling:  # it was cancelled while another's hook was still ending
                run.hook_call = None
                asked.dropped = asked.done = True
                run.engine.signal.set()
                continue
            try:
                result = await call(run, "engine", self._hooks[asked.which], asked.argument, submission=asked.submission)
                if asked.which != "post_camera":
                    asked.result = check_hook_result(result, isinstance(asked.argument, list), name)
            except Exception as error:
                asked.error = error
            except asyncio.CancelledError:
                if run.stopping or not asked.dropped:
                    raise
            run.hook_call = None
            if asked.dropped:
                task.uncancel()
            asked.done = True
            run.engine.signal.set()

    def _engine_ended(self, result: Any, error: BaseException | None) -> None:
        """Hear of the engine's end; on the hardware thread."""

        def hear() -> None:
            if error is not None:
                self._run.fail(error)
            if not self._engine_end.done():
                self._engine_end.set_result(None)

        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._run.loop.call_soon_threadsafe(hear)

    # ---- waiting ------------------------------------------------------------------------------------------------

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Wait; a cancellation aborts the acquisition and the wait goes on to where that leads."""
        while not ready():
            try:
                await self._run.wait_until(ready)
            except asyncio.CancelledError:
                self._cancelled()

    async def _outlast(self, future: asyncio.Future[Any]) -> None:
        """Wait for something, through cancellations; while the loop shuts down not for long."""
        future.add_done_callback(lambda _: self._run.bell.ring())
        await self._until(lambda: future.done() or self._leave_at is not None)
        if not future.done() and self._leave_at is not None:
            await self._by(self._leave_at, future.done)

    async def _finish_writing(self) -> None:
        """Wait for the writer; after an abort for a moment, then what is not written yet is dropped."""
        run = self._run
        self._writing_ends = True
        written = self._home.finish_writing(run)
        written.add_done_callback(lambda _: run.bell.ring())
        await self._until(lambda: written.done() or run.aborted)
        if await self._in_time(written.done):
            if (failure := written.exception()) is not None:
                run.fail(failure)
            return
        run.writer.give_up()
        if not await self._by(run.loop.time() + WRITE_S, written.done):
            logger.warning("the disk has not answered since the acquisition was aborted: its last images are not saved")
        written.add_done_callback(lambda future: future.exception())

    async def _catch_up(self, caught_up: Callable[[], bool]) -> None:
        """Wait for a consumer: as long as it takes when all is well, a short time after an abort or an error."""
        run = self._run
        await self._until(lambda: caught_up() or run.stopping)
        await self._in_time(caught_up)

    async def _in_time(self, ready: Callable[[], bool]) -> bool:
        """Wait for what is left of the grace after an abort or an error."""
        if ready():
            return True
        now = self._run.loop.time()
        if self._grace_ends is None:
            self._grace_ends = now + GRACE_S
        return await self._by(max(self._grace_ends, now + LEAVE_S), ready)

    async def _by(self, deadline: float, ready: Callable[[], bool]) -> bool:
        """Wait until ``ready()``, to this time of the loop at most; tell whether it is."""
        run = self._run
        late = run.loop.call_at(deadline, run.bell.ring)
        try:
            await self._until(lambda: ready() or run.loop.time() >= deadline)
        finally:
            late.cancel()
        return ready()

    def _cancelled(self) -> None:
        """Somebody cancelled this task, as a loop does that shuts down: abort, and go on with the clean-up."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        if self._leave_at is None:
            self._leave_at = self._run.loop.time() + ABANDON_S
        self._run.abort()
        self._run.bell.ring()

    async def _close_functions(self) -> None:
        left = [function for function in self._functions if not await function.aclose(LEAVE_S)]
        for function in left:
            logger.warning("%s is still running: a function in progress cannot be interrupted; its result is dropped", function.label)
