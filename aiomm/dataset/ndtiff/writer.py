"""Write NDTiff 3.3: frames go into page-aligned buffers, each buffer to the file in one write, then its index records.

Two stages share the work. The *packer* takes frames as they are put and lays them out in a buffer. A buffer is sealed
when it is full or when the device is free to take it, so a lone frame is written at once and a stream in large writes.
The *committer* writes a sealed buffer, then its index records, then reports. While nothing else waits the packer's
thread does that itself; when frames come faster than one thread can pack and write, a second thread commits.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import encode_json, encode_metadata
from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.commit import Committer
from aiomm.dataset.ndtiff.folder import make_folder
from aiomm.dataset.ndtiff.live import LiveStore
from aiomm.dataset.ndtiff.output import OutputFile, OutputIndex
from aiomm.dataset.ndtiff.ring import Slab
from aiomm.dataset.ndtiff.table import Table
from aiomm.dataset.queueing import Intake
from aiomm.errors import StorageError, UnsupportedError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from aiomm.dataset.storage import Durability, Frame, OnFailed, OnSaved

SLAB_BYTES: Final = 8 * 2**20
SLABS: Final = 4
BATCHES: Final = 2
"""A write takes at most this part of the queue, so that some are packed while others are written."""
ALIGNED_FROM: Final = 64 * 2**10
"""Images of at least this many bytes start on pages of their own; smaller ones are packed closely."""
SMALL_ALIGN: Final = 2


class _Token:
    """Something else than a frame in the packer's inbox."""


_FINISH: Final = _Token()
_FREE: Final = _Token()  # the committer has nothing to do
_FLUSH: Final = _Token()


class NDTiffWriter:
    """Save images as an NDTiff dataset in a new folder ``<directory>/<name>_<k>``.

    Every method may be called from any thread. The callbacks run on a thread of the writer, one at a time, in the order
    put, and must be quick.

    Parameters
    ----------
    directory : path
        Where the dataset's folder is made; made itself if it does not exist.
    name : str
        Name of the dataset.
    summary_metadata : mapping
        What holds for every image. ``PixelSize_um`` also becomes the TIFF resolution.
    queue_size : int
        How many frames may be put and not yet saved.
    on_saved : callable, optional
        ``on_saved(frames)``: the operating system has their pixels and index records (and the device, as ``durability`` says).
    on_room : callable, optional
        ``on_room()``: there is room again after `try_put` said False.
    on_failed : callable, optional
        ``on_failed(error, frames)``: writing has failed, these frames are lost. Called once.
    allow_duplicates : bool
        Whether an image may be put again; the last one counts.
    durability : {"none", "interval", "every"}
        What *saved* means. "none": survives the death of the process. "interval": also a loss of power; images are reported
        in groups, at most ``sync_interval`` seconds late. "every": the same, each group of images as soon as it is written.
    sync_interval : float
        Seconds, for "interval".
    display_settings : mapping, optional
        Written as ``display_settings.txt``; made from the channels if None.
    file_limit : int
        No file grows beyond this many bytes.
    direct : bool
        Whether large writes may go past the page cache.
    tiled : bool
        Lay the dataset out for resolution levels, with the images in a folder of their own; `PyramidWriter` does so.

    Raises
    ------
    StorageError
        The folder or its first files cannot be made.
    UnsupportedError
        The summary metadata asks for tiled storage, and ``tiled`` does not.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        summary_metadata: Mapping[str, Any] | None = None,
        *,
        queue_size: int = 20,
        on_saved: OnSaved | None = None,
        on_room: Callable[[], None] | None = None,
        on_failed: OnFailed | None = None,
        allow_duplicates: bool = False,
        durability: Durability = "none",
        sync_interval: float = 1.0,
        display_settings: Mapping[str, Any] | None = None,
        file_limit: int = ndtiff.FILE_LIMIT,
        direct: bool = True,
        tiled: bool = False,
    ) -> None:
        if durability not in ("none", "interval", "every"):
            raise ValueError(f"durability is {durability!r}: it must be 'none', 'interval' or 'every'")
        summary = dict(summary_metadata or {})
        if summary.get("TiledImageStorage") and not tiled:
            raise UnsupportedError(
                "summary metadata says TiledImageStorage: this writer makes plain datasets; PyramidWriter makes tiled ones"
            )
        summary["TiledImageStorage"] = tiled
        summary = json.loads(encode_json(summary))
        self._header = ndtiff.pack_header(summary)
        self._limit = min(file_limit, ndtiff.FILE_LIMIT)
        self._per_cm = ndtiff.resolution(summary.get("PixelSize_um", summary.get("PixelSizeUm")))
        self._direct = direct
        if display_settings is not None:
            encode_json(dict(display_settings))
        index = Index()
        self._intake = Intake(
            index, queue_size=queue_size, on_saved=on_saved, on_room=on_room, on_failed=on_failed, allow_duplicates=allow_duplicates
        )
        try:
            self.path: Path = make_folder(Path(directory), name)
            self._folder = self.path / ndtiff.FULL_RESOLUTION if tiled else self.path
            self._folder.mkdir(exist_ok=True)
            output_index = OutputIndex(self._folder / ndtiff.INDEX_NAME)
            table = Table()
            self._all_slabs: list[Slab] = []
            self._store = LiveStore(self._folder, summary, index, table, self._all_slabs)
            self._commit = Committer(
                intake=self._intake, store=self._store, table=table, index=output_index,
                durability=durability, interval=sync_interval, settings=display_settings,
            )  # fmt: skip
            self._prefix = name
            self._files = 0
            self._file = self._next_file()
        except OSError as error:
            raise StorageError(f"cannot make a dataset {name!r} in {directory}: {error.strerror or error}") from error
        self._slabs: queue.SimpleQueue[Slab] = queue.SimpleQueue()
        self.dataset: Dataset = Dataset.of(self._store, self.path)
        self._inbox: queue.SimpleQueue[Frame | _Token] = queue.SimpleQueue()
        self._sealed: queue.SimpleQueue[Slab | StorageError | None] = queue.SimpleQueue()
        self._position = self._file.end
        self._align = 0  # of this file's images; chosen by its first
        self._slab: Slab | None = None
        self._batch = max(1, queue_size // BATCHES)
        self._handed = self._done = 0  # buffers given to the second thread, and done by it
        self._second: threading.Thread | None = None
        self._thread = threading.Thread(target=self._main, name=f"aiomm-ndtiff-{self.path.name}", daemon=True)
        self._thread.start()

    # ---- any thread ---------------------------------------------------------------------------------------------

    def try_put(self, frame: Frame) -> bool:
        """Accept a frame, or say False: ``queue_size`` frames are put and not yet saved. Never waits for the disk.

        Raises
        ------
        ValueError, TypeError
            The frame cannot be stored; the message names what is wrong. Nothing was touched.
        DuplicateImageError
            There is an image with these axes.
        StorageError
            Writing has failed; the first failure.
        ClosedError
            `finish` was called.
        """
        self._check(frame)
        with self._intake.lock:
            accepted = self._intake.accept(frame)
            if accepted:
                self._inbox.put(frame)
        if not accepted and self._commit.groups:
            self._inbox.put(_FLUSH)  # what is held back to be synced together takes the room
        return accepted

    def put(self, frame: Frame, timeout: float | None = None) -> None:
        """Accept a frame; wait while there is no room.

        Raises
        ------
        TimeoutError
            There was no room for ``timeout`` seconds.
        Exception
            As `try_put`.
        """
        self._check(frame)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._intake.lock:
            if self._intake.full:
                if self._commit.groups:
                    self._inbox.put(_FLUSH)
                self._intake.wait_for_room(deadline)
            self._intake.accept(frame)
            self._inbox.put(frame)

    def flush(self) -> None:
        """Somebody waits: report what is there as soon as it can be. Returns at once."""
        self._inbox.put(_FLUSH)

    def give_up(self) -> None:
        """Drop what is not written yet; `finish` then waits for the write in progress only. The dataset opens afterwards."""
        self._intake.fail(StorageError("saving was given up before this image was written"))

    def finish(self) -> None:
        """Save what was put, end the files, stop. May be called again. The dataset opens afterwards, also after a failure.

        Raises
        ------
        StorageError
            Writing has failed; the first failure.
        """
        if self._intake.close():
            self._inbox.put(_FINISH)
        if threading.current_thread() in (self._thread, self._second):
            raise RuntimeError("finish() was called by a callback of the writer; it would wait for itself")
        self._thread.join()
        if self._intake.error is not None:
            raise self._intake.error

    def __enter__(self) -> NDTiffWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def _check(self, frame: Frame) -> None:
        self._intake.check(frame)
        if frame.pixels.nbytes > self._limit - len(self._header) - 2**16:
            raise ValueError(f"an image of {frame.pixels.nbytes} bytes does not fit in a TIFF file of {self._limit} bytes")

    # ---- the packer's thread ------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._pack_all()
        except BaseException as error:  # a bug, no memory, or a callback that raised: nobody may wait forever
            self._hand_over(_as_storage_error(error))  # after what is sealed already
        finally:
            if self._second is not None:
                self._sealed.put(None)
                self._second.join()
            try:
                self._commit.finish()
            except BaseException as error:
                self._intake.fail(_as_storage_error(error))
            finally:
                self._store.finish()

    def _pack_all(self) -> None:
        commit, inbox = self._commit, self._inbox
        while True:
            idle = self._handed == self._done
            try:
                item = inbox.get(timeout=commit.due() if idle else None)
            except queue.Empty:
                commit.sync()
                continue
            if not isinstance(item, _Token):
                self._pack(item)
            elif item is _FINISH:
                self._seal()
                return
            elif item is _FLUSH:
                commit.hurry = True
            if inbox.empty() and self._handed == self._done:
                self._seal(inline=item is not _FREE)
                if commit.hurry and self._handed == self._done:
                    commit.sync()
            del item  # a frame is not kept while waiting for the next

    def _pack(self, frame: Frame) -> None:
        """Lay a frame out in the current buffer; seal buffers that are full."""
        if self._intake.error is not None:
            return
        try:
            metadata = encode_metadata(frame.metadata, frame.axes)
        except (TypeError, ValueError) as error:
            self._give_up(f"metadata of image {frame.axes}: {error}", error)
            return
        pixels = frame.pixels
        align = self._align or (ndtiff.PAGE if pixels.nbytes >= ALIGNED_FROM else SMALL_ALIGN)
        record = ndtiff.RGB_RECORD if pixels.ndim == 3 else ndtiff.GRAY_RECORD
        slot = ndtiff.lay_out(record, len(metadata), pixels.nbytes, align)
        if self._position + slot.end > self._limit and self._position > len(self._header):
            self._seal()
            try:
                self._file = self._next_file()
            except OSError as error:
                self._give_up(f"image {frame.axes}: cannot make another file: {error}", error)
                return
            self._position = self._file.end
            align = ndtiff.PAGE if pixels.nbytes >= ALIGNED_FROM else SMALL_ALIGN
            slot = ndtiff.lay_out(record, len(metadata), pixels.nbytes, align)
        if self._position + slot.end > self._limit:
            self._give_up(f"image {frame.axes}: its {len(metadata)} bytes of metadata do not fit in a file with it", None)
            return
        self._align = align
        slab = self._room_for(slot.end)
        if not slab.frames:
            slab.file, slab.offset = self._file, self._position
        at, start = slab.used, self._position
        array = slab.array
        ndtiff.pack_ifd_into(
            slab.view,
            at,
            start=start,
            slot=slot,
            shape=pixels.shape,
            itemsize=pixels.dtype.itemsize,
            metadata=len(metadata),
            per_cm=self._per_cm,
        )
        begin = at + slot.metadata
        slab.view[begin : begin + len(metadata)] = metadata
        array[begin + len(metadata) : at + slot.pixels] = 0
        body = array[at + slot.pixels : at + slot.pixels + pixels.nbytes]
        np.copyto(body.view(pixels.dtype).reshape(pixels.shape), pixels)
        array[at + slot.pixels + pixels.nbytes : at + slot.end] = 0
        height, width = pixels.shape[:2]
        kind = ndtiff.pixel_type(pixels, frame.bit_depth)
        where = (start + slot.pixels, width, height, kind, start + slot.metadata, len(metadata))
        head = ndtiff.pack_index_head(frame.axes, self._file.name.encode())
        slab.records.append(head + ndtiff.LOCATION.pack(where[0], width, height, kind, 0, where[4], where[5], 0))
        slab.parts.append((self._files - 1, *where))
        slab.slots.append((at, at + slot.end))
        slab.frames.append(frame)
        slab.used += slot.end
        self._position += slot.end
        full = len(slab.frames) >= self._batch or slab.used + slot.end > slab.size
        if full and (self._handed != self._done or not self._inbox.empty()):
            self._seal()  # while the one before it is written, so that the next write follows at once

    def _room_for(self, size: int) -> Slab:
        slab = self._slab
        if slab is not None and slab.used + size <= slab.size and len(slab.frames) < self._batch:
            return slab
        self._seal()
        if len(self._all_slabs) < SLABS:
            self._add_slab(size)
        slab = self._slabs.get()  # waits until the committer is done with one
        slab.clear()
        if slab.size < size:
            self._all_slabs.remove(slab)
            self._add_slab(size)
            slab = self._slabs.get()
            while slab.size < size:  # an older one was in front
                self._slabs.put(slab)
                slab = self._slabs.get()
            slab.clear()
        self._slab = slab
        return slab

    def _add_slab(self, size: int) -> None:
        slab = Slab(max(SLAB_BYTES, -(-size // ndtiff.PAGE) * ndtiff.PAGE))
        self._all_slabs.append(slab)
        self._slabs.put(slab)

    def _seal(self, *, inline: bool = False) -> None:
        """Commit the current buffer, here if ``inline``, else on the second thread."""
        slab = self._slab
        if slab is None or not slab.frames:
            return
        self._slab = None
        if inline:
            try:
                self._commit.write(slab)
            finally:
                self._slabs.put(slab)
            return
        self._hand_over(slab)

    def _hand_over(self, work: Slab | StorageError) -> None:
        self._handed += 1
        self._sealed.put(work)
        if self._second is None:
            self._second = threading.Thread(target=self._commit_all, name=self._thread.name + "-commit", daemon=True)
            self._second.start()

    def _give_up(self, message: str, cause: BaseException | None) -> None:
        """End with an error, after the frames before this one."""
        error = StorageError(message)
        error.__cause__ = cause
        self._seal()
        self._hand_over(error)

    def _next_file(self) -> OutputFile:
        number = f"_{self._files}" if self._files else ""
        file = OutputFile(self._folder / f"{self._prefix}_NDTiffStack{number}.tif", self._header, direct=self._direct)
        self._files += 1
        self._commit.opened(file)
        return file

    # ---- the second thread --------------------------------------------------------------------------------------

    def _commit_all(self) -> None:
        while (work := self._sealed.get()) is not None:
            try:
                if isinstance(work, Slab):
                    self._commit.write(work)
                else:
                    self._commit.sync()
                    self._intake.fail(work)
            except BaseException as error:  # a bug, or a callback that raised: nobody may wait forever
                self._intake.fail(_as_storage_error(error))
            finally:
                if isinstance(work, Slab):
                    self._slabs.put(work)
                self._done += 1
                if self._done == self._handed:
                    self._inbox.put(_FREE)


def _as_storage_error(error: BaseException) -> StorageError:
    if isinstance(error, StorageError):
        return error
    failure = StorageError(f"the writer stopped: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
