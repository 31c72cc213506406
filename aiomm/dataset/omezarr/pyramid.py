"""Reduced resolution levels of OME-Zarr images: built from what is saved, never in its way, listed when whole.

A level is an array beside the full one, halved in y and x by averaging. Levels can be deleted and built again at any time;
a build that is interrupted leaves arrays that no metadata lists.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.frames import INDEX_NAME, parse_log
from aiomm.dataset.omezarr.shard import ShardFile, alignment
from aiomm.dataset.omezarr.store import open_log, read_group
from aiomm.dataset.whole import replace_json
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from aiomm.dataset.omezarr.layout import ImagePlan
    from aiomm.dataset.omezarr.store import ShardStore

_log = logging.getLogger("aiomm")

LARGEST: Final = 512
"""Images are halved until no side is longer than this, if nobody says how often."""
OPEN_SHARDS: Final = 16


def halve(image: np.ndarray) -> np.ndarray:
    """Average squares of four pixels; an odd last row or column is left out."""
    height, width = (max(1, n // 2) for n in image.shape[:2])
    squares = [image[y : y + 2 * height : 2, x : x + 2 * width : 2][:height, :width] for y in (0, 1) for x in (0, 1)]
    squares = [square if square.shape[:2] == (height, width) else squares[0] for square in squares]
    total = squares[0].astype(np.uint32)
    for square in squares[1:]:
        total += square
    halved: np.ndarray = ((total + 2) // 4).astype(image.dtype)
    return halved


def level_shapes(shape: tuple[int, ...], count: int | None = None) -> list[tuple[int, ...]]:
    """Shapes of the reduced levels of an image: so many, as far as there is more than a pixel to reduce."""
    shapes: list[tuple[int, ...]] = []
    while max(shape[:2]) > (LARGEST if count is None else 1) and (count is None or len(shapes) < count):
        shape = (max(1, shape[0] // 2), max(1, shape[1] // 2), *shape[2:])
        shapes.append(shape)
    return shapes


class LevelBuilder:
    """Builds the levels of a dataset row by row, in the order saved.

    Parameters
    ----------
    store : ShardStore
        Where the images are read.
    index_of : callable
        Place of a row in its array.
    count : int, optional
        How many levels; see `level_shapes`.
    sync : bool
        Whether levels are put on the device before they are listed.
    """

    def __init__(
        self, store: ShardStore, index_of: Callable[[int], tuple[int, ...]], count: int | None = None, *, sync: bool = False
    ) -> None:
        self._store = store
        self._count = count
        self._index_of = index_of
        self._sync = sync
        self._cursor = 0
        self._shards: dict[tuple[int, int, tuple[int, ...]], ShardFile] = {}
        self._open: OrderedDict[int, ShardFile] = OrderedDict()
        self._plans: dict[int, list[ImagePlan]] = {}
        self._unsure: OSError | None = None

    @property
    def behind(self) -> bool:
        """Whether there are rows that are not in the levels."""
        return self._cursor < len(self._store.index)

    def step(self) -> None:
        """Put the next row into the levels.

        Raises
        ------
        OSError
            It cannot be written.
        """
        row = self._cursor
        full = self._store.plan_of(row)
        plans = self._plans.get(full.number)
        if plans is None:
            shapes = level_shapes(full.shape, self._count)
            for folder in level_folders(self._store.path / full.path):  # what an interrupted build has left
                shutil.rmtree(folder)
            plans = self._plans[full.number] = [replace(full, shape=shape, level=n) for n, shape in enumerate(shapes, 1)]
        image = self._store.read(row) if plans else None
        for plan in plans:
            assert image is not None
            image = halve(image)
            self._put(plan, self._index_of(row), image)
        self._cursor += 1

    def _put(self, plan: ImagePlan, index: tuple[int, ...], image: np.ndarray) -> None:
        key, chunk = plan.shard_of(index)
        shard = self._shards.get((plan.number, plan.level, key))
        if shard is None:
            shard = ShardFile(self._store.path / plan.shard_path(key), len(self._shards), plan.chunks)
            self._shards[plan.number, plan.level, key] = shard
        if shard.is_open:
            self._open.move_to_end(shard.number)
        else:
            while len(self._open) >= OPEN_SHARDS:
                self._close(next(iter(self._open.values())))
            shard.open(direct=False)
            self._open[shard.number] = shard
        align = alignment(image.nbytes)
        offset = shard.take(image.nbytes, align)
        _, error = shard.write(np.ascontiguousarray(image).reshape(-1).view(np.uint8).data, offset, direct=False)
        if error is not None:
            raise error
        shard.entries[chunk] = offset, image.nbytes

    def _close(self, shard: ShardFile) -> None:
        """Write a shard's index and close it; it stays open until its index is written, for without it is zeros to readers."""
        shard.renew_index()
        if self._sync:
            try:
                shard.sync()
            except OSError as error:  # the system says so once: another try would pass, whatever is on the device
                self._unsure = error
                raise
        del self._open[shard.number]
        shard.close()

    def finish(self) -> None:
        """Close the shards, then list the levels.

        Raises
        ------
        OSError
            It cannot be written; the levels that are not listed are not there.
        """
        if self._unsure is not None:
            raise self._unsure
        for shard in list(self._open.values()):
            self._close(shard)
        for full in self._store.images:
            levels = self._plans.get(full.number, [])
            for plan in levels:
                shape = plan.array_shape(full.extents)
                replace_json(self._store.path / plan.path / str(plan.level) / ome.FILE, ome.array(plan, shape), sync=self._sync)
            if levels:
                list_levels(self._store.path / full.path, len(levels), sync=self._sync)

    def give_up(self) -> None:
        """Close the files, list nothing."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.popitem()[1].close()

    def drop(self) -> None:
        """Leave no level that is not listed: nobody reads it, and the disk may be full."""
        self.give_up()
        for full in self._store.images:
            group = self._store.path / full.path
            listed = listed_levels(group)
            for folder in level_folders(group):
                if folder.name not in listed:
                    shutil.rmtree(folder, ignore_errors=True)


def listed_levels(group: Path) -> list[str]:
    """Paths of the levels that an image group lists, full resolution first; none if it cannot be read."""
    try:
        attributes: Any = read_group(group)
        return [str(one["path"]) for one in attributes["ome"]["multiscales"][0]["datasets"]]
    except (DatasetFormatError, OSError, KeyError, IndexError, TypeError):
        return []


def level_folders(group: Path) -> list[Path]:
    """The folders of an image's reduced levels, listed or not."""
    found = [entry for entry in group.iterdir() if entry.name.isdecimal() and entry.name != "0" and entry.is_dir()]
    return sorted(found, key=lambda entry: int(entry.name))


def list_levels(group: Path, count: int, *, sync: bool) -> None:
    """Have an image group list its full array and so many reduced ones.

    Raises
    ------
    DatasetFormatError
        It is no image group.
    OSError
        It cannot be written.
    """
    attributes = read_group(group)
    try:
        multiscale = attributes["ome"]["multiscales"][0]
        names = [axis["name"] for axis in multiscale["axes"]]
        moves = {move["type"]: move[move["type"]] for move in multiscale["datasets"][0]["coordinateTransformations"]}
        scale, origin = moves["scale"], moves.get("translation", [0.0] * len(names))
    except (KeyError, IndexError, TypeError) as error:
        raise DatasetFormatError(f"{group / ome.FILE}: no OME-Zarr image: {type(error).__name__}: {error}") from None
    datasets: list[dict[str, Any]] = multiscale["datasets"][:1]
    datasets += [
        {"path": str(level), "coordinateTransformations": ome.transformations(names, scale, origin, 2**level)}
        for level in range(1, count + 1)
    ]
    multiscale["datasets"] = datasets
    if count:
        multiscale["type"] = "mean"
    else:
        multiscale.pop("type", None)
    replace_json(group / ome.FILE, ome.group(attributes), sync=sync)


def unlist_levels(path: Path, plans: Iterable[ImagePlan]) -> None:
    """Have every image that can be read list full resolution alone: its levels are about to be wrong.

    Raises
    ------
    OSError
        It cannot be written.
    """
    for group in (path / plan.path for plan in plans):
        if len(listed_levels(group)) > 1:
            with contextlib.suppress(DatasetFormatError):
                list_levels(group, 0, sync=True)


def _want_levels(path: Path, count: int | None) -> None:
    """Note how many levels a dataset is to have, so that a build that is interrupted can be made up for."""
    attributes = read_group(path)
    own = attributes.get(ome.KEY)
    if isinstance(own, dict) and own.get("levels", 0) != count:
        attributes[ome.KEY] = ome.with_levels(own, count)
        replace_json(path / ome.FILE, ome.group(attributes), sync=False)


def build_levels(path: Path, count: int | None = None) -> int:
    """Build the reduced levels of a dataset that aiomm wrote, again if there are some.

    Parameters
    ----------
    path : Path
        Folder of the dataset.
    count : int, optional
        How many; see `level_shapes`.

    Returns
    -------
    int
        How many levels its largest image has now, full resolution included.

    Raises
    ------
    DatasetFormatError
        It is no such dataset, or damaged.
    OSError
        A level cannot be written; those that are listed are whole.
    """
    store = open_log(path)
    log = parse_log((path / INDEX_NAME).read_bytes(), str(path / INDEX_NAME), keep_indexes=True)
    _want_levels(path, count)
    for plan in store.images:
        list_levels(path / plan.path, 0, sync=False)
    builder = LevelBuilder(store, log.indexes.__getitem__, count)
    try:
        for _ in range(min(len(store.index), len(log.indexes))):
            builder.step()
        builder.finish()
    except BaseException:
        builder.drop()
        raise
    finally:
        builder.give_up()
        store.close()
    return 1 + max((len(level_shapes(plan.shape, count)) for plan in store.images), default=0)


class Background:
    """Builds levels on a thread of its own while nothing waits to be saved.

    Parameters
    ----------
    builder : LevelBuilder
        Does the work.
    busy : callable
        Whether something waits to be saved.
    """

    def __init__(self, builder: LevelBuilder, busy: Callable[[], bool], name: str) -> None:
        self._builder = builder
        self._busy = busy
        self._changed = threading.Condition()
        self._stopped = self._given_up = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Images were saved."""
        with self._changed:
            self._changed.notify()

    def give_up(self) -> None:
        """Build no more; what is not whole is not listed."""
        self._given_up = True
        self._stop()

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            while self._wait():
                self._builder.step()
        except Exception:  # saving goes on; finish() tries again when full resolution has given back what it reserved, and says what fails
            _log.debug("a level could not be written", exc_info=True)

    def _wait(self) -> bool:
        """Wait until there is something to do and time for it; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or (self._builder.behind and not self._busy()))
            return not self._stopped

    def finish(self) -> None:
        """Build what is missing, and list the levels; the writer has ended.

        Raises
        ------
        Exception
            What ended the build.
        """
        self._stop()
        self._thread.join()
        try:
            while not self._given_up and self._builder.behind:
                self._builder.step()
            if not self._given_up:
                self._builder.finish()
        except BaseException:
            self._builder.drop()
            raise
        finally:
            self._builder.give_up()
