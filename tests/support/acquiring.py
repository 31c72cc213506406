"""A process that runs a whole acquisition and says on its standard output what was reported saved; run as ``python -m``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import aiomm
from aiomm.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import numpy as np

SIZE = 64


def say(word: str, **more: Any) -> None:
    """Write one line at once: what is in the pipe survives this process."""
    os.write(1, (json.dumps({"say": word, **more}) + "\n").encode())


def saved(axes: dict[str, Any], dataset: aiomm.Dataset) -> None:
    """Report an image as saved."""
    say("saved", axes=axes)


def process(image: np.ndarray, metadata: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Write the image's number into its first pixels, so that it can be told from every other."""
    image = image.copy()
    image[0, :2] = metadata["Axes"]["time"] & 0xFFFF, metadata["Axes"].get("z", 0)
    return image, metadata


async def hook(event: Any) -> Any:
    """Change nothing."""
    return event


def events(count: int) -> Any:
    """Single images and sequences, for ever if ``count`` is 0."""
    time = 0
    while not count or time < count:
        if time % 3:
            yield [{"axes": {"time": time, "z": z}, "z": float(z)} for z in range(3)]
        else:
            yield [{"axes": {"time": time, "z": z}} for z in range(4)]
        time += 1


async def small(core: aiomm.LocalCore, exposure: float) -> None:
    """Make quick small images."""
    for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        await core.set_property("Camera", key, SIZE)
    await core.set_property("Camera", "PixelType", "16bit")
    await core.set_exposure(exposure)


async def acquire(options: argparse.Namespace) -> None:
    """One acquisition from beginning to end."""
    say("begin")
    async with aiomm.LocalCore("demo") as core:
        await small(core, options.exposure)
        say("core")
        try:
            async with aiomm.Acquisition(
                options.folder,
                "run",
                image_process_fn=process,
                pre_hardware_hook_fn=hook,
                core=core,
                image_saved_fn=saved,
                show_display=False,
                durability=options.durability,
            ) as acq:
                say("open", path=str(acq.path))
                await acq.acquire(events(options.count))
        except asyncio.CancelledError:
            say("cancelled", state=acq.status.state)
            raise
        except StorageError as error:
            say("storage", error=str(error), state=acq.status.state)
        finally:
            say(
                "closed",
                shutter=await core.get_shutter_open(),
                auto=await core.get_auto_shutter(),
                running=await core.is_sequence_running(),
            )
        if options.again:
            async with aiomm.Acquisition(options.again, "again", core=core, show_display=False, image_saved_fn=saved) as acq:
                say("open", path=str(acq.path))
                await acq.acquire([{"axes": {"again": i}} for i in range(3)])
    say("end")


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it, and say so if Ctrl-C ended it."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--exposure", type=float, default=1.0)
    parser.add_argument("--durability", default="none")
    parser.add_argument("--limit", type=int, default=0, help="bytes that a file may have (RLIMIT_FSIZE)")
    parser.add_argument("--again", help="afterwards acquire three images into this folder")
    options = parser.parse_args()
    if options.limit:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.limit, resource.RLIM_INFINITY))
    run(acquire(options))


if __name__ == "__main__":
    main()
