"""Run an image processor in an executor of the user's (``executor=``): many calls at once, the caller keeps their order.

The executor is the user's: it is never shut down here.

* ``ThreadPoolExecutor``: runs in this process, so ``bridge`` and ``queue`` work, and the context is copied.
* any other ``concurrent.futures.Executor``: the function, the image and the result are pickled; the function by value
  (cloudpickle, if it is installed), so that lambdas and functions of a script or notebook work.
* an asynchronous ``dask.distributed.Client``: on its cluster.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import os
import pickle
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.callers import Caller, LoopCaller, ThreadCaller, wait_out
from aiomm.errors import ClosedError, HookError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

_SCATTER = 1 << 20  # dask: images from this size on go to a worker directly, not through the scheduler


def executor_caller(fn: Callable[..., Any], label: str, executor: Any, workers: int | None, *, extra: tuple[str, ...]) -> Caller:
    """Choose the caller for an executor.

    Parameters
    ----------
    fn, label
        The user's function and its name in messages.
    executor : concurrent.futures.Executor or dask.distributed.Client
        Where it runs.
    workers : int or None
        How many calls it may have at once; by default as many as it has workers.
    extra : tuple of str
        What the function takes besides image and metadata.

    Raises
    ------
    TypeError
        It is neither; or the function cannot be pickled.
    UnsupportedError
        The Client is not asynchronous, or the function takes what cannot reach another process.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"{label}: workers={workers!r}; it must be at least 1")
    in_process = isinstance(executor, concurrent.futures.ThreadPoolExecutor) and "Interpreter" not in type(executor).__name__
    if extra and not in_process:
        raise UnsupportedError(
            f"{label} takes {' and '.join(extra)}, which cannot reach the workers of a {type(executor).__name__}; "
            "leave it out of its arguments, or use a ThreadPoolExecutor or process=True (which forwards the queue)"
        )
    if isinstance(executor, concurrent.futures.Executor):
        return PoolCaller(fn, label, executor, workers, in_process=in_process)
    if any(c.__module__.partition(".")[0] == "distributed" for c in type(executor).__mro__):
        if not executor.asynchronous:
            raise UnsupportedError(f"{label}: executor= needs an asynchronous Client: await Client(..., asynchronous=True)")
        return DaskCaller(fn, label, executor, workers)
    raise TypeError(
        f"{label}: executor must be a concurrent.futures.Executor or an asynchronous dask.distributed.Client, not {type(executor).__name__}"
    )


@functools.lru_cache(maxsize=32)
def _load(data: bytes) -> Any:
    return pickle.loads(data)


def _call_pickled(data: bytes, args: tuple[Any, ...]) -> Any:
    """Run in the worker: the function is unpickled once, so what it keeps lasts as long as the worker."""
    return _call_guarded(_load(data), args)


def _call_guarded(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return fn(*args)
    except StopIteration as error:  # a coroutine or future cannot carry it
        raise RuntimeError(f"the function raised {error!r}") from error


class PoolCaller:
    """Runs a function in a ``concurrent.futures.Executor``."""

    def __init__(
        self, fn: Callable[..., Any], label: str, executor: concurrent.futures.Executor, workers: int | None, *, in_process: bool
    ) -> None:
        self._fn = fn
        self._label = label
        self._executor = executor
        self._data = None if in_process else _pickle(fn, label)
        self._running: dict[concurrent.futures.Future[Any], float] = {}
        self._awaiter = LoopCaller(fn, label)
        self._submitter = None if in_process else ThreadCaller(_submit, label)  # submitting may start a process, which blocks
        self._closed = False
        self.concurrent: int = workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1

    @property
    def running_since(self) -> float | None:
        return min([*self._running.values()], default=None)

    async def start(self) -> None:
        """Nothing to prepare: the executor is the user's."""

    async def call(self, args: tuple[Any, ...]) -> Any:
        if self._closed:
            raise ClosedError(f"{self._label} was called after it was closed")
        context = contextvars.copy_context()
        try:
            if self._submitter is None:
                future = _submit(self._executor, self._running, context.run, _call_guarded, self._fn, args)
            else:
                future = await self._submitter.call((self._executor, self._running, _call_pickled, self._data, args))
        except RuntimeError as error:  # shut down, or broken
            raise HookError(f"{self._label}: its executor takes no more calls: {error}") from error
        try:
            await _end_of(future)
        except asyncio.CancelledError:
            future.cancel()  # not begun: never run; begun: it runs on, and nobody reads its result
            raise
        if future.cancelled():
            raise HookError(f"{self._label}: its executor cancelled the call; was it shut down?")
        try:
            result = future.result()
        except concurrent.futures.BrokenExecutor as error:
            raise HookError(f"{self._label}: its executor lost a worker: {error}") from error
        if inspect.isawaitable(result):
            return await self._awaiter.run(result)
        return result

    async def aclose(self, timeout: float) -> bool:
        """Drop the calls that have not begun, wait `timeout` seconds for the others. Returns whether all have ended."""
        self._closed = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        submitted = self._submitter is None or await self._submitter.aclose(timeout)
        pending = [future for future in list(self._running) if not future.cancel()]
        for future in pending:
            await wait_out(_end_of(future), deadline - loop.time())
        return await self._awaiter.aclose(deadline - loop.time()) and submitted and all(future.done() for future in pending)


def _submit(
    executor: concurrent.futures.Executor, running: dict[concurrent.futures.Future[Any], float], fn: Callable[..., Any], *args: Any
) -> concurrent.futures.Future[Any]:
    future = executor.submit(fn, *args)
    running[future] = time.monotonic()
    future.add_done_callback(lambda f: running.pop(f, None))
    return future


def _end_of(future: concurrent.futures.Future[Any]) -> asyncio.Future[None]:
    """Make a future of the loop that is done when `future` is, without its result (which may be one that no future can carry)."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not end.done():
            end.set_result(None)

    def hear(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to hear it
            loop.call_soon_threadsafe(wake)

    future.add_done_callback(hear)
    return end


def _pickle(fn: Callable[..., Any], label: str) -> bytes:
    try:
        import cloudpickle as pickler
    except ImportError:
        pickler = pickle
    try:
        data: bytes = pickler.dumps(fn)
    except Exception as error:
        hint = "; install cloudpickle for lambdas and functions of a script" if pickler is pickle else ""
        raise TypeError(f"{label} cannot be sent to another process: {error}{hint}") from error
    return data


class DaskCaller:
    """Runs a function on a dask cluster, through an asynchronous ``distributed.Client``."""

    def __init__(self, fn: Callable[..., Any], label: str, client: Any, workers: int | None) -> None:
        self._fn = fn
        self._label = label
        self._client = client
        self._workers = workers
        self._calls = LoopCaller(self._call, label)

    @property
    def concurrent(self) -> int:
        if self._workers is not None:
            return self._workers
        info: dict[str, Any] = self._client.scheduler_info()  # what the client knows; newer ones know the total only
        known = info.get("total_threads") or sum(int(worker["nthreads"]) for worker in info.get("workers", {}).values())
        return max(1, int(known))

    @property
    def running_since(self) -> float | None:
        return self._calls.running_since

    async def start(self) -> None:
        """Nothing to prepare: the cluster is the user's."""

    async def call(self, args: tuple[Any, ...]) -> Any:
        return await self._calls.call(args)

    async def _call(self, *args: Any) -> Any:
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        sent = [
            await self._client.scatter(value, hash=False) if isinstance(value, np.ndarray) and value.nbytes >= _SCATTER else value
            for value in args
        ]
        future = self._client.submit(_call_guarded, self._fn, sent, pure=False)
        try:
            return await future
        except (KilledWorker, FutureCancelledError) as error:
            raise HookError(f"{self._label}: the dask cluster lost the call: {error}") from error
        except asyncio.CancelledError:
            await self._client.cancel([future])
            raise

    async def aclose(self, timeout: float) -> bool:
        """Cancel what still runs, wait `timeout` seconds for it. Returns whether all has ended."""
        return await self._calls.aclose(timeout)
