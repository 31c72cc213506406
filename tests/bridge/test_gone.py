"""What waits until Java listens somewhere, and is given up meanwhile."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.bridge.gone import unless_gone

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("again", [False, True])
async def test_one_that_fails_as_its_caller_is_cancelled_says_nothing_to_the_loop(java_host: JavaHost, turns: int, again: bool) -> None:
    """Nobody is left to hear of it; asyncio would say that its exception was never retrieved."""
    loop = asyncio.get_running_loop()
    heard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: heard.append(context))
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        fail = loop.create_future()

        async def work() -> None:
            try:
                await fail
            finally:
                raise errors.ServerNotFoundError("no way there")

        waiting = asyncio.create_task(unless_gone(bridge._open(), work()))
        while not bridge._open().watchers:
            await asyncio.sleep(0)
        fail.set_result(None)
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        if again:
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() or turns == 2
        assert not bridge._open().watchers
    if not waiting.cancelled():
        assert isinstance(waiting.exception(), errors.ServerNotFoundError)
    del waiting
    gc.collect()
    await asyncio.sleep(0)
    assert heard == []
