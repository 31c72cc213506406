"""A dataset's images seen as one: as a lazy array, a numpy array, a zarr store, or with coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from aiomm.dataset import arrays, bulk, tiles
from aiomm.dataset.contents import Contents

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    import numpy as np
    import xarray
    import zarr

    from aiomm.dataset.zarr_view import DatasetStore


class Views(Contents):
    """Many images at once; `Dataset` reads them."""

    @overload
    def as_array(
        self, axes: Sequence[str] | None = ..., stitched: bool = ..., verbose: bool = ..., res_level: int = ..., **slices: Any
    ) -> da.Array: ...
    @overload
    def as_array(
        self, axes: Sequence[str] | None = ..., stitched: bool = ..., verbose: bool = ..., *, res_level: None, **slices: Any
    ) -> list[da.Array]: ...

    def as_array(
        self,
        axes: Sequence[str] | None = None,
        stitched: bool = False,
        verbose: bool = True,
        res_level: int | None = 0,
        **slices: Any,
    ) -> da.Array | list[da.Array]:
        """Lay images out as one lazy array; nothing is read until it is computed.

        Parameters
        ----------
        axes : sequence of str
            Axes of the array, in this order; all if None, in the order of `axes`.
        stitched : bool
            Join the tiles of axes ``row`` and ``column``, their overlap cropped, into one picture; the two axes are gone then.
        verbose : bool
            Accepted for older scripts; nothing is printed, whatever it says.
        res_level : int or None
            Resolution level; None gives a list of all that are open. Stitched levels show the same part of the sample;
            those whose tiles cannot be joined are left out of the list: OME-Zarr's, if too little overlap is left of them.
        **slices : int or str
            Values to fix axes at.

        Returns
        -------
        dask.array.Array
            The axes, then y, x, and 3 for RGB. Values along an axis are sorted, names too: `axes` says which value is where,
            and ``channel="DAPI"`` fixes a channel whatever its place. Missing images are zeros; see `as_mask`.

        Raises
        ------
        MissingImageError
            An axis or a value does not exist, or there are no images.
        ValueError
            An axis with several values is left out, images differ in size, or the tiles of this level cannot be joined.
        """
        if stitched:
            given = arrays.plain_slices(self._store.index, slices)
            if res_level is None:
                return tiles.make_pyramid(self._levels, axes, given, self.get_channel_names)
            self._level(res_level)
            return tiles.make_array(self._levels, res_level, axes, given, self.get_channel_names)
        if res_level is None:
            return [self.as_array(axes, res_level=level, **slices) for level in range(len(self._levels))]
        return arrays.make_array(self._level(res_level), self._grid(axes, res_level, slices))

    def as_mask(self, axes: Sequence[str] | None = None, res_level: int = 0, *, stitched: bool = False, **slices: Any) -> np.ndarray:
        """Say where `as_array` has an image (True) and where it has zeros because there is none (False).

        Stitched, the last two axes are the rows and the columns of tiles, one value for each tile of the level; at its edges the
        picture of a reduced level may show a part of a tile only.
        """
        if stitched:
            store = self._level(res_level)
            return tiles.Mosaic(store, axes, arrays.plain_slices(store.index, slices), self.get_channel_names).rows >= 0
        return self._grid(axes, res_level, slices) >= 0

    def to_numpy(
        self, axes: Sequence[str] | None = None, *, out: np.ndarray | None = None, res_level: int = 0, **slices: Any
    ) -> np.ndarray:
        """Read images into one numpy array at once, without dask; see `as_array`.

        Parameters
        ----------
        axes, res_level, **slices : object
            As of `as_array`.
        out : numpy.ndarray
            Where to; a new array if None. It has the shape and type that the new array would have.

        Returns
        -------
        numpy.ndarray
            ``out``, or the new array.

        Raises
        ------
        ValueError
            As of `as_array`; or ``out`` has another shape or type.
        """
        return arrays.make_source(self._level(res_level), self._grid(axes, res_level, slices)).read(out)

    async def to_numpy_async(
        self, axes: Sequence[str] | None = None, *, out: np.ndarray | None = None, res_level: int = 0, **slices: Any
    ) -> np.ndarray:
        """Read images into one numpy array without blocking the event loop; see `to_numpy`.

        Cancelled, it ends once the few images in progress are read; nothing writes to ``out`` after that.
        """
        return await bulk.in_thread(
            lambda stop: arrays.make_source(self._level(res_level), self._grid(axes, res_level, slices)).read(out, stop)
        )

    def zarr_store(self, axes: Sequence[str] | None = None, **slices: Any) -> DatasetStore:
        """See the dataset as OME-Zarr 0.5: a read-only zarr store, in which a chunk is an image, and nothing is copied.

        For zarr-python on an event loop (``await zarr.api.asynchronous.open_group(store)``), and for whatever takes a zarr store.
        See `zarr_view.DatasetStore` for the layout; ``axes`` and ``slices`` are as of `as_array`.
        """
        from aiomm.dataset.zarr_view import make_store  # zarr is slow to import

        return make_store(self._levels, axes, arrays.plain_slices(self._store.index, slices), self.get_channel_names)

    def as_zarr(self, axes: Sequence[str] | None = None, **slices: Any) -> zarr.Group:
        """See the dataset as an OME-Zarr 0.5 group: array ``"0"`` is full resolution; see `zarr_store`. Not for an event loop."""
        import zarr

        return zarr.open_group(self.zarr_store(axes, **slices), mode="r")

    def to_xarray(self, axes: Sequence[str] | None = None, *, res_level: int = 0, **slices: Any) -> xarray.DataArray:
        """Lay images out as one lazy xarray array (extra ``xarray``); see `as_array`.

        It reads some metadata for the coordinates: on an event loop, ``await asyncio.to_thread(dataset.to_xarray)``.

        Returns
        -------
        xarray.DataArray
            Dimensions are the axes, y, x, and rgb; an axis x is ``x_axis`` then, and so on. As far as the metadata tell:
            coordinates y, x and z in µm and time in s, from where the images begin if they say so (``x_origin``, ``y_origin``,
            ``z_origin``, ``time_origin``: where that is, if they differ, and coordinates count from it; of images in more than
            2000 places that say so there are none), with ``z_index`` and ``time_index`` as acquired; names of the channels;
            else the values of the axes. ``attrs`` is the summary metadata.

        Raises
        ------
        UnsupportedError
            xarray is not installed.
        """
        from aiomm.dataset.xarrays import make_dataarray

        store = self._level(res_level)
        name = None if self._path is None else self._path.name
        return make_dataarray(store, res_level, axes, arrays.plain_slices(store.index, slices), self.get_channel_names, name)

    def _grid(self, axes: Sequence[str] | None, res_level: int, slices: dict[str, Any]) -> np.ndarray:
        index = self._level(res_level).index
        return arrays.plan_grid(index, axes, arrays.plain_slices(index, slices), self.get_channel_names)[1]
