"""Whether the metadata of an OME-Zarr dataset says what it must about its images, and whether its levels are whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.pyramid import level_folders, level_shapes, listed_levels
from aiomm.dataset.omezarr.salvage import Shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from aiomm.dataset.omezarr.layout import ImagePlan
    from aiomm.dataset.omezarr.salvage import Row


_TORN_WISH: Final = re.compile(rb'"%s":\s*\{\s*"version":\s*\d+,\s*"levels":\s*(\d{1,9}|null)\b' % ome.KEY.encode())


def says(found: Any, wanted: dict[str, Any]) -> bool:
    """Whether a ``zarr.json`` says what it must; it may say more, as one does that was written while images came."""
    try:
        if wanted["node_type"] == "array":
            same = {**found, "shape": 0, "attributes": 0} == {**wanted, "shape": 0, "attributes": 0}
            return same and all(has >= must for has, must in zip(found["shape"], wanted["shape"], strict=True))
        attributes = found["attributes"]
        own = ome.KEY not in wanted["attributes"] or isinstance(attributes[ome.KEY]["summary"], dict)
        return own and found["node_type"] == "group" and _named(attributes.get("ome", {})) >= _named(wanted["attributes"].get("ome", {}))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return False


def too_long(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether the ``zarr.json`` of an array that says what it must has place for more images: while they come, arrays are longer."""
    return wanted["node_type"] == "array" and bool(found["shape"] != wanted["shape"])


def _named(attribute: Mapping[str, Any]) -> set[Any]:
    """What an ``ome`` attribute tells readers of."""
    named: set[Any] = set()
    for one in attribute.get("multiscales", ())[:1]:
        axes = [axis["name"] for axis in one["axes"]]
        full = one["datasets"][0]
        (scale,) = [step["scale"] for step in full["coordinateTransformations"] if step["type"] == "scale"]
        if len(scale) != len(axes) or not all(isinstance(size, (int, float)) for size in scale):
            raise ValueError(f"scale {scale} of axes {axes}")
        named |= {("level", full["path"]), *(("axis", number, axis) for number, axis in enumerate(axes))}
    named |= {("well", one["path"]) for one in attribute.get("plate", {}).get("wells", ())}
    named |= {("field", one["path"]) for one in attribute.get("well", {}).get("images", ())}
    named |= {("series", path) for path in attribute.get("series", ())}
    return named | ({"layout"} if "bioformats2raw.layout" in attribute else set())


def summary_in(content: bytes) -> dict[str, Any] | None:
    """Read the summary metadata in the root's ``zarr.json``, whole or torn; None if it is not there."""
    try:
        found = json.loads(content)["attributes"][ome.KEY]["summary"]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
        at = content.find(b'"%s"' % ome.KEY.encode())
        at = content.find(b'"summary":', at) if at >= 0 else -1
        if at >= 0:
            try:
                found = json.JSONDecoder().raw_decode(content[at + len(b'"summary":') :].decode("utf-8", "replace").lstrip())[0]
            except (ValueError, RecursionError):
                found = None
    return found if isinstance(found, dict) else None


def levels_in(content: bytes) -> int | None:
    """Read how many reduced levels are wanted in the root's ``zarr.json``, whole or torn; 0 if it does not say so."""
    try:
        wanted = json.loads(content)["attributes"][ome.KEY].get("levels", 0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        torn = _TORN_WISH.search(content)
        wanted = json.loads(torn[1]) if torn is not None else 0
    return wanted if wanted is None or (type(wanted) is int and wanted > 0) else 0


def levels_of(root: Path, plans: Iterable[ImagePlan]) -> int:
    """How many reduced levels a dataset has, or began to have."""
    return max((len(level_folders(root / plan.path)) for plan in plans if (root / plan.path).is_dir()), default=0)


def levels_lack(root: Path, plans: Iterable[ImagePlan], rows: Iterable[Row], count: int | None) -> str:
    """Say what is wrong with the levels of a dataset that should have so many; nothing if they are whole."""
    of_plan: dict[str, list[Row]] = {}
    for row in rows:
        of_plan.setdefault(row.plan.path, []).append(row)
    for full in plans:
        where = root / full.path
        listed = listed_levels(where)
        shapes = level_shapes(full.shape, count)
        if listed != [str(number) for number in range(len(shapes) + 1)]:
            return f"{full.path or root.name} lists {max(0, len(listed) - 1)} of {len(shapes)}"
        for level, shape in enumerate(shapes, 1):
            plan = replace(full, shape=shape, level=level)
            if not says(_parsed(where / str(level) / ome.FILE), ome.array(plan, plan.array_shape(full.extents))):
                return f"{where / str(level) / ome.FILE} is not what it must be"
            shards: dict[str, Shard] = {}
            for row in of_plan.get(full.path, ()):
                key, chunk = plan.shard_of(row.index)
                path = plan.shard_path(key)
                shard = shards.get(path) or shards.setdefault(path, Shard(root / path, plan))
                if shard.offset_of(chunk) is None:
                    return f"{shard.path} lacks images"
    return ""


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
