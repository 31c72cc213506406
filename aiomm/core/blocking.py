"""A core for plain functions in worker threads: the same methods, each of which blocks until it is done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from aiomm.core.api import Core, bind, core_method, method_names
from aiomm.core.local import LocalCore
from aiomm.core.names import unknown

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class BlockingCore:
    """A `LocalCore` whose methods block: ``core.snap_image()`` instead of ``await core.snap_image()``.

    Made by `blocking`. It belongs in worker threads: hooks and processors that are plain functions get one.
    """

    def __init__(self, core: LocalCore) -> None:
        self._core = core

    def run(self, fn: Callable[..., T], /, *args: Any, reads: bool = False) -> T:
        """Run ``fn(mmc, *args)`` on the hardware thread, with the raw core."""
        _refuse_on_loop("run")
        return self._core.run_blocking(fn, *args, reads=reads)

    @property
    def core(self) -> LocalCore:
        """The core whose methods are awaited."""
        return self._core

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = core_method(name)
        if method is None:
            raise AttributeError(unknown(name, method_names(), type(self).__name__), name=name, obj=self)
        core = self._core

        def call(*args: Any, **kwargs: Any) -> Any:
            _refuse_on_loop(name)
            return core.call_core_blocking(method, bind(name, args, kwargs) if kwargs else args)

        call.__name__ = name
        call.__doc__ = getattr(Core, name).__doc__
        return call

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *method_names()]

    def __repr__(self) -> str:
        return f"blocking({self._core!r})"


def blocking(core: Core) -> BlockingCore:
    """Give a view of a core for a plain function in a worker thread.

    Its methods have the same names, arguments and errors as the core's, and block the thread that calls them. On the
    thread of a running event loop they refuse: there the core's own methods are awaited.

    Parameters
    ----------
    core : LocalCore
        An open core.

    Raises
    ------
    TypeError
        ``core`` is not a core in this process.
    """
    if not isinstance(core, LocalCore):
        raise TypeError(f"blocking() takes a LocalCore, not {type(core).__name__}")
    return BlockingCore(core)


def _refuse_on_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"blocking(core).{name}() would block the event loop that runs in this thread: await core.{name}() here, "
        "or call the blocking view from a worker thread (asyncio.to_thread)"
    )
