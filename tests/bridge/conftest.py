"""Fixtures of the bridge's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bridge.asking import askers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.bridge.asking import Askers


@pytest.fixture
async def ports() -> AsyncIterator[Askers]:
    """Makes askers of ports, and closes them."""
    async with askers() as made:
        yield made
