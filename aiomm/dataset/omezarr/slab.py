"""A page-aligned buffer in which images are laid out for their shards, and from which the newest are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiomm.dataset.ndtiff.ring import huge_pages

if TYPE_CHECKING:
    from aiomm.dataset.omezarr.layout import ImagePlan
    from aiomm.dataset.omezarr.shard import ShardFile
    from aiomm.dataset.storage import Frame


@dataclass(slots=True, eq=False)
class Entry:
    """An image in a slab: where it is there, and where it goes.

    Attributes
    ----------
    begin, end : int
        In the slab; ``end`` is after what fills the last page.
    offset : int
        In the shard's file.
    """

    frame: Frame
    metadata: bytes
    plan: ImagePlan
    index: tuple[int, ...]
    shard: ShardFile
    chunk: int
    begin: int
    end: int
    offset: int


class Slab:
    """One buffer. Filled by one thread, written by one thread, read by any.

    It is reused while readers may still look: they copy, then ask whether ``generation`` is what it was.
    """

    __slots__ = ("_rows", "array", "entries", "generation", "size", "used", "view")

    def __init__(self, size: int) -> None:
        self.size = size
        self.array = huge_pages(size)
        self.view = self.array.data
        self.generation = 0
        self.clear()

    def __len__(self) -> int:
        """Images that are to be written."""
        return len(self.entries)

    def clear(self) -> None:
        """Make ready for other images."""
        self._rows: dict[int, int] = {}  # gone before the generation changes
        self.generation += 1
        self.used = 0
        self.entries: list[Entry] = []

    def put(self, entry: Entry) -> None:
        """Copy an image in, at ``entry.begin``."""
        pixels = entry.frame.pixels
        stop = entry.begin + pixels.nbytes
        np.copyto(self.array[entry.begin : stop].view(pixels.dtype).reshape(pixels.shape), pixels)
        self.array[stop : entry.end] = 0
        self.entries.append(entry)
        self.used = entry.end

    def runs(self) -> list[tuple[int, int]]:
        """Entries whose bytes follow each other in one file: first of each run, and the one after its last."""
        entries = self.entries
        starts = [
            i for i, one in enumerate(entries) if not i or one.shard is not entries[i - 1].shard or one.offset != _after(entries[i - 1])
        ]
        return list(zip(starts, [*starts[1:], len(entries)], strict=True))

    def publish(self, entries: list[Entry]) -> None:
        """Let readers find these rows here."""
        self._rows = {entry.frame.row: entry.begin for entry in entries}

    def let_go(self) -> None:
        """Forget the frames, whose pixels would be kept; readers still find the bytes."""
        self.entries = []

    def read(self, row: int, length: int) -> np.ndarray | None:
        """Copy the bytes of a row, if they are here."""
        generation = self.generation
        begin = self._rows.get(row)
        if begin is None:
            return None
        copy = self.array[begin : begin + length].copy()
        return copy if self.generation == generation else None


def _after(entry: Entry) -> int:
    return entry.offset + entry.end - entry.begin
