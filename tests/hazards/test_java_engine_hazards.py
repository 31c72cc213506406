"""What hangs or goes wrong in acquisitions on Micro-Manager's engine (wire-protocol.md, section 9), and does not here.

The same with pycromanager, beside it: ``python -m tests.campaigns.peer_hazards``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.jvm.host import free_port
from tests.support.bridging import SLACK, Eye, looking
from tests.support.steps_of_a_loop import SteppedLoop, run_stepped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost

pytestmark = pytest.mark.sampled(2, of="module", always=True)

Event = dict[str, Any]


def sampled(*cases: Any) -> list[Any]:
    """Cases that only the campaign runs."""
    return [pytest.param(case, marks=pytest.mark.campaign) for case in cases]


class Scope:
    """The simulated microscope in Java, with small images that take no time."""

    def __init__(self, eye: Eye, core: Any, control: Any, folder: Path) -> None:
        self.eye, self.core, self.control, self.folder = eye, core, control, folder
        self.port = eye.bridge.port

    def acquisition(self, **options: Any) -> aiomm.Acquisition:
        options = {"directory": self.folder, "name": "hazard", **options}
        return aiomm.Acquisition(port=self.port, show_display=False, bridge_timeout=5000, **options)

    async def run(self, events: Any, **options: Any) -> aiomm.Dataset:
        async with self.acquisition(**options) as acq:
            await acq.acquire(events)
        return acq.get_dataset()

    async def next_one_works(self) -> None:
        """Another acquisition on the same JVM has its images."""
        assert len(await self.run(times(2))) == 2


@pytest.fixture
async def scope(java_host: JavaHost, tmp_path: Path) -> AsyncIterator[Scope]:
    async with looking(java_host.port) as eye, asyncio.timeout(30):
        control = await eye.bridge.construct_java_object("aiomm.host.Control")
        core: Any = await eye.bridge.get_core()
        await prepare(core, control)
        try:
            yield Scope(eye, core, control, tmp_path)
        finally:
            await control.restore()


async def prepare(core: Any, control: Any) -> None:
    await control.restore()
    for name in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        await core.set_property("Camera", name, "32")
    await core.set_exposure(0)
    await control.fast(True)


def times(n: int, **more: Any) -> list[Event]:
    return [{"axes": {"time": i}, **more} for i in range(n)]


def gain(pixels: np.ndarray) -> int:
    """The camera's gain when this image was taken; see Frame.java."""
    return int(pixels.flat[6]) - 32768


async def through(image: Any, metadata: Any) -> Any:
    return image, metadata


def failing(name: str) -> Any:
    def fail(*_: Any) -> Any:
        raise ValueError(f"{name} failed")

    return fail


# ---- the engine in Java -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_9_4_an_event_generation_hook_lets_the_engine_end(scope: Scope, one_by_one: bool) -> None:
    """Java tells its hook twice of the end, waits for an answer that never comes, and no acquisition ever runs again."""
    seen: list[Event] = []

    async def hook(event: Event) -> Event:
        seen.append(event)
        return event

    async with scope.acquisition(event_generation_hook_fn=hook) as acq:
        for events in times(3) if one_by_one else [times(3)]:
            acq.acquire(events)
    assert [event["axes"] for event in seen] == [{"time": 0}, {"time": 1}, {"time": 2}]
    assert len(acq.get_dataset()) == 3
    await scope.next_one_works()


async def test_9_5_events_that_differ_in_properties_are_each_carried_out(scope: Scope) -> None:
    """They are merged there, and all images have the last value, or none of them."""
    gains = [1, 4, -3]
    dataset = await scope.run([{"axes": {"time": i}, "properties": [["Camera", "Gain", str(one)]]} for i, one in enumerate(gains)])
    assert [gain(dataset.read_image(time=i)) for i in range(3)] == gains


# ---- waiting --------------------------------------------------------------------------------------------------------


def test_9_14_nothing_polls_and_nothing_spins(java_host: JavaHost, tmp_path: Path) -> None:
    """An image processor took a whole core, waiting for the end many calls a second. Here the loop takes a few steps, no thread works."""

    async def main(loop: SteppedLoop) -> None:
        async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
            core: Any = await bridge.get_core()
            control = await bridge.construct_java_object("aiomm.host.Control")
            await prepare(core, control)
            await control.fast(False)
            try:
                async with aiomm.Acquisition(
                    tmp_path, "idle", port=java_host.port, show_display=False, image_process_fn=through, pre_hardware_hook_fn=lambda e: e
                ) as acq:
                    await acq.acquire(times(2))
                    await core.set_exposure(1200)
                    await asyncio.sleep(0.2)
                    await quiet(loop, asyncio.sleep(1))
                    submission = acq.acquire([{"axes": {"time": 5}}])
                    await asyncio.sleep(0.1)
                    await quiet(loop, submission)
            finally:
                await control.restore()

    async def quiet(loop: SteppedLoop, what: Any) -> None:
        loop.begin({})
        worked = time.process_time()
        await what
        worked = time.process_time() - worked
        assert loop.end() <= 60
        assert worked < 0.5

    run_stepped(main)


# ---- hangs ----------------------------------------------------------------------------------------------------------


HOOKS = ["event_generation_hook_fn", "pre_hardware_hook_fn", "post_hardware_hook_fn", "post_camera_hook_fn"]


@pytest.mark.parametrize("which", [*sampled(*HOOKS[:3]), HOOKS[3], "image_process_fn"])
async def test_9_15_a_wrong_arity_is_refused_before_anything_is_made(scope: Scope, which: str) -> None:
    """The engine is left waiting for the hook's answer."""

    def wrong(a: Any, b: Any, c: Any, d: Any, e: Any) -> None: ...

    with pytest.raises(TypeError, match=f"{which}.*must take"):
        await scope.run(times(2), **{which: wrong})
    assert not list(scope.folder.iterdir())
    await scope.next_one_works()


@pytest.mark.parametrize("which", HOOKS)
async def test_9_15_a_hook_that_raises_ends_the_acquisition(scope: Scope, which: str) -> None:
    """With events acquired one by one, abort clears the end that is queued, and nobody ever sends it."""
    with pytest.raises(ValueError, match="the hook failed"):
        async with scope.acquisition(**{which: failing("the hook")}) as acq:
            for event in times(5):
                acq.acquire(event)
    await scope.next_one_works()


async def test_9_15_abort_ends(scope: Scope) -> None:
    """abort() without mark_finished(): Java's thread waits for one message more, await_completion for ever."""
    await scope.control.fast(False)
    await scope.core.set_exposure(20)
    acq = await aiomm.Acquisition.open(scope.folder, "hazard", port=scope.port, show_display=False)
    submission = acq.acquire(times(200))
    async for _ in submission:
        break
    acq.abort()
    with pytest.raises((errors.AcquisitionAborted, errors.SubmissionCancelled)):
        await asyncio.wait_for(submission, 2 + SLACK)
    await asyncio.wait_for(acq.await_completion(), 2 + SLACK)  # the error was delivered
    assert acq.status.state == "aborted"
    await scope.control.fast(True)
    await scope.next_one_works()


@pytest.mark.parametrize(
    "wrong", [lambda image, metadata: image, *sampled(lambda image, metadata: (image,), lambda image, metadata: "text")]
)
async def test_9_15_a_processor_that_returns_no_image_and_metadata(scope: Scope, wrong: Any) -> None:
    """pycromanager's thread dies, and the images after it are waited for."""
    with pytest.raises(errors.HookError, match="image_process_fn"):
        await scope.run(times(3), image_process_fn=wrong)
    await scope.next_one_works()


@pytest.mark.parametrize("tag", ["me@lab.org", "@1_0", *sampled("@", "[B@1234abcd", "µ@")])
async def test_9_15_an_at_sign_in_a_tag_with_a_processor(scope: Scope, tag: str) -> None:
    """Texts with '@' beside binary data are taken for places of it: the client waits for ever, or Java loses the image."""
    dataset = await scope.run(times(2, tags={"user": tag}), image_process_fn=through)
    for i in range(2):
        metadata = dataset.read_metadata(time=i)
        assert metadata.get("tags", metadata)["user"] == tag


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("form", ["ndtiff", "memory"])
async def test_9_15_axes_and_tags_of_any_characters_with_a_processor(scope: Scope, form: str, merged: bool) -> None:
    """Java's streams have '?' for characters above U+00FF, so images cannot be told from one another."""
    names = ["明場", "蛍光", "Größe"]
    extra = {} if merged else {"properties": [["Camera", "Gain", "2"]]}
    events = [
        {"axes": {"名前": i, "時間": name, "channel": name, "größe": "?"}, "tags": {"誰": name, "é": "ñ@x"}, **extra}
        for i, name in enumerate(names)
    ]
    seen: list[Any] = []

    def look(event: Any) -> Any:
        seen.extend(event if isinstance(event, list) else [event])
        return event

    options: dict[str, Any] = {} if form == "ndtiff" else {"format": form, "directory": None, "name": None}
    async with scope.acquisition(image_process_fn=through, post_hardware_hook_fn=look, **options) as acq:
        saved = await acq.acquire(events)
    assert saved == [event["axes"] for event in events] == [event["axes"] for event in seen]
    dataset = acq.get_dataset()
    for event in events:
        metadata = await dataset.read_metadata_async(**event["axes"])
        assert (metadata["Axes"], metadata["tags"]) == (event["axes"], event["tags"])


async def test_9_15_an_at_sign_in_metadata_that_a_processor_adds(scope: Scope) -> None:
    """Java loses the images, and says nothing."""

    def processor(image: np.ndarray, metadata: dict[str, Any]) -> Any:
        return image + 1, {**metadata, "Note": "me@lab.org", "Deep": {"er": ["@", "x@y"]}}

    dataset = await scope.run(times(3), image_process_fn=processor)
    assert len(dataset) == 3
    for i in range(3):
        metadata = dataset.read_metadata(time=i)
        assert (metadata["Note"], metadata["Deep"]) == ("me@lab.org", {"er": ["@", "x@y"]})


async def test_9_15_numpy_numbers_anywhere_in_an_event(scope: Scope) -> None:
    """json.dumps refuses them in the thread that sends: it dies, and the end is never sent."""
    event = {
        "axes": {"time": np.int64(0)},
        "stage_positions": [["Z 2", np.int64(3)]],
        "z": np.float32(2.5),
        "exposure": np.float64(1.5),
        "min_start_time": np.float64(0.01),
    }
    dataset = await scope.run([event])
    assert len(dataset) == 1
    assert await scope.core.get_position("Z 2") == 3.0


CALLBACKS = ["image_saved_fn", "notification_callback_fn", "storage_monitor_callback_fn"]


@pytest.mark.parametrize("count", [3, 400])
@pytest.mark.parametrize("which", [*CALLBACKS[:2], *sampled(CALLBACKS[2])])
async def test_9_15_9_16_a_callback_that_raises_is_heard(scope: Scope, which: str, count: int) -> None:
    """With few images the error is swallowed; with more than a hundred the queue is full and everything stands still."""
    two = {"image_saved_fn": lambda axes, dataset: failing(which)()}
    with pytest.raises(ValueError, match=f"{which} failed"):
        await scope.run(times(count), **{which: two.get(which, failing(which))})
    await scope.next_one_works()


async def test_9_15_awaited_images_whose_callback_raises(scope: Scope) -> None:
    """A future is told of its images by the thread that the callback's error has ended."""
    with pytest.raises(ValueError, match="notification_callback_fn failed"):
        async with scope.acquisition(notification_callback_fn=failing("notification_callback_fn")) as acq:
            await asyncio.wait_for(acq.acquire(times(3)), SLACK)
            await asyncio.sleep(SLACK)


# ---- swallowed ------------------------------------------------------------------------------------------------------


async def test_9_16_a_processors_error_is_raised_with_its_type(scope: Scope) -> None:
    """It is wrapped in an Exception without a cause."""
    with pytest.raises(ValueError, match="the processor failed") as caught:
        await scope.run(times(3), image_process_fn=failing("the processor"))
    assert any(entry.name == "fail" for entry in caught.traceback)
    await scope.next_one_works()


async def test_9_16_pixels_of_a_wrong_type_are_not_saved(scope: Scope) -> None:
    """The error comes, and images that are read as something else are saved all the same."""
    acq = scope.acquisition(image_process_fn=lambda image, metadata: (image.astype(np.float32), metadata))
    with pytest.raises(errors.AiommError, match=r"float32|type"):
        async with acq:
            await acq.acquire(times(3))
    assert len(acq.get_dataset()) == 0
    assert (scope.folder / "hazard_1" / "NDTiff.index").stat().st_size == 0
    await scope.next_one_works()


# ---- skipped, other ports, no server ----------------------------------------------------------------------------


@pytest.mark.parametrize("which", HOOKS[:3])
async def test_9_17_a_skipped_event_exposes_nothing(scope: Scope, which: str) -> None:
    """None becomes an event without axes, which is an image."""
    before = await scope.control.images_taken()
    async with scope.acquisition(**{which: lambda event: None}) as acq:
        saved = [await acq.acquire(event) for event in times(3)]
    assert saved == [[], [], []]
    assert len(acq.get_dataset()) == 0
    assert await scope.control.images_taken() == before


async def test_9_18_a_ram_dataset_on_another_port_than_the_usual_one(scope: Scope) -> None:
    """Its reader asks the usual port, where nobody knows of it."""
    assert scope.port != 4827
    async with aiomm.Acquisition(port=scope.port, show_display=False) as acq:
        await acq.acquire(times(2))
        assert (await acq.get_dataset().read_image_async(time=1)).shape == (32, 32)


async def test_9_19_no_server_is_one_clear_error(tmp_path: Path) -> None:
    """It was 'Bridge has been closed', and the traceback of a thread."""
    with pytest.raises(errors.ServerNotFoundError, match="Micro-Manager"):
        async with aiomm.Acquisition(tmp_path, "none", port=free_port(), bridge_timeout=500):
            pass
    assert not list(tmp_path.iterdir())
