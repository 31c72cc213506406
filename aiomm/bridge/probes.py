"""Handshakes sent to learn whether the server is done with what was sent before them: which are out, and what the last one waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

__all__ = ["Probes"]

_NONSENSE: Final = 3  # messages that belong to nothing, in place of an answer to a handshake


class Probes:
    """The handshakes of one port that are out.

    Attributes
    ----------
    keys : list of bytes
        Those of the handshakes; the answer to any of them will do.
    """

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._nonsense = 0

    def sent(self, key: bytes, timer: asyncio.TimerHandle) -> None:
        """One more is out; `timer` does what is to be done when it has no answer."""
        self.stop_timer()
        self.keys.append(key)
        self._timer = timer

    def stop_timer(self) -> None:
        """Nothing is to be done any more when the last one has no answer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def nonsense(self) -> bool:
        """Something came that is no answer; whether it is too much now."""
        self._nonsense += 1
        return self._nonsense >= _NONSENSE

    def answered(self) -> None:
        """A good answer came to one of them."""
        self._nonsense = 0

    def end(self) -> list[bytes]:
        """Wait for none of them any more; gives their keys, by which late answers are known."""
        self.stop_timer()
        keys, self.keys = self.keys, []
        return keys
