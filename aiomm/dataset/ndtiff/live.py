"""The stores of a dataset that grows: of one written here, and of one that another process writes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.files import InputFiles
from aiomm.dataset.ndtiff.records import FileNames, add_to, batches
from aiomm.dataset.ndtiff.store import FolderStore, decode_metadata
from aiomm.dataset.ndtiff.table import LENGTH, METADATA, Table
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from aiomm.dataset.ndtiff.ring import Slab


class LiveStore(FolderStore):
    """A `FolderStore` that grows, and looks into the writer's buffers first."""

    def __init__(self, folder: Path, summary: dict[str, Any], index: Index, table: Table, slabs: list[Slab]) -> None:
        super().__init__(folder, summary, index, table, [], ndtiff.VERSION)
        self._slabs = slabs

    @property
    def finished(self) -> bool:
        """Whether the writer has ended."""
        return self._finished

    def finish(self) -> None:
        """Nothing more will be written: read from the files alone."""
        self._finished = True
        self._slabs = []
        self.index.growth.end()

    def _recent(self, row: int, offset: int, length: int) -> np.ndarray | None:
        for slab in self._slabs:
            copy = slab.read(row, offset, length)
            if copy is not None:
                return copy
        return None

    def read(self, row: int) -> np.ndarray:
        _, offset, width, height, kind, _, _ = self.table.row(row)
        shape, dtype = ndtiff.shape_and_dtype(kind, width, height)
        copy = self._recent(row, offset, math.prod(shape) * dtype.itemsize)
        return super().read(row) if copy is None else copy.view(dtype).reshape(shape)

    def metadata(self, row: int) -> dict[str, Any]:
        place = self.table.row(row)
        copy = self._recent(row, place[METADATA], place[LENGTH])
        return super().metadata(row) if copy is None else decode_metadata(copy.tobytes(), f"image {self.index.axes_of(row)}")


class FollowedStore(FolderStore):
    """A `FolderStore` that grows by the index records that it is given; one thread at a time gives them.

    Parameters
    ----------
    where : str
        Where the records come from, for messages.
    """

    def __init__(self, folder: Path, summary: dict[str, Any], version: tuple[int, int] | None, where: str) -> None:
        self._names = FileNames(where)
        super().__init__(folder, summary, Index(), Table(), self._names.names, version)
        self._where = where
        self._damage: DatasetFormatError | None = None

    @property
    def finished(self) -> bool:
        """Whether it was found that nothing more will be written."""
        return self._finished

    def begin(self, folder: Path, summary: dict[str, Any], version: tuple[int, int]) -> None:
        """Say what was not known when the store was made."""
        self.path, self.summary, self.version = folder, summary, version
        self._inputs = InputFiles(folder, self.files)

    def add(self, data: bytes, position: int = 0) -> int:
        """Add the whole records at the beginning of ``data``; say how many bytes they are. Tells nobody.

        ``position`` is the byte of the index at which ``data`` begins, for messages.

        Raises
        ------
        DatasetFormatError
            The first record cannot be right. One after others is found the next time.
        """
        if self._damage is not None:
            raise self._damage
        end = 0
        try:
            for batch in batches(data, self._names, self._where, first=len(self.index), skipped=position):
                self.table.extend(batch.table)
                try:
                    add_to(self.index, batch, self._where)
                except DatasetFormatError as error:  # these records are whole, and will not become right
                    self._damage = error
                    raise
                end = batch.end
        except DatasetFormatError:
            if not end:
                raise
        return end

    def finish(self) -> None:
        """Nothing more will be written."""
        self._finished = True
        self.index.growth.end()
