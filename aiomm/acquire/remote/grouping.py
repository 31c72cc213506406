"""Which groups of events Micro-Manager's engine can take as one hardware sequence, and which have to go to it one by one.

The engine merges by rules of its own, and leaves things out of a merged sequence without a word: properties, SLM patterns, an XY
scan in which only x or only y changes. A group that has any of these is cut into single events here; so is one in which a stage of
``stage_positions`` changes, which the engine takes one by one by itself, for `plan` and hooks to say what happens. In the others each event
has to say in full what is in force (`in_full`): the engine takes a key that is left out for no position at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.acquire.sequencing import Group, iter_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiomm.acquire.capabilities import Capabilities
    from aiomm.acquire.events import AcquisitionEvent

__all__ = ["in_full", "java_groups"]

CARRIED = ("z", "x", "y", "exposure", "config_group", "stage_positions")
"""Keys that mean \"as it was\" where an event leaves them out."""


def java_groups(events: Iterable[AcquisitionEvent], caps: Capabilities, sequencing: str = "auto") -> Iterator[Group]:
    """Cut the events of one scope into groups that Micro-Manager's engine carries out rightly; see `iter_groups`."""
    for group in iter_groups(events, caps, sequencing):
        reason = _left_out(group, caps) if len(group.events) > 1 else ""
        if not reason:
            yield group
            continue
        last = len(group.events) - 1
        for number, event in enumerate(group.events):
            yield Group((event,), group.boundary if number == last else reason)


def _left_out(group: Group, caps: Capabilities) -> str:
    """Say what of a group Micro-Manager's engine would leave out of a merged sequence, or would not merge; empty if nothing."""
    events = group.events
    why = "Micro-Manager's engine does not merge this: "
    if any(event.properties for event in events):
        return why + "properties"
    if any(event.slm_pattern is not None for event in events):
        return why + "slm_pattern"
    if group.stages:
        return why + f"stage {next(iter(group.stages))!r} changes"
    if group.xy is not None and (len({x for x, _ in group.xy}) == 1 or len({y for _, y in group.xy}) == 1):
        return why + "only one of x and y changes"
    return _presets(events, caps, why)


def _presets(events: tuple[AcquisitionEvent, ...], caps: Capabilities, why: str) -> str:
    configs = list(dict.fromkeys(event.config for event in events if event.config is not None))
    if len(configs) < 2:
        return ""
    if len({group for group, _ in configs}) > 1:
        return why + "presets of several groups"
    first = events[0]
    if first.camera is not None and any(entry[:2] == ("Core", "Camera") for entry in caps.presets.get(configs[0], ())):
        return why + "presets that choose another camera than the event"
    names = [tuple((label, name) for label, name, _ in caps.presets.get(config, ())) for config in configs]
    if len(set(names)) > 1:
        return why + f"presets of group {configs[0][0]!r} that set different properties"
    for key in names[0]:  # it loads each that can be sequenced, also those that stay as they are
        info = caps.properties.get(key)
        if info is not None and 0 < info.max_length < len(events):
            return why + f"'{key[0]}-{key[1]}' holds {info.max_length} steps"
    return ""


def in_full(encoded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Complete the events of a merged sequence, as Java reads them, with what those before them have set: these same dicts."""
    force: dict[str, Any] = {}
    for event in encoded:
        for key in CARRIED:
            if key in event:
                force[key] = event[key]
        event.update(force)
    return encoded
