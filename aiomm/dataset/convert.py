"""Convert datasets: NDTiff and OME-Zarr into each other, either into OME-TIFF. All of it or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

import numpy as np

from aiomm.dataset import ometiff
from aiomm.dataset.apart import Stop, apart
from aiomm.dataset.encode import encode_metadata
from aiomm.dataset.kinds import given_path, require_dataset
from aiomm.dataset.ndtiff.levels import check_tile, cropped, overlap_of
from aiomm.dataset.ndtiff.pyramid import PyramidWriter
from aiomm.dataset.ndtiff.reader import levels_of
from aiomm.dataset.ndtiff.writer import NDTiffWriter
from aiomm.dataset.omezarr.writer import OmeZarrWriter
from aiomm.dataset.opening import open_stores, reading
from aiomm.dataset.repairing import repair
from aiomm.dataset.storage import Frame
from aiomm.errors import DatasetError, DatasetFormatError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.storage import Store, Writer

Target = Literal["ndtiff", "ome-zarr", "ome-tiff"]
Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``."""

_SUFFIXES: Final[dict[str, Target]] = {".ome.zarr": "ome-zarr", ".zarr": "ome-zarr", ".ome.tif": "ome-tiff", ".ome.tiff": "ome-tiff"}
_NUMBER: Final = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes
    ----------
    path : Path
        The new dataset.
    format : str
        Its format.
    images : int
        How many images it has.
    verified : bool
        Whether every image was read back and compared.
    """

    path: Path
    format: Target
    images: int
    verified: bool


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: Target | None = None,
    *,
    verify: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a dataset.

    The new dataset gets its name when it is whole, and has been compared if ``verify``; until then it is in a hidden
    folder beside it. An error or an interrupt leaves nothing, unless the new dataset was whole already. The source is only read.

    Pixels, axes, image metadata, summary metadata and bit depths are carried over; of an image saved twice, the last copy.
    Resolution levels are built anew: in OME-Zarr as many as there were, in NDTiff of tiles. OME-TIFF has a series for each
    position, tile and the like; what OME has no place for is written beside it, as ``<target>.metadata.ndjson``.

    Parameters
    ----------
    source : path
        Folder of the dataset.
    target : path
        The new dataset: a folder, or a file for OME-TIFF. There must be nothing of this name.
    to : {"ndtiff", "ome-zarr", "ome-tiff"}, optional
        What to make. If None, the target's name says it: ``.zarr``, ``.ome.tif``; any other name is NDTiff.
    verify : bool
        Read every image back and compare pixels, axes and metadata; see that the levels are whole.
    progress : callable, optional
        ``progress(stage, done, total)`` after each image, on a thread of the conversion; the stage is "converting" or "verifying".

    Raises
    ------
    DatasetFormatError
        The source cannot be read, or cannot be written in this format: the message says why.
    StorageError
        The target exists, cannot be written, or differs from the source.
    ImportError
        OME-TIFF needs tifffile: ``pip install aiomm[ome-tiff]``.
    """
    return convert_until(Stop(), source, target, to, verify, progress)


def convert_until(
    stop: Stop,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: Target | None,
    verify: bool,
    progress: Progress | None,
) -> Conversion:
    """Convert a dataset unless asked to stop before it is whole; see `convert`.

    Raises
    ------
    Stopped
        It was asked to; nothing is left.
    """

    def told(stage: str, done: int, total: int) -> None:
        stop.check()
        if progress is not None:
            progress(stage, done, total)

    old, new = given_path("source", source), given_path("target", target)
    return apart(lambda: _convert(old, new, to, verify, told, stop), stop, "aiomm-convert")


async def convert_async(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: Target | None = None,
    *,
    verify: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a dataset without blocking the event loop; see `convert`.

    Cancelling it ends the conversion at the next image and leaves nothing. ``progress`` is called on a thread.
    """
    stop = Stop()
    work = asyncio.ensure_future(asyncio.to_thread(convert_until, stop, source, target, to, verify, progress))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        asked = asyncio.ensure_future(asyncio.to_thread(stop.set))
        while not (work.done() and asked.done()):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work, asked])
        if work.exception() is None and not work.cancelled():  # it was done before it heard of it
            _remove(work.result().path)
        raise


def format_of(target: Path, to: str | None) -> Target:
    """Which format to make."""
    if to is None:
        name = target.name.lower()
        if name.endswith((".tif", ".tiff")) and not name.endswith((".ome.tif", ".ome.tiff")):
            raise ValueError(f"{target.name}: an OME-TIFF file is named .ome.tif; say what to make otherwise")
        return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), "ndtiff")
    if to not in get_args(Target):
        raise ValueError(f"to is {to!r}: it must be one of {', '.join(map(repr, get_args(Target)))}")
    return cast("Target", to)


def _convert(source: Path, target: Path, to: str | None, verify: bool, progress: Progress, stop: Stop) -> Conversion:
    kind = format_of(target, to)
    _name_of(target)
    _check_target(source, target)
    with contextlib.ExitStack() as stack:
        store = open_stores(source, full_res_only=True)[0]
        stack.callback(store.close)
        rows = store.index.winners().tolist()
        work = target.with_name(f".{target.name}.converting-{secrets.token_hex(4)}")
        stack.callback(shutil.rmtree, work, ignore_errors=True)  # before it is there: an interrupt may come in between
        try:
            work.mkdir(mode=0o700)
        except OSError as error:
            raise StorageError(f"cannot write {target.name} in {target.parent}: {error.strerror or error}") from error
        if kind == "ome-tiff":
            ometiff.write(store, rows, work / target.name, lambda done: progress("converting", done, len(rows)))
            if verify:
                ometiff.compare(store, rows, work / target.name, lambda done: progress("verifying", done, len(rows)))
            made = sorted(work.iterdir(), reverse=True)
            names = [target.parent / part.name for part in made]
        else:
            levels = _levels_of(source) if kind == "ome-zarr" else 0
            made = [_write(store, rows, _writer(store, rows, work, target, kind, levels), progress, stop)]
            names = [target]
            if verify:
                _compare(store, rows, made[0], progress)
        stop.check()
        _give_names(made, names)
    return Conversion(target, kind, len(rows), verify)


def _check_target(source: Path, target: Path) -> None:
    """Refuse a target that cannot be made.

    Raises
    ------
    DatasetFormatError
        There is no source to make it of.
    StorageError
        It exists, has no folder to be in, or is in the dataset.
    """
    with reading(source):
        require_dataset(source)
        dataset = source.resolve()
    try:
        if os.path.lexists(target):
            raise StorageError(f"{target} exists already: nothing is written over; choose another name")
        if not target.parent.is_dir():
            raise StorageError(f"{target.parent} is no folder: {target.name} cannot be made in it")
        if dataset in target.resolve().parents:
            raise StorageError(f"{target} is inside of the dataset {source}, which is only read; choose another place")
    except (OSError, ValueError) as error:  # a ValueError of a name with a NUL
        raise StorageError(f"{target} cannot be made: {getattr(error, 'strerror', None) or error}") from error


def _write(store: Store, rows: list[int], writer: Writer, progress: Progress, stop: Stop) -> Path:
    stop.then(writer.give_up)
    try:
        for done, row in enumerate(rows, 1):
            metadata = store.metadata(row)
            metadata.pop("Axes", None)
            frame = Frame(store.index.axes_of(row), store.read(row), metadata, store.bit_depth_of(row))
            try:
                writer.put(frame)
            except (TypeError, ValueError) as error:
                raise DatasetFormatError(f"image {frame.axes} cannot be written in this format: {error}") from error
            progress("converting", done, len(rows))
        writer.finish()
    except BaseException:
        writer.give_up()
        with contextlib.suppress(StorageError):
            writer.finish()
        stop.check()
        raise
    return cast("Path", cast("Any", writer).path)


def _writer(store: Store, rows: list[int], work: Path, target: Path, kind: Target, levels: int) -> Writer:
    """Make a writer for a new dataset somewhere in ``work``."""
    summary = dict(store.summary)
    tiled = bool(summary.pop("TiledImageStorage", False))
    name = _name_of(target)
    shape, dtype = store.shape_of(rows[0]) if rows else ((1, 1), np.dtype(np.uint8))
    size = int(np.prod(shape)) * dtype.itemsize
    room = int(min(500, max(8, 64 * 2**20 // size)))  # frames on their way
    if kind == "ome-zarr":  # it keeps whether the dataset is tiled, for whoever makes NDTiff of it again
        return OmeZarrWriter(work, name, store.summary, queue_size=room, levels=levels)
    if (tiled and {"row", "column"} <= store.index.types.keys()) or _holds_tiles(store, rows):
        try:
            down, across = overlap_of(summary)
        except ValueError as error:
            raise DatasetFormatError(f"{store.path}: {error}") from None
        return PyramidWriter(work, name, summary, overlap=(across, down), queue_size=room)
    return NDTiffWriter(work, name, summary, queue_size=room)


def _levels_of(source: Path) -> int:
    """How many reduced levels a dataset has."""
    try:
        stores = open_stores(source, full_res_only=False)
    except DatasetError:  # full resolution is all that is needed
        return levels_of(source) - 1
    for store in stores:
        store.close()
    return len(stores) - 1


def _holds_tiles(store: Store, rows: list[int]) -> bool:
    """Whether images are tiles that nothing calls so, as those saved as OME-Zarr: placed by row and column, with an overlap."""
    if "TiledImageStorage" in store.summary or not rows:
        return False
    try:
        overlap = overlap_of(store.summary)
        for row in rows:
            check_tile(store.index.axes_of(row))
        cropped(store.shape_of(rows[0])[0], overlap)
    except ValueError:
        return False
    return store.differing(np.array(rows)) < 0


def _name_of(target: Path) -> str:
    """Name of a dataset in a folder of this name.

    Raises
    ------
    ValueError
        There is none.
    """
    name = target.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    if not name:
        raise ValueError(f"target is {str(target)!r}: there is no name before {target.name}; cells{target.name} has one")
    return _NUMBER.sub("", name) or name


def _compare(store: Store, rows: list[int], made: Path, progress: Progress) -> None:
    """Compare every image of the new dataset with the old one, and see that its levels are whole.

    Raises
    ------
    StorageError
        One differs, or something is missing.
    """
    new = open_stores(made, full_res_only=True)[0]
    try:
        if len(new.index.winners()) != len(rows):
            raise StorageError(f"verification failed: {len(new.index.winners())} images were written, not {len(rows)}")
        for done, row in enumerate(rows, 1):
            axes = store.index.axes_of(row)
            found = new.index.find(axes)
            if found < 0:
                raise StorageError(f"verification failed: image {axes} was not written")
            if not _same(store.read(row), new.read(found)):
                raise StorageError(f"verification failed: the pixels of image {axes} differ")
            if json.loads(encode_metadata(store.metadata(row), axes)) != new.metadata(found):
                raise StorageError(f"verification failed: the metadata of image {axes} differs")
            progress("verifying", done, len(rows))
    finally:
        new.close()
    report = repair(made)
    if report.needed:
        raise StorageError(f"verification failed: {report.actions[0]}")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def _give_names(made: list[Path], names: list[Path]) -> None:
    """Give what is whole its name; the last one counts. Nothing is written over."""
    given: list[Path] = []
    try:
        for path, name in zip(made, names, strict=True):
            if os.path.lexists(name):
                raise FileExistsError
            path.rename(name)
            given.append(name)
    except OSError as error:
        for name in given:
            _remove(name)
        why = "exists already: somebody made it meanwhile" if isinstance(error, FileExistsError) else error.strerror or str(error)
        raise StorageError(f"{names[len(given)]}: {why}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ometiff.SIDECAR).unlink(missing_ok=True)
