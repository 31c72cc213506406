"""The user's functions of one acquisition: what each is called, and where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.acquire.hooks import EventQueue, Kind, UserFunction

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: dict[str, Kind] = {
    "image_process_fn": "processor",
    "event_generation_hook_fn": "hook",
    "pre_hardware_hook_fn": "hook",
    "post_hardware_hook_fn": "hook",
    "post_camera_hook_fn": "hook",
    "storage_monitor_callback_fn": "monitor",
    "image_saved_fn": "saved",
    "notification_callback_fn": "notification",
}
"""The parameters that take a function, and what it is used as."""

HOOK_POINTS = ("pre_hardware", "post_hardware", "post_camera")
"""Where the engine calls a hook."""


def make_functions(given: Mapping[str, Any], owner: Any, queue: EventQueue, *, process: bool, executor: Any) -> dict[str, UserFunction]:
    """Make those of an acquisition ready to be called.

    Parameters
    ----------
    given
        Parameters of the acquisition, by name; those that take a function are used, unless they are None.
    owner
        A LocalCore, which their ``bridge`` gives, or the Bridge that it is.
    queue
        What they get as ``queue``.
    process
        Whether hooks run in worker processes, and the processor too if there is no executor.
    executor
        Where the processor runs.

    Raises
    ------
    TypeError
        One cannot be called with any of the forms that are allowed.
    UnsupportedError
        One wants what cannot reach it where it runs.
    """
    made: dict[str, UserFunction] = {}
    for name, kind in KINDS.items():
        if given[name] is None:
            continue
        there = executor if kind == "processor" else None
        apart = process and kind in ("hook", "processor") and there is None
        made[name] = UserFunction(given[name], kind, name=name, owner=owner, queue=queue, process=apart, executor=there)
    if executor is not None and "image_process_fn" not in made:
        raise ValueError("executor= runs the image processor: give image_process_fn= too")
    return made
