"""The writer whose images Micro-Manager saves: what is reported, in which rows, and the dataset live and afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm import errors
from aiomm.acquire.remote.storage import JavaWriter
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.storage import Frame
from tests.acquire.remote.sessions import passed, playing, saved, times, wanted

if TYPE_CHECKING:
    from pathlib import Path

    import aiomm


def record(axes: str, row: int = 0) -> bytes:
    """A record of Java's index; its place is of no file."""
    name = b"set_NDTiffStack.tif"
    head = len(axes.encode()).to_bytes(4, "little") + axes.encode() + len(name).to_bytes(4, "little") + name
    return head + ndtiff.LOCATION.pack(1000 * row + 16, 4, 4, 1, 0, 1000 * row + 500, 10, 0)


class Heard:
    """What a writer reports."""

    def __init__(self) -> None:
        self.batches: list[list[Frame]] = []
        self.rooms = 0
        self.failed: list[tuple[BaseException, list[Frame]]] = []

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch]

    def options(self, **more: Any) -> dict[str, Any]:
        def room() -> None:
            self.rooms += 1

        reports = {"on_saved": self.batches.append, "on_room": room, "on_failed": lambda *args: self.failed.append(args)}
        return {"queue_size": 3, **reports, **more}


@pytest.fixture
def heard() -> Heard:
    return Heard()


def frame(token: Any = None, pixels: Any = None, **axes: Any) -> Frame:
    return Frame(axes, np.zeros((4, 4), np.uint16) if pixels is None else pixels, {}, token=token)


def place(item: Frame) -> tuple[dict[str, Any], int, Any]:
    return item.axes, item.row, item.token


async def test_expected_images_are_reported_together(heard: Heard, tmp_path: Path) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options())
    for time in range(3):
        writer.expect(frame(token=f"t{time}", time=time))
    assert len(writer.outstanding) == 3
    for time in (1, 0):
        writer.saved(record(f'{{"time":{time}}}', time))
    assert heard.batches == []
    await writer.caught_up()
    assert [list(map(place, batch)) for batch in heard.batches] == [[({"time": 1}, 0, "t1"), ({"time": 0}, 1, "t0")]]
    assert [item.axes for item in writer.outstanding] == [{"time": 2}]
    assert writer.dataset.get_image_coordinates_list() == [{"time": 1}, {"time": 0}]
    assert not writer.dataset.finished
    writer.finish()
    assert writer.dataset.finished


async def test_several_cameras_of_one_event(heard: Heard, tmp_path: Path) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options())
    for token in "ab":
        writer.expect(frame(token=token, time=0))
    for camera in ("left", "right"):
        writer.saved(record(f'{{"camera":"{camera}","time":0}}'))
    await writer.caught_up()
    assert list(map(place, heard.frames)) == [({"time": 0, "camera": "left"}, 0, "a"), ({"time": 0, "camera": "right"}, 1, "b")]
    assert writer.outstanding == []


async def test_an_image_that_nobody_expected(heard: Heard, tmp_path: Path) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options())
    writer.saved(record('{"time":7}'))
    await writer.caught_up()
    assert list(map(place, heard.frames)) == [({"time": 7}, 0, None)]


async def test_who_waits_for_the_dataset_to_grow_hears_of_it(heard: Heard, tmp_path: Path) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options())
    waiting = asyncio.create_task(writer.dataset.wait_for(time=1))
    await writer.caught_up()
    writer.saved(record('{"time":1}'))
    async with asyncio.timeout(5):
        await waiting
    writer.finish()


async def test_a_record_that_cannot_be_right(heard: Heard, tmp_path: Path) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options())
    writer.expect(frame(time=0))
    writer.expect(frame(time=1))
    writer.saved(record('{"time":0}'))
    writer.saved(b"rubbish, and long enough to be one of those")
    await writer.caught_up()
    assert list(map(place, heard.frames)) == [({"time": 0}, 0, None)]
    [(error, lost)] = heard.failed
    assert isinstance(error, errors.StorageError)
    assert [item.axes for item in lost] == [{"time": 1}]
    with pytest.raises(errors.StorageError, match="cannot be followed"):
        writer.try_put(frame(time=2))
    with pytest.raises(errors.StorageError):
        writer.finish()


async def test_what_is_put_counts_until_it_is_saved(heard: Heard, tmp_path: Path) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options())
    assert [writer.try_put(frame(time=time)) for time in range(4)] == [True, True, True, False]
    with pytest.raises(TimeoutError, match="no room"):
        await asyncio.to_thread(writer.put, frame(time=3), 0.01)
    waiting = asyncio.create_task(asyncio.to_thread(writer.put, frame(time=3), 10))
    writer.saved(record('{"time":0}'))
    async with asyncio.timeout(5):
        await waiting
    assert heard.rooms == 1
    assert [item.axes["time"] for item in writer.outstanding] == [1, 2, 3]
    writer.give_up()
    with pytest.raises(errors.ClosedError):
        writer.try_put(frame(time=5))


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (frame(pixels=np.zeros((4, 4)), time=1), TypeError, "pixels are float64"),
        (frame(time=1.5), TypeError, "axis 'time' is 1.5"),
        (Frame({"time": 1}, np.zeros((2, 2), np.uint8), {"thing": object()}), TypeError, r"image \{'time': 1\}: .*'thing'"),
        (frame(time=0), errors.DuplicateImageError, "an image with axes {'time': 0} already"),
        (frame(time="x"), TypeError, "axis 'time'"),
    ],
)
async def test_what_cannot_be_saved_is_refused(heard: Heard, tmp_path: Path, wrong: Frame, kind: type[Exception], message: str) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options())
    writer.try_put(frame(time=0))
    with pytest.raises(kind, match=message):
        writer.try_put(wrong)
    assert len(writer) == 1
    writer.saved(record('{"time":0}'))
    await writer.caught_up()
    with pytest.raises(errors.DuplicateImageError):
        writer.try_put(frame(time=0))


async def test_duplicates_where_they_are_allowed(heard: Heard, tmp_path: Path) -> None:
    writer = JavaWriter(tmp_path, {}, **heard.options(allow_duplicates=True))
    for token in (1, 2):
        assert writer.try_put(frame(token=token, time=0))
        writer.saved(record('{"time":0}'))
    await writer.caught_up()
    assert [(item.row, item.token) for item in heard.frames] == [(0, 1), (1, 2)]


# ---- on Java's storage ----------------------------------------------------------------------------------------------


def listened(writer: JavaWriter, played: Any) -> None:
    for notice in played.notices:
        if notice.milestone == "image_saved":
            writer.saved(notice.payload)


@pytest.mark.parametrize("tiled", [False, True], ids=["plain", "tiled"])
async def test_the_dataset_live_is_the_one_on_disk(bridge: aiomm.Bridge, heard: Heard, tmp_path: Path, tiled: bool) -> None:
    events = [
        {"axes": {"time": time, "channel": channel, "row": 0, "column": time}} for channel in ("DAPI", "面", "Cy5") for time in range(2)
    ]
    async with playing(bridge, wanted(tmp_path, tiling=(10, 20, None) if tiled else None)) as played:
        session = played.session
        assert session.path is not None
        writer = JavaWriter(session.path, session.summary, **heard.options())
        for event in events:
            writer.expect(Frame(dict(event["axes"]), np.zeros((1, 1), np.uint8), {}, token=event["axes"]["time"]))
            await session.send([event])
        await played.until("image_saved")
        await played.until("post_snap")
        await session.send_end()
    listened(writer, played)
    await writer.caught_up()
    live = writer.dataset
    again = await type(live).open(session.path)
    assert live.axes == again.axes
    assert list(live.axes) == list(again.axes)
    assert live.get_channel_names() == again.get_channel_names() == ["DAPI", "面", "Cy5"]
    assert live.summary_metadata == again.summary_metadata
    assert (live.major_version, live.minor_version, live.overlap) == (again.major_version, again.minor_version, again.overlap)
    assert [(item.row, item.token) for item in heard.frames] == [(row, row % 2) for row in range(6)]
    for row in range(6):
        pixels, metadata = await live.read_row_async(row)
        there, same = await again.read_row_async(row)
        np.testing.assert_array_equal(pixels, there)
        assert metadata == same
    writer.finish()
    assert live.finished


async def test_processed_images_go_to_java_in_order(bridge: aiomm.Bridge, heard: Heard, tmp_path: Path) -> None:
    """More than its queue takes, of several kinds, with metadata that Java would stumble over."""
    sent: list[tuple[dict[str, Any], np.ndarray]] = []

    async def nothing(pixels: np.ndarray, metadata: dict[str, Any]) -> list[Any]:
        return []

    async with playing(bridge, wanted(tmp_path, images=True), process=nothing) as played:
        session = played.session
        assert session.path is not None
        assert session.images is not None
        room = asyncio.Event()
        writer = JavaWriter(session.path, session.summary, **heard.options(on_room=room.set))

        async def follow() -> None:
            told = 0
            while told < 12:
                await asyncio.sleep(0.005)
                records = [notice.payload for notice in played.notices if notice.milestone == "image_saved"]
                for one in records[told:]:
                    writer.saved(one)
                told = len(records)

        following = asyncio.create_task(follow())
        serving = asyncio.create_task(writer.serve(session.images))
        await session.send(times(1))  # Java saves from its first event on
        await played.until("post_snap")
        for time in range(12):
            shape, dtype = [((20, 30), np.uint8), ((20, 30), np.uint16), ((20, 30, 3), np.uint8)][time % 3]
            pixels = np.random.default_rng(time).integers(0, 255, shape).astype(dtype)
            item = Frame(
                {"time": time}, pixels, {"who": "me@lab.org", "bits": {"of": "a@b"}}, 12 if dtype == np.uint16 else None, token=time
            )
            async with asyncio.timeout(10):
                while not writer.try_put(item):
                    room.clear()
                    await room.wait()
            sent.append((item.axes, pixels))
        async with asyncio.timeout(10):
            await following
        writer.end()
        await session.send_end()
        await serving
    assert [(item.row, item.token) for item in heard.frames] == [(time, time) for time in range(12)]
    assert max(map(len, heard.batches)) <= 3
    found = await saved(session.path)
    for (axes, pixels), there, image, metadata in zip(sent, found.axes, found.images, found.metadata, strict=True):
        assert axes == there == metadata["Axes"]
        np.testing.assert_array_equal(pixels, image)
        assert (metadata["who"], metadata["bits"]) == ("me@lab.org", {"of": "a@b"})
    assert found.metadata[1]["BitDepth"] == 12
    writer.finish()


async def test_nothing_is_sent_after_giving_up(bridge: aiomm.Bridge, heard: Heard, tmp_path: Path) -> None:
    async with playing(bridge, wanted(tmp_path, images=True), process=passed) as played:
        session = played.session
        assert session.path is not None
        assert session.images is not None
        writer = JavaWriter(session.path, session.summary, **heard.options())
        writer.try_put(frame(time=0))
        writer.give_up()
        await writer.serve(session.images)
        await session.send_end()
    assert played.milestones.count("image_saved") == 0
    assert [item.axes for item in writer.outstanding] == [{"time": 0}]
