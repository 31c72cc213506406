"""The call of a user's function that is under way, and what it cannot wait for: what itself waits for the call to return.

Only the task in which the function runs is refused. A task that the function has made may wait: the function returns.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aiomm.acquire.callers import function_task

if TYPE_CHECKING:
    from aiomm.acquire.hooks import UserFunction
    from aiomm.acquire.run import Run
    from aiomm.acquire.submission import Submission

Holds = Literal["engine", "feeder", "frames", "saved", "end"]
"""What waits for a call: the engine, the feeding of its submission, the frames behind its own, the end of a submission, or only
that of the acquisition."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call under way."""

    run: Run
    holds: Holds
    label: str
    submission: Submission | None


current_call: ContextVar[Call | None] = ContextVar("aiomm_current_call", default=None)
"""The call in whose function the current task or worker thread runs, or a task that the function has made."""


async def call(run: Run, holds: Holds, function: UserFunction, *args: Any, submission: Submission | None = None) -> Any:
    """Call a user's function, and know meanwhile that it is under way."""
    token = current_call.set(Call(run, holds, function.label, submission))
    try:
        return await function(*args)
    finally:
        current_call.reset(token)


def own_call(run: Run) -> Call | None:
    """Give the call of this acquisition's that the current task is, if it is one."""
    call = current_call.get()
    return call if call is not None and call.run is run and function_task.get() is asyncio.current_task() else None


def refuse_end(run: Run) -> None:
    """Raise where a function would wait for the end of the acquisition that waits for it.

    Raises
    ------
    RuntimeError
        With the function, and what to do instead.
    """
    call = own_call(run)
    if call is not None and not run.ended and not run.stopping:
        raise RuntimeError(
            f"{call.label} cannot wait for the end of its own acquisition, which waits for it: "
            "use mark_finished() or abort(), which do not wait"
        )


def cannot_end(call: Call, submission: Submission, *, next_image: bool = False) -> bool:
    """Whether a submission, or its next image, waits for this call."""
    run = call.run
    if run.stopping:
        return False  # it ends anyhow
    coming = next_image and len(submission.rows) < submission.frames_out  # an image that is processed or saved at this moment
    match call.holds:
        case "engine":
            return not submission.fed and not coming
        case "feeder":
            return (submission is call.submission or submission in run.submissions) and not coming
        case "frames":
            return not submission.fed or (run.processing is not None and run.processing.has(submission))
        case "saved":
            return not next_image or (submission.fed and not coming)
        case "end":
            return False


def refuse_wait(call: Call) -> RuntimeError:
    """Give the error for a function that would wait for ever."""
    return RuntimeError(f"{call.label} cannot wait for its own acquisition, which waits for it: use queue.put(), or do not await")
