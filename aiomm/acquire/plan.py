"""The plan of an acquisition: its groups, why each ends, what is out of limits, and estimates; nothing moves for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiomm.acquire.capabilities import Checker
from aiomm.acquire.limits import Limits
from aiomm.acquire.sequencing import Group, Grouping, iter_groups
from aiomm.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiomm.acquire.capabilities import Capabilities
    from aiomm.acquire.events import AcquisitionEvent

__all__ = ["Plan", "make_plan"]

# Rough times in s, for estimates: a usual motorised microscope, not the fastest one.
Z_MOVE, XY_MOVE, STAGE_MOVE, PRESET, PROPERTY, SLM, SNAP, SEQUENCE_START = 0.02, 0.2, 0.1, 0.1, 0.01, 0.02, 0.01, 0.1
SHOWN = 20  # lines that are printed before the rest is summed up
LIMITS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What an acquisition will do.

    Attributes
    ----------
    groups : tuple of Group
        What is acquired together, in order.
    out_of_limits : tuple of str
        A sentence for each event that passes a soft limit; the acquisition would refuse them.
    images : int
        How many will be taken (from every camera of a multi-camera device).
    nbytes : int or None
        Size of their pixels; None if the camera's image size is not known. Exact unless events change ROI or binning.
    duration : float
        Rough, in s: exposures and `min_start_time`, and a usual time for each move and each start of a sequence.
    light_dose : float
        How long the sample is exposed, in s: the sum of exposures.
    """

    groups: tuple[Group, ...]
    out_of_limits: tuple[str, ...] = ()
    images: int = 0
    nbytes: int | None = None
    duration: float = 0.0
    light_dose: float = 0.0

    @property
    def events(self) -> int:
        """How many events there are, those without an image included."""
        return sum(len(group.events) for group in self.groups)

    @property
    def reasons(self) -> Counter[str]:
        """Why groups end, and how often each reason occurs."""
        return Counter(group.boundary for group in self.groups if group.boundary)

    def __str__(self) -> str:
        size = "size not known" if self.nbytes is None else amount(self.nbytes)
        lines = [
            f"{plural(self.events, 'event')} in {plural(len(self.groups), 'group')}: {plural(self.images, 'image')}, {size}, "
            f"about {span(self.duration)}, sample exposed for {span(self.light_dose)}"
        ]
        lines += [f"  out of limits: {sentence}" for sentence in shortened(self.out_of_limits)]
        rows, rest = self._table()
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines += ["  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows]
        if rest:
            lines.append(
                f"  and {plural(len(rest), 'more group')} with {plural(sum(len(group.events) for group in rest), 'event')}. All reasons:"
            )
            common = self.reasons.most_common(SHOWN)
            lines += [f"  {count:>7} x {reason}" for reason, count in common]
            if len(self.reasons) > len(common):
                lines.append(f"          and {len(self.reasons) - len(common)} other reasons")
        return "\n".join(lines)

    def _table(self) -> tuple[list[tuple[str, ...]], tuple[Group, ...]]:
        """Return the lines of the table, groups of one kind in one line, and the groups that are left out of it."""
        rows: list[tuple[str, ...]] = [("group", "events", "sequenced", "ends because")]
        number = index = 0
        while index < len(self.groups) and len(rows) <= SHOWN:
            group = self.groups[index]
            kind = (len(group.events), what_varies(group), group.boundary)
            first, first_event = index, number
            while index < len(self.groups) and kind == (len((same := self.groups[index]).events), what_varies(same), same.boundary):
                number += len(same.events)
                index += 1
            each = f" ({kind[0]} each)" if index - first > 1 and kind[0] > 1 else ""
            rows.append((between(first, index - 1), between(first_event, number - 1) + each, kind[1], group.boundary or "it is the last"))
        return rows, self.groups[index:]


def make_plan(
    events: Iterable[AcquisitionEvent],
    caps: Capabilities,
    limits: Limits | Mapping[str, Any] | None = None,
    *,
    sequencing: str = "auto",
    grouping: Grouping = iter_groups,
) -> Plan:
    """Plan the events of one scope.

    Parameters
    ----------
    events : iterable of AcquisitionEvent
        In order.
    caps : Capabilities
        Read for the needs of these events, with ``image=True`` for the size.
    limits : Limits or dict, optional
        Soft limits; what is outside is listed, not raised.
    sequencing : "auto" or "off"
        Whether events may be merged.
    grouping : function
        What cuts them into groups, as `iter_groups` does.

    Raises
    ------
    EventError
        Something that an event asks for does not exist or cannot be; see `check_events`.
    """
    limits = limits if isinstance(limits, Limits) else Limits(limits)
    limits.check_devices(caps)
    checker = Checker(caps)
    outside: list[str] = []
    checked: list[AcquisitionEvent] = []
    for number, event in enumerate(events):
        problem = checker.problem(event)
        if problem is not None:
            key, value, text = problem
            raise EventError(f"event {number}: {key}: {text}", key=key, value=value)
        outside += [f"event {number}: {key}: {text}" for key, _, text in limits.broken(event, checker.roles, caps)]
        checked.append(event)
    groups = tuple(grouping(checked, caps, sequencing))
    cameras = caps.image.cameras if caps.image else 1
    images = sum(event.acquire for event in checked) * cameras
    duration, dose = estimate(groups, caps.image.exposure if caps.image else 0.0)
    return Plan(groups, tuple(outside), images, caps.image.nbytes * (images // cameras) if caps.image else None, duration, dose)


def estimate(groups: Iterable[Group], exposure_ms: float) -> tuple[float, float]:
    """Return the duration and the sum of exposures, in s."""
    clock = origin = dose = 0.0
    z: float | None = None
    xy: tuple[float | None, float | None] = (None, None)
    config: tuple[str, str] | None = None
    pattern: Any = None
    stages: dict[str, float] = {}
    settings: dict[tuple[str, str], str] = {}
    for group in groups:
        first = group.events[0]
        if first.reset_event_timer:
            origin = clock
        if first.min_start_time is not None:
            clock = max(clock, origin + first.min_start_time)
        new_xy = (xy[0] if first.x is None else first.x, xy[1] if first.y is None else first.y)
        clock += Z_MOVE * (first.z is not None and first.z != z) + XY_MOVE * (new_xy != xy)
        clock += PRESET * (first.config is not None and first.config != config)
        clock += STAGE_MOVE * any(stages.get(label) != um for label, um in first.stage_positions)
        clock += PROPERTY * sum(settings.get((label, name)) != value for label, name, value in first.properties)
        clock += SLM * (first.slm_pattern is not None and first.slm_pattern is not pattern)
        clock += SEQUENCE_START if len(group.events) > 1 else SNAP * first.acquire
        last = group.events[-1]
        for event in group.events:
            exposure_ms = exposure_ms if event.exposure is None else event.exposure
            if event.acquire:
                clock += exposure_ms / 1000
                dose += exposure_ms / 1000
            z, config, pattern = event.z if event.z is not None else z, event.config or config, event.slm_pattern or pattern
            stages.update(event.stage_positions)
            settings.update(((label, name), value) for label, name, value in event.properties)
        xy = group.xy[-1] if group.xy else (new_xy[0] if last.x is None else last.x, new_xy[1] if last.y is None else last.y)
    return clock, dose


def what_varies(group: Group) -> str:
    names = [name for name in ("z", "xy", "exposure", "slm") if getattr(group, name) is not None]
    names += [*group.stages, *(f"{label}-{name}" for label, name in group.properties)]
    if len(group.events) == 1:
        return "" if group.events[0].acquire else "(no image)"
    return ", ".join(names) or "camera only"


def shortened(sentences: tuple[str, ...]) -> list[str]:
    rest = len(sentences) - LIMITS_SHOWN
    return [*sentences[:LIMITS_SHOWN], f"and {rest} more"] if rest > 0 else list(sentences)


def between(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def amount(nbytes: int) -> str:
    size = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
