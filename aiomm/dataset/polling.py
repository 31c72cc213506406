"""Follow what another process writes: a thread that looks often while images come, and seldom while none do."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from aiomm.dataset.opening import open_tail
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.storage import GrowingStore

QUICK: Final = 0.0005
STEADY: Final = 0.001
SLOW: Final = 0.02
"""Seconds from one look to the next: between images that come quickly, between others, and when none come."""


class Tail(Protocol):
    """What another process appends, read as it comes."""

    @property
    def store(self) -> GrowingStore:
        """What grows."""
        ...

    @property
    def pending(self) -> bool:
        """Whether the next poll may find more, though nothing new is written."""
        ...

    @property
    def begun(self) -> bool:
        """Whether it is known what holds for every image."""
        ...

    def poll(self) -> bool:
        """Add what is new to the store; whether there was something new. Nobody is told."""
        ...

    def ended(self) -> bool:
        """Whether the writer is done."""
        ...


class Pace:
    """How long to sleep before the next look."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._gap = 0.0

    def came(self, now: float) -> None:
        """Images came."""
        self._gap = max(0.8 * self._gap, min(now - self._last, 1.0))
        self._last = now

    def delay(self, now: float) -> float:
        """Seconds to sleep. Quick for as long as the next image may be expected, then slower and slower."""
        idle = now - self._last
        quick = min(STEADY, max(QUICK, self._gap / 50))
        return min(SLOW, quick + max(0.0, idle - min(1.0, 0.05 + 3 * self._gap)) / 10)


class Follower:
    """Looks into a folder from a thread until its writer is done, it is stopped, or something is wrong."""

    def __init__(self, path: Path, tail: Tail, ended: bool) -> None:
        self.path = path
        self.store = tail.store
        self._stopped = False
        if ended:
            self.store.finish()
        else:
            threading.Thread(target=self._run, args=(tail,), name="aiomm-follow", daemon=True).start()

    def stop(self) -> None:
        """Look no more. Returns at once; the thread ends with its sleep, and lets go of the file that it looks into."""
        self._stopped = True

    def _run(self, tail: Tail) -> None:
        growth, pace = self.store.index.growth, Pace(time.monotonic())
        try:
            while not self._stopped:
                time.sleep(QUICK if tail.pending else pace.delay(time.monotonic()))
                if tail.poll():
                    growth.tell()
                    pace.came(time.monotonic())
                elif tail.ended():
                    self.store.finish()
                    return
        except DatasetFormatError as error:
            growth.fail(error)
        except Exception as error:
            failure = DatasetFormatError(f"{self.store.path}: it cannot be followed any more: {type(error).__name__}: {error}")
            failure.__cause__ = error
            growth.fail(failure)


def open_live(path: Path, wait: float, given_up: threading.Event | None = None) -> Follower:
    """Open a dataset that is being written; wait at most ``wait`` seconds until there is one, and until it has begun.

    Raises
    ------
    DatasetFormatError
        There is none by then; the message says what is missing.
    """
    given_up = given_up or threading.Event()
    path = path.absolute()
    deadline = time.monotonic() + wait
    tail: Tail | None = None
    while True:
        left = deadline - time.monotonic()
        try:
            if tail is None:
                tail = open_tail(path)
            else:
                tail.poll()
            ended = tail.ended()
            if ended or tail.begun or left <= 0:
                return Follower(path, tail, ended)
        except DatasetFormatError as error:
            tail = None
            if left <= 0:
                hint = f" (waited {wait:g} s)" if wait else "; if it is still to come, wait=... says how long to wait for it"
                raise DatasetFormatError(f"{error}{hint}") from None
        if given_up.wait(min(SLOW, left)):
            raise DatasetFormatError(f"{path}: waiting for it was given up")


async def open_live_async(path: Path, wait: float) -> Follower:
    """Open without blocking the event loop, nor a thread of its executor, which others need; see `open_live`."""
    given_up = threading.Event()
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Follower] = loop.create_future()

    def tell(follower: Follower | None, error: BaseException | None) -> None:
        if opened.done():  # cancelled meanwhile: nobody takes it
            if follower is not None:
                follower.stop()
        elif follower is not None:
            opened.set_result(follower)
        else:
            opened.set_exception(error or RuntimeError("nothing was opened"))

    def run() -> None:
        follower: Follower | None = None
        failure: BaseException | None = None
        try:
            follower = open_live(path, wait, given_up)
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(tell, follower, failure)
        except RuntimeError:  # that loop was closed, and who waited with it
            if follower is not None:
                follower.stop()
        finally:
            failure = None  # which holds this frame

    threading.Thread(target=run, name="aiomm-open", daemon=True).start()
    try:
        return await opened
    finally:
        given_up.set()
