"""Several acquisitions, live views and hooks on one core: each leaves the hardware as it was found, and images are what they say."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.support.homes import only_local
from tests.support.rigs import frames
from tests.support.turns import aborted, dark, holding, light, opened, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.homes import Home
    from tests.support.rigs import Rig


@pytest.fixture
async def rig(home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    async with dark(home, tmp_path) as made:
        yield made


async def places(acq: aiomm.Acquisition) -> dict[Any, tuple[Any, Any, Any]]:
    """By ``n``: z asked, z read, and the exposure of each image."""
    dataset = acq.get_dataset()
    read = (await asyncio.to_thread(dataset.read_metadata, **axes) for axes in dataset.get_index_keys())
    return {m["Axes"]["n"]: (m.get("ZPosition_um_Intended"), m.get("ZPosition_um"), m["Exposure"]) async for m in read}


async def test_what_a_live_view_does_meanwhile_is_not_taken_for_what_was_found(rig: Rig) -> None:
    async with rig.core.live() as live:
        await anext(live)
        acq = await opened(rig)
    await acq.acquire(frames(1))
    await acq.aclose()
    assert await light(rig) == (True, False)


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_a_shutter_that_another_holds_open_is_not_taken_for_what_was_found(rig: Rig) -> None:
    a = await opened(rig)
    held = a.acquire([{"axes": {"n": n}, "min_start_time": n * 0.4} for n in range(3)], keep_shutter_open=True)
    await asyncio.sleep(0.2)
    assert await light(rig) == (False, True)
    b = await opened(rig)
    await held
    await a.aclose()
    await b.acquire(frames(1))
    await b.aclose()
    assert await light(rig) == (True, False)


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_a_held_shutter_stays_open_beside_an_idle_acquisition_and_closes_for_a_busy_one(rig: Rig) -> None:
    a, b = await opened(rig), await opened(rig)
    held = a.acquire([{"axes": {"n": n}, "min_start_time": n * 30.0} for n in range(2)], keep_shutter_open=True)
    await asyncio.sleep(0.2)
    assert await light(rig) == (False, True)
    sequence = b.acquire(frames(60))
    await asyncio.sleep(0.15)
    so_far = len(rig.mmc.calls_of("setShutterOpen"))
    assert await rig.core.is_sequence_running()
    held.cancel()  # it must not close the shutter in the middle of the other's sequence
    await asyncio.sleep(0.05)
    assert len(rig.mmc.calls_of("setShutterOpen")) == so_far
    assert len(await sequence) == 60
    await a.aclose()
    await b.aclose()
    assert await light(rig) == (True, False)


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
@pytest.mark.parametrize("early", [True, False])
async def test_settings_come_back_whenever_the_other_was_opened(rig: Rig, early: bool) -> None:
    a = await opened(rig)
    b = await opened(rig) if early else None
    events = [{"axes": {"n": 0}, "z": 10.0, "exposure": 7}, {"axes": {"n": 1}, "min_start_time": 0.5}]
    submitted = a.acquire(events)
    await asyncio.sleep(0.2)
    b = b or await opened(rig)
    await b.acquire({"axes": {"n": 0}, "z": 77.0, "exposure": 33})
    await submitted
    await a.aclose()
    await b.aclose()
    assert (await places(a))[1] == (None, 10.0, 7.0)


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_a_hook_that_starts_another_acquisition_and_goes_on(rig: Rig) -> None:
    """The other may not move the stage between this event's move and its exposure."""
    b = await opened(rig)
    started: list[aiomm.Submission] = []

    async def hook(event: Any) -> Any:
        base = 10 * len(started)
        started.append(b.acquire([{"axes": {"n": base + k}, "z": 50.0 + base + k} for k in range(6)]))
        await asyncio.sleep(0.01)
        return event

    async with rig.memory(post_hardware_hook_fn=hook) as a:
        await a.acquire([{"axes": {"n": n}, "z": float(n)} for n in range(5)])
    for submission in started:
        await submission
    await b.aclose()
    for acq in (a, b):
        assert all(asked == pytest.approx(read) for asked, read, _ in (await places(acq)).values())


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_a_hook_waits_for_another_acquisition_that_waits_for_this_one(rig: Rig) -> None:
    """What stands before the hook's events in the other acquisition may go too, or all three would wait for ever."""
    inside, go = asyncio.Event(), asyncio.Event()
    b = await opened(rig)

    async def hook(event: Any) -> Any:
        inside.set()
        await go.wait()
        await b.acquire({"axes": {"n": 1}})
        return event

    async with asyncio.timeout(20), rig.memory(pre_hardware_hook_fn=hook) as a:
        own = a.acquire({"axes": {"n": 0}})
        await inside.wait()
        before = b.acquire({"axes": {"n": 0}})
        await asyncio.sleep(0.05)
        assert "turn" in b.status.waiting_for
        go.set()
        assert (len(await own), len(await before)) == (1, 1)
    await b.aclose()


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_one_that_ends_leaves_alone_what_the_other_has_set(rig: Rig) -> None:
    rig.mmc.defineConfig("Light", "manual", "Core", "AutoShutter", "0")
    a, b = await opened(rig), await opened(rig)
    await a.acquire(frames(1))
    manual = {"config_group": ["Light", "manual"]}
    submitted = b.acquire([{"axes": {"n": n}, "min_start_time": n * 0.4, **manual} for n in range(2)])
    await asyncio.sleep(0.2)
    await a.aclose()
    assert await rig.core.get_auto_shutter() is False
    await submitted
    await b.aclose()
    assert await rig.core.get_auto_shutter() is True


@only_local("Micro-Manager's engine waits for stages, and stops none")
@pytest.mark.parametrize("on_error", ["raise", "continue"])
async def test_a_stage_that_takes_too_long_is_stopped(rig: Rig, on_error: str) -> None:
    await rig.core.set_property("XY", "Velocity", "0.05")
    await rig.core.set_timeout_ms(200)
    acq = await opened(rig, on_error=on_error)
    acq.acquire({"axes": {"n": 0}, "x": 500.0, "y": -300.0})
    if on_error == "raise":
        with pytest.raises(aiomm.errors.HardwareError, match="still busy"):
            await acq.aclose()
    else:
        await acq.aclose()
    assert not await rig.core.device_busy("XY")


async def test_a_timer_is_reset_once_also_with_a_hook(rig: Rig) -> None:
    async with rig.memory(pre_hardware_hook_fn=lambda event: event) as acq:
        began = time.monotonic()
        await acq.acquire({"axes": {"n": 0}, "reset_event_timer": True, "min_start_time": 1.0})
        assert 1.0 <= time.monotonic() - began < 1.9  # waited for once, not twice


@only_local('on_error="continue" is refused on a running Micro-Manager, whose engine ends at its first device error')
async def test_autoshutter_comes_back_when_the_shutter_cannot_be_closed(rig: Rig) -> None:
    rig.mmc.on("setShutterOpen", times=None, when=lambda *args: args[-1] is False, raises=RuntimeError("stuck"))
    acq = await opened(rig, on_error="continue")
    held = acq.acquire([{"axes": {"n": n}, "x": float(n), "y": 0.0, "keep_shutter_open": n == 0} for n in range(2)])
    with pytest.raises(aiomm.errors.HardwareError, match="stuck"):
        await held
        await acq.aclose()
    await acq.aclose()
    assert await rig.core.get_auto_shutter()


async def test_an_interrupted_body_leaves_its_task_uncancelled(rig: Rig) -> None:
    """A later task group of that task would take the count for a cancellation from outside."""

    def hook(event: Any) -> Any:
        raise LookupError("in the hook")

    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(KeyError, match="of the body's own") as caught:
        async with rig.memory(pre_hardware_hook_fn=hook) as acq:
            acq.acquire(frames(1))
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise KeyError("of the body's own") from None
    assert task.cancelling() == 0
    assert "in the hook" in caught.value.__notes__[0]


@only_local("a core in a running Micro-Manager is not closed from here")
async def test_a_core_that_closes_while_an_acquisition_opens(rig: Rig) -> None:
    opening = asyncio.create_task(aiomm.Acquisition.open(str(rig.directory), "x", **rig.where, show_display=False))
    await asyncio.sleep(0)
    await rig.core.aclose()
    with pytest.raises(aiomm.errors.ClosedError, match="closed"):
        await opening
    assert not [thread.name for thread in threading.enumerate() if "ndtiff" in thread.name]


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_a_turn_that_could_not_begin_brings_back_its_settings_the_next_time(rig: Rig) -> None:
    """Or the events after the failure would be taken with the other acquisition's settings."""
    broken = threading.Event()
    rig.mmc.on("setPosition", times=None, when=lambda _, um: um == 10.0 and broken.is_set(), raises=RuntimeError("stuck"))
    a, b = await opened(rig, on_error="continue"), await opened(rig)
    await a.acquire({"axes": {"n": 0}, "z": 10.0, "exposure": 7})
    await b.acquire({"axes": {"n": 0}, "z": 77.0, "exposure": 33})
    broken.set()
    assert await a.acquire({"axes": {"n": 1}}) == []
    broken.clear()
    await a.acquire({"axes": {"n": 2}})
    await a.aclose()
    await b.aclose()
    assert (await places(a))[2] == (None, 10.0, 7.0)


# ---- a sequence of another, on both homes ---------------------------------------------------------------------------


async def runs(rig: Rig, a: aiomm.Acquisition, count: int = 150) -> aiomm.Submission:
    """A camera sequence that has begun, and takes its time."""
    sequence = a.acquire(frames(count))
    while a.status.images_saved < 5:
        await asyncio.sleep(0.005)
    assert await rig.core.is_sequence_running()
    return sequence


async def waits(acq: aiomm.Acquisition) -> None:
    """It waits for its turn."""
    while "turn" not in acq.status.waiting_for:
        await asyncio.sleep(0.005)


async def one_behind(rig: Rig) -> tuple[aiomm.Acquisition, aiomm.Acquisition, aiomm.Submission, aiomm.Submission]:
    """Two acquisitions and what they acquire: the second waits for the sequence of the first."""
    a, b = await opened(rig), await opened(rig)
    sequence = await runs(rig, a)
    second = b.acquire(frames(3))
    await waits(b)
    return a, b, sequence, second


@pytest.mark.parametrize("events", [frames(3), [{"axes": {"n": 0}, "z": 3.0}], [{"z": 3.0}]], ids=["sequence", "image", "move"])
@pytest.mark.parametrize("early", [True, False])
async def test_a_second_acquisition_waits_for_the_sequence_of_another(rig: Rig, events: list[Any], early: bool) -> None:
    """On a running Micro-Manager it was a HardwareError."""
    a = await opened(rig)
    b = await opened(rig) if early else None
    sequence = await runs(rig, a)
    b = b or await opened(rig)
    second = b.acquire(events)
    await waits(b)
    assert not sequence.done
    assert len(await second) == sum("axes" in event for event in events)
    assert len(await sequence) == 150
    await b.aclose()
    await a.aclose()
    assert await light(rig) == (True, False)


async def test_who_waits_for_its_turn_can_be_aborted(rig: Rig) -> None:
    a, b, sequence, second = await one_behind(rig)
    b.abort()
    with pytest.raises(errors.AcquisitionAborted):
        await second
    await b.aclose()
    assert rig.java or not sequence.done  # Java's one thread ends an acquisition when it has taken the sequence
    assert len(await sequence) == 150
    await a.aclose()


async def test_who_waits_for_its_turn_can_be_cancelled(rig: Rig) -> None:
    a, b, sequence, second = await one_behind(rig)
    second.cancel()
    with pytest.raises(errors.SubmissionCancelled):
        await second
    assert not sequence.done
    third = b.acquire([{"axes": {"n": 7}}])
    assert (len(await third), len(await sequence)) == (1, 150)
    await a.aclose()
    await b.aclose()


@pytest.mark.parametrize("aborted", [True, False])
async def test_the_end_of_an_acquisition_leaves_the_sequence_of_another_alone(rig: Rig, aborted: bool) -> None:
    """On a running Micro-Manager it stopped every camera; how it had found the hardware is not forgotten."""
    b = await opened(rig)
    await b.acquire([{"axes": {"n": 0}}])
    a = await opened(rig)
    sequence = await runs(rig, a)
    if aborted:
        b.abort()
    await b.aclose()
    assert len(await sequence) == 150
    await a.aclose()
    assert await light(rig) == (True, False)


async def test_an_abort_in_the_middle_of_its_turn_lets_others_go(rig: Rig) -> None:
    a, b = await opened(rig), await opened(rig)
    sequence = await runs(rig, a, 1000)
    second = b.acquire(frames(3))
    await waits(b)
    a.abort()
    with pytest.raises(errors.AcquisitionAborted):
        await sequence
    assert len(await second) == 3
    await a.aclose()
    await b.aclose()
    assert not await rig.core.is_sequence_running()


# ---- ends in the middle of another's turn ---------------------------------------------------------------------------


async def test_an_end_just_after_another_was_given_the_turn_closes_the_shutter(rig: Rig) -> None:
    """The other one took the open shutter for what it had found, and everybody left it so."""
    for _ in range(3):
        a, b = await opened(rig), await opened(rig)
        sequence = a.acquire(frames(400), keep_shutter_open=True)
        while a.status.images_saved < 3:
            await asyncio.sleep(0.002)
        second = b.acquire([{"axes": {"n": 0}}])
        await waits(b)
        a.abort()
        with pytest.raises(errors.AcquisitionAborted):
            await sequence
        assert len(await second) == 1
        await b.aclose()
        await a.aclose()
        assert await light(rig) == (True, False)


@pytest.mark.parametrize("method", ["setShutterOpen", "setAutoShutter", "getPosition", "getXYPosition"])
async def test_a_device_that_refuses_once_is_asked_again_although_the_one_before_is_aborted(rig: Rig, method: str) -> None:
    """The innocent one's submission was cancelled, which nobody had asked for."""
    a, held = await holding(rig, z=1.0)
    await until(lambda: "min_start_time" in a.status.waiting_for)
    b = await opened(rig)
    rig.mmc.on(method, times=1, delay=0.2, raises=RuntimeError("not now"))
    second = b.acquire([{"axes": {"n": n}, "x": 0.0, "y": float(n)} for n in range(3)])
    await asyncio.sleep(0.05)
    a.abort()
    assert len(await second) == 3
    with pytest.raises(errors.AcquisitionAborted):
        await held
    await b.aclose()
    await a.aclose()
    assert await light(rig) == (True, False)


@only_local("Micro-Manager's live view is not one of those that take turns")
@pytest.mark.parametrize("other", [True, False])
async def test_a_held_shutter_closes_although_a_live_view_ran_between(rig: Rig, other: bool) -> None:
    a, held = await holding(rig, z=1.0)
    await until(lambda: "min_start_time" in a.status.waiting_for)
    async with rig.core.live() as live:
        await anext(live)
        if not other:
            await aborted(a, held)
            await anext(live)  # its camera is not stopped
    if other:
        b = await opened(rig)
        await b.acquire(frames(1))
        assert await light(rig) == (True, False)
        await b.aclose()
        await aborted(a, held)
    assert await light(rig) == (True, False)


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_what_an_acquisition_in_a_hook_has_changed_is_not_found_by_the_outer_one(rig: Rig) -> None:
    rig.mmc.defineConfig("Light", "manual", "Core", "AutoShutter", "0")
    seen = []

    async def hook(event: Any) -> Any:
        async with rig.memory() as inner:
            await inner.acquire({"axes": {"n": 0}, "config_group": ["Light", "manual"]})
        return event

    async def after(event: Any) -> Any:
        seen.append((await light(rig))[0])
        return event

    async with rig.memory(pre_hardware_hook_fn=hook, post_hardware_hook_fn=after) as outer:
        await outer.acquire({"axes": {"n": 0}})
    assert seen == [True]
    assert await light(rig) == (True, False)


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_limits_are_of_the_stage_that_moves_and_not_of_one_that_another_has_chosen(rig: Rig) -> None:
    """The focus that another acquisition's event had chosen was looked at, and the limits of the stage that moved were not kept."""
    rig.mmc.loadDevice("Z2", "DemoCamera", "DStage")
    rig.mmc.initializeDevice("Z2")
    rig.mmc.defineConfig("Focus", "two", "Core", "Focus", "Z2")
    a, b = await opened(rig), await opened(rig, limits={"Z": (-1, 1)})
    later = {"axes": {"n": 1}, "min_start_time": 1.0, "z": 3.0}
    held = a.acquire([{"axes": {"n": 0}, "config_group": ["Focus", "two"]}, later])
    await until(lambda: a.status.images_saved == 1)
    with pytest.raises(errors.EventError, match="limit"):
        await b.acquire({"axes": {"n": 0}, "z": 50.0})
    assert len(await b.acquire({"axes": {"n": 1}, "z": 0.5})) == 1
    assert (await rig.core.get_position("Z"), await rig.core.get_position("Z2")) == pytest.approx((0.5, 0), abs=0.1)
    assert len(await held) == 2
    assert await rig.core.get_position("Z2") == pytest.approx(3.0, abs=0.1)
    await b.aclose()
    await a.aclose()
