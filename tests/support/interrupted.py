"""A script that Ctrl-C ends: an acquisition under asyncio.run, with a device call of a chosen length."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time

import aiomm
from tests.support.acquiring import events, run, saved, say, small
from tests.support.recording import RecordingCore


async def acquire(options: argparse.Namespace) -> None:
    """Acquire until interrupted."""
    mmc = RecordingCore()
    mmc.recording = False
    async with aiomm.LocalCore("demo") if not options.call else aiomm.LocalCore("demo", mmcore=mmc) as core:
        await small(core, options.exposure)
        if options.call:

            def slow(original: object, *args: object) -> object:
                say("in the call")
                time.sleep(options.call)
                say("call returned")
                return original(*args)  # type: ignore[operator]

            mmc.on("snapImage", nth=5, do=slow)
        try:
            async with aiomm.Acquisition(options.folder, "run", core=core, image_saved_fn=saved, show_display=False) as acq:
                say("open", path=str(acq.path))
                if options.background:
                    task = asyncio.create_task(consume(acq))
                    await asyncio.sleep(3600)
                    await task
                await consume(acq)
        finally:
            say("cleaned up", state=acq.status.state, shutter=await core.get_shutter_open(), running=await core.is_sequence_running())


async def consume(acq: aiomm.Acquisition) -> None:
    """Take the images."""
    with contextlib.suppress(aiomm.errors.AcquisitionAborted):
        async for image in acq.acquire(events(0)):
            image.pixels.mean()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--call", type=float, default=0.0)
    parser.add_argument("--exposure", type=float, default=1.0)
    parser.add_argument("--background", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    run(acquire(options))


if __name__ == "__main__":
    main()
