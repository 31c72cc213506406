"""Open an acquisition: its home, engine, functions and dataset, and who supervises them. All of it or nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aiomm.acquire.callbacks import NotificationCallback, SavedCallback
from aiomm.acquire.feeder import Feeder
from aiomm.acquire.functions import HOOK_POINTS, make_functions
from aiomm.acquire.hooks import EventQueue, UserFunction
from aiomm.acquire.processing import Processing
from aiomm.acquire.streams import NotificationStream
from aiomm.acquire.supervisor import Supervisor
from aiomm.acquire.tiling import Tiling
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from aiomm.acquire.home import Home
    from aiomm.acquire.parameters import Settings
    from aiomm.acquire.run import Run


class Opened(NamedTuple):
    """What serves a run from now on."""

    supervisor: Supervisor
    callbacks: list[SavedCallback | NotificationCallback]


async def open_run(settings: Settings, run: Run, home: Home) -> Opened:
    """Connect everything; a failure, or a cancellation, leaves nothing behind.

    Raises
    ------
    AiommError
        What cannot be opened, with the reason.
    """
    functions: dict[str, UserFunction] = {}
    try:
        await home.open()
        run.engine = home.engine(
            run,
            hooks=settings.hooks,
            limits=settings.limits,
            on_error=settings.on_error,
            clock_scope=settings.clock,
            sequencing=settings.sequencing,
            core_log_debug=settings.core_log_debug,
        )
        if run.stopping:  # aborted before
            run.engine.abort()
        if settings.debug:
            run.audience.log_notes()
        put = partial(refuse, home, "queue.put()") if home.refusal else run.put
        functions = make_functions(settings.functions, home.owner, EventQueue(put), process=settings.process, executor=settings.executor)
        for function in functions.values():
            await function.start()
        if settings.target.overlap is not None:
            run.tiling = Tiling(await home.core(), settings.target.overlap)
            await run.tiling.check()
        await home.open_storage(run, settings.target, processed="image_process_fn" in functions)
    except BaseException:
        for function in functions.values():
            await function.aclose(0)
        await home.aclose()
        raise
    return _serving(settings, run, home, functions)


def refuse(home: Home, what: str, *_: Any) -> None:
    """Refuse what has no effect where somebody else makes the events.

    Raises
    ------
    UnsupportedError
        With the reason.
    """
    if home.refusal:
        raise UnsupportedError(f"{what}: {home.refusal}")


def _serving(settings: Settings, run: Run, home: Home, functions: dict[str, UserFunction]) -> Opened:
    """Make what serves an open run."""
    processor = functions.get("image_process_fn")
    if processor is not None:
        run.processing = Processing(run, processor, settings.target.queue_size)
    callbacks: list[SavedCallback | NotificationCallback] = [
        SavedCallback(run, functions[key]) for key in ("storage_monitor_callback_fn", "image_saved_fn") if key in functions
    ]
    if "notification_callback_fn" in functions:
        stream = run.audience.add_listener(NotificationStream(run))
        callbacks.append(NotificationCallback(run, functions["notification_callback_fn"], stream))
    hooks = {which: functions[f"{which}_hook_fn"] for which in (*HOOK_POINTS, "event_generation") if f"{which}_hook_fn" in functions}
    feeder = Feeder(run, functions.get("event_generation_hook_fn"), settings.look_ahead)
    return Opened(Supervisor(run, home, feeder, hooks, callbacks, list(functions.values())), callbacks)
