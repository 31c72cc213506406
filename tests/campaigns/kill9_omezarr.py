"""Kill an OME-Zarr writer at seeded moments: every image that was reported saved must read back, in Dataset and zarr-python.

``python -m tests.campaigns.kill9_omezarr --kills 200``. A child process writes images that say who they are and reports
each one saved through a pipe; it is killed with SIGKILL, and what it had reported is compared with what can be read.
"""

from __future__ import annotations

import functools
import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from aiomm.dataset import Dataset, Frame, OmeZarrWriter, repair
from aiomm.dataset.omezarr.pyramid import halve
from tests.campaigns import killing
from tests.campaigns.killing import Modes, Outcome, metadata, pixels, report

if TYPE_CHECKING:
    from pathlib import Path

MODES: Modes = {
    **killing.MODES,
    "small shards": {"shapes": [(256, 256)], "queue_size": 20, "shard_bytes": 400_000},
    "positions": {"shapes": [(128, 128)], "queue_size": 20, "positions": ["A1", "A2-Site_0", "A2-Site_1", "C11"]},
    "levels": {"shapes": [(600, 700)], "queue_size": 20, "levels": 2, "pause": 0.002},
    "levels, ending": {
        "shapes": [(600, 700)],
        "queue_size": 20,
        "levels": 2,
        "images": 30,
        "longest": 1.5,
        "positions": ["A1", "A2", "B1", "B2", "C11"],
    },
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
    for key in ("positions", "longest"):
        options.pop(key, None)
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
    indexed = check_images(path, mode, outcome)
    outcome.indexed += indexed
    if indexed < len(reported):
        outcome.wrong.append(f"{mode}: {len(reported)} reported, {indexed} in the log")
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
    outcome.levels += check_levels(path, mode, outcome) > 1
    for array in groups.values():  # whole arrays too: no shard is left that a reader stumbles over
        if array.nbytes < 2**28:
            array[:]
    check_repair(path, mode, indexed, outcome)


def check_images(path: Path, mode: str, outcome: Outcome, *, bare: bool = False) -> int:
    """Every image of the log is there, in the order written; how many there are. ``bare`` ones may have no metadata."""
    with Dataset(path) as dataset:
        numbers = {frozenset(axes(i, mode).items()): i for i in range(len(dataset) + 100)}
        for row in range(len(dataset)):
            i = numbers.get(frozenset(dataset.axes_of(row).items()), -1) if bare else row
            if i < 0 or dataset.axes_of(row) != axes(i, mode):
                outcome.wrong.append(f"{mode}: row {row} is {dataset.axes_of(row)}")
            read_pixels, read_metadata = dataset.read_row(row)
            said = [{**metadata(i), "Axes": axes(i, mode)}, *([{"Axes": axes(i, mode)}] if bare else [])]
            if not np.array_equal(read_pixels, pixels(i, MODES[mode]["shapes"])) or read_metadata not in said:
                outcome.wrong.append(f"{mode}: Dataset reads image {i} differently")
        return len(dataset)


def check_repair(path: Path, mode: str, indexed: int, outcome: Outcome) -> None:
    """Repair loses nothing, and has nothing left to do; what it brings back is right."""
    dry = repair(path)
    outcome.untouched += dry.actions in ([], ["index.ndjson: ended"])
    outcome.recovered += dry.recovered
    if dry.lost or dry.images != indexed + dry.recovered or repair(path, dry_run=False).actions != dry.actions or repair(path).needed:
        outcome.wrong.append(f"{mode}: {indexed} images, {dry}, then {repair(path)}")
    check_images(path, mode, outcome, bare=True)
    check_levels(path, mode, outcome)


def check_levels(path: Path, mode: str, outcome: Outcome) -> int:
    """A level that is listed is whole, in every image of the dataset that has one; how many levels all have."""
    with Dataset(path, full_res_only=False) as dataset:
        levels = dataset.num_resolution_levels
        for level in range(1, levels):
            for i in range(len(dataset)):
                expected = pixels(i, MODES[mode]["shapes"])
                for _ in range(level):
                    expected = halve(expected)
                if not np.array_equal(dataset.read_image(**axes(i, mode), resolution_level=level), expected):  # type: ignore[call-overload]
                    outcome.wrong.append(f"{mode}: image {i} of level {level} is another one")
    for file in path.rglob("zarr.json"):
        attributes = json.loads(file.read_bytes()).get("attributes", {})
        for one in attributes.get("ome", {}).get("multiscales", [{"datasets": []}])[0]["datasets"]:
            zarr.open_array(str(file.parent / one["path"]), mode="r")
    return levels


run = functools.partial(killing.run, "tests.campaigns.kill9_omezarr", MODES, check)


if __name__ == "__main__":
    killing.main(__doc__, write, run)
