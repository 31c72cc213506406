"""An acquisition awaited inside a function of another one on the same microscope: while it is, the other's images have nowhere to go."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm.acquire import calls
from aiomm.acquire.remote import pipes
from tests.hazards.test_turns import opened
from tests.support.homes import only_local
from tests.support.rigs import frames, snaps

if TYPE_CHECKING:
    from tests.support.rigs import Rig

Once = Callable[[], Awaitable[Any]]
MANY = 150
"""More than fit into every queue on the way to an image processor."""


def awaiting(once: Once) -> Callable[..., Any]:
    """An image processor that awaits something at its first image."""
    begun: list[int] = []

    async def processor(image: Any, metadata: Any) -> Any:
        if not begun:
            begun.append(1)
            await once()
        return image, metadata

    return processor


def in_a_thread(once: Once) -> Callable[..., Any]:
    """The same as a plain function, which waits in its thread."""
    loop, begun = asyncio.get_running_loop(), []

    def processor(image: Any, metadata: Any) -> Any:
        if not begun:
            begun.append(1)
            asyncio.run_coroutine_threadsafe(_coroutine(once()), loop).result()
        return image, metadata

    return processor


def in_a_group(once: Once) -> Callable[..., Any]:
    """The same in a task of its own, for which the processor waits."""

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_coroutine(once()))

    return awaiting(grouped)


async def _coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


EVENTS = {"singles": snaps(MANY), "sequence": frames(MANY)}


@pytest.mark.parametrize("events", list(EVENTS))
@pytest.mark.parametrize("made", [awaiting, in_a_thread, in_a_group])
async def test_a_processor_awaits_another_acquisition(rig: Rig, events: str, made: Callable[[Once], Any]) -> None:
    """It had to wait for a turn that ended when the processor had room again, so for ever."""
    b = await opened(rig)
    got: list[Any] = []

    async def once() -> None:
        got.extend(await b.acquire(snaps(2, z=3.0)))

    a = await opened(rig, image_process_fn=made(once), saving_queue_size=1)
    async with asyncio.timeout(8):
        saved = await a.acquire(EVENTS[events])
        await a.aclose()
        await b.aclose()
    assert (saved, got) == ([event["axes"] for event in EVENTS[events]], [{"n": 0}, {"n": 1}])


@pytest.mark.parametrize("events", list(EVENTS))
async def test_a_processor_opens_and_ends_another_acquisition(rig: Rig, events: str) -> None:
    got: list[Any] = []

    async def once() -> None:
        async with rig.memory() as b:
            b.acquire(frames(3))
        got.extend(b.get_dataset().get_index_keys())

    a = await opened(rig, image_process_fn=awaiting(once), saving_queue_size=1)
    async with asyncio.timeout(8):
        assert len(await a.acquire(EVENTS[events])) == MANY
        await a.aclose()
    assert len(got) == 3


@pytest.mark.parametrize("events", list(EVENTS))
async def test_who_reads_the_images_of_an_acquisition_awaits_another(rig: Rig, events: str) -> None:
    """Nothing of an acquisition's own runs here, but it waits for its reader all the same."""
    a, b = await opened(rig), await opened(rig)
    images = a.images(buffer=1)
    read = 0
    async with asyncio.timeout(8):
        submission = a.acquire(EVENTS[events])
        async for _ in images:
            if read % 50 == 0:
                assert len(await b.acquire([{"axes": {"n": read}}])) == 1
            read += 1
            if read == MANY:
                break
        await submission
        await a.aclose()
        await b.aclose()


async def test_one_within_another_within_a_third(rig: Rig) -> None:
    c = await opened(rig)
    b = await opened(rig, image_process_fn=awaiting(lambda: c.acquire(frames(3))), saving_queue_size=1)
    a = await opened(rig, image_process_fn=awaiting(lambda: b.acquire(frames(MANY))), saving_queue_size=1)
    async with asyncio.timeout(8):
        await a.acquire(frames(MANY))
        for acq in (a, b, c):
            await acq.aclose()
    assert [acq.status.images_saved for acq in (a, b, c)] == [MANY, MANY, 3]


async def test_while_another_has_the_turn_the_images_that_wait_can_be_cancelled(rig: Rig) -> None:
    go = asyncio.Event()
    b = await opened(rig)
    a = await opened(rig, image_process_fn=awaiting(go.wait), saving_queue_size=1)
    first = a.acquire(frames(MANY))
    async with asyncio.timeout(8):
        while not a.status.waiting_for_processor:
            await asyncio.sleep(0.005)
        assert len(await b.acquire(snaps(2))) == 2
        first.cancel()
        with pytest.raises(aiomm.errors.SubmissionCancelled):
            await first
        go.set()
        assert len(await a.acquire([{"axes": {"n": MANY}}])) == 1
        await a.aclose()
        await b.aclose()


# ---- where it cannot be ---------------------------------------------------------------------------------------------


@only_local("in Micro-Manager's engine what overflows is not seen while it waits for room here")
@pytest.mark.parametrize("made", [awaiting, in_a_thread, in_a_group])
async def test_a_sequence_that_the_camera_cannot_hold_says_who_waits(rig: Rig, made: Callable[[Once], Any]) -> None:
    rig.mmc.setCircularBufferMemoryFootprint(1)
    b = await opened(rig, name="inner", directory=str(rig.directory))
    a = await opened(rig, image_process_fn=made(lambda: b.acquire(snaps(2))), saving_queue_size=1)
    a.acquire(frames(500))
    with pytest.raises(aiomm.errors.BufferOverflowError, match=r"image_process_fn=.* waits for the acquisition 'inner.*' meanwhile"):
        async with asyncio.timeout(8):
            await a.aclose()
    await b.aclose()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little room for images that come from Java, and none after that; little patience with who cannot be told."""
    monkeypatch.setattr(pipes, "WIDEST", (40, 2**28))
    monkeypatch.setattr(calls, "PATIENCE_S", 0.3)


KNOT = r"image_process_fn=.* of the acquisition 'outer.*' cannot wait for the acquisition 'inner.*'"


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("home", ["java"], indirect=True)
@pytest.mark.parametrize("made", [awaiting, in_a_thread, in_a_group])
@pytest.mark.parametrize("opening", [False, True])
async def test_images_that_have_nowhere_to_go_end_the_wait(rig: Rig, made: Callable[[Once], Any], opening: bool) -> None:
    where = {"directory": str(rig.directory)}
    b: aiomm.Acquisition | None = None

    async def once() -> None:
        nonlocal b
        if b is not None:
            await b.acquire(snaps(2))
        else:
            async with aiomm.Acquisition(**rig.where, show_display=False, name="inner", **where) as b:
                pass

    if not opening:
        b = await opened(rig, name="inner", **where)
    a = await opened(rig, name="outer", **where, image_process_fn=made(once), saving_queue_size=1)
    a.acquire(frames(1200))
    async with asyncio.timeout(18):
        with pytest.raises((RuntimeError, ExceptionGroup)) as caught:
            await a.aclose()
        assert b is not None
        await b.aclose()
        assert b.status.state == "finished"  # it could go on when the other had ended
    error = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
    assert re.match(KNOT, str(error))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("home", ["java"], indirect=True)
async def test_who_reads_images_that_have_nowhere_to_go_cannot_wait(rig: Rig) -> None:
    a = await opened(rig, format="memory")
    b = await opened(rig)
    images = a.images(buffer=1)
    submission = a.acquire(frames(MANY))
    async with asyncio.timeout(8):
        await anext(images)
        with pytest.raises(RuntimeError, match=r"who reads images\(\) of an acquisition in memory cannot wait"):
            await b.acquire(snaps(1))
        await images.aclose()
        assert len([image async for image in submission]) == MANY
        await a.aclose()
        await b.aclose()


@pytest.mark.parametrize("end", [False, True])
async def test_two_whose_processors_wait_for_each_other(rig: Rig, end: bool) -> None:
    first = asyncio.Event()
    refused: list[RuntimeError] = []

    async def of_first() -> None:
        inner = b.acquire([{"axes": {"n": 1}}])
        first.set()
        await inner

    async def of_second() -> None:
        await first.wait()
        with pytest.raises(RuntimeError, match=r"image_process_fn=.* cannot wait for an acquisition in memory, of which") as caught:
            await (a.aclose() if end else submission)
        refused.append(caught.value)

    a = await opened(rig, image_process_fn=awaiting(of_first))
    b = await opened(rig, image_process_fn=awaiting(of_second))
    async with asyncio.timeout(8):
        submission = a.acquire(snaps(1))
        b.acquire(snaps(1))
        await first.wait()
        await b.aclose()
        await a.aclose()
    assert refused
    assert a.status.images_saved == 1
