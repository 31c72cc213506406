"""The JSON of OME-Zarr 0.5: groups, arrays, images, series, plates. Pure dicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.calibration import origins_in
from aiomm.dataset.numbers import finite, positive
from aiomm.dataset.omezarr.layout import ImagePlan, parse_well

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiomm.dataset.omezarr.layout import AxisSlots
    from aiomm.dataset.storage import Axes

VERSION: Final = "0.5"
FILE: Final = "zarr.json"
KEY: Final = "aiomm"
"""Attribute of the root with what OME-Zarr has no place for."""
_COLORS = ("00FF00", "FF0000", "0000FF", "FF00FF", "00FFFF", "FFFF00")
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


@dataclass
class Scales:
    """Physical sizes: of a pixel and a z step in µm, of a time step in s; None where unknown.

    ``origins`` has where image groups begin, by their paths, then by the names of their dimensions. Of channels that are numbers,
    ``listed`` has the names by number, ``channels`` by their place along the axis.
    """

    pixel: float | None = None
    z: float | None = None
    time: float | None = None
    origins: dict[str, dict[str, float]] = field(default_factory=dict)
    listed: list[Any] = field(default_factory=list)
    channels: dict[int, str] = field(default_factory=dict)

    @classmethod
    def from_summary(cls, summary: Mapping[str, Any]) -> Scales:
        """Take what a summary says, in the words of Micro-Manager."""
        interval = positive(summary.get("Interval_ms"))
        z = finite(summary.get("z-step_um", summary.get("z_step_um")))
        listed = summary.get("ChNames")
        return cls(
            listed=listed if isinstance(listed, list) else [],
            pixel=positive(summary.get("PixelSize_um", summary.get("PixelSizeUm"))),
            z=positive(abs(z)) if z is not None else None,  # a stack that goes down has a negative one
            time=None if interval is None else interval / 1000,
        )


@dataclass
class Steps:
    """Learns the steps of z and time, and where groups begin, from the metadata of their images."""

    scales: Scales
    _first: dict[str, tuple[int, float]] = field(default_factory=dict)

    def learn(self, plan: ImagePlan, index: tuple[int, ...], metadata: Mapping[str, Any]) -> None:
        """Look at an image's metadata; does nothing for what is known."""
        names = plan.names
        if plan.path not in self.scales.origins:
            self.scales.origins[plan.path] = {name[0]: at for name, at in origins_in(metadata).items()}  # time is t
        if "channel" in names and (at_channel := index[names.index("channel")]) not in self.scales.channels and "Channel" in metadata:
            self.scales.channels[at_channel] = str(metadata["Channel"])
        for name, keys, unit in (("z", ("ZPosition_um_Intended", "ZPosition_um"), 1.0), ("time", ("ElapsedTime-ms",), 1000.0)):
            if name not in names or getattr(self.scales, name) is not None:
                continue
            value = next((value for key in keys if (value := finite(metadata.get(key))) is not None), None)
            at = index[names.index(name)]
            if value is None:
                continue
            first = self._first.setdefault(name, (at, value))
            if at != first[0]:
                setattr(self.scales, name, positive(abs((value - first[1]) / (at - first[0])) / unit))


def group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Make ``zarr.json`` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def array(plan: ImagePlan, shape: Sequence[int]) -> dict[str, Any]:
    """Make ``zarr.json`` of a sharded array; a chunk is one image."""
    names = plan.dimensions
    chunk = [1] * (len(names) - 2) + list(plan.shape[:2])
    lengths = dict(zip(plan.names, plan.box, strict=True))
    shard = [lengths.get(axis, 1) for axis in plan.leading] + list(plan.shape[:2])
    codecs: list[dict[str, Any]] = []
    if plan.rgb:  # colours are the axis c, but the bytes of a pixel stay together
        c = names.index("c")
        chunk[c] = 3
        shard[c] *= 3
        codecs.append({"name": "transpose", "configuration": {"order": [*(i for i in range(len(names)) if i != c), c]}})
    data_type = str(plan.dtype)
    codecs.append({"name": "bytes"} if data_type == "uint8" else {"name": "bytes", "configuration": {"endian": "little"}})
    sharding = {
        "chunk_shape": chunk,
        "codecs": codecs,
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "start",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": list(names),
        "attributes": {},
    }


def parse_array(content: Any, number: int, path: str, place: Axes, names: tuple[str, ...]) -> ImagePlan | None:
    """Read ``zarr.json`` of the full array of a group with these axes; None if it is not as `array` makes it."""
    try:
        sharding = content["codecs"][0]["configuration"]
        chunk, shard = sharding["chunk_shape"], content["chunk_grid"]["configuration"]["chunk_shape"]
        colours = (3,) if sharding["codecs"][0]["name"] == "transpose" else ()
        dtype = np.dtype(content["data_type"])
        if dtype not in (np.uint8, np.uint16) or not all(type(n) is int and 0 < n < 2**40 for n in (*chunk, *shard)):
            return None
        plan = ImagePlan(number, path, place, names, (*chunk[-2:], *colours), dtype, (), 8 * dtype.itemsize)
        lengths = dict(zip(plan.leading, shard, strict=False))
        if colours:
            lengths["channel"] //= 3
        plan.box = tuple(lengths[name] for name in names)
        return plan if array(plan, content["shape"]) == content else None
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def image(plan: ImagePlan, extents: Sequence[int], slots: Mapping[str, AxisSlots], scales: Scales) -> dict[str, Any]:
    """Make the ``ome`` attribute of an image group, with full resolution alone.

    Parameters
    ----------
    plan, extents
        The group and its lengths along its names.
    slots
        Values along the axes.
    scales
        Physical sizes, where groups begin, names of channels.
    """
    sizes: dict[str, float | None] = dict.fromkeys(plan.dimensions)
    sizes.update(t=scales.time, z=scales.z, y=scales.pixel, x=scales.pixel)
    axes: list[dict[str, str]] = []
    for name in plan.dimensions:
        axis = {"name": name, "type": _TYPES.get(name, "other")}
        if sizes[name] is not None:
            axis["unit"] = "second" if name == "t" else "micrometer"
        axes.append(axis)
    origins = {name: at for name, at in scales.origins.get(plan.path, {}).items() if sizes.get(name) is not None}
    scale = [sizes[name] or 1.0 for name in plan.dimensions]
    moves = transformations(plan.dimensions, scale, [origins.get(name, 0.0) for name in plan.dimensions])
    full = {"path": "0", "coordinateTransformations": moves}
    ome: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [{"name": image_name(plan), "axes": axes, "datasets": [full]}],
    }
    if "c" in plan.dimensions:
        ome["omero"] = {"channels": _channels(plan, extents, slots, scales), "rdefs": {"model": "color"}}
    return ome


def transformations(dimensions: Sequence[str], scale: Sequence[float], origin: Sequence[float], factor: int = 1) -> list[dict[str, Any]]:
    """Make the coordinateTransformations of a level whose pixels are means of ``factor`` by ``factor``, from those of full resolution."""
    across = [name in ("y", "x") for name in dimensions]
    sizes = [size * (factor if pixel else 1) for size, pixel in zip(scale, across, strict=True)]
    begins = [at + (size * (factor - 1) / 2 if pixel else 0.0) for at, size, pixel in zip(origin, scale, across, strict=True)]
    moves: list[dict[str, Any]] = [{"type": "scale", "scale": sizes}]
    return [*moves, {"type": "translation", "translation": begins}] if any(begins) else moves


def image_name(plan: ImagePlan) -> str:
    """What people call an image: its position, or all that chose it."""
    if set(plan.place) == {"position"}:
        return str(plan.place["position"])
    return " ".join(f"{name} {value}" for name, value in plan.place.items()) or "image"


def _channels(plan: ImagePlan, extents: Sequence[int], slots: Mapping[str, AxisSlots], scales: Scales) -> list[dict[str, Any]]:
    count = dict(zip(plan.names, extents, strict=True)).get("channel", 1)
    values = slots["channel"].values if "channel" in plan.names else [""]
    top = 2**plan.bit_depth - 1
    window = {"min": 0, "max": top, "start": 0, "end": top}
    colours: list[tuple[str, str]] = []
    for i in range(count):
        value = values[i] if i < len(values) else None
        label = str(i if value is None else value)
        if isinstance(value, int):  # before NDTiff 3.2 a channel was a number, and its name stood elsewhere
            label = str(scales.listed[value]) if 0 <= value < len(scales.listed) else scales.channels.get(i, label)
        if plan.rgb:
            colours += [(f"{label} {name}".strip(), color) for name, color in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))]
        else:
            colours.append((label, _COLORS[i % len(_COLORS)] if count > 1 else "FFFFFF"))
    return [{"label": label, "color": color, "active": True, "window": dict(window)} for label, color in colours]


def well(images: Sequence[ImagePlan]) -> dict[str, Any]:
    """Make the ``ome`` attribute of a well from its fields."""
    return {"version": VERSION, "well": {"images": [{"path": plan.path.rsplit("/", 1)[1]} for plan in images]}}


def plate(name: str, images: Sequence[ImagePlan]) -> dict[str, Any]:
    """Make the ``ome`` attribute of a plate from all its fields."""
    fields: dict[tuple[str, str], int] = {}
    for plan in images:
        place = parse_well(plan.place.get("position"))
        if place is not None:
            fields[place] = fields.get(place, 0) + 1
    rows = sorted({row for row, _ in fields}, key=lambda row: (len(row), row))
    columns = sorted({column for _, column in fields}, key=lambda column: (int(column), column))
    wells = [
        {"path": f"{row}/{column}", "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
        for row, column in sorted(fields, key=lambda key: (rows.index(key[0]), columns.index(key[1])))
    ]
    return {
        "version": VERSION,
        "plate": {
            "name": name,
            "rows": [{"name": row} for row in rows],
            "columns": [{"name": column} for column in columns],
            "wells": wells,
            "version": VERSION,
            "field_count": max(fields.values(), default=1),
        },
    }


def series_root() -> dict[str, Any]:
    """Make the ``ome`` attribute of a root with one image group per position."""
    return {"version": VERSION, "bioformats2raw.layout": 3}


def series(images: Sequence[ImagePlan]) -> dict[str, Any]:
    """Make the ``ome`` attribute of the group ``OME`` that lists them."""
    return {"version": VERSION, "series": [plan.path for plan in images]}


def own(summary: Mapping[str, Any], slots: Mapping[str, AxisSlots], levels: int | None) -> dict[str, Any]:
    """Make the attribute with what OME-Zarr has no place for: the levels that are wanted, the summary, the values along t, c and z."""
    values = {name: list(one.values) for name, one in slots.items() if not one.plain}
    return with_levels({"version": 1, "summary": dict(summary), "axis_values": values}, levels)


def with_levels(own: Mapping[str, Any], levels: int | None) -> dict[str, Any]:
    """Say how many reduced levels are wanted (see `pyramid.level_shapes`), before the summary: a torn file most likely says it still."""
    rest = {key: value for key, value in own.items() if key not in ("version", "levels")}
    return {"version": own.get("version", 1), **({} if levels == 0 else {"levels": levels}), **rest}
