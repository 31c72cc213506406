"""Kill a writer at seeded moments: every image that was reported saved must read back, in Dataset and in ndstorage.

``python -m tests.campaigns.kill9_writer --kills 200``. A child process writes images that say who they are and reports
each one saved through a pipe; it is killed with SIGKILL, and what it had reported is compared with what can be read.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from tests.dataset.support import ndstorage_dataset

ROOT = Path(__file__).parents[2]
MODES: dict[str, dict[str, Any]] = {
    "small": {"shapes": [(64, 64)], "queue_size": 50},
    "packed, odd": {"shapes": [(31, 33)], "queue_size": 20},
    "medium": {"shapes": [(256, 256)], "queue_size": 20},
    "large": {"shapes": [(512, 512)], "queue_size": 20},
    "very large": {"shapes": [(2048, 2048)], "queue_size": 6},
    "mixed": {"shapes": [(512, 512), (20, 30), (100, 800)], "queue_size": 20},
    "split files": {"shapes": [(512, 512)], "queue_size": 20, "file_limit": 20_000_000},
    "interval": {"shapes": [(256, 256)], "queue_size": 20, "durability": "interval", "sync_interval": 0.02},
    "every": {"shapes": [(128, 128)], "queue_size": 8, "durability": "every"},
    "one by one": {"shapes": [(256, 256)], "queue_size": 1},
}


def pixels(i: int, shapes: list[tuple[int, int]]) -> np.ndarray:
    """Make an image that no other number makes."""
    shape = shapes[i % len(shapes)]
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y * 40503 + x * 30011 + i * 257).astype(np.uint16)


def metadata(i: int) -> dict[str, Any]:
    return {"Number": i, "Text": "x" * (i * 37 % 5000)}


def axes(i: int) -> dict[str, int | str]:
    return {"time": i // 6, "channel": ["DAPI", "FITC", "Cy5"][i % 3], "z": i // 3 % 2}


def write(folder: str, mode: str) -> None:
    """Write until killed; report through stdout."""
    options = dict(MODES[mode])
    shapes = options.pop("shapes")

    def on_saved(frames: list[Frame]) -> None:
        data = b"".join(b"%d\n" % frame.token for frame in frames)
        while data:
            data = data[os.write(1, data) :]

    writer = NDTiffWriter(folder, "killed", {"mode": mode}, on_saved=on_saved, **options)
    os.write(1, b"ready\n")
    for i in range(10**9):
        writer.put(Frame(axes(i), pixels(i, shapes), metadata(i), 16, token=i))


@dataclass
class Outcome:
    """What a campaign found."""

    kills: int = 0
    reported: int = 0
    indexed: int = 0
    torn: int = 0  # indexes with a record cut short, which ndstorage cannot open
    wrong: list[str] = field(default_factory=list)


def kill_once(folder: Path, mode: str, delay: float, outcome: Outcome) -> None:
    command = [sys.executable, "-m", "tests.campaigns.kill9_writer", "--write", str(folder), "--mode", mode]
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


def check(path: Path, mode: str, reported: list[int], outcome: Outcome) -> None:
    shapes = MODES[mode]["shapes"]

    def compare(who: str, i: int, read_pixels: np.ndarray, read_metadata: dict[str, Any]) -> None:
        if not np.array_equal(read_pixels, pixels(i, shapes)) or read_metadata != {**metadata(i), "Axes": axes(i)}:
            outcome.wrong.append(f"{mode}: {who} reads image {i} differently")

    if reported != list(range(len(reported))):
        outcome.wrong.append(f"{mode}: not reported in order")
    with Dataset(path) as dataset:
        indexed = len(dataset)
        outcome.indexed += indexed
        if indexed < len(reported):
            outcome.wrong.append(f"{mode}: {len(reported)} reported, {indexed} in the index")
        for i in range(indexed):
            if dataset.axes_of(i) != axes(i):
                outcome.wrong.append(f"{mode}: row {i} is {dataset.axes_of(i)}")
            compare("Dataset", i, *dataset.read_row(i))
    size = (path / "NDTiff.index").stat().st_size
    whole = _whole_records((path / "NDTiff.index").read_bytes())
    if whole != size:  # a kill in the middle of a write that crosses a page of memory
        outcome.torn += 1
        os.truncate(path / "NDTiff.index", whole)
    if indexed:
        with ndstorage_dataset(path) as other:
            for i in range(len(reported)):
                compare("ndstorage", i, other.read_image(**axes(i)), other.read_metadata(**axes(i)))


def _whole_records(data: bytes) -> int:
    at = 0
    while at + 4 <= len(data):
        k = int.from_bytes(data[at : at + 4], "little")
        n = int.from_bytes(data[at + 4 + k : at + 8 + k], "little")
        if at + 40 + k + n > len(data):
            break
        at += 40 + k + n
    return at


def run(kills: int, folder: Path, *, seed: int = 1, longest: float = 0.4) -> Outcome:
    """Kill writers of every mode in turn, at moments that the seed says."""
    rng = random.Random(seed)
    outcome = Outcome()
    for number in range(kills):
        mode = list(MODES)[number % len(MODES)]
        place = Path(tempfile.mkdtemp(prefix="kill-", dir=folder))
        try:
            kill_once(place, mode, rng.choice([0.0, 0.02, rng.uniform(0, longest), rng.uniform(0, longest)]), outcome)
        finally:
            shutil.rmtree(place)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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


if __name__ == "__main__":
    main()
