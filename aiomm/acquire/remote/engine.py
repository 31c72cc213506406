"""The engine of a running Micro-Manager, conducted from here: one group of events at a time goes to it, as one message.

Micro-Manager's engine moves, triggers and saves. When it has taken a group's images it says so, and the next group goes. So the
clock, pauses, cancelling and what hooks put are the conductor's, as on a core in this process; and a hook before the hardware
runs before anything is sent.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiomm.acquire.conductor import Stopped
from aiomm.acquire.mailbox import in_thread
from aiomm.acquire.metadata import Clock, refuse_pixels
from aiomm.acquire.remote.asking import OF_AN_IMAGE
from aiomm.acquire.remote.awaited import AT_A_TIME, Awaited
from aiomm.acquire.remote.drive import LoopSignal, Steps
from aiomm.acquire.remote.ending import ended_by_java
from aiomm.acquire.remote.events import check_event, whole_axes
from aiomm.acquire.remote.freeing import Patience
from aiomm.acquire.remote.grouping import java_groups
from aiomm.acquire.remote.taking import Taking
from aiomm.acquire.remote.turns import EngineTurns, refuse_held
from aiomm.bridge import bridge_of
from aiomm.core.thread import Wait
from aiomm.errors import BridgeError, EventError, HardwareError, ServerLostError, SubmissionCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aiomm.acquire.capabilities import Capabilities, Needs
    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.acquire.orders import Done, Window
    from aiomm.acquire.remote.asking import Asking
    from aiomm.acquire.remote.counting import AskedFrame
    from aiomm.acquire.remote.devices import JavaDevices
    from aiomm.acquire.remote.inbox import Inbox
    from aiomm.acquire.remote.pipes import HookPipe
    from aiomm.acquire.run import Run
    from aiomm.acquire.sequencing import Group
    from aiomm.acquire.submission import Submission
    from aiomm.core import BridgedCore
    from aiomm.core.turns import Turn
    from aiomm.dataset.storage import Axes

TAKEN = ("post_snap", "post_sequence_stopped")
SHORT = 50
"""Events of a group."""


class JavaEngine(Taking):
    """Conducts the engine of a running Micro-Manager.

    Parameters
    ----------
    run
        The acquisition.
    core, asking, devices
        Micro-Manager's core, at a port of its own.
    core_log_debug
        Whether MMCore writes debug messages to its log meanwhile.
    **options
        Those of `Conductor`.
    """

    def __init__(
        self, run: Run, core: BridgedCore, asking: Asking, devices: JavaDevices, *, core_log_debug: bool = False, **options: Any
    ) -> None:
        self.room = LoopSignal(run.loop)
        super().__init__(run, devices, LoopSignal(run.loop, self.room), **options)
        self._run = run
        self._core = core
        self._asking = asking
        self._hardware = devices
        devices.calm = self.calm
        self._core_log_debug = core_log_debug
        self.clock = Clock()
        self._awaited = Awaited()
        self.direct = True  # Java saves what it takes, without its coming here
        self.ending = False  # Java was told to end
        self.events_over = False  # Java takes no more events
        self.images_over = False  # no more images come from Java
        self._channels: tuple[str, ...] = ("",)  # of the camera that takes the group under way
        self._asked = None
        self._coming = []
        self._taken = 0
        self._prepared = 0
        self._parts = 0
        self._begun = False
        self.patience = Patience(run.loop)
        self._armed = False
        self._owed = 0
        self.failure: BaseException | None = None  # what has ended the acquisition in Java
        self._moved_on = 0.0
        self._last_read: Submission | None = None
        self._short = False  # the last group was
        self._sparing = True  # what the events do not touch is not asked for
        self._turns = EngineTurns(bridge_of(core), devices, run, self.signal, self._owes, self._inbox)

    # ---- from the home's tasks ----------------------------------------------------------------------------------

    def hear(self, milestone: str, payload: Any) -> None:
        """Take what Java's engine tells by itself; on the loop."""
        self._moved_on = time.monotonic()
        if milestone in TAKEN and self._begun:  # else of a sequence that was left
            taken = len(payload) if isinstance(payload, list) else 1
            self._taken += taken
            self._owed += taken * len(self._channels)
            self._parts += 1
        elif milestone == "pre_hardware":
            self._begun = True
            self.patience.end()
        elif milestone == "pre_snap":
            self._armed = True
        elif milestone == "acq_events_finished":
            self.events_over = True
            self.patience.end()
            self._turns.tell()
        self.signal.set()

    def whole_axes(self, payload: Any) -> Any:
        """Give the axes that a notice tells of as they were sent; before `hear`."""
        return whole_axes(payload, [event.axes for event in self._coming[self._taken :]])

    def ask(self, which: str, pipe: HookPipe, message: Any) -> None:
        """Java's hook waits for an answer; on the loop."""
        self._asked = (which, pipe, message)
        self.signal.set()

    def moved_on(self, axes: Callable[[], Axes | None] | None = None, *, here: bool) -> None:
        """An image has come here, or was saved by Micro-Manager; ``axes`` tells its axes. Or, without, one that came was taken."""
        self._moved_on = time.monotonic()
        if axes is not None and (here or self.direct) and self._awaited.counts(axes):
            self._owed -= 1
            if self._owed == 0:
                self.signal.set()
                self._turns.tell()

    def look(self) -> None:
        """Something has come, or has ended."""
        super().look()
        self._turns.tell()

    def tell_room(self) -> None:
        """There is room for frames again: who hands them on waits for it, the routine does not. Any thread."""
        self.room.set()

    def take_expected(self, axes: Mapping[str, Any]) -> AskedFrame | None:
        """Give the frame that was asked for with these axes; see `Awaited.take`."""
        return self._awaited.take(axes)

    @property
    def outstanding(self) -> list[AskedFrame]:
        """Frames whose images are to come here."""
        return self._awaited.frames

    # ---- the routine --------------------------------------------------------------------------------------------

    def routine(self) -> Steps:
        """Everything, from the first event to hardware that is as it was found and a Java engine that has ended."""
        log_was_debug: bool | None = None
        failures: list[Exception] = []
        aborted = True
        try:
            if self._core_log_debug:
                log_was_debug = yield self._core.call_core("debugLogEnabled", ())
                yield self._core.call_core("enableDebugLog", (True,))
            yield from self._run_windows()
            aborted = False
        except Stopped:
            pass
        finally:
            try:
                if self.session.lost is None:
                    failures = yield from self._end(aborted)
                    if log_was_debug is not None:
                        yield self._core.call_core("enableDebugLog", (log_was_debug,))
            except BridgeError:
                if self.session.lost is None:
                    raise
            finally:
                self.patience.end()
                self._turns.end()
            self._doing = "nothing: ended"
        self._note("acq_events_finished", None)
        if self.session.lost is not None:
            raise self.session.lost
        for failure in failures:
            if isinstance(failure, ServerLostError):
                failure.add_note("it was gone before the hardware was left as it was found")
                raise failure
            raise HardwareError(f"the hardware could not be left as it was found: {failure}") from failure

    def _end(self, aborted: bool) -> Steps:
        """Have Java's engine end, wait until it has and all that it took has come, and leave the hardware.

        Where Java has nothing under way any more, it ends while the hardware is left. Gives what could not be done to that.
        """
        self.ending = True
        self.patience.begin()
        yield self.session.abort() if aborted else self.session.send_end()
        idle = not aborted and not self._turns.owing
        failures: list[Exception] = []
        if idle:
            try:
                failures = yield from self._leave_hardware()
            except BridgeError:
                yield from self._java_ends()
                raise
        yield from self._java_ends()
        return failures if idle else (yield from self._leave_hardware())

    def _java_ends(self) -> Steps:
        with self._turns.waiting():
            yield from self._answering(lambda: self.events_over and self.images_over, "Micro-Manager's engine to end")

    def _leave_hardware(self) -> Steps:
        return (yield from self._turns.leave(lambda: self.session.lost is not None))

    def _answering(self, ready: Callable[[], bool], doing: str) -> Steps:
        """Wait, and let go meanwhile what Java asks of hooks; a lost server ends it."""
        while True:
            self.signal.clear()
            if ready() or self.session.lost is not None:
                return
            if self._asked is not None:
                yield from self._let_go()
                continue
            self._doing = doing
            yield Wait(self.signal)

    # ---- what a conductor asks ----------------------------------------------------------------------------------

    def _groups(self, events: Iterable[AcquisitionEvent], caps: Capabilities) -> Iterator[Group]:
        return java_groups(events, caps, self._sequencing)

    def _next_group(self, groups: Iterator[Group], left: int) -> Steps:
        """In a thread where the group may be a long one, so that the loop goes on; short ones tend to follow a short one."""
        if left <= AT_A_TIME or self._short:
            group = next(groups, None)
        else:
            group = yield asyncio.to_thread(next, groups, None)
        self._short = group is not None and len(group.events) < SHORT
        return group

    def _check_events(self, events: Sequence[AcquisitionEvent], caps: Capabilities, first: int) -> None:
        super()._check_events(events, caps, first)
        for number, event in enumerate(events, first):
            if event.acquire:
                check_event(event, f"event {number}: ")

    @property
    def _own_turn(self) -> Turn | None:
        return self._turns.holding

    def _read(self, wanted: Needs) -> Steps:
        if self._current is not None:
            refuse_held(self._current.turn, bridge_of(self._core))
        if self._current is not self._last_read:  # a submission's windows follow one another; before it anything may have changed
            self._asking.forget()
            self._last_read = self._current
        shared = self._hardware.shared
        before = shared.chosen
        if before is not None and before[1]:
            wanted = replace(wanted, cameras=wanted.cameras | {before[1]})
        caps = yield self._asking.capabilities(wanted, *OF_AN_IMAGE, sparing=self._sparing and not self._limits)
        usual = dict(filter(None, (before, shared.chosen)))  # another's event may have chosen a camera for its turn
        return replace(caps, camera=usual.get(caps.camera, caps.camera))

    def _read_checked(self, events: list[AcquisitionEvent], first: int) -> Steps:
        try:
            caps = yield from super()._read_checked(events, first)
        except EventError:  # it is to name what there is: for that all devices are asked for, three questions each
            self._asking.forget()  # and it is to be so now
            self._sparing = False
            try:
                caps = yield from super()._read_checked(events, first)
            finally:
                self._sparing = True
        return caps

    def _check_room(self, images: int) -> Steps:
        def ask(mmc: Any) -> tuple[int, int]:
            refuse_pixels(mmc)
            return mmc.getImageBufferSize(), mmc.getNumberOfCameraChannels()

        size, cameras = yield self._asking.read(ask)
        images *= cameras
        yield in_thread(lambda: self._outlet.room_for(images, size))  # asking a disk may take long

    def _take_turn(self, window: Window) -> Steps:
        if "pre_hardware" in self._hooks:
            yield from self._in_turn(self._hardware.settle_in())
            yield from self.calm()

    def _release_shutter(self) -> Steps:
        if not self._finishing:  # else it is released at the end, which follows
            yield from self._in_turn(self._hardware.release_shutter())

    def _in_turn(self, steps: Steps) -> Steps:
        """Do what no other acquisition of this process may come between."""
        self._doing = "its turn to drive the hardware"
        turn = yield from self._turns.take(lambda: self._is_stopping() or self.session.lost is not None or self.events_over)
        if turn is None:
            if self.session.lost is not None:
                raise self.session.lost
            raise Stopped if self._is_stopping() else self.failure or ended_by_java(None)
        self._doing = "work"
        ends = True
        try:
            result = yield from steps
            ends = False
        except (Stopped, SubmissionCancelled):
            ends = self._aborting
            raise
        finally:
            if ends:
                self._turns.keep(turn)
            else:
                yield from self._turns.give_back(turn)
        return result

    def held_up_by(self) -> list[Run]:
        return self._turns.held_up_by()

    def _inbox(self) -> Inbox[Any] | None:
        return None if self.session.images is None else self.session.images.inbox

    def _owes(self) -> bool:
        return self._owed > 0 and self.session.lost is None and not self.events_over

    # ---- one group ----------------------------------------------------------------------------------------------

    def _expose(self, group: Group, caps: Capabilities, window: Window, done: Done, *, hooks: bool = True) -> Steps:
        first, submission = group.events[0], window.submission
        if not first.acquire:
            yield from self._move(group, caps, window, done, hooks=hooks)
            return
        if self._hooks:  # a hook may have asked for a later start, or have taken its time
            yield from self._wait_for_start(first, submission, again=True)
        again = yield from self._in_turn(self._take_images(group, caps, window, done, hooks=hooks))
        for part, part_caps in again:
            yield from self._expose(part, part_caps, window, done, hooks=False)

    def _move(self, group: Group, caps: Capabilities, window: Window, done: Done, *, hooks: bool) -> Steps:
        """Carry out an event without an image, which Java's engine cannot."""
        yield from self._in_turn(self._apply(group.events[0], caps))
        self._note("post_hardware", group)
        if hooks and "post_hardware" in self._hooks:
            changed = yield from self._ask("post_hardware", group, window)
            if changed is None:
                self._skip(group.events, done)
            elif changed is not group.events:
                parts = yield from self._replan(group.events, changed, window, done)
                for part, caps in parts:
                    yield from self._expose(part, caps, window, done, hooks=False)

    def _apply(self, event: AcquisitionEvent, caps: Capabilities) -> Steps:
        yield from self._hardware.settle_in()
        yield from self._hardware.apply(event, caps)
