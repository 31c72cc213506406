"""Java chooses the number of a dataset's folder unguarded: one acquisition of this process at a time has it choose, on each server."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiomm.acquire.remote.shared import server_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiomm.bridge import Bridge

__all__ = ["choosing_folder"]


class _OneAtATime:
    """A lock for tasks of any loops, in the order in which they come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for moments only
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    async def acquire(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            turn: Future[None] = Future()
            self._waiting.append(turn)
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            with self._lock:
                came = not turn.cancel()
            if came:
                self.release()
            raise

    def release(self) -> None:
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            self._taken = False


_CHOOSING: dict[tuple[str, int], _OneAtATime] = {}


@asynccontextmanager
async def choosing_folder(bridge: Bridge) -> AsyncIterator[None]:
    """Nobody else of this process has this Micro-Manager choose a folder meanwhile. Other programs are not held up."""
    turns = _CHOOSING.setdefault(server_of(bridge), _OneAtATime())
    await turns.acquire()
    try:
        yield
    finally:
        turns.release()
