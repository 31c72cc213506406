"""Whose turn it is to drive a core's hardware: acquisitions on one core take turns, one group of events at a time."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar

from aiomm.core.thread import Routine, Signal, Wait


class Turn:
    """The right to drive the hardware for one group of events.

    ``within`` is the turn in whose hook this one was asked for: an acquisition that a hook runs may drive the
    hardware while the outer one waits for the hook, or both would wait forever.
    """

    __slots__ = ("after", "owner", "within")

    def __init__(self, owner: object, within: Turn | None = None) -> None:
        self.owner = owner
        self.within = within
        self.after: object | None = None  # who had the turn before


current_turn: ContextVar[Turn | None] = ContextVar("aiomm_current_turn", default=None)
"""The turn in whose hook the current task or worker thread runs; None outside hooks."""


class Turns:
    """First come, first served; used on the hardware thread only."""

    def __init__(self) -> None:
        self._stack: list[Turn] = []
        self._queue: deque[tuple[Turn, Signal]] = deque()
        self.last_owner: object | None = None

    @property
    def holder(self) -> object | None:
        """Who drives the hardware now."""
        return self._stack[-1].owner if self._stack else None

    def _may(self, turn: Turn) -> bool:
        return not self._stack or turn.within is self._stack[-1]

    def take(self, turn: Turn, signal: Signal) -> Routine:
        """Wait for the turn (``yield from``). ``signal`` wakes this routine and is cleared by it.

        The caller may also set the signal to look at its own abort flag: then this returns False without the turn, and
        a caller that still wants it asks again. A signal that was set before the call counts too.
        """
        if self._may(turn):
            self._begin(turn)
            return True
        entry = (turn, signal)
        self._queue.append(entry)
        try:
            yield Wait(signal)
        except BaseException:
            self.give_back(turn)  # it may have been given between the signal and now
            raise
        finally:
            signal.clear()
            if entry in self._queue:
                self._queue.remove(entry)
        return turn in self._stack

    def _begin(self, turn: Turn) -> None:
        self._stack.append(turn)
        turn.after = self.last_owner
        self.last_owner = turn.owner

    def give_back(self, turn: Turn) -> None:
        """End a turn; the next in line that may go gets it. Giving back what one does not have is nothing."""
        if turn not in self._stack:
            return
        self._stack.remove(turn)
        for entry in list(self._queue):
            if self._may(entry[0]):
                self._queue.remove(entry)
                self._begin(entry[0])
                entry[1].set()
                return
