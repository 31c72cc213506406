"""Soft limits of stages: where the events of an acquisition may not go."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiomm.acquire.event_values import suggest
from aiomm.errors import EventError

if TYPE_CHECKING:
    from aiomm.acquire.capabilities import Capabilities, Roles
    from aiomm.acquire.events import AcquisitionEvent

__all__ = ["Limits"]

Range = tuple[float, float]


class Limits:
    """Soft limits in µm, by the label of a stage or by ``"z"``, ``"x"`` and ``"y"``, which mean the Core's stages.

    ``{"Z": (0, 100), "XY": ((0, 2000), (None, 500)), "x": (0, 1000)}``: a stage has a range, an XY stage two; None is no
    limit on that side. All that concern a stage hold.
    """

    def __init__(self, limits: Mapping[str, Any] | None) -> None:
        self.single: dict[str, Range] = {}  # by label, or by "z", "x", "y"
        self.double: dict[str, tuple[Range, Range]] = {}
        if limits is None:
            return
        if not isinstance(limits, Mapping):
            raise self._error(limits, "limits is a dict, such as {'z': (0, 100)}")
        for key, value in limits.items():
            pair = self._pair(key, value)
            if all(isinstance(end, (list, tuple)) or getattr(end, "ndim", 0) == 1 for end in pair):
                self.double[key] = (self._range(key, pair[0]), self._range(key, pair[1]))
            else:
                self.single[key] = self._range(key, value)
        for key in self.double:
            if key in ("x", "y", "z"):
                raise self._error(limits[key], f"{key!r} has one range, (lowest, highest)")

    def __bool__(self) -> bool:
        return bool(self.single or self.double)

    @staticmethod
    def _error(value: object, text: str) -> EventError:
        return EventError(f"limits: {text}", key="limits", value=value)

    def _pair(self, key: object, value: Any) -> tuple[Any, Any]:
        if not isinstance(key, str):
            raise self._error(value, f"{key!r} is no label of a stage")
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) != 2:
            raise self._error(value, f"{key!r} must be (lowest, highest) in µm, or two of these for an XY stage, not {value!r}")
        return value[0], value[1]

    def _range(self, key: str, value: Any) -> Range:
        ends: list[float] = []
        for end, missing in zip(self._pair(key, value), (-math.inf, math.inf), strict=True):
            try:
                ends.append(missing if end is None else float(end))
            except (TypeError, ValueError):
                raise self._error(value, f"{key!r} has {end!r} where a number or None is needed") from None
        if not ends[0] <= ends[1]:
            raise self._error(value, f"{key!r} is {value!r}: (lowest, highest) is needed")
        return ends[0], ends[1]

    def check_devices(self, caps: Capabilities) -> None:
        """Raise for a limit of something that is no stage: it would guard nothing."""
        kinds: dict[str, Mapping[str, object]] = {"Stage": self.single, "XYStage": self.double}
        for key in [*self.single, *self.double]:
            if key in ("x", "y", "z"):
                if not (caps.focus if key == "z" else caps.xy_stage):
                    raise self._error(key, f"{key!r} is given, but the Core has no {'focus' if key == 'z' else 'XY stage'} device")
                continue
            kind = caps.devices.get(key, "")
            if kind not in kinds:
                stages = [label for label, found in caps.devices.items() if found in kinds]
                what = f"there is no device {key!r}" if not kind else f"device {key!r} is a {kind}, no stage"
                raise self._error(key, f"{what}; {suggest(key, [*stages, 'x', 'y', 'z'], otherwise='there are')}")
            if key not in kinds[kind]:
                want = "(lowest, highest)" if kind == "Stage" else "((lowest x, highest x), (lowest y, highest y))"
                raise self._error(key, f"{key!r} is a {kind}: {want} is needed")

    def broken(self, event: AcquisitionEvent, roles: Roles, caps: Capabilities) -> Iterator[tuple[str, float, str]]:
        """Yield the key, the value and a sentence for everything by which an event breaks a limit."""
        if event.z is not None:
            yield from self._along("z", event.z, (("z", "z"), (roles.focus, f"stage {roles.focus!r}")))
        xy = self.double.get(roles.xy_stage)
        for which, value in ((0, event.x), (1, event.y)):
            if value is not None:
                key = "xy"[which]
                yield from self._along(key, value, ((key, key),))
                if xy is not None:
                    yield from self._within(key, value, xy[which], f"{key} of XY stage {roles.xy_stage!r}")
        for label, value in event.stage_positions:
            yield from self._stage("stage_positions", label, value, roles)
        settings = event.properties if event.config is None else (*caps.presets.get(event.config, ()), *event.properties)
        for label, name, text in settings:
            if name == "Position" and caps.devices.get(label) == "Stage":
                try:
                    value = float(text)
                except ValueError:
                    continue  # not a place; the device says what it thinks of it
                yield from self._stage("properties", label, value, roles)

    def _stage(self, key: str, label: str, value: float, roles: Roles) -> Iterator[tuple[str, float, str]]:
        names = ((label, f"stage {label!r}"), ("z", "z")) if label == roles.focus else ((label, f"stage {label!r}"),)
        yield from self._along(key, value, names)

    def _along(self, key: str, value: float, names: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, float, str]]:
        for name, what in names:
            if name in self.single:
                yield from self._within(key, value, self.single[name], what)

    @staticmethod
    def _within(key: str, value: float, limits: Range, what: str) -> Iterator[tuple[str, float, str]]:
        low, high = limits
        if not low <= value <= high:
            yield key, value, f"{value:g} µm is outside the soft limits of {what}, {low:g} to {high:g} µm"
