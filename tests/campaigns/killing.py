"""Kill a process that writes at seeded moments, and keep what it had reported: what the campaigns of each format share."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from aiomm.dataset import Frame

ROOT = Path(__file__).parents[2]
Modes = dict[str, dict[str, Any]]
MODES: Modes = {
    "small": {"shapes": [(64, 64)], "queue_size": 50},
    "packed, odd": {"shapes": [(31, 33)], "queue_size": 20},
    "medium": {"shapes": [(256, 256)], "queue_size": 20},
    "large": {"shapes": [(512, 512)], "queue_size": 20},
    "very large": {"shapes": [(2048, 2048)], "queue_size": 6},
    "mixed": {"shapes": [(512, 512), (20, 30), (100, 800)], "queue_size": 20},
    "interval": {"shapes": [(256, 256)], "queue_size": 20, "durability": "interval", "sync_interval": 0.02},
    "every": {"shapes": [(128, 128)], "queue_size": 8, "durability": "every"},
    "one by one": {"shapes": [(256, 256)], "queue_size": 1},
}
"""For a writer of any format."""
Check = Callable[[Path, str, list[int], "Outcome"], None]


def pixels(i: int, shapes: list[tuple[int, int]]) -> np.ndarray:
    """Make an image that no other number makes."""
    shape = shapes[i % len(shapes)]
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y * 40503 + x * 30011 + i * 257).astype(np.uint16)


def metadata(i: int) -> dict[str, Any]:
    return {"Number": i, "Text": "x" * (i * 37 % 5000)}


def report(frames: list[Frame]) -> None:
    """Say through stdout which images are saved."""
    data = b"".join(b"%d\n" % frame.token for frame in frames)
    while data:
        data = data[os.write(1, data) :]


@dataclass
class Outcome:
    """What a campaign found."""

    kills: int = 0
    reported: int = 0
    indexed: int = 0
    levels: int = 0  # datasets with levels when they were killed
    untouched: int = 0  # datasets in which repair had nothing to do but to end the log
    recovered: int = 0  # images that it brought back
    torn: int = 0  # indexes with a record cut short, which ndstorage cannot open
    wrong: list[str] = field(default_factory=list)


def kill_once(module: str, check: Check, folder: Path, mode: str, delay: float, outcome: Outcome) -> None:
    """Kill a writer after ``delay`` seconds, and check what it left."""
    command = [sys.executable, "-m", module, "--write", str(folder), "--mode", mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == b"ready\n"
            end = time.monotonic() + delay
            lines: list[bytes] = []
            os.set_blocking(child.stdout.fileno(), False)
            while time.monotonic() < end:  # its pipe must not fill
                lines.append(child.stdout.read() or b"")
                time.sleep(0.0005)
        finally:
            child.kill()
        os.set_blocking(child.stdout.fileno(), True)
        lines.append(child.stdout.read())
    text = b"".join(lines)
    reported = [int(line) for line in text[: text.rfind(b"\n") + 1].split()]
    outcome.kills += 1
    outcome.reported += len(reported)
    check(folder / "killed_1", mode, reported, outcome)


def run(module: str, modes: Modes, check: Check, kills: int, folder: Path, *, seed: int = 1, longest: float = 0.4) -> Outcome:
    """Kill writers of every mode in turn, at moments that the seed says."""
    rng = random.Random(seed)
    outcome = Outcome()
    for number in range(kills):
        mode = list(modes)[number % len(modes)]
        place = Path(tempfile.mkdtemp(prefix="kill-", dir=folder))
        try:
            most = modes[mode].get("longest", longest)
            delay = rng.choice([0.0, 0.02, rng.uniform(0, most), rng.uniform(0, most)])
            kill_once(module, check, place, mode, delay, outcome)
        finally:
            shutil.rmtree(place)
    return outcome


def main(about: str | None, write: Callable[[str, str], None], run: Callable[..., Outcome]) -> None:
    """Run a campaign from the command line, or be the writer that is killed."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", default=None, help="a folder on the disk to use")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.mode)
        return
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        outcome = run(options.kills, Path(folder), seed=options.seed)
    print(outcome)
    sys.exit(1 if outcome.wrong else 0)
