"""Several clients acquire on one Micro-Manager at the same time, each over a bridge of its own and in a loop of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import aiomm
import aiomm.acquire.remote.home  # here, as imports of threads wait for one another

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jvm.host import JavaHost

CLIENTS = 3
LONG = 40.0


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
