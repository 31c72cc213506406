"""Long runs that watch memory: many small images, a camera faster than the disk, a generator without end in sight.

``python -m tests.campaigns.soak`` runs the long forms and prints what it saw; the tests beside it run short ones.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mm_test_adapters
import numpy as np
import pymmcore

import aiomm
from aiomm import errors

MB = 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")


def rss() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class CountingCore(pymmcore.CMMCore):  # a DemoCamera that counts how many images it has taken
    """A core with a camera and a z stage.

    ``begun`` counts the images whose snap or camera sequence has begun, ``taken`` those that were handed out.
    """

    def __init__(self, size: int, exposure_ms: float, buffer_mb: int = 64) -> None:
        super().__init__()
        self.begun = 0
        self.taken = 0
        self.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
        self.loadDevice("DHub", "DemoCamera", "DHub")
        self.initializeDevice("DHub")
        for label, device in (("Camera", "DCam"), ("Z", "DStage")):
            self.loadDevice(label, "DemoCamera", device)
            self.setParentLabel(label, "DHub")
            self.initializeDevice(label)
        self.setCameraDevice("Camera")
        self.setFocusDevice("Z")
        for key, value in (("OnCameraCCDXSize", size), ("OnCameraCCDYSize", size), ("PixelType", "16bit"), ("FastImage", 1)):
            self.setProperty("Camera", key, value)
        self.setExposure(exposure_ms)
        self.setCircularBufferMemoryFootprint(buffer_mb)
        self.initializeCircularBuffer()

    def snapImage(self) -> None:
        self.begun += 1
        pymmcore.CMMCore.snapImage(self)
        self.taken += 1

    def startSequenceAcquisition(self, *args: Any) -> None:
        self.begun += args[-3]
        pymmcore.CMMCore.startSequenceAcquisition(self, *args)

    def popNextImageMD(self, *args: Any) -> Any:
        image = pymmcore.CMMCore.popNextImageMD(self, *args)
        self.taken += 1
        return image


@dataclass
class Seen:
    """What a run showed."""

    images: int
    seconds: float
    memory: list[tuple[int, int]]
    """(images so far, resident bytes)."""
    furthest_ahead: int = 0
    error: BaseException | None = None

    @property
    def bytes_per_image(self) -> float:
        """Growth of memory in the second half, by least squares."""
        images, size = np.array([sample for sample in self.memory if sample[0] >= self.images / 2], dtype=float).T
        spread = images - images.mean()
        return float((spread * size).sum() / max(1.0, (spread**2).sum()))

    @property
    def growth(self) -> int:
        """The most that memory grew beyond where the run began."""
        return max(size for _, size in self.memory) - self.memory[0][1]

    def as_dict(self) -> dict[str, Any]:
        """For another process."""
        return {
            "images": self.images,
            "bytes_per_image": self.bytes_per_image,
            "growth": self.growth,
            "furthest_ahead": self.furthest_ahead,
            "error": type(self.error).__name__ if self.error else None,
            "says": str(self),
        }

    def __str__(self) -> str:
        first, last = self.memory[0][1] / MB, self.memory[-1][1] / MB
        return (
            f"{self.images} images in {self.seconds:.1f} s ({self.images / self.seconds:.0f}/s); memory {first:.0f} to {last:.0f} MB, "
            f"at most +{self.growth / MB:.1f} MB, {self.bytes_per_image:+.0f} bytes per image in the second half; "
            f"generator at most {self.furthest_ahead} events ahead" + (f"; ended by {self.error!r}" if self.error else "")
        )


@contextmanager
def sampling(counter: CountingCore, every: float) -> Iterator[list[tuple[int, int]]]:
    """Note images and memory every so many seconds, from a thread."""
    gc.collect()
    samples = [(0, rss())]
    end = threading.Event()

    def work() -> None:
        while not end.wait(every):
            samples.append((counter.taken, rss()))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield samples
    finally:
        end.set()
        thread.join()
        samples.append((counter.taken, rss()))


@contextmanager
def slow_disk(bytes_per_s: float) -> Iterator[None]:
    """Let each positioned write of this process take at least its share of time."""
    originals = {name: getattr(os, name) for name in ("pwrite", "pwritev", "write", "writev")}

    def throttled(original: Any) -> Any:
        def write(*args: Any) -> int:
            start = time.monotonic()
            count: int = original(*args)
            if count > 4096:
                time.sleep(max(0.0, count / bytes_per_s - (time.monotonic() - start)))
            return count

        return write

    for name, original in originals.items():
        setattr(os, name, throttled(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


async def small_images(count: int, directory: str, *, size: int = 64, look_ahead: int = 64, step: bool = False, **options: Any) -> Seen:
    """``count`` events of a generator; ``step`` moves z at each, so that none are merged."""
    mmc = CountingCore(size, 0.0)
    ahead = 0

    def events() -> Iterator[dict[str, Any]]:
        nonlocal ahead
        for i in range(count):
            ahead = max(ahead, i + 1 - mmc.begun)
            yield {"axes": {"time": i}, **({"z": float(i % 2)} if step else {})}

    async with aiomm.LocalCore(mmcore=mmc) as core:
        start = time.monotonic()
        async with aiomm.Acquisition(directory, "soak", core=core, show_display=False, look_ahead=look_ahead, **options) as acq:
            with sampling(mmc, 0.05 if count < 20_000 else 1.0) as memory:
                submission = acq.acquire(events())
                await submission
        return Seen(acq.status.images_saved, time.monotonic() - start, memory, ahead)


async def faster_than_the_disk(
    count: int, directory: str, *, size: int = 512, sequence: bool = False, queue: int = 5, bytes_per_s: float = 20e6, buffer_mb: int = 16
) -> Seen:
    """A disk that is slower than the camera: software-timed events wait for it; a sequence fills the ring and ends in an error."""
    mmc = CountingCore(size, 1.0, buffer_mb)
    error: BaseException | None = None
    async with aiomm.LocalCore(mmcore=mmc) as core:
        start = time.monotonic()
        acq = await aiomm.Acquisition.open(directory, "slow", core=core, show_display=False, saving_queue_size=queue)
        with slow_disk(bytes_per_s), sampling(mmc, 0.02) as memory:
            events = [{"axes": {"time": i}, **({} if sequence else {"z": float(i % 2)})} for i in range(count)]
            try:
                await acq.acquire(events)
            except errors.AiommError as ended:
                error = ended
            with suppress(errors.AiommError):  # the same error again
                await acq.aclose()
        seen = Seen(acq.status.images_saved, time.monotonic() - start, memory, 0, error)
        with aiomm.Dataset(str(acq.path)) as dataset:
            assert len(dataset) == seen.images
            assert mmc.taken <= seen.images + queue + 2, "more frames were in memory than the queue may hold"
        return seen


Run = Callable[[int, str], Coroutine[Any, Any, Seen]]
RUNS: dict[str, Run] = {
    "merged": lambda n, d: small_images(n, d),
    "one-by-one": lambda n, d: small_images(n, d, step=True),
    "look-ahead-10": lambda n, d: small_images(n, d, step=True, look_ahead=10),
    "slow-disk-snaps": lambda n, d: faster_than_the_disk(n, d),
    "slow-disk-sequence": lambda n, d: faster_than_the_disk(n, d, sequence=True),
}
LONG = {"merged": 100_000, "one-by-one": 100_000, "look-ahead-10": 10_000, "slow-disk-snaps": 2000, "slow-disk-sequence": 2000}


def main() -> None:
    """The long forms, or one run of any length."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.soak", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"which; all of them by default: {', '.join(RUNS)}")
    parser.add_argument("--images", type=int, help="how many events")
    parser.add_argument("--data", help="where datasets are written (default: the temporary directory)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each")
    options = parser.parse_args()
    for name in options.runs or RUNS:
        with tempfile.TemporaryDirectory(dir=options.data, prefix="aiomm-soak-") as directory:
            seen = asyncio.run(RUNS[name](options.images or LONG[name], directory))
        print(json.dumps(seen.as_dict()) if options.json else f"{name}: {seen}", flush=True)


if __name__ == "__main__":
    main()
