"""Threads that a test has started and left."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def left_over(before: Iterable[threading.Thread], timeout: float = 5.0, *, but: str | None = None) -> list[str]:
    """Names of the threads that were not there ``before`` and do not end, ``but`` those that begin so.

    A thread that has said its last word may take a moment more.
    """
    deadline = time.monotonic() + timeout
    new = [thread for thread in set(threading.enumerate()).difference(before) if but is None or not thread.name.startswith(but)]
    for thread in new:
        thread.join(max(deadline - time.monotonic(), 0.0))
    return [thread.name for thread in new if thread.is_alive()]
