"""Events of useq-schema as acquisition events, told by their shape: useq itself is not imported."""

from __future__ import annotations

from typing import Any

from aiomm.acquire.event_values import numbered
from aiomm.acquire.events import AcquisitionEvent
from aiomm.errors import EventError, UnsupportedError

__all__ = ["UseqReader", "is_useq_event", "is_useq_sequence"]

AXES = {"t": "time", "p": "position", "c": "channel", "z": "z"}


def is_useq_event(thing: object) -> bool:
    """Whether `thing` is a ``useq.MDAEvent``."""
    return hasattr(thing, "model_dump") and hasattr(thing, "index") and hasattr(thing, "action")


def is_useq_sequence(thing: object) -> bool:
    """Whether `thing` is a ``useq.MDASequence`` of either version."""
    return hasattr(thing, "model_dump") and hasattr(thing, "iter_events") and hasattr(thing, "axis_order")


class UseqReader:
    """Turns the events of one useq source into acquisition events, in order.

    useq numbers what it loops over; aiomm's axes are: ``time``, ``z``, ``channel`` (the preset's name), ``position``, and
    any other axis under its own name. A grid index is folded into the position: each place that is visited, (p, g), gets
    a position number when it first appears, and the two numbers are kept in the tags.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[Any, Any], int] = {}
        self._numbers: set[int] = set()
        self._channels: dict[str, Any] = {}

    def read(self, event: Any, number: int, *, setup: bool = False) -> AcquisitionEvent:
        """Return the acquisition event that does what a useq event says.

        Raises
        ------
        UnsupportedError
            The event wants something that aiomm cannot do; nothing is left out silently.
        EventError
            One of its values cannot be used.
        """
        self._refuse(event, number, setup)
        mapping: dict[str, Any] = {}
        tags = dict(event.metadata or {})
        channel = event.channel
        if not setup:
            mapping["axes"] = self._axes(dict(event.index), channel, tags)
        if channel is not None:
            mapping["config_group"] = [channel.group, channel.config]
        slm = event.slm_image
        found = {
            "exposure": event.exposure,
            "x": event.x_pos,
            "y": event.y_pos,
            "z": event.z_pos,
            "min_start_time": None if event.min_start_time is None else max(0.0, event.min_start_time),
            "camera": getattr(channel, "camera", None),
            "slm_pattern": None if slm is None else slm.data,
        }
        mapping.update((key, value) for key, value in found.items() if value is not None)
        if event.properties:
            mapping["properties"] = [list(entry) for entry in event.properties]
        if event.keep_shutter_open:
            mapping["keep_shutter_open"] = True
        if event.reset_event_timer:
            mapping["reset_event_timer"] = True
        if event.pos_name:
            tags["pos_name"] = event.pos_name
        if tags:
            mapping["tags"] = tags
        try:
            return AcquisitionEvent.from_dict(mapping)
        except EventError as error:
            raise numbered(number, error) from None

    def _refuse(self, event: Any, number: int, setup: bool) -> None:
        action = type(event.action).__name__
        name = getattr(event.action, "name", "")
        wrong = ""
        if action == "HardwareAutofocus":
            wrong = "asks for hardware autofocus; take the autofocus plan out, and focus in a post_hardware_hook_fn"
        elif action == "CustomAction" and not (setup and name == "setup"):
            wrong = f"has the custom action {name!r}; put what it does into a hook"
        elif action not in ("AcquireImage", "CustomAction", "NoneType"):
            wrong = f"has the action {action}, which aiomm does not know"
        elif event.roi is not None:
            wrong = "sets a camera ROI; set it before the acquisition, with core.set_roi(...)"
        elif event.slm_image is not None and event.slm_image.device is not None:
            wrong = f"has an image for the SLM {event.slm_image.device!r}; aiomm uses the Core's SLM: leave 'device' out"
        elif event.slm_image is not None and event.slm_image.exposure is not None:
            wrong = "sets an exposure of the SLM; set it before the acquisition, with core.set_slm_exposure(...)"
        if wrong:
            which = "the setup event" if setup else f"event {number} ({', '.join(f'{axis}={i}' for axis, i in dict(event.index).items())})"
            raise UnsupportedError(f"{which} of the useq sequence {wrong}")

    def _axes(self, index: dict[Any, Any], channel: Any, tags: dict[str, Any]) -> dict[str, int | str]:
        found: dict[str, Any] = {str(getattr(axis, "value", axis)): place for axis, place in index.items()}
        axes: dict[str, int | str] = {}
        if "p" in found or "g" in found:
            place = (found.get("p"), found.pop("g", None))
            axes["position"] = self._position(*place)
            if place[1] is not None:
                tags["useq_index"] = {"g": place[1]} if place[0] is None else {"p": place[0], "g": place[1]}
            found.pop("p", None)
        if "c" in found and channel is not None:
            axes["channel"] = self._channel(found.pop("c"), channel)
        for axis, value in found.items():
            axes[AXES.get(axis, axis)] = value
        return axes

    def _position(self, p: Any, g: Any) -> int:
        number = self._places.get((p, g))
        if number is None:
            number = p if g is None and p not in self._numbers else len(self._numbers)
            while number in self._numbers:
                number += 1
            self._places[p, g] = number
            self._numbers.add(number)
        return number

    def _channel(self, c: Any, channel: Any) -> str:
        # Two channels may be presets of one name in two groups: they must not become one.
        for name in (channel.config, f"{channel.group}-{channel.config}", f"{channel.config} ({c})"):
            if self._channels.setdefault(name, c) == c:
                return str(name)
        raise AssertionError("unreachable")
