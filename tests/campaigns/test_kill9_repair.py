"""What a killed writer reported comes back even without its index: four kills always, two hundred in the campaign."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.campaigns.kill9_repair import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


def test_four_kills(tmp_path: Path) -> None:
    outcome = run(4, tmp_path, seed=3, longest=0.1)
    assert not outcome.wrong
    assert outcome.images >= outcome.indexed > 0


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_two_hundred_kills(tmp_path: Path) -> None:
    outcome = run(200, tmp_path, seed=4)
    assert not outcome.wrong
    assert outcome.images >= outcome.indexed > 5000
