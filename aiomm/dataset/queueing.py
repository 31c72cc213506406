"""What every writer does before a frame reaches its storage: check it, number it, bound how many are under way."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from aiomm.dataset.encode import check_axes, check_metadata, check_pixels
from aiomm.errors import ClosedError, DuplicateImageError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.dataset.index import Index
    from aiomm.dataset.storage import Frame, OnFailed, OnSaved


class Intake:
    """The frames put and not yet saved, in order; counts, limits and the first failure.

    Parameters
    ----------
    index : Index
        Of what is saved; told of new axes' types here.
    queue_size : int
        How many frames may be put and not yet saved.
    on_saved, on_room, on_failed : callable or None
        As the writers document them.
    allow_duplicates : bool
        Whether an image may be put again; the last one counts.
    reentrant : bool
        Whether callbacks may run, and put, while the lock is held.
    """

    def __init__(
        self,
        index: Index,
        *,
        queue_size: int,
        on_saved: OnSaved | None,
        on_room: Callable[[], None] | None,
        on_failed: OnFailed | None,
        allow_duplicates: bool,
        reentrant: bool = False,
    ) -> None:
        if isinstance(queue_size, bool) or not isinstance(queue_size, int) or queue_size < 1:
            raise ValueError(f"queue_size is {queue_size!r}: it must be an integer of at least 1")
        self._index = index
        self._limit = queue_size
        self._on_saved, self._on_room, self._on_failed = on_saved, on_room, on_failed
        self._allow_duplicates = allow_duplicates
        self.lock = threading.RLock() if reentrant else threading.Lock()
        self._room = threading.Condition(self.lock)
        self._waiting = 0
        self._refused = False
        self._unsaved: deque[Frame] = deque()
        self._pending: set[frozenset[tuple[str, Any]]] = set()
        self._accepted = 0
        self._closing = False
        self.error: StorageError | None = None

    def __len__(self) -> int:
        return len(self._unsaved)

    @property
    def full(self) -> bool:
        """Whether the next frame would be refused."""
        return len(self._unsaved) >= self._limit

    def check(self, frame: Frame) -> None:
        """Refuse a frame that cannot be stored; give it axes with plain values."""
        check_pixels(frame.pixels, frame.bit_depth)
        frame.axes = check_axes(frame.axes)
        if frame.text is None:
            check_metadata(frame.metadata, frame.axes)

    def accept(self, frame: Frame) -> bool:
        """Number a checked frame, or say that there is no room. The caller holds the lock."""
        if self.error is not None:
            raise self.error
        if self._closing:
            raise ClosedError("the writer was finished and takes no more images")
        if len(self._unsaved) >= self._limit:
            self._refused = True
            return False
        axes = frame.axes
        if not self._allow_duplicates:
            key = frozenset(axes.items())
            if key in self._pending or self._index.find(axes) >= 0:
                raise DuplicateImageError(f"there is an image with axes {axes} already (allow_duplicates=True lets the last one count)")
            self._index.declare(axes)
            self._pending.add(key)
        else:
            self._index.declare(axes)
        frame.row = self._accepted
        self._accepted += 1
        self._unsaved.append(frame)
        return True

    def wait_for_room(self, deadline: float | None) -> None:
        """Wait until `accept` may succeed. The caller holds the lock."""
        self._waiting += 1
        try:
            while self.error is None and not self._closing and len(self._unsaved) >= self._limit:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"no room for an image: {len(self._unsaved)} are put and not yet saved")
                self._room.wait(left)
        finally:
            self._waiting -= 1

    def close(self) -> bool:
        """Take no more frames. False if that was so already."""
        with self.lock:
            first, self._closing = not self._closing, True
            self._room.notify_all()
            return first

    def saved(self, count: int) -> None:
        """Report the first ``count`` frames as saved; the index has them."""
        with self.lock:
            if self.error is not None:
                return
            count = min(count, len(self._unsaved))  # less if it failed, or was given up, during the write
            frames = [self._unsaved.popleft() for _ in range(count)]
            if self._pending:
                for frame in frames:
                    self._pending.discard(frozenset(frame.axes.items()))
            refused, self._refused = self._refused, False
            if self._waiting:
                self._room.notify_all()
        self._index.growth.tell()
        if frames and self._on_saved is not None:
            self._on_saved(frames)
        if refused and self._on_room is not None:
            self._on_room()

    def fail(self, error: StorageError) -> None:
        """Give every unsaved frame up, and refuse those to come. The first failure counts."""
        with self.lock:
            if self.error is not None:
                return
            self.error = error
            lost = list(self._unsaved)
            self._unsaved.clear()
            self._pending.clear()
            self._room.notify_all()
        if self._on_failed is not None:
            self._on_failed(error, lost)
