"""A dataset is followed as it grows: in the process that writes it, from another process, and by what somebody tells."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter, OmeZarrWriter
from aiomm.dataset.polling import QUICK, SLOW, STEADY, Pace
from aiomm.errors import ClosedError, DatasetError, DatasetFormatError, MissingImageError, UnsupportedError
from tests.dataset.support import frame, same
from tests.dataset.writer_process import axes_of, image_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ROOT = Path(__file__).parents[2]


async def collect(watch: Any) -> list[Any]:
    return [axes async for axes in watch]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def waiting(dataset: Dataset, count: int = 1) -> None:
    """Wait until so many wait for the dataset to grow."""
    await until(lambda: dataset._store.index.growth.waiting == count)


def followers(name: str = "aiomm-follow") -> int:
    return sum(thread.name == name for thread in threading.enumerate())


@asynccontextmanager
async def writing(kind: str, folder: Path, count: int, pause: float = 0.0) -> AsyncIterator[asyncio.subprocess.Process]:
    """Have another process write; it is killed at the end if it still runs."""
    command = [sys.executable, "-m", "tests.dataset.writer_process", kind, str(folder), str(count), str(pause)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def finish(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()


# ---- in the process that writes ---------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "ndtiff", "ome-zarr"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    kinds: dict[str, Callable[[], Any]] = {
        "memory": MemoryWriter,
        "ndtiff": lambda: NDTiffWriter(tmp_path, "live"),
        "ome-zarr": lambda: OmeZarrWriter(tmp_path, "live"),
    }
    writer = kinds[request.param]()
    yield writer
    writer.finish()


async def test_every_image_in_turn_then_the_end(writer: Any) -> None:
    watch = writer.dataset.watch()
    task = asyncio.create_task(collect(watch))
    for time in range(3):
        await waiting(writer.dataset)
        await asyncio.to_thread(writer.put, frame(time, time=time, channel="DAPI"))
    await asyncio.to_thread(writer.finish)
    assert await task == [{"time": time, "channel": "DAPI"} for time in range(3)]
    assert list((await task)[0]) == list(writer.dataset.axes)  # the one order of axes
    assert watch.row == 3
    assert await collect(watch) == []  # its end stays


async def test_a_watch_begins_where_it_is_told(writer: Any) -> None:
    def put(first: int, end: int) -> None:
        for time in range(first, end):
            writer.put(frame(time, time=time))

    await asyncio.to_thread(put, 0, 2)
    await writer.dataset.wait_for(time=1, timeout=20)
    now, second, third = (writer.dataset.watch(since=since) for since in ("now", 1, np.int64(2)))
    await asyncio.to_thread(put, 2, 4)
    await asyncio.to_thread(writer.finish)
    assert [[axes["time"] for axes in await collect(watch)] for watch in (now, second, third)] == [[2, 3], [1, 2, 3], [2, 3]]


@pytest.mark.parametrize("since", ["end", -1, True, None, 1.0])
async def test_no_place_to_begin(since: Any) -> None:
    with pytest.raises(ValueError, match=r"since is .*'start', 'now', or the number"):
        MemoryWriter().dataset.watch(since=since)


async def test_twenty_watch_and_each_has_a_place_of_its_own(writer: Any) -> None:
    tasks = [asyncio.create_task(collect(writer.dataset.watch())) for _ in range(20)]
    await waiting(writer.dataset, 20)

    def put() -> None:
        for time in range(50):
            writer.put(frame(time, (8, 8), time=time))
        writer.finish()

    await asyncio.to_thread(put)
    expected = [{"time": time} for time in range(50)]
    assert all(found == expected for found in await asyncio.gather(*tasks))


async def test_a_watch_that_is_not_read_is_known_to_nobody_and_a_cancelled_one_reads_on() -> None:
    writer = MemoryWriter()
    growth = writer.dataset._store.index.growth
    watch = writer.dataset.watch()
    assert growth.waiting == 0
    for _ in range(3):
        task = asyncio.create_task(anext(watch))
        await waiting(writer.dataset)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert growth.waiting == 0
    writer.put(frame(1))
    writer.put(frame(2))
    assert await anext(watch) == {"time": 1}
    assert await anext(watch) == {"time": 2}
    assert growth.waiting == 0


async def test_many_images_that_are_there_leave_others_their_turn() -> None:
    writer = MemoryWriter()
    for time in range(200):
        writer.put(frame(time, (4, 4), time=time))
    writer.finish()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert len(await collect(writer.dataset.watch())) == 200
    task.cancel()
    assert turns > 5


async def test_watched_from_two_event_loops_and_one_of_them_is_closed() -> None:
    writer = MemoryWriter()
    dataset = writer.dataset
    gone = asyncio.new_event_loop()
    future = []

    async def enter() -> None:
        future.append(dataset._store.index.growth.enter())

    await asyncio.to_thread(gone.run_until_complete, enter())
    gone.close()
    other = asyncio.create_task(asyncio.to_thread(asyncio.run, collect(dataset.watch())))
    here = asyncio.create_task(collect(dataset.watch()))
    await waiting(dataset, 3)
    writer.put(frame(1))
    writer.finish()
    assert await other == await here == [{"time": 1}]


async def test_an_acquisition_is_followed(tmp_path: Path, demo_core: aiomm.LocalCore) -> None:
    async with aiomm.Acquisition(tmp_path, "seen", core=demo_core, show_display=False) as acquisition:
        dataset = acquisition.get_dataset()
        task = asyncio.create_task(collect(dataset.watch()))
        acquisition.acquire(aiomm.multi_d_acquisition_events(num_time_points=3))
        assert await dataset.wait_for(time=2, timeout=20) == {"time": 2}
    assert await task == [{"time": time} for time in range(3)]


# ---- one image that is waited for -------------------------------------------------------------------------------


async def test_an_image_is_waited_for(writer: Any) -> None:
    dataset = writer.dataset
    wanted: dict[str, dict[str, Any]] = {
        "fifth": {"time": 5},
        "FITC": {"channel": "FITC"},
        "second": {"channel": 1},
        "any": {},
        "late": {"col": -1},
    }
    tasks = {name: asyncio.create_task(dataset.wait_for(**axes)) for name, axes in wanted.items()}
    await waiting(dataset, 5)

    def put() -> None:
        for time in range(7):
            writer.put(frame(time, time=time, channel=("DAPI", "FITC")[time > 2]))
        writer.put(frame(9, column=-1, time=3, channel="FITC"))

    await asyncio.to_thread(put)
    async with asyncio.timeout(20):
        assert await tasks["any"] == {"time": 0, "channel": "DAPI"}
        assert await tasks["fifth"] == {"time": 5, "channel": "FITC"}
        assert await tasks["FITC"] == await tasks["second"] == {"time": 3, "channel": "FITC"}
        assert await tasks["late"] == {"column": -1, "time": 3, "channel": "FITC"}
        assert await dataset.wait_for(time=np.uint8(2), channel="DAPI") == {"time": 2, "channel": "DAPI"}  # there already


async def test_what_is_there_needs_no_time(tmp_path: Path) -> None:
    def save(cls: type[NDTiffWriter] | type[OmeZarrWriter]) -> Path:
        with cls(tmp_path, "x", {"ChNames": ["DAPI", "FITC"]}) as writer:
            for i in range(4):
                writer.put(frame(i, time=i // 2, channel=i % 2))
        return writer.path

    for cls in (NDTiffWriter, OmeZarrWriter):
        path = await asyncio.to_thread(save, cls)
        async with await Dataset.open(path) as dataset:
            assert await dataset.wait_for(time=1, channel=0, timeout=0) == {"time": 1, "channel": 0}
        async with await Dataset.open(path) as dataset:
            assert await dataset.wait_for(time=1, channel="FITC", timeout=0) == {"time": 1, "channel": 1}
            with pytest.raises((TimeoutError, MissingImageError), match="the nearest are"):
                await dataset.wait_for(time=7, timeout=0)
            await dataset.aclose()
            with pytest.raises(ClosedError):
                await dataset.wait_for(time=1, timeout=0)


async def test_what_does_not_come_is_an_error_that_says_what_there_is() -> None:
    writer = MemoryWriter()
    dataset = writer.dataset
    with pytest.raises(TimeoutError, match=r"no image with time=5 was saved within 0.01 s; it has no image"):
        await dataset.wait_for(time=5, timeout=0.01)
    with pytest.raises(TimeoutError, match=r"no image came within 0.01 s; there is none yet"):
        await anext(dataset.watch(timeout=0.01))
    writer.put(frame(1, time=1, channel="DAPI"))
    with pytest.raises(TimeoutError, match=r"time=5 was saved within 0 s; the nearest are \{'time': 1, 'channel': 'DAPI'\}"):
        await dataset.wait_for(time=5, timeout=0)
    with pytest.raises(TimeoutError, match="did you mean 'time'"):
        await dataset.wait_for(tiem=5, timeout=0.01)
    watch = dataset.watch(timeout=0.01)
    assert await anext(watch) == {"time": 1, "channel": "DAPI"}
    with pytest.raises(TimeoutError, match=r"within 0.01 s; the last of 1 is \{'time': 1, 'channel': 'DAPI'\}"):
        await anext(watch)
    writer.put(frame(2, time=2, channel="DAPI"))
    assert (await anext(watch))["time"] == 2  # after its error it reads on
    task = asyncio.create_task(dataset.wait_for(time=5))
    await waiting(dataset)
    writer.finish()
    with pytest.raises(MissingImageError, match=r"the dataset ended without an image with time=5; the nearest are \{'time': 2"):
        await task
    with pytest.raises(MissingImageError, match="axis 'time' has integers"):
        await dataset.wait_for(time="5")
    with pytest.raises(TypeError, match=r"axis 'time' is 5\.5"):
        await dataset.wait_for(time=5.5)
    wrong: Any = ((-1, ValueError), (math.nan, ValueError), ("1", TypeError), (True, TypeError))
    for timeout, error in wrong:
        with pytest.raises(error, match="timeout is"):
            await dataset.wait_for(time=1, timeout=timeout)
        with pytest.raises(error, match="timeout is"):
            dataset.watch(timeout=timeout)


async def test_an_old_channel_name_is_waited_for() -> None:
    writer = MemoryWriter({"ChNames": ["DAPI", "FITC"]})
    task = asyncio.create_task(writer.dataset.wait_for(channel="FITC", timeout=20))
    await waiting(writer.dataset)
    writer.put(frame(0, channel=0))
    writer.put(frame(1, channel=1))
    assert await task == {"channel": 1}


async def test_closing_ends_every_wait() -> None:
    writer = MemoryWriter()
    dataset = writer.dataset
    watch = dataset.watch()
    ended = asyncio.create_task(collect(watch))
    closed = [asyncio.create_task(anext(dataset.watch())), asyncio.create_task(dataset.wait_for(time=1))]
    await waiting(dataset, 3)
    await watch.aclose()
    assert await ended == []
    await dataset.aclose()
    for task in closed:
        with pytest.raises(ClosedError, match="the dataset was closed"):
            await task
    with pytest.raises(ClosedError):
        await anext(dataset.watch())
    writer.finish()


# ---- from another process ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["aiomm", "ndstorage"])
async def test_another_process_is_followed_from_before_its_folder_exists(tmp_path: Path, kind: str) -> None:
    count = 120  # ndstorage's index is written 4096 bytes at a time
    opening = asyncio.create_task(Dataset.open(tmp_path / "data" / "grown_1", live=True, wait=30))
    await asyncio.sleep(0.05)
    async with writing(kind, tmp_path / "data", count, 0.001) as process, await opening as dataset:
        assert dataset.summary_metadata["Who"] == kind
        assert not dataset.finished
        found: list[Any] = []
        async for axes in dataset.watch(timeout=20):
            pixels, metadata = await dataset.read_row_async(len(found))
            assert axes == axes_of(len(found)) == metadata["Axes"]
            assert list(axes) == ["time", "channel", "z"]
            assert same(pixels, image_of(len(found)))
            found.append(axes)
            if len(found) == 7:
                array = await asyncio.to_thread(dataset.as_array, axes=["z"], time=0, channel="DAPI")
                assert same(await asyncio.to_thread(array.compute), np.stack([image_of(z) for z in range(3)]))
                await finish(process)
        assert len(found) == count
        assert dataset.finished
        assert dataset.axes == {"time": list(range(20)), "channel": ["DAPI", "FITC"], "z": [0, 1, 2]}
    await until(lambda: followers() == 0)


async def test_a_killed_writer_is_noticed_by_the_time_and_what_it_saved_is_there(tmp_path: Path) -> None:
    async with writing("aiomm", tmp_path, 25) as process:
        async with await Dataset.open(tmp_path / "grown_1", live=True, wait=30) as dataset:
            assert await dataset.wait_for(time=4, timeout=20) == axes_of(24)
            assert not dataset.finished
            process.kill()
            await process.wait()
            watch = dataset.watch(timeout=0.2)
            for number in range(25):
                assert await anext(watch) == axes_of(number)
            with pytest.raises(TimeoutError, match="the last of 25 is"):
                await anext(watch)
            assert not dataset.finished
            assert same(dataset.read_row(24)[0], image_of(24))
        async with await Dataset.open(tmp_path / "grown_1") as dataset:  # not opened live, and watched all the same
            task = asyncio.create_task(collect(dataset.watch(since="now")))
            await waiting(dataset)
            await until(lambda: followers() == 1)  # the first one ends with its sleep
            await dataset.aclose()
            with pytest.raises(ClosedError):
                await task
    await until(lambda: followers() == 0)


# ---- bytes as they come -----------------------------------------------------------------------------------------


class Replay:
    """Writes the index of a finished dataset again, piece by piece, beside its files."""

    def __init__(self, source: Path, folder: Path, presized: int = 0) -> None:
        folder.mkdir()
        for tiff in source.glob("*.tif"):
            data = bytearray(tiff.read_bytes())
            (folder / tiff.name).write_bytes(data)
        self.folder = folder
        self.index = folder / "NDTiff.index"
        self.data = (source / "NDTiff.index").read_bytes()
        self.at = 0
        self.index.write_bytes(bytes(presized))
        self.fd = os.open(self.index, os.O_WRONLY)

    def go_to(self, end: int) -> None:
        os.pwrite(self.fd, self.data[self.at : end], self.at)
        self.at = max(self.at, end)

    def close(self) -> None:
        os.close(self.fd)

    def records(self) -> list[bytes]:
        return split(self.data)


def split(data: bytes) -> list[bytes]:
    records, at = [], 0
    while at < len(data):
        axes = int.from_bytes(data[at : at + 4], "little")
        name = int.from_bytes(data[at + 4 + axes : at + 8 + axes], "little")
        end = at + 40 + axes + name
        records.append(data[at:end])
        at = end
    return records


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A finished dataset of 60 images in several files."""
    with NDTiffWriter(tmp_path / "source", "grown", file_limit=100_000) as writer:
        for number in range(60):
            writer.put(Frame(axes_of(number), image_of(number), {"Number": number}))
    assert len(list(writer.path.glob("*.tif"))) > 2
    return writer.path


@pytest.mark.parametrize("presized", [0, 100_000])
async def test_records_that_come_in_pieces(tmp_path: Path, source: Path, presized: int) -> None:
    replay = Replay(source, tmp_path / "replay", presized)
    rng = np.random.default_rng(presized)
    ends = np.cumsum([len(record) for record in replay.records()])
    cuts = sorted(
        cut for cut in rng.integers(0, len(replay.data), 200).tolist() if not presized or min(ends[ends > cut]) - cut not in (5, 6, 7)
    )
    # where zeros follow, a writer that stops for long between the bytes of the last number cannot be told from one that is done
    try:
        async with await Dataset.open(replay.folder, live=True) as dataset:
            task = asyncio.create_task(collect(dataset.watch(timeout=20)))
            for cut in cuts:
                replay.go_to(cut)
                await asyncio.sleep(rng.choice([0, 0.0007, 0.003]))
                assert len(dataset) <= len(split(replay.data[: replay.at])), "a record counts when it is whole"
            replay.go_to(len(replay.data))
            await dataset.wait_for(**axes_of(59), timeout=20)
            assert await task == [axes_of(number) for number in range(60)]
            assert all(same(dataset.read_row(number)[0], image_of(number)) for number in range(60))
    finally:
        replay.close()


async def test_a_file_that_ended_is_not_the_end_when_there_is_another(tmp_path: Path, source: Path) -> None:
    replay = Replay(source, tmp_path / "replay")
    records = replay.records()
    first_file = sum(b"Stack.tif" in record for record in records)
    replay.go_to(sum(map(len, records[:first_file])))
    try:
        async with await Dataset.open(replay.folder, live=True) as dataset:
            assert len(dataset) == first_file
            watch = dataset.watch(since="now", timeout=0.1)
            with pytest.raises(TimeoutError):
                await anext(watch)
            assert not dataset.finished
            replay.go_to(len(replay.data))
            assert len(await collect(watch)) == 60 - first_file
            assert dataset.finished
    finally:
        replay.close()


async def test_a_file_that_is_full_may_have_another_to_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java and ndstorage end a full file before they make the next: for a moment it looks like the end."""

    def make() -> Path:
        with NDTiffWriter(tmp_path, "grown") as writer:
            for number in range(3):
                writer.put(Frame(axes_of(number), image_of(number), {}))
        return writer.path

    path = await asyncio.to_thread(make)
    size = next(path.glob("*.tif")).stat().st_size
    monkeypatch.setattr("aiomm.dataset.ndtiff.format.FILE_LIMIT", size)
    monkeypatch.setattr("aiomm.dataset.ndtiff.tail.PATIENCE", math.inf)
    async with await Dataset.open(path, live=True) as dataset:
        assert len(dataset) == 3
        watch = dataset.watch(since="now", timeout=0.05)
        with pytest.raises(TimeoutError):
            await anext(watch)
        assert not dataset.finished
        monkeypatch.setattr("aiomm.dataset.ndtiff.tail.PATIENCE", 0)
        assert await collect(dataset.watch(since="now", timeout=20)) == []
        assert dataset.finished


def test_the_pace_is_quick_while_images_come_and_slow_when_none_do() -> None:
    pace = Pace(0.0)
    assert pace.delay(0.0) == QUICK
    assert pace.delay(10.0) == SLOW
    now = 10.0
    for gap in (0.002, 0.01, 0.1, 0.3):
        for _ in range(20):
            now += gap
            pace.came(now)
        assert pace.delay(now + gap) <= STEADY, f"an image comes every {gap} s: the next is looked for often"
        assert pace.delay(now + 10.0) == SLOW
        delays = [pace.delay(now + idle) for idle in np.linspace(0, 10, 200)]
        assert delays == sorted(delays)
    for _ in range(60):
        now += 0.002
        pace.came(now)
    assert pace.delay(now + 0.3) > STEADY, "long gaps of before are forgotten"


async def test_a_damaged_record_is_an_error_after_a_while(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomm.dataset.ndtiff.tail.PATIENCE", 0.05)
    replay = Replay(source, tmp_path / "replay")
    records = replay.records()
    try:
        replay.go_to(len(records[0]))
        async with await Dataset.open(replay.folder, live=True) as dataset:
            watches = [asyncio.create_task(collect(dataset.watch())) for _ in range(2)]
            await waiting(dataset, 2)
            os.pwrite(replay.fd, b"\x07\0\0\0garbage, and more of it" * 10, replay.at)
            for task in watches:
                with pytest.raises(DatasetFormatError, match=f"byte {replay.at}: .* the index is damaged there"):
                    await task
            assert same(dataset.read_row(0)[0], image_of(0))
        with pytest.raises(DatasetFormatError, match="damaged"):
            await Dataset.open(replay.folder, live=True)
    finally:
        replay.close()


@pytest.mark.parametrize("what", ["repaired", "another", "shorter", "gone"])
async def test_an_index_that_is_replaced(tmp_path: Path, source: Path, what: str) -> None:
    replay = Replay(source, tmp_path / "replay")
    records = replay.records()
    replay.go_to(sum(map(len, records[:10])))
    replay.close()
    new = replay.folder / "new"
    async with await Dataset.open(replay.folder, live=True) as dataset:
        watch = dataset.watch(since="now", timeout=20)
        if what == "repaired":
            new.write_bytes(replay.data)
            new.replace(replay.index)
            assert await collect(watch) == [axes_of(number) for number in range(10, 60)]
            return
        if what == "another":
            new.write_bytes(b"".join(records[::-1]))
            new.replace(replay.index)
        elif what == "shorter":
            os.truncate(replay.index, len(records[0]))
        else:
            replay.index.unlink()
        with pytest.raises(DatasetFormatError, match={"another": "replaced", "shorter": "shorter", "gone": "gone"}[what]):
            await anext(watch)
        assert len(dataset) == 10
        assert same(dataset.read_row(9)[0], image_of(9))


async def test_a_dataset_opened_as_it_stands_is_followed_when_it_is_watched(tmp_path: Path, source: Path) -> None:
    replay = Replay(source, tmp_path / "replay")
    records = replay.records()
    replay.go_to(sum(map(len, records[:2])))
    try:
        async with await Dataset.open(replay.folder) as dataset:
            replay.go_to(sum(map(len, records[:20])))
            assert len(dataset) == 2
            assert dataset.get_channel_names() == ["DAPI"]
            tasks = [asyncio.create_task(collect(dataset.watch(since=since))) for since in ("start", "now", "start")]
            await waiting(dataset, 3)
            assert len(dataset) == 20
            replay.go_to(len(replay.data))
            assert [len(await task) for task in tasks] == [60, 58, 60]
            assert dataset.finished
            assert dataset.get_channel_names() == ["DAPI", "FITC"]
            assert same(dataset.read_image(**axes_of(59)), image_of(59))
    finally:
        replay.close()


async def test_a_finished_dataset_is_watched_to_its_end_at_once(source: Path) -> None:
    for live in (False, True):
        async with await Dataset.open(source, live=live) as dataset:
            assert dataset.finished
            assert len(await collect(dataset.watch(timeout=20))) == 60
            with pytest.raises(MissingImageError, match="the dataset ended without"):
                await dataset.wait_for(time=100)
            assert followers() == 0


def test_scripts_follow_without_an_event_loop_and_what_is_forgotten_ends(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "grown") as writer:
        dataset = Dataset(writer.path, live=True)
        assert (len(dataset), followers()) == (0, 1)
        writer.put(frame(1))
        assert asyncio.run(dataset.wait_for(time=1, timeout=20)) == {"time": 1}
        assert same(dataset.read_image(time=1), frame(1).pixels)
        del dataset
        gc.collect()
        asyncio.run(until(lambda: followers() == 0))


async def test_waiting_for_a_folder_ends(tmp_path: Path) -> None:
    path = tmp_path / "later"
    with pytest.raises(DatasetFormatError, match=r"there is no such folder; if it is still to come, wait=\.\.\. says how long"):
        await Dataset.open(path, live=True)
    with pytest.raises(DatasetFormatError, match=r"there is no such folder \(waited 0.03 s\)"):
        await Dataset.open(path, live=True, wait=0.03)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        loop.set_default_executor(pool)
        tasks = [asyncio.create_task(Dataset.open(path, live=True, wait=math.inf)) for _ in range(5)]
        await asyncio.sleep(0.05)
        path.mkdir()
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: True), "who waits holds no thread that others may need"
        assert followers("aiomm-open") == 5
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: followers("aiomm-open") == 0)
    with pytest.raises(DatasetFormatError, match=r"no NDTiff.index"):
        await Dataset.open(path, live=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the files that a process has open")
@pytest.mark.parametrize("make", [NDTiffWriter, OmeZarrWriter])
@pytest.mark.parametrize("finished", [True, False])
def test_a_closed_dataset_has_no_file_open(tmp_path: Path, make: Any, finished: bool) -> None:
    def held() -> list[str]:
        return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]

    def files() -> list[str]:
        return [path for path in held() if path.startswith(str(writer.path))]

    gc.collect()
    with make(tmp_path, "x") as writer:
        if finished:
            writer.put(frame(1))
            writer.finish()
        before = len(files())
        gc.disable()
        try:
            dataset = Dataset(writer.path, live=True, wait=5)
            assert len(files()) > before - finished
            if finished:
                dataset.read_image(time=1)
                dataset.close()
                assert len(files()) == before
            else:
                dataset.close()
                asyncio.run(until(lambda: len(files()) == before))
        finally:
            gc.enable()


async def test_an_index_alone_is_a_dataset_that_has_not_begun(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java makes an index of zeros, and its first file with the first image; ``wait`` waits for that, and then no longer."""
    folder = tmp_path / "java"
    index = folder / "NDTiff.index"

    def begin() -> None:
        for file in source.glob("*.tif"):
            (folder / "new").write_bytes(file.read_bytes())
            (folder / "new").rename(folder / file.name)

    def lose() -> None:
        for file in folder.glob("*.tif"):
            file.unlink()

    folder.mkdir()
    index.write_bytes(bytes(2**20))
    async with await Dataset.open(source) as whole:
        summary = whole.summary_metadata
    async with await Dataset.open(folder, live=True, wait=0.05) as dataset:
        assert (len(dataset), dataset.summary_metadata, dataset.finished) == (0, {}, False)
        opening = asyncio.create_task(Dataset.open(folder, live=True, wait=20))
        await asyncio.to_thread(begin)
        async with await opening as other:
            assert other.summary_metadata == summary
        index.write_bytes((source / "NDTiff.index").read_bytes())
        assert await collect(dataset.watch(timeout=20)) == [axes_of(number) for number in range(60)]
        assert dataset.summary_metadata == summary
    monkeypatch.setattr("aiomm.dataset.ndtiff.tail.PATIENCE", 0.05)
    await asyncio.to_thread(lose)
    with pytest.raises(DatasetFormatError, match="there is no TIFF file beside the index"):
        await Dataset.open(folder, live=True)


async def test_what_does_not_go_together(tmp_path: Path) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for record in b"":
            yield bytes(record)

    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"wait": 1}, ValueError, "live=True must be given too"),
        ({"live": True, "wait": -1}, ValueError, "wait is -1"),
        ({"live": True, "wait": None}, TypeError, "wait is None"),
        ({"live": True, "full_res_only": False}, UnsupportedError, "full resolution only"),
        ({"live": True, "remote_storage_monitor": nothing()}, ValueError, "only one of them"),
        ({"remote_storage_monitor": [b""]}, TypeError, "remote_storage_monitor is a list: it must be an async iterable"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            await asyncio.to_thread(Dataset, tmp_path, **arguments)
    with pytest.raises(TypeError, match="dataset_path is missing"):
        Dataset(remote_storage_monitor=nothing())


# ---- by what somebody tells -------------------------------------------------------------------------------------


async def told(records: list[Any]) -> AsyncIterator[Any]:
    for record in records:
        await asyncio.sleep(0)
        yield record


@pytest.mark.parametrize("as_text", [False, True])
async def test_a_stream_of_records_is_followed(source: Path, as_text: bool) -> None:
    records = split((source / "NDTiff.index").read_bytes())
    stream = told([record.decode("latin-1") for record in records] if as_text else [records[0] + records[1], *records[2:]])
    async with Dataset(source, remote_storage_monitor=stream) as dataset:
        assert len(dataset) == 0  # nobody has watched
        tasks = [asyncio.create_task(collect(dataset.watch())) for _ in range(3)]
        assert await dataset.wait_for(time=2, timeout=20) == axes_of(12)
        for task in tasks:
            assert await task == [axes_of(number) for number in range(60)]
        assert dataset.finished
        assert "TiledImageStorage" in dataset.summary_metadata
        pixels, metadata = await dataset.read_image_async(**axes_of(59), read_metadata=True)
        assert same(pixels, image_of(59))
        assert metadata["Number"] == 59


async def test_a_stream_that_fails_and_records_that_are_none(source: Path) -> None:
    whole = split((source / "NDTiff.index").read_bytes())[0]

    async def stream(item: Any) -> AsyncIterator[Any]:
        yield whole
        if isinstance(item, Exception):
            raise item
        yield item

    cases: list[tuple[Any, type[Exception], str]] = [
        (OSError("the line is cut"), DatasetError, "remote_storage_monitor failed: OSError: the line is cut"),
        (whole[:-1], DatasetFormatError, "cut short"),
        (b"", DatasetFormatError, "is empty"),
        (axes_of(1), DatasetFormatError, "a record is a dict; it must be bytes"),
        ("\u1234", DatasetFormatError, "Latin-1"),
        (b"\x02\0\0\0[]\x01\0\0\0a" + bytes(32), DatasetFormatError, "byte 0"),
    ]
    for item, error, message in cases:
        async with Dataset(source, remote_storage_monitor=stream(item)) as dataset:
            watch = dataset.watch()
            assert await anext(watch) == axes_of(0)
            with pytest.raises(error, match=message):
                await anext(watch)
            assert same(dataset.read_image(**axes_of(0)), image_of(0))


async def test_closing_ends_the_stream_and_cancelled_watchers_do_not(source: Path) -> None:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    ended = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        try:
            while True:
                yield await queue.get()
        finally:
            ended.set()

    dataset = Dataset(source, remote_storage_monitor=stream())
    records = split((source / "NDTiff.index").read_bytes())[:2]
    for count, record in enumerate(records, 1):
        task = asyncio.create_task(anext(dataset.watch(since="now")))
        await waiting(dataset)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        queue.put_nowait(record)
        await until(lambda count=count: len(dataset) == count)  # type: ignore[misc]
    assert await dataset.wait_for(**axes_of(1), timeout=20) == axes_of(1)
    waiter: Awaitable[Any] = asyncio.create_task(anext(dataset.watch(since="now")))
    await waiting(dataset)
    assert not ended.is_set()
    await dataset.aclose()
    assert ended.is_set()
    with pytest.raises(ClosedError):
        await waiter
