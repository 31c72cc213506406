"""``display_settings.txt``: how Micro-Manager's viewers show the channels at first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
