"""What Micro-Manager's core tells by itself, as an async iterator.

The server's ``RemoteCoreCallback`` passes it on. One is made while anybody listens on a bridge, and shared by all that do.
CMMCore has one place for a callback, and tells nobody who stands there: each listener that joins registers this one again.
CMMCore keeps a bare pointer to its callback: Java must never collect one that is still registered, for the next change would then
end the whole JVM. So it is unregistered before it is released, and stays in Java for ever when that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiomm.bridge import wire
from aiomm.bridge.lost_text import warn_of_loss
from aiomm.bridge.mailbox import Listener, Mailbox, check_buffer
from aiomm.bridge.names import did_you_mean, snake_case
from aiomm.bridge.wire import Signature
from aiomm.errors import (
    AiommError,
    BridgeError,
    BridgeTimeoutError,
    ClosedError,
    JavaException,
    ProtocolError,
    ServerLostError,
    ServerNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiomm.bridge.client import Bridge
    from aiomm.bridge.proxy import JavaObject
    from aiomm.bridge.session import Session
    from aiomm.bridge.streams import PullSocket

__all__ = ["KINDS", "CoreChange", "CoreChanges", "CoreChangesSource"]

log = logging.getLogger("aiomm.bridge")

KINDS = (
    "XYStagePositionChanged",
    "SLMExposureChanged",
    "channelGroupChanged",
    "configGroupChanged",
    "exposureChanged",
    "pixelSizeAffineChanged",
    "pixelSizeChanged",
    "propertiesChanged",
    "propertyChanged",
    "stagePositionChanged",
    "systemConfigurationLoaded",
)
"""What the server passes on; the core tells more, which it does not."""

FORWARD = "Micro-Manager opened this port for it, above its first one: where a tunnel leads there, it has to forward those ports too"
_CALLBACK = "org.micromanager.remote.RemoteCoreCallback"
_ATTEMPTS = 3
_AT_ONCE = 64  # messages taken before the loop has its turn


@dataclass(frozen=True, slots=True)
class CoreChange:
    """Something that the core told by itself.

    Attributes
    ----------
    name : str
        What happened, as the server says it: ``propertyChanged``, ``XYStagePositionChanged`` ...
    arguments : tuple
        Those of MMEventCallback's method: device labels, names and values as text, positions (µm) and exposures (ms) as float.
    time : float
        When it came here, on ``time.monotonic()`` (s).
    """

    name: str
    arguments: tuple[str | float, ...]
    time: float


class CoreChangesSource:
    """The one callback of a bridge, and who listens to it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._mailboxes: set[Mailbox[CoreChange]] = set()
        self._core: JavaObject | None = None
        self._callback: JavaObject | None = None
        self._pull: PullSocket | None = None
        self._number = 0
        self._taken_back = True  # the core calls this callback, as far as it is known here
        self._pump_task: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    @property
    def bridge(self) -> Bridge:
        """The bridge that it belongs to."""
        return self._session.bridge

    async def add(self, mailbox: Mailbox[CoreChange]) -> None:
        """Let a listener hear all that happens after this."""
        self._session.check()
        self._mailboxes.add(mailbox)
        self._taken_back = False
        try:
            await self.settle()
        except BaseException:
            self.discard(mailbox)
            raise

    def discard(self, mailbox: Mailbox[CoreChange]) -> None:
        """Let a listener go; on the loop."""
        self._mailboxes.discard(mailbox)
        mailbox.end()
        if not self._mailboxes and self._callback is not None and self._session.error is None:
            self._settle()

    def discard_soon(self, mailbox: Mailbox[CoreChange]) -> None:
        """Let a listener go; from any thread, by ``__del__`` too."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._session.loop.call_soon_threadsafe(self.discard, mailbox)

    async def settle(self) -> None:
        """Wait until the callback is there exactly if somebody listens; whoever cancels this cancels the waiting alone."""
        settling = self._settle()
        await asyncio.wait([settling])
        if settling.cancelled():  # by `aclose`
            raise ClosedError("this Bridge was closed")
        settling.result()

    async def aclose(self, error: AiommError | None) -> None:
        """End everything, within the control timeout; with an error when the server is gone."""
        mailboxes, self._mailboxes = self._mailboxes, set()
        for mailbox in mailboxes:
            mailbox.end(error)
        try:
            if error is None and (self._callback is not None or self._settling is not None):
                async with asyncio.timeout(self._session.timeout):
                    await self.settle()
        except (AiommError, TimeoutError) as why:
            reason = str(why) or f"Micro-Manager did not answer within {self._session.timeout:g} s"
            log.warning("Micro-Manager's core keeps the callback of this bridge, which could not be taken back: %s", reason)
        finally:
            if self._settling is not None:
                self._settling.cancel()
                await asyncio.wait([self._settling])
            await self._disconnect()

    def _settle(self) -> asyncio.Task[None]:
        # In a task of its own: a callback that was half registered when its listener was cancelled would be lost.
        if self._settling is None:
            self._settling = self._session.housekeeping(self._update(), "aiomm-bridge-core-events")
            self._settling.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever waits has the error
        return self._settling

    async def _update(self) -> None:
        try:
            while True:
                if bool(self._mailboxes) != (self._callback is not None):
                    self._taken_back = True
                    await (self._register() if self._mailboxes else self._unregister())
                elif self._callback is not None and (self._pump_task is None or self._pump_task.done()):
                    await self._unregister()  # half of it is there, or nothing comes from it any more
                elif not self._taken_back and self._core is not None:
                    self._taken_back = True
                    await self._core.call("registerCallback", [self._callback])  # another bridge's may stand in its place
                else:
                    return
        finally:
            self._settling = None

    async def _register(self) -> None:
        session = self._session
        core = await session.existing("mmcorej.CMMCore", new_port=False, inside=True)
        callback = await self._made(core)
        self._core, self._callback = core, callback
        try:
            pull = self._pull = session.pull_socket()
            self._number = await callback.call("getPushPort")
            try:
                await pull.connect(session.host, self._number, timeout=session.timeout)
            except ServerNotFoundError as error:
                raise ServerNotFoundError(f"{error}. {FORWARD}") from None
            await callback.call("startPush")
        except BaseException:
            with contextlib.suppress(AiommError):
                await self._unregister()
            raise
        self._pump_task = session.loop.create_task(self._pump(pull), name="aiomm-bridge-core-events-in")

    async def _made(self, core: JavaObject) -> JavaObject:
        """Make the callback; its constructor registers it."""
        signature = Signature(_CALLBACK, ("mmcorej.CMMCore",))
        attempt = 1
        while True:
            try:
                return await self._session.kept(_CALLBACK, signature, [core])
            except JavaException as error:
                # It is registered, and nothing in Java refers to it: take it back before Java collects it.
                await core.call("registerCallback", [None])
                if attempt == _ATTEMPTS or "Address already in use" not in error.java_message:
                    raise
                attempt += 1  # the server gave it a port that another socket has not left yet

    async def _unregister(self) -> None:
        core, callback = self._core, self._callback
        if core is None or callback is None:
            return
        await self._session.answers()  # a call of a method has no bound of its own
        await core.call("registerCallback", [None])  # before all else, see above
        self._callback = self._core = None
        self._session.let_go(callback)
        try:
            await callback.call("shutdown")
            await callback.aclose()
        finally:
            await self._disconnect()
            self._session.numbers.closing(self._number)

    async def _disconnect(self) -> None:
        task, self._pump_task = self._pump_task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._pull is not None:
            self._pull.close()
            self._pull = None

    async def _pump(self, pull: PullSocket) -> None:
        count = 0
        try:
            async for frames in pull:
                try:
                    change = _change(wire.decode(frames))
                except ProtocolError as error:
                    log.warning("a core event that cannot be understood: %s", error)
                    continue
                for mailbox in self._mailboxes:
                    mailbox.put(change.name, change)
                count += 1
                if count % _AT_ONCE == 0:
                    await asyncio.sleep(0)
        except BridgeError as error:
            if self._callback is not None:  # else it was shut down, and who listens now waits for the next one
                for mailbox in self._mailboxes:
                    mailbox.end(error)


def _change(message: dict[str, Any]) -> CoreChange:
    name, arguments = message.get("name"), message.get("arguments", [])
    if not isinstance(name, str) or not isinstance(arguments, list):
        raise ProtocolError(f"no name or no list of arguments in {str(message)[:200]}")
    # All numbers in them are doubles, which the server writes without .0 when they are whole.
    return CoreChange(name, tuple(float(a) if isinstance(a, int) else a for a in arguments), time.monotonic())


class CoreChanges(Listener[CoreChange]):
    """An async iterator over `CoreChange`; made by `Bridge.core_events`.

    It hears what happens from its first step on, or from ``async with`` on. It ends when it or the bridge is closed, and raises
    ServerLostError when the server is gone.

    Attributes
    ----------
    dropped : int
        How many changes were lost, the oldest first, because ``buffer`` were waiting to be taken.
    """

    def __init__(self, source: CoreChangesSource, kinds: Iterable[str] | str | None, buffer: int) -> None:
        known = {spelling: kind for kind in KINDS for spelling in (kind, snake_case(kind))}
        chosen = None if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
        if unknown := [kind for kind in chosen or () if kind not in known]:
            listed = sorted(map(snake_case, KINDS))
            hint = did_you_mean(str(unknown[0]), listed) or f"; it passes on {', '.join(listed)}"
            raise ValueError(f"the server passes on no {', '.join(map(repr, unknown))}{hint}")
        check_buffer(buffer)
        super().__init__()
        self._source = source
        self._bridge = source.bridge  # held, for as long as somebody may listen here
        self._mailbox: Mailbox[CoreChange] = Mailbox(buffer, None if chosen is None else frozenset(known[kind] for kind in chosen))
        self._listening = False

    @property
    def dropped(self) -> int:
        """How many changes were lost."""
        return self._mailbox.dropped

    async def __anext__(self) -> CoreChange:
        change = await super().__anext__()
        if doubtful := [one for one in change.arguments if isinstance(one, str) and "?" in one]:
            warn_of_loss(f"the notification {change.name}", doubtful[0], "it is told once; ask the core for what it is about")
        return change

    async def aclose(self) -> None:
        """Listen no more, and wait until the callback is gone from the core if nobody else listens. Again and again does no harm."""
        if self._closed:
            return
        self._closed = True
        if self._listening:
            self._listening = False
            self._source.discard(self._mailbox)
            try:
                await self._source.settle()
            except (ServerLostError, ClosedError):
                pass  # the server is gone, and the callback with it
            except BridgeTimeoutError as why:
                log.warning("Micro-Manager's core keeps the callback of this bridge for now, which could not be taken back: %s", why)

    async def _listen(self) -> Mailbox[CoreChange]:
        if not self._listening:
            await self._source.add(self._mailbox)
            self._listening = True
        return self._mailbox

    def __del__(self) -> None:
        if getattr(self, "_listening", False):
            self._source.discard_soon(self._mailbox)
