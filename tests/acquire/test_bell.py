"""Tasks are woken when what they wait for is so, and not each time that something changes."""

from __future__ import annotations

import asyncio
from typing import Any

from aiomm.acquire.mailbox import Bell


class Thing:
    """Something that may be so, and how often it was looked at."""

    def __init__(self) -> None:
        self.so = False
        self.looks = 0

    def look(self) -> bool:
        self.looks += 1
        return self.so


async def waiting(work: Any) -> asyncio.Task[None]:
    task: asyncio.Task[None] = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


async def test_who_waits_for_something_sleeps_until_it_is_so() -> None:
    bell, thing = Bell(), Thing()
    task = await waiting(bell.until(thing.look))
    for _ in range(5):
        bell.ring()
        await asyncio.sleep(0)
    assert not task.done()
    thing.so = True
    bell.ring()
    async with asyncio.timeout(5):
        await task


async def test_what_becomes_so_right_after_the_ring_is_seen() -> None:
    bell, thing = Bell(), Thing()
    task = await waiting(bell.until(thing.look))
    bell.ring()
    thing.so = True
    async with asyncio.timeout(5):
        await task


async def test_what_is_so_already_is_not_waited_for() -> None:
    thing = Thing()
    thing.so = True
    await Bell().until(thing.look)
    assert thing.looks == 1


async def test_what_is_not_so_any_more_when_the_task_runs_is_waited_for_again() -> None:
    bell, thing = Bell(), Thing()
    task = await waiting(bell.until(thing.look))
    thing.so = True
    bell.ring()
    thing.so = False
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    thing.so = True
    bell.ring()
    async with asyncio.timeout(5):
        await task


async def test_a_ring_wakes_who_waits_for_no_more_than_that() -> None:
    bell = Bell()
    tasks = [await waiting(bell.wait()) for _ in range(3)]
    bell.ring()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)


async def test_who_was_cancelled_is_not_looked_at_any_more() -> None:
    bell, thing = Bell(), Thing()
    task = await waiting(bell.until(thing.look))
    task.cancel()
    await asyncio.wait([task])
    before = thing.looks
    bell.ring()
    await asyncio.sleep(0)
    assert thing.looks == before


async def test_a_ring_from_a_thread_without_a_loop() -> None:
    """A plain function that submits events rings there."""
    bell, thing = Bell(), Thing()
    task = await waiting(bell.until(thing.look))
    await asyncio.to_thread(bell.ring)
    assert not task.done()
    thing.so = True
    await asyncio.to_thread(bell.ring)
    async with asyncio.timeout(5):
        await task
