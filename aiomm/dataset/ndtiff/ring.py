"""Page-aligned buffers in which images are laid out before they are written, and from which the newest are read."""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING

import numpy as np

HUGE = 2 * 2**20

if TYPE_CHECKING:
    from aiomm.dataset.ndtiff.output import OutputFile
    from aiomm.dataset.storage import Frame


def huge_pages(size: int) -> np.ndarray:
    """Get memory on huge pages where the system has them: the kernel finds its pages faster for each direct write."""
    if hasattr(mmap, "MADV_HUGEPAGE"):  # private, because shared memory, the default of mmap, seldom gets them
        memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    else:
        memory = mmap.mmap(-1, size + HUGE)
    whole = np.frombuffer(memory, dtype=np.uint8)
    start = -whole.ctypes.data % HUGE
    return whole[start : start + size]


class Slab:
    """One buffer: the images of one write.

    A slab is filled by one thread, written by one thread, and read by any. It is reused while readers may still look:
    they copy, then ask whether ``generation`` is what it was.
    """

    __slots__ = (
        "array",
        "file",
        "first_row",
        "frames",
        "generation",
        "offset",
        "parts",
        "records",
        "rows",
        "size",
        "slots",
        "used",
        "view",
    )

    def __init__(self, size: int) -> None:
        self.size = size
        self.array = huge_pages(size)
        self.view = self.array.data
        self.generation = self.rows = 0
        self.file: OutputFile | None = None
        self.clear()

    def __len__(self) -> int:
        """Images that are to be written."""
        return len(self.frames)

    def clear(self) -> None:
        """Make ready for other images."""
        self.rows = 0  # how many rows readers may take from here; to zero before the generation changes
        self.generation += 1
        self.first_row = 0
        self.offset = 0  # in the file
        self.used = 0
        self.frames: list[Frame] = []
        self.slots: list[tuple[int, int]] = []  # begin and end of each image, in the slab
        self.parts: list[tuple[int, ...]] = []  # table row of each image
        self.records: list[bytes] = []

    def let_go(self) -> None:
        """Forget the frames, whose pixels would be kept; readers still find the bytes."""
        self.frames, self.slots, self.parts, self.records = [], [], [], []

    def read(self, row: int, byte_offset: int, length: int) -> np.ndarray | None:
        """Copy ``length`` bytes that stand at ``byte_offset`` in the file, if this slab has the row."""
        generation = self.generation
        if not 0 <= row - self.first_row < self.rows:
            return None
        start = byte_offset - self.offset
        copy = self.array[start : start + length].copy()
        return copy if self.generation == generation and len(copy) == length else None
