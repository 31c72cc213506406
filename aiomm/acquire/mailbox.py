"""Between threads and the loop: a mailbox with one wake pending at most, a bell that wakes tasks, waits that last.

Waking the loop from another thread is what costs most in an acquisition (about 0.1 ms a time). A mailbox therefore
wakes it once for all that has come since it last looked.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Mailbox:
    """Messages from threads, handled on the loop in the order they were posted.

    Its length is bounded by its senders: they post about frames and events that are bounded themselves.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, handle: Callable[[Any], None], after: Callable[[], None]) -> None:
        self._loop = loop
        self._thread = threading.get_ident()  # it is made on the loop
        self._handle = handle
        self._after = after
        self._messages: deque[Any] = deque()
        self._wake_pending = False

    def post(self, message: Any, *, wake: bool = True) -> None:
        """Leave a message; with ``wake=False`` it is read at the next wake that somebody else causes."""
        self._messages.append(message)
        if wake and not self._wake_pending:
            self._wake_pending = True
            here = threading.get_ident() == self._thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to read it
                (self._loop.call_soon if here else self._loop.call_soon_threadsafe)(self.read)

    def read(self) -> None:
        """Handle all that has come; on the loop."""
        self._wake_pending = False
        messages = self._messages
        if not messages:
            return
        while messages:
            self._handle(messages.popleft())
        self._after()


class Bell:
    """Wakes the tasks that wait for something to change; on the loop only.

    Most rings change nothing for most that wait, and to wake a task costs as much as thirty looks at its condition. So who waits
    `until` something is woken when that is so: it is looked at when the bell rings, and once more when all that was about to run has run.
    """

    __slots__ = ("_again", "_waiters")

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], Callable[[], bool] | None] = {}
        self._again = False

    def ring(self) -> None:
        if not self._waiters:
            return
        loop = next(iter(self._waiters)).get_loop()
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:  # a thread without a loop, as of a plain function that submits events
            here = False
        if not here:
            loop.call_soon_threadsafe(self.ring)
            return
        self._look()
        if self._waiters and not self._again:
            self._again = True
            loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        self._again = False
        self._look()

    def _look(self) -> None:
        due = [waiter for waiter, ready in self._waiters.items() if ready is None or ready()]
        for waiter in due:
            del self._waiters[waiter]
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until it rings. Look at the condition before, with no await between."""
        await self._woken(None)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready()``, which changes nothing and takes no time; what makes it true rings the bell."""
        while not ready():
            await self._woken(ready)

    async def _woken(self, ready: Callable[[], bool] | None) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = ready
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)


async def outlast(future: asyncio.Future[Any], *, timeout: float | None = None) -> asyncio.CancelledError | None:
    """Wait until ``future`` is done, or ``timeout`` seconds, whoever cancels the waiting task meanwhile.

    Returns the last cancellation that came, for the caller to raise again when its clean-up is done. This is how
    clean-up survives ``task.cancel()``, which the shields of task groups do not stop.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        left = None if deadline is None else deadline - loop.time()
        if left is not None and left <= 0:
            break
        try:
            await asyncio.wait({future}, timeout=left)
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


def in_thread(fn: Callable[[], None]) -> asyncio.Future[None]:
    """Run a function in a thread of its own; the future has its outcome when it has returned."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def main() -> None:
        error: BaseException | None = None
        try:
            fn()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=main, name="aiomm storage", daemon=True).start()
    return future
