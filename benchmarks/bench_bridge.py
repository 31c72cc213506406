"""Calls to Java: aiomm's bridge on asyncio's own loop and on uvloop, pyjavaz and bare sockets, in turn on one JVM.

``python -m benchmarks.bench_bridge``. The JVM is the host of ``tests/jvm`` with the real server in it; a JDK and Maven are
needed. What is printed is the median over the rounds, and the median of the ratios taken within each round.

Small calls are a chain of threads that wake each other, in the client and in Java, so where the scheduler puts them decides
more than either program: on two processors one client's rate changes threefold from one second to the next. ``--apart`` gives
the JVM the first processor and the clients the others, for ratios that can be repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CONTESTANTS = ("aiomm", "uvloop", "pyjavaz", "raw", "loop")
CASES = {"sequential": (4000, "rate"), "concurrent": (8000, "rate"), "image": (100, "MB/s"), "idle": (5, "percent")}
TARGETS = {"sequential": 1.3, "concurrent": 3.5, "image": 1.2}


class Contestant:
    """A process that runs the cases it is told."""

    def __init__(self, name: str, port: int, python: str) -> None:
        script = Path(__file__).with_name("bridge_contestants.py")
        self.process = subprocess.Popen([python, str(script), name, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a contestant ended")
        return json.loads(line)

    def run(self, case: str, n: int) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([case, n]) + "\n")
        self.process.stdin.flush()
        result: dict[str, float] = self.answer()
        return result

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:  # pyjavaz may not end by itself
            self.process.kill()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="bench_bridge")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--apart", action="store_true", help="the JVM and the clients on processors of their own (Linux)")
    parser.add_argument("--pyjavaz-python", default=sys.executable, help="an interpreter that has pyjavaz")
    options = parser.parse_args(arguments)
    from tests.jvm.host import JavaHost

    host = JavaHost(jvm_args=("-XX:TieredStopAtLevel=4",))  # as a Micro-Manager runs: both compilers
    if options.apart:
        first, *others = sorted(os.sched_getaffinity(0))
        if not others:
            parser.error("--apart needs two processors")
        os.sched_setaffinity(0, {first})  # who is started here inherits it
    host.start()
    if options.apart:
        os.sched_setaffinity(0, others)
    try:
        contestants = {n: Contestant(n, host.port, options.pyjavaz_python if n == "pyjavaz" else sys.executable) for n in CONTESTANTS}
        prepare(host.port)
        results: dict[str, dict[str, list[dict[str, float]]]] = {case: {name: [] for name in CONTESTANTS} for case in options.cases}
        for number in range(-1, options.rounds):  # the first warms up everyone
            names = random.Random(number).sample(CONTESTANTS, len(CONTESTANTS))  # who went before leaves its mark
            for case in options.cases:
                for name in names:
                    n = CASES[case][0]
                    result = contestants[name].run(case, n if number >= 0 or case != "idle" else 0)
                    if number >= 0:
                        results[case][name].append(result)
        for contestant in contestants.values():
            contestant.end()
    finally:
        host.stop()
    report(results)


def prepare(port: int) -> None:
    """Have the camera make images of 2048x2048, 16 bit, at once."""
    import asyncio

    import aiomm

    async def run() -> None:
        async with aiomm.Bridge(port=port) as bridge:
            core: Any = await bridge.get_core()
            for key, value in PREPARED:
                await core.set_property("Camera", key, value)
            await core.set_exposure(0)

    asyncio.run(run())


PREPARED = (("OnCameraCCDXSize", "2048"), ("OnCameraCCDYSize", "2048"), ("PixelType", "16bit"))


def report(results: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    for case, by_name in results.items():
        key = CASES[case][1]
        print(f"{case} ({key})")
        for name, rounds in by_name.items():
            line = f"  {name:8} {statistics.median(r[key] for r in rounds):10.1f}"
            for extra in ("p50", "p99", "cpu"):
                if extra in rounds[0]:
                    line += f"   {extra} {statistics.median(r[extra] for r in rounds):7.1f} µs"
            if case != "idle" and name != "pyjavaz":
                ratios = [r[key] / p[key] for r, p in zip(rounds, by_name["pyjavaz"], strict=True)]
                line += f"   x pyjavaz {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                if name in ("aiomm", "uvloop"):
                    line += f", target {TARGETS[case]}"
            print(line)


if __name__ == "__main__":
    main()
