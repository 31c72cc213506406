"""One contestant of a benchmark, in a process of its own: runs the cases it is told on stdin, answers on stdout.

``python contestants.py NAME`` imports nothing but NAME's own packages, so each contestant may live in another environment.
All drive the same DemoCamera: 256x256, 16 bit, exposure 1 ms, FastImage, no shutter.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def build(mmc: Any, size: int = 256) -> Any:
    """Load the DemoCamera's camera and z stage into a CMMCore."""
    import mm_test_adapters

    mmc.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    mmc.loadDevice("DHub", "DemoCamera", "DHub")
    mmc.initializeDevice("DHub")
    for label, device in (("Camera", "DCam"), ("Z", "DStage")):
        mmc.loadDevice(label, "DemoCamera", device)
        mmc.setParentLabel(label, "DHub")
        mmc.initializeDevice(label)
    mmc.setCameraDevice("Camera")
    mmc.setFocusDevice("Z")
    mmc.setShutterDevice("")
    for key, value in (("OnCameraCCDXSize", size), ("OnCameraCCDYSize", size), ("PixelType", "16bit"), ("FastImage", 1)):
        mmc.setProperty("Camera", key, value)
    mmc.setExposure(1.0)
    mmc.setCircularBufferMemoryFootprint(256)
    mmc.initializeCircularBuffer()
    return mmc


def z_of(i: int) -> float:
    """Neighbours differ, so that each event moves the stage."""
    return float(i % 5)


class Bare:
    """The loop everyone would write by hand: move, wait, snap, get; nothing is saved."""

    def __init__(self) -> None:
        import pymmcore

        self.mmc = build(pymmcore.CMMCore())

    def event(self, n: int, directory: str) -> Result:
        mmc = self.mmc
        start = time.perf_counter()
        for i in range(n):
            mmc.setPosition(z_of(i))
            mmc.waitForDevice("Z")
            mmc.snapImage()
            mmc.getImage()
        return {"seconds": time.perf_counter() - start}

    def sequence(self, n: int, directory: str) -> Result:
        import pymmcore

        mmc = self.mmc
        left = n
        start = time.perf_counter()
        mmc.startSequenceAcquisition(n, 0, True)
        while left:
            if mmc.getRemainingImageCount():
                mmc.popNextImageMD(pymmcore.Metadata())
                left -= 1
            else:
                time.sleep(0.0005)
        seconds = time.perf_counter() - start
        mmc.stopSequenceAcquisition()
        return {"seconds": seconds}

    def close(self) -> None:
        self.mmc.unloadAllDevices()


class Aiomm:
    """This package on a core that notes when each frame had arrived."""

    def __init__(self) -> None:
        import pymmcore

        import aiomm

        stamps: list[float] = []

        class Stamped(pymmcore.CMMCore):  # type: ignore[misc]
            def snapImage(self) -> None:
                pymmcore.CMMCore.snapImage(self)
                stamps.append(time.perf_counter())

            def popNextImage(self, *args: Any) -> Any:
                image = pymmcore.CMMCore.popNextImage(self, *args)
                stamps.append(time.perf_counter())
                return image

            def popNextImageMD(self, *args: Any) -> Any:
                image = pymmcore.CMMCore.popNextImageMD(self, *args)
                stamps.append(time.perf_counter())
                return image

        self.stamps = stamps
        self.mmc = build(Stamped())
        self.runner = asyncio.Runner()
        self.aiomm = aiomm
        self.core: Any = self.runner.run(aiomm.LocalCore.open(mmcore=self.mmc))

    def _run(self, directory: str, events: Any, n: int, consume: str = "await", exposure: float = 1.0, **options: Any) -> Result:
        """``exposure`` (ms) above 1 leaves the consumer time, so that it waits for each frame."""

        async def main() -> Result:
            await self.core.set_exposure(exposure)
            self.stamps.clear()
            seen: list[float] = []
            opening = time.perf_counter()

            async def processor(image: Any, metadata: Any) -> Any:
                seen.append(time.perf_counter())
                return image, metadata

            if consume == "processor":
                options["image_process_fn"] = processor
            async with self.aiomm.Acquisition(directory or None, "bench", core=self.core, show_display=False, **options) as acq:
                start = time.perf_counter()
                submission = acq.acquire(events)
                if consume == "for":
                    async for _ in submission:
                        seen.append(time.perf_counter())  # noqa: PERF401  (the moment of each)
                saved = await submission
                end = time.perf_counter()
            closed = time.perf_counter()
            assert len(saved) == n, (len(saved), n)
            result: Result = {"seconds": end - start, "open": start - opening, "close": closed - end}
            if consume != "await":
                assert len(seen) == len(self.stamps) == n, (len(seen), len(self.stamps), n)
                result["latency_ms"] = [round((b - a) * 1e3, 4) for a, b in zip(self.stamps, seen, strict=True)]
            return result

        return self.runner.run(main())

    def event(self, n: int, directory: str, **options: Any) -> Result:
        return self._run(directory, [{"axes": {"time": i}, "z": z_of(i)} for i in range(n)], n, **options)

    def event_for(self, n: int, directory: str) -> Result:
        return self.event(n, directory, consume="for")

    def event_generator(self, n: int, directory: str) -> Result:
        """A generator: windows of look_ahead events."""
        return self._run(directory, ({"axes": {"time": i}, "z": z_of(i)} for i in range(n)), n)

    def event_memory(self, n: int, directory: str) -> Result:
        return self.event(n, "", format="memory")

    def event_hooks(self, n: int, directory: str) -> Result:
        async def hook(event: Any) -> Any:
            return event

        return self.event(n, directory, event_generation_hook_fn=hook, pre_hardware_hook_fn=hook, post_hardware_hook_fn=hook)

    def event_hooks_camera(self, n: int, directory: str) -> Result:
        """With a post-camera hook each image is a sequence of one frame."""

        async def hook(event: Any) -> Any:
            return event

        return self.event(n, directory, pre_hardware_hook_fn=hook, post_hardware_hook_fn=hook, post_camera_hook_fn=hook)

    def sequence(self, n: int, directory: str, **options: Any) -> Result:
        return self._run(directory, [{"axes": {"time": i}} for i in range(n)], n, **options)

    def latency_event_for(self, n: int, directory: str) -> Result:
        return self.event(n, directory, consume="for", exposure=5.0)

    def latency_event_processor(self, n: int, directory: str) -> Result:
        return self.event(n, directory, consume="processor", exposure=5.0)

    def latency_sequence_for(self, n: int, directory: str) -> Result:
        return self.sequence(n, directory, consume="for", exposure=5.0)

    def latency_sequence_processor(self, n: int, directory: str) -> Result:
        return self.sequence(n, directory, consume="processor", exposure=5.0)

    def latency_fast_sequence_for(self, n: int, directory: str) -> Result:
        return self.sequence(n, directory, consume="for")

    def close(self) -> None:
        self.runner.run(self.core.aclose())
        self.runner.close()


class PymmcorePlus:
    """pymmcore-plus with the storage it chooses for a path that ends in .ome.zarr."""

    def __init__(self) -> None:
        from pymmcore_plus import CMMCorePlus

        self.mmc = build(CMMCorePlus())
        self.mmc.setAutoShutter(False)  # with it, and no shutter device, this engine fails

    def event(self, n: int, directory: str) -> Result:
        return self._run({"loops": n // 5}, {"bottom": 0, "top": 4, "step": 1}, directory)

    def sequence(self, n: int, directory: str) -> Result:
        return self._run({"loops": n}, None, directory)

    def _run(self, times: dict[str, Any], z: dict[str, Any] | None, directory: str) -> Result:
        from useq import MDASequence

        events = MDASequence(axis_order="tz", time_plan={"interval": 0, **times}, z_plan=z)
        start = time.perf_counter()
        self.mmc.mda.run(events, output=str(Path(directory) / "bench.ome.zarr"))  # what run_mda() runs in a thread
        return {"seconds": time.perf_counter() - start}

    def close(self) -> None:
        self.mmc.unloadAllDevices()


class Pycromanager:
    """pycromanager's Python engine, saving NDTiff."""

    def __init__(self) -> None:
        import mm_test_adapters
        from pycromanager import Core, start_headless

        start_headless(mm_test_adapters.device_adapter_path(), config_file=None, python_backend=True, buffer_size_mb=256)
        self.mmc = build(Core())

    def event(self, n: int, directory: str) -> Result:
        return self._run([{"axes": {"time": i}, "z": z_of(i)} for i in range(n)], n, directory)

    def sequence(self, n: int, directory: str) -> Result:
        return self._run([{"axes": {"time": i}} for i in range(n)], n, directory)

    def _run(self, events: Any, n: int, directory: str) -> Result:
        from pycromanager import Acquisition

        acquisition = Acquisition(directory=directory, name="bench")
        start = time.perf_counter()
        acquisition.acquire(events)
        acquisition.mark_finished()
        acquisition.await_completion()
        seconds = time.perf_counter() - start
        dataset = acquisition.get_dataset()
        assert len(list(dataset.get_image_coordinates_list())) == n
        dataset.close()
        return {"seconds": seconds}

    def close(self) -> None:
        from pycromanager import stop_headless

        stop_headless()


CONTESTANTS = {"bare": Bare, "aiomm": Aiomm, "pymmcore-plus": PymmcorePlus, "pycromanager": Pycromanager}


def main() -> None:
    """Answer each JSON line {case, n, directory} with one of the result, or {error}; until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # peers print as they please
    try:
        contestant = CONTESTANTS[sys.argv[1]]()
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        gc.collect()
        cpu = time.process_time()
        try:
            result = getattr(contestant, order["case"])(order["n"], order["directory"])
            result["cpu"] = time.process_time() - cpu
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), file=answers, flush=True)
    contestant.close()


if __name__ == "__main__":
    main()
