"""Events as Micro-Manager's engine reads them, and back."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from aiomm.bridge import wire
from aiomm.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiomm.acquire.events import AcquisitionEvent

__all__ = ["NO_CAMERA", "after_hardware", "check_event", "decode_events", "encode_event", "excuse", "write_events"]

NO_CAMERA: Final = "none: aiomm skips this image"
"""A camera that does not exist: Java fails before it exposes."""

_FREE: Final = ("tags", "min_start_time")  # what a hook may change when the hardware is in place
_INT_LIMIT: Final = 2**31
_NUMBERS: Final = ("exposure", "z", "x", "y", "min_start_time", "timeout")


def encode_event(event: AcquisitionEvent, *, camera: bool = False, prepared: bool = False) -> dict[str, Any]:
    """Write an event as Java reads it. What Java does not know (``keep_shutter_open``, the clock) is left out, ``min_start_time`` too.

    Parameters
    ----------
    event
        That takes an image; the engine exposes always.
    camera
        Whether Java is to choose the event's camera.
    prepared
        Whether its properties are set already, and its pattern is shown.

    Returns
    -------
    dict
        Plain values; ``slm_pattern`` is an array of uint8, or int32 for a colour SLM.

    Raises
    ------
    EventError
        Java cannot take it; the message says what would be right.
    """
    if not event.acquire:
        raise EventError("an event without an image cannot be sent to Micro-Manager's engine, which exposes always", key="axes")
    check_event(event)
    result: dict[str, Any] = {"axes": dict(event.axes)}
    if event.config is not None:
        result["config_group"] = list(event.config)
    for key in ("exposure", "z", "x", "y", "timeout"):
        value = getattr(event, key)
        if value is not None:
            result[key] = float(value)
    if event.stage_positions:
        result["stage_positions"] = [[label, float(position)] for label, position in event.stage_positions]
    if event.properties and not prepared:
        devices = [device for device, _, _ in event.properties]
        if doubled := next((device for device in devices if devices.count(device) > 1), None):
            raise EventError(
                f"properties: there are several of device {doubled!r}, and Micro-Manager's engine sets only one of them",
                key="properties",
                value=event.properties,
            )
        result["properties"] = [list(entry) for entry in event.properties]
    if event.slm_pattern is not None and not prepared:
        result["slm_pattern"] = _pattern(event.slm_pattern)
        label = next((label for label, _ in event.stage_positions if "@" in label), None)
        if label is not None:
            raise EventError(
                f"stage_positions: Micro-Manager's engine cannot take the label {label!r} beside an slm_pattern, because of its '@'",
                key="stage_positions",
                value=label,
            )
    if camera and event.camera is not None:
        result["camera"] = event.camera
    if event.tags:
        result["tags"] = dict(event.tags)
    return result


def check_event(event: AcquisitionEvent, of: str = "") -> None:
    """Check axes and tags, of which Java takes less than other homes do; ``of`` begins the message.

    Raises
    ------
    EventError
        Java cannot take one; the message says what would be right.
    """
    for name, value in event.axes.items():
        if half_a_pair(name) or (isinstance(value, str) and half_a_pair(value)):
            raise EventError(
                f"{of}axes: {name!r}: {value!r:.80} has half a surrogate pair, which is no text that Java can be sent", key="axes"
            )
        if isinstance(value, int) and not -_INT_LIMIT <= value < _INT_LIMIT:
            raise EventError(f"{of}axes[{name!r}] is {value}: Micro-Manager's engine takes integers below 2**31", key="axes", value=value)
    for name, tag in (event.tags or {}).items():
        if not isinstance(tag, str):
            raise EventError(f"{of}tags[{name!r}] is {tag!r:.80}: Micro-Manager's engine takes text only: {str(tag)!r:.80}", key="tags")
        if half_a_pair(name) or half_a_pair(tag):
            raise EventError(
                f"{of}tags: {name!r}: {tag!r:.80} has half a surrogate pair, which is no text that Java can be sent", key="tags"
            )


def half_a_pair(text: str) -> bool:
    """Whether a text has half a surrogate pair."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _pattern(pattern: bytes | np.ndarray) -> np.ndarray:
    if isinstance(pattern, bytes):
        return np.frombuffer(pattern, np.uint8)
    flat = np.ascontiguousarray(pattern, np.uint8)
    return flat.reshape(-1).view(np.int32) if flat.ndim == 3 else flat.reshape(-1)


def write_events(events: list[dict[str, Any]]) -> list[bytes | memoryview]:
    """Write the frames of a message of events.

    Raises
    ------
    JavaValueError
        Java cannot take them.
    """
    pattern = events[0].get("slm_pattern") if len(events) == 1 else None
    if not isinstance(pattern, np.ndarray):
        return wire.encode({"events": events}, order="native")
    # Beside binary data Java takes texts with an '@' for its place. It stops looking in an event where it has found it, and in its
    # table of an event's keys the pattern comes before all that may have such texts, but stage_positions.
    text = wire.encode({"events": [{**events[0], "slm_pattern": f"@1_{pattern.dtype.itemsize}"}]})[0]
    return [text, struct.pack("=i", 1), memoryview(cast("Any", pattern)).cast("B")]


def decode_events(message: Mapping[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read what Java says of an event, or of those of a sequence, as dicts for `AcquisitionEvent.from_dict`.

    Numbers are floats again, which Java writes without their point where they are whole. An ``slm_pattern`` stays if Java could write it.
    """
    events = message if isinstance(message, list) else message["events"] if "events" in message else [message]
    return [_decoded(event) for event in events]


def _decoded(event: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"axes": dict(event.get("axes", {}))}
    for key, value in event.items():
        if key in _NUMBERS:
            result[key] = float(value)
        elif key == "stage_positions":
            result[key] = [[label, float(position)] for label, position in value]
        elif key == "slm_pattern":
            if isinstance(value, np.ndarray):
                result[key] = value.view(np.uint8)
        elif key != "axes":
            result[key] = value
    return result


def heard(text: Any) -> Any:
    """Say a text as Java's streams say it, which have '?' for characters above U+00FF."""
    return text.encode("latin-1", "replace").decode("latin-1") if isinstance(text, str) else text


def axes_key(axes: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Make of axes something hashable that is the same for what was sent to Java and for what it says of it.

    Axes that Java cannot tell apart have the same: the first that was sent is then the first that comes.
    """
    for name, value in axes.items():
        if not name.isascii() or "?" in name or (type(value) is not int and not (isinstance(value, str) and value.isascii())):
            break
    else:  # most often
        return frozenset(axes.items())
    key: set[tuple[str, Any]] = set()
    for name, value in axes.items():
        said = heard(name)
        key.add((said, None if "?" in said else heard(value)))  # of two names that it says alike one value only is heard
    return frozenset(key)


def whole_axes(payload: Any, sent: Iterable[Mapping[str, Any]]) -> Any:
    """Give the axes of a notice, or of a sequence's notice, as they were sent; those that were not stay as they are.

    Parameters
    ----------
    payload
        What Java said.
    sent
        The axes that are due, in their order: of several that Java says alike, the first are those that come first.
    """
    due: dict[Any, deque[Mapping[str, Any]]] = {}
    for axes in sent:
        due.setdefault(axes_key(axes), deque()).append(axes)

    def whole(said: Any) -> Any:
        same = due.get(axes_key(said)) if isinstance(said, dict) else None
        return dict(same.popleft()) if same else said

    return [whole(one) for one in payload] if isinstance(payload, list) else whole(payload)


def restore_text(metadata: dict[str, Any], axes: Mapping[str, Any], tags: Mapping[str, Any] | None) -> None:
    """Put the texts of an image's event where Java has said them with '?'."""
    metadata["Axes"] = dict(axes)
    if "channel" in axes and metadata.get("Channel") == heard(axes["channel"]):
        metadata["Channel"] = axes["channel"]
    if tags and metadata.get("tags") == {heard(name): heard(value) for name, value in tags.items()}:
        metadata["tags"] = dict(tags)


def after_hardware(
    before: Sequence[AcquisitionEvent], after: Sequence[AcquisitionEvent], encoded: list[dict[str, Any]]
) -> list[dict[str, Any]] | None:
    """Take over a hook's change where the hardware need not follow it; None where it has to."""
    if len(after) != len(before):
        return None
    answer: list[dict[str, Any]] = []
    for old, new, written in zip(before, after, encoded, strict=True):
        was, wanted = old.to_dict(), new.to_dict()
        if any(was.get(key) != wanted.get(key) for key in {*was, *wanted}.difference(_FREE)):
            return None
        try:
            check_event(new)
        except EventError:
            return None  # as it is planned anew this is said
        one = {key: value for key, value in written.items() if key != "tags"}
        if new.tags:
            one["tags"] = dict(new.tags)
        answer.append(one)
    return answer


def excuse(message: dict[str, Any], *, exposes: bool) -> dict[str, Any]:
    """Answer a hook's question when nobody does any more.

    Parameters
    ----------
    message
        What Java asked.
    exposes
        Whether Java would expose after this answer: then it gets a camera that does not exist, so that it fails first.
    """
    if not exposes:
        return {key: value for key, value in message.items() if key != "slm_pattern"}
    events = message.get("events")
    if isinstance(events, list):
        return {"events": [{**_without_pattern(event), "camera": NO_CAMERA} for event in events]}
    return {**_without_pattern(message), "camera": NO_CAMERA}


def _without_pattern(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "slm_pattern"}
