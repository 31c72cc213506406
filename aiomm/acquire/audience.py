"""Who looks at an acquisition and listens to it: the images that are at hand for them, and what they are told."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aiomm.acquire.streams import MILESTONES, ImageStream, Notification, NotificationStream
from aiomm.acquire.submission import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiomm.acquire.run import Run
    from aiomm.dataset.storage import Frame

RECENT_IMAGES = 8

logger = logging.getLogger("aiomm")


class Audience:
    """The streams, cursors and listeners of a run. On the loop, but for `full`; it holds no stream that everybody else has dropped."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._readers = 0
        self._recent: OrderedDict[int, Frame] = OrderedDict()
        self._streams: weakref.WeakSet[ImageStream] = weakref.WeakSet()
        self._blocking: tuple[weakref.ref[ImageStream], ...] = ()  # those that may hold up the acquisition
        self._listeners: weakref.WeakSet[NotificationStream] = weakref.WeakSet()
        self._log_notes = False

    @property
    def full(self) -> bool:
        """Whether the acquisition has to wait for a stream. Any thread."""
        for reference in self._blocking:
            stream = reference()
            if stream is not None and stream.full:
                return True
        return False

    def is_read_by(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether the acquisition waits for a stream, and this task is to read it."""
        return any(stream.full and stream.reader is task for reference in self._blocking if (stream := reference()) is not None)

    # ---- images -------------------------------------------------------------------------------------------------

    def add_stream(self, stream: ImageStream) -> ImageStream:
        """Offer it each image that is saved from now on."""
        self._streams.add(stream)
        if stream.policy == "block":  # one that is dropped in the middle holds up nothing
            alive = [reference for reference in self._blocking if reference() is not None]
            self._blocking = (*alive, weakref.ref(stream, lambda _: self._run.room()))
        return stream

    @contextmanager
    def reader_waiting(self) -> Iterator[None]:
        """Somebody waits for the next image: write at once, and keep the newest at hand."""
        self._readers += 1
        self._run.writer.flush()
        try:
            yield
        finally:
            self._readers -= 1

    def saved(self, frames: Sequence[Frame]) -> None:
        """Tell of images that were saved."""
        wanted = self._readers > 0 or len(self._streams) > 0
        for frame in frames:
            if wanted:
                self._show(frame)
            if self._listeners:
                self.note("image_saved", frame.axes)

    def _show(self, frame: Frame) -> None:
        if frame.pixels.size:  # else it never was here: Micro-Manager has taken and saved it
            self._recent[frame.row] = frame
        if len(self._recent) > RECENT_IMAGES:
            self._recent.popitem(last=False)
        for stream in self._streams:
            stream.offer(frame.row)

    async def image(self, row: int) -> Image:
        """Give the image in a row of the index, from memory if it is at hand."""
        frame = self._recent.get(row)
        if frame is not None:
            pixels, axes, metadata = frame.pixels.view(), frame.axes, frame.metadata
        else:
            dataset = self._run.dataset
            pixels, metadata = await asyncio.to_thread(dataset.read_row, row)
            axes = dataset.axes_of(row)
        pixels.flags.writeable = False
        return Image(dict(axes), pixels, metadata)

    # ---- notifications ------------------------------------------------------------------------------------------

    def add_listener(self, listener: NotificationStream) -> NotificationStream:
        """Tell it what happens from now on."""
        self._listeners.add(listener)
        self._run.engine.listening = True
        return listener

    def log_notes(self) -> None:
        """Log every notification, and have that shown where no logging is set up."""
        self._log_notes = self._run.engine.listening = True
        if not logger.hasHandlers():
            logger.addHandler(logging.StreamHandler())
        logger.setLevel(min(logger.level or logging.DEBUG, logging.DEBUG))

    def note(self, milestone: str, payload: Any) -> None:
        """Tell who listens."""
        if self._log_notes:
            logger.debug("%s %s", milestone, "" if payload is None else payload)
        if self._listeners:
            notification = Notification(MILESTONES[milestone], milestone, payload)
            for listener in self._listeners:
                listener.offer(notification)
            self._run.bell.ring()
