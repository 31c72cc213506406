"""The long forms of tests/hazards: every step of the loop, and many kills."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.campaigns.kill9_acquisition import kill_once
from tests.hazards.test_cancel import WAYS, sweep
from tests.support.ends import demo_core

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.campaign
@pytest.mark.blocks
@pytest.mark.parametrize("way", WAYS)
def test_at_every_single_step(way: str) -> None:
    mmc = demo_core()
    try:
        runs, total = sweep(mmc, way, stride=1)
        assert runs == total
    finally:
        mmc.unloadAllDevices()


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_200_kills(tmp_path: Path) -> None:
    chance = random.Random(2)
    for run in range(200):
        _, saved, there = kill_once(chance, tmp_path / str(run))
        assert there >= saved
