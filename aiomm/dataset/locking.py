"""A lock on a dataset's folder, which says that somebody writes to it; the system takes it away when its holder dies.

It is of this machine, whoever runs the holder. Where there is none (Windows, many network disks) nothing is locked, nor refused.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path


class FolderLock:
    """Holds the lock of a folder until `release`.

    Parameters
    ----------
    folder : Path
        Of the dataset.
    alone : bool
        Whether nobody else may hold it; those that write share it.

    Attributes
    ----------
    refused : bool
        Whether others hold it in a way that keeps this one out.
    """

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.refused = False
        self._fd = -1
        if sys.platform == "win32":
            return
        with contextlib.suppress(OSError):  # a disk without locks
            self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(self._fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                self.refused = True
                self.release()
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Let others in. May be called again."""
        fd, self._fd = self._fd, -1
        if sys.platform != "win32" and fd >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)  # a process forked off may have it as well
            os.close(fd)
