"""What a listener has not taken yet, and the async iterator over it, whoever tells what happens."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from aiomm.bridge.kept_here import KeptHere
from aiomm.errors import ClosedError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from aiomm.errors import AiommError

T = TypeVar("T")


def check_buffer(buffer: int) -> None:
    """Refuse what is no size of a mailbox."""
    if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
        raise ValueError(f"buffer is the number of changes that may wait, 1 or more, not {buffer!r}")


class Mailbox(Generic[T]):
    """What one listener has not taken yet; bounded, the oldest goes first. Filled on the listener's loop."""

    def __init__(self, size: int, kinds: frozenset[str] | None) -> None:
        self._items: deque[T] = deque(maxlen=size)
        self._kinds = kinds
        self._received = self._taken = 0
        self._ended = False
        self._error: AiommError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def dropped(self) -> int:
        """How many were lost."""
        return max(0, self._received - self._taken - len(self._items))

    def put(self, kind: str, item: T) -> None:
        """Take something in, if it is of a kind that is listened to."""
        if self._kinds is None or kind in self._kinds:
            self._items.append(item)
            self._received += 1
            self.wake()

    def end(self, error: AiommError | None = None) -> None:
        """No more will come."""
        self._error = error
        self._ended = True
        self.wake()

    def wake(self) -> None:
        """Have the listener look."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> T | None:
        """Give the oldest; None when no more will come."""
        while not self._items:
            if self._error is not None:
                raise type(self._error)(*self._error.args)
            if self._ended:
                return None
            if self._waiter is not None:
                raise RuntimeError("another task waits for this iterator's next change: give each task an iterator of its own")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._taken += 1
        return self._items.popleft()


class Listener(KeptHere, Generic[T]):
    """An async iterator over what comes into a mailbox from its first step on, or from ``async with`` on."""

    _instead = "ask for another one where it is needed"

    def __init__(self) -> None:
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._closed:
            raise ClosedError("this iterator over what the core tells was closed: ask for another")
        await self._listen()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._closed:
            raise StopAsyncIteration
        item = await (await self._listen()).take()
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Listen no more. Again and again does no harm."""
        raise NotImplementedError

    async def _listen(self) -> Mailbox[T]:
        """Begin to listen if that was not done yet."""
        raise NotImplementedError
