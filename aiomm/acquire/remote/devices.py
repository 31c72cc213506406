"""What aiomm itself does to the hardware of a running Micro-Manager, beside what Micro-Manager's engine does.

The engine there has no way to move without an image, to hold a shutter open, or to leave the hardware as it was found; it stops
no exposure sequence, and an aborted camera sequence goes on. Every function that waits is a routine for `drive`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pymmcore

from aiomm.acquire.hardware import ATTEMPTS, RETRY_PAUSE_S, slm_pixels
from aiomm.acquire.metadata import refuse_pixels
from aiomm.acquire.remote.asking import ROLES, Asking
from aiomm.acquire.remote.shared import shared_on
from aiomm.bridge import bridge_of
from aiomm.core.safety import remember
from aiomm.core.thread import Wait
from aiomm.core.together import ask_all
from aiomm.errors import AiommError, BridgeError, CoreError, HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import numpy as np

    from aiomm.acquire.capabilities import Capabilities
    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.acquire.remote.asking import Question
    from aiomm.acquire.remote.drive import Steps
    from aiomm.acquire.sequencing import Group
    from aiomm.core import BridgedCore
    from aiomm.core.safety import Found

T = TypeVar("T")

READING = ("get", "is", "wait", "has")
"""How the methods begin that change nothing."""
SHUTTERS: tuple[Question, ...] = (("getLoadedDevicesOfType", (pymmcore.ShutterDevice,)), ("getAutoShutter", ()), ("getShutterDevice", ()))
LOOKS = 3  # the next snap of somebody's may have begun before a look
RUNNING: Question = ("isSequenceRunning", ())


class JavaDevices:
    """The devices of a running Micro-Manager.

    Parameters
    ----------
    core
        Its core, at a port of its own, so that nobody's long call holds this one up.
    asking
        Asks the same core.
    """

    def __init__(self, core: BridgedCore, asking: Asking) -> None:
        self._core = core
        self._asking = asking
        self.doing = ""
        self.calm: Callable[[], Steps] | None = None  # waits until the hardware may be changed from here
        self.free: Callable[[], Coroutine[Any, Any, bool]] | None = None  # frees the engine from whoever is gone; whether it had to
        self.shared = shared_on(bridge_of(core))
        self._settled = False
        self._closed: set[str] = set()
        self._idle_seen = False  # the core's camera was seen not to run, and nothing was changed since
        self._running: list[tuple[str, tuple[Any, ...]]] = []  # how to stop what Micro-Manager's engine has started

    # ---- calls --------------------------------------------------------------------------------------------------

    def attempt(self, method: str, *args: Any) -> Steps:
        """Make one call, up to six times; a refusal is a `HardwareError`.

        What changes something waits until Java's engine has read what its images were taken with.
        """
        if not method.startswith(READING):
            self._idle_seen = False
            if self.calm is not None:
                yield from self.calm()
        self.doing = f"{method}{args}"
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    result = yield self._core.call_core(method, args)
                    break
                except CoreError as error:
                    if attempt == ATTEMPTS:
                        raise HardwareError(f"{error} (tried {ATTEMPTS} times)") from error
                yield Wait(until=time.monotonic() + RETRY_PAUSE_S)
        finally:
            self.doing = ""
        return result

    def refuse_running(self, camera: str | None) -> Steps:
        """Refuse a camera, or the core's, that runs already: Micro-Manager's engine would wait for its end, for ever."""
        seen, self._idle_seen = self._idle_seen, False
        if seen and camera is None:
            return
        asked = ("isSequenceRunning", *([] if camera is None else [camera]))
        running = yield from self.attempt(*asked)
        if running and self.free is not None and (yield self.free()):
            running = yield from self.attempt(*asked)
        if running:
            raise HardwareError("the camera is running already: stop its sequence, or the live view, first")

    def settles_beside(self, event: AcquisitionEvent, *, keep: bool) -> bool:
        """Whether the hardware is yet to be noted, and nothing is changed from here before this event's images: both can be begun."""
        touches = event.config is not None or event.properties or event.camera is not None or event.slm_pattern is not None
        return not (self._settled or touches or keep or self.shared.chosen is not None or self.shared.holding)

    def settle_in(self, meanwhile: Coroutine[Any, Any, T] | None = None) -> Steps:
        """Note the hardware as it is found, before anything is changed; once. What others have changed for a while is not found so.

        Gives what is done ``meanwhile``.
        """
        if self._settled:
            return (yield meanwhile) if meanwhile is not None else None
        self._asking.forget()
        self.doing = "isSequenceRunning(), and how the hardware is found"
        questions = self._asking.read(_found_so, RUNNING, *ROLES, *SHUTTERS)
        try:
            (running, found), *done = yield ask_all(questions, *([] if meanwhile is None else [meanwhile]))
        finally:
            self.doing = ""
        if running is not False:
            yield from self.refuse_running(None)
        if self.shared.found is None:
            self.shared.found = yield from self._between_exposures(found)
            self.found_closed()
        self._settled, self._idle_seen = True, running is False and meanwhile is not None  # else a hook may come first
        return done[0] if done else None

    def found_closed(self, *labels: str) -> None:
        """Take these shutters as found closed: who had opened them is gone, and they were closed in its place."""
        self._closed.update(labels)
        if self.shared.found is not None:
            self.shared.found.shutter_open.update(dict.fromkeys(self._closed, False))

    def _between_exposures(self, found: Found) -> Steps:
        """Look again at a shutter that follows the camera and is open: somebody's snap may be under way, and it closes when that ends."""
        label = found.shutter
        for _ in range(LOOKS):
            if not (found.auto_shutter and found.camera and found.shutter_open.get(label)):
                break
            self.doing = f"an exposure of camera {found.camera!r} that somebody else has begun"
            try:
                yield from self._asked("waitForDevice", found.camera)
                if (yield from self._asked("getShutterOpen", label)) is False:
                    found = replace(found, shutter_open={**found.shutter_open, label: False})
            finally:
                self.doing = ""
        return found

    def forget(self) -> None:
        """Nothing is remembered: every key of an event is applied each time."""

    # ---- one event ----------------------------------------------------------------------------------------------

    def apply(self, event: AcquisitionEvent, caps: Capabilities) -> Steps:
        """Bring everything to what the event asks; the focus last, when all else has arrived."""
        touched: set[str] = set()
        self.leave_shutter(event, caps)
        in_force = yield from self.choose_roles(event, caps)
        focus = yield from self.attempt("getFocusDevice")
        for label, um in event.stage_positions:
            if label != focus or event.z is None:
                yield from self.attempt("setPosition", label, um)
                touched.add(label)
        if event.x is not None or event.y is not None:
            label = yield from self.attempt("getXYStageDevice")
            x, y = event.x, event.y
            if x is None or y is None:
                yield from self.attempt("waitForDevice", label)  # where it passes by is not where it is to stay
                here = yield from self.attempt("getXYPosition", label)
                x, y = here[0] if x is None else x, here[1] if y is None else y
            yield from self.attempt("setXYPosition", label, x, y)
            touched.add(label)
        if event.config is not None and not in_force:
            yield from self.attempt("setConfig", *event.config)
        if event.exposure is not None:
            camera = event.camera or (yield from self.attempt("getCameraDevice"))
            yield from self.attempt("setExposure", camera, event.exposure)
        if event.slm_pattern is not None:
            touched.add((yield from self.show(event.slm_pattern)))
        for label, name, value in event.properties:
            if label != "Core":
                yield from self.attempt("setProperty", label, name, value)
                touched.add(label)
        yield from self._arrive(touched)
        if event.config is not None and not in_force:
            yield from self.attempt("waitForConfig", *event.config)
        if event.z is not None:
            yield from self.attempt("setPosition", focus, event.z)
            yield from self._arrive({focus})

    def show(self, pattern: bytes | np.ndarray) -> Steps:
        """Show a pattern on the core's SLM, and give its label."""
        label = yield from self.attempt("getSLMDevice")
        height = yield from self.attempt("getSLMHeight", label)
        width = yield from self.attempt("getSLMWidth", label)
        depth = yield from self.attempt("getSLMBytesPerPixel", label)
        yield from self.attempt("setSLMImage", label, slm_pixels(label, pattern, height, width, depth))
        yield from self.attempt("displaySLMImage", label)
        return label

    def choose_roles(self, event: AcquisitionEvent, caps: Capabilities, *, keep: bool = False) -> Steps:
        """Set what an event changes of the core itself (its camera, its shutter, its focus, autoshutter): what follows depends on it.

        Its preset is applied with it, where it changes something of the core, or sets what is set after it for the event; `keep` holds
        a shutter open after it. Says whether it was.
        """
        yield from self.give_camera_back()  # where an event that chose it has ended in the middle
        preset = caps.presets.get(event.config, ()) if event.config is not None else ()
        after = {entry[:2] for entry in event.properties}
        after |= {("Core", name) for name, used in (("Camera", event.camera is not None), ("AutoShutter", keep)) if used}
        first = any((label, name) in after for label, name, _ in preset)
        for label, name, value in preset:
            if label == "Core" and not first:
                first = (yield from self.attempt("getProperty", label, name)) != value
        if first and event.config is not None:
            yield from self.attempt("setConfig", *event.config)
            yield from self.attempt("waitForConfig", *event.config)
        for label, name, value in event.properties:
            if label == "Core":
                yield from self.attempt("setProperty", label, name, value)
        return first

    def prepare(self, event: AcquisitionEvent) -> Steps:
        """Do of an event with an image what Micro-Manager's engine would not: show its pattern, set its properties and wait for them.

        The engine keeps one property of each device, and does not wait for it. Says whether the properties set the camera's exposure,
        which the engine would set again.
        """
        if event.slm_pattern is not None:
            yield from self.attempt("waitForDevice", (yield from self.show(event.slm_pattern)))
        touched: set[str] = set()
        for label, name, value in event.properties:
            if label != "Core":
                yield from self.attempt("setProperty", label, name, value)
                touched.add(label)
        yield from self._arrive(touched)
        if any(name == "PixelType" for _, name, _ in event.properties):  # else it is found out when they cannot be saved
            yield Asking(self._core).read(refuse_pixels)
        exposed = {label for label, name, _ in event.properties if name == "Exposure"}
        return bool(exposed) and (yield from self.attempt("getCameraDevice")) in exposed

    def _arrive(self, labels: set[str]) -> Steps:
        for label in sorted(labels):
            yield from self.attempt("waitForDevice", label)

    def complete_xy(self, event: AcquisitionEvent) -> Steps:
        """Give (x, y) for an event that names one of the two; the other stays where the stage is."""
        label = yield from self.attempt("getXYStageDevice")
        yield from self.attempt("waitForDevice", label)
        here = yield from self.attempt("getXYPosition", label)
        return here[0] if event.x is None else event.x, here[1] if event.y is None else event.y

    def choose_camera(self, label: str | None) -> Steps:
        """Make the camera that an event names the core's, until `give_camera_back`; without one it is left as it is."""
        if label is not None and (before := (yield from self.attempt("getCameraDevice"))) != label:
            self.shared.chosen = (label, before)
            yield from self.attempt("setCameraDevice", label)

    def give_camera_back(self) -> Steps:
        """Give the core the camera that it had before `choose_camera`, unless somebody has chosen one since."""
        if self.shared.chosen is not None:
            label, before = self.shared.chosen
            if (yield from self.attempt("getCameraDevice")) == label:
                yield from self.attempt("setCameraDevice", before)
            self.shared.chosen = None

    async def channels(self) -> tuple[str, ...]:
        """Name the channels of the core's camera as it is now, by which an image of each is told apart; one alone has no name."""
        count = await self._core.call_core("getNumberOfCameraChannels", ())
        if count < 2:
            return ("",)
        return tuple(await ask_all(*[self._core.call_core("getCameraChannelName", (number,)) for number in range(count)]))

    # ---- the shutter --------------------------------------------------------------------------------------------

    @property
    def holds_shutter(self) -> bool:
        """Whether a shutter is held open."""
        return self in self.shared.holding

    def hold_shutter(self) -> Steps:
        """Keep the shutter open across events. Without autoshutter it is the user's."""
        holding = self.shared.holding
        shutter = yield from self.attempt("getShutterDevice")
        if not shutter:  # MMCore has closed the one before
            yield from self.release_shutter()
            return
        if holding.get(self) == shutter:
            if (yield from self.attempt("getAutoShutter")):  # a preset has turned it on
                yield from self.attempt("setAutoShutter", False)
            return
        if not holding and not (yield from self.attempt("getAutoShutter")):
            return
        if self in holding:  # a preset chose another shutter
            yield from self._close(self)
        yield from self.attempt("setAutoShutter", False)
        holding[self] = shutter
        yield from self.attempt("setShutterOpen", shutter, True)
        yield from self.attempt("waitForDevice", shutter)

    def leave_shutter(self, event: AcquisitionEvent, caps: Capabilities) -> None:
        """Hold no shutter any more where the event turns autoshutter off: it is the user's from now on, as it is."""
        preset = caps.presets.get(event.config, ()) if event.config is not None else ()
        told = [value for label, name, value in (*preset, *event.properties) if (label, name) == ("Core", "AutoShutter")]
        if told and told[-1] == "0":
            self.shared.holding.pop(self, None)

    def release_shutter(self, whose: JavaDevices | None = None) -> Steps:
        """Close the shutter that is held for these devices, or others, and turn autoshutter on again, unless somebody else holds one."""
        whose, holding = whose or self, self.shared.holding
        if whose in holding:
            try:
                yield from self._close(whose)
            finally:
                if len(holding) == 1:
                    yield from self.attempt("setAutoShutter", True)
            del holding[whose]

    def _close(self, whose: JavaDevices) -> Steps:
        label = self.shared.holding[whose]
        if label not in [held for other, held in self.shared.holding.items() if other is not whose]:
            yield from self.attempt("setShutterOpen", label, False)

    # ---- the ends -----------------------------------------------------------------------------------------------

    def will_run(self, group: Group) -> Steps:
        """Note which hardware sequences Micro-Manager's engine is going to start for a group."""
        if len(group.events) == 1:
            return
        if group.exposure is not None:
            label = group.events[0].camera or (yield from self.attempt("getCameraDevice"))
            self._running.append(("stopExposureSequence", (label,)))
        if group.z is not None:
            self._running.append(("stopStageSequence", ((yield from self.attempt("getFocusDevice")),)))
        if group.xy is not None:
            self._running.append(("stopXYStageSequence", ((yield from self.attempt("getXYStageDevice")),)))
        self._running += [("stopPropertySequence", key) for key in group.properties]

    def stop_camera(self, label: str | None) -> Steps:
        """Stop the core's camera, or another one, in the middle of a sequence, and forget what it has taken."""
        camera = label or (yield from self._asked("getCameraDevice"))
        if (yield from self._asked("isSequenceRunning", camera)) is not False:
            errors = yield from self._try("stopSequenceAcquisition", camera)
            for error in errors:
                raise HardwareError(f"camera {camera!r} could not be stopped: {error}") from error
        yield self._core.call_core("clearCircularBuffer", ())

    def stop_sequences(self) -> Steps:
        """Stop what is noted; gives what could not be stopped."""
        errors: list[Exception] = []
        while self._running:
            stop, where = self._running.pop()
            errors += yield from self._try(stop, *where)
        return errors

    def _stop(self) -> Steps:
        """Stop every camera that runs, and the sequences of this acquisition; gives what could not be stopped."""
        errors: list[Exception] = []
        cameras = yield self._core.call_core("getLoadedDevicesOfType", (pymmcore.CameraDevice,))
        for label in cameras:
            if (yield from self._asked("isSequenceRunning", label)) is not False:
                errors += yield from self._try("stopSequenceAcquisition", label)
        errors += yield from self.stop_sequences()
        return errors

    def leave(self, release: Steps, *, stop: bool) -> Steps:
        """Do at the end of an acquisition what cannot wait for the end of the last one. Gives what could not be done.

        Parameters
        ----------
        release
            Releases shutters.
        stop
            Whether something may run.
        """
        errors: list[Exception] = []
        try:
            if stop and self._settled:  # else it was refused, and what runs is somebody else's
                errors += yield from self._stop()
            yield from release
            if (chosen := self.shared.chosen) is not None and (yield from self._asked("getCameraDevice")) == chosen[0]:
                errors += yield from self._try("setCameraDevice", chosen[1])
            self.shared.chosen = None
        except AiommError as error:
            errors.append(error)
        return errors

    def restore(self) -> Steps:
        """Stop what runs, and leave the hardware as it was found; each step is tried. Gives what could not be done."""
        found = self.shared.found
        if found is None or (not self._running and (yield self._is_as(found))):
            return []
        try:
            errors = yield from self._stop()
        except AiommError as error:
            return [error]
        if (yield from self._asked("getShutterDevice")) != found.shutter:
            errors += yield from self._try("setAutoShutter", False)
            errors += yield from self._try("setShutterDevice", found.shutter)
        for label, was_open in found.shutter_open.items():
            if (yield from self._asked("getShutterOpen", label)) is not was_open:
                errors += yield from self._try("setShutterOpen", label, was_open)
        for role, label in found.roles.items():
            if (yield from self._asked(f"get{role}Device")) != label:
                errors += yield from self._try(f"set{role}Device", label)
        errors += yield from self._try("setAutoShutter", found.auto_shutter)
        return errors

    async def _is_as(self, found: Found) -> bool:
        """Whether no camera runs and nothing is to be put back. What does not answer is found out step by step."""
        wanted: list[tuple[str, tuple[Any, ...], Any]] = [
            ("getAutoShutter", (), found.auto_shutter),
            ("getShutterDevice", (), found.shutter),
            *[("getShutterOpen", (label,), was_open) for label, was_open in found.shutter_open.items()],
            *[(f"get{role}Device", (), label) for role, label in found.roles.items()],
        ]
        ask = self._core.call_core
        try:
            cameras, *answers = await ask_all(
                ask("getLoadedDevicesOfType", (pymmcore.CameraDevice,)), *[ask(method, args) for method, args, _ in wanted]
            )
            running = await ask_all(*[ask("isSequenceRunning", (label,)) for label in cameras])
        except AiommError:
            return False
        return not any(running) and answers == [was for _, _, was in wanted]

    def _try(self, method: str, *args: Any) -> Steps:
        try:
            yield self._core.call_core(method, args)
        except BridgeError:
            raise  # nothing can be done there any more
        except AiommError as error:
            return [error]
        return []

    def _asked(self, method: str, *args: Any) -> Steps:
        try:
            answer = yield self._core.call_core(method, args)
        except CoreError:
            return None
        return answer


def _found_so(mmc: Any) -> tuple[bool | None, Found]:
    """Say whether the camera runs, None if it does not say, and how the hardware is."""
    try:
        running = bool(mmc.isSequenceRunning())
    except CoreError:
        running = None
    return running, remember(mmc)
