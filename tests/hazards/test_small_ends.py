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
    from tests.support.homes import Home
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


async def test_no_task_is_left_for_the_loops_next_turn(rig: Rig) -> None:
    before = asyncio.all_tasks()
    acq = await rig.memory().__aenter__()
    await acq.acquire(frames(3))
    await acq.aclose()
    assert not {task for task in asyncio.all_tasks() - before if "Bell.wait" in repr(task.get_coro())}


@pytest.mark.parametrize("kind", ["ndtiff", "memory"])
@pytest.mark.parametrize("value", [3, "text", [1]])
def test_summary_metadata_that_is_no_dict(home: Home, kind: str, value: Any) -> None:
    where = {"core": aiomm.LocalCore("demo")} if not home.java else {}
    target = ("somewhere", "name") if kind == "ndtiff" else (None, None)
    with pytest.raises(TypeError, match=r"summary_metadata is .*: it must be a mapping of names to values"):
        aiomm.Acquisition(*target, summary_metadata=value, show_display=False, **where)


@pytest.mark.parametrize("debug", [True, False])
async def test_debug_logs_what_happens(rig: Rig, caplog: pytest.LogCaptureFixture, debug: bool) -> None:
    with caplog.at_level("DEBUG", logger="aiomm"):
        async with rig.memory(debug=debug) as acq:
            await acq.acquire({"axes": {"n": 0}})
            if rig.java:  # its engine logs too
                assert await acq._home.session.acquisition.call("isDebugMode") is debug
    assert ("post_snap {'n': 0}" in [record.getMessage() for record in caplog.records]) is debug


@pytest.mark.parametrize("was", [True, False])
async def test_mmcore_logs_debug_messages_while_an_acquisition_with_core_log_debug_runs(rig: Rig, was: bool) -> None:
    seen = []

    async def hook(event: Any) -> Any:
        seen.append(await rig.core.debug_log_enabled())
        return event

    await rig.core.enable_debug_log(was)
    for asked in (True, False):
        async with rig.memory(core_log_debug=asked, pre_hardware_hook_fn=hook) as acq:
            await acq.acquire({"axes": {"n": 0}})
        assert await rig.core.debug_log_enabled() is was
    assert seen == [True, was]
    await rig.core.enable_debug_log(False)
