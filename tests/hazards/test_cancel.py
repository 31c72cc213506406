"""Cancellation at every step of an acquisition, in every form asyncio has: the clean-up is done, and the cancellation goes on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomm
from aiomm import errors
from tests.support.ends import BOUND, SLACK, Ends, ends, sequence, steps
from tests.support.steps_of_a_loop import SteppedLoop, run_stepped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.recording import RecordingCore

SEED = int(os.environ.get("AIOMM_TEST_SEED", "20251"))


# ---- at every step of the loop -----------------------------------------------------------------------------------


async def whole(at: Ends, log: list[Any]) -> None:
    """An acquisition with everything: open, hooks, a processor, a loop over images, generators, awaiting, exit."""

    async def hook(event: Any) -> Any:
        await asyncio.sleep(0)
        return event

    def process(image: Any, metadata: Any) -> Any:
        return image, metadata

    async def generator() -> AsyncIterator[dict[str, Any]]:
        for i in range(2):
            await asyncio.sleep(0)
            yield {"axes": {"g": i}, "z": float(i)}

    async with at.acquisition(pre_hardware_hook_fn=hook, image_process_fn=process, post_camera_hook_fn=hook) as acq:
        log.append(acq)
        async for image in acq.acquire([*steps(2), *[{"axes": {"s": i}} for i in range(3)]], keep_shutter_open=True):
            log.append(image.axes)
        log.append(await acq.acquire(generator()))
        log.append(await acq.acquire({"axes": {"last": i}} for i in range(2)))
    log.append("exit")


Act = dict[str, "Callable[[asyncio.Task[Any], list[Any]], object]"]


def _close(task: asyncio.Task[Any], log: list[Any]) -> None:
    """Another task closes the acquisition."""
    if log and isinstance(log[0], aiomm.Acquisition):
        log.append(asyncio.ensure_future(log[0].aclose()))


def _abort(task: asyncio.Task[Any], log: list[Any]) -> None:
    if log and isinstance(log[0], aiomm.Acquisition):
        log[0].abort()


WAYS: dict[str, tuple[Callable[[asyncio.Task[Any], list[Any]], object], tuple[int, ...]]] = {
    "cancel": (lambda task, log: task.cancel(), (0,)),
    "cancel twice": (lambda task, log: task.cancel(), (0, 1)),
    "cancel thrice": (lambda task, log: task.cancel(), (0, 1, 4)),
    "close": (_close, (0,)),
    "abort": (_abort, (0,)),
}


async def one(loop: SteppedLoop, mmc: RecordingCore, way: str, k: int, folder: Path, *, thorough: bool) -> bool:
    """Act at the k-th step; all has to be well. Says whether the acquisition had ended before."""
    act, offsets = WAYS[way]
    async with ends(mmc, folder) as at:
        log: list[Any] = []
        task = asyncio.ensure_future(whole(at, log))
        loop.begin(dict.fromkeys((k + offset for offset in offsets), functools.partial(act, task, log)))
        start = time.monotonic()
        await asyncio.wait([task], timeout=30)
        assert task.done(), f"{way} at step {k}: hangs; {log[:1]} {task.get_stack()}"
        took = time.monotonic() - start
        loop.end()
        done = loop.done
        ended_before = not done
        where = f"{way} at step {k}: {log}"
        assert took < BOUND + SLACK, where
        closings = [entry for entry in log if isinstance(entry, asyncio.Future)]
        for closing in closings:
            await closing
        if ended_before:
            task.result()
        elif way.startswith("cancel"):
            assert task.cancelled() == (True in done), f"{where}: {task!r}"  # a cancellation that was accepted is never lost
            if not task.cancelled():
                task.result()
        elif task.exception() is not None:
            error = task.exception()
            assert isinstance(error, errors.AcquisitionAborted | errors.AcquisitionFinished), f"{where}: {error!r}"
        for acq in log[:1]:
            acq.get_dataset().close()
        loop.done = []
        del log, task, closings
        try:
            await at.hardware_is_safe()
            await at.releases_end()
            at.nothing_is_left()
            at.datasets_open()
            if thorough:
                await at.next_one_works()
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
    return ended_before


async def steps_of_a_whole_run(loop: SteppedLoop, mmc: RecordingCore) -> int:
    """How many steps the loop makes for the whole acquisition; it varies a little from run to run."""
    with tempfile.TemporaryDirectory() as folder:
        async with ends(mmc, Path(folder)) as at:
            log: list[Any] = []
            loop.begin({})
            await whole(at, log)
            assert log[-1] == "exit"
            return loop.end()


def sweep(mmc: RecordingCore, way: str, stride: int) -> tuple[int, int]:
    """Act at every ``stride``-th step, and see that all is well each time; gives (runs, steps of a whole run)."""

    async def main(loop: SteppedLoop) -> tuple[int, int]:
        total = await steps_of_a_whole_run(loop, mmc)
        first = random.Random(f"{SEED} {way}").randrange(stride) + 1
        runs = 0
        for k in range(first, total + 1, stride):
            with tempfile.TemporaryDirectory() as folder:
                await one(loop, mmc, way, k, Path(folder), thorough=runs % 7 == 0)
            runs += 1
        return runs, total

    result: tuple[int, int] = run_stepped(main)
    return result


@pytest.mark.blocks
@pytest.mark.parametrize("way", WAYS)
def test_at_every_step(mmc: RecordingCore, way: str) -> None:
    runs, total = sweep(mmc, way, stride=11)
    print(f"{way}: {runs} of {total} steps")
    assert runs > 5


# ---- in every form -----------------------------------------------------------------------------------------------


async def busy(at: Ends, entered: asyncio.Event) -> None:
    """An acquisition that is far from its end."""
    async with at.acquisition() as acq:
        async for _ in acq.acquire(sequence(5000, exposure=5)):
            entered.set()


async def finish(at: Ends) -> None:
    assert await at.all_is_well() >= 1


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_task_cancel(at: Ends, times: int) -> None:
    entered = asyncio.Event()
    task = asyncio.create_task(busy(at, entered))
    await entered.wait()
    with at.within(f"task.cancel() {times} times"):
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert task.cancelled()
    await finish(at)


async def test_timeout(at: Ends) -> None:
    entered = asyncio.Event()

    async def end_soon(limit: asyncio.Timeout) -> None:
        await entered.wait()
        limit.reschedule(asyncio.get_running_loop().time() + 0.1)

    with at.within("asyncio.timeout", call=2.0), pytest.raises(TimeoutError):
        async with asyncio.timeout(60) as limit:
            setting = asyncio.create_task(end_soon(limit))
            await busy(at, entered)
    await setting
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await finish(at)


async def test_timeout_on_a_submission_leaves_it_alone(at: Ends) -> None:
    async with at.acquisition() as acq:
        submission = acq.acquire([{"axes": {"time": i}, "z": float(i % 2), "min_start_time": i * 0.1} for i in range(5)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await submission
        assert len(await submission) == 5
    acq.get_dataset().close()
    assert await at.all_is_well() == 5


async def test_a_sibling_in_a_task_group_fails(at: Ends) -> None:
    entered = asyncio.Event()

    async def sibling() -> None:
        await entered.wait()
        raise ZeroDivisionError

    with at.within("sibling fails"), pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as group:
            group.create_task(busy(at, entered))
            group.create_task(sibling())
    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
    await finish(at)


async def test_an_error_in_a_task_that_has_survived_a_cancellation(at: Ends) -> None:
    """Such a task keeps the count of it (and one in which a TaskGroup has failed, on Python 3.11): the error is none the less an error."""

    async def hook(event: Any) -> Any:
        raise ZeroDivisionError

    async def fails() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        assert task.cancelling() == 1
        async with at.acquisition(pre_hardware_hook_fn=hook) as acq:
            acq.acquire(steps(3))
            await asyncio.sleep(3600)

    with pytest.raises(ZeroDivisionError):
        await asyncio.create_task(fails())
    assert await at.all_is_well() == 0


async def test_a_task_group_around_a_body_whose_acquisition_fails(at: Ends) -> None:
    """asyncio's own rule: a TaskGroup wraps what its tasks raise; the error in it is the first cause, and not a cancellation."""

    async def hook(event: Any) -> Any:
        raise ZeroDivisionError

    async def fails() -> None:
        async with at.acquisition(pre_hardware_hook_fn=hook) as acq:
            acq.acquire(steps(3))
            await asyncio.sleep(3600)

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(asyncio.sleep(3600))
    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
    assert await at.all_is_well() == 0


@pytest.mark.parametrize("how", ["cancel scope", "move_on_after", "fail_after", "task group"])
async def test_anyio(at: Ends, how: str) -> None:
    entered = asyncio.Event()

    async def end_soon(scope: anyio.CancelScope) -> None:
        await entered.wait()
        scope.deadline = anyio.current_time() + 0.1

    with at.within(f"anyio {how}", call=2.0):
        match how:
            case "cancel scope":
                with anyio.CancelScope() as scope:

                    async def cancel() -> None:
                        await entered.wait()
                        scope.cancel()

                    canceller = asyncio.create_task(cancel())
                    await busy(at, entered)
                await canceller
                assert scope.cancelled_caught
            case "move_on_after":
                with anyio.move_on_after(60) as scope:
                    setting = asyncio.create_task(end_soon(scope))
                    await busy(at, entered)
                await setting
                assert scope.cancelled_caught
            case "fail_after":
                with pytest.raises(TimeoutError):
                    with anyio.fail_after(60) as scope:
                        setting = asyncio.create_task(end_soon(scope))
                        await busy(at, entered)
                await setting
            case _:
                async with anyio.create_task_group() as group:
                    group.start_soon(busy, at, entered)
                    await entered.wait()
                    group.cancel_scope.cancel()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await finish(at)


async def test_aclose_is_cancelled(at: Ends) -> None:
    """Closing waits for what was submitted; cancelled, it aborts, cleans up, and the cancellation goes on."""
    acq = await at.open()
    submission = acq.acquire([{"axes": {"time": 0}, "min_start_time": 3600}])
    closing = asyncio.create_task(acq.aclose())
    await asyncio.sleep(0.05)
    with at.within("aclose() is cancelled"):
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert acq.status.state == "aborted"
    with pytest.raises(errors.AcquisitionAborted):
        await submission
    acq.get_dataset().close()
    assert await at.all_is_well() == 0


# ---- the loop ends -----------------------------------------------------------------------------------------------


@pytest.mark.blocks
@pytest.mark.parametrize("phase", ["sequence", "start time", "hook", "nothing"])
def test_the_loop_ends_with_an_acquisition_open(mmc: RecordingCore, tmp_path: Path, phase: str) -> None:
    """asyncio.run() cancels every task, ours too: that is an abort, with all of its clean-up."""
    mmc.heal()
    mmc.forget()
    mmc.setExposure(5)
    kept: list[Any] = []

    async def hook(event: Any) -> Any:
        if phase == "hook":
            await asyncio.sleep(3600)
        return event

    async def main() -> None:
        core = await aiomm.LocalCore.open(mmcore=mmc)
        at = Ends(mmc, core, tmp_path)
        kept.append(at)
        acq = await at.open(pre_hardware_hook_fn=hook)
        kept.append(acq)
        match phase:
            case "sequence":
                async for _ in acq.acquire(sequence(5000)):
                    break
            case "start time":
                acq.acquire([{"axes": {"time": 0}, "min_start_time": 3600}])
            case "hook":
                acq.acquire(steps(3))
        await asyncio.sleep(0.02)

    start = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - start < BOUND + SLACK
    assert kept[1].status.state == "aborted"
    kept[1].get_dataset().close()
    kept[0].core.close_at_exit(time.monotonic() + 5)

    async def look() -> None:
        async with aiomm.LocalCore(mmcore=mmc) as core:
            at = Ends(mmc, core, tmp_path)
            at.saved = kept[0].saved
            await at.all_is_well()

    asyncio.run(look())
    with pytest.warns(ResourceWarning, match="unclosed <Acquisition .* aborted"):
        kept.clear()
        gc.collect()
