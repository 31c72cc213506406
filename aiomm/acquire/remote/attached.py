"""The engine of an acquisition that Micro-Manager itself conducts: it hears of its images and its end, and ends it when told to.

Nothing is planned or sent here. Images and saved images come without having been asked for; all belong to one submission that is
over when Micro-Manager has ended the acquisition.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.conductor import Conductor
from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.metadata import Clock
from aiomm.acquire.orders import Done, Window
from aiomm.acquire.remote.drive import LoopSignal
from aiomm.acquire.remote.ending import ended_by_java
from aiomm.acquire.sources import open_source
from aiomm.acquire.submission import Submission
from aiomm.dataset.storage import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiomm.acquire.remote.session import JavaSession
    from aiomm.acquire.run import Run
    from aiomm.core import BridgedCore
    from aiomm.core.thread import Routine
    from aiomm.dataset.storage import Axes

NOTHING = np.empty((0, 0), np.uint8)
WAITS = "Micro-Manager, which makes the events"


class _NoDevices:
    """No device is driven from here."""

    doing = ""
    holds_shutter = False

    def release_shutter(self) -> Routine:
        yield from ()

    def forget(self) -> None:
        """Nothing is remembered."""


class AttachedEngine(Conductor):
    """Follows an acquisition that Micro-Manager conducts.

    Parameters
    ----------
    run
        The acquisition.
    core
        Micro-Manager's core.
    hooks
        Which hooks there are.
    core_log_debug
        Whether MMCore writes debug messages to its log meanwhile.
    **options
        Those of `Conductor`; events are not made here, so that most have nothing to do.
    """

    session: JavaSession

    def __init__(self, run: Run, core: BridgedCore, *, hooks: frozenset[str], core_log_debug: bool = False, **options: Any) -> None:
        self.room = LoopSignal(run.loop)
        self.asked = {which: LoopSignal(run.loop) for which in (*hooks, "armed")}  # each for whoever waits for that hook
        self._bell = LoopSignal(run.loop, self.room, *self.asked.values())
        super().__init__(run, _NoDevices(), self._bell, hooks=hooks, **options)
        self._run = run
        self._core = core
        self._core_log_debug = core_log_debug
        self.clock = Clock()
        self.outstanding: list[Frame] = []  # nothing ever is asked for
        self.failure: BaseException | None = None
        self.ending = True  # an end that nobody here has asked for is no failure
        self.events_over = False  # Java takes no more images
        self.images_over = False  # no more images come from Java
        self.data_over = False  # Java has saved all
        self.direct = True  # Java saves what it takes, without its coming here
        self.before_end: Callable[[], Any] | None = None
        self._paused_there = False
        self._doing = WAITS
        self.submission = Submission(run, open_source([]), keep_shutter_open=False, turn=None)
        self.submission.source_done = True
        self.submission.windows_open = 1
        self._window = Window(self.submission, [])

    def begin(self) -> None:
        """From now on the acquisition is not idle."""
        self._run.active[self.submission] = None

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self._aborting

    # ---- what comes ---------------------------------------------------------------------------------------------

    def hear(self, milestone: str, payload: Any) -> None:
        """Take what Java's engine tells by itself; on the loop."""
        if milestone == "pre_hardware":
            self._note(milestone, payload)
        elif milestone == "acq_events_finished":
            self.events_over = True
        elif milestone == "data_sink_finished":
            self.data_over = True
        self.signal.set()

    def whole_axes(self, payload: Any) -> Any:
        """Give the axes that a notice tells of; those of events that Java has made are known by it alone."""
        return payload

    def moved_on(self, axes: Callable[[], Axes | None] | None = None, *, here: bool) -> None:
        """An image has come here, or was saved by Micro-Manager; nobody waits for one with a deadline."""

    def take_expected(self, axes: Mapping[str, Any]) -> Frame:
        """Give a frame for an image that Java has taken."""
        frame = Frame(dict(axes), NOTHING, {})
        self.own([frame])
        return frame

    def own(self, frames: Iterable[Frame]) -> None:
        """Take frames that nobody asked for as images of this acquisition."""
        for frame in frames:
            if frame.token is None:
                frame.token = (self.submission, AcquisitionEvent.from_dict({"axes": dict(frame.axes)}), time.monotonic())
                self._run.post(("group", self._window, Done(events=1, added=1, frames=1)))

    def skipped(self, events: list[dict[str, Any]]) -> None:
        """A hook has returned None for these."""
        count = len(events)
        self._run.post(("group", self._window, Done(events=count, added=count, skipped=count)))
        for event in events:
            self._note("event_skipped", event.get("axes", {}))

    # ---- from beginning to end ----------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Come back when Java has ended it and all its images have come."""
        log_was_debug: bool | None = None
        try:
            if self._core_log_debug:
                log_was_debug = await self._core.call_core("debugLogEnabled", ())
                await self._core.call_core("enableDebugLog", (True,))
            self._note("acq_started", None)
            await self._until_over()
        finally:
            if log_was_debug is not None and self.session.lost is None:
                await self._core.call_core("enableDebugLog", (log_was_debug,))
            self._doing = "nothing: ended"
            self._note("acq_events_finished", None)
        error = None if self._aborting else await self.session.check()
        if error is not None:
            raise ended_by_java(error)
        await asyncio.sleep(0)  # the last images that were saved are told of by now
        self._run.post(("window", self._window, None))
        self._run.finish()

    async def _until_over(self) -> None:
        told = False
        while True:
            self.signal.clear()
            if self.session.lost is not None:
                raise self.session.lost
            if self._aborting and not told:
                told = True
                if self.before_end is not None:
                    await self.before_end()
                await self.session.abort()
            if self.events_over and self.images_over and (self.data_over or not self.direct):
                return
            if self.paused is not self._paused_there and not self._aborting:
                self._paused_there = self.paused
                await self.session.acquisition.call("setPaused", [self.paused])
                continue
            await self._bell.wait()

    async def until(self, which: str, ready: Callable[[], bool]) -> None:
        """Wait until ``ready()`` or the end; whoever makes it true sets the signal. One task for each hook."""
        signal = self.asked[which]
        while True:
            signal.clear()
            if ready() or self._aborting:
                return
            await signal.wait()
