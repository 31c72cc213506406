"""Short acquisitions of every kind, thousands of them, one after another, on a busy machine: none may stand still.

``python -m tests.campaigns.standing_still`` runs them on a LocalCore, with ``--java`` on Micro-Manager's engine. A wake-up that is lost
once in ten thousand waits is found so. What stands still is shown: its tasks, its threads, and what the hardware thread waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import inspect
import itertools
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiomm import errors
from aiomm.core.thread import HardwareThread
from tests.jvm.host import JavaHost
from tests.support.homes import Home
from tests.support.rigs import Rig, frames, numbered, snaps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STILL_S = 30.0
"""None takes a tenth of that, also where the machine has more to do than it can."""


async def _wrong(rig: Rig) -> int:
    async with rig.memory(limits={"Z": (0, 100)}) as acq:
        with suppress(errors.EventError):
            await acq.acquire([{"axes": {"n": 0}, "config_group": ["Channel", "DAPPI"]}])
        return len(await acq.acquire(snaps(2)))


async def _snaps(rig: Rig) -> int:
    async with rig.acquisition() as acq:
        return len(await acq.acquire(snaps(4)))


async def _sequence(rig: Rig) -> int:
    async with rig.acquisition(**({} if rig.java else {"durability": "every"})) as acq:
        return len(await acq.acquire(frames(12)))


async def _timed(rig: Rig) -> int:
    async with rig.memory() as acq:
        return len(await acq.acquire(numbered(*({"min_start_time": 0.0005 * n, "z": float(n % 2)} for n in range(4)))))


async def _hooks(rig: Rig) -> int:
    async def coroutine(event: Any) -> Any:
        return event

    options = {"pre_hardware_hook_fn": coroutine, "post_hardware_hook_fn": lambda event: event, "post_camera_hook_fn": coroutine}
    async with rig.memory(**options) as acq:
        return len(await acq.acquire(snaps(2)))


async def _processed(rig: Rig) -> int:
    told: list[Any] = []
    async with rig.acquisition(
        image_process_fn=lambda image, metadata: (image, metadata), image_saved_fn=lambda axes, _: told.append(axes)
    ) as acq:
        await acq.acquire(frames(5))
    return len(told)


async def _generated(rig: Rig) -> int:
    async with rig.memory() as acq:
        return len(await acq.acquire(iter(snaps(3))))


async def _cancelled(rig: Rig) -> int:
    async with rig.memory() as acq:
        submission = acq.acquire(numbered({"min_start_time": 0.0}, {"min_start_time": 60.0}))
        async for _ in submission:
            break
        submission.cancel()
        with suppress(errors.SubmissionCancelled):
            await submission
        return len(await acq.acquire({"axes": {"n": 5}})) + submission.status.saved


KINDS: dict[Callable[[Rig], Awaitable[int]], int] = {
    _wrong: 2, _snaps: 4, _sequence: 12, _timed: 4, _hooks: 2, _processed: 5, _generated: 3, _cancelled: 2,
}  # fmt: skip
"""What there is, and how many images each gives."""


def show(what: str) -> None:
    """Print what there is to see of an acquisition that stands still."""
    print(f"STANDS STILL: {what}", flush=True)
    for task in asyncio.all_tasks():
        print(task)
        task.print_stack(file=sys.stdout)
    for thread in (found for found in gc.get_objects() if isinstance(found, HardwareThread)):
        for waiting in thread._tasks:
            wait = waiting.wait
            print("hardware thread:", wait and (wait.signal and wait.signal.is_set, wait.until and wait.until - time.monotonic()))
            step = waiting.routine
            while inspect.isgenerator(step) and step.gi_frame is not None:
                print(f"  {step.gi_code.co_qualname}, line {step.gi_frame.f_lineno}")
                step = step.gi_yieldfrom
    sys.stdout.flush()
    faulthandler.dump_traceback(file=sys.stdout, all_threads=True)


async def rounds(home: Home, directory: Path, until: float) -> int:
    """Acquire for a second or so, and give how many acquisitions there were."""
    made = 0
    async with home.demo(directory) as rig:
        leave = min(until, time.monotonic() + 2)
        for kind, images in itertools.cycle(KINDS.items()):
            task = asyncio.ensure_future(kind(rig))
            if not (await asyncio.wait({task}, timeout=STILL_S))[0]:
                show(kind.__name__)
                raise SystemExit(1)
            assert task.result() == images, (kind.__name__, task.result())
            made += 1
            if time.monotonic() > leave:
                return made
    return made


def run(seconds: float, *, java: bool, busy: int) -> int:
    """Go on for so long, beside so many processes that do nothing but compute; gives how many acquisitions there were."""
    until, made = time.monotonic() + seconds, 0
    with ExitStack() as stack:
        home = Home("local")
        if java:
            home = Home("java", JavaHost().start())
            assert home.host is not None
            stack.callback(home.host.kill)
        for _ in range(busy):
            stack.callback(subprocess.Popen([sys.executable, "-c", "while True: pass"]).kill)
        while time.monotonic() < until:
            with tempfile.TemporaryDirectory(prefix="aiomm-still-") as directory:
                made += asyncio.run(rounds(home, Path(directory), until))
    return made


def main() -> None:
    """Go on, and say how many there were."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.standing_still", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--java", action="store_true", help="on Micro-Manager's engine")
    parser.add_argument("--busy", type=int, default=2, help="how many processes compute beside it")
    given = parser.parse_args()
    made = run(given.seconds, java=given.java, busy=given.busy)
    print(f"{made} acquisitions on {'Micro-Manager' if given.java else 'a LocalCore'}, none stood still")


if __name__ == "__main__":
    main()
