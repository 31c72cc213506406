"""What pycromanager does with the hazards of acquisitions, of waiting, and of calls that are cut short.

`peer_hazards_calls_pycromanager` has the other cases, and runs these too, under an interpreter that has pycromanager:
`tests.campaigns.peer_hazards` gives each a JVM of its own and a time limit. What is printed is how far it came, a line each; the last
line is the outcome. Nothing but pycromanager, its dependencies and the standard library is imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pycromanager import Acquisition, Core, JavaObject

if TYPE_CHECKING:
    from collections.abc import Callable

CASES: dict[str, Callable[[Peer], str]] = {}


def case(function: Callable[[Peer], str]) -> Callable[[Peer], str]:
    CASES[function.__name__] = function
    return function


def step(text: str) -> None:
    print(text, flush=True)


class Peer:
    """Where to, and the few lines that the cases share."""

    def __init__(self, port: int, pid: int, folder: str) -> None:
        self.port, self.pid, self.folder = port, pid, folder

    def control(self) -> Any:
        return JavaObject("aiomm.host.Control", port=self.port)

    def open(self, **options: Any) -> Any:
        return Acquisition(directory=self.folder, name="peer", show_display=False, port=self.port, **options)

    def run(self, events: Any, **options: Any) -> Any:
        """Acquire as the documentation has it, and return the dataset."""
        with self.open(**options) as acq:
            step("opened")
            acq.acquire(events)
            step("acquire() returned; leaving the with block")
        return acq.get_dataset()

    def outcome(self, events: Any, **options: Any) -> str:
        """Acquire; how it ended."""
        try:
            dataset = self.run(events, **options)
        except Exception as error:
            return f"raised {said(error)}"
        return f"no error; {count(dataset)} images"


def said(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    cause = f", cause {type(error.__cause__).__name__}" if error.__cause__ else ", no cause"
    return f"{type(error).__name__}: {text[:120]}{cause}"


def count(dataset: Any) -> int:
    return len(list(dataset.get_image_coordinates_list()))


def times(n: int) -> list[dict[str, Any]]:
    return [{"axes": {"time": i}} for i in range(n)]


def ignore(*_: Any) -> None:
    pass


# ---- the server and the engine ---------------------------------------------------------------------------------


@case
def event_generation_hook(peer: Peer) -> str:
    count_1 = count(peer.run(times(3), event_generation_hook_fn=lambda event: event))
    step(f"the first acquisition ended: {count_1} images")
    count_2 = count(peer.run(times(2)))
    return f"the second acquisition ended too: {count_2} images"


@case
def properties_are_merged(peer: Peer) -> str:
    gains = [1, 4, -3]
    dataset = peer.run([{"axes": {"time": i}, "properties": [["Camera", "Gain", str(gain)]]} for i, gain in enumerate(gains)])
    found = [int(dataset.read_image(time=i).flat[6]) - 32768 for i in range(3)]
    return f"gains {gains} asked; the images were taken with {found}"


# ---- calls -------------------------------------------------------------------------------------------------------


@case
def interrupted_call(peer: Peer) -> str:
    core = Core(port=peer.port)
    faults = JavaObject("aiomm.host.Faults", port=peer.port)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        faults.sleep_ms(600)
    step("interrupted a call")
    return f"next get_exposure() is {core.get_exposure()!r}, then get_camera_device() is {core.get_camera_device()!r}"


@case
def killed_in_a_call(peer: Peer) -> str:
    faults = JavaObject("aiomm.host.Faults", port=peer.port)
    threading.Timer(0.3, lambda: os.kill(peer.pid, signal.SIGKILL)).start()
    step("the JVM is killed within a call")
    try:
        faults.sleep_ms(30_000)
    except Exception as error:
        return f"raised {said(error)}"
    return "returned"


@case
def killed_in_an_acquisition(peer: Peer) -> str:
    Core(port=peer.port).set_exposure(200)
    threading.Timer(1.0, lambda: os.kill(peer.pid, signal.SIGKILL)).start()
    step("the JVM is killed within an acquisition")
    return peer.outcome(times(100))


# ---- waiting -----------------------------------------------------------------------------------------------------


@case
def cpu_while_idle(peer: Peer) -> str:
    with peer.open(image_process_fn=lambda image, metadata: (image, metadata)):
        time.sleep(0.5)
        cpu, start = time.process_time(), time.perf_counter()
        time.sleep(2)
        part = (time.process_time() - cpu) / (time.perf_counter() - start)
    return f"{part * 100:.1f} % of a core while idle with an image processor"


@case
def cpu_while_waiting(peer: Peer) -> str:
    Core(port=peer.port).set_exposure(2000)
    acq = peer.open()
    acq.acquire({"axes": {"time": 0}})
    acq.mark_finished()
    time.sleep(0.3)
    cpu, start = time.process_time(), time.perf_counter()
    acq.await_completion()
    part = (time.process_time() - cpu) / (time.perf_counter() - start)
    return f"{part * 100:.1f} % of a core while awaiting an exposure"


# ---- hangs -------------------------------------------------------------------------------------------------------


@case
def hook_of_wrong_arity(peer: Peer) -> str:
    return peer.outcome(times(2), pre_hardware_hook_fn=lambda a, b, c, d: a)


@case
def hook_raises(peer: Peer) -> str:
    def hook(event: Any) -> Any:
        raise ValueError("the hook failed")

    try:
        with peer.open(pre_hardware_hook_fn=hook) as acq:
            for event in times(5):
                acq.acquire(event)
            step("acquire() returned five times; leaving the with block")
    except Exception as error:
        return f"raised {said(error)}"
    return "no error"


@case
def abort_without_mark_finished(peer: Peer) -> str:
    Core(port=peer.port).set_exposure(50)
    acq = peer.open()
    acq.acquire(times(100))
    time.sleep(0.5)
    acq.abort()
    step("aborted; awaiting completion")
    acq.await_completion()
    return f"ended; {count(acq.get_dataset())} images"


@case
def processor_returns_no_tuple(peer: Peer) -> str:
    return peer.outcome(times(2), image_process_fn=lambda image, metadata: image)


@case
def at_sign_in_a_tag(peer: Peer) -> str:
    events = [{"axes": {"time": i}, "tags": {"user": "me@lab.org"}} for i in range(2)]
    dataset = peer.run(events, image_process_fn=lambda image, metadata: (image, metadata))
    return f"{count(dataset)} images; tag {dataset.read_metadata(time=0).get('tags')!r}"


@case
def at_sign_in_metadata(peer: Peer) -> str:
    def processor(image: Any, metadata: Any) -> Any:
        metadata["note"] = "me@lab.org"
        return image, metadata

    dataset = peer.run(times(2), image_process_fn=processor)
    notes = [dataset.read_metadata(**axes).get("note") for axes in dataset.get_image_coordinates_list()]
    return f"no error; {len(notes)} of 2 images saved; notes {notes}"


@case
def numpy_integer_in_a_list(peer: Peer) -> str:
    return peer.outcome([{"axes": {"time": 0}, "stage_positions": [["Z 2", np.int64(3)]]}])


@case
def image_saved_fn_raises_often(peer: Peer) -> str:
    def saved(axes: Any, dataset: Any) -> None:
        raise ValueError("image_saved_fn failed")

    return peer.outcome(times(400), image_saved_fn=saved)


@case
def notification_callback_raises_often(peer: Peer) -> str:
    def heard(notification: Any) -> None:
        raise ValueError("notification_callback_fn failed")

    return peer.outcome(times(400), notification_callback_fn=heard)


@case
def notification_callback_raises_and_a_future_waits(peer: Peer) -> str:
    def heard(notification: Any) -> None:
        raise ValueError("notification_callback_fn failed")

    with peer.open(notification_callback_fn=heard) as acq:
        future = acq.acquire(times(3))
        step("awaiting the images of a future")
        future.await_image_saved({"time": 2})
        step("the future has its images")
    return "no error"


# ---- swallowed ---------------------------------------------------------------------------------------------------


@case
def image_saved_fn_raises(peer: Peer) -> str:
    def saved(axes: Any, dataset: Any) -> None:
        raise ValueError("image_saved_fn failed")

    return peer.outcome(times(3), image_saved_fn=saved)


@case
def notification_callback_raises(peer: Peer) -> str:
    def heard(notification: Any) -> None:
        raise ValueError("notification_callback_fn failed")

    return peer.outcome(times(3), notification_callback_fn=heard)


@case
def processor_raises(peer: Peer) -> str:
    def processor(image: Any, metadata: Any) -> Any:
        raise ValueError("the processor failed")

    return peer.outcome(times(3), image_process_fn=processor)


@case
def processor_returns_wrong_dtype(peer: Peer) -> str:
    acq = peer.open(image_process_fn=lambda image, metadata: (image.astype(np.float32), metadata))
    acq.acquire(times(3))
    acq.mark_finished()
    try:
        acq.await_completion()
        ended = "no error"
    except Exception as error:
        ended = f"raised {said(error)}"
    step(ended)
    time.sleep(1)
    from ndstorage import Dataset

    saved = Dataset(next(entry.path for entry in os.scandir(peer.folder)))
    axes = list(saved.get_image_coordinates_list())
    return f"{ended}; {len(axes)} wrong images saved" + (f", of {saved.read_image(**axes[0]).dtype}" if axes else "")


# ---- skipped, other ports, no server -----------------------------------------------------------------------------


@case
def hook_returns_none(peer: Peer) -> str:
    control = peer.control()
    before = control.images_taken()
    with peer.open(pre_hardware_hook_fn=ignore) as acq:
        for event in times(3):
            acq.acquire(event)
    dataset = acq.get_dataset()
    return f"{control.images_taken() - before} exposures of the sample; saved with axes {list(dataset.get_image_coordinates_list())}"


@case
def ram_on_another_port(peer: Peer) -> str:
    try:
        with Acquisition(name="peer", show_display=False, port=peer.port) as acq:
            acq.acquire(times(2))
        dataset = acq.get_dataset()
        return f"image of shape {dataset.read_image(time=0).shape}"
    except Exception as error:
        return f"raised {said(error)}"


@case
def core_callbacks_on_another_port(peer: Peer) -> str:
    from mmpycorex import Core as CallbackCore

    heard: list[Any] = []
    core: Any = CallbackCore(port=peer.port)
    register = getattr(core, "register_core_callback", None) or core.get_core_callback
    with contextlib.suppress(TypeError):
        register(lambda *arguments: heard.append(arguments), bridge_port=peer.port)
    step("registered")
    time.sleep(0.5)
    core.set_exposure(17.5)
    time.sleep(0.5)
    return f"heard {heard[:2]}"


@case
def no_server(peer: Peer) -> str:
    errors = io.StringIO()
    start = time.perf_counter()
    with contextlib.redirect_stderr(errors):
        try:
            Core(port=peer.port + 7)
            ended = "no error"
        except Exception as error:
            ended = f"raised {said(error)}"
        seconds = time.perf_counter() - start
        time.sleep(0.5)
    noise = f"; {errors.getvalue().count('Traceback')} more tracebacks printed"
    return f"{ended} after {seconds:.1f} s{noise}"


def main() -> None:
    name, port, pid, folder = sys.argv[1:]
    step(f"outcome: {CASES[name](Peer(int(port), int(pid), folder))}")
