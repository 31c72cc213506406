"""Faults that a review found: each hung, leaked, hid an error or counted wrongly; each test fails without its cure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.dataset.packing import PackingWriter
from tests.support.homes import only_local
from tests.support.rigs import Event, Rig, snaps

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled(6, of="module")


async def open_memory(rig: Rig, **options: Any) -> aiomm.Acquisition:
    return await aiomm.Acquisition.open(**rig.where, show_display=False, **options)


# ---- what was pulled and never acquired takes no room ------------------------------------------------------------


async def test_cancelled_generators_leave_their_room_to_the_next_submission(rig: Rig) -> None:
    async with rig.memory(look_ahead=8) as acq:
        for k in range(4):
            stuck, go = threading.Event(), threading.Event()

            def events(k: int = k, stuck: threading.Event = stuck, go: threading.Event = go) -> Iterator[Event]:
                for n in range(3):
                    yield {"axes": {"k": k, "n": n}}
                stuck.set()
                go.wait(20)

            submission = acq.acquire(events())
            await asyncio.to_thread(stuck.wait, 20)
            submission.cancel()
            go.set()
            with pytest.raises(errors.SubmissionCancelled):
                await submission
        assert await acq.acquire([{"axes": {"x": 1}}]) == [{"x": 1}]


async def test_refused_windows_leave_their_room_to_the_next_submission(rig: Rig) -> None:
    async with rig.memory(look_ahead=8) as acq:
        for _ in range(4):
            with pytest.raises(errors.DuplicateImageError):
                await acq.acquire({"axes": {"t": 0}} for _ in range(8))
        assert await acq.acquire([{"axes": {"x": 1}}]) == [{"x": 1}]


async def test_skipped_and_then_cancelled_leaves_its_room_to_the_next_submission(rig: Rig) -> None:
    """The generation hook changes how many events there are, and is cut short."""
    begun = asyncio.Event()

    async def generation(event: Event) -> Event | None:
        if event["axes"].get("n") == 6:
            begun.set()
            await asyncio.sleep(20)
        return event if "x" in event["axes"] else None

    async with rig.memory(look_ahead=8, event_generation_hook_fn=generation) as acq:
        for _ in range(4):
            begun.clear()
            submission = acq.acquire({"axes": {"n": n}} for n in range(8))
            await begun.wait()
            submission.cancel()
            with pytest.raises(errors.SubmissionCancelled):
                await submission
        assert await acq.acquire([{"axes": {"x": 1}}]) == [{"x": 1}]


def test_a_generator_that_blocks_for_ever_does_not_keep_the_process() -> None:
    script = """
        import asyncio, threading, aiomm
        begun = threading.Event()
        def events():
            yield {"axes": {"t": 0}}
            begun.set()
            threading.Event().wait()
        async def main():
            async with aiomm.LocalCore("demo") as core:
                acq = await aiomm.Acquisition.open(core=core, show_display=False)
                acq.acquire(events())
                await asyncio.to_thread(begun.wait)
                acq.abort()
                await acq.aclose()
        asyncio.run(main())
        print("ended")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "ended", done.stderr


# ---- hooks -------------------------------------------------------------------------------------------------------


async def test_a_hook_that_waits_in_line_does_not_run_for_a_cancelled_submission(rig: Rig) -> None:
    ran: list[int] = []
    first, ending = asyncio.Event(), asyncio.Event()
    go = asyncio.Event()

    async def hook(event: Event) -> Event:
        ran.append(event["axes"]["k"])
        if event["axes"]["k"] == 0:
            first.set()
            try:
                await asyncio.sleep(20)
            finally:
                ending.set()
                await go.wait()
        return event

    async with rig.memory(pre_hardware_hook_fn=hook) as acq:
        submissions = [acq.acquire([{"axes": {"k": k}}]) for k in range(3)]
        await first.wait()
        submissions[0].cancel()
        await ending.wait()
        while not acq._run.hook_calls:  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        submissions[1].cancel()
        go.set()
        assert await submissions[2] == [{"k": 2}]
    assert ran == [0, 2]


async def test_the_limit_of_put_counts_what_the_engine_has_not_taken(rig: Rig) -> None:
    taken = 0

    async def hook(event: Event, queue: Any) -> Event:
        nonlocal taken
        if "p" in event["axes"] or taken:
            return event
        with pytest.raises(errors.QueueFull):
            for p in range(3000):
                queue.put({"axes": {"p": p}})
                taken += 1
                if p % 400 == 399:
                    for _ in range(20):
                        await asyncio.sleep(0.005)  # they go on to the engine meanwhile
        acq.abort()
        return event

    acq = await open_memory(rig, pre_hardware_hook_fn=hook)
    acq.acquire([{"axes": {"t": 0}}])
    await acq.aclose()
    assert 990 <= taken <= 1010


FUNCTIONS = {
    "event_generation_hook_fn": 1,
    "pre_hardware_hook_fn": 1,
    "post_hardware_hook_fn": 1,
    "post_camera_hook_fn": 1,
    "image_process_fn": 2,
    "image_saved_fn": 3,
    "storage_monitor_callback_fn": 1,
    "notification_callback_fn": 1,
}


def waiting(name: str, wait: Any) -> Any:
    """Make a function that waits, once, and returns what it got."""
    done = False

    async def once() -> None:
        nonlocal done
        if not done:
            done = True
            await wait()

    async def one(thing: Any) -> Any:
        await once()
        return thing

    async def processor(image: Any, metadata: Any) -> Any:
        await once()
        return image, metadata

    async def saved(axes: Any, dataset: Any, queue: Any) -> None:
        await once()

    return {1: one, 2: processor, 3: saved}[FUNCTIONS[name]]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("method", ["aclose", "await_completion"])
async def test_a_function_cannot_wait_for_the_end_of_its_own_acquisition(rig: Rig, name: str, method: str) -> None:
    async def wait() -> None:
        await getattr(acq, method)()

    acq = await open_memory(rig, **{name: waiting(name, wait)})
    acq.acquire(snaps(2))
    with pytest.raises(RuntimeError, match=f"{name}=.* cannot wait for the end of its own acquisition"):
        await acq.aclose()


@pytest.mark.parametrize("name", list(FUNCTIONS)[:6])
@pytest.mark.parametrize("how", ["more", "own", "images"])
async def test_a_function_cannot_wait_for_a_submission_that_waits_for_it(rig: Rig, name: str, how: str) -> None:
    async def wait() -> None:
        if how == "more":
            await acq.acquire([{"axes": {"more": 0}}])
        elif how == "own":
            await own
        else:
            async for _ in own:
                pass

    with pytest.raises(RuntimeError, match=f"{name}=.* cannot wait for its own acquisition"):
        async with rig.memory(**{name: waiting(name, wait)}) as acq:
            own = acq.acquire(snaps(2))
            await asyncio.sleep(20)  # it is interrupted


@pytest.mark.parametrize("name", list(FUNCTIONS)[6:])
async def test_a_callback_that_nothing_waits_for_may_wait_for_a_submission(rig: Rig, name: str) -> None:
    got: list[Any] = []

    async def wait() -> None:
        got.extend(await acq.acquire([{"axes": {"more": 0}}]))
        got.append(len(await own))

    async with rig.memory(**{name: waiting(name, wait)}) as acq:
        own = acq.acquire(snaps(2))
        while len(got) < 2:
            await asyncio.sleep(0.001)
    assert got == [{"more": 0}, 2]


async def test_a_hook_may_wait_for_what_is_saved_already_and_its_tasks_for_everything(rig: Rig) -> None:
    tasks: list[asyncio.Task[Any]] = []
    earlier: list[Any] = []

    async def hook(event: Event) -> Event:
        if "later" in event["axes"]:
            earlier.extend(await first)
            images = aiter(second)
            if event["axes"]["later"] == 1:
                earlier.append((await anext(images)).axes)
        else:
            tasks.append(asyncio.create_task(first._wait()))
            await asyncio.sleep(0.01)  # it waits while the hook is under way
        return event

    async with rig.memory(pre_hardware_hook_fn=hook) as acq:
        first = acq.acquire(snaps(1))
        second = acq.acquire({"axes": {"later": n}, "x": float(n), "y": 0.0} for n in range(2))
        await second
    assert earlier == [{"n": 0}, {"n": 0}, {"later": 0}]
    assert [await task for task in tasks] == [[{"n": 0}]]


async def test_cancel_and_abort_at_once_end_although_puts_are_waiting(rig: Rig) -> None:
    async def hook(event: Event, queue: Any) -> Event:
        for p in range(50):
            queue.put({"axes": {"p": p}})
        await asyncio.sleep(0)
        submission.cancel()
        acq.abort()
        return event

    acq = await open_memory(rig, pre_hardware_hook_fn=hook)
    submission = acq.acquire(snaps(1))
    await acq.aclose()
    assert acq.status.state == "aborted"


# ---- the end -----------------------------------------------------------------------------------------------------


async def test_a_processor_that_returns_after_the_grace_of_an_abort_is_no_error(rig: Rig) -> None:
    begun, told, go = threading.Event(), threading.Event(), threading.Event()

    def process(image: Any, metadata: Any) -> Any:
        if metadata["Axes"] == {"n": 1}:
            begun.set()
            go.wait(20)
        return image, metadata

    def saved(axes: Any) -> None:  # the end waits for it when the writer has finished
        told.set()
        finished.wait(20)
        time.sleep(0.05)

    finished = threading.Event()
    acq = await open_memory(rig, image_process_fn=process, storage_monitor_callback_fn=saved)
    writer = acq._run.writer  # type: ignore[union-attr]
    finish = writer.finish

    def finish_and_go() -> None:
        finish()
        go.set()
        finished.set()

    writer.finish = finish_and_go  # type: ignore[method-assign]
    acq.acquire(snaps(3))
    await asyncio.to_thread(begun.wait, 20)
    await asyncio.to_thread(told.wait, 20)
    acq.abort()
    await acq.aclose()
    assert acq.status.state == "aborted" and acq.status.error is None


@only_local("the engine that cannot begin is the one of a LocalCore's thread")
async def test_the_writer_is_finished_also_when_the_engine_cannot_begin(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any) -> None:
        raise errors.ClosedError("the core is closed")

    with monkeypatch.context() as patch:
        patch.setattr(rig.core.thread, "spawn", closed)
        told: list[bool] = []
        finish = PackingWriter.finish
        patch.setattr(PackingWriter, "finish", lambda writer: (finish(writer), told.append(True)))
        acq = await aiomm.Acquisition.open(rig.directory, "rig", **rig.where, show_display=False)
        with pytest.raises(errors.ClosedError, match="the core is closed"):
            await acq.aclose()
    assert told == [True]


async def test_events_that_were_refused_are_counted_as_failed_and_done(rig: Rig) -> None:
    async with rig.memory() as acq:
        await acq.acquire([{"axes": {"n": 0}}])
        refused = acq.acquire([{"axes": {"n": n}, "config_group": ["Channel", "none"]} for n in range(1, 5)])
        with pytest.raises(errors.EventError):
            await refused
        assert (acq.status.events_known, acq.status.events_done, acq.status.failed) == (5, 5, 4)
        assert refused.status.failed == 4


@pytest.mark.parametrize("reads", ["never", "then breaks", "in a task that ends"])
async def test_a_stream_that_is_left_does_not_hold_up_the_exit(rig: Rig, reads: str) -> None:
    async def one(stream: Any) -> None:
        async for _ in stream:
            break

    async with rig.memory() as acq:
        stream = acq.images(buffer=2)
        submission = acq.acquire(snaps(30))
        if reads == "then breaks":
            await one(stream)
        elif reads == "in a task that ends":
            await asyncio.create_task(one(stream))
    assert len(await submission) == 30
    rest = [image.axes async for image in stream]  # and nothing was lost
    assert rest == [{"n": n} for n in range(reads != "never", 30)]


@only_local("Micro-Manager has queues of its own between its camera and what is read here")
async def test_a_stream_that_is_read_holds_up_the_acquisition_while_it_finishes(rig: Rig) -> None:
    most = 0

    async def slow(stream: Any) -> int:
        nonlocal most
        count = 0
        async for _ in stream:
            count += 1
            await asyncio.sleep(0.01)
            most = max(most, acq.status.images_acquired - count)
        return count

    async with rig.memory() as acq:
        reading = asyncio.create_task(slow(acq.images(buffer=1)))
        acq.acquire(snaps(20))
    assert await reading == 20
    assert most <= 4  # unread, in saving, and with the camera
