"""The hardware thread: one thread that makes every device call, and shares itself fairly between callers.

Device drivers want to be called from one thread. Two kinds of work run here:

* *calls*: a plain function, run whole, in the order they came;
* *routines*: generators that run for long (an acquisition). A routine gives the thread away at each ``yield``:

  =====================  ==========================================================================
  ``yield``              what may run before the routine goes on
  =====================  ==========================================================================
  ``None``               whatever is waiting, at once
  `Wait`                 whatever comes until the deadline or the signal, whichever is first
  =====================  ==========================================================================

  A ``Wait(..., readers_only=True)`` lets only calls run that change nothing (``reads=True``); the others wait until
  the routine waits or yields without it. So nobody moves a stage between an event's move and its exposure.

Nothing here polls: with nothing to do the thread sleeps in ``WorkQueue.get``.

When the thread is closed, calls that wait are still made, and each routine gets a `ClosedError` at its ``yield``. Its
``finally`` runs then, on this thread, and must not yield again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, Protocol, TypeVar

from aiomm.errors import ClosedError
from aiomm.work_queue import WorkQueue

P = ParamSpec("P")
T = TypeVar("T")
LONGEST_S = 3600.0  # of one sleep: locks take no wait of centuries, and a sleep that ends early does no harm
CLOSED = "the core was closed while this was running"


class Wakes(Protocol):
    """Wakes a routine that waits for it. ``set`` may be called from any thread, ``clear`` by the routine only."""

    @property
    def is_set(self) -> bool: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...


class Signal:
    """Wakes a routine on a `HardwareThread`."""

    __slots__ = ("_flag", "_thread")

    def __init__(self, thread: HardwareThread) -> None:
        self._flag = False
        self._thread = thread

    @property
    def is_set(self) -> bool:
        return self._flag

    def set(self) -> None:
        if not self._flag:
            self._flag = True
            self._thread.wake()

    def clear(self) -> None:
        self._flag = False


class Wait:
    """What a routine waits for: a signal, a deadline on ``time.monotonic()``, or whichever comes first."""

    __slots__ = ("readers_only", "signal", "until")

    def __init__(self, signal: Wakes | None = None, *, until: float | None = None, readers_only: bool = False) -> None:
        self.signal = signal
        self.until = until
        self.readers_only = readers_only


Routine = Generator[Wait | None, None, Any]
Deliver = Callable[[Any, BaseException | None], None]
"""Gets (result, error) when a call or routine has ended; runs on the hardware thread."""


class _Call:
    """One plain call: runs once, or never if it was cancelled before it began."""

    __slots__ = ("args", "cancelled", "deliver", "fn", "label", "reads")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], reads: bool, label: object, deliver: Deliver) -> None:
        self.fn = fn
        self.args = args
        self.reads = reads
        self.label = label
        self.deliver = deliver
        self.cancelled = False

    def run(self) -> None:
        if self.cancelled:
            return
        try:
            result = self.fn(*self.args)
        except BaseException as error:  # the caller gets it, whatever it is
            self.deliver(None, error)
        else:
            self.deliver(result, None)


class _Task:
    __slots__ = ("deliver", "routine", "wait")

    def __init__(self, routine: Routine, deliver: Deliver) -> None:
        self.routine = routine
        self.deliver = deliver
        self.wait: Wait | None = None

    def is_due(self, now: float) -> bool:
        """Whether the routine may go on: what it waits for has come, or it does not wait."""
        wait = self.wait
        if wait is None:
            return True
        return (wait.signal is not None and wait.signal.is_set) or (wait.until is not None and wait.until <= now)


class HardwareThread:
    """One thread for the devices of one core.

    Parameters
    ----------
    name : str
        The thread's name, as debuggers show it.
    """

    def __init__(self, name: str = "aiomm-hardware") -> None:
        self._inbox: WorkQueue[_Call | _Task | None] = WorkQueue()
        self._calls: deque[_Call] = deque()
        self._parked: deque[_Call] = deque()  # calls that change something, while a routine allows readers only
        self._tasks: deque[_Task] = deque()  # routines, the one that has waited longest for a step first
        self._exclusive: _Task | None = None
        self._closing = False
        self._broken: BaseException | None = None  # what has ended the thread, if not `close`
        self._ended: list[Callable[[], None]] = []
        self.last_call: Callable[[], None] | None = None
        """Called on the thread when it is closed and everything else has ended; must not raise."""
        self._lock = threading.RLock()  # reentrant: a finaliser may post while its thread is in here
        self._current: object = ""
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    # ---- from other threads -------------------------------------------------------------------------------------

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this thread already."""
        return threading.current_thread() is self._thread

    @property
    def alive(self) -> bool:
        """Whether the thread still makes calls."""
        return self._ended is not _OVER and self._thread.is_alive()

    @property
    def current(self) -> str:
        """What the thread is doing now, for people to read; empty while it has nothing to do.

        A routine may set it, to say what it does.
        """
        current = self._current
        if isinstance(current, str):
            return current
        if isinstance(current, tuple):
            return f"{current[0]}({', '.join(f'{a!r:.40}' for a in current[1])})"
        return str(getattr(current, "__qualname__", "") or current)

    @current.setter
    def current(self, what: object) -> None:
        self._current = what

    def wake(self) -> None:
        """Have the thread look again at what its routines wait for."""
        self._inbox.put(None)

    def signal(self) -> Signal:
        """Make a signal for a routine of this thread."""
        return Signal(self)

    async def run(self, fn: Callable[..., T], *args: Any, reads: bool = False, label: object = None) -> T:
        """Run ``fn(*args)`` on the thread and await its result.

        A cancelled caller does not wait. A call that has not begun is then never made; one that has begun runs to its
        end, because a device call cannot be interrupted, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        call = self._post(fn, args, reads, label, _to_loop(loop, future))
        try:
            return await future
        finally:
            call.cancelled = True

    def run_blocking(self, fn: Callable[..., T], *args: Any, reads: bool = False, label: object = None) -> T:
        """Run ``fn(*args)`` on the thread and block the calling thread until it is done."""
        if self.is_current:
            return fn(*args)
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        call = self._post(fn, args, reads, label, lambda result, error: _settle(future, result, error))
        try:
            return future.result()
        finally:
            call.cancelled = True

    def post(self, fn: Callable[..., Any], *args: Any, label: object = None) -> None:
        """Have ``fn(*args)`` run on the thread, in its place in the line, and wait for nothing; it must not raise."""
        self._post(fn, args, False, label, _unheard)

    def spawn(self, routine: Routine, done: Deliver) -> None:
        """Start a routine; ``done(result, error)`` is called on the hardware thread when it has ended."""
        with self._lock:
            if not self._closing:
                self._inbox.put(_Task(routine, done))
                return
        routine.close()
        raise self._closed("the core is closed: its hardware thread takes no more work")

    async def run_routine(self, make: Callable[[Signal], Routine]) -> Any:
        """Run ``make(cancelled)`` as a routine and await its result.

        ``cancelled`` is set when the caller is cancelled: the routine then ends as soon as it can, and the caller does
        not wait for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        cancelled = self.signal()
        self.spawn(make(cancelled), _to_loop(loop, future))
        try:
            return await future
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def run_routine_blocking(self, make: Callable[[Signal], Routine]) -> Any:
        """Do as `run_routine` does, and block the calling thread, which is neither this one nor the loop's."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        cancelled = self.signal()
        self.spawn(make(cancelled), lambda result, error: _settle(future, result, error))
        try:
            return future.result()
        finally:
            cancelled.set()

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new work, finish the calls that wait, end the routines, and join the thread.

        Returns False if the thread is still in a device call after ``timeout`` seconds, or is the caller's own.
        """
        self._begin_to_close()
        if self.is_current:
            return False
        self._thread.join(timeout)
        return not self._thread.is_alive()

    async def aclose(self) -> None:
        """Close, and await the thread's end without blocking the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        deliver = _to_loop(loop, future)
        if self._begin_to_close(lambda: deliver(None, None)):
            await future  # the thread has nothing left to do then but return

    def _begin_to_close(self, ended: Callable[[], None] | None = None) -> bool:
        """Refuse new work; tell whether ``ended`` will be called at the thread's end (False: it has ended)."""
        with self._lock:
            self._closing = True
            if self.alive:
                if ended is not None:
                    self._ended.append(ended)
                self._inbox.put(None)
                return True
        return False

    def _post(self, fn: Callable[..., Any], args: tuple[Any, ...], reads: bool, label: object, deliver: Deliver) -> _Call:
        call = _Call(fn, args, reads, fn if label is None else label, deliver)
        with self._lock:
            if self._closing:
                raise self._closed("the core is closed")
            self._inbox.put(call)
        return call

    # ---- on the thread ------------------------------------------------------------------------------------------

    def _closed(self, why: str) -> ClosedError:
        """Make the error for what cannot be done any more."""
        if self._broken is None:
            return ClosedError(why)
        error = ClosedError(f"{why}; its hardware thread has ended by an error of its own: {type(self._broken).__name__}: {self._broken}")
        error.__cause__ = self._broken
        return error

    def _main(self) -> None:
        while True:
            try:
                if self._go_round():
                    return
            except BaseException as wrong:  # nobody may wait for ever because of it: the thread ends as when it is closed
                self._broken = self._broken or wrong
                self._begin_to_close()
                with contextlib.suppress(BaseException):
                    _show(wrong)

    def _go_round(self) -> bool:
        """Do what there is to do, once; tell whether it was the last. While closing, each time leaves less to do, also if it raises."""
        self._collect()
        self._run_calls()
        if not self._closing:
            self._step_next()
            return False
        self._end_routines()
        return self._finished()

    def _collect(self) -> None:
        """Take what has come; sleep only if there is nothing at all to do."""
        timeout = self._may_sleep()
        try:
            if timeout != 0:
                self._current = ""
                self._take(self._inbox.get(timeout=timeout))
            while not self._inbox.empty():
                self._take(self._inbox.get())
        except queue.Empty:
            pass

    def _may_sleep(self) -> float | None:
        """How long there is nothing to do unless something comes: seconds, 0, or None for no end."""
        if self._closing or self._calls or (self._parked and self._exclusive is None):
            return 0
        until: float | None = None
        now = time.monotonic()
        for task in self._tasks if self._exclusive is None else (self._exclusive,):
            if task.is_due(now):
                return 0
            if task.wait is not None and task.wait.until is not None and (until is None or task.wait.until < until):
                until = task.wait.until
        return None if until is None else max(min(LONGEST_S, until - now), 1e-6)

    def _take(self, item: _Call | _Task | None) -> None:
        if isinstance(item, _Call):
            self._calls.append(item)
        elif isinstance(item, _Task):
            self._tasks.append(item)

    def _run_calls(self) -> None:
        """Make the calls that have come; those that change something wait while a routine allows readers only."""
        if self._exclusive is None and self._parked:
            self._calls.extendleft(reversed(self._parked))
            self._parked.clear()
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            if self._exclusive is not None and not call.reads:
                self._parked.append(call)
            else:
                self._current = call.label
                call.run()

    def _step_next(self) -> None:
        """Give one routine that is due one step; while one allows readers only, no other."""
        now = time.monotonic()
        for task in self._tasks if self._exclusive is None else (self._exclusive,):
            if task.is_due(now):
                self._tasks.remove(task)
                self._step(task)
                return

    def _step(self, task: _Task) -> None:
        self._current = task.routine
        task.wait = None
        try:
            wait = task.routine.send(None)
            exclusive = task if wait is not None and wait.readers_only else None
        except StopIteration as end:
            self._end(task, end.value, None)
        except BaseException as error:  # whoever spawned the routine gets it
            self._end(task, None, error)
        else:
            task.wait = wait
            self._exclusive = exclusive
            self._tasks.append(task)

    def _end(self, task: _Task, result: Any, error: BaseException | None) -> None:
        if self._exclusive is task:
            self._exclusive = None
        try:
            task.deliver(result, error)
        except BaseException as wrong:  # a mistake in `done` must not end the thread that others need, nor stay unseen
            _show(wrong)

    def _end_routines(self) -> None:
        """End each routine by an error inside it, so that its ``finally`` runs."""
        while self._tasks:
            task = self._tasks.popleft()
            self._current = task.routine
            try:
                task.routine.throw(self._closed(CLOSED))
                task.routine.close()
            except StopIteration as end:
                self._end(task, end.value, None)
            except BaseException as error:
                self._end(task, None, error)
            else:
                self._end(task, None, self._closed(CLOSED))

    def _finished(self) -> bool:
        if self._calls or self._parked or self._tasks or not self._inbox.empty():
            return False
        last, self.last_call = self.last_call, None
        if last is not None:
            self._current = last
            last()
        self._current = ""
        with self._lock:
            ended, self._ended = self._ended, _OVER
        for tell in ended:
            tell()
        return True


_OVER: list[Callable[[], None]] = []
"""In the place of a thread's list of those who wait for its end, once it has ended."""


def _unheard(result: Any, error: BaseException | None) -> None:
    if error is not None:
        _show(error)


def _show(error: BaseException) -> None:
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread())))


def _to_loop(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> Deliver:
    """Make what settles a loop's future from the hardware thread."""

    def deliver(result: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to hear it
            loop.call_soon_threadsafe(_settle, future, result, error)

    return deliver


def _settle(future: Any, result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future cannot carry it
        future.set_exception(RuntimeError(f"the function raised {error!r}"))
    else:
        future.set_exception(error)
