"""Ctrl-C: once stops safely, twice abandons."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiomm.cli.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SHOW_CURSOR = b"\x1b[?25h"


@dataclass(slots=True)
class Hardware:
    """Whether the hardware is safe, that is nothing moves, and nobody needs to wait for it; and whether it was SIGTERM that came."""

    safe: bool = False
    terminated: bool = False


@contextlib.contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[Hardware]:
    """Call ``stop`` on the loop at the first Ctrl-C (or SIGTERM); leave at once at the second.

    The second one ends the process from the signal handler itself, so that it works while a device call or a broken
    disk holds everything else. What was saved until then stays readable. The body gets a `Hardware`, to say when it is safe.
    """
    loop = asyncio.get_running_loop()
    stopping = False
    hardware = Hardware()

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            abandon(hardware.safe, Exit.TERMINATED if signum == signal.SIGTERM else Exit.INTERRUPTED)
        stopping = True
        hardware.terminated = signum == signal.SIGTERM
        loop.call_soon_threadsafe(stop)

    with _waking(loop):
        previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield hardware
        finally:
            for number, old in previous.items():
                signal.signal(number, old)


@contextlib.contextmanager
def _waking(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have each signal wake the loop: one that comes when it is just about to wait would be handled only at the next event."""
    woken, wake = socket.socketpair()
    with woken, wake:
        woken.setblocking(False)
        wake.setblocking(False)
        try:
            loop.add_reader(woken, woken.recv, 4096)
        except NotImplementedError:  # Windows' default loop does so by itself
            yield
            return
        before = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(woken)


def abandon(safe: bool, code: Exit) -> None:
    """Leave without waiting for anything."""
    if sys.stderr.isatty():
        os.write(2, SHOW_CURSOR)
    left = b"" if safe else b"the hardware was not waited for, look at it before you go on; "
    os.write(2, b"\naiomm: abandoned: " + left + b"saved images are kept\n")
    os._exit(code)
