"""A process that dies in the middle of an acquisition, and a disk that is full: what was reported saved can be read."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.campaigns.kill9_acquisition import Ear, check, kill_once, start


@pytest.mark.parametrize("seed", range(8))
def test_kill_9(tmp_path: Path, seed: int) -> None:
    _, saved, there = kill_once(random.Random(seed), tmp_path)
    assert there >= saved


@pytest.mark.parametrize("limit", [50_000, 400_000])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    """The error comes at that image, what was saved before reads back, and the next acquisition works."""
    first, second = tmp_path / "first", tmp_path / "second"
    process = start(first, "--limit", str(limit), "--count", "200", "--again", str(second))
    ear = Ear(process)
    ear.listen(time.monotonic() + 40, "end")
    trouble = ear.close()
    assert process.returncode == 0, trouble
    (storage,) = ear.of("storage")
    assert "File too large" in storage["error"]
    assert storage["state"] == "failed"
    assert ear.of("closed") == [{"say": "closed", "shutter": ear.of("closed")[0]["shutter"], "auto": True, "running": False}]
    before = [axes for axes in ear.saved if "time" in axes]
    after = [axes for axes in ear.saved if "again" in axes]
    assert check(Path(ear.of("open")[0]["path"]), before) >= len(before) >= limit // 20_000
    assert check(Path(ear.of("open")[1]["path"]), after, marked=False) == len(after) == 3
