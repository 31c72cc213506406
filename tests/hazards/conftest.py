"""A core whose calls are recorded, and an acquisition's ends on each home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ends import demo_core, ends_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.ends import Ends
    from tests.support.homes import Home
    from tests.support.recording import RecordingCore


@pytest.fixture(scope="module")
def mmc() -> Iterator[RecordingCore]:
    core = demo_core()
    yield core
    core.heal()
    core.unloadAllDevices()


@pytest.fixture
async def at(home: Home, mmc: RecordingCore, tmp_path: Path) -> AsyncIterator[Ends]:
    async with ends_at(home, mmc, tmp_path) as at:
        yield at
