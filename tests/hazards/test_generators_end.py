"""A generator of events is closed when its submission or the acquisition ends: its own clean-up is not cut short, its error is told.

And one that decides by its own images gets them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiomm import Acquisition
    from tests.support.rigs import Rig

LAMP = "the lamp could not be switched off"


class Lamp:
    """A source whose clean-up takes its time."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.begun = asyncio.Event()
        self.off = asyncio.Event()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        try:
            for n in range(100_000):
                yield {"axes": {"n": n}, "z": float(n % 3)}
        finally:
            self.log.append("begun")
            self.begun.set()
            try:
                await self.off.wait()
            except BaseException as error:
                self.log.append(type(error).__name__)
                raise
            self.log.append("off")

    async def switch_off(self) -> None:
        """Go on where the clean-up is under way, a few turns of the loop later: whoever would cut it has had its time."""
        await self.begun.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        self.off.set()


@pytest.mark.parametrize("at", ["pulling", "handing over"])
async def test_the_clean_up_of_a_cancelled_submission(rig: Rig, at: str) -> None:
    """It is cancelled while the source is closed already, because its next events were refused: a second cancellation cut the clean-up."""
    lamp = Lamp()

    async def cancel_early(event: Any) -> Any:
        if event["axes"].get("n") == 3:
            submission.cancel()
        return event

    options = {"event_generation_hook_fn": cancel_early} if at == "handing over" else {}
    async with rig.memory(**options) as acq:
        submission = acq.acquire(lamp.events())
        off = asyncio.create_task(lamp.switch_off())
        if at == "pulling":
            await rig_has(acq, 3)
            submission.cancel()
        with pytest.raises(errors.SubmissionCancelled):
            await submission
        await off
        assert lamp.log == ["begun", "off"]
        assert len(await acq.acquire({"axes": {"m": 0}})) == 1


async def test_the_clean_up_after_an_error_of_the_source(rig: Rig) -> None:
    """The end of the acquisition comes while the source, which gave what is no event, is closed."""
    lamp = Lamp()

    async def wrong() -> AsyncIterator[Any]:
        events = lamp.events()
        try:
            async for event in events:
                yield event if event["axes"]["n"] < 3 else "no event"
        finally:
            await events.aclose()

    with pytest.raises(errors.EventError, match="no event"):
        async with rig.memory() as acq:
            submission = acq.acquire(wrong())
            off = asyncio.create_task(lamp.switch_off())
            await lamp.begun.wait()
            submission.cancel()
            acq.abort()
    await off
    assert lamp.log == ["begun", "off"]


async def rig_has(acq: Acquisition, images: int) -> None:
    async for _ in acq.images():
        images -= 1
        if images <= 0:
            return


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("how", ["abort", "body", "hook"])
async def test_the_error_of_a_clean_up(rig: Rig, how: str, plain: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def events() -> AsyncIterator[dict[str, Any]]:
        try:
            for n in range(100_000):
                yield {"axes": {"n": n}, "z": float(n % 3)}
        finally:
            raise ValueError(LAMP)

    def plain_events() -> Iterator[dict[str, Any]]:
        try:
            for n in range(100_000):
                yield {"axes": {"n": n}, "z": float(n % 3)}
        finally:
            raise ValueError(LAMP)

    async def hook(event: Any) -> Any:
        if how == "hook" and isinstance(event, dict) and event["axes"]["n"] >= 3:
            raise KeyError("of the hook")
        return event

    options = {"sequencing": "off"} if plain else {}
    expected = {"abort": ValueError, "body": ZeroDivisionError, "hook": KeyError}[how]
    with pytest.raises(expected) as caught:
        async with rig.memory(pre_hardware_hook_fn=hook, **options) as acq:
            submission = acq.acquire(plain_events() if plain else events())
            await rig_has(acq, 3)
            if how == "abort":
                acq.abort()
                with pytest.raises(errors.AcquisitionAborted) as told:
                    await submission
                assert any(LAMP in note for note in told.value.__notes__)
            elif how == "body":
                raise ZeroDivisionError
            else:
                await asyncio.sleep(100)
    assert LAMP in str(caught.value) or any(LAMP in note for note in caught.value.__notes__)
    assert any(LAMP in note for note in acq.status.notes)
    assert not [record for record in caplog.records if "never retrieved" in record.getMessage()]


@pytest.mark.parametrize("look_ahead", [1, 64])
@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_generator_that_waits_for_its_own_images(rig: Rig, look_ahead: int, at_once: int) -> None:
    """It gives some events, and the next ones when their images have come: its window was never full, and it waited for ever."""
    saved: queue.Queue[int] = queue.Queue()

    def events() -> Iterator[dict[str, Any]]:
        for first in range(0, 3 * at_once, at_once):
            yield from ({"axes": {"n": n}} for n in range(first, first + at_once))
            assert {saved.get(timeout=10) for _ in range(at_once)} == set(range(first, first + at_once))

    def told(axes: Any, dataset: Any) -> None:
        saved.put(axes["n"])

    async with rig.memory(look_ahead=look_ahead, image_saved_fn=told) as acq:
        assert await acq.acquire(events()) == [{"n": n} for n in range(3 * at_once)]


async def test_a_generator_that_a_hook_has_put_waits_for_its_own_images(rig: Rig) -> None:
    saved: queue.Queue[Any] = queue.Queue()

    def events() -> Iterator[dict[str, Any]]:
        for n in range(3):
            yield {"axes": {"put": n}}
            while saved.get(timeout=10) != {"put": n}:
                pass

    def hook(event: Any, queue: Any) -> Any:
        if event["axes"] == {"n": 0}:
            queue.put(events())
        return event

    def told(axes: Any, dataset: Any) -> None:
        saved.put(axes)

    async with rig.memory(pre_hardware_hook_fn=hook, image_saved_fn=told, sequencing="off") as acq:
        assert await acq.acquire([{"axes": {"n": n}} for n in range(2)]) == [
            {"n": 0},
            *({"put": n} for n in range(3)),
            {"n": 1},
        ]


async def test_windows_of_a_generator_that_is_quick_or_slow(tester: Rig) -> None:
    """They are full, while the generator goes on: also where an event takes it some time. Only one that stands still is not waited for."""
    groups: list[int] = []
    go = threading.Event()

    def events() -> Iterator[dict[str, Any]]:
        for n in range(20):
            if n < 4:
                time.sleep(0.03)
            if n == 17:
                assert go.wait(10)
            yield {"axes": {"n": n}}

    def hook(event: Any) -> Any:
        groups.append(len(event) if isinstance(event, list) else 1)
        if sum(groups) == 17:
            go.set()
        return event

    async with tester.memory(pre_hardware_hook_fn=hook, look_ahead=8) as acq:
        assert len(await acq.acquire(events())) == 20
    assert groups == [8, 8, 1, 3]


async def test_what_a_generator_gave_before_its_error_is_acquired(rig: Rig) -> None:
    """Also where it is with the engine already, as a whole window or because the generator stood still."""
    for good in (3, 4):

        def events(good: int = good) -> Iterator[dict[str, Any]]:
            yield from ({"axes": {"n": n, "good": good}} for n in range(good))
            raise ValueError("no more")

        async with rig.memory(look_ahead=4, sequencing="off") as acq:
            submission = acq.acquire(events())
            with pytest.raises(ValueError, match="no more"):
                await submission
            assert acq.status.images_acquired == good


async def test_a_list_among_the_events_of_a_generator_is_a_scope_by_itself(tester: Rig) -> None:
    """What came before it and what comes after it became one hardware sequence with it, where all of them fitted into a window."""
    groups: list[list[int]] = []

    def events() -> Iterator[Any]:
        some = [{"axes": {"n": n}} for n in range(9)]
        yield some[0]
        yield some[1:4]
        yield some[4:6]
        yield from some[6:]

    def hook(event: Any) -> Any:
        groups.append([one["axes"]["n"] for one in (event if isinstance(event, list) else [event])])
        return event

    async with tester.memory(pre_hardware_hook_fn=hook) as acq:
        assert len(await acq.acquire(events())) == 9
    assert groups == [[0], [1, 2, 3], [4, 5], [6, 7, 8]]


async def test_an_abort_while_a_generator_waits_for_what_never_comes(rig: Rig) -> None:
    go = threading.Event()

    def events() -> Iterator[dict[str, Any]]:
        yield {"axes": {"n": 0}}
        go.wait(20)
        yield {"axes": {"n": 1}}

    try:
        async with rig.memory() as acq:
            submission = acq.acquire(events())
            await rig_has(acq, 1)
            acq.abort()
            with pytest.raises(errors.AcquisitionAborted):
                await submission
    finally:
        go.set()
