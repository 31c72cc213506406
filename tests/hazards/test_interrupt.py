"""Ctrl-C in a script, and an interrupt of a running notebook cell: it stops safely, and what was saved opens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import AsyncKernelManager

import aiomm
from tests.campaigns.kill9_acquisition import ROOT, Ear, check
from tests.support.ends import BOUND, SLACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def script(folder: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], Ear]:
    command = [sys.executable, "-m", "tests.support.interrupted", str(folder), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return process, Ear(process)


def ended(process: subprocess.Popen[bytes], ear: Ear, bound: float) -> tuple[float, str]:
    """Wait for the process's end; gives seconds it took, and its standard error."""
    start = time.monotonic()
    ear.listen(start + bound)
    process.wait(max(0.1, start + bound - time.monotonic()))
    took = time.monotonic() - start
    return took, ear.close()


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("images", [0, 1, 40])
def test_one_ctrl_c(tmp_path: Path, images: int, background: bool) -> None:
    process, ear = script(tmp_path, *["--background"] * background)
    assert ear.listen(time.monotonic() + 40, "saved" if images else "open", max(1, images)), ear.said
    process.send_signal(signal.SIGINT)
    took, trouble = ended(process, ear, BOUND + SLACK)
    assert process.returncode == 130, trouble
    assert not trouble
    (clean,) = ear.of("cleaned up")
    assert clean == {"say": "cleaned up", "state": "aborted", "shutter": clean["shutter"], "running": False}
    assert check_plain(ear) >= max(1, images) if images else True
    print(f"one Ctrl-C after {images} images: {took:.2f} s")


def check_plain(ear: Ear) -> int:
    path = Path(ear.of("open")[0]["path"])
    return check(path, ear.saved, marked=False) if ear.saved else 0


def test_one_ctrl_c_waits_for_the_call_in_progress(tmp_path: Path) -> None:
    process, ear = script(tmp_path, "--call", "1.5")
    assert ear.listen(time.monotonic() + 40, "in the call")
    process.send_signal(signal.SIGINT)
    _, trouble = ended(process, ear, 1.5 + BOUND + SLACK)
    assert process.returncode == 130, trouble
    assert ear.of("call returned")
    assert ear.of("cleaned up")
    assert check_plain(ear) > 0


def test_two_ctrl_c_abandon_the_wait(tmp_path: Path) -> None:
    """The second one does not wait for a device call of a minute; what was saved opens."""
    process, ear = script(tmp_path, "--call", "60")
    assert ear.listen(time.monotonic() + 40, "in the call")
    process.send_signal(signal.SIGINT)
    ear.listen(time.monotonic() + 0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    took, trouble = ended(process, ear, 2 + 5 + BOUND + SLACK)
    print(f"second Ctrl-C: {took:.2f} s")
    assert process.returncode == 130, trouble
    assert not ear.of("call returned")
    assert check_plain(ear) > 0


# ---- a notebook --------------------------------------------------------------------------------------------------


class Notebook:
    """A kernel, its cells run one after the other."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self.client = client

    async def run(self, code: str, *, interrupt_at: str | None = None, bound: float = 30) -> tuple[str, str]:
        """Run a cell; gives what it printed, and the name of its error (empty if none). Interrupts it when it has printed this."""
        printed = ""
        # else the kernel may drop the next cell after one that raised, with no error and nothing printed
        message = self.client.execute(code, stop_on_error=False)
        async with asyncio.timeout(bound):
            while True:
                reply = await self.client.get_iopub_msg()
                if reply["parent_header"].get("msg_id") != message:
                    continue
                kind, content = reply["msg_type"], reply["content"]
                if kind == "stream":
                    printed += content["text"]
                    if interrupt_at is not None and interrupt_at in printed:
                        interrupt_at = None
                        await asyncio.sleep(0.2)  # it has come from its print to what it waits in: the kernel's own flush may lose it
                        await self.manager.interrupt_kernel()
                elif kind == "error":
                    error = content["ename"]
                    break
                elif kind == "status" and content["execution_state"] == "idle":
                    error = ""
                    break
            while (reply := await self.client.get_shell_msg())["parent_header"].get("msg_id") != message:
                pass
        assert reply["content"]["status"] != "aborted"
        return printed, error

    async def look(self) -> dict[str, Any]:
        """Run `LOOK`; gives what it saw."""
        printed, error = await self.run(LOOK)
        assert error == ""
        seen: dict[str, Any] = json.loads(printed)
        return seen


@pytest.fixture
async def notebook(tmp_path: Path) -> AsyncIterator[Notebook]:
    manager = AsyncKernelManager(kernel_name="python3")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}
    await manager.start_kernel(env=environment, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=40)
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        with contextlib.suppress(Exception):
            await manager.shutdown_kernel(now=True)


SETUP = """
import asyncio, json, aiomm
from tests.support.acquiring import events, small
core = await aiomm.LocalCore.open("demo")
await small(core, 1.0)
async def watch(images):
    async for image in images:
        if image.axes["time"] == 5:
            print("there", flush=True)
"""

LOOK = """
running = await core.is_sequence_running()
auto = await core.get_auto_shutter()
tasks = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("aiomm")]
seen = dict(state=acq.status.state, running=running, auto=auto, tasks=tasks, path=str(acq.path), saved=acq.status.images_saved)
print(json.dumps(seen))
"""

NEXT = """
async with aiomm.Acquisition("again", "next", core=core, show_display=False) as another:
    print(len(await another.acquire([{"axes": {"time": i}} for i in range(3)])))
"""


@pytest.mark.blocks
async def test_a_cell_with_a_whole_acquisition_is_interrupted(notebook: Notebook) -> None:
    assert (await notebook.run(SETUP))[1] == ""
    start = time.monotonic()
    _, error = await notebook.run(
        'async with aiomm.Acquisition("data", "run", core=core, show_display=False) as acq:\n    await watch(acq.acquire(events(0)))',
        interrupt_at="there",
    )
    print(f"interrupted cell: {time.monotonic() - start:.2f} s with its acquisition")
    assert error in ("CancelledError", "KeyboardInterrupt")
    printed, error = await notebook.run(LOOK)
    assert not error
    seen = json.loads(printed)
    assert seen == {**seen, "state": "aborted", "running": False, "auto": True, "tasks": []}
    with aiomm.Dataset(seen["path"]) as dataset:
        assert len(dataset) == seen["saved"] > 0
    assert await notebook.run(NEXT) == ("3\n", "")
    assert (await notebook.run("await core.aclose()"))[1] == ""


@pytest.mark.blocks
async def test_a_cell_that_waits_is_interrupted_and_the_acquisition_goes_on(notebook: Notebook) -> None:
    """Interrupting a cell that awaits a submission of an earlier cell ends the wait, not the acquisition; a later cell ends that."""
    assert (await notebook.run(SETUP))[1] == ""
    opening = 'acq = await aiomm.Acquisition.open("data", "run", core=core, show_display=False)\nsubmission = acq.acquire(events(0))'
    assert (await notebook.run(opening))[1] == ""
    _, error = await notebook.run("await watch(submission)", interrupt_at="there")
    assert error in ("CancelledError", "KeyboardInterrupt")
    printed, error = await notebook.run(
        "before = acq.status.images_saved\nawait anext(acq.images())\nprint(acq.status.images_saved > before)"
    )
    assert (printed, error) == ("True\n", "")
    await notebook.manager.interrupt_kernel()  # while no cell runs
    await asyncio.sleep(0.1)
    printed, error = await notebook.run("print(acq.status.state)")
    assert (printed, error) == ("running\n", "")
    assert (await notebook.run("acq.abort()\nawait acq.aclose()"))[1] == ""
    assert (await notebook.run("await submission"))[1] == "AcquisitionAborted"
    seen = await notebook.look()
    assert seen == {**seen, "state": "aborted", "running": False, "auto": True, "tasks": []}
    with aiomm.Dataset(seen["path"]) as dataset:
        assert len(dataset) == seen["saved"] > 0
    assert await notebook.run(NEXT) == ("3\n", "")


@pytest.mark.blocks
async def test_a_cell_that_blocks_in_a_sync_call_is_interrupted(notebook: Notebook) -> None:
    """A plain cell that never gives the loop back gets KeyboardInterrupt; the acquisition in the background goes on."""
    assert (await notebook.run(SETUP))[1] == ""
    opening = 'acq = await aiomm.Acquisition.open("data", "run", core=core, show_display=False)\nsubmission = acq.acquire(events(0))'
    assert (await notebook.run(opening + "\nawait anext(aiter(submission))"))[1] == ""
    _, error = await notebook.run('import time\nprint("there", flush=True)\ntime.sleep(60)', interrupt_at="there")
    assert error == "KeyboardInterrupt"
    assert (await notebook.run("acq.abort()\nawait acq.aclose()"))[1] == ""
    seen = await notebook.look()
    assert seen["state"] == "aborted"
    with aiomm.Dataset(seen["path"]) as dataset:
        assert len(dataset) == seen["saved"] > 0
