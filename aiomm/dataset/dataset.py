"""`Dataset`: the images of an acquisition, live or on disk, in memory or in files."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import numpy as np

from aiomm.dataset.channels import ChannelNames
from aiomm.dataset.follow import Wanted, Watch, check_timeout, first_row, wait_for
from aiomm.dataset.following import Following, check_live
from aiomm.dataset.opening import open_stores
from aiomm.dataset.polling import open_live, open_live_async
from aiomm.dataset.remote import RemoteFeed
from aiomm.dataset.selection import find_row, spell
from aiomm.dataset.views import Views
from aiomm.errors import MissingImageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from aiomm.dataset.follow import Since
    from aiomm.dataset.polling import Follower
    from aiomm.dataset.remote import Record
    from aiomm.dataset.storage import Axes, Store

Image = np.ndarray
_Value = int | str | None
_OPENED: Final = ("_path", "_levels", "_store", "_channel_names", "_following")


class Dataset(Views):
    """Images and their metadata, found by their axes.

    Reading is synchronous, thread-safe, and takes as long as the disk does; on an event loop use ``await Dataset.open(path)``
    and the ``..._async`` methods. A dataset that is being acquired serves what is saved.

    Axes are named freely. Everywhere below, an axis left out means its only value, ``channel`` may be a name or a number
    (the n-th name), and ``col`` is ``column``. An axis that is named like a parameter is given in a mapping: ``axes={"out": 3}``.

    A dataset that has a folder can be pickled: the process that gets it opens the folder when it first reads,
    and must see it at the same path.

    Parameters
    ----------
    dataset_path : path
        Folder of the dataset.
    full_res_only : bool
        Open full resolution only, of a dataset with several levels.
    remote_storage_monitor : async iterable
        Tells of images as they are saved: each item is the bytes of one or more records of ``NDTiff.index``, or the same as
        Latin-1 text, as Java's notifications carry them. The dataset then has these images instead of those the folder's index
        lists. The first `watch` or `wait_for` starts one task that takes items until there are no more, when the dataset is
        finished, or until the dataset is closed; whoever watches, each item is taken once.
    live : bool
        Follow a dataset that another process is writing, NDTiff at full resolution: new images appear by themselves.
    wait : float
        With ``live``: how many seconds the folder, its index and its first file may still be missing; ``math.inf`` waits for ever.
        An index alone is then a dataset without images, as Java leaves it until its first one.

    Raises
    ------
    DatasetFormatError
        It is not a dataset that can be read; the message names the file and the place.
    """

    def __init__(
        self,
        dataset_path: str | os.PathLike[str] | None = None,
        full_res_only: bool = True,
        remote_storage_monitor: AsyncIterable[Record] | None = None,
        *,
        live: bool = False,
        wait: float = 0.0,
    ) -> None:
        check_live(live, wait, full_res_only, remote_storage_monitor)
        if dataset_path is None:
            raise TypeError("dataset_path is missing: which folder? (a live dataset comes from an acquisition's get_dataset())")
        if not isinstance(dataset_path, str | os.PathLike):
            raise TypeError(f"dataset_path is {dataset_path!r}: it must be the path of a folder")
        path = Path(dataset_path).absolute()
        source = RemoteFeed(path, remote_storage_monitor) if remote_storage_monitor is not None else open_live(path, wait) if live else None
        self._set(path, open_stores(path, full_res_only) if source is None else [source.store], source)

    @classmethod
    def of(cls, store: Store, path: Path | None = None) -> Dataset:
        """Make the dataset of a store; writers do this. ``path`` is the dataset's folder if not the store's."""
        self = cls.__new__(cls)
        self._set(path or store.path, [store], None, fed=True)
        return self

    @classmethod
    async def open(
        cls, dataset_path: str | os.PathLike[str], full_res_only: bool = True, *, live: bool = False, wait: float = 0.0
    ) -> Dataset:
        """Open a dataset without blocking the event loop; otherwise as the constructor."""
        check_live(live, wait, full_res_only, None)
        if not live:
            return await asyncio.to_thread(cls, dataset_path, full_res_only)
        follower = await open_live_async(Path(dataset_path), wait)
        self = cls.__new__(cls)
        self._set(follower.path, [follower.store], follower)
        return self

    _sent: tuple[Path, bool, bool, int]
    """Of a dataset that came from another process: folder, full resolution only, live, how many images it had there."""
    _opening: threading.Lock

    def _set(self, path: Path | None, levels: list[Store], source: Follower | RemoteFeed | None, *, fed: bool = False) -> None:
        self._path: Path | None = path
        self._levels: list[Store] = levels
        self._store: Store = levels[0]
        self._channel_names = ChannelNames(self._store)
        self._following = Following(self._store, source, None if fed else path, weakref.WeakMethod(self._adopt))

    def _adopt(self, store: Store) -> None:
        self._levels = [store, *self._levels[1:]]
        self._store = store
        self._channel_names = ChannelNames(store)

    def __reduce__(self) -> Any:
        """Pickle the place: the folder is opened when it is first read there, and followed if it grows here."""
        return _elsewhere, (type(self), self._sent if "_sent" in self.__dict__ else self._sendable())

    def _sendable(self) -> tuple[Path, bool, bool, int]:
        if self._path is None:
            raise TypeError("a dataset in memory cannot be pickled: no other process can open it; its arrays can: as_array(), to_numpy()")
        if self._following.told:
            raise TypeError(f"the dataset {self._path} has a remote_storage_monitor, so it cannot be pickled before it is finished")
        full_res_only = len(self._levels) == 1
        return self._path.absolute(), full_res_only, full_res_only and self._following.grows, len(self)

    if not TYPE_CHECKING:  # which knows what attributes there are

        def __getattr__(self, name: str) -> Any:
            """Open what came from another process, where pickles pass through processes that need not see the folder."""
            if name not in _OPENED or "_sent" not in self.__dict__:
                raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self)
            with self._opening:
                if name not in self.__dict__:
                    path, full_res_only, live, _ = self._sent
                    self.__init__(path, full_res_only, live=live)
            return self.__dict__[name]

    def __dask_tokenize__(self) -> Any:
        """Tell dask whether it is the same as before: not if it has grown, so that what was computed is computed again."""
        if "_sent" in self.__dict__:
            path, full_res_only, _, rows = self._sent
        elif self._path is None:
            return uuid.uuid4().hex
        else:
            path, full_res_only, rows = self._path.absolute(), len(self._levels) == 1, len(self)
        return type(self).__name__, str(path), full_res_only, rows

    def read_row(self, row: int) -> tuple[Image, dict[str, Any]]:
        """Read pixels and metadata of a row."""
        if isinstance(row, bool) or not isinstance(row, int | np.integer):
            raise TypeError(f"row is {row!r}: it must be a number, 0 or more")
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}: the dataset has {len(self)} rows")
        return self._store.read(row), self._store.metadata(row)

    # ---- one image ----------------------------------------------------------------------------------------------

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
        except MissingImageError:
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
    ) -> Image: ...
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
    ) -> tuple[Image, dict[str, Any]]: ...

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
    ) -> Image | tuple[Image, dict[str, Any]]:
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
            if not read_metadata:
                image = store.quick(channel, z, time, position, row, col, memmapped)
                if image is not None:
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

    async def read_image_async(self, *args: Any, **axes: Any) -> Any:
        """Read one image without blocking the event loop; see `read_image`."""
        return await asyncio.to_thread(self.read_image, *args, **axes)

    async def read_metadata_async(self, *args: Any, **axes: Any) -> dict[str, Any]:
        """Read one image's metadata without blocking the event loop; see `read_metadata`."""
        return await asyncio.to_thread(self.read_metadata, *args, **axes)

    async def read_row_async(self, row: int) -> tuple[Image, dict[str, Any]]:
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

    # ---- as it grows --------------------------------------------------------------------------------------------

    def watch(self, *, since: Since = "start", timeout: float | None = None) -> Watch:
        """Give the axes of each image as it is saved: ``async for axes in dataset.watch()``.

        Works in the process that acquires and in any other that sees the folder. An unfinished dataset that was not opened with
        ``live=True`` is followed from the first watch on, and then grows by itself too. A watch that is not read slows nothing.

        It ends after the last image once the dataset is finished. NDTiff has no mark for that: a dataset counts as finished when
        its last file says that it ends with the last image. The files of a writer that was killed never say so; ``timeout`` is
        for that, and so is closing the watch or the dataset.

        Parameters
        ----------
        since : "start", "now" or int
            Begin with the first image, with the next one saved, or with a row.
        timeout : float
            Longest time to wait for the next image, in seconds; no limit if None.

        Returns
        -------
        Watch
            An async iterator of dicts, which can be closed. Waiting in it raises ``TimeoutError`` after ``timeout``,
            ``ClosedError`` if the dataset is closed, ``DatasetFormatError`` if what another process writes cannot be read.
        """
        return Watch(self._following.ready, first_row(since, len(self)), check_timeout(timeout))

    async def wait_for(self, *, timeout: float | None = None, **axes: Any) -> Axes:
        """Wait until an image with these values on these axes is saved, for at most ``timeout`` seconds.

        It may be there already. Axes left out may have any value; with none given, it is the first image. A mapping as ``axes``
        has axes of any name.

        Returns
        -------
        dict
            All axes of the first such image.

        Raises
        ------
        TimeoutError
            It was not saved in time; the message says what is there.
        MissingImageError
            The dataset ended without it, or an axis cannot have this value.
        ClosedError
            The dataset was closed.
        """
        index = self._store.index
        return await wait_for(self._following.ready, index, Wanted(spell(index, axes), self.get_channel_names), check_timeout(timeout))

    # ---- life ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the files. Reads in progress end well; later ones, and who waits, get ``ClosedError``. Arrays keep working."""
        self._following.close()
        for store in self._levels:
            store.close()

    async def aclose(self) -> None:
        """Close; see `close`."""
        self.close()
        await self._following.aclose()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Dataset:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _elsewhere(cls: type[Dataset], sent: tuple[Path, bool, bool, int]) -> Dataset:
    """Make a dataset of what another process pickled, not yet opened."""
    self = cls.__new__(cls)
    self._sent, self._opening = sent, threading.Lock()
    return self
