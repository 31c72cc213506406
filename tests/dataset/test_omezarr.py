"""OME-Zarr datasets: their layout, and what other readers make of them."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from aiomm.dataset import Dataset, Frame, OmeZarrWriter
from aiomm.dataset.ndtiff import positioned
from aiomm.dataset.omezarr.layout import AxisSlots, Layout, parse_well, shard_box
from aiomm.dataset.omezarr.shard import MISSING, pack_index, parse_index
from aiomm.errors import ClosedError, DatasetFormatError, MissingImageError
from tests.dataset.support import METADATA, frame, image

if TYPE_CHECKING:
    from pathlib import Path

Axes = dict[str, Any]
CASES: dict[str, list[Axes]] = {
    "one image": [{}],
    "time": [{"time": t} for t in range(300)],
    "time, channel, z": [{"time": t, "channel": c, "z": z} for t in range(3) for c in ("DAPI", "FITC") for z in range(5)],
    "z fastest, negative": [{"time": t, "z": z} for t in range(2) for z in range(-3, 4)],
    "backwards": [{"z": z} for z in range(20, -1, -1)],
    "out of order and ragged": [{"time": 7, "z": 1}, {"time": 0, "z": 3}, {"time": 3, "z": 0}, {"time": 100_000, "z": 0}],
    "numbered channels": [{"channel": c, "time": t} for c in (2, 0) for t in range(3)],
    "another axis": [{"shot": i, "time": t} for i in (5, 90, -1) for t in range(2)],
    "two other axes": [{"angle": a, "shot": i, "z": z} for a in (0, 90) for i in range(2) for z in range(2)],
    "an axis called c": [{"c": i, "t": 0} for i in range(3)],
    "positions": [{"position": p, "time": t} for t in range(3) for p in (0, 1, 2)],
    "named positions": [{"position": p, "z": z} for p in ("Pos0", "Pos1 é/ö") for z in range(2)],
    "tiles": [{"row": r, "column": c, "channel": n} for r in range(2) for c in range(2) for n in ("a", "b")],
    "wells": [{"position": p, "channel": c} for c in ("a", "b") for p in ("A1-Site_0", "A1-Site_1", "B12-Site_0", "C3")],
    "wells and a stray": [{"position": p} for p in ("B2", "Pos7", "B3")],
}


def write(folder: Path, frames: list[Frame], **options: Any) -> OmeZarrWriter:
    with OmeZarrWriter(folder, "x", {"PixelSize_um": 0.25, "Interval_ms": 500}, **options) as writer:
        for one in frames:
            writer.put(one)
    return writer


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "index.ndjson").read_text("ascii").splitlines()]


def stored(path: Path) -> list[tuple[Axes, np.ndarray]]:
    """Each image as zarr-python finds it: where the log says it is, by group and index only."""
    found, groups, arrays = [], {}, {}
    for line in log_of(path):
        if "group" in line:
            groups[line["group"]] = line
            arrays[line["group"]] = np.asarray(zarr.open_array(str(path / line["path"] / "0"), mode="r")[:])
        elif "axes" in line:
            group, pixels = groups[line["image"]], arrays[line["image"]]
            if len(group["shape"]) == 3:
                at = dict(zip(group["names"], line["index"], strict=True))
                c = at.get("channel", 0)
                lead = [
                    at[name] if name != "channel" else slice(3 * c, 3 * c + 3)
                    for name in ("time", "channel", "z")
                    if name in at or name == "channel"
                ]
                found.append((line["axes"], np.moveaxis(pixels[tuple(lead)], 0, -1)))
            else:
                found.append((line["axes"], pixels[tuple(line["index"])]))
    return found


def validate(path: Path) -> None:
    """Two published validators like every group."""
    import ome_zarr_models
    import yaozarrs

    yaozarrs.validate_zarr_store(str(path))
    for line in log_of(path):
        if "group" in line:
            group = zarr.open_group(str(path / line["path"]), mode="r")
            assert type(ome_zarr_models.open_ome_zarr(group)).__name__ == "Image"


@pytest.mark.parametrize("case", CASES)
def test_every_layout_is_valid_and_read_by_others(tmp_path: Path, case: str) -> None:
    import tensorstore

    frames = [Frame(axes, image(i), {**METADATA, "Seed": i}) for i, axes in enumerate(CASES[case])]
    path = write(tmp_path, frames).path
    with Dataset(path) as dataset:
        assert dataset.finished
        assert dataset.get_index_keys() == [dataset.axes_of(row) for row in range(len(frames))]
        for i, one in enumerate(frames):
            pixels, metadata = dataset.read_image(**one.axes, read_metadata=True)
            assert np.array_equal(pixels, image(i))
            assert np.array_equal(dataset.read_image(**one.axes, memmapped=True), image(i))
            assert metadata == {**METADATA, "Seed": i, "Axes": one.axes}
    if case != "out of order and ragged":
        for i, (axes, pixels) in enumerate(stored(path)):
            assert axes == frames[i].axes
            assert np.array_equal(pixels, image(i))
        for line in log_of(path):
            if "group" in line:
                spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / line["path"] / "0")}}
                other = tensorstore.open(spec).result().read().result()
                assert np.array_equal(other, zarr.open_array(str(path / line["path"] / "0"), mode="r")[:])
    validate(path)


@pytest.mark.parametrize("names", [("time",), ("time", "channel", "z"), ("z",), ()])
def test_rgb(tmp_path: Path, names: tuple[str, ...]) -> None:
    places = [dict(zip(names, at, strict=True)) for at in np.ndindex(*(2, 2, 3)[: len(names)])]
    path = write(tmp_path, [Frame(axes, image(i, kind="rgb"), {}) for i, axes in enumerate(places)]).path
    for i, (_, pixels) in enumerate(stored(path)):
        assert np.array_equal(pixels, image(i, kind="rgb"))
    dataset = Dataset(path)
    assert dataset.bytes_per_pixel == 3
    assert all(np.array_equal(dataset.read_image(**axes), image(i, kind="rgb")) for i, axes in enumerate(places))
    validate(path)


def test_metadata_of_an_image(tmp_path: Path) -> None:
    axes = [{"time": t, "channel": c, "z": z} for t in range(2) for c in ("DAPI", "FITC") for z in range(-1, 2)]
    path = write(tmp_path, [Frame(one, image(1), {"ZPosition_um": 3 + one["z"] * 0.5}, 12) for one in axes]).path
    attributes = zarr.open_group(str(path), mode="r").attrs.asdict()
    ome: Any = attributes["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["t", "c", "z", "y", "x"]
    assert [axis.get("unit") for axis in multiscale["axes"]] == ["second", None, "micrometer", "micrometer", "micrometer"]
    assert multiscale["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [0.5, 1, 0.5, 0.25, 0.25]}]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["DAPI", "FITC"]
    assert ome["omero"]["channels"][0]["window"] == {"min": 0, "max": 4095, "start": 0, "end": 4095}
    own: Any = attributes["aiomm"]
    assert own["summary"]["PixelSize_um"] == 0.25
    assert own["axis_values"] == {"channel": ["DAPI", "FITC"], "z": [-1, 0, 1]}
    lines = [json.loads(line) for line in (path / "frames.ndjson").read_text("ascii").splitlines()]
    assert [line["Axes"] for line in lines] == axes


def test_series_and_plate_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, [Frame({"position": p}, image(1), {}) for p in ("one", "two")]).path
    assert zarr.open_group(str(path / "OME"), mode="r").attrs["ome"] == {"version": "0.5", "series": ["0", "1"]}
    names = [zarr.open_group(str(path / n), mode="r").attrs["ome"]["multiscales"][0]["name"] for n in "01"]  # type: ignore[index,call-overload]
    assert names == ["one", "two"]
    path = write(tmp_path, [Frame({"position": p}, image(1), {}) for p in ("B12-Site_0", "A1", "B12-Site_1")]).path
    plate: Any = zarr.open_group(str(path), mode="r").attrs["ome"]
    plate = plate["plate"]
    assert ([row["name"] for row in plate["rows"]], [column["name"] for column in plate["columns"]]) == (["A", "B"], ["1", "12"])
    assert plate["field_count"] == 2
    assert [well["path"] for well in plate["wells"]] == ["A/1", "B/12"]
    well: Any = zarr.open_group(str(path / "B" / "12"), mode="r").attrs["ome"]
    assert [field["path"] for field in well["well"]["images"]] == ["0", "1"]


def test_plate_when_told_so(tmp_path: Path) -> None:
    frames = [Frame({"position": "A1"}, image(1), {})]
    assert (write(tmp_path, frames, plate=False).path / "OME").is_dir()
    assert (write(tmp_path, [Frame({"position": "A1"}, image(1), {})]).path / "A" / "1" / "0").is_dir()


def test_missing_is_told_from_dark(tmp_path: Path) -> None:
    dark = np.zeros((20, 30), np.uint16)
    path = write(tmp_path, [Frame({"time": t, "z": z}, dark, {}) for t, z in ((0, 0), (0, 2), (2, 1))]).path
    dataset = Dataset(path)
    assert dataset.as_mask(["time", "z"]).tolist() == [[True, False, True], [False, True, False]]
    with pytest.raises(MissingImageError):
        dataset.read_image(time=2, z=0)
    (shard,) = (path / "0" / "c").rglob("0/0/0/0")
    index = parse_index(shard.read_bytes(), 15 * 16)
    assert index is not None
    assert np.flatnonzero(index[:, 0] != MISSING).tolist() == [0, 2, 33]  # t is slower than z, 16 of which are in a shard


def test_a_dark_shard_is_a_shard(tmp_path: Path) -> None:
    """No reader takes a dark image for one that is missing, nor the other way round: bytes of zero are written."""
    path = write(tmp_path, [Frame({"time": 0}, np.zeros((300, 300), np.uint16), {})]).path
    assert (path / "0" / "c" / "0" / "0" / "0").stat().st_size >= 180_000


def test_arrays_grow_and_channels_are_found_late(tmp_path: Path) -> None:
    import threading

    came = threading.Event()
    with OmeZarrWriter(tmp_path, "x", on_saved=lambda _: came.set()) as writer:
        for i, (t, channel) in enumerate([(0, "a"), (1, "a"), (1, "b"), (5, "c"), (2, "b")]):
            came.clear()
            writer.put(Frame({"time": t, "channel": channel}, image(i), {}))
            assert came.wait(10)
            array = zarr.open_array(str(writer.path / "0"), mode="r")
            at = (t, "abc".index(channel))
            assert all(have > want for have, want in zip(array.shape, at, strict=False))
            assert np.array_equal(array[at], image(i))  # others see it at once
            labels: Any = zarr.open_group(str(writer.path), mode="r").attrs["ome"]
            assert [one["label"] for one in labels["omero"]["channels"]] == list("abc"[: array.shape[1]])
            assert len(Dataset(writer.path)) == i + 1
    assert zarr.open_array(str(writer.path / "0"), mode="r").shape[:2] == (6, 3)


def test_many_shards(tmp_path: Path) -> None:
    """More than are held open at once, and each visited often."""
    frames = [Frame({"time": t, "z": z}, image(1000 * t + z, (64, 64)), {}) for t in range(3) for z in range(100)]
    path = write(tmp_path, frames, shard_bytes=8192).path
    assert len([file for file in (path / "0" / "c").rglob("*") if file.is_file()]) == 300
    dataset = Dataset(path)
    array = dataset.as_array(axes=["time", "z"])
    assert np.array_equal(
        pickle.loads(pickle.dumps(array)).compute(),
        np.stack([np.stack([image(1000 * t + z, (64, 64)) for z in range(100)]) for t in range(3)]),
    )
    path = write(tmp_path, frames, shard_bytes=8192 * 6).path
    assert np.array_equal(zarr.open_array(str(path / "0"), mode="r")[:], array.compute())


@pytest.mark.parametrize("shape", [(31, 33), (200, 300)], ids=["small", "large"])
def test_many_images_into_one_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    """Small images that lie together take one call of the system; missing ones, other orders and parts are right all the same."""
    there = [(t, z) for t in range(12) for z in (3, 0, 1, 2) if (t, z) != (5, 2)]
    path = write(tmp_path, [frame(10 * t + z, shape, time=t, z=z) for t, z in there]).path
    want = np.array([[np.zeros(shape, np.uint16) if (t, z) == (5, 2) else image(10 * t + z, shape) for z in range(4)] for t in range(12)])
    calls: list[int] = []
    real = positioned.read_each
    monkeypatch.setattr(positioned, "read_each", lambda fd, buffers, at: (calls.append(len(buffers)), real(fd, buffers, at))[1])  # type: ignore[func-returns-value]
    with Dataset(path) as dataset:
        assert np.array_equal(dataset.to_numpy(axes=["time", "z"]), want)
        assert (max(calls, default=1) > 1) == (shape == (31, 33))
        assert np.array_equal(dataset.to_numpy(axes=["z", "time"]), want.swapaxes(0, 1))
        assert np.array_equal(np.asarray(dataset.as_array(axes=["time", "z"])[2:, 1, 3:9, 5:7]), want[2:, 1, 3:9, 5:7])


def test_sizes_that_differ_are_images_of_their_own(tmp_path: Path) -> None:
    frames = [
        Frame({"time": 0}, image(0), {}),
        Frame({"time": 1}, image(1, (11, 12)), {}),
        Frame({"time": 2}, image(2, kind=np.uint8), {}),
        Frame({"time": 3, "z": 0}, image(3), {}),
        Frame({"time": 4}, image(4, kind="rgb"), {}),
    ]
    path = write(tmp_path, frames).path
    dataset = Dataset(path)
    assert [np.array_equal(dataset.read_row(i)[0], one.pixels) for i, one in enumerate(frames)] == [True] * 5
    assert [line["path"] for line in log_of(path) if "group" in line] == ["", "extra/0", "extra/1", "extra/2", "extra/3"]
    with pytest.raises(ValueError, match="differ"):
        dataset.as_array(axes=["time"])
    validate(path)


def test_a_dataset_with_only_its_groups_left_is_still_ome_zarr(tmp_path: Path) -> None:
    path = write(tmp_path, [Frame({"time": t}, image(t), {}) for t in range(3)]).path
    assert not [entry.name for entry in path.iterdir() if entry.name not in ("zarr.json", "0", "index.ndjson", "frames.ndjson")]


@pytest.mark.parametrize("cut", [1, 10, 50, 60])
def test_a_line_cut_short_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, [Frame({"time": t}, image(t), {}) for t in range(5)]).path
    log = path / "index.ndjson"
    lines = log.read_bytes().splitlines(keepends=True)[:-1]
    log.write_bytes(b"".join(lines)[:-cut])
    dataset = Dataset(path)
    assert not dataset.finished
    assert len(dataset) == 4
    assert np.array_equal(dataset.read_image(time=3), image(3))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"nonsense", "line 2 is not JSON"),
        (b"[1]", "line 2.*not a JSON object"),
        (b'{"axes":{"time":1.5},"image":0,"index":[0],"offset":4096,"metadata":[0,1],"bits":16}', "line 2.*'time'"),
        (b'{"axes":{"time":1},"image":7,"index":[0],"offset":4096,"metadata":[0,1],"bits":16}', "line 2"),
        (b'{"axes":{"time":1},"image":0,"index":[0,0],"offset":4096,"metadata":[0,1],"bits":16}', "line 2"),
        (b'{"axes":{"time":1},"image":0,"index":[0],"offset":-1,"metadata":[0,1],"bits":16}', "negative"),
        (b'{"axes":{"time":1},"image":0,"index":[0],"offset":"a","metadata":[0,1],"bits":16}', "no number"),
        (b'{"group":1,"path":"../../etc","place":{},"names":[],"shape":[2,2],"dtype":"uint8","box":[],"bits":8}', "out of the folder"),
        (b'{"group":1,"path":"1","place":{},"names":[],"shape":[2,2],"dtype":"object","box":[],"bits":8}', "uint8 or uint16"),
        (b'{"group":1,"path":"1","place":{},"names":["z"],"shape":[2,2],"dtype":"uint8","box":[0],"bits":8}', "line 2"),
    ],
)
def test_a_damaged_log_names_the_line(tmp_path: Path, line: bytes, says: str) -> None:
    path = write(tmp_path, [Frame({"time": t}, image(t), {}) for t in range(2)]).path
    lines = (path / "index.ndjson").read_bytes().splitlines()
    (path / "index.ndjson").write_bytes(b"\n".join([lines[0], line, *lines[1:], b""]))
    with pytest.raises(DatasetFormatError, match=f"(?s)index.ndjson.*{says}"):
        Dataset(path)


def test_files_that_are_gone_or_short_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, [Frame({"time": t}, image(t, (300, 300)), {}) for t in range(3)]).path
    (shard,) = [file for file in (path / "0" / "c").rglob("*") if file.is_file()]
    with shard.open("r+b") as file:
        file.truncate(300_000)
    dataset = Dataset(path)
    assert np.array_equal(dataset.read_image(time=0), image(0, (300, 300)))
    for memmapped in (False, True):
        with pytest.raises(DatasetFormatError, match="300000 bytes"):
            dataset.read_image(time=2, memmapped=memmapped)
    shard.unlink()
    with pytest.raises(DatasetFormatError, match="not there"):
        Dataset(path).read_image(time=0)
    (path / "zarr.json").write_text("{")
    with pytest.raises(DatasetFormatError, match=r"zarr\.json"):
        Dataset(path)


def test_nothing_is_read_while_opening_but_the_log(tmp_path: Path) -> None:
    path = write(tmp_path, [Frame({"time": t}, image(t), {}) for t in range(3)]).path
    (path / "frames.ndjson").unlink()
    dataset = Dataset(path)
    assert np.array_equal(dataset.read_image(time=1), image(1))
    with pytest.raises(DatasetFormatError, match=r"frames\.ndjson"):
        dataset.read_metadata(time=1)


# ---- the pure parts -------------------------------------------------------------------------------------------------


def test_the_index_of_a_shard() -> None:
    entries = np.full((255, 2), MISSING, np.uint64)
    entries[3] = 4096, 17
    data = pack_index(entries)
    assert len(data) <= 4096  # a page: never torn by a kill
    back = parse_index(data, 255)
    assert back is not None
    assert np.array_equal(back, entries)
    assert parse_index(data[:-1], 255) is None
    assert parse_index(b"\0" + data[1:], 255) is None


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([7, 0, 7, 3], [7, 0, 7, 3]),
        ([-2, -1, 0, 1], [0, 1, 2, 3]),
        ([10**6, 10**6 + 1], [0, 1]),
        (["b", "a", "b"], [0, 1, 0]),
        ([2, 0, -1, 1, 3], [2, 0, 3, 1, 4]),
    ],
)
def test_places_on_an_axis(values: list[Any], places: list[int]) -> None:
    slots = AxisSlots()
    assert [slots.slot(value) for value in values] == places
    assert all(slots.values[at] == value for at, value in zip(places, values, strict=True))


def test_boxes_of_shards() -> None:
    for names in [(), ("time",), ("z",), ("channel",), ("time", "z"), ("time", "channel", "z"), ("time", "shot", "z")]:
        for size in (100, 8192, 2**19, 2**23, 2**30):
            box = shard_box(names, size, 64 * 2**20)
            count = int(np.prod(box))
            assert len(box) == len(names)
            assert 1 <= count <= 255
            assert count == 1 or count * size <= 64 * 2**20
    assert shard_box(("time",), 2**19, 64 * 2**20) == (128,)


def test_names_of_wells() -> None:
    assert parse_well("A1") == ("A", "1")
    assert parse_well("B02-Site_3") == ("B", "02")
    assert parse_well("AB12_1") == ("AB", "12")
    assert [parse_well(name) for name in ("Pos0", "A0", "a1", "A1x", "1A", "", 3, None)] == [None] * 8


def test_every_image_has_a_place_of_its_own() -> None:
    rng = np.random.default_rng(0)
    layout = Layout()
    seen: dict[Any, Any] = {}
    pixels = image(0)
    for _ in range(3000):
        axes = {name: int(rng.integers(-3, 40)) for name in ("time", "z", "position", "angle") if rng.random() < 0.8}
        plan, index = layout.place(axes, pixels, None)
        key, chunk = plan.shard_of(index)
        assert seen.setdefault((plan.shard_path(key), chunk), axes) == axes


def test_metadata_of_a_long_array_is_written_seldom_and_ends_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiomm.dataset.omezarr import folder

    real, calls = folder.replace_json, [0]

    def counted(*args: Any, **options: Any) -> None:
        calls[0] += 1
        real(*args, **options)

    monkeypatch.setattr(folder, "replace_json", counted)
    with OmeZarrWriter(tmp_path, "x", queue_size=1) as writer:
        for t in range(300):
            writer.put(Frame({"time": t}, image(t), {}))
    assert calls[0] < 60
    assert zarr.open_array(str(writer.path / "0"), mode="r").shape[0] == 300


def test_a_closed_dataset_gives_no_more_arrays(tmp_path: Path) -> None:
    with OmeZarrWriter(tmp_path, "x", {}) as writer:
        writer.put(frame(0))
    dataset = Dataset(writer.path)
    array = dataset.as_array()
    pixels = dataset.to_numpy()
    dataset.close()
    for ask in (dataset.as_array, dataset.to_numpy):
        with pytest.raises(ClosedError, match="was closed"):
            np.asarray(ask())
    assert np.array_equal(array.compute(), pixels)  # made before: it has files of its own


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with OmeZarrWriter(tmp_path, "x", {}) as writer:
        writer.put(frame(0))
    shard = next(path for path in writer.path.rglob("c/**/*") if path.is_file())
    for file, ask in ((shard, Dataset.read_image), (writer.path / "frames.ndjson", Dataset.read_metadata)):
        file.unlink()
        file.mkdir()
        with Dataset(writer.path) as dataset, pytest.raises(DatasetFormatError, match="cannot be opened: it is not a file"):
            ask(dataset)
