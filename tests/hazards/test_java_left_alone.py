"""The process that acquires on a running Micro-Manager is killed: what Micro-Manager's engine does then, and what stays."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import aiomm

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jvm.host import JavaHost

pytestmark = pytest.mark.blocks

DOOMED = """
import asyncio, sys
import aiomm

async def main():
    async with aiomm.Acquisition(sys.argv[1], "doomed", port=int(sys.argv[2]), show_display=False) as acq:
        async for image in acq.acquire([{"axes": {"time": time}} for time in range(60)], keep_shutter_open=True):
            print("an image", flush=True)

asyncio.run(main())
"""


async def test_the_group_is_taken_and_a_held_shutter_stays_open(own_java_host: JavaHost, tmp_path: Path) -> None:
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as bridge:
        core: Any = await bridge.get_core()
        for name in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
            await core.set_property("Camera", name, "32")
        await core.set_exposure(20)
        process = subprocess.Popen([sys.executable, "-c", DOOMED, str(tmp_path), str(own_java_host.port)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert await asyncio.to_thread(process.stdout.readline) == b"an image\n"
        finally:
            process.kill()
            await asyncio.to_thread(process.communicate)
        async with await aiomm.Dataset.open(tmp_path / "doomed_1") as dataset:
            await dataset.wait_for(time=59, timeout=20)
            assert len(dataset) == 60
        assert await core.get_shutter_open()
        assert not await core.get_auto_shutter()
        async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
            assert len(await acq.acquire([{"axes": {"time": time}} for time in range(3)])) == 3
        assert await core.get_shutter_open(), "as found"
