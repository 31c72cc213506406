"""What every committer does: write a buffer, publish its images at once or hold them back to sync them together, fail once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from aiomm.errors import StorageError

if TYPE_CHECKING:
    from aiomm.dataset.queueing import Intake
    from aiomm.dataset.storage import Durability


class Buffer(Protocol):
    """A buffer of images; its length is how many are in it."""

    size: int
    used: int

    def clear(self) -> None: ...
    def let_go(self) -> None: ...
    def __len__(self) -> int: ...


def check_durability(durability: object, interval: object) -> None:
    """Refuse what a writer cannot mean by *saved*.

    Raises
    ------
    ValueError
        Naming the parameter.
    """
    if durability not in ("none", "interval", "every"):
        raise ValueError(f"durability is {durability!r}: it must be 'none', 'interval' or 'every'")
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not interval >= 0:
        raise ValueError(f"sync_interval is {interval!r}: it must be a number of seconds, 0 or more")


S = TypeVar("S", bound=Buffer)
H = TypeVar("H")


class Commit(Generic[S, H]):
    """Writes sealed buffers in order, and says so. One thread at a time.

    A format gives `_write`, which ends with `_written`, `_publish` and `finish`.
    """

    def __init__(self, intake: Intake, durability: Durability, interval: float) -> None:
        self._intake = intake
        self._durable = durability != "none"
        self._interval = interval if durability == "interval" else 0.0
        self._held: list[H] = []  # written, not yet synced
        self._oldest = 0.0  # when the first of them was written
        self.hurry = False

    @property
    def groups(self) -> bool:
        """Whether frames may be held back to be synced together."""
        return self._interval > 0

    @property
    def held(self) -> int:
        """How many frames are written and wait to be synced together."""
        return len(self._held)

    def due(self) -> float | None:
        """In how many seconds the frames held back must be synced; None if there are none."""
        return min(threading.TIMEOUT_MAX, max(0.0, self._oldest + self._interval - time.monotonic())) if self._held else None

    def write(self, slab: S) -> None:
        """Write a sealed buffer. A failure ends the intake; nothing is written after one."""
        if self._intake.error is None:
            self._write(slab)
        slab.let_go()

    def sync(self) -> None:
        """Have what is held back put on the device, then in the indexes, then report it."""
        self.hurry = False
        if not self._held or self._intake.error is not None:
            return
        held, self._held = self._held, []
        self._publish(held, None)

    def finish(self) -> None:
        """Sync what is held back and end the files, whatever happens."""
        raise NotImplementedError

    def _write(self, slab: S) -> None:
        """Write a buffer to its files."""
        raise NotImplementedError

    def _written(self, images: list[H], slab: S, *, at_once: bool) -> None:
        """Publish images that are in their files; those that need a sync first are held back unless ``at_once``."""
        if not self._durable:
            self._publish(images, slab)
            return
        if not self._held:
            self._oldest = time.monotonic()
        self._held += images
        if at_once or self.hurry or self._intake.full or not self.due():
            self.sync()

    def _publish(self, images: list[H], slab: S | None) -> None:
        """Sync images if they are to be durable, put them in the indexes, report them; readers find them in ``slab``."""
        raise NotImplementedError

    def _fail(self, what: str, cause: OSError) -> None:
        error = StorageError(f"{what}: {cause}")
        error.__cause__ = cause
        self._intake.fail(error)
