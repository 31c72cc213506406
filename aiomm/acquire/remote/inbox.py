"""What comes over one stream from Java, until it ends: read by a task of its own, a few messages ahead of who takes it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiomm.errors import AiommError, ClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiomm.bridge.streams import PullSocket

__all__ = ["END", "Inbox"]

T = TypeVar("T")
END: Any = object()
"""What a reader returns for the message that says the end."""


class Inbox(Generic[T]):
    """Messages of one stream.

    Parameters
    ----------
    pull
        The stream; closed with the inbox.
    read
        Makes of a message's frames what `take` gives; None for a message that is dealt with, `END` for the last one.
    room
        How many may wait to be taken; then Java has to wait.
    name
        Of the task.
    size, most
        How large a message is, and from which size of all that wait Java has to wait too.
    widest
        How many, and from which size, while it is `widen`-ed; if it can be.

    Attributes
    ----------
    on_full
        Called when Java has to wait although there is no more room to be had.
    """

    def __init__(
        self,
        pull: PullSocket,
        read: Callable[[Any], Awaitable[T | None]],
        *,
        room: int,
        name: str,
        size: Callable[[T], int] = lambda _: 0,
        most: float = math.inf,
        widest: tuple[int, float] | None = None,
    ) -> None:
        self._pull = pull
        self._read = read
        self._usual = self._limits = (room, most)
        self._widest = widest or self._usual
        self._size, self._held = size, 0
        self.on_full: Callable[[], None] = lambda: None
        self._items: deque[T] = deque()
        self._dropping = False
        self._error: BaseException | None = None
        self._taker: asyncio.Future[None] | None = None
        self._giver: asyncio.Future[None] | None = None
        self._settled: asyncio.Future[None] | None = None
        self.ended = False
        self.task = asyncio.get_running_loop().create_task(self._pump(), name=f"aiomm: {name}")

    async def take(self) -> T | None:
        """Give the next; None when no more will come.

        Raises
        ------
        ServerLostError
            Java is gone.
        """
        while not self._items:
            if self._error is not None:
                raise type(self._error)(*self._error.args)
            if self.ended or self._dropping or self.task.done():
                return None
            if self._taker is not None:
                raise RuntimeError("another task waits for the next message already; one task at a time")
            self._taker = asyncio.get_running_loop().create_future()
            try:
                await self._taker
            finally:
                self._taker = None
        item = self._items.popleft()
        self._held -= self._size(item)
        if not self.full:
            _set(self._giver)
        return item

    @property
    def full(self) -> bool:
        """Whether Java has to wait."""
        room, most = self._limits
        return len(self._items) >= room or self._held >= most

    @property
    def overfull(self) -> bool:
        """Whether Java has to wait although there is no more room to be had."""
        return self._limits == self._widest and self.full

    def widen(self, wide: bool) -> None:
        """Give more room, or no longer: somebody waits for Java, which waits for room here."""
        self._limits = self._widest if wide else self._usual
        if not self.full:
            _set(self._giver)
        elif self.overfull:
            self.on_full()

    def drop(self) -> None:
        """Nobody takes anything more: what waits and what comes is dropped, until the end."""
        self._dropping = True
        self._items.clear()
        self._held = 0
        _set(self._giver)
        _set(self._taker)

    async def settled(self) -> None:
        """Wait until the last message was dealt with, or no more can come."""
        while not self.ended and not self.task.done():
            done = self._settled = self._settled or asyncio.get_running_loop().create_future()
            await asyncio.wait([done])

    async def aclose(self) -> None:
        """Stop reading."""
        self.drop()
        self._pull.close()
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _pump(self) -> None:
        try:
            async for frames in self._pull:
                item = await self._read(frames)
                if item is END:
                    self.ended = True
                    _set(self._taker)
                    _set(self._settled)
                elif item is not None and not self._dropping:
                    self._items.append(item)
                    self._held += self._size(item)
                    _set(self._taker)
                    while self.full and not self._dropping:
                        if self.overfull:
                            self.on_full()
                        self._giver = asyncio.get_running_loop().create_future()
                        try:
                            await self._giver
                        finally:
                            self._giver = None
        except ClosedError:
            pass
        except AiommError as error:  # after the end Java closes the stream, as it should
            if not self.ended:
                self._error = error
        finally:
            _set(self._taker)
            _set(self._settled)


def _set(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
