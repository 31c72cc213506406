"""A dask array that is read straight into one numpy array when all of it is computed; in all else it is dask's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
from dask.base import get_scheduler
from dask.callbacks import Callback

if TYPE_CHECKING:
    from aiomm.dataset.arrays import ImageSource
    from aiomm.dataset.tiles import TileSource


class LazyImages(da.Array):
    """The images of a source.

    Dask would compute block by block and then copy every block into the result. What is made from this array is a plain
    dask array, and a scheduler that somebody chose is used.
    """

    _whole: tuple[ImageSource | TileSource, str]

    @classmethod
    def of(cls, array: da.Array, source: ImageSource | TileSource) -> LazyImages:
        """Make it of dask's array of a source."""
        self: LazyImages = cls(array.dask, array.name, array.chunks, meta=array)
        self._whole = source, self.name
        return self

    def compute(self, **kwargs: Any) -> Any:
        """Read the images; as ``dask.array.Array.compute``."""
        source, name = self._whole
        chosen = kwargs or Callback.active or get_scheduler() is not None  # type: ignore[no-untyped-call]
        if chosen or self.name != name:  # an assignment gives it another name
            return super().compute(**kwargs)  # type: ignore[no-untyped-call]
        return source.read()
