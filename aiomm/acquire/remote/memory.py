"""What Micro-Manager's engine believes is in force: emptied before each group of events.

The engine keeps the last event it carried out, and leaves out of the next one each position, preset and exposure that is the same.
It never hears of a stage that was moved since, by a hook or by hand, or of a sequence that has moved on. Its memory is a
private field, which Java's reflection reaches.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiomm.bridge import private_field
from aiomm.errors import JavaException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiomm.bridge import Bridge, JavaObject

ENGINE = "org.micromanager.acqj.internal.Engine"
EVENT = "org.micromanager.acqj.main.AcquisitionEvent"
FIELD = "lastEvent_"

logger = logging.getLogger("aiomm")


class EngineMemory:
    """The engine's memory of the last event.

    Parameters
    ----------
    bridge
        To the running Micro-Manager.
    acquisition
        Java's acquisition.
    """

    def __init__(self, bridge: Bridge, acquisition: JavaObject) -> None:
        self._bridge = bridge
        self._acquisition = acquisition
        self._used = False
        self._opening: asyncio.Task[Callable[[], Awaitable[None]] | None] | None = None

    async def clear(self, *, again: bool) -> None:
        """Have the engine apply all of the next event.

        The first time it does so by itself: its memory is of another acquisition.

        Parameters
        ----------
        again
            Whether this will be asked for again: then it is found out meanwhile how to clear it.

        Raises
        ------
        BridgeError
            The server is gone or does not answer.
        """
        first, self._used = not self._used, True
        if first and not again:
            return
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open(), name="aiomm: reach the memory of Micro-Manager's engine")
        if first:
            return
        await asyncio.wait([self._opening])
        empty = self._opening.result()
        if empty is not None:
            await empty()

    async def _open(self) -> Callable[[], Awaitable[None]] | None:
        kind = await self._bridge.get_java_class(ENGINE, new_socket=True)
        engine = await kind.getInstance()
        empty = await self._bridge.construct_java_object(EVENT, args=[self._acquisition])
        try:
            field = await private_field(kind, FIELD)
        except JavaException as error:
            logger.warning(
                "this Micro-Manager's engine does not apply a position, preset or exposure that it believes is in force, and aiomm "
                "cannot reach what it believes (%s): do not move things by hand between events",
                error,
            )
            return None

        async def clear() -> None:
            await field.set(engine, empty)

        return clear

    async def aclose(self) -> None:
        """Let go of it."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            if not self._opening.cancelled():
                self._opening.exception()
