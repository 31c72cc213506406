"""Run an engine's routine on the event loop, where a step may also be something to await."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Generator
from typing import Any

from aiomm.core.thread import Wait

Steps = Generator[Any, Any, Any]
"""A routine that runs on the loop."""


class LoopSignal:
    """Wakes a routine that runs on the loop, or a task that waits for it; ``set`` may be called from any thread.

    Parameters
    ----------
    loop
        The loop.
    also
        Signals that are set with this one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *also: LoopSignal) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._also = also
        self._flag = False
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def is_set(self) -> bool:
        return self._flag

    def set(self) -> None:
        if not self._flag:
            self._flag = True
            if self._waiters:
                if threading.get_ident() == self._thread:
                    self._wake()
                else:
                    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                        self._loop.call_soon_threadsafe(self._wake)
        for signal in self._also:
            signal.set()

    def clear(self) -> None:
        self._flag = False

    async def wait(self) -> None:
        """Wait until it is set."""
        while not self._flag:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                if not self._flag:  # set by another thread since, which saw no waiter
                    await waiter
            finally:
                self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


async def drive(routine: Steps) -> Any:
    """Run a routine to its end and give its result.

    It may yield None (others go first), a `Wait`, or an awaitable, whose result the ``yield`` gives and whose error it raises.
    A cancellation is raised at the ``yield`` too; the clean-up that follows there may yield again.
    """
    result: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                step = routine.send(result) if error is None else routine.throw(error)
            except StopIteration as end:
                return end.value
            result = error = None
            try:
                if step is None:
                    await asyncio.sleep(0)
                elif isinstance(step, Wait):
                    await _wait(step)
                else:
                    result = await step
            except BaseException as raised:  # the routine decides what becomes of it
                error = raised
    finally:
        routine.close()


async def _wait(step: Wait) -> None:
    signal = step.signal
    left = None if step.until is None else max(0.0, step.until - time.monotonic())
    if signal is None:
        await asyncio.sleep(left or 0)
        return
    assert isinstance(signal, LoopSignal)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left):
            await signal.wait()
