"""What tests of a bridge's faults share: what the server holds, what this process holds, and answers that tell which call they are of."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SOON = 2.0
"""Seconds within which a dead server is noticed."""
SLACK = 4.0
"""What a busy computer may add to a bound in a test: far less than the hang that it has to tell from it."""

VANISHING = """
import asyncio, os, sys
import aiomm

async def main():
    async with aiomm.Bridge(int(sys.argv[1]), timeout=5000) as bridge:
        kept = [await bridge.construct_java_object("aiomm.host.Samples") for _ in range(20)]
        kept += [await bridge.construct_java_object("aiomm.host.Faults", new_socket=True) for _ in range(3)]
        if sys.argv[2] == "killed":
            os.kill(os.getpid(), 9)
        raise ValueError("its script fails")

asyncio.run(main())
"""
"""A program that holds 20 objects and 3 ports in Java; it fails, or is ``killed``: its arguments are the port and how."""

_UNIQUE = itertools.count(1)


def unique() -> int:
    """A number that no other call of this run has as its answer."""
    return next(_UNIQUE) * 7919 + 100_003


class Held:
    """What this process holds: open files and sockets, and the tasks of this loop."""

    def __init__(self) -> None:
        self.tasks = asyncio.all_tasks()
        self.files = _files()

    def more(self) -> str:
        """What came since and is still there; empty if nothing."""
        gc.collect()
        tasks = [task.get_name() for task in asyncio.all_tasks() - self.tasks - {asyncio.current_task()}]
        files = list((_files() - self.files).elements())
        return " ".join(str(what) for what in (tasks, files) if what)

    async def nothing_more(self, seconds: float = SLACK) -> None:
        """Whatever came since is gone, at once or after the loop's next steps."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (more := self.more()) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        assert not more, f"left behind: {more}"


def _files() -> Counter[str]:
    """Count the open descriptors by kind: the numbers of sockets change."""
    kinds: Counter[str] = Counter()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            kinds[str(fd.readlink()).partition(":[")[0]] += 1
    return kinds


class Eye:
    """Looks at the server over a bridge of its own."""

    def __init__(self, bridge: aiomm.Bridge, probe: Any, faults: Any) -> None:
        self.bridge = bridge
        self.probe = probe
        self.faults = faults
        self.objects = 0

    async def note(self) -> None:
        """Take what the server holds now for the beginning; what was dropped before is released first."""
        gc.collect()
        counts = [-1, await self.probe.object_count()]
        while counts[-1] != counts[-2]:
            await asyncio.sleep(0.03)
            counts.append(await self.probe.object_count())
        self.objects = counts[-1]

    async def back(self, what: str = "", seconds: float = SLACK + 2) -> None:
        """The server holds again what it held at the beginning."""
        deadline = asyncio.get_running_loop().time() + seconds
        gc.collect()
        while (now := await self.probe.object_count()) != self.objects and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        held = await self.probe.object_classes()
        assert now == self.objects, f"{what}: {now - self.objects} objects too many are held: {Counter(held.split())}"

    async def until_blocked(self, count: int = 1) -> None:
        """Wait until so many calls block in the server."""
        async with asyncio.timeout(SLACK + 2):
            while await self.faults.blocked() < count:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def looking(port: int) -> AsyncIterator[Eye]:
    """Look at the server on this port; its counts begin here."""
    async with aiomm.Bridge(port=port, timeout=5000) as bridge:
        probe = await bridge.construct_java_object("aiomm.host.Probe", new_socket=True)
        faults = await bridge.construct_java_object("aiomm.host.Faults", new_socket=True)
        eye = Eye(bridge, probe, faults)
        await eye.note()
        yield eye


async def right_answers(bridge: aiomm.Bridge, count: int = 3, samples: Any = None) -> None:
    """Calls on this bridge get their own answers: numbers, texts, arrays and objects, one after the other and at the same time."""
    async with asyncio.timeout(SLACK + 10):
        mine = samples if samples is not None else await bridge.construct_java_object("aiomm.host.Samples")
        for _ in range(count):
            number = unique()
            assert await mine.echo_int(number) == number
            number = unique()
            assert await mine.echo_string(f"text {number}") == f"text {number}"
        numbers = [unique() for _ in range(count)]
        assert await asyncio.gather(*(mine.echo_int(number) for number in numbers)) == numbers
        number = unique()
        array = await mine.echo_ints([number, -number])
        assert array.tolist() == [number, -number]
        words = await mine.list()
        assert [word async for word in words] == ["a", "b", "c"]


@contextlib.contextmanager
def quiet_loop() -> Iterator[list[dict[str, Any]]]:
    """Collect what the running loop's exception handler is told: there must be nothing."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        yield told
    finally:
        loop.set_exception_handler(before)
    assert not told, told


def memory() -> int:
    """Bytes of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
