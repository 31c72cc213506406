"""What waits until Java listens somewhere ends as soon as Java is known to be gone, not only when its time is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiomm.bridge.session import Session

__all__ = ["unless_gone"]


async def unless_gone(session: Session, work: Coroutine[Any, Any, None]) -> None:
    """Do this, unless the server is gone before it is done.

    Raises
    ------
    ServerLostError
        It is.
    """
    task = session.loop.create_task(work, name="aiomm-bridge-connect")
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # taken here, for a caller who is cancelled as it fails

    def gone(_: Exception) -> None:
        task.cancel()

    session.watchers.add(gone)
    try:
        await asyncio.wait([task])
    finally:
        session.watchers.discard(gone)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    if task.cancelled():
        session.check()
    task.result()
