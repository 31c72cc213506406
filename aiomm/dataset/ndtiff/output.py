"""One TIFF file being written: reserved ahead, written at given offsets, ended so that readers find its end."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from aiomm.dataset.ndtiff import positioned
from aiomm.dataset.ndtiff.format import NEXT_IFD_AT, PAGE

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_STEP = 256 * 2**20
UNNAMED = ".new"  # after the name of a file that has no header yet
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_KEEP_SIZE = 1
_NO_DIRECT = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EPERM})


@cache
def _fallocate() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call


def reserve(fd: int, offset: int, length: int) -> bool:
    """Have the file system set space aside without changing the file's size. False where that cannot be done.

    Raises
    ------
    OSError
        ``ENOSPC`` or ``EDQUOT``: there is no such space.
    """
    call = _fallocate()
    if call is None:
        return False
    while call(fd, _KEEP_SIZE, offset, length) != 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        if code in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(code, os.strerror(code))
        return False
    return True


def write_at(fd: int, data: memoryview, offset: int) -> tuple[int, OSError | None]:
    """Write all of ``data`` at ``offset``. Says how much was written, and the error that stopped it."""
    done, total = 0, len(data)
    while done < total:
        try:
            count = positioned.write_at(fd, data[done:], offset + done)
        except InterruptedError:
            continue
        except OSError as error:
            return done, error
        if count == 0:
            return done, OSError(errno.EIO, "the system accepted no more bytes")
        done += count
    return done, None


def make_with_header(path: Path, header: bytes) -> None:
    """Make a file that has its header from the moment it has its name: a reader takes one without it for broken.

    Raises
    ------
    FileExistsError
        There is a file of this name.
    OSError
        It cannot be made; nothing is left.
    """
    if path.exists():  # nobody else writes to this folder, so nobody makes it between here and the rename
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    unnamed = path.with_name(path.name + UNNAMED)
    try:
        fd = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
        try:
            _, error = write_at(fd, memoryview(header), 0)
            if error is not None:
                raise error
        finally:
            os.close(fd)
        unnamed.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unnamed.unlink()
        raise


class OutputFile:
    """A TIFF file that one thread at a time writes.

    Parameters
    ----------
    path : Path
        Made new; an existing file is an error.
    header : bytes
        What stands before the first image.
    direct : bool
        Whether large aligned writes may go past the page cache.
    """

    def __init__(self, path: Path, header: bytes, *, direct: bool) -> None:
        self.path = path
        self.name = path.name
        self.end = len(header)  # of what is written
        self._last_ifd = 4 - NEXT_IFD_AT  # so that the first pointer to null is the header's
        self._reserved = 0
        self._can_reserve = True
        self._direct_fd = -1
        make_with_header(path, header)
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDWR | _FLAGS)
            if direct and hasattr(os, "O_DIRECT"):
                with contextlib.suppress(OSError):  # a file system without it: buffered writes do
                    self._direct_fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
            self._ensure(len(header))
        except BaseException:
            self._close()
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    @property
    def direct(self) -> bool:
        """Whether large aligned writes go past the page cache."""
        return self._direct_fd >= 0

    def write(self, data: memoryview, offset: int, *, direct: bool) -> tuple[int, OSError | None]:
        """Write at an offset. Says how much was written, and the error that stopped it."""
        try:
            self._ensure(offset + len(data))
        except OSError:
            pass  # perhaps a part fits: the write itself will tell how much
        done = 0
        if direct and self._direct_fd >= 0 and offset % PAGE == 0 and len(data) % PAGE == 0:
            done, error = write_at(self._direct_fd, data, offset)
            if error is None:
                return done, None
            if error.errno not in _NO_DIRECT:
                return done, error
            if done % PAGE == 0:  # an aligned write was refused, so this file system does not do it
                os.close(self._direct_fd)
                self._direct_fd = -1
        more, error = write_at(self._fd, data[done:], offset + done)
        return done + more, error

    def ends_with(self, last_ifd: int, end: int) -> None:
        """Note the last image that counts: its IFD, and where it ends. What is written after it is cut off at last."""
        self._last_ifd, self.end = last_ifd, end

    def sync(self) -> None:
        """Have the system put what was written on the device."""
        os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)

    def finish(self, *, sync: bool) -> None:
        """End the chain of images, cut off what is reserved or half written, close.

        Raises
        ------
        OSError
            The first step that failed; the others are still done.
        """
        first: OSError | None = None
        for step in (self._cut, self._end_chain, *((self.sync,) if sync else ())):
            try:
                step()
            except OSError as error:
                first = first or error
        self._close()
        if first is not None:
            raise first

    def _cut(self) -> None:
        os.ftruncate(self._fd, self.end)

    def _end_chain(self) -> None:
        _, error = write_at(self._fd, memoryview(b"\0\0\0\0"), self._last_ifd + NEXT_IFD_AT)
        if error is not None:
            raise error

    def _close(self) -> None:
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct_fd = -1

    def _ensure(self, end: int) -> None:
        """Reserve space up to ``end`` and some more, so that a full disk shows before an image is half written."""
        if end <= self._reserved or not self._can_reserve:
            return
        for step in (RESERVE_STEP, 0):
            length = -(-(end + step) // PAGE) * PAGE - self._reserved
            try:
                if not reserve(self._fd, self._reserved, length):
                    self._can_reserve = False
                    return
            except OSError:
                if step == 0:
                    raise
            else:
                self._reserved += length
                return


class OutputIndex:
    """The index file: whole records are appended, and cut back to whole ones when that fails."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | _FLAGS, 0o666)
        self._size = 0
        self._reserved = 0

    def append(self, records: list[bytes], *, sync: bool) -> tuple[int, OSError | None]:
        """Append records in one write. Says how many whole ones are in the file, and the error that stopped it."""
        whole, failure = self._append(records)
        if sync and whole:
            try:
                self.sync()
            except OSError as error:
                self._size -= sum(map(len, records[:whole]))
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self._size)
                return 0, error
        return whole, failure

    def _append(self, records: list[bytes]) -> tuple[int, OSError | None]:
        data = memoryview(b"".join(records))
        self._reserve(len(data))
        done, failure = 0, None
        while done < len(data):
            try:
                count = os.write(self._fd, data[done:])
            except InterruptedError:
                continue
            except OSError as error:
                failure = error
                break
            done += count
        if failure is None:
            self._size += done
            return len(records), None
        whole, size = 0, 0
        for record in records:
            if size + len(record) > done:
                break
            whole, size = whole + 1, size + len(record)
        self._size += size
        with contextlib.suppress(OSError):  # a record cut short at the end is passed over by readers
            os.ftruncate(self._fd, self._size)
        return whole, failure

    def _reserve(self, length: int) -> None:
        if self._size + length > self._reserved:
            step = max(length, 2**20)
            with contextlib.suppress(OSError):  # the write itself will tell
                reserve(self._fd, self._size, step)
            self._reserved = self._size + step

    def sync(self) -> None:
        """Have the system put what was written on the device."""
        os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)

    def finish(self, *, sync: bool) -> None:
        """Free what is reserved, close."""
        try:
            os.ftruncate(self._fd, self._size)
            if sync:
                self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1
