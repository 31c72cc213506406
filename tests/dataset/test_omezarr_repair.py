"""Repair of OME-Zarr: what is whole comes back on its own axes, a killed writer's dataset needs its end only, a dry run changes nothing."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import random
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
import zarr

from aiomm.dataset import Dataset, Frame, OmeZarrWriter, RepairReport, damage, repair
from aiomm.dataset.omezarr.pyramid import build_levels
from aiomm.errors import DatasetFormatError, StorageError, UnsupportedError
from tests.dataset.support import image, same
from tests.dataset.test_omezarr import stored

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = {"PixelSize_um": 0.5, "Prefix": "x"}
CHANNELS = ["DAPI", "FITC", "Cy5"]
WHO_WRITES = damage.who_writes


@pytest.fixture(autouse=True)
def nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at all processes takes longer than all the rest."""
    monkeypatch.setattr(damage, "who_writes", lambda _: None)


def place(kind: str, i: int) -> dict[str, Any]:
    if kind == "plain":
        return {"time": i // 6, "channel": CHANNELS[i % 3], "z": i // 3 % 2}
    if kind == "odd order":  # times from the last to the first, one of them far, one negative
        return {"time": [7, 3, -1, 5000, 0][i // 6 % 5] + 20 * (i // 30), "channel": CHANNELS[2 - i % 3], "angle": i % 6 // 3}
    if kind == "positions":
        return {"position": i % 3, "time": i // 3}
    if kind == "plate":
        return {"position": ["A1", "A2-Site_0", "A2-Site_1", "C11", "elsewhere"][i % 5], "time": i // 5}
    return {"time": i}


def frame(kind: str, i: int) -> Frame:
    text = {"Number": i, "Text": "x" * (i * 37 % 300), "ElapsedTime-ms": 100.0 * i}
    if kind == "mixed":
        if i % 4 == 3:
            return Frame(place(kind, i), image(i, (20, 30), "rgb"), text)
        return Frame(place(kind, i), image(i, [(20, 30), (31, 33)][i % 2]), text)
    return Frame(place(kind, i), image(i, (20, 30)), text)


KINDS = ["plain", "odd order", "positions", "plate", "mixed"]
COUNT = 36
ENDED = "index.ndjson: ended"


def write(folder: Path, kind: str = "plain", count: int = COUNT, **options: Any) -> Path:
    with OmeZarrWriter(folder, kind.replace(" ", "-"), SUMMARY, **{"shard_bytes": 12_000, **options}) as writer:
        for i in range(count):
            writer.put(frame(kind, i))
    return writer.path


def state(path: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in path.rglob("*") if file.is_file()}


def check(path: Path, kind: str = "plain", numbers: Any = range(COUNT), *, bare: Any = ()) -> None:
    """These images are there and right, and no others, for aiomm and for zarr-python; ``bare`` have lost their metadata."""
    with Dataset(path) as dataset:
        assert len(dataset.get_index_keys()) == len(numbers)
        for i in numbers:
            wanted = frame(kind, i)
            axes: Any = wanted.axes
            pixels, metadata = dataset.read_image(**axes, read_metadata=True)
            assert same(pixels, wanted.pixels)
            assert metadata == ({} if i in bare else wanted.metadata) | {"Axes": wanted.axes}
    for axes, pixels in stored(path):
        assert any(frame(kind, i).axes == axes and same(frame(kind, i).pixels, pixels) for i in numbers)


def mend(path: Path) -> RepairReport:
    """Repair; what the dry run says is done, and nothing is left to do."""
    before = state(path)
    dry = repair(path)
    assert state(path) == before
    done = repair(path, dry_run=False)
    assert dry.actions == done.actions
    assert done.applied == done.needed
    again = repair(path)
    assert not again.needed, again
    assert again.images == done.images
    return done


def cut(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate(at)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_repair(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    assert str(repair(path, dry_run=False)) == f"{path}: nothing to repair, {COUNT} images are whole"
    check(path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_writer_leaves_nothing_but_the_end(tmp_path: Path, kind: str) -> None:
    """What is on the disk at any moment between two batches, with the last line torn too."""
    with OmeZarrWriter(tmp_path, "x", SUMMARY, queue_size=1, shard_bytes=12_000) as writer:
        for i in range(7):
            writer.put(frame(kind, i))
            while len(writer.dataset) <= i:
                pass
            shutil.copytree(writer.path, tmp_path / "killed")
            with (tmp_path / "killed" / "index.ndjson").open("ab") as log:
                log.write(b'{"axes":{"ti')
            report = repair(tmp_path / "killed")
            assert report.actions[-1] == ENDED
            assert all("longer than its images" in action for action in report.actions[:-1])
            assert not report.problems
            assert report.images == i + 1
            if i == 6:
                with Dataset(tmp_path / "killed") as before:
                    assert not before.finished
                    mend(tmp_path / "killed")
                    after = Dataset(tmp_path / "killed")
                    assert after.finished
                    assert after.get_index_keys() == before.get_index_keys()
            shutil.rmtree(tmp_path / "killed")


def test_arrays_of_a_killed_writer_are_as_long_as_their_images(tmp_path: Path) -> None:
    """While it writes they are longer, so that not every image writes their metadata."""
    with OmeZarrWriter(tmp_path, "x", SUMMARY, queue_size=1) as writer:
        for i in range(40):
            writer.put(Frame({"time": i}, image(i), {}))
            while len(writer.dataset) <= i:
                pass
        shutil.copytree(writer.path, tmp_path / "killed")
    path = tmp_path / "killed"
    assert json.loads((path / "0" / "zarr.json").read_bytes())["shape"][0] > 40
    assert "0/zarr.json: written again, it was longer than its images" in mend(path).actions
    assert (path / "0" / "zarr.json").read_bytes() == (writer.path / "0" / "zarr.json").read_bytes()
    assert Dataset(path).finished


async def test_who_watches_a_killed_writer_hears_of_the_end(tmp_path: Path) -> None:
    def killed() -> Path:
        path = write(tmp_path)
        log = path / "index.ndjson"
        log.write_bytes(log.read_bytes().removesuffix(b'{"finished":true}\n'))
        return path

    path = await asyncio.to_thread(killed)
    async with await Dataset.open(path, live=True) as dataset:
        watch = dataset.watch(timeout=30)
        for _ in range(COUNT):
            await anext(watch)
        waiting = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert (await asyncio.to_thread(repair, path, False)).actions == [ENDED]
        assert await waiting is None
        assert dataset.finished
        assert len(dataset) == COUNT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [None, 0, 300, 2901])
def test_the_log_is_cut(tmp_path: Path, kind: str, left: int | None) -> None:
    path = write(tmp_path, kind)
    log = path / "index.ndjson"
    if left is None:
        log.unlink()
    else:
        cut(log, left)
    old = None if left is None else log.read_bytes()
    report = mend(path)
    assert report.images == COUNT
    assert report.recovered > 0
    assert not report.lost
    assert not report.problems
    check(path, kind)
    assert Dataset(path).finished
    kept = path / "index.ndjson.before-repair"
    assert (kept.read_bytes() if kept.exists() else None) == old


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [None, 4001])
def test_the_metadata_is_cut(tmp_path: Path, kind: str, left: int | None) -> None:
    path = write(tmp_path, kind)
    file = path / "frames.ndjson"
    whole = file.read_bytes()
    if left is None:
        file.unlink()
    else:
        cut(file, left)
    report = mend(path)
    assert (report.images, report.recovered, report.lost) == (COUNT, 0, 0)
    check(path, kind, bare=range(whole[: left or 0].count(b"\n"), COUNT))


@pytest.mark.parametrize("kind", ["plain", "positions", "mixed"])
def test_both_logs_are_cut(tmp_path: Path, kind: str) -> None:
    """Images that nothing tells of stay in the shards; those on axes whose every value is known come back without metadata."""
    path = write(tmp_path, kind)
    lines = (path / "index.ndjson").read_bytes().splitlines(keepends=True)
    (path / "index.ndjson").write_bytes(b"".join(lines[:9]))
    frames = (path / "frames.ndjson").read_bytes().splitlines(keepends=True)
    (path / "frames.ndjson").write_bytes(b"".join(frames[:10]) + frames[10][:20])
    report = mend(path)
    assert not report.lost
    with Dataset(path) as dataset:
        assert 10 <= len(dataset) <= COUNT
        for row in range(len(dataset)):
            (number,) = (i for i in range(COUNT) if frame(kind, i).axes == dataset.axes_of(row))
            assert same(dataset.read_row(row)[0], frame(kind, number).pixels)
        if len(dataset) < COUNT:
            assert any("do not say their axes" in text for text in report.problems)


def test_an_image_without_log_and_metadata_comes_back_where_its_axes_are_known(tmp_path: Path) -> None:
    path = write(tmp_path)
    for name in ("index.ndjson", "frames.ndjson"):
        lines = [line for line in (path / name).read_bytes().splitlines(keepends=True) if b"finished" not in line]
        (path / name).write_bytes(b"".join(lines[:-1]))  # the last time point has other images
    report = mend(path)
    assert (report.images, report.recovered, report.problems) == (COUNT, 1, [])
    check(path, bare=[COUNT - 1])


@pytest.mark.parametrize("kind", KINDS)
def test_indexes_of_shards_are_damaged(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    shards = sorted(file for file in path.rglob("c/**/0") if file.is_file())
    for number, shard in enumerate(shards):
        with shard.open("r+b") as file:
            file.seek(number % 3 * 16)
            file.write(b"damaged")
    report = mend(path)
    assert (report.images, report.recovered, report.lost) == (COUNT, 0, 0)
    check(path, kind)
    assert len(list(path.rglob("c/**/0.before-repair"))) == len(shards)


def test_shards_are_cut_and_missing(tmp_path: Path) -> None:
    path = write(tmp_path)
    places: dict[str, list[int]] = {}
    with Dataset(path) as dataset:
        store: Any = dataset._store
        for row in range(COUNT):
            places.setdefault(store.shards[store._table[row, 1]], []).append(row)
    first, second, third, *_ = places
    (path / first).unlink()
    cut(path / second, 4096 + 1200 + 7)
    cut(path / third, 100)
    gone = [*places[first], *places[second][1:], *places[third]]
    report = mend(path)
    assert (report.images, report.recovered, report.lost) == (COUNT - len(gone), 0, len(gone))
    assert f"{len(gone)} images that were saved are not there any more" in report.problems[0]
    assert f"{first} is not there" in str(report)
    assert f"{second} ends before them" in str(report)
    check(path, numbers=[i for i in range(COUNT) if i not in gone])


@pytest.mark.parametrize(
    ("kind", "way"), [("plain", "torn"), ("odd order", "empty"), ("plate", "missing"), ("positions", "missing"), ("mixed", "torn")]
)
def test_metadata_of_zarr_is_damaged(tmp_path: Path, kind: str, way: str) -> None:
    import yaozarrs

    path = write(tmp_path, kind)
    files = sorted(path.rglob("zarr.json"))
    whole = [json.loads(file.read_bytes()) for file in files]
    for file in files:
        if way == "missing":
            file.unlink()
        else:
            cut(file, 0 if way == "empty" else file.stat().st_size // 3)
    report = mend(path)
    assert report.images == COUNT
    assert any("summary metadata" in text for text in report.problems)
    check(path, kind)
    if kind != "mixed":
        yaozarrs.validate_zarr_store(str(path))
    for file, content in zip(files, whole, strict=True):
        content["attributes"].pop("aiomm", None)
        found = json.loads(file.read_bytes())
        found["attributes"].pop("aiomm", None)
        text = json.dumps(found).replace('"unit": "micrometer", ', "")
        assert json.loads(text).keys() == content.keys()
        if content["node_type"] == "array":
            assert found == content


def test_a_torn_root_gives_the_summary_back(tmp_path: Path) -> None:
    path = write(tmp_path)
    cut(path / "zarr.json", (path / "zarr.json").stat().st_size - 4)
    whole = (path / "zarr.json").read_bytes()
    report = mend(path)
    assert not report.problems
    assert Dataset(path).summary_metadata == SUMMARY
    assert (path / "zarr.json.before-repair").read_bytes() == whole
    assert zarr.open_group(str(path), mode="r").attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]  # type: ignore[index,call-overload]


def test_an_array_that_is_too_short(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = json.loads((path / "0" / "zarr.json").read_bytes())
    content["shape"][0] = 2
    (path / "0" / "zarr.json").write_text(json.dumps(content))
    assert mend(path).actions == ["0/zarr.json: written again, it was damaged or did not tell of every image"]
    check(path)


@pytest.mark.parametrize("damage", ["missing", "unlisted", "not there", "metadata", "full resolution"])
def test_levels(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path, levels=2)
    assert not repair(path).needed
    whole = (path / "zarr.json").read_bytes()
    if damage == "missing":
        next(file for file in (path / "2").rglob("c/**/0") if file.is_file()).unlink()
    elif damage == "unlisted":  # as a writer that is killed leaves it
        content = json.loads(whole)
        del content["attributes"]["ome"]["multiscales"][0]["datasets"][1:]
        (path / "zarr.json").write_text(json.dumps(content))
    elif damage == "not there":
        shutil.rmtree(path / "2")
    elif damage == "metadata":
        cut(path / "1" / "zarr.json", 40)
    else:
        cut(path / "index.ndjson", 2000)
    report = mend(path)
    assert "resolution levels: made again" in str(report)
    check(path)
    with Dataset(path, full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 3
        assert dataset.to_numpy(res_level=1).any()


def no_levels(path: Path, kind: str) -> None:
    """Leave what a writer leaves that is killed before its levels had a turn."""
    for group in path.glob("[0-9]") if kind == "positions" else [path]:
        content = json.loads((group / "zarr.json").read_bytes())
        del content["attributes"]["ome"]["multiscales"][0]["datasets"][1:]
        (group / "zarr.json").write_text(json.dumps(content))
        for level in ("1", "2"):
            shutil.rmtree(group / level)


@pytest.mark.parametrize("kind", ["plain", "positions"])
@pytest.mark.parametrize("levels", [2, None])
@pytest.mark.parametrize("root", ["whole", "torn"])
def test_levels_that_were_never_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, levels: int | None, root: str) -> None:
    monkeypatch.setattr("aiomm.dataset.omezarr.pyramid.LARGEST", 10)
    path = write(tmp_path, kind, levels=levels)
    no_levels(path, kind)
    if root == "torn":
        content = (path / "zarr.json").read_bytes()
        cut(path / "zarr.json", content.index(b'"axis_values"') if kind == "plain" else len(content) - 2)
    assert "resolution levels: made from full resolution" in str(mend(path))
    check(path, kind)
    with Dataset(path, full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 3
        assert dataset.summary_metadata == SUMMARY
        assert dataset.to_numpy(res_level=2).any()


def test_levels_that_nobody_wants_are_not_made(tmp_path: Path) -> None:
    """Nor is anything wrong with a dataset that says nothing of levels, or what is no number of them."""
    for levels in ("absent", 0, -1, True, "2", 2.5, [2]):
        path = write(tmp_path, count=6)
        content = json.loads((path / "zarr.json").read_bytes())
        assert "levels" not in content["attributes"]["aiomm"]
        if levels != "absent":
            content["attributes"]["aiomm"]["levels"] = levels
            (path / "zarr.json").write_text(json.dumps(content))
        assert not repair(path).needed
    path = write(tmp_path, count=6, levels=2)
    assert build_levels(path, 0) == 1
    assert not repair(path).needed
    assert build_levels(path, 1) == 2
    assert json.loads((path / "zarr.json").read_bytes())["attributes"]["aiomm"]["levels"] == 1
    assert not repair(path).needed


def test_what_was_saved_twice(tmp_path: Path) -> None:
    """Of images saved twice the last one counts, with and without the log."""
    with OmeZarrWriter(tmp_path, "x", SUMMARY, allow_duplicates=True) as writer:
        for i in (0, 1, 2, 1, 3, 0):
            writer.put(Frame({"channel": "abcd"[i]}, image(10 * i + len(writer.dataset), (20, 30)), {"i": i}))
            while len(writer.dataset) == 0:
                pass
    with Dataset(writer.path) as dataset:
        wanted = {name: dataset.read_image(channel=name) for name in "abcd"}
    assert not repair(writer.path).needed
    whole = (writer.path / "index.ndjson").read_bytes()
    for left in (None, 0, len(whole) // 2, len(whole) - 30):
        if left is None:
            (writer.path / "index.ndjson").unlink()
        else:
            (writer.path / "index.ndjson").write_bytes(whole[:left])
        report = mend(writer.path)
        assert not report.lost
        with Dataset(writer.path) as dataset:
            assert len(dataset.get_index_keys()) == 4
            for name, pixels in wanted.items():
                assert same(dataset.read_image(channel=name), pixels)


def test_what_is_left_over_goes(tmp_path: Path) -> None:
    path = write(tmp_path)
    for name in ("zarr.json.part", "0/zarr.json.part", "0/c/0/0/0/0/9.new"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    assert len(mend(path).actions) == 3
    assert not [*path.rglob("*.part"), *path.rglob("*.new")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who has a file open")
@pytest.mark.parametrize("synced", [0, 1, 2])
def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: int) -> None:
    path = write(tmp_path)
    cut(path / "index.ndjson", 2000)
    before = state(path)

    left = iter(range(synced))

    def fsync(_: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left"):
        repair(path, dry_run=False)
    monkeypatch.undo()
    assert state(path) == before
    assert mend(path).recovered


def test_a_dataset_whose_writer_lives_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "who_writes", WHO_WRITES)
    with OmeZarrWriter(tmp_path, "x") as writer:
        writer.put(frame("plain", 0))
        with pytest.raises(StorageError, match=f"by process {os.getpid()}"):
            repair(writer.path)


def test_what_cannot_be_repaired(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "others" / "0"), shape=(4, 4), dtype="u1")
    (tmp_path / "others" / "zarr.json").write_text('{"zarr_format":3,"node_type":"group","attributes":{"ome":{"version":"0.5"}}}')
    with pytest.raises(UnsupportedError, match="aiomm did not write"):
        repair(tmp_path / "others")
    path = write(tmp_path)
    for name in ("index.ndjson", "frames.ndjson"):
        (path / name).unlink()
    with pytest.raises(DatasetFormatError, match="logs are lost"):
        repair(path)


def spoil(data: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice([1, 1, 1, 2, 9, 200])
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[at + length :]
    fresh = bytes(rng.choice(b'{}[],:"0123456789-e.\n\0x') for _ in range(length)) if kind == 2 else rng.randbytes(length)
    return data[:at] + fresh + data[at + length :]


def fuzz(folder: Path, kind: str, rng: random.Random, times: int) -> None:
    """One file is spoilt: repair ends, what it leaves is as it was, and little is lost."""
    whole = write(folder, kind)
    names = ["index.ndjson", "index.ndjson", "frames.ndjson", *(str(file.relative_to(whole)) for file in whole.rglob("zarr.json"))]
    names += [str(file.relative_to(whole)) for file in whole.rglob("c/**/0") if file.is_file()][:3]
    path = folder / "spoilt"
    wanted = {json.dumps(frame(kind, i).axes, sort_keys=True): frame(kind, i).pixels for i in range(COUNT)}
    for number in range(times):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        name = rng.choice(names)
        data = (path / name).read_bytes()
        head = data if name.endswith("json") else data[:400]  # of a shard, its index: pixels have nothing that tells
        spoilt = spoil(head, rng)
        (path / name).write_bytes(spoilt if head is data else spoilt[: len(head)].ljust(len(head), b"\0") + data[len(head) :])
        report = mend(path)
        at_fault = f"{kind} {number} {name}: {report}"
        with Dataset(path) as dataset:
            found = [json.dumps(dataset.axes_of(row), sort_keys=True) for row in range(len(dataset))]
            for row, axes in enumerate(found):
                assert axes in wanted, at_fault
                assert same(dataset.read_row(row)[0], wanted[axes]), at_fault
            assert len(set(found)) >= COUNT - 1, at_fault


@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed(tmp_path: Path, kind: str) -> None:
    fuzz(tmp_path, kind, random.Random(KINDS.index(kind)), 10)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_at_length(tmp_path: Path, kind: str) -> None:
    fuzz(tmp_path, kind, random.Random(100 + KINDS.index(kind)), 1000)


@pytest.mark.parametrize("place", ["[true]", "[1.0]"])
def test_a_place_that_is_no_integer_is_damage(tmp_path: Path, place: str) -> None:
    """It passes for one, and would be written again as Python says it."""
    with OmeZarrWriter(tmp_path, "x", {}) as writer:
        for t in range(4):
            writer.put(Frame({"time": t}, image(t), {}))
    log = writer.path / "index.ndjson"
    log.write_text(log.read_text().replace('"index":[1]', f'"index":{place}').rsplit("\n", 3)[0] + "\n")
    with pytest.raises(DatasetFormatError, match="line 3 is no record"):
        Dataset(writer.path)
    assert repair(writer.path, dry_run=False).images == 4
    with Dataset(writer.path) as dataset:
        assert [same(dataset.read_image(time=t), image(t)) for t in range(4)] == [True] * 4
    assert not repair(writer.path).needed
