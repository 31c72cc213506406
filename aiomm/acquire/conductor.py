"""The order of things: windows of events, cut into groups, each through its hooks to the devices and the camera.

A `Conductor` takes windows (see `Window`), checks each whole before anything moves, cuts it into groups, waits for their
time, pauses, serves what hooks put in between. What a home of the microscope does with a group is its engine's: `Engine` for
a core in this process, `JavaEngine` for one in a running Micro-Manager. What happens goes to the loop as messages:

=================================  ====================================================================
message                            meaning
=================================  ====================================================================
``("window", window, error)``      a window has ended; the error, if any, ends its submission only. Not sent for a
                                   window that the end of the acquisition cuts short
``("group", window, done)``        a group has ended: how many frames it gave, events skipped and failed
``("left", frames)``               frames that were taken are given up: the acquisition ends
``("note", milestone, payload)``   a notification, sent only while somebody listens
=================================  ====================================================================

Every method that waits is a routine, a generator: it yields a `Wait` where it waits, and None to let others go first.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from aiomm.acquire.capabilities import Capabilities, check_events, needs
from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.hooks import copied, same
from aiomm.acquire.limits import Limits
from aiomm.acquire.orders import Done, HookCall, Outlet, Window
from aiomm.acquire.sequencing import Group, iter_groups
from aiomm.core.thread import Routine, Wait, Wakes
from aiomm.errors import EventError, HardwareError, HookError, StorageError, SubmissionCancelled, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aiomm.acquire.capabilities import Needs
    from aiomm.acquire.metadata import Clock
    from aiomm.acquire.orders import Devices
    from aiomm.acquire.run import Run
    from aiomm.acquire.submission import Submission
    from aiomm.core.turns import Turn
    from aiomm.dataset.storage import Frame

CHECK_CHUNK = 200
NO_ROOM = "room for a frame: saving or processing is slower than the camera"


class Stopped(Exception):
    """The engine was told to stop; unwinds a routine to its clean-up. Never leaves the engine."""


class Conductor:
    """Carries out windows of events, with what its subclass knows of the hardware.

    Parameters
    ----------
    outlet
        Where frames, messages and hook calls go.
    devices
        The hardware.
    signal
        Set when something has changed that the routine may wait for.
    hooks
        Which of ``pre_hardware``, ``post_hardware`` and ``post_camera`` there are.
    limits
        Soft stage limits; see `check_events`.
    on_error
        ``"raise"``: a hardware error ends the acquisition; ``"continue"``: it fails the events of its group only.
    clock_scope
        Whether ``min_start_time`` counts from the start of its ``"submission"`` or of the ``"acquisition"``.
    sequencing
        ``"auto"``, or ``"off"`` to take every event by itself.
    """

    clock: Clock

    def __init__(
        self,
        outlet: Outlet,
        devices: Devices,
        signal: Wakes,
        *,
        hooks: frozenset[str],
        limits: Any = None,
        on_error: str = "raise",
        clock_scope: str = "submission",
        sequencing: str = "auto",
    ) -> None:
        self._outlet = outlet
        self._devices = devices
        self.signal = signal
        self._hooks = hooks
        self._limits = Limits(limits)
        self._survive = (HardwareError,) if on_error == "continue" else ()
        self._clock_scope = clock_scope
        self._sequencing = sequencing
        self.lane: deque[Window] = deque()
        self.feedback: deque[Window] = deque()
        self.listening = False  # whether anybody wants notifications
        self.paused = False
        self._finishing = False
        self._aborting = False
        self.started = 0  # events whose group has begun, or that were dropped
        self._doing = "work"
        self._last: Submission | None = None
        self._current: Submission | None = None  # whose window is under way
        self._start: float | None = None

    # ---- from the loop ------------------------------------------------------------------------------------------

    @property
    def waiting_for(self) -> str:
        """What the engine is waiting for or doing at this moment, in words."""
        return self._devices.doing or self._doing

    def _is_stopping(self) -> bool:
        """Whether to give up what is under way: the acquisition ends, or the submission of this window was cancelled."""
        return self._aborting or (self._current is not None and self._current.cancelling)

    def finish(self) -> None:
        """End when the lanes are empty."""
        self._finishing = True
        self.signal.set()

    def abort(self) -> None:
        """End as soon as the device call in progress allows."""
        self._aborting = True
        self.look()

    def look(self) -> None:
        """Something has changed: see whether to go on, wherever the routine waits."""
        self.signal.set()

    def tell_room(self) -> None:
        """There is room for frames again. Any thread."""
        self.signal.set()

    def lend(self, turn: Turn | None) -> None:
        """Events are submitted in a hook during this turn, and the hook may wait for them."""

    def held_up_by(self) -> Iterable[Run]:
        """Give the acquisitions whose images have to be taken by who is to take them before this one can go on."""
        return ()

    # ---- what a home does its own way ---------------------------------------------------------------------------

    def _groups(self, events: Iterable[AcquisitionEvent], caps: Capabilities) -> Iterator[Group]:
        """Cut the events of one scope into groups, each carried out at once."""
        return iter_groups(events, caps, self._sequencing)

    def _next_group(self, groups: Iterator[Group], left: int) -> Routine:
        """Give the next group of a scope of which so many events are left, or None."""
        return next(groups, None)
        yield

    def _check_events(self, events: Sequence[AcquisitionEvent], caps: Capabilities, first: int) -> None:
        """Check that events, the first of them with this number, can be carried out; EventError where not."""
        check_events(events, caps, self._limits, first=first)

    def _read(self, wanted: Needs) -> Routine:
        """Read what the hardware can do; gives `Capabilities`."""
        raise NotImplementedError

    def _check_room(self, images: int) -> Routine:
        """See whether so many images can be taken and saved."""
        raise NotImplementedError

    def _expose(self, group: Group, caps: Capabilities, window: Window, done: Done, *, hooks: bool = True) -> Routine:
        """Bring the devices to a group, ask the hooks after it, and take its images."""
        raise NotImplementedError

    def _take_turn(self, window: Window) -> Routine:
        """Wait until the hardware may be driven for a group."""
        raise NotImplementedError

    def _release_shutter(self) -> Routine:
        yield from self._devices.release_shutter()

    def _drop_turn(self) -> None:
        """Others may drive the hardware now."""

    def _while_asking(self, call: HookCall) -> Routine:
        """Wait for a hook; what it has done to the hardware is seen."""
        self._outlet.run_hook(call)
        yield from self._until(lambda: call.done, f"{call.which}_hook_fn to return")

    @property
    def _own_turn(self) -> Turn | None:
        return None

    # ---- windows ------------------------------------------------------------------------------------------------

    def _run_windows(self) -> Routine:
        """Everything, until told to finish."""
        self._note("acq_started", None)
        while True:
            window = yield from self._next_window()
            if window is None:
                return
            yield from self._run_window(window)

    def _until(self, ready: Callable[[], bool], doing: str) -> Routine:
        """Wait until ``ready()``; whoever makes it true sets the signal."""
        while True:
            self.signal.clear()
            if self._is_stopping():
                raise Stopped
            if ready():
                return
            self._doing = doing
            yield Wait(self.signal)
            self._doing = "work"

    def _next_window(self) -> Routine:
        """Wait for work; a shutter that is held open is given back when its submission has ended."""
        devices = self._devices
        while True:
            if devices.holds_shutter and self._last_submission_over():
                yield from self._release_shutter()
            yield from self._until(
                lambda: bool(self.feedback or self.lane or self._finishing or (devices.holds_shutter and self._last_submission_over())),
                "events",
            )
            if self.feedback:
                return self.feedback.popleft()
            if self.lane:
                return self.lane.popleft()
            if self._finishing:
                return None

    def _last_submission_over(self) -> bool:
        last = self._last
        if last is None or last.cancelling:
            return True
        return last.source_done and not any(lane and lane[0].submission is last for lane in (self.feedback, self.lane))

    def _run_window(self, window: Window) -> Routine:
        """One window, with the feedback of its hooks in between; an error of its own ends its submission only."""
        self._last = window.submission
        error: BaseException | None = None
        cut_short = False
        outer, self._current = self._current, window.submission
        rest = deque(window.events)
        try:
            try:
                caps = yield from self._check(window)
            except (EventError, UnsupportedError, StorageError) as ended:
                error = ended
                return
            groups = self._groups(window.events, caps)
            while (group := (yield from self._next_group(groups, len(rest)))) is not None:
                yield from self._between(window)
                for _ in group.events:
                    rest.popleft()
                self.started += len(group.events)
                yield from self._run_group(group, window, caps)
                yield None
        except SubmissionCancelled as ended:
            error = ended
        except BaseException as stopped:
            if not isinstance(stopped, Stopped) or self._aborting:
                cut_short = True  # the acquisition ends: this window must not look like one that is done
                raise
            error = SubmissionCancelled("submission.cancel() was called")
        finally:
            self._current = outer
            self.started += len(rest)
            if not cut_short:
                yield from self._unclaim(rest)
                self._outlet.post(("window", window, error))

    def _between(self, window: Window) -> Routine:
        """Before each group: pause, cancellation, and what hooks have put comes first."""
        submission = window.submission
        while True:
            yield from self._while_paused(submission)
            if window.feedback or not (self.feedback or submission.feedback_pending):
                return
            yield from self._until(lambda: bool(self.feedback or not submission.feedback_pending), "the events that a hook has put")
            yield from self._serve_feedback(submission)

    def _while_paused(self, submission: Submission) -> Routine:
        if self.paused:
            yield from self._until(lambda: not self.paused or submission.cancelling, "resume()")
        if self._aborting:
            raise Stopped
        if submission.cancelling:
            raise SubmissionCancelled("submission.cancel() was called")

    def _serve_feedback(self, submission: Submission) -> Routine:
        if self.feedback:
            yield from self._run_window(self.feedback.popleft())
            self._last = submission

    def _check(self, window: Window) -> Routine:
        """Look at a window whole before anything moves: devices, presets, limits, pixels, disk."""
        events = window.events
        caps = yield from self._read_checked(events, window.number)
        images = sum(event.acquire for event in events)
        if images:
            yield from self._check_room(images)
        return caps

    def _read_checked(self, events: list[AcquisitionEvent], first: int) -> Routine:
        """Read what the hardware can do, and check that it can carry out these events, the first of them with this number."""
        caps = yield from self._read_capabilities(events)
        for begin in range(0, len(events), CHECK_CHUNK):
            self._check_events(events[begin : begin + CHECK_CHUNK], caps, first + begin)
            if begin:
                yield None
                self._go_on()
        return caps

    def _read_capabilities(self, events: list[AcquisitionEvent]) -> Routine:
        wanted = needs(events[:CHECK_CHUNK])
        for first in range(CHECK_CHUNK, len(events), CHECK_CHUNK):
            yield None
            self._go_on()
            wanted = wanted | needs(events[first : first + CHECK_CHUNK])
        caps = yield from self._read(wanted)
        return caps

    # ---- one group ----------------------------------------------------------------------------------------------

    def _run_group(self, group: Group, window: Window, caps: Capabilities) -> Routine:
        done = Done(events=len(group.events), claimed=group.events)
        submission = window.submission
        try:
            yield from self._wait_for_start(group.events[0], submission, idle=not window.feedback)
            failure: Exception | None = None
            try:
                yield from self._take_turn(window)
                yield from self._with_hooks(group, window, caps, done)
            except (SubmissionCancelled, Stopped):
                raise
            except Exception as error:
                failure = error
            finally:
                self._drop_turn()
            yield from self._hand_on_kept(done)
            if failure is not None:
                try:
                    raise failure
                finally:
                    del failure  # its traceback refers to this frame
        except self._survive as error:
            done.errors.append(error)
            done.failed = done.events - done.skipped - done.taken
            yield from self._unclaim_rest(done)
            self._devices.forget()
            self._note("event_failed", [event.axes for event in group.events])
        except (SubmissionCancelled, Stopped):
            done.events = done.taken + done.skipped
            yield from self._unclaim_rest(done)
            self._devices.forget()  # stages may have been stopped on their way
            raise
        finally:
            self._outlet.post(("group", window, done), wake=not done.frames)

    def _hand_on_kept(self, done: Done) -> Routine:
        """Give the frames that were taken in a turn, and not handed on, to the next stage; the turn has ended."""
        kept = done.kept
        while kept:
            self.signal.clear()
            if self._outlet.try_put(kept[0]):
                done.count(kept.popleft().token[1])
                continue
            if self._is_stopping():
                self._give_up_on(kept)
                raise Stopped
            self._doing = NO_ROOM
            yield Wait(self.signal)
            self._doing = "work"

    def _give_up_on(self, frames: Iterable[Frame]) -> None:
        """Frames for which there was no room are given up; those of a cancelled submission are not missed."""
        if self._aborting:
            self._outlet.post(("left", list(frames)))

    def _unclaim_rest(self, done: Done) -> Routine:
        if not self._aborting:
            yield from self._unclaim([event for event in done.claimed if id(event) not in done.imaged])

    def _unclaim(self, events: Iterable[AcquisitionEvent]) -> Routine:
        """Give the axes of events back, while the acquisition goes on: else nobody asks for them any more."""
        left = list(events)
        for first in range(0, len(left), CHECK_CHUNK):
            if self._aborting:
                return
            if first:
                yield None
            self._outlet.unclaim(left[first : first + CHECK_CHUNK])

    def _go_on(self) -> None:
        """Leave what takes long where it is to stop."""
        if self._is_stopping():
            raise Stopped

    def _wait_for_start(self, event: AcquisitionEvent, submission: Submission, *, idle: bool = False, again: bool = False) -> Routine:
        """Wait for the event's time; `idle`, the events that hooks and processors put meanwhile are carried out, and pauses kept.

        `again` says that its group has begun already.
        """
        now = time.monotonic()
        if submission.clock_start is None:
            submission.clock_start = now
            self._start = self._start or now
        if event.reset_event_timer and not again:
            submission.clock_start = now
            if self._clock_scope == "acquisition":
                self._start = now
        if event.min_start_time is None:
            return
        due = self._due(event, submission)
        while (now := time.monotonic()) < due:
            self.signal.clear()
            if self._aborting:
                raise Stopped
            if submission.cancelling:
                raise SubmissionCancelled("submission.cancel() was called")
            if idle and self.feedback:
                yield from self._serve_feedback(submission)
                continue
            self._doing = f"min_start_time, {due - now:.3g} s from now"
            yield Wait(self.signal, until=due)
        self._doing = "work"
        if idle:
            yield from self._while_paused(submission)

    def _due(self, event: AcquisitionEvent, submission: Submission) -> float:
        start = self._start if self._clock_scope == "acquisition" else submission.clock_start
        return (start or 0.0) + (event.min_start_time or 0.0)

    def _with_hooks(self, group: Group, window: Window, caps: Capabilities, done: Done) -> Routine:
        groups: list[tuple[Group, Capabilities]] = [(group, caps)]
        if "pre_hardware" in self._hooks:
            self._note("pre_hardware", group)
            changed = yield from self._ask("pre_hardware", group, window)
            if changed is None:
                self._skip(group.events, done)
                return
            if changed is not group.events:
                groups = yield from self._replan(group.events, changed, window, done)
        else:
            self._note("pre_hardware", group)
        for part, part_caps in groups:
            yield from self._expose(part, part_caps, window, done)

    def _skip(self, events: Iterable[AcquisitionEvent], done: Done) -> None:
        events = list(events)
        done.skipped += len(events)
        self._outlet.unclaim(events)
        self._note("event_skipped", [event.axes for event in events])

    def _ask(self, which: str, group: Group, window: Window) -> Routine:
        """Run a hook. Gives the group's own events if it changed nothing, other events if it did, None to skip."""
        single = len(group.events) == 1
        shown = [event.to_dict() for event in group.events]
        before = shown[0] if single else shown
        call = HookCall(which, copied(before), window.submission, self._own_turn)
        yield from self._while_asking(call)
        if call.error is not None:
            raise call.error
        result = call.result
        if result is None:
            return None
        if which == "post_camera" or same(list(result), shown):
            return group.events
        try:
            answers = result if isinstance(result, list | tuple) else [result]
            return tuple(self._outlet.place([AcquisitionEvent.from_dict(answer) for answer in answers]))
        except (EventError, TypeError) as error:
            raise HookError(f"{which}_hook_fn returned an event that cannot be used: {error}") from error

    def _replan(self, before: tuple[AcquisitionEvent, ...], changed: tuple[AcquisitionEvent, ...], window: Window, done: Done) -> Routine:
        self._outlet.unclaim(before)
        replaced = {id(event) for event in before}
        done.claimed = tuple(event for event in done.claimed if id(event) not in replaced)
        try:
            self._outlet.claim(changed)
        except EventError as error:
            raise HookError(f"a hook returned an event that cannot be carried out: {error}") from error
        done.claimed += changed
        more = len(changed) - len(before)
        if more > 0:
            done.events += more
            done.added += more
        else:  # those that are left out
            done.skipped -= more
        try:
            caps = yield from self._read_checked(list(changed), window.number)
        except EventError as error:
            raise HookError(f"a hook returned an event that cannot be carried out: {error}") from error
        return [(group, caps) for group in self._groups(changed, caps)]

    def _note(self, milestone: str, about: Any) -> None:
        if self.listening:
            payload = [event.axes for event in about.events] if isinstance(about, Group) else about
            if isinstance(payload, list) and len(payload) == 1:
                payload = payload[0]
            self._outlet.post(("note", milestone, payload))
