"""A signal that does not interrupt the loop's wait is handled at once all the same."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

from aiomm.cli.interrupts import on_interrupt


async def test_a_signal_that_does_not_interrupt_the_wait() -> None:
    """Such is one that comes in the moment before the wait begins; here another thread gets it, which can be repeated."""
    stopped = asyncio.Event()

    def get_it() -> None:
        time.sleep(0.1)  # the loop waits by then
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    thread = threading.Thread(target=get_it)
    with on_interrupt(stopped.set):
        begun = time.monotonic()
        thread.start()
        await asyncio.wait_for(stopped.wait(), 20)
    assert time.monotonic() - begun < 10
    thread.join()
