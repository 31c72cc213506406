"""Micro-Manager's own viewer, NDViewer, in a JVM with a screen: it shows what is acquired, outlives it, and may be closed in the middle."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.jvm.host import JavaHost, require_tools
from tests.jvm.screen import invisible_screen, missing_screen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

campaign = pytest.mark.campaign
WAIT = 10.0
CLOSING = 201
"""java.awt.event.WindowEvent.WINDOW_CLOSING: what the cross of a window sends."""
HOOKS = ("event_generation_hook_fn", "pre_hardware_hook_fn", "post_hardware_hook_fn", "post_camera_hook_fn")
PHASES = ("idle", "images", "sequence", "tiles", *HOOKS, "image_process_fn")


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    if (reason := missing_screen()) is not None:
        pytest.skip(reason)
    with invisible_screen() as display:
        yield display


@pytest.fixture(scope="module")
def java_host(screen: str) -> Iterator[JavaHost]:
    """A JVM that shows its windows; in place of the one that all tests share."""
    host = JavaHost(screen=screen).start()
    yield host
    host.kill()


@pytest.fixture
def own_java_host() -> Iterator[JavaHost]:
    """A JVM whose screen is gone: it was told of one that is not there."""
    require_tools()
    host = JavaHost(screen=":98765").start()
    yield host
    host.kill()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT):
        while not await true():
            await asyncio.sleep(0.02)


class User:
    """Somebody in front of the screen."""

    def __init__(self, bridge: aiomm.Bridge) -> None:
        self._bridge = bridge

    async def window(self, viewer: Any) -> Any:
        """The window of a viewer, once it is there to be seen."""
        swing = await self._bridge.get_java_class("javax.swing.SwingUtilities")
        window = await swing.get_window_ancestor(await viewer.get_canvas_j_panel())
        await until(window.is_showing)
        return window

    async def close(self, window: Any) -> None:
        """Click on the cross of a window."""
        toolkit = await (await self._bridge.get_java_class("java.awt.Toolkit")).get_default_toolkit()
        queue = await toolkit.get_system_event_queue()
        await queue.post_event(await self._bridge.construct_java_object("java.awt.event.WindowEvent", args=[window, CLOSING]))

    async def answer(self, *, finish: bool) -> None:
        """Say whether the acquisition is to be finished, when NDViewer asks."""
        asked: list[Any] = []

        async def is_asked() -> bool:
            asked[:] = [each for each in await self._windows() if await self._asks(each)]
            return bool(asked)

        await until(is_asked)
        if finish:
            await (await (await asked[0].get_root_pane()).get_default_button()).do_click(0)
        else:
            await self.close(asked[0])

    async def _windows(self) -> list[Any]:
        found: list[Any] = await (await (await self._bridge.get_java_class("java.awt.Window")).get_windows()).to_list()
        return found

    async def _asks(self, window: Any) -> bool:
        if window.java_class != "javax.swing.JDialog" or not await window.is_showing():
            return False
        return bool(await window.get_title() == "Finish Current Acquisition")


@pytest.fixture
def user(bridge: aiomm.Bridge) -> User:
    return User(bridge)


async def is_gone(window: Any) -> bool:
    return not await window.is_displayable()


async def saved_in(acq: aiomm.Acquisition) -> list[dict[str, Any]]:
    assert acq.path is not None
    await acq.get_dataset().aclose()
    async with await aiomm.Dataset.open(acq.path) as dataset:
        return list(dataset.get_image_coordinates_list())


def late(count: int, *, tiles: bool = False) -> list[dict[str, Any]]:
    """Events that take much longer than any test."""
    places = [{"row": 0, "column": i} if tiles else {"time": i} for i in range(count)]
    return [{"axes": axes, "min_start_time": 0.1 * i} for i, axes in enumerate(places)]


@campaign
async def test_it_shows_what_is_saved_and_stays(bridge: aiomm.Bridge, user: User, tmp_path: Path) -> None:
    events = [{"axes": {"time": time, "z": z, "channel": "red"}} for time in range(3) for z in range(2)]
    async with aiomm.Acquisition(tmp_path, "set", bridge=bridge) as acq:
        viewer = await acq.get_viewer()
        assert viewer.java_class == "org.micromanager.ndviewer.main.NDViewer"
        window = await user.window(viewer)
        assert await window.get_title() == "set_1 (Running)"
        await acq.acquire(events)

        async def shows_the_last() -> bool:
            return [await viewer.get_axis_position(axis) for axis in ("time", "z", "channel")] == [2, 1, "red"]

        await until(shows_the_last)
    assert await window.is_showing()
    assert await window.get_title() == "set_1 (Finished)"
    assert "red" in await viewer.get_display_settings_json()
    await viewer.set_axis_position("time", 0)
    assert await viewer.get_axis_position("time") == 0
    await viewer.close()
    await until(lambda: is_gone(window))
    assert await saved_in(acq) == [event["axes"] for event in events]


@campaign
async def test_it_is_closed_by_its_user_after_the_end(bridge: aiomm.Bridge, user: User, tmp_path: Path) -> None:
    async with aiomm.Acquisition(tmp_path, "set", bridge=bridge) as acq:
        window = await user.window(await acq.get_viewer())
        await acq.acquire({"axes": {"time": 0}})
    await user.close(window)  # asked nothing
    await until(lambda: is_gone(window))
    assert await saved_in(acq) == [{"time": 0}]


@campaign
async def test_two_at_a_time(bridge: aiomm.Bridge, user: User, tmp_path: Path) -> None:
    async with aiomm.Acquisition(tmp_path, "a", bridge=bridge) as a, aiomm.Acquisition(tmp_path, "b", bridge=bridge) as b:
        viewers = [await acq.get_viewer() for acq in (a, b)]
        windows = [await user.window(viewer) for viewer in viewers]
        await asyncio.gather(a.acquire({"axes": {"time": 0}}), b.acquire({"axes": {"time": 0}}))
    assert [await window.get_title() for window in windows] == ["a_1 (Finished)", "b_1 (Finished)"]
    await viewers[0].close()
    await until(lambda: is_gone(windows[0]))
    assert await windows[1].is_showing()
    await viewers[1].close()
    await until(lambda: is_gone(windows[1]))
    assert [await saved_in(acq) for acq in (a, b)] == [[{"time": 0}], [{"time": 0}]]


@campaign
@pytest.mark.parametrize("by", ["user", "call"])
@pytest.mark.parametrize("phase", PHASES)
async def test_it_is_closed_in_the_middle(bridge: aiomm.Bridge, user: User, tmp_path: Path, phase: str, by: str) -> None:
    inside, released = asyncio.Event(), asyncio.Event()
    saved: list[Any] = []

    async def hook(event: Any) -> Any:
        inside.set()
        await released.wait()
        return event

    async def process(image: Any, metadata: Any) -> Any:
        inside.set()
        await released.wait()
        return image, metadata

    def note(axes: Any, dataset: Any) -> None:
        saved.append(axes)
        inside.set()

    options: dict[str, Any] = {"tile_overlap": (8, 4)} if phase == "tiles" else {}
    options |= {phase: hook} if phase in HOOKS else {phase: process} if phase == "image_process_fn" else {}
    with pytest.raises(errors.AcquisitionAborted, match=r"was ended in Micro-Manager \(its window was closed\?\)") as raised:
        async with asyncio.timeout(WAIT), aiomm.Acquisition(tmp_path, "set", bridge=bridge, image_saved_fn=note, **options) as acq:
            viewer = await acq.get_viewer()
            window = await user.window(viewer)
            if phase == "idle":
                await acq.acquire({"axes": {"time": 0}})
            else:
                tiles = phase == "tiles"
                acq.acquire([{"axes": {"time": i}} for i in range(2000)] if phase == "sequence" else late(200, tiles=tiles))
            await inside.wait()
            try:
                if by == "call":
                    await viewer.close()
                else:
                    await user.close(window)
                    await user.answer(finish=True)
                await asyncio.sleep(0.3)  # its abort is there before the function returns
            finally:
                released.set()
            await asyncio.Event().wait()
    assert not [note for note in raised.value.__notes__ if "then also" in note]
    await until(lambda: is_gone(window))
    assert await saved_in(acq) == saved
    async with aiomm.Acquisition(tmp_path, "next", bridge=bridge, show_display=False) as following:
        await following.acquire({"axes": {"time": 0}})
    assert await saved_in(following) == [{"time": 0}]


@campaign
async def test_its_user_does_not_want_to_finish(bridge: aiomm.Bridge, user: User, tmp_path: Path) -> None:
    async with asyncio.timeout(WAIT), aiomm.Acquisition(tmp_path, "set", bridge=bridge) as acq:
        viewer = await acq.get_viewer()
        window = await user.window(viewer)
        submission = acq.acquire(late(20))
        await anext(aiter(submission))
        await user.close(window)
        await user.answer(finish=False)
        assert len(await submission) == 20
        assert await window.is_showing()
    await viewer.close()
    await until(lambda: is_gone(window))


@pytest.fixture
async def blind(own_java_host: JavaHost) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as opened:
        yield opened


@pytest.mark.skipif(sys.platform != "linux", reason="a display's name tells Java where the screen is on Linux only")
async def test_a_screen_that_is_not_there(blind: aiomm.Bridge, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):  # Java says it in other words at the second time
        caplog.clear()
        with caplog.at_level(logging.INFO, "aiomm"):
            async with aiomm.Acquisition(tmp_path, "set", bridge=blind) as acq:
                with pytest.raises(errors.UnsupportedError, match="it runs without a screen"):
                    await acq.get_viewer()
                await acq.acquire({"axes": {"time": 0}})
        assert [record.message for record in caplog.records] == [
            "show_display: this Micro-Manager runs without a screen, so its viewer is not opened"
        ]
        assert await saved_in(acq) == [{"time": 0}]
