"""What an acquisition says, and how soon, when something was cancelled, refused or has raised: on both homes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.acquire import supervisor
from aiomm.acquire.audience import Audience
from tests.support.rigs import frames

if TYPE_CHECKING:
    from tests.support.rigs import Rig


async def test_nothing_waits_to_be_saved_after_a_cancelled_submission(rig: Rig) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def plain(image: Any, metadata: Any) -> Any:
        begun.set()
        go_on.wait(10)
        return image, metadata

    try:
        async with rig.memory(image_process_fn=plain, saving_queue_size=10) as acq:
            cancelled = acq.acquire(frames(8))
            while acq.status.images_acquired < 8 or not begun.is_set():
                await asyncio.sleep(0.01)
            cancelled.cancel()
            with pytest.raises(errors.SubmissionCancelled):
                await cancelled
            go_on.set()
            assert len(await acq.acquire([{"axes": {"m": 0}}])) == 1
            assert acq.status.waiting_for_processor == acq.status.waiting_for_saving == 0
    finally:
        go_on.set()


@pytest.mark.parametrize("form", ["ndtiff", "ome-zarr"])
async def test_a_directory_of_characters_that_no_encoding_knows(rig: Rig, form: str) -> None:
    with pytest.raises(ValueError, match="characters that no encoding knows"):
        async with aiomm.Acquisition(str(rig.directory / "\ud800x"), "rig", show_display=False, format=form, **rig.where):
            pass


async def test_a_callback_that_has_raised_is_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 100)

    async def saved(axes: Any, dataset: Any) -> None:
        if axes["n"] == 2:
            raise ValueError("two")

    with pytest.raises(ValueError, match="two"):
        async with rig.memory(image_saved_fn=saved) as acq:
            await acq.acquire(frames(20))
            await asyncio.sleep(100)


async def test_a_fault_in_the_accounts_ends_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for what a message tells would wait for ever."""

    def wrong(self: Audience, frames: Any) -> None:
        raise LookupError("a fault of aiomm's own")

    monkeypatch.setattr(Audience, "saved", wrong)
    with pytest.raises(LookupError, match="a fault of aiomm's own"):
        async with asyncio.timeout(10), rig.memory() as acq:
            await acq.acquire({"axes": {"n": 0}})


class OfTheHook(Exception):
    """What the user's hook raises."""


def fails_at(count: int) -> Any:
    def hook(event: Any) -> Any:
        if event["axes"]["n"] == count:
            raise OfTheHook("focus lost")
        return event

    return hook


@pytest.mark.parametrize("group", [False, True])
async def test_the_first_cause_where_the_body_goes_on_submitting(rig: Rig, group: bool) -> None:
    """`acquire` tells the body that the acquisition has ended: what has ended it comes out of the `async with` all the same."""

    async def submit(acq: aiomm.Acquisition) -> None:
        for n in range(2000):
            acq.acquire({"axes": {"n": n}})
            await asyncio.sleep(0.001)

    with pytest.raises(OfTheHook, match="focus lost") as caught:
        async with asyncio.timeout(20), rig.memory(pre_hardware_hook_fn=fails_at(3)) as acq:
            if not group:
                while True:  # sees to it that it is `acquire` that ends the body
                    await submit(acq)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(submit(acq))
                tasks.create_task(submit(acq))
    assert "3 images were saved" in "".join(caught.value.__notes__)
    seen: set[int] = set()
    error: BaseException | None = caught.value
    while error is not None:  # tools that follow causes come to an end
        assert id(error) not in seen
        seen.add(id(error))
        error = error.__cause__ or error.__context__


async def test_an_error_that_the_body_was_told_of_is_not_told_again(rig: Rig) -> None:
    with pytest.raises(errors.AcquisitionFinished) as caught:
        async with asyncio.timeout(20), rig.memory(pre_hardware_hook_fn=fails_at(0)) as acq:
            with pytest.raises(OfTheHook):
                await acq.acquire({"axes": {"n": 0}})
            acq.acquire({"axes": {"n": 1}})
    assert isinstance(caught.value.__cause__, OfTheHook)
