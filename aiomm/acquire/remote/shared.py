"""What the acquisitions of a loop on one Micro-Manager have in common: whose turn it is, and how the hardware was before the first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aiomm.core.turns import Turns

if TYPE_CHECKING:
    from aiomm.acquire.remote.devices import JavaDevices
    from aiomm.acquire.remote.turns import EngineTurns
    from aiomm.bridge import Bridge
    from aiomm.core.safety import Found


class Shared:
    """What the acquisitions of a loop on one Micro-Manager have in common.

    Attributes
    ----------
    turns : Turns
        Theirs.
    open : dict
        The devices of each acquisition that has asked for a turn and has not ended, with its turns.
    found : Found or None
        The hardware as the first of them has found it: the last one to end leaves it so.
    waiting : set
        Those that wait for the images of others to be out of Java's way, open or not.
    holding : dict
        By which devices which shutter is held open; some may have ended.
    chosen : (str, str) or None
        The camera that an event has made the core's for its own images, and the one that was before.
    """

    def __init__(self) -> None:
        self.waiting: set[EngineTurns] = set()
        self.turns = Turns()
        self.open: dict[JavaDevices, EngineTurns] = {}
        self.holding: dict[JavaDevices, str] = {}
        self.forget()

    def forget(self) -> None:
        """The last one has ended."""
        self.found: Found | None = None
        self.chosen: tuple[str, str] | None = None
        self.holding.clear()

    def leaves(self, devices: JavaDevices) -> bool:
        """Whether something is to be released when these end before others."""
        return devices in self.holding or self.chosen is not None


_SHARED: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], Shared]] = WeakKeyDictionary()


def server_of(bridge: Bridge) -> tuple[str, int]:
    """Say which Micro-Manager a bridge leads to."""
    host = bridge.arguments["ip_address"]
    return "127.0.0.1" if host == "localhost" else host, bridge.port


def shared_on(bridge: Bridge) -> Shared:
    """Give what is shared by all that use this loop and Micro-Manager."""
    return _SHARED.setdefault(asyncio.get_running_loop(), {}).setdefault(server_of(bridge), Shared())
