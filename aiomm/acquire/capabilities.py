"""What the hardware can do, as far as some events touch it; and whether it can do what they ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiomm.acquire.event_values import CHANNEL, suggest
from aiomm.acquire.limits import Limits
from aiomm.core.translate import core_error
from aiomm.errors import EventError, LimitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from aiomm.acquire.events import AcquisitionEvent

__all__ = ["Capabilities", "ImageInfo", "Needs", "PropertyInfo", "Roles", "SlmInfo", "check_events", "needs", "read_capabilities"]

Setting = tuple[str, str, str]
DEVICE_TYPES = {
    2: "Camera", 3: "Shutter", 4: "State", 5: "Stage", 6: "XYStage", 7: "Serial", 8: "Generic", 9: "AutoFocus", 10: "Core",
    11: "ImageProcessor", 12: "SignalIO", 13: "Magnifier", 14: "SLM", 15: "Hub", 16: "Galvo",
}  # fmt: skip
EXPOSURE = "Exposure"
CORE_ROLES = {"Camera": "camera", "Focus": "focus", "XYStage": "xy_stage", "SLM": "slm"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What some events touch; ``a | b`` is what either touches."""

    presets: frozenset[tuple[str, str]] = frozenset()
    properties: frozenset[tuple[str, str]] = frozenset()
    stages: frozenset[str] = frozenset()
    cameras: frozenset[str] = frozenset()
    roles: frozenset[tuple[str, str]] = frozenset()  # devices that events make the Core's: ("focus", label)
    z: bool = False
    xy: bool = False
    exposure: bool = False
    slm: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.presets | other.presets,
            self.properties | other.properties,
            self.stages | other.stages,
            self.cameras | other.cameras,
            self.roles | other.roles,
            self.z or other.z,
            self.xy or other.xy,
            self.exposure or other.exposure,
            self.slm or other.slm,
        )


def needs(events: Iterable[AcquisitionEvent]) -> Needs:
    """Return what events touch; about half a µs for each."""
    presets: set[tuple[str, str]] = set()
    properties: set[tuple[str, str]] = set()
    stages: set[str] = set()
    cameras: set[str] = set()
    roles: set[tuple[str, str]] = set()
    z = xy = exposure = slm = False
    for event in events:
        if event.config is not None:
            presets.add(event.config)
        if event.z is not None:
            z = True
        if event.x is not None or event.y is not None:
            xy = True
        if event.exposure is not None:
            exposure = True
        if event.properties:
            for label, name, value in event.properties:
                properties.add((label, name))
                if label == "Core" and name in CORE_ROLES:
                    roles.add((CORE_ROLES[name], value))
        if event.stage_positions:
            stages.update(label for label, _ in event.stage_positions)
        if event.camera is not None:
            cameras.add(event.camera)
        if event.slm_pattern is not None:
            slm = True
    return Needs(frozenset(presets), frozenset(properties), frozenset(stages), frozenset(cameras), frozenset(roles), z, xy, exposure, slm)


@dataclass(frozen=True, slots=True)
class PropertyInfo:
    """One property of one device. A `max_length` of 0 means that it cannot be sequenced."""

    kind: str = "string"  # or "integer", "float"
    read_only: bool = False
    allowed: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    max_length: int = 0

    def refuses(self, value: str) -> str:
        """Why this value cannot be set, in words; empty if it can."""
        if self.read_only:
            return "this property is read-only"
        if value in self.allowed:
            return ""
        if self.kind == "string":
            return f"it is not one of its values; {suggest(value, self.allowed, otherwise='these are')}" if self.allowed else ""
        try:
            exact = float(value)
        except ValueError:
            return f"it must be a number; {suggest(value, self.allowed)}" if self.allowed else "it must be a number"
        if self.kind == "integer" and not exact.is_integer():
            return "it must be a whole number"
        if self.allowed and not any(same_number(exact, choice) for choice in self.allowed):
            return f"it is not one of its values; {suggest(value, self.allowed, otherwise='these are')}"
        if self.limits is not None and not self.limits[0] <= exact <= self.limits[1]:
            return f"it may lie from {self.limits[0]:g} to {self.limits[1]:g}"
        return ""


def same_number(number: float, text: str) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class SlmInfo:
    """Size of an SLM, and how many patterns it can hold as a sequence (0: none)."""

    height: int
    width: int
    bytes_per_pixel: int
    max_length: int = 0


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What one snap gives now, and how long it exposes (ms)."""

    width: int
    height: int
    bytes_per_pixel: int
    cameras: int = 1
    exposure: float = 0.0

    @property
    def nbytes(self) -> int:
        return self.width * self.height * self.bytes_per_pixel * self.cameras


@dataclass(slots=True)
class Roles:
    """Which devices are the Core's camera, focus, XY stage and SLM; events may change them."""

    camera: str = ""
    focus: str = ""
    xy_stage: str = ""
    slm: str = ""

    def follow(self, event: AcquisitionEvent, caps: Capabilities) -> None:
        """Take over what an event changes, by its preset or by properties of the Core."""
        if event.config is not None and event.config in caps.role_presets:
            for role, label in caps.role_presets[event.config]:
                setattr(self, role, label)
        for device, name, value in event.properties:
            if device == "Core" and name in CORE_ROLES:
                setattr(self, CORE_ROLES[name], value)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A snapshot of what the hardware can do, for some events: plain data, so that planning needs no hardware.

    Attributes
    ----------
    camera, focus, xy_stage, slm : str
        Labels of the Core's devices; empty if there is none.
    devices : dict
        Type of each loaded device, by label.
    groups : dict
        Presets of each config group that events touch; other groups have an empty entry.
    presets : dict
        Settings (device, property, value) of each preset, by (group, preset).
    properties : dict
        `PropertyInfo` by (device, property); what is not there does not exist.
    property_names : dict
        All properties of the devices on which one was not found.
    stages, xy_stages, exposures : dict
        How many positions or exposures a stage, XY stage or camera can hold as a sequence (0: none), by label.
    exposure_limits : dict
        Shortest and longest exposure (ms) of the cameras that say so, by label.
    slms : dict
        `SlmInfo` by label.
    image : ImageInfo or None
        Read only when asked for.
    """

    camera: str = ""
    focus: str = ""
    xy_stage: str = ""
    slm: str = ""
    devices: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    presets: Mapping[tuple[str, str], tuple[Setting, ...]] = field(default_factory=dict)
    properties: Mapping[tuple[str, str], PropertyInfo] = field(default_factory=dict)
    property_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stages: Mapping[str, int] = field(default_factory=dict)
    xy_stages: Mapping[str, int] = field(default_factory=dict)
    exposures: Mapping[str, int] = field(default_factory=dict)
    exposure_limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    slms: Mapping[str, SlmInfo] = field(default_factory=dict)
    role_presets: Mapping[tuple[str, str], tuple[tuple[str, str], ...]] = field(default_factory=dict)
    image: ImageInfo | None = None

    def roles(self) -> Roles:
        return Roles(self.camera, self.focus, self.xy_stage, self.slm)

    def of_type(self, kind: str) -> list[str]:
        """Labels of the loaded devices of one type."""
        return [label for label, found in self.devices.items() if found == kind]

    def lacks(self, what: str, role: str, kind: str) -> str:
        """Say that the Core has no device in this role, and what to do about it."""
        loaded = self.of_type(kind)
        if not loaded:
            return f"there is no {what}, and the configuration loads none"
        return f"there is no {what}; {suggest('', loaded, otherwise=f'set Core-{role} to one of')}"


def read_capabilities(
    mmc: Any, needs: Needs, *, image: bool = False, sparing: bool = False, roles_then: Mapping[str, str] | None = None
) -> Capabilities:
    """Ask MMCore what events that have these needs must know; runs on the hardware thread.

    Parameters
    ----------
    mmc : pymmcore.CMMCore
        The raw core.
    needs : Needs
        What the events touch, by `needs`.
    image : bool
        Whether to ask for the size of images and the exposure too (for a plan's estimates).
    sparing : bool
        Whether to ask only for those devices and config groups that the events touch: enough to say whether they can be carried out, not
        to say what there is instead.
    roles_then : dict, optional
        The core's devices as they will be when the events are carried out, by their names in MMCore's methods; else those of now.

    Raises
    ------
    CoreError
        A device refuses to answer.
    """

    def ask(method: str, *args: Any) -> Any:
        try:
            return getattr(mmc, method)(*args)
        except Exception as error:
            raise core_error(error, method, args) from error

    def length(can: str, longest: str, *where: str) -> int:
        return int(ask(longest, *where)) if ask(can, *where) else 0

    names = ("Camera", "Focus", "XYStage", "SLM")
    camera, focus, xy_stage, slm = (roles_then[role] if roles_then is not None else ask(f"get{role}Device") for role in names)
    devices: dict[str, str] = {}
    loaded = [str(label) for label in ask("getLoadedDevices")] if not sparing or needs != Needs() else []

    def kind(label: str) -> str | None:
        if label not in devices and label in loaded:
            devices[label] = DEVICE_TYPES.get(int(ask("getDeviceType", label)), "Unknown")
        return devices.get(label)

    for label in [*needs.stages, *needs.cameras] if sparing else loaded:
        kind(label)
    touched = {group for group, _ in needs.presets}
    known = ask("getAvailableConfigGroups") if touched or not sparing else ()
    groups = {str(group): tuple(ask("getAvailableConfigs", group)) if group in touched else () for group in known}
    presets: dict[tuple[str, str], tuple[Setting, ...]] = {}
    role_presets: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
    wanted = set(needs.properties)
    roles = set(needs.roles) | {("camera", camera), ("focus", focus), ("xy_stage", xy_stage), ("slm", slm)}
    for group, preset in needs.presets:
        if preset not in groups.get(group, ()):
            continue
        data = ask("getConfigData", group, preset)
        entries = (data.getSetting(i) for i in range(data.size()))
        settings = tuple((str(e.getDeviceLabel()), str(e.getPropertyName()), str(e.getPropertyValue())) for e in entries)
        presets[group, preset] = settings
        wanted.update((label, name) for label, name, _ in settings)
        if changes := tuple((CORE_ROLES[name], value) for label, name, value in settings if label == "Core" and name in CORE_ROLES):
            role_presets[group, preset] = changes
            roles.update(changes)

    def limits(label: str, name: str) -> tuple[float, float] | None:
        if not ask("hasPropertyLimits", label, name):
            return None
        return ask("getPropertyLowerLimit", label, name), ask("getPropertyUpperLimit", label, name)

    properties: dict[tuple[str, str], PropertyInfo] = {}
    property_names: dict[str, tuple[str, ...]] = {}
    for label, name in wanted:
        if kind(label) is None:
            continue
        if not ask("hasProperty", label, name):
            property_names[label] = tuple(ask("getDevicePropertyNames", label))
            continue
        properties[label, name] = PropertyInfo(
            kind={2: "float", 3: "integer"}.get(int(ask("getPropertyType", label, name)), "string"),
            read_only=ask("isPropertyReadOnly", label, name),
            allowed=tuple(ask("getAllowedPropertyValues", label, name)),
            limits=limits(label, name),
            max_length=length("isPropertySequenceable", "getPropertySequenceMaxLength", label, name),
        )

    def of(role: str, wanted_kind: str, also: Iterable[str] = ()) -> list[str]:
        labels = {label for which, label in roles if which == role} | set(also)
        return [label for label in labels if kind(label) == wanted_kind]

    stages = of("focus" if needs.z else "", "Stage", needs.stages)
    cameras = of("camera", "Camera", needs.cameras) if needs.exposure else ()
    told = ((label, limits(label, EXPOSURE)) for label in cameras if ask("hasProperty", label, EXPOSURE))
    return Capabilities(
        camera=camera,
        focus=focus,
        xy_stage=xy_stage,
        slm=slm,
        devices=devices,
        groups=groups,
        presets=presets,
        properties=properties,
        property_names=property_names,
        stages={label: length("isStageSequenceable", "getStageSequenceMaxLength", label) for label in stages},
        xy_stages={
            label: length("isXYStageSequenceable", "getXYStageSequenceMaxLength", label)
            for label in (of("xy_stage", "XYStage") if needs.xy else ())
        },
        exposures={label: length("isExposureSequenceable", "getExposureSequenceMaxLength", label) for label in cameras},
        exposure_limits={label: bounds for label, bounds in told if bounds is not None},
        slms={
            label: SlmInfo(
                int(ask("getSLMHeight", label)),
                int(ask("getSLMWidth", label)),
                int(ask("getSLMBytesPerPixel", label)),
                int(ask("getSLMSequenceMaxLength", label)),
            )
            for label in (of("slm", "SLM") if needs.slm else ())
        },
        role_presets=role_presets,
        image=ImageInfo(
            int(ask("getImageWidth")),
            int(ask("getImageHeight")),
            int(ask("getBytesPerPixel")),
            int(ask("getNumberOfCameraChannels")),
            float(ask("getExposure")),
        )
        if image and camera
        else None,
    )


def check_events(
    events: Iterable[AcquisitionEvent], caps: Capabilities, limits: Limits | Mapping[str, Any] | None = None, *, first: int = 0
) -> None:
    """Check that the hardware can do what events ask, before anything moves.

    Parameters
    ----------
    events : iterable of AcquisitionEvent
        In their order.
    caps : Capabilities
        Read for the needs of these events.
    limits : Limits or dict, optional
        Soft limits; see `Limits`.
    first : int
        Number of the first event, for messages.

    Raises
    ------
    EventError
        Names the event's number, the key, the value, and what would be right.
    LimitError
        A stage would pass a soft limit.
    """
    limits = limits if isinstance(limits, Limits) else Limits(limits)
    limits.check_devices(caps)
    checker = Checker(caps)
    number = first
    for event in events:
        problem = checker.problem(event)
        if problem is not None:
            key, value, text = problem
            raise EventError(f"event {number}: {key}: {text}", key=key, value=value)
        if limits:
            for key, value, text in limits.broken(event, checker.roles, caps):
                raise LimitError(f"event {number}: {key}: {text}", key=key, value=value)
        number += 1


class Checker:
    """Checks one event after the other; what was found right once is not looked at again."""

    def __init__(self, caps: Capabilities) -> None:
        self.caps = caps
        self.roles = caps.roles()
        self._right: set[object] = {None}
        self._altered: set[str] = set()  # devices whose properties events set: their limits may be others then

    def problem(self, event: AcquisitionEvent) -> tuple[str, object, str] | None:
        """Return the key at fault, its value and a sentence; None if all is well."""
        right, roles, caps = self._right, self.roles, self.caps
        if event.config not in right:
            if text := self._preset(*event.config):  # type: ignore[misc]
                return ("channel" if event.dialect & CHANNEL else "config_group"), event.config, text
            right.add(event.config)
            self._alter(caps.presets[event.config])  # type: ignore[index]
        if event.properties:
            for setting in event.properties:
                if setting not in right:
                    if text := self._setting(*setting):
                        return "properties", list(setting), text
                    right.add(setting)
                    self._alter((setting,))
        if event.properties or event.config in caps.role_presets:
            roles.follow(event, caps)
        if event.z is not None and not roles.focus:
            return "z", event.z, caps.lacks("focus device", "Focus", "Stage")
        if (event.x is not None or event.y is not None) and not roles.xy_stage:
            key, value = ("x", event.x) if event.x is not None else ("y", event.y)
            return key, value, caps.lacks("XY stage", "XYStage", "XYStage")
        camera = event.camera
        if camera is not None and caps.devices.get(camera) != "Camera":
            what = f"{camera!r} is a {caps.devices[camera]}" if camera in caps.devices else f"there is no device {camera!r}"
            return "camera", camera, f"{what}; {suggest(camera, caps.of_type('Camera'), otherwise='cameras are')}"
        if not (camera or roles.camera) and (event.acquire or event.exposure is not None):
            return ("axes" if event.acquire else "exposure"), event.exposure, caps.lacks("camera", "Camera", "Camera")
        if event.exposure is not None and (text := self._exposure(camera or roles.camera, event.exposure)):
            return "exposure", event.exposure, text
        for label, um in event.stage_positions:
            if caps.devices.get(label) != "Stage":
                what = f"{label!r} is a {caps.devices[label]}" if label in caps.devices else f"there is no device {label!r}"
                return (
                    "stage_positions",
                    [label, um],
                    f"{what}; {suggest(label, caps.of_type('Stage'), otherwise='single-axis stages are')}",
                )
            if label == roles.focus and event.z is not None and um != event.z:
                return "stage_positions", [label, um], f"{label!r} is the focus device, and z says {event.z:g} µm"
        if event.slm_pattern is not None:
            return self._slm(event.slm_pattern)
        return None

    def _preset(self, group: str, preset: str) -> str:
        caps = self.caps
        if group not in caps.groups:
            return f"there is no config group {group!r}; {suggest(group, caps.groups, otherwise='there are')}"
        if (group, preset) not in caps.presets:
            return f"group {group!r} has no preset {preset!r}; {suggest(preset, caps.groups[group], otherwise='it has')}"
        for label, name, _ in caps.presets[group, preset]:
            if (label, name) not in caps.properties:
                return f"preset {preset!r} of group {group!r} cannot be set: {self._missing(label, name)}"
        return ""

    def _missing(self, label: str, name: str) -> str:
        if label not in self.caps.devices:
            return f"there is no device {label!r}; {suggest(label, self.caps.devices, otherwise='there are')}"
        known = self.caps.property_names.get(label, ())
        return f"device {label!r} has no property {name!r}; {suggest(name, known, otherwise='it has')}"

    def _setting(self, label: str, name: str, value: str) -> str:
        info = self.caps.properties.get((label, name))
        if info is None:
            return self._missing(label, name)
        reason = info.refuses(value)
        return f"'{label}-{name}' cannot be {value!r}: {reason}" if reason else ""

    def _alter(self, settings: Iterable[Setting]) -> None:
        self._altered.update(label for label, name, _ in settings if name != EXPOSURE)

    def _exposure(self, camera: str, ms: float) -> str:
        """Some cameras would leave the exposure of before, and say nothing."""
        limits = self.caps.exposure_limits.get(camera)
        if limits is None or limits[0] <= ms <= limits[1] or camera in self._altered:
            return ""
        return f"camera {camera!r} cannot expose for {ms:g} ms: it may lie from {limits[0]:g} to {limits[1]:g} ms"

    def _slm(self, pattern: bytes | np.ndarray) -> tuple[str, object, str] | None:
        slm = self.roles.slm
        info = self.caps.slms.get(slm)
        if info is None:
            return "slm_pattern", None, self.caps.lacks("SLM", "SLM", "SLM")
        size = len(pattern) if isinstance(pattern, bytes) else pattern.nbytes
        if size == info.height * info.width * info.bytes_per_pixel:
            return None
        shape = f"{info.height} x {info.width} pixels of {info.bytes_per_pixel} byte{'s' * (info.bytes_per_pixel > 1)}"
        return "slm_pattern", None, f"{size} bytes given; SLM {slm!r} has {shape}"
