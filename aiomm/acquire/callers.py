"""Run a user's function on the event loop or in a worker thread of its own, and give it up in bounded time.

A caller runs one function. What every caller promises:

* the function's exception comes back with its own type and the function's own frames in its traceback;
* the function sees a copy of the context (``contextvars``) of the task that calls it;
* cancelling ``call`` ends the wait: at once for a thread, which cannot be interrupted and runs on with its result
  dropped; after at most `GRACE` seconds for a coroutine, which is cancelled and given that long to clean up;
* ``aclose`` waits at most as long as it is told and says whether the function has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
import time
import weakref
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from aiomm.errors import ClosedError, HookError
from aiomm.work_queue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

GRACE = 0.5
"""Seconds that a cancelled coroutine has to end; after them it is left behind, still cancelled."""


function_task: ContextVar[asyncio.Task[Any] | None] = ContextVar("aiomm_function_task", default=None)
"""The task in which a user's coroutine function runs; tasks that it makes inherit it."""


class Caller(Protocol):
    """One way to run a function."""

    @property
    def concurrent(self) -> int: ...  # how many calls may be under way at once
    @property
    def running_since(self) -> float | None: ...  # time.monotonic() when the oldest call in progress began
    async def start(self) -> None: ...
    async def call(self, args: tuple[Any, ...]) -> Any: ...
    async def aclose(self, timeout: float) -> bool: ...


async def wait_out(future: asyncio.Future[Any], timeout: float) -> None:
    """Wait for `future` to be done, `timeout` seconds at most, through every cancellation.

    A cancellation that comes meanwhile is raised at the end. The future's own result or error is not.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not future.done() and (left := deadline - loop.time()) > 0:
            try:
                await asyncio.wait([future], timeout=left)
            except asyncio.CancelledError as error:  # a shield of anyio's does not stop a native task.cancel()
                cancelled = error
    if cancelled is not None:
        raise cancelled


def as_raisable(error: BaseException, label: str) -> BaseException:
    """Give what to raise on the loop for `error`: itself, unless the loop would take it for something else.

    A KeyboardInterrupt or SystemExit would tear the loop down, a CancelledError would look like a cancellation of the
    acquisition, a StopIteration like the end of a coroutine, so these become the cause of a HookError.
    """
    if isinstance(error, StopIteration):
        instead = "it ends an iterator, and nothing else: does next() find nothing?"
    elif isinstance(error, Exception):
        return error
    else:
        instead = "it should raise an Exception"
    replaced = HookError(f"{label} raised {type(error).__name__}{f': {error}' if str(error) else ''}; {instead}")
    replaced.__cause__ = error
    return replaced


class LoopCaller:
    """Runs coroutine functions on the event loop, in tasks of their own: each call in one, or several calls one after the other.

    The task of its own is what makes the wait bounded: a coroutine that swallows its cancellation is left behind.
    """

    concurrent = 1

    def __init__(self, fn: Callable[..., Coroutine[Any, Any, Any]], label: str) -> None:
        self._fn = fn
        self._label = label
        self._tasks: dict[asyncio.Task[Any], float | None] = {}  # when the call in it began
        self._left: set[asyncio.Task[Any]] = set()  # those whose caller was cancelled
        self._closed = False

    @property
    def running_since(self) -> float | None:
        return min(filter(None, self._tasks.values()), default=None)

    async def start(self) -> None:
        """Nothing to prepare."""

    async def call(self, args: tuple[Any, ...]) -> Any:
        if self._closed:
            raise ClosedError(f"{self._label} was called after it was closed")
        if (task := asyncio.current_task()) in self._tasks:
            return await self._call_here(task, args)
        return await self.run(self._fn(*args))

    async def together(self, calls: Coroutine[Any, Any, None]) -> None:
        """Await what makes several calls, all in one task: a task for each costs as much as all else about a call that returns at once."""
        await self._run(calls, None)

    async def _call_here(self, task: asyncio.Task[Any], args: tuple[Any, ...]) -> Any:
        self._tasks[task] = time.monotonic()
        try:
            called = self._fn(*args)
            result = await (_InContext(called) if isinstance(called, Coroutine) else called)
        finally:
            if task not in self._left:
                self._tasks[task] = None
        if task in self._left:  # it has swallowed its cancellation, and nobody waits for what it returns
            raise asyncio.CancelledError
        return result

    async def run(self, awaitable: Awaitable[Any]) -> Any:
        """Await `awaitable` in a task, which a cancellation of the caller cancels and leaves behind after `GRACE`."""
        return await self._run(awaitable, time.monotonic())

    async def _run(self, awaitable: Awaitable[Any], began: float | None) -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def ended(task: asyncio.Task[Any]) -> None:
            self._forget(task)
            if not done.done():
                done.set_result(None)

        task: asyncio.Task[Any] = loop.create_task(_as_coroutine(awaitable, self._label, done), name=self._label)
        self._tasks[task] = began
        task.add_done_callback(ended)
        try:
            await done
        except asyncio.CancelledError:
            self._left.add(task)
            task.cancel()
            await wait_out(task, GRACE)
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error  # noqa: B904  what its clean-up raised, as if it had been awaited directly
            raise
        if task.cancelled():
            raise HookError(f"{self._label} raised CancelledError although nobody cancelled it; something that it awaited was cancelled")
        if (error := task.exception()) is not None:
            try:
                raise as_raisable(error, self._label)
            finally:
                del error
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # an abandoned task's error has nobody left to hear it; others read it themselves

    async def aclose(self, timeout: float) -> bool:
        """Cancel what still runs, wait for it, `timeout` seconds at most. Returns whether all has ended."""
        self._closed = True
        deadline = time.monotonic() + timeout
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            await wait_out(task, deadline - time.monotonic())
        return all(task.done() for task in tasks)


async def _as_coroutine(awaitable: Awaitable[Any], label: str, done: asyncio.Future[None]) -> Any:
    function_task.set(asyncio.current_task())
    try:
        return await awaitable
    except (KeyboardInterrupt, SystemExit) as error:
        raise as_raisable(error, label) from error
    finally:
        if not done.done():  # a turn of the loop before the task's own callback, which is for a task that never began
            done.set_result(None)


class _InContext:
    """Awaits a coroutine in the current task, and in a copy of its context."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, run = self._coroutine, contextvars.copy_context().run
        step: Callable[..., Any] = coroutine.send
        given: Any = None
        try:
            while True:
                waits_for = run(step, given)
                try:
                    given, step = (yield waits_for), coroutine.send
                except BaseException as error:
                    given, step = error, coroutine.throw
        except StopIteration as end:
            return end.value


class _Job:
    """One call for the thread."""

    __slots__ = ("args", "context", "dropped", "error", "future", "loop", "result")

    def __init__(self, args: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> None:
        self.args = args
        self.context = contextvars.copy_context()
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.dropped = False
        self.result: Any = None
        self.error: BaseException | None = None

    def finish(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class _Lane:
    """What the thread shares with its caller. The thread holds this only, so a forgotten caller can be collected."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.jobs: WorkQueue[_Job | None] = WorkQueue()
        self.since: float | None = None
        self.given = self.done = 0  # how many calls
        self.on_end: Callable[[], None] | None = None
        self.ended = False
        self.lock = threading.Lock()

    def main(self) -> None:
        try:
            while (job := self.jobs.get()) is not None:
                if job.dropped:
                    self.done += 1
                else:
                    self.run(job)
                del job  # an idle thread keeps nobody's pixels
        finally:
            with self.lock:
                self.ended = True
                on_end = self.on_end
            if on_end is not None:
                on_end()

    def run(self, job: _Job) -> None:
        self.since = time.monotonic()
        try:
            job.result = job.context.run(self.fn, *job.args)
        except BaseException as error:  # it is raised where the call is awaited
            job.error = error
        finally:
            self.since = None
            self.done += 1  # before anybody hears of it
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to hear it
            job.loop.call_soon_threadsafe(job.finish)


class ThreadCaller:
    """Runs plain functions in one daemon thread of its own, in the order of the calls.

    A result that can be awaited (``lambda event: coroutine(event)``) is awaited on the loop.
    """

    concurrent = 1

    def __init__(self, fn: Callable[..., Any], label: str) -> None:
        self._label = label
        self._lane = _Lane(fn)
        self._started = False
        self._closed = False
        self._awaiter = LoopCaller(fn, label)
        weakref.finalize(self, self._lane.jobs.put, None)

    @property
    def running_since(self) -> float | None:
        return self._lane.since or self._awaiter.running_since

    async def start(self) -> None:
        """Nothing to prepare: the thread starts with the first call."""

    async def call(self, args: tuple[Any, ...]) -> Any:
        if self._closed:
            raise ClosedError(f"{self._label} was called after it was closed")
        job = _Job(args, asyncio.get_running_loop())
        if not self._started:
            self._started = True
            threading.Thread(target=self._lane.main, name=f"aiomm {self._label}", daemon=True).start()
        self._lane.given += 1
        self._lane.jobs.put(job)
        try:
            await job.future
        except asyncio.CancelledError:
            job.dropped = True  # never begun: never run; begun: it runs on, and nobody reads its result
            raise
        if job.error is not None:
            error = as_raisable(job.error, self._label)
            job.error = None
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        if inspect.isawaitable(job.result):
            return await self._awaiter.run(job.result)
        return job.result

    async def aclose(self, timeout: float) -> bool:
        """Let the thread end after the call in progress, wait `timeout` seconds at most. Returns whether no call is in progress."""
        self._closed = True
        if not self._started:
            return True
        deadline = time.monotonic() + timeout
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def hear() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: None if ended.done() else ended.set_result(None))

        with self._lane.lock:
            self._lane.on_end = hear
            if self._lane.ended:
                ended.set_result(None)
        self._lane.jobs.put(None)
        await wait_out(ended, timeout)
        awaited = await self._awaiter.aclose(deadline - time.monotonic())
        return (ended.done() or self._lane.done == self._lane.given) and awaited  # a thread may just not have come to its end yet
