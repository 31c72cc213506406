"""Wake whoever waits for a dataset to grow: told by the thread that saves, heard on any event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from aiomm.errors import ClosedError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future


class Growth:
    """Whether a dataset may still grow, and those who wait for its next image.

    Only who waits at the moment is known here, so a watcher that nobody reads costs nothing; a batch of images costs
    each event loop one call, however many wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[AbstractEventLoop, set[Future[None]]] = {}
        self.ended = False
        self._error: Exception | None = None
        self._closed = False

    # ---- any thread ---------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """Wake all who wait; whatever they wait for is published before."""
        if not self._waiting:  # who is entered after this looks at what was published before it
            return
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for loop, futures in waiting.items():
            try:
                loop.call_soon_threadsafe(_wake, futures)
            except RuntimeError:  # that loop was closed, and its tasks with it
                continue

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self.tell()

    def fail(self, error: Exception) -> None:
        """What was to come cannot be known any more."""
        if not self.ended:
            self._error = self._error or error
            self.tell()

    def close(self) -> None:
        """Nobody may wait any longer."""
        self._closed = True
        self.tell()

    # ---- on an event loop ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise if waiting is over for another reason than the end.

        Raises
        ------
        ClosedError
            The dataset was closed.
        Exception
            Following it has failed; of the type of the failure.
        """
        self.check_closed()
        if self._error is not None:
            raise type(self._error)(str(self._error)) from self._error  # each who waits gets one of their own

    def check_closed(self) -> None:
        """Raise if the dataset was closed."""
        if self._closed:
            raise ClosedError("the dataset was closed")

    def enter(self) -> Future[None]:
        """Make a future that the next `tell` sets. Look at what there is after this, then wait; `leave` in any case."""
        loop = asyncio.get_running_loop()
        future: Future[None] = loop.create_future()
        with self._lock:
            self._waiting.setdefault(loop, set()).add(future)
        return future

    def leave(self, future: Future[None]) -> None:
        """Forget a future."""
        loop = future.get_loop()
        with self._lock:
            futures = self._waiting.get(loop)
            if futures is not None:
                futures.discard(future)
                if not futures:
                    del self._waiting[loop]

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))


def _wake(futures: set[Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
