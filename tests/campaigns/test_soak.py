"""Memory stays flat and sources are pulled no faster than they are used: short forms of the long runs beside this file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MB = 1024 * 1024
PIXELS = 64 * 64 * 2
AHEAD = {"merged": 2 * 64 + 1, "one-by-one": 64 + 1}
"""look_ahead events beyond the group in progress, which merges up to look_ahead of them, and the one in hand."""
ROOT = Path(__file__).parents[2]


def soak(run: str, images: int, directory: Path, limit: float = 50) -> dict[str, Any]:
    """Run one in a process of its own, whose memory nothing else has used."""
    command = [sys.executable, "-m", "tests.campaigns.soak", run, "--images", str(images), "--data", str(directory), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    print(seen["says"])
    return seen


@pytest.mark.parametrize("run", ["merged", "one-by-one"])
def test_memory_is_flat_over_small_images(tmp_path: Path, run: str) -> None:
    seen = soak(run, 4000, tmp_path)
    assert seen["images"] == 4000
    assert seen["bytes_per_image"] < PIXELS / 4, seen  # frames that are kept would show as their pixels
    assert seen["furthest_ahead"] <= AHEAD[run], seen


def test_look_ahead_is_the_users(tmp_path: Path) -> None:
    seen = soak("look-ahead-10", 300, tmp_path)
    assert seen["furthest_ahead"] <= 10 + 1, seen


def test_snaps_wait_for_a_slow_disk(tmp_path: Path) -> None:
    seen = soak("slow-disk-snaps", 100, tmp_path)
    assert seen["error"] is None, seen
    assert seen["images"] == 100
    assert seen["growth"] < 24 * MB, seen  # 100 frames are 50 MB


def test_a_sequence_on_a_slow_disk_saves_what_arrived(tmp_path: Path) -> None:
    seen = soak("slow-disk-sequence", 400, tmp_path)
    assert seen["error"] == "BufferOverflowError", seen
    assert 16 < seen["images"] < 400, seen  # what the ring of 16 MB held was saved too
    assert seen["growth"] < 48 * MB, seen  # 400 frames are 200 MB


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("run", ["merged", "one-by-one"])
def test_memory_is_flat_over_100_000_small_images(tmp_path: Path, run: str) -> None:
    seen = soak(run, 100_000, tmp_path, 3600)
    assert seen["images"] == 100_000
    assert seen["bytes_per_image"] < 1000, seen
    assert seen["furthest_ahead"] <= AHEAD[run], seen


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_memory_is_flat_while_the_camera_is_faster_than_the_disk(tmp_path: Path) -> None:
    seen = soak("slow-disk-snaps", 2000, tmp_path, 3600)
    assert seen["images"] == 2000
    assert seen["growth"] < 24 * MB, seen
