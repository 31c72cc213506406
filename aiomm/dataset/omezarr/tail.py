"""Read what another process appends to the log of an OME-Zarr dataset; the log says itself when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff.files import InputFile
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.frames import INDEX_NAME, Log, parse_log
from aiomm.dataset.omezarr.store import ShardStore, read_group
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

WINDOW: Final = 2**20


class FollowedStore(ShardStore):
    """A `ShardStore` that grows by the lines of its log; one thread at a time gives them."""

    def __init__(self, root: Path, summary: dict[str, Any], where: str) -> None:
        self._log = Log()
        self._where = where
        super().__init__(root, summary, Index(), self._log.images, self._log.shards, np.zeros((64, 6), dtype=np.int64))

    def add(self, lines: bytes) -> None:
        """Add whole lines. Tells nobody.

        Raises
        ------
        DatasetFormatError
            A line cannot be right.
        """
        log = parse_log(lines, self._where, self._log)
        count, end = len(self.index), len(self.index) + len(log.axes)
        if end > len(self._table):
            grown = np.zeros((2 * end, 6), dtype=np.int64)
            grown[:count] = self._table[:count]
            self._table = grown
        self._table[count:end] = log.table
        try:
            self.index.extend(log.axes)
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetFormatError(f"{self._where}: {error}") from None

    @property
    def ended(self) -> bool:
        """Whether the log has its last line."""
        return self._log.finished


class LogTail:
    """Follows a log: `poll` adds what is new to `store`.

    Raises
    ------
    DatasetFormatError
        There is no dataset, or not yet.
    """

    pending = False

    def __init__(self, path: Path) -> None:
        own = read_group(path).get(ome.KEY)
        summary = own.get("summary") if isinstance(own, dict) else None
        self._path = path / INDEX_NAME
        try:
            self._file = InputFile(self._path)
        except FileNotFoundError:
            raise DatasetFormatError(f"{path}: there is no {INDEX_NAME}, so it is not an OME-Zarr dataset that aiomm wrote") from None
        self.store = FollowedStore(path, summary if isinstance(summary, dict) else {}, str(self._path))
        self._position = 0
        while self.poll():
            pass

    def poll(self) -> bool:
        """Add what is new; whether there was something new. Nobody is told.

        Raises
        ------
        DatasetFormatError
            A line cannot be right.
        """
        lines = self._file.read(self._position, WINDOW)
        end = lines.rfind(b"\n") + 1
        if not end:
            return False
        self.store.add(lines[:end])
        self._position += end
        return True

    def ended(self) -> bool:
        """Whether the writer is done.

        Raises
        ------
        DatasetFormatError
            The log became shorter.
        """
        if self._file.size() < self._position:
            raise DatasetFormatError(f"{self._path}: it became shorter than what was read of it; open the dataset again")
        return self.store.ended
