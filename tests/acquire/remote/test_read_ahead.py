"""Images that have come from Micro-Manager's engine and wait here for a slow processor: nothing is concluded from that they wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors
from tests.support.homes import Home
from tests.support.rigs import frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost
    from tests.support.rigs import Rig


@pytest.fixture
async def rig(java_host: JavaHost, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Home("java", java_host).demo(tmp_path) as rig:
        await rig.core.set_exposure(10)
        yield rig


async def test_after_a_cancelled_sequence_the_hardware_waits_for_what_java_reads_of_an_image(rig: Rig) -> None:
    async def slow(image: Any, metadata: Any) -> Any:
        await asyncio.sleep(0.03)
        return image, metadata

    async with rig.memory(image_process_fn=slow, saving_queue_size=1) as acq:
        cancelled = acq.acquire(frames(100))
        while acq.status.images_saved < 3:
            await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await cancelled
        await asyncio.sleep(0.1)
        rig.mmc.on("getImage", delay=0.15)
        gain = [{"axes": {"m": 0}, "properties": [["Camera", "Gain", "1"]]}, {"properties": [["Camera", "Gain", "7"]]}]
        assert len(await acq.acquire(gain)) == 1
        metadata = await asyncio.to_thread(acq.get_dataset().read_metadata, m=0)
        assert metadata["Camera-Gain"] == "1"


async def test_frames_that_come_while_the_processor_is_busy_are_no_missed_trigger(rig: Rig) -> None:
    go_on = asyncio.Event()

    async def busy(image: Any, metadata: Any) -> Any:
        await go_on.wait()
        return image, metadata

    async with rig.memory(image_process_fn=busy, saving_queue_size=1) as acq:
        submission = acq.acquire(frames(100, timeout=600.0))  # shorter than they take together, longer than a loaded machine stands still
        while acq.status.events_done < 100 and acq.status.error is None:
            await asyncio.sleep(0.01)
        go_on.set()
        assert len(await submission) == 100


async def test_a_live_view_that_is_refused_leaves_the_camera_of_an_acquisition_alone(rig: Rig) -> None:
    async with rig.memory() as acq:
        submission = acq.acquire(frames(100))
        while acq.status.images_saved < 5:
            await asyncio.sleep(0.01)
        with pytest.raises(errors.CoreError, match="the camera runs a sequence already"):
            async with rig.core.live(exposure=3) as live:
                await anext(live)
        assert len(await submission) == 100
    assert await rig.core.get_exposure() == 10
