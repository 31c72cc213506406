"""Page-aligned buffers in which images are laid out before they are written, and from which the newest are read."""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from aiomm.dataset.ndtiff.output import OutputFile
    from aiomm.dataset.storage import Frame


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
        memory = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_HUGEPAGE)
        self.size = size
        self.view = memoryview(memory)
        self.array = np.frombuffer(memory, dtype=np.uint8)
        self.generation = self.rows = 0
        self.file: OutputFile | None = None
        self.clear()

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
