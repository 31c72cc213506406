"""Read what another process appends to the log of an OME-Zarr dataset; the log says itself when it ends."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.ndtiff.files import InputFile
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.frames import INDEX_NAME, Log
from aiomm.dataset.omezarr.store import ShardStore, read_group, unreadable
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

WINDOW: Final = 2**20
CHECK: Final = 0.01
"""Seconds from one look at whether the log is still there to the next."""


class FollowedStore(ShardStore):
    """A `ShardStore` that grows with its log."""

    def __init__(self, root: Path, summary: dict[str, Any], log: Log) -> None:
        super().__init__(root, summary, log.index, log.images, log.shards, log.table())
        log.on_rows = self._set_table

    def _set_table(self, table: np.ndarray) -> None:
        self._table = table


class LogTail:
    """Follows a log: `poll` adds what is new to `store`.

    Raises
    ------
    DatasetFormatError
        There is no dataset, or not yet.
    """

    pending = False
    begun = True

    def __init__(self, path: Path) -> None:
        own = read_group(path).get(ome.KEY)
        summary = own.get("summary") if isinstance(own, dict) else None
        self._path = path / INDEX_NAME
        self._file = self._open()
        self._log = Log(str(self._path))
        self.store = FollowedStore(path, summary if isinstance(summary, dict) else {}, self._log)
        self._position = 0
        self._checked = 0.0
        while self.poll():
            pass

    def _open(self) -> InputFile:
        try:
            return InputFile(self._path)
        except OSError as error:
            raise unreadable(self._path, error) from error

    def poll(self) -> bool:
        """Add what is new; whether there was something new. Nobody is told.

        Raises
        ------
        DatasetFormatError
            A line cannot be right.
        """
        done = self._log.add(self._file.read(self._position, WINDOW))
        self._position += done
        return done > 0

    def ended(self) -> bool:
        """Whether the log has its last line.

        Raises
        ------
        DatasetFormatError
            The log is gone, became shorter, or is another one, which says something else.
        """
        now = time.monotonic()
        if not self._log.finished and now - self._checked >= CHECK:
            self._checked = now
            self._check_identity()
        return self._log.finished

    def _check_identity(self) -> None:
        """Go over to a log that has taken the place of this one, if it begins the same (a repaired one does)."""
        if self._file.size() < self._position:
            raise DatasetFormatError(f"{self._path}: the log became shorter than what was read of it; open the dataset again")
        try:
            there = self._path.stat()
        except FileNotFoundError:
            raise DatasetFormatError(f"{self._path}: the log was there and is gone") from None
        if os.path.samestat(there, os.fstat(self._file.fileno())):
            return
        new = self._open()
        for at in range(0, self._position, WINDOW):
            length = min(WINDOW, self._position - at)
            if new.read(at, length) != self._file.read(at, length):
                raise DatasetFormatError(f"{self._path}: the log was replaced by another; open the dataset again")
        self._file = new
