"""Several clients acquire on one Micro-Manager at the same time, each over a bridge of its own and in a loop of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import aiomm
import aiomm.acquire.remote.home  # here, as imports of threads wait for one another
from aiomm.errors import AiommError, BridgeTimeoutError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jvm.host import JavaHost

CLIENTS = 3
LONG = 20.0


async def acquire(port: int, where: Path) -> int:
    async with asyncio.timeout(LONG), aiomm.Acquisition(where, "a", port=port, show_display=False) as acq:
        return len(await acq.acquire([{"axes": {"time": time}, "z": time} for time in range(3)]))


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=[pytest.mark.campaign, pytest.mark.timeout(600)])])
async def test_each_gets_its_own_images_and_ends(java_host: JavaHost, tmp_path: Path, rounds: int) -> None:
    """Java gives ports to all of them from one row, and again as soon as they are left."""

    def client(number: int) -> list[int]:
        return [asyncio.run(acquire(java_host.port, tmp_path / str(number))) for _ in range(rounds)]

    for number in range(CLIENTS):
        (tmp_path / str(number)).mkdir()
    assert await asyncio.gather(*(asyncio.to_thread(client, number) for number in range(CLIENTS))) == [[3] * rounds] * CLIENTS


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("how", ["gone", "deaf"])
async def test_an_acquisition_that_has_lost_its_port_for_events_ends(java_host: JavaHost, tmp_path: Path, before: int, how: str) -> None:
    """Java waits for events still, and may not have started what would say that all is saved."""

    async def took_nothing(*_: object, **__: object) -> None:
        raise BridgeTimeoutError("took nothing")

    async with asyncio.timeout(LONG):
        with pytest.raises(AiommError):
            async with aiomm.Acquisition(tmp_path, "a", port=java_host.port, show_display=False) as acq:
                if before:
                    await acq.acquire({"axes": {"time": 0}})
                events = acq._home.session._made.events  # type: ignore[attr-defined]
                if how == "gone":
                    events.give_up("somebody else has it")
                else:
                    events.send = took_nothing
                await acq.acquire({"axes": {"time": 1}})
        assert acq.status.images_saved == before
        assert await acquire(java_host.port, tmp_path) == 3
