"""Ask a server through a Port alone, without proxies: what the tests of sockets share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import zmq

from aiomm.bridge import wire
from aiomm.bridge.port import Port
from aiomm.errors import ProtocolError, ServerNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiomm.errors import BridgeError


def hello() -> Any:
    return wire.encode(wire.connect(debug=False))


def check(reply: Any) -> None:
    wire.parse_reply(reply)


class Asker:
    """One port, and calls on it by name."""

    def __init__(self, context: Any, number: int, timeout: float = 5.0) -> None:
        self.losses: list[BridgeError] = []
        self.port = Port(context, "127.0.0.1", number, timeout=timeout, on_lost=lambda _, error: self.losses.append(error))

    async def open(self) -> Asker:
        await self.port.open(hello, check)
        return self

    async def ask(self, message: Any, *, timeout: float | None = None, what: str = "a call", **more: Any) -> Any:
        reply = await self.port.request(wire.encode(message), timeout=timeout, what=what, **more)
        try:
            return wire.parse_reply(reply)
        except ProtocolError as error:
            self.port.broken(error)
            raise

    async def make(self, name: str, *, new_port: bool = False) -> Any:
        """A new Java object of a class of the test host."""
        return await self.ask(wire.constructor(name, wire.Signature(name, (), None), [], new_port), timeout=5.0)

    async def call(self, target: Any, name: str, *values: Any, types: tuple[str, ...] = (), **more: Any) -> Any:
        signature = wire.Signature(name, types, None)
        return await self.ask(wire.run_method(target, False, signature, list(values)), what=name, **more)

    async def release(self, shadow: Any, **more: Any) -> Any:
        return await self.ask(wire.destructor(shadow.hash_code), timeout=5.0, **more)

    async def aclose(self, timeout: float = 1.0) -> None:
        await self.port.aclose(timeout)


class Askers:
    """Makes ports on one context and closes them all at the end."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.all: list[Asker] = []

    async def __call__(self, number: int, timeout: float = 5.0) -> Asker:
        return await self.unopened(number, timeout).open()

    async def elsewhere(self, asker: Asker, name: str) -> tuple[Any, Asker]:
        """A new Java object on a port of its own, and that port; the server tells of ports that it could not open."""
        for _ in range(10):
            made = await asker.make(name, new_port=True)
            with contextlib.suppress(ServerNotFoundError):
                return made, await self(made.port, 1.0)
        raise AssertionError("the server opens no port")

    def unopened(self, number: int, timeout: float = 5.0) -> Asker:
        asker = Asker(self.context, number, timeout)
        self.all.append(asker)
        return asker


@contextlib.asynccontextmanager
async def askers() -> AsyncIterator[Askers]:
    made = Askers()
    try:
        yield made
    finally:
        for asker in made.all:
            await asker.aclose(0)
        made.context.term()


async def until(condition: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
    """Wait until `condition()`; for tests alone, which have no other notice."""
    import asyncio

    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
