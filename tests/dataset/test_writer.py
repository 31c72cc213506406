from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, MemoryWriter, NDTiffWriter, OmeZarrWriter
from aiomm.errors import ClosedError, DuplicateImageError, StorageError, UnsupportedError
from tests.dataset.support import METADATA, frame, image, same


def make(kind: str, folder: Path, **options: Any) -> Any:
    if kind == "memory":
        return MemoryWriter({"Name": "x"}, **options)
    return (NDTiffWriter if kind == "ndtiff" else OmeZarrWriter)(folder, "x", {"Name": "x"}, **options)


ON_DISK = pytest.mark.parametrize("cls", [NDTiffWriter, OmeZarrWriter])
BOTH = pytest.mark.parametrize("kind", ["ndtiff", "ome-zarr", "memory"])


@BOTH
def test_saved_in_the_order_put(tmp_path: Path, kind: str) -> None:
    saved: list[Frame] = []
    frames = [frame(i) for i in range(200)]
    for one in frames:
        one.token = object()
    with make(kind, tmp_path, on_saved=saved.extend) as writer:
        for one in frames:
            writer.put(one)
    assert saved == frames
    assert [one.row for one in frames] == list(range(200))
    dataset = writer.dataset
    assert dataset.finished
    assert len(dataset) == 200
    for i in range(200):
        assert dataset.axes_of(i) == {"time": i}
        pixels, metadata = dataset.read_row(i)
        assert np.array_equal(pixels, image(i))
        assert metadata == {**METADATA, "Seed": i, "Axes": {"time": i}}


@BOTH
def test_live_dataset_has_what_was_reported(tmp_path: Path, kind: str) -> None:
    """At the moment of the report, every image can be found and read."""
    wrong: list[Any] = []
    writer: Any = None

    def check(frames: list[Frame]) -> None:
        dataset = writer.dataset
        for one in frames:
            pixels, metadata = dataset.read_row(one.row)
            if not (np.array_equal(pixels, one.pixels) and metadata["Seed"] == one.metadata["Seed"] and dataset.has_image(**one.axes)):
                wrong.append(one.axes)

    writer = make(kind, tmp_path, on_saved=check)
    with writer:
        for i in range(60):
            writer.put(frame(i, (200, 301), time=i // 2, channel=["DAPI", "FITC"][i % 2]))
        assert not writer.dataset.finished
    assert not wrong
    assert list(writer.dataset.axes) == ["time", "channel"]


@BOTH
def test_the_callers_pixels_and_dicts_may_change_after_saving(tmp_path: Path, kind: str) -> None:
    saved = threading.Event()
    pixels, axes, metadata = image(1), {"time": 0}, {"a": 1}
    with make(kind, tmp_path, on_saved=lambda _: saved.set()) as writer:
        writer.put(Frame(axes, pixels, metadata))
        assert saved.wait(10)
        pixels[:] = 0
        axes["time"] = 5
        metadata["a"] = 2
        assert np.array_equal(writer.dataset.read_image(time=0), image(1))
        assert writer.dataset.read_metadata(time=0) == {"a": 1, "Axes": {"time": 0}}
    assert axes == {"time": 5}
    assert metadata == {"a": 2}


@BOTH
@pytest.mark.parametrize(
    ("axes", "pixels", "metadata", "error"),
    [
        ({"time": 1.5}, image(1), {}, TypeError),
        ({"time": True}, image(1), {}, TypeError),
        ({"channel": 3}, image(1), {}, TypeError),
        ({"time": 3}, image(1).astype(float), {}, TypeError),
        ({"time": 3}, image(1)[0], {}, ValueError),
        ({"time": 3}, image(1), None, TypeError),
    ],
)
def test_refused_before_anything_is_touched(
    tmp_path: Path, kind: str, axes: Any, pixels: Any, metadata: Any, error: type[Exception]
) -> None:
    with make(kind, tmp_path) as writer:
        writer.put(frame(0, time=0, channel="DAPI"))
        with pytest.raises(error):
            writer.try_put(Frame(axes, pixels, metadata))
        writer.put(frame(1, time=1, channel="DAPI"))
    dataset = writer.dataset
    assert len(dataset) == 2
    assert np.array_equal(dataset.read_image(time=1), image(1))


@BOTH
def test_duplicates(tmp_path: Path, kind: str) -> None:
    with make(kind, tmp_path) as writer:
        writer.put(frame(1, time=0, z=0))
        with pytest.raises(DuplicateImageError, match="'time': 0"):
            writer.try_put(frame(2, z=0, time=0))
        writer.finish()
        assert np.array_equal(writer.dataset.read_image(time=0), image(1))


@BOTH
def test_duplicates_allowed_the_last_counts(tmp_path: Path, kind: str) -> None:
    with make(kind, tmp_path, allow_duplicates=True) as writer:
        for i in range(6):
            writer.put(frame(i, time=i % 2))
    datasets = [writer.dataset] + ([Dataset(writer.path)] if kind == "ndtiff" else [])
    for dataset in datasets:
        assert np.array_equal(dataset.read_image(time=0), image(4))
        assert dataset.read_metadata(time=1)["Seed"] == 5
        assert len(dataset) == 6
        assert dataset.get_index_keys() == [{"time": 0}, {"time": 1}]
        assert np.array_equal(dataset.to_numpy(), [image(4), image(5)])


@BOTH
def test_no_images(tmp_path: Path, kind: str) -> None:
    with make(kind, tmp_path) as writer:
        assert len(writer.dataset) == 0
    for dataset in [writer.dataset] + ([Dataset(writer.path)] if kind == "ndtiff" else []):
        assert len(dataset) == 0
        assert dataset.finished
        assert dataset.summary_metadata["Name"] == "x"
        assert dataset.get_index_keys() == []
        assert dataset.dtype is None
        assert not dataset.has_image()
        repr(dataset)


@BOTH
def test_after_finish(tmp_path: Path, kind: str) -> None:
    writer = make(kind, tmp_path)
    writer.put(frame(0))
    writer.finish()
    writer.finish()
    with pytest.raises(ClosedError):
        writer.try_put(frame(1))
    with pytest.raises(ClosedError):
        writer.put(frame(1))
    writer.flush()


@BOTH
def test_many_putters(tmp_path: Path, kind: str) -> None:
    """Putting from several threads mixes the order, never the images."""
    with make(kind, tmp_path, queue_size=5) as writer:

        def put(who: int) -> None:
            for i in range(100):
                writer.put(frame(1000 * who + i, (16, 16 + who), who=who, time=i))

        threads = [threading.Thread(target=put, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    dataset = writer.dataset if kind == "memory" else Dataset(writer.path)
    assert len(dataset) == 400
    for who in range(4):
        for i in range(100):
            assert np.array_equal(dataset.read_image(who=who, time=i), image(1000 * who + i, (16, 16 + who)))
            assert dataset.read_metadata(who=who, time=i)["Seed"] == 1000 * who + i


class Gate:
    """Holds the writer's reports back until it is opened."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, frames: list[Frame]) -> None:
        self.entered.set()
        assert self.open.wait(30)


@ON_DISK
def test_room(tmp_path: Path, cls: Any) -> None:
    gate, room = Gate(), threading.Event()
    with cls(tmp_path, "x", queue_size=3, on_saved=gate, on_room=room.set) as writer:
        writer.put(frame(0))
        assert gate.entered.wait(10)  # the first is saved; its report is held back
        for i in range(1, 4):
            assert writer.try_put(frame(i))
        assert not writer.try_put(frame(4))
        assert not room.is_set()
        with pytest.raises(TimeoutError, match="3 are put"):
            writer.put(frame(4), timeout=0.01)
        late = threading.Thread(target=writer.put, args=(frame(4),))
        late.start()
        gate.open.set()
        late.join(10)
        assert not late.is_alive()
        assert room.wait(10)
    assert len(writer.dataset) == 5


@ON_DISK
def test_put_that_waits_ends_with_finish(tmp_path: Path, cls: Any) -> None:
    gate = Gate()
    writer = cls(tmp_path, "x", queue_size=1, on_saved=gate)
    writer.put(frame(0))
    assert gate.entered.wait(10)
    writer.put(frame(1))
    errors: list[BaseException] = []

    def put() -> None:
        try:
            writer.put(frame(2))
        except ClosedError as error:
            errors.append(error)

    late = threading.Thread(target=put)
    late.start()
    ender = threading.Thread(target=writer.finish)
    ender.start()
    late.join(10)
    gate.open.set()
    ender.join(10)
    assert len(errors) == 1
    assert len(Dataset(writer.path)) == 2


@ON_DISK
def test_a_lone_frame_does_not_wait_for_company(tmp_path: Path, cls: Any) -> None:
    saved: list[Frame] = []
    came = threading.Event()

    def on_saved(frames: list[Frame]) -> None:
        saved.extend(frames)
        came.set()

    with cls(tmp_path, "x", on_saved=on_saved) as writer:
        for i in range(5):
            came.clear()
            writer.put(frame(i))
            assert came.wait(10)
            assert len(saved) == i + 1
            assert len(Dataset(writer.path)) == i + 1  # others see it too


@ON_DISK
def test_interval_reports_when_synced_and_at_once_when_somebody_waits(tmp_path: Path, cls: Any) -> None:
    saved: list[Frame] = []
    came = threading.Event()

    def on_saved(frames: list[Frame]) -> None:
        saved.extend(frames)
        came.set()

    with cls(tmp_path, "x", on_saved=on_saved, durability="interval", sync_interval=1e6, queue_size=4) as writer:
        writer.put(frame(0))
        assert not came.wait(0.1)
        assert len(writer.dataset) == 0
        writer.flush()
        assert came.wait(10)
        assert len(writer.dataset) == 1
        for i in range(1, 20):  # a full queue does not wait for the interval
            writer.put(frame(i), timeout=10)
    assert len(saved) == 20
    assert len(Dataset(writer.path)) == 20


@ON_DISK
def test_interval_passes(tmp_path: Path, cls: Any) -> None:
    came = threading.Event()
    with cls(tmp_path, "x", on_saved=lambda _: came.set(), durability="interval", sync_interval=0.02) as writer:
        writer.put(frame(0))
        assert came.wait(10)


@pytest.mark.parametrize("durability", ["none", "interval", "every"])
def test_pixels_are_synced_before_the_index_says_so(tmp_path: Path, durability: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    calls: list[str] = []
    names: dict[int, str] = {}
    real_write, real_pwrite, real_sync = os.write, os.pwrite, os.fdatasync

    def kind_of(fd: int) -> str:
        return names.setdefault(fd, "index" if Path(f"/proc/self/fd/{fd}").readlink().name.endswith("index") else "tiff")

    monkeypatch.setattr(os, "write", lambda fd, data: (calls.append(f"write {kind_of(fd)}"), real_write(fd, data))[1])
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: (calls.append(f"write {kind_of(fd)}"), real_pwrite(fd, data, at))[1])
    monkeypatch.setattr(os, "fdatasync", lambda fd: (calls.append(f"sync {kind_of(fd)}"), real_sync(fd))[1])
    with NDTiffWriter(tmp_path, "x", durability=durability, on_saved=lambda _: calls.append("saved")) as writer:
        calls.clear()
        writer.put(frame(0))
    done = calls[: calls.index("saved")]
    assert done == (["write tiff", "write index"] if durability == "none" else ["write tiff", "sync tiff", "write index", "sync index"])


@pytest.mark.parametrize("limit", [100_000, 1_000_000])
def test_files_are_split_at_the_limit(tmp_path: Path, limit: int) -> None:
    with NDTiffWriter(tmp_path, "x", file_limit=limit + 2**20) as writer:
        for i in range(200):
            shape = (20, 30) if i % 10 else (200, 301)
            writer.put(frame(i, shape))
    files = sorted(writer.path.glob("*.tif"), key=lambda p: (len(p.name), p.name))
    assert len(files) > 1
    assert [p.name for p in files] == ["x_NDTiffStack.tif", *(f"x_NDTiffStack_{k}.tif" for k in range(1, len(files)))]
    assert all(p.stat().st_size <= limit + 2**20 for p in files)
    for dataset in (writer.dataset, Dataset(writer.path)):
        assert dataset.finished
        for i in range(200):
            assert np.array_equal(dataset.read_image(time=i), image(i, (20, 30) if i % 10 else (200, 301)))
            assert dataset.read_metadata(time=i)["Seed"] == i


@ON_DISK
def test_sizes_and_types_may_differ_within_a_dataset(tmp_path: Path, cls: Any) -> None:
    images = [
        image(0),
        image(1, (300, 301)),
        image(2, (5, 5), np.uint8),
        image(3, (7, 9), "rgb"),
        image(4, (2000, 3000)),
        image(5, (1, 1)),
        image(6, (70000, 1)),
    ]
    with cls(tmp_path, "x", queue_size=2) as writer:
        for i, pixels in enumerate(images):
            writer.put(Frame({"i": i}, pixels, {"big": "x" * (10 if i != 3 else 20_000_000)}))
    dataset = Dataset(writer.path)
    for i, pixels in enumerate(images):
        assert np.array_equal(dataset.read_image(i=i), pixels)
        assert np.array_equal(dataset.read_image(i=i, memmapped=True), pixels)
    assert len(dataset.read_metadata(i=3)["big"]) == 20_000_000


@ON_DISK
def test_strided_pixels_are_stored_as_they_look(tmp_path: Path, cls: Any) -> None:
    whole = image(1, (600, 600))
    with cls(tmp_path, "x") as writer:
        writer.put(Frame({"i": 0}, whole[::2, ::-1], {}))
        writer.put(Frame({"i": 1}, whole.T, {}))
    dataset = Dataset(writer.path)
    assert np.array_equal(dataset.read_image(i=0), whole[::2, ::-1])
    assert np.array_equal(dataset.read_image(i=1), whole.T)


def test_image_too_large_for_a_file(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", file_limit=2**21) as writer:
        with pytest.raises(ValueError, match="does not fit"):
            writer.try_put(frame(1, (1024, 1024)))
        writer.put(frame(2))


@ON_DISK
def test_folders_are_numbered_and_shared_by_nobody(tmp_path: Path, cls: Any) -> None:
    (tmp_path / "a_7").mkdir()
    (tmp_path / "A_9 copy").mkdir()
    (tmp_path / "ab_20").mkdir()
    paths: list[Path] = []

    def run() -> None:
        for _ in range(5):
            with cls(tmp_path, "a") as writer:
                paths.append(writer.path)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(p.name.split("_")[1]) for p in paths) == list(range(10, 30))


@ON_DISK
@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0b", None])
def test_names_that_are_no_names(tmp_path: Path, cls: Any, name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        cls(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="durability"):
        NDTiffWriter(tmp_path, "x", durability="always")  # type: ignore[arg-type]
    for size in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="queue_size"):
            NDTiffWriter(tmp_path, "x", queue_size=size)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="TiledImageStorage"):
        NDTiffWriter(tmp_path, "x", {"TiledImageStorage": True})
    with pytest.raises(TypeError, match="'a'"):
        NDTiffWriter(tmp_path, "x", {"a": object()})
    assert not list(tmp_path.iterdir())


@ON_DISK
def test_where_no_folder_can_be_made(tmp_path: Path, cls: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make"):
        cls(tmp_path / "file", "x")


@ON_DISK
def test_finish_in_a_callback_is_refused(tmp_path: Path, cls: Any) -> None:
    errors: list[BaseException] = []

    def on_saved(frames: list[Frame]) -> None:
        try:
            writer.finish()
        except RuntimeError as error:
            errors.append(error)

    writer = cls(tmp_path, "x", on_saved=on_saved)
    writer.put(frame(0))
    writer.finish()
    assert len(errors) == 1


@ON_DISK
def test_recent_images_come_from_memory(tmp_path: Path, cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While they are in the writer's buffers, and right also while the buffers are used again."""
    rng = np.random.default_rng(0)
    wrong: list[int] = []
    stop = threading.Event()
    with cls(tmp_path, "x", queue_size=8) as writer:
        dataset = writer.dataset

        def read() -> None:
            while not stop.is_set():
                count = len(dataset)
                if count:
                    row = max(0, count - 1 - int(rng.integers(40)))
                    pixels, metadata = dataset.read_row(row)
                    if not ((pixels == row).all() and metadata["Seed"] == row):
                        wrong.append(row)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for i in range(400):
            writer.put(Frame({"time": i}, np.full((512, 512), i, np.uint16), {"Seed": i}))
        stop.set()
        for reader in readers:
            reader.join()
    assert not wrong


@ON_DISK
def test_memory_stays_flat(tmp_path: Path, cls: Any) -> None:
    import tracemalloc

    pixels = image(0, (64, 64))
    saved = threading.Semaphore(0)

    def report(frames: list[Frame]) -> None:
        saved.release(len(frames))

    with cls(tmp_path, "x", on_saved=report) as writer:

        def kept(images: range) -> int:
            for i in images:
                writer.put(Frame({"time": i}, pixels, METADATA))
            writer.flush()
            for _ in images:  # what still waits is bounded, and is not what is kept of an image
                assert saved.acquire(timeout=30)
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = kept(range(500))
            after = kept(range(500, 5500))
        finally:
            tracemalloc.stop()
    assert (after - before) / 5000 < 400  # bytes an image: its row in the index


def test_summary_is_written_as_given(tmp_path: Path) -> None:
    summary = {"a": np.float32(0.5), "nested": {"b": [1, 2]}, "TiledImageStorage": False}
    with NDTiffWriter(tmp_path, "x", summary) as writer:
        pass
    assert Dataset(writer.path).summary_metadata == {"a": 0.5, "nested": {"b": [1, 2]}, "TiledImageStorage": False}
    json.dumps(writer.dataset.summary_metadata)


@ON_DISK
def test_time_of_a_report_is_not_the_callers(tmp_path: Path, cls: Any) -> None:
    """``try_put`` never waits for the disk, nor for a slow callback."""
    gate = Gate()
    with cls(tmp_path, "x", queue_size=100, on_saved=gate) as writer:
        for i in range(50):
            assert writer.try_put(frame(i))
        gate.open.set()
        time.sleep(0)
    assert len(writer.dataset) == 50


@ON_DISK
@pytest.mark.parametrize("shape", [(20, 30), (512, 512)])
def test_saved_frames_are_let_go(tmp_path: Path, cls: Any, shape: tuple[int, int]) -> None:
    import gc
    import weakref

    with cls(tmp_path, "x") as writer:
        left = []
        for i in range(10):
            one = frame(i, shape)
            left.append(weakref.ref(one.pixels))
            writer.put(one)
        del one
        end = time.monotonic() + 20
        while any(ref() is not None for ref in left) and time.monotonic() < end:
            gc.collect()
            time.sleep(0.001)
        assert not any(ref() is not None for ref in left)
        assert same(writer.dataset.read_image(time=9), image(9, shape))


@ON_DISK
def test_no_memory_for_a_buffer_is_a_failure_not_a_hang(tmp_path: Path, cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any, size: int) -> None:
        raise MemoryError(f"no {size} bytes")

    failed = threading.Event()
    writer = cls(tmp_path, "x", on_failed=lambda *_: failed.set())
    writer.put(frame(0))
    while not len(writer.dataset):
        pass
    monkeypatch.setattr(cls, "_add_slab", refuse)
    with pytest.raises(StorageError, match="MemoryError: no 2000"):
        for i in range(1, 100):
            writer.put(Frame({"time": i}, np.zeros((100, 100_000), np.uint16), {}))
    assert failed.wait(10)
    with pytest.raises(StorageError):
        writer.finish()
    assert len(Dataset(writer.path)) == 1


@BOTH
def test_images_that_come_closely_are_written_together_and_none_waits_for_long(tmp_path: Path, kind: str) -> None:
    """Each report is one write: while images are gathered, one that is alone is held until others come, its time is over, or the end."""
    reports: list[list[Frame]] = []
    arrived = threading.Event()

    def saved(frames: list[Frame]) -> None:
        reports.append(frames)
        arrived.set()

    with make(kind, tmp_path, on_saved=saved, queue_size=20) as writer:
        writer.gather(30.0)
        for i in range(3):
            writer.put(frame(i))
            time.sleep(0.02)
        if kind != "memory":
            assert reports == []
            writer.gather(0)
            assert arrived.wait(20)
            assert [len(frames) for frames in reports] == [3]
        arrived.clear()
        writer.gather(0.05)
        writer.put(frame(3))
        assert arrived.wait(20)  # though nothing follows
        arrived.clear()
        writer.gather(30.0)
        writer.put(frame(4))
        writer.flush()  # somebody waits
        assert arrived.wait(20)
        writer.put(frame(5))
    assert len(writer.dataset) == 6
