"""What is read ahead of a stream from Java: in order, and no more than was allowed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiomm.acquire.remote.inbox import END, Inbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Stream:
    """A stream that always has another message, and counts those that were taken."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[list[Any]]:
        for size in self.sizes:
            self.taken += 1
            yield [size]
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        pass


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def opened(stream: Any, **bounds: Any) -> Inbox[int]:
    async def read(frames: Any) -> Any:
        return frames[0] or END

    return Inbox(stream, read, name="test", **bounds)


async def test_so_many_are_read_ahead_and_one_more_for_each_that_is_taken() -> None:
    stream = Stream([1] * 100)
    inbox = opened(stream, room=5)
    await settle()
    assert stream.taken == 5
    assert await inbox.take() == 1
    await settle()
    assert stream.taken == 6
    await inbox.aclose()


async def test_large_ones_wait_with_the_server_when_their_size_is_reached() -> None:
    stream = Stream([10, 90, 100, 1, 1, 1])
    inbox = opened(stream, room=5, size=lambda item: item, most=100)
    await settle()
    assert stream.taken == 2
    assert await inbox.take() == 10
    await settle()
    assert stream.taken == 3  # 90, and the one that goes beyond
    assert [await inbox.take() for _ in range(5)] == [90, 100, 1, 1, 1]
    await inbox.aclose()


async def test_what_is_dropped_holds_up_nothing() -> None:
    stream = Stream([100, 100, 100, 0])
    inbox = opened(stream, room=5, size=lambda item: item, most=100)
    await settle()
    assert stream.taken == 1
    inbox.drop()
    await asyncio.wait_for(inbox.settled(), 5)
    assert stream.taken == 4
    assert await inbox.take() is None
    await inbox.aclose()
