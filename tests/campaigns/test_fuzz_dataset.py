"""Spoilt datasets: a hundred and fifty cases always, five thousand in the campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.campaigns.fuzz_dataset import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_hundred_and_fifty_cases(tmp_path: Path) -> None:
    outcome = run(tmp_path, range(150))
    assert not outcome.failures
    assert outcome.cases == 150
    assert outcome.refused > 20
    assert outcome.images_right > 500


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_five_thousand_cases(tmp_path: Path) -> None:
    outcome = run(tmp_path, range(1000, 6000))
    print(outcome)
    assert not outcome.failures
    assert outcome.cases == 5000
    assert outcome.refused > 700
    assert outcome.images_right > 20_000
