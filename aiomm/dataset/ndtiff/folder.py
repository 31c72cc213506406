"""Make a dataset's folder: the next free number, taken by nobody else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FORBIDDEN = re.compile(r"[/\\\0]")


def make_folder(directory: Path, name: str) -> Path:
    """Make ``<directory>/<name>_<k>`` with k one above the highest there is, however many others do the same.

    Raises
    ------
    ValueError
        The name cannot be a folder's.
    OSError
        The folder cannot be made.
    """
    check_name(name)
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
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"name is {name!r}: it has characters that no encoding knows") from None
