"""A bridge to the JVM that all tests share, its microscope as at the start, and an eye on what the server holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from tests.support.bridging import Eye, looking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost


@pytest.fixture
async def eye(java_host: JavaHost) -> AsyncIterator[Eye]:
    async with looking(java_host.port) as found:
        yield found


@pytest.fixture
async def control(eye: Eye) -> AsyncIterator[Any]:
    """The microscope's behaviour, quick; put back afterwards."""
    made = await eye.bridge.construct_java_object("aiomm.host.Control", new_socket=True)
    await made.restore()
    await made.fast(True)
    await eye.note()
    yield made
    await made.restore()


@pytest.fixture
async def bridge(java_host: JavaHost, control: Any) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as opened:
        yield opened
