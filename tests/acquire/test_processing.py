"""Image processors that return at once follow one another in one task; the loop goes on, and what is cancelled is given up alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors
from tests.support.rigs import frames

if TYPE_CHECKING:
    from tests.support.rigs import Rig


async def test_the_loop_goes_on_between_calls_that_never_wait(rig: Rig) -> None:
    turns = 0
    between: list[int] = []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def process(image: Any, metadata: Any) -> Any:
        between.append(turns)
        until = time.perf_counter() + 0.005
        while time.perf_counter() < until:
            pass
        return image, metadata

    async with rig.acquisition(image_process_fn=process) as acq:
        counting = asyncio.create_task(count())
        assert len(await acq.acquire(frames(20))) == 20
        counting.cancel()
    assert len(set(between)) == 20


async def test_a_call_that_is_given_up_takes_none_of_the_next_submission_with_it(rig: Rig) -> None:
    hanging = asyncio.Event()

    async def process(image: Any, metadata: Any) -> Any:
        if metadata["Axes"].get("hang"):
            hanging.set()
            await asyncio.sleep(60)
        return image, metadata

    async with rig.acquisition(image_process_fn=process, saving_queue_size=4) as acq:
        first = acq.acquire({"axes": {"hang": 1, "time": 0}})
        await hanging.wait()
        second = acq.acquire([{"axes": {"hang": 0, "time": n}} for n in range(1, 4)])
        first.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await first
        assert [axes["time"] for axes in await second] == [1, 2, 3]
        assert acq.status.error is None


async def test_order_is_kept_where_some_calls_wait(rig: Rig) -> None:
    begun: list[Any] = []

    async def process(image: Any, metadata: Any) -> Any:
        n = metadata["Axes"]["time"]
        begun.append(n)
        if n % 3 == 0:
            await asyncio.sleep(0.01)
        assert begun[-1] == n  # one at a time
        return image, metadata

    async with rig.acquisition(image_process_fn=process, saving_queue_size=3) as acq:
        saved = await acq.acquire([{"axes": {"time": n}} for n in range(30)])
    assert begun == [*range(30)] == [axes["time"] for axes in saved]
