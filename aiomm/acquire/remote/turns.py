"""Whose turn it is on a running Micro-Manager: acquisitions of this process there take turns, one group of events at a time.

There is one engine in a Micro-Manager. It would take the events of two acquisitions one after another by itself, but what is set from
here before an event, and the camera of a sequence, are nobody else's business until its images are taken.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aiomm.core.turns import Turn, Turns
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.acquire.remote.devices import JavaDevices
    from aiomm.acquire.remote.drive import Steps
    from aiomm.bridge import Bridge
    from aiomm.core.thread import Wakes

__all__ = ["EngineTurns", "refuse_held"]

LEAVES_S = 0.5  # what whoever has the turn gets to end it when another acquisition ends

_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], Turns]] = WeakKeyDictionary()


def server_of(bridge: Bridge) -> tuple[str, int]:
    """Say which Micro-Manager a bridge leads to."""
    host = bridge.arguments["ip_address"]
    return "127.0.0.1" if host == "localhost" else host, bridge.port


class EngineTurns:
    """The turns of one acquisition; it is the owner of each.

    Parameters
    ----------
    bridge
        To the Micro-Manager: all bridges of a loop to the same one share its turns.
    devices
        What the acquisition does to the hardware.
    signal
        Wakes its routine.

    Attributes
    ----------
    holding : Turn or None
        While Java's engine waits for a hook of this acquisition.
    server : (str, int)
        Which Micro-Manager it is.
    """

    def __init__(self, bridge: Bridge, devices: JavaDevices, signal: Wakes) -> None:
        self.server = server_of(bridge)
        self.devices = devices
        self.holding: Turn | None = None
        self._kept: Turn | None = None
        self._signal = signal
        self._loop = asyncio.get_running_loop()
        self._turns = _TURNS.setdefault(self._loop, {}).setdefault(self.server, Turns())

    @property
    def wanted(self) -> bool:
        """Whether another acquisition waits for its turn."""
        return self._turns.wanted

    def take(self, give_up: Callable[[], bool]) -> Steps:
        """Wait for a turn, and give it; None if ``give_up()`` is true before. Whoever makes it true sets the signal."""
        turn = Turn(self)
        self._signal.set()  # what is true already counts too
        got = yield from self._turns.take(turn, self._signal, give_up)
        return turn if got else None

    def give_back(self, turn: Turn) -> None:
        """Others may drive the hardware now."""
        self._turns.last_owner = None  # else one that has ended would be kept
        self._turns.give_back(turn)

    def keep(self, turn: Turn) -> None:
        """The acquisition ends in the middle of this turn: what runs is stopped before others may drive the hardware."""
        self._kept = turn

    def end(self) -> None:
        """The acquisition has ended."""
        turn, self._kept = self._kept, None
        if turn is not None:
            self.give_back(turn)

    def restore(self) -> Steps:
        """Leave the hardware as it was found, at the end; gives what could not be done.

        While another acquisition drives it for longer, that one gets to know how it was found, and leaves it so at its own end.
        """
        if self.devices.found is None:
            return []
        if self._kept is None:
            until = time.monotonic() + LEAVES_S
            late = self._loop.call_later(LEAVES_S, self._signal.set)
            try:
                self._kept = yield from self.take(lambda: time.monotonic() >= until)
            finally:
                late.cancel()
        other = self._turns.holder
        if other is not self:
            assert isinstance(other, EngineTurns)
            other.devices.inherit(self.devices.found)
            return []
        failures = yield from self.devices.restore()
        return failures


def refuse_held(turn: Turn | None, bridge: Bridge) -> None:
    """Refuse what is asked for in a hook for which the engine of this Micro-Manager waits.

    Raises
    ------
    UnsupportedError
        It would wait for ever.
    """
    outer = None if turn is None else turn.owner
    if isinstance(outer, EngineTurns) and outer.holding is turn and outer.server == server_of(bridge):
        raise UnsupportedError(
            "an acquisition in a post_hardware or post_camera hook of another one on the same Micro-Manager would wait for ever: "
            "its one engine waits for the hook. Acquire in pre_hardware_hook_fn, or put events with queue.put()"
        )
