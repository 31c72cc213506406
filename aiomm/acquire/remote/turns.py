"""Whose turn it is on a running Micro-Manager: acquisitions of this process there take turns, one group of events at a time.

There is one engine in a Micro-Manager. It would take the events of two acquisitions one after another by itself, but what is set from
here before an event, and the camera of a sequence, are nobody else's business until its images are taken.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from aiomm.acquire.remote.shared import server_of
from aiomm.core.thread import Wait
from aiomm.core.turns import Turn
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiomm.acquire.remote.devices import JavaDevices
    from aiomm.acquire.remote.drive import Steps
    from aiomm.acquire.remote.inbox import Inbox
    from aiomm.acquire.run import Run
    from aiomm.bridge import Bridge
    from aiomm.core.thread import Wakes

__all__ = ["EngineTurns", "refuse_held"]

YIELDS_S: Final = 1.0
"""How long who ends leaves the hardware as others' images were taken with; their image processors may take for ever."""


class EngineTurns:
    """The turns of one acquisition; it is the owner of each.

    Parameters
    ----------
    bridge
        To the Micro-Manager.
    devices
        What the acquisition does to the hardware.
    run
        The acquisition.
    signal
        Wakes its routine.
    owes
        Says whether Java has taken images of it, and has not read yet what goes with them.
    images
        Gives where its images come, if they come here.

    Attributes
    ----------
    holding : Turn or None
        While Java's engine waits for a hook of this acquisition.
    server : (str, int)
        Which Micro-Manager it is.
    run, signal, owes, images
        As given, for the other acquisitions.
    """

    def __init__(
        self,
        bridge: Bridge,
        devices: JavaDevices,
        run: Run,
        signal: Wakes,
        owes: Callable[[], bool],
        images: Callable[[], Inbox[Any] | None],
    ) -> None:
        self.server = server_of(bridge)
        self.holding: Turn | None = None
        self._devices = devices
        self._kept: Turn | None = None
        self.run = run
        self.images = images
        self.signal = signal
        self.owes = owes
        self._shared = devices.shared
        self._turns = self._shared.turns

    @property
    def owing(self) -> bool:
        """Whether Java is to read of some image, of whichever acquisition, what goes with it."""
        return any(one.owes() for one in self._shared.open.values())

    def take(self, give_up: Callable[[], bool]) -> Steps:
        """Wait for a turn, and give it; None if ``give_up()`` is true before. Whoever makes it true sets the signal."""
        self._shared.open[self._devices] = self
        turn = yield from self._take(give_up)
        return turn

    def _take(self, give_up: Callable[[], bool]) -> Steps:
        turn = Turn(self)
        self.signal.set()  # what is true already counts too
        with self.waiting():
            got = yield from self._turns.take(turn, self.signal, give_up)
        return turn if got else None

    def give_back(self, turn: Turn) -> Steps:
        """Others may drive the hardware now. What those held that have ended meanwhile is released before."""
        try:
            yield from self._release_ended()
        finally:
            self._turns.give_back(turn)

    def keep(self, turn: Turn) -> None:
        """The acquisition ends in the middle of this turn: what runs is stopped before others may drive the hardware."""
        self._kept = turn

    def tell(self) -> None:
        """Something has come of what this acquisition owed: whoever waits for that looks again."""
        holder = self._turns.holder  # it may be at its end, and no more among the others
        for other in {*self._shared.open.values(), *([holder] if isinstance(holder, EngineTurns) else [])} - {self}:
            other.signal.set()

    def _release_ended(self) -> Steps:
        for ended in [one for one in self._shared.holding if one not in self._shared.open]:
            yield from self._devices.release_shutter(ended)

    # ---- who waits for whom -------------------------------------------------------------------------------------

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Java has to be rid of the images of others meanwhile: who is to take them may be who waits for this."""
        self._shared.waiting.add(self)
        self._make_room()
        try:
            yield
        finally:
            self._shared.waiting.discard(self)
            self._make_room()

    def _make_room(self) -> None:
        waiting = self._shared.waiting
        for one in list(self._shared.open.values()):
            if (images := one.images()) is not None:
                images.on_full = self._tell_waiting
                images.widen(bool(waiting - {one}))

    def _tell_waiting(self) -> None:
        for one in list(self._shared.waiting):
            one.run.held_up()

    def held_up_by(self) -> list[Run]:
        """Give the acquisitions whose images keep Java from going on, while this one waits for it."""
        if self not in self._shared.waiting:
            return []
        others = [one for one in self._shared.open.values() if one is not self]
        return [one.run for one in others if (images := one.images()) is not None and images.overfull]

    # ---- the end ------------------------------------------------------------------------------------------------

    def leave(self, lost: Callable[[], bool]) -> Steps:
        """Leave the hardware, at the end; gives what could not be done.

        The last one leaves it as the first had found it. Others stop and release what is their own; what is held while somebody else
        drives the hardware is released by that one, when it gives back its turn.
        """
        shared = self._shared
        if shared.open.pop(self._devices, None) is None:
            return []
        self.tell()
        last = not shared.open  # whoever comes now comes behind this one
        stop = self._kept is not None
        if self._kept is None:
            if not last and (not shared.leaves(self._devices) or self._turns.holder in shared.open.values()):
                return []
            self._kept = yield from self._take(lost)
            if self._kept is None:
                return []
        if last:
            try:
                failures = yield from self._devices.restore()
            finally:
                shared.forget()
            return failures
        until = time.monotonic() + YIELDS_S
        with self.waiting():
            while self.owing and not lost() and time.monotonic() < until:
                self.signal.clear()
                yield Wait(self.signal, until=until)
        self._devices.calm = None
        failures = yield from self._devices.leave(self._release_ended(), stop=stop)
        return failures

    def end(self) -> None:
        """The acquisition has ended."""
        if self._shared.open.pop(self._devices, None) is not None:  # without leaving: Java is gone
            self.tell()
            if not self._shared.open:
                self._shared.forget()
        turn, self._kept = self._kept, None
        if turn is not None:
            self._turns.give_back(turn)


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
