"""Read many images at once: in pieces, on a few threads, until told to stop; and how a coroutine waits for that."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from aiomm.dataset.storage import BlockReader

    Stop = threading.Event

T = TypeVar("T")
PIECE_BYTES: Final = 8 * 2**20
THREADS: Final = min(4, os.cpu_count() or 1)
"""More threads than this copy no faster out of the page cache."""


def read_images(reader: BlockReader, rows: np.ndarray, out: np.ndarray, stop: Stop | None = None) -> None:
    """Fill ``out[i]`` with the image in row ``rows[i]``; zeros where that is negative.

    Parameters
    ----------
    reader : BlockReader
        Where the images are.
    rows : numpy.ndarray
        Of one dimension.
    out : numpy.ndarray
        The images; each must be C-contiguous.
    stop : threading.Event, optional
        Once it is set, no further piece is read, and what ``out`` holds is of no use.

    Raises
    ------
    DatasetError, OSError
        What the first piece that failed raised. No thread writes to ``out`` any more.
    """
    image_bytes = math.prod(out.shape[1:]) * out.itemsize
    count = max(1, PIECE_BYTES // max(1, image_bytes))
    everything = (slice(None), slice(None))
    ended = threading.Event()

    def read(first: int) -> None:
        if ended.is_set() or (stop is not None and stop.is_set()):
            return
        piece, into = rows[first : first + count], out[first : first + count]
        try:
            missing = piece < 0
            if missing.any():
                into[missing] = 0
            reader.read_into(piece.tolist(), into, everything)
        except BaseException:
            ended.set()
            raise

    firsts = range(0, len(rows), count)
    if len(firsts) < 2 or THREADS == 1:
        for first in firsts:
            read(first)
        return
    with ThreadPoolExecutor(min(THREADS, len(firsts)), thread_name_prefix="aiomm-read") as pool:
        try:
            for done in [pool.submit(read, first) for first in firsts]:
                done.result()
        finally:
            ended.set()  # Ctrl-C too ends the pieces that nobody waits for


async def in_thread(work: Callable[[Stop], T]) -> T:
    """Run ``work(stop)`` in a thread. Cancelled, set ``stop`` and wait until the thread has let go of what it uses."""
    stop = threading.Event()
    lock = threading.Lock()
    started = False

    def run() -> T | None:
        nonlocal started
        with lock:
            if stop.is_set():
                return None  # nobody waits any more
            started = True
        return work(stop)

    future = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return cast("T", await asyncio.shield(future))
    except asyncio.CancelledError:
        with lock:
            stop.set()
            wait = started
        while wait and not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:  # told again; the first one is on its way already
                continue
        if future.done() and not future.cancelled():
            future.exception()  # seen: there is nobody to tell
        raise
