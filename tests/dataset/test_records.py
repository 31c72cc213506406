"""The index parsed many records at once gives what parsing one by one gives."""

from __future__ import annotations

import json
import random
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from aiomm.dataset.encode import encode_json
from aiomm.dataset.ndtiff import records
from aiomm.dataset.ndtiff.records import FileNames, batches, read_index
from aiomm.errors import DatasetFormatError
from tests.dataset.support import image, same

if TYPE_CHECKING:
    from pathlib import Path


def record(axes: Any, name: str = "x.tif", place: tuple[int, ...] = (0, 2, 2, 1, 0, 0, 0, 0), spaces: bool = False) -> bytes:
    text = axes if isinstance(axes, bytes) else json.dumps(axes).encode() if spaces else encode_json(axes)
    return struct.pack("<I", len(text)) + text + struct.pack("<I", len(name.encode())) + name.encode() + struct.pack("<8I", *place)


def check(rows: list[dict[str, Any]], names: list[str], spaces: bool = False) -> None:
    """Records with these axes and files parse to them, and to their places."""
    data = b"".join(
        record(axes, name, (7 * i, i + 1, 3, i % 7, 0, i, 5 * i, 0), spaces) for i, (axes, name) in enumerate(zip(rows, names, strict=True))
    )
    index, files, table = read_index(data, "index")
    assert [index.axes_of(i) for i in range(len(rows))] == rows
    assert [files[number] for number in table[:, 0].tolist()] == names
    wanted = [[7 * i, i + 1, 3, i % 7, i, 5 * i] for i in range(len(rows))]
    assert table[:, 1:].tolist() == wanted


@pytest.mark.parametrize("window", [64, 1000, 2**20])
@pytest.mark.parametrize("spaces", [False, True])
def test_records_of_every_kind(window: int, spaces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "WINDOW", window)
    one = ["x.tif"]
    check([{"time": i, "channel": "ab"[i % 2], "z": -i} for i in range(500)], one * 500, spaces)
    check([{"z": i} if i % 2 else {"z": i, "time": 1} for i in range(300)], one * 300, spaces)
    check([{"b": i, "a": 0} if i % 3 else {"a": i, "b": 0} for i in range(300)], one * 300, spaces)
    check([{"name": 'a:b{c}"d\\,' + str(i)} for i in range(100)], one * 100, spaces)
    check([{} for _ in range(40)], one * 40, spaces)
    check([{"time": i} for i in range(200)], [f"x_{i // 90}.tif" for i in range(200)], spaces)
    check([{"time": i} for i in range(100)], [f"x_{i % 2}.tif" for i in range(100)], spaces)
    check([{"x.tif": i} for i in range(100)], one * 100, spaces)
    check([], [])


def test_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    for _ in range(100):
        monkeypatch.setattr(records, "WINDOW", rng.choice([50, 300, 5000]))
        names = rng.sample(["time", "z", "channel", "n:", "{", "µ"], 4)
        count = rng.randrange(1, 60)
        rows = []
        for _ in range(count):
            chosen = names[: rng.choice([4, 4, 4, 4, 4, 3, 2])]
            if rng.random() < 0.05:
                rng.shuffle(chosen)
            rows.append({name: rng.choice(["a", "b}", ""]) if name in ("channel", "n:") else rng.randrange(-3, 99) for name in chosen})
        order = ["time", "channel", "n:", "{", "µ", "z"]
        check([dict(sorted(axes.items(), key=lambda item: order.index(item[0]))) for axes in rows], ["x.tif"] * count)


@pytest.mark.parametrize(
    ("usual", "odd"),
    [
        (b'{"z":10}', b'{"z":07}'),
        (b'{"z":10}', b'{"z":-7}'),
        (b'{"z":-1}', b'{"z":-0}'),
        (b'{"z":10}', b'{"z":1 }'),
        (b'{"z":10}', b'{"z":1.}'),
        (b'{"z":10}', b'{"z":1:}'),
        (b'{"z":10}', b'{"zz":1}'),
        (b'{"z":10}', b'{"\\u007a":1}'),
        (b'{"channel":"abc"}', b'{"channel":"\\"\\\\"}'),
        (b'{"channel":"abcdefgh"}', b'{"channel":"\\u00b5m"}'),
        (b'{"channel":"abc"}', b'{"channel":"\xc2\xb5m"}'),
        (b'{"channel":"abc"}', b'{"channel":"ab\\"}'),
        (b'{"channel":"abc"}', b'{"channel":"a"c"}'),
        (b'{"channel":"abc"}', b'{"channel":"a\nc"}'),
        (b'{"channel":"abc"}', b'{"channel":"ab\0"}'),
        (b'{"channel":"abcdef"}', b'{"channel":"","z":1}'),
        (b'{"channel":"abcdefgh"}', b'{"channel":"a","b":"c"}'),
        (b'{"channel":"abc"}', b'{"channel": "ab"}'),
        (b'{"z":1,"time":2}', b'{"z":1,"z":2222}'),
        (b'{"z":1}', b"{}"),
        (b'{"z":999999999999999999}', b'{"z":1000000000000000000}'),
    ],
)
def test_one_text_among_others_is_what_json_says(usual: bytes, odd: bytes) -> None:
    """Nothing that has the length and most bytes of its neighbours is taken for one of them."""
    data = b"".join([record(usual)] * 20 + [record(odd)] + [record(usual)] * 20)
    try:
        want = json.loads(odd)
    except ValueError:
        with pytest.raises(DatasetFormatError, match="record 20: the axes are not JSON"):
            read_index(data, "index")
        return
    if type(want.get("z", 0)) is not int:
        with pytest.raises(DatasetFormatError, match="record 20: axis 'z'"):
            read_index(data, "index")
        return
    index, _, _ = read_index(data, "index")
    assert index.axes_of(20) == want
    assert index.axes_of(19) == index.axes_of(21) == json.loads(usual)


def test_strings_keep_the_order_in_which_they_were_saved() -> None:
    """Though those of one length are parsed together."""
    names = ["Cy5", "DAPI", "FITC", "Cy3", "TRITC"]
    index, _, _ = read_index(b"".join(record({"time": i // 5, "channel": names[i % 5]}) for i in range(500)), "index")
    assert index.strings("channel") == names


def test_a_second_part_is_parsed_where_the_first_ended() -> None:
    data = b"".join(record({"time": i}) for i in range(50))
    files = FileNames("index")
    first = list(batches(data[:777], files, "index"))[-1]
    second = list(batches(data, files, "index", first.end, len(first.table)))
    assert first.end <= 777
    assert [*first.columns["time"], *second[0].columns["time"]] == list(range(50))
    assert second[0].end == len(data)


def many(number: int) -> bytes:
    """Records before, so that it is found among many at once."""
    return b"".join(record({"time": i}) for i in range(number))


@pytest.mark.parametrize("number", [0, 100])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (record(b'{"time":null}'), "record {}.*null"),
        (record(b'{"time":true}'), "record {}.*'time' is True"),
        (record(b'{"time":1e400}'), "record {}.*'time' is inf"),
        (record(b'{"time":9223372036854775807}'), "record {}.*'time' is 9223372036854775807"),
        (record(b'{"time":99999999999999999999999}'), "record {}.*'time' is 9999"),
        (record(b'{"time":{}}'), "record {}.*'time' is {{}}"),
        (record(b'{"time":1},{"time":2}'), "record {}.*not JSON"),
        (record(b'{"time":"a"}'), "'time'"),
        (record({"time": 1}, place=(0, 0, 2, 1, 0, 0, 0, 0)), "record {} has a size"),
        (struct.pack("<I", 10**9) + b"?" * 100, "byte"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_is_named(number: int, bad: bytes, says: str) -> None:
    if says == "'time'":
        number = max(number, 1)  # two types need two records
    with pytest.raises(DatasetFormatError, match=says.format(number)):
        read_index(many(number) + bad + many(20), "index")


def test_two_texts_that_are_json_only_together() -> None:
    """Joined, they are two objects, but not one each."""
    with pytest.raises(DatasetFormatError, match="record 0: the axes are not JSON"):
        read_index(record(b'{"a":"}') + record(b'{"}') + record(b'{"a":"x"},{"a":"y"}'), "index")


def test_an_axis_per_image_takes_no_endless_memory() -> None:
    with pytest.raises(DatasetFormatError, match="more than 100 axes"):
        read_index(b"".join(record({f"axis {i}": 0}) for i in range(5000)), "index")


def test_a_shuffled_index_is_as_good(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(50):
            writer.put(Frame({"time": i, "channel": "ab"[i % 2]}, image(i), {"n": i}))
    index = writer.path / "NDTiff.index"
    data, parts, at = index.read_bytes(), [], 0
    while at < len(data):
        end = at + 4 + struct.unpack_from("<I", data, at)[0]
        end += 36 + struct.unpack_from("<I", data, end)[0]
        parts.append(data[at:end])
        at = end
    random.Random(1).shuffle(parts)
    index.write_bytes(b"".join(parts))
    dataset = Dataset(writer.path)
    assert len(dataset) == 50
    assert dataset.axes["time"] == list(range(50))
    for i in range(50):
        pixels, metadata = dataset.read_image(time=i, channel="ab"[i % 2], read_metadata=True)
        assert same(pixels, image(i))
        assert metadata["n"] == i


@pytest.mark.parametrize("name", ["folder", "x" * 300, "nothing.tif"])
def test_names_that_are_no_files(tmp_path: Path, name: str) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(2):
            writer.put(Frame({"time": i}, image(i), {}))
    (writer.path / "folder").mkdir()
    index = writer.path / "NDTiff.index"
    index.write_bytes(index.read_bytes() + record({"time": 2}, name, (0, 30, 20, 1, 0, 0, 0, 0)))
    dataset = Dataset(writer.path)
    assert dataset.missing_files == {name: 1}
    assert f"; {name} is not there, which has 1 of them>" in repr(dataset)
    for read in (lambda: dataset.read_image(time=2), lambda: dataset.read_metadata(time=2), dataset.to_numpy, dataset.as_array().compute):
        with pytest.raises(DatasetFormatError, match=name[:200]):
            read()
    assert same(dataset.as_array()[1], image(1))
    with Dataset(writer.path, live=True) as followed:
        assert len(followed) == 3
    assert same(dataset.read_image(time=1), image(1))


def test_text_in_the_encoding_of_an_old_machine(tmp_path: Path) -> None:
    """Java once used the encoding of its machine: here Windows' in Western Europe, where 0x80 is the euro."""
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(2):
            writer.put(Frame({"channel": ("DAPI", "XXXX")[i]}, image(i), {"Name": "YYYY"}))
    for file in (writer.path / "NDTiff.index", next(writer.path.glob("*.tif"))):
        file.write_bytes(file.read_bytes().replace(b"XXXX", "µ€é—".encode("cp1252")).replace(b"YYYY", "5 €é".encode("cp1252")))
    dataset = Dataset(writer.path)
    assert dataset.get_channel_names() == ["DAPI", "µ€é—"]
    assert same(dataset.read_image(channel="µ€é—"), image(1))
    assert dataset.read_metadata(channel=1)["Name"] == "5 €é"


def test_images_alike_and_not(tmp_path: Path) -> None:
    """What is quick for images alike is right for the others."""
    with NDTiffWriter(tmp_path, "x", file_limit=300_000) as writer:
        for i in range(120):
            writer.put(Frame({"time": i}, image(i, (40, 50 + i // 100), np.uint8 if i % 50 == 49 else np.uint16), {"n": i}))
    with Dataset(writer.path) as dataset:
        order = list(range(120)) * 2
        random.Random(2).shuffle(order)
        for i in order:
            want = image(i, (40, 50 + i // 100), np.uint8 if i % 50 == 49 else np.uint16)
            assert same(dataset.read_image(time=i), want)
            assert same(dataset.read_image(time=i, memmapped=True), want)
            assert dataset.read_metadata(time=i)["n"] == i
