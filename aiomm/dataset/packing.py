"""How frames become large writes: packed into buffers by one thread, committed by it or by a second one.

The *packer* takes frames as they are put and lays them out in a buffer. A buffer is sealed when it is full or when the
device is free to take it, so a lone frame is written at once and a stream in large writes. The *committer* writes a sealed
buffer and reports. While nothing else waits the packer's thread does that itself; when frames come faster than one thread
can pack and write, a second thread commits. How a frame is laid out, and what a write is, is each format's own.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self

from aiomm.dataset.committing import Commit, S
from aiomm.dataset.encode import encode_metadata
from aiomm.dataset.locking import FolderLock
from aiomm.errors import StorageError
from aiomm.work_queue import WorkQueue

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.queueing import Intake
    from aiomm.dataset.storage import Frame

SLAB_BYTES: Final = 8 * 2**20
SLABS: Final = 4


class Ending(Protocol):
    """A store that is told when nothing more comes."""

    def finish(self) -> None: ...


class _Token:
    """Something else than a frame in the packer's inbox."""


_FINISH: Final = _Token()
_FREE: Final = _Token()  # the committer has nothing to do
_FLUSH: Final = _Token()
_LOOK: Final = _Token()


class PackingWriter(Generic[S]):
    """The threads of a writer, and the methods that every writer to a disk has; see `aiomm.dataset.storage.Writer`.

    A format gives `path`, `_pack` and `_new_slab`, and calls `_begin` when all it needs is there.
    """

    path: Path

    def _begin(self, intake: Intake, store: Ending, commit: Commit[S, Any], slabs: list[S], *, batch: int, name: str) -> None:
        """Start the packer.

        Parameters
        ----------
        intake, store, commit
            Where frames are accepted, what readers see, what writes.
        slabs : list
            The buffers there are, for readers of what is not written yet; filled here.
        batch : int
            Images of a buffer at most.
        name : str
            Of the thread.
        """
        self._intake = intake
        self._store_end = store.finish
        self._commit = commit
        self._all_slabs = slabs
        self._slabs: WorkQueue[S] = WorkQueue()
        self._inbox: WorkQueue[Frame | _Token] = WorkQueue()
        self._sealed: WorkQueue[S | StorageError | None] = WorkQueue()
        self._slab: S | None = None
        self._batch = batch
        self._gather = 0.0
        self._until = 0.0  # how long the images in the buffer may wait for others, on the monotonic clock
        self._handed = self._done = 0  # buffers given to the second thread, and done by it
        self._second: threading.Thread | None = None
        self._lock = FolderLock(self.path, alone=False)
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def _pack(self, frame: Frame, metadata: bytes) -> None:
        """Lay a frame and its metadata, as JSON, out in the buffer that `_room_for` gives; call `_packed` at the end."""
        raise NotImplementedError

    def _new_slab(self, size: int) -> S:
        """Make a buffer of at least ``size`` bytes."""
        raise NotImplementedError

    def _check(self, frame: Frame) -> None:
        """Refuse a frame that cannot be stored."""
        self._intake.check(frame)

    def _ended(self) -> None:
        """Do what is left when everything is saved; on the packer's thread."""

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

    def gather(self, seconds: float) -> None:
        """Images will come closely one after another: write several together, none later than so many seconds after it was put."""
        self._gather = seconds
        self._inbox.put(_LOOK)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    # ---- the packer's thread ------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._pack_all()
        except BaseException as error:  # a bug, no memory, or a callback that raised: nobody may wait forever
            self._hand_over(as_storage_error(error))  # after what is sealed already
        finally:
            if self._second is not None:
                self._sealed.put(None)
                self._second.join()
            try:
                self._commit.finish()
            except BaseException as error:
                self._intake.fail(as_storage_error(error))
            finally:
                self._store_end()
            try:
                self._ended()
            finally:
                self._lock.release()

    def _pack_all(self) -> None:
        commit, inbox = self._commit, self._inbox
        while True:
            idle = self._handed == self._done
            held = idle and self._gather and self._slab is not None and len(self._slab)
            try:
                item = inbox.get(timeout=max(0.0, self._until - time.monotonic()) if held else commit.due() if idle else None)
            except queue.Empty:
                if held:
                    self._seal(inline=True)
                else:
                    commit.sync()
                continue
            if not isinstance(item, _Token):
                self._take(item)
            elif item is _FINISH:
                self._seal()
                return
            elif item is _FLUSH:
                commit.hurry = True
            if inbox.empty() and self._handed == self._done and not self._waits_for_more():
                self._seal(inline=item is not _FREE)
                if commit.hurry and self._handed == self._done:
                    commit.sync()
            del item  # a frame is not kept while waiting for the next

    def _waits_for_more(self) -> bool:
        """Whether the images in the buffer are to wait for others."""
        slab = self._slab
        if not self._gather or slab is None or not 0 < len(slab) < self._batch or self._commit.hurry or self._intake.full:
            return False
        return time.monotonic() < self._until

    def _take(self, frame: Frame) -> None:
        if self._intake.error is not None:
            return
        if self._slab is None or not len(self._slab):
            self._until = time.monotonic() + self._gather
        try:
            metadata = encode_metadata(frame.metadata, frame.axes) if frame.text is None else frame.text
        except (TypeError, ValueError) as error:
            self._give_up(f"metadata of image {frame.axes}: {error}", error)
        else:
            self._pack(frame, metadata)

    def _packed(self, slab: S, more: int) -> None:
        """Seal the buffer if it is full, or if the next image of ``more`` bytes would not fit."""
        full = len(slab) >= self._batch or slab.used + more > slab.size
        if full and (self._handed != self._done or not self._inbox.empty()):
            self._seal()  # while the one before it is written, so that the next write follows at once

    def _room_for(self, size: int) -> S:
        """Give the buffer that takes ``size`` more bytes; the one before it is sealed if it does not."""
        slab = self._slab
        if slab is not None and slab.used + size <= slab.size and len(slab) < self._batch:
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
        slab = self._new_slab(max(SLAB_BYTES, size))
        self._all_slabs.append(slab)
        self._slabs.put(slab)

    def _seal(self, *, inline: bool = False) -> None:
        """Commit the current buffer, here if ``inline``, else on the second thread."""
        slab = self._slab
        if slab is None or not len(slab):
            return
        self._slab = None
        if inline:
            try:
                self._commit.write(slab)
            finally:
                self._slabs.put(slab)
            return
        self._hand_over(slab)

    def _hand_over(self, work: S | StorageError) -> None:
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

    # ---- the second thread --------------------------------------------------------------------------------------

    def _commit_all(self) -> None:
        while (work := self._sealed.get()) is not None:
            try:
                if not isinstance(work, StorageError):
                    self._commit.write(work)
                else:
                    self._commit.sync()
                    self._intake.fail(work)
            except BaseException as error:  # a bug, or a callback that raised: nobody may wait forever
                self._intake.fail(as_storage_error(error))
            finally:
                if not isinstance(work, StorageError):
                    self._slabs.put(work)
                self._done += 1
                if self._done == self._handed:
                    self._inbox.put(_FREE)


def as_storage_error(error: BaseException) -> StorageError:
    if isinstance(error, StorageError):
        return error
    failure = StorageError(f"the writer stopped: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
