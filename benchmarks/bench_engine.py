"""The acquisition engine and its peers, case by case and in turn: cost per event, rate of sequences, latency to a coroutine.

Run ``python -m benchmarks.bench_engine --help``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTESTANTS = Path(__file__).with_name("contestants.py")


@dataclass(frozen=True)
class Case:
    """What one row of the report runs."""

    key: str
    contestant: str
    case: str
    says: str
    n: int


EVENTS, FRAMES, WATCHED = 500, 1000, 200
CASES = [
    Case("bare", "bare", "event", "bare loop, nothing saved", EVENTS),
    Case("aiomm", "aiomm", "event", "aiomm, saved", EVENTS),
    Case("aiomm-for", "aiomm", "event_for", "aiomm, saved, async for", EVENTS),
    Case("aiomm-generator", "aiomm", "event_generator", "aiomm, saved, from a generator", EVENTS),
    Case("aiomm-memory", "aiomm", "event_memory", "aiomm, in memory", EVENTS),
    Case("aiomm-hooks", "aiomm", "event_hooks", "aiomm, saved, 3 async hooks", EVENTS),
    Case("aiomm-hooks-camera", "aiomm", "event_hooks_camera", "aiomm, saved, 3 async hooks, one post-camera", EVENTS),
    Case("pymmcore-plus", "pymmcore-plus", "event", "pymmcore-plus, saved (OME-Zarr)", EVENTS),
    Case("pycromanager", "pycromanager", "event", "pycromanager's Python engine, saved", EVENTS),
    Case("bare-sequence", "bare", "sequence", "bare drain loop, nothing saved", FRAMES),
    Case("aiomm-sequence", "aiomm", "sequence", "aiomm, saved", FRAMES),
    Case("pymmcore-plus-sequence", "pymmcore-plus", "sequence", "pymmcore-plus, saved (OME-Zarr)", FRAMES),
    Case("pycromanager-sequence", "pycromanager", "sequence", "pycromanager's Python engine, saved", FRAMES),
    Case("latency-event-for", "aiomm", "latency_event_for", "snapped, saved, async for", WATCHED),
    Case("latency-event-processor", "aiomm", "latency_event_processor", "snapped, async image processor", WATCHED),
    Case("latency-sequence-for", "aiomm", "latency_sequence_for", "sequence, saved, async for", WATCHED),
    Case("latency-sequence-processor", "aiomm", "latency_sequence_processor", "sequence, async image processor", WATCHED),
    Case("latency-fast-sequence-for", "aiomm", "latency_fast_sequence_for", "sequence at full rate, saved, async for", WATCHED),
]


class Process:
    """A contestant in its own process; it waits, without work, while others have their turn."""

    def __init__(self, name: str, python: str, limit: float) -> None:
        self.name = name
        self.limit = limit
        self.process = subprocess.Popen([python, str(CONTESTANTS), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.error: str | None = self._read().get("error")

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        return answer

    def run(self, case: str, n: int, directory: str) -> dict[str, Any]:
        """Run one case; a contestant that errs is out of the rest of the run."""
        assert self.process.stdin is not None
        watchdog = _Watchdog(self.process, self.limit)
        with watchdog:
            self.process.stdin.write(json.dumps({"case": case, "n": n, "directory": directory}) + "\n")
            self.process.stdin.flush()
            answer = self._read()
        if watchdog.fired:
            self.error = f"{case} took more than {self.limit:g} s"
            return {"error": self.error}
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _Watchdog:
    """Kills a process that takes too long, so that a peer that hangs does not hang the run."""

    def __init__(self, process: subprocess.Popen[str], limit: float) -> None:
        import threading

        self.fired = False
        self.timer = threading.Timer(limit, self._fire)
        self.process = process

    def _fire(self) -> None:
        self.fired = True
        self.process.kill()

    def __enter__(self) -> None:
        self.timer.start()

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()


def measure(cases: list[Case], rounds: int, pythons: dict[str, str], directory: str | None, limit: float) -> dict[str, dict[str, Any]]:
    """Run each case once per round, one after the other; raw results by case."""
    needed = dict.fromkeys(case.contestant for case in cases)
    processes = {name: Process(name, pythons.get(name, sys.executable), limit) for name in needed}
    results: dict[str, dict[str, Any]] = {case.key: {"runs": [], "error": processes[case.contestant].error} for case in cases}
    try:
        for number in range(-1, rounds):  # the first one warms up and is not counted
            for case in cases:
                entry = results[case.key]
                process = processes[case.contestant]
                if entry["error"] or process.error:
                    entry["error"] = entry["error"] or process.error
                    continue
                folder = tempfile.mkdtemp(dir=directory, prefix="aiomm-bench-")
                try:
                    n = case.n if number >= 0 else max(50, case.n // 5)
                    answer = process.run(case.case, n, folder)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                if "error" in answer:
                    entry["error"] = answer["error"]
                elif number >= 0:
                    entry["runs"].append({**answer, "n": n})
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    finally:
        for process in processes.values():
            process.close()
    return results


def median(values: list[float]) -> float:
    """Median; nan of nothing."""
    return statistics.median(values) if values else float("nan")


def per_event(entry: dict[str, Any]) -> list[float]:
    """Milliseconds per event, a value per round."""
    return [run["seconds"] / run["n"] * 1e3 for run in entry["runs"]]


def summarise(cases: list[Case], results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Medians by case: what is compared with the bare loop is compared within each round."""
    summary: dict[str, dict[str, Any]] = {}
    for case in cases:
        entry = results[case.key]
        row: dict[str, Any] = {"says": case.says, "n": case.n}
        if entry["error"]:
            row["error"] = entry["error"]
        if not entry["runs"]:
            summary[case.key] = row
            continue
        own = per_event(entry)
        row["cpu_ms"] = round(median([run["cpu"] / run["n"] * 1e3 for run in entry["runs"]]), 4)
        if "open" in entry["runs"][0]:
            row["open_ms"] = round(median([run["open"] * 1e3 for run in entry["runs"]]), 2)
            row["close_ms"] = round(median([run["close"] * 1e3 for run in entry["runs"]]), 2)
        if case.key.startswith("latency"):
            all_of_them = sorted(x for run in entry["runs"] for x in run["latency_ms"])
            row["p50_ms"] = round(median(all_of_them), 4)
            row["p99_ms"] = round(all_of_them[int(len(all_of_them) * 0.99)], 4)
        else:
            row["ms"] = round(median(own), 4)
            sequence = case.case == "sequence"
            bare = results.get("bare-sequence" if sequence else "bare", {"runs": []})
            pairs = list(zip(own, per_event(bare), strict=False))
            if sequence:
                row["per_s"] = round(1e3 / median(own), 1)
                row["rate_ratio"] = round(median([b / a for a, b in pairs]), 4)
            else:
                row["added_ms"] = round(median([a - b for a, b in pairs]), 4)
        summary[case.key] = row
    return summary


TARGETS = {
    "aiomm": ("added_ms", "<=", 0.35),
    "aiomm-hooks": ("added_ms", "<=", 0.8),
    "aiomm-hooks-camera": ("added_ms", "<=", 0.8),
    "aiomm-sequence": ("rate_ratio", ">=", 0.97),
    "latency-event-for": ("p50_ms", "<=", 1.0),
    "latency-event-processor": ("p50_ms", "<=", 1.0),
    "latency-sequence-for": ("p50_ms", "<=", 1.0),
    "latency-sequence-processor": ("p50_ms", "<=", 1.0),
    "latency-fast-sequence-for": ("p50_ms", "<=", 1.0),
}


def report(summary: dict[str, dict[str, Any]]) -> str:
    """A table to read."""
    lines = [f"{'case':52} {'ms':>8} {'cpu ms':>8} {'result':>22}   target"]
    for key, row in summary.items():
        if "error" in row:
            lines.append(f"{row['says']:52} left out: {row['error']}")
            continue
        if "p50_ms" in row:
            shown = f"{row['p50_ms']:.3f} (p99 {row['p99_ms']:.3f}) ms"
        elif "rate_ratio" in row:
            shown = f"{row['per_s']:.0f}/s = {row['rate_ratio']:.3f} x"
        else:
            shown = f"{row['added_ms']:+.3f} ms"
        target = ""
        if key in TARGETS:
            name, sign, bound = TARGETS[key]
            held = row[name] <= bound if sign == "<=" else row[name] >= bound
            target = f"{sign} {bound:g}: {'held' if held else 'MISSED'}"
        lines.append(f"{row['says']:52} {row.get('ms', float('nan')):8.3f} {row['cpu_ms']:8.3f} {shown:>22}   {target}")
    ratios = [f"aiomm adds {summary['aiomm']['added_ms']:+.3f} ms per saved event"] if summary.get("aiomm", {}).get("added_ms") else []
    for peer in ("pymmcore-plus", "pycromanager"):
        if ratios and summary.get(peer, {}).get("added_ms"):
            ratios.append(f"{peer} {summary[peer]['added_ms'] / summary['aiomm']['added_ms']:.1f} times that")
    return "\n".join([*lines, "", ", ".join(ratios)])


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_engine", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--only", nargs="*", help="keys of the cases to run (bare loops come along); all of them: " + ", ".join(c.key for c in CASES)
    )
    parser.add_argument("--pycromanager-python", default=os.environ.get("PYCROMANAGER_PYTHON"), help="an interpreter that has pycromanager")
    parser.add_argument("--data", help="where datasets are written (default: the temporary directory)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that one run of one case may take")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    options = parser.parse_args(argv)
    pythons = {"pycromanager": options.pycromanager_python} if options.pycromanager_python else {}
    cases = CASES
    if options.only is not None:
        unknown = set(options.only) - {case.key for case in CASES}
        if unknown:
            parser.error(f"no such case: {', '.join(sorted(unknown))}")
        cases = [case for case in CASES if case.key in options.only or case.contestant == "bare"]
    for peer, module in (("pymmcore-plus", "pymmcore_plus"), ("pycromanager", "pycromanager")):
        if peer not in pythons and importlib.util.find_spec(module) is None:
            print(f"{peer} is not installed here: left out", file=sys.stderr)
            cases = [case for case in cases if case.contestant != peer]
    results = measure(cases, options.rounds, pythons, options.data, options.limit)
    summary = summarise(cases, results)
    print(report(summary))
    if options.json:
        machine = {"platform": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()}
        options.json.write_text(json.dumps({"machine": machine, "rounds": options.rounds, "summary": summary, "raw": results}, indent=1))


if __name__ == "__main__":
    main()
