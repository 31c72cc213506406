"""What pycromanager does with the hazards of calls: ``python -m tests.campaigns.peer_hazards_calls_pycromanager CASE PORT PID FOLDER``.

Items 1 to 3, 6, 7 and 10 to 13 of section 9 of the wire protocol. The other cases come with what is imported: this runs them all.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pycromanager import Core, JavaClass, JavaObject

from tests.campaigns.peer_hazards_pycromanager import case, count, main, said, step, times
from tests.campaigns.peer_hazards_wire import end_server_thread, others

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.campaigns.peer_hazards_pycromanager import Peer

SAMPLES = "aiomm.host.Samples"
PATIENCE = 2.0


def make(peer: Peer, name: str, **options: Any) -> Any:
    return JavaObject(name, port=peer.port, **options)


def within(call: Callable[[], Any]) -> str:
    """What a call gives, in a thread of its own; that it does not end, if it has not by then."""
    given: list[str] = []

    def run() -> None:
        try:
            given.append(repr(call()))
        except Exception as error:
            given.append(f"raised {said(error)}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return given[0] if given else f"no answer in {PATIENCE:.0f} s"


def told(call: Callable[[], Any]) -> str:
    """What a call gives, here."""
    try:
        return repr(call())
    except Exception as error:
        return f"raised {said(error)}"


# ---- the server --------------------------------------------------------------------------------------------------


@case
def at_sign_beside_binary_data(peer: Peer) -> str:
    samples = make(peer, SAMPLES)
    given = within(lambda: samples.tag_bytes("me@lab.org", np.arange(5, dtype=np.uint8)))
    return f"{given}; {others(peer.port)}"


@case
def class_that_java_cannot_reflect(peer: Peer) -> str:
    given = within(lambda: JavaClass("net.miginfocom.swt.SwtComponentWrapper", port=peer.port))
    return f"{given}; {others(peer.port)}"


@case
def server_thread_ended(peer: Peer) -> str:
    samples = make(peer, SAMPLES)
    end_server_thread(peer.port)
    return f"a call: {within(lambda: samples.echo_int(1))}; a new client: {within(lambda: Core(port=peer.port))}"


@case
def error_in_a_method(peer: Peer) -> str:
    faults = make(peer, "aiomm.host.Faults")
    given = [type(call()).__name__ for call in (lambda: faults.error("broken"), faults.overflow_stack)]
    return f"no error; the calls returned {' and '.join(given)}"


@case
def dropped_core_callback(peer: Peer) -> str:
    probe = make(peer, "aiomm.host.Probe")
    core = make(peer, "mmcorej.CMMCore")
    callback = make(peer, "org.micromanager.remote.RemoteCoreCallback", args=[core])  # register_core_callback() finds the usual port alone
    callback.start_push()
    step(f"registered: the core has {probe.listeners()} callback")
    callback.shutdown()
    del callback
    gc.collect()
    held = "RemoteCoreCallback" in probe.object_classes()
    return f"after its end the core still has {probe.listeners()} callback, which Java {'holds' if held else 'may collect'}"


@case
def java_spins_in_a_sequence(peer: Peer) -> str:
    control = make(peer, "aiomm.host.Control")
    Core(port=peer.port).set_exposure(1000)
    control.sequenceable(10)
    before, cpu, start = control.calls("popNextImageMD"), time.process_time(), time.perf_counter()
    images = count(peer.run(times(2)))
    part = (time.process_time() - cpu) / (time.perf_counter() - start)
    asked = control.calls("popNextImageMD") - before
    return f"Java asked {asked} times for {images} images of 1 s; the client took {part * 100:.0f} % of a core"


GONE = """
import os, sys
from pycromanager import Core, JavaObject
port = int(sys.argv[1])
core = Core(port=port)
kept = [JavaObject("aiomm.host.Samples", port=port) for _ in range(20)]
kept += [JavaObject("aiomm.host.Faults", port=port, new_socket=True) for _ in range(3)]
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
raise ValueError("its script fails")
"""


@case
def client_vanishes(peer: Peer) -> str:
    probe = make(peer, "aiomm.host.Probe")
    left = []
    for how in ("fails", "killed"):
        objects, ports = probe.object_count(), len(probe.open_ports().split())
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([sys.executable, "-c", GONE, str(peer.port), how], capture_output=True, timeout=6, check=False)
        left.append(f"{how}: {probe.object_count() - objects} objects and {len(probe.open_ports().split()) - ports} ports stay")
    return "; ".join(left)


# ---- the client --------------------------------------------------------------------------------------------------


@case
def collector_inside_a_call(peer: Peer) -> str:
    samples = make(peer, SAMPLES)
    for turn in range(300):
        step(f"turn {turn} of 300")
        words = samples.list()
        words_and_itself = [words]
        words_and_itself.append(words_and_itself)
        words.size()
    return "300 turns ended"


@case
def functions_for_the_exit(peer: Peer) -> str:
    samples = make(peer, SAMPLES)
    before = atexit._ncallbacks()
    for _ in range(500):
        samples.animal()
    return f"500 objects, made and dropped, left {atexit._ncallbacks() - before} functions for the exit"


@case
def two_classes(peer: Peer) -> str:
    maths = JavaClass("java.lang.Math", port=peer.port)
    numbers = JavaClass("java.lang.Integer", port=peer.port)
    return f"hypot(3, 4): {told(lambda: maths.hypot(3.0, 4.0))}; parse_int('77'): {told(lambda: numbers.parse_int('77'))}"


@case
def arrays_as_arguments(peer: Peer) -> str:
    samples = make(peer, SAMPLES)
    sent = np.array([1, -2], np.int32)
    box = make(peer, "java.awt.geom.AffineTransform", args=[np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
    return f"int[] {sent.tolist()} arrives as {samples.show_ints(sent)}; the transform's x scale of 1.0 as {box.get_scale_x()!r}"


@case
def doubles_as_a_result(peer: Peer) -> str:
    return f"double[] is {make(peer, SAMPLES).doubles()!r}"


@case
def ints_as_a_result(peer: Peer) -> str:
    ints = make(peer, SAMPLES).ints()
    return f"int[] 1, -1, {2**31 - 1}, -{2**31} is {ints.dtype} {ints.tolist()}"


@case
def numpy_and_lists_as_arguments(peer: Peer) -> str:
    samples = make(peer, SAMPLES)
    calls = {
        "np.int64": lambda: samples.echo_int(np.int64(5)),
        "list": lambda: samples.show_doubles([1, 2.5]),
        "tuple": lambda: samples.show_ints((1, 2)),
    }
    return "; ".join(f"{name}: {'refused' if told(call).startswith('raised') else told(call)}" for name, call in calls.items())


@case
def whole_floats_as_results(peer: Peer) -> str:
    return f"10.0 is {make(peer, SAMPLES).ten()!r}"


if __name__ == "__main__":
    main()
