"""Sustained durable OME-Zarr writing: aiomm, acquire-zarr, ome-writers on tensorstore, and a plain file, in turn in one run.

``python -m benchmarks.bench_omezarr --peer-python /a/venv/bin/python``. Each contestant writes the same frames, sharded, one
chunk per image, in a process of its own, to the disk of the working directory (or ``--data``). The clock runs from the first
frame until everything is on the device: the writer is finished and ``fdatasync`` of its files has returned. What is printed
is the median over the rounds, and the median of the ratios taken within each round.
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
from pathlib import Path

import numpy as np

from benchmarks.disk import Result, measure, run_raw, sync_all

SHARD = 64 * 2**20


def run_aiomm(folder: Path, frames: list[np.ndarray], count: int) -> Result:
    from aiomm.dataset import Frame, OmeZarrWriter

    writer = OmeZarrWriter(folder, "bench", {"PixelSize_um": 0.5}, shard_bytes=SHARD)
    metadata = {"Exposure": 10.0, "BitDepth": 16}

    def finish() -> None:
        writer.finish()
        sync_all(folder)

    return measure(lambda i: writer.put(Frame({"time": i}, frames[i % len(frames)], metadata)), finish, count)


def run_acquire_zarr(folder: Path, frames: list[np.ndarray], count: int) -> Result:
    import acquire_zarr as az

    y, x = frames[0].shape
    dimensions = [
        az.Dimension(name="t", kind=az.DimensionType.TIME, array_size_px=0, chunk_size_px=1, shard_size_chunks=SHARD // frames[0].nbytes),
        az.Dimension(name="y", kind=az.DimensionType.SPACE, array_size_px=y, chunk_size_px=y, shard_size_chunks=1),
        az.Dimension(name="x", kind=az.DimensionType.SPACE, array_size_px=x, chunk_size_px=x, shard_size_chunks=1),
    ]
    arrays = [az.ArraySettings(dimensions=dimensions, data_type=az.DataType.UINT16)]
    stream = az.ZarrStream(az.StreamSettings(store_path=str(folder / "bench.zarr"), arrays=arrays, overwrite=True))

    def finish() -> None:
        stream.close()
        sync_all(folder)

    return measure(lambda i: stream.append(frames[i % len(frames)]), finish, count)


def run_ome_writers(folder: Path, frames: list[np.ndarray], count: int, shard: int | None = SHARD) -> Result:
    import ome_writers as ow

    y, x = frames[0].shape
    settings = ow.AcquisitionSettings(
        root_path=str(folder / "bench.ome.zarr"),
        dimensions=[
            ow.Dimension(name="t", count=count, chunk_size=1, shard_size_chunks=shard and shard // frames[0].nbytes, type="time"),
            ow.Dimension(name="y", count=y, chunk_size=y, shard_size_chunks=shard and 1, type="space"),
            ow.Dimension(name="x", count=x, chunk_size=x, shard_size_chunks=shard and 1, type="space"),
        ],
        dtype="uint16",
        format=ow.OmeZarrFormat(backend="tensorstore"),
        compression=None,
        overwrite=True,
    )
    stream = ow.create_stream(settings)

    def finish() -> None:
        stream.close()
        sync_all(folder)

    return measure(lambda i: stream.append(frames[i % len(frames)]), finish, count)


def run_ome_writers_unsharded(folder: Path, frames: list[np.ndarray], count: int) -> Result:
    """One file per image: tensorstore reads a shard and writes it again for each image that comes alone."""
    return run_ome_writers(folder, frames, count, None)


CONTESTANTS = {
    "aiomm": run_aiomm,
    "acquire-zarr": run_acquire_zarr,
    "ome-writers": run_ome_writers,
    "ome-writers, unsharded": run_ome_writers_unsharded,
    "raw": run_raw,
}
PEERS = ("acquire-zarr", "ome-writers", "ome-writers, unsharded")


def child(name: str, size: int, gigabytes: float, data: str) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 65536, (size, size), dtype=np.uint16) for _ in range(16)]
    count = int(gigabytes * 1e9) // frames[0].nbytes
    folder = Path(tempfile.mkdtemp(prefix="bench-omezarr-", dir=data))
    try:
        result = CONTESTANTS[name](folder, frames, count)
    finally:
        shutil.rmtree(folder)
    result["rate"] = frames[0].nbytes * count / result["seconds"] / 1e6
    print("RESULT", json.dumps(result))


def one(name: str, size: int, options: argparse.Namespace) -> Result | None:
    """Run one contestant; None, after saying why, if it cannot run here."""
    os.sync()  # nobody pays for what the one before left behind
    arguments = ["--child", name, "--sizes", str(size), "--gigabytes", str(options.gigabytes), "--data", options.data]
    python = options.peer_python if name in PEERS else sys.executable
    command = [python, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        print(f"  {name} is left out: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
        return None
    return dict(json.loads(line.removeprefix("RESULT ")))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 512])
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has acquire-zarr and ome-writers")
    parser.add_argument("--data", default=".", help="a folder on the disk to measure")
    parser.add_argument("--json", help="a file for every measurement")
    parser.add_argument("--child", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.data = str(Path(options.data).absolute())
    if options.child:
        child(options.child, options.sizes[0], options.gigabytes, options.data)
        return
    everything = {}
    for size in options.sizes:
        rounds: list[dict[str, Result]] = []
        for number in range(options.rounds):
            names = options.only if number % 2 == 0 else options.only[::-1]  # nobody always goes first
            rounds.append({name: result for name in names if (result := one(name, size, options)) is not None})
        everything[size] = rounds
        print(f"{size}x{size} uint16, {options.gigabytes:g} GB, {options.rounds} rounds")
        there = [name for name in options.only if all(name in r for r in rounds)]
        for name in there:
            rate, cpu, worst = (statistics.median(r[name][key] for r in rounds) for key in ("rate", "cpu", "worst"))
            print(f"  {name:22} {rate:7.0f} MB/s   cpu {cpu * 1e3:6.3f} ms/frame   worst put {worst * 1e3:6.1f} ms")
        if "aiomm" in there:
            for other in there[1:]:
                ratio = statistics.median(r["aiomm"]["rate"] / r[other]["rate"] for r in rounds)
                print(f"  aiomm / {other}: {ratio:.2f}" + (" (wanted 1.0)" if other in PEERS else ""))
    if options.json:
        Path(options.json).write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
