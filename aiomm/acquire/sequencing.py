"""The planner: which events become one hardware sequence, and why the others do not. Pure: it touches no hardware.

Two events merge when the hardware can go from the one to the other by itself, on the camera's triggers: each thing that
changes is loaded into a device that can hold that many steps. What an event leaves out stays as it is, so within a group
it is what the events before it have set; if none of them has, it is not known, and the group ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aiomm.acquire.capabilities import Capabilities
    from aiomm.acquire.events import AcquisitionEvent

__all__ = ["Group", "iter_groups"]

Pattern = bytes | np.ndarray
# Two names of one thing: which of the two was set last would be lost if one of them were sequenced.
ALIASES = {"Label": "State", "State": "Label"}


@dataclass(slots=True)
class Group:
    """Events that are acquired together: one, or several as one hardware sequence.

    Attributes
    ----------
    events : tuple of AcquisitionEvent
        Everything that is constant is what the first of them says.
    boundary : str
        Why the group ends before the next event, for people; empty for the last group.
    z, xy, exposure, properties, slm, stages
        What changes within the group, a value for each event, to be loaded into the devices. None or empty for what does
        not change. `properties` is by (device, property), `stages` by label; µm and ms.
    """

    events: tuple[AcquisitionEvent, ...]
    boundary: str = ""
    z: tuple[float, ...] | None = None
    xy: tuple[tuple[float, float], ...] | None = None
    exposure: tuple[float, ...] | None = None
    properties: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    slm: tuple[Pattern, ...] | None = None
    stages: dict[str, tuple[float, ...]] = field(default_factory=dict)


Grouping: TypeAlias = "Callable[[Iterable[AcquisitionEvent], Capabilities, str], Iterator[Group]]"
"""What cuts the events of one scope into groups; the text is "auto" or "off"."""


def iter_groups(events: Iterable[AcquisitionEvent], caps: Capabilities, sequencing: str = "auto") -> Iterator[Group]:
    """Cut the events of one scope into groups, in order.

    Parameters
    ----------
    events : iterable of AcquisitionEvent
        Pulled one event ahead of the group that is being made.
    caps : Capabilities
        Read for the needs of these events; what it does not know counts as what cannot be sequenced.
    sequencing : "auto" or "off"
        Whether events may be merged at all.
    """
    if sequencing not in ("auto", "off"):
        raise ValueError(f"sequencing must be 'auto' or 'off', not {sequencing!r}")
    source = iter(events)
    event = next(source, None)
    if event is None:
        return
    if sequencing == "off":
        for following in source:
            yield Group((event,), "sequencing is off")
            event = following
        yield Group((event,))
        return
    draft = Draft(caps)
    draft.begin(event)
    for following in source:
        reason = draft.extend(following)
        if reason:
            yield draft.finish(reason)
            draft.begin(following)
    yield draft.finish("")


class Draft:
    """The group that is being made: what is in force at its last event, and what changes in it."""

    __slots__ = (
        "caps", "clock", "config", "direct", "direct_presets", "events", "exposure", "force", "full", "limit", "memo", "overridden",
        "pair", "roles", "slm", "stages", "varies", "x", "y", "z",
    )  # fmt: skip

    events: list[AcquisitionEvent]
    z: float | None
    x: float | None
    y: float | None
    exposure: float | None
    slm: Pattern | None
    config: tuple[str, str] | None

    def __init__(self, caps: Capabilities) -> None:
        self.caps = caps
        self.roles = caps.roles()
        self.clock = 0.0  # what has been waited for already
        self.memo: dict[tuple[tuple[str, str], tuple[str, str]], str] = {}
        found = {config: self._moved(settings) for config, settings in caps.presets.items()}
        self.direct_presets = {config: labels for config, labels in found.items() if labels}

    def _moved(self, settings: tuple[tuple[str, str, str], ...]) -> frozenset[str]:
        """Stages and cameras whose position or exposure these settings set as a property, beside the event's own keys."""
        kinds = {"Position": "Stage", "Exposure": "Camera"}
        return frozenset(label for label, name, _ in settings if name in kinds and self.caps.devices.get(label) == kinds[name])

    def _direct(self, event: AcquisitionEvent) -> frozenset[str]:
        labels = self._moved(event.properties) if event.properties else frozenset()
        return labels | self.direct_presets[event.config] if event.config in self.direct_presets else labels

    def begin(self, event: AcquisitionEvent) -> None:
        """Start a new group with this event."""
        self.events = [event]
        self.z, self.x, self.y, self.exposure, self.slm = event.z, event.x, event.y, event.exposure, event.slm_pattern
        self.stages: dict[str, float] = dict(event.stage_positions) if event.stage_positions else {}
        self.config = event.config
        self.pair = (event.config, event.properties)
        self.overridden = bool(event.properties)  # a preset that is named again may bring other values back
        self.force: dict[tuple[str, str], str] | None = None  # values of properties, made when they are needed
        self.varies: dict[tuple[str, ...], None] = {}  # ("z",), ("property", device, name), ... in the order of first change
        self.limit, self.full = math.inf, ""
        self.direct = self._direct(event) if event.properties or self.direct_presets else frozenset()
        if event.reset_event_timer:
            self.clock = 0.0
        if event.min_start_time is not None and event.min_start_time > self.clock:
            self.clock = event.min_start_time
        if event.properties or event.config in self.caps.role_presets:
            self.roles.follow(event, self.caps)

    def extend(self, event: AcquisitionEvent) -> str:
        """Add an event to the group; or, if it cannot be, return the reason, and change nothing."""
        events = self.events
        first = events[0]
        if not event.acquire or not first.acquire:
            return "the next event takes no image" if first.acquire else "this event takes no image"
        if event.reset_event_timer:
            return "the next event starts the clock anew (reset_event_timer)"
        start = event.min_start_time
        if start is not None and start > self.clock:
            return f"the next event starts {start - self.clock:.4g} s later (min_start_time)"
        if event.camera != first.camera and (event.camera or self.roles.camera) != (first.camera or self.roles.camera):
            return f"camera: {first.camera or self.roles.camera!r} here, then {event.camera or self.roles.camera!r}"
        if event.keep_shutter_open is not first.keep_shutter_open:
            return "keep_shutter_open changes"
        if event.timeout != first.timeout:
            return "timeout changes"
        direct = self.direct
        if event.properties or self.direct_presets:
            direct = direct | self._direct(event)
        if direct and (reason := self._two_ways(direct, event)):
            return reason
        begins: list[tuple[tuple[str, ...], int, str]] = []  # what changes for the first time: key, longest sequence, device
        varies = self.varies
        z = event.z
        if z is not None and z != self.z and ("z",) not in varies:
            focus = self.roles.focus
            if self.z is None:
                return "z is given for the next event and not before"
            if focus in self.stages:
                return f"z: stage {focus!r} is moved by 'stage_positions' too"
            begins.append((("z",), self.caps.stages.get(focus, 0), f"stage {focus!r}"))
            if not begins[-1][1]:
                return f"z: stage {focus!r} cannot be sequenced"
        x, y = event.x, event.y
        if (x is not None and x != self.x) or (y is not None and y != self.y):
            reason = self._xy(x, y, begins)
            if reason:
                return reason
        exposure = event.exposure
        if exposure is not None and exposure != self.exposure and ("exposure",) not in varies:
            camera = first.camera or self.roles.camera
            if self.exposure is None:
                return "exposure is given for the next event and not before"
            begins.append((("exposure",), self.caps.exposures.get(camera, 0), f"camera {camera!r}"))
            if not begins[-1][1]:
                return f"exposure: camera {camera!r} cannot change it within a sequence"
        new: dict[tuple[str, str], str] | None = None
        config, properties = event.config, event.properties
        if (
            (config is not None or properties)
            and (config, properties) != self.pair
            and not (config == self.config and not properties and not self.overridden)
        ):
            new = {}
            reason = self._settings(event, new, begins)
            if reason:
                return reason
        if event.stage_positions:
            reason = self._stages(event.stage_positions, begins)
            if reason:
                return reason
        pattern = event.slm_pattern
        if pattern is not None and ("slm",) not in varies and not same_pattern(pattern, self.slm):
            info = self.caps.slms.get(self.roles.slm)
            if self.slm is None:
                return "slm_pattern is given for the next event and not before"
            begins.append((("slm",), info.max_length if info else 0, f"SLM {self.roles.slm!r}"))
            if not begins[-1][1]:
                return f"slm_pattern: SLM {self.roles.slm!r} cannot be sequenced"
        length = len(events) + 1
        if length > self.limit:
            return f"longer than the {self.limit:g} steps that {self.full} can hold"
        for _, longest, device in begins:
            if length > longest:
                return f"longer than the {longest} steps that {device} can hold"

        self.direct = direct
        for key, longest, device in begins:
            varies[key] = None
            if longest < self.limit:
                self.limit, self.full = longest, device
        events.append(event)
        self.z = z if z is not None else self.z
        self.x = x if x is not None else self.x
        self.y = y if y is not None else self.y
        self.exposure = exposure if exposure is not None else self.exposure
        self.slm = pattern if pattern is not None else self.slm
        if event.stage_positions:
            self.stages.update(event.stage_positions)
        if config is not None or properties:
            if new:
                self._in_force().update(new)
            self.pair = (config, properties)
            self.overridden = bool(properties) or (config is None and self.overridden)
            if config is not None:
                self.config = config
        return ""

    def _two_ways(self, direct: frozenset[str], event: AcquisitionEvent) -> str:
        """Whether something is set both by a key of its own and by a property: the later of the two would be lost."""
        used = {*self.stages, *(label for label, _ in event.stage_positions)}
        if self.z is not None or event.z is not None:
            used.add(self.roles.focus)
        if self.exposure is not None or event.exposure is not None:
            used.add(self.events[0].camera or self.roles.camera)
        both = sorted(used & direct)
        return f"device {both[0]!r} is set by a property and by a key of the event too" if both else ""

    def _xy(self, x: float | None, y: float | None, begins: list[tuple[tuple[str, ...], int, str]]) -> str:
        for name, new, old in (("x", x, self.x), ("y", y, self.y)):
            if new is not None and old is None:
                return f"{name} is given for the next event and not before"
        if self.x is None or self.y is None:
            return "x and y: only one of them is given, and a sequence needs both"
        if ("xy",) not in self.varies:
            stage = self.roles.xy_stage
            longest = self.caps.xy_stages.get(stage, 0)
            if not longest:
                return f"x and y: XY stage {stage!r} cannot be sequenced"
            begins.append((("xy",), longest, f"XY stage {stage!r}"))
        return ""

    def _stages(self, positions: tuple[tuple[str, float], ...], begins: list[tuple[tuple[str, ...], int, str]]) -> str:
        for label, um in positions:
            old = self.stages.get(label)
            if old == um:
                continue
            if old is None:
                return f"stage {label!r} is given for the next event and not before"
            if ("stage", label) in self.varies:
                continue
            if label == self.roles.focus and self.z is not None:
                return f"stage {label!r} is moved by 'z' too"
            longest = self.caps.stages.get(label, 0)
            if not longest:
                return f"stage {label!r} cannot be sequenced"
            begins.append((("stage", label), longest, f"stage {label!r}"))
        return ""

    def _in_force(self) -> dict[tuple[str, str], str]:
        """Values of the properties that the group has set; made from its events when first asked for."""
        if self.force is None:
            self.force = {}
            for event in self.events:
                if event.config is not None:
                    self.force.update(((label, name), value) for label, name, value in self.caps.presets.get(event.config, ()))
                self.force.update(((label, name), value) for label, name, value in event.properties)
        return self.force

    def _settings(self, event: AcquisitionEvent, new: dict[tuple[str, str], str], begins: list[tuple[tuple[str, ...], int, str]]) -> str:
        """Compare what the next event sets, by preset and by properties, with what is in force."""
        config = event.config
        alone = config is not None and self.config is not None and not event.properties and not self.overridden and len(self.events) == 1
        if alone and (self.config, config) in self.memo:  # a list of single events changes between few presets, often
            return self.memo[self.config, config]  # type: ignore[index]
        if config is not None:
            preset = self.caps.presets.get(config)
            if preset is None:
                return f"preset {config[1]!r} of group {config[0]!r} is not known"
            new.update(((label, name), value) for label, name, value in preset)
        new.update(((label, name), value) for label, name, value in event.properties)
        force = self._in_force()
        for key, value in new.items():
            label, name = key
            old = force.get(key)
            alias = (label, ALIASES.get(name, ""))
            both = alias in force or alias in new
            if not both and (old == value or ("property", *key) in self.varies):
                continue
            what = f"'{label}-{name}'"
            info = self.caps.properties.get(key)
            reason = ""
            if old is None:
                reason = f"{what} is set for the next event and not before"
            elif both:
                reason = f"{what} and '{label}-{alias[1]}' are both set, and are one thing"
            elif self._moved(((label, name, value),)):
                reason = f"{what} changes; it is sequenced only as a key of the event"
            elif info is None or not info.max_length:
                reason = f"{what} changes and cannot be sequenced"
            if reason:
                if config is not None and config != self.config:
                    reason = f"preset {config[1]!r} of group {config[0]!r}: {reason}"
                if alone:
                    self.memo[self.config, config] = reason  # type: ignore[index]
                return reason
            begins.append((("property", label, name), info.max_length if info else 0, what))
        return ""

    def finish(self, reason: str) -> Group:
        """Return the group."""
        events = tuple(self.events)
        if not self.varies:
            return Group(events, reason)
        group = Group(events, reason)
        for key in self.varies:
            kind = key[0]
            if kind == "z":
                group.z = carried([event.z for event in events])
            elif kind == "exposure":
                group.exposure = carried([event.exposure for event in events])
            elif kind == "xy":
                xs, ys = carried([event.x for event in events]), carried([event.y for event in events])
                group.xy = tuple(zip(xs, ys, strict=True))
            elif kind == "stage":
                group.stages[key[1]] = carried([dict(event.stage_positions).get(key[1]) for event in events])
            elif kind == "slm":
                group.slm = tuple(self._patterns(events))
        wanted = {(key[1], key[2]) for key in self.varies if key[0] == "property"}
        if wanted:
            group.properties = self._property_sequences(events, wanted)
        return group

    def _patterns(self, events: tuple[AcquisitionEvent, ...]) -> Iterator[Pattern]:
        pattern: Pattern = b""
        for event in events:
            if event.slm_pattern is not None:
                pattern = event.slm_pattern
            yield pattern

    def _property_sequences(
        self, events: tuple[AcquisitionEvent, ...], wanted: set[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[str, ...]]:
        by_preset: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
        now: dict[tuple[str, str], str] = {}
        steps: dict[tuple[str, str], list[str]] = {key: [] for key in wanted}
        for event in events:
            config = event.config
            if config is not None:
                if config not in by_preset:
                    settings = self.caps.presets.get(config, ())
                    by_preset[config] = {(label, name): value for label, name, value in settings if (label, name) in wanted}
                now.update(by_preset[config])
            for label, name, value in event.properties:
                if (label, name) in wanted:
                    now[label, name] = value
            for key, values in steps.items():
                values.append(now[key])
        return {(key[1], key[2]): tuple(steps[key[1], key[2]]) for key in self.varies if key[0] == "property"}


def carried(values: list[float | None]) -> tuple[float, ...]:
    """Fill what events leave out with what is in force; the first event has a value, or it would not be sequenced."""
    result: list[float] = []
    now = math.nan
    for value in values:
        if value is not None:
            now = value
        result.append(now)
    return tuple(result)


def same_pattern(a: Pattern, b: Pattern | None) -> bool:
    if a is b:
        return True
    if b is None or isinstance(a, bytes) != isinstance(b, bytes):
        return False
    return a == b if isinstance(a, bytes) else np.array_equal(a, b)
