"""The hangs and wrong results of Micro-Manager's server and its clients, with pycromanager and with aiomm.

``nox -s peer_hazards -- --peer-python /a/venv/bin/python``. They are those of section 9 of the wire protocol. Each case runs on a JVM of
its own, in a process of its own, with a time limit. The table says what each of the two did. Each of aiomm's cases asserts what is right,
and the run fails if one of them does; the tests in tests/hazards hold the same without a peer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.jvm.host import JavaHost

ROOT = Path(__file__).parents[2]
CASES = "tests.campaigns.peer_hazards_calls_"
EXIT_S = 5.0


@dataclass(frozen=True)
class Hazard:
    """One case: where section 9 names it, and what goes on."""

    item: str
    case: str
    says: str
    note: str = ""


HAZARDS = [
    Hazard("1", "at_sign_beside_binary_data", "'@' in a text beside binary data"),
    Hazard(
        "1",
        "class_that_java_cannot_reflect",
        "a class that names one that is not there",
        "no client can know; that it ends the server's thread is Java's alone",
    ),
    Hazard(
        "1",
        "server_thread_ended",
        "somebody sends malformed JSON",
        "neither client does: a bare socket sends it. aiomm's call has a call_timeout of 1 s",
    ),
    Hazard("2", "error_in_a_method", "a method throws an Error"),
    Hazard(
        "3",
        "dropped_core_callback",
        "a core callback ends",
        "CMMCore keeps a bare pointer and calls it after Java has collected it: the JVM crashes. The test host's core is Java itself, and "
        "keeps the callback alive: what shows here is whether the core still has one that the server no longer holds",
    ),
    Hazard(
        "6",
        "java_spins_in_a_sequence",
        "a sequence of two exposures of 1 s",
        "the engine's own loop, with any client; the test host's core makes it wait 1 ms each time, the real one does not",
    ),
    Hazard(
        "7",
        "client_vanishes",
        "clients with 24 objects on 4 ports end",
        "the server knows no connections: what a killed client held stays, with any client",
    ),
    Hazard("4", "event_generation_hook", "event_generation hook, then another acquisition"),
    Hazard("5", "properties_are_merged", "events that differ in properties alone"),
    Hazard("8", "interrupted_call", "Ctrl-C in a call, then other calls"),
    Hazard("9", "killed_in_a_call", "JVM killed in a call"),
    Hazard("9", "killed_in_an_acquisition", "JVM killed while an acquisition is awaited"),
    Hazard("10", "collector_inside_a_call", "the garbage collector runs within a call"),
    Hazard("11", "functions_for_the_exit", "500 Java objects come and go"),
    Hazard("12", "two_classes", "static methods of two classes"),
    Hazard("13", "arrays_as_arguments", "arrays as arguments"),
    Hazard("13", "doubles_as_a_result", "double[] as a result"),
    Hazard("13", "ints_as_a_result", "int[] as a result"),
    Hazard("13", "numpy_and_lists_as_arguments", "numpy numbers, lists and tuples as arguments"),
    Hazard("13", "whole_floats_as_results", "a double that is whole as a result"),
    Hazard("14", "cpu_while_idle", "idle with an image processor"),
    Hazard("14", "cpu_while_waiting", "awaiting one long exposure"),
    Hazard("15", "hook_of_wrong_arity", "hook with four parameters"),
    Hazard("15", "hook_raises", "hook raises, events acquired one by one"),
    Hazard("15", "abort_without_mark_finished", "abort, then await the end"),
    Hazard("15", "processor_returns_no_tuple", "processor returns the image alone"),
    Hazard("15", "at_sign_in_a_tag", "'@' in a tag, with a processor"),
    Hazard("15", "at_sign_in_metadata", "'@' in metadata that a processor adds"),
    Hazard("15", "numpy_integer_in_a_list", "np.int64 within a list of an event"),
    Hazard("15", "image_saved_fn_raises_often", "image_saved_fn raises, 400 images"),
    Hazard("15", "notification_callback_raises_often", "notification callback raises, 400 images"),
    Hazard("15", "notification_callback_raises_and_a_future_waits", "notification callback raises, images awaited"),
    Hazard("16", "image_saved_fn_raises", "image_saved_fn raises, 3 images"),
    Hazard("16", "notification_callback_raises", "notification callback raises, 3 images"),
    Hazard("16", "processor_raises", "processor raises"),
    Hazard("16", "processor_returns_wrong_dtype", "processor returns float32 for uint16"),
    Hazard("17", "hook_returns_none", "pre-hardware hook returns None"),
    Hazard("18", "ram_on_another_port", "RAM dataset, port not the default"),
    Hazard("18", "core_callbacks_on_another_port", "core callbacks, port not the default"),
    Hazard("19", "no_server", "no server"),
]


@dataclass
class Ran:
    """How one case went: what it said, the errors it printed, and whether it and its interpreter ended."""

    lines: list[str]
    errors: str
    ended: bool
    code: int | None

    def __str__(self) -> str:
        last = self.lines[-1] if self.lines else "nothing said"
        if last.startswith("outcome: "):
            return last.removeprefix("outcome: ") + ("" if self.ended else " -- and its interpreter does not end")
        if not self.ended:
            return f"HANGS after: {last}"
        final = [line for line in self.errors.splitlines() if line.strip()]
        return f"ended with code {self.code}: {final[-1] if final else ''}"


def ended_right(ran: Ran) -> bool:
    """Whether it came to its outcome and its end: a case of aiomm's that is not right ends with an AssertionError before."""
    return ran.ended and ran.code == 0 and bool(ran.lines) and ran.lines[-1].startswith("outcome: ")


def run(python: str, module: str, hazard: Hazard, limit: float) -> Ran:
    """Run one case on a new JVM; kill it at its limit (s), or when it does not end after its outcome."""
    host = JavaHost().start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = [python, "-m", module, hazard.case, str(host.port), str(host.pid), folder]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
            lines: list[str] = []
            errors: list[str] = []
            spoke = threading.Event()

            def listen() -> None:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line.rstrip("\n"))
                    if line.startswith("outcome: "):
                        spoke.set()
                spoke.set()

            def complain() -> None:
                assert process.stderr is not None
                errors.extend(process.stderr)

            threads = [threading.Thread(target=target) for target in (listen, complain)]
            for thread in threads:
                thread.start()
            until = time.monotonic() + limit
            spoke.wait(limit)
            try:
                process.wait(max(0.1, min(EXIT_S, until - time.monotonic())) if spoke.is_set() else 0.1)
                ended = True
            except subprocess.TimeoutExpired:
                ended = False
                process.kill()
                process.wait()
            for thread in threads:
                thread.join()
            return Ran(lines, "".join(errors), ended, process.returncode)
    finally:
        host.kill()


def main(arguments: list[str] | None = None) -> int:
    """Run the cases and print the table; give 1 if aiomm was not right in one, else 0."""
    parser = argparse.ArgumentParser(prog="peer_hazards", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer-python", help="an interpreter that has pycromanager; without it, only aiomm runs")
    parser.add_argument("--only", nargs="*", help="names of cases: " + ", ".join(hazard.case for hazard in HAZARDS))
    parser.add_argument("--limit", type=float, default=12.0, help="seconds that a case may take")
    parser.add_argument("--details", action="store_true", help="print what they wrote to stderr too")
    options = parser.parse_args(arguments)
    if unknown := set(options.only or ()) - {hazard.case for hazard in HAZARDS}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    contestants = {"aiomm": sys.executable}
    if options.peer_python:
        contestants = {"pycromanager": options.peer_python, **contestants}
    wrong: list[str] = []
    chosen = [hazard for hazard in HAZARDS if not options.only or hazard.case in options.only]
    for hazard in chosen:
        print(f"{hazard.item:>3}  {hazard.says}", flush=True)
        if hazard.note:
            print(f"       ({hazard.note})", flush=True)
        for name, python in contestants.items():
            ran = run(python, CASES + name, hazard, options.limit)
            print(f"       {name:13} {ran}", flush=True)
            if options.details:
                print(ran.errors)
            if name == "aiomm" and not ended_right(ran):
                wrong.append(hazard.case)
    print(f"aiomm: {len(chosen) - len(wrong)} of {len(chosen)} cases are right" + (f"; not {', '.join(wrong)}" if wrong else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
