"""Write tiled datasets: full resolution first, its levels behind it; and make the levels again."""

from __future__ import annotations

import contextlib
import glob
import json
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.damage import alone, gone_on_error, repair_command
from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import as_mapping, check_axes, check_pixels
from aiomm.dataset.kinds import given_path
from aiomm.dataset.locking import FolderLock
from aiomm.dataset.ndtiff import display
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.level import unshown
from aiomm.dataset.ndtiff.levels import LevelsBuilder, check_tile, cropped
from aiomm.dataset.ndtiff.reader import LEVEL_PREFIX, level_folder, open_folder
from aiomm.dataset.ndtiff.writer import NDTiffWriter
from aiomm.errors import DatasetFormatError, StorageError, UnsupportedError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np

    from aiomm.dataset.storage import Frame, OnSaved

MISSING: Final = ".levels-missing"
"""A file, for other readers open every folder: there from before levels are made until they are whole. It says how many are wanted."""


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
        summary = {**as_mapping("summary_metadata", summary_metadata), "GridPixelOverlapX": across, "GridPixelOverlapY": down}
        for pixels in (across, down):
            if isinstance(pixels, bool) or not isinstance(pixels, int) or pixels < 0:
                raise ValueError(f"overlap is {overlap!r}: it must be a number of pixels, or two (x, y), 0 or more")
        self._overlap = (down, across)
        check_most(max_multi_res_index)
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
        try:
            if max_multi_res_index != 0:
                note_levels(self.path, max_multi_res_index)
            self._builder = LevelsBuilder(self.path, name, self.dataset, max_multi_res_index)
            self._held = FolderLock(self.path, alone=False)  # until the levels have ended as well
        except BaseException as error:
            self._full.finish()
            if not isinstance(error, OSError):
                raise
            raise StorageError(f"cannot make a dataset {name!r} in {directory}: {error.strerror or error}") from error
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

    def gather(self, seconds: float) -> None:
        """Images will come closely one after another; see `Writer.gather`."""
        self._full.gather(seconds)

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
            if self._error is not None:  # the levels may have failed before there were settings
                with contextlib.suppress(OSError):
                    move_settings(self.path)
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
            forget_levels(self.path)
        except BaseException as error:  # also a bug: levels are never worth an image
            self._drop()
            way = "rebuild_pyramid() makes them again"
            if self._stopped:  # nobody misses those of what was given up
                with contextlib.suppress(OSError):
                    forget_levels(self.path)
            else:
                way = f"{repair_command(self.path)} or {way}"
            self._error = StorageError(f"{self.path}: every tile is saved, but the resolution levels are not: {error}; {way}")
            self._error.__cause__ = error
        finally:
            self._held.release()

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


def check_most(most: object) -> None:
    """Refuse what is no number of levels.

    Raises
    ------
    ValueError
        It says what would be right.
    """
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        raise ValueError(f"max_multi_res_index is {most!r}: it must be the number of the coarsest level, 0 or more, or None")


def note_levels(path: Path, most: int | None) -> None:
    """Note how many levels a dataset is to have, so that repair makes them if whoever begins now does not come to it.

    Raises
    ------
    OSError
        It cannot be written.
    """
    note = path / MISSING
    with contextlib.nullcontext() if note.exists() else gone_on_error(note):
        note.write_text(json.dumps(most))


def noted_levels(path: Path) -> int | None:
    """How many levels a note asks for; None if it does not say."""
    try:
        most = json.loads((path / MISSING).read_text())
        check_most(most)
    except (OSError, ValueError, RecursionError):
        return None
    found: int | None = most
    return found


def forget_levels(path: Path) -> None:
    """Take the note away: the levels are whole."""
    (path / MISSING).unlink(missing_ok=True)


def left_over(path: Path) -> list[Path]:
    """Folders beside a dataset in which its levels were being made, by somebody who was killed."""
    name = re.compile(re.escape(_workplace(path)) + r"[a-z0-9_]{8}")  # as tempfile names them
    try:
        found = list(path.parent.glob(glob.escape(_workplace(path)) + "*"))
    except OSError:
        return []
    return sorted(entry for entry in found if name.fullmatch(entry.name) and entry.is_dir())


def _workplace(path: Path) -> str:
    return f".{path.name}-levels-"


def level_folders(path: Path) -> list[Path]:
    """The folders of a dataset's coarser levels, and of those that a kill has kept from their first tile."""
    names = (LEVEL_PREFIX + "*", unshown(path / (LEVEL_PREFIX + "*")).name)
    return sorted(entry for name in names for entry in path.glob(name) if entry.is_dir())


def move_settings(path: Path) -> None:
    """Move the display settings to where readers look for them in a tiled dataset."""
    settings = path / ndtiff.FULL_RESOLUTION / display.FILE_NAME
    if settings.exists():
        settings.replace(path / display.FILE_NAME)


def complete_pyramid(path: Path, max_multi_res_index: int | None) -> None:
    """Make the levels of a finished dataset whose writer has made none; see `rebuild_pyramid`.

    NDTiffStorage has taken no notice of the number of levels since it makes them as its viewer asks for them.
    """
    if max_multi_res_index != 0 and not level_folders(path):
        note_levels(path, max_multi_res_index)
        rebuild_pyramid(path, max_multi_res_index)


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
    ValueError
        ``max_multi_res_index`` is no number of levels.
    DatasetFormatError
        It is not a tiled NDTiff dataset.
    UnsupportedError
        It is one of version 2, which aiomm only reads.
    StorageError
        The levels cannot be written, and the old ones are still there; or somebody writes to the dataset.
    """
    check_most(max_multi_res_index)
    base = given_path("path", path)
    if not (base / ndtiff.FULL_RESOLUTION).is_dir():
        raise not_tiled(base)
    with alone(base, "rebuild"):
        for folder in left_over(base):
            shutil.rmtree(folder, ignore_errors=True)
        return make_levels(base, max_multi_res_index)


def not_tiled(base: Path) -> DatasetFormatError:
    """Make the error for a dataset without levels."""
    return DatasetFormatError(f"{base}: there is no folder {ndtiff.FULL_RESOLUTION!r} in it, so it is not a tiled NDTiff dataset")


def make_levels(base: Path, most: int | None) -> int:
    """Make the levels again of a dataset that is kept for oneself; see `rebuild_pyramid`."""
    full = base / ndtiff.FULL_RESOLUTION
    store = open_folder(full)
    if store.version is None:
        forget_levels(base)
        return 0  # Java has made no file: there never was an image
    if store.version[0] < 3:
        raise UnsupportedError(f"{base} is NDTiff {store.version[0]}.{store.version[1]}: levels are made for version 3 only")
    dataset = Dataset.of(store, base)
    prefix = store.files[0].rpartition("_NDTiffStack")[0] if store.files else base.name
    with dataset:
        try:
            with tempfile.TemporaryDirectory(prefix=_workplace(base), dir=base.parent, ignore_cleanup_errors=True) as folder:
                return _make_levels(base, Path(folder), prefix, dataset, store.index.winners().tolist(), most)
        except OSError as error:
            raise StorageError(f"cannot write the resolution levels of {base}: {error}") from error


def _make_levels(base: Path, work: Path, prefix: str, dataset: Dataset, rows: list[int], most: int | None) -> int:
    """Make levels in a folder to work in, and put them in the place of the old ones; say how many there are."""
    builder = LevelsBuilder(work, prefix, dataset, most)
    try:
        for row in rows:
            builder.add(row)
        count = len(builder.levels)
        builder.flush()
    except ValueError as error:
        raise DatasetFormatError(f"{base}: {error}") from None
    finally:
        builder.close(sync=True)
    note_levels(base, most)
    for number in range(1, count + 1):
        _swap(level_folder(work, number), level_folder(base, number), work / f"old-{number}")
    kept = {level_folder(base, number) for number in range(1, count + 1)}
    for number, old in enumerate(folder for folder in level_folders(base) if folder not in kept):
        old.rename(work / f"spare-{number}")
    forget_levels(base)
    return count


def _swap(new: Path, place: Path, aside: Path) -> None:
    """Put a new folder in the place of another one, if there is one; that goes aside, or stays if this fails."""
    try:
        if place.exists():
            place.rename(aside)
        new.rename(place)
    except BaseException:
        if aside.exists() and not place.exists():
            aside.rename(place)
        raise
