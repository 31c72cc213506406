"""Call a user's function: which arguments it wants, where it runs, and whether what it returns can be used.

The arguments a function gets are decided once, from its signature:

* its required positional parameters must number those of one of the allowed forms (`FORMS`);
* a parameter with a default keeps its default (``lambda event, i=i: ...``), unless it is called ``bridge`` or
  ``queue`` (or ends in ``_queue``) and stands where the form has it;
* ``*args`` adds nothing: name ``bridge`` and ``queue`` to get them. So a decorator's bare ``*args`` gets the shortest form.

Plain functions get blocking views of the bridge, coroutine functions the awaitable ones; ``queue.put`` is the same in both.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Literal

import numpy as np

from aiomm.acquire.callers import Caller, LoopCaller, ThreadCaller
from aiomm.bridge import Bridge
from aiomm.errors import HookError, UnsupportedError

Kind = Literal["hook", "processor", "saved", "monitor", "notification"]

FORMS: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "hook": (("event",), ("event", "queue"), ("event", "bridge", "queue")),
    "processor": (("image", "metadata"), ("image", "metadata", "queue"), ("image", "metadata", "bridge", "queue")),
    "saved": (("axes", "dataset"), ("axes", "dataset", "queue")),
    "monitor": (("axes",),),
    "notification": (("notification",),),
}
"""The arguments each kind of function may take, the shortest form first."""

_JAVA_ONLY = ("construct_java_object", "get_java_class", "get_magellan", "get_studio")


class _Done:
    """An awaitable that is done already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class EventQueue:
    """What hooks and processors get as ``queue``: puts events into the acquisition that runs them.

    Thread-safe. ``queue.put(events)`` works in plain functions, ``await queue.put(events)`` in coroutines; both have put
    the events when ``put`` returns.

    Parameters
    ----------
    put : callable
        Takes the events; must be thread-safe and must not block.
    """

    __slots__ = ("_put",)

    def __init__(self, put: Callable[[Any], None]) -> None:
        self._put = put

    def put(self, events: Any) -> _Done:
        """Put events into the acquisition, ahead of those still to come from its sources.

        Parameters
        ----------
        events : dict, list of dict, or None
            One event, events that may be merged into one hardware sequence, an iterator of them, or None: nothing more
            is submitted or pulled from iterators, and the acquisition ends when the events it has are done.

        Raises
        ------
        QueueFull
            Too many events are waiting: ``put`` never waits.
        AcquisitionFinished
            The acquisition has ended.
        """
        self._put(events)
        return _DONE


_DONE = _Done()


class _LocalBridge:
    """The ``bridge`` argument for a microscope in this process: it has the core and no Java."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def __getattr__(self, name: str) -> Any:
        if name in _JAVA_ONLY:
            raise UnsupportedError(
                f"bridge.{name}() needs a running Micro-Manager (Java); this acquisition's microscope lives in this process: "
                "use bridge.get_core()"
            )
        raise AttributeError(f"the bridge of a microscope in this process has get_core() only, no {name!r}")


class AsyncLocalBridge(_LocalBridge):
    """What coroutine functions get as ``bridge``."""

    async def get_core(self) -> Any:
        """Give the core: every method awaitable."""
        return self._core


class BlockingLocalBridge(_LocalBridge):
    """What plain functions get as ``bridge``."""

    def get_core(self) -> Any:
        """Give a blocking view of the core, for this worker thread: every method returns its result."""
        from aiomm.core.blocking import blocking

        return blocking(self._core)


def _describe(fn: Any) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)


def _is_kind(fn: Any, test: Callable[[Any], bool]) -> bool:
    """Test a function, through partials, or the ``__call__`` of a callable object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return test(fn) or (not inspect.isroutine(fn) and not inspect.isclass(fn) and test(getattr(fn, "__call__", None)))  # noqa: B004


def _fits(role: str, name: str) -> bool:
    return name == role or name.endswith("_" + role)


def choose_form(fn: Callable[..., Any], kind: Kind, name: str) -> tuple[str, ...]:
    """Decide which arguments `fn` gets.

    Parameters
    ----------
    fn : callable
        The user's function.
    kind : str
        What it is used as, a key of `FORMS`.
    name : str
        The acquisition's parameter, for the error.

    Returns
    -------
    tuple of str
        One of ``FORMS[kind]``.

    Raises
    ------
    TypeError
        It is not callable, is a generator function, or takes none of the allowed forms.
    """
    forms = FORMS[kind]
    allowed = " or ".join(f"({', '.join(form)})" for form in forms)
    if not callable(fn):
        raise TypeError(f"{name} must be a function that takes {allowed}, not {type(fn).__name__}: {fn!r:.80}")
    if _is_kind(fn, inspect.isgeneratorfunction) or _is_kind(fn, inspect.isasyncgenfunction):
        raise TypeError(f"{name}={_describe(fn)} is a generator function; it must return its result, not yield it")
    try:
        parameters = inspect.signature(fn).parameters.values()
    except ValueError:  # some functions written in C do not tell
        return forms[0]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    required = sum(p.default is p.empty for p in positional)
    base = len(forms[0])
    if not needed:
        for form in reversed(forms):
            extra = list(zip(form, positional, strict=False))[base:]
            enough = len(form) <= len(positional) or (rest and len(form) == base)
            if required <= len(form) and enough and all(p.default is p.empty or _fits(role, p.name) for role, p in extra):
                return form
    takes = ", ".join(str(p) for p in parameters)
    raise TypeError(f"{name}={_describe(fn)} takes ({takes}); it must take {allowed}")


class UserFunction:
    """One function of the user's, wherever it runs.

    A coroutine function runs on the event loop, a plain one in a worker thread of its own, either in a spawned process
    with ``process=True``, and an image processor in an executor with ``executor=``.

    Parameters
    ----------
    fn : callable
        The user's function.
    kind : {"hook", "processor", "saved", "monitor", "notification"}
        What it is used as: decides its arguments, see `FORMS`.
    name : str
        The parameter it was given as, such as ``"pre_hardware_hook_fn"``, for messages.
    owner : LocalCore or Bridge
        What its ``bridge`` is made of: ``get_core()`` gives a LocalCore, a Bridge is given itself.
    queue : EventQueue or None
        What it gets as ``queue``.
    process : bool
        Run it in a spawned worker process; hooks and processors only.
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Run it there; processors only. A Client must be asynchronous.
    workers : int, optional
        How many calls `executor` may have at once; by default as many as it has workers.

    Attributes
    ----------
    concurrent : int
        How many calls may be under way at once: 1, or the executor's workers. Results come in any order then.
    form : tuple of str
        The arguments it gets.
    label : str
        Name and function, for messages.

    Raises
    ------
    TypeError
        It cannot be called with any allowed form; the message lists them.
    UnsupportedError
        What it wants cannot reach it where it runs.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        kind: Kind,
        *,
        name: str,
        owner: Any,
        queue: EventQueue | None,
        process: bool = False,
        executor: Any = None,
        workers: int | None = None,
    ) -> None:
        self.form = choose_form(fn, kind, name)
        self.label = f"{name}={_describe(fn)}"
        is_async = _is_kind(fn, inspect.iscoroutinefunction)
        wants_bridge, wants_queue = "bridge" in self.form, "queue" in self.form
        if wants_queue and queue is None:
            raise UnsupportedError(f"{self.label} takes a queue, and there is none here")
        if process and executor is not None:
            raise UnsupportedError(f"{self.label}: process=True and executor= exclude each other; give one")
        if process:
            from aiomm.acquire.workers import ProcessCaller

            if kind not in ("hook", "processor"):
                raise UnsupportedError(f"{self.label}: process=True is for hooks and image processors")
            if wants_bridge and not isinstance(owner, Bridge):
                raise UnsupportedError(
                    f"{self.label} takes a bridge, which cannot reach a worker process: the microscope lives in this process. "
                    "Leave bridge out of its arguments, or leave out process=True"
                )
            self._extra: tuple[Any, ...] = ()
            self._caller: Caller = ProcessCaller(
                fn,
                self.label,
                queue=queue if wants_queue else None,
                bridge=(owner.arguments, is_async) if wants_bridge else None,
            )
            return
        if executor is not None:
            from aiomm.acquire.executors import executor_caller

            if kind != "processor":
                raise UnsupportedError(f"{self.label}: executor= is for image processors; hooks run in order, use process=True for them")
            if is_async:
                raise UnsupportedError(f"{self.label} is a coroutine function, which runs on the event loop; executor= needs a plain def")
            self._extra = self._views(owner, queue, blocking=True)
            self._caller = executor_caller(fn, self.label, executor, workers, extra=self.form[2:])
            return
        self._extra = self._views(owner, queue, blocking=not is_async)
        self._caller = LoopCaller(fn, self.label) if is_async else ThreadCaller(fn, self.label)

    def _views(self, owner: Any, queue: EventQueue | None, *, blocking: bool) -> tuple[Any, ...]:
        """Make what follows the acquisition's own arguments."""
        extra: list[Any] = []
        if "bridge" in self.form:
            if isinstance(owner, Bridge):
                from aiomm.core.blocking import blocking as blocking_view

                extra.append(blocking_view(owner) if blocking else owner)
            else:
                extra.append(BlockingLocalBridge(owner) if blocking else AsyncLocalBridge(owner))
        if "queue" in self.form:
            extra.append(queue)
        return tuple(extra)

    @property
    def concurrent(self) -> int:
        return self._caller.concurrent

    @property
    def running_for(self) -> float | None:
        """Seconds since the oldest call in progress began, a given-up one included; None if there is none. Thread-safe."""
        since = self._caller.running_since
        return None if since is None else time.monotonic() - since

    async def start(self) -> None:
        """Make its worker process ready, so that the first call does not wait for it. Nothing to do for the others."""
        await self._caller.start()

    async def __call__(self, *args: Any) -> Any:
        """Call it with the acquisition's own arguments (an event; an image and its metadata; ...) and await the result.

        Raises what the function raises. Cancelling gives the call up: see `aiomm.acquire.callers`.
        """
        return await self._caller.call(args + self._extra)

    async def together(self, calls: Coroutine[Any, Any, None]) -> None:
        """Await what calls it several times, one after the other: that takes less than to begin with each anew.

        Cancelling it gives up the call under way, and raises in `calls`, which may be left behind with a call that does not end.
        """
        await (self._caller.together(calls) if isinstance(self._caller, LoopCaller) else calls)

    async def aclose(self, timeout: float) -> bool:
        """Let its worker end; at most `timeout` seconds.

        Returns
        -------
        bool
            False if a call is still in progress, which cannot be interrupted (`running_for` says how long).
        """
        return await self._caller.aclose(timeout)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def check_hook_result(result: Any, was_list: bool, name: str = "the hook") -> list[Mapping[str, Any]] | None:
    """Check what a hook returned.

    Parameters
    ----------
    result : object
        What it returned.
    was_list : bool
        Whether it got a list of events (a hardware sequence) or one event.
    name : str
        For the error.

    Returns
    -------
    list of mapping, or None
        The events to go on with, one if it got one; None: skip them.

    Raises
    ------
    HookError
        Neither events nor None; says what was returned and what would be right.
    """
    if result is None:
        return None
    right = "the list of events, changed or not, of any length" if was_list else "the event, changed or not"
    if isinstance(result, Mapping):
        return [result]
    if not isinstance(result, (list, tuple)):
        raise HookError(f"{name} returned {_shown(result)}; it must return {right}, or None to skip what it got")
    for number, event in enumerate(result):
        if not isinstance(event, Mapping):
            raise HookError(f"{name} returned a list whose item {number} is {_shown(event)}; events are dicts (leave one out to skip it)")
    if not was_list and len(result) > 1:
        raise HookError(
            f"{name} got one event and returned {len(result)}; it must return {right}, or None to skip it (queue.put() adds events)"
        )
    return list(result) or None


def check_processor_result(result: Any, name: str = "image_process_fn") -> list[tuple[np.ndarray[Any, Any], dict[str, Any]]]:
    """Check what an image processor returned.

    Parameters
    ----------
    result : object
        What it returned: ``(image, metadata)``, a list of them, or None.
    name : str
        For the error.

    Returns
    -------
    list of (ndarray, dict)
        The images to save, C-contiguous, (y, x) uint8 or uint16 or (y, x, 3) uint8; empty if it diverted the image.

    Raises
    ------
    HookError
        Something else; says what was returned and what would be right.
    """
    if result is None:
        return []
    if isinstance(result, tuple):
        return [_check_pair(result, name, "")]
    if isinstance(result, list):
        return [_check_pair(pair, name, f" in item {number} of its list") for number, pair in enumerate(result)]
    raise HookError(f"{name} returned {_shown(result)}; it must return (image, metadata), a list of such tuples, or None to keep nothing")


def _check_pair(pair: Any, name: str, where: str) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    if not isinstance(pair, tuple):
        raise HookError(f"{name} returned {_shown(pair)}{where}; it must be a tuple (image, metadata)")
    if len(pair) != 2:
        raise HookError(f"{name} returned a tuple of {len(pair)}{where}; it must be (image, metadata)")
    image, metadata = pair
    if not isinstance(metadata, Mapping):
        right = "the metadata must be a dict, as in (image, metadata)"
        if isinstance(metadata, tuple):
            right = "several images are returned as a list, [(image, metadata), ...]"
        elif isinstance(image, Mapping):
            right = "the image comes first, (image, metadata)"
        raise HookError(f"{name} returned {_shown(metadata)} as metadata{where}; {right}")
    axes = metadata.get("Axes")
    if axes is not None and not (
        isinstance(axes, Mapping)
        and all(isinstance(k, str) and isinstance(v, (int, str, np.integer)) and not isinstance(v, bool) for k, v in axes.items())
    ):
        raise HookError(f"{name} returned metadata whose 'Axes' is {_shown(axes)}{where}; it must be a dict of name to int or str")
    return _check_image(image, name, where), dict(metadata)


def _check_image(image: Any, name: str, where: str) -> np.ndarray[Any, Any]:
    if not isinstance(image, np.ndarray):
        hint = "; numpy.asarray(image) makes one" if hasattr(image, "__array__") else ""
        raise HookError(f"{name} returned {_shown(image)} as image{where}; it must be a numpy array{hint}")
    if image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        hint = "; leave out the alpha channel: image[..., :3]" if image.ndim == 3 and image.shape[2] == 4 else ""
        raise HookError(f"{name} returned an image of shape {image.shape}{where}; it must be (y, x), or (y, x, 3) for RGB{hint}")
    if type(image) is np.ndarray and image.dtype in _USUAL and image.ndim == 2 and image.flags.c_contiguous:
        return image
    types = ("uint8",) if image.ndim == 3 else ("uint8", "uint16")
    native = image.dtype.newbyteorder("=")
    if native.name not in types:
        cast = types[-1]
        raise HookError(
            f"{name} returned {'an RGB image' if image.ndim == 3 else 'an image'} of dtype {image.dtype}{where}; images are saved as "
            f"{' or '.join(types)}: scale it and return image.astype(numpy.{cast})"
        )
    return image if image.flags.c_contiguous and image.dtype.isnative else np.ascontiguousarray(image, dtype=native)


_USUAL = (np.dtype(np.uint16), np.dtype(np.uint8))  # in the processor's own byte order


def copied(value: Any) -> Any:
    """Copy an event as dict, or a list of them, so that what a hook changes can be seen."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def same(one: Any, other: Any) -> bool:
    """Whether a hook gave back what it got."""
    try:
        return bool(one == other)
    except ValueError:  # arrays inside
        return False
