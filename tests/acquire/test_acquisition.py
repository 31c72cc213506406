"""Acquisition and Submission, the user's handles: awaiting, cursors, errors, hooks, processors, callbacks, feedback, status."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.support.homes import only_local
from tests.support.rigs import Event, Rig, frames, numbered, snaps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.sampled(4, of="module")


def ns(axes: list[dict[str, Any]]) -> list[Any]:
    return [each["n"] for each in axes]


# ---- submissions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", [snaps(5), frames(5)], ids=["snaps", "sequence"])
async def test_await_gives_the_saved_axes(rig: Rig, events: list[Event]) -> None:
    async with rig.acquisition() as acq:
        submission = acq.acquire(events)
        assert not submission.done
        assert ns(await submission) == list(range(5))
        assert submission.done
        assert submission.status == aiomm.SubmissionStatus(5, 5, 5, 0, 0, 0, True)
        assert ns(await submission) == list(range(5))  # again
        assert len(await acq.acquire({"axes": {"n": 9}})) == 1
    assert len(await aiomm.Dataset.open(str(acq.path))) == 6


async def test_cursors_have_their_own_place(rig: Rig) -> None:
    async with rig.acquisition() as acq:
        submission = acq.acquire(snaps(12))
        seen = []
        async for image in submission:
            seen.append(image.axes["n"])
            if len(seen) == 3:
                break
        await submission
        again = [image async for image in submission]
        assert seen == [0, 1, 2]
        assert ns([image.axes for image in again]) == list(range(12))
        for image in again:
            assert not image.pixels.flags.writeable
            assert np.array_equal(image.pixels, acq.get_dataset().read_image(**image.axes))
            assert image.metadata["Axes"] == image.axes
    assert ns([image.axes async for image in submission]) == list(range(12))  # after the end too


async def test_cancelling_the_awaiter_cancels_nothing(rig: Rig) -> None:
    async with rig.memory() as acq:
        submission = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 0.2}))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await submission
        assert ns(await submission) == [0, 1]


async def _times(rig: Rig, **options: Any) -> list[float]:
    """When the images of a reset, and of the two that follow it, were saved, in s from the first one's."""
    times: list[float] = []
    events = numbered({}, {"min_start_time": 0.3}, {"reset_event_timer": True}, {"min_start_time": 0.2}, {"min_start_time": 0.4})
    async with rig.memory(image_saved_fn=lambda axes, dataset: times.append(time.monotonic()), **options) as acq:
        await acq.acquire(events)
    return times


@pytest.mark.parametrize("clock", ["submission", "acquisition"])
async def test_the_clock_starts_anew_at_an_event(rig: Rig, clock: str) -> None:
    times = await _times(rig, clock=clock)
    assert len(times) == 5
    assert times[4] - times[1] > 0.3  # 0.4 s after the reset, which came after the second; without it 0.1 s


async def test_an_event_that_is_skipped_starts_the_clock_anew_at_the_next(rig: Rig) -> None:
    times = await _times(rig, event_generation_hook_fn=lambda event: None if "reset_event_timer" in event else event)
    assert len(times) == 4
    assert times[3] - times[1] > 0.3  # 0.4 s after the reset, which the one after the second has now; without it 0.1 s


async def test_cancelling_a_submission_ends_it_alone(rig: Rig) -> None:
    async with rig.memory() as acq:
        first = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 60.0}))
        second = acq.acquire([{"axes": {"later": 0}}])
        async for _ in first:
            break
        assert first.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await first
        assert await second == [{"later": 0}]
        assert not first.cancel()
        assert await acq.acquire({"axes": {"n": 1}}) == [{"n": 1}]  # its axes are free again
    assert first.status.saved == 1


@pytest.mark.parametrize("options", [{}, {"tile_overlap": 4}, {"format": "ome-zarr"}], ids=["ndtiff", "tiles", "ome-zarr"])
async def test_an_acquisition_without_any_image_is_a_dataset(rig: Rig, options: dict[str, Any]) -> None:
    async with rig.acquisition(**options) as acq:
        pass
    assert acq.path is not None
    async with await aiomm.Dataset.open(acq.path) as again:
        for dataset in (acq.get_dataset(), again):
            assert (len(dataset), dataset.axes) == (0, {})
            assert await asyncio.to_thread(dataset.is_finished)


async def test_a_paused_submission_can_be_cancelled(rig: Rig) -> None:
    async with rig.memory() as acq:
        acq.pause()
        submission = acq.acquire(snaps(3))
        while acq.status.waiting_for != "resume()":
            await asyncio.sleep(0.001)
        submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission
        acq.resume()
        assert ns(await acq.acquire(snaps(2))) == [0, 1]


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "a misspelt key": ([{"axes": {"n": 0}, "exposur": 3}], errors.EventError, "did you mean 'exposure'"),
    "an unknown preset": ([{"axes": {"n": 0}, "config_group": ["Channel", "DAPPI"]}], errors.EventError, "DAPI"),
    "an unknown device": ([{"axes": {"n": 0}, "properties": [["Camra", "Gain", "1"]]}], errors.EventError, "Camera"),
    "a float axis": ([{"axes": {"n": 0.5}}], errors.EventError, "whole number"),
    "not a dict": ([3], errors.EventError, "dict"),
    "the second of two": (numbered({"z": 1.0}, {"z": "high"}), errors.EventError, "event 1"),
    "the same axes twice": ([*numbered({"z": 1.0}, {"z": 2.0}), {"axes": {"n": 0}}], errors.DuplicateImageError, "axes"),
    "past a soft limit": (numbered({"z": 1.0}, {"z": 101.0}), errors.LimitError, "101"),
}


@pytest.mark.parametrize("what", BAD)
async def test_wrong_events_end_their_submission_only_and_nothing_has_moved(rig: Rig, what: str) -> None:
    events, kind, text = BAD[what]
    async with rig.memory(limits={"Z": (0, 100)}) as acq:
        rig.mmc.forget()
        with pytest.raises(kind, match=text):
            await acq.acquire(events)
        assert not rig.mmc.calls_of("setPosition", "snapImage", "setConfig", "setProperty")
        assert ns(await acq.acquire(snaps(2))) == [0, 1]
    assert len(acq.get_dataset()) == 2


@pytest.mark.parametrize("things", [None, 5, "events", {1, 2}, lambda: []], ids=lambda things: type(things).__name__)
async def test_what_can_be_no_events_is_refused_at_once(rig: Rig, things: Any) -> None:
    async with rig.memory() as acq:
        with pytest.raises(TypeError):
            acq.acquire(things)


async def test_the_callers_dicts_are_not_changed(rig: Rig) -> None:
    event = {"axes": {"n": np.int64(1)}, "row": 2, "col": 3, "channel": {"group": "Channel", "config": "DAPI"}, "z": np.float64(1)}
    events = [event]
    before = repr(events)
    async with rig.memory(pre_hardware_hook_fn=lambda event: event.update(z=5.0) or event) as acq:
        assert await acq.acquire(events) == [{"n": 1, "row": 2, "column": 3, "channel": "DAPI"}]
    assert repr(events) == before


@pytest.mark.parametrize("many", [True, False], ids=["more than a window", "the first"])
async def test_a_generator_that_raises_ends_its_submission_with_its_own_error(rig: Rig, many: bool) -> None:
    def broken() -> Iterator[Event]:
        if many:
            yield from snaps(40)
        raise ZeroDivisionError("in the generator")

    async with rig.memory(look_ahead=8) as acq:
        with pytest.raises(ZeroDivisionError, match="in the generator"):
            await acq.acquire(broken())
        assert await acq.acquire({"axes": {"after": 0}}) == [{"after": 0}]


async def test_errors_nobody_awaited_are_raised_at_the_exit_with_their_own_type(rig: Rig) -> None:
    with pytest.raises(errors.EventError, match="zed"):
        async with rig.memory() as acq:
            acq.acquire([{"axes": {}, "zed": 1}])
            acq.acquire([{"axes": {}, "also wrong": 1}])
            assert await acq.acquire({"axes": {}}) == [{}]


async def test_after_the_end(rig: Rig) -> None:
    async with rig.memory() as acq:
        submission = acq.acquire(snaps(2))
        acq.mark_finished()
        with pytest.raises(errors.AcquisitionFinished):
            acq.acquire(snaps(1))
        assert ns(await submission) == [0, 1]
    with pytest.raises(errors.AcquisitionFinished):
        acq.acquire(snaps(1))
    await acq.await_completion()
    await acq.aclose()
    acq.abort()
    assert acq.status.state == "finished"
    assert ns(await submission) == [0, 1]


async def test_open_and_aclose_from_different_tasks(rig: Rig) -> None:
    acq = await asyncio.create_task(aiomm.Acquisition.open(**rig.where, show_display=False))
    acq.acquire(snaps(3))
    await asyncio.create_task(acq.aclose())
    assert len(acq.get_dataset()) == 3
    with pytest.raises(errors.ClosedError, match="not open"):
        rig.memory().acquire([])


# ---- what is refused ------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "misspelt": ({"image_proces_fn": len}, TypeError, "image_process_fn"),
    "port": ({"port": 4828}, errors.UnsupportedError, "port="),
    "bridge_timeout": ({"bridge_timeout": 100}, errors.UnsupportedError, "bridge_timeout="),
    "max_multi_res_index": ({"max_multi_res_index": 2}, ValueError, "max_multi_res_index= needs tile_overlap="),
    "saving_queue_size": ({"saving_queue_size": 0}, ValueError, "saving_queue_size"),
    "look_ahead": ({"look_ahead": 0}, ValueError, "look_ahead"),
    "on_error": ({"on_error": "ignore"}, ValueError, "'raise', 'continue'"),
    "clock": ({"clock": "wall"}, ValueError, "clock"),
    "format": ({"format": "tiff"}, ValueError, "ndtiff"),
    "executor": ({"executor": 1}, ValueError, "image_process_fn"),
    "no name": ({"directory": "data"}, ValueError, "name="),
    "arity": ({"pre_hardware_hook_fn": lambda a, b, c, d: a}, TypeError, "pre_hardware_hook_fn"),
    "limits": ({"limits": {"Zed": (0, 1)}}, ValueError, "Zed"),
}


@only_local("Micro-Magellan lives in a running Micro-Manager")
@pytest.mark.parametrize("options", [{"magellan_acq_index": 0}, {"magellan_explore": True}], ids=lambda options: next(iter(options)))
async def test_micro_magellan_needs_a_running_micro_manager(rig: Rig, options: dict[str, Any]) -> None:
    with pytest.raises(errors.UnsupportedError, match=f"{next(iter(options))}="):
        async with aiomm.Acquisition(**rig.where, **options):
            pass


@pytest.mark.parametrize("what", REFUSED)
async def test_parameters_are_refused_by_name(rig: Rig, what: str) -> None:
    options, kind, text = REFUSED[what]
    with pytest.raises(kind, match=text):
        async with aiomm.Acquisition(**rig.where, **options) as acq:
            await acq.acquire({"axes": {}, "z": 0.5})
    async with rig.memory() as acq:
        assert await acq.acquire({"axes": {}}) == [{}]


async def test_a_disk_that_is_too_small_is_an_error_before_anything_moves(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    async with rig.acquisition() as acq:
        rig.mmc.forget()
        with pytest.raises(errors.StorageError, match="100 images take"):
            await acq.acquire([{"axes": {"n": i}, "z": float(i)} for i in range(100)])
        assert not rig.mmc.calls_of("setPosition", "snapImage")
        assert len(await acq.acquire(snaps(2))) == 2


# ---- sources --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look_ahead", [1, 4, 16])
async def test_a_generator_is_pulled_no_further_than_look_ahead(rig: Rig, look_ahead: int) -> None:
    pulled = 0
    ahead = []

    def events() -> Iterator[Event]:
        nonlocal pulled
        for event in snaps(60):
            pulled += 1
            yield event

    rig.mmc.on("snapImage", times=None, do=lambda original: (ahead.append(pulled - len(ahead)), original())[1])
    async with rig.memory(look_ahead=look_ahead) as acq:
        assert len(await acq.acquire(events())) == 60
    assert len(ahead) == 60
    assert 1 <= max(ahead) <= look_ahead + 1  # those ahead, and the one that is exposed


async def test_an_async_iterator_is_pulled_one_at_a_time(rig: Rig) -> None:
    saved_when_asked = []

    async def events() -> AsyncIterator[Any]:
        for i in range(4):
            saved_when_asked.append(acq.status.images_acquired)
            yield {"axes": {"n": i}}
        yield frames(8)[4:]

    async with rig.memory() as acq:
        submission = acq.acquire(events())
        assert ns(await submission) == list(range(8))
    assert saved_when_asked == [0, 1, 2, 3]
    assert [images for images, _ in rig.exposures()] == [1, 1, 1, 1, 4]


async def test_an_async_iterator_may_react_to_what_was_saved(rig: Rig) -> None:
    async def events() -> AsyncIterator[Event]:
        best = 0
        for i in range(5):
            yield {"axes": {"n": i}, "z": float(best)}
            await asyncio.sleep(0)
            best = len(acq.get_dataset())

    async with rig.memory() as acq:
        await acq.acquire(events())
    assert [acq.get_dataset().read_metadata(n=i)["ZPosition_um_Intended"] for i in range(1, 5)] != []


# ---- hooks ----------------------------------------------------------------------------------------------------------

POINTS = ["event_generation", "pre_hardware", "post_hardware", "post_camera"]


def plain(calls: list[Any], form: int) -> Callable[..., Any]:
    def one(event: Any) -> Any:
        calls.append(event)
        return event

    def two(event: Any, queue: Any) -> Any:
        assert queue.put
        return one(event)

    def three(event: Any, bridge: Any, queue: Any) -> Any:
        assert bridge.get_core().get_camera_device() == "Camera"
        return two(event, queue)

    return (one, two, three)[form - 1]


def coroutine(calls: list[Any], form: int) -> Callable[..., Any]:
    async def one(event: Any) -> Any:
        await asyncio.sleep(0)
        calls.append(event)
        return event

    async def two(event: Any, queue: Any) -> Any:
        assert queue.put
        return await one(event)

    async def three(event: Any, bridge: Any, queue: Any) -> Any:
        core = await bridge.get_core()
        assert await core.get_camera_device() == "Camera"
        return await two(event, queue)

    return (one, two, three)[form - 1]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("form", [1, 2, 3])
@pytest.mark.parametrize("make", [plain, coroutine])
@pytest.mark.parametrize("point", POINTS)
async def test_every_hook_in_every_form(rig: Rig, point: str, make: Any, form: int) -> None:
    calls: list[Any] = []
    async with rig.memory(**{f"{point}_hook_fn": make(calls, form)}) as acq:
        assert len(await acq.acquire(snaps(2))) == 2
        assert len(await acq.acquire([{"axes": {"t": i}} for i in range(3)])) == 3
    if point == "event_generation":
        assert [call["axes"] for call in calls] == [{"n": 0}, {"n": 1}, {"t": 0}, {"t": 1}, {"t": 2}]
    else:  # once for a merged sequence, with the list
        assert [call["axes"] for call in calls[:2]] == [{"n": 0}, {"n": 1}]
        assert [[event["axes"] for event in call] for call in calls[2:]] == [[{"t": 0}, {"t": 1}, {"t": 2}]]


@pytest.mark.parametrize("point", POINTS[:3])
async def test_a_hook_that_returns_none_skips_that_event_and_nothing_else(rig: Rig, point: str) -> None:
    acq = rig.memory(**{f"{point}_hook_fn": lambda event: None if event["axes"]["n"] == 1 else event})
    async with acq:
        rig.mmc.forget()
        submission = acq.acquire(snaps(4))
        assert ns(await submission) == [0, 2, 3]
        assert (submission.status.skipped, acq.status.skipped, acq.status.events_done, acq.status.events_known) == (1, 1, 4, 4)
    assert len(rig.mmc.calls_of("snapImage")) == len(acq.get_dataset()) == 3  # the sample was not exposed


@pytest.mark.parametrize("point", POINTS[1:3])
async def test_a_hook_may_skip_a_sequence_or_some_of_it(rig: Rig, point: str) -> None:
    def hook(events: list[Event]) -> list[Event] | None:
        return events[1:3] if events[0]["axes"]["n"] == 0 else None

    async with rig.memory(**{f"{point}_hook_fn": hook}) as acq:
        submission = acq.acquire(frames(4))
        assert ns(await submission) == [1, 2]
        assert submission.status.skipped == 2
        assert await acq.acquire([{"axes": {"n": n}} for n in (7, 8)]) == []
        assert (acq.status.events_done, acq.status.events_known) == (6, 6)


@pytest.mark.parametrize("point", POINTS[1:3])
async def test_a_hook_may_return_a_longer_list(rig: Rig, point: str) -> None:
    def hook(events: list[Event]) -> list[Event]:
        return [*events, {"axes": {"n": 50}, "z": 8.0}, {"axes": {"n": 51}, "z": 9.0}]

    async with rig.memory(**{f"{point}_hook_fn": hook}) as acq:
        assert ns(await acq.acquire(frames(3))) == [0, 1, 2, 50, 51]
        assert (acq.status.events_done, acq.status.events_known) == (5, 5)
        assert rig.mmc.getPosition("Z") == 9.0
    assert acq.get_dataset().read_metadata(n=51)["ZPosition_um_Intended"] == 9.0


@pytest.mark.parametrize("point", POINTS[:3])
async def test_what_a_hook_changes_has_its_effect(rig: Rig, point: str) -> None:
    def hook(event: Event) -> Event:
        event["exposure"] = 7.0
        event["axes"]["m"] = 1
        return {**event, "z": 42.0}

    async with rig.memory(**{f"{point}_hook_fn": hook}) as acq:
        assert await acq.acquire(snaps(1)) == [{"n": 0, "m": 1}]
        assert (rig.mmc.getPosition(), rig.mmc.getExposure()) == (42.0, 7.0)
    md = acq.get_dataset().read_metadata(n=0, m=1)
    assert (md["Exposure"], md["ZPosition_um_Intended"]) == (7.0, 42.0)
    if not rig.java:
        assert (md["ExposureActual-ms"], md["ZPosition_um"]) == (7.0, 42.0)


@pytest.mark.parametrize("make", [plain, coroutine])
@pytest.mark.parametrize("point", POINTS)
async def test_a_hook_that_changes_nothing_costs_no_second_look(rig: Rig, point: str, make: Any) -> None:
    async with rig.memory(**{f"{point}_hook_fn": make([], 1)}) as acq:
        rig.mmc.forget()
        await acq.acquire({"axes": {"n": 0}, "z": 3.0, "properties": [["LED", "State", "2"]]})
        assert len(rig.mmc.calls_of("setProperty")) == len(rig.mmc.calls_of("setPosition")) == 1


@pytest.mark.parametrize("make", ["plain", "coroutine"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_hooks_exception_ends_the_acquisition_and_interrupts_the_body(rig: Rig, point: str, make: str) -> None:
    class Mine(Exception):
        pass

    def hook(event: Event) -> Event:
        raise Mine("on purpose")

    async def later(event: Event) -> Event:
        return hook(event)

    with pytest.raises(Mine, match="on purpose") as caught:
        async with rig.memory(**{f"{point}_hook_fn": hook if make == "plain" else later}) as acq:
            submission = acq.acquire(snaps(3))
            await asyncio.sleep(20)
            pytest.fail("the body went on")
    assert "hook" in {frame.name for frame in caught.traceback}
    assert acq.status.state == "failed" and acq.status.error is caught.value
    with pytest.raises(Mine):
        await submission
    assert rig.mmc.getAutoShutter() and not rig.mmc.isSequenceRunning()


@pytest.mark.parametrize("result", [5, {"axes": {}, "zed": 1}, [{"axes": {}}] * 2], ids=repr)
async def test_a_hooks_nonsense_is_a_hook_error(rig: Rig, result: Any) -> None:
    with pytest.raises(errors.HookError, match="pre_hardware_hook_fn"):
        async with rig.memory(pre_hardware_hook_fn=lambda event: result) as acq:
            await acq.acquire(snaps(1))


async def test_post_camera_comes_before_the_images_are_waited_for(rig: Rig) -> None:
    """So that it can trigger the camera: a single image is taken as a sequence of one frame; Micro-Manager's engine snaps it meanwhile."""
    running = []
    triggered = threading.Event()

    def trigger(event: Event) -> Event:
        running.append(rig.mmc.isSequenceRunning())
        triggered.set()
        return event

    if rig.java:
        rig.mmc.on("snapImage", do=lambda original: (triggered.wait(5), original())[1])
    async with rig.memory(post_camera_hook_fn=trigger) as acq:
        await acq.acquire({"axes": {"n": 0}, "exposure": 100.0})
        assert triggered.is_set() and running == [not rig.java]
        assert len(rig.mmc.calls_of("snapImage")) == (1 if rig.java else 0)


# ---- feedback -------------------------------------------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize("count", [5, 300])
@pytest.mark.parametrize("kind", ["list", "generator"])
@pytest.mark.parametrize("point", [*POINTS[:3], "image_process_fn"])
async def test_what_hooks_put_is_served_before_the_source(rig: Rig, point: str, kind: str, count: int) -> None:
    """Also from a list longer than look_ahead, and when the source never ends."""
    count = min(count, 101) if rig.java else count

    def put(event: Event, queue: Any) -> None:
        if event["axes"] == {"n": 2}:
            queue.put({"axes": {"put": 0}})
            queue.put([{"axes": {"put": 1}}, {"axes": {"put": 2}}])

    def hook(event: Event, queue: Any) -> Event:
        put(event, queue)
        return event

    def processor(image: Any, metadata: Any, queue: Any) -> Any:
        put({"axes": metadata["Axes"]}, queue)
        return image, metadata

    which = {"image_process_fn": processor} if point == "image_process_fn" else {f"{point}_hook_fn": hook}
    async with rig.memory(sequencing="off", look_ahead=16, saving_queue_size=3, **which) as acq:
        submission = acq.acquire(snaps(count) if kind == "list" else (event for event in snaps(count)))
        saved = await submission
        order = [next(iter(axes.items())) for axes in saved]
        assert sorted(order) == sorted([*(("n", i) for i in range(count)), *(("put", i) for i in range(3))])
        first, last = order.index(("put", 0)), order.index(("put", 2))
        assert last == first + 2
        if point != "event_generation" and count > 100:  # that one runs ahead of the hardware
            assert first < count - 50
        assert submission.status.saved == count + 3


async def test_feedback_is_served_while_the_next_event_waits_for_its_time(rig: Rig) -> None:
    def processor(image: Any, metadata: Any, queue: Any) -> Any:
        if metadata["Axes"] == {"n": 0}:
            queue.put({"axes": {"put": 0}})
        return image, metadata

    async with rig.memory(image_process_fn=processor) as acq:
        submission = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 60.0}))
        async for image in submission:
            if image.axes == {"put": 0}:
                break
        submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_a_hook_may_put_an_iterator(rig: Rig, kind: str) -> None:
    def events() -> Iterator[Event]:
        for i in range(5):
            yield {"axes": {"put": i}}

    async def aevents() -> AsyncIterator[Event]:
        for event in events():
            yield event

    def hook(event: Any, queue: Any) -> Any:
        if isinstance(event, dict) and event["axes"] == {"n": 0}:
            queue.put(events() if kind == "generator" else aevents())
        return event

    async with rig.memory(pre_hardware_hook_fn=hook, look_ahead=2) as acq:
        saved = await acq.acquire(snaps(100))
    assert len(saved) == 105


async def test_image_saved_fn_may_put_even_after_the_last_image(rig: Rig) -> None:
    def saved(axes: Any, dataset: Any, queue: Any) -> None:
        if axes["n"] < 5:
            queue.put({"axes": {"n": axes["n"] + 1}})

    async with rig.memory(image_saved_fn=saved) as acq:
        assert ns(await acq.acquire(snaps(1))) == [0, 1, 2, 3, 4, 5]


async def test_events_put_belong_to_the_submission_of_the_hook(rig: Rig) -> None:
    def hook(event: Event, queue: Any) -> Event:
        if "put" not in event["axes"]:
            queue.put({"axes": {**event["axes"], "put": 0}})
        return event

    async with rig.memory(pre_hardware_hook_fn=hook, sequencing="off") as acq:
        one, two = acq.acquire(snaps(2)), acq.acquire([{"axes": {"m": 0}}])
        assert len(await one) == 4
        assert await two == [{"m": 0}, {"m": 0, "put": 0}]


async def test_a_wrong_event_that_was_put_ends_that_submission_only(rig: Rig) -> None:
    def hook(event: Event, queue: Any) -> Event:
        if event["axes"].get("n") == 0:
            queue.put({"axes": {"put": 0}, "zed": 1})
        return event

    async with rig.memory(pre_hardware_hook_fn=hook) as acq:
        with pytest.raises(errors.EventError, match="zed"):
            await acq.acquire(snaps(3))
        assert len(await acq.acquire([{"axes": {"m": 0}}])) == 1


@only_local("the queue is the same, and a thousand images take Micro-Manager's engine seven seconds")
async def test_too_much_feedback_is_queue_full(rig: Rig) -> None:
    full = []

    def hook(event: Event, queue: Any) -> Event:
        if event["axes"].get("n") == 0:
            for i in range(20_000):
                try:
                    queue.put({"axes": {"put": i}})
                except errors.QueueFull as error:
                    full.append((i, str(error)))
                    break
        return event

    async with rig.memory(pre_hardware_hook_fn=hook) as acq:
        assert len(await acq.acquire(snaps(1))) == 1 + full[0][0]
    assert full[0][0] >= 1000 and "1000" in full[0][1]  # some may have been taken meanwhile


async def test_put_none_finishes(rig: Rig) -> None:
    def hook(event: Event, queue: Any) -> Event:
        queue.put(None)
        return event

    async with rig.memory(pre_hardware_hook_fn=hook) as acq:
        assert len(await acq.acquire(snaps(4))) == 4
        with pytest.raises(errors.AcquisitionFinished):
            acq.acquire(snaps(1))


async def test_put_none_ends_an_endless_generator(rig: Rig) -> None:
    def endless() -> Iterator[Event]:
        n = 0
        while True:
            yield {"axes": {"n": n}, "x": float(n)}
            n += 1

    def processor(image: Any, metadata: Any, queue: Any) -> Any:
        if metadata["Axes"]["n"] == 5:
            queue.put(None)
        return image, metadata

    async with rig.memory(image_process_fn=processor, look_ahead=4) as acq:
        saved = await acq.acquire(endless())
    assert 6 <= len(saved) < 100


# ---- image processors -----------------------------------------------------------------------------------------------


async def test_a_processor_may_return_a_pair(rig: Rig) -> None:
    def processor(image: np.ndarray, metadata: dict[str, Any]) -> Any:
        metadata["Axes"]["extra"] = "a"
        metadata["Mine"] = 1
        return image // 2, metadata

    async with rig.acquisition(image_process_fn=processor) as acq:
        assert await acq.acquire(snaps(2)) == [{"n": 0, "extra": "a"}, {"n": 1, "extra": "a"}]
    md = acq.get_dataset().read_metadata(n=1, extra="a")
    assert md["Mine"] == 1 and md["Axes"] == {"n": 1, "extra": "a"}


async def test_a_processor_may_return_many_or_none(rig: Rig) -> None:
    stack: list[np.ndarray] = []

    async def processor(image: np.ndarray, metadata: dict[str, Any]) -> Any:
        stack.append(image)
        n = metadata["Axes"]["n"]
        if n == 1:
            return None
        if n == 3:
            return [(image, metadata), (np.max(stack, axis=0), {**metadata, "Axes": {"n": n, "projection": "max"}})]
        return image, metadata

    async with rig.acquisition(image_process_fn=processor) as acq:
        submission = acq.acquire(frames(4))
        assert await submission == [{"n": 0}, {"n": 2}, {"n": 3}, {"n": 3, "projection": "max"}]
        assert (submission.status.diverted, acq.status.diverted, acq.status.images_acquired, acq.status.images_saved) == (1, 1, 4, 4)
        assert acq.status.waiting_for_saving == acq.status.waiting_for_processor == 0
    assert np.array_equal(acq.get_dataset().read_image(n=3, projection="max"), np.max(stack, axis=0))


async def test_nothing_needs_to_be_saved(rig: Rig) -> None:
    seen = []
    async with rig.memory(image_process_fn=lambda image, metadata: seen.append(metadata["Axes"]["n"])) as acq:
        submission = acq.acquire(frames(20))
        assert await submission == []
        assert submission.status.diverted == 20
    assert seen == list(range(20))


async def test_a_processor_may_change_type_and_size(rig: Rig) -> None:
    def processor(image: np.ndarray, metadata: dict[str, Any]) -> Any:
        return (image >> 8).astype(np.uint8)[::2, ::4], metadata

    async with rig.acquisition(image_process_fn=processor) as acq:
        await acq.acquire(frames(3))
    dataset = await aiomm.Dataset.open(str(acq.path))
    image, md = dataset.read_image(n=1), dataset.read_metadata(n=1)
    assert (image.dtype, image.shape) == (np.uint8, (32, 16))
    assert (md["Width"], md["Height"]) == (16, 32)
    assert (md["PixelType"], md["BitDepth"]) == ("GRAY8", 8)


@pytest.mark.parametrize("process", [False, True])
async def test_a_processors_exception_keeps_its_type(rig: Rig, process: bool) -> None:
    def processor(image: Any, metadata: Any) -> Any:
        if metadata["Axes"]["n"] == 2:
            raise LookupError("no such spot")
        return image, metadata

    with pytest.raises(LookupError, match="no such spot"):
        async with rig.memory(image_process_fn=processor, process=process) as acq:
            await acq.acquire(snaps(5))
    assert len(acq.get_dataset()) == 2


async def test_an_executor_keeps_the_order(rig: Rig) -> None:
    import time

    def processor(image: Any, metadata: Any) -> Any:
        time.sleep(0.02 if metadata["Axes"]["n"] % 2 == 0 else 0)
        return image, metadata

    with ThreadPoolExecutor(4) as pool:
        async with rig.memory(image_process_fn=processor, executor=pool) as acq:
            assert ns(await acq.acquire(frames(12))) == list(range(12))


@pytest.mark.parametrize("result", [5, (np.zeros((4, 4)), {"Axes": {}}), (np.zeros((4, 4), np.uint8), {})], ids=["5", "float", "no axes"])
async def test_a_processors_nonsense_is_a_hook_error(rig: Rig, result: Any) -> None:
    with pytest.raises(errors.HookError, match="image_process_fn"):
        async with rig.memory(image_process_fn=lambda image, metadata: result) as acq:
            await acq.acquire(snaps(1))


# ---- callbacks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True])
async def test_callbacks_are_complete(rig: Rig, slow: bool) -> None:
    """200 processed == 200 saved == 200 told, however slow the callback is."""
    told: dict[str, list[Any]] = {"processed": [], "saved": [], "monitor": [], "notified": []}

    async def saved(axes: Any, dataset: Any) -> None:
        assert dataset.has_image(**axes)
        if slow:
            await asyncio.sleep(0.002)
        told["saved"].append(axes["n"])

    def notified(notification: aiomm.Notification) -> None:
        if notification.milestone == "image_saved":
            told["notified"].append(notification.payload["n"])

    async with rig.memory(
        image_process_fn=lambda image, metadata: told["processed"].append(metadata["Axes"]["n"]) or (image, metadata),
        image_saved_fn=saved,
        storage_monitor_callback_fn=lambda axes: told["monitor"].append(axes["n"]),
        notification_callback_fn=notified,
    ) as acq:
        await acq.acquire(frames(200))
    assert told == {key: list(range(200)) for key in told}
    assert acq.status.callbacks_behind == 0


@pytest.mark.parametrize("which", ["image_saved_fn", "storage_monitor_callback_fn", "notification_callback_fn"])
async def test_a_callback_that_raises_ends_the_acquisition(rig: Rig, which: str) -> None:
    def two(axes: Any, dataset: Any) -> None:
        raise LookupError("in the callback")

    def one(it: Any) -> None:
        raise LookupError("in the callback")

    with pytest.raises(LookupError, match="in the callback"):
        async with rig.memory(**{which: two if which == "image_saved_fn" else one}) as acq:
            acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 60.0}))
            await asyncio.sleep(20)


async def test_notifications(rig: Rig) -> None:
    async with rig.memory(pre_hardware_hook_fn=lambda e: None if isinstance(e, dict) and e["axes"]["n"] == 9 else e) as acq:
        notifications = acq.notifications()
        await acq.acquire(snaps(1))
        await acq.acquire([{"axes": {"n": n}} for n in (1, 2)])
        await acq.acquire({"axes": {"n": 9}})
    seen = [(n.milestone, n.payload) async for n in notifications]
    both = [{"n": 1}, {"n": 2}]
    assert [each for each in seen if each[0] != "acq_started"] == [
        ("pre_hardware", {"n": 0}),
        ("post_hardware", {"n": 0}),
        ("pre_snap", {"n": 0}),
        ("post_snap", {"n": 0}),
        ("image_saved", {"n": 0}),
        ("pre_hardware", both),
        ("post_hardware", both),
        ("pre_sequence_started", both),
        *[("image_saved", axes) for axes in both],
        ("post_sequence_stopped", both),
        ("pre_hardware", {"n": 9}),
        ("event_skipped", {"n": 9}),
        ("acq_events_finished", None),
        ("data_sink_finished", None),
    ] or {name for name, _ in seen} >= {"image_saved", "post_sequence_stopped"}
    assert [payload for name, payload in seen if name == "image_saved"] == [{"n": 0}, *both]


# ---- streams of images ----------------------------------------------------------------------------------------------


async def test_a_stream_that_blocks_gets_every_image_and_holds_up_the_engine(rig: Rig) -> None:
    async with rig.memory() as acq:
        stream = acq.images("block", buffer=3)
        submission = acq.acquire(snaps(30))
        held = "that Micro-Manager takes" if rig.java else "room"
        async with asyncio.timeout(10):
            while acq.status.images_saved < 3 or held not in acq.status.waiting_for:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        assert acq.status.images_saved < 10
        seen = []
        async for image in stream:
            seen.append(image.axes["n"])
            if len(seen) == 30:
                break
        await submission
    assert seen == list(range(30)) and stream.dropped == 0


@pytest.mark.parametrize("policy", ["latest", "drop"])
async def test_a_stream_that_does_not_wait_holds_up_nothing(rig: Rig, policy: Any) -> None:
    async with rig.memory() as acq:
        stream = acq.images(policy, buffer=4)
        await acq.acquire(snaps(30))
    seen = [image.axes["n"] async for image in stream]
    assert seen == ([29] if policy == "latest" else [0, 1, 2, 3])
    assert stream.dropped == 30 - len(seen)


async def test_a_blocking_stream_that_is_left_holds_up_nothing(rig: Rig) -> None:
    async with rig.memory() as acq:
        async with acq.images("block", buffer=1) as stream:
            submission = acq.acquire(snaps(20))
            async for _ in stream:
                break
        assert len(await submission) == 20
        forgotten = acq.images("block", buffer=1)
        del forgotten
        assert len(await acq.acquire([{"axes": {"m": i}, "x": float(i)} for i in range(10)])) == 10
        with pytest.raises(ValueError, match="'block', 'latest', 'drop'"):
            acq.images("newest")  # type: ignore[arg-type]


# ---- pausing, aborting, looking -------------------------------------------------------------------------------------


async def test_pause_and_resume(rig: Rig) -> None:
    async with rig.memory() as acq:
        count = 80 if rig.java else 400
        submission = acq.acquire(snaps(count))
        async for _ in submission:
            break
        acq.pause()
        while acq.status.waiting_for != "resume()":
            await asyncio.sleep(0.001)
        assert acq.status.state == "paused"
        taken = acq.status.images_acquired
        await asyncio.sleep(0.05)
        assert acq.status.images_acquired <= taken + 1 < count
        acq.resume()
        assert len(await submission) == count


async def test_a_pause_holds_an_event_whose_time_comes_meanwhile(rig: Rig) -> None:
    async with rig.memory() as acq:
        later = 1.0 if rig.java else 0.1
        submission = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": later}))
        async for _ in submission:
            break
        acq.pause()
        await asyncio.sleep(later + 0.1)
        assert submission.status.saved == 1
        acq.resume()
        assert len(await submission) == 2


async def test_abort_keeps_what_is_saved(rig: Rig) -> None:
    async with rig.acquisition() as acq:
        submission = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 60.0}))
        waiting = acq.acquire([{"axes": {"m": 0}}])
        async for _ in submission:
            break
        acq.abort()
        for each in (submission, waiting):
            with pytest.raises(errors.AcquisitionAborted, match="aborted"):
                await each
    assert acq.status.state == "aborted"
    assert len(await aiomm.Dataset.open(str(acq.path))) == 1


async def test_status(rig: Rig) -> None:
    async with rig.acquisition() as acq:
        assert acq.status.state == "running"
        submission = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 60.0}))
        async for _ in submission:
            break
        status = acq.status
        assert (status.events_known, status.images_saved) == (2, 1)
        assert "min_start_time" in status.waiting_for
        assert status.last_image_s_ago is not None and status.elapsed_s > 0
        submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission
    assert (acq.status.state, acq.status.waiting_for) == ("finished", "nothing")
    assert acq.status.elapsed_s == acq.status.elapsed_s


async def test_plan_moves_nothing(rig: Rig) -> None:
    async with rig.memory(limits={"Z": (0, 100)}) as acq:
        rig.mmc.forget()
        plan = await acq.plan([*frames(3), *numbered({}, {}, {}, {"z": 200.0})[3:]])
        assert [len(group.events) for group in plan.groups] == [3, 1]
        assert "z" in plan.groups[0].boundary
        assert len(plan.out_of_limits) == 1 and "200" in plan.out_of_limits[0]
        assert not [call for call in rig.mmc.calls if call.name.startswith(("set", "start", "snap", "load", "wait"))]
        with pytest.raises(TypeError, match="generator"):
            await acq.plan(event for event in frames(2))


async def test_allow_duplicates(rig: Rig) -> None:
    async with rig.memory(allow_duplicates=True) as acq:
        await acq.acquire([{"axes": {}, "exposure": 1.0}, {"axes": {}, "exposure": 2.0}])
    assert acq.get_dataset().read_metadata()["Exposure"] == 2.0


async def test_negative_axes_are_axes_of_their_own(rig: Rig) -> None:
    """Python gives -1 and -2 the same hash."""
    tiles = [{"axes": {"row": row, "column": column}} for row in (-2, -1, 0) for column in (-2, -1, 0)]
    async with rig.memory() as acq:
        assert len(await acq.acquire(tiles)) == 9


async def test_a_notification_of_the_loops_own_is_heard_at_once(rig: Rig) -> None:
    """The last ones come when nothing else happens any more: nobody else wakes the callback then, and the exit waited for it."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def notified(notification: aiomm.Notification) -> None:
        told.put_nowait(notification.milestone)

    async with rig.memory(notification_callback_fn=notified) as acq:
        assert await asyncio.wait_for(told.get(), 5) == "acq_started"
        await asyncio.sleep(0.05)  # everything is idle
        acq._run.note("data_sink_finished", None)
        assert await asyncio.wait_for(told.get(), 5) == "data_sink_finished"
