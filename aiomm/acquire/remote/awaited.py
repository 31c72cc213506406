"""The images that Micro-Manager's engine has been asked for and that have not come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.conductor import Stopped
from aiomm.acquire.losses import not_asked_for
from aiomm.acquire.remote.counting import AskedFrame, CameraCount
from aiomm.acquire.remote.events import axes_key
from aiomm.acquire.remote.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiomm.acquire.remote.drive import Steps
    from aiomm.acquire.remote.storage import JavaWriter
    from aiomm.acquire.sequencing import Group
    from aiomm.acquire.submission import Submission
    from aiomm.dataset.storage import Axes

AT_A_TIME = 500
"""Events of a sequence, before others on the loop go first."""
NOTHING = np.empty((0, 0), np.uint8)


class Awaited:
    """Knows images by their axes.

    Attributes
    ----------
    writer : JavaWriter or None
        If Java saves its images without their coming here: then it knows them.
    """

    def __init__(self) -> None:
        self.writer: JavaWriter | None = None
        self._expected: Waiting[AskedFrame] = Waiting()
        self._left: set[Any] = set()  # of sequences that were left: some may come yet
        self._settled: set[Any] = set()  # their coming says nothing any more

    def expect(self, group: Group, channels: tuple[str, ...], submission: Submission, stops: Callable[[], bool]) -> Steps:
        """Say which images are to come of a group, one of each camera channel; gives them. A routine.

        Where ``stops()``, none is to come.
        """
        frames: list[AskedFrame] = []
        events = group.events
        count = CameraCount([event.axes for event in events], several=len(channels) > 1) if len(events) > 1 else None
        for number, event in enumerate(events):
            exposure = None if group.exposure is None else group.exposure[number]
            for channel in channels:
                axes = {**event.axes, "camera": channel} if channel else dict(event.axes)
                frame = AskedFrame(
                    axes, NOTHING, {}, None, (submission, event, time.monotonic()), count=count, place=number, exposure=exposure
                )
                frames.append(frame)
                if self._settled:
                    self._settled.discard(axes_key(axes))
                if self.writer is not None:
                    self.writer.expect(frame)
                else:
                    self._expected.add(axes_key(axes), frame)
            if number % AT_A_TIME == AT_A_TIME - 1:
                yield None
                if stops():
                    yield from self.leave(frames)
                    raise Stopped
        return frames

    def take(self, axes: Mapping[str, Any]) -> AskedFrame | None:
        """Give the frame that was asked for with these axes, once; None if it is of a sequence that was left.

        Raises
        ------
        HardwareError
            None was asked for.
        """
        key = axes_key(axes)
        frame = self._expected.pop(key)
        if frame is None and key not in self._left:
            raise not_asked_for(dict(axes))
        return frame

    def settle(self) -> Steps:
        """Java is known to have read what goes with all images it took: the coming of those expected now does not count. A routine."""
        due = self.frames if self.writer is None else self.writer.outstanding
        for first in range(0, len(due), AT_A_TIME):
            self._settled.update(axes_key(frame.axes) for frame in due[first : first + AT_A_TIME])
            yield None

    def counts(self, axes: Callable[[], Axes | None]) -> bool:
        """Whether the coming of an image says that Java has read what goes with it, and this was not known."""
        return not self._settled or axes_key(axes() or {}) not in self._settled

    def is_due(self, frame: AskedFrame) -> bool:
        """Whether an image is yet to come."""
        return self.writer.is_expected(frame) if self.writer is not None else self._expected.has(axes_key(frame.axes), frame)

    def leave(self, frames: Sequence[AskedFrame], *, may_come: bool = False) -> Steps:
        """Expect those of these that have not come no more; gives the ids of their events. A routine."""
        left: set[int] = set()
        for number, frame in enumerate(frames, 1):
            if self.is_due(frame):
                left.add(id(frame.token[1]))
                self.drop(frame, may_come=may_come)
            if number % AT_A_TIME == 0:
                yield None
        return left

    def drop(self, frame: AskedFrame, *, may_come: bool = False) -> None:
        """Expect this one no more: it will not come, or it does not matter whether it does."""
        if self.writer is not None:
            self.writer.expect_no_more(frame, may_come=may_come)
            return
        key = axes_key(frame.axes)
        self._expected.remove(key, frame)
        if may_come:
            self._left.add(key)

    @property
    def frames(self) -> list[AskedFrame]:
        """What is yet to come here."""
        return list(self._expected)
