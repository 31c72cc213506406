"""Spoilt replies to a whole bridge: a hundred cases always, two thousand in the campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.campaigns.fuzz_bridge import run

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost


@pytest.mark.timeout(120)
async def test_a_hundred_cases(own_java_host: JavaHost) -> None:
    done = await run(own_java_host.port, range(100))
    assert not done.failures
    assert done.cases == 100
    assert done.unspoilt < 40
    assert done.outcomes["right"] > 100
    assert done.outcomes["ProtocolError"] > 5
    print(dict(done.outcomes))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
async def test_two_thousand_cases(own_java_host: JavaHost) -> None:
    done = await run(own_java_host.port, range(1000, 3000))
    assert not done.failures
    assert done.cases == 2000
    assert done.outcomes["right"] > 2000
    print(dict(done.faults), dict(done.outcomes))
