"""What the user does by hand, before an acquisition or meanwhile: what is the user's stays so, on both homes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiomm import errors
from tests.support import sequence_tester as st

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.homes import Home
    from tests.support.rigs import Rig


async def refused(rig: Rig) -> None:
    """An acquisition is refused while the user's sequence runs, which goes on."""
    with pytest.raises(errors.HardwareError, match=r"camera.* is running already: stop its sequence"):
        async with rig.memory() as acq:
            await acq.acquire({"axes": {"n": 0}})
    assert await rig.core.is_sequence_running()


async def test_a_sequence_that_the_user_has_started_goes_on(home: Home, tmp_path: Path) -> None:
    """Here it was stopped, and the shutter that had opened for it stayed open for ever."""
    async with home.demo(tmp_path) as rig:
        await rig.core.set_shutter_open(False)
        await rig.core.start_continuous_sequence_acquisition(0)
        await refused(rig)
        await refused(rig)
        assert await rig.core.get_shutter_open()
        await rig.core.stop_sequence_acquisition()
        assert not await rig.core.get_shutter_open()
        async with rig.memory() as acq:
            assert await acq.acquire({"axes": {"n": 0}}) == [{"n": 0}]


async def test_a_sequence_that_the_user_has_started_beside_an_open_acquisition_goes_on(home: Home, tmp_path: Path) -> None:
    async with home.demo(tmp_path) as rig, rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}})
        await rig.core.start_continuous_sequence_acquisition(0)
        await refused(rig)
        await rig.core.stop_sequence_acquisition()
        assert not await rig.core.get_shutter_open()
        await acq.acquire({"axes": {"n": 1}})
        assert len(acq.get_dataset()) == 2


async def test_an_exposure_of_the_user_at_the_beginning(home: Home, tmp_path: Path) -> None:
    """On a running Micro-Manager the shutter that was open for it was found open, and stayed open in the end."""
    async with home.tester(tmp_path) as rig, rig.memory() as acq:
        await rig.core.set_exposure(1000)
        snap = asyncio.create_task(asyncio.to_thread(rig.mmc.snapImage) if home.java else rig.core.snap())  # there, by another program
        while home.java and not snap.done() and not await rig.core.get_shutter_open():
            await asyncio.sleep(0.005)
        await acq.acquire([{"axes": {"n": n}, "x": float(n), "y": 0.0, "exposure": 1.0} for n in range(3)])
        await snap
        await acq.aclose()
        assert [st.decode(acq.get_dataset().read_image(n=n)).shutter_open for n in range(3)] == [True] * 3
        assert (await rig.core.get_auto_shutter(), await rig.core.get_shutter_open()) == (True, False)


async def test_a_shutter_that_the_user_has_opened_is_open_in_the_end(home: Home, tmp_path: Path) -> None:
    async with home.tester(tmp_path) as rig:
        await rig.core.set_shutter_open(True)
        async with rig.memory() as acq:
            await acq.acquire({"axes": {"n": 0}})
        assert (await rig.core.get_auto_shutter(), await rig.core.get_shutter_open()) == (True, True)
