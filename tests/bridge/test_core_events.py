"""Core callbacks on the real server: what they say, who hears them, and that Java never collects one that is registered."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.bridge import CoreChange
from aiomm.bridge.core_events import KINDS
from tests.bridge.test_faults import suspended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.jvm.host import JavaHost

CALLBACK = "org.micromanager.remote.RemoteCoreCallback"


class Eye:
    """Looks at the microscope and the server over a bridge of its own."""

    def __init__(self, control: Any, probe: Any, core: Any) -> None:
        self.control = control
        self.probe = probe
        self.core = core
        self.kept = 0

    async def change(self, ms: float) -> None:
        """Make the core tell something."""
        await self.core.call("setExposure", [ms])

    async def state(self) -> tuple[int, bool, str]:
        """How many callbacks the core has, whether the server holds one of this test, and its ports."""
        held = (await self.probe.object_classes()).split().count(CALLBACK)
        return await self.probe.listeners(), held > self.kept, await self.probe.open_ports()


@pytest.fixture
async def eye(java_host: JavaHost) -> AsyncIterator[Eye]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        made = Eye(
            await bridge.construct_java_object("aiomm.host.Control"),
            await bridge.construct_java_object("aiomm.host.Probe"),
            await bridge.get_core(),
        )
        await made.control.restore()
        made.kept = (await made.probe.object_classes()).split().count(CALLBACK)
        yield made
        await made.control.restore()


@pytest.fixture
async def bridge(java_host: JavaHost, eye: Eye) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as opened:
        yield opened


async def test_what_happens_is_told_in_order(bridge: aiomm.Bridge, eye: Eye) -> None:
    async with bridge.core_events("exposure_changed") as changes:
        for ms in (11.0, 12.5, 13.0):
            await eye.change(ms)
        told = [await anext(changes) for _ in range(3)]
    assert [(one.name, one.arguments) for one in told] == [("exposureChanged", ("Camera", ms)) for ms in (11.0, 12.5, 13.0)]
    assert all(isinstance(one, CoreChange) and type(one.arguments[1]) is float for one in told)
    assert told[0].time <= told[1].time <= told[2].time


async def test_a_plain_loop_that_is_left_unregisters(bridge: aiomm.Bridge, eye: Eye) -> None:
    before = await eye.state()
    assert before[:2] == (0, False)

    async def first() -> CoreChange:
        async for change in bridge.core_events():
            return change
        raise AssertionError("it ended")

    task = asyncio.create_task(first())
    while (await eye.state())[0] == 0:
        await asyncio.sleep(0)
    held = await eye.state()
    assert held[:2] == (1, True)
    assert held[2] != before[2]
    await eye.change(21)
    assert (await task).arguments == ("Camera", 21.0)
    del task
    gc.collect()
    while await eye.state() != before:
        await asyncio.sleep(0.001)


async def test_several_listeners_share_one_callback(bridge: aiomm.Bridge, eye: Eye) -> None:
    async with (
        bridge.core_events(["exposure_changed", "propertiesChanged"]) as one,
        bridge.core_events("exposureChanged") as two,
        bridge.core_events(["propertiesChanged"]) as three,
    ):
        assert (await eye.state())[:2] == (1, True)
        await eye.change(31)
        await eye.control.tell_properties_changed()
        assert [(await anext(one)).name, (await anext(one)).name] == ["exposureChanged", "propertiesChanged"]
        assert (await anext(two)).name == "exposureChanged"
        assert (await anext(three)).arguments == ()
        await one.aclose()
        assert (await eye.state())[:2] == (1, True)
        await eye.change(32)
        assert (await anext(two)).arguments == ("Camera", 32.0)
    assert (await eye.state())[:2] == (0, False)


async def test_a_listener_that_joins_takes_the_callback_back(java_host: JavaHost, bridge: aiomm.Bridge, eye: Eye) -> None:
    """MMCore has one place for a callback: another bridge that listens takes it, and leaves nobody there."""
    kind = "exposure_changed"
    async with bridge.core_events(kind) as first, aiomm.Bridge(java_host.port, timeout=5000) as other:
        await eye.change(1)
        assert (await anext(first)).arguments[1] == 1
        async with other.core_events(kind) as taking:
            await eye.change(2)
            assert (await anext(taking)).arguments[1] == 2
            async with bridge.core_events(kind) as again:
                await eye.change(3)
                assert (await anext(again)).arguments[1] == 3
                assert (await anext(first)).arguments[1] == 3
        assert await eye.probe.listeners() == 0
        async with bridge.core_events(kind) as again:
            await eye.change(4)
            assert [(await anext(one)).arguments[1] for one in (first, again)] == [4, 4]
    assert (await eye.state())[:2] == (0, False)


async def test_a_listener_that_joins_a_callback_from_which_nothing_comes_makes_a_new_one(bridge: aiomm.Bridge, eye: Eye) -> None:
    async with bridge.core_events("exposure_changed") as first:
        pump = first._source._pump_task
        assert pump is not None
        pump.cancel()
        await asyncio.wait([pump])
        async with bridge.core_events("exposure_changed") as again:
            await eye.change(6)
            assert [(await anext(one)).arguments[1] for one in (again, first)] == [6, 6]
    assert (await eye.state())[:2] == (0, False)


async def test_a_listener_that_cannot_take_the_callback_back_says_so(bridge: aiomm.Bridge, eye: Eye) -> None:
    async with bridge.core_events() as first:
        await eye.control.fail("registerCallback", "not now", 1)
        with pytest.raises(errors.JavaException, match="not now"):
            await bridge.core_events().__aenter__()
        await eye.change(5)
        assert (await anext(first)).arguments[1] == 5
    assert (await eye.state())[:2] == (0, False)


async def test_a_slow_listener_loses_the_oldest_and_counts_them(bridge: aiomm.Bridge, eye: Eye) -> None:
    kind = "exposure_changed"
    async with bridge.core_events(kind, buffer=3) as slow, bridge.core_events(kind) as quick:
        for ms in range(1, 11):
            await eye.change(ms)
        for _ in range(10):
            await anext(quick)
        assert slow.dropped == 7
        assert [(await anext(slow)).arguments[1] for _ in range(3)] == [8.0, 9.0, 10.0]
        assert quick.dropped == 0


async def test_the_callback_is_unregistered_before_it_is_released(own_java_host: JavaHost) -> None:
    """MMCore has a bare pointer to it: when unregistering fails, Java has to keep it for ever, the bridge closed or not."""
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as other:
        control, probe = [await other.construct_java_object(f"aiomm.host.{name}") for name in ("Control", "Probe")]
        async with aiomm.Bridge(own_java_host.port, timeout=5000) as bridge:
            listening = bridge.core_events()
            await listening.__aenter__()
            await control.fail("registerCallback", "not now", -1)
            with pytest.raises(errors.JavaException, match="not now"):
                await listening.aclose()
        del listening
        gc.collect()
        assert await probe.listeners() == 1
        assert CALLBACK in await probe.object_classes()


async def test_the_callback_is_unregistered_before_it_shuts_down(java_host: JavaHost, bridge: aiomm.Bridge, eye: Eye) -> None:
    """Its port is open for as long as the core may still call it."""
    listening = bridge.core_events()
    await listening.__aenter__()
    async with aiomm.Bridge(java_host.port, timeout=5000) as other:
        apart = [await other.construct_java_object(f"aiomm.host.{name}", new_socket=True) for name in ("Control", "Probe")]
        control, probe = apart
        ports, calls = await probe.open_ports(), await control.calls("registerCallback")
        await control.hold("registerCallback")
        closing = asyncio.create_task(listening.aclose())
        while await control.calls("registerCallback") == calls:
            await asyncio.sleep(0)
        assert await probe.listeners() == 1
        assert await probe.open_ports() == ports
        await control.call("release", ["registerCallback"])
        await closing
        assert await probe.listeners() == 0
        assert await probe.open_ports() != ports


async def test_a_callback_that_gets_no_port_is_taken_back(own_java_host: JavaHost) -> None:
    """Its constructor has registered it by then, and nothing in Java keeps it."""
    first = own_java_host.port
    async with aiomm.Bridge(first, timeout=5000) as bridge:
        probe = await bridge.construct_java_object("aiomm.host.Probe")
        core = await bridge.get_core()
        with contextlib.ExitStack() as taken:
            for number in (first + 1, first + 2):
                taken.enter_context(socket.socket()).bind(("127.0.0.1", number))
            async with bridge.core_events() as changes:
                assert await probe.listeners() == 1
                await core.call("setExposure", [17.0])
                assert (await anext(changes)).arguments == ("Camera", 17.0)
            for number in range(first + 3, first + 12):
                other = taken.enter_context(socket.socket())
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                while True:
                    try:
                        other.bind(("127.0.0.1", number))
                        break
                    except OSError:  # the callback's, which it is about to leave
                        await asyncio.sleep(0.01)
                other.listen()
            with pytest.raises(errors.JavaException, match="Address already in use"):
                await bridge.core_events().__aenter__()
            assert await probe.listeners() == 0


async def test_listening_ends_when_the_server_answers_no_more(own_java_host: JavaHost, caplog: pytest.LogCaptureFixture) -> None:
    async with aiomm.Bridge(own_java_host.port, timeout=300) as bridge:
        probe = await bridge.construct_java_object("aiomm.host.Probe")
        async with asyncio.timeout(20):
            with contextlib.ExitStack() as later:
                with pytest.raises(ZeroDivisionError):
                    async with bridge.core_events():
                        later.enter_context(suspended(own_java_host))
                        raise ZeroDivisionError
        assert "keeps the callback of this bridge" in caplog.text
        assert await probe.listeners() == 1
        async with bridge.core_events():
            assert await probe.listeners() == 1
        assert await probe.listeners() == 0


async def test_a_bridge_that_closes_says_why_the_callback_stays(own_java_host: JavaHost, caplog: pytest.LogCaptureFixture) -> None:
    bridge = await aiomm.Bridge.open(own_java_host.port, timeout=300)
    listening = bridge.core_events()
    await listening.__aenter__()
    with suspended(own_java_host):
        await bridge.aclose()
    assert "could not be taken back: Micro-Manager did not answer within 0.3 s" in caplog.text


class _At(logging.Handler):
    """Does something at the n-th message of a bridge that tells of its messages, be it to Java or from there."""

    def __init__(self, number: int, do: Callable[[], object]) -> None:
        super().__init__()
        self.number = number
        self.do = do
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(("to port", "from port")):
            self.seen.append(text)
            if len(self.seen) == self.number:
                self.do()


@contextlib.contextmanager
def at_message(number: int, do: Callable[[], object]) -> Iterator[_At]:
    handler = _At(number, do)
    logger = logging.getLogger("aiomm.bridge")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    try:
        yield handler
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


MESSAGES = 8
"""To Java and from there, when a listener begins: the core, the callback, its port, its start."""


@pytest.mark.parametrize("number", range(1, MESSAGES + 1))
async def test_cancelled_at_any_message(number: int, java_host: JavaHost, eye: Eye) -> None:
    """The callback is registered all the same, and taken back: one that Java collects while the core has it ends the JVM."""
    before = await eye.state()
    async with aiomm.Bridge(java_host.port, timeout=5000, debug=True) as bridge:
        listening = bridge.core_events()
        task = asyncio.create_task(listening.__aenter__())
        with at_message(number, task.cancel) as told:
            await asyncio.wait([task])
            assert len(told.seen) >= number
            assert task.cancelled() or number == MESSAGES
            await listening.aclose()
        while await eye.state() != before:
            await asyncio.sleep(0.001)
        async with bridge.core_events() as again:
            await eye.change(41)
            assert (await anext(again)).arguments == ("Camera", 41.0)


async def test_which_messages_there_are(java_host: JavaHost, eye: Eye) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000, debug=True) as bridge:
        with at_message(0, list) as told:
            async with bridge.core_events():
                assert len(told.seen) == MESSAGES, told.seen
                assert CALLBACK in told.seen[2]


async def test_a_closed_bridge_ends_the_iteration_and_unregisters(java_host: JavaHost, eye: Eye) -> None:
    before = await eye.state()
    bridge = await aiomm.Bridge.open(java_host.port, timeout=5000)
    changes = bridge.core_events()
    await changes.__aenter__()
    task = asyncio.create_task(anext(changes, None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await bridge.aclose()
    assert await task is None
    assert await eye.state() == before
    with pytest.raises(errors.ClosedError):
        await anext(bridge.core_events())


async def test_a_dead_server_ends_the_iteration_with_its_error(own_java_host: JavaHost) -> None:
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as bridge:
        async with bridge.core_events() as changes:
            task = asyncio.create_task(anext(changes))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            await asyncio.to_thread(own_java_host.kill)
            with pytest.raises(errors.ServerLostError):
                await task
        assert bridge.closed


async def test_the_next_listener_begins_anew(bridge: aiomm.Bridge, eye: Eye) -> None:
    for ms in range(1, 6):
        async with bridge.core_events() as changes:
            await eye.change(ms)
            assert (await anext(changes)).arguments == ("Camera", float(ms))
    with pytest.raises(errors.ClosedError):
        await changes.__aenter__()
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_what_cannot_be_listened_to(bridge: aiomm.Bridge) -> None:
    with pytest.raises(ValueError, match=r"passes on no 'exposureChangd'; did you mean 'exposure_changed'"):
        bridge.core_events(["property_changed", "exposureChangd"])
    with pytest.raises(ValueError, match="passes on no 'image_snapped'; it passes on channel_group_changed"):
        bridge.core_events("image_snapped")
    for buffer in (0, 1.5, True):
        with pytest.raises(ValueError, match="buffer is the number of changes"):
            bridge.core_events(buffer=buffer)  # type: ignore[arg-type]
    assert len(KINDS) == 11


async def test_two_tasks_at_one_iterator(bridge: aiomm.Bridge) -> None:
    async with bridge.core_events() as changes:
        first = asyncio.create_task(anext(changes))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(changes)
        first.cancel()
        await asyncio.wait([first])


async def test_a_notification_that_may_have_lost_characters_warns(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        core = await bridge.get_core()
        await core.define_config("通道", "紅", "Camera", "Gain", "1")
        async with core.events("config_group_changed") as events:
            await core.set_config("通道", "紅")
            with pytest.warns(aiomm.errors.LostTextWarning, match="configGroupChanged gave") as told:
                notification = await anext(events)
        assert (notification.values["group"], told[0].filename) == ("??", __file__)
        await core.delete_config_group("通道")


async def test_a_callback_whose_making_was_given_up_stays_in_java(own_java_host: JavaHost) -> None:
    """It is registered by the time its reply comes, and nobody is there to take it back: Java must never collect it."""
    async with aiomm.Bridge(own_java_host.port, timeout=5000) as other:
        control, probe = [await other.construct_java_object(f"aiomm.host.{name}", new_socket=True) for name in ("Control", "Probe")]
        async with aiomm.Bridge(own_java_host.port, timeout=5000) as bridge:
            calls = await control.calls("registerCallback")
            await control.hold("registerCallback")
            listening = asyncio.create_task(bridge.core_events().__aenter__())
            while await control.calls("registerCallback") == calls:
                await asyncio.sleep(0)
            settling = bridge._open().core_changes._settling
            assert settling is not None
            settling.cancel()  # as the closing does when Java takes too long
            await asyncio.wait([settling])
            with pytest.raises(errors.ClosedError):
                await listening
            await control.release("registerCallback")
            await bridge.get_core()  # so the late reply has come
        assert await probe.listeners() == 1
        assert CALLBACK in await probe.object_classes()
