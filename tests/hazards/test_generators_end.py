"""A generator of events is closed when its submission or the acquisition ends: its own clean-up is not cut short, its error is told.

And one that decides by its own images gets them, where it is asked for one event at a time.
"""

from __future__ import annotations

import asyncio
import queue
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


async def test_a_generator_that_waits_for_its_own_images(rig: Rig) -> None:
    saved: queue.Queue[int] = queue.Queue()

    def events() -> Iterator[dict[str, Any]]:
        yield {"axes": {"n": 0}}
        for _ in range(3):
            yield {"axes": {"n": saved.get(timeout=10) + 1}}

    def told(axes: Any, dataset: Any) -> None:
        saved.put(axes["n"])

    async with rig.memory(look_ahead=1, image_saved_fn=told) as acq:
        assert await acq.acquire(events()) == [{"n": n} for n in range(4)]
