"""A microscope whose core has no camera: what can be done is done, and else the reason is said, on both homes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors
from tests.support import sequence_tester as st
from tests.support.homes import only_local

if TYPE_CHECKING:
    from tests.support.rigs import Rig

ENDS_S = 10


@pytest.fixture
def dark(tester: Rig) -> Rig:
    tester.mmc.setCameraDevice("")
    return tester


@pytest.mark.parametrize("home", ["java"], indirect=True)
@pytest.mark.parametrize("memory", [True, False])
async def test_micro_manager_opens_none_and_the_next_one_works(dark: Rig, memory: bool) -> None:
    make = dark.memory if memory else dark.acquisition
    with pytest.raises(errors.UnsupportedError, match=rf"without a camera.*set Core-Camera to one of '{st.CAMERA}'"):
        async with asyncio.timeout(ENDS_S), make():
            pass
    dark.mmc.setCameraDevice(st.CAMERA)
    async with asyncio.timeout(ENDS_S), make() as acq:
        assert len(await acq.acquire({"axes": {"n": 0}})) == 1


@only_local("Micro-Manager's engine begins none without a camera")
async def test_events_without_images_are_carried_out(dark: Rig) -> None:
    async with asyncio.timeout(ENDS_S), dark.acquisition() as acq:
        assert await acq.acquire([{"z": 2.0}]) == []
        with pytest.raises(errors.EventError, match=f"there is no camera; set Core-Camera to one of '{st.CAMERA}'"):
            await acq.acquire({"axes": {"n": 0}})
    assert dark.mmc.getPosition() == 2.0


CHOOSE: dict[str, dict[str, Any]] = {"by name": {"camera": st.CAMERA}, "by a property": {"properties": [["Core", "Camera", st.CAMERA]]}}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("how", CHOOSE)
async def test_the_camera_that_events_choose_gives_their_images(tester: Rig, how: str, count: int) -> None:
    """Also where the core has lost its camera since the acquisition was opened."""
    async with asyncio.timeout(ENDS_S), tester.acquisition() as acq:
        tester.mmc.setCameraDevice("")
        assert len(await acq.acquire([{"axes": {"n": n}, **CHOOSE[how]} for n in range(count)])) == count
        assert st.decode(acq.get_dataset().read_image(n=count - 1)).camera == st.CAMERA
    assert tester.mmc.getCameraDevice() == ""
