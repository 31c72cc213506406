"""Read what another process appends to the log of an OME-Zarr dataset; the log says itself when it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.ndtiff.files import InputFile
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.frames import INDEX_NAME, Log
from aiomm.dataset.omezarr.store import ShardStore, read_group
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

    def __init__(self, path: Path) -> None:
        own = read_group(path).get(ome.KEY)
        summary = own.get("summary") if isinstance(own, dict) else None
        self._path = path / INDEX_NAME
        try:
            self._file = InputFile(self._path)
        except FileNotFoundError:
            raise DatasetFormatError(f"{path}: there is no {INDEX_NAME}, so it is not an OME-Zarr dataset that aiomm wrote") from None
        self._log = Log(str(self._path))
        self.store = FollowedStore(path, summary if isinstance(summary, dict) else {}, self._log)
        self._position = 0
        self._checked = 0.0
        while self.poll():
            pass

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
            The log is gone, or became shorter.
        """
        now = time.monotonic()
        if not self._log.finished and now - self._checked >= CHECK:
            self._checked = now
            if not self._path.exists():
                raise DatasetFormatError(f"{self._path}: the log was there and is gone")
            if self._file.size() < self._position:
                raise DatasetFormatError(f"{self._path}: the log became shorter than what was read of it; open the dataset again")
        return self._log.finished
