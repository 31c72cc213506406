"""What Micro-Manager's engine believes is in force: emptied before each group of events.

The engine keeps the last event it carried out, and leaves out of the next one each position, preset and exposure that is the same.
It never hears of a stage that was moved since, by a hook or by hand, or of a sequence that has moved on. Its memory is a
private field, which Java's reflection reaches.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiomm.bridge import private_field
from aiomm.errors import JavaException

if TYPE_CHECKING:
    from typing import Self

    from aiomm.bridge import Bridge, JavaObject

ENGINE = "org.micromanager.acqj.internal.Engine"
EVENT = "org.micromanager.acqj.main.AcquisitionEvent"
FIELD = "lastEvent_"

logger = logging.getLogger("aiomm")


class EngineMemory:
    """The engine's memory of the last event."""

    def __init__(self, field: JavaObject | None, engine: JavaObject, empty: JavaObject) -> None:
        self._field = field
        self._engine = engine
        self._empty = empty

    @classmethod
    async def open(cls, bridge: Bridge, acquisition: JavaObject) -> Self:
        """Find it; in a Micro-Manager whose engine has none of this name, one line in the log says so.

        Raises
        ------
        BridgeError
            The server is gone or does not answer.
        """
        kind = await bridge.get_java_class(ENGINE, new_socket=True)
        engine = await kind.getInstance()
        empty = await bridge.construct_java_object(EVENT, new_socket=False, args=[acquisition])
        try:
            field = await private_field(kind, FIELD)
        except JavaException as error:
            logger.warning(
                "this Micro-Manager's engine does not apply a position, preset or exposure that it believes is in force, and aiomm "
                "cannot reach what it believes (%s): do not move things by hand between events",
                error,
            )
            field = None
        return cls(field, engine, empty)

    async def clear(self) -> None:
        """Have the engine apply all of the next event."""
        if self._field is not None:
            await self._field.set(self._engine, self._empty)
