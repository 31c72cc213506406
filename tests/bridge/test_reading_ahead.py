"""What only reads goes out behind another such request, before its reply; nothing else does. Replies stay with their calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import zmq
import zmq.asyncio

import aiomm
from aiomm.errors import BridgeTimeoutError, ClosedError, ProtocolError, ServerLostError
from tests.bridge.asking import Asker, Askers, until
from tests.bridge.fake_server import GREETING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost

LONG = 10.0


class Silent:
    """A server that answers the handshake, and nothing else until `go`; then each with its name, but for those that get lost."""

    def __init__(self, lost: str = "") -> None:
        self.seen: list[str] = []
        self._lost = lost
        self._kept: list[list[bytes]] = []
        self._context = zmq.asyncio.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self.number: int = self._router.bind_to_random_port("tcp://127.0.0.1")
        self._serving = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        while True:
            *envelope, request = await self._router.recv_multipart()
            name = json.loads(request)["command"]
            if name == "connect":
                self._kept.append([*envelope, GREETING])
                await self.go()
                continue
            self.seen.append(name)
            if name not in self._lost:
                self._kept.append([*envelope, json.dumps({"type": "string", "value": name}).encode()])

    async def go(self) -> None:
        """Answer what came."""
        kept, self._kept = self._kept, []
        for message in kept:
            await self._router.send_multipart(message)

    async def aclose(self) -> None:
        self._serving.cancel()
        await asyncio.wait([self._serving])
        self._router.close()
        self._context.term()


@contextlib.asynccontextmanager
async def silent(lost: str = "") -> AsyncIterator[Silent]:
    server = Silent(lost)
    try:
        yield server
    finally:
        await server.aclose()


def ask(asker: Asker, name: str, *, reads: bool = True, **more: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(asker.ask({"command": name}, reads=reads, what=name, **more))


async def test_one_goes_out_before_the_reply_to_another(ports: Askers) -> None:
    async with silent() as server:
        asker = await ports(server.number)
        tasks = [ask(asker, name) for name in "abcdefg"]
        await until(lambda: server.seen == ["a", "b", "c"], "three")
        for seen in (list("abcdef"), list("abcdefg")):
            await server.go()
            await until(lambda seen=seen: server.seen == seen, "the next two")  # type: ignore[misc]
        await server.go()
        assert await asyncio.gather(*tasks) == list("abcdefg")
        assert asker.port.stats.set_aside == 0


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
async def test_what_changes_something_waits_for_its_turn(ports: Askers, first: bool, second: bool) -> None:
    async with silent() as server:
        asker = await ports(server.number)
        tasks = [ask(asker, "a", reads=first), ask(asker, "b", reads=second), ask(asker, "c")]
        await until(lambda: server.seen, "the first")
        await asyncio.sleep(0.05)
        assert server.seen == ["a"]
        tasks[1].cancel()  # and so it is never sent
        await server.go()
        await until(lambda: "c" in server.seen, "the third")
        await server.go()
        assert await tasks[0] == "a" and await tasks[2] == "c"
        assert server.seen == ["a", "c"]


@pytest.mark.parametrize("given_up", ["a", "b", "ab", "bc", "abc"])
@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_what_was_given_up_gives_its_reply_to_nobody_else(ports: Askers, given_up: str, how: str) -> None:
    late: list[str] = []
    async with silent() as server:
        asker = await ports(server.number)
        timeout = 0.1 if how == "timeout" else None
        tasks = {
            name: ask(asker, name, timeout=timeout if name in given_up else None, late=lambda _, name=name: late.append(name))
            for name in "abcd"
        }
        await until(lambda: server.seen == ["a", "b", "c"], "three")
        for name in given_up:
            if how == "cancel":
                tasks[name].cancel()
            with pytest.raises(asyncio.CancelledError if how == "cancel" else BridgeTimeoutError):
                await tasks[name]
        rest = [name for name in "abcd" if name not in given_up]
        async with asyncio.timeout(LONG):
            while not all(tasks[name].done() for name in rest):
                await server.go()
                await asyncio.sleep(0.005)
        assert [await tasks[name] for name in rest] == rest
        assert late == list(given_up)
        assert asker.port.stats.set_aside == 0


@pytest.mark.parametrize("lost", ["a", "b", "ab", "bc", "abc"])
async def test_a_reply_that_is_lost_is_an_error_of_its_call_alone(ports: Askers, lost: str) -> None:
    async with silent(lost) as server:
        asker = await ports(server.number, 0.2)
        tasks = {name: ask(asker, name, timeout=0.3 if name in lost else None) for name in "abcd"}
        await until(lambda: server.seen[:3] == ["a", "b", "c"], "three")
        rest = [name for name in "abcd" if name not in lost]
        async with asyncio.timeout(LONG):
            while not all(task.done() for task in tasks.values()):
                await server.go()
                await asyncio.sleep(0.01)
        assert [tasks[name].result() for name in rest] == rest
        for name in lost:
            assert isinstance(tasks[name].exception(), ProtocolError | BridgeTimeoutError)
        assert not asker.losses


async def test_closing(ports: Askers) -> None:
    async with silent() as server:
        asker = await ports(server.number)
        tasks = [ask(asker, name) for name in "abcd"]
        await until(lambda: server.seen == ["a", "b", "c"], "three")
        await asker.aclose(0.05)
        for task in tasks:
            with pytest.raises(ClosedError):
                await task


async def test_a_server_that_goes(ports: Askers) -> None:
    async with silent() as server:
        asker = await ports(server.number)
        tasks = [ask(asker, name) for name in "abcd"]
        await until(lambda: server.seen == ["a", "b", "c"], "three")
    async with asyncio.timeout(LONG):
        for task in tasks:
            with pytest.raises(ServerLostError):
                await task
    assert len(asker.losses) == 1


async def test_many_questions_to_the_core_between_orders(java_host: JavaHost) -> None:
    """And those of a task that sets something hear of what it has set."""
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        core: Any = await bridge.get_core()
        await core.set_exposure(1.0)
        await _mixed(core)


_AT_ONCE: dict[str, tuple[Any, ...]] = {"getCameraDevice": (), "deviceBusy": ("Camera",)}
_IN_TURN: dict[str, tuple[Any, ...]] = {
    "setExposure": (2.0,),
    "getLoadedDevices": (),  # an object, which is to be released
    "popNextImage": (),
    "waitForDevice": ("Camera",),
    "getSerialPortAnswer": ("COM1", "\r"),
    "getCurrentFocusScore": (),
    "getInstalledDeviceDescription": ("Hub", "Camera"),
}


async def test_which_of_the_cores_methods_do_so(java_host: JavaHost) -> None:
    """Those of its questions that change nothing; all else is never sent if it is cancelled before its turn."""
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge, aiomm.Bridge(java_host.port, timeout=5000) as other:
        core: Any = await bridge.get_core()
        control: Any = await other.construct_java_object("aiomm.host.Control", new_socket=True)
        assert bridge._session is not None
        port = bridge._session.main.port
        await control.restore()
        try:
            await control.hold("getExposure")
            first = asyncio.create_task(core.call("getExposure"))
            while not await control.calls("getExposure"):
                await asyncio.sleep(0.001)
            sent: set[str] = set()
            for name, args in (_IN_TURN | _AT_ONCE).items():
                before = port.stats.calls
                task = asyncio.create_task(core.call(name, args))
                for _ in range(10):
                    await asyncio.sleep(0)
                sent |= {name} if port.stats.calls > before else set()
                task.cancel()
                await asyncio.wait([task])
            assert sent == set(_AT_ONCE)
            await control.call("release", ["getExposure"])
            assert await first == 10
            assert await core.call("getExposure") == 10
            assert {name for name in _IN_TURN | _AT_ONCE if await control.calls(name)} == set(_AT_ONCE)
        finally:
            await control.restore()


async def _mixed(core: Any) -> None:

    async def mixed(i: int) -> None:
        for k in range(20):
            if i == 0:
                await core.set_exposure(float(k + 1))
                assert await core.get_exposure() == float(k + 1)
            else:
                assert 1.0 <= await core.get_exposure() <= 20.0
                assert await core.get_camera_device() == "Camera"
                assert not await core.has_property("Camera", "no such property")

    await asyncio.gather(*map(mixed, range(8)))
