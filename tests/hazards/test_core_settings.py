"""What is the core's own (its camera, its shutter, autoshutter): whoever chooses it, the next image is taken with it, on both homes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm import errors
from tests.support import sequence_tester as st
from tests.support.turns import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiomm
    from tests.support.homes import Home
    from tests.support.rigs import Rig

SHUTTER_2 = "TShutter-1"
KEEP = {"keep_shutter_open": True}


@pytest.fixture
async def rig(home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    """Two cameras and two shutters, and presets that choose among them."""
    async with home.tester(tmp_path, cameras=2) as rig:
        mmc = rig.mmc
        mmc.loadDevice(SHUTTER_2, "SequenceTester", SHUTTER_2)
        mmc.setParentLabel(SHUTTER_2, st.HUB)
        mmc.initializeDevice(SHUTTER_2)
        mmc.setCameraDevice(st.CAMERA)
        mmc.setShutterDevice(st.SHUTTER)
        mmc.setAutoShutter(True)
        mmc.defineConfig("Camera", "one", "Core", "Camera", st.CAMERA)
        mmc.defineConfig("Camera", "two", "Core", "Camera", st.CAMERA_2)
        mmc.defineConfig("Shutter", "one", "Core", "Shutter", st.SHUTTER)
        mmc.defineConfig("Shutter", "two", "Core", "Shutter", SHUTTER_2)
        mmc.defineConfig("Shutter", "none", "Core", "Shutter", "")
        mmc.defineConfig("Auto", "off", "Core", "AutoShutter", "0")
        mmc.defineConfig("Auto", "on", "Core", "AutoShutter", "1")
        mmc.defineConfig("Several", "some", st.SWITCHER, "State", "1")
        mmc.defineConfig("Several", "some", st.SWITCHER, "TriggerSequenceMaxLength", "5")
        mmc.defineConfig("Several", "some", st.SWITCHER_2, "State", "4")
        yield rig


def preset(group: str, name: str) -> dict[str, Any]:
    return {"config_group": [group, name]}


def place(number: int) -> dict[str, Any]:
    return {"x": float(number), "y": 0.0}  # no hardware sequence


def times(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"axes": {"n": number}, **event} for number, event in enumerate(events)]


async def seen(acq: aiomm.Acquisition) -> list[st.Settings]:
    dataset = acq.get_dataset()
    keys = sorted((dict(key) for key in dataset.get_index_keys()), key=lambda axes: axes["n"])
    return [st.decode(np.asarray(await asyncio.to_thread(dataset.read_image, axes=axes))) for axes in keys]


async def cameras(acq: aiomm.Acquisition) -> list[str]:
    return [one.camera for one in await seen(acq)]


async def lit(acq: aiomm.Acquisition) -> list[tuple[bool, bool]]:
    states = [one.state for one in await seen(acq)]
    return [(bool(state.get((st.SHUTTER, "ShutterState"))), bool(state.get((SHUTTER_2, "ShutterState")))) for state in states]


async def test_the_camera_that_is_chosen_between_submissions(rig: Rig) -> None:
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}})
        await rig.core.set_camera_device(st.CAMERA_2)
        await acq.acquire({"axes": {"n": 1}})
        await acq.acquire([{"axes": {"n": n}} for n in (2, 3)])
    assert await cameras(acq) == [st.CAMERA, st.CAMERA_2, st.CAMERA_2, st.CAMERA_2]
    assert await rig.core.get_camera_device() == st.CAMERA


@pytest.mark.parametrize("chosen", [{"properties": [["Core", "Camera", st.CAMERA_2]]}, preset("Camera", "two")], ids=["property", "preset"])
async def test_the_camera_that_an_event_makes_the_cores(rig: Rig, chosen: dict[str, Any]) -> None:
    async with rig.memory() as acq:
        await acq.acquire([chosen, {"axes": {"n": 0}}])
        await acq.acquire([{"properties": [["Core", "Camera", st.CAMERA]]}, {"axes": {"n": 1}}])
        await acq.acquire({"axes": {"n": 2}, "exposure": 7.0, **chosen})
        await acq.acquire([{"axes": {"n": n}} for n in (3, 4)])
        await acq.acquire({"axes": {"n": 5}, "camera": st.CAMERA})
        await acq.acquire({"axes": {"n": 6}})
    one, two = st.CAMERA, st.CAMERA_2
    assert await cameras(acq) == [two, one, two, two, two, one, two]
    assert await rig.core.get_exposure(st.CAMERA) != 7.0


async def test_the_camera_that_a_hook_chooses(rig: Rig) -> None:
    async def hook(event: Any) -> Any:
        await rig.core.set_camera_device([st.CAMERA, st.CAMERA_2][event["axes"]["n"] % 2])
        return event

    async with rig.memory(pre_hardware_hook_fn=hook) as acq:
        await acq.acquire(times(place(0), place(1), {**place(2), "camera": st.CAMERA_2}, place(3)))
    assert await cameras(acq) == [st.CAMERA, st.CAMERA_2, st.CAMERA_2, st.CAMERA_2]


async def test_the_camera_that_an_event_names_is_not_the_cores_after_it(rig: Rig) -> None:
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}, "camera": st.CAMERA_2})
        assert await rig.core.get_camera_device() == st.CAMERA
        await rig.core.set_camera_device(st.CAMERA_2)
        await acq.acquire({"axes": {"n": 1}})
    assert await cameras(acq) == [st.CAMERA_2, st.CAMERA_2]


async def test_the_camera_that_an_event_names_wins_over_its_preset(rig: Rig) -> None:
    for number in range(3):
        rig.mmc.defineConfig("Both", f"{number}", "Core", "Camera", st.CAMERA)
        rig.mmc.defineConfig("Both", f"{number}", st.SWITCHER, "State", str(number))
    named = {"camera": st.CAMERA_2}
    one = {**preset("Camera", "one"), **named}
    async with rig.memory() as acq:
        await acq.acquire(times(one, one, {**place(1), **one}))
        await acq.acquire([{"axes": {"n": 3 + n}, **preset("Both", f"{n}"), **named} for n in range(3)])
    assert await cameras(acq) == [st.CAMERA_2] * 6


async def test_a_cancelled_event_gives_the_camera_back(rig: Rig) -> None:
    async with rig.memory() as acq:
        submission = acq.acquire({"axes": {"n": n}, **place(n % 5), "camera": st.CAMERA_2} for n in range(100_000))
        async for _ in submission:
            submission.cancel()
            break
        with pytest.raises(errors.SubmissionCancelled):
            await submission
        assert await rig.core.get_camera_device() == st.CAMERA


async def test_the_shutter_that_an_event_chooses_is_held_open(rig: Rig) -> None:
    one, two = {**preset("Shutter", "one"), **KEEP}, {**preset("Shutter", "two"), **KEEP}
    async with rig.memory() as acq:
        await acq.acquire(times(one, two, two, one))
        await acq.acquire({"axes": {"n": 4}, "properties": [["Core", "Shutter", SHUTTER_2]], **KEEP})
        await acq.acquire([{"axes": {"n": n}, **two} for n in (5, 6)])
    assert await lit(acq) == [(True, False), (False, True), (False, True), (True, False), (False, True), (False, True), (False, True)]
    assert (await rig.core.get_shutter_device(), await rig.core.get_auto_shutter()) == (st.SHUTTER, True)
    assert [await rig.core.get_shutter_open(label) for label in (st.SHUTTER, SHUTTER_2)] == [False, False]


async def test_the_shutter_that_a_hook_chooses_is_held_open(rig: Rig) -> None:
    async def hook(event: Any) -> Any:
        await rig.core.set_shutter_device(SHUTTER_2)
        return event

    async with rig.memory(post_hardware_hook_fn=hook) as acq:
        await acq.acquire(times({**place(0), **KEEP}, {**place(1), **KEEP}))
    assert await lit(acq) == [(False, True), (False, True)]


async def test_the_shutter_stays_open_where_a_hook_says_so(rig: Rig) -> None:
    """Also before the hook is asked of the next event; and no longer than it says."""

    def hook(event: Any) -> Any:
        return {**event, **KEEP} if event["axes"]["n"] < 3 else event

    rig.mmc.forget()
    async with rig.memory(post_hardware_hook_fn=hook) as acq:
        await acq.acquire(times(*[place(n) for n in range(3)]))
        await until(lambda: len(rig.mmc.calls_of("setShutterOpen")) >= 2)  # it is given back once the submission is over
        assert [call.args for call in rig.mmc.calls_of("setShutterOpen")] == [(st.SHUTTER, True), (st.SHUTTER, False)]
        rig.mmc.forget()
        await acq.acquire([{"axes": {"n": n, "again": 1}, **place(n)} for n in range(5)])
        assert [call.args for call in rig.mmc.calls_of("setShutterOpen")] == [(st.SHUTTER, True), (st.SHUTTER, False)]
        assert await rig.core.get_auto_shutter()
    assert await lit(acq) == [(True, False)] * 8


async def test_without_autoshutter_a_shutter_is_not_held_open(rig: Rig) -> None:
    off, on = preset("Auto", "off"), preset("Auto", "on")
    async with rig.memory() as acq:
        await acq.acquire(times(off, on, {**off, **KEEP}, {**on, **KEEP}, {**on, **KEEP}, {"z": 1.0, **on, **KEEP}))
    assert [one or two for one, two in await lit(acq)] == [False, True, False, True, True, True]
    assert (await rig.core.get_auto_shutter(), await rig.core.get_shutter_open()) == (True, False)


async def test_a_preset_of_no_shutter_while_a_shutter_is_to_be_held_open(rig: Rig) -> None:
    """MMCore closes the one before, and it is opened again when it is back. Here it was a HardwareError, after six tries to open ''."""
    none, one, two = preset("Shutter", "none"), preset("Shutter", "one"), preset("Shutter", "two")
    async with rig.acquisition() as acq:
        await acq.acquire(times(none, one, none, one, two, none, two), **KEEP)
    assert await lit(acq) == [(False, False), (True, False), (False, False), (True, False), (False, True), (False, False), (False, True)]
    assert (await rig.core.get_shutter_device(), await rig.core.get_auto_shutter()) == (st.SHUTTER, True)
    assert not await rig.core.get_shutter_open(SHUTTER_2) and not await rig.core.get_shutter_open()


async def test_several_properties_of_a_device_that_the_preset_sets_too(rig: Rig) -> None:
    both = [[st.SWITCHER, "State", "4"], [st.SWITCHER, "TriggerSequenceMaxLength", "3"]]
    async with rig.acquisition() as acq:
        await acq.acquire(times({}, {**preset("Several", "some"), "properties": both}, preset("Several", "some")))
    images = await seen(acq)
    assert [one.switcher for one in images] == [0, 4, 1]
    assert [one.switcher_2 for one in images] == [0, 4, 4]


async def test_a_property_that_sets_the_exposure_comes_after_the_key(rig: Rig) -> None:
    async with rig.memory() as acq:
        await acq.acquire(times({"exposure": 3.0, "properties": [[st.CAMERA, "Exposure", "6"]]}, {"exposure": 4.0}))
    assert [one.exposure for one in await seen(acq)] == [6.0, 4.0]


async def test_autoshutter_that_an_event_turns_off_while_a_shutter_is_held_open(rig: Rig) -> None:
    """It stays off, and the shutter as it was: here it was closed and autoshutter on, on Java it was closed and the image dark."""
    off, on = preset("Auto", "off"), preset("Auto", "on")
    autos: list[bool] = []

    async def hook(event: Any) -> Any:
        autos.append(await rig.core.get_auto_shutter())
        return event

    async with rig.memory(post_camera_hook_fn=hook) as acq:
        await acq.acquire(times({**place(0), **KEEP}, {**place(1), **off}, {**place(2), **off}, {**place(3), **on}, place(4)))
        await acq.acquire({"axes": {"n": 5}, **place(5), **off})
    assert [one or two for one, two in await lit(acq)] == [True, True, True, True, True, False]
    assert autos == [False, False, False, True, True, False]
    assert (await rig.core.get_auto_shutter(), await rig.core.get_shutter_open()) == (True, False)
