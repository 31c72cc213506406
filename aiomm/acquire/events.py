"""One acquisition event: what may stand in it, checked key by key, and given back to hooks in the user's own dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aiomm.acquire.event_values import (
    AXES_COL,
    CHANNEL,
    INF,
    INFERRED,
    LONGEST_MS,
    OTHERS,
    TILE_X,
    TILE_Y,
    TIMEOUT_MS,
    TOP_COL,
    TOP_COLUMN,
    TOP_ROW,
    Inferred,
    InferredFloat,
    InferredInt,
    axis_value,
    fail,
    flag,
    number,
    parse_channel,
    parse_config_group,
    plain,
    unknown_key,
)
from aiomm.errors import EventError

__all__ = ["AcquisitionEvent"]


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class AcquisitionEvent:
    """One event: where to move, what to set, and whether to take an image.

    Made from a user's dict by `from_dict`; made directly, its values are checked in the same way. A key that an event
    leaves out means that this stays as it is.

    Attributes
    ----------
    axes : dict
        Name and place (int or str) on each axis: the identity of the image. The channel axis is the preset's name,
        unless `axes` says otherwise.
    acquire : bool
        Whether an image is taken. An event that has neither ``channel`` nor ``axes`` (nor ``row``, ``col``, which are
        axes) moves hardware only, also with ``config_group``; ``{"axes": {}}`` takes an image.
    config : (str, str) or None
        Config group and preset, from ``channel`` or ``config_group``. Naming a preset sets all of it.
    exposure : float or None
        In ms.
    z, x, y : float or None
        In µm, of the focus and the XY stage. With only one of `x` and `y` the other stays.
    stage_positions : tuple of (str, float)
        Other single-axis stages, in µm.
    min_start_time : float or None
        In s on the acquisition's clock (see `reset_event_timer`). 0 or more.
    camera : str or None
        Label of the camera for this image; None is the Core's.
    keep_shutter_open : bool or None
        True leaves the shutter open after this event; None is the default of ``acquire()``.
    properties : tuple of (str, str, str)
        Device, property and value, in the order to be set, after the preset.
    slm_pattern : bytes, numpy.ndarray or None
        For the Core's SLM; arrays are C-contiguous and read-only.
    tags : dict or None
        Anything that JSON knows; stored with the image.
    timeout : float or None
        In ms; how long a frame may take to come before it counts as missed.
    reset_event_timer : bool
        The clock of `min_start_time` starts anew when this event is reached, before its own `min_start_time` counts.
    dialect : int
        How the user spelt what can be spelt in several ways, for `to_dict`.

    Raises
    ------
    EventError
        Names the key, the value, and what would be right.
    """

    axes: dict[str, int | str] = field(default_factory=dict)
    acquire: bool = True
    config: tuple[str, str] | None = None
    exposure: float | None = None
    z: float | None = None
    x: float | None = None
    y: float | None = None
    stage_positions: tuple[tuple[str, float], ...] = ()
    min_start_time: float | None = None
    camera: str | None = None
    keep_shutter_open: bool | None = None
    properties: tuple[tuple[str, str, str], ...] = ()
    slm_pattern: bytes | np.ndarray | None = None
    tags: dict[str, Any] | None = None
    timeout: float | None = None
    reset_event_timer: bool = False
    dialect: int = 0

    def __post_init__(self) -> None:
        if not flag("acquire", self.acquire) and self.axes:
            fail("axes", self.axes, "an event that takes no image (acquire=False) has no axes")
        fill(self, self.to_dict())

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any] | AcquisitionEvent) -> AcquisitionEvent:
        """Check what a user wrote, and make an event of it; the dict itself is not changed.

        Raises
        ------
        EventError
            Names the key, the value, and what would be right.
        """
        if isinstance(mapping, AcquisitionEvent):
            return mapping
        event = cls.__new__(cls)
        fill(event, mapping)
        return event

    @property
    def key(self) -> tuple[tuple[str, int | str], ...]:
        """The axes as something hashable: two images with equal keys are the same image."""
        return tuple(sorted(self.axes.items()))

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a new plain dict in the user's own dialect, as hooks get it.

        If an image is taken, ``axes`` is there, with the inferred channel axis; what is inferred follows its origin
        when the dict is changed and read again.
        """
        result: dict[str, Any] = {}
        dialect = self.dialect
        if self.acquire:
            axes: dict[str, Any] = dict(self.axes)
            result["axes"] = axes
            if dialect & INFERRED and "channel" in axes:
                axes["channel"] = Inferred(axes["channel"])
            if dialect & AXES_COL and "column" in axes:
                axes["col"] = axes.pop("column")
            for bit, key, name in ((TOP_ROW, "row", "row"), (TOP_COL, "col", "column"), (TOP_COLUMN, "column", "column")):
                if dialect & bit and name in axes:
                    result[key] = axes[name]
                    axes[name] = Inferred(axes[name]) if isinstance(axes[name], str) else InferredInt(axes[name])
        if self.config is not None:
            if dialect & CHANNEL:
                result["channel"] = {"group": self.config[0], "config": self.config[1]}
            else:
                result["config_group"] = list(self.config)
        for key in ("exposure", "z", "x", "y", "min_start_time", "camera", "keep_shutter_open", "slm_pattern"):
            value = getattr(self, key)
            if value is not None:
                result[key] = value
        if dialect & TILE_X:
            result["x"] = InferredFloat(result["x"])
        if dialect & TILE_Y:
            result["y"] = InferredFloat(result["y"])
        if self.stage_positions:
            result["stage_positions"] = [list(entry) for entry in self.stage_positions]
        if self.properties:
            result["properties"] = [list(entry) for entry in self.properties]
        if self.tags is not None:
            result["tags"] = plain("tags", self.tags)
        if self.timeout is not None:
            result["timeout_ms" if dialect & TIMEOUT_MS else "timeout"] = self.timeout
        if self.reset_event_timer:
            result["reset_event_timer"] = True
        return result

    def __repr__(self) -> str:
        return f"AcquisitionEvent({self.to_dict()})"


def fill(event: AcquisitionEvent, mapping: Mapping[str, Any]) -> None:
    """Set every attribute of `event` from a user's dict; the hot path of making events, so plain code in one piece."""
    if not isinstance(mapping, Mapping):
        raise EventError(f"an event is a dict, not {mapping!r:.80}", value=mapping)
    axes: dict[str, int | str] = {}
    event.axes = axes
    event.config = event.exposure = event.z = event.x = event.y = event.min_start_time = event.camera = None
    event.keep_shutter_open = event.slm_pattern = event.tags = event.timeout = None
    event.stage_positions = event.properties = ()
    event.reset_event_timer = False
    event.dialect = 0
    acquire = False
    channel: tuple[str, str] | None = None
    config_group: tuple[str, str] | None = None
    outside: list[tuple[str, object]] | None = None  # row, col, column beside axes
    followers: set[str] | None = None  # axes that follow another key
    for key, value in mapping.items():
        if key == "axes":
            acquire = True
            if not isinstance(value, Mapping):
                fail("axes", value, "it must be a dict of axis names and places, such as {'time': 0, 'z': 3}")
            for name, place in value.items():
                kind = type(place)
                if (kind is int or kind is str) and type(name) is str and name:
                    axes[name] = place
                else:
                    axes[str(name)] = axis_value(name, place)
                    if kind is Inferred or kind is InferredInt:
                        followers = followers or set()
                        followers.add(name)
        elif key == "z":
            event.z = value if type(value) is float and -INF < value < INF else number(key, value)
        elif key == "exposure":
            short = type(value) is float and 0.0 <= value <= LONGEST_MS
            event.exposure = value if short else number(key, value, least=0.0, most=LONGEST_MS, hint=" ms")
        elif key == "channel":
            channel = parse_channel(value)
        elif key == "config_group":
            config_group = parse_config_group(value)
        elif key == "x":
            event.x = value if type(value) is float and -INF < value < INF else number(key, value)
            if type(value) is InferredFloat:
                event.dialect |= TILE_X
        elif key == "y":
            event.y = value if type(value) is float and -INF < value < INF else number(key, value)
            if type(value) is InferredFloat:
                event.dialect |= TILE_Y
        elif key in OTHERS:
            OTHERS[key](event, key, value)
        elif key in ("row", "col", "column"):
            outside = outside or []
            outside.append((key, value))
        else:
            unknown_key(key, value)
    if channel is not None:
        if config_group is not None and config_group != channel:
            fail("config_group", list(config_group), f"'channel' in the same event says {list(channel)}: give one of the two")
        acquire = True
        event.dialect |= CHANNEL
    event.config = config = channel or config_group
    if outside or "col" in axes:
        event.dialect |= grid_axes(axes, outside or [], followers or set())
        acquire = True
    if acquire and config is not None and ("channel" not in axes or (followers is not None and "channel" in followers)):
        axes["channel"] = config[1]
        event.dialect |= INFERRED
    event.acquire = acquire


def grid_axes(axes: dict[str, int | str], outside: list[tuple[str, object]], followers: set[str]) -> int:
    """Bring row, col and column, wherever they stand, into the axes row and column; return how they were spelt."""
    dialect = 0
    for name in followers & {"row", "column"}:
        if any(key == name or (key == "col" and name == "column") for key, _ in outside) or (name == "column" and "col" in axes):
            del axes[name]
    if "col" in axes:
        column = axes.pop("col")
        if axes.setdefault("column", column) != column:
            fail("axes['col']", column, f"axes['column'] says {axes['column']!r}: give one of the two")
        dialect |= AXES_COL
    for key, value in outside:
        name = "row" if key == "row" else "column"
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            fail(key, value, "it must be a whole number")
        place = int(value)
        if axes.setdefault(name, place) != place:
            fail(key, value, f"the axis {name!r} is {axes[name]!r} already: give one of the two")
        if not (dialect & AXES_COL and name == "column"):
            dialect |= {"row": TOP_ROW, "col": TOP_COL, "column": TOP_COLUMN}[key]
    return dialect
