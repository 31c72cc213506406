"""Work on a thread of its own, so that an interrupt never comes in the middle of it: it is asked to stop, and ends by itself."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PATIENCE: Final = None if os.name == "posix" else 0.2
"""Seconds; Windows does not interrupt a wait."""
_STARTS: Final = 1.0
"""Seconds in which a thread starts, if it does."""


class Stopped(Exception):
    """The work was asked to stop, and has."""


class Stop:
    """Asks work to stop. Every method may be called from any thread, `set` from a signal handler too."""

    def __init__(self) -> None:
        self._asked = False
        self._calls: list[Callable[[], None]] = []

    def set(self) -> None:
        """Ask."""
        self._asked = True
        for call in tuple(self._calls):
            call()

    def check(self) -> None:
        """End here if asked.

        Raises
        ------
        Stopped
            It was.
        """
        if self._asked:
            raise Stopped

    def then(self, call: Callable[[], None]) -> None:
        """Have something called when it is asked, at once if it was; it must be quick, and may be called twice."""
        self._calls.append(call)
        if self._asked:
            call()


def apart(work: Callable[[], T], stop: Stop, name: str) -> T:
    """Do work on a thread of its own, if this is the one that is interrupted; give its result, or raise its error.

    An interrupt asks it to stop, and is raised when it has ended, whether it was done or not.

    Raises
    ------
    BaseException
        What the work raises; and KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            stop.check()
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, name=name)
    try:
        thread.start()
        while not ended.wait(_PATIENCE):
            pass
    except BaseException:
        stop.set()
        while not ended.is_set():
            with contextlib.suppress(KeyboardInterrupt):
                if not ended.wait(_STARTS if thread.ident is None else _PATIENCE) and thread.ident is None:
                    break  # the interrupt came before it began
        raise
    thread.join()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()
    return results[0]
