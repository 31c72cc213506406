"""Count the turns of the event loop, to see whether others on it have theirs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turns:
    """How many turns the loop has had so far."""

    count = 0


@contextlib.asynccontextmanager
async def counted_turns() -> AsyncIterator[Turns]:
    """Count the loop's turns meanwhile."""
    turns = Turns()

    async def go_on() -> None:
        while True:
            await asyncio.sleep(0)
            turns.count += 1

    others = asyncio.create_task(go_on())
    try:
        yield turns
    finally:
        others.cancel()
