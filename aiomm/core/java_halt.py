"""Stop everything now in Java, past the port that a long call keeps: shutters, stages, camera sequences."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiomm.core.halt import KINDS
from aiomm.core.java_values import core_of_its_own, device_type, items
from aiomm.core.translate import device_of
from aiomm.errors import BridgeError, CoreError, JavaException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from aiomm.bridge import Bridge, JavaObject
    from aiomm.core.java_live import JavaFeed

_going: set[asyncio.Task[None]] = set()


class Stopper:
    """A core at a port that nobody else uses, and the kinds of devices that are to be stopped.

    It is made beforehand: while a call keeps the first port, nothing can be asked there.
    """

    def __init__(self, core: JavaObject, kinds: list[tuple[JavaObject, str]]) -> None:
        self.core = core
        self.kinds = kinds

    @classmethod
    async def open(cls, bridge: Bridge, owner: JavaObject) -> Stopper:
        """Make it; a few messages."""
        core = await core_of_its_own(bridge)
        return cls(core, [(await device_type(owner, number), what) for number, what in KINDS])

    async def stop_all(self, attempt: Attempt) -> None:
        """Stop what can be stopped, one after another: shutters first, and cameras last, for they wait for their exposure."""
        devices: list[tuple[str, str]] = []
        for kind, what in self.kinds:
            labels = await items(await self.core.call("getLoadedDevicesOfType", (kind,)))
            devices += [(what, str(label)) for label in labels]
        attempt.pending = [f"{what} {label!r}" for what, label in devices]
        for what, label in devices:
            stop = {"shutter": self._close, "stage": self._stop, "camera": self._end}[what]
            try:
                await stop(label)
            except JavaException as error:
                text = error.java_message or str(error)
                attempt.problems.append(str(CoreError(text, method=f"stop {what}", arguments=(label,), device=device_of(text, (), ()))))
            attempt.pending.pop(0)

    async def _close(self, label: str) -> None:
        if await self.core.call("getShutterOpen", (label,)):
            await self.core.call("setShutterOpen", (label, False))

    async def _stop(self, label: str) -> None:
        try:
            await self.core.call("stop", (label,))
        except JavaException:  # many stages cannot be stopped; that matters only while they move
            if await self.core.call("deviceBusy", (label,)):
                raise

    async def _end(self, label: str) -> None:
        if await self.core.call("isSequenceRunning", (label,)):
            await self.core.call("stopSequenceAcquisition", (label,))


class Attempt:
    """What of one attempt is still to be done, and what went wrong."""

    def __init__(self) -> None:
        self.pending = ["looking for devices"]
        self.problems: list[str] = []

    async def run(self, opening: Awaitable[Stopper]) -> None:
        """Stop everything; it goes on when `halt` no longer waits."""
        try:
            await (await opening).stop_all(self)
        except BridgeError as error:
            self.problems.append(str(error))
            self.pending = []


def _ended(task: asyncio.Task[None]) -> None:
    _going.discard(task)
    if not task.cancelled():
        task.exception()  # `halt` says it, unless it no longer waits


async def halt(opening: Awaitable[Stopper], users: Iterable[JavaFeed], timeout: float) -> None:
    """Stop everything and wait until the live views have ended.

    Raises
    ------
    CoreError
        Something could not be stopped within ``timeout`` (s); it names all of it, and why.
    """
    until = time.monotonic() + timeout
    attempt = Attempt()
    task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(attempt.run(opening), name="aiomm: halting a core in Java")
    _going.add(task)
    task.add_done_callback(_ended)
    await asyncio.wait([task], timeout=timeout)
    problems = list(attempt.problems)
    if task.done():
        task.result()
    else:
        problems.append(f"not within {timeout:g} s, because a call is in progress: {', '.join(attempt.pending)}")
    ending = {user.task for user in users if user.task is not None}
    if ending:
        _, late = await asyncio.wait(ending, timeout=max(0.0, until - time.monotonic()))
        if late:
            problems.append(f"still ending after {timeout:g} s: live view")
    if problems:
        raise CoreError(f"halt: {'. '.join(problems)}")
