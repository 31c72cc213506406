"""Who opens something, and never closes it, is told of it by a ResourceWarning that names what was left open."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import aiomm

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.support.homes import Home


def told(main: Callable[[], Coroutine[Any, Any, None]]) -> list[str]:
    """Run a script and give the ResourceWarnings of aiomm."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(main())
        gc.collect()
    return [str(one.message) for one in caught if "unclosed <" in str(one.message)]


@pytest.mark.parametrize("ends", ["", "aclose", "async with", "mark_finished", "abort", "enough", "error"])
def test_an_acquisition(home: Home, tmp_path: Path, ends: str) -> None:
    """What closes its microscope or bridge aborts it; and that was the user's, who had forgotten it, or had not."""

    def hook(event: Any, queue: Any) -> Any:
        if ends == "enough":
            queue.put(None)
        if ends == "error":
            raise ValueError("no")
        return event

    async def main() -> None:
        async with home.demo(tmp_path) as rig:
            options = {"pre_hardware_hook_fn": hook} if ends in ("enough", "error") else {}
            acq = await aiomm.Acquisition.open(show_display=False, **rig.where, **options)
            if ends == "async with":
                await acq.aclose()
                async with rig.memory() as acq:
                    await acq.acquire({"axes": {"n": 0}})
            elif ends == "error":
                with pytest.raises(ValueError, match="no"):
                    await acq.acquire({"axes": {"n": 0}})
                while acq.status.state != "failed":
                    await asyncio.sleep(0.01)
            else:
                await acq.acquire([{"axes": {"n": n}} for n in range(3)])
            if ends == "aclose":
                await acq.aclose()
            elif ends == "mark_finished":
                acq.mark_finished()
            elif ends == "abort":
                acq.abort()
            elif ends == "enough":
                while acq.status.state != "finished":
                    await asyncio.sleep(0.01)

    found = told(main)
    if ends:
        assert found == []
    else:
        (message,) = found
        assert message.startswith("unclosed <Acquisition to memory: aborted>") and "3 images were saved" in message
        assert "async with" in message and "aclose()" in message


def test_an_acquisition_whose_loop_ends(java_host: Any, tmp_path: Path) -> None:
    async def main() -> None:
        acq = await aiomm.Acquisition.open(str(tmp_path), "left", port=java_host.port, show_display=False)
        await acq.acquire({"axes": {"n": 0}})

    (message,) = told(main)  # its bridge was its own, and is closed with it
    assert message.startswith(f"unclosed <Acquisition to {tmp_path / 'left_1'}: aborted>")


def test_an_acquisition_whose_error_nobody_was_told_of(home: Home, tmp_path: Path) -> None:
    def hook(event: Any) -> Any:
        raise ValueError("the lamp is out")

    async def main() -> None:
        async with home.demo(tmp_path) as rig:
            acq = await aiomm.Acquisition.open(show_display=False, pre_hardware_hook_fn=hook, **rig.where)
            acq.acquire({"axes": {"n": 0}})
            while acq.status.state != "failed":
                await asyncio.sleep(0.01)

    (message,) = told(main)
    assert message.startswith("unclosed <Acquisition to memory: failed>") and "ValueError: the lamp is out" in message


def test_a_bridge(java_host: Any) -> None:
    async def left_open() -> None:
        await aiomm.Bridge.open(java_host.port, timeout=5000)

    async def closed() -> None:
        await (await aiomm.Bridge.open(java_host.port, timeout=5000)).aclose()
        aiomm.Bridge(java_host.port)

    async def never_opened() -> None:
        with pytest.raises(aiomm.errors.ServerNotFoundError):
            await aiomm.Bridge.open(1)

    assert told(closed) == told(never_opened) == []
    (message,) = told(left_open)
    assert message.startswith(f"unclosed <Bridge to 127.0.0.1:{java_host.port}, open>")
    assert "async with" in message and "aclose()" in message


SCRIPT = """
import asyncio, aiomm
async def main():
    core = await aiomm.LocalCore.open("demo")
    acq = await aiomm.Acquisition.open(core=core)
    await acq.acquire({{"axes": {{"n": 0}}}})
    {rest}
asyncio.run(main())
"""


@pytest.mark.parametrize(("rest", "warns"), [("pass", True), ("await core.aclose()", False)])
def test_a_core_in_this_process(rest: str, warns: bool) -> None:
    """Its devices are unloaded as the process ends; that is when it is told."""
    ended = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", SCRIPT.format(rest=rest)], capture_output=True, text=True, timeout=50
    )
    assert ended.returncode == 0
    assert ("unclosed <LocalCore demo: " in ended.stderr) == warns, ended.stderr
    assert "unclosed <Acquisition to memory: aborted>" in ended.stderr
