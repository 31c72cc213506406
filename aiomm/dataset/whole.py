"""Files that are written whole or not at all, and names that are on the device."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from aiomm.dataset.encode import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def replace_json(path: Path, content: Mapping[str, Any], *, sync: bool) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OSError
        It cannot be written; the old one stands.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(encode_json(content))
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
        if sync:
            sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder put on the device, where the system can."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
