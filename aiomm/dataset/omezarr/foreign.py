"""Read OME-Zarr through zarr-python: what others wrote (0.4 and 0.5), and the reduced levels of what aiomm wrote.

zarr-python works on a loop of its own; these methods wait for it, like all of `Dataset`'s synchronous ones.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff.format import load_json
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.frames import INDEX_NAME, parse_log
from aiomm.errors import ClosedError, DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aiomm.dataset.omezarr.store import ShardStore
    from aiomm.dataset.storage import Axes

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


@dataclass(frozen=True)
class Source:
    """One array: where, and which of its dimensions are y and x."""

    path: str
    dimensions: tuple[str, ...]

    @property
    def yx(self) -> tuple[int, int]:
        return self.dimensions.index("y"), self.dimensions.index("x")


@dataclass
class Arrays:
    """Arrays opened when first read; can be pickled.

    Attributes
    ----------
    root : Path
        Folder of the dataset.
    sources : list of Source
        The arrays.
    """

    root: Path
    sources: list[Source]
    _open: dict[int, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> Any:
        return self.root, self.sources

    def __setstate__(self, state: Any) -> None:
        self.root, self.sources = state
        self._open = {}

    def get(self, number: int) -> Any:
        """The array of a number.

        Raises
        ------
        DatasetFormatError
            It is not there, or damaged.
        """
        array = self._open.get(number)
        if array is None:
            import zarr  # slow to import, and seldom needed

            path = self.root / self.sources[number].path
            try:
                array = self._open[number] = zarr.open_array(str(path), mode="r")
            except Exception as error:  # zarr-python's, and those of the files below it
                raise DatasetFormatError(f"{path}: cannot be opened as a Zarr array: {type(error).__name__}: {error}") from None
        return array

    def image_shape(self, number: int, at: tuple[Any, ...]) -> tuple[int, ...]:
        """Shape of one image, colours last."""
        shape, source = self.get(number).shape, self.sources[number]
        colours = [part.stop - part.start for part in at if isinstance(part, slice)]
        return (shape[source.yx[0]], shape[source.yx[1]], *colours)

    def read(self, number: int, at: tuple[Any, ...], window: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
        """Read a window of one image. ``at`` has the other dimensions' indices, in order; a slice is of colours."""
        source, array = self.sources[number], self.get(number)
        y, x = source.yx
        rest = iter(at)
        parts = tuple(window[0] if i == y else window[1] if i == x else next(rest) for i in range(len(source.dimensions)))
        try:
            image = np.asarray(array[parts])
        except Exception as error:
            raise DatasetFormatError(f"{self.root / source.path}: image {at} cannot be read: {type(error).__name__}: {error}") from None
        kept = [i for i, part in enumerate(parts) if isinstance(part, slice)]
        order = [kept.index(y), kept.index(x), *(n for n, i in enumerate(kept) if i not in (y, x))]
        return np.ascontiguousarray(image.transpose(order))


class ZarrStore:
    """The images of arrays.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    summary : dict
        Its summary metadata.
    index : Index
        Axes of the rows.
    sources : list of Source
        The arrays.
    numbers : list of int
        Array of each row.
    places : list of tuple
        Indices of each row in its array, without y and x; see `Arrays.read`.
    finished : bool
        Whether nothing more will be written.
    frames : ShardStore, optional
        Where the rows' metadata is; others' datasets have none.
    """

    def __init__(
        self,
        root: Path,
        summary: dict[str, Any],
        index: Index,
        sources: list[Source],
        numbers: list[int],
        places: list[tuple[Any, ...]],
        *,
        frames: ShardStore | None = None,
    ) -> None:
        self.path: Path = root
        self.summary = summary
        self.index = index
        self._arrays = Arrays(root, sources)
        self._numbers = numbers
        self._places = places
        self._frames = frames
        self._closed = False

    @property
    def finished(self) -> bool:
        """Others' datasets do not say; they are taken for finished."""
        return self._frames is None or self._frames.finished

    def shape_of(self, row: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        number = self._numbers[row]
        return self._arrays.image_shape(number, self._places[row]), self._arrays.get(number).dtype

    def bit_depth_of(self, row: int) -> int:
        return 8 * int(self.shape_of(row)[1].itemsize) if self._frames is None else self._frames.bit_depth_of(row)

    def read(self, row: int) -> np.ndarray:
        if self._closed:
            raise ClosedError(f"the dataset {self.path} was closed")
        return self._arrays.read(self._numbers[row], self._places[row])

    def view(self, row: int) -> np.ndarray:
        image = self.read(row)  # chunks may be compressed, so there is nothing to map
        image.flags.writeable = False
        return image

    def metadata(self, row: int) -> dict[str, Any]:
        return {"Axes": self.index.axes_of(row)} if self._frames is None else self._frames.metadata(row)

    def differing(self, rows: np.ndarray) -> int:
        kinds: dict[int, Any] = {}
        first = self.shape_of(int(rows[0]))
        for row in rows.tolist():
            number = self._numbers[row]
            if number not in kinds:
                kinds[number] = self.shape_of(row)
            if kinds[number] != first:
                return int(row)
        return -1

    def blocks(self, rows: np.ndarray) -> ZarrBlocks:
        chosen = rows.tolist()
        return ZarrBlocks(self._arrays, [self._numbers[row] for row in chosen], [self._places[row] for row in chosen])

    def close(self) -> None:
        self._closed = True
        if self._frames is not None:
            self._frames.close()


@dataclass
class ZarrBlocks:
    """Reads many images into one array; can be pickled."""

    arrays: Arrays
    numbers: list[int]
    places: list[tuple[Any, ...]]

    def read_into(self, rows: list[int], out: np.ndarray, window: tuple[slice, slice]) -> None:
        for i, row in enumerate(rows):
            if row >= 0:
                out[i] = self.arrays.read(self.numbers[row], self.places[row], window)


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
    levels = 1 if full_res_only else min(len(paths) for _, _, _, paths, _ in images)
    return [_open_level(root, images, level) for level in range(levels)]


_Image = tuple["Axes", str, tuple[str, ...], list[str], list[str]]
"""Axes that choose it, path, dimensions, paths of its levels, names of its channels."""


def _open_level(root: Path, images: list[_Image], level: int) -> ZarrStore:
    sources = [Source(f"{path}/{levels[level]}" if path else levels[level], dimensions) for _, path, dimensions, levels, _ in images]
    arrays = Arrays(root, sources)
    axes: list[Axes] = []
    numbers: list[int] = []
    places: list[tuple[Any, ...]] = []
    labelled = _labelled(arrays, images)
    called = _names_of(images)
    for number, (place, _, dimensions, _, labels) in enumerate(images):
        shape = arrays.get(number).shape
        if len(shape) != len(dimensions):
            raise DatasetFormatError(f"{root / sources[number].path}: {len(shape)} dimensions, but its image has axes {dimensions}")
        leading = [(name, length) for name, length in zip(dimensions, shape, strict=True) if name not in ("y", "x")]
        if math.prod(length for _, length in leading) + len(axes) > _MOST_ROWS:
            raise DatasetFormatError(f"{root / sources[number].path}: {shape} are more than {_MOST_ROWS} images")
        values: list[Any] = [labels if name == "c" and labelled else range(length) for name, length in leading]
        names = [called[name] for name, _ in leading]
        axes += [{**place, **dict(zip(names, at, strict=True))} for at in itertools.product(*values)]
        found = list(itertools.product(*(range(length) for _, length in leading)))
        places += found
        numbers += [number] * len(found)
    index = Index.from_axes(axes)
    if len(index.winners()) < len(index):
        raise DatasetFormatError(f"{root}: it lists an image twice, or two of one name; which of them is meant cannot be said")
    return ZarrStore(root, {"ome": attributes_of(root) or {}}, index, sources, numbers, places)


def _names_of(images: list[_Image]) -> dict[str, str]:
    """Give each dimension the name of an axis: ours for t and c, where no other one has it, and another one than what chooses images."""
    dimensions = dict.fromkeys(name for _, _, names, _, _ in images for name in names)
    taken = {name for place, *_ in images for name in place}
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
    for number, (_, _, dimensions, _, labels) in enumerate(images):
        if "c" in dimensions:
            count = arrays.get(number).shape[dimensions.index("c")]
            if len(labels) != count or len(set(labels)) != count:
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
    return place, path, dimensions, levels, [label for label in labels if isinstance(label, str)]


def open_levels(store: ShardStore) -> list[ZarrStore]:
    """Open the reduced levels of a dataset that aiomm wrote: those that every image lists, each with the same rows."""
    listed = [_image(store.path, plan.path, {})[3] for plan in store.images]
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
        levels.append(ZarrStore(store.path, store.summary, store.index, sources, numbers, places, frames=store))
    return levels
