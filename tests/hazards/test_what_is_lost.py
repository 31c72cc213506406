"""An error that ends an acquisition says how many images were taken and not saved, and which."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.hazards.test_turns import opened
from tests.support.rigs import frames, snaps

if TYPE_CHECKING:
    from tests.support.rigs import Rig

SAVED, WAITING = 5, 25
EVENTS = {"singles": snaps, "sequence": frames}


def failing(at: int, acq: list[aiomm.Acquisition], *, by: str = "raising") -> Any:
    """An image processor that fails at an image, when so many wait behind it as there is room for."""

    async def processor(image: Any, metadata: Any) -> Any:
        if metadata["Axes"]["n"] < at:
            return image, metadata
        while acq[0].status.waiting_for_processor < WAITING:
            await asyncio.sleep(0.005)
        if by == "raising":
            raise KeyError("of the processor's own")
        return "no image"

    return processor


def note_of(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


async def ended(acq: aiomm.Acquisition, kind: type[Exception] = KeyError) -> Any:
    with pytest.raises(kind) as caught:
        async with asyncio.timeout(10):
            await acq.aclose()
    return caught.value


@pytest.mark.parametrize("events", list(EVENTS))
@pytest.mark.parametrize("options", [{}, {"show_display": True}, {"format": "memory"}], ids=["ndtiff", "shown", "memory"])
async def test_a_processor_s_error_says_which_images_it_took_with_it(rig: Rig, events: str, options: dict[str, Any]) -> None:
    """It named one of them, on Micro-Manager's engine, and none on a LocalCore."""
    made: list[aiomm.Acquisition] = []
    where = {"directory": str(rig.directory), "name": "lost", "saving_queue_size": WAITING, "show_display": False}
    if options.get("format"):
        del where["directory"], where["name"]
    acq = await aiomm.Acquisition.open(**rig.where, **{**where, **options}, image_process_fn=failing(SAVED, made))
    made.append(acq)
    acq.acquire(EVENTS[events](80))
    error = await ended(acq)
    saved = [axes["n"] for axes in acq.get_dataset().get_index_keys()]
    assert saved == list(range(SAVED))
    lost = [axes["n"] for axes in error.lost_images]
    assert lost == list(range(SAVED, SAVED + len(lost)))
    assert len(lost) >= WAITING
    if not rig.java:
        assert len(lost) - (acq.status.images_acquired - SAVED) in (0, 1)  # one may have been on its way to the others
    assert f"{SAVED} images were saved; {len(lost)} that were under way are lost: {{'n': {SAVED}}}, {{'n': {SAVED + 1}}}" in note_of(error)
    assert f"and {len(lost) - 20} more" in note_of(error)
    assert "then also" not in note_of(error)


async def test_what_cannot_be_used_takes_its_image_with_it(rig: Rig) -> None:
    made: list[aiomm.Acquisition] = []
    acq = await opened(rig, image_process_fn=failing(SAVED, made, by="returning"), saving_queue_size=WAITING)
    made.append(acq)
    acq.acquire(snaps(80))
    error: Any = await ended(acq, errors.HookError)
    assert error.lost_images[0] == {"n": SAVED}


async def test_of_several_calls_at_once_each_image_is_named_once(rig: Rig) -> None:
    def processor(image: Any, metadata: Any) -> Any:
        if metadata["Axes"]["n"] == SAVED:
            raise KeyError("of the processor's own")
        return image, metadata

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        acq = await opened(rig, image_process_fn=processor, executor=pool)
        acq.acquire(snaps(40))
        error = await ended(acq)
    lost = [axes["n"] for axes in error.lost_images]
    assert lost == list(range(SAVED, SAVED + len(lost)))


async def test_nothing_is_lost_of_images_that_were_diverted_or_saved(rig: Rig) -> None:
    def hook(event: Any) -> Any:
        if event["axes"]["n"] == SAVED:
            raise KeyError("of the hook's own")
        return event

    def processor(image: Any, metadata: Any) -> Any:
        return (image, metadata) if metadata["Axes"]["n"] % 2 else None

    acq = await opened(rig, image_process_fn=processor, pre_hardware_hook_fn=hook)
    acq.acquire(snaps(40))
    error = await ended(acq)
    assert not getattr(error, "lost_images", [])
    assert "lost" not in note_of(error)


@pytest.mark.parametrize("saved", [0, 1, 3])
@pytest.mark.parametrize("hook", ["event_generation_hook_fn", "pre_hardware_hook_fn", "post_hardware_hook_fn"])
async def test_where_nothing_is_lost_the_error_says_what_is_saved(rig: Rig, hook: str, saved: int) -> None:
    def fails(event: Any) -> Any:
        if "fails" in event["axes"]:
            raise KeyError("of the hook's own")
        return event

    acq = await opened(rig, **{hook: fails})
    for event in snaps(saved):
        await acq.acquire(event)
    acq.acquire({"axes": {"n": 0, "fails": 1}})
    error = await ended(acq)
    assert note_of(error) == f"{saved} image{' was' if saved == 1 else 's were'} saved; none was under way"
    assert error.lost_images == []
