"""Whole NDTiff datasets as arrays: aiomm and ndstorage through dask, aiomm without dask and a plain ``preadv`` loop.

``python -m benchmarks.bench_arrays``. Each contestant reads the same dataset in a process of its own, from the page cache, into
new memory each time. What is printed is the median over the rounds, and the median of the ratios taken within each round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_reader import make_dataset, open_aiomm, open_ndstorage

CASES = {"64x64": (20_000, 64), "512x512": (600, 512)}
WANTED = {("64x64", "dask"): 40.0, ("512x512", "dask"): 4.0, ("64x64", "direct"): 0.8, ("512x512", "direct"): 0.8}
Read = Callable[[], np.ndarray]


def dask_aiomm(path: Path) -> Read:
    dataset = open_aiomm(path)
    return lambda: np.asarray(dataset.as_array())


def dask_ndstorage(path: Path) -> Read:
    dataset = open_ndstorage(path)
    return lambda: np.asarray(dataset.as_array())


def direct_aiomm(path: Path) -> Read:
    dataset = open_aiomm(path)
    read: Read = dataset.to_numpy
    return read


def direct_preadv(path: Path) -> Read:
    """What one would write by hand, the places of the images known."""
    from aiomm.dataset.ndtiff.table import PIXELS

    dataset = open_aiomm(path)
    store = dataset._store
    offsets = store.table.take(np.arange(len(dataset)))[:, PIXELS].tolist()
    shape, dtype = store.shape_of(0)
    fd = os.open(path / store.files[0], os.O_RDONLY)

    def read() -> np.ndarray:
        out = np.empty((len(offsets), *shape), dtype)
        for i, offset in enumerate(offsets):
            os.preadv(fd, [out[i]], offset)
        return out

    return read


CONTESTANTS: dict[str, Callable[[Path], Read]] = {
    "dask aiomm": dask_aiomm,
    "dask ndstorage": dask_ndstorage,
    "direct aiomm": direct_aiomm,
    "direct preadv": direct_preadv,
}


def child(name: str, path: Path) -> None:
    """Read three times (ndstorage once: it takes seconds) and print the shortest time."""
    read = CONTESTANTS[name](path)
    for file in path.glob("*.tif"):
        file.read_bytes()
    best = float("inf")
    small: Any = CONTESTANTS[name](path.parent / "few")
    small()  # imports, and whatever is set up once
    for _ in range(1 if "ndstorage" in name and path.name == "64x64" else 3):
        start = time.perf_counter()
        array = read()
        best = min(best, time.perf_counter() - start)
        assert array.reshape(-1)[-1000:].any()
        del array
    print("RESULT", json.dumps(best))


def one(name: str, path: Path) -> float:
    """Run a child."""
    command = [sys.executable, "-m", "benchmarks.bench_arrays", "--child", name, "--path", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return float(json.loads(line.removeprefix("RESULT ")))


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--data", default=".", help="a folder for the datasets")
    parser.add_argument("--json", help="a file for every measurement")
    parser.add_argument("--child", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.child, Path(options.path))
        return
    data = Path(tempfile.mkdtemp(prefix="bench-arrays-", dir=options.data)).absolute()
    rounds: list[dict[str, dict[str, float]]] = []
    try:
        make_dataset(data, 20, 8).rename(data / "few")
        for case, (images, size) in CASES.items():
            make_dataset(data, images, size).rename(data / case)
        for number in range(options.rounds):
            names = options.only if number % 2 == 0 else options.only[::-1]  # nobody always goes first
            rounds.append({case: {name: one(name, data / case) for name in names} for case in CASES})
    finally:
        shutil.rmtree(data)
    for case, (images, size) in CASES.items():
        print(f"{images} images of {case}, {options.rounds} rounds")
        megabytes = images * size * size * 2 / 1e6
        for name in options.only:
            seconds = statistics.median(r[case][name] for r in rounds)
            print(f"  {name:15} {seconds * 1e3:8.1f} ms {megabytes / seconds:7.0f} MB/s")
        for way, peer in (("dask", "ndstorage"), ("direct", "preadv")):
            if {f"{way} aiomm", f"{way} {peer}"} <= set(options.only):
                ratio = statistics.median(r[case][f"{way} {peer}"] / r[case][f"{way} aiomm"] for r in rounds)
                print(f"  {way}: {ratio:.2f} times {peer} (wanted {WANTED[case, way]:g})")
    if options.json:
        Path(options.json).write_text(json.dumps(rounds, indent=1))


if __name__ == "__main__":
    main()
