"""`Dataset`: the images of an acquisition, live or on disk, in memory or in files."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.channels import ChannelNames
from aiomm.dataset.follow import Wanted, Watch, check_timeout, first_row, wait_for
from aiomm.dataset.following import Following, check_live
from aiomm.dataset.images import Images
from aiomm.dataset.opening import open_stores
from aiomm.dataset.polling import open_live, open_live_async
from aiomm.dataset.remote import RemoteFeed
from aiomm.dataset.selection import spell

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from aiomm.dataset.follow import Since
    from aiomm.dataset.polling import Follower
    from aiomm.dataset.remote import Record
    from aiomm.dataset.storage import Axes, Store

_OPENED: Final = ("_path", "_levels", "_store", "_channel_names", "_following")


class _Opened:
    """An attribute that an opened dataset has.

    One that came from another process opens when it is first asked for: pickles pass through processes that need not see the
    folder. Once it is open the dataset's own attribute comes first; ``__getattr__`` would make every look at an attribute slower.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, dataset: Dataset | None, owner: type) -> Any:
        if dataset is None:  # the class is asked
            return self
        name, its = self._name, dataset.__dict__
        if "_sent" not in its:
            raise AttributeError(f"'{owner.__name__}' object has no attribute '{name}'", name=name, obj=dataset)
        with its["_opening"]:
            if name not in its:
                path, full_res_only, live, _ = its["_sent"]
                dataset.__init__(path, full_res_only, live=live)  # type: ignore[misc]
        return its[name]


class Dataset(Images):
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
        path = _folder(dataset_path).absolute()
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
        follower = await open_live_async(_folder(dataset_path), wait)
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
        _path, _levels, _store, _channel_names, _following = map(_Opened, _OPENED)

    def __dask_tokenize__(self) -> Any:
        """Tell dask whether it is the same as before: not if it has grown, so that what was computed is computed again."""
        if "_sent" in self.__dict__:
            path, full_res_only, _, rows = self._sent
        elif self._path is None:
            return uuid.uuid4().hex
        else:
            path, full_res_only, rows = self._path.absolute(), len(self._levels) == 1, len(self)
        return type(self).__name__, str(path), full_res_only, rows

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


def _folder(dataset_path: object) -> Path:
    """Take what a user gave for the folder.

    Raises
    ------
    TypeError
        It is no path.
    """
    if dataset_path is None:
        raise TypeError("dataset_path is missing: which folder? (a live dataset comes from an acquisition's get_dataset())")
    if not isinstance(dataset_path, str | os.PathLike):
        raise TypeError(f"dataset_path is {dataset_path!r}: it must be the path of a folder")
    return Path(dataset_path)


def _elsewhere(cls: type[Dataset], sent: tuple[Path, bool, bool, int]) -> Dataset:
    """Make a dataset of what another process pickled, not yet opened."""
    self = cls.__new__(cls)
    self._sent, self._opening = sent, threading.Lock()
    return self
