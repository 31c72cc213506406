"""Read one image: pixels and metadata by axes, and whether it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy import empty

from aiomm.dataset.ndtiff.positioned import read_each
from aiomm.dataset.selection import check_row, find_row, spell
from aiomm.dataset.views import Views
from aiomm.errors import MissingImageError

if TYPE_CHECKING:
    from aiomm.dataset.storage import Store

_Value = int | str | None


class Images(Views):
    """One image at a time; `Dataset` reads them."""

    def has_image(
        self,
        channel: _Value = None,
        z: _Value = None,
        time: _Value = None,
        position: _Value = None,
        channel_name: str | None = None,
        resolution_level: int = 0,
        row: _Value = None,
        col: _Value = None,
        **axes: Any,
    ) -> bool:
        """Whether there is such an image. Wrong axes and values are plainly no."""
        try:
            store = self._level(resolution_level)
        except (MissingImageError, TypeError):
            return False
        given = self._given(store, channel, z, time, position, channel_name, row, col, axes)
        try:
            find_row(store.index, given, self.get_channel_names)
        except (MissingImageError, TypeError, ValueError):
            return False
        return True

    @overload
    def read_image(
        self,
        channel: _Value = None,
        z: _Value = None,
        time: _Value = None,
        position: _Value = None,
        row: _Value = None,
        col: _Value = None,
        channel_name: str | None = None,
        resolution_level: int = 0,
        memmapped: bool = False,
        read_metadata: Literal[False] = False,
        **axes: Any,
    ) -> np.ndarray: ...
    @overload
    def read_image(
        self,
        channel: _Value = None,
        z: _Value = None,
        time: _Value = None,
        position: _Value = None,
        row: _Value = None,
        col: _Value = None,
        channel_name: str | None = None,
        resolution_level: int = 0,
        memmapped: bool = False,
        *,
        read_metadata: Literal[True],
        **axes: Any,
    ) -> tuple[np.ndarray, dict[str, Any]]: ...

    def read_image(
        self,
        channel: _Value = None,
        z: _Value = None,
        time: _Value = None,
        position: _Value = None,
        row: _Value = None,
        col: _Value = None,
        channel_name: str | None = None,
        resolution_level: int = 0,
        memmapped: bool = False,
        read_metadata: bool = False,
        **axes: Any,
    ) -> np.ndarray | tuple[np.ndarray, dict[str, Any]]:
        """Read one image.

        Parameters
        ----------
        channel, z, time, position, row, col, **axes : int or str
            Where the image belongs; a mapping as ``axes`` has axes of any name.
        channel_name : str
            The channel by name; counts more than ``channel``.
        resolution_level : int
            0 is full resolution, n is reduced 2**n times.
        memmapped : bool
            Give a read-only view of the file instead of a copy: only what is looked at is read.
        read_metadata : bool
            Give (image, metadata).

        Returns
        -------
        numpy.ndarray
            (y, x), or (y, x, 3) for RGB; or a tuple with the metadata.

        Raises
        ------
        MissingImageError
            There is no such image; the message names the nearest.
        """
        store = self._store
        if channel_name is None and resolution_level == 0 and not axes:  # most often, and then as quick as can be
            if not read_metadata and (quick := store.quick) is not None:  # written out: a small image takes no longer than some calls
                grid, counted, zs, channels, offsets, place_of, fd, length, shape, dtype, view = quick
                try:
                    if (
                        (type(time) is int and 0 <= time < counted)
                        and (type(z) is int or z is None)
                        and (type(channel) is str or channel is None)
                        and (position is None and row is None and col is None)
                    ):
                        offset = offsets[zs[z] + channels[channel] + time]
                    else:
                        offset = offsets[place_of(channel, z, time, position, row, col)]
                except (KeyError, TypeError):  # it is not there, or no value that could be there
                    offset = 0
                if offset and store.index.finder is grid:
                    if memmapped:
                        return view(offset)
                    if length:
                        image = empty(shape, dtype)
                        if read_each(fd, (image,), offset) == length:
                            return image
            found = store.index.finder.find_usual(channel, z, time, position, row, col)
        else:
            found = -1
        if found < 0:
            store, found = self._find(channel, z, time, position, channel_name, resolution_level, row, col, axes)
        image = store.view(found) if memmapped else store.read(found)
        return (image, store.metadata(found)) if read_metadata else image

    def read_metadata(
        self,
        channel: _Value = None,
        z: _Value = None,
        time: _Value = None,
        position: _Value = None,
        channel_name: str | None = None,
        row: _Value = None,
        col: _Value = None,
        resolution_level: int = 0,
        **axes: Any,
    ) -> dict[str, Any]:
        """Read one image's metadata; see `read_image`."""
        store, found = self._find(channel, z, time, position, channel_name, resolution_level, row, col, axes)
        return store.metadata(found)

    def read_row(self, row: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Read pixels and metadata of a row."""
        check_row(row)
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}: the dataset has {len(self)} rows")
        return self._store.read(row), self._store.metadata(row)

    async def read_image_async(self, *args: Any, **axes: Any) -> Any:
        """Read one image without blocking the event loop; see `read_image`."""
        return await asyncio.to_thread(self.read_image, *args, **axes)

    async def read_metadata_async(self, *args: Any, **axes: Any) -> dict[str, Any]:
        """Read one image's metadata without blocking the event loop; see `read_metadata`."""
        return await asyncio.to_thread(self.read_metadata, *args, **axes)

    async def read_row_async(self, row: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Read a row without blocking the event loop; see `read_row`."""
        return await asyncio.to_thread(self.read_row, row)

    def _find(
        self,
        channel: _Value,
        z: _Value,
        time: _Value,
        position: _Value,
        channel_name: str | None,
        level: int,
        row: _Value,
        col: _Value,
        others: dict[str, Any],
    ) -> tuple[Store, int]:
        store = self._level(level)
        given = self._given(store, channel, z, time, position, channel_name, row, col, others)
        return store, find_row(store.index, given, self.get_channel_names)

    def _given(
        self,
        store: Store,
        channel: _Value,
        z: _Value,
        time: _Value,
        position: _Value,
        channel_name: str | None,
        row: _Value,
        col: _Value,
        others: dict[str, Any],
    ) -> dict[str, Any]:
        if channel_name is not None:
            channel = channel_name
        return spell(store.index, {"channel": channel, "z": z, "time": time, "position": position, "row": row, "col": col, **others})
