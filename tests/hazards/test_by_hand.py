"""What the user does by hand, before an acquisition or meanwhile: what is the user's stays so, on both homes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiomm import errors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.homes import Home
    from tests.support.rigs import Rig


async def refused(rig: Rig) -> None:
    """An acquisition is refused while the user's sequence runs, which goes on."""
    with pytest.raises(errors.HardwareError, match="the camera is running already"):
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
