"""A writer that is killed loses nothing that it reported: each mode always, two hundred kills in the campaign."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.campaigns import kill9_omezarr, kill9_writer

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows"),
    pytest.mark.parametrize("format", [kill9_writer, kill9_omezarr], ids=["ndtiff", "omezarr"]),
]


def test_a_kill_in_each_mode(tmp_path: Path, format: ModuleType) -> None:
    outcome = format.run(len(format.MODES), tmp_path, seed=1, longest=0.2)
    assert not outcome.wrong
    assert outcome.kills == len(format.MODES)
    assert outcome.reported > 50
    assert outcome.indexed >= outcome.reported


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_two_hundred_kills(tmp_path: Path, format: ModuleType) -> None:
    outcome = format.run(200, tmp_path, seed=2)
    assert not outcome.wrong
    assert outcome.reported > 5000
