"""Write a dataset as OME-TIFF, through tifffile: a series for each position, with the axes T, C, Z, Y, X."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset import calibration
from aiomm.dataset.channels import ChannelNames
from aiomm.dataset.encode import encode_json
from aiomm.dataset.numbers import finite, positive
from aiomm.errors import DatasetFormatError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from aiomm.dataset.storage import Axes, Store

_OME = ("time", "channel", "z")
_TYPES = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64", "complex64", "complex128")
SMALL = 2**20
"""Free bytes of a disk that is full: a write that failed may have been larger."""
SIDECAR = ".metadata.ndjson"


def import_tifffile() -> Any:
    """Import tifffile.

    Raises
    ------
    ImportError
        It is not installed.
    """
    try:
        import tifffile
    except ImportError:
        raise ImportError("OME-TIFF is written by tifffile, which is not installed: pip install 'aiomm[ome-tiff]'") from None
    return tifffile


@dataclass(frozen=True, slots=True)
class Series:
    """Images that make one array.

    Attributes
    ----------
    place : dict
        The axes that OME does not have, and their values.
    values : tuple of list
        Along time, channel and z; [None] without that axis.
    grid : numpy.ndarray
        Row of the image at each point, -1 where there is none.
    """

    place: Axes
    values: tuple[list[Any], ...]
    grid: np.ndarray


def series_of(store: Store, rows: list[int]) -> list[Series]:
    """Sort images into series.

    Raises
    ------
    DatasetFormatError
        Images of one series differ in size or type.
    """
    index = store.index
    groups: dict[tuple[tuple[str, int | str], ...], list[tuple[int, Axes]]] = {}
    for row in rows:
        axes = index.axes_of(row)
        groups.setdefault(tuple((name, value) for name, value in axes.items() if name not in _OME), []).append((row, axes))
    types = index.types
    found = []
    for place, members in groups.items():
        values = tuple(_along(axis, [axes.get(axis) for _, axes in members], types.get(axis)) for axis in _OME)
        shape = tuple(map(len, values))
        if math.prod(shape) > max(10_000, 100 * len(members)):
            raise DatasetFormatError(
                f"{len(members)} images lie so far apart that OME-TIFF would need {math.prod(shape)}, most of them empty"
            )
        grid = np.full(shape, -1, np.int64)
        places = [{value: place for place, value in enumerate(along)} for along in values]
        for row, axes in members:
            grid[tuple(place[axes.get(axis)] for place, axis in zip(places, _OME, strict=True))] = row
        odd = store.differing(np.array([row for row, _ in members]))
        if odd >= 0:
            first, other = store.shape_of(members[0][0]), store.shape_of(odd)
            raise DatasetFormatError(
                f"image {index.axes_of(odd)} is {other[0]} {other[1]}, {members[0][1]} is {first[0]} {first[1]}; "
                "they cannot be in one series of an OME-TIFF"
            )
        found.append(Series(dict(place), values, grid))
    return found


def _along(axis: str, values: list[Any], kind: type | None) -> list[Any]:
    """Values along an axis: names in the order first saved, numbers sorted."""
    there = list(dict.fromkeys(values))
    return there if kind is str else sorted(there, key=lambda value: (value is not None, value or 0))


def write(store: Store, rows: list[int], path: Path, told: Callable[[int], None]) -> None:
    """Write the file, and what has no place in it beside it.

    Raises
    ------
    DatasetFormatError
        The images cannot be written as OME-TIFF.
    StorageError
        The file cannot be written.
    """
    tifffile = import_tifffile()
    if not rows:
        raise DatasetFormatError("the dataset has no images, and there is no empty OME-TIFF")
    found = series_of(store, rows)
    for one in found:
        dtype = store.shape_of(int(one.grid.max()))[1]
        if dtype not in _TYPES:
            raise DatasetFormatError(f"images of {dtype} cannot be written as OME-TIFF, which has {', '.join(_TYPES)}")
    done = 0

    def pages(one: Series) -> Iterator[np.ndarray]:
        nonlocal done
        shape, dtype = store.shape_of(int(one.grid.max()))
        empty = np.zeros(shape, dtype)
        for row in one.grid.reshape(-1).tolist():
            yield empty if row < 0 else store.read(row)
            if row >= 0:
                done += 1
                told(done)

    try:
        with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tiff:
            for one in found:
                row = int(one.grid.max())
                shape, dtype = store.shape_of(row)
                tiff.write(
                    pages(one), shape=(*one.grid.shape, *shape), dtype=dtype,
                    photometric="rgb" if len(shape) == 3 else "minisblack", metadata=_ome(store, one, row),
                )  # fmt: skip
        with path.with_name(path.name + SIDECAR).open("wb") as file:
            file.writelines(line + b"\n" for line in _lines(store, found))
    except OSError as error:
        raise StorageError(f"cannot write {path.name}: {_why(path, error)}") from error


def _why(path: Path, error: OSError) -> str:
    """What has gone wrong; numpy does not say why it could write a part of an array only."""
    why = error.strerror or str(error)
    if error.errno is None:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            if free < SMALL:
                return f"the disk is full, {free} bytes are free ({why})"
    return why


def _ome(store: Store, one: Series, row: int) -> dict[str, Any]:
    """What the OME-XML says of a series."""
    summary, (shape, _) = store.summary, store.shape_of(row)
    ome: dict[str, Any] = {
        "axes": "TCZYXS" if len(shape) == 3 else "TCZYX",
        "Name": " ".join(f"{name} {value}" for name, value in one.place.items()) or "images",
        "SignificantBits": store.bit_depth_of(row),
    }
    numbered = store.index.types.get("channel") is int
    known = dict(zip(store.index.values("channel"), ChannelNames(store)(), strict=True)) if numbered else {}
    names = [known.get(value, str(value)) for value in one.values[1] if value is not None]
    if names:
        ome["Channel"] = {"Name": names}
    pixel, step = finite(summary.get("PixelSize_um", summary.get("PixelSizeUm"))), calibration.step(store, "z", one.values[2], one.grid, 2)
    for units, size in (("XY", pixel), ("Z", step)):
        if size:
            for unit in units:
                ome[f"PhysicalSize{unit}"], ome[f"PhysicalSize{unit}Unit"] = abs(size), "µm"
    interval = positive(summary.get("Interval_ms"))
    if interval is not None:
        ome["TimeIncrement"], ome["TimeIncrementUnit"] = interval / 1000, "s"
    planes = _planes(store, one, ome)
    return {**ome, "Plane": planes} if planes else ome


def _planes(store: Store, one: Series, ome: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Where each plane is, if the images say where they begin; there is one value for each plane, also where there is no image."""
    begins = calibration.origins(store, int(one.grid[one.grid >= 0][0]))
    along: dict[str, list[float] | None] = {axis: [begins[axis]] for axis in "xy" if axis in begins}
    if "PhysicalSizeZ" in ome:
        along["z"] = _heights(store, one, begins.get("z"), ome["PhysicalSizeZ"])
    planes: dict[str, list[Any]] = {}
    for axis, places in along.items():
        if places and f"PhysicalSize{axis.upper()}" in ome:
            planes[f"Position{axis.upper()}"] = places * (one.grid.size // len(places))
            planes[f"Position{axis.upper()}Unit"] = ["µm"] * one.grid.size
    return planes


def _heights(store: Store, one: Series, begin: float | None, size: float) -> list[float] | None:
    """Where the planes of a stack are, if it says where it begins, or if it goes down, which no size can say."""
    values = one.values[2]
    if values == [None]:
        return None if begin is None else [begin]
    if any(isinstance(value, str) for value in values):  # names of planes say no heights
        return None
    step = calibration.counted(store, "z", values, one.grid)
    found = None if step is not None else calibration.positions(store, "z", values, one.grid, 2)
    if found is not None and (begin is not None or found[-1] < found[0]):
        return found
    return None if begin is None else [begin + value * (step or size) for value in values]


def _lines(store: Store, found: list[Series]) -> Iterator[bytes]:
    """Summary metadata and the axes of each series; then of each image: its series, its place on T, C, Z, its metadata."""
    axes = [{**one.place, **{axis: values for axis, values in zip(_OME, one.values, strict=True) if values != [None]}} for one in found]
    yield encode_json({"summary": store.summary, "series": axes})
    for number, one in enumerate(found):
        for place, row in np.ndenumerate(one.grid):
            if row >= 0:
                yield encode_json({"series": number, "tcz": list(place), "metadata": store.metadata(int(row))})


def compare(store: Store, rows: list[int], path: Path, told: Callable[[int], None]) -> None:
    """Compare every image of the file with the dataset.

    Raises
    ------
    StorageError
        One differs.
    """
    tifffile = import_tifffile()
    found = series_of(store, rows)
    done = 0
    with tifffile.TiffFile(path) as tiff:
        if [one.grid.shape for one in found] != [series.get_shape(squeeze=False)[:3] for series in tiff.series]:
            raise StorageError("verification failed: the series of the OME-TIFF have other shapes")
        pages = iter(tiff.pages)
        for one in found:
            for row in one.grid.reshape(-1).tolist():
                page = next(pages).asarray()
                if row < 0:
                    same = not page.any()
                else:
                    image = store.read(row)
                    same = page.dtype == image.dtype and np.array_equal(page, image)
                    done += 1
                if not same:
                    what = "an empty place" if row < 0 else f"image {store.index.axes_of(row)}"
                    raise StorageError(f"verification failed: the pixels of {what} differ")
                told(done)
    with path.with_name(path.name + SIDECAR).open("rb") as file:
        for line, wanted in zip(file, _lines(store, found), strict=True):
            if json.loads(line) != json.loads(wanted):
                raise StorageError("verification failed: the metadata differs")
