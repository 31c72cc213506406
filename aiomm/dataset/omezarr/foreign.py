"""Open OME-Zarr by its metadata: what others wrote (0.4 and 0.5), and the reduced levels of what aiomm wrote."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from aiomm.dataset.boxes import Box, BoxIndex
from aiomm.dataset.ndtiff.format import load_json
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.arrays import Arrays, Computed, Listed, Source, ZarrStore
from aiomm.dataset.omezarr.frames import INDEX_NAME, parse_log
from aiomm.dataset.omezarr.sizes import Along, common_sizes, origins_of, sizes_of, summary_of
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aiomm.dataset.omezarr.store import ShardStore
    from aiomm.dataset.storage import Axes

_log = logging.getLogger("aiomm")

_NAMES = {"t": "time", "c": "channel"}
_MOST_ROWS = 20_000_000
_KEYS = ("multiscales", "plate", "bioformats2raw.layout")


def attributes_of(path: Path) -> dict[str, Any] | None:
    """Read the OME attributes of a group, of either version; None if it has none.

    Raises
    ------
    DatasetFormatError
        The file with them is damaged.
    """
    for name in (ome.FILE, ".zattrs"):
        file = path / name
        try:
            content = load_json(file.read_bytes())
            found = content.get("attributes", {}).get("ome") if name == ome.FILE else content
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise DatasetFormatError(f"{file}: cannot be read: {error}") from None
        if isinstance(found, dict):
            return found
    return None


def is_ome_zarr(path: Path) -> bool:
    """Whether a folder is an OME-Zarr image, plate, or series of images."""
    try:
        found = attributes_of(path)
    except DatasetFormatError:
        return (path / ome.FILE).is_file()
    return found is not None and any(key in found for key in _KEYS)


def open_foreign(root: Path, full_res_only: bool) -> list[ZarrStore]:
    """Open an OME-Zarr dataset that others wrote: its resolution levels, full resolution first.

    Raises
    ------
    DatasetFormatError
        It cannot be read; the message names the group or the array.
    """
    images = list(_images(root))
    if not images:
        raise DatasetFormatError(f"{root}: it is OME-Zarr, but has no image")
    levels = 1 if full_res_only else min(len(image.levels) for image in images)
    return [_open_level(root, images, level) for level in range(levels)]


class _Image(NamedTuple):
    place: Axes
    """Axes that choose it."""
    path: str
    dimensions: tuple[str, ...]
    levels: list[str]
    """Paths of its levels."""
    labels: list[str]
    """Names of its channels."""
    multiscale: dict[str, Any]


def _open_level(root: Path, images: list[_Image], level: int) -> ZarrStore:
    paths = [f"{image.path}/{image.levels[level]}" if image.path else image.levels[level] for image in images]
    sources = [Source(path, image.dimensions) for path, image in zip(paths, images, strict=True)]
    arrays = Arrays(root, sources)
    boxes: list[Box] = []
    labelled = _labelled(arrays, images)
    called = _names_of(images)
    count = 0
    for number, image in enumerate(images):
        shape, dimensions = arrays.get(number).shape, image.dimensions
        if len(shape) != len(dimensions):
            raise DatasetFormatError(f"{root / sources[number].path}: {len(shape)} dimensions, but its image has axes {dimensions}")
        lengths = {called[name]: length for name, length in zip(dimensions, shape, strict=True) if name not in ("y", "x")}
        boxes.append(Box(image.place, lengths, {called["c"]: image.labels} if "c" in dimensions and labelled else {}))
        count += boxes[-1].count
        if count > _MOST_ROWS:
            raise DatasetFormatError(f"{root / sources[number].path}: {shape} are more than {_MOST_ROWS} images")
    try:
        index = BoxIndex(boxes)
    except ValueError as error:
        raise DatasetFormatError(f"{root}: {error}") from None
    read = [_sizes(image, level) for image in images]
    sizes = [found for found, _ in read]
    odd = [path for path, (_, told) in zip(paths, read, strict=True) if not told]
    if odd:
        also = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        _log.warning(
            "%s: where %s%s begins is not known: its translation cannot be read as a finite number for each axis", root, odd[0], also
        )
    summary = {**summary_of(sizes, None if level else root), "ome": attributes_of(root) or {}}
    places = Computed([box.shape for box in boxes])
    return ZarrStore(root, summary, index, sources, places, sizes=common_sizes(sizes)[0], told=origins_of(sizes))


def _sizes(image: _Image, level: int) -> tuple[dict[str, Along | None], bool]:
    try:
        return sizes_of(image.multiscale, level)
    except (TypeError, AttributeError, ValueError):  # not as the format has them: images are of use without
        return {}, True


def _names_of(images: list[_Image]) -> dict[str, str]:
    """Give each dimension the name of an axis: ours for t and c, where no other one has it, and another one than what chooses images."""
    dimensions = dict.fromkeys(name for image in images for name in image.dimensions)
    taken = {name for image in images for name in image.place}
    called: dict[str, str] = {}
    for name in dimensions:
        axis = _NAMES.get(name, name)
        if axis != name and axis in dimensions:
            axis = name
        while axis in taken:
            axis += "_"
        called[name] = axis
        taken.add(axis)
    return called


def _labelled(arrays: Arrays, images: list[_Image]) -> bool:
    """Whether every image with channels names each of them, each differently."""
    for number, image in enumerate(images):
        if "c" in image.dimensions:
            count = arrays.get(number).shape[image.dimensions.index("c")]
            if len(image.labels) != count or len(set(image.labels)) != count:
                return False
    return True


def _images(root: Path) -> Iterable[_Image]:
    attributes = attributes_of(root) or {}
    if "plate" in attributes:
        for path in _listed(attributes["plate"], "wells", root):
            for one in _listed((attributes_of(root / path) or {}).get("well"), "images", root / path):
                yield _image(root, f"{path}/{one}", {"position": f"{path.replace('/', '')}-{one}"})
    elif "multiscales" in attributes:
        yield _image(root, "", {})
    else:
        series = (attributes_of(root / "OME") or {}).get("series")
        if not isinstance(series, list):
            series = [str(n) for n in itertools.takewhile(lambda n: (root / str(n)).is_dir(), itertools.count())]
        for number, path in enumerate(series):
            yield _image(root, str(path), {"position": number})


def _listed(holder: Any, key: str, where: Path) -> list[str]:
    try:
        return [str(one["path"]) for one in holder[key]]
    except (KeyError, TypeError):
        raise DatasetFormatError(f"{where}: its attributes do not list {key} with their paths") from None


def _image(root: Path, path: str, place: Axes) -> _Image:
    attributes = attributes_of(root / path) or {}
    try:
        multiscale = attributes["multiscales"][0]
        axes = multiscale.get("axes", ["t", "c", "z", "y", "x"])
        dimensions = tuple(str(axis["name"] if isinstance(axis, dict) else axis) for axis in axes)
        levels = [str(one["path"]) for one in multiscale["datasets"]]
        if not levels or len(set(dimensions)) != len(dimensions) or not {"y", "x"} <= set(dimensions):
            raise ValueError(f"axes {dimensions}, levels {levels}")
        outside = [level for level in (path, *levels) if level.startswith("/") or ".." in level.split("/")]
        if outside:
            raise ValueError(f"path {outside[0]!r} leads out of the folder")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise DatasetFormatError(f"{root / path}: no OME-Zarr image: {type(error).__name__}: {error}") from None
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    labels = [one.get("label") for one in channels if isinstance(one, dict)] if isinstance(channels, list) else []
    return _Image(place, path, dimensions, levels, [label for label in labels if isinstance(label, str)], multiscale)


def open_levels(store: ShardStore) -> list[ZarrStore]:
    """Open the reduced levels of a dataset that aiomm wrote: those that every image lists, each with the same rows."""
    listed = [_image(store.path, plan.path, {}).levels for plan in store.images]
    count = min(map(len, listed), default=1)
    if count <= 1:
        return []
    log = parse_log((store.path / INDEX_NAME).read_bytes(), str(store.path / INDEX_NAME), keep_indexes=True)
    rows = len(store.index)
    numbers = [int(number) for number in log.table()[:rows, 0]]
    places: list[tuple[Any, ...]] = []
    for number, at in zip(numbers, log.indexes, strict=False):
        plan = store.images[number]
        if plan.rgb:
            index = dict(zip(plan.names, at, strict=True))
            c = 3 * index.get("channel", 0)
            places.append(tuple(slice(c, c + 3) if name == "channel" else index[name] for name in plan.leading))
        else:
            places.append(at)
    levels = []
    for level in range(1, count):
        sources = [
            Source(f"{plan.path}/{paths[level]}" if plan.path else paths[level], plan.dimensions)
            for plan, paths in zip(store.images, listed, strict=True)
        ]
        levels.append(ZarrStore(store.path, store.summary, store.index, sources, Listed(numbers, places), frames=store))
    return levels
