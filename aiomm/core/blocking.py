"""Awaitable things for plain functions in worker threads: the same names, each of which blocks until it is done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import operator
from contextlib import suppress
from functools import singledispatch
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiomm.bridge import Bridge, JavaNames, JavaObject, bridge_of
from aiomm.bridge.kept_here import KeptHere
from aiomm.core.api import Core, bind, core_method, method_names
from aiomm.core.local import LocalCore
from aiomm.core.names import unknown
from aiomm.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Self

T = TypeVar("T")
_LOOK = 0.5  # s, between two looks whether the loop that is to answer still runs
_INSTEAD = "all threads of this process may use it, or have one each with blocking(...)"


class BlockingCore(KeptHere):
    """A `LocalCore` whose methods block: ``core.snap_image()`` instead of ``await core.snap_image()``.

    Made by `blocking`. It belongs in worker threads: hooks and processors that are plain functions get one.
    """

    _instead = _INSTEAD

    def __init__(self, core: LocalCore) -> None:
        self._core = core

    def run(self, fn: Callable[..., T], /, *args: Any, reads: bool = False) -> T:
        """Run ``fn(mmc, *args)`` on the hardware thread, with the raw core."""
        _refuse_on_loop("blocking(core).run()", "core.run()")
        return self._core.run_blocking(fn, *args, reads=reads)

    @property
    def core(self) -> LocalCore:
        """The core whose methods are awaited."""
        return self._core

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = core_method(name)
        if method is None:
            raise AttributeError(unknown(name, method_names(), type(self).__name__), name=name)
        core = self._core

        def call(*args: Any, **kwargs: Any) -> Any:
            _refuse_on_loop(f"blocking(core).{name}()", f"core.{name}()")
            return core.call_core_blocking(method, bind(name, args, kwargs) if kwargs else args)

        call.__name__ = name
        call.__doc__ = getattr(Core, name).__doc__
        call.__wrapped__ = getattr(core, name)  # type: ignore[attr-defined]  # for inspect.signature
        return call

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *method_names()]

    def __repr__(self) -> str:
        return f"blocking({self._core!r})"


class BlockingJava(KeptHere):
    """A `Bridge`, a core in Java or any other `JavaObject` whose methods block and whose fields are values.

    Made by `blocking`. ``tagged.pix`` is the array, ``core.snap_image()`` returns when the image is there, and objects
    that are returned are of this kind too, as plain functions written for pycromanager expect.
    """

    __slots__ = ("_bridge", "_subject")

    _instead = _INSTEAD

    def __init__(self, subject: Any, bridge: Bridge) -> None:
        self._subject = subject
        self._bridge = bridge

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._subject, name)
        if inspect.isawaitable(found):  # a field
            return self._wait(name, lambda: found)
        if not callable(found):
            return self._view(found)

        def call(*args: Any, **kwargs: Any) -> Any:
            with suppress(RecursionError):  # a list in itself: `found` says so
                args, kwargs = _subject(args), _subject(kwargs)
            return self._wait(f"{name}()", lambda: found(*args, **kwargs))

        call.__name__ = name
        call.__doc__ = found.__doc__
        call.__wrapped__ = found  # type: ignore[attr-defined]  # for inspect.signature
        return call

    def __iter__(self) -> Iterator[Any]:
        """Walk a Java list, map, iterable or array, notifications or live frames, each taken when it is asked for."""
        items = aiter(self._subject)
        end = object()

        async def following() -> Any:
            return await anext(items, end)

        while (item := self._wait("__iter__()", following)) is not end:
            yield item

    def __enter__(self) -> Self:
        self._wait("__enter__()", self._subject.__aenter__)
        return self

    def __exit__(self, *error: object) -> None:
        self._wait("__exit__()", lambda: self._subject.__aexit__(*error))

    def __eq__(self, other: object) -> bool:
        return bool(self._subject == _subject(other))

    def __hash__(self) -> int:
        return hash(self._subject)

    def __dir__(self) -> list[str]:
        return dir(self._subject)

    def __repr__(self) -> str:
        return f"blocking({self._subject!r})"

    def _view(self, value: Any) -> Any:
        if isinstance(value, (JavaObject, JavaNames, Bridge)) or hasattr(value, "__anext__"):
            return BlockingJava(value, self._bridge)
        return _inside(self._view, value)

    def _wait(self, what: str, make: Callable[[], Any]) -> Any:
        """Call ``make`` on the bridge's loop, wait for what it gives, and give that or a view of it."""
        _refuse_on_loop(f"blocking({self._subject!r}).{what}", "the same of the object itself")

        async def work() -> Any:
            result = make()
            return await result if inspect.isawaitable(result) else result

        return self._view(_result(work, self._bridge.loop))


@overload
def blocking(awaitable: LocalCore) -> BlockingCore: ...


@overload
def blocking(awaitable: Bridge | JavaObject) -> BlockingJava: ...


def blocking(awaitable: Any) -> Any:
    """Give a view of something awaitable for a plain function in a worker thread.

    Its methods have the same names, arguments and errors, and block the thread that calls them; fields of Java objects
    are values. On the thread of a running event loop it refuses: there the thing itself is awaited.

    Parameters
    ----------
    awaitable : LocalCore, Bridge or JavaObject
        A core, here or in Java, an open bridge, or any object that it gave.

    Returns
    -------
    BlockingCore or BlockingJava
        The view. Its calls raise `ClosedError` once the bridge or core is closed, or the bridge's event loop has ended.

    Raises
    ------
    TypeError
        It is none of these.
    """
    return _blocking(awaitable)


@singledispatch
def _blocking(awaitable: Any) -> Any:
    raise TypeError(f"blocking() takes a LocalCore, a Bridge or an object of a Bridge, not {type(awaitable).__name__}")


@_blocking.register
def _(awaitable: LocalCore) -> BlockingCore:
    return BlockingCore(awaitable)


@_blocking.register
def _(awaitable: Bridge) -> BlockingJava:
    return BlockingJava(awaitable, awaitable)


@_blocking.register
def _(awaitable: JavaObject) -> BlockingJava:
    return BlockingJava(awaitable, bridge_of(awaitable))


def _subject(value: Any) -> Any:
    """Take the object out of its view: Java is given objects, not views."""
    if isinstance(value, BlockingJava):
        return object.__getattribute__(value, "_subject")
    return _inside(_subject, value)


def _inside(change: Callable[[Any], Any], value: Any) -> Any:
    """Change what is in a list, tuple, set or dict, in a new one; one in which nothing changes stays itself."""
    if isinstance(value, dict):
        old = [*value, *value.values()]
        new = list(map(change, old))
        return value if all(map(operator.is_, old, new)) else dict(zip(new, new[len(value) :], strict=False))
    for holder in (list, tuple, set, frozenset):
        if isinstance(value, holder):
            items = list(map(change, value))
            return value if all(map(operator.is_, value, items)) else holder(items)
    return value


def _result(work: Callable[[], Coroutine[Any, Any, Any]], loop: asyncio.AbstractEventLoop) -> Any:
    """Wait in this thread for a coroutine on a loop; a loop that stops says nothing, so it is looked at."""
    coroutine = work()
    try:
        if not loop.is_running():
            raise RuntimeError("not running")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise _loop_ended() from None
    while True:
        concurrent.futures.wait([future], timeout=_LOOK)
        if future.cancelled():
            raise _loop_ended()
        if future.done():
            return future.result()
        if not loop.is_running():
            future.cancel()
            raise _loop_ended()


def _loop_ended() -> ClosedError:
    return ClosedError("the event loop of this Bridge has ended, or the call was cancelled there: nobody is left to answer")


def _refuse_on_loop(what: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"{what} would block the event loop that runs in this thread: await {instead} here, "
        "or call the blocking view from a worker thread (asyncio.to_thread)"
    )
