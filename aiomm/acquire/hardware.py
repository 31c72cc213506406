"""Bring the devices to what an event asks: one device call after the other, on the hardware thread.

Every function here is a routine (see `aiomm.core.thread`): it yields where it waits, so that others can read the
hardware meanwhile, and it ends soon after an abort. Nothing is believed that was not told or read: a position is
commanded again when the stage is not where it was last seen.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.capabilities import same_number
from aiomm.acquire.conductor import Stopped
from aiomm.core.safety import attempt
from aiomm.core.thread import Routine, Wait
from aiomm.core.translate import core_error
from aiomm.errors import HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aiomm.acquire.capabilities import Capabilities
    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.acquire.sequencing import Group

ATTEMPTS = 6
RETRY_PAUSE_S = 0.005
BUSY_STEP_S = 0.0005
SAME_PLACE_UM = 0.01


class Hardware:
    """The devices of one acquisition: what they were told last, and what they read.

    Parameters
    ----------
    mmc
        The raw ``pymmcore.CMMCore``.
    stopping
        Says whether to give up.
    """

    def __init__(self, mmc: Any, stopping: Callable[[], bool]) -> None:
        self._mmc = mmc
        self._stopping = stopping
        self.retries = 0
        self.version = 0  # changes whenever a setting may have: what was derived from settings is then stale
        self.doing = ""
        self._settings: dict[tuple[str, str], str] = {}
        self._exposures: dict[str, float] = {}
        self._stages: dict[str, tuple[float, float]] = {}  # label: (asked, read)
        self._xy: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {}
        self._roles: dict[str, str] = {}
        self._told: set[str] = set()  # stages that were ever moved here
        self._met: tuple[dict[str, float], dict[str, tuple[float, float]]] = ({}, {})
        self._held: str | None = None  # the shutter that is held open
        self._running: list[tuple[str, tuple[Any, ...]]] = []  # how to stop the sequences that run

    # ---- knowing ------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Somebody else may have changed anything."""
        self._settings.clear()
        self._exposures.clear()
        self._stages.clear()
        self._xy.clear()
        self._roles.clear()
        self.version += 1

    def _role(self, method: str) -> str:
        """Ask which device has a role, once: every call into MMCore gives the interpreter away, which costs."""
        label = self._roles.get(method)
        if label is None:
            label = self._roles[method] = str(getattr(self._mmc, method)())
        return label

    @property
    def camera(self) -> str:
        """Label of the core's camera; empty if there is none."""
        return self._role("getCameraDevice")

    @property
    def focus(self) -> str:
        """Label of the core's focus stage; empty if there is none."""
        return self._role("getFocusDevice")

    @property
    def xy_stage(self) -> str:
        """Label of the core's XY stage; empty if there is none."""
        return self._role("getXYStageDevice")

    def _forget_device(self, label: str) -> None:
        if label == "Core":  # a role may go to another device; what each device was told stays true
            self._roles.clear()
        for key in [key for key in self._settings if key[0] == label]:
            del self._settings[key]
        self._exposures.pop(label, None)
        self._stages.pop(label, None)
        self._xy.pop(label, None)
        self.version += 1

    def look_again(self) -> Routine:
        """A hook has used the devices: forget what they were told, and read where the stages are now."""
        stages, xy = dict(self._stages), dict(self._xy)
        self.forget()
        for label, (asked, read) in stages.items():
            um = yield from self.attempt("getPosition", label)
            self._stages[label] = (asked if abs(um - read) <= SAME_PLACE_UM else math.nan, um)
        for label, (target, place) in xy.items():
            x, y = yield from self.attempt("getXYPosition", label)
            self._xy[label] = (target if math.dist((x, y), place) <= SAME_PLACE_UM else (math.nan, math.nan), (x, y))

    def position(self, label: str) -> tuple[float, float] | None:
        """Position asked and position read (µm) of a single-axis stage, if it was used."""
        return self._stages.get(label)

    def xy_position(self, label: str) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Position asked and position read (µm) of an XY stage, if it was used."""
        return self._xy.get(label)

    # ---- asking -------------------------------------------------------------------------------------------------

    def attempt(self, method: str, *args: Any) -> Routine:
        """Make one call to MMCore, up to six times, 5 ms apart."""
        call = getattr(self._mmc, method)
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                return call(*args)
            except Exception as error:
                cause = core_error(error, method, args)
                if self._stopping():
                    raise Stopped from cause
                if not left:
                    raise HardwareError(f"{cause} (tried {ATTEMPTS - left} times)") from cause
            self.retries += 1
            yield Wait(until=time.monotonic() + RETRY_PAUSE_S, readers_only=True)
        raise AssertionError("unreachable")

    def settle(self, labels: Iterable[str]) -> Routine:
        """Wait until none of these devices is busy, in steps of half a millisecond; MMCore's time limit holds."""
        for label in labels:
            if label == "Core" or not self._busy(label):
                continue
            limit_s = self._mmc.getTimeoutMs() / 1000
            deadline = time.monotonic() + limit_s
            self.doing = f"device {label!r} to be ready"
            while self._busy(label):
                if self._stopping():
                    raise Stopped
                now = time.monotonic()
                if now > deadline:
                    raise HardwareError(f"device {label!r} is still busy after {limit_s:g} s (MMCore's TimeoutMs)")
                yield Wait(until=now + BUSY_STEP_S, readers_only=True)
            self.doing = ""

    def _busy(self, label: str) -> bool:
        try:
            return bool(self._mmc.deviceBusy(label))
        except Exception as error:
            cause = core_error(error, "deviceBusy", (label,))
            raise HardwareError(str(cause)) from cause

    # ---- one event ----------------------------------------------------------------------------------------------

    def apply(self, event: AcquisitionEvent, caps: Capabilities) -> Routine:
        """Bring everything to what the event asks; the focus last, when all else has arrived."""
        touched: list[str] = []
        if event.config is not None and event.config in caps.role_presets:  # it chooses the core's stages and camera
            yield from self._preset(event.config, caps.presets[event.config], touched)
        yield from self._properties([setting for setting in event.properties if setting[0] == "Core"], touched)
        focus = self.focus if event.z is not None else ""
        for label, um in event.stage_positions:
            if label != focus:
                yield from self._go(label, um, touched)
        if event.x is not None or event.y is not None:
            yield from self._go_xy(event.x, event.y, touched)
        if event.config is not None:
            yield from self._preset(event.config, caps.presets[event.config], touched)
        if event.exposure is not None:
            camera = event.camera or self.camera
            if self._exposures.get(camera) != event.exposure:
                yield from self.attempt("setExposure", camera, event.exposure)
                self._exposures[camera] = event.exposure
                self.version += 1
        if event.slm_pattern is not None:
            slm = self._mmc.getSLMDevice()
            yield from self.attempt("setSLMImage", slm, self._pattern(slm, event.slm_pattern))
            yield from self.attempt("displaySLMImage", slm)
            touched.append(slm)
        yield from self._properties([setting for setting in event.properties if setting[0] != "Core"], touched)
        if touched:
            yield from self._arrive(touched)
        if event.z is not None:
            moved: list[str] = []
            yield from self._go(focus, event.z, moved)
            if moved:
                yield from self._arrive(moved)

    def _go(self, label: str, um: float, touched: list[str]) -> Routine:
        known = self._stages.get(label)
        if known is not None and known[0] == um:
            here = yield from self.attempt("getPosition", label)
            if abs(here - known[1]) <= SAME_PLACE_UM:
                return
        yield from self.attempt("setPosition", label, um)
        self._stages[label] = (um, math.nan)
        self._told.add(label)
        touched.append(label)

    def _go_xy(self, x: float | None, y: float | None, touched: list[str]) -> Routine:
        label = self.xy_stage
        known = self._xy.get(label)
        if x is None or y is None:
            yield from self.settle((label,))  # where it passes by is not where it is to stay
        if x is None or y is None or known is not None:
            here = yield from self.attempt("getXYPosition", label)
            still = known is not None and math.dist(here, known[1]) <= SAME_PLACE_UM
            stay = known[0] if known is not None and still and not math.isnan(known[0][0]) else here
            x = stay[0] if x is None else x
            y = stay[1] if y is None else y
            if known is not None and still and known[0] == (x, y):
                return
        yield from self.attempt("setXYPosition", label, x, y)
        self._xy[label] = ((x, y), (math.nan, math.nan))
        self._told.add(label)
        touched.append(label)

    def _preset(self, config: tuple[str, str], settings: tuple[tuple[str, str, str], ...], touched: list[str]) -> Routine:
        if settings and all(self._settings.get((label, name)) == value for label, name, value in settings):
            return
        yield from self.attempt("setConfig", *config)
        for label in {label for label, _, _ in settings}:
            self._forget_device(label)
            touched.append(label)
        for label, name, value in settings:
            self._settings[label, name] = value

    def _properties(self, settings: Iterable[tuple[str, str, str]], touched: list[str]) -> Routine:
        for label, name, value in settings:
            yield from self.attempt("setProperty", label, name, value)
            self._forget_device(label)
            self._settings[label, name] = value
            touched.append(label)

    def _arrive(self, labels: list[str]) -> Routine:
        try:
            yield from self.settle(labels)
        except BaseException:  # nothing goes on moving when nobody waits for it any more
            for label in labels:
                with contextlib.suppress(Exception):  # not every device can be asked or stopped
                    if self._mmc.deviceBusy(label):
                        self._mmc.stop(label)
            raise
        for label in labels:
            if label in self._stages:
                um = yield from self.attempt("getPosition", label)
                self._stages[label] = (self._stages[label][0], um)
            elif label in self._xy:
                x, y = yield from self.attempt("getXYPosition", label)
                self._xy[label] = (self._xy[label][0], (x, y))

    def _pattern(self, slm: str, pattern: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        mmc = self._mmc
        return slm_pixels(slm, pattern, mmc.getSLMHeight(slm), mmc.getSLMWidth(slm), mmc.getSLMBytesPerPixel(slm))

    # ---- hardware sequences -------------------------------------------------------------------------------------

    def load(self, group: Group) -> Routine:
        """Load what changes within a group into the devices, and start them; they wait for the camera's triggers."""
        mmc = self._mmc
        plans: list[tuple[str, str, str, tuple[Any, ...], tuple[Any, ...]]] = []
        if group.z is not None:
            label = self.focus
            plans.append(("loadStageSequence", "startStageSequence", "stopStageSequence", (label,), (list(group.z),)))
        for label, places in group.stages.items():
            plans.append(("loadStageSequence", "startStageSequence", "stopStageSequence", (label,), (list(places),)))
        if group.xy is not None:
            label = self.xy_stage
            xs, ys = [x for x, _ in group.xy], [y for _, y in group.xy]
            plans.append(("loadXYStageSequence", "startXYStageSequence", "stopXYStageSequence", (label,), (xs, ys)))
        if group.exposure is not None:
            label = group.events[0].camera or self.camera
            plans.append(("loadExposureSequence", "startExposureSequence", "stopExposureSequence", (label,), (list(group.exposure),)))
        for (label, name), values in group.properties.items():
            where = (label, name)
            plans.append(("loadPropertySequence", "startPropertySequence", "stopPropertySequence", where, (list(values),)))
        if group.slm is not None:
            label = mmc.getSLMDevice()
            patterns = [self._pattern(label, pattern) for pattern in group.slm]
            plans.append(("loadSLMSequence", "startSLMSequence", "stopSLMSequence", (label,), (patterns,)))
        for load, _, _, where, what in plans:
            yield from self.attempt(load, *where, *what)
        for _, start, stop, where, _ in plans:
            self._running.append((stop, where))
            yield from self.attempt(start, *where)

    def stop_sequences(self) -> list[BaseException]:
        """Stop every hardware sequence that was started; each is tried, and what failed is returned."""
        errors: list[BaseException] = []
        while self._running:
            stop, where = self._running.pop()
            try:
                getattr(self._mmc, stop)(*where)
            except Exception as error:
                errors.append(core_error(error, stop, where))
            self._forget_device(where[0])
        return errors

    # ---- the shutter --------------------------------------------------------------------------------------------

    @property
    def holds_shutter(self) -> bool:
        """Whether a shutter is held open."""
        return self._held is not None

    def hold_shutter(self, hold: bool) -> Routine:
        """Keep the shutter open across events, or give it back to autoshutter. Without autoshutter it is the user's."""
        mmc = self._mmc
        if self._held is not None and self._settings.get(("Core", "AutoShutter")) == "0":  # an event has turned it off meanwhile
            self._held = None
        shutter = mmc.getShutterDevice() if hold else ""
        if shutter:
            if self._held == shutter or (self._held is None and not mmc.getAutoShutter()):
                return
            if self._held is not None:  # a preset chose another shutter
                yield from self.attempt("setShutterOpen", self._held, False)
            yield from self.attempt("setAutoShutter", False)
            self._held = shutter
            yield from self.attempt("setShutterOpen", shutter, True)
            yield from self.settle((shutter,))
        else:  # MMCore has closed the one before where there is none any more
            yield from self.release_shutter()

    def release_shutter(self) -> Routine:
        """Close a held shutter and turn autoshutter on again."""
        if self._held is not None:
            try:
                yield from self.attempt("setShutterOpen", self._held, False)
            except BaseException:  # it says more than what comes now
                attempt(self._mmc, "setAutoShutter", True)
                raise
            yield from self.attempt("setAutoShutter", True)
            self._held = None

    # ---- turns --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def driven_by(self, stopping: Callable[[], bool]) -> Iterator[None]:
        """Another acquisition's routine makes calls here: it is that one which may give up."""
        own, self._stopping = self._stopping, stopping
        try:
            yield
        finally:
            self._stopping = own

    def note(self, *, alone: bool) -> Routine:
        """Before another's turn: note what is in force here.

        Unless `alone`, others have made calls since: what they have changed is theirs, and not brought back later.
        """
        camera = self.camera
        by_hand = yield from self._moved_by_hand()
        stages, xy = {}, {}
        for label in {*self._stages, self.focus} - {""}:
            stages[label] = yield from self.attempt("getPosition", label)
        for label in {*self._xy, self.xy_stage} - {""}:
            xy[label] = yield from self.attempt("getXYPosition", label)
        return {
            "settings": {key: value for key, value in self._settings.items() if alone or self._still(key, value)},
            "exposure": (camera, (yield from self.attempt("getExposure", camera))) if camera else None,
            "stages": stages,
            "xy": xy,
            "asked": (self._stages.copy(), self._xy.copy()),
            "by_hand": by_hand,
        }

    def _still(self, key: tuple[str, str], value: str) -> bool:
        try:
            now = self._mmc.getPropertyFromCache(*key)
        except Exception:  # not in the cache: it is not known to have changed
            return True
        return bool(now == value) or same_number(now, value)

    def _moved_by_hand(self) -> Routine:
        """Stages that are not where they were last seen here: somebody has moved them since."""
        moved: set[str] = set()
        stages = {label: um for label, um in self._met[0].items() if label not in self._told}
        stages.update((label, read) for label, (_, read) in self._stages.items())
        for label, um in stages.items():
            now = yield from self.attempt("getPosition", label)
            if abs(now - um) > SAME_PLACE_UM:
                moved.add(label)
        xy = {label: place for label, place in self._met[1].items() if label not in self._told}
        xy.update((label, read) for label, (_, read) in self._xy.items())
        for label, place in xy.items():
            here = yield from self.attempt("getXYPosition", label)
            if math.dist(here, place) > SAME_PLACE_UM:
                moved.add(label)
        return moved

    def meet(self, left: dict[str, Any]) -> None:
        """Note where another's turn has left the stages: those that are never told to move here are seen to move by this."""
        self._met = (left["stages"], left["xy"])

    def take_over(self, left: dict[str, Any], by_hand: set[str]) -> Routine:
        """After another's turn: bring back what was in force, so that its events do not change ours.

        A stage that somebody has moved by hand since that turn stays where it is.
        """
        self.forget()
        left["by_hand"].clear()  # whoever comes before this is done
        touched = []
        asked, asked_xy = left["asked"]
        for (label, name), value in left["settings"].items():
            yield from self.attempt("setProperty", label, name, value)
            self._settings[label, name] = value
            touched.append(label)
        if left["exposure"] is not None:
            yield from self.attempt("setExposure", *left["exposure"])
            self._exposures[left["exposure"][0]] = left["exposure"][1]
        for label, (x, y) in left["xy"].items():
            here = yield from self.attempt("getXYPosition", label)
            if math.dist(here, (x, y)) <= SAME_PLACE_UM:
                if label in asked_xy:
                    self._xy[label] = (asked_xy[label][0], here)
                continue
            if label in by_hand:
                continue
            yield from self.attempt("setXYPosition", label, x, y)
            self._xy[label] = ((x, y), (x, y))
            touched.append(label)
        yield from self._arrive(touched)
        for label, um in left["stages"].items():
            now = yield from self.attempt("getPosition", label)
            if abs(now - um) <= SAME_PLACE_UM:
                if label in asked:
                    self._stages[label] = (asked[label][0], now)
                continue
            if label in by_hand:
                continue
            yield from self.attempt("setPosition", label, um)
            self._stages[label] = (um, um)
            yield from self._arrive([label])


def slm_pixels(label: str, pattern: Any, height: int, width: int, depth: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Give an SLM's pattern the shape it wants: (height, width), or (height, width, 4) for a colour SLM.

    Raises
    ------
    HardwareError
        It has another number of pixels.
    """
    pixels = np.frombuffer(pattern, np.uint8) if isinstance(pattern, bytes | bytearray) else np.asarray(pattern, np.uint8)
    shape = (height, width) if depth == 1 else (height, width, depth)
    if pixels.size != math.prod(shape):
        raise HardwareError(f"slm_pattern has {pixels.size} values; SLM {label!r} takes {shape}")
    return np.ascontiguousarray(pixels.reshape(shape))
