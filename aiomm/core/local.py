"""A microscope in this process: MMCore through pymmcore, on a hardware thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pymmcore

from aiomm.bridge.kept_here import KeptHere
from aiomm.bridge.users import Users
from aiomm.core import adapters, safety
from aiomm.core.api import Core
from aiomm.core.calls import Calls
from aiomm.core.finish import finish
from aiomm.core.halt import halt
from aiomm.core.live import Feed, LiveView
from aiomm.core.names import only_reads
from aiomm.core.notifications import CoreEvents, Hub
from aiomm.core.thread import HardwareThread
from aiomm.core.turns import Turns
from aiomm.core.waits import WAITS, waiting
from aiomm.errors import AiommError, ClosedError, CoreError
from aiomm.suggest import suggest_parameters

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

_DESTROYS = frozenset({"loadSystemConfiguration", "reset", "unloadAllDevices", "unloadDevice", "unloadLibrary"})
_EXIT_TIMEOUT = 5.0  # s, for all cores together, when the process ends with cores open


class LocalCore(KeptHere, Core):
    """MMCore in this process; its methods are awaited, and run on one hardware thread.

    ::

        async with aiomm.LocalCore("demo") as core:
            await core.set_exposure(10)
            image = await core.snap()

    Equally ``core = await LocalCore.open("demo")`` and ``await core.aclose()``, from any task of the loop.

    Parameters
    ----------
    config : {"demo"}, path, or None
        Configuration to load: that of the simulated devices, a Micro-Manager ``.cfg`` file, or none yet.
    adapter_paths : path or iterable of paths, optional
        Folders with device adapters. By default those of mm-test-adapters and of an installed Micro-Manager.
    buffer_mb : int, optional
        Size of the circular buffer that cameras fill in sequences, in MiB.
    mmcore : pymmcore.CMMCore, optional
        Use this core (a ``pymmcore_plus.CMMCorePlus`` is one too) and leave its devices loaded at the end.

    Attributes
    ----------
    users : set
        What drives the core at present, each with ``async def abort_for_close()``; `aclose` ends them first.

    Raises
    ------
    CoreError
        From opening: a file or adapter is missing, with what was found and what to install, or a device refused.
    """

    _instead = "use it as it is; another process opens a LocalCore of its own, with devices of its own"

    @suggest_parameters
    def __init__(
        self,
        config: str | os.PathLike[str] | None = None,
        *,
        adapter_paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        buffer_mb: int | None = None,
        mmcore: pymmcore.CMMCore | None = None,
    ) -> None:
        if mmcore is not None and not callable(getattr(mmcore, "getVersionInfo", None)):
            raise TypeError(f"mmcore is a pymmcore.CMMCore, not {type(mmcore).__name__}")
        if buffer_mb is not None and (isinstance(buffer_mb, bool) or buffer_mb != int(buffer_mb) or buffer_mb < 1):
            raise ValueError(f"buffer_mb is a whole number of MiB, 1 or more, not {buffer_mb!r}")
        self._config = config
        self._adapter_paths = [adapter_paths] if isinstance(adapter_paths, str) else adapter_paths
        self._buffer_mb = buffer_mb
        self._adopted: Any = mmcore
        self._calls: Calls | None = None
        self._thread: HardwareThread | None = None
        self._end: asyncio.Task[None] | None = None
        self._closed = False
        self._stop_errors: list[Exception] = []
        self.users: Users = Users("core")
        self._abandoned = False
        self._ending: set[asyncio.Task[None]] = set()
        self._turns = Turns()
        self._hub = Hub(self)

    # ---- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    @suggest_parameters
    async def open(
        cls,
        config: str | os.PathLike[str] | None = None,
        *,
        adapter_paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] | None = None,
        buffer_mb: int | None = None,
        mmcore: pymmcore.CMMCore | None = None,
    ) -> Self:
        """Make a core and open it; the parameters are those of the class."""
        return await cls(config, adapter_paths=adapter_paths, buffer_mb=buffer_mb, mmcore=mmcore).__aenter__()

    async def __aenter__(self) -> Self:
        if self._closed or self._end is not None:
            raise ClosedError("this LocalCore was closed: make another one with LocalCore(...)")
        if self._thread is not None:
            raise RuntimeError("this LocalCore is open already: enter it once, or use what `await LocalCore.open(...)` gave")
        self._thread = HardwareThread()
        self._thread.last_call = self._stop
        _open_cores.add(self)
        try:
            await self._thread.run(self._start, label="opening the core")
        except BaseException:
            with contextlib.suppress(AiommError):  # why it does not open says more
                await self.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop what drives the core, unload the devices, end the hardware thread. Again and again does no harm.

        It waits for the device call in progress, if there is one; when its caller is cancelled, it still finishes first.

        Raises
        ------
        CoreError
            A device could not be stopped or unloaded; the core is closed nevertheless.
        """
        if self._end is not None:
            with contextlib.suppress(AiommError):  # its first caller hears of it
                await finish(self._end)
            return
        self._end = asyncio.get_running_loop().create_task(self._close(), name="aiomm: closing a core")
        await finish(self._end)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not open yet" if self._calls is None else "open"
        return f"<LocalCore {self._config!s}: {state}>"

    def abandon(self) -> None:
        """Take no more calls, and wait for nothing: the loop shuts down while a device call goes on.

        What drives the hardware still cleans up when that call returns; the end of the process gives it some seconds.
        """
        self._abandoned = True
        if self._thread is not None:
            self._thread.close(0)

    async def _close(self) -> None:
        errors: list[Exception] = []
        for user in self.users.last():
            try:
                await user.abort_for_close()
            except Exception as error:
                errors.append(error)
        self._closed = True
        if self._thread is not None:
            if self._abandoned:
                return
            await self._thread.aclose()
        _open_cores.discard(self)
        errors += self._stop_errors
        if errors:
            raise errors[0]

    def _start(self) -> None:
        """On the hardware thread: make the core and load its configuration."""
        adopted = self._adopted
        mmc: Any = pymmcore.CMMCore() if adopted is None else adopted
        paths = self._set_search_paths(mmc)
        if self._buffer_mb is not None:
            mmc.setCircularBufferMemoryFootprint(int(self._buffer_mb))
        self._calls = Calls(mmc)
        if self._config is not None:
            file = adapters.config_file(self._config, paths)
            try:
                mmc.loadSystemConfiguration(str(file))
            except Exception as error:
                raise CoreError(
                    adapters.explain(str(error).strip(), file, paths), method="loadSystemConfiguration", arguments=(str(file),)
                ) from error
            self._calls.note_modules()

    def _set_search_paths(self, mmc: Any) -> list[Path]:
        if self._adopted is None or self._adapter_paths is not None:
            paths = adapters.search_paths(self._adapter_paths)
        else:
            paths = adapters.folders(mmc.getDeviceAdapterSearchPaths())
            if self._config is None or adapters.has_demo(paths):
                return paths
            paths += adapters.search_paths(None)
        adapters.let_libraries_load(paths)
        mmc.setDeviceAdapterSearchPaths([str(p) for p in paths])
        return paths

    def _stop(self) -> None:
        """On the hardware thread, as its last act: devices that were loaded here are stopped and unloaded."""
        if self._calls is None:
            return
        mmc = self._calls.mmc
        with contextlib.suppress(Exception):
            self._hub.close()
        if self._adopted is None:
            with contextlib.suppress(Exception):
                self._stop_errors += safety.stop_cameras(mmc)
            self._stop_errors += safety.attempt(mmc, "unloadAllDevices")
        self._calls.mmc = None  # the raw core ends here, on the thread that its devices know

    # ---- use ----------------------------------------------------------------------------------------------------

    @property
    def mmc(self) -> Any:
        """The raw ``pymmcore.CMMCore``. Use it on the hardware thread only: ``await core.run(lambda mmc: ...)``."""
        return self._ready().mmc

    @property
    def raw(self) -> Any:
        """The raw core while there is one, also while it is being closed; None before and after."""
        return None if self._calls is None else self._calls.mmc

    def touched(self) -> None:
        """Count a change that is made past the methods here; see `epoch`."""
        if self._calls is not None:
            self._calls.epoch += 1

    @property
    def thread(self) -> HardwareThread:
        """The thread that makes every device call; ``core.thread.current`` says what it is doing now."""
        self._ready()
        assert self._thread is not None
        return self._thread

    @property
    def turns(self) -> Turns:
        """Whose turn it is to drive the hardware."""
        return self._turns

    @property
    def epoch(self) -> int:
        """Counts the calls, made by anyone, that may have changed hardware or settings.

        It is counted on the hardware thread, before the call. What somebody remembers about the hardware is stale once
        this has grown.
        """
        return self._ready().epoch

    @property
    def closed(self) -> bool:
        """Whether the core was closed."""
        return self._closed

    async def run(self, fn: Callable[..., T], /, *args: Any, reads: bool = False) -> T:
        """Run ``fn(mmc, *args)`` on the hardware thread, with the raw core, and await its result.

        Several calls without another's call in between, or many calls at the cost of one hop. Exceptions come as
        ``fn`` raises them.

        Parameters
        ----------
        fn : callable
            A plain function; it gets the raw ``pymmcore.CMMCore`` first.
        *args
            Further arguments.
        reads : bool
            It changes neither hardware nor settings: it may run while an acquisition waits for a device.
        """
        calls = self._ready()
        if inspect.iscoroutinefunction(fn):
            raise TypeError(
                f"run() takes a plain function, which gets the raw core on the hardware thread; {fn.__qualname__} is a coroutine function"
            )
        return await self.thread.run(calls.run, fn, args, reads, reads=reads, label=fn)

    async def halt(self, timeout: float = 2.0) -> None:
        """Stop everything now: close the shutters, stop stages and camera sequences, end acquisitions and live view.

        It does not queue behind the call that the hardware thread is in. The drivers' own locks remain: while a snap is
        exposing, devices of the camera's adapter can be stopped only when the exposure has ended; other adapters' stop at once.
        Autoshutter stays as it is.

        Parameters
        ----------
        timeout : float
            How long to try, in s.

        Raises
        ------
        CoreError
            Something could not be stopped in time; it says what and why. What waits for a lock is still stopped once
            the lock is free.
        """
        calls = self._ready()
        self.touched()
        try:
            await halt(calls.mmc, calls.modules, list(self.users), self._ending, timeout)
        finally:
            self.touched()

    def live(self, exposure: float | None = None) -> LiveView:
        """Look through the camera: an async iterator over its newest frames.

        ::

            async for frame in core.live(exposure=20):
                show(frame.pixels)          # frame.dropped frames were made meanwhile, and not copied

        It drives the hardware from its first frame to its end, so acquisitions on this core wait until then.

        Parameters
        ----------
        exposure : float, optional
            Exposure in ms while it runs.
        """
        self._ready()
        return LiveView(partial(Feed, self), exposure)

    def events(self, kinds: Iterable[str] | str | None = None, *, buffer: int = 1000) -> CoreEvents:
        """Listen to MMCore's notifications: property changed, stage moved, shutter opened, ...

        ::

            async with core.events("stage_position_changed") as moves:
                async for move in moves:
                    print(move.device, move.values["position"])

        Parameters
        ----------
        kinds : str or iterable of str, optional
            Only these kinds, as named in `CoreNotification`. All by default.
        buffer : int
            How many may wait to be taken; then the oldest is dropped and counted.
        """
        self._ready()
        return CoreEvents(self._hub, kinds, buffer)

    async def call_core(self, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method by MMCore's name, as the snake_case methods do."""
        calls = self._ready()
        if method in WAITS:
            return await self.thread.run_routine(lambda cancelled: waiting(calls.mmc, method, args, cancelled))
        self._refuse_while_driven(method, args)
        return await self.thread.run(calls, method, args, reads=only_reads(method), label=(method, args))

    def call_core_blocking(self, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method by MMCore's name and block the calling thread, which is not the loop's, until it is done."""
        calls = self._ready()
        if method in WAITS and not self.thread.is_current:
            return self.thread.run_routine_blocking(lambda cancelled: waiting(calls.mmc, method, args, cancelled))
        self._refuse_while_driven(method, args)
        return self.thread.run_blocking(calls, method, args, reads=only_reads(method), label=(method, args))

    def run_blocking(self, fn: Callable[..., T], /, *args: Any, reads: bool = False) -> T:
        """Do as `run` does, and block the calling thread, which is not the loop's."""
        result: T = self.thread.run_blocking(self._ready().run, fn, args, reads, reads=reads, label=fn)
        return result

    def _ready(self) -> Calls:
        if self._closed:
            raise ClosedError("this LocalCore is closed: open another one with `async with LocalCore(...)` or `await LocalCore.open(...)`")
        if self._calls is None:
            raise ClosedError("this LocalCore is not open yet: use `async with LocalCore(...) as core` or `await LocalCore.open(...)`")
        return self._calls

    def _refuse_while_driven(self, method: str, args: tuple[Any, ...]) -> None:
        if method in _DESTROYS and self.users:
            raise CoreError(
                f"{' and '.join(sorted(type(u).__name__ for u in self.users))} on this core would lose the devices: end that first",
                method=method,
                arguments=args,
            )

    # ---- the end of the process ---------------------------------------------------------------------------------

    def close_at_exit(self, until: float) -> str:
        """Close without a loop, as the process ends: routines end, devices are unloaded, at most until then.

        Gives what it is, if nobody has told it to close.
        """
        unclosed = repr(self) if self._end is None else ""
        self._closed = True
        if self._thread is not None:
            self._thread.close(max(0.0, until - time.monotonic()))
        return unclosed


_open_cores: set[LocalCore] = set()


def _close_all() -> None:
    """Unload what is still loaded: devices whose driver is torn down with the process crash it."""
    until = time.monotonic() + _EXIT_TIMEOUT
    for what in [core.close_at_exit(until) for core in list(_open_cores)]:
        if what:
            warnings.warn(f"unclosed {what}: use `async with`, or `await core.aclose()`", ResourceWarning, stacklevel=1)


atexit.register(_close_all)
