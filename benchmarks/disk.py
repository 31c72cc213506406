"""What the benchmarks of writing share: the clock, the device, and the plain file beside the contestants."""

from __future__ import annotations

import mmap
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

RAW_WRITE = 8 * 2**20
Result = dict[str, float]


def sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fdatasync(fd)
            os.close(fd)


def measure(put: Any, finish: Any, count: int) -> Result:
    """Put ``count`` frames and finish; the caller's slowest put is kept."""
    worst = 0.0
    cpu = time.process_time()
    start = time.perf_counter()
    for i in range(count):
        before = time.perf_counter()
        put(i)
        worst = max(worst, time.perf_counter() - before)
    finish()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu": (time.process_time() - cpu) / count, "worst": worst}


def run_raw(folder: Path, frames: list[np.ndarray], count: int) -> Result:
    """Write the same number of bytes in large aligned writes past the page cache; nothing is copied."""
    fd = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    buffers = []
    for i in range(4):
        memory = mmap.mmap(-1, RAW_WRITE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
        np.frombuffer(memory, np.uint8)[:] = np.resize(frames[i % len(frames)].view(np.uint8).reshape(-1), RAW_WRITE)
        buffers.append(memory)
    writes = -(-frames[0].nbytes * count // RAW_WRITE)

    def put(i: int) -> None:
        done = 0
        while done < RAW_WRITE:
            done += os.pwrite(fd, memoryview(buffers[i % 4])[done:], i * RAW_WRITE + done)

    def finish() -> None:
        os.fdatasync(fd)
        os.close(fd)

    result = measure(put, finish, writes)
    result["cpu"] *= writes / count
    return result
