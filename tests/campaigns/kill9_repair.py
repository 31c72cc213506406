"""Kill a writer, then lose its index, or a part of it: repair must bring every image back that was reported saved.

``python -m tests.campaigns.kill9_repair --kills 200``. The writers and their images are those of `kill9_writer`.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aiomm.dataset import Dataset, repair
from tests.campaigns import kill9_writer, killing
from tests.campaigns.kill9_writer import MODES
from tests.dataset.support import ndstorage_dataset

INDEX = "NDTiff.index"


@dataclass
class Outcome:
    """What a campaign found."""

    kills: int = 0
    indexed: int = 0  # images in the index before it was damaged
    images: int = 0  # images after repair
    wrong: list[str] = field(default_factory=list)


def lose(index: Path, rng: random.Random) -> str:
    """Damage an index in one of the ways that happen."""
    data = index.read_bytes()
    way = rng.choice(["nothing", "deleted", "emptied", "cut", "overwritten", "zeros behind"])
    at = rng.randrange(len(data) + 1)
    if way == "deleted":
        index.unlink()
    elif way == "emptied":
        index.write_bytes(b"")
    elif way == "cut":
        index.write_bytes(data[:at])
    elif way == "overwritten":
        index.write_bytes(data[:at] + rng.randbytes(rng.randrange(1, 300)) + data[at + rng.randrange(300) :])
    elif way == "zeros behind":
        index.write_bytes(data + bytes(rng.randrange(2**20)))
    return way


def run(kills: int, folder: Path, *, seed: int = 1, longest: float = 0.4) -> Outcome:
    """Kill, damage, repair, compare; the seed says when and how."""
    rng = random.Random(seed)
    outcome = Outcome()
    for number in range(kills):
        mode = list(MODES)[number % len(MODES)]
        place = Path(tempfile.mkdtemp(prefix="repair-", dir=folder))
        try:
            killed = killing.Outcome()
            killing.kill_once(kill9_writer.__name__, kill9_writer.check, place, mode, rng.uniform(0, longest), killed)
            outcome.wrong += killed.wrong
            outcome.kills += 1
            outcome.indexed += killed.indexed
            check(place / "killed_1", mode, killed, lose(place / "killed_1" / INDEX, rng), outcome)
        finally:
            shutil.rmtree(place)
    return outcome


def check(path: Path, mode: str, killed: killing.Outcome, way: str, outcome: Outcome) -> None:
    before = {file.name: file.stat().st_size for file in path.iterdir()}
    dry = repair(path)
    if before != {file.name: file.stat().st_size for file in path.iterdir()}:
        outcome.wrong.append(f"{mode}, {way}: a dry run changed something")
    done = repair(path, dry_run=False)
    again = repair(path)
    if dry.actions != done.actions or again.needed or done.problems:
        outcome.wrong.append(f"{mode}, {way}: {dry} then {done} then {again}")
    shapes = MODES[mode]["shapes"]
    with Dataset(path) as dataset:
        outcome.images += len(dataset)
        if len(dataset) < killed.indexed:
            outcome.wrong.append(f"{mode}, {way}: {killed.indexed} images before, {len(dataset)} after")
        if not dataset.finished:
            outcome.wrong.append(f"{mode}, {way}: not finished after repair")
        for i in range(len(dataset)):
            pixels, metadata = dataset.read_row(i)
            right = dataset.axes_of(i) == kill9_writer.axes(i) and np.array_equal(pixels, killing.pixels(i, shapes))
            if not right or metadata != {**killing.metadata(i), "Axes": kill9_writer.axes(i)}:
                outcome.wrong.append(f"{mode}, {way}: image {i} is another one")
        if len(dataset):
            with ndstorage_dataset(path) as other:
                if len(other.get_image_coordinates_list()) != len(dataset):
                    outcome.wrong.append(f"{mode}, {way}: ndstorage counts otherwise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", default=None, help="a folder on the disk to use")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        outcome = run(options.kills, Path(folder), seed=options.seed)
    print(outcome)
    sys.exit(1 if outcome.wrong else 0)


if __name__ == "__main__":
    main()
