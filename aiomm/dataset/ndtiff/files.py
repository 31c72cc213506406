"""Read at offsets from files that many threads share: no common position, closed when the last reader lets go."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.ndtiff import positioned
from aiomm.errors import ClosedError, DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


LARGE = 2**20
"""Bytes from which on the file is asked whether it has so many."""


class InputFile:
    """A file open for reading. It closes itself when nobody holds it any more."""

    __slots__ = ("_fd", "_map", "path")

    def __init__(self, path: Path) -> None:
        self._fd = -1
        self.path = path
        self._map: np.ndarray | None = None
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(path))

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def fileno(self) -> int:
        """The system's number of the file, which holds as long as somebody holds this object."""
        return self._fd

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes, fewer only at the file's end."""
        if length > LARGE:  # what a damaged index says; memory is asked for before anything is read
            length = min(length, max(0, self.size() - offset))
        data = positioned.read_at(self._fd, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        done = len(data)
        while done < length and (data := positioned.read_at(self._fd, length - done, offset + done)):
            parts.append(data)
            done += len(data)
        return b"".join(parts)

    def read_into(self, out: np.ndarray, offset: int) -> None:
        """Fill a C-contiguous array.

        Raises
        ------
        DatasetFormatError
            The file ends before.
        """
        if positioned.read_into(self._fd, out, offset) == out.nbytes:
            return
        view = out.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            count = positioned.read_into(self._fd, view[done:], offset + done)
            if count == 0:
                raise self.too_short(offset, len(view))
            done += count

    def read_each(self, images: np.ndarray, offset: int, gaps: list[int]) -> None:
        """Fill some hundred C-contiguous images with that many bytes between each and the next; see `read_into`."""
        unused = memoryview(bytearray(max(gaps, default=0)))
        buffers: list[Any] = [None] * (2 * len(images) - 1)
        buffers[::2] = images
        buffers[1::2] = [unused[:gap] for gap in gaps]
        if positioned.read_each(self._fd, buffers, offset) == images.nbytes + sum(gaps):
            return
        for image, gap in zip(images, [*gaps, 0], strict=True):
            self.read_into(image, offset)
            offset += image.nbytes + gap

    def view(self, offset: int, length: int) -> np.ndarray:
        """Map bytes, read-only."""
        whole = self._map
        if whole is None or offset + length > len(whole):
            size = self.size()
            if offset + length > size:
                raise self.too_short(offset, length)
            whole = np.frombuffer(mmap.mmap(self._fd, size, access=mmap.ACCESS_READ), dtype=np.uint8)
            self._map = whole  # another thread may do the same: the last one stays
        return whole[offset : offset + length]

    def whole(self) -> np.ndarray:
        """All bytes that a call of `view` has mapped."""
        return np.zeros(0, np.uint8) if self._map is None else self._map

    def too_short(self, offset: int, length: int) -> DatasetFormatError:
        """Make the error for bytes that the file does not have."""
        return DatasetFormatError(f"{self.path}: the index says {length} bytes at {offset}, but the file has {self.size()} bytes")


def open_input(path: Path, by: str = "index") -> InputFile:
    """Open a file that an index names, or another list, as ``by`` says.

    Raises
    ------
    DatasetFormatError
        It is not there, or cannot be opened.
    """
    try:
        return InputFile(path)
    except FileNotFoundError:
        raise DatasetFormatError(f"{path}: the {by} names this file, but it is not there") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DatasetFormatError(f"{str(path)[:300]}: the {by} names this file, but it cannot be opened: {why}") from error


def tiffs_in(folder: Path) -> list[str]:
    """Names of the TIFF files in a folder that have begun, sorted: Java makes a file long and full of zeros before its header."""
    names = sorted(entry.name for entry in folder.glob("*.tif"))
    return [name for name in names if open_input(folder / name).read(0, 4).strip(b"\0")]


def is_there(path: Path) -> bool:
    """Whether there is such a file; what the system refuses, as a name that is too long, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def missing_files(folder: Path, names: Sequence[str], numbers: np.ndarray) -> dict[str, int]:
    """Say which files of these are not there, and how many images each has; ``numbers`` says of each image in which one it is."""
    lost = [number for number, name in enumerate(names) if not is_there(folder / name)]
    counts = np.bincount(numbers, minlength=len(names)) if lost else numbers
    return {names[number]: int(counts[number]) for number in lost if counts[number]}


class InputFiles:
    """The files of a dataset, opened when first read."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._open: dict[int, InputFile] = {}
        self._lock = threading.Lock()
        self._closed = False

    def get(self, number: int) -> InputFile:
        """The file of a number.

        Raises
        ------
        DatasetFormatError
            It is not there.
        ClosedError
            The dataset was closed.
        """
        file = self._open.get(number)
        if file is not None:
            return file
        with self._lock:
            if self._closed:
                raise ClosedError(f"the dataset {self._folder} was closed")
            if number not in self._open:
                path = self._folder / self._names[number]
                self._open[number] = open_input(path)
            return self._open[number]

    def let_go(self) -> None:
        """Let go of the files until they are read again; reads in progress end well."""
        with self._lock:
            self._open = {}

    def close(self) -> None:
        """Let go of the files for good."""
        with self._lock:
            self._closed = True
        self.let_go()
