"""Kill a writer at seeded moments: every image that was reported saved must read back, in Dataset and in ndstorage.

``python -m tests.campaigns.kill9_writer --kills 200``. A child process writes images that say who they are and reports
each one saved through a pipe; it is killed with SIGKILL, and what it had reported is compared with what can be read.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from tests.campaigns import killing
from tests.campaigns.killing import Modes, Outcome, metadata, pixels, report
from tests.dataset.support import ndstorage_dataset

if TYPE_CHECKING:
    from pathlib import Path

MODES: Modes = {
    **killing.MODES,
    "split files": {"shapes": [(512, 512)], "queue_size": 20, "file_limit": 20_000_000},
}


def axes(i: int) -> dict[str, int | str]:
    return {"time": i // 6, "channel": ["DAPI", "FITC", "Cy5"][i % 3], "z": i // 3 % 2}


def write(folder: str, mode: str) -> None:
    """Write until killed; report through stdout."""
    options = dict(MODES[mode])
    shapes = options.pop("shapes")
    writer = NDTiffWriter(folder, "killed", {"mode": mode}, on_saved=report, **options)
    os.write(1, b"ready\n")
    for i in range(10**9):
        writer.put(Frame(axes(i), pixels(i, shapes), metadata(i), 16, token=i))


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


run = functools.partial(killing.run, "tests.campaigns.kill9_writer", MODES, check)


if __name__ == "__main__":
    killing.main(__doc__, write, run)
