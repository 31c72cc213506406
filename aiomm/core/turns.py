"""Whose turn it is to drive a core's hardware: acquisitions on one core take turns, one group of events at a time."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

from aiomm.core.thread import Routine, Wait, Wakes

if TYPE_CHECKING:
    from collections.abc import Callable


class Turn:
    """The right to drive the hardware for one group of events.

    ``within`` is the turn in whose hook this one was asked for: an acquisition that a hook runs may drive the
    hardware while the outer one waits for the hook, or both would wait forever. ``lent`` says that it waits for one.
    ``wanted`` is set when somebody begins to wait for its end.
    """

    __slots__ = ("lent", "owner", "wanted", "within")

    def __init__(self, owner: object, within: Turn | None = None, wanted: Wakes | None = None) -> None:
        self.owner = owner
        self.within = within
        self.wanted = wanted
        self.lent = False


current_turn: ContextVar[Turn | None] = ContextVar("aiomm_current_turn", default=None)
"""The turn in whose hook the current task or worker thread runs; None outside hooks."""


class Turns:
    """First come, first served; used on one thread only: the hardware thread, or that of the loop for a running Micro-Manager."""

    def __init__(self) -> None:
        self._stack: list[Turn] = []
        self._queue: deque[tuple[Turn, Wakes]] = deque()
        self._returns: Wakes | None = None  # of who waits in `take_back`
        self._when_free: deque[Callable[[], None]] = deque()

    @property
    def holder(self) -> object | None:
        """Who drives the hardware now."""
        return self._stack[-1].owner if self._stack else None

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a turn."""
        return bool(self._queue)

    def _may(self, turn: Turn) -> bool:
        return not self._stack or (turn.within is self._stack[-1] and turn.within.lent)

    def take(self, turn: Turn, signal: Wakes, give_up: Callable[[], bool] = lambda: True) -> Routine:
        """Wait for the turn (``yield from``). ``signal`` wakes this routine and is cleared by it.

        The caller may also set the signal, to have ``give_up()`` asked: True ends the waiting, and this returns False
        without the turn; False keeps the place in the line. A signal that was set before the call counts too.
        """
        if self._may(turn):
            self._begin(turn)
            return True
        entry = (turn, signal)
        self._queue.append(entry)
        for other in self._stack:
            if other.wanted is not None:
                other.wanted.set()
        try:
            while True:
                yield Wait(signal)
                signal.clear()
                if turn in self._stack:
                    return True
                if give_up():
                    return False
                if self._may(turn):  # it was lent meanwhile
                    self._begin(turn)
                    return True
        except BaseException:
            self.give_back(turn)  # it may have been given between the signal and now
            raise
        finally:
            if entry in self._queue:
                self._queue.remove(entry)

    def take_back(self, turn: Turn, signal: Wakes, give_up: Callable[[], bool]) -> Routine:
        """After a hook: wait until whoever was lent the turn has given it back. False if ``give_up()`` came first."""
        turn.lent = False
        while self._stack[-1] is not turn:
            if give_up():
                return False
            self._returns = signal
            yield Wait(signal)
            signal.clear()
        return True

    def _begin(self, turn: Turn) -> None:
        self._stack.append(turn)

    def when_free(self, act: Callable[[], None]) -> None:
        """Have ``act()`` done when nobody has a turn, before the next one begins: now, or when the last one ends. It must not raise."""
        self._when_free.append(act)
        self._act()

    def _act(self) -> None:
        while self._when_free and not self._stack:
            self._when_free.popleft()()

    def give_back(self, turn: Turn) -> None:
        """End a turn; the next in line that may go gets it. Giving back what one does not have is nothing."""
        if turn not in self._stack:
            return
        self._stack.remove(turn)
        if self._returns is not None:
            self._returns.set()
        self._act()
        for entry in list(self._queue):
            if self._may(entry[0]):
                self._queue.remove(entry)
                self._begin(entry[0])
                entry[1].set()
                return
