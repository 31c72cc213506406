"""Ports that are opened before there is what is to live there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.bridge.channels import channels_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost

LIST = "java.util.ArrayList"


@pytest.fixture
async def probe(java_host: JavaHost) -> AsyncIterator[Any]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        yield await bridge.construct_java_object("aiomm.host.Probe")


@pytest.fixture
async def bridge(java_host: JavaHost, probe: Any) -> AsyncIterator[aiomm.Bridge]:
    """A test leaves Java's ports and objects as they were."""
    ports, objects = await probe.open_ports(), await probe.object_count()
    async with aiomm.Bridge(java_host.port, timeout=5000) as opened:
        yield opened
        while await probe.open_ports() != ports or await probe.object_count() != objects:  # a test that waits for ever fails by its limit
            await asyncio.sleep(0.002)


async def test_an_object_lives_where_a_port_was_opened(bridge: aiomm.Bridge) -> None:
    places = [channels_on(bridge).place(LIST) for _ in range(3)]
    await asyncio.gather(*(place.learn() for place in places))
    made = [await place.construct([[number]]) for number, place in enumerate(places)]
    for place in places:
        await place.aclose()  # of what is used, nothing
    assert len({each.port for each in made} | {bridge.port}) == 4
    assert [await each.size() for each in made] == [1, 1, 1]
    for each in made:
        await each.aclose()


async def test_what_is_not_used_is_closed(bridge: aiomm.Bridge) -> None:
    used_up = channels_on(bridge).place(LIST)
    await used_up.aclose()  # while it is opened
    opened = channels_on(bridge).place(LIST)
    await asyncio.sleep(0.05)
    await opened.aclose()
    await opened.aclose()


async def test_closing_one_that_is_being_opened_is_cancelled(bridge: aiomm.Bridge) -> None:
    for turns in range(12):
        place = channels_on(bridge).place(LIST)
        if turns % 2:
            await asyncio.wait([place._opening])
        closing = asyncio.create_task(place.aclose())
        for _ in range(1 + turns // 2):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])


async def test_nothing_can_be_made_of_it(bridge: aiomm.Bridge) -> None:
    for classpath, args in (("no.such.Class", ()), (LIST, (1, 2, 3)), (LIST, (-1,))):
        place = channels_on(bridge).place(classpath)
        with pytest.raises(errors.AiommError, match=r"no\.such|ArrayList|Illegal"):
            await place.construct(args)
        await place.aclose()


async def test_one_that_nobody_has_closed_ends_with_the_bridge(java_host: JavaHost, probe: Any) -> None:
    ports = await probe.open_ports()
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        channels_on(bridge).place(LIST)
        await asyncio.sleep(0.05)
    while await probe.open_ports() != ports:
        await asyncio.sleep(0.002)


async def test_a_server_that_goes_while_it_is_waited_for(
    java_host: JavaHost, bridge: aiomm.Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits until Java listens somewhere does not wait longer than for the news that it is gone."""
    channels = channels_on(bridge)
    session = bridge._open()
    loop = asyncio.get_running_loop()
    began = loop.time()
    watchers = session.watchers
    pulling = asyncio.create_task(channels.pull(java_host.port + 700))  # where nobody listens
    while not watchers:
        await asyncio.sleep(0)
    for watcher in list(watchers):
        monkeypatch.setattr(session, "error", errors.ServerLostError("gone"))
        watcher(errors.ServerLostError("gone"))
    with pytest.raises(errors.ServerLostError, match="gone"):
        await pulling
    monkeypatch.undo()
    assert not watchers
    assert loop.time() - began < 4  # its time is five seconds
