"""The user's callbacks: each told of every saved image, or of what happens, at its own pace; none slows the saving."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from aiomm.acquire.calls import call
from aiomm.acquire.run import current_submission

if TYPE_CHECKING:
    from aiomm.acquire.calls import Holds
    from aiomm.acquire.hooks import UserFunction
    from aiomm.acquire.run import Run
    from aiomm.acquire.streams import NotificationStream
    from aiomm.acquire.submission import Submission


class SavedCallback:
    """Calls ``image_saved_fn`` or ``storage_monitor_callback_fn`` for every saved image, in order.

    It keeps no images, only its place in the dataset's index.
    """

    def __init__(self, run: Run, function: UserFunction) -> None:
        self._run = run
        self._function = function
        self._next = 0
        self._busy = False
        self._over = False  # it has raised: nothing more is to come
        self._owners: deque[Submission | None] | None = None
        if "queue" in function.form:  # what it puts belongs to the submission of the image, which is not over before
            self._owners = run.owners = deque()

    @property
    def behind(self) -> int:
        """Images saved that it was not told of yet."""
        return 0 if self._over else self._run.saved - self._next

    @property
    def missed(self) -> str:
        """What it will not be told of any more, in words; empty if nothing."""
        return _missed(self._function, self._run.saved - self._next - self._busy, "saved image")

    async def serve(self) -> None:
        """Serve until cancelled; an exception of the callback ends the acquisition."""
        run = self._run
        monitor = "dataset" not in self._function.form
        try:
            while True:
                await run.wait_until(lambda: self.behind > 0)
                axes = run.dataset.axes_of(self._next)
                submission = self._owners.popleft() if self._owners is not None else None
                current_submission.set(submission)
                self._busy = True
                holds: Holds = "end" if self._owners is None else "saved"
                await call(run, holds, self._function, *((axes,) if monitor else (axes, run.dataset)), submission=submission)
                self._next += 1
                self._busy = False
                if submission is not None:
                    run.told(submission)
                run.bell.ring()
        except Exception as error:
            self._over = True
            run.fail(error)


class NotificationCallback:
    """Calls ``notification_callback_fn`` for everything that happens."""

    def __init__(self, run: Run, function: UserFunction, stream: NotificationStream) -> None:
        self._run = run
        self._function = function
        self._stream = stream
        self._busy = False
        self._over = False

    @property
    def behind(self) -> int:
        """Notifications that it was not told of yet."""
        return 0 if self._over else len(self._stream) + self._busy

    @property
    def missed(self) -> str:
        """What it will not be told of any more, in words; empty if nothing."""
        return _missed(self._function, len(self._stream), "notification")

    async def serve(self) -> None:
        """Serve until cancelled; an exception of the callback ends the acquisition."""
        run = self._run
        try:
            while True:
                await run.wait_until(lambda: len(self._stream) > 0)
                self._busy = True
                await call(run, "end", self._function, self._stream.take())
                self._busy = False
                run.bell.ring()
        except Exception as error:
            self._over = True
            run.fail(error)


def _missed(function: UserFunction, count: int, what: str) -> str:
    return f"{function.label} was not told of {count} {what}{'s' * (count != 1)}" if count > 0 else ""
