"""Messages on a port's socket, spoilt in every way: a key gets its own answer or none, and the message behind is still good."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from aiomm.bridge.envelope import Envelopes
from aiomm.errors import AiommError
from tests.bridge.fake_server import GREETING, zmq_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bridge.asking import Askers

LONG = 10.0
SPOILT: dict[str, Callable[[bytes, bytes], list[bytes]]] = {
    "the key alone": lambda key, body: [key],
    "no answer": lambda key, body: [key, b""],
    "no key": lambda key, body: [b"", body],
    "nothing but the answer": lambda key, body: [body],
    "nothing": lambda key, body: [b""],
    "no empty frame": lambda key, body: [key, body],
    "the empty frame is none": lambda key, body: [key, b"x", body],
    "something between": lambda key, body: [key, b"x", b"", body],
    "the key twice": lambda key, body: [key, key, b"", body],
    "two empty frames": lambda key, body: [key, b"", b"", body],
    "another key": lambda key, body: [b"unknown.", b"", body],
    "more of it": lambda key, body: [key, b"", body, b"x", b"y"],
    "two in one": lambda key, body: [key, b"", body, key, b"", body],
}
WHOLE = "as it should be"


@pytest.fixture
def sockets() -> Iterator[tuple[Any, Any]]:
    context = zmq.Context()
    server, client = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    server.bind("inproc://x")
    client.connect("inproc://x")
    yield server, client
    context.destroy(linger=0)


def taken(envelopes: Envelopes) -> dict[bytes, list[bytes]]:
    """What each key got as its answer."""
    found: dict[bytes, list[bytes]] = {}
    while envelopes.there():
        key, frames = envelopes.take()
        if frames:
            found.setdefault(key, [frame.bytes for frame in frames])
    with pytest.raises(zmq.Again):
        envelopes.take()
    return found


def shapes(*names: str) -> list[list[bytes]]:
    made = {**SPOILT, WHOLE: lambda key, body: [key, b"", body]}
    return [made[name](b"key%05d" % i, b"answer%d" % i) for i, name in enumerate(names)]


def test_a_key_never_gets_what_belongs_to_another(sockets: tuple[Any, Any]) -> None:
    server, client = sockets
    envelopes = Envelopes(client)
    wrong = []
    for names in itertools.product([WHOLE, *SPOILT], repeat=2):
        for message in shapes(*names, WHOLE):
            server.send_multipart(message)
        found = taken(envelopes)
        for i in range(3):
            got = found.get(b"key%05d" % i)
            if got is not None and b"answer%d" % i not in got and any(frame.startswith(b"answer") for frame in got):
                wrong.append(names)
    assert wrong == []


@pytest.mark.parametrize("name", SPOILT)
def test_a_good_message_behind_a_spoilt_one(sockets: tuple[Any, Any], name: str) -> None:
    server, client = sockets
    for message in shapes(name, WHOLE):
        server.send_multipart(message)
    assert taken(Envelopes(client))[b"key00001"] == [b"answer1"]


@pytest.mark.parametrize("frames", [[b"a"], [b"a", b"", b"c"], [b"", b"b" * 100_000], [memoryview(b"m" * 70_000), b""]])
def test_what_is_put_arrives(sockets: tuple[Any, Any], frames: list[Any]) -> None:
    server, client = sockets
    Envelopes(client).put(b"key", frames)
    assert server.recv_multipart() == [b"key", b"", *map(bytes, frames)]


@pytest.mark.parametrize("name", SPOILT)
async def test_calls_whose_replies_are_spoilt(ports: Askers, name: str) -> None:
    """Of three questions that are out together, one reply is spoilt: the two others are answered, none of them with another's answer."""

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        *envelope, key, gap, request = frames
        asked = json.loads(request)["command"]
        if asked == "connect":
            return [[*envelope, key, gap, GREETING]]
        body = json.dumps({"type": "string", "value": asked}).encode()
        if asked.startswith("spoilt"):
            return [[*envelope, *SPOILT[name](key, body)]]
        return [[*envelope, key, gap, body]]

    with zmq_server(answer) as number:
        asker = await ports(number, 0.5)
        for place in range(3):
            names = [f"call {place} {i}" for i in range(3)]
            names[place] = f"spoilt {place}"
            tasks = [asyncio.ensure_future(asker.ask({"command": one}, what=one, reads=True, timeout=0.5)) for one in names]
            async with asyncio.timeout(LONG):
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for one, result in zip(names, results, strict=True):
                assert result == one or (one.startswith("spoilt") and isinstance(result, AiommError)), (names, results)
        async with asyncio.timeout(LONG):
            assert await asker.ask({"command": "after"}) == "after"
