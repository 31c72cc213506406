"""A program is killed while Micro-Manager's engine waits for its hook: the next acquisition frees the engine, and takes its images."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.acquire.remote import freeing
from aiomm.bridge import private_field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost

pytestmark = pytest.mark.blocks

DOOMED = """
import asyncio, os, signal, sys, time
import aiomm

def hook(event):
    if (event[-1] if isinstance(event, list) else event)["axes"]["time"] >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return event

async def main():
    hooks = dict(zip(sys.argv[2].split(), (hook, lambda event: event)))
    async with aiomm.Acquisition(sys.argv[3] or None, "doomed", port=int(sys.argv[1]), show_display=False, **hooks) as acq:
        for first in range(0, 20, 10):
            many = range(first, first + (10 if "post_camera" in sys.argv[2] else 1))
            await acq.acquire([{"axes": {"time": t}} for t in many])
        if sys.argv[4] == "99":
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def killed_in(hook: str, host: JavaHost, folder: Path, at: int) -> None:
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DOOMED, str(host.port), hook, str(folder), str(at)], timeout=30
    )
    assert process.returncode == -9


@contextlib.asynccontextmanager
async def small(host: JavaHost) -> AsyncIterator[tuple[aiomm.Bridge, Any, Any]]:
    async with aiomm.Bridge(host.port, timeout=5000) as bridge:
        core: Any = await bridge.get_core()
        for name in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
            await core.set_property("Camera", name, "32")
        await core.set_exposure(20)
        yield bridge, core, await bridge.construct_java_object("aiomm.host.Control")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("hook", "at"), [("post_hardware_hook_fn", 0), ("post_hardware_hook_fn", 10), ("post_camera_hook_fn", 0)])
async def test_the_next_acquisition_frees_the_engine(
    own_java_host: JavaHost, tmp_path: Path, hook: str, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with small(own_java_host) as (bridge, core, control):
        await killed_in(hook, own_java_host, tmp_path, at)
        before = await control.images_taken()
        async with asyncio.timeout(20):
            async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
                assert len(await acq.acquire([{"axes": {"time": time}} for time in range(3)])) == 3
                assert len(await acq.acquire({"axes": {"time": 5}})) == 1
        if "post_hardware" in hook:
            assert await control.images_taken() - before == 4, "nothing is exposed for who is gone"
        assert not await core.is_sequence_running()
        assert await core.get_auto_shutter()
        assert not await core.get_shutter_open()
    told = warnings(caplog)
    assert len(told) == 1, told
    assert "a program that is gone" in told[0]


async def test_a_hook_that_java_has_closed_is_left_alone(own_java_host: JavaHost, tmp_path: Path) -> None:
    """At an acquisition's end Java closes its hooks one after the other: a port of the first may be another's while the second is asked."""
    async with small(own_java_host) as (bridge, _, _):
        await killed_in("post_camera_hook_fn post_hardware_hook_fn", own_java_host, tmp_path, 0)
        kind = await bridge.get_java_class("org.micromanager.acqj.internal.Engine")
        active = await (await private_field(kind, "activeAcquisitions_")).call("get", [await kind.call("getInstance")])
        (doomed,) = [each async for each in active]
        (hook,) = [each async for each in await doomed.get_after_hardware_hooks() if "RemoteAcqHook" in each.java_class]
        port = await hook.get_pull_port()
        await hook.close()
        with socket.create_server(("127.0.0.1", port)):
            async with asyncio.timeout(15):
                async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
                    assert len(await acq.acquire({"axes": {"time": 0}})) == 1


async def test_what_others_have_left_is_ended_with_it(own_java_host: JavaHost, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with small(own_java_host) as (bridge, _, _):
        for at in (99, 99, 0):  # killed between two submissions, and in the hook
            await killed_in("post_hardware_hook_fn", own_java_host, tmp_path, at)
        for _ in range(2):
            async with asyncio.timeout(15):
                async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
                    assert len(await acq.acquire({"axes": {"time": 0}})) == 1
    (told,) = warnings(caplog)
    assert "3 acquisitions" in told


async def test_what_the_user_has_started_since_goes_on(own_java_host: JavaHost, tmp_path: Path) -> None:
    """Between its images a program that was killed holds up nobody: a camera that runs is not its own."""
    async with small(own_java_host) as (bridge, core, _):
        await killed_in("post_hardware_hook_fn", own_java_host, tmp_path, 99)
        await core.start_continuous_sequence_acquisition(0)
        async with asyncio.timeout(15):
            with pytest.raises(errors.HardwareError, match="is running already: stop its sequence"):
                async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
                    await acq.acquire({"axes": {"time": 0}})
        assert await core.is_sequence_running()
        assert await core.get_shutter_open()
        await core.stop_sequence_acquisition()
        async with asyncio.timeout(15):
            async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
                assert len(await acq.acquire({"axes": {"time": 0}})) == 1
        assert not await core.get_shutter_open()


async def test_an_abort_frees_it_too(own_java_host: JavaHost, tmp_path: Path) -> None:
    async with small(own_java_host) as (bridge, _, control):
        await killed_in("post_hardware_hook_fn", own_java_host, tmp_path, 0)
        before = await control.images_taken()
        async with asyncio.timeout(15):
            acq = await aiomm.Acquisition.open(tmp_path, "next", bridge=bridge, show_display=False)
            submission = acq.acquire([{"axes": {"time": time}} for time in range(3)])
            await asyncio.sleep(0.2)
            acq.abort()
            with pytest.raises(errors.AcquisitionAborted):
                await submission
            await acq.aclose()
        assert await control.images_taken() == before


async def test_what_cannot_be_freed_is_one_error(own_java_host: JavaHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(acquisition: Any) -> None:
        raise errors.JavaException("java.lang.reflect.InaccessibleObjectException", "not here", "")

    monkeypatch.setattr(freeing, "expose_no_more", refuses)
    async with small(own_java_host) as (bridge, _, _):
        await killed_in("post_hardware_hook_fn", own_java_host, tmp_path, 0)
        async with asyncio.timeout(15):
            with pytest.raises(errors.BridgeError, match="program that is gone, and cannot be freed: restart Micro-Manager"):
                async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
                    await acq.acquire({"axes": {"time": 0}})


async def test_who_is_only_slow_is_waited_for(own_java_host: JavaHost, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with small(own_java_host) as (bridge, _, _):
        arguments = ["-c", DOOMED.replace("os.kill(os.getpid(), signal.SIGKILL)", "print('in'); time.sleep(3)"), str(own_java_host.port)]
        arguments += ["post_hardware_hook_fn", str(tmp_path), "10"]
        unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
        slow = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=unbuffered)
        assert slow.stdout is not None
        try:
            assert await asyncio.to_thread(slow.stdout.readline) == b"in\n"
            async with asyncio.timeout(15):
                async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as acq:
                    assert len(await acq.acquire({"axes": {"time": 0}})) == 1
            _, said = await asyncio.to_thread(slow.communicate, timeout=15)
        finally:
            slow.kill()
        assert (slow.returncode, said) == (0, b"")
    with aiomm.Dataset(str(tmp_path / "doomed_1")) as dataset:
        assert len(dataset) == 2
    assert not warnings(caplog)
