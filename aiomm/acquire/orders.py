"""What the engine is asked to do, what it asks for, and what became of it: plain data between the hardware thread and the loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.acquire.submission import Submission
    from aiomm.core.thread import Routine
    from aiomm.core.turns import Turn
    from aiomm.dataset.storage import Frame


@dataclass(slots=True, eq=False)
class Window:
    """Events that may be merged with each other: one scope of sequencing."""

    submission: Submission
    events: list[AcquisitionEvent]
    number: int = 0  # of its first event within the submission
    turn: Turn | None = None  # the turn in whose hook it was submitted
    feedback: bool = False  # a hook or processor has put it: what is put meanwhile comes after it
    ended: bool = False  # the loop has heard of its end
    left: int = 0  # events of which the loop has not heard what became of them

    def __post_init__(self) -> None:
        self.left = len(self.events)


@dataclass(slots=True)
class Done:
    """What became of the events of one group."""

    events: int = 0
    added: int = 0  # events that a hook has added
    frames: int = 0
    skipped: int = 0
    failed: int = 0
    claimed: tuple[AcquisitionEvent, ...] = ()  # events whose axes are reserved
    imaged: set[int] = field(default_factory=set)  # ids of those of which a frame came
    errors: list[BaseException] = field(default_factory=list)
    kept: deque[Frame] = field(default_factory=deque)  # taken, and not handed on yet

    @property
    def taken(self) -> int:
        """Events of which a frame came."""
        return len(self.imaged)

    def count(self, event: AcquisitionEvent) -> None:
        """One frame of an event is with the next stage."""
        self.frames += 1
        self.imaged.add(id(event))


@dataclass(slots=True, eq=False)
class HookCall:
    """A hook that the loop is asked to run; the engine waits for ``done``."""

    which: str
    argument: Any
    submission: Submission
    turn: Turn | None
    done: bool = False
    dropped: bool = False  # its submission was cancelled: nobody waits for it
    result: Any = None
    error: BaseException | None = None


class Devices(Protocol):
    """What a conductor needs of the hardware, wherever it is."""

    doing: str

    @property
    def holds_shutter(self) -> bool: ...
    def release_shutter(self) -> Routine: ...
    def forget(self) -> None: ...


class Outlet(Protocol):
    """Where frames go, and what the engine says of itself; every method may be called on the hardware thread."""

    def try_put(self, frame: Frame) -> bool:
        """Take a frame; False when there is no room now (the engine's signal is set when there is)."""

    def post(self, message: Any, *, wake: bool = True) -> None:
        """Tell the loop."""

    def run_hook(self, call: HookCall) -> None:
        """Have the loop run a hook; it sets the engine's signal when ``call.done``."""

    def place(self, events: Sequence[AcquisitionEvent]) -> Sequence[AcquisitionEvent]:
        """Say where tiles are; EventError for what is to be a tile and is none."""

    def claim(self, events: Iterable[AcquisitionEvent]) -> None:
        """Reserve the axes of events; DuplicateImageError if an image or event has them, EventError if an axis would have two types."""

    def unclaim(self, events: Iterable[AcquisitionEvent]) -> None:
        """Give axes back: no image comes of these events."""

    def waits_elsewhere(self) -> str:
        """Say which function waits for another acquisition, and what to do; empty if none does."""

    def room_for(self, images: int, image_bytes: int) -> None:
        """Check the free disk; StorageError if these images cannot fit."""
