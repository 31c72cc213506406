"""Micro-Manager cannot write what it saves, at whatever write: its storage ends all the same, nobody waits, and no torn image passes."""

from __future__ import annotations

import asyncio
import resource
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.acquire.remote.conftest import threads
from tests.support.bridging import SLACK, looking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.jvm.host import JavaHost
    from tests.support.bridging import Eye

Event = dict[str, Any]
FREE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


class Disk:
    """The JVM's disk, which can be made full at any byte of a file."""

    def __init__(self, host: JavaHost, eye: Eye, folder: Path) -> None:
        self.host, self.eye, self.folder = host, eye, folder

    def full_at(self, size: int) -> None:
        """No file grows beyond this."""
        resource.prlimit(self.host.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def free(self) -> None:
        resource.prlimit(self.host.pid, resource.RLIMIT_FSIZE, FREE)

    def end(self, name: str = "full_1") -> int:
        """Where the next image begins in the file of a dataset."""
        index = self.folder / name / "NDTiff.index"
        if not index.exists():
            index = self.folder / name / "Full resolution" / "NDTiff.index"
        data, at, end = index.read_bytes(), 0, 0
        while at < len(data) and (length := struct.unpack_from("<I", data, at)[0]):
            at += 4 + length
            at += 4 + struct.unpack_from("<I", data, at)[0]
            *_, offset, size, _ = struct.unpack_from("<8I", data, at)
            end, at = offset + size, at + 32
        return end + end % 2

    def files(self) -> list[Path]:
        """The files of this test that the JVM has open."""
        found = [path.resolve() for path in Path(f"/proc/{self.host.pid}/fd").iterdir()]
        return [path for path in found if path.is_relative_to(self.folder)]

    def acquisition(self, way: str, **options: Any) -> aiomm.Acquisition:
        if way == "processed":  # what is shown is saved in Java
            options |= {"image_process_fn": through, "show_display": True}
        if way == "tiled":
            options |= {"tile_overlap": 4}
        name = options.pop("name", "full")
        return aiomm.Acquisition(self.folder, name, **{"port": self.host.port, "show_display": False, "bridge_timeout": 5000, **options})


@pytest.fixture(scope="module")
def host() -> Iterator[JavaHost]:
    from tests.jvm.host import JavaHost, require_tools

    require_tools()
    made = JavaHost().start()
    yield made
    made.kill()


@pytest.fixture
async def disk(host: JavaHost, tmp_path: Path) -> AsyncIterator[Disk]:
    """Afterwards the next acquisition works, and Java holds no more files, threads and objects than before."""
    async with looking(host.port) as eye, asyncio.timeout(30):
        control = await eye.bridge.construct_java_object("aiomm.host.Control")
        core: Any = await eye.bridge.get_core()
        for name in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
            await core.set_property("Camera", name, "64")
        await core.set_exposure(0)
        await control.fast(True)
        await eye.note()
        before = await threads(eye)
        made = Disk(host, eye, tmp_path)
        try:
            yield made
            made.free()
            async with made.acquisition("plain", name="next") as acq:
                assert len(await acq.acquire(times(2))) == 2
            await eye.back()
            async with asyncio.timeout(SLACK):
                while await threads(eye) - before:
                    await asyncio.sleep(0.02)
            assert not made.files()
        finally:
            made.free()
            await control.restore()


async def through(image: Any, metadata: Any) -> Any:
    return image, metadata


def times(n: int, *, start: int = 0, way: str = "") -> list[Event]:
    """Events that are not merged."""
    return [{"axes": {"row": 0, "column": i} if way == "tiled" else {"time": i}, "z": float(i)} for i in range(start, start + n)]


WAYS = ["plain", "processed", "tiled"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 6])
async def test_an_image_that_java_cannot_write(disk: Disk, way: str, count: int) -> None:
    """Its engine has ended by then, or ends in peace when it was the last one; its storage waits for ever for its own thread."""
    with pytest.raises(errors.StorageError, match="File too large") as caught:
        async with disk.acquisition(way) as acq:
            saved = await acq.acquire(times(2, way=way))
            disk.full_at(disk.end())
            lost = times(count, start=2, way=way)
            await acq.acquire(lost)
    assert str(lost[0]["axes"]) in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    dataset = acq.get_dataset()
    assert len(dataset) == len(saved) == 2
    assert all([(await dataset.read_image_async(**axes)).any() for axes in saved])


async def test_a_folder_that_java_cannot_make(java_host: JavaHost, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.StorageError, match=r"'here' in .*file.*folder"):
        async with aiomm.Acquisition(tmp_path / "file", "here", port=java_host.port, show_display=False, bridge_timeout=5000):
            pass


@pytest.mark.parametrize("way", WAYS)
async def test_the_end_that_java_cannot_write(disk: Disk, way: str) -> None:
    """All images are there; only the last bytes of the file cannot be set, and nothing tells of it."""
    with pytest.raises(errors.StorageError, match=r"(?s)end of .*all images"):
        async with disk.acquisition(way) as acq:
            saved = await acq.acquire(times(3, way=way))
            disk.full_at(1000)
    dataset = acq.get_dataset()
    assert len(dataset) == len(saved) == 3
    assert all([(await dataset.read_image_async(**axes)).any() for axes in saved])


@pytest.mark.parametrize("room", [500, 3000])
@pytest.mark.parametrize("count", [1, 3])
async def test_an_image_that_java_writes_in_part(disk: Disk, room: int, count: int) -> None:
    """It writes what there is room for, and says that the image is saved."""
    with pytest.raises(errors.StorageError) as caught:
        async with disk.acquisition("plain") as acq:
            await acq.acquire(times(2))
            disk.full_at(disk.end() + room)
            await acq.acquire(times(count, start=2))
    assert "{'time': 2}" in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    dataset = acq.get_dataset()
    assert len(dataset) == acq.status.images_saved == 2  # what was reported as saved is there, and nothing else
    assert [(await dataset.read_image_async(**axes)).any() for axes in dataset.get_index_keys()] == [True, True]
    again = await aiomm.Dataset.open(str(acq.path))
    assert list(again.get_index_keys()) == list(dataset.get_index_keys())
