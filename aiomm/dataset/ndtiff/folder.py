"""Make a dataset's folder: the next free number, taken by nobody else."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FORBIDDEN = re.compile(r"[/\\\0]")
PART_LIMIT = 255
"""Bytes of one folder's or file's name, on nearly every file system."""
NAME_LIMIT = PART_LIMIT - len("_NDTiffStack_999.tif")
PATH_LIMIT = 4095
"""Bytes of a whole path, on Linux."""
_SHOWN = 40


def make_folder(directory: Path, name: str) -> Path:
    """Make ``<directory>/<name>_<k>`` with k one above the highest there is, however many others do the same.

    Raises
    ------
    ValueError
        The name cannot be a folder's, or the directory none.
    OSError
        The folder cannot be made.
    """
    check_name(name)
    check_directory(directory, name)
    directory.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(rf"{re.escape(name)}_(\d+).*", re.IGNORECASE)
    number = 1 + max((int(match[1]) for entry in directory.iterdir() if (match := pattern.fullmatch(entry.name))), default=0)
    while True:
        path = directory / f"{name}_{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1  # somebody else was quicker
        else:
            return path.absolute()


def check_name(name: str) -> None:
    """Refuse a name that cannot be a folder's.

    Raises
    ------
    ValueError
        It says what would be right.
    """
    if not isinstance(name, str) or not name or name in (".", "..") or _FORBIDDEN.search(name):
        raise ValueError(f"name is {name!r}: a dataset's name is a file name, without slashes")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"name is {name!r}: it has characters that no encoding knows") from None
    if length > NAME_LIMIT:
        raise ValueError(
            f"name is {_shown(name)} with {length} bytes: a dataset's name has {NAME_LIMIT} at most, since its files are called after it"
        )


def check_directory(directory: Path, name: str) -> None:
    """Refuse a directory with names that are longer than those of folders, and one that lies too deep for a dataset of this name.

    Raises
    ------
    ValueError
        It says what would be right.
    """
    try:
        os.fsencode(directory)
    except UnicodeEncodeError:
        raise ValueError(f"directory is {str(directory)!r}: it has characters that no encoding knows") from None
    for part in directory.parts:
        if (length := len(os.fsencode(part))) > PART_LIMIT:
            raise ValueError(f"directory has the folder {_shown(part)} with {length} bytes: a folder's name has {PART_LIMIT} at most")
    longest = directory / f"{name}_999" / "Full resolution" / f"{name}_NDTiffStack_999.tif"
    if (length := len(os.fsencode(longest))) > PATH_LIMIT:
        raise ValueError(
            f"directory is {_shown(str(directory))} with {len(os.fsencode(directory))} bytes: the paths of a dataset of this name in it "
            f"would have {length}, and may have {PATH_LIMIT}"
        )


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
