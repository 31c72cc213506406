"""The bridge to a running Micro-Manager: connect, make Java objects, get the core."""

from __future__ import annotations

import asyncio
import operator
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, cast

from aiomm.bridge.core_events import CoreChanges
from aiomm.bridge.kept_here import KeptHere
from aiomm.bridge.overloads import listed
from aiomm.bridge.session import Session
from aiomm.bridge.users import User, Users
from aiomm.errors import ClosedError, JavaException, ServerLostError, UnsupportedError
from aiomm.suggest import suggest_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from aiomm.bridge.proxy import JavaClass, JavaObject
    from aiomm.core import BridgedCore  # for types alone: when it runs, the floor above registers it

__all__ = ["Bridge", "User"]

CORE = "mmcorej.CMMCore"
STUDIO = "org.micromanager.Studio"
LONGEST_MS = 1_000_000_000  # over eleven days; ZeroMQ takes no more than twice that, and would wait for ever
MAGELLAN = "org.micromanager.magellan.api.MagellanAPI"


class Bridge(KeptHere):
    """A connection to a running Micro-Manager (Java) with its server switched on.

    ::

        async with aiomm.Bridge() as bridge:
            core = await bridge.get_core()
            names = await bridge.construct_java_object("java.util.ArrayList")
            await names.add("x")

    Equally ``bridge = await Bridge.open()`` and ``await bridge.aclose()``, from any task of the same loop. Any number of
    tasks may use it; the server answers one call at a time per port, so that a call that blocks deserves a port of its own
    (``new_socket=True``). Where Java tells things by itself, the server has classes for it: `core_events` uses the one for the core;
    it has none for listeners in general.

    Parameters
    ----------
    port : int
        Port of Micro-Manager's server.
    convert_camel_case : bool
        Whether methods are found and listed in snake_case; in Java's spelling they are found always.
    debug : bool
        Log each message, with image data abbreviated, to the logger ``aiomm.bridge`` at level DEBUG.
    ip_address : str
        Host of the server. Micro-Manager's own listens on the loopback address alone.
    timeout : float
        For connecting, and for each control message (fields, classes, releases), in ms. An image's fields are data: they are read
        as a method is called.
    call_timeout : float, optional
        For each method call, in ms; by default a call may take as long as its hardware does. ``asyncio.timeout()`` (seconds)
        around a call is always safe too: later calls get their own replies.

    Attributes
    ----------
    port : int
        As given.
    users : set
        What uses it for longer than one call, a live view for one, each with ``async def abort_for_close()``; `aclose` ends them first,
        and lets none join from then on (ClosedError).
    kept : dict
        What the typed core keeps for as long as the bridge is open; `aclose` empties it.

    Raises
    ------
    ServerNotFoundError
        From opening: nothing answers there in time, or not as Micro-Manager does.
    BridgeError
        From opening: the server's version of the protocol is another one.
    """

    _instead = "use it as it is, or make another with Bridge(**bridge.arguments), in another process too"

    @suggest_parameters
    def __init__(
        self,
        port: int = 4827,
        convert_camel_case: bool = True,
        debug: bool = False,
        ip_address: str = "127.0.0.1",
        timeout: float = 500,
        *,
        call_timeout: float | None = None,
    ) -> None:
        if isinstance(port, bool) or not isinstance(port, SupportsIndex) or not 0 < operator.index(port) < 65536:
            raise ValueError(f"port is a number from 1 to 65535, not {port!r}")
        if not isinstance(ip_address, str) or not ip_address:
            raise ValueError(f"ip_address is the name or address of a computer, not {ip_address!r}")
        if ip_address.count(":") == 1 or "/" in ip_address:
            raise ValueError(
                f"ip_address is the name or address of a computer alone, not {ip_address!r}: the port is a parameter of its own"
            )
        for name, ms in (("timeout", timeout), ("call_timeout", call_timeout)):
            if ms is None and name == "call_timeout":
                continue
            if not isinstance(ms, int | float) or isinstance(ms, bool) or not 0 < ms < float("inf"):
                raise ValueError(f"{name} is a number of milliseconds above 0, not {ms!r}")
            if ms > LONGEST_MS:
                raise ValueError(f"{name} is {LONGEST_MS} milliseconds at most, not {ms!r}")
        self.port: int = operator.index(port)
        self._host = ip_address
        self._timeout = timeout / 1000
        self._call_timeout = None if call_timeout is None else call_timeout / 1000
        self._snake = bool(convert_camel_case)
        self._debug = bool(debug)
        self._session: Session | None = None
        self._end: asyncio.Task[None] | None = None
        self.users: Users = Users("Bridge")
        self.kept: dict[str, Any] = {}

    # ---- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    @suggest_parameters
    async def open(
        cls,
        port: int = 4827,
        convert_camel_case: bool = True,
        debug: bool = False,
        ip_address: str = "127.0.0.1",
        timeout: float = 500,
        *,
        call_timeout: float | None = None,
    ) -> Self:
        """Make a bridge and open it; the parameters are those of the class."""
        return await cls(port, convert_camel_case, debug, ip_address, timeout, call_timeout=call_timeout).__aenter__()

    async def __aenter__(self) -> Self:
        if self._session is not None:
            if self.closed:
                raise ClosedError("this Bridge was closed: make another one with Bridge(...)")
            raise RuntimeError("this Bridge is open already: enter it once, or use what `await Bridge.open(...)` gave")
        self._session = session = Session(
            self, self._host, timeout=self._timeout, call_timeout=self._call_timeout, snake=self._snake, debug=self._debug
        )
        try:
            await session.open_main(self.port)
        except BaseException:
            await self.aclose()
            raise
        return self

    if not TYPE_CHECKING:  # a type checker says it itself

        def __enter__(self) -> NoReturn:
            raise TypeError("a Bridge is entered with `async with`, or opened with `await Bridge.open(...)`")

        def __exit__(self, *_: object) -> None:
            pass

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release everything that this bridge holds in Java, and disconnect. Again and again does no harm.

        First its users are ended, for which everything can still be called. From then on whatever begins, and the calls in progress,
        raise ClosedError. A server that does not answer is given up after ``timeout`` for each: the callback of
        `core_events`, the ports that objects have to themselves (three times that for one just being opened), the bridge's own.
        When the caller is cancelled, the closing still finishes first.
        """
        if self._session is None:
            return
        self._session.check_loop()
        if self._end is None:
            self._end = asyncio.get_running_loop().create_task(self._close(self._session), name="aiomm-bridge-close")
        cancelled: asyncio.CancelledError | None = None
        while not self._end.done():
            try:
                await asyncio.wait([self._end])
            except asyncio.CancelledError as error:
                cancelled = error
        self._end.result()
        if cancelled is not None:
            raise cancelled

    async def _close(self, session: Session) -> None:
        errors: list[Exception] = []
        try:
            for user in self.users.last():
                try:
                    await user.abort_for_close()
                except Exception as error:
                    if session.error is None:  # of a server that is gone, nothing can be stopped
                        errors.append(error)
        finally:
            self.kept.clear()
            await session.aclose()
        if errors:
            raise errors[0]

    async def close(self) -> None:
        """Close the bridge: the same as `aclose`."""
        await self.aclose()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        session: Session | None = getattr(self, "_session", None)
        if session is not None and self._end is None:
            session.dropped()
            _warn(f"unclosed {self!r}: use `async with`, or `await bridge.aclose()`", ResourceWarning, source=self)

    # ---- what it is ---------------------------------------------------------------------------------------------

    @property
    def arguments(self) -> dict[str, Any]:
        """What makes another Bridge to the same server: ``Bridge(**bridge.arguments)``, in another process too."""
        return {
            "port": self.port,
            "convert_camel_case": self._snake,
            "debug": self._debug,
            "ip_address": self._host,
            "timeout": 1000 * self._timeout,
            "call_timeout": None if self._call_timeout is None else 1000 * self._call_timeout,
        }

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its server is gone."""
        return self._session is not None and self._session.error is not None

    @property
    def server_version(self) -> str:
        """The version of the protocol that the server speaks."""
        return self._open().server_version or ""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it belongs to."""
        return self._open().loop

    def __repr__(self) -> str:
        if self._session is None:
            state = "new"
        elif isinstance(self._session.error, ServerLostError):
            state = "its server is gone"
        else:
            state = "closed" if self.closed else "open"
        return f"<Bridge to {self._host}:{self.port}, {state}>"

    def _open(self) -> Session:
        if self._session is None:
            raise ClosedError("this Bridge is not open: use `async with Bridge(...) as bridge`, or `await Bridge.open(...)`")
        return self._session

    # ---- Java ---------------------------------------------------------------------------------------------------

    async def construct_java_object(self, classpath: str, new_socket: bool = False, args: Sequence[Any] | None = None) -> JavaObject:
        """Make a Java object.

        Parameters
        ----------
        classpath : str
            The class, with its package: ``java.util.ArrayList``.
        new_socket : bool
            Let it live at a port of its own, so that its calls do not wait for others and others not for them.
        args : sequence, optional
            For its constructor.

        Raises
        ------
        JavaException
            There is no such class, or its constructor threw.
        OverloadError
            No constructor takes these arguments.
        """
        session = self._open()
        if isinstance(new_socket, list | tuple):
            raise TypeError(f"new_socket is True or False, not {new_socket!r}; the constructor's arguments are args={list(new_socket)!r}")
        _check_new_socket(new_socket)
        return await session.construct(classpath, () if args is None else listed(args, "the constructor's"), new_port=new_socket)

    async def get_java_class(self, classpath: str, new_socket: bool = False) -> JavaClass:
        """Get a Java class, for its static methods and fields.

        Parameters
        ----------
        classpath : str
            The class, with its package: ``java.lang.Math``.
        new_socket : bool
            Let its calls have a port of their own.

        Raises
        ------
        JavaException
            There is no such class.
        """
        _check_new_socket(new_socket)
        return await self._open().get_class(classpath, new_port=new_socket)

    async def get_core(self, new_socket: bool = False) -> BridgedCore:
        """Get the core of the running Micro-Manager.

        Parameters
        ----------
        new_socket : bool
            Let its calls have a port of their own.
        """
        return cast("BridgedCore", await self._existing(CORE, "core", new_socket))

    async def get_studio(self, new_socket: bool = False) -> JavaObject:
        """Get Micro-Manager's Studio, which leads to the rest of its Java interface.

        Parameters
        ----------
        new_socket : bool
            Let its calls have a port of their own.

        Raises
        ------
        UnsupportedError
            This Micro-Manager runs without its window and has none.
        """
        return await self._existing(STUDIO, "Studio (it may run without its window)", new_socket)

    async def get_magellan(self, new_socket: bool = False) -> JavaObject:
        """Get the interface of the Micro-Magellan plugin.

        Parameters
        ----------
        new_socket : bool
            Let its calls have a port of their own.

        Raises
        ------
        UnsupportedError
            This Micro-Manager has no Micro-Magellan.
        """
        return await self._existing(MAGELLAN, "Micro-Magellan", new_socket)

    def core_events(self, kinds: Iterable[str] | str | None = None, *, buffer: int = 1000) -> CoreChanges:
        """Listen to what the core tells by itself: properties, stage positions, exposures, presets that change.

        ::

            async with bridge.core_events() as changes:
                async for change in changes:
                    print(change.name, change.arguments)

        MMCore has one callback only, and does not tell who has it. Each iterator that begins makes it this bridge's: Micro-Manager's
        own window, and whoever listened through another bridge, hear nothing from then on, without an error; nor do the iterators
        here after another bridge's has begun, until one more begins here. It is unregistered when the last iterator of this bridge
        ends (the end of ``async with``, ``aclose()``, or that Python forgets it): then nobody hears until the next one begins.

        Parameters
        ----------
        kinds : str or iterable of str, optional
            Only these: ``property_changed``, ``stage_position_changed`` ...; by default all that the server passes on.
        buffer : int
            How many changes may wait to be taken; then the oldest are dropped, and counted in ``dropped``.

        Raises
        ------
        ValueError
            There is no such kind.
        """
        return CoreChanges(self._open().core_changes, kinds, buffer)

    async def _existing(self, classpath: str, what: str, new_port: bool) -> JavaObject:
        _check_new_socket(new_port)
        try:
            return await self._open().existing(classpath, new_port=new_port)
        except JavaException as error:
            raise UnsupportedError(f"this Micro-Manager has no {what}: {error}") from error


def _check_new_socket(new_socket: object) -> None:
    if not isinstance(new_socket, bool):
        raise TypeError(f"new_socket is True or False, not {new_socket!r}")
