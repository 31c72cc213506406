"""Read what another process appends to an NDTiff index, and find out when it is done."""

from __future__ import annotations

import math
import struct
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.files import InputFile, is_there, open_input, tiffs_in
from aiomm.dataset.ndtiff.live import FollowedStore
from aiomm.dataset.ndtiff.reader import level_folder, read_summary
from aiomm.dataset.ndtiff.records import WINDOW
from aiomm.dataset.ndtiff.table import FILE, HEIGHT, KIND, LENGTH, METADATA, PIXELS, WIDTH
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

LOOK: Final = 4096
"""Bytes read to see whether there is more."""
PATIENCE: Final = 1.0
"""Seconds for which a record or a header may be wrong: it can be half written. After them it is damaged."""
CHECK: Final = 0.01
"""Seconds from one look at whether the writer is done to the next."""
RESERVE: Final = 2**16
"""Bytes that an image may take beside those of the one before it."""

_ZERO: Final = b"\0\0\0\0"
_U32 = struct.Struct("<I")


class IndexTail:
    """Follows an index: `poll` adds what is new to `store`.

    Some writers make the index long and full of zeros first (Java), some write it a buffer at a time, and any of them can
    be killed: only whole records count. Where zeros follow, the end of a record does not show that it is whole, so there
    it counts when two readings agree.

    Raises
    ------
    DatasetFormatError
        There is no NDTiff dataset, or not yet.
    """

    def __init__(self, path: Path) -> None:
        self._folder = level_folder(path, 0)
        self._path = self._folder / ndtiff.INDEX_NAME
        self._file = self._open()
        self._identity = self._identify()
        self.store = FollowedStore(self._folder, {}, None, str(self._path))
        self._begun = False
        self._position = 0
        self._seen = b""  # whole records read, where zeros follow
        self._wrong_since: float | None = None
        self._checked = 0.0
        self._grown = time.monotonic()
        self._rows = 0  # looked at for the last image
        self._last: list[int] | None = None  # place of the image that is last in the last file
        self._catch_up()

    def _open(self) -> InputFile:
        try:
            return InputFile(self._path)
        except FileNotFoundError:
            raise DatasetFormatError(f"{self._folder}: there is no {ndtiff.INDEX_NAME}; not an NDTiff dataset of version 2 or 3") from None

    def _identify(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            raise DatasetFormatError(f"{self._path}: the index was there and is gone") from None
        return status.st_dev, status.st_ino

    def _catch_up(self) -> None:
        """Read all that is there; a record that is wrong gets its time to become right."""
        dry = 0
        while dry < 2 or self._wrong_since is not None:  # twice: see `_add`
            dry = 0 if self.poll() else dry + 1
            if self._wrong_since is not None:
                time.sleep(CHECK)

    @property
    def pending(self) -> bool:
        """Whether the next poll may find more, though nothing new is written."""
        return bool(self._seen) or self._wrong_since is not None

    @property
    def begun(self) -> bool:
        """Whether there is a file that says what holds for every image; Java makes none before the first."""
        return self._begun

    def poll(self) -> bool:
        """Add what is new; whether there was something new. Nobody is told.

        Raises
        ------
        DatasetFormatError
            The index is damaged.
        """
        try:
            done = self._read()
        except DatasetFormatError:
            now = time.monotonic()
            if self._wrong_since is None:
                self._wrong_since = now
            if now - self._wrong_since > PATIENCE:
                raise
            return False
        self._wrong_since = None
        if done:
            self._position += done
            self._grown = time.monotonic()
        return done > 0

    def _read(self) -> int:
        """Add the whole records that are new; say how many bytes they are."""
        if not self._begun:
            self._begin()
        data = self._file.read(self._position, LOOK)
        if not data or data[:4] == _ZERO:
            self._seen = b""
            return 0
        if not self._begun:
            raise DatasetFormatError(f"{self._folder}: there is no TIFF file beside the index")
        if len(data) == LOOK and any(data[-64:]):
            data = self._file.read(self._position, WINDOW)
        return self._add(data)

    def _begin(self) -> None:
        """Read what holds for every image, if there is a file that says it."""
        if tiffs := tiffs_in(self._folder):
            self.store.begin(self._folder, *read_summary(self._folder / tiffs[0]))
            self._begun = True

    def _add(self, data: bytes) -> int:
        """Add the whole records at the beginning of ``data``; say how many bytes they are."""
        before, whole = _whole(data)
        if not whole or data[whole : whole + 4] != _ZERO:
            self._seen = b""
            return self.store.add(data[:whole] if whole else data, self._position)
        if _ZERO in (data[whole - 12 : whole - 8], data[whole - 8 : whole - 4]):  # where its metadata is: not written yet
            whole = before
        agreed = len(self._seen) if data.startswith(self._seen) else 0
        self._seen = data[agreed:whole]
        return self.store.add(data[:agreed], self._position) if agreed else 0

    # ---- the end ------------------------------------------------------------------------------------------------

    def ended(self) -> bool:
        """Whether the writer is done: the last file says that it ends with the last image. Looks now and then only.

        Raises
        ------
        DatasetFormatError
            The index is gone, or is another one, which says something else.
        """
        now = time.monotonic()
        if self.pending or now - self._checked < CHECK:
            return False
        self._checked = now
        self._check_identity()
        return self._is_last(now)

    def _is_last(self, now: float) -> bool:
        if not self._begun:  # Java makes the index, and then makes it long until the end
            return not self._file.size() and now - self._grown > PATIENCE
        store, count = self.store, len(self.store.index)
        if count > self._rows:
            rows = store.table.take(np.arange(self._rows, count))
            self._rows = count
            rows = rows[rows[:, FILE] == rows[:, FILE].max()]
            last: list[int] = rows[rows[:, PIXELS].argmax()].tolist()
            if self._last is None or (last[FILE], last[PIXELS]) > (self._last[FILE], self._last[PIXELS]):
                self._last = last
        if self._last is not None:
            path = self._folder / store.files[self._last[FILE]]
            if now - self._grown < PATIENCE and not is_there(path):
                return False  # it may come: somebody copies the folder
            end = ends_with(open_input(path), self._last)
            if not end:
                return False
            size = end - self._last[PIXELS]
            if end + size + RESERVE > ndtiff.FILE_LIMIT and now - self._grown < PATIENCE:
                return False  # full: a writer may end it before it makes the next
        others = [entry for entry in self._folder.iterdir() if ".tif" in entry.name and entry.name not in store.files]
        empty = [path for path in others if InputFile(path).read(4, 4) == _ZERO]
        if len(empty) < len(others) or not (empty or self._last):
            return False
        return not self._file.read(self._position, 1).strip(b"\0")

    def _check_identity(self) -> None:
        """Go over to an index that has taken the place of this one, if it begins the same (a repaired one does)."""
        if self._file.size() < self._position:
            raise DatasetFormatError(f"{self._path}: the index became shorter than what was read of it; open the dataset again")
        identity = self._identify()
        if identity == self._identity:
            return
        new = self._open()
        for at in range(0, self._position, WINDOW):
            length = min(WINDOW, self._position - at)
            if new.read(at, length) != self._file.read(at, length):
                raise DatasetFormatError(f"{self._path}: the index was replaced by another; open the dataset again")
        self._file, self._identity, self._seen = new, identity, b""


def ends_with(file: InputFile, place: list[int]) -> int:
    """Where the image in a place ends, if the file says that it is the last and ends there too; else 0."""
    record = ndtiff.RGB_RECORD if place[KIND] == ndtiff.RGB else ndtiff.GRAY_RECORD
    ifd = min(place[PIXELS], place[METADATA]) - record
    data = file.read(max(ifd, 0), ndtiff.IFD_BYTES)
    shape, dtype = ndtiff.shape_and_dtype(place[KIND], place[WIDTH], place[HEIGHT])
    end = max(place[PIXELS] + math.prod(shape) * dtype.itemsize, place[METADATA] + place[LENGTH])
    last = len(data) == ndtiff.IFD_BYTES and data[:2] == b"\x0d\0" and data[-4:] == _ZERO and file.size() - end < ndtiff.PAGE
    return end if last else 0


def _whole(data: bytes) -> tuple[int, int]:
    """Where the last record begins and ends of which all bytes are there, going by the lengths alone."""
    before, at, size, unpack = 0, 0, len(data), _U32.unpack_from
    while at + 4 <= size:
        axes = unpack(data, at)[0]
        name = at + 4 + axes
        if not axes or name + 4 > size:
            break
        length = unpack(data, name)[0]
        end = name + 4 + length + ndtiff.LOCATION.size
        if not length or end > size:
            break
        before, at = at, end
    return before, at
