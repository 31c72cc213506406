"""Kill an OME-Zarr writer at seeded moments: every image that was reported saved must read back, in Dataset and zarr-python.

``python -m tests.campaigns.kill9_omezarr --kills 200``. A child process writes images that say who they are and reports
each one saved through a pipe; it is killed with SIGKILL, and what it had reported is compared with what can be read.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from aiomm.dataset import Dataset, Frame, OmeZarrWriter
from aiomm.dataset.omezarr.pyramid import halve
from tests.campaigns import killing
from tests.campaigns.killing import Modes, Outcome, metadata, pixels, report

if TYPE_CHECKING:
    from pathlib import Path

MODES: Modes = {
    "small": {"shapes": [(64, 64)], "queue_size": 50},
    "packed, odd": {"shapes": [(31, 33)], "queue_size": 20},
    "medium": {"shapes": [(256, 256)], "queue_size": 20},
    "large": {"shapes": [(512, 512)], "queue_size": 20},
    "very large": {"shapes": [(2048, 2048)], "queue_size": 6},
    "mixed": {"shapes": [(512, 512), (20, 30), (100, 800)], "queue_size": 20},
    "small shards": {"shapes": [(256, 256)], "queue_size": 20, "shard_bytes": 400_000},
    "positions": {"shapes": [(128, 128)], "queue_size": 20, "positions": ["A1", "A2-Site_0", "A2-Site_1", "C11"]},
    "interval": {"shapes": [(256, 256)], "queue_size": 20, "durability": "interval", "sync_interval": 0.02},
    "every": {"shapes": [(128, 128)], "queue_size": 8, "durability": "every"},
    "one by one": {"shapes": [(256, 256)], "queue_size": 1},
    "levels": {"shapes": [(600, 700)], "queue_size": 20, "levels": 2, "pause": 0.002},
    "levels, ending": {"shapes": [(600, 700)], "queue_size": 20, "levels": 2, "images": 30, "positions": ["A1", "A2", "B1", "B2", "C11"]},
}


def axes(i: int, mode: str) -> dict[str, int | str]:
    positions = MODES[mode].get("positions")
    place = {} if positions is None else {"position": positions[i // 6 % len(positions)]}
    i = i if positions is None else i // (6 * len(positions)) * 6 + i % 6
    return {**place, "time": i // 6, "channel": ["DAPI", "FITC", "Cy5"][i % 3], "z": i // 3 % 2}


def write(folder: str, mode: str) -> None:
    """Write until killed; report through stdout."""
    options = dict(MODES[mode])
    shapes = options.pop("shapes")
    options.pop("positions", None)
    images, pause = options.pop("images", 10**9), options.pop("pause", 0)
    writer = OmeZarrWriter(folder, "killed", {"mode": mode}, on_saved=report, **options)
    os.write(1, b"ready\n")
    for i in range(images):
        writer.put(Frame(axes(i, mode), pixels(i, shapes), metadata(i), 16, token=i))
        time.sleep(pause)
    writer.finish()  # of a mode with levels, most of them are built and all are listed here
    time.sleep(3600)


def check(path: Path, mode: str, reported: list[int], outcome: Outcome) -> None:
    shapes = MODES[mode]["shapes"]
    if reported != list(range(len(reported))):
        outcome.wrong.append(f"{mode}: not reported in order")
    with Dataset(path) as dataset:
        indexed = len(dataset)
        outcome.indexed += indexed
        if indexed < len(reported):
            outcome.wrong.append(f"{mode}: {len(reported)} reported, {indexed} in the log")
        for i in range(indexed):
            if dataset.axes_of(i) != axes(i, mode):
                outcome.wrong.append(f"{mode}: row {i} is {dataset.axes_of(i)}")
            read_pixels, read_metadata = dataset.read_row(i)
            if not np.array_equal(read_pixels, pixels(i, shapes)) or read_metadata != {**metadata(i), "Axes": axes(i, mode)}:
                outcome.wrong.append(f"{mode}: Dataset reads image {i} differently")
    groups: dict[int, Any] = {}
    log = (path / "index.ndjson").read_bytes()
    images = 0
    for line in log[: log.rfind(b"\n") + 1].splitlines():
        record = json.loads(line)
        if "group" in record:
            groups[record["group"]] = zarr.open_array(str(path / record["path"] / "0"), mode="r")
        elif "axes" in record:
            if not np.array_equal(groups[record["image"]][tuple(record["index"])], pixels(images, shapes)):
                outcome.wrong.append(f"{mode}: zarr-python reads image {images} differently")
            images += 1
    check_levels(path, mode, outcome)
    for array in groups.values():  # whole arrays too: no shard is left that a reader stumbles over
        if array.nbytes < 2**28:
            array[:]


def check_levels(path: Path, mode: str, outcome: Outcome) -> None:
    """A level that is listed is whole, in every image of the dataset that has one."""
    with Dataset(path, full_res_only=False) as dataset:
        for level in range(1, dataset.num_resolution_levels):
            for i in range(len(dataset)):
                expected = pixels(i, MODES[mode]["shapes"])
                for _ in range(level):
                    expected = halve(expected)
                if not np.array_equal(dataset.read_image(**axes(i, mode), resolution_level=level), expected):  # type: ignore[call-overload]
                    outcome.wrong.append(f"{mode}: image {i} of level {level} is another one")
        outcome.levels += dataset.num_resolution_levels > 1
    for file in path.rglob("zarr.json"):
        attributes = json.loads(file.read_bytes()).get("attributes", {})
        for one in attributes.get("ome", {}).get("multiscales", [{"datasets": []}])[0]["datasets"]:
            zarr.open_array(str(file.parent / one["path"]), mode="r")


def run(kills: int, folder: Path, *, seed: int = 1, longest: float = 0.4) -> Outcome:
    """Kill writers of every mode in turn, at moments that the seed says."""
    return killing.run("tests.campaigns.kill9_omezarr", MODES, check, kills, folder, seed, longest)


if __name__ == "__main__":
    killing.main(__doc__, write, run)
