"""Where the microscope of an acquisition is, and what follows from that: in this process, or in a running Micro-Manager."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from aiomm.acquire.capabilities import Capabilities, Needs, read_capabilities
from aiomm.acquire.engine import Engine
from aiomm.acquire.mailbox import in_thread
from aiomm.acquire.metadata import summary_metadata
from aiomm.acquire.sequencing import iter_groups
from aiomm.acquire.target import open_storage
from aiomm.core import LocalCore
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from aiomm.acquire.conductor import Conductor
    from aiomm.acquire.run import Run
    from aiomm.acquire.sequencing import Grouping
    from aiomm.acquire.target import Target
    from aiomm.bridge import Bridge
    from aiomm.core import Core
    from aiomm.dataset.storage import Frame

logger = logging.getLogger("aiomm")


class Magellan(NamedTuple):
    """An acquisition of Micro-Magellan's: by its position in the list, or an explore acquisition if that is None."""

    position: int | None


class Home(Protocol):
    """What an acquisition asks of the place where its microscope is. Everything is called on the loop."""

    owner: Any
    """What functions get as, or through, their ``bridge``: a LocalCore or a Bridge."""
    refusal: str
    """Why no events can be submitted; empty if they can."""

    @property
    def grouping(self) -> Grouping:
        """What cuts events into groups that are carried out at once."""

    async def open(self) -> None:
        """Connect; before anything else here."""

    async def core(self) -> Core:
        """Give the microscope itself."""

    def engine(self, run: Run, **options: Any) -> Conductor:
        """Make the engine of a run; the options are those of `Conductor`, and ``core_log_debug``."""

    async def open_storage(self, run: Run, target: Target, *, processed: bool) -> None:
        """Make the run's writer and its live dataset; a failure leaves nothing behind."""

    def add(self, user: Any) -> None:
        """From now on the microscope's closing ends this acquisition first."""

    def discard(self, user: Any) -> None:
        """It has ended."""

    def start(self, run: Run, on_end: Callable[[Any, BaseException | None], None]) -> None:
        """Begin to carry out events; ``on_end`` gets (None, error or None) at the end, on any thread."""

    def stages(self, run: Run) -> Sequence[Callable[[], Awaitable[None]]]:
        """Give what has to run beside the engine, until the acquisition has ended."""

    def finish_writing(self, run: Run) -> asyncio.Future[None]:
        """Have everything saved that is to be saved, and the dataset closed."""

    def lost(self, run: Run) -> Sequence[Frame]:
        """Give what was under way at the end, and is not saved, beside what the run knows of."""

    def abandon(self) -> None:
        """Wait no longer for the device call in progress."""

    async def capabilities(self, wanted: Needs) -> Capabilities:
        """Read what the hardware can do, and of which size its images are."""

    def viewer(self) -> Any:
        """Give the viewer that shows the images; UnsupportedError if there is none."""

    async def aclose(self) -> None:
        """Let go of what was opened for this acquisition alone; bounded, and done whoever cancels it."""


class LocalHome:
    """A `LocalCore`: the engine is a routine on its hardware thread, aiomm's own writers save."""

    refusal = ""

    grouping: Grouping = staticmethod(iter_groups)

    def __init__(self, core: LocalCore, *, show_viewer: bool) -> None:
        self.owner = core
        self._show_viewer = show_viewer

    async def open(self) -> None:
        """The core is there."""

    async def core(self) -> Core:
        return self.owner

    def engine(self, run: Run, **options: Any) -> Conductor:
        return Engine(self.owner, run, **options)

    async def open_storage(self, run: Run, target: Target, *, processed: bool) -> None:
        clock = run.engine.clock
        summary = await self.owner.run(lambda mmc: summary_metadata(mmc, clock, target.name), reads=True)
        await open_storage(run, target, summary, processed=processed)
        if self._show_viewer:
            logger.info("show_display: no viewer is installed; images are not shown")

    def add(self, user: Any) -> None:
        self.owner.users.add(user)

    def discard(self, user: Any) -> None:
        self.owner.users.discard(user)

    def start(self, run: Run, on_end: Callable[[Any, BaseException | None], None]) -> None:
        assert isinstance(run.engine, Engine)
        self.owner.thread.spawn(run.engine.routine(), on_end)

    def stages(self, run: Run) -> Sequence[Callable[[], Awaitable[None]]]:
        return ()

    def finish_writing(self, run: Run) -> asyncio.Future[None]:
        return in_thread(run.writer.finish)

    def lost(self, run: Run) -> Sequence[Frame]:
        return () if run.processing is None else run.processing.frames

    def abandon(self) -> None:
        self.owner.abandon()  # the engine's clean-up goes on when the device call in progress returns

    async def capabilities(self, wanted: Needs) -> Capabilities:
        found: Capabilities = await self.owner.run(lambda mmc: read_capabilities(mmc, wanted, image=True), reads=True)
        return found

    def viewer(self) -> Any:
        raise UnsupportedError("get_viewer(): nothing shows the images of a microscope in this process")

    async def aclose(self) -> None:
        """Nothing was opened for it: the core is the user's."""


def make_home(
    where: LocalCore | Bridge | None,
    port: int,
    timeout: float,
    *,
    hooks: frozenset[str],
    show_viewer: bool,
    debug: bool,
    magellan: Magellan | None = None,
) -> Home:
    """Make the home of an acquisition; on the loop.

    Parameters
    ----------
    where
        A core in this process, an open bridge, or None: a bridge to ``port`` is opened for this acquisition.
    port, timeout
        Of the server, and for control messages (ms).
    hooks
        Which hooks there are.
    show_viewer, debug
        Whether images are shown; whether Micro-Manager's engine logs what it does.
    magellan
        Which acquisition of Micro-Magellan's, if it is one.
    """
    if isinstance(where, LocalCore):
        return LocalHome(where, show_viewer=show_viewer)
    if magellan is not None:
        from aiomm.acquire.remote.attached_home import AttachedHome

        return AttachedHome(where, port, timeout, magellan=magellan.position, given=hooks, show_viewer=show_viewer, debug=debug)
    from aiomm.acquire.remote.home import JavaHome  # it is of no use to who never meets Java

    return JavaHome(where, port, timeout, hooks=hooks, show_viewer=show_viewer, debug=debug)
