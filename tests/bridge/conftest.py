"""Fixtures of the bridge's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aiomm
from tests.bridge.asking import askers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.bridge.asking import Askers
    from tests.jvm.host import JavaHost


@pytest.fixture
async def ports() -> AsyncIterator[Askers]:
    """Makes askers of ports, and closes them."""
    async with askers() as made:
        yield made


@pytest.fixture
async def bridge(java_host: JavaHost) -> AsyncIterator[aiomm.Bridge]:
    """Open a bridge to the JVM that all tests share."""
    async with aiomm.Bridge(java_host.port, timeout=5000) as opened:
        yield opened
