"""An OME-Zarr writer that is killed loses nothing that it reported: some kills always, two hundred in the campaign."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.campaigns.kill9_omezarr import MODES, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


def test_a_few_kills(tmp_path: Path) -> None:
    outcome = run(len(MODES), tmp_path, seed=1, longest=0.2)
    assert not outcome.wrong
    assert outcome.kills == len(MODES)
    assert outcome.reported > 50
    assert outcome.indexed >= outcome.reported


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_two_hundred_kills(tmp_path: Path) -> None:
    outcome = run(200, tmp_path, seed=2)
    assert not outcome.wrong
    assert outcome.reported > 5000
