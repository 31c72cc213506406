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

Nothing here polls: with nothing to do the thread sleeps in ``SimpleQueue.get``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, TypeVar

from aiomm.errors import ClosedError

P = ParamSpec("P")
T = TypeVar("T")


class Signal:
    """Wakes a routine that waits for it. ``set`` may be called from any thread, ``clear`` by the routine only."""

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

    def __init__(self, signal: Signal | None = None, *, until: float | None = None, readers_only: bool = False) -> None:
        self.signal = signal
        self.until = until
        self.readers_only = readers_only


Routine = Generator[Wait | None, None, Any]


class _Call:
    """One plain call: runs once, or never if it was cancelled before it began."""

    __slots__ = ("args", "cancelled", "deliver", "fn", "reads")

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], reads: bool, deliver: Callable[[Any, BaseException | None], None]
    ) -> None:
        self.fn = fn
        self.args = args
        self.reads = reads
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

    def __init__(self, routine: Routine, deliver: Callable[[Any, BaseException | None], None]) -> None:
        self.routine = routine
        self.deliver = deliver
        self.wait: Wait | None = None


class HardwareThread:
    """One thread for the devices of one core.

    Parameters
    ----------
    name : str
        The thread's name, as debuggers show it.
    """

    def __init__(self, name: str = "aiomm-hardware") -> None:
        self._inbox: queue.SimpleQueue[_Call | _Task | None] = queue.SimpleQueue()
        self._calls: deque[_Call] = deque()
        self._parked: deque[_Call] = deque()  # calls that change something, while a routine allows readers only
        self._ready: deque[_Task] = deque()
        self._waiting: list[_Task] = []
        self._timers: list[tuple[float, int, _Task, Wait]] = []
        self._order = itertools.count()
        self._exclusive: _Task | None = None
        self._closing = False
        self._lock = threading.Lock()
        self.current: str = ""
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    # ---- from other threads -------------------------------------------------------------------------------------

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this thread already."""
        return threading.current_thread() is self._thread

    def wake(self) -> None:
        """Have the thread look again at what its routines wait for."""
        self._inbox.put(None)

    def signal(self) -> Signal:
        """Make a signal for a routine of this thread."""
        return Signal(self)

    async def run(self, fn: Callable[..., T], *args: Any, reads: bool = False) -> T:
        """Run ``fn(*args)`` on the thread and await its result.

        A cancelled caller does not wait. A call that has not begun is then never made; one that has begun runs to its
        end, because a device call cannot be interrupted, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def deliver(result: Any, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to hear it
                loop.call_soon_threadsafe(_settle, future, result, error)

        call = self._post(fn, args, reads, deliver)
        try:
            return await future
        finally:
            call.cancelled = True

    def run_blocking(self, fn: Callable[..., T], *args: Any, reads: bool = False) -> T:
        """Run ``fn(*args)`` on the thread and block the calling thread until it is done."""
        if self.is_current:
            return fn(*args)
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._post(fn, args, reads, lambda result, error: _settle(future, result, error))
        return future.result()

    def spawn(self, routine: Routine, done: Callable[[Any, BaseException | None], None]) -> None:
        """Start a routine; ``done(result, error)`` is called on the hardware thread when it has ended."""
        with self._lock:
            if self._closing:
                routine.close()
                raise ClosedError("the core is closed: its hardware thread takes no more work")
            self._inbox.put(_Task(routine, done))

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new work, finish the calls that wait, end the routines, and join the thread.

        Returns False if the thread is still in a device call after ``timeout`` seconds.
        """
        with self._lock:
            self._closing = True
            self._inbox.put(None)
        if self.is_current:
            return False
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def _post(
        self, fn: Callable[..., Any], args: tuple[Any, ...], reads: bool, deliver: Callable[[Any, BaseException | None], None]
    ) -> _Call:
        call = _Call(fn, args, reads, deliver)
        with self._lock:
            if self._closing:
                raise ClosedError("the core is closed")
            self._inbox.put(call)
        return call

    # ---- on the thread ------------------------------------------------------------------------------------------

    def _main(self) -> None:
        while True:
            self._collect()
            self._run_calls()
            if self._ready:
                self._step(self._ready.popleft())
            elif self._closing and self._inbox.empty() and not self._calls:
                if not self._end_one():
                    return

    def _collect(self) -> None:
        """Take what has come; sleep only if there is nothing at all to do."""
        self._wake_due()
        idle = not (self._ready or self._calls or self._closing)
        try:
            if idle:
                timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
                self._take(self._inbox.get(timeout=timeout))
            while not self._inbox.empty():
                self._take(self._inbox.get_nowait())
        except queue.Empty:
            pass
        self._wake_due()

    def _take(self, item: _Call | _Task | None) -> None:
        if isinstance(item, _Call):
            self._calls.append(item)
        elif isinstance(item, _Task):
            self._ready.append(item)

    def _wake_due(self) -> None:
        if self._timers:
            now = time.monotonic()
            while self._timers and (self._timers[0][0] <= now or self._timers[0][2].wait is not self._timers[0][3]):
                _, _, task, wait = heapq.heappop(self._timers)
                if task.wait is wait:
                    self._wake(task)
        for task in [t for t in self._waiting if t.wait and t.wait.signal and t.wait.signal.is_set]:
            self._wake(task)

    def _wake(self, task: _Task) -> None:
        task.wait = None
        self._waiting.remove(task)
        self._ready.append(task)

    def _run_calls(self) -> None:
        if self._exclusive is None and self._parked:
            self._calls.extendleft(reversed(self._parked))
            self._parked.clear()
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            if self._exclusive is not None and not call.reads:
                self._parked.append(call)
            else:
                call.run()

    def _step(self, task: _Task) -> None:
        if self._exclusive is not None and self._exclusive is not task:
            self._ready.append(task)  # only the exclusive routine goes on; it is waiting for a device, in short steps
            if self._exclusive.wait is not None and all(t is not self._exclusive for t in self._ready):
                self._sleep_until_exclusive()
            return
        try:
            wait = task.routine.send(None)
        except StopIteration as end:
            self._release(task)
            task.deliver(end.value, None)
        except BaseException as error:  # whoever spawned the routine gets it
            self._release(task)
            task.deliver(None, error)
        else:
            self._exclusive = task if wait is not None and wait.readers_only else None
            if wait is None:
                self._ready.append(task)
                return
            task.wait = wait
            self._waiting.append(task)
            if wait.until is not None:
                heapq.heappush(self._timers, (wait.until, next(self._order), task, wait))

    def _sleep_until_exclusive(self) -> None:
        """Other routines are ready but must not run: sleep until the exclusive one is due or something comes."""
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        with contextlib.suppress(queue.Empty):
            self._take(self._inbox.get(timeout=timeout))

    def _release(self, task: _Task) -> None:
        if self._exclusive is task:
            self._exclusive = None

    def _end_one(self) -> bool:
        """While closing: end a routine that waits, by an error inside it, so that its ``finally`` runs."""
        if self._parked:
            self._exclusive = None
            return True
        if not self._waiting:
            return False
        task = self._waiting.pop()
        self._release(task)
        try:
            task.routine.throw(ClosedError("the core was closed while this was running"))
        except BaseException as error:
            task.deliver(None, error)
        else:
            task.routine.close()
            task.deliver(None, ClosedError("the core was closed while this was running"))
        return True


def _settle(future: Any, result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future cannot carry it
        future.set_exception(RuntimeError(f"the function raised {error!r}"))
    else:
        future.set_exception(error)
