"""What the ports and proxies of one bridge share: settings, state, Java classes seen."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import weakref
from typing import TYPE_CHECKING, Any

import zmq

from aiomm.bridge import overloads, reflection, wire
from aiomm.bridge.context import Context
from aiomm.bridge.core_events import FORWARD, CoreChangesSource
from aiomm.bridge.gone import unless_gone
from aiomm.bridge.line import Line, Quiet, part_of_a_call
from aiomm.bridge.members import Members, check_entry
from aiomm.bridge.port import Port
from aiomm.bridge.port_numbers import PortNumbers
from aiomm.bridge.proxy import JavaClass, JavaObject, check_usable, make_class
from aiomm.bridge.registry import proxy_class
from aiomm.bridge.streams import PullSocket, PushSocket
from aiomm.bridge.watch import Link, LinkError, connected
from aiomm.bridge.wire import Signature
from aiomm.errors import AiommError, BridgeError, ClosedError, JavaException, OverloadError, ServerLostError, ServerNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from aiomm.bridge.client import Bridge
    from aiomm.bridge.wire import Shadow

__all__ = ["Session"]

log = logging.getLogger("aiomm.bridge")
_ENDING: set[asyncio.Task[None]] = set()
"""Of bridges that were dropped: what closes them."""
_housekeeping: contextvars.ContextVar[bool] = contextvars.ContextVar("aiomm_bridge_housekeeping", default=False)
"""Whether a bridge asks here for itself, not for its user."""
_PORTS_TRIED = 3
_SHORT = 0.05  # s; a timeout below was perhaps meant in seconds

_ARRAYS = frozenset({"[J", "[Z", "[C"})
"""Arrays of primitives that the server sends as objects, though numpy has them."""


class Session:
    """The inside of an open `Bridge`.

    The loop holds it, as it reads the sockets; so it does not hold the bridge, which the user may drop. Each proxy holds the bridge.

    Attributes
    ----------
    timeout : float
        Of connecting and control messages, in s.
    call_timeout : float or None
        Of method calls, in s.
    error : Exception or None
        Why nothing can be called any more.
    watchers : set
        Called on the loop with that error when the server is gone.
    """

    def __init__(self, bridge: Bridge, host: str, *, timeout: float, call_timeout: float | None, snake: bool, debug: bool) -> None:
        self._bridge = weakref.ref(bridge)
        self.host = host
        self.timeout = timeout
        self.call_timeout = call_timeout
        self.snake = snake
        self.debug = debug
        self.loop = asyncio.get_running_loop()
        self.error: AiommError | None = None
        self.watchers: set[Callable[[AiommError], None]] = set()
        self.server_version: str | None = None
        self.lines: set[Line] = set()
        self.numbers = PortNumbers(host, bridge.port)
        self._context = Context()
        self._classes: dict[str, type[JavaObject]] = {}
        self._constructors: dict[str, tuple[Signature, ...]] = {}
        self._statics: dict[str, JavaClass] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._main: Line | None = None
        self._over = False  # nor can the bridge itself speak any more
        self.core_changes = CoreChangesSource(self)

    @property
    def bridge(self) -> Bridge:
        """The bridge that this is the inside of."""
        bridge = self._bridge()
        if bridge is None:
            raise ClosedError("this Bridge was dropped")
        return bridge

    # ---- state --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise unless a call can be made here and now; see `aclose` for who still may in a bridge that closes."""
        self.check_loop()
        if self.error is not None and not (self._closing and _housekeeping.get()):
            raise type(self.error)(*self.error.args)

    @property
    def _closing(self) -> bool:
        """Whether it is being closed, and the server is there."""
        return isinstance(self.error, ClosedError) and not self._over

    def check_loop(self) -> None:
        """Raise in another loop than the bridge's own."""
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(
                "this Bridge belongs to another event loop than the one that runs here: open a Bridge in each loop, "
                "or call aiomm.blocking(...) of it in a worker thread"
            )

    def lose(self, error: BridgeError) -> None:
        """The server is gone: no call can be made any more."""
        if self.error is None or self._closing:
            self.error = error if isinstance(error, ServerLostError) else ServerLostError(str(error))
            for watcher in list(self.watchers):
                watcher(self.error)

    # ---- ports --------------------------------------------------------------------------------------------------

    @property
    def main(self) -> Line:
        """The bridge's own port."""
        if self._main is None:
            raise ClosedError("this Bridge is not open: use `async with Bridge(...) as bridge`, or `await Bridge.open(...)`")
        return self._main

    def port(self, number: int, on_lost: Callable[[Port, BridgeError], None], *, main: bool) -> Port:
        """Make a port; it is not connected yet."""
        advice = {} if main else {"advice": FORWARD}
        return Port(self._context, self.host, number, timeout=self.timeout, on_lost=on_lost, **advice)

    async def connect(self, port: Port, *, again: bool = True) -> None:
        """Connect a port and see that a server of ours answers; if nothing listens there yet, try `again`."""
        await port.open(lambda: wire.encode(wire.connect(debug=False)), self._greeted, again=again)

    def _greeted(self, frames: Sequence[Any]) -> None:
        """Look at the reply to ``connect``."""
        where = self.host
        try:
            reply = wire.decode(frames)
        except AiommError as error:
            raise ServerNotFoundError(f"what answers on {where} is not a Micro-Manager server: {error}") from None
        version = reply.get("version")
        if reply.get("type") != "none" or not isinstance(version, str):
            raise ServerNotFoundError(f"what answers on {where} is not a Micro-Manager server: it greets with {str(reply)[:200]!r}")
        if self.server_version is None:
            self._check_version(version)
            self.server_version = version

    def _check_version(self, version: str) -> None:
        if version == wire.VERSION:
            return
        sentence = (
            f"this Micro-Manager speaks version {version} of the ZMQ object protocol, aiomm speaks {wire.VERSION}: "
            "update Micro-Manager or aiomm so that both are of one version"
        )
        if version.split(".")[0] != wire.VERSION.split(".")[0]:
            raise BridgeError(sentence)
        log.warning("%s", sentence)

    async def open_main(self, number: int) -> None:
        """Connect the bridge's own port."""
        line = self.new_line(number, main=True)
        try:
            await self.connect(line.port)
        except BaseException as error:
            self.lines.discard(line)
            if isinstance(error, ServerNotFoundError) and self.timeout < _SHORT:
                raise ServerNotFoundError(f"{error}. Its time was {1000 * self.timeout:g} ms: timeout is in milliseconds") from None
            raise
        self._main = line

    def new_line(self, number: int, *, main: bool = False) -> Line:
        """Make a line; its port is not connected yet."""
        self.numbers.taken(number)
        line = Line(self, number, main=main)
        self.lines.add(line)
        return line

    async def _open_line(self, line: Line) -> None:
        try:
            await unless_gone(self, self.connect(line.port))
        except BaseException:
            line.ended = True
            self.forget(line)
            raise

    async def _line_for(self, shadow: Shadow) -> Line:
        """Connect the port that an object of ``new_socket`` lives at; if the caller is cancelled, it is released there."""
        line = self.new_line(shadow.port)
        line.live.add(shadow.hash_code)
        opening = line.opening = self._spawn(self._open_line(line))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: None if done.cancelled() or done.exception() else line.drop(shadow.hash_code))
            raise
        return line

    def forget(self, line: Line, *, told: bool = False) -> None:
        """A port has ended; `told` where it was `closing` before: its number may be another's by now."""
        self.lines.discard(line)
        if not line.main and not told:
            self.numbers.closing(line.number)

    def abandon(self, shadow: Shadow) -> None:
        """Release an object at a port of its own that nobody has asked to be connected any more."""

        async def release() -> None:
            try:
                line = await self._line_for(shadow)
                await line.destroy(shadow.hash_code, self.timeout)
            except ServerNotFoundError as error:
                await self._leave(shadow, error)
            except AiommError as error:
                log.debug("port %d: an object that came late stays there: %s", shadow.port, error)

        if not isinstance(self.error, ServerLostError):
            self._spawn(release())

    async def _leave(self, shadow: Shadow, why: BaseException | None) -> None:
        """Have Java leave a port that was opened in vain, and forget what is there."""
        log.debug("port %d, which the server opened, cannot be reached and is closed: %s", shadow.port, why)
        try:
            await self.main.follow(reflection.leave_port(shadow), self.timeout, f"closing the port {shadow.port}")
        except AiommError as error:
            log.debug("port %d stays open: %s", shadow.port, error)

    def housekeeping(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Do what the bridge does for itself, in a task that may speak while it closes; for whoever waits for it then."""
        context = contextvars.copy_context()
        context.run(_housekeeping.set, True)
        return self.loop.create_task(work, name=name, context=context)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.housekeeping(work, "aiomm-bridge-port")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Release everything and close every port.

        Who may speak when:

        1. While the users of the bridge are ended, before this: everybody, as to leave the hardware safe may take any call. Nobody
           can become a user any more.
        2. From here on: `housekeeping` alone, which takes the callback out of the core, connects to the ports that Java has opened for
           us, has it leave those that cannot be reached, and releases. `check` refuses the rest with ClosedError, a new listener and
           the next step of a call in progress too. So what is left to be done can only become less.
        3. When every port is closed: nobody.
        """
        lost = self.error
        self.error = lost or ClosedError("this Bridge was closed")
        self._statics.clear()
        try:
            await self.core_changes.aclose(lost)
            await self._close_lines(main=False)  # the server closes them; those opened in vain are closed through the main one
            await self._close_lines(main=True)
            await self._close_lines(main=False)  # a late reply on the main one may have brought an object that lives at one of its own
        finally:
            self._over = True
            self.lines.clear()
            self._context.destroy(linger=0)

    async def _close_lines(self, *, main: bool) -> None:
        """Close the bridge's own port or all others, and those that are opened meanwhile."""
        while self._tasks or any(line.main == main for line in self.lines):
            lost = isinstance(self.error, ServerLostError)
            # Each has a limit of its own for connecting, for the greeting, and for having Java leave what cannot be reached.
            await self._finish_tasks(0 if lost else 3 * self.timeout)
            lines = [line for line in self.lines if line.main == main]
            async with asyncio.TaskGroup() as closing:
                for line in lines:
                    closing.create_task(line.aclose(release=not lost))
            self.lines.difference_update(lines)

    def dropped(self) -> None:
        """Close, as nobody uses it any more. From any thread and at any moment; does no I/O."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(self._close_dropped)

    def _close_dropped(self) -> None:
        async def close() -> None:
            with contextlib.suppress(AiommError):
                await self.aclose()

        task = Quiet(close(), loop=self.loop, name="aiomm-bridge-close")
        _ENDING.add(task)
        task.add_done_callback(_ENDING.discard)

    async def answers(self) -> None:
        """See that the server answers, within the control timeout from when the calls of ours before this have ended."""
        await self.main.ask(wire.connect(debug=False), "seeing whether the server answers")

    async def greets(self, seconds: float) -> bool:
        """Whether Java shakes hands on a new connection in time: it does while its process runs, whatever its ports are busy with."""
        for _ in range(2):  # it may lose one
            try:
                link = await connected(self._visitor, self.host, self.main.number, self.loop.time() + seconds / 2)
            except LinkError:
                continue
            link.close()
            return True
        return False

    def _visitor(self) -> Link:
        return Link(self._context, zmq.DEALER, readable=lambda: None, lost=lambda seen: None)

    def give_up(self, seen: str) -> None:
        """Take the server for gone: everything that waits for it ends."""
        for line in list(self.lines):
            line.port.give_up(seen)

    async def _finish_tasks(self, seconds: float) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    # ---- objects ------------------------------------------------------------------------------------------------

    async def give(self, shadow: Shadow, line: Line) -> Any:
        """Make what the user gets of an object that the server sent: a proxy, or an array where numpy has one."""
        obj = self.adopt(shadow, line)
        if shadow.is_error:
            raise await _thrown(obj)
        if shadow.java_class in _ARRAYS:
            return await line.follow(reflection.read_array(obj), self.call_timeout, f"reading a {shadow.java_class}")
        return obj

    def adopt(self, shadow: Shadow, line: Line, *, inside: bool = False) -> JavaObject:
        """Make the proxy of an object; one that the session keeps for itself, `inside`, does not keep the bridge."""
        key = shadow.java_class if shadow.java_class != "java.lang.Class" else f"class {shadow.interfaces[-1]}"
        cls = self._classes.get(key)
        if cls is None:
            members = Members(shadow, snake=self.snake)
            base = JavaClass if members.is_class else proxy_class(shadow.interfaces, JavaObject)
            cls = self._classes[key] = make_class(base, members)
        line.live.add(shadow.hash_code)
        return cls(line, shadow, None if inside else self._bridge())

    async def construct(self, classpath: str, args: Sequence[Any], *, new_port: bool = False, line: Line | None = None) -> JavaObject:
        """Make an object: at the main port, at a new one, or at one that is open."""
        check_usable(args, self)
        signatures = await self.constructors_of(classpath)
        what = f"new {classpath}"
        signature, values = overloads.choose(signatures, args, what=what)
        async with contextlib.nullcontext(line) if line is not None else self._place(what, new_port=new_port, control=False) as line:
            if overloads.sure(signatures, signature, values) and wire.beside_binary(list(values)) is None:
                try:
                    made = await line.call(wire.constructor(classpath, signature, values), self.call_timeout, what)
                    return self._as_object(made, what, line)
                except JavaException as error:
                    if not reflection.not_run(error):
                        raise
            plan = reflection.construct(classpath, signature, values, signatures)
            return self._as_object(await line.follow(plan, self.call_timeout, what), what, line)

    async def existing(self, classpath: str, *, new_port: bool, inside: bool = False) -> JavaObject:
        """Get the one object that the server has of a class; it ignores what a constructor would take. For `inside` see `adopt`."""
        async with self._place(classpath, new_port=new_port) as line:
            found = await line.ask(wire.constructor(classpath, Signature(classpath, ()), ()), classpath)
            return self._as_object(found, classpath, line, inside=inside)

    async def kept(self, classpath: str, signature: Signature, values: Sequence[Any]) -> JavaObject:
        """Make an object that Java must not collect before `let_go`, whatever happens to its proxy, the call or the bridge.

        The proxy does not keep the bridge.
        """
        async with self.numbers.giving():  # what is made may take one
            shadow = await self.main.call(wire.constructor(classpath, signature, values), None, f"new {classpath}", keep=True)
        made = self._as_object(shadow, classpath, self.main, inside=True)
        self.main.live.discard(made.hash_code)
        return made

    def let_go(self, obj: JavaObject) -> None:
        """Let an object of `kept` be released like others."""
        self.main.live.add(obj.hash_code)

    def pull_socket(self, *, hwm: int = 1000, lost: Callable[[], None] | None = None) -> PullSocket:
        """Make a socket for a stream from the server."""
        return PullSocket(self._context, hwm=hwm, lost=lost)

    def push_socket(self, *, hwm: int = 1000, lost: Callable[[], None] | None = None) -> PushSocket:
        """Make a socket for a stream to the server."""
        return PushSocket(self._context, hwm=hwm, lost=lost, silent=self._rouse)

    def _rouse(self) -> None:
        """Make Java look at its connections again: somebody comes to its door, and leaves.

        Its ZeroMQ (JeroMQ 0.5.1) at times forgets a connection that it has just made, and says nothing there, until it takes another.
        """

        async def knock() -> None:
            with contextlib.suppress(OSError):  # of it, TimeoutError
                async with asyncio.timeout(self.timeout):
                    _, writer = await asyncio.open_connection(self.host, self.main.number)
                writer.close()

        if self.error is None:
            self._spawn(knock())

    async def get_class(self, classpath: str, *, new_port: bool = False, inside: bool = False) -> JavaClass:
        """Get a class itself; for `inside` see `adopt`."""
        what = f"the class {classpath}"
        async with self._place(what, new_port=new_port) as line:
            try:
                found = self._as_object(await line.ask(wire.get_class(classpath), what), what, line, inside=inside)
            except JavaException as error:
                raise _no_class(classpath, error) from None
        assert isinstance(found, JavaClass)
        return found

    @contextlib.asynccontextmanager
    async def _place(self, what: str, *, new_port: bool, control: bool = True) -> AsyncIterator[Line]:
        """Give the port to make something at: the main one, or one of its own that stays open while something lives there.

        Every port takes all requests. So the port comes first, and nothing is made before there is one that can be reached.
        """
        if not new_port:
            yield self.main
            return
        line, key = await self.own_line(what, control=control)
        try:
            yield line
        except BaseException:
            line.drop(key)
            raise
        await line.release(key)

    async def own_line(self, what: str, *, control: bool = False) -> tuple[Line, str]:
        """Have the server open a port that can be reached; also what lives there for now. Those opened in vain are closed."""
        vain: list[Shadow] = []
        why: BaseException | None = None
        try:
            for _ in range(_PORTS_TRIED):
                message = wire.get_class("java.util.Objects", True)
                async with self.numbers.giving():
                    shadow = await (self.main.ask(message, what) if control else self.main.call(message, self.call_timeout, what))
                if not isinstance(shadow, wire.Shadow):
                    raise BridgeError(f"{what}: the server opens no port, it answers {str(shadow)[:100]!r}")
                try:
                    return await self._line_for(shadow), shadow.hash_code
                except ServerNotFoundError as error:
                    why = error
                    vain.append(shadow)  # until there is one: its number would be given again
        finally:
            for shadow in vain:
                self._spawn(self._leave(shadow, why))
        raise ServerNotFoundError(f"{what}: the server opens no port for it that can be reached: {why}") from None

    def _as_object(self, value: Any, what: str, line: Line, *, inside: bool = False) -> JavaObject:
        if not isinstance(value, wire.Shadow):
            raise BridgeError(f"{what}: the server sends such an object by its value ({str(value)[:100]!r}), it cannot be kept in Java")
        return self.adopt(value, line, inside=inside)

    async def constructors_of(self, classpath: str) -> tuple[Signature, ...]:
        """Give what the constructors of a class take; each class is asked for once."""
        known = self._constructors.get(classpath)
        if known is None:
            try:
                with part_of_a_call():
                    reply = await self.main.ask(wire.get_constructors(classpath), f"the constructors of {classpath}")
            except JavaException as error:
                raise _no_class(classpath, error) from None
            api = reply.get("api") if isinstance(reply, dict) else None
            if not isinstance(api, list):
                raise BridgeError(f"the server does not tell the constructors of {classpath}")
            for entry in api:
                check_entry(entry)
            known = self._constructors[classpath] = tuple(Signature(classpath, tuple(entry["arguments"])) for entry in api)
        if not known:
            raise OverloadError(f"{classpath} has no public constructor: an interface, or what only methods of other classes make")
        return known

    async def static(self, classpath: str) -> JavaClass:
        """Give a class that this package uses itself; it is asked for once."""
        known = self._statics.get(classpath)
        if known is None:
            with part_of_a_call():
                known = self._statics[classpath] = await self.get_class(classpath, inside=True)
        return known


async def _thrown(obj: JavaObject) -> JavaException:
    """Make the exception of an Error that a method threw, which the server sends like a result."""
    try:
        message = await obj.call("getMessage")
    except JavaException:
        message = None
    return JavaException(obj.java_class, message or "", "")


def _no_class(classpath: str, error: JavaException) -> JavaException:
    """Name the class that the server did not find; it does not say so itself."""
    if "Class not found" not in error.java_message and "ClassNotFound" not in error.java_class:
        return error
    text = f"this Micro-Manager has no class {classpath!r}: give its full name, like 'java.util.ArrayList' ('Outer$Inner' for a nested one)"
    return JavaException("java.lang.ClassNotFoundException", text, error.java_stack)
