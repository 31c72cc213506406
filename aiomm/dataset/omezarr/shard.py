"""The bytes of a shard: a page with the index of its chunks, then the chunks in the order they came.

The index stands at the start and fits in one page of memory. A write within one page is whole or not there at all when the
process is killed, so the index, and the checksum that readers want, are never torn; and a file that ends anywhere is whole.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import google_crc32c
import numpy as np

from aiomm.dataset.ndtiff.output import make_with_header, reserve, write_at

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = 4096
MOST_CHUNKS: Final = 255
"""Entries of 16 bytes and a checksum of 4 fit in a page."""
MISSING: Final = 2**64 - 1
ALIGNED_FROM: Final = 64 * 2**10
"""Chunks of at least this many bytes start on pages of their own."""
SMALL_ALIGN: Final = 16
RESERVE_STEP: Final = 32 * 2**20
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def alignment(chunk_bytes: int) -> int:
    """On what multiples chunks start."""
    return PAGE if chunk_bytes >= ALIGNED_FROM else SMALL_ALIGN


def pack_index(entries: np.ndarray) -> bytes:
    """Make the index from an array of (offset, length) per chunk."""
    data = entries.astype("<u8", copy=False).tobytes()
    return data + int(google_crc32c.value(data)).to_bytes(4, "little")


def parse_index(data: bytes, chunks: int) -> np.ndarray | None:
    """Read the index of a shard of so many chunks; None if it is cut short or its checksum is wrong."""
    size = 16 * chunks
    if len(data) < size + 4 or int(google_crc32c.value(data[:size])) != int.from_bytes(data[size : size + 4], "little"):
        return None
    return np.frombuffer(data, "<u8", 2 * chunks).reshape(chunks, 2)


class ShardFile:
    """A shard being written. One thread asks for places, one thread writes.

    Parameters
    ----------
    path : Path
        Its file; made when first written to.
    number : int
        Among the dataset's shards.
    chunks : int
        How many chunks it can have.
    """

    __slots__ = ("_can_reserve", "_direct_fd", "_fd", "_made", "_reserved", "_taken", "end", "entries", "number", "path")

    def __init__(self, path: Path, number: int, chunks: int) -> None:
        self.path, self.number = path, number
        self.entries = np.full((chunks, 2), MISSING, dtype=np.uint64)
        self._taken = PAGE
        self.end = PAGE  # of what is written whole
        self._fd = self._direct_fd = -1
        self._made = False
        self._reserved = 0
        self._can_reserve = True

    def __del__(self) -> None:
        self._close()

    @property
    def complete(self) -> bool:
        """Whether every chunk is there."""
        return bool((self.entries[:, 0] != MISSING).all())

    @property
    def is_open(self) -> bool:
        """Whether it holds files of the system."""
        return self._fd >= 0

    def take(self, size: int, align: int) -> int:
        """Set aside the next ``size`` bytes and say where they are."""
        at = -(-self._taken // align) * align
        self._taken = at + size
        return at

    def open(self, *, direct: bool) -> None:
        """Make or open the file."""
        if not self._made:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            make_with_header(self.path, pack_index(self.entries).ljust(PAGE, b"\0"))
            self._made = True
        self._fd = os.open(self.path, os.O_RDWR | _FLAGS)
        if direct and hasattr(os, "O_DIRECT"):
            with contextlib.suppress(OSError):  # a file system without it: buffered writes do
                self._direct_fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)

    def write(self, data: memoryview, offset: int, *, direct: bool) -> tuple[int, OSError | None]:
        """Write at an offset. Says how much was written, and the error that stopped it."""
        self._reserve(offset + len(data))
        done = 0
        if direct and self._direct_fd >= 0 and offset % PAGE == 0 and len(data) % PAGE == 0:
            done, error = write_at(self._direct_fd, data, offset)
            if error is None:
                self.end = max(self.end, offset + done)
                return done, None
            if done % PAGE == 0:  # perhaps this file system does not do it; if not that, the next write says the same
                os.close(self._direct_fd)
                self._direct_fd = -1
        more, error = write_at(self._fd, data[done:], offset + done)
        if error is None:
            self.end = max(self.end, offset + done + more)
        return done + more, error

    def renew_index(self) -> None:
        """Write the index as `entries` say.

        Raises
        ------
        OSError
            It cannot be written; the old one stands.
        """
        _, error = write_at(self._fd, memoryview(pack_index(self.entries)), 0)
        if error is not None:
            raise error

    def sync(self) -> None:
        """Have the system put what was written on the device."""
        os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)

    def close(self) -> None:
        """Cut off what is reserved or half written, and close; it can be opened again.

        Raises
        ------
        OSError
            It cannot be cut; it is closed all the same.
        """
        if self._fd < 0:
            return
        try:
            os.ftruncate(self._fd, self.end)
            self._reserved = 0
        finally:
            self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct_fd = -1

    def _reserve(self, end: int) -> None:
        """Have space set aside ahead, so that the file lies in few pieces; a full disk shows in the write itself."""
        if end <= self._reserved or not self._can_reserve:
            return
        length = max(end - self._reserved, RESERVE_STEP)
        try:
            self._can_reserve = reserve(self._fd, self._reserved, length)
        except OSError:
            self._can_reserve = False
        else:
            self._reserved += length
