"""The JVM dies under an acquisition: an error soon, what was saved reads back, nothing is left, and the next acquisition works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.acquire.remote import home
from aiomm.bridge.port import Port
from tests.jvm.host import JavaHost, require_tools
from tests.support.bridging import SLACK, SOON, Held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled(3, of="module", always=True)

Event = dict[str, Any]


def sampled(*cases: Any) -> list[Any]:
    """Cases that only the campaign runs: each of them costs a second."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.campaign) for case in cases]


@pytest.fixture(scope="module")
def _mortal() -> Iterator[JavaHost]:
    require_tools()
    host = JavaHost().start()
    yield host
    host.kill()


class Mortal:
    """A microscope in a JVM that is to die, and what has to hold afterwards."""

    def __init__(self, host: JavaHost, folder: Path, core: Any, control: Any) -> None:
        self.host, self.folder, self.core, self.control = host, folder, core, control
        self.saved: list[Event] = []
        self.killed = 0.0

    def die(self, *_: Any) -> None:
        """Kill the JVM, once."""
        if not self.killed:
            self.killed = time.monotonic()
            os.kill(self.host.pid, signal.SIGKILL)

    def acquisition(self, **options: Any) -> aiomm.Acquisition:
        def note(axes: Event, dataset: aiomm.Dataset) -> None:
            self.saved.append(dict(axes))

        given: dict[str, Any] = {"image_saved_fn": note, "port": self.host.port, "show_display": False, "bridge_timeout": 5000, **options}
        return aiomm.Acquisition(*(() if given.get("format") == "memory" else (self.folder, "killed")), **given)

    @contextlib.contextmanager
    def perishing(self) -> Iterator[pytest.ExceptionInfo[BaseException]]:
        """What the block runs ends soon after the kill, with an error that names the server's death."""
        with pytest.raises(errors.AiommError) as caught:
            yield caught
        took = time.monotonic() - self.killed
        assert self.killed, "the JVM was never killed"
        assert took < SOON + SLACK, f"{took:.1f} s"
        assert any(isinstance(error, errors.ServerLostError) for error in chain(caught.value)), chain(caught.value)

    def images(self) -> list[Event]:
        """The axes of all images that the datasets hold; each is read."""
        found: list[Event] = []
        for path in sorted(self.folder.glob("killed_*")):
            if (path / "NDTiff.index").exists() and not list(path.glob("*.tif")):  # Java makes that file with the first image
                continue
            with aiomm.Dataset(str(path)) as dataset:
                for row in range(len(dataset)):
                    pixels, _ = dataset.read_row(row)
                    assert pixels.shape == (32, 32)
                    assert pixels.flat[31] == 31
                    found.append(dataset.axes_of(row))
        return found


def chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def text_of(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


@pytest.fixture
async def mortal(_mortal: JavaHost, tmp_path: Path) -> AsyncIterator[Mortal]:
    if not _mortal.running:
        await asyncio.to_thread(_mortal.restart)
    async with asyncio.timeout(40):
        held = Held()
        bridge = await aiomm.Bridge.open(port=_mortal.port, timeout=5000)
        core: Any = await bridge.get_core()
        control = await bridge.construct_java_object("aiomm.host.Control")
        await prepare(core, control)
        scope = Mortal(_mortal, tmp_path, core, control)
        yield scope
        with contextlib.suppress(errors.ServerLostError):
            await bridge.aclose()
        core = control = scope.core = scope.control = None
        await held.nothing_more()
        here = await asyncio.to_thread(scope.images)
        missing = [axes for axes in scope.saved if axes not in here]
        assert not missing, f"reported saved, and not in the dataset: {missing}"
        await asyncio.to_thread(_mortal.restart)
        async with aiomm.Acquisition(tmp_path, "next", port=_mortal.port, show_display=False, bridge_timeout=5000) as acq:
            assert len(await acq.acquire(times(3))) == 3


async def prepare(core: Any, control: Any) -> None:
    for name in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        await core.set_property("Camera", name, "32")
    await core.set_exposure(10)
    await control.clear_journal()


def times(n: int, **more: Any) -> list[Event]:
    return [{"axes": {"time": i}, **more} for i in range(n)]


def steps(n: int) -> list[Event]:
    """Events that are not merged."""
    return [{"axes": {"time": i}, "z": float(i % 3)} for i in range(n)]


# ---- constructing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [*sampled(0, 1, 3, 10, 25), 6, 15])
async def test_while_it_is_constructed(mortal: Mortal, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at its so many-th call: opening raises, and nothing is left."""
    count = 0
    ask = Port.request

    async def request(self: Port, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        if count == after:
            mortal.die()
        count += 1
        return await ask(self, *args, **kwargs)

    monkeypatch.setattr(Port, "request", request)
    with mortal.perishing():
        async with mortal.acquisition(image_process_fn=lambda image, metadata: (image, metadata), post_hardware_hook_fn=lambda e: e):
            await asyncio.sleep(SLACK)
    assert not mortal.saved


# ---- acquiring --------------------------------------------------------------------------------------------------


WAYS: dict[str, dict[str, Any]] = {
    "saved by Java": {},
    "processed": {"image_process_fn": lambda image, metadata: (image, metadata)},
    "ome-zarr": {"format": "ome-zarr"},
}


@pytest.mark.parametrize(
    ("way", "events"),
    [("saved by Java", times(300)), ("processed", steps(300)), ("ome-zarr", times(300)),
     *sampled(("saved by Java", steps(300)), ("processed", times(300)), ("ome-zarr", steps(300)))],
    ids=lambda value: value if isinstance(value, str) else "one by one" if "z" in value[0] else "sequence",
)  # fmt: skip
async def test_while_it_acquires(mortal: Mortal, way: str, events: list[Event]) -> None:
    """The fifth image was seen: the submission ends with the error, and so does the acquisition."""
    with mortal.perishing() as caught:
        async with mortal.acquisition(**WAYS[way]) as acq:
            seen = 0
            async for _ in acq.acquire(events):
                seen += 1
                if seen == 5:
                    mortal.die()
    assert 5 <= len(mortal.saved) < 300
    assert acq.status.state == "failed"
    names_what_was_lost(caught.value, mortal, events)


def names_what_was_lost(error: BaseException, mortal: Mortal, asked: list[Event]) -> None:
    """What Java was asked for and has not reported saved is listed in the error, and nothing that is saved."""
    (dead,) = [one for one in chain(error) if isinstance(one, errors.ServerLostError)]
    assert not [axes for axes in dead.lost_images if axes in mortal.saved]
    known = [event["axes"] for event in asked]
    assert all(axes in known for axes in dead.lost_images)
    assert f"{len(mortal.saved)} images were saved" in text_of(dead)
    if "z" not in asked[0]:  # one sequence, all of it asked for
        assert len(dead.lost_images) == len(asked) - len(mortal.saved)
        assert str(dead.lost_images[0]) in text_of(dead)


async def test_while_a_body_does_something_else(mortal: Mortal) -> None:
    """Nobody waits for images: the body is interrupted, and the error is raised at its end."""
    with mortal.perishing():
        async with mortal.acquisition() as acq:
            acq.acquire(times(300))
            async for _ in acq.images():
                mortal.die()
                break
            await asyncio.sleep(60)


async def test_while_a_body_goes_on_submitting(mortal: Mortal) -> None:
    """Whether it is interrupted or told by `acquire`: the same error, with what was lost."""
    with mortal.perishing() as caught:
        async with mortal.acquisition() as acq:
            for n in range(10_000):
                acq.acquire([{"axes": {"time": n, "n": m}} for m in range(3)])
                await asyncio.sleep(0.001)
                if n == 20:
                    mortal.die()
    assert isinstance(caught.value, errors.ServerLostError)
    assert caught.value.lost_images
    assert f"{len(mortal.saved)} images were saved" in text_of(caught.value)


async def test_while_nothing_is_acquired(mortal: Mortal) -> None:
    """An idle acquisition hears of it too."""
    with mortal.perishing():
        async with mortal.acquisition() as acq:
            await acq.acquire(times(2))
            mortal.die()
            await asyncio.sleep(60)
    assert len(mortal.saved) == 2


# ---- in a user's function ---------------------------------------------------------------------------------------


HOOKS = ["event_generation_hook_fn", "pre_hardware_hook_fn", "post_hardware_hook_fn", "post_camera_hook_fn"]


@pytest.mark.parametrize("which", [*sampled("event_generation_hook_fn", "pre_hardware_hook_fn"), *HOOKS[2:]])
async def test_in_a_hook(mortal: Mortal, which: str) -> None:
    """The hook is at work when Java dies, and would be for a minute."""

    async def hook(event: Any) -> Any:
        mortal.die()
        await asyncio.sleep(60)
        return event

    with mortal.perishing():
        async with mortal.acquisition(**{which: hook}) as acq:
            await acq.acquire(steps(3))


async def test_in_a_plain_hook(mortal: Mortal) -> None:
    """A plain function cannot be interrupted: the end comes when it returns."""

    def hook(event: Any) -> Any:
        mortal.die()
        time.sleep(0.5)
        return event

    with mortal.perishing():
        async with mortal.acquisition(post_hardware_hook_fn=hook) as acq:
            await acq.acquire(steps(3))


@pytest.mark.parametrize("at", [*sampled(0), 4])
async def test_in_a_processor(mortal: Mortal, at: int) -> None:
    """Images before it are saved by Java, or lost with it; those that were reported saved are there."""
    count = 0

    async def processor(image: Any, metadata: Any) -> Any:
        nonlocal count
        if count == at:
            mortal.die()
            await asyncio.sleep(60)
        count += 1
        return image, metadata

    with mortal.perishing():
        async with mortal.acquisition(image_process_fn=processor) as acq:
            await acq.acquire(times(300))


@pytest.mark.parametrize("options", [{}, {"show_display": True}, *sampled({"format": "ome-zarr"}, {"format": "memory"})], ids=str)
@pytest.mark.parametrize("plain", [False, *sampled(True)])
async def test_what_a_processor_has_is_lost(mortal: Mortal, options: dict[str, Any], plain: bool) -> None:
    """Images that were taken, processed and not saved are named, wherever they wait."""
    inside = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def processor(image: Any, metadata: Any) -> Any:
        inside.set()
        await asyncio.sleep(60)
        return image, metadata

    def slow(image: Any, metadata: Any) -> Any:
        loop.call_soon_threadsafe(inside.set)
        time.sleep(0.8)
        return image, metadata

    asked = times(30)
    with mortal.perishing() as caught:
        async with mortal.acquisition(image_process_fn=slow if plain else processor, saving_queue_size=4, **options) as acq:
            submission = acq.acquire(asked)
            await inside.wait()
            while acq.status.waiting_for_processor < 5:  # one in it, four wait
                await asyncio.sleep(0.01)
            mortal.die()
            await submission
    names_what_was_lost(caught.value, mortal, asked)


# ---- finishing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processed", [*sampled(False), True])
async def test_while_it_finishes(mortal: Mortal, processed: bool) -> None:
    """All is saved and the block has been left: the images are there, whether or not the end in Java was heard."""
    options = WAYS["processed"] if processed else {}
    with contextlib.suppress(errors.ServerLostError):
        async with mortal.acquisition(**options) as acq:
            await acq.acquire(times(5))
            asyncio.get_running_loop().call_soon(mortal.die)
    assert mortal.killed
    assert time.monotonic() - mortal.killed < SOON + SLACK
    assert len(mortal.saved) == 5


@pytest.mark.parametrize("plain", [False, True])
async def test_while_a_slow_callback_catches_up(mortal: Mortal, plain: bool) -> None:
    """All is saved, and Java has nothing more to say: its death is heard all the same, and ends the callbacks."""

    async def slow(axes: Event, dataset: aiomm.Dataset) -> None:
        told(axes)
        await asyncio.sleep(0.2)

    def slow_and_plain(axes: Event, dataset: aiomm.Dataset) -> None:
        told(axes)
        time.sleep(0.2)

    def told(axes: Event) -> None:
        mortal.saved.append(dict(axes))
        if len(mortal.saved) == 4:
            mortal.die()

    with mortal.perishing() as caught:
        async with mortal.acquisition(image_saved_fn=slow_and_plain if plain else slow) as acq:
            await acq.acquire(times(40))
    assert acq.status.state == "failed"
    assert len(acq.get_dataset()) == 40
    assert f"was not told of {40 - len(mortal.saved)} saved images" in text_of(caught.value)
    assert "40 images were saved; none was under way" in text_of(caught.value)
    assert len(await asyncio.to_thread(mortal.images)) == 40


# ---- stopped ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "events"),
    [({}, steps(3000)), ({}, times(300)), ({"image_process_fn": lambda image, metadata: (image, metadata)}, steps(3000)), ({}, [])],
    ids=["one by one", "sequence", "processed", "idle"],
)
async def test_an_abort_ends_where_micro_manager_hangs(
    mortal: Mortal, options: dict[str, Any], events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped keeps its connections: nothing tells that it is gone, and an abort waited for ever."""
    monkeypatch.setattr(home, "LOOKS_S", 0.2)
    monkeypatch.setattr(home, "GREETS_S", 0.4)
    try:
        with pytest.raises(errors.ServerLostError, match="its process is stopped, or hangs"):
            async with asyncio.timeout(20), mortal.acquisition(**options) as acq:
                if events:
                    acq.acquire(events)
                    await asyncio.sleep(0.3)
                os.kill(mortal.host.pid, signal.SIGSTOP)
                acq.abort()
    finally:
        mortal.die()  # a stopped process too
    assert acq.status.state == "failed"


async def test_an_abort_gives_micro_manager_the_time_that_it_takes(mortal: Mortal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long exposure is no reason to take it for gone."""
    monkeypatch.setattr(home, "LOOKS_S", 0.1)
    monkeypatch.setattr(home, "GREETS_S", 1.0)
    await mortal.core.set_exposure(1000)
    async with mortal.acquisition() as acq:
        acq.acquire(steps(3))
        await asyncio.sleep(0.2)
        acq.abort()
    assert acq.status.state == "aborted"
    mortal.die()
