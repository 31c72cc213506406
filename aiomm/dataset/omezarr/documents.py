"""Every ``zarr.json`` of full resolution: which there are for these images, and what each must say. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.dataset.omezarr import metadata as ome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiomm.dataset.omezarr.layout import AxisSlots, ImagePlan

Document = dict[str, Any]


def documents(
    name: str,
    plans: Sequence[ImagePlan],
    slots: Mapping[str, AxisSlots],
    scales: ome.Scales,
    summary: Mapping[str, Any],
    levels: int | None,
) -> dict[str, Document]:
    """Make all of a dataset, by the path of their group or array from the root."""
    made: dict[str, Document] = {}
    for plan in plans:
        made[array_path(plan)] = array(plan)
        if plan.path:
            made[plan.path] = image(plan, slots, scales)
    for path in dict.fromkeys(path for plan in plans for path in above(plan)):
        made[path] = listing(path, plans)
    made[""] = root(name, plans, slots, scales, summary, levels)
    return made


def array_path(plan: ImagePlan) -> str:
    """Path of an image's array of full resolution."""
    return f"{plan.path}/0" if plan.path else "0"


def array(plan: ImagePlan) -> Document:
    """Make the array of an image, as long as its plan says."""
    return ome.array(plan, plan.array_shape(plan.extents))


def image(plan: ImagePlan, slots: Mapping[str, AxisSlots], scales: ome.Scales) -> Document:
    """Make the group of an image that is not the root."""
    return ome.group({"ome": _image(plan, slots, scales)})


def above(plan: ImagePlan) -> tuple[str, ...]:
    """Paths of the groups that tell of an image, besides the root; the inner one last."""
    parts = plan.path.split("/")
    if not plan.path:
        return ()
    if parts[0] == "extra":
        return ("extra",)
    return ("OME",) if len(parts) == 1 else (parts[0], "/".join(parts[:2]))


def listing(path: str, plans: Sequence[ImagePlan]) -> Document:
    """Make one of the groups of `above`, which tells of all these images that are in it."""
    if path == "OME":
        return ome.group({"ome": ome.series([plan for plan in plans if above(plan) == ("OME",)])})
    if "/" in path:
        return ome.group({"ome": ome.well([plan for plan in plans if plan.path.startswith(f"{path}/")])})
    return ome.group({})


def root(
    name: str,
    plans: Sequence[ImagePlan],
    slots: Mapping[str, AxisSlots],
    scales: ome.Scales,
    summary: Mapping[str, Any],
    levels: int | None,
) -> Document:
    """Make the root: an image itself, a plate or a series, as the first image that is not extra says."""
    own = {ome.KEY: ome.own(summary, slots, levels)}
    first = next((plan for plan in plans if above(plan) != ("extra",)), None)
    if first is None:
        return ome.group(own)
    if not first.path:
        return ome.group({"ome": _image(first, slots, scales), **own})
    return ome.group({"ome": ome.series_root() if above(first) == ("OME",) else ome.plate(name, plans), **own})


def _image(plan: ImagePlan, slots: Mapping[str, AxisSlots], scales: ome.Scales) -> dict[str, Any]:
    return ome.image(plan, plan.extents, slots, scales)
