"""Answer the hooks of Micro-Manager's engine: while one waits for an answer, its engine stands still with the hardware prepared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiomm.acquire.conductor import Conductor, Stopped
from aiomm.acquire.remote.events import after_hardware
from aiomm.acquire.sequencing import Group
from aiomm.core.turns import Turn
from aiomm.errors import SubmissionCancelled

if TYPE_CHECKING:
    from aiomm.acquire.capabilities import Capabilities
    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.acquire.orders import Done, Window
    from aiomm.acquire.remote.awaited import Awaited
    from aiomm.acquire.remote.counting import AskedFrame
    from aiomm.acquire.remote.devices import JavaDevices
    from aiomm.acquire.remote.drive import Steps
    from aiomm.acquire.remote.pipes import HookPipe
    from aiomm.acquire.remote.session import JavaSession
    from aiomm.acquire.remote.turns import EngineTurns


class Answering(Conductor):
    """The part of Java's conductor that answers hooks."""

    session: JavaSession
    _turns: EngineTurns
    _hardware: JavaDevices
    _awaited: Awaited
    _channels: tuple[str, ...]
    _asked: tuple[str, HookPipe, Any] | None  # Java's hook waits for an answer
    _coming: list[AcquisitionEvent]  # of the group under way: those of which Java takes an image
    _prepared: int  # for how many of them Java has asked the hook after the hardware
    _moved_on: float  # when something last came from Java, on the monotonic clock

    def _ask_armed(self, group: Group, window: Window) -> Steps:
        try:
            yield from self._ask_holding("post_camera", group, window)
        except Stopped:
            if self._aborting:
                raise

    def _ask_holding(self, which: str, group: Group, window: Window) -> Steps:
        """Run a hook for which Java's engine waits: nothing else can be acquired there meanwhile."""
        self._turns.holding = Turn(self._turns)
        try:
            changed = yield from self._ask(which, group, window)
        finally:
            self._turns.holding = None
        return changed

    def _after_hardware(
        self,
        group: Group,
        window: Window,
        done: Done,
        encoded: list[dict[str, Any]],
        frames: list[AskedFrame],
        *,
        ask: bool,
        skip: bool,
    ) -> Steps:
        """Say what becomes of the events for which Java has prepared the hardware: they are exposed, skipped, or sent anew.

        Gives the groups to be sent anew, and whether the submission was cancelled meanwhile.
        """
        part, answers = self._prepared_part(group, encoded)
        changed: tuple[AcquisitionEvent, ...] | None = None if skip else part.events
        again: list[tuple[Group, Capabilities]] = []
        cancelled = False
        if ask:
            try:
                changed = yield from self._ask_holding("post_hardware", part, window)
            except Stopped:
                if self._aborting:
                    raise
                changed, cancelled = None, True
            if changed is None and not cancelled:
                self._skip(part.events, done)
        try:
            if changed is not None and changed is not part.events:
                merged = after_hardware(part.events, changed, answers)
                if merged is None:
                    again = yield from self._replan(part.events, changed, window, done)
                    changed = None
                else:
                    answers = merged
                    yield from self._wait_for_start(changed[0], window.submission, again=True)
            if ask and changed is not None and self._hardware.holds_shutter:
                keep = part.events[0].keep_shutter_open
                if window.submission.keep_shutter_open if keep is None else keep:  # the hook may have chosen another one
                    yield from self._hardware.hold_shutter()
                else:
                    yield from self._hardware.release_shutter()
            if ask and changed is not None and (channels := (yield self._hardware.channels())) != self._channels:
                self._expect_no_more(part, frames)  # the hook has chosen another camera
                self._channels = channels
                frames += yield from self._awaited.expect(part, channels, window.submission, self._is_stopping)
        except (Stopped, SubmissionCancelled):
            if self._aborting:
                raise
            changed, again, cancelled = None, [], True  # Java waits for an answer all the same
        if changed is None:
            self._expect_no_more(part, frames)
            gone = {id(event) for event in part.events}
            self._coming = [event for event in self._coming if id(event) not in gone]
        yield from self._let_through(None if changed is None else answers)
        return again, cancelled

    def _expect_no_more(self, part: Group, frames: list[AskedFrame]) -> None:
        """Take the frames of a part of the group out of those that are to come."""
        gone = {id(event) for event in part.events}
        for frame in frames:
            if id(frame.token[1]) in gone:
                self._awaited.drop(frame)
        frames[:] = [frame for frame in frames if id(frame.token[1]) not in gone]

    def _prepared_part(self, group: Group, encoded: list[dict[str, Any]]) -> tuple[Group, list[dict[str, Any]]]:
        """Say for which events Java has prepared the hardware: it need not be the whole group, as it merges by rules of its own."""
        assert self._asked is not None
        message = self._asked[2]
        count = len(message) if isinstance(message, list) else 1
        numbers = range(self._prepared, min(self._prepared + count, len(group.events)))
        self._prepared += count
        exposure = group.exposure and tuple(group.exposure[number] for number in numbers)
        return Group(tuple(group.events[number] for number in numbers), exposure=exposure), [encoded[number] for number in numbers]

    def _let_through(self, events: list[dict[str, Any]] | None) -> Steps:
        """Answer Java's hook after the hardware: these events are exposed, or none."""
        assert self._asked is not None
        gate = self.session.gates["post_hardware"]
        if events is None:
            yield gate.skip()
            yield from self._answer(self._asked[2])
        else:
            yield gate.change()
            yield from self._answer(events if len(events) > 1 else events[0])
        self._moved_on = time.monotonic()  # no frame could come while the hook ran

    def _answer(self, events: Any) -> Steps:
        assert self._asked is not None
        _, pipe, _ = self._asked
        self._asked = None
        yield pipe.answer(events)

    def _let_go(self) -> Steps:
        """Answer a hook of an acquisition that ends so that nothing is exposed for it."""
        assert self._asked is not None
        if self._asked[0] == "post_hardware":
            yield from self._let_through(None)
        else:
            yield from self._answer(self._asked[2])
