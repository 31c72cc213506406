"""The Bridge itself, on the real server: opening, settings, objects, classes, ports, loops, closing."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from aiomm.bridge import wire

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost

PROBE, SAMPLES, FAULTS = "aiomm.host.Probe", "aiomm.host.Samples", "aiomm.host.Faults"


def test_the_parameters_are_the_seeds_then_more() -> None:
    parameters = list(inspect.signature(aiomm.Bridge).parameters.values())
    named = [(one.name, one.default) for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert named == [("port", 4827), ("convert_camel_case", True), ("debug", False), ("ip_address", "127.0.0.1"), ("timeout", 500)]
    assert [one.name for one in parameters if one.kind is one.KEYWORD_ONLY] == ["call_timeout"]
    assert inspect.signature(aiomm.Bridge.open).parameters == inspect.signature(aiomm.Bridge).parameters


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"port": 70000}, "port is a number from 1 to 65535, not 70000"),
        ({"port": "4827"}, "port is a number"),
        ({"timeout": 0}, "timeout is a number of milliseconds above 0, not 0"),
        ({"timeout": float("inf")}, "timeout is a number of milliseconds above 0, not inf"),
        ({"timeout": 3e9}, "timeout is 1000000000 milliseconds at most, not 3000000000.0"),
        ({"call_timeout": 1e300}, "call_timeout is 1000000000 milliseconds at most, not 1e+300"),
        ({"timeout": None}, "timeout is a number of milliseconds above 0, not None"),
        ({"call_timeout": "1"}, "call_timeout is a number of milliseconds"),
        ({"time_out": 1}, "did you mean 'timeout'"),
        ({"ip_address": None}, "ip_address is the name or address of a computer, not None"),
        ({"ip_address": ""}, "ip_address is the name or address of a computer, not ''"),
        ({"ip_address": "localhost:4828"}, "computer alone, not 'localhost:4828': the port is a parameter of its own"),
        ({"ip_address": "tcp://[::1]"}, "computer alone, not 'tcp://[::1]'"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(says)):
        aiomm.Bridge(**wrong)


async def test_open_and_close_without_a_context_manager(java_host: JavaHost) -> None:
    bridge = await aiomm.Bridge.open(port=java_host.port, timeout=5000)
    assert (bridge.port, bridge.server_version, bridge.closed, bridge.loop) == (
        java_host.port,
        wire.VERSION,
        False,
        asyncio.get_running_loop(),
    )
    await bridge.close()
    await bridge.aclose()
    assert bridge.closed
    with pytest.raises(errors.ClosedError, match="make another one"):
        await bridge.__aenter__()


async def test_a_host_that_there_is_not() -> None:
    with pytest.raises(errors.ServerNotFoundError, match=r"no-such-host\.invalid:4827: .*there may be no such name"):
        await aiomm.Bridge.open(ip_address="no-such-host.invalid")


async def test_a_timeout_that_was_meant_in_seconds(java_host: JavaHost) -> None:
    with pytest.raises(errors.ServerNotFoundError, match=r"Its time was 0\.001 ms: timeout is in milliseconds"):
        await aiomm.Bridge.open(java_host.port, timeout=0.001)


def test_a_plain_with_says_what_is_right() -> None:
    with pytest.raises(TypeError, match="`async with`"), aiomm.Bridge():  # type: ignore[attr-defined]
        pass


async def test_a_bridge_that_is_open_cannot_be_entered_again(bridge: aiomm.Bridge) -> None:
    with pytest.raises(RuntimeError, match="open already"):
        await bridge.__aenter__()
    assert await (await bridge.get_core()).call("getExposure") > 0


async def test_nothing_can_be_asked_before_it_is_open_or_after_it_was_closed(java_host: JavaHost) -> None:
    bridge = aiomm.Bridge(java_host.port, timeout=5000)
    with pytest.raises(errors.ClosedError, match="not open"):
        await bridge.get_core()
    async with bridge:
        faults = await bridge.construct_java_object(FAULTS)
    for ask in (bridge.get_core, faults.count):
        with pytest.raises(errors.ClosedError, match="closed"):
            await ask()
    await faults.aclose()  # cleaning up is no error: it would hide the first one
    assert "released" in repr(faults)


async def test_a_port_is_a_whole_number_of_any_kind(java_host: JavaHost) -> None:
    async with aiomm.Bridge(np.int64(java_host.port)) as bridge:  # type: ignore[arg-type]
        assert (type(bridge.port), bridge.port) == (int, java_host.port)
    for port in (True, 0, 65536, 4827.0, "4827", None):
        with pytest.raises(ValueError, match="port is a number from 1 to 65535"):
            aiomm.Bridge(port)  # type: ignore[arg-type]


async def test_a_call_in_progress_ends_when_the_bridge_is_closed(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as other, aiomm.Bridge(java_host.port, timeout=300) as bridge:
        control, blocked = await other.construct_java_object(FAULTS), await bridge.construct_java_object(FAULTS, new_socket=True)
        count = await control.counted()
        call = asyncio.create_task(blocked.block())
        waiting = asyncio.create_task(blocked.count())
        while not await control.blocked():
            await asyncio.sleep(0)
        await bridge.aclose()
        with pytest.raises(errors.ClosedError):
            await call
        with pytest.raises(errors.ClosedError):
            await waiting
        await control.call("release")
        assert await control.counted() == count  # what waited for its turn was never sent


async def test_closing_goes_on_when_its_caller_is_cancelled(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as other:
        probe = await other.construct_java_object(PROBE)
        before = await probe.object_count()
        bridge = await aiomm.Bridge.open(java_host.port, timeout=5000)
        held = [await bridge.construct_java_object(SAMPLES) for _ in range(20)]
        closing = asyncio.create_task(bridge.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert await probe.object_count() == before, held


async def test_closing_releases_all_that_the_bridge_holds(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as other:
        probe = await other.construct_java_object(PROBE)
        before, ports = await probe.object_count(), await probe.open_ports()
        async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
            held = [await bridge.construct_java_object(SAMPLES) for _ in range(50)]
            apart = await bridge.construct_java_object(SAMPLES, new_socket=True)
            more = await apart.list()
            assert await (await held[0].set()).to_list() == ["a", "b"]  # which uses classes of its own
            assert await probe.object_count() > before + 50
        assert await probe.object_count() == before, (held, apart, more)
        assert await probe.open_ports() == ports


async def test_an_object_at_a_port_of_its_own_does_not_wait_for_others(bridge: aiomm.Bridge) -> None:
    apart, here = await bridge.construct_java_object(FAULTS, new_socket=True), await bridge.construct_java_object(FAULTS)
    assert apart.port != here.port == bridge.port
    call = asyncio.create_task(apart.block())
    while not await here.blocked():
        await asyncio.sleep(0)
    assert await here.count() < await here.count()
    await here.call("release")
    assert await call >= 1


async def test_the_server_closes_a_port_after_its_last_object(bridge: aiomm.Bridge) -> None:
    probe = await bridge.construct_java_object(PROBE)
    apart = await bridge.construct_java_object(SAMPLES, new_socket=True)
    items = await apart.list()
    assert items.port == apart.port
    assert str(apart.port) in await probe.command_ports()
    await apart.aclose()
    assert await items.size() == 3  # an object is left, so the port is
    await items.aclose()
    while str(items.port) in await probe.command_ports():  # it closes after its reply
        await asyncio.sleep(0.001)
    again = await bridge.construct_java_object(SAMPLES, new_socket=True)
    assert await again.ten() == 10.0


async def test_fifty_ports_one_after_the_other(bridge: aiomm.Bridge) -> None:
    probe = await bridge.construct_java_object(PROBE)
    before = await probe.open_ports()
    for number in range(50):
        apart = await bridge.construct_java_object(SAMPLES, new_socket=True)
        assert await apart.echo_int(number) == number
        await apart.aclose()
    while await probe.open_ports() != before:
        await asyncio.sleep(0.001)


async def test_a_constructor_that_throws_from_the_servers_own_code_runs_once(bridge: aiomm.Bridge) -> None:
    faults = await bridge.construct_java_object("aiomm.host.Faults")
    count = await faults.counted()
    with pytest.raises(errors.JavaException, match="JSONException"):
        await bridge.construct_java_object("aiomm.host.Faults", args=[1])
    assert await faults.counted() == count + 1


async def test_cancelled_while_its_port_is_connected_an_object_is_released(bridge: aiomm.Bridge) -> None:
    probe = await bridge.construct_java_object(PROBE)
    await bridge.construct_java_object(SAMPLES)  # its constructors are known now
    before, ports = await probe.object_count() - 1, await probe.command_ports()
    for steps in range(0, 60, 2):
        making = asyncio.create_task(bridge.construct_java_object(SAMPLES, new_socket=True))
        for _ in range(steps):
            await asyncio.sleep(0)
        making.cancel()
        try:
            await (await making).aclose()
        except asyncio.CancelledError:
            pass
    async with asyncio.timeout(20):
        while await probe.object_count() != before or await probe.command_ports() != ports:
            await asyncio.sleep(0.001)


async def test_a_class_that_is_not_there(bridge: aiomm.Bridge) -> None:
    for ask in (bridge.construct_java_object, bridge.get_java_class):
        with pytest.raises(errors.JavaException, match=r"no class 'java.util.ArayList': give its full name") as caught:
            await ask("java.util.ArayList")
        assert caught.value.java_class == "java.lang.ClassNotFoundException"


async def test_constructors_are_chosen_as_java_does(bridge: aiomm.Bridge) -> None:
    async def made(*args: Any) -> str:
        made = await bridge.construct_java_object("aiomm.host.Overloads", args=list(args))
        return str(await made.made())

    assert [await made(), await made(1), await made(0.5), await made("x")] == ["()", "int", "double", "String"]
    dog = await bridge.construct_java_object("aiomm.host.Dog")
    assert await made(dog, "x") == "Animal, String"
    with pytest.raises(errors.OverloadError, match=re.escape("new aiomm.host.Overloads does not take (list)")):
        await made([1])
    with pytest.raises(errors.OverloadError, match="no public constructor"):
        await bridge.construct_java_object("aiomm.host.Named")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (([3, 4],), "new_socket is True or False, not [3, 4]; the constructor's arguments are args=[3, 4]"),
        ((False, "abc"), "args is a list of the constructor's arguments: args=['abc']"),
        ((False, 3), "args is a list of the constructor's arguments: args=[3]"),
    ],
)
async def test_arguments_of_a_constructor_are_a_list(wrong: tuple[Any, ...], says: str, bridge: aiomm.Bridge) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        await bridge.construct_java_object("java.awt.Point", *wrong)


async def test_new_socket_is_true_or_false(bridge: aiomm.Bridge) -> None:
    for ask in (
        bridge.get_core,
        bridge.get_studio,
        bridge.get_magellan,
        partial(bridge.get_java_class, "java.lang.Math"),
        partial(bridge.construct_java_object, "java.awt.Point"),
    ):
        with pytest.raises(TypeError, match="new_socket is True or False, not 4827"):
            await ask(4827)


async def test_a_constructor_that_the_server_does_not_find_by_itself(bridge: aiomm.Bridge) -> None:
    samples = await bridge.construct_java_object(SAMPLES)
    copy = await bridge.construct_java_object("java.util.ArrayList", args=[await samples.list()])
    assert await copy.to_list() == ["a", "b", "c"]
    apart = await bridge.construct_java_object("java.util.ArrayList", new_socket=True, args=[["x", "y"]])
    assert apart.port != bridge.port
    assert await apart.to_list() == ["x", "y"]


async def test_a_constructor_that_throws(bridge: aiomm.Bridge) -> None:
    with pytest.raises(errors.JavaException, match="not today"):
        await bridge.construct_java_object(FAULTS, args=["not today"])


async def test_what_the_server_has_one_of(bridge: aiomm.Bridge) -> None:
    core = await bridge.get_core()
    assert isinstance(core, aiomm.JavaObject)
    assert "mmcorej.CMMCore" in core.java_interfaces
    assert await (await bridge.get_studio()).core() is not None
    magellan = await bridge.get_magellan(new_socket=True)
    assert magellan.port != bridge.port


async def test_what_the_server_has_not(bridge: aiomm.Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomm.bridge.client.MAGELLAN", "org.micromanager.magellan.NotHere")
    with pytest.raises(errors.UnsupportedError, match="this Micro-Manager has no Micro-Magellan"):
        await bridge.get_magellan()


async def test_several_bridges_and_objects_of_one_as_arguments_of_another(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as one, aiomm.Bridge(java_host.port) as two:
        names = await one.construct_java_object("java.util.ArrayList")
        await names.add("x")
        samples = await two.construct_java_object(SAMPLES, new_socket=True)
        assert await samples.size_of(names) == 1


def test_several_loops_one_after_another(java_host: JavaHost) -> None:
    async def use() -> float:
        async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
            return float(await (await bridge.construct_java_object(SAMPLES)).ten())

    assert [asyncio.run(use()) for _ in range(3)] == [10.0] * 3


async def test_another_loop_is_refused(bridge: aiomm.Bridge) -> None:
    samples = await bridge.construct_java_object(SAMPLES)

    def elsewhere() -> None:
        asyncio.run(samples.ten())

    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await asyncio.to_thread(elsewhere)
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(bridge.aclose()))
    assert await samples.ten() == 10.0


async def test_call_timeout_is_of_methods_alone(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, call_timeout=50) as bridge, aiomm.Bridge(java_host.port, timeout=5000) as patient:
        faults, control = await bridge.construct_java_object(FAULTS, new_socket=True), await patient.construct_java_object(FAULTS)
        call = asyncio.create_task(faults.block())
        with pytest.raises(errors.BridgeTimeoutError, match="block"):
            await call
        await control.call("release")
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await faults.counted() == await control.counted()
                    break
                except errors.BridgeTimeoutError:
                    pass
        assert await patient.construct_java_object(SAMPLES) is not None


async def test_debug_logs_messages_and_abbreviates_data(java_host: JavaHost, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiomm.bridge")
    async with aiomm.Bridge(java_host.port, debug=True) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        assert (await samples.many_bytes(300_000)).size == 300_000
    text = caplog.text
    assert '"name": "manyBytes"' in text
    assert "<300000 bytes>" in text
    assert "methods>" in text
    assert '"command": "destructor"' in text
    assert max(map(len, text.splitlines())) < 2000
    caplog.clear()
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        await bridge.construct_java_object(SAMPLES)
    assert caplog.text == ""


@pytest.mark.parametrize(("ours", "ends"), [("5.2.0", "warned"), ("6.0.0", "refused")])
async def test_another_version_of_the_protocol(
    ours: str, ends: str, java_host: JavaHost, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "VERSION", ours)
    sentence = f"this Micro-Manager speaks version 5.1.0 of the ZMQ object protocol, aiomm speaks {ours}"
    if ends == "refused":
        with pytest.raises(errors.BridgeError, match=re.escape(sentence)):
            await aiomm.Bridge.open(java_host.port, timeout=5000)
        return
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        await bridge.construct_java_object(SAMPLES, new_socket=True)
    assert [record.getMessage().startswith(sentence) for record in caplog.records] == [True]


async def test_many_tasks_get_their_own_answers_in_turn(bridge: aiomm.Bridge) -> None:
    samples = await bridge.construct_java_object(SAMPLES)
    order: list[int] = []

    async def ask(number: int) -> None:
        for _ in range(5):
            assert await samples.echo_int(number) == number
            order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(ask(number))
    assert all(sorted(order[k : k + 20]) == list(range(20)) for k in range(0, 100, 20))


async def test_users_are_ended_before_the_bridge_is(java_host: JavaHost) -> None:
    bridge = await aiomm.Bridge.open(java_host.port, timeout=5000)
    samples = await bridge.construct_java_object(SAMPLES)

    class Viewer:
        answer = None

        async def abort_for_close(self) -> None:
            self.answer = await samples.ten()

    viewer = Viewer()
    bridge.users.add(viewer)
    await bridge.aclose()
    assert viewer.answer == 10.0


@pytest.mark.parametrize("listens", [True, False])
async def test_a_port_that_the_server_did_not_get(listens: bool, own_java_host: JavaHost) -> None:
    """Another program has it, which the server does not notice: the object is reached through a port that works."""
    async with aiomm.Bridge(own_java_host.port, timeout=300) as bridge:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", own_java_host.port + 1))
            if listens:
                taken.listen()
            faults = await bridge.construct_java_object(FAULTS, new_socket=True)
            assert faults.port > own_java_host.port + 1
            assert await faults.sleep_ms(1) == 1
            core = await bridge.get_core(new_socket=True)
            assert core.port not in (bridge.port, own_java_host.port + 1)
            assert await core.call("getExposure") > 0


async def test_a_control_message_waits_as_long_as_the_calls_before_it(java_host: JavaHost) -> None:
    """The bridge's timeout counts from when they have ended, in Java: those that were given up too."""
    async with aiomm.Bridge(java_host.port, timeout=5000) as other, aiomm.Bridge(java_host.port, timeout=100) as bridge:
        control = await other.construct_java_object(FAULTS)
        faults = await bridge.construct_java_object(FAULTS, new_socket=True)
        call = asyncio.create_task(faults.block())
        while not await control.blocked():
            await asyncio.sleep(0)
        field = asyncio.create_task(faults._line.ask(wire.destructor("of nothing"), "nothing"))
        await asyncio.sleep(0.3)
        assert not field.done()
        await control.call("release")
        assert [await call >= 1, await field] == [True, None]

        call = asyncio.create_task(faults.block())
        while not await control.blocked():
            await asyncio.sleep(0)
        field = asyncio.create_task(faults._line.ask(wire.destructor("of nothing"), "nothing"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.sleep(0.3)
        assert not field.done()
        await control.call("release")
        assert await field is None
        assert await faults.sleep_ms(1) == 1
