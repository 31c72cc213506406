"""Where an image goes: axes -> image group, index in its array, shard, chunk. Pure; knows no files.

An image group holds what has the same position, size, type, and the same axes. Time, channel and z become the array's axes
t, c and z. OME-Zarr has room for one axis of another kind, in the place of the channel: an image without channel may have
one (an angle, a shot). All other axes (position, row, column, a second angle) choose the group.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.omezarr.shard import MOST_CHUNKS

if TYPE_CHECKING:
    import numpy as np

    from aiomm.dataset.storage import Axes

DIMENSIONS: Final = {"time": "t", "channel": "c", "z": "z"}
"""Axes of a dataset that are axes of an array, in the array's order."""
PLACES: Final = frozenset({"position", "row", "column"})
"""Axes that are never axes of an array."""
SHARD_BYTES: Final = 64 * 2**20
AHEAD: Final = 1024
NEAR: Final = 16
"""How far beyond the end of an array an integer may stand at its own number: on time and z, and on other axes."""
_MOST_Z, _MOST_CHANNELS = 16, 4
_WELL = re.compile(r"([A-Z]{1,2})(\d{1,2})(?:[-_ ].*)?")


class AxisSlots:
    """Where the values of an axis stand along an array.

    A string stands where it first came. An integer stands at its own number if that is free and not far beyond the end, so
    that time 7 is at 7 even if it comes first; a negative or far one stands after the last.
    """

    def __init__(self, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self.values: list[int | str | None] = []
        self._slots: dict[int | str, int] = {}

    def slot(self, value: int | str) -> int:
        """Find the place of a value; a new one gets one."""
        at = self._slots.get(value)
        if at is None:
            at = self.next(value)
            self.put(value, at)
        return at

    def next(self, value: int | str) -> int:
        """Find the place that a new value will get."""
        end = len(self.values)
        if isinstance(value, int) and 0 <= value < end + self._ahead and (value >= end or self.values[value] is None):
            return value
        return end

    def put(self, value: int | str, at: int) -> None:
        """Give a value the place that it has."""
        self.values += [None] * (at + 1 - len(self.values))
        self.values[at] = value
        self._slots[value] = at

    def get(self, value: int | str) -> int | None:
        """Find the place of a value; None if it has none."""
        return self._slots.get(value)

    @property
    def plain(self) -> bool:
        """Whether each value is its own place."""
        return all(value is None or value == at for at, value in enumerate(self.values))


def in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort the axes of an array: time, channel or what stands in its place, z."""
    return tuple(sorted(names, key=lambda name: {"time": 0, "z": 2}.get(name, 1)))


def dimension(name: str) -> str:
    """Name in the array of a dataset's axis."""
    return DIMENSIONS.get(name, f"{name}_axis" if name in ("t", "c", "z", "y", "x") else name)


def shard_box(names: tuple[str, ...], chunk_bytes: int, shard_bytes: int) -> tuple[int, ...]:
    """How many images a shard has along each axis. Nobody knows which axis will move fastest, so it has some of each."""
    budget = max(1, min(MOST_CHUNKS, shard_bytes // chunk_bytes))
    box = dict.fromkeys(names, 1)
    left = budget
    if len(names) > 1 and "z" in box:
        box["z"] = min(left, _MOST_Z)
        left //= box["z"]
    middle = next((name for name in names if name not in ("time", "z")), None)
    if len(names) > 1 and middle is not None:
        box[middle] = min(left, _MOST_CHANNELS)
        left //= box[middle]
    if names:
        box[names[0]] *= max(1, left)
    return tuple(box.values())


@dataclass(eq=False)
class ImagePlan:
    """An image group and its array.

    Attributes
    ----------
    number : int
        In order of appearance.
    path : str
        Of the group, from the root; empty if it is the root.
    place : dict
        The axes that chose it, and their values.
    names : tuple of str
        Which of time, channel (or another axis in its place) and z it has.
    shape : tuple of int
        Of one image: (y, x) or (y, x, 3).
    dtype : numpy.dtype
        Of the pixels.
    box : tuple of int
        Images per shard along each of ``names``.
    bit_depth : int
        Significant bits of the first image.
    extents : list of int
        Length along each of ``names``, as the array's metadata on disk says.
    """

    number: int
    path: str
    place: Axes
    names: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    box: tuple[int, ...]
    bit_depth: int
    extents: list[int] = field(default_factory=list)
    level: int = 0

    @property
    def chunks(self) -> int:
        """Images per shard."""
        return math.prod(self.box)

    @property
    def image_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def rgb(self) -> bool:
        return len(self.shape) == 3

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the array's axes."""
        return (*(dimension(name) for name in self.leading), "y", "x")

    @property
    def leading(self) -> tuple[str, ...]:
        """The dataset's axes that are axes of the array, in order; channel also for colours."""
        return in_order((*self.names, "channel") if self.rgb and "channel" not in self.names else self.names)

    def array_shape(self, extents: list[int]) -> tuple[int, ...]:
        """Shape of the array for lengths along ``names``; colours stand along c."""
        lengths = dict(zip(self.names, extents, strict=True))
        if self.rgb:
            lengths["channel"] = 3 * lengths.get("channel", 1)
        return (*(lengths[axis] for axis in self.leading), *self.shape[:2])

    def shard_of(self, index: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Shard of an image, and its chunk there."""
        key, chunk = [], 0
        for at, length in zip(index, self.box, strict=True):
            key.append(at // length)
            chunk = chunk * length + at % length
        return tuple(key), chunk

    def shard_path(self, key: tuple[int, ...]) -> str:
        """Path of a shard's file from the root."""
        where = dict(zip(self.names, key, strict=True))
        parts = [str(where.get(axis, 0)) for axis in self.leading]
        return "/".join([*([self.path] if self.path else []), str(self.level), "c", *parts, "0", "0"])


def parse_well(name: object) -> tuple[str, str] | None:
    """Row and column of a position named like a well, such as ``A1``, ``B12-Site_0`` or ``C03_2``."""
    match = _WELL.fullmatch(name) if isinstance(name, str) else None
    return (match[1], match[2]) if match and int(match[2]) else None


def split_axes(axes: Axes, *, grey: bool) -> tuple[tuple[str, ...], tuple[tuple[str, int | str], ...]]:
    """Tell the axes of an image's array from those that choose its group."""
    names = tuple(name for name in DIMENSIONS if name in axes)
    if len(names) != len(axes) and "channel" not in axes and grey:
        custom = min((name for name in axes if name not in DIMENSIONS and name not in PLACES), default=None)
        names = names if custom is None else in_order((*names, custom))
    if len(names) == len(axes):
        return names, ()
    return names, tuple((name, value) for name, value in sorted(axes.items()) if name not in names)


def parent_of(kind: str, place: Axes) -> str:
    """Path of what a new group comes into; its own name there is the next free number."""
    if kind != "plate":
        return "extra" if kind == "image" else ""
    well = parse_well(place.get("position"))
    return "extra" if well is None else f"{well[0]}/{well[1]}"


def new_slots(name: str) -> AxisSlots:
    """Make the places along an axis."""
    return AxisSlots(AHEAD if name in ("time", "z") else NEAR)


class Layout:
    """Chooses groups for images as they come.

    Parameters
    ----------
    plate : bool or None
        Whether positions are wells of a plate; None asks the name of the first.
    shard_bytes : int
        A shard's pixels take at most this much, if an image does not take more.

    Attributes
    ----------
    kind : {"image", "series", "plate"} or None
        What the root is; None before the first image.
    """

    def __init__(self, *, plate: bool | None = None, shard_bytes: int = SHARD_BYTES) -> None:
        self._plate = plate
        self._shard_bytes = shard_bytes
        self.kind: str | None = None
        self.images: list[ImagePlan] = []
        self.slots: dict[str, AxisSlots] = {}
        self._found: dict[Any, ImagePlan] = {}
        self._counts: dict[str, int] = {}

    def place(self, axes: Axes, pixels: np.ndarray, bit_depth: int | None) -> tuple[ImagePlan, tuple[int, ...]]:
        """Find the group of an image and its index there; plan what is new."""
        names, others = split_axes(axes, grey=pixels.ndim == 2)
        key = (others, names, pixels.shape, pixels.dtype.itemsize)
        plan = self._found.get(key)
        if plan is None:
            box = shard_box(names, pixels.nbytes, self._shard_bytes)
            depth = int(bit_depth or 8 * pixels.dtype.itemsize)
            path = self._new_path(dict(others))
            plan = ImagePlan(len(self.images), path, dict(others), names, pixels.shape, pixels.dtype, box, depth, [0] * len(names))
            self.images.append(plan)
            self._found[key] = plan
            for name in names:
                self.slots.setdefault(name, new_slots(name))
        return plan, tuple(self.slots[name].slot(axes[name]) for name in names)

    def find(self, plan: ImagePlan, axes: Axes) -> tuple[int, ...]:
        """Index of an image that was placed before; for any thread."""
        return tuple(self.slots[name].slot(axes[name]) for name in plan.names)

    def _new_path(self, place: Axes) -> str:
        if self.kind is None:
            well = parse_well(place.get("position"))
            if self._plate and well is None:
                self.kind = "series"
            else:
                wells = well is not None and self._plate is not False
                self.kind = "plate" if wells else "series" if place else "image"
            if self.kind == "image":
                return ""
        parent = parent_of(self.kind, place)
        number = self._counts.get(parent, 0)
        self._counts[parent] = number + 1
        return f"{parent}/{number}" if parent else str(number)
