"""Ports that Java opens before there is what is to live there: that takes it longer than to make it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiomm.errors import AiommError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomm.bridge.line import Line
    from aiomm.bridge.proxy import JavaObject
    from aiomm.bridge.session import Session

__all__ = ["Place"]


class Place:
    """A port for one object, which is opened from now on; made by `Channels.place`.

    Parameters
    ----------
    session
        Of the bridge.
    classpath
        Of what will be made there.
    """

    def __init__(self, session: Session, classpath: str) -> None:
        self._session = session
        self._classpath = classpath
        self._used = False
        self._opening = session.loop.create_task(session.own_line(f"new {classpath}"), name=f"aiomm-bridge-place {classpath}")

    async def learn(self) -> None:
        """Learn what the constructors take, before it is known what they are given.

        Raises
        ------
        JavaException
            There is no such class.
        """
        await self._session.constructors_of(self._classpath)

    async def construct(self, args: Sequence[Any] = ()) -> JavaObject:
        """Make the object; once. The port is closed when it is released, or with the place, if this fails.

        Raises
        ------
        JavaException
            There is no such class, or its constructor threw.
        OverloadError
            No constructor takes these arguments.
        ServerNotFoundError
            The server opens no port that can be reached.
        """
        line, pin = await asyncio.shield(self._opening)
        made = await self._session.construct(self._classpath, args, line=line)
        self._used = True
        line.drop(pin)
        return made

    async def aclose(self) -> None:
        """Have Java close the port if nothing was made there. Again and again does no harm."""
        if self._used:
            return
        self._used = True
        self._opening.cancel()  # a port that is opened all the same is closed by the bridge
        try:
            await asyncio.wait([self._opening])
        except asyncio.CancelledError:
            self._opening.add_done_callback(self._left)
            raise
        opened = self._opened()
        if opened is not None:
            line, pin = opened
            await line.release(pin)

    def _left(self, _: object) -> None:
        """Have Java close the port, though nobody waits for it."""
        opened = self._opened()
        if opened is not None:
            line, pin = opened
            line.drop(pin)

    def _opened(self) -> tuple[Line, str] | None:
        """Give the port, if there is one that Java has to close."""
        if self._opening.cancelled():
            return None
        try:
            opened = self._opening.result()
        except AiommError:
            return None  # who wanted to make something was told, or nobody did
        return opened if self._session.error is None else None  # else all that was there has ended with it
