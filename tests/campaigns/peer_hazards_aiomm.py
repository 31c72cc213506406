"""What aiomm does with the hazards of acquisitions, of waiting, and of calls that are cut short.

The cases of `peer_hazards_pycromanager`, by the same names, written for aiomm. Each asserts what is right: one that is not ends with an
AssertionError. `peer_hazards_calls_aiomm` has the other cases, and runs these too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import aiomm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOST_CPU = 5.0
"""Of a core, in %, for a client that waits: far less than a busy loop takes, far more than waiting does."""
CASES: dict[str, Callable[[User], Awaitable[str]]] = {}


def case(function: Callable[[User], Awaitable[str]]) -> Callable[[User], Awaitable[str]]:
    CASES[function.__name__] = function
    return function


def step(text: str) -> None:
    print(text, flush=True)


class User:
    """Where to, and the few lines that the cases share."""

    def __init__(self, port: int, pid: int, folder: str) -> None:
        self.port, self.pid, self.folder = port, pid, folder

    def open(self, **options: Any) -> aiomm.Acquisition:
        return aiomm.Acquisition(self.folder, "own", port=self.port, show_display=False, **options)

    async def run(self, events: Any, **options: Any) -> aiomm.Dataset:
        async with self.open(**options) as acq:
            step("opened")
            acq.acquire(events)
            step("acquire() returned; leaving the block")
        return acq.get_dataset()

    async def refused(self, kind: type[Exception], text: str, events: Any, **options: Any) -> str:
        """Acquire; it must end with this error, which says this."""
        return await refused(kind, text, self.run(events, **options))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def said(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    cause = f", cause {type(error.__cause__).__name__}" if error.__cause__ else ""
    return f"{type(error).__name__}: {text[:120]}{cause}"


async def refused(kind: type[Exception], text: str, what: Awaitable[Any]) -> str:
    try:
        await what
    except kind as error:
        assert text in str(error), error
        return f"raised {said(error)}"
    raise AssertionError("no error")


def times(n: int) -> list[dict[str, Any]]:
    return [{"axes": {"time": i}} for i in range(n)]


class Cpu:
    """This process's part of a core from here on."""

    def __init__(self) -> None:
        self.cpu, self.start = time.process_time(), time.perf_counter()

    def part(self) -> float:
        """In %."""
        return (time.process_time() - self.cpu) / (time.perf_counter() - self.start) * 100


def hook_fails(event: Any) -> Any:
    raise ValueError("the hook failed")


def processor_fails(image: Any, metadata: Any) -> Any:
    raise ValueError("the processor failed")


def saved_fails(axes: Any, dataset: Any) -> None:
    raise ValueError("image_saved_fn failed")


def notification_fails(notification: Any) -> None:
    raise ValueError("notification_callback_fn failed")


# ---- the server and the engine ---------------------------------------------------------------------------------


@case
async def event_generation_hook(user: User) -> str:
    count_1 = len(await user.run(times(3), event_generation_hook_fn=lambda event: event))
    step(f"the first acquisition ended: {count_1} images")
    count_2 = len(await user.run(times(2)))
    assert (count_1, count_2) == (3, 2)
    return f"both acquisitions ended: {count_1} and {count_2} images"


@case
async def properties_are_merged(user: User) -> str:
    gains = [1, 4, -3]
    dataset = await user.run([{"axes": {"time": i}, "properties": [["Camera", "Gain", str(gain)]]} for i, gain in enumerate(gains)])
    found = [int(dataset.read_image(time=i).flat[6]) - 32768 for i in range(3)]
    assert found == gains
    return f"gains {gains} asked; the images were taken with {found}"


# ---- calls -------------------------------------------------------------------------------------------------------


@case
async def interrupted_call(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        core = await bridge.get_core()
        faults = await bridge.construct_java_object("aiomm.host.Faults")
        asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGINT)
        with contextlib.suppress(asyncio.CancelledError):  # what asyncio makes of Ctrl-C
            await faults.sleep_ms(600)
            raise AssertionError("was not interrupted")
        step("interrupted a call")
        exposure, camera = await core.get_exposure(), await core.get_camera_device()
    assert (exposure, camera) == (10.0, "Camera")
    return f"next get_exposure() is {exposure!r}, then get_camera_device() is {camera!r}"


@case
async def killed_in_a_call(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        faults = await bridge.construct_java_object("aiomm.host.Faults")
        asyncio.get_running_loop().call_later(0.3, user.kill)
        step("the JVM is killed within a call")
        return await refused(aiomm.errors.ServerLostError, "sleepMs", faults.sleep_ms(30_000))


@case
async def killed_in_an_acquisition(user: User) -> str:
    await set_exposure(user, 200)
    asyncio.get_running_loop().call_later(1.0, user.kill)
    step("the JVM is killed within an acquisition")
    return await user.refused(aiomm.errors.ServerLostError, "", times(100))


async def set_exposure(user: User, ms: float) -> None:
    async with aiomm.Bridge(port=user.port) as bridge:
        await (await bridge.get_core()).set_exposure(ms)


# ---- waiting -----------------------------------------------------------------------------------------------------


@case
async def cpu_while_idle(user: User) -> str:
    async with user.open(image_process_fn=lambda image, metadata: (image, metadata)):
        await asyncio.sleep(0.5)
        cpu = Cpu()
        await asyncio.sleep(2)
        part = cpu.part()
    assert part < MOST_CPU
    return f"{part:.2f} % of a core while idle with an image processor"


@case
async def cpu_while_waiting(user: User) -> str:
    await set_exposure(user, 2000)
    async with user.open() as acq:
        submission = acq.acquire({"axes": {"time": 0}})
        await asyncio.sleep(0.3)
        cpu = Cpu()
        await submission
        part = cpu.part()
    assert part < MOST_CPU
    return f"{part:.2f} % of a core while awaiting an exposure"


# ---- hangs -------------------------------------------------------------------------------------------------------


@case
async def hook_of_wrong_arity(user: User) -> str:
    return await user.refused(TypeError, "must take (event)", times(2), pre_hardware_hook_fn=lambda a, b, c, d: a)


@case
async def hook_raises(user: User) -> str:
    async def one_by_one() -> None:
        async with user.open(pre_hardware_hook_fn=hook_fails) as acq:
            for event in times(5):
                acq.acquire(event)
            step("acquire() returned five times; leaving the block")

    return await refused(ValueError, "the hook failed", one_by_one())


@case
async def abort_without_mark_finished(user: User) -> str:
    await set_exposure(user, 50)
    acq = await user.open().__aenter__()
    acq.acquire(times(100))
    await asyncio.sleep(0.5)
    acq.abort()
    step("aborted; awaiting completion")
    with contextlib.suppress(aiomm.errors.AcquisitionAborted, aiomm.errors.SubmissionCancelled):
        await acq.await_completion()
    with contextlib.suppress(aiomm.errors.AcquisitionAborted, aiomm.errors.SubmissionCancelled):
        await acq.aclose()
    assert len(acq.get_dataset()) < 100
    return f"ended; {len(acq.get_dataset())} images"


@case
async def processor_returns_no_tuple(user: User) -> str:
    return await user.refused(
        aiomm.errors.HookError, "must return (image, metadata)", times(2), image_process_fn=lambda image, metadata: image
    )


@case
async def at_sign_in_a_tag(user: User) -> str:
    events = [{"axes": {"time": i}, "tags": {"user": "me@lab.org"}} for i in range(2)]
    dataset = await user.run(events, image_process_fn=lambda image, metadata: (image, metadata))
    metadata = dataset.read_metadata(time=0)
    tag = metadata.get("tags", metadata).get("user")
    assert (len(dataset), tag) == (2, "me@lab.org")
    return f"{len(dataset)} images; tag {tag!r}"


@case
async def at_sign_in_metadata(user: User) -> str:
    def processor(image: Any, metadata: Any) -> Any:
        metadata["note"] = "me@lab.org"
        return image, metadata

    dataset = await user.run(times(2), image_process_fn=processor)
    notes = [dataset.read_metadata(time=i).get("note") for i in range(2)]
    assert notes == ["me@lab.org"] * 2
    return f"no error; {len(dataset)} of 2 images saved; notes {notes}"


@case
async def numpy_integer_in_a_list(user: User) -> str:
    images = len(await user.run([{"axes": {"time": 0}, "stage_positions": [["Z 2", np.int64(3)]]}]))
    async with aiomm.Bridge(port=user.port) as bridge:
        position = await (await bridge.get_core()).get_position("Z 2")
    assert (images, position) == (1, 3.0)
    return f"no error; {images} image, the stage at {position}"


@case
async def image_saved_fn_raises_often(user: User) -> str:
    return await user.refused(ValueError, "image_saved_fn failed", times(400), image_saved_fn=saved_fails)


@case
async def notification_callback_raises_often(user: User) -> str:
    return await user.refused(
        ValueError,
        "notification_callback_fn failed",
        times(400),
        notification_callback_fn=notification_fails,
    )


@case
async def notification_callback_raises_and_a_future_waits(user: User) -> str:
    async def wait() -> None:
        async with user.open(notification_callback_fn=notification_fails) as acq:
            step("awaiting the images of a submission")
            await acq.acquire(times(3))

    return await refused(ValueError, "notification_callback_fn failed", wait())


# ---- swallowed ---------------------------------------------------------------------------------------------------


@case
async def image_saved_fn_raises(user: User) -> str:
    return await user.refused(ValueError, "image_saved_fn failed", times(3), image_saved_fn=saved_fails)


@case
async def notification_callback_raises(user: User) -> str:
    return await user.refused(
        ValueError,
        "notification_callback_fn failed",
        times(3),
        notification_callback_fn=notification_fails,
    )


@case
async def processor_raises(user: User) -> str:
    return await user.refused(ValueError, "the processor failed", times(3), image_process_fn=processor_fails)


@case
async def processor_returns_wrong_dtype(user: User) -> str:
    ended = await user.refused(
        aiomm.errors.HookError, "float32", times(3), image_process_fn=lambda image, metadata: (image.astype(np.float32), metadata)
    )
    index = next(Path(user.folder).glob("*/NDTiff.index"))  # Java makes no TIFF file before the first image
    assert not index.stat().st_size
    return f"{ended}; no images saved"


# ---- skipped, other ports, no server -----------------------------------------------------------------------------


@case
async def hook_returns_none(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        control = await bridge.construct_java_object("aiomm.host.Control")
        before = await control.images_taken()
        async with user.open(pre_hardware_hook_fn=lambda event: None) as acq:
            for event in times(3):
                acq.acquire(event)
        taken, saved = await control.images_taken() - before, len(acq.get_dataset())
    assert (taken, saved) == (0, 0)
    return f"{taken} exposures of the sample; {saved} images saved"


@case
async def ram_on_another_port(user: User) -> str:
    async with aiomm.Acquisition(port=user.port, show_display=False) as acq:
        await acq.acquire(times(2))
        image = await acq.get_dataset().read_image_async(time=0)
    assert image.shape == (512, 512)
    return f"image of shape {image.shape}"


@case
async def core_callbacks_on_another_port(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge, bridge.core_events() as changes:
        await (await bridge.get_core()).set_exposure(17.5)
        change = await anext(changes)
    assert (change.name, change.arguments) == ("exposureChanged", ("Camera", 17.5))
    return f"heard {change.name} of {change.arguments}"


@case
async def no_server(user: User) -> str:
    start = time.perf_counter()
    ended = await refused(
        aiomm.errors.ServerNotFoundError, str(user.port + 7), aiomm.Acquisition(user.folder, "own", port=user.port + 7).__aenter__()
    )
    return f"{ended} after {time.perf_counter() - start:.1f} s"


def main() -> None:
    name, port, pid, folder = sys.argv[1:]

    async def run() -> str:
        return await CASES[name](User(int(port), int(pid), folder))

    step(f"outcome: {asyncio.run(run())}")
