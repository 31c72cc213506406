"""Spoilt replies to a whole bridge: some cases always, two thousand in the campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.campaigns import fuzz_bridge
from tests.campaigns.fuzz_bridge import run

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost

FOUND = [123, 269, 366, 420, 465, 501, 586, 593, 729, 739, 883, 928, 1029, 1045, 1157, 5005, 5306, 6750]
"""Seeds that once showed a defect: descriptions of methods that are none, releases whose replies were lost, sizes that are no number."""


@pytest.mark.timeout(180)
async def test_some_cases(own_java_host: JavaHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_bridge, "OFTEN", 10)
    told: list[int] = []
    done = await run(own_java_host.port, [*range(12), *FOUND], lambda so_far: told.append(so_far.ended))
    assert not done.failures
    assert done.cases == 12 + len(FOUND)
    assert done.unspoilt < 12
    assert told == [10, 20, 30]  # as it goes on: a run that is cut has shown something
    assert done.outcomes["right"] > 40
    assert done.outcomes["ProtocolError"] > 3
    print(dict(done.outcomes))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
async def test_two_thousand_cases(own_java_host: JavaHost) -> None:
    done = await run(own_java_host.port, range(1000, 3000))
    assert not done.failures
    assert done.cases == 2000
    assert done.outcomes["right"] > 2000
    print(dict(done.faults), dict(done.outcomes))
