"""How long after an image is saved in one process does another hear of it: ``Dataset.watch()`` and a plain poll loop, in turn.

``python -m benchmarks.bench_live``. A process writes images at a steady rate and stamps the time at which each is reported
saved; another follows the folder and stamps the time at which it hears of each. Both use the system's monotonic clock. The
poll loop is the least there is: a thread that sleeps half a millisecond, reads what was appended, and cuts it into records.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
POLL = 0.0005


def write(folder: str, rate: float, count: int, size: int) -> None:
    """Write at a rate; print when each image was saved. A line on standard input makes it begin."""
    import numpy as np

    from aiomm.dataset import Frame, NDTiffWriter

    stamps = [0] * count

    def on_saved(frames: list[Frame]) -> None:
        now = time.monotonic_ns()
        for frame in frames:
            stamps[frame.token] = now

    pixels = np.random.default_rng(1).integers(0, 65536, (size, size), dtype=np.uint16)
    writer = NDTiffWriter(folder, "bench", on_saved=on_saved)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.monotonic()
    for i in range(count):
        time.sleep(max(0.0, start + i / rate - time.monotonic()))
        writer.put(Frame({"time": i}, pixels, {"Number": i}, token=i))
    writer.finish()
    print("RESULT", json.dumps(stamps), flush=True)


async def follow_aiomm(path: Path) -> tuple[list[int], float]:
    from aiomm.dataset import Dataset

    stamps: list[int] = []
    async with await Dataset.open(path, live=True) as dataset:
        print("ready", flush=True)
        begin = time.process_time()
        async for _ in dataset.watch():
            stamps += [time.monotonic_ns()]
        return stamps, time.process_time() - begin


def follow_plain(path: Path, count: int) -> tuple[list[int], float]:
    stamps: list[int] = []
    rest = b""
    with (path / "NDTiff.index").open("rb", buffering=0) as file:
        print("ready", flush=True)
        begin = time.process_time()
        while len(stamps) < count:
            rest += file.read(2**20) or b""
            while len(rest) >= 4:
                axes = int.from_bytes(rest[:4], "little")
                name = int.from_bytes(rest[4 + axes : 8 + axes], "little")
                if len(rest) < 40 + axes + name:
                    break
                json.loads(rest[4 : 4 + axes])
                stamps.append(time.monotonic_ns())
                rest = rest[40 + axes + name :]
            time.sleep(POLL)
        return stamps, time.process_time() - begin


def follow(name: str, folder: str, count: int) -> None:
    path = Path(folder) / "bench_1"
    stamps, cpu = asyncio.run(follow_aiomm(path)) if name == "aiomm" else follow_plain(path, count)
    print("RESULT", json.dumps({"stamps": stamps, "cpu": cpu}), flush=True)


def spawn(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.bench_live", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{arguments} did not begin")
    return process


def one(name: str, rate: float, options: argparse.Namespace) -> dict[str, Any]:
    """Latencies of every image, in ms."""
    folder = tempfile.mkdtemp(prefix="bench-live-", dir=options.data)
    count = max(20, int(rate * options.seconds))
    try:
        writer = spawn("--write", folder, "--rates", str(rate), "--count", str(count), "--size", str(options.size))
        follower = spawn("--follow", name, "--data", folder, "--count", str(count))
        saved = json.loads(writer.communicate("\n")[0].removeprefix("RESULT "))
        heard = json.loads(follower.communicate()[0].removeprefix("RESULT "))
    finally:
        shutil.rmtree(folder)
    if len(heard["stamps"]) != count:
        raise RuntimeError(f"{name}: {count} saved, {len(heard['stamps'])} heard of")
    latencies = [(there - here) / 1e6 for here, there in zip(saved, heard["stamps"], strict=True)]
    return {"latencies": latencies, "cpu": heard["cpu"] / (count / rate)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 100, 400], help="images a second")
    parser.add_argument("--size", type=int, default=512, help="pixels of an image's side")
    parser.add_argument("--data", default=".", help="a folder on the disk to measure")
    parser.add_argument("--json", help="a file for every measurement")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--follow", choices=("aiomm", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.data = str(Path(options.data).absolute())
    if options.write:
        write(options.write, options.rates[0], options.count, options.size)
        return
    if options.follow:
        follow(options.follow, options.data, options.count)
        return
    everything: dict[float, list[dict[str, Any]]] = {}
    for rate in options.rates:
        rounds = everything[rate] = []
        for number in range(options.rounds):
            names = ("aiomm", "plain") if number % 2 == 0 else ("plain", "aiomm")  # nobody always goes first
            rounds.append({name: one(name, rate, options) for name in names})
        print(f"{rate:g} images a second of {options.size}x{options.size} uint16, {options.seconds:g} s, {options.rounds} rounds")
        for name in ("aiomm", "plain"):
            latencies = sorted(value for r in rounds for value in r[name]["latencies"])
            p99 = latencies[int(0.99 * (len(latencies) - 1))]
            cpu = statistics.median(r[name]["cpu"] for r in rounds)
            wanted = " (wanted: median 2 ms)" if name == "aiomm" else ""
            print(f"  {name:6} median {statistics.median(latencies):6.2f} ms   p99 {p99:6.2f} ms   cpu {cpu * 100:4.1f} %{wanted}")
    if options.json:
        Path(options.json).write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
