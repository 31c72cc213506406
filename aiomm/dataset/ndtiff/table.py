"""Where each row's pixels and metadata are, in the fewest bytes. One thread appends, any thread reads."""

from __future__ import annotations

import numpy as np

FILE, PIXELS, WIDTH, HEIGHT, KIND, METADATA, LENGTH = range(7)
COLUMNS = 7


class Table:
    """Seven 32-bit numbers per row: file, pixel offset, width, height, pixel type, metadata offset, metadata length."""

    def __init__(self, rows: np.ndarray | None = None) -> None:
        self._rows = np.zeros((16, 7), dtype=np.uint32) if rows is None else rows
        self._count = 0 if rows is None else len(rows)

    def append(self, values: tuple[int, ...]) -> None:
        """Add a row. Readers ask for it only after the index has it."""
        count = self._count
        if count == len(self._rows):
            grown = np.zeros((max(16, 2 * count), 7), dtype=np.uint32)
            grown[:count] = self._rows
            self._rows = grown
        self._rows[count] = values
        self._count = count + 1

    def extend(self, rows: np.ndarray) -> None:
        """Add rows. Readers ask for them only after the index has them."""
        count = self._count
        if count + len(rows) > len(self._rows):
            grown = np.zeros((max(16, 2 * count, count + len(rows)), 7), dtype=np.uint32)
            grown[:count] = self._rows[:count]
            self._rows = grown
        self._rows[count : count + len(rows)] = rows
        self._count = count + len(rows)

    def row(self, row: int) -> list[int]:
        """The seven numbers of a row."""
        return self._rows[row].tolist()  # type: ignore[no-any-return]

    def first(self, count: int) -> np.ndarray:
        """The first rows themselves, not a copy."""
        return self._rows[:count]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copy some rows."""
        taken: np.ndarray = self._rows[rows]
        return taken
