"""Several acquisitions on a running Micro-Manager: what each has, owes and holds, and what the last one to end puts back."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors
from aiomm.acquire.remote import pipes
from tests.support.rigs import frames, snaps
from tests.support.turns import aborted, dark, holding, light, opened, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiomm
    from tests.support.homes import Home
    from tests.support.rigs import Rig

pytestmark = pytest.mark.parametrize("home", ["java"], indirect=True)


@pytest.fixture
async def rig(home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    async with dark(home, tmp_path) as made:
        yield made


async def saved(acq: aiomm.Acquisition, key: str, **axes: Any) -> Any:
    metadata = await asyncio.to_thread(acq.get_dataset().read_metadata, **axes)
    return metadata.get(key)


async def test_another_s_end_leaves_an_acquisition_its_own_camera(rig: Rig) -> None:
    rig.mmc.loadDevice("Cam2", "DemoCamera", "DCam")
    rig.mmc.initializeDevice("Cam2")
    a = await opened(rig)
    await a.acquire(snaps(1))
    await rig.core.set_camera_device("Cam2")
    b = await opened(rig)
    await b.acquire([{"axes": {"n": 0}}])
    rig.mmc.on("setPosition", delay=0.5)
    moving = b.acquire([{"z": 5.0}])
    await until(lambda: "setPosition" in b.status.waiting_for)
    await a.aclose()
    await moving
    await b.acquire([{"axes": {"n": 1}}])
    assert [await saved(b, "Core-Camera", n=n) for n in range(2)] == ["Cam2", "Cam2"]
    await b.aclose()
    assert await rig.core.get_camera_device() == "Camera"  # as the first had found it


async def test_a_camera_that_an_event_has_chosen_is_not_what_another_finds(rig: Rig) -> None:
    rig.mmc.loadDevice("Cam2", "DemoCamera", "DCam")
    rig.mmc.initializeDevice("Cam2")
    a = await opened(rig)
    await a.acquire([{"axes": {"n": 0}, "camera": "Cam2"}])
    b = await opened(rig)
    await b.acquire([{"axes": {"n": 0}}])
    assert await saved(b, "Core-Camera", n=0) == "Camera"
    await a.acquire([{"axes": {"n": 1}, "camera": "Cam2"}])
    await a.aclose()
    assert await rig.core.get_camera_device() == "Camera"  # although another is still open
    await b.aclose()


async def test_events_are_not_grouped_by_a_camera_that_another_has_chosen(rig: Rig) -> None:
    """One that names no camera and one that names that camera were a sequence, both of the latter."""
    rig.mmc.loadDevice("Cam2", "DemoCamera", "DCam")
    rig.mmc.initializeDevice("Cam2")
    inside, go = asyncio.Event(), asyncio.Event()

    async def hook(event: Any) -> Any:
        inside.set()
        await go.wait()
        return event

    a, b = await opened(rig, post_hardware_hook_fn=hook), await opened(rig)
    other = a.acquire([{"axes": {"n": 0}, "camera": "Cam2"}])
    await inside.wait()
    assert await rig.core.get_camera_device() == "Cam2"
    both = b.acquire([{"axes": {"n": 0}}, {"axes": {"n": 1}, "camera": "Cam2"}])
    await until(lambda: "turn" in b.status.waiting_for)
    go.set()
    await both
    assert [await saved(b, "Core-Camera", n=n) for n in range(2)] == ["Camera", "Cam2"]
    await other
    await b.aclose()
    await a.aclose()


async def test_nothing_is_changed_before_java_has_read_what_another_s_image_was_taken_with(rig: Rig) -> None:
    a, b = await opened(rig), await opened(rig)
    rig.mmc.on("getImage", delay=0.15)
    first = a.acquire([{"axes": {"n": 0}, "properties": [["Camera", "Gain", "1"]]}])
    while a.status.waiting_for != "events" or not rig.mmc.calls_of("snapImage"):
        await asyncio.sleep(0)  # its turn has ended; its image has not come
    await b.acquire([{"properties": [["Camera", "Gain", "7"]]}])
    await first
    assert await saved(a, "Camera-Gain", n=0) == "1"
    await a.aclose()
    await b.aclose()


async def test_a_shutter_of_one_that_has_ended_closes_when_another_s_turn_ends(rig: Rig) -> None:
    b = await opened(rig)
    await b.acquire([{"axes": {"n": 0}}])
    a, held = await holding(rig)
    rig.mmc.on("setPosition", delay=0.9)
    moving = b.acquire([{"z": 5.0}])
    await until(lambda: "setPosition" in b.status.waiting_for)
    await aborted(a, held)
    await moving
    await until(lambda: b.status.waiting_for == "events")
    assert await light(rig) == (True, False)
    await b.aclose()
    assert await light(rig) == (True, False)


async def test_a_shutter_that_two_hold_stays_open_for_the_second(rig: Rig) -> None:
    a, held = await holding(rig)
    b, also_held = await holding(rig)
    await aborted(a, held)
    assert await light(rig) == (False, True)
    also_held.cancel()
    with pytest.raises(errors.SubmissionCancelled):
        await also_held
    await b.acquire([{"axes": {"n": 9}}])
    assert await light(rig) == (True, False)
    await b.aclose()


async def test_what_another_holds_is_not_found_although_it_ends_meanwhile(rig: Rig) -> None:
    b = await opened(rig)
    a, held = await holding(rig)
    rig.mmc.on("isSequenceRunning", delay=0.6)
    image = b.acquire([{"axes": {"n": 0}}])
    await until(lambda: "isSequenceRunning" in b.status.waiting_for)
    await aborted(a, held)
    assert len(await image) == 1
    await b.aclose()
    assert await light(rig) == (True, False)


async def test_two_that_end_at_once_leave_the_hardware_as_it_was_found(rig: Rig) -> None:
    a, held = await holding(rig, 0.1)
    b = await opened(rig)
    await b.acquire([{"axes": {"n": 0}}])
    await held
    rig.mmc.on("getShutterDevice", delay=0.9)
    async with asyncio.TaskGroup() as ends:
        ends.create_task(b.aclose())
        await asyncio.sleep(0.1)
        ends.create_task(a.aclose())
    assert await light(rig) == (True, False)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=lambda order: "".join(map(str, order)))
async def test_a_held_shutter_is_not_taken_for_what_was_found_in_whichever_order_they_end(rig: Rig, order: tuple[int, ...]) -> None:
    a, held = await holding(rig, 0.3)
    b = await opened(rig)
    await b.acquire(snaps(1))
    c = await opened(rig)
    await c.acquire(snaps(1))
    await held
    for which in order:
        await (a, b, c)[which].aclose()
    assert await light(rig) == (True, False)


async def test_a_shutter_is_released_only_when_another_s_sequence_has_ended(rig: Rig) -> None:
    a, held = await holding(rig)
    b = await opened(rig)
    sequence = b.acquire(frames(80))
    await until(lambda: b.status.images_saved > 2)
    assert await rig.core.is_sequence_running()
    so_far = len(rig.mmc.calls_of("setShutterOpen"))
    held.cancel()
    with pytest.raises(errors.SubmissionCancelled):
        await held
    await asyncio.sleep(0.05)
    assert len(rig.mmc.calls_of("setShutterOpen")) == so_far
    assert not sequence.done
    assert len(await sequence) == 80
    await a.aclose()
    assert await light(rig) == (True, False)
    await b.aclose()


async def stuck(rig: Rig, patch: pytest.MonkeyPatch) -> tuple[aiomm.Acquisition, asyncio.Event]:
    """An acquisition whose images Java has taken and cannot hand over: its image processor does not return."""
    patch.setattr(pipes, "WIDEST", (32, 2**23))  # no more room than there is usually
    go = asyncio.Event()

    async def processor(image: Any, metadata: Any) -> Any:
        await go.wait()
        return image, metadata

    b = await opened(rig, image_process_fn=processor, saving_queue_size=1)
    b.acquire(frames(45))
    await until(lambda: rig.mmc.calls_of("startSequenceAcquisition") and b.status.waiting_for == "events")
    return b, go


async def test_an_abort_does_not_wait_for_the_processor_of_another(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    a, held = await holding(rig)
    b, go = await stuck(rig, monkeypatch)
    async with asyncio.timeout(10):
        await aborted(a, held)
    assert await light(rig) == (True, False)
    go.set()
    await b.aclose()
    assert b.status.images_saved == 45


async def test_a_submission_that_waits_for_the_processor_of_another_can_be_cancelled(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    a = await opened(rig)
    await a.acquire(snaps(1))
    b, go = await stuck(rig, monkeypatch)
    moving = a.acquire([{"z": 5.0}])
    await until(lambda: "image that Micro-Manager has taken" in a.status.waiting_for)
    moving.cancel()
    with pytest.raises(errors.SubmissionCancelled):
        async with asyncio.timeout(10):
            await moving
    go.set()
    await b.aclose()
    assert len(await a.acquire([{"axes": {"n": 9}}])) == 1
    await a.aclose()
