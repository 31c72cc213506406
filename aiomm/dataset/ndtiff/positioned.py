"""Read and write at an offset. Where the system has no such calls (Windows), one lock guards seek and read."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_lock = threading.Lock()


def seek_read(fd: int, length: int, offset: int) -> bytes:
    """As ``os.pread``."""
    with _lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)


def seek_read_into(fd: int, buffer: Any, offset: int) -> int:
    """As ``os.preadv`` with one buffer."""
    view = memoryview(buffer).cast("B")
    data = seek_read(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)


def seek_read_each(fd: int, buffers: Sequence[Any], offset: int) -> int:
    """As ``os.preadv``."""
    done = 0
    for buffer in buffers:
        count = seek_read_into(fd, buffer, offset + done)
        done += count
        if count < memoryview(buffer).nbytes:
            break
    return done


def seek_write(fd: int, data: Any, offset: int) -> int:
    """As ``os.pwrite``."""
    with _lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Read up to ``length`` bytes; fewer than are there is possible."""
    return os.pread(fd, length, offset)


def read_into(fd: int, buffer: Any, offset: int) -> int:
    """Fill a contiguous buffer as far as one call does; says how far."""
    return os.preadv(fd, [buffer], offset)


read_each: Callable[[int, Sequence[Any], int], int] = getattr(os, "preadv", seek_read_each)
"""Fill contiguous buffers one after the other as far as one call does; says how far. At most 1024 of them."""


def write_at(fd: int, data: Any, offset: int) -> int:
    """Write as much as one call does; says how much."""
    return os.pwrite(fd, data, offset)


if not hasattr(os, "preadv"):
    read_at, read_into, write_at = seek_read, seek_read_into, seek_write
