"""Write OME-Zarr 0.5: frames go into page-aligned buffers, each buffer to its shards in large writes, then the indexes.

Two stages share the work, as for NDTiff: the *packer* lays frames out in a buffer, the *committer* writes it. A buffer is
sealed when it is full or when nothing waits, so a lone frame is written at once and a stream in large writes.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import encode_json, encode_metadata
from aiomm.dataset.ndtiff.folder import make_folder
from aiomm.dataset.ndtiff.output import OutputIndex
from aiomm.dataset.omezarr.commit import Committer
from aiomm.dataset.omezarr.folder import Groups
from aiomm.dataset.omezarr.frames import FRAMES_NAME, INDEX_NAME
from aiomm.dataset.omezarr.layout import SHARD_BYTES, Layout
from aiomm.dataset.omezarr.pyramid import Background, LevelBuilder
from aiomm.dataset.omezarr.shard import PAGE, ShardFile, alignment
from aiomm.dataset.omezarr.slab import Entry, Slab
from aiomm.dataset.omezarr.store import LiveStore
from aiomm.dataset.queueing import Intake
from aiomm.errors import StorageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from aiomm.dataset.omezarr.layout import ImagePlan
    from aiomm.dataset.storage import Durability, Frame, OnFailed, OnSaved

SLAB_BYTES: Final = 8 * 2**20
SLABS: Final = 4


class _Token:
    """Something else than a frame in the packer's inbox."""


_FINISH: Final = _Token()
_FREE: Final = _Token()  # the committer has nothing to do
_FLUSH: Final = _Token()


class OmeZarrWriter:
    """Save images as an OME-Zarr 0.5 dataset in a new folder ``<directory>/<name>_<k>``.

    Each position is an image of its own with the axes t, c, z, y, x, as far as the images have them; other axes than time,
    channel and z choose the image as well. Positions named like wells (``A1``, ``B2-Site_0``) make a plate.

    Every method may be called from any thread. The callbacks run on a thread of the writer, one at a time, in the order
    put, and must be quick.

    Parameters
    ----------
    directory : path
        Where the dataset's folder is made; made itself if it does not exist.
    name : str
        Name of the dataset.
    summary_metadata : mapping
        What holds for every image. ``PixelSize_um`` (µm), ``z-step_um`` (µm) and ``Interval_ms`` (ms) become scales.
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
        What *saved* means; see `NDTiffWriter`.
    sync_interval : float
        Seconds, for "interval".
    plate : bool, optional
        Whether positions are wells of a plate. None: if the first one's name looks like it.
    shard_bytes : int
        How large a shard becomes, if an image is not larger.
    direct : bool
        Whether large writes may go past the page cache.
    multiscale : bool
        Whether images larger than 512 pixels get reduced levels: built while nothing waits to be saved, the rest in `finish`.

    Raises
    ------
    StorageError
        The folder or its first files cannot be made.
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
        plate: bool | None = None,
        shard_bytes: int = SHARD_BYTES,
        direct: bool = True,
        multiscale: bool = False,
    ) -> None:
        if durability not in ("none", "interval", "every"):
            raise ValueError(f"durability is {durability!r}: it must be 'none', 'interval' or 'every'")
        if isinstance(shard_bytes, bool) or not isinstance(shard_bytes, int) or shard_bytes < 1:
            raise ValueError(f"shard_bytes is {shard_bytes!r}: it must be a number of bytes, 1 or more")
        summary = json.loads(encode_json(dict(summary_metadata or {})))
        self._layout = Layout(plate=plate, shard_bytes=shard_bytes)
        self._shards: dict[tuple[int, tuple[int, ...]], ShardFile] = {}
        self._on_saved = on_saved
        self._levels: Background | None = None
        self._all_slabs: list[Slab] = []
        try:
            self.path: Path = make_folder(Path(directory), name)
            self._store = LiveStore(self.path, summary, self._layout.images, [], self._all_slabs)
            self._intake = Intake(
                self._store.index, queue_size=queue_size, on_saved=self._saved if multiscale else on_saved, on_room=on_room,
                on_failed=on_failed, allow_duplicates=allow_duplicates,
            )  # fmt: skip
            groups = Groups(self.path, summary, sync=durability != "none")
            self._commit = Committer(
                intake=self._intake, store=self._store, layout=self._layout, groups=groups,
                index=OutputIndex(self.path / INDEX_NAME), frames=OutputIndex(self.path / FRAMES_NAME),
                durability=durability, interval=sync_interval, direct=direct,
            )  # fmt: skip
        except OSError as error:
            raise StorageError(f"cannot make a dataset {name!r} in {directory}: {error.strerror or error}") from error
        self.dataset: Dataset = Dataset.of(self._store)
        self._slabs: queue.SimpleQueue[Slab] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Frame | _Token] = queue.SimpleQueue()
        self._sealed: queue.SimpleQueue[Slab | StorageError | None] = queue.SimpleQueue()
        if multiscale:
            builder = LevelBuilder(self._store, self._index_of, sync=durability != "none")
            self._levels = Background(builder, lambda: len(self._intake) > 0, f"aiomm-omezarr-levels-{self.path.name}")
        self._slab: Slab | None = None
        self._batch = max(1, queue_size // 2)  # so that some are packed while others are written
        self._handed = self._done = 0  # buffers given to the second thread, and done by it
        self._second: threading.Thread | None = None
        self._thread = threading.Thread(target=self._main, name=f"aiomm-omezarr-{self.path.name}", daemon=True)
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
        self._intake.check(frame)
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
        self._intake.check(frame)
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
        if self._levels is not None:
            self._levels.give_up()

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

    def __enter__(self) -> OmeZarrWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def _saved(self, frames: list[Frame]) -> None:
        if self._on_saved is not None:
            self._on_saved(frames)
        if self._levels is not None:
            self._levels.wake()

    def _index_of(self, row: int) -> tuple[int, ...]:
        """Place of a saved image in its array."""
        return self._layout.find(self._store.plan_of(row), self._store.index.axes_of(row))

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
            if self._levels is not None:
                try:
                    self._levels.finish()
                except Exception as error:
                    failure = StorageError(f"the reduced levels cannot be made (every image is saved): {error}")
                    failure.__cause__ = error
                    self._intake.fail(failure)

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
            failure = StorageError(f"metadata of image {frame.axes}: {error}")
            failure.__cause__ = error
            self._seal()
            self._hand_over(failure)  # after the frames before this one
            return
        plan, index = self._layout.place(frame.axes, frame.pixels, frame.bit_depth)
        key, chunk = plan.shard_of(index)
        shard = self._shards.get((plan.number, key)) or self._new_shard(plan, key)
        align = alignment(frame.pixels.nbytes)
        size = -(-frame.pixels.nbytes // align) * align
        slab = self._room_for(size)
        begin = -(-slab.used // align) * align
        slab.put(Entry(frame, metadata, plan, index, shard, chunk, begin, begin + size, shard.take(size, align)))
        full = len(slab.entries) >= self._batch or slab.used + size + PAGE > slab.size
        if full and (self._handed != self._done or not self._inbox.empty()):
            self._seal()  # while the one before it is written, so that the next write follows at once

    def _new_shard(self, plan: ImagePlan, key: tuple[int, ...]) -> ShardFile:
        path = plan.shard_path(key)
        shard = ShardFile(self.path / path, len(self._store.shards), plan.chunks)
        self._store.shards.append(path)
        self._shards[plan.number, key] = shard
        return shard

    def _room_for(self, size: int) -> Slab:
        size += PAGE  # to begin on a page after images that do not end on one
        slab = self._slab
        if slab is not None and slab.used + size <= slab.size and len(slab.entries) < self._batch:
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
        slab = Slab(max(SLAB_BYTES, -(-size // PAGE) * PAGE))
        self._all_slabs.append(slab)
        self._slabs.put(slab)

    def _seal(self, *, inline: bool = False) -> None:
        """Commit the current buffer, here if ``inline``, else on the second thread."""
        slab = self._slab
        if slab is None or not slab.entries:
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
