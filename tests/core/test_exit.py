"""How a process ends that has a core open: at once, without a crash, with the hardware stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

OPEN = """
import asyncio, sys, threading
import aiomm

async def main():
    core = await aiomm.LocalCore.open("demo")
    KEEP.append(core)
    {body}

KEEP = []
asyncio.run(main())
print("end of script", flush=True)
"""


def run(body: str, timeout: float = 45) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "ignore:unclosed <LocalCore:ResourceWarning", "-c", OPEN.format(body=body)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "await core.snap()",
        "await core.start_continuous_sequence_acquisition(0)",
        "KEEP.append(core.live()); await anext(KEEP[1])",
        "KEEP.append(core.events()); await KEEP[1].__aenter__(); await core.set_position(1)",
        "KEEP.append(await aiomm.LocalCore.open('demo')); await KEEP[1].snap()",
        "KEEP.append(asyncio.create_task(core.snap())); await asyncio.sleep(0)",
        "await core.load_device('Another', 'DemoCamera', 'DCam')",
    ],
)
def test_a_core_that_was_never_closed(body: str) -> None:
    done = run(body)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "end of script\n"


def test_a_call_that_does_not_end_does_not_keep_the_process() -> None:
    start = time.monotonic()
    done = run(
        "threading.Thread(target=core.run_blocking, args=(lambda mmc: mmc.sleep(60000),), daemon=True).start(); await asyncio.sleep(0.2)"
    )
    assert done.stdout == "end of script\n"
    assert time.monotonic() - start < 40


def test_an_exception_ends_the_script_as_usual() -> None:
    done = run("raise LookupError('own')")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("LookupError: own")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_ctrl_c_closes_the_core() -> None:
    script = """
import asyncio, aiomm
async def main():
    async with aiomm.LocalCore("demo") as core:
        try:
            async with core.live(exposure=5) as live:
                async for _ in live:
                    print("ready", flush=True)
        finally:
            print(await core.is_sequence_running(), flush=True)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-X", "dev", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=45)
    assert [line for line in out.splitlines() if line != "ready"] == ["False", "interrupted"]
    assert (process.returncode, err) == (0, "")
