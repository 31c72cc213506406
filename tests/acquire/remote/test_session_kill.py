"""The JVM killed in each phase of a session: whoever waits for Java hears of it soon, and nothing is left here."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from aiomm.acquire.remote.session import JavaSession
from aiomm.bridge.line import Line
from tests.acquire.remote.conftest import one_large_message
from tests.acquire.remote.sessions import times, wanted
from tests.jvm.host import JavaHost, require_tools
from tests.support.bridging import SLACK, SOON, Held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def host() -> Iterator[JavaHost]:
    """A JVM of these tests' own, which each of them kills."""
    require_tools()
    started = JavaHost().start()
    yield started
    started.kill()


class Scene:
    """A bridge to a JVM that is to die."""

    def __init__(self, host: JavaHost, bridge: aiomm.Bridge, control: Any) -> None:
        self.host, self.bridge, self.control = host, bridge, control
        self.killed = 0.0

    def kill(self) -> None:
        self.killed = time.monotonic()
        os.kill(self.host.pid, signal.SIGKILL)

    async def ends(self, *waiting: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> None:
        """Each of them ends with ServerLostError soon after the kill."""
        async with asyncio.timeout(20):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [errors.ServerLostError] * len(waiting), results
        assert time.monotonic() - self.killed < SOON + SLACK


@pytest.fixture
async def scene(host: JavaHost) -> AsyncIterator[Scene]:
    if not host.running:
        await asyncio.to_thread(host.restart)
    one_large_message()
    held = Held()
    bridge = await aiomm.Bridge.open(host.port, timeout=5000)
    control = await bridge.construct_java_object("aiomm.host.Control", new_socket=True)
    await control.fast(True)
    yield Scene(host, bridge, control)
    await bridge.aclose()
    await held.nothing_more()


async def started(*waiting: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Tasks that wait for Java."""
    tasks = [asyncio.create_task(each) for each in waiting]
    await asyncio.sleep(0.05)
    assert not [task for task in tasks if task.done()]
    return tasks


async def heard(session: JavaSession) -> None:
    async for _ in session.notices:
        pass


async def gone(session: JavaSession) -> None:
    error = await asyncio.shield(session.gone)
    assert error is not None
    raise error


async def closes(session: JavaSession) -> None:
    """Closing a session whose server is gone takes no time."""
    before = time.monotonic()
    await session.close()
    assert time.monotonic() - before < SLACK
    assert isinstance(session.lost, errors.ServerLostError)


@pytest.mark.parametrize("call", [2, 5, 9, 14, 18, 22])
async def test_while_it_is_opened(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    original = Line.exchange
    left = call

    async def exchange(self: Line, *args: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            scene.kill()
        return await original(self, *args, **more)

    monkeypatch.setattr(Line, "exchange", exchange)
    await scene.ends(JavaSession.open(scene.bridge, wanted(tmp_path, "post_hardware", images=True)))


async def test_while_everything_waits(scene: Scene, tmp_path: Path) -> None:
    session = await JavaSession.open(scene.bridge, wanted(tmp_path, "pre_hardware", "post_hardware", images=True))
    assert session.images is not None
    waiting = await started(heard(session), session.hooks["pre_hardware"].recv(), session.images.recv(), gone(session))
    scene.kill()
    await scene.ends(*waiting)
    await scene.ends(session.send(times(1)), session.check(), session.hooks["post_hardware"].recv())
    await session.abort()
    await closes(session)


async def test_while_java_exposes(scene: Scene, tmp_path: Path) -> None:
    session = await JavaSession.open(scene.bridge, wanted(tmp_path))
    await scene.control.hold("snapImage")
    await session.send(times(1))
    async for notice in session.notices:
        if notice.milestone == "pre_snap":
            break
    waiting = await started(heard(session), gone(session))
    scene.kill()
    await scene.ends(*waiting)
    await closes(session)


async def test_while_a_hook_is_asked(scene: Scene) -> None:
    session = await JavaSession.open(scene.bridge, wanted(None, "post_hardware"))
    await session.send(times(1))
    pipe = session.hooks["post_hardware"]
    asked = await pipe.recv()
    assert asked is not None
    waiting = await started(gone(session))
    scene.kill()
    await scene.ends(*waiting)
    await scene.ends(pipe.answer(asked), pipe.recv())
    await closes(session)


async def test_while_images_are_sent(scene: Scene, tmp_path: Path) -> None:
    """More than Java's queue takes: the last one waits for room."""
    session = await JavaSession.open(scene.bridge, wanted(tmp_path, images=True))
    assert session.images is not None
    await session.send(times(1))
    image = await session.images.recv()
    assert image is not None
    pixels = np.zeros((2048, 2048), np.uint16)
    os.kill(scene.host.pid, signal.SIGSTOP)

    async def send(pipe: Any) -> None:
        for count in range(1000):
            await pipe.send(pixels, {**image[1], "Axes": {"time": count}})

    sending = asyncio.create_task(send(session.images))
    await asyncio.sleep(0.2)
    assert not sending.done()
    scene.kill()
    await scene.ends(sending, heard(session))
    await closes(session)


@pytest.mark.parametrize("aborted", [True, False])
async def test_while_it_ends(scene: Scene, tmp_path: Path, aborted: bool) -> None:
    session = await JavaSession.open(scene.bridge, wanted(tmp_path, "event_generation", images=True))
    await session.send(times(1))
    os.kill(scene.host.pid, signal.SIGSTOP)
    ending = asyncio.create_task(session.abort() if aborted else session.close())
    await asyncio.sleep(0.1)
    scene.kill()
    async with asyncio.timeout(SOON + SLACK):
        await ending
        await session.close()
    assert session.gone.done()
