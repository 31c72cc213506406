"""Acquisitions that Micro-Magellan makes and conducts, against a stand-in of its interface in the JVM host; the engine is the real one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomm.acquire.streams import Notification

pytestmark = pytest.mark.sampled(2, of="module", always=True)

SEQUENCE, PLANES, LATE, REFUSED, PATTERNS = range(5)
"""Positions in the list of the stand-in: see ``JavaAcquisition``."""


@contextlib.asynccontextmanager
async def running(bridge: aiomm.Bridge, index: int = PLANES, **options: Any) -> AsyncIterator[aiomm.Acquisition]:
    """Open one; nothing of its dataset stays open."""
    async with asyncio.timeout(20), aiomm.Acquisition(magellan_acq_index=index, bridge=bridge, show_display=False, **options) as acq:
        try:
            yield acq
        finally:
            with contextlib.suppress(Exception):
                await acq.aclose()
            await acq.get_dataset().aclose()


async def axes_of(acq: aiomm.Acquisition) -> list[dict[str, Any]]:
    """The axes of its images, as found on disk."""
    found = await aiomm.Dataset.open(acq.path)
    try:
        return [dict(found.axes_of(row)) for row in range(len(found))]
    finally:
        await found.aclose()


def planes(*numbers: int) -> list[dict[str, Any]]:
    return [{"z": number} for number in numbers]


async def taken(control: Any) -> int:
    return int(await control.images_taken())


# ---- what Micro-Magellan does ---------------------------------------------------------------------------------------


async def test_its_events_its_end_and_its_dataset(bridge: aiomm.Bridge) -> None:
    told: list[Any] = []
    notes: list[Notification] = []
    async with running(bridge, image_saved_fn=lambda axes, dataset: told.append(axes), notification_callback_fn=notes.append) as acq:
        images = [image async for image in acq.images()]
        await acq.await_completion()
        assert [image.axes for image in images] == planes(0, 1, 2)
        assert [image.metadata["tags"]["plane"] for image in images] == ["number 0", "number 1", "number 2"]
        assert np.array_equal(acq.get_dataset().read_image(z=1), images[1].pixels)
        assert await axes_of(acq) == planes(0, 1, 2)
    assert told == planes(0, 1, 2)
    status = acq.status
    assert (status.state, status.events_known, status.events_done, status.images_saved) == ("finished", 3, 3, 3)
    milestones = [note.milestone for note in notes]
    assert [milestones.count(which) for which in ("acq_started", "pre_hardware", "post_snap", "image_saved", "acq_events_finished")] == [
        *(1, 3, 3, 3, 1)
    ]


async def test_each_position_of_the_list_is_an_acquisition_of_its_own(bridge: aiomm.Bridge) -> None:
    async with running(bridge, SEQUENCE) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == [{"time": 0}, {"time": 1}, {"time": 2}]
    with pytest.raises(errors.JavaException, match="There is no acquisition 17"):
        async with aiomm.Acquisition(magellan_acq_index=17, bridge=bridge):
            pass


async def test_a_bridge_of_its_own(bridge: aiomm.Bridge, java_host: Any) -> None:
    async with aiomm.Acquisition(magellan_acq_index=PLANES, port=java_host.port, bridge_timeout=5000) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == planes(0, 1, 2)
    await acq.get_dataset().aclose()


async def test_a_device_that_fails_ends_it(bridge: aiomm.Bridge) -> None:
    with pytest.raises(errors.HardwareError, match="No such device"):
        async with running(bridge, REFUSED) as acq:
            await acq.await_completion()
    assert await axes_of(acq) == planes(0)


# ---- explore acquisitions -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def exploring(bridge: aiomm.Bridge, **options: Any) -> AsyncIterator[tuple[aiomm.Acquisition, Any]]:
    """An explore acquisition, and its user in Java."""
    async with asyncio.timeout(20), aiomm.Acquisition(magellan_explore=True, bridge=bridge, **options) as acq:
        kind = await bridge.get_java_class("org.micromanager.remote.JavaAcquisition")
        user = await kind.latest()
        try:
            yield acq, user
        finally:
            with contextlib.suppress(Exception):
                await acq.aclose()
            await acq.get_dataset().aclose()


async def test_an_explore_acquisition_goes_on_until_its_user_ends_it(bridge: aiomm.Bridge) -> None:
    async with exploring(bridge) as (acq, user):
        images = acq.images()
        for row, column in ((0, 0), (0, 1), (-1, 1)):
            await user.explore(row, column)
            assert (await anext(images)).axes == {"row": row, "column": column}
        assert acq.status.state == "running"
        assert acq.status.waiting_for == "Micro-Manager, which makes the events"
        await user.finish()
        assert [image async for image in images] == []
    assert acq.status.state == "finished"
    assert len(await axes_of(acq)) == 3


async def test_abort_ends_it(bridge: aiomm.Bridge) -> None:
    async with exploring(bridge, pre_hardware_hook_fn=lambda event: event) as (acq, user):
        await user.explore(0, 0)
        await anext(acq.images())
        acq.abort()
    assert acq.status.state == "aborted"
    assert await axes_of(acq) == [{"row": 0, "column": 0}]


async def test_pause_holds_it(bridge: aiomm.Bridge, control: Any) -> None:
    async with exploring(bridge) as (acq, user):
        acq.pause()
        async with asyncio.timeout(5):
            while not await user.is_paused():
                await asyncio.sleep(0.01)
        before = await taken(control)
        await user.explore(0, 0)
        images = acq.images()
        acq.resume()
        assert (await anext(images)).axes == {"row": 0, "column": 0}
        assert await taken(control) == before + 1
        await user.finish()


async def test_its_viewer(bridge: aiomm.Bridge) -> None:
    async with exploring(bridge) as (acq, user):
        viewer = await acq.get_viewer()
        await user.finish()
        await acq.await_completion()
        assert await viewer.get_display_settings_json() == {}  # it is there when the acquisition has ended
    async with running(bridge) as acq:
        with pytest.raises(errors.UnsupportedError, match="made it without a viewer"):
            await acq.get_viewer()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "it runs without a screen"),
        ({"show_display": False}, "it was made with show_display=False"),
        ({"format": "ome-zarr"}, "they are saved here"),
    ],
)
async def test_no_viewer_and_why(bridge: aiomm.Bridge, tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    async with aiomm.Acquisition(tmp_path, "set", bridge=bridge, **options) as acq:
        with pytest.raises(errors.UnsupportedError, match=reason):
            await acq.get_viewer()
        await acq.acquire({"axes": {"time": 0}})
    await acq.get_dataset().aclose()


# ---- hooks ----------------------------------------------------------------------------------------------------------


async def test_every_hook_gets_every_event(bridge: aiomm.Bridge) -> None:
    seen: dict[str, list[Any]] = {}

    def hook(which: str) -> Any:
        def seeing(event: Any) -> Any:
            seen.setdefault(which, []).append(event["axes"])
            return event

        return seeing

    hooks = {f"{which}_hook_fn": hook(which) for which in ("event_generation", "pre_hardware", "post_hardware", "post_camera")}
    async with running(bridge, **hooks) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == planes(0, 1, 2)
    assert seen == dict.fromkeys(("event_generation", "pre_hardware", "post_hardware", "post_camera"), planes(0, 1, 2))


async def test_a_sequence_is_shown_as_a_list(bridge: aiomm.Bridge) -> None:
    seen: list[Any] = []

    async def hook(events: Any) -> Any:
        seen.append([event["axes"]["time"] for event in events])
        return events

    async with running(bridge, SEQUENCE, pre_hardware_hook_fn=hook, post_hardware_hook_fn=hook, post_camera_hook_fn=hook) as acq:
        await acq.await_completion()
        assert len(await axes_of(acq)) == 3
    assert seen == [[0, 1, 2]] * 3


@pytest.mark.parametrize("which", ["event_generation", "pre_hardware", "post_hardware"])
async def test_none_skips_and_exposes_nothing(bridge: aiomm.Bridge, control: Any, which: str) -> None:
    before = await taken(control)
    notes: list[Notification] = []
    hook = {f"{which}_hook_fn": lambda event: None if event["axes"]["z"] == 1 else event}
    async with running(bridge, notification_callback_fn=notes.append, **hook) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == planes(0, 2)
    assert await taken(control) == before + 2
    assert (acq.status.skipped, acq.status.state) == (1, "finished")
    assert [note.payload for note in notes if note.milestone == "event_skipped"] == planes(1)


@pytest.mark.parametrize("which", ["event_generation", "pre_hardware", "post_hardware"])
async def test_none_for_all(bridge: aiomm.Bridge, control: Any, which: str) -> None:
    before = await taken(control)
    async with running(bridge, **{f"{which}_hook_fn": lambda event: None}) as acq:
        await acq.await_completion()
        assert len(acq.get_dataset()) == 0
    assert await taken(control) == before
    assert acq.status.skipped == 3


@pytest.mark.parametrize("which", ["event_generation", "pre_hardware"])
async def test_parts_of_a_sequence_are_left_out(bridge: aiomm.Bridge, which: str) -> None:
    def without(events: Any) -> Any:
        if isinstance(events, dict):
            return None if events["axes"]["time"] == 1 else events
        return [event for event in events if event["axes"]["time"] != 1]

    async with running(bridge, SEQUENCE, **{f"{which}_hook_fn": without}) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == [{"time": 0}, {"time": 2}]


async def test_a_change_is_carried_out(bridge: aiomm.Bridge, control: Any) -> None:
    async def lower(event: Any) -> Any:
        return {**event, "z": event["z"] + 1.5, "tags": {"by": "a@hook"}, "axes": {**event["axes"], "again": 7}}

    async with running(bridge, pre_hardware_hook_fn=lower) as acq:
        images = [image async for image in acq.images()]
    assert [image.axes for image in images] == [{"z": number, "again": 7} for number in range(3)]
    assert [image.metadata["tags"] for image in images] == [{"by": "a@hook"}] * 3
    assert [line for line in (await control.journal()).splitlines() if line.startswith("setPosition")] == [
        f"setPosition Z {height}" for height in (1.5, 11.5, 21.5)
    ]


async def test_times_keep_their_fractions_through_hooks(bridge: aiomm.Bridge) -> None:
    shown: list[Any] = []

    def hook(event: Any) -> Any:
        shown.append(event["min_start_time"])
        return event

    async with running(bridge, LATE, event_generation_hook_fn=hook, pre_hardware_hook_fn=hook, post_hardware_hook_fn=hook) as acq:
        images = [image async for image in acq.images()]
    assert sorted(shown) == [0, 0, 0, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5]
    elapsed = [image.metadata["ElapsedTime-ms"] for image in images]
    assert elapsed[1] >= 240
    assert elapsed[2] >= 490


async def test_the_hook_at_the_camera_runs_before_a_single_exposure_ends(bridge: aiomm.Bridge, control: Any) -> None:
    await control.hold("snapImage")  # the camera waits for a trigger, which the hook gives

    async def trigger(event: Any) -> Any:
        await control.release("snapImage")
        if event["axes"]["z"] < 2:
            await control.hold("snapImage")

    async with running(bridge, post_camera_hook_fn=trigger) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == planes(0, 1, 2)


async def test_a_change_behind_the_hardware_is_what_the_hook_at_the_camera_gets(bridge: aiomm.Bridge) -> None:
    seen: list[Any] = []

    def rename(event: Any) -> Any:
        return {**event, "axes": {"plane": event["axes"]["z"]}}

    async with running(bridge, post_hardware_hook_fn=rename, post_camera_hook_fn=lambda event: seen.append(event["axes"])) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == seen == [{"plane": 0}, {"plane": 1}, {"plane": 2}]


@pytest.mark.parametrize("which", ["event_generation", "pre_hardware", "post_hardware", "post_camera"])
async def test_a_hook_that_raises_ends_it(bridge: aiomm.Bridge, control: Any, which: str) -> None:
    before = await taken(control)

    def fail(event: Any) -> Any:
        raise ValueError("my hook")

    with pytest.raises(ValueError, match="my hook"):
        async with running(bridge, **{f"{which}_hook_fn": fail}) as acq:
            await acq.await_completion()
    assert acq.status.state == "failed"
    assert await taken(control) <= before + (which == "post_camera")


async def test_a_hook_that_returns_no_event(bridge: aiomm.Bridge, control: Any) -> None:
    before = await taken(control)
    with pytest.raises(errors.HookError, match=r"pre_hardware_hook_fn returned an event that cannot be used: .*expsure"):
        async with running(bridge, pre_hardware_hook_fn=lambda event: {**event, "expsure": 5}) as acq:
            await acq.await_completion()
    assert await taken(control) == before


async def test_abort_while_a_hook_runs(bridge: aiomm.Bridge, control: Any) -> None:
    before, entered = await taken(control), asyncio.Event()

    async def hook(event: Any) -> Any:
        entered.set()
        await asyncio.sleep(30)

    async with running(bridge, pre_hardware_hook_fn=hook) as acq:
        await entered.wait()
        acq.abort()
    assert acq.status.state == "aborted"
    assert await taken(control) == before


# ---- the image processor --------------------------------------------------------------------------------------------


async def test_processed_images_are_saved(bridge: aiomm.Bridge) -> None:
    def process(image: Any, metadata: Any) -> Any:
        if metadata["Axes"]["z"] == 1:
            return None
        return image + 1, {**metadata, "mine": "a@b"}

    async with running(bridge, image_process_fn=process) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == planes(0, 2)
        assert acq.get_dataset().read_metadata(z=2)["mine"] == "a@b"
    assert (acq.status.diverted, acq.status.images_saved, acq.status.state) == (1, 2, "finished")


# ---- what is refused ------------------------------------------------------------------------------------------------


async def test_events_are_refused(bridge: aiomm.Bridge) -> None:
    said: list[str] = []

    def put(event: Any, queue: Any) -> Any:
        try:
            queue.put({"axes": {}})
        except errors.UnsupportedError as error:
            said.append(str(error))
        return event

    async with running(bridge, pre_hardware_hook_fn=put) as acq:
        with pytest.raises(errors.UnsupportedError, match=r"acquire\(\): Micro-Magellan makes the events"):
            acq.acquire({"axes": {}})
        with pytest.raises(errors.UnsupportedError, match=r"plan\(\): Micro-Magellan makes the events"):
            await acq.plan({"axes": {}})
        await acq.await_completion()
    assert said[0].startswith("queue.put(): Micro-Magellan makes the events")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"magellan_explore": True}, errors.UnsupportedError, "are two acquisitions"),
        ({"magellan_acq_index": -1}, ValueError, "0 or more, not -1"),
        ({"magellan_acq_index": True}, ValueError, "0 or more, not True"),
        ({"directory": "data", "name": "x"}, errors.UnsupportedError, "directory= has no effect"),
        ({"tile_overlap": 5}, errors.UnsupportedError, "tile_overlap= has no effect"),
        ({"limits": {"Z": (0, 1)}}, errors.UnsupportedError, "limits= has no effect"),
        ({"format": "memory"}, errors.UnsupportedError, "format= has no effect"),
        ({"format": "ome-zarr"}, errors.UnsupportedError, "format= has no effect"),
    ],
)
def test_what_cannot_have_its_effect(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aiomm.Acquisition(**{"magellan_acq_index": 0, **options})


async def test_a_failure_before_its_start_leaves_nothing(bridge: aiomm.Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no writer")

    monkeypatch.setattr("aiomm.acquire.remote.attached_home.JavaWriter", broken)
    with pytest.raises(RuntimeError, match="no writer"):
        async with aiomm.Acquisition(magellan_acq_index=PLANES, bridge=bridge, pre_hardware_hook_fn=lambda event: event):
            pass


# ---- SLM patterns ---------------------------------------------------------------------------------------------------


HOOKS = ["event_generation", "pre_hardware", "post_hardware"]


async def patterns(control: Any) -> int:
    """How many were sent to the SLM since the journal was cleared."""
    return sum(line.startswith("setSLMImage ") for line in (await control.journal()).splitlines())


@pytest.mark.parametrize("which", HOOKS)
async def test_a_pattern_goes_through_a_hook(bridge: aiomm.Bridge, control: Any, which: str) -> None:
    """Java tells the hook of it as the name of an array, and the event that it makes of the answer has none."""
    await control.clear_journal()
    async with running(bridge, PATTERNS, **{f"{which}_hook_fn": lambda event: event}) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == planes(0, 1, 2)
    assert await patterns(control) == 3


@pytest.mark.parametrize("which", HOOKS)
async def test_an_event_with_a_pattern_may_be_skipped(bridge: aiomm.Bridge, control: Any, which: str) -> None:
    async with running(bridge, PATTERNS, **{f"{which}_hook_fn": lambda event: None if event["axes"]["z"] == 1 else event}) as acq:
        await acq.await_completion()
        assert await axes_of(acq) == planes(0, 2)


@pytest.mark.parametrize("which", HOOKS[1:])
async def test_an_event_with_a_pattern_that_a_hook_changes_is_refused(bridge: aiomm.Bridge, control: Any, which: str) -> None:
    before = await taken(control)
    with pytest.raises(errors.HookError, match=f"{which}_hook_fn changed an event with an SLM pattern"):
        async with running(bridge, PATTERNS, **{f"{which}_hook_fn": lambda event: {**event, "exposure": 3.0}}) as acq:
            await acq.await_completion()
    assert await taken(control) == before


async def test_an_event_with_a_pattern_is_changed_when_it_is_made(bridge: aiomm.Bridge, control: Any) -> None:
    await control.clear_journal()
    async with running(bridge, PATTERNS, event_generation_hook_fn=lambda event: {**event, "exposure": 3.0}) as acq:
        await acq.await_completion()
        assert [acq.get_dataset().read_metadata(z=z)["Exposure"] for z in range(3)] == [3.0] * 3
    assert await patterns(control) == 3
