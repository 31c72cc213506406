"""What has to hold when an acquisition has ended, however it ended: safe hardware, a dataset that opens, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymmcore

import aiomm
from aiomm.core import adapters
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from tests.support.homes import Home

BOUND = 1.0
"""Seconds that an end may take beside the call in progress."""
SLACK = 4.0
"""What a busy computer may add to that in a test: far less than the waits which the end has to cut short."""

SHUTTER = "White Light Shutter"
FIGURES: list[tuple[str, float, float]] = []
"""(what ended, seconds it took, seconds of the call in progress); see `figures`."""


def demo_core() -> RecordingCore:
    """Make a recording core with the DemoCamera configuration and small, quick images."""
    mmc = RecordingCore()
    mmc.recording = False
    paths = adapters.search_paths(None)
    mmc.setDeviceAdapterSearchPaths([str(path) for path in paths])
    mmc.loadSystemConfiguration(str(adapters.config_file("demo", paths)))
    for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        mmc.setProperty("Camera", key, 64)
    mmc.setProperty("Camera", "PixelType", "16bit")
    mmc.setExposure(1)
    mmc.setShutterOpen(SHUTTER, False)
    mmc.setCircularBufferMemoryFootprint(16)
    mmc.setTimeoutMs(600_000)  # no wait ends by itself within a test
    mmc.recording = True
    return mmc


def steps(count: int, **more: Any) -> list[dict[str, Any]]:
    """Events that cannot be merged: z changes."""
    return [{"axes": {"time": i}, "z": float(i % 3), **more} for i in range(count)]


def sequence(count: int, **more: Any) -> list[dict[str, Any]]:
    """Events that become one camera sequence."""
    return [{"axes": {"time": i}, **more} for i in range(count)]


def our_threads() -> set[str]:
    """Names of the threads that aiomm has started and that still run."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("aiomm")}


def open_files(under: Path) -> set[str]:
    """Files below a folder that this process holds open."""
    held = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(fd.readlink())
            if target.startswith(str(under)):
                held.add(target)
    return held


class Ends:
    """One microscope, and the checks on what an acquisition leaves on it."""

    def __init__(self, mmc: Any, core: Any, folder: Path, where: dict[str, Any] | None = None) -> None:
        self.mmc = mmc
        self.core = core
        self.folder = folder
        self._where = where
        self.threads = our_threads()
        self.saved: list[dict[str, Any]] = []
        self.tasks = asyncio.all_tasks()

    @property
    def java(self) -> bool:
        """Micro-Manager's engine runs the acquisitions."""
        return self._where is not None

    @property
    def where(self) -> dict[str, Any]:
        """What tells an acquisition where its microscope is."""
        return self._where or {"core": self.core}

    def note_saved(self, axes: dict[str, Any], dataset: aiomm.Dataset) -> None:
        """Note an image as reported saved: an ``image_saved_fn``."""
        self.saved.append(dict(axes))

    def acquisition(self, **options: Any) -> aiomm.Acquisition:
        """Make an acquisition into the folder that notes which images are reported saved."""
        options = {**self.where, "show_display": False, "image_saved_fn": self.note_saved, **options}
        where = (None, None) if options.get("format") == "memory" else (self.folder, "ends")
        return aiomm.Acquisition(*where, **options)

    async def open(self, **options: Any) -> aiomm.Acquisition:
        """Make one and open it."""
        acq = self.acquisition(**options)
        await acq._start()
        return acq

    @contextlib.contextmanager
    def within(self, what: str, call: float = 0.0) -> Iterator[None]:
        """The block ends within the bound and the call in progress."""
        start = time.monotonic()
        yield
        took = time.monotonic() - start
        FIGURES.append((what, took, call))
        assert took < BOUND + call + SLACK, f"{what}: took {took:.2f} s"

    async def hardware_is_safe(self) -> None:
        """Camera and hardware sequences are stopped, shutter and autoshutter are as they were found."""

        def look(mmc: Any) -> dict[str, Any]:
            cameras = mmc.getLoadedDevicesOfType(pymmcore.CameraDevice)
            return {
                "running": [label for label in cameras if mmc.isSequenceRunning(label)],
                "autoshutter": mmc.getAutoShutter(),
                "open": mmc.getShutterOpen(SHUTTER),
                "shutter": mmc.getShutterDevice(),
                "camera": mmc.getCameraDevice(),
            }

        self.mmc.heal()
        found = look(self.mmc) if self._where else await self.core.run(look, reads=True)
        assert found == {"running": [], "autoshutter": True, "open": False, "shutter": SHUTTER, "camera": "Camera"}, found
        running: dict[tuple[Any, ...], str] = {}
        for call in self.mmc.calls:
            for kind in ("Stage", "XYStage", "Property", "Exposure", "SLM"):
                if call.name in (f"start{kind}Sequence", f"stop{kind}Sequence"):
                    running[(kind, *call.args)] = call.name
        assert not [what for what, last in running.items() if last.startswith("start")]

    def datasets_open(self) -> int:
        """Every dataset opens with every image that was reported saved; says how many images there are."""
        count = 0
        axes: list[dict[str, Any]] = []
        for path in sorted(self.folder.glob("ends_*")):
            if self.java and (path / "NDTiff.index").stat().st_size == 0:  # Micro-Manager makes no file before the first image
                continue
            with aiomm.Dataset(str(path)) as dataset:
                for row in range(len(dataset)):
                    pixels, _ = dataset.read_row(row)
                    assert pixels.shape == (64, 64)
                    axes.append(dataset.axes_of(row))
                count += len(dataset)
        missing = [one for one in self.saved if one not in axes]
        assert not missing, f"reported saved, and not in the dataset: {missing}"
        return count

    async def releases_end(self) -> None:
        """The bridge, which stays open, has told Java which of its objects nobody holds any more: it does so in tasks that end soon."""
        async with asyncio.timeout(SLACK):
            while tasks := [task for task in asyncio.all_tasks() - self.tasks if task.get_name().startswith("aiomm-bridge-release-")]:
                await asyncio.wait(tasks)

    def nothing_is_left(self, besides: Iterable[str] = ()) -> None:
        """No task, thread or open file of ours."""
        tasks = {task.get_name() for task in asyncio.all_tasks() - self.tasks - {asyncio.current_task()} if not task.done()}
        assert not tasks, f"tasks are left: {tasks}"
        assert not self.core.users
        deadline = time.monotonic() + SLACK  # a thread that was joined by an event may still be returning
        while (left := {name for name in our_threads() - self.threads if not any(word in name for word in besides)}) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.002)
        assert not left, f"threads are left: {left}"
        gc.collect()
        assert not open_files(self.folder), "files are still open"

    async def next_one_works(self) -> None:
        """Another acquisition on the same core gives its images."""
        await self.core.set_exposure(1)
        async with asyncio.timeout(20):
            async with aiomm.Acquisition(**self.where, show_display=False) as acq:
                assert len(await acq.acquire([*steps(2), *[{"axes": {"time": i}, "z": 0.0} for i in (5, 6, 7)]])) == 5

    async def all_is_well(self, besides: Iterable[str] = ()) -> int:
        """All of the above; returns how many images the datasets hold."""
        await asyncio.sleep(0)
        await self.hardware_is_safe()
        await self.releases_end()
        self.nothing_is_left(besides)
        count = await asyncio.to_thread(self.datasets_open)
        await self.next_one_works()
        return count


@contextlib.asynccontextmanager
async def ends_at(home: Home, mmc: RecordingCore, folder: Path) -> AsyncIterator[Ends]:
    """Open a microscope at one of the homes: the core that is loaded already, or Micro-Manager's; at the end everything has to be well."""
    if not home.java:
        async with ends(mmc, folder) as at:
            yield at
        return
    async with home.demo(folder) as rig:
        rig.mmc.setCircularBufferMemoryFootprint(16)
        rig.mmc.setTimeoutMs(600_000)
        rig.mmc.forget()
        yield Ends(rig.mmc, rig.core, folder, rig.where)


@contextlib.asynccontextmanager
async def ends(mmc: RecordingCore, folder: Path) -> AsyncIterator[Ends]:
    """Open a microscope on a core that is loaded already; at the end everything has to be well."""
    mmc.heal()
    mmc.forget()
    mmc.setExposure(1)
    async with aiomm.LocalCore(mmcore=mmc) as core:
        yield Ends(mmc, core, folder)
    deadline = time.monotonic() + SLACK
    while "aiomm-hardware" in our_threads():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def figures() -> str:
    """Give the times seen, the worst first."""
    rows = sorted(FIGURES, key=lambda row: row[2] - row[1])
    return "\n".join(f"{took - call:6.3f} s beyond a call of {call:.1f} s: {what}" for what, took, call in rows)
