"""A camera that is several at once (a Multi Camera) and one of its own, in turn within an acquisition, on both homes."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.acquire.remote.engine import JavaEngine
from aiomm.errors import HardwareError
from tests.support import sequence_tester as st

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.homes import Home
    from tests.support.rigs import Rig

BOTH, ONE, TWO = "Multi", st.CAMERA, st.CAMERA_2
ENDS_S = 10


@pytest.fixture
async def rig(home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    """The core's camera is two cameras at once."""
    async with home.tester(tmp_path, cameras=2) as rig:
        for name, label in (("one", ONE), ("both", BOTH)):
            rig.mmc.defineConfig("Cams", name, "Core", "Camera", label)
        yield rig


def events(*given: dict[str, Any], apart: bool = True) -> list[dict[str, Any]]:
    """Make events with an axis n; apart: no hardware sequence."""
    return [{"axes": {"n": n}, **({"x": float(n), "y": 0.0} if apart else {}), **event} for n, event in enumerate(given)]


def prop(label: str) -> dict[str, Any]:
    return {"properties": [["Core", "Camera", label]]}


def preset(name: str) -> dict[str, Any]:
    return {"config_group": ["Cams", name]}


def named(label: str) -> dict[str, Any]:
    return {"camera": label}


CASES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "one of them by name": (events(named(ONE)), "1"),
    "the second by name": (events(named(TWO), {}), "1."),
    "a sequence of one of them": (events(*[named(ONE)] * 3, {}, apart=False), "111."),
    "both by name": (events(*[named(BOTH)] * 3), "222"),
    "a sequence of both by name": (events(*[named(BOTH)] * 3, apart=False), "222"),
    "presets": (events(preset("one"), preset("both"), preset("one")), "121"),
    "properties": (events(prop(ONE), {}, prop(BOTH), {}), "1122"),
}


def expected(counts: str) -> list[tuple[int, str]]:
    return [(n, camera) for n, count in enumerate(counts) for camera in ([""] if count == "1" else [ONE, TWO])]


def places(axes: Any) -> list[tuple[int, str]]:
    return sorted((one["n"], one.get("camera", "")) for one in axes)


@pytest.mark.parametrize("core_has", [BOTH, ONE])
@pytest.mark.parametrize("case", CASES)
async def test_each_camera_gives_its_images(rig: Rig, case: str, core_has: str) -> None:
    asked, counts = CASES[case]
    rig.mmc.setCameraDevice(core_has)
    counts = counts.replace(".", "2" if core_has == BOTH else "1")  # where no event chooses
    async with asyncio.timeout(ENDS_S), rig.acquisition() as acq:
        assert places(await acq.acquire(asked)) == expected(counts)
    assert len(acq.get_dataset()) == len(expected(counts))


@pytest.mark.parametrize("memory", [True, False])
async def test_each_camera_gives_its_images_to_a_processor(rig: Rig, memory: bool) -> None:
    make = rig.memory if memory else rig.acquisition
    async with asyncio.timeout(ENDS_S), make(image_process_fn=lambda image, tags: (image, tags)) as acq:
        assert places(await acq.acquire(events(named(ONE), {}, preset("one"), {}))) == expected("1211")


@pytest.mark.parametrize("which", ["pre_hardware_hook_fn", "post_hardware_hook_fn"])
@pytest.mark.parametrize("memory", [True, False])
async def test_the_camera_that_a_hook_chooses_gives_its_images(rig: Rig, which: str, memory: bool) -> None:
    async def hook(event: Any) -> Any:
        number = (event if isinstance(event, dict) else event[0])["axes"]["n"]
        if number % 3 == 0:
            await rig.core.set_camera_device([ONE, BOTH][number // 3 % 2])
        return event

    make: Any = rig.memory if memory else rig.acquisition
    async with asyncio.timeout(ENDS_S), make(**{which: hook}) as acq:
        assert places(await acq.acquire(events(*[{}] * 6))) == expected("111222")
        assert places(await acq.acquire([{"axes": {"n": 10}}])) == [(10, ONE), (10, TWO)]
    assert acq.status.images_acquired == acq.status.images_saved == 11


async def test_the_camera_that_is_chosen_meanwhile_gives_its_images(rig: Rig) -> None:
    async with asyncio.timeout(ENDS_S), rig.acquisition() as acq:
        submission = acq.acquire(events({}, {}, {"min_start_time": 0.5}))
        seen = []
        async for image in submission:
            seen.append(image.axes)
            if len(seen) == 4:
                await rig.core.set_camera_device(TWO)
        assert places(seen) == expected("221")


@pytest.mark.parametrize("home", ["java"], indirect=True)
@pytest.mark.parametrize("memory", [True, False])
async def test_an_image_that_nobody_asked_for_ends_it(rig: Rig, monkeypatch: pytest.MonkeyPatch, memory: bool) -> None:
    """Nobody waits for ever for one that comes under another name."""
    expose = JavaEngine._expose

    def wrong(self: Any, group: Any, *args: Any, **options: Any) -> Any:
        awaited = self._awaited
        expect = awaited.expect
        event = dataclasses.replace(group.events[0], axes={"n": 7})
        monkeypatch.setattr(awaited, "expect", lambda _, *rest: expect(dataclasses.replace(group, events=(event,)), *rest))
        return expose(self, group, *args, **options)

    monkeypatch.setattr(JavaEngine, "_expose", wrong)
    with pytest.raises(HardwareError, match=r"gave an image with the axes \{'n': 0.*\}, which was not asked for"):
        async with asyncio.timeout(ENDS_S), (rig.memory if memory else rig.acquisition)() as acq:
            await acq.acquire(events(named(ONE)))
