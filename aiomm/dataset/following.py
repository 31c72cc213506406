"""What makes a dataset's rows grow: the writer in this process, a look at the folder now and then, or a stream of records."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING

from aiomm.dataset.polling import Follower, open_live
from aiomm.dataset.remote import RemoteFeed
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomm.dataset.index import Index
    from aiomm.dataset.storage import Store


def check_live(live: object, wait: object, full_res_only: object, monitor: object) -> None:
    """Refuse what does not go together.

    Raises
    ------
    TypeError, ValueError, UnsupportedError
        Naming it.
    """
    if isinstance(wait, bool) or not isinstance(wait, (int, float)):
        raise TypeError(f"wait is {wait!r}: it must be a number of seconds; math.inf waits for ever")
    if not wait >= 0:
        raise ValueError(f"wait is {wait!r}: it must not be negative")
    if wait and not live:
        raise ValueError(f"wait={wait!r} is for datasets that are still to come: live=True must be given too")
    if live and monitor is not None:
        raise ValueError("live=True looks at the folder, remote_storage_monitor is told: only one of them can be given")
    if (live or monitor is not None) and not full_res_only:
        raise UnsupportedError("full_res_only=False: a dataset is followed at full resolution only; open it again for its other levels")


class Following:
    """Begins to follow when somebody watches, and ends when the dataset is closed or forgotten.

    Parameters
    ----------
    store : Store
        What is read now.
    source : Follower, RemoteFeed or None
        Who adds to the store; None if its writer does, or nobody.
    folder : Path or None
        What to follow once somebody watches, if nobody adds to the store.
    adopt : callable
        ``adopt()(store)`` makes the dataset read a store that grows instead; it has the same rows, and perhaps more. A weak
        reference, so that a dataset that nobody holds ends at once.
    """

    def __init__(
        self, store: Store, source: Follower | RemoteFeed | None, folder: Path | None, adopt: Callable[[], Callable[[Store], None] | None]
    ) -> None:
        self._store = store
        self._source: Follower | RemoteFeed | None = None
        self._folder = folder
        self._adopt = adopt
        self._lock = threading.Lock()
        self._closed = False
        if source is not None:
            self._take(source)

    @property
    def told(self) -> bool:
        """Whether a stream that only this process has says what there is."""
        return isinstance(self._source, RemoteFeed) and not self._store.finished

    @property
    def grows(self) -> bool:
        """Whether images appear by themselves."""
        return (self._source is not None or self._folder is None) and not self._store.finished

    async def ready(self) -> Index:
        """Give the index that grows.

        Raises
        ------
        DatasetFormatError
            The folder cannot be followed.
        """
        source = self._source
        if isinstance(source, RemoteFeed):
            source.start()
        elif source is None and self._folder is not None:
            await asyncio.to_thread(self._begin, self._folder)
        return self._store.index

    def _begin(self, folder: Path) -> None:
        with self._lock:
            if self._source is not None or self._closed:
                return
            if self._store.finished:
                self._store.index.growth.end()
                return
            follower = open_live(folder, 0.0)
            self._store = follower.store
            self._take(follower)
            adopt = self._adopt()
            if adopt is not None:
                adopt(follower.store)
        if self._closed:  # it was closed meanwhile
            self.close()

    def _take(self, source: Follower | RemoteFeed) -> None:
        self._source = source
        weakref.finalize(self, source.stop)

    def close(self) -> None:
        """Follow no more; end who waits. Returns at once."""
        self._closed = True
        if self._source is not None:
            self._source.stop()
        self._store.index.growth.close()

    async def aclose(self) -> None:
        """Follow no more; end who waits, and wait for what follows."""
        self.close()
        if isinstance(self._source, RemoteFeed):
            await self._source.stopped()
