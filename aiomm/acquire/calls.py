"""The call of a user's function that is under way, and what it cannot wait for: what itself waits for the call to return.

Only the task in which the function runs is refused at once. A task that the function has made may wait: the function returns. Where it
does not, as a thread that waits for such a task, nobody can tell; such a task is refused when nothing has moved for `PATIENCE_S`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from aiomm.acquire.callers import function_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiomm.acquire.hooks import UserFunction
    from aiomm.acquire.run import Run
    from aiomm.acquire.submission import Submission

Holds = Literal["engine", "feeder", "frames", "saved", "end"]
"""What waits for a call: the engine, the feeding of its submission, the frames behind its own, the end of a submission, or only
that of the acquisition."""
PATIENCE_S = 20.0
"""How long a function of an acquisition may hold up another one, for which tasks that it has made wait."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call under way."""

    run: Run
    holds: Holds
    label: str
    submission: Submission | None
    since: float = field(default_factory=time.monotonic)


current_call: ContextVar[Call | None] = ContextVar("aiomm_current_call", default=None)
"""The call in whose function the current task or worker thread runs, or a task that the function has made."""


async def call(run: Run, holds: Holds, function: UserFunction, *args: Any, submission: Submission | None = None) -> Any:
    """Call a user's function, and know meanwhile that it is under way."""
    this = Call(run, holds, function.label, submission)
    token = current_call.set(this)
    run.calls.add(this)
    try:
        return await function(*args)
    finally:
        run.calls.discard(this)
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


# ---- another acquisition --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Elsewhere:
    """What a function of one acquisition, or a task that it has made, waits for in another: a submission, or its end."""

    run: Run
    submission: Submission | None
    by_itself: bool  # not a task that it has made, for which it may wait or not

    def waits_for(self, call: Call) -> bool:
        """Whether this cannot come before a call of that acquisition has returned."""
        return call in self.run.calls and (not self.run.stopping if self.submission is None else cannot_end(call, self.submission))


@contextmanager
def elsewhere(run: Run, submission: Submission | None = None) -> Iterator[Callable[[], RuntimeError | None]]:
    """The current task waits for a submission of an acquisition, or for its end, if ``submission`` is None.

    Gives what tells why it would wait for ever, if it would: what it waits for waits for it. Asked when the run's bell of knots rings, or
    the submission's own.
    """
    call = current_call.get()
    task = asyncio.current_task()
    if call is None or call.run is run:
        yield lambda: _reading(run, task)
        return
    this = Elsewhere(run, submission, function_task.get() is task)
    call.run.waits[call] = this
    late = run.loop.call_later(PATIENCE_S, run.held_up)
    try:
        yield lambda: _knot(call, this) or _reading(run, task)
    finally:
        late.cancel()
        call.run.waits.pop(call, None)


def _knot(call: Call, this: Elsewhere) -> RuntimeError | None:
    run, patient = this.run, not this.by_itself and time.monotonic() - call.since < PATIENCE_S
    if patient or call not in call.run.calls:
        return None
    if call.run in run.engine.held_up_by():
        return _kept(call.label, call.run, run)
    if _circle(call, this, ()):
        return RuntimeError(
            f"{call.label} of {call.run.title} cannot wait for {run.title}, of which a function waits for the former: each would wait for "
            "the other. Let one of them not await"
        )
    return None


def _circle(call: Call, this: Elsewhere, seen: tuple[Call, ...]) -> bool:
    for other, theirs in list(this.run.waits.items()):
        if other not in seen and theirs.by_itself and this.waits_for(other):
            closed = theirs.run is call.run and theirs.waits_for(call)
            if closed or _circle(call, theirs, (*seen, other)):
                return True
    return False


def _reading(run: Run, task: asyncio.Task[Any] | None) -> RuntimeError | None:
    for other in run.engine.held_up_by():
        if other.audience.is_read_by(task):
            return _kept("who reads images()", other, run)
    return None


def _kept(who: str, other: Run, run: Run) -> RuntimeError:
    return RuntimeError(
        f"{who} of {other.title} cannot wait for {run.title}: its microscope is kept by images of the former, for which {who} has no room "
        "meanwhile. Do not await it there (image_saved_fn may, or a task that you make), or acquire fewer images at once"
    )
