"""Acquisitions on Micro-Manager's own engine: aiomm and pycromanager, in turn on one JVM.

``python -m benchmarks java-engine --pycromanager-python /a/venv/bin/python``. The JVM is the host of ``tests/jvm``: the real engine,
storage and server over a simulated camera that needs 0.1 ms for a frame; a JDK and Maven are needed. What is printed is the median over the
rounds, and the median of the ratios taken within each round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("java_engine_contestants.py")


@dataclass(frozen=True)
class Case:
    """What one row of the report runs: ``value`` of a result is compared as peer / aiomm, more is better for us."""

    key: str
    case: str
    says: str
    n: int
    size: int
    value: str
    target: str
    wanted: float | None = None
    fast: bool = True


CASES = [
    Case("sequence", "sequence", "1000 frames of 64x64", 1000, 64, "seconds", "rate", 1.0),
    Case("sequence-512", "sequence", "1000 frames of 512x512", 1000, 512, "seconds", "rate", 1.0),
    Case("sequence-2048", "sequence", "100 frames of 2048x2048", 100, 2048, "seconds", "rate", 1.0),
    Case("processor", "processor", "1000 frames of 64x64, image processor", 1000, 64, "seconds", "rate", 1.5),
    Case("processor-512", "processor", "1000 frames of 512x512, image processor", 1000, 512, "seconds", "rate", 1.5),
    Case("processor-2048", "processor", "100 frames of 2048x2048, image processor", 100, 2048, "seconds", "rate", 1.5),
    Case("first", "first", "constructor to first image", 5, 64, "first", "time", 2.0),
    Case("idle", "idle", "idle with an image processor", 3, 64, "cpu", "CPU", 20.0),
    Case("waiting", "waiting", "awaiting a long exposure", 3, 64, "cpu", "CPU", 20.0, fast=False),
    Case("waiting-processor", "waiting_processor", "the same with an image processor", 3, 64, "cpu", "CPU", 20.0, fast=False),
]


class Contestant:
    """A process that runs the cases it is told; it waits, without work, while others have their turn."""

    def __init__(self, name: str, port: int, python: str) -> None:
        command = [python, str(SCRIPT), name, str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        return answer

    def run(self, case: str, n: int, directory: str, limit: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        timer = threading.Timer(limit, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"case": case, "n": n, "directory": directory}) + "\n")
            self.process.stdin.flush()
            return self.answer()
        except BrokenPipeError:
            return {"error": "the process ended"}
        finally:
            timer.cancel()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


async def prepare(bridge: Any, case: Case) -> None:
    """Set the camera for a case."""
    core: Any = await bridge.get_core()
    for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        await core.set_property("Camera", key, str(case.size))
    await core.set_property("Camera", "PixelType", "16bit")
    await core.set_circular_buffer_memory_footprint(1024)  # a sequence of any case fits: the camera waits for nobody
    await core.set_exposure(0 if case.fast else case.n * 1000)
    control = await bridge.construct_java_object("aiomm.host.Control")
    await control.fast(case.fast)


def measure(cases: list[Case], names: list[str], rounds: int, pythons: dict[str, str], data: str | None, limit: float) -> dict[str, Any]:
    """Run each case once per round, one contestant after the other; the results by case and contestant."""
    import aiomm
    from tests.jvm.host import JavaHost

    host = JavaHost(jvm_args=("-XX:TieredStopAtLevel=4", "-Xmx4g"))  # as a Micro-Manager runs: both compilers
    host.start()
    results: dict[str, Any] = {case.key: {name: [] for name in names} for case in cases}
    contestants: dict[str, Contestant] = {}
    with asyncio.Runner() as runner:
        bridge = runner.run(aiomm.Bridge.open(port=host.port))
        try:
            for name in names:
                contestants[name] = Contestant(name, host.port, pythons[name])
            for number in range(-1, rounds):  # the first warms up everyone
                for case in cases:
                    runner.run(prepare(bridge, case))
                    for name in names if number % 2 else reversed(names):
                        folder = tempfile.mkdtemp(dir=data, prefix="aiomm-bench-")
                        n = case.n if number >= 0 or case.value != "cpu" else 1
                        before = cpu_of(host.pid)
                        answer = contestants[name].run(case.case, n, folder, limit)
                        answer["jvm"] = cpu_of(host.pid) - before
                        shutil.rmtree(folder, ignore_errors=True)
                        if "error" in answer:
                            print(f"{case.key} {name}: {answer['error']}", file=sys.stderr)
                        if number >= 0:
                            results[case.key][name].append(answer)
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
        finally:
            for contestant in contestants.values():
                contestant.end()
            runner.run(bridge.aclose())
            host.kill()
    return results


def cpu_of(pid: int) -> float:
    """CPU time of a process (s); nan where this system does not tell it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def value(case: Case, answer: dict[str, Any]) -> float:
    """What is compared (s); nan of a run that failed."""
    found = answer.get(case.value, float("nan"))
    return statistics.median(found) if isinstance(found, list) else float(found)


def shown(case: Case, answers: list[dict[str, Any]]) -> str:
    good = [answer for answer in answers if "error" not in answer]
    if not good:
        return "failed"
    median = statistics.median(value(case, answer) for answer in good)
    if case.target == "rate":
        cpu, jvm = (statistics.median(answer[key] / case.n for answer in good) for key in ("cpu", "jvm"))
        opened, done = (statistics.median(answer[key] for answer in good) for key in ("opened", "done"))
        times = f"{opened * 1e3:.0f} ms open, {done * 1e3:.0f} ms saved"
        return f"{case.n / median:8.1f} /s  ({times}; CPU a frame {cpu * 1e6:.0f} µs, of the JVM {jvm * 1e6:.0f} µs)"
    if case.target == "time":
        return f"{median * 1e3:8.1f} ms"
    return f"{statistics.median(answer['cpu'] / answer['seconds'] for answer in good) * 100:8.2f} % of a core"


def report(cases: list[Case], results: dict[str, Any]) -> None:
    for case in cases:
        print(case.says)
        for name, answers in results[case.key].items():
            failed = sum("error" in answer for answer in answers)
            print(f"  {name:13} {shown(case, answers)}" + (f"  {failed} of {len(answers)} runs failed" if failed else ""))
        if len(results[case.key]) == 2:
            pairs = zip(results[case.key]["aiomm"], results[case.key]["pycromanager"], strict=True)
            ratios = [value(case, peer) / value(case, own) for own, peer in pairs if "error" not in own and "error" not in peer]
            if ratios:
                ratio = statistics.median(ratios)
                held = "held" if case.wanted is not None and ratio >= case.wanted else "MISSED"
                print(f"  {case.target} x {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), target {case.wanted:g}: {held}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="bench_java_engine")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="*", default=[case.key for case in CASES], choices=[case.key for case in CASES])
    parser.add_argument("--contestants", nargs="*", default=["aiomm", "pycromanager"], choices=["aiomm", "pycromanager"])
    parser.add_argument("--pycromanager-python", default=os.environ.get("PYCROMANAGER_PYTHON"), help="an interpreter that has pycromanager")
    parser.add_argument("--data", help="where datasets are written (default: the temporary directory)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that one run of one case may take")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    options = parser.parse_args(arguments)
    names = options.contestants
    if "pycromanager" in names and not options.pycromanager_python:
        print("pycromanager is left out: --pycromanager-python names an interpreter that has it", file=sys.stderr)
        names = [name for name in names if name != "pycromanager"]
    pythons = {"aiomm": sys.executable, "pycromanager": options.pycromanager_python}
    cases = [case for case in CASES if case.key in options.cases]
    results = measure(cases, names, options.rounds, pythons, options.data, options.limit)
    report(cases, results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
