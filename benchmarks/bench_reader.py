"""Opening and reading NDTiff: aiomm and ndstorage, in turn in one run.

``python -m benchmarks.bench_reader``. Each contestant reads the same datasets in a process of its own, from the page cache.
Opening is timed once per process, as a user meets it, with its memory; the imports are not counted. What is printed is the
median over the rounds, and the median of the ratios taken within each round.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS = ("DAPI", "FITC")
Result = dict[str, float]
WANTED = {"open": 10.0, "memory": 5.0, "read": 2.5, "memmapped": 10.0}


def make_dataset(folder: Path, images: int, size: int) -> Path:
    """Write (time, channel, z), 10 z and 2 channels."""
    from aiomm.dataset import Frame, NDTiffWriter

    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 65536, (size, size), dtype=np.uint16) for _ in range(16)]
    with NDTiffWriter(folder, "bench", {"PixelSize_um": 0.5}) as writer:
        for i in range(images):
            axes: dict[str, int | str] = {"time": i // 20, "channel": CHANNELS[i // 10 % 2], "z": i % 10}
            writer.put(Frame(axes, frames[i % 16], {"Exposure": 10.0}))
    return writer.path


def open_aiomm(path: Path) -> Any:
    from aiomm.dataset import Dataset

    return Dataset(path)


def open_ndstorage(path: Path) -> Any:
    import ndstorage

    with contextlib.redirect_stdout(io.StringIO()):
        return ndstorage.Dataset(str(path))


class Bare:
    """The least there is to a copy of one image found by keywords: a sum of places, memory, one call of the system."""

    def __init__(self, path: Path) -> None:
        self._dataset = open_aiomm(path)
        self._file = next(path.glob("*.tif")).open("rb", buffering=0)
        header, index = 36, (path / "NDTiff.index").read_bytes()
        self._offsets, at = array.array("I"), 0
        while at < len(index):  # records: length, axes, length, name, eight numbers, the first of which is the offset of the pixels
            at += 4 + int.from_bytes(index[at : at + 4], "little")
            at += header + int.from_bytes(index[at : at + 4], "little")
            self._offsets.append(int.from_bytes(index[at - 32 : at - 28], "little"))
        self.get_image_coordinates_list, self.close = self._dataset.get_image_coordinates_list, self._file.close
        offsets, fd, empty, preadv, channels = self._offsets, self._file.fileno(), np.empty, os.preadv, {"DAPI": 0, "FITC": 10}
        shape, dtype = (64, 64), np.dtype(np.uint16)

        def read_image(channel: str = "", z: int = 0, time: int = 0) -> Any:
            image: Any = empty(shape, dtype)
            preadv(fd, [image], offsets[20 * time + channels[channel] + z])
            return image

        self.read_image = read_image


CONTESTANTS = {"aiomm": open_aiomm, "ndstorage": open_ndstorage}
FLOORS = {"read": Bare}


def rate(read: Any, orders: list[dict[str, Any]]) -> float:
    """Images per second, best of three passes over the orders."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for order in orders:
            read(**order)
        best = min(best, time.process_time() - start)
    return len(orders) / best


def child(name: str, case: str, path: Path) -> None:
    """Do one case and print its result."""
    make = FLOORS[case] if name == "bare" else CONTESTANTS[name]
    make(path.parent / "few")  # imports, and whatever is set up once
    result: Result = {}
    if case == "open":
        start = time.process_time()
        dataset = make(path)
        result["open"] = time.process_time() - start
    elif case == "memory":
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        dataset = make(path)
        result["memory"] = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    else:
        dataset = make(path)
        keys = list(dataset.get_image_coordinates_list())
        random.Random(1).shuffle(keys)
        assert int(dataset.read_image(**keys[0]).sum()) > 0
        if case == "read":
            result["read"] = rate(dataset.read_image, keys)
        elif name == "aiomm":
            result["memmapped"] = rate(dataset.read_image, [{**key, "memmapped": True} for key in keys])
        else:
            result["memmapped"] = rate(dataset.read_image, keys)  # it has nothing else
    dataset.close()
    print("RESULT", json.dumps(result))


def one(name: str, case: str, path: Path) -> Result:
    """Run a child."""
    command = [sys.executable, "-m", "benchmarks.bench_reader", "--child", name, "--case", case, "--path", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    result: Result = json.loads(line.removeprefix("RESULT "))
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(WANTED), default=list(WANTED), help="cases")
    parser.add_argument("--data", default=".", help="a folder for the datasets")
    parser.add_argument("--json", help="a file for every measurement")
    parser.add_argument("--child", choices=[*CONTESTANTS, "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=list(WANTED), help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.child, options.case, Path(options.path))
        return
    data = Path(tempfile.mkdtemp(prefix="bench-reader-", dir=options.data)).absolute()
    rounds: list[dict[str, Result]] = []
    try:
        make_dataset(data, 20, 8).rename(data / "few")
        make_dataset(data, 100_000, 8).rename(data / "many")
        make_dataset(data, 20_000, 64).rename(data / "images")
        for number in range(options.rounds):
            names = list(CONTESTANTS) if number % 2 == 0 else list(CONTESTANTS)[::-1]  # nobody always goes first
            results: dict[str, Result] = {name: {} for name in names}
            for case in options.only:
                for name in names:
                    results[name].update(one(name, case, data / ("many" if case in ("open", "memory") else "images")))
                if case in FLOORS:
                    results.setdefault("bare", {}).update(one("bare", case, data / "images"))
            rounds.append(results)
    finally:
        shutil.rmtree(data)
    print(f"100 000 images to open, 20 000 of 64x64 to read, {options.rounds} rounds")
    units = {"open": (1e3, "ms"), "memory": (1e-6, "MB"), "read": (1e-3, "thousand/s"), "memmapped": (1e-3, "thousand/s")}
    for case in options.only:
        factor, unit = units[case]
        ours, theirs = (statistics.median(r[name][case] for r in rounds) * factor for name in CONTESTANTS)
        ratios = [r["ndstorage"][case] / r["aiomm"][case] for r in rounds]
        ratio = statistics.median(ratios if case in ("open", "memory") else [1 / value for value in ratios])
        print(f"  {case:10} aiomm {ours:8.1f}  ndstorage {theirs:8.1f} {unit:10}  better by {ratio:6.1f} (wanted {WANTED[case]:g})")
        if case in FLOORS:
            bare = statistics.median(r["bare"][case] / r["ndstorage"][case] for r in rounds)
            print(f"  {'':10} memory, preadv and nothing else: better by {bare:.1f}")
    if options.json:
        Path(options.json).write_text(json.dumps(rounds, indent=1))


if __name__ == "__main__":
    main()
