"""Sustained durable NDTiff writing: aiomm, ndstorage, and a plain O_DIRECT file, in turn in one run.

``python -m benchmarks.bench_writer``. Each contestant writes the same frames in a process of its own, to the disk of the
working directory (or ``--data``). The clock runs from the first frame until everything is on the device: the writer is
finished and ``fdatasync`` of its files has returned. What is printed is the median over the rounds, and the median of the
ratios taken within each round.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.disk import Result, measure, run_raw, sync_all

METADATA = {f"Device{i}-Property{i}": f"value {i}" for i in range(110)} | {"Exposure": 10.0, "BitDepth": 16, "PixelType": "GRAY16"}


def run_aiomm(folder: Path, frames: list[np.ndarray], count: int, queue_size: int) -> Result:
    from aiomm.dataset import Frame, NDTiffWriter

    writer = NDTiffWriter(folder, "bench", {"PixelSize_um": 0.5}, queue_size=queue_size)

    def finish() -> None:
        writer.finish()
        sync_all(writer.path)

    return measure(lambda i: writer.put(Frame({"time": i}, frames[i % len(frames)], METADATA)), finish, count)


def run_ndstorage(folder: Path, frames: list[np.ndarray], count: int, queue_size: int) -> Result:
    from ndstorage import NDTiffDataset

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = NDTiffDataset(str(folder), name="bench", summary_metadata={"PixelSize_um": 0.5}, writable=True)

        def finish() -> None:
            dataset.finish()
            dataset.close()
            sync_all(folder)

        return measure(lambda i: dataset.put_image({"time": i}, frames[i % len(frames)], {**METADATA, "Axes": {"time": i}}), finish, count)


def run_plain(folder: Path, frames: list[np.ndarray], count: int, queue_size: int) -> Result:
    return run_raw(folder, frames, count)


CONTESTANTS = {"aiomm": run_aiomm, "ndstorage": run_ndstorage, "raw": run_plain}


def child(name: str, size: int, gigabytes: float, queue_size: int, data: str) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 65536, (size, size), dtype=np.uint16) for _ in range(16)]
    count = int(gigabytes * 1e9) // frames[0].nbytes
    folder = Path(tempfile.mkdtemp(prefix="bench-writer-", dir=data))
    try:
        result = CONTESTANTS[name](folder, frames, count, queue_size)
    finally:
        shutil.rmtree(folder)
    result["rate"] = frames[0].nbytes * count / result["seconds"] / 1e6
    print("RESULT", json.dumps(result))


def one(name: str, size: int, options: argparse.Namespace) -> Result:
    os.sync()  # nobody pays for what the one before left behind
    arguments = ["--child", name, "--sizes", str(size), "--gigabytes", str(options.gigabytes), "--queue", str(options.queue)]
    command = [sys.executable, "-m", "benchmarks.bench_writer", *arguments, "--data", options.data]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    result: Result = json.loads(line.removeprefix("RESULT "))
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 512])
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--queue", type=int, default=20, help="aiomm's queue_size, in frames")
    parser.add_argument("--data", default=".", help="a folder on the disk to measure")
    parser.add_argument("--json", help="a file for every measurement")
    parser.add_argument("--child", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.data = str(Path(options.data).absolute())
    if options.child:
        child(options.child, options.sizes[0], options.gigabytes, options.queue, options.data)
        return
    everything = {}
    for size in options.sizes:
        rounds: list[dict[str, Result]] = []
        for number in range(options.rounds):
            names = options.only if number % 2 == 0 else options.only[::-1]  # nobody always goes first
            rounds.append({name: one(name, size, options) for name in names})
        everything[size] = rounds
        print(f"{size}x{size} uint16, {options.gigabytes:g} GB, {options.rounds} rounds")
        for name in options.only:
            rate, cpu, worst = (statistics.median(r[name][key] for r in rounds) for key in ("rate", "cpu", "worst"))
            print(f"  {name:10} {rate:7.0f} MB/s   cpu {cpu * 1e3:6.3f} ms/frame   worst put {worst * 1e3:6.1f} ms")
        for other, wanted in (("ndstorage", 2.0 if size >= 2048 else 1.5), ("raw", 0.9 if size >= 2048 else None)):
            if "aiomm" in options.only and other in options.only:
                ratio = statistics.median(r["aiomm"]["rate"] / r[other]["rate"] for r in rounds)
                print(f"  aiomm / {other}: {ratio:.2f}" + (f" (wanted {wanted})" if wanted else ""))
    if options.json:
        Path(options.json).write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
