"""The events of a multi-dimensional acquisition, as a list that makes its dicts when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, SupportsIndex, overload

import numpy as np

from aiomm.suggest import suggest_parameters

__all__ = ["EventList", "multi_d_acquisition_events"]

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is needed to make any one of the events."""

    order: tuple[str, ...]  # loops that are there, outer to inner
    sizes: tuple[int, ...]
    times: tuple[float, ...] | None  # min_start_time of each time point
    time_axis: bool
    xy: tuple[tuple[float, float], ...] | None
    labels: tuple[int | str, ...]
    z: tuple[tuple[float, ...], ...] | None  # one row for all positions, or a row for each
    group: str | None
    channels: tuple[str, ...]
    exposures: tuple[float, ...] | None
    keep_shutter_open: bool

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def make(self, index: int) -> Event:
        axes: dict[str, int | str] = {}
        event: Event = {"axes": axes}
        at = {"t": 0, "p": 0, "c": 0, "z": 0}
        rest = index
        for letter, size in zip(reversed(self.order), reversed(self.sizes), strict=True):
            rest, at[letter] = divmod(rest, size)
        for letter in self.order:
            i = at[letter]
            if letter == "t":
                if self.time_axis:
                    axes["time"] = i
                if self.times is not None:
                    event["min_start_time"] = self.times[i]
            elif letter == "p" and self.xy is not None:
                axes["position"] = self.labels[i]
                event["x"], event["y"] = self.xy[i]
            elif letter == "c" and self.group is not None:
                event["channel"] = {"group": self.group, "config": self.channels[i]}
                if self.exposures is not None:
                    event["exposure"] = self.exposures[i]
            elif letter == "z" and self.z is not None:
                axes["z"] = i
                event["z"] = self.z[at["p"] if len(self.z) > 1 else 0][i]
        if self.keep_shutter_open:
            event["keep_shutter_open"] = True
        if index and self.times is not None and at["t"] == 0 and not self.inside_time(at):
            event["reset_event_timer"] = True
        return event

    def inside_time(self, at: dict[str, int]) -> bool:
        """Whether a loop inside the time loop is past its first round."""
        return any(at[letter] for letter in self.order[self.order.index("t") + 1 :])


class EventList(MutableSequence[Event]):
    """A list of events that makes each dict when it is asked for, and keeps those it has given away.

    It does what a list does, also when a dict in it is changed; a loop over it therefore makes it as large as a list.
    An acquisition reads it by `fresh`, which keeps nothing.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._given: dict[int, Event] = {}
        self._list: list[Event] | None = None  # after the first change of the list itself

    def fresh(self) -> Iterator[Event]:
        """Iterate without keeping: dicts that were given away before, and others made for this loop only."""
        if self._list is not None:
            yield from self._list
            return
        given, make = self._given, self._recipe.make
        for index in range(len(self._recipe)):
            yield given[index] if index in given else make(index)

    def _all(self) -> list[Event]:
        if self._list is None:
            self._list = list(self.fresh())
            self._given.clear()
        return self._list

    def __len__(self) -> int:
        return len(self._recipe) if self._list is None else len(self._list)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        if self._list is not None:
            return self._list[index]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]  # IndexError as a list has it
        event = self._given.get(place)
        if event is None:
            event = self._given[place] = self._recipe.make(place)
        return event

    def __iter__(self) -> Iterator[Event]:
        index = 0
        while index < len(self):
            yield self[index]
            index += 1

    def __setitem__(self, index: Any, value: Any) -> None:
        self._all()[index] = value

    def __delitem__(self, index: int | slice) -> None:
        del self._all()[index]

    def insert(self, index: SupportsIndex, value: Event) -> None:
        self._all().insert(index, value)

    def sort(self, *, key: Any, reverse: bool = False) -> None:
        """Sort in place, as a list does."""
        self._all().sort(key=key, reverse=reverse)

    def copy(self) -> list[Event]:
        """Return a list of the same dicts."""
        return self[:]

    def __add__(self, other: Iterable[Event]) -> list[Event]:
        return [*self, *other]

    def __radd__(self, other: Iterable[Event]) -> list[Event]:
        return [*other, *self]

    def __mul__(self, times: int) -> list[Event]:
        return self[:] * times

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, EventList)):
            return NotImplemented
        if len(self) != len(other):
            return False
        theirs = other.fresh() if isinstance(other, EventList) else iter(other)
        return all(mine == yours for mine, yours in zip(self.fresh(), theirs, strict=True))

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        if self._list is not None:
            return f"<{len(self)} acquisition events>"
        names = {"t": "time", "p": "position", "c": "channel", "z": "z"}
        loops = " x ".join(f"{names[letter]} {size}" for letter, size in zip(self._recipe.order, self._recipe.sizes, strict=True))
        return f"<{len(self)} acquisition events: {loops or 'one image'}>"


@suggest_parameters
def multi_d_acquisition_events(
    num_time_points: int | None = 1,
    time_interval_s: float | Sequence[float] | np.ndarray = 0,
    z_start: float | None = None,
    z_end: float | None = None,
    z_step: float | None = None,
    channel_group: str | None = None,
    channels: Sequence[str] | np.ndarray | None = None,
    channel_exposures_ms: Sequence[float] | np.ndarray | None = None,
    xy_positions: Any = None,
    xyz_positions: Any = None,
    order: str = "tpcz",
    keep_shutter_open_between_channels: bool = False,
    keep_shutter_open_between_z_steps: bool = False,
    *,
    z_positions: Any = None,
    position_labels: Sequence[int | str] | np.ndarray | None = None,
) -> EventList:
    """Make the events of an acquisition over any of time, positions, channels and z.

    Parameters
    ----------
    num_time_points : int
        With 1 (or None) there is no time axis.
    time_interval_s : float or sequence of float
        The least time between the starts of two time points, in s; 0 is as fast as possible. A sequence has one element
        for each time point: how long after the time point before it (the first: after the start) it begins at the
        earliest. Zero and negative elements mean that nothing is waited for.
    z_start, z_end, z_step : float
        The slices of a stack, in µm. All three or none. The last slice never lies past `z_end`, and lies on it if the
        range is a multiple of the step. With `xyz_positions` they are relative to the z of each position.
    channel_group : str
        The config group whose presets are the channels.
    channels : sequence of str
        Presets.
    channel_exposures_ms : sequence of float
        An exposure for each channel.
    xy_positions : array_like, shape (N, 2)
        Stage positions in µm.
    xyz_positions : array_like, shape (N, 3)
        Stage positions with z. Without a z range there is one slice at each position's z.
    order : str
        Loops from the outermost to the innermost: the letters t, p, c and z. A letter whose loop is not asked for may be
        there or not.
    keep_shutter_open_between_channels, keep_shutter_open_between_z_steps : bool
        Do not close the shutter within this loop.
    z_positions : array_like, shape (N,) or (N, M)
        With `xy_positions`: the z of each position, or all its slices. One z for each together with a z range gives
        ``np.arange(z + z_start, z + z_end, z_step)``, half-open as NumPy has it.
    position_labels : sequence of int or str
        What the position axis calls the positions, instead of 0, 1, 2, ...

    Returns
    -------
    EventList
        A list of dicts, made when they are asked for.

    Raises
    ------
    ValueError
        Says which arguments do not fit together.

    Notes
    -----
    `min_start_time` counts from the start of the time loop. If another loop is outside the time loop (``"pt"``), each of
    its rounds begins a time loop of its own: the times begin again, and the first event of the round has
    ``reset_event_timer``, so that each round keeps the interval.
    """
    if not isinstance(order, str):
        raise ValueError(f"order must be a string of the letters t, p, c and z, not {order!r}")
    letters = order.lower()
    for letter in letters:
        if letter not in "tpcz":
            raise ValueError(f"order {order!r} has the letter {letter!r}; it may have t, p, c and z")
        if letters.count(letter) > 1:
            raise ValueError(f"order {order!r} has the letter {letter!r} twice")
    points, times = time_loop(num_time_points, time_interval_s)
    names, exposures = channel_loop(channel_group, channels, channel_exposures_ms)
    xy, position_z = position_loop(xy_positions, xyz_positions)
    labels = label_positions(position_labels, len(xy) if xy is not None else None)
    offsets = z_range(z_start, z_end, z_step, half_open=z_positions is not None)
    z = stacks(offsets, position_z, z_positions, len(xy) if xy is not None else None)

    loops = {
        "t": (points if points > 1 or times is not None else 0, "num_time_points and time_interval_s"),
        "p": (len(xy) if xy is not None else 0, "positions"),
        "c": (len(names), "channels"),
        "z": (len(z[0]) if z is not None else 0, "z or xyz"),
    }
    for letter, (size, what) in loops.items():
        if size and letter not in letters:
            raise ValueError(f"{what} given, but order {order!r} has no {letter!r}: this loop would be left out")
    relative = z_positions is not None or (position_z is not None and offsets is not None)
    if relative and letters.index("z") < letters.index("p"):
        raise ValueError(f"order {order!r} has 'z' outside 'p', but the z positions depend on the position: 'p' must come first")
    used = tuple(letter for letter in letters if loops[letter][0])
    return EventList(
        Recipe(
            order=used,
            sizes=tuple(loops[letter][0] for letter in used),
            times=times,
            time_axis=points > 1,
            xy=xy,
            labels=labels,
            z=z,
            group=channel_group,
            channels=names,
            exposures=exposures,
            keep_shutter_open=bool(
                (flag("keep_shutter_open_between_channels", keep_shutter_open_between_channels) and names)
                or (flag("keep_shutter_open_between_z_steps", keep_shutter_open_between_z_steps) and z is not None)
            ),
        )
    )


def flag(name: str, value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def real(name: str, value: object) -> float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return float(value)


def entries(name: str, value: object) -> list[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list, not {value!r}")
    return list(value)


def table(name: str, value: object, columns: int) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers of shape (N, {columns}): {error}") from None
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name} must have the shape (N, {columns}), not {array.shape}")
    if not len(array):
        raise ValueError(f"{name} is empty")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has a number that is not finite")
    return array


def time_loop(points: object, interval: object) -> tuple[int, tuple[float, ...] | None]:
    """Return the number of time points, and the earliest start of each if anything is to be waited for."""
    if points is None:
        points = 1
    if isinstance(points, bool) or not isinstance(points, (int, np.integer)) or points < 1:
        raise ValueError(f"num_time_points must be a whole number, 1 or more, not {points!r}")
    count = int(points)
    if isinstance(interval, (list, tuple, range)) or (isinstance(interval, np.ndarray) and interval.ndim):
        steps = [real("each element of time_interval_s", step) for step in interval]
        if len(steps) != count:
            raise ValueError(f"time_interval_s has {len(steps)} elements for {count} time points; it needs one for each")
        starts = np.cumsum(steps).tolist()
        if min(starts) < 0:
            raise ValueError(f"time_interval_s puts time point {starts.index(min(starts))} at {min(starts):g} s, before the start")
        return count, tuple(starts)
    step = real("time_interval_s", interval)
    if step < 0:
        raise ValueError(f"time_interval_s must not be negative, but is {step:g}")
    return count, tuple(i * step for i in range(count)) if step and count > 1 else None


def channel_loop(group: object, channels: object, exposures: object) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    if channels is None:
        if group is not None:
            raise ValueError(f"channel_group {group!r} is given without channels")
        if exposures is not None:
            raise ValueError("channel_exposures_ms is given without channels")
        return (), None
    if group is None:
        raise ValueError("channels are given without channel_group")
    if not isinstance(group, str) or not group:
        raise ValueError(f"channel_group must be the name of a config group, not {group!r}")
    names = entries("channels", channels)
    if not names:
        raise ValueError("channels is empty")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"channels must be names of presets, not {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"channels names {next(n for n in names if names.count(n) > 1)!r} twice: both would be the same images")
    if exposures is None:
        return tuple(map(str, names)), None
    values = [real("each element of channel_exposures_ms", value) for value in entries("channel_exposures_ms", exposures)]
    if len(values) != len(names):
        raise ValueError(f"channel_exposures_ms has {len(values)} elements for {len(names)} channels; it needs one for each")
    if min(values) < 0:
        raise ValueError(f"channel_exposures_ms has the negative exposure {min(values):g}")
    return tuple(map(str, names)), tuple(values)


def position_loop(xy: object, xyz: object) -> tuple[tuple[tuple[float, float], ...] | None, tuple[float, ...] | None]:
    """Return the x and y of each position, and its z if there is one."""
    if xy is not None and xyz is not None:
        raise ValueError("xy_positions and xyz_positions are both given; give one of them")
    if xyz is not None:
        array = table("xyz_positions", xyz, 3)
        return tuple((x, y) for x, y, _ in array.tolist()), tuple(array[:, 2].tolist())
    if xy is not None:
        return tuple((x, y) for x, y in table("xy_positions", xy, 2).tolist()), None
    return None, None


def label_positions(labels: object, count: int | None) -> tuple[int | str, ...]:
    if labels is None:
        return tuple(range(count or 0))
    if count is None:
        raise ValueError("position_labels is given without positions")
    names: list[int | str] = []
    for label in entries("position_labels", labels):
        if isinstance(label, str):
            names.append(str(label))
        elif isinstance(label, (int, np.integer)) and not isinstance(label, bool):
            names.append(int(label))
        else:
            raise ValueError(f"position_labels must be strings or whole numbers, not {label!r}")
    if len(names) != count:
        raise ValueError(f"position_labels has {len(names)} labels for {count} positions; it needs one for each")
    if len({type(name) for name in names}) > 1:
        raise ValueError("position_labels mixes strings and numbers; an axis is one or the other")
    if len(set(names)) < len(names):
        raise ValueError(f"position_labels has {next(n for n in names if names.count(n) > 1)!r} twice")
    return tuple(names)


def z_range(start: object, end: object, step: object, *, half_open: bool) -> tuple[float, ...] | None:
    """Return the slices from start to end, which is included if it lies on a step, unless the range is half-open."""
    given = {"z_start": start, "z_end": end, "z_step": step}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3:
        return None
    if missing:
        raise ValueError(f"z_start, z_end and z_step belong together, and {' and '.join(missing)} is missing")
    first, last, pitch = (real(name, value) for name, value in given.items())
    if pitch == 0:
        raise ValueError("z_step is 0")
    steps = (last - first) / pitch
    if steps < 0:
        raise ValueError(f"z_step {pitch:g} leads away from z_end: it must have the other sign to go from {first:g} to {last:g}")
    whole = round(steps)
    exact = abs(steps - whole) < 1e-6  # of a step: far below what any stage resolves, far above rounding
    if half_open:
        count = whole if exact else math.floor(steps) + 1
        if count < 1:
            raise ValueError("the half-open range from z_start to z_end has no slice")
        return tuple(first + i * pitch for i in range(count))
    slices = [first + i * pitch for i in range((whole if exact else math.floor(steps)) + 1)]
    if exact:
        slices[-1] = last
    limit = min if pitch > 0 else max
    return tuple(limit(value, last) for value in slices)


def stacks(
    offsets: tuple[float, ...] | None, position_z: tuple[float, ...] | None, z_positions: object, count: int | None
) -> tuple[tuple[float, ...], ...] | None:
    """Return the slices: one row that is true for all positions, or a row for each of them."""
    if z_positions is not None:
        if position_z is not None:
            raise ValueError("z_positions and xyz_positions are both given; give one of them")
        if count is None:
            raise ValueError("z_positions is given without xy_positions")
        try:
            array = np.asarray(z_positions, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"z_positions must be an array of numbers of shape (N,) or (N, M): {error}") from None
        if array.ndim not in (1, 2) or not array.size:
            raise ValueError(f"z_positions must have the shape (N,) or (N, M), not {array.shape}")
        if len(array) != count:
            raise ValueError(f"z_positions has {len(array)} rows for {count} positions; it needs one for each")
        if not np.isfinite(array).all():
            raise ValueError("z_positions has a number that is not finite")
        if array.ndim == 2:
            if offsets is not None:
                raise ValueError("z_positions with all slices and a range of z_start, z_end and z_step are both given; give one of them")
            return tuple(map(tuple, array.tolist()))
        position_z = tuple(array.tolist())
    if position_z is None:
        return None if offsets is None else (offsets,)
    return tuple(tuple(z + offset for offset in offsets or (0.0,)) for z in position_z)
