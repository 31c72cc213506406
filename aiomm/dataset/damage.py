"""What repair of every format shares: what it reports, who still writes, how an old file is kept."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiomm.dataset.locking import FolderLock
from aiomm.errors import DatasetError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT: Final = ".before-repair"
"""Behind the name of a file that is kept."""


@dataclass
class RepairReport:
    """What `repair` found, and what it does about it.

    Attributes
    ----------
    path : Path
        Folder of the dataset.
    images : int
        How many records the index has in the end; an image saved twice counts twice.
    recovered : int
        How many of them were not in the index, or not where it said.
    lost : int
        How many images the index had that are nowhere, or not whole.
    actions : list of str
        What is to do, or was done, one sentence each.
    problems : list of str
        What cannot be repaired.
    applied : bool
        Whether it was done.
    opens : bool
        Whether the dataset opens when it is done.
    """

    path: Path
    images: int = 0
    recovered: int = 0
    lost: int = 0
    actions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    applied: bool = False
    opens: bool = True

    def must_open(self, check: Callable[[], object]) -> None:
        """Note why the dataset does not open, if ``check`` raises `DatasetError`: then it is not whole, whatever its parts are."""
        try:
            check()
        except DatasetError as error:
            self.opens = False
            self.problems.append(f"it does not open: {error}")

    @property
    def needed(self) -> bool:
        """Whether there is, or was, anything to do."""
        return bool(self.actions)

    def __str__(self) -> str:
        if not self.needed:
            lines = [f"{self.path}: nothing {'that can be repaired' if self.problems else 'to repair'}, {self.images} images are whole"]
        else:
            head = f"{self.path}: {'repaired' if self.applied else 'to be repaired'}, {self.images} images whole"
            lines = [f"{head}, {self.recovered} of them recovered, {self.lost} lost"]
        return "\n".join([*lines, *(f"  {text}" for text in self.actions), *(f"  cannot be repaired: {text}" for text in self.problems)])


def repair_command(path: Path) -> str:
    """Say what to run to repair a dataset."""
    return f"`aiomm repair --apply {shlex.quote(str(path))}`"


def who_writes(folder: Path) -> str | None:
    """Number of a process of this machine that has a file of the dataset open for writing, where the system tells (Linux)."""
    inside = str(folder.resolve()) + os.sep
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
            for number in os.listdir(process / "fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    target = os.readlink(f"{process}/fd/{number}")  # noqa: PTH115
                    if target.startswith(inside):
                        flags = re.search(r"^flags:\s*([0-7]+)", (process / "fdinfo" / number).read_text(), re.MULTILINE)
                        if flags is not None and int(flags[1], 8) & (os.O_WRONLY | os.O_RDWR):
                            return process.name
    return None


@contextlib.contextmanager
def alone(base: Path, doing: str) -> Iterator[None]:
    """Keep a dataset for oneself; what is done is said to whoever writes to it.

    Raises
    ------
    StorageError
        Somebody writes to it.
    """
    writer = who_writes(base)
    lock = FolderLock(base, alone=True)
    try:
        if writer is not None or lock.refused:
            who = f"process {writer}" if writer is not None else "another process of this machine"
            raise StorageError(f"{base} is being written to, by {who}; {doing} it when the writer has ended")
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def gone_on_error(path: Path) -> Iterator[None]:
    """Remove a file if writing it fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def keep(path: Path, content: bytes) -> None:
    """Write what a file had beside it, under a name that is free.

    Raises
    ------
    OSError
        It cannot be written.
    """
    number, copy = 1, path.with_name(path.name + KEPT)
    while True:
        try:
            with copy.open("xb") as file, gone_on_error(copy):
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            number += 1
            copy = path.with_name(f"{path.name}{KEPT}-{number}")
        else:
            return
