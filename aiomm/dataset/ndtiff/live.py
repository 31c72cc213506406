"""The store of a dataset that is being written: the newest images come from the writer's buffers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.store import FolderStore, decode_metadata
from aiomm.dataset.ndtiff.table import LENGTH, METADATA

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from aiomm.dataset.index import Index
    from aiomm.dataset.ndtiff.ring import Slab
    from aiomm.dataset.ndtiff.table import Table


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
