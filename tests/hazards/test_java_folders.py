"""Acquisitions that are opened at once with one directory and name: each has a folder of its own, and its own images in it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from tests.support import sequence_tester as st

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.rigs import Rig

pytestmark = pytest.mark.parametrize("home", ["java"], indirect=True)
OTHERS = 4000
"""Files beside: Java looks at the name of each to find a number for its folder, which takes some milliseconds."""


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    for number in range(OTHERS):
        (directory / f"other_{number}").touch()
    return directory


async def acquired(directory: Path, z: float, **where: Any) -> Path:
    async with aiomm.Acquisition(str(directory), "rig", show_display=False, **where) as acq:
        await acq.acquire({"axes": {"n": 0}, "z": z})
    assert acq.path is not None
    return acq.path


def seen(folder: Path) -> float | None:
    return st.decode(np.asarray(aiomm.Dataset(folder).read_image(n=0))).z


async def test_each_of_several_at_once_has_a_folder_of_its_own(tester: Rig, crowded: Path) -> None:
    async with aiomm.Bridge(port=tester.where["bridge"].port) as another:
        where = [tester.where, {"bridge": another}] * 2
        async with asyncio.timeout(30):
            paths = await asyncio.gather(*(acquired(crowded, float(n), **where[n]) for n in range(4)))
    assert sorted(path.name for path in paths) == [f"rig_{n}" for n in range(1, 5)]
    assert [await asyncio.to_thread(seen, path) for path in paths] == [0.0, 1.0, 2.0, 3.0]


async def test_also_on_two_loops_of_the_process(tester: Rig, crowded: Path) -> None:
    port, together = tester.where["bridge"].port, threading.Barrier(2)

    def opened() -> list[str]:
        async def opening() -> list[str]:
            async with aiomm.Bridge(port=port) as bridge:
                names = []
                for _ in range(3):
                    await asyncio.to_thread(together.wait, 20)
                    async with aiomm.Acquisition(str(crowded), "rig", show_display=False, bridge=bridge) as acq:
                        assert acq.path is not None
                        names.append(acq.path.name)
                return names

        return asyncio.run(opening())

    found = await asyncio.gather(asyncio.to_thread(opened), asyncio.to_thread(opened))
    assert sorted(found[0] + found[1]) == [f"rig_{n}" for n in range(1, 7)]


async def test_who_is_cancelled_while_another_chooses_leaves_the_turn_to_the_next(tester: Rig, crowded: Path) -> None:
    async with asyncio.timeout(30):
        tasks = [asyncio.create_task(acquired(crowded, float(n), **tester.where)) for n in range(4)]
        await asyncio.sleep(0.02)
        tasks[1].cancel()
        await asyncio.sleep(0.005)
        tasks[2].cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [await asyncio.to_thread(seen, ends[n]) for n in (0, 3)] == [0.0, 3.0]  # type: ignore[arg-type]
