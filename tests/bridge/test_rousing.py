"""A Java that has connected to a stream and says nothing there is made to look at its connections again."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import zmq

import aiomm
from aiomm.bridge.channels import channels_of
from aiomm.bridge.streams import PushSocket
from tests.bridge.fake_server import free_port
from tests.support.bridging import SLACK, right_answers

if TYPE_CHECKING:
    import pytest

    from tests.jvm.host import JavaHost


async def test_java_is_roused(java_host: JavaHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection of Java's in some hundreds is forgotten there until something else connects, and an acquisition stood still.

    It cannot be had on demand: here another peer is mute.
    """
    knocked = asyncio.Event()
    original = asyncio.open_connection

    async def open_connection(host: str, port: int) -> Any:
        made = await original(host, port)
        if port == java_host.port:
            knocked.set()
        return made

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        thing = await bridge.construct_java_object("aiomm.host.Samples")
        number = free_port()
        push = await channels_of(thing).push(number)
        assert not knocked.is_set()
        with socket.create_connection(("127.0.0.1", number)):
            await asyncio.wait_for(knocked.wait(), SLACK)
        push.close()
        await right_answers(bridge)


async def test_a_peer_that_does_not_greet_is_told_of_until_one_does() -> None:
    context: Any = zmq.Context()
    told = asyncio.Event()
    push = PushSocket(context, silent=told.set)
    port = free_port()
    push.bind(port)
    try:
        with socket.create_connection(("127.0.0.1", port)):
            for _ in range(2):
                await asyncio.wait_for(told.wait(), SLACK)
                told.clear()
            pull = context.socket(zmq.PULL)
            pull.connect(f"tcp://127.0.0.1:{port}")
            try:
                await push.send([b"x"], timeout=SLACK)
            finally:
                pull.close(0)
            told.clear()
            await asyncio.sleep(0.3)
            assert not told.is_set()
    finally:
        push.close()
        context.term()
