"""Have Micro-Manager's engine take the images of one group of events, and leave it where they are not wanted any more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiomm.acquire.conductor import Stopped
from aiomm.acquire.remote.answering import Answering
from aiomm.acquire.remote.awaited import AT_A_TIME
from aiomm.acquire.remote.ending import ended_by_java
from aiomm.acquire.remote.events import encode_event
from aiomm.acquire.remote.grouping import in_full
from aiomm.acquire.remote.leaving import leave_sequence
from aiomm.core.thread import Wait
from aiomm.core.together import ask_all
from aiomm.errors import FrameTimeoutError, HardwareError, JavaException

if TYPE_CHECKING:
    from aiomm.acquire.capabilities import Capabilities
    from aiomm.acquire.orders import Done, Window
    from aiomm.acquire.remote.counting import AskedFrame
    from aiomm.acquire.remote.drive import Steps
    from aiomm.acquire.remote.freeing import Patience
    from aiomm.acquire.remote.memory import EngineMemory
    from aiomm.acquire.remote.storage import JavaWriter
    from aiomm.acquire.run import Run
    from aiomm.acquire.sequencing import Group

GATHERS_S = 0.003
"""How long an image of a hardware sequence may wait for the next ones, to be taken and written with them."""


class Taking(Answering):
    """The part of Java's conductor that has a group of events acquired."""

    memory: EngineMemory
    patience: Patience
    direct: bool
    events_over: bool
    failure: BaseException | None
    _run: Run
    _taken: int  # images of the group under way that Java has taken
    _parts: int  # in how many parts: Java merges by rules of its own
    _begun: bool  # Java has begun with it
    _armed: bool  # a single image is about to be exposed
    _owed: int  # images that Java has taken, less those of which it has read what goes with them

    def _take_images(self, group: Group, caps: Capabilities, window: Window, done: Done, *, hooks: bool) -> Steps:
        """Have Java take a group's images; gives the groups that a hook has made of events for which the hardware has to move again."""
        first, submission = group.events[0], window.submission
        devices = self._hardware
        keep = submission.keep_shutter_open if first.keep_shutter_open is None else first.keep_shutter_open
        devices.leave_shutter(first, caps)
        if not devices.settles_beside(first, keep=keep):
            yield from devices.settle_in()
        if not keep and not (hooks and "post_hardware" in self._hooks):  # else when that has said whether it stays so
            yield from devices.release_shutter()
        in_force = yield from devices.choose_roles(first, caps, keep=keep)
        yield from devices.choose_camera(first.camera)
        exposed = yield from devices.prepare(first)  # what a single event alone may have
        if keep:
            yield from devices.hold_shutter()
        left_out = {"timeout"}  # watched here: Java would end the group with fewer images and not say so
        if in_force and all(event.config == first.config for event in group.events):
            left_out.add("config_group")
        if exposed:
            left_out.add("exposure")
        encoded: list[dict[str, Any]] = yield from devices.settle_in(self._encoded(group, left_out))
        self._go_on()
        if (first.x is None) != (first.y is None):  # Java moves to both or not at all
            encoded[0]["x"], encoded[0]["y"] = yield from self._hardware.complete_xy(first)
        if len(encoded) > 1:
            yield from self._hardware.refuse_running(first.camera)  # somebody may have begun since the last group
            encoded = (yield asyncio.to_thread(in_full, encoded)) if len(encoded) > AT_A_TIME else in_full(encoded)
        self._go_on()
        yield from self._hardware.will_run(group)
        _, self._channels = yield ask_all(self.memory.clear(again=self._goes_on(group, window)), devices.channels())
        self._awaited.writer = self._writer if self.direct else None
        frames = yield from self._awaited.expect(group, self._channels, submission, self._is_stopping)
        self._coming = list(group.events)
        self._taken = self._parts = self._prepared = 0
        self._begun, self._armed, self._moved_on = False, False, time.monotonic()
        again: list[tuple[Group, Capabilities]] | None = []
        try:
            yield self.session.send(encoded)
        except JavaException as ended:  # it has ended, and this was faster than its notice
            raise ended_by_java(ended) from ended
        if not self._begun:
            self.patience.begin()
        if len(encoded) > 1:
            self._gather(GATHERS_S)
        try:
            again = yield from self._until_taken(group, window, done, encoded, frames, hooks=hooks)
        finally:
            if len(encoded) > 1:
                self._gather(0)
            taken = self._coming[: self._taken]
            imaged = {id(event) for event in taken}
            if "post_hardware" in self._hooks:  # it may have chosen a camera that gives more or fewer
                done.frames += sum(id(frame.token[1]) in imaged for frame in frames)
            else:
                done.frames += len(taken) * len(self._channels)
            done.imaged |= imaged
        errors = yield from self._hardware.stop_sequences()
        for error in errors:
            raise HardwareError(f"a hardware sequence could not be stopped: {error}") from error
        if devices.shared.chosen is not None:
            yield from self.calm(cancelled=True)
            yield from devices.give_camera_back()
        if again is None:
            raise Stopped
        return again

    async def _encoded(self, group: Group, left_out: set[str]) -> list[dict[str, Any]]:
        """Write a group's events as Java reads them; those of a long one not to the end where the acquisition stops."""
        encoded: list[dict[str, Any]] = []
        for event in group.events:
            whole = encode_event(event, prepared=True)
            encoded.append({key: value for key, value in whole.items() if key not in left_out})
            if len(encoded) % AT_A_TIME == 0:
                await asyncio.sleep(0)
                if self._is_stopping():
                    break
        return encoded

    def _gather(self, seconds: float) -> None:
        """Have images taken and written several together, or no more."""
        self._run.writer.gather(seconds)
        if self.session.images is not None:
            self.session.images.gather(seconds)

    def _goes_on(self, group: Group, window: Window) -> bool:
        """Whether a group is known not to be the last one."""
        return group.events[-1] is not window.events[-1] or bool(self.lane or self.feedback) or not window.submission.source_done

    def _until_taken(
        self,
        group: Group,
        window: Window,
        done: Done,
        encoded: list[dict[str, Any]],
        frames: list[AskedFrame],
        *,
        hooks: bool,
    ) -> Steps:
        """Wait until Java has taken a group's images, and answer its hooks meanwhile.

        Gives the groups that a hook has made of events for which the hardware has to move again; None if the submission was cancelled: a
        sequence is left then, a single image is waited for.
        """
        count = len(group.events)
        timeout = group.events[0].timeout
        unarmed = "post_camera" in self._hooks  # the hook has not run yet
        armed = 0  # how often Java's own hook has asked: once for each part, for a single image after it
        again: list[tuple[Group, Capabilities]] = []
        cancelled = False
        while True:
            self.signal.clear()
            self._doing = f"{count} image{'s' * (count > 1)} that Micro-Manager takes"
            if self._aborting:
                raise Stopped
            if self.session.lost is not None:
                raise self.session.lost
            if self._asked is not None and self._asked[0] == "post_hardware":
                more, stopped = yield from self._after_hardware(
                    group, window, done, encoded, frames, ask=hooks and not cancelled, skip=cancelled
                )
                again += more
                cancelled = cancelled or stopped
            elif self._asked is not None:
                if self._asked[0] == "post_camera" and (unarmed or ("post_camera" in self._hooks and count > 1)):
                    unarmed = False
                    yield from self._ask_armed(group, window)
                armed += self._asked[0] == "post_camera"
                yield from self._answer(self._asked[2])
            elif self._armed and unarmed and count == 1:  # Java's own hook for a single image comes after the exposure
                unarmed = False
                yield from self._ask_armed(group, window)
            elif self._taken >= len(self._coming) and ("post_camera" not in self.session.hooks or armed >= self._parts):
                return None if cancelled else again
            elif window.submission.cancelling and count > 1 and self._begun:
                yield from self._leave(group, frames)
                return None
            elif self.events_over:
                raise self.failure or ended_by_java(None)
            elif timeout is None:
                yield Wait(self.signal)
            elif (until := self._moved_on + timeout / 1000) > time.monotonic():
                yield Wait(self.signal, until=until)
            elif self.session.images is not None and self.session.images.inbox.full:
                self._moved_on = time.monotonic()  # Java's engine waits for us
            else:
                raise FrameTimeoutError(f"no frame for {timeout:g} ms: {self._taken} of {count} were taken (a missed trigger?)")

    def _leave(self, group: Group, frames: list[AskedFrame]) -> Steps:
        """Have Java leave a sequence that it has begun, stop the camera, and see which images have come."""
        leaving = asyncio.ensure_future(leave_sequence(self.session.acquisition, lambda: self._aborting))
        leaving.add_done_callback(lambda _: self.signal.set())
        try:
            while True:
                self.signal.clear()
                if leaving.done():
                    break
                if self._asked is not None:
                    yield from self._let_go()
                    continue
                if self.session.lost is not None:
                    raise self.session.lost
                self._doing = "Micro-Manager's engine to leave a sequence"
                yield Wait(self.signal)
        finally:
            leaving.cancel()
            yield asyncio.wait([leaving])
        leaving.result()
        yield from self._hardware.stop_camera(group.events[0].camera)
        if self.direct:
            yield self._writer.caught_up()
        self._begun = False
        yield from self._awaited.settle()
        self._owed = 0  # Java's engine stands, and has read what goes with all that it took
        left = yield from self._awaited.leave(frames, may_come=True)
        self._coming = [event for event in self._coming if id(event) not in left]
        self._taken = len(self._coming)

    def calm(self, *, cancelled: bool = False) -> Steps:
        """Wait until Java has read of all images what goes with them: until then nothing here may change the hardware.

        Java says that it has taken a single image before it reads the state of the devices for its metadata. With `cancelled` only an
        abort ends this.
        """
        if not self._turns.owing:
            return
        with self._turns.waiting():
            while self._turns.owing and self.session.lost is None:
                self.signal.clear()
                if self._aborting or (self._is_stopping() and not cancelled):
                    raise Stopped
                self._doing = "the image that Micro-Manager has taken"
                yield Wait(self.signal)

    @property
    def _writer(self) -> JavaWriter:
        return self._run.writer  # type: ignore[return-value]
