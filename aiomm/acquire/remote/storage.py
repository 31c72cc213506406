"""`JavaWriter`: a writer whose images Micro-Manager saves, and the live dataset on what it saves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.remote.counting import UNLABELLED, AskedFrame, Numbers, axes_in, take_out
from aiomm.acquire.remote.pipes import write_image
from aiomm.acquire.remote.waiting import Waiting
from aiomm.dataset.damage import repair_command
from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import check_axes, check_pixels
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.live import FollowedStore
from aiomm.dataset.ndtiff.table import FILE, LENGTH, METADATA, PIXELS
from aiomm.dataset.storage import Frame
from aiomm.errors import ClosedError, DatasetFormatError, DuplicateImageError, HardwareError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomm.acquire.remote.pipes import ImagePipe
    from aiomm.dataset.storage import Axes, OnFailed, OnSaved

__all__ = ["JavaWriter"]

TOGETHER_S = 0.005
NO_PIXELS = np.zeros((0, 0), np.uint8)
"""Of frames whose pixels never came here."""

_Key = frozenset[tuple[str, Any]]


class JavaWriter:
    """Follows what Micro-Manager's storage saves, and hands it images to save. Every method but `serve` is thread-safe.

    A frame is known by its axes. Java saves it by itself (`expect`), or after it was sent there (`try_put`); both are saved when Java has
    told so (`saved`). Java takes pixels and metadata from the same message, so nothing of a frame that was sent is kept.

    Parameters
    ----------
    path
        Folder of the dataset.
    summary
        Java's summary metadata.
    queue_size
        How many frames may be put and not saved yet.
    on_saved
        Gets frames as they are saved, with their rows. An image that nobody expected comes as a frame whose ``token`` is None, without
        pixels and metadata: those are in the dataset.
    on_room
        Called when there is room after `try_put` has said no.
    on_failed
        Gets the error and the frames that are not saved when Java tells what cannot be understood.
    allow_duplicates
        Whether an image may be put again; the last one counts.
    """

    def __init__(
        self,
        path: Path,
        summary: dict[str, Any],
        *,
        queue_size: int,
        on_saved: OnSaved | None = None,
        on_room: Callable[[], None] | None = None,
        on_failed: OnFailed | None = None,
        allow_duplicates: bool = False,
    ) -> None:
        tiled = "GridPixelOverlapX" in summary
        folder = path / ndtiff.FULL_RESOLUTION if tiled else path
        self.path = path
        self._store = FollowedStore(folder, summary, ndtiff.VERSION, "Micro-Manager's index")
        self.dataset: Dataset = Dataset.of(self._store, path)
        self._limit = queue_size
        self._on_saved, self._on_room, self._on_failed = on_saved, on_room, on_failed
        self._allow_duplicates = allow_duplicates
        self._lock = threading.RLock()
        self._freed = threading.Condition(self._lock)
        self._expected: Waiting[Frame] = Waiting()
        self._need_not: dict[_Key, Frame] = {}
        self._count = 0  # frames in it
        self._put = 0  # of them, those that were put
        self._were_put: set[int] = set()
        self._queue: deque[list[bytes | memoryview]] = deque()
        self._records: list[bytes] = []
        self._counted = 0  # expected frames that are of a sequence
        self._numbers = Numbers(folder)
        self._reading: asyncio.Future[None] | None = None  # what is written of the records under way
        self._unlabelled: list[bytes] = []  # records of images that cannot be told from one another
        self._taken = float("-inf")  # when records were taken last, on the loop's clock
        self._refused = False
        self._ended = self._given_up = self._closed = False
        self._error: StorageError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell: asyncio.Event | None = None
        self._thread = 0  # the loop's

    # ---- frames to come -----------------------------------------------------------------------------------------

    def expect(self, frame: Frame) -> None:
        """Java will save an image with these axes by itself, with an axis ``camera`` more where several cameras take one event."""
        with self._lock:
            self._enter(frame)

    def is_expected(self, frame: Frame) -> bool:
        """Whether the image of this frame is yet to come."""
        with self._lock:
            return self._expected.has(frozenset(frame.axes.items()), frame)

    def expect_no_more(self, frame: Frame, *, may_come: bool = False) -> None:
        """The image of a frame that is expected will not come; or it may, and is this one then."""
        with self._lock:
            key = frozenset(frame.axes.items())
            self._expected.remove(key, frame)
            self._forget(frame)
            if may_come:
                self._need_not[key] = frame

    def try_put(self, frame: Frame) -> bool:
        """Take a frame for Java to save, or say False: ``queue_size`` frames are put and not saved yet.

        Raises
        ------
        ValueError, TypeError
            The frame cannot be stored; the message names what is wrong.
        DuplicateImageError
            There is an image with these axes.
        StorageError
            What Java saves cannot be followed any more.
        ClosedError
            Nothing more is taken.
        """
        check_pixels(frame.pixels, frame.bit_depth)
        frame.axes = check_axes(frame.axes)
        if not isinstance(frame.metadata, dict):
            raise TypeError(f"metadata must be a dict, not {type(frame.metadata).__name__}")
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._ended or self._given_up or self._closed:
                raise ClosedError("the writer was finished and takes no more images")
            if self._put >= self._limit:
                self._refused = True
                return False
            if not self._allow_duplicates and (frozenset(frame.axes.items()) in self._expected or self._store.index.find(frame.axes) >= 0):
                raise DuplicateImageError(
                    f"there is an image with axes {frame.axes} already (allow_duplicates=True lets the last one count)"
                )
            depth = {} if frame.bit_depth is None else {"BitDepth": frame.bit_depth}
            try:
                written = write_image(frame.pixels, {**frame.metadata, **depth, "Axes": frame.axes})
            except (TypeError, ValueError) as error:
                raise type(error)(f"metadata of image {frame.axes}: {error}") from None
            self._store.index.declare(frame.axes)
            self._enter(frame)
            self._put += 1
            self._were_put.add(id(frame))
            self._queue.append(written)
        self._ring()
        return True

    def put(self, frame: Frame, timeout: float | None = None) -> None:
        """Take a frame; wait while there is no room. ``TimeoutError`` after ``timeout`` seconds. Not on the event loop."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.try_put(frame):
            left = None if deadline is None else deadline - time.monotonic()
            with self._freed:
                free = self._freed.wait_for(lambda: self._put < self._limit or self._closed or self._given_up, left)
            if not free:
                raise TimeoutError(f"no room for an image: {self._limit} are put and not yet saved")

    def _enter(self, frame: Frame) -> None:
        self._expected.add(frozenset(frame.axes.items()), frame)
        self._count += 1
        self._counted += isinstance(frame, AskedFrame) and frame.count is not None

    @property
    def outstanding(self) -> list[Frame]:
        """Frames that are expected or put, and not saved yet."""
        with self._lock:
            return list(self._expected)

    def __len__(self) -> int:
        return self._count

    # ---- to Java ------------------------------------------------------------------------------------------------

    async def serve(self, pipe: ImagePipe) -> None:
        """Send Java the frames that are put, in order, until `end` and the last of them, or `give_up`; then say that it was the last.

        Raises
        ------
        ServerLostError
            Java is gone.
        """
        self._loop, self._bell, self._thread = asyncio.get_running_loop(), asyncio.Event(), threading.get_ident()
        try:
            while not self._given_up:
                self._bell.clear()
                while self._queue:
                    await pipe.send_written(self._queue.popleft())
                if self._ended and not self._queue:
                    break
                await self._bell.wait()
        finally:
            self._loop = self._bell = None
        await pipe.finish()

    def end(self) -> None:
        """Nothing more will be put: `serve` ends when all was sent."""
        self._ended = True
        self._ring()

    def flush(self) -> None:
        """Nothing waits here that could be hurried."""

    def gather(self, seconds: float) -> None:
        """Micro-Manager writes as it likes."""

    def give_up(self) -> None:
        """Send nothing more."""
        with self._lock:
            self._given_up = True
            self._queue.clear()
            self._freed.notify_all()
        self._ring()

    def _ring(self) -> None:
        loop, bell = self._loop, self._bell
        if loop is None or bell is None or loop.is_closed():
            return
        if threading.get_ident() == self._thread:
            bell.set()
        else:
            loop.call_soon_threadsafe(bell.set)

    # ---- from Java ----------------------------------------------------------------------------------------------

    def saved(self, record: bytes) -> None:
        """Take what Java tells of an image that it has saved: the image's record in the index. On the loop.

        The first is reported at once, those that follow soon after it together: each report costs a third of a millisecond.
        """
        self._records.append(record)
        if len(self._records) == 1:
            loop = asyncio.get_running_loop()
            wait = self._taken + TOGETHER_S - loop.time()
            if wait <= 0 or self._refused:  # or somebody waits for room
                loop.call_soon(self._take_records, loop)
            else:
                loop.call_later(wait, self._take_records, loop)

    def _take_records(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if loop is not None:
            self._taken = loop.time()
            if self._reading is not None:  # they are taken when it has ended
                return
            if self._records and not self._closed:
                self._reading = loop.create_task(self._take_written(loop), name="aiomm: what Micro-Manager has written")
                return
        records, self._records = self._records, []
        self._take(records, None)

    async def _take_written(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take records after a look at what is in the files: all of each image, and in sequences the camera's numbers."""
        try:
            records, self._records = self._records, []
            whole, numbers = await loop.run_in_executor(None, self._look, records, self._counted > 0)
            torn = records[whole:]
            good, frames, lost = self._labelled(records[:whole], numbers)
            self._take(good, frames)
            if self._on_failed is not None:
                for frame, why in lost:
                    self._on_failed(HardwareError(f"{why}; the records of those that came are in {UNLABELLED}"), [frame])
            if torn:
                self._cut_off(torn)
        finally:
            self._reading = None
            self._taken = loop.time()
            if self._records:
                loop.call_later(TOGETHER_S, self._take_records, loop)

    def _look(self, records: list[bytes], counted: bool) -> tuple[int, list[int | None]]:
        """Say how many of these are written whole, and the camera's numbers of those; in a thread."""
        whole = next((number for number, record in enumerate(records) if not self._numbers.whole(record)), len(records))
        return whole, self._numbers.read(records[:whole]) if counted else [None] * whole

    def _cut_off(self, torn: list[bytes]) -> None:
        """Java has written a part of the first of these."""
        self._unlabelled += torn
        with self._lock:
            frames = [self._arrived(axes) for record in torn if (axes := axes_in(record)) is not None]
        which = ", ".join(str(frame.axes) for frame in frames)
        if self._on_failed is not None:
            self._on_failed(StorageError(f"Micro-Manager has written only a part of images (is its disk full?): {which}"), frames)

    def _labelled(self, records: list[bytes], numbers: list[int | None]) -> tuple[list[bytes], list[Frame], list[tuple[Frame, str]]]:
        """Leave out images that cannot be told from one another; give the others and their frames, and where each such sequence begins."""
        good: list[bytes] = []
        frames: list[Frame] = []
        lost: list[tuple[Frame, str]] = []
        with self._lock:
            for record, number in zip(records, numbers, strict=True):
                axes = axes_in(record)
                frame = Frame({}, NO_PIXELS, {}) if axes is None else self._arrived(axes)
                if isinstance(frame, AskedFrame) and (count := frame.count) is not None:
                    known = count.lost
                    if not count.follows(frame, number):
                        self._unlabelled.append(record)
                        if not known:
                            lost.append((frame, count.lost))
                        continue
                good.append(record)
                frames.append(frame)
        return good, frames, lost

    def _take(self, records: list[bytes], frames: list[Frame] | None) -> None:
        """Add records to the dataset and report them; their frames, if they are known already."""
        with self._lock:
            if not records or self._error is not None or self._closed:
                return
            first = len(self._store.index)
            error = self._add(records)
            rows = range(first, len(self._store.index))
            if frames is None:
                frames = [self._arrived(self._store.index.axes_of(row)) for row in rows]
            frames = frames[: len(rows)]
            for row, frame in zip(rows, frames, strict=True):
                frame.row = row
            refused = self._refused and self._put < self._limit
            if refused:
                self._refused = False
            self._freed.notify_all()
        self._store.index.growth.tell()
        if frames and self._on_saved is not None:
            self._on_saved(frames)
        if error is not None:
            self._fail(error)
        elif refused and self._on_room is not None:
            self._on_room()

    def _add(self, records: list[bytes]) -> DatasetFormatError | None:
        """Add records to the store up to the first that cannot be right."""
        store, first = self._store, len(self._store.index)
        try:
            store.add(b"".join(records))
        except DatasetFormatError:
            pass
        try:
            for one in records[len(store.index) - first :]:  # all are in, unless one is wrong: then those before it
                if store.add(one) != len(one):
                    raise DatasetFormatError(f"Micro-Manager's index: {one[:60]!r} is no record")
        except DatasetFormatError as error:
            return error
        return None

    def _arrived(self, axes: Axes) -> Frame:
        """Give the frame whose image has these axes."""
        frame = self._leave(axes)
        if frame is None and "camera" in axes:
            frame = self._leave({name: value for name, value in axes.items() if name != "camera"})
            if frame is not None:
                frame.axes = axes
        if frame is None:
            frame = Frame(axes, NO_PIXELS, {})
        return frame

    def _leave(self, axes: Axes) -> Frame | None:
        key = frozenset(axes.items())
        frame = self._expected.pop(key)
        if frame is None:
            return self._need_not.pop(key, None)
        self._forget(frame)
        return frame

    def _forget(self, frame: Frame) -> None:
        self._count -= 1
        self._counted -= isinstance(frame, AskedFrame) and frame.count is not None
        if id(frame) in self._were_put:
            self._were_put.discard(id(frame))
            self._put -= 1

    def _fail(self, why: DatasetFormatError) -> None:
        with self._lock:
            self._error = StorageError(f"what Micro-Manager saves cannot be followed: {why}")
            lost = self.outstanding
            self._freed.notify_all()
        if self._on_failed is not None:
            self._on_failed(self._error, lost)

    async def caught_up(self) -> None:
        """Wait until what Java has told is in the dataset, and reported."""
        loop = asyncio.get_running_loop()
        while self._reading is not None or self._records:
            self._take_records(loop)
            if self._reading is not None:
                await asyncio.wait([self._reading])

    async def settle(self) -> None:
        """Nothing more will be told: take what was, and take out of the index what cannot be labelled.

        Raises
        ------
        StorageError
            The index cannot be written.
        """
        await self.caught_up()
        records, self._unlabelled = self._unlabelled, []
        if records:
            try:
                await asyncio.to_thread(take_out, self._store.path, records)
            except OSError as error:
                raise StorageError(
                    f"{len(records)} images of {self.path} are not whole or have wrong axes, and its index cannot be mended: {error}"
                ) from error

    def check_whole(self) -> None:
        """See that Java has written each image to its end: on a disk that gets full it takes no notice. Reads the files.

        Raises
        ------
        StorageError
            Of some it has written only a part.
        """
        store = self._store
        rows = store.table.first(len(store.index)).astype(np.int64)
        last = np.append(rows[1:, FILE] != rows[:-1, FILE], True)[: len(rows)]
        torn = np.append(rows[1:, PIXELS] < rows[:-1, METADATA] + rows[:-1, LENGTH], False)[: len(rows)] & ~last
        for row in np.flatnonzero(last):  # metadata is written last
            try:
                store.metadata(int(row))
            except (DatasetFormatError, OSError):
                torn[row] = True
        store.let_go()  # else they stay open as long as somebody keeps the dataset
        if torn.any():
            axes = ", ".join(str(store.index.axes_of(int(row))) for row in np.flatnonzero(torn))
            raise StorageError(
                f"Micro-Manager has written only a part of images that it said were saved (is its disk full?): {axes}; "
                f"{repair_command(self.path)} makes the folder whole"
            )

    def finish(self) -> None:
        """Nothing more will be saved; the dataset says so. Raises the ``StorageError`` if there was one."""
        self._take_records()
        self._numbers.close()
        with self._lock:
            self._closed = True
            self._freed.notify_all()
        self._store.finish()
        if self._error is not None:
            raise self._error
