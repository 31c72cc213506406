"""Callbacks and generators that raise or hang, consumers that stop reading: all ends safely, with the first cause."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.support.ends import SHUTTER, Ends, sequence, steps
from tests.support.homes import only_local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


pytestmark = pytest.mark.sampled(6, of="module")

CALLBACKS = (
    "event_generation_hook_fn",
    "pre_hardware_hook_fn",
    "post_hardware_hook_fn",
    "post_camera_hook_fn",
    "image_process_fn",
    "image_saved_fn",
    "storage_monitor_callback_fn",
    "notification_callback_fn",
)
BASE_EXCEPTIONS = (SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit())


class Broken(Exception):
    """What the user's functions raise."""


def raising(which: str, error: BaseException, kind: str, at: Ends) -> Any:
    """Make a function for this parameter that raises at its third call."""
    calls = 0

    def body(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return args[0] if len(args) == 1 else args

    def saved(axes: Any, dataset: Any) -> None:
        at.note_saved(axes, dataset)
        body(axes, dataset)

    def process(image: Any, metadata: Any) -> Any:
        return body(image, metadata)

    def hook(event: Any) -> Any:
        return body(event)

    plain = {"image_process_fn": process, "image_saved_fn": saved}.get(which, hook)
    if kind == "sync":
        return plain
    if plain is hook:

        async def async_hook(event: Any) -> Any:
            await asyncio.sleep(0)
            return plain(event)

        return async_hook

    async def async_pair(image: Any, dataset: Any) -> Any:
        await asyncio.sleep(0)
        return plain(image, dataset)

    if which == "image_process_fn":

        async def async_process(image: Any, metadata: Any) -> Any:
            return await async_pair(image, metadata)

        return async_process

    async def async_saved(axes: Any, dataset: Any) -> Any:
        return await async_pair(axes, dataset)

    return async_saved


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("which", CALLBACKS)
async def test_an_exception_in_a_callback(at: Ends, which: str, kind: str) -> None:
    error = Broken("on purpose")
    events = [*steps(20), *[{"axes": {"time": i}, "min_start_time": 3600} for i in (90, 91)]]
    with at.within(f"{which} raises ({kind})"):
        with pytest.raises(Broken) as raised:
            async with at.acquisition(**{which: raising(which, error, kind, at)}) as acq:
                await acq.acquire(events)
    assert raised.value is error
    assert raised.traceback[-1].name == "body"
    acq.get_dataset().close()
    await at.all_is_well()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("error", BASE_EXCEPTIONS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("which", ["event_generation_hook_fn", "pre_hardware_hook_fn", "image_process_fn", "image_saved_fn"])
async def test_what_is_no_exception_in_a_callback(at: Ends, which: str, error: BaseException, kind: str) -> None:
    """It would tear the loop down, or pass for a cancellation: it becomes the cause of a HookError."""
    with pytest.raises(errors.HookError, match=type(error).__name__) as raised:
        async with at.acquisition(**{which: raising(which, error, kind, at)}) as acq:
            await acq.acquire(steps(20))
    if not isinstance(error, asyncio.CancelledError):
        assert raised.value.__cause__ is error
    acq.get_dataset().close()
    await at.all_is_well()


@pytest.mark.parametrize("which", CALLBACKS)
async def test_an_exception_interrupts_a_body_that_waits_for_something_else(at: Ends, which: str) -> None:
    error = Broken("on purpose")
    with at.within(f"{which} raises, the body is elsewhere"):
        with pytest.raises(Broken) as raised:
            async with at.acquisition(**{which: raising(which, error, "async", at)}) as acq:
                acq.acquire([*steps(20), {"axes": {"time": 90}, "min_start_time": 3600}])
                await asyncio.sleep(3600)
    assert raised.value is error
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    acq.get_dataset().close()
    await at.all_is_well()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("error", [Broken("on purpose"), SystemExit(3), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
async def test_a_generator_that_raises_ends_its_submission_only(at: Ends, kind: str, error: BaseException) -> None:
    closed = False

    def sync_events() -> Iterator[dict[str, Any]]:
        nonlocal closed
        try:
            yield from steps(3)
            raise error
        finally:
            closed = True

    async def async_events() -> AsyncIterator[dict[str, Any]]:
        nonlocal closed
        try:
            for event in steps(3):
                yield event
            raise error
        finally:
            closed = True

    expected = type(error) if isinstance(error, Exception) else errors.EventError
    async with at.acquisition() as acq:
        with pytest.raises(expected) as raised:
            await acq.acquire(sync_events() if kind == "sync" else async_events())
        assert raised.value is error or raised.value.__cause__ is error
        assert closed
        assert len(await acq.acquire([{"axes": {"after": 0}}])) == 1
    acq.get_dataset().close()
    assert await at.all_is_well() == 4


async def test_an_async_generator_whose_own_await_was_cancelled(at: Ends) -> None:
    async def events() -> AsyncIterator[dict[str, Any]]:
        for event in steps(3):
            yield event
        raise asyncio.CancelledError

    async with at.acquisition() as acq:
        with pytest.raises(errors.EventError, match="CancelledError"):
            await acq.acquire(events())
    acq.get_dataset().close()
    assert await at.all_is_well() == 3


@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_an_async_generator_that_swallows_its_cancellation(at: Ends, how: str) -> None:
    inside, release = asyncio.Event(), asyncio.Event()

    async def events() -> AsyncIterator[dict[str, Any]]:
        yield {"axes": {"time": 0}}
        while not release.is_set():
            inside.set()
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    acq = await at.open()
    submission = acq.acquire(events())
    await inside.wait()
    with at.within(f"generator swallows: {how}"):
        if how == "abort":
            acq.abort()
            await acq.aclose()
            with pytest.raises(errors.AcquisitionAborted):
                await submission
        else:
            submission.cancel()
            with pytest.raises(errors.SubmissionCancelled):
                await submission
            assert len(await acq.acquire([{"axes": {"after": 0}}])) == 1
            await acq.aclose()
    release.set()  # what was left behind is the user's own
    await asyncio.sleep(0.05)
    acq.get_dataset().close()
    assert await at.all_is_well() == (1 if how == "abort" else 2)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_generator_that_is_slow_gives_all_its_events(at: Ends, kind: str) -> None:
    import time

    def sync_events() -> Iterator[dict[str, Any]]:
        for event in steps(5):
            time.sleep(0.03)
            yield event

    async def async_events() -> AsyncIterator[dict[str, Any]]:
        for event in steps(5):
            await asyncio.sleep(0.03)
            yield event

    async with at.acquisition() as acq:
        assert len(await acq.acquire(sync_events() if kind == "sync" else async_events())) == 5
    acq.get_dataset().close()
    assert await at.all_is_well() == 5


@pytest.mark.parametrize("policy", ["latest", "drop"])
async def test_a_consumer_that_stops_reading_holds_up_nothing(at: Ends, policy: Any) -> None:
    async with at.acquisition() as acq:
        stream = acq.images(policy=policy, buffer=2)
        submission = acq.acquire(steps(30))
        abandoned = submission.__aiter__()
        await anext(abandoned)
        await anext(stream)
        assert len(await submission) == 30
        assert stream.dropped
    acq.get_dataset().close()
    assert await at.all_is_well() == 30


@only_local("an unread stream does not hold up what Micro-Manager saves; images that come here: tests/acquire/test_acquisition.py")
@pytest.mark.parametrize("how", ["abort", "aclose", "dropped", "error"])
async def test_a_consumer_that_blocks_and_stops_reading(at: Ends, how: str) -> None:
    error = Broken("on purpose")
    go = asyncio.Event()

    async def hook(event: Any) -> Any:
        if how == "error" and go.is_set():
            raise error
        return event

    acq = await at.open(pre_hardware_hook_fn=hook)
    stream: Any = acq.images(buffer=2)
    submission = acq.acquire(steps(500))
    await anext(stream)
    async with asyncio.timeout(10):
        while "room for a frame" not in acq.status.waiting_for:
            await asyncio.sleep(0.002)
    with at.within(f"consumer blocks: {how}"):
        match how:
            case "abort":
                acq.abort()
                await acq.aclose()
                with pytest.raises(errors.AcquisitionAborted):
                    await submission
            case "aclose":
                await stream.aclose()
                submission.cancel()
                await acq.aclose()
            case "dropped":
                del stream
                submission.cancel()
                await acq.aclose()
            case "error":
                go.set()
                await anext(stream)
                with pytest.raises(Broken):
                    while True:
                        await anext(stream)
                with pytest.raises(Broken):
                    await submission
                await acq.aclose()
    stream = None
    acq.get_dataset().close()
    await at.all_is_well()


@pytest.mark.parametrize("auto", [False, True])
async def test_a_shutter_that_was_open_is_open_again(at: Ends, auto: bool) -> None:
    await at.core.set_auto_shutter(False)
    await at.core.set_shutter_open(True)
    await at.core.set_auto_shutter(auto)
    try:
        acq = await at.open()
        submission = acq.acquire(sequence(5000, exposure=5), keep_shutter_open=True)
        async for _ in submission:
            acq.abort()
            break
        await acq.aclose()
        acq.get_dataset().close()
        assert await at.core.get_auto_shutter() is auto
        assert await at.core.get_shutter_open(SHUTTER)
    finally:
        await at.core.set_auto_shutter(True)
        await at.core.set_shutter_open(False)
    await at.all_is_well()


async def test_the_first_cause_counts(at: Ends) -> None:
    """A device fails while the camera is stopped because of a hook: the hook's error is raised, the device's is noted with it."""
    error = Broken("on purpose")

    async def hook(event: Any) -> Any:
        at.mmc.on("setAutoShutter", times=None, raises=RuntimeError("stuck"))
        raise error

    with pytest.raises(Broken) as raised:
        async with at.acquisition(post_camera_hook_fn=hook) as acq:
            await acq.acquire(sequence(20), keep_shutter_open=True)
    assert raised.value is error
    acq.get_dataset().close()
    at.mmc.heal()
    await at.core.set_auto_shutter(True)
    await at.all_is_well()


@only_local("a core in a running Micro-Manager is not closed from here")
async def test_forgetting_an_acquisition(at: Ends) -> None:
    """Its task keeps it alive until the core is closed, which ends it."""
    acq: Any = await at.open()
    submission = acq.acquire([{"axes": {"time": 0}}, {"axes": {"time": 1}, "min_start_time": 3600}])
    async for _ in submission:
        break
    del acq
    gc.collect()
    assert len(at.core.users) == 1
    with pytest.warns(ResourceWarning, match="unclosed <Acquisition"):
        with at.within("forgotten, the core is closed"):
            await at.core.aclose()
        with pytest.raises(errors.AcquisitionAborted):
            await submission
        gc.collect()
    assert not at.core.users
    del submission
    async with aiomm.LocalCore(mmcore=at.mmc) as core:
        at.core = core
        at.threads = {"aiomm-hardware"}
        assert await at.all_is_well() == 1
