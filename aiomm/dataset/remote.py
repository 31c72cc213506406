"""Follow images that somebody else tells of: a stream of index records, as the notifications of Java's engine carry them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiomm.dataset.ndtiff.format import VERSION
from aiomm.dataset.ndtiff.live import FollowedStore
from aiomm.dataset.ndtiff.reader import level_folder, read_summary
from aiomm.errors import DatasetError, DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from pathlib import Path

Record = bytes | bytearray | memoryview | str


class RemoteFeed:
    """Pulls index records from a source and adds them to a store.

    Parameters
    ----------
    path : Path
        Folder of the dataset. It need not be there before the first record.
    source : async iterable of bytes or str
        Each item is one or more whole records of ``NDTiff.index``; text is taken as Latin-1, as Java sends it.
    """

    def __init__(self, path: Path, source: AsyncIterable[Record]) -> None:
        if not hasattr(source, "__aiter__"):
            raise TypeError(f"remote_storage_monitor is a {type(source).__name__}: it must be an async iterable of index records (bytes)")
        self._path = path
        self._source = source
        self.store = FollowedStore(path, {}, VERSION, "remote_storage_monitor")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to pull, in a task on the running loop; once."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._pull(), name="aiomm-remote-storage-monitor")

    def stop(self) -> None:
        """Pull no more. Returns at once; from any thread."""
        task = self._task
        if task is not None and not task.done():
            try:
                task.get_loop().call_soon_threadsafe(task.cancel)
            except RuntimeError:  # that loop was closed, and the task with it
                return

    async def stopped(self) -> None:
        """Wait until nothing is pulled any more, after `stop`."""
        task = self._task
        if task is not None and task.get_loop() is asyncio.get_running_loop() and task is not asyncio.current_task():
            await asyncio.wait([task])

    async def _pull(self) -> None:
        store, growth = self.store, self.store.index.growth
        first = True
        try:
            async for record in self._source:
                data = _as_bytes(record)
                if first:
                    await asyncio.to_thread(self._begin, data)
                    first = False
                while data:
                    done = store.add(data)
                    if not done:
                        raise DatasetFormatError(f"remote_storage_monitor: a record of {len(data)} bytes is cut short")
                    data = data[done:]
                growth.tell()
        except DatasetError as error:
            growth.fail(error)
        except Exception as error:
            failure = DatasetError(f"remote_storage_monitor failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            growth.fail(failure)
        else:
            store.finish()

    def _begin(self, data: bytes) -> None:
        """Read what holds for every image, from the file that the first record names."""
        folder = level_folder(self._path, 0)
        probe = FollowedStore(folder, {}, VERSION, "remote_storage_monitor")
        if not probe.add(data):
            raise DatasetFormatError(f"remote_storage_monitor: a record of {len(data)} bytes is cut short")
        self.store.begin(folder, *read_summary(folder / probe.files[0]))


def _as_bytes(record: object) -> bytes:
    if isinstance(record, str):
        try:
            data = record.encode("latin-1")
        except UnicodeEncodeError:
            raise DatasetFormatError("remote_storage_monitor: a record is text that is not Latin-1; give its bytes") from None
    elif isinstance(record, (bytes, bytearray, memoryview)):
        data = bytes(record)
    else:
        raise DatasetFormatError(f"remote_storage_monitor: a record is a {type(record).__name__}; it must be bytes, as in NDTiff.index")
    if not data:
        raise DatasetFormatError("remote_storage_monitor: a record is empty")
    return data
