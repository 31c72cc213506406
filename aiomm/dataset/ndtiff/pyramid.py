"""Resolution levels of tiled datasets: each level's tiles are means of 2 x 2 pixels of the level below."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import check_axes, check_pixels
from aiomm.dataset.ndtiff import display
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.level import Level
from aiomm.dataset.ndtiff.reader import LEVEL_PREFIX, level_folder, open_folder
from aiomm.dataset.ndtiff.writer import NDTiffWriter
from aiomm.errors import DatasetFormatError, StorageError, UnsupportedError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from aiomm.dataset.storage import Axes, Frame, OnSaved


def halve(pixels: np.ndarray) -> np.ndarray:
    """Mean of each 2 x 2 pixels, rounded down; of 2, or 1, along the edge of an odd size."""
    wide = np.dtype(np.uint32 if pixels.dtype.itemsize > 1 else np.uint16)
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    out = np.empty(((pixels.shape[0] + 1) // 2, (pixels.shape[1] + 1) // 2, *pixels.shape[2:]), pixels.dtype)
    rows = np.add(pixels[0 : 2 * height : 2], pixels[1::2], dtype=wide)
    out[:height, :width] = (rows[:, 0 : 2 * width : 2] + rows[:, 1::2]) >> 2
    if pixels.shape[1] % 2:
        out[:height, -1] = rows[:, -1] >> 1
    if pixels.shape[0] % 2:
        last = pixels[-1].astype(wide)
        out[-1, :width] = (last[0 : 2 * width : 2] + last[1::2]) >> 1
        if pixels.shape[1] % 2:
            out[-1, -1] = last[-1]
    return out


def overlap_of(summary: dict[str, Any]) -> tuple[int, int]:
    """Pixels (y, x) by which neighbouring tiles overlap, as summary metadata says.

    Raises
    ------
    ValueError
        It says nothing that makes sense.
    """
    found = []
    for name in ("GridPixelOverlapY", "GridPixelOverlapX"):
        value = summary.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"summary metadata: {name} is {value!r}: it must be a number of pixels, 0 or more")
        found.append(value)
    return found[0], found[1]


def check_tile(axes: Axes) -> None:
    """Refuse what is no tile."""
    for name in ("row", "column"):
        if isinstance(axes.get(name), bool) or not isinstance(axes.get(name), (int, np.integer)):
            raise ValueError(f"image {axes} has no axis {name!r} with an integer, so it is no tile")


def cropped(shape: tuple[int, ...], overlap: tuple[int, int]) -> tuple[int, ...]:
    """Shape of a tile without what it shares with its neighbours."""
    rest = (shape[0] - overlap[0], shape[1] - overlap[1], *shape[2:])
    if min(rest[:2]) < 2:
        raise ValueError(
            f"tiles of {shape[1]} x {shape[0]} pixels overlap by {overlap[1]} x {overlap[0]}: less than 2 x 2 are left of each"
        )
    return rest


class LevelsBuilder:
    """Builds the levels of a dataset from its tiles, one at a time.

    Parameters
    ----------
    base : Path
        Where the levels' folders are made.
    prefix : str
        What the TIFF files' names begin with.
    dataset : Dataset
        The tiles at full resolution.
    most : int, optional
        How many levels to build. None: as many as it takes until one tile shows everything (one each side of zero, for
        tiles with negative numbers).
    """

    def __init__(self, base: Path, prefix: str, dataset: Dataset, most: int | None) -> None:
        self._base, self._prefix, self._dataset, self._most = base, prefix, dataset, most
        summary = dataset.summary_metadata
        self._header = ndtiff.pack_header(summary)
        self._per_cm = ndtiff.resolution(summary.get("PixelSize_um", summary.get("PixelSizeUm")))
        self._overlap = overlap_of(summary)
        self._tile: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        self._shape: tuple[int, ...] = ()
        self._kind = ndtiff.GRAY8
        self._extent: list[int] = []  # first and last row, first and last column
        self._early: list[int] = []  # rows of tiles that came before there was a level
        self.levels: list[Level] = []

    def add(self, row: int) -> None:
        """Take a tile in: every level shows it.

        Raises
        ------
        ValueError
            It is no tile, or another size than the first.
        OSError
            It cannot be written.
        """
        axes = self._dataset.axes_of(row)
        check_tile(axes)
        pixels, _ = self._dataset.read_row(row)
        if self._tile is None:
            self._begin(pixels)
        elif (pixels.shape, pixels.dtype) != self._tile:
            raise ValueError(
                f"tile {axes} is {pixels.shape} {pixels.dtype}, the first was {self._tile[0]} {self._tile[1]}; tiles are alike"
            )
        self._reach(axes, pixels.dtype)
        if self.levels:
            self._bring(row, axes, pixels)
        else:
            self._early.append(row)

    def _bring(self, row: int, axes: Axes, pixels: np.ndarray) -> None:
        """Bring a tile of full resolution into the levels there are."""
        (top, left), (height, width) = (o // 2 for o in self._overlap), self._shape[:2]
        # an odd tile's last pixels are averaged with those beyond, as far as the overlap has them
        tile = pixels[top : top + height + height % 2, left : left + width + width % 2]
        self._raise(0, axes, tile, (0, height, 0, width), row)

    def flush(self) -> None:
        """Write what has changed, so that readers see it."""
        for level in self.levels:
            level.flush()

    def close(self, *, sync: bool = False) -> None:
        """End the files, whole or not."""
        levels, self.levels = self.levels, []
        with contextlib.ExitStack() as stack:
            for level in levels:
                stack.callback(level.close, sync=sync)

    def _begin(self, pixels: np.ndarray) -> None:
        self._shape = cropped(pixels.shape, self._overlap)
        self._tile = (pixels.shape, pixels.dtype)
        self._kind = ndtiff.pixel_type(pixels, self._dataset.bit_depth)

    def _reach(self, axes: Axes, dtype: np.dtype[Any]) -> None:
        """Add levels until the last one is small enough for the tiles seen so far."""
        r, c = _number(axes, "row"), _number(axes, "column")
        old = self._extent or [r, r, c, c]
        self._extent = [min(old[0], r), max(old[1], r), min(old[2], c), max(old[3], c)]
        wanted = levels_for(self._extent) if self._most is None else self._most
        while len(self.levels) < wanted:
            level = Level(
                level_folder(self._base, len(self.levels) + 1), self._prefix, self._header,
                shape=self._shape, dtype=dtype, kind=self._kind, per_cm=self._per_cm,
            )  # fmt: skip
            self.levels.append(level)
            number = len(self.levels) - 1
            if number == 0:
                early, self._early = self._early, []
                for row in early:
                    self._bring(row, self._dataset.axes_of(row), self._dataset.read_row(row)[0])
            else:
                for below, tile, source in self.levels[number - 1].tiles():
                    self._raise(number, below, tile, (0, self._shape[0], 0, self._shape[1]), source)

    def _raise(self, number: int, axes: Axes, tile: np.ndarray, box: tuple[int, int, int, int], source: int) -> None:
        """Bring a part (y from, to, x from, to) of a tile below level ``number`` into that level and those above."""
        height, width = self._shape[:2]
        for level in self.levels[number:]:
            row, column = _number(axes, "row"), _number(axes, "column")
            parent: Axes = {**axes, "row": row // 2, "column": column // 2}
            to = level.tile(parent, source, lambda row: self._dataset.read_row(row)[1])
            if height % 2 or width % 2:
                box = (0, tile.shape[0], 0, tile.shape[1])  # odd tiles share a seam in their parent, so that all of it counts
            y, x = box[0] & ~1, box[2] & ~1
            small = halve(tile[y : box[1] + box[1] % 2, x : box[3] + box[3] % 2])
            y, x = (row % 2 * height + y) // 2, (column % 2 * width + x) // 2
            to[y : y + small.shape[0], x : x + small.shape[1]] = small
            box = (y, y + small.shape[0], x, x + small.shape[1])
            tile, axes = to, parent


def _number(axes: Axes, name: str) -> int:
    value = axes[name]
    assert isinstance(value, int)
    return value


def levels_for(extent: list[int]) -> int:
    """How many levels it takes until one tile shows everything; tiles on both sides of zero never come together."""
    first_row, last_row, first_column, last_column = extent
    count = 0
    while last_row - first_row + last_column - first_column > 0 and (
        first_row < -1 or last_row > 0 or first_column < -1 or last_column > 0
    ):
        first_row, last_row, first_column, last_column = first_row // 2, last_row // 2, first_column // 2, last_column // 2
        count += 1
    return count


class PyramidWriter:
    """Save tiles as an NDTiff dataset with resolution levels, in a new folder ``<directory>/<name>_<k>``.

    Frames have the integer axes ``row`` and ``column``, which may be negative; all tiles are alike in size and type.
    Full resolution is saved by an `NDTiffWriter`, as fast and as safe as without levels. The levels are built behind
    it by a thread of their own, from what is saved; `rebuild_pyramid` can make them again at any time.

    Every method may be called from any thread.

    Parameters
    ----------
    directory : path
        Where the dataset's folder is made; made itself if it does not exist.
    name : str
        Name of the dataset.
    summary_metadata : mapping
        What holds for every image.
    overlap : int or (int, int)
        Pixels by which neighbouring tiles overlap; (x, y) if they differ.
    max_multi_res_index : int, optional
        Number of the coarsest level: n is reduced 2**n times, 0 builds none. If None, levels are added until one tile
        shows everything (one on each side of zero, where numbers are negative).
    on_saved : callable, optional
        ``on_saved(frames)``: they are saved at full resolution.
    **options
        As for `NDTiffWriter`.

    Raises
    ------
    StorageError
        The folder or its first files cannot be made.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        summary_metadata: Mapping[str, Any] | None = None,
        *,
        overlap: int | tuple[int, int] = 0,
        max_multi_res_index: int | None = None,
        on_saved: OnSaved | None = None,
        **options: Any,
    ) -> None:
        across, down = overlap if isinstance(overlap, (tuple, list)) else (overlap, overlap)
        summary = {**(summary_metadata or {}), "GridPixelOverlapX": across, "GridPixelOverlapY": down}
        for pixels in (across, down):
            if isinstance(pixels, bool) or not isinstance(pixels, int) or pixels < 0:
                raise ValueError(f"overlap is {overlap!r}: it must be a number of pixels, or two (x, y), 0 or more")
        self._overlap = (down, across)
        most = max_multi_res_index
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
            raise ValueError(f"max_multi_res_index is {most!r}: it must be the number of the coarsest level, 0 or more, or None")
        self._user_on_saved = on_saved
        self._sync = options.get("durability", "none") != "none"
        self._lock = threading.Lock()
        self._like: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        self._news = threading.Condition()
        self._saved = 0
        self._ended = self._stopped = False
        self._finishing = threading.Lock()
        self._error: StorageError | None = None
        self._full = NDTiffWriter(directory, name, summary, on_saved=self._on_saved, tiled=True, **options)
        self.path: Path = self._full.path
        self.dataset: Dataset = self._full.dataset
        """The live dataset on what is saved, at full resolution."""
        self._builder = LevelsBuilder(self.path, name, self.dataset, most)
        self._thread = threading.Thread(target=self._build, name=f"aiomm-pyramid-{self.path.name}", daemon=True)
        self._thread.start()

    # ---- any thread ---------------------------------------------------------------------------------------------

    def try_put(self, frame: Frame) -> bool:
        """Accept a tile, or say False: there is no room. Never waits for the disk.

        Raises
        ------
        ValueError, TypeError
            The frame cannot be stored: it has no row and column, or is not like the first tile.
        Exception
            As `NDTiffWriter.try_put`.
        """
        self._check(frame)
        return self._full.try_put(frame)

    def put(self, frame: Frame, timeout: float | None = None) -> None:
        """Accept a tile; wait while there is no room. See `try_put`."""
        self._check(frame)
        self._full.put(frame, timeout)

    def flush(self) -> None:
        """Somebody waits: report what is there as soon as it can be. Returns at once."""
        self._full.flush()

    def give_up(self) -> None:
        """Drop what is not written yet, and the levels that are not ready; `finish` then waits for little."""
        self._stopped = True
        self._full.give_up()

    def finish(self) -> None:
        """Save what was put, finish the levels, stop. May be called again. The dataset opens afterwards, also after a failure.

        Raises
        ------
        StorageError
            Writing has failed; or every tile is saved, and the levels are not: the message says so.
        """
        try:
            self._full.finish()
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()
            self._thread.join()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> PyramidWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def _check(self, frame: Frame) -> None:
        axes, pixels = check_axes(frame.axes), frame.pixels
        check_tile(axes)
        check_pixels(pixels, frame.bit_depth)
        cropped(pixels.shape, self._overlap)
        with self._lock:
            like = self._like
            if like is None:
                self._like = pixels.shape, pixels.dtype
            elif like != (pixels.shape, pixels.dtype):
                raise ValueError(f"tile {axes} is {pixels.shape} {pixels.dtype}, the first was {like[0]} {like[1]}; tiles are all alike")

    # ---- the builder's thread -----------------------------------------------------------------------------------

    def _on_saved(self, frames: list[Frame]) -> None:
        with self._news:
            self._saved += len(frames)
            self._news.notify_all()
        if self._user_on_saved is not None:
            self._user_on_saved(frames)

    def _build(self) -> None:
        try:
            self._follow()
            self._builder.flush()
            self._builder.close(sync=self._sync)
            move_settings(self.path)
        except BaseException as error:  # also a bug: levels are never worth an image
            self._error = StorageError(
                f"{self.path}: every tile is saved, but the resolution levels are not: {error}; rebuild_pyramid() makes them again"
            )
            self._error.__cause__ = error
            self._drop()

    def _follow(self) -> None:
        """Take in what is saved, as it is saved, until the end."""
        done = 0
        while not self._stopped:
            with self._news:
                ready, ended = self._saved > done, self._ended
            if ready:
                self._builder.add(done)
                done += 1
            elif ended:
                return
            else:
                self._builder.flush()  # whoever looks at a level now sees everything
                self._wait(done)
        raise StorageError("saving was given up")

    def _wait(self, done: int) -> None:
        with self._news:
            self._news.wait_for(lambda: self._saved > done or self._ended)

    def _drop(self) -> None:
        """Leave no level that misses tiles."""
        with contextlib.suppress(OSError):
            self._builder.close()
        for folder in level_folders(self.path):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            move_settings(self.path)


def level_folders(path: Path) -> list[Path]:
    """The folders of a dataset's coarser levels."""
    return sorted(entry for entry in path.glob(LEVEL_PREFIX + "*") if entry.is_dir())


def move_settings(path: Path) -> None:
    """Move the display settings to where readers look for them in a tiled dataset."""
    settings = path / ndtiff.FULL_RESOLUTION / display.FILE_NAME
    if settings.exists():
        settings.replace(path / display.FILE_NAME)


def rebuild_pyramid(path: str | os.PathLike[str], max_multi_res_index: int | None = None) -> int:
    """Make the resolution levels of a tiled NDTiff dataset again, from full resolution.

    The old levels stay until the new ones are whole. Nobody may write to the dataset meanwhile.

    Parameters
    ----------
    path : path
        Folder of the dataset.
    max_multi_res_index : int, optional
        Number of the coarsest level; as many as it takes if None. See `PyramidWriter`.

    Returns
    -------
    int
        How many levels there are now, full resolution not counted.

    Raises
    ------
    DatasetFormatError
        It is not a tiled NDTiff dataset.
    UnsupportedError
        It is one of version 2, which aiomm only reads.
    StorageError
        The levels cannot be written. The old ones are still there.
    """
    base = Path(path).absolute()
    full = base / ndtiff.FULL_RESOLUTION
    if not full.is_dir():
        raise DatasetFormatError(f"{base}: there is no folder {ndtiff.FULL_RESOLUTION!r} in it, so it is not a tiled NDTiff dataset")
    store = open_folder(full)
    if store.version[0] < 3:
        raise UnsupportedError(f"{base} is NDTiff {store.version[0]}.{store.version[1]}: levels are made for version 3 only")
    dataset = Dataset.of(store, base)
    prefix = store.files[0].rpartition("_NDTiffStack")[0] if store.files else base.name
    with dataset:
        work = Path(tempfile.mkdtemp(prefix=f".{base.name}-levels-", dir=base.parent))
        try:
            builder = LevelsBuilder(work, prefix, dataset, max_multi_res_index)
            try:
                for row in store.index.winners().tolist():
                    builder.add(row)
                count = len(builder.levels)
                builder.flush()
            except ValueError as error:
                raise DatasetFormatError(f"{base}: {error}") from None
            finally:
                builder.close(sync=True)
            for number, old in enumerate(level_folders(base)):
                old.rename(work / f"old-{number}")
            for number in range(1, count + 1):
                level_folder(work, number).rename(level_folder(base, number))
        except OSError as error:
            raise StorageError(f"cannot write the resolution levels of {base}: {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return count
