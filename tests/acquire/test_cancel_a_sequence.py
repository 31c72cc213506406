"""`Submission.cancel` in the middle of a hardware sequence: the light goes off, what has come is saved, and the acquisition goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.support.rigs import SHUTTER, frames

if TYPE_CHECKING:
    from tests.support.rigs import Rig

COUNT = 400
EXPOSURE_MS = 20.0


async def cancelled(submission: aiomm.Submission, after: int) -> int:
    """Cancel it when so many images are there; give how many it has in the end."""
    seen = 0
    with pytest.raises(errors.SubmissionCancelled):
        async for _ in submission:
            seen += 1
            if seen == after:
                submission.cancel()
    with pytest.raises(errors.SubmissionCancelled):
        await submission
    return seen


def others(count: int, start: int = 1000) -> list[dict[str, Any]]:
    return [{"axes": {"n": start + n}} for n in range(count)]


@pytest.mark.parametrize("kept", ["acquisition", "memory"])
async def test_the_sequence_is_left(rig: Rig, kept: str) -> None:
    await rig.core.set_exposure(EXPOSURE_MS)
    async with getattr(rig, kept)() as acq:
        submission = acq.acquire(frames(COUNT))
        async with asyncio.timeout(COUNT * EXPOSURE_MS / 1000):
            seen = await cancelled(submission, 3)
        assert 3 <= seen < COUNT / 2
        assert not rig.mmc.isSequenceRunning()
        assert not rig.mmc.getShutterOpen(SHUTTER)
        assert await acq.acquire(others(3)) == [event["axes"] for event in others(3)]
        assert len(await acq.acquire({"axes": {"n": 5000}, "x": 3.0, "y": 4.0})) == 1
        assert rig.mmc.getXPosition() == pytest.approx(3.0, abs=0.1)
    dataset = acq.get_dataset()
    found = sorted(axes["n"] for axes in dataset.get_image_coordinates_list())
    first = [n for n in found if n < 1000]
    assert first == list(range(len(first)))
    assert seen <= len(first) < COUNT / 2
    assert [int(dataset.read_metadata(n=n)["ImageNumber"]) for n in first] == first
    assert [n for n in found if n >= 1000] == [1000, 1001, 1002, 5000]
    if acq.path is not None:
        assert len(await aiomm.Dataset.open(str(acq.path))) == len(found)


async def test_its_axes_can_be_acquired_again(rig: Rig) -> None:
    await rig.core.set_exposure(EXPOSURE_MS)
    async with rig.acquisition() as acq:
        seen = await cancelled(acq.acquire(frames(COUNT)), 2)
        await asyncio.sleep(0.1)
        rest = [{"axes": {"n": n}} for n in range(COUNT) if not acq.get_dataset().has_image(n=n)]
        assert seen + len(rest) >= COUNT - 5
        assert len(await acq.acquire(rest[:20])) == 20


async def test_again_and_again(rig: Rig) -> None:
    await rig.core.set_exposure(EXPOSURE_MS)
    async with rig.memory(image_process_fn=lambda image, metadata: (image, metadata)) as acq:
        for turn in range(3):
            submission = acq.acquire(others(COUNT, start=1000 * turn))
            await cancelled(submission, 1)
        assert len(await acq.acquire(others(2, start=9000))) == 2


async def test_at_its_beginning(rig: Rig) -> None:
    """Before there is any image, wherever the engine is then."""
    await rig.core.set_exposure(EXPOSURE_MS)
    async with rig.memory() as acq:
        for turn, wait in enumerate((0.0, 0.002, 0.01)):
            submission = acq.acquire(others(COUNT, start=1000 * turn))
            await asyncio.sleep(wait)
            submission.cancel()
            with pytest.raises(errors.SubmissionCancelled):
                await submission
        assert len(await acq.acquire(others(2, start=9000))) == 2
    assert not rig.mmc.isSequenceRunning()
    assert len(acq.get_dataset()) < COUNT / 2


@pytest.mark.parametrize("point", ["post_hardware", "post_camera"])
async def test_in_a_hook(rig: Rig, point: str) -> None:
    await rig.core.set_exposure(EXPOSURE_MS)
    asked = asyncio.Event()

    async def hook(events: Any) -> Any:
        if isinstance(events, list) and len(events) == COUNT:
            asked.set()
            await asyncio.Event().wait()
        return events

    async with rig.memory(**{f"{point}_hook_fn": hook}) as acq:
        submission = acq.acquire(frames(COUNT))
        await asked.wait()
        submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission
        assert len(await acq.acquire(others(2))) == 2
    assert len(acq.get_dataset()) < COUNT / 2
    if point == "post_hardware":
        assert [call.args[-3] for call in rig.mmc.calls_of("startSequenceAcquisition")] == [2]


@pytest.mark.parametrize("changes", [{}, {"z": 3.0}])
async def test_while_the_start_that_a_hook_has_put_off_is_waited_for(rig: Rig, changes: dict[str, Any]) -> None:
    """The hardware is prepared for the one that is cancelled: the next one has its own."""
    asked: list[int] = []

    async def hook(event: Any) -> Any:
        asked.append(event["axes"]["n"])
        return {**event, **changes, "min_start_time": 60.0} if event["axes"]["n"] == 0 else event

    async with rig.acquisition(post_hardware_hook_fn=hook) as acq:
        submission = acq.acquire({"axes": {"n": 0}, "x": 10.0, "y": 20.0})
        async with asyncio.timeout(10):
            while "min_start_time" not in acq.status.waiting_for:
                await asyncio.sleep(0.01)
        submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission
        saved = []
        for n in (1, 2):
            saved += await acq.acquire({"axes": {"n": n}, "x": 100.0 * n, "y": 7.0})
    assert asked == [0, 1, 2]
    assert saved == [{"n": 1}, {"n": 2}]
    dataset = acq.get_dataset()
    assert dataset.get_image_coordinates_list() == saved
    assert [float(dataset.read_metadata(n=n)["XPosition_um_Intended"]) for n in (1, 2)] == [100.0, 200.0]
    assert rig.mmc.getXPosition() == pytest.approx(200.0, abs=0.1)


async def test_an_abort_meanwhile(rig: Rig) -> None:
    await rig.core.set_exposure(EXPOSURE_MS)
    acq = await rig.acquisition().__aenter__()
    submission = acq.acquire(frames(COUNT))
    async for _ in submission:
        break
    submission.cancel()
    acq.abort()
    async with asyncio.timeout(10):
        await acq.aclose()
    assert not rig.mmc.isSequenceRunning()
    assert len(acq.get_dataset()) < COUNT / 2
