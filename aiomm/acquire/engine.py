"""The local engine: carries out events on a core's hardware, as one routine on its hardware thread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiomm.acquire.capabilities import Capabilities, read_capabilities
from aiomm.acquire.conductor import NO_ROOM, Conductor, Stopped
from aiomm.acquire.hardware import Hardware
from aiomm.acquire.imaging import Imaging
from aiomm.acquire.metadata import refuse_pixels
from aiomm.acquire.shared import shared_on
from aiomm.core.thread import Routine, Wait
from aiomm.core.turns import Turn
from aiomm.errors import BufferOverflowError, HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.acquire.capabilities import Needs
    from aiomm.acquire.orders import Done, HookCall, Outlet, Window
    from aiomm.acquire.sequencing import Group
    from aiomm.core.local import LocalCore
    from aiomm.dataset.storage import Frame

CAMERA_STEP_S = 0.02  # between two looks whether a camera runs still, while others wait for it


class Engine(Conductor):
    """Carries out windows of events on one core.

    Parameters
    ----------
    core
        The microscope.
    outlet
        Where frames, messages and hook calls go.
    core_log_debug
        Whether MMCore writes debug messages to its log meanwhile.
    **options
        Those of `Conductor`.
    """

    def __init__(self, core: LocalCore, outlet: Outlet, *, core_log_debug: bool = False, **options: Any) -> None:
        self.core = core
        self._mmc = core.mmc
        self._hardware = Hardware(self._mmc, self._is_stopping)
        super().__init__(outlet, self._hardware, core.thread.signal(), **options)
        self._core_log_debug = core_log_debug
        self._turn_signal = core.thread.signal()
        self._imaging = Imaging(core, self._hardware, self._is_stopping, self._hand_on, self._note)
        self.clock = self._imaging.clock
        self._turn: Turn | None = None
        self._epoch = -1
        self._shared = shared_on(core)
        self._left: dict[str, Any] | None = None  # what was in force when somebody else's turn began
        self._borrowed: Turn | None = None

    @property
    def waiting_for(self) -> str:
        """What the engine is waiting for or doing at this moment, in words."""
        return self._hardware.doing or self._imaging.doing or self._doing

    def look(self) -> None:
        """Something has changed: see whether to go on, wherever the routine waits."""
        super().look()
        self._turn_signal.set()

    def routine(self) -> Routine:
        """Everything, from the first event to hardware that is as it was found."""
        mmc = self._mmc
        log_was_debug = mmc.debugLogEnabled()
        failures: list[Exception] = []
        try:
            if self._core_log_debug:
                mmc.enableDebugLog(True)
            yield from self._run_windows()
        except Stopped:
            pass
        finally:
            self._hardware.stop_sequences()
            failures = self._shared.leave(self)
            self._drop_turn()
            mmc.enableDebugLog(log_was_debug)
            self._doing = "nothing: ended"
        self._note("acq_events_finished", None)
        for failure in failures:
            raise HardwareError(f"the hardware could not be left as it was found: {failure}") from failure

    def _read(self, wanted: Needs) -> Routine:
        return read_capabilities(self._mmc, wanted, roles_then=self._roles_then())
        yield

    def _roles_then(self) -> dict[str, str] | None:
        """Give the core's devices as they will be in the next turn here, where another acquisition may have chosen others for its own."""
        roles = self._shared.roles_found(self)
        if roles is not None and self._left is not None:
            roles.update({name: value for (label, name), value in self._left["settings"].items() if label == "Core" and name in roles})
        return roles

    def _check_room(self, images: int) -> Routine:
        refuse_pixels(self._mmc)
        self._outlet.room_for(images, self._mmc.getImageBufferSize())
        return
        yield

    # ---- turns --------------------------------------------------------------------------------------------------

    def _take_turn(self, window: Window) -> Routine:
        turns = self.core.turns
        turn = Turn(self, window.turn, self.signal)

        def give_up() -> bool:
            turn.within = window.turn or self._borrowed
            return self._is_stopping()

        give_up()
        self._doing = "its turn to drive the hardware"
        if not (yield from turns.take(turn, self._turn_signal, give_up)):
            raise Stopped
        self._doing = "work"
        self._turn = turn
        yield from self._settle_in()

    def _settle_in(self) -> Routine:
        """After somebody else's turn: have the hardware left as it was found, and bring back what was in force here."""
        shared = self._shared
        shared.enter(self)
        before = shared.in_force
        if before is self and self._left is None:
            if self.core.epoch != self._epoch:
                self._hardware.forget()
        else:  # also after a turn of its own that could not bring everything back
            theirs = None
            if before is not None and before is not self:
                theirs = yield from before.hand_over(self._is_stopping)
            shared.in_force = self
            if self._left is not None:
                yield from self._hardware.take_over(self._left, set() if theirs is None else theirs["by_hand"])
                self._left = None
            else:
                self._hardware.forget()
            if theirs is not None:
                self._hardware.meet(theirs)
        self._epoch = self.core.epoch

    def hand_over(self, stopping: Callable[[], bool]) -> Routine:
        """Leave the hardware, as it was found, to another acquisition, whose routine runs this and says whether to give up.

        Gives how it was, noted for the next turn here; None if this one has ended, or had not brought back what was noted before.
        """
        noted = None
        with self._hardware.driven_by(stopping):
            yield from self._hardware.release_shutter()
            if self in self._shared.open and self._left is None:
                noted = self._left = yield from self._hardware.note(alone=self.core.epoch == self._epoch)
        for failure in self._shared.restore(self.core):
            raise HardwareError(f"the hardware could not be left as it was found: {failure}") from failure
        return noted

    def lend(self, turn: Turn | None) -> None:
        """Events are submitted in a hook during this turn, and the hook may wait for them: what stands before them may go too."""
        if turn is not None:
            self._borrowed = turn
            self.look()

    def _drop_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self.core.turns.give_back(turn)

    @property
    def _own_turn(self) -> Turn | None:
        return self._turn

    def _while_asking(self, call: HookCall) -> Routine:
        turn, turns = self._turn, self.core.turns
        assert turn is not None
        turn.lent = True
        try:
            yield from super()._while_asking(call)
        finally:
            turn.lent = False
        if not (yield from turns.take_back(turn, self._turn_signal, self._is_stopping)):
            raise Stopped
        if self._shared.in_force is not self:  # the hook has run another acquisition
            yield from self._settle_in()
        elif self.core.epoch != self._epoch:  # the hook has used the hardware
            self._epoch = self.core.epoch
            yield from self._hardware.look_again()

    # ---- one group ----------------------------------------------------------------------------------------------

    def _expose(self, group: Group, caps: Capabilities, window: Window, done: Done, *, hooks: bool = True) -> Routine:
        """Bring the devices to a group, ask the post-hardware hook, and take its images."""
        first = group.events[0]
        submission = window.submission
        self._hardware.retries = 0
        try:
            yield from self._hardware.apply(first, caps)
            if len(group.events) > 1:
                yield from self._hardware.load(group)
            self._note("post_hardware", group)
            again = None
            if hooks and "post_hardware" in self._hooks:
                changed = yield from self._ask("post_hardware", group, window)
                if changed is None:
                    self._skip(group.events, done)
                    return
                if changed is not group.events:
                    again = yield from self._replan(group.events, changed, window, done)
            if again is None:
                if self._hooks:  # a hook may have asked for a later start, or have taken its time
                    yield from self._wait_for_start(first, submission, again=True)
                keep = first.keep_shutter_open
                yield from self._hardware.hold_shutter(submission.keep_shutter_open if keep is None else keep)
                if first.acquire:
                    armed = (lambda: self._ask("post_camera", group, window)) if "post_camera" in self._hooks else None
                    due = None if first.min_start_time is None else self._due(first, submission)
                    yield from self._imaging.take(group, submission, done, due=due, armed=armed)
        except BaseException as ended:
            self._hardware.stop_sequences()
            if isinstance(ended, BufferOverflowError) and (why := self._outlet.waits_elsewhere()):
                raise BufferOverflowError(f"{ended}. {why}") from ended
            raise
        for error in self._hardware.stop_sequences():
            raise HardwareError(f"a hardware sequence could not be stopped: {error}") from error
        for part, part_caps in again or ():
            yield from self._expose(part, part_caps, window, done, hooks=False)

    def _hand_on(self, frame: Frame, done: Done, running: Callable[[], bool]) -> Routine:
        """Give a frame to the next stage; while it has no room the camera's own buffer fills.

        Whoever waits for the turn may be whom the next stage waits for. So once the camera stands, its frames are kept until the turn has
        ended: no more than its buffer holds.
        """
        turns = self.core.turns
        while True:
            self.signal.clear()
            if not done.kept and self._outlet.try_put(frame):
                done.count(frame.token[1])
                return
            if self._is_stopping():
                self._give_up_on([frame])
                raise Stopped
            runs = turns.wanted and running()
            if turns.wanted and not runs:
                done.kept.append(frame)
                return
            self._doing = NO_ROOM
            yield Wait(self.signal, until=time.monotonic() + CAMERA_STEP_S if runs else None)
            self._doing = "work"
