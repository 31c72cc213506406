"""What tests of several acquisitions on one microscope share."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.homes import Home
    from tests.support.rigs import Rig


@contextlib.asynccontextmanager
async def dark(home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    """A microscope with its shutter closed, and autoshutter on."""
    async with home.demo(tmp_path) as made:
        await made.core.set_exposure(5)
        await made.core.set_shutter_open(False)
        await made.core.set_auto_shutter(True)
        yield made


async def opened(rig: Rig, **options: Any) -> aiomm.Acquisition:
    return await aiomm.Acquisition.open(**rig.where, show_display=False, **options)


async def light(rig: Rig) -> tuple[bool, bool]:
    """Autoshutter, and whether the shutter is open."""
    return await rig.core.get_auto_shutter(), await rig.core.get_shutter_open()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


async def holding(rig: Rig, later: float = 30.0, **first: Any) -> tuple[aiomm.Acquisition, aiomm.Submission]:
    """An acquisition that holds the shutter open between its two images; its first event may have more keys."""
    a = await opened(rig)
    held = a.acquire([{"axes": {"n": 0}, **first}, {"axes": {"n": 1}, "min_start_time": later}], keep_shutter_open=True)
    await until(lambda: a.status.images_saved == 1)
    assert await light(rig) == (False, True)
    return a, held


async def aborted(acq: aiomm.Acquisition, submission: aiomm.Submission) -> None:
    acq.abort()
    with pytest.raises(errors.AcquisitionAborted):
        await submission
    await acq.aclose()
