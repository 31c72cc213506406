"""One request to the server while it waits: what it is, who waits for it, and how that ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import zmq

__all__ = ["Call", "PortStats", "Reply", "Request"]

Request: TypeAlias = "Sequence[bytes | memoryview]"
Reply: TypeAlias = "list[zmq.Frame]"


class PortStats(NamedTuple):
    """How a port fares.

    Attributes
    ----------
    calls : int
        Requests sent so far, handshakes too.
    set_aside : int
        Calls that were sent, whose reply may still come and that nobody waits for any more.
    reconnects : int
        How often connecting was tried again.
    """

    calls: int
    set_aside: int
    reconnects: int


class Call:
    """One request and who waits for its reply; `future` is None when nobody does."""

    __slots__ = ("abandoned", "frames", "future", "key", "last", "late", "patience", "reads", "ticking", "timer", "what")

    def __init__(
        self,
        frames: Request,
        future: asyncio.Future[Reply] | None,
        what: str,
        late: Callable[[Reply], Request | None] | None = None,
        last: bool = False,
        patience: float | None = None,
        reads: bool = False,
    ) -> None:
        self.frames = frames
        self.future = future
        self.what = what
        self.late = late
        self.last = last
        self.patience = patience
        self.reads = reads
        self.ticking = False
        self.abandoned = False
        self.key = random.getrandbits(64).to_bytes(8, "little")
        self.timer: asyncio.TimerHandle | None = None

    @property
    def long(self) -> bool:
        """Whether it may take as long as its hardware does, and who waits for what comes after it knows that."""
        return self.patience is None and self.future is not None

    def fail(self, error: BaseException) -> None:
        """Tell who waits, if anybody does still."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)
