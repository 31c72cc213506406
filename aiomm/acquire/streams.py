"""Who listens to an acquisition: streams of saved images and of notifications, each with its own pace and policy."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from types import TracebackType

    from aiomm.acquire.run import Run
    from aiomm.acquire.submission import Image

Policy = Literal["block", "latest", "drop"]
POLICIES = ("block", "latest", "drop")
NOTIFICATIONS_KEPT = 10_000


class ImageStream(AsyncIterator["Image"]):
    """``async for image in acq.images(...)``: every saved image of the acquisition from now on, as its policy says.

    Attributes
    ----------
    dropped : int
        Images that this stream did not deliver, with the policies ``"latest"`` and ``"drop"``.
    """

    def __init__(self, run: Run, policy: Policy, buffer: int) -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(map(repr, POLICIES))}, not {policy!r}")
        if buffer < 1:
            raise ValueError(f"buffer must be at least 1 image, not {buffer!r}")
        self._run = run
        self.policy = policy
        self.buffer: int = 1 if policy == "latest" else buffer
        self.dropped: int = 0
        self.closed: bool = False
        self._rows: deque[int] = deque()
        self._reader: weakref.ref[asyncio.Task[Any]] | None = None  # weak: its frames may hold this stream
        self._is_read_by(asyncio.current_task())

    def _is_read_by(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None and (self._reader is None or self._reader() is not task):
            self._reader = weakref.ref(task)
            room = self._run.room
            task.add_done_callback(lambda _: room())

    @property
    def reader(self) -> asyncio.Task[Any] | None:
        """The task that has read it last."""
        return None if self._reader is None else self._reader()

    @property
    def _is_left(self) -> bool:
        """Whether its last reader waits for the end of the acquisition, or has ended: no wait of its own will come to this stream."""
        finishers = self._run.finishers
        reader = self.reader
        return bool(finishers) and (reader is None or reader.done() or reader in finishers)

    @property
    def full(self) -> bool:
        """Whether the acquisition has to wait for this stream; nothing is lost to a later reader if it does not."""
        return self.policy == "block" and not self.closed and len(self._rows) >= self.buffer and not self._is_left

    def offer(self, row: int) -> None:
        """A row was saved."""
        if self.closed:
            return
        if self.policy == "block" or len(self._rows) < self.buffer:
            self._rows.append(row)
            return
        self.dropped += 1
        if self.policy == "latest":
            self._rows.popleft()
            self._rows.append(row)

    async def __anext__(self) -> Image:
        self._is_read_by(asyncio.current_task())
        if not self._rows:
            with self._run.audience.reader_waiting():
                await self._run.wait_until(lambda: bool(self._rows or self.closed or self._run.ended))
        if not self._rows:
            self._run.raise_error()
            raise StopAsyncIteration
        row = self._rows[0]
        image = await self._run.audience.image(row)
        if self._rows and self._rows[0] == row:
            self._rows.popleft()
            self._run.room()
        return image

    async def aclose(self) -> None:
        """Stop listening; a stream that is simply dropped stops too."""
        self.closed = True
        self._rows.clear()
        self._run.room()

    async def __aenter__(self) -> ImageStream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that happened in an acquisition.

    Attributes
    ----------
    type : str
        ``"acquisition"``, ``"hardware"``, ``"camera"``, ``"image"`` or ``"event"``.
    milestone : str
        One of `MILESTONES`.
    payload : object
        The axes concerned (a dict, or a list of dicts for a hardware sequence); the error for ``"error"``; or None.
    """

    type: str
    milestone: str
    payload: Any = None


MILESTONES = {
    "acq_started": "acquisition",
    "acq_events_finished": "acquisition",
    "aborted": "acquisition",
    "error": "acquisition",
    "pre_hardware": "hardware",
    "post_hardware": "hardware",
    "pre_snap": "camera",
    "post_snap": "camera",
    "pre_sequence_started": "camera",
    "post_sequence_stopped": "camera",
    "event_skipped": "event",
    "event_failed": "event",
    "image_diverted": "image",
    "image_saved": "image",
    "data_sink_finished": "image",
}
"""Every milestone, and its type."""


class NotificationStream(AsyncIterator[Notification]):
    """``async for notification in acq.notifications()``: what happens from now on.

    It keeps the newest 10 000 that were not read.

    Attributes
    ----------
    dropped : int
        Notifications that were not read in time.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.dropped: int = 0
        self._kept: deque[Notification] = deque(maxlen=NOTIFICATIONS_KEPT)

    def offer(self, notification: Notification) -> None:
        """It happened."""
        self.dropped += len(self._kept) == NOTIFICATIONS_KEPT
        self._kept.append(notification)

    def __len__(self) -> int:
        return len(self._kept)

    def take(self) -> Notification:
        """Take the oldest one that was not read."""
        return self._kept.popleft()

    async def __anext__(self) -> Notification:
        await self._run.wait_until(lambda: bool(self._kept or self._run.ended))
        if self._kept:
            return self.take()
        raise StopAsyncIteration
