"""``display_settings.txt``: how Micro-Manager's viewers show the channels at first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aiomm.dataset.encode import encode_json

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.storage import Store

FILE_NAME = "display_settings.txt"
_COLORS = (0xFFFFFF, 0x00FF00, 0xFF0000, 0x0000FF, 0xFF00FF, 0x00FFFF, 0xFFFF00)


def display_settings(store: Store) -> dict[str, Any]:
    """Make settings from a dataset's channels: full range, a colour each."""
    channels: list[str] = [""]
    if "channel" in store.index.types and store.index.types["channel"] is str:
        channels = store.index.strings("channel")
    depth = store.bit_depth_of(0) if len(store.index) else 16
    settings: dict[str, Any] = {
        "All channel settings": {
            "Ignore outliers": False,
            "Log histogram": False,
            "Ignore outlier percentage": 2,
            "Display all channels": True,
            "Autoscale all channels": True,
            "Sync all channels": False,
        }
    }
    for i, name in enumerate(channels):
        color = _COLORS[i % len(_COLORS)] if len(channels) == 1 else _COLORS[1:][i % (len(_COLORS) - 1)]
        settings[name] = {
            "Gamma": 1,
            "Active": True,
            "Min": 0,
            "Max": 2**depth - 1,
            "Color": (0xFF000000 | color) - 2**32,  # a signed 32-bit ARGB number
            "BitDepth": depth,
            "Name": name,
        }
    return settings


def write_display_settings(folder: Path, settings: dict[str, Any], *, sync: bool) -> None:
    """Write the settings whole or not at all."""
    part = folder / (FILE_NAME + ".part")
    try:
        with part.open("wb") as file:
            file.write(encode_json(settings))
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(folder / FILE_NAME)
        if sync:
            sync_folder(folder)
    except OSError:
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
