"""What uses a microscope for longer than one call, and is ended before it is let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiomm.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["User", "Users"]


class User(Protocol):
    """What drives the microscope for longer than one call: a live view, an acquisition."""

    async def abort_for_close(self) -> None:
        """Stop, leave the hardware safe, and come back when that is done."""


class Users(set[User]):
    """Those of one bridge or core; none may join from when they are ended.

    Else what begins again whenever it was ended would be ended for ever, or join when nobody ends it any more.

    Parameters
    ----------
    what : str
        What they use, for the error.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self._ending = False

    def add(self, user: User) -> None:
        """Let one more be ended before the microscope is let go.

        Raises
        ------
        ClosedError
            That has begun.
        """
        if self._ending:
            raise ClosedError(f"this {self._what} was closed")
        super().add(user)

    def last(self) -> Iterator[User]:
        """Take them out one by one, to be ended; refuse whatever comes from now on."""
        self._ending = True
        while self:
            yield self.pop()
