"""Spoil the index and the TIFF files of datasets, by seed, and read what is left.

What must hold of each case, whatever was spoilt:

* Each call ends with what it returns or with an error of the `DatasetError` family, never another exception; an array of
  images that now differ, or lie too far apart, is refused as a `ValueError`.
* An image whose record in the index is untouched reads exactly as the bytes that stand at its place in the file now, or is
  refused because the file ends before. So it is equal to what was written if its pixels are untouched too.
* Memory stays in proportion to the files.

The format has no checksums. A record whose bytes were changed may therefore name other axes, or another place in the same
file, without any contradiction: then the image that it names is another one, and nobody can know. For such a record the one
promise is that it reads bytes of that file, or is refused. If it now has the axes of another image and comes later, it stands
for that image, as a later record always does; the checks leave such axes out. Pixels that were changed in place are what the
file holds.

``python -m tests.campaigns.fuzz_dataset --cases 5000``.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import struct
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.errors import DatasetError
from tests.dataset.support import image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MEMORY = 40 * 2**20
"""Bytes that a case may take at most; the datasets have some hundred kilobytes."""

_PLACE = struct.Struct("<8I")
_U32 = struct.Struct("<I")
_ODD = (0, 1, 3, 4, 255, 4095, 65535, 10**6, 2**31 - 1, 2**31, 2**32 - 1)
_NO_AXES = (
    b"{}", b"[]", b'{"time":null}', b'{"time":1e400}', b'{"time":[[]]}', b"{" * 50, b'{"time":' + b"9" * 30 + b"}", b'{"time":true}',
    b'{"row":1000000000,"column":-5}', b'{"a":1,"b":2,"time":0}', b'{"\\ud800":"\\udfff"}', b"\xff\xfe", b'{"time":9223372036854775807}',
)  # fmt: skip


@dataclass
class Outcome:
    """What came of the cases."""

    cases: int = 0
    refused: int = 0
    images_right: int = 0
    images_refused: int = 0
    memory: int = 0
    """Bytes that the case with most of them took."""
    slowest: tuple[float, int] = 0.0, 0
    """Seconds of the processor that the slowest case took, and its seed."""
    failures: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def make_datasets(folder: Path) -> list[Path]:
    """Write the datasets that are spoilt: grey and packed, RGB in several files, aligned, tiled, of ndstorage."""
    made = []
    with NDTiffWriter(folder, "grey", {"a": "µ"}) as writer:
        for i in range(24):
            axes: dict[str, int | str] = {"time": i // 4, "channel": ("DAPI", "µ")[i % 2], "z": i // 2 % 2 - 1}
            writer.put(Frame(axes, image(i, (9, 7)), {"n": i}, 12))
    made.append(writer.path)
    with NDTiffWriter(folder, "rgb", {}, file_limit=120_000) as writer:
        for i in range(12):
            writer.put(Frame({"time": i}, image(i, (60, 90), "rgb"), {"n": i}))
    made.append(writer.path)
    with NDTiffWriter(folder, "large") as writer:
        for i in range(4):
            writer.put(Frame({"z": -i, "channel": i % 2}, image(i, (200, 301)), {"n": i, "Channel": "abc"[i % 2]}))
    made.append(writer.path)
    with NDTiffWriter(folder, "full", {"GridPixelOverlapX": 2, "GridPixelOverlapY": 3}) as writer:
        for i in range(9):
            writer.put(Frame({"row": i // 3 - 1, "column": i % 3}, image(i, (16, 16), np.uint8), {"n": i}))
    with NDTiffWriter(folder, "low") as low:
        for i in range(4):
            low.put(Frame({"row": i // 2 - 1, "column": i % 2}, image(i, (13, 14), np.uint8), {"n": i}))
    tiled = folder / "tiled"
    tiled.mkdir()
    writer.path.rename(tiled / "Full resolution")
    low.path.rename(tiled / "Downsampled_x2")
    made.append(tiled)
    from ndstorage import NDTiffDataset

    with redirect_stdout(io.StringIO()):
        theirs = NDTiffDataset(str(folder), name="theirs", summary_metadata={"b": 1}, writable=True)
        for i in range(10):
            theirs.put_image({"channel": "ab"[i % 2], "time": i // 2}, image(i, (12, 11)), {"n": i})
        reader = theirs.current_writer.reader
        theirs.finish()
        reader.close()
        theirs.close()
    made.append(folder / "theirs_1")
    return made


def records_of(data: bytes) -> list[bytes]:
    """Part a whole index into its records."""
    records, at = [], 0
    while at + 4 <= len(data) and (axes := _U32.unpack_from(data, at)[0]):
        end = at + 4 + axes
        end += 4 + _U32.unpack_from(data, end)[0] + _PLACE.size
        records.append(data[at:end])
        at = end
    return records


def _number(rng: random.Random) -> bytes:
    return _U32.pack(rng.choice((*_ODD, rng.randrange(2**32), rng.randrange(5000))))


def spoil_bytes(rng: random.Random, data: bytearray) -> None:
    """Change, cut or insert bytes anywhere."""
    way = rng.choice(("flip", "flip", "set", "number", "number", "cut end", "cut out", "insert", "zeros", "append"))
    at = rng.randrange(len(data))
    if rng.random() < 0.5:
        at = rng.randrange(min(len(data), 400))  # what frames the images is there, and at the begin of each
    if way == "flip":
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data)) if rng.random() < 0.5 else at] ^= 1 << rng.randrange(8)
    elif way == "set":
        data[at : at + 1] = bytes([rng.randrange(256)])
    elif way == "number":
        data[at : at + 4] = _number(rng)
    elif way == "cut end":
        del data[at:]
    elif way == "cut out":
        del data[at : at + rng.choice((1, 2, 4, 40, 1000))]
    elif way == "insert":
        data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 40)))
    elif way == "zeros":
        data[at : at + rng.choice((4, 100, len(data)))] = bytes(rng.choice((4, 100)))
    else:
        data += rng.randbytes(rng.choice((1, 3, 4, 100))) if rng.random() < 0.5 else bytes(10_000)


def spoil_records(rng: random.Random, data: bytearray) -> None:
    """Swap, repeat, drop or misstate whole records."""
    records = records_of(bytes(data))
    way = rng.choice(("swap", "shuffle", "repeat", "drop", "length", "place", "axes", "name"))
    one, other = rng.randrange(len(records)), rng.randrange(len(records))
    record = records[one]
    axes_end = 4 + _U32.unpack_from(record)[0]
    if way == "swap":
        records[one], records[other] = records[other], records[one]
    elif way == "shuffle":
        rng.shuffle(records)
    elif way == "repeat":
        records.insert(other, record)
    elif way == "drop":
        del records[one]
    elif way == "length":
        at = rng.choice((0, axes_end))
        records[one] = record[:at] + _number(rng) + record[at + 4 :]
    elif way == "place":
        at = len(record) - _PLACE.size + 4 * rng.randrange(8)
        records[one] = record[:at] + _number(rng) + record[at + 4 :]
    elif way == "axes":
        text = rng.choice(_NO_AXES)
        records[one] = _U32.pack(len(text)) + text + record[axes_end:]
    else:
        name = rng.choice((b"/etc/passwd", b"..", b"nothing.tif", b"\0", b"\xff.tif", b"x" * 300, b"NDTiff.index", b"."))
        records[one] = record[:axes_end] + _U32.pack(len(name)) + name + record[-_PLACE.size :]
    data[:] = b"".join(records)


def read_all(path: Path, note: Callable[[BaseException], None]) -> Iterable[tuple[int, dict[str, Any], list[Any]]]:
    """Do all that a user may; give of each image its level, axes, and its pixels and metadata or errors."""
    with Dataset(path, full_res_only=False) as dataset:
        repr(dataset)

        def attempt(do: Callable[[], Any]) -> Any:
            try:
                return do()
            except DatasetError as error:
                note(error)
                return error

        attempt(dataset.get_channel_names)
        attempt(lambda: dataset.finished)
        for level in range(dataset.num_resolution_levels):
            keys = dataset.get_index_keys(level)
            for axes in keys:
                given: dict[str, Any] = {**axes, "resolution_level": level}
                ways: list[Callable[[], Any]] = [
                    lambda given=given: dataset.read_image(**given),
                    lambda given=given: np.array(dataset.read_image(**given, memmapped=True)),
                    lambda given=given: dataset.read_metadata(**given),
                ]
                yield level, axes, [attempt(way) for way in ways]
            for options in ({}, {"stitched": True}):
                try:
                    array: Any = attempt(lambda level=level, options=options: dataset.as_array(res_level=level, **options))
                    if not isinstance(array, DatasetError) and array.nbytes < 2**22:
                        attempt(lambda array=array: np.asarray(array))
                except ValueError as error:
                    if not any(text in str(error) for text in ("differ", "far apart", "make no one array", "overlap", "some images have")):
                        raise
                    note(error)


def check(path: Path, before: dict[Path, bytes], outcome: Outcome) -> None:
    """Read a spoilt dataset, and compare it to the bytes that are there."""
    levels = [path / name if (path / name).is_dir() else path for name in ("Full resolution", "Downsampled_x2")]

    def note(error: BaseException) -> None:
        outcome.errors[type(error).__name__] += 1

    now = [folder.joinpath("NDTiff.index").read_bytes() for folder in levels]
    intact: list[dict[str, bytes]] = []
    for folder, data in zip(levels, now, strict=True):
        found: dict[str, bytes] = {}
        for record in records_of(before[folder / "NDTiff.index"]):
            if record in data:
                length = _U32.unpack_from(record)[0]
                found[_name(json.loads(record[4 : 4 + length]))] = record
        intact.append(found)
    files: dict[Path, bytes] = {}
    for level, axes, (pixels, mapped, metadata) in read_all(path, note):
        record = intact[level].get(_name(axes))
        if record is None or _claims(now[level], axes) != 1:
            continue
        length = _U32.unpack_from(record)[0]
        file = levels[level] / record[8 + length : -_PLACE.size].decode()
        offset, width, height, kind, _, at, size, _ = _PLACE.unpack(record[-_PLACE.size :])
        if file not in files:
            files[file] = file.read_bytes()
        count = width * height * (3 if kind == 2 else 1 if kind == 0 else 2)
        want = files[file][offset : offset + count]
        for got in (pixels, mapped):
            if isinstance(got, DatasetError):
                outcome.images_refused += 1
                if len(want) == count:
                    raise AssertionError(f"{axes} is whole, but: {got}")
            elif got.tobytes() != want:
                raise AssertionError(f"{axes} has other pixels than the file")
            else:
                outcome.images_right += 1
        if not isinstance(metadata, DatasetError):
            text = files[file][at : at + size]
            if metadata != json.loads(text.decode("utf-8", "replace")) and text == before[file][at : at + size]:
                raise AssertionError(f"{axes} has other metadata than the file")


def _name(axes: dict[str, Any]) -> str:
    return json.dumps(sorted(axes.items()))


def _claims(data: bytes, axes: dict[str, Any]) -> int:
    """How many records of an index have these axes, whatever else is wrong."""
    count, wanted = 0, _name(axes)
    at = data.find(b"{")
    while at >= 0:
        end = data.find(b"}", at)
        try:
            count += _name(json.loads(data[at : end + 1])) == wanted
        except (ValueError, AttributeError, TypeError, RecursionError):
            pass
        at = data.find(b"{", at + 1)
    return count


def run(folder: Path, seeds: Iterable[int]) -> Outcome:
    """Run cases; each is known by its seed."""
    outcome = Outcome()
    sources = folder / "whole"
    sources.mkdir()
    datasets = make_datasets(sources)
    before = {path: path.read_bytes() for dataset in datasets for path in dataset.rglob("*") if path.is_file()}
    for seed in seeds:
        rng = random.Random(seed)
        source = rng.choice(datasets)
        path = folder / "spoilt"
        shutil.copytree(source, path)
        files = [file for file in path.rglob("*") if file.name == "NDTiff.index"]
        if rng.random() < 0.4:
            files = list(path.rglob("*.tif"))
        target = rng.choice(sorted(files))
        data = bytearray(target.read_bytes())
        try:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                if not data:
                    break
                spoil = spoil_records if target.name == "NDTiff.index" and rng.random() < 0.5 else spoil_bytes
                try:
                    spoil(rng, data)
                except (struct.error, ValueError):  # no longer records
                    spoil_bytes(rng, data)
            target.write_bytes(data)
            outcome.cases += 1
            _one(path, {path / file.relative_to(source): old for file, old in before.items() if file.is_relative_to(source)}, outcome, seed)
        finally:
            shutil.rmtree(path)
    return outcome


def _one(path: Path, before: dict[Path, bytes], outcome: Outcome, seed: int) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        check(path, before, outcome)
    except DatasetError as error:
        outcome.refused += 1
        outcome.errors[type(error).__name__] += 1
    except Exception as error:
        outcome.failures.append(f"seed {seed}: {type(error).__name__}: {error!s:.300}")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        outcome.memory = max(outcome.memory, peak)
        outcome.slowest = max(outcome.slowest, (time.process_time() - began, seed))
    if peak > MEMORY:
        outcome.failures.append(f"seed {seed}: it took {peak} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1000, help="of the first case; the others follow")
    parser.add_argument("--data", default=None, help="a folder on the disk to use")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        outcome = run(Path(folder), range(options.seed, options.seed + options.cases))
    print(outcome)
    sys.exit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
