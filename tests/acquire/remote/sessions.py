"""What tests of acquisitions on Java's engine share: a session by hand, its tasks, and what the server holds before and after."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import aiomm
from aiomm.acquire.remote.session import JavaSession, Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    import numpy as np

    from aiomm.acquire.remote.pipes import Notice

WAIT = 4.0
"""Seconds after which a test gives up: most need one tenth of it. With the time that closing may take, it is below ten."""


def wanted(directory: Path | None = None, *hooks: str, images: bool = False, **other: Any) -> Wanted:
    """What to make: without a viewer, and the rest as given."""
    values: dict[str, Any] = {"name": None if directory is None else "set", "show_viewer": False, "queue_size": 20, "debug": False}
    values |= {"tiling": None, **other}
    return Wanted(directory=None if directory is None else str(directory), hooks=frozenset(hooks), images=images, **values)


@dataclass
class Played:
    """What a session told while `playing` took it."""

    session: JavaSession
    notices: list[Notice] = field(default_factory=list)
    asked: dict[str, list[Any]] = field(default_factory=dict)
    images: list[tuple[np.ndarray, dict[str, Any]]] = field(default_factory=list)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)

    @property
    def milestones(self) -> list[str]:
        return [notice.milestone for notice in self.notices]

    async def until(self, milestone: str) -> None:
        """Wait until Java has told this."""
        async with asyncio.timeout(WAIT):
            await self.reached.setdefault(milestone, asyncio.Event()).wait()


async def same(events: Any) -> Any:
    """Answer a hook with what it asked."""
    return events


async def passed(pixels: np.ndarray, metadata: dict[str, Any]) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Give an image back as it is."""
    return [(pixels, metadata)]


@contextlib.asynccontextmanager
async def playing(
    bridge: aiomm.Bridge,
    what: Wanted,
    *,
    hook: Callable[[Any], Coroutine[Any, Any, Any]] = same,
    process: Callable[[np.ndarray, dict[str, Any]], Coroutine[Any, Any, list[tuple[np.ndarray, dict[str, Any]]]]] = passed,
) -> AsyncIterator[Played]:
    """Open a session and serve it, until Java has ended it; close it."""
    session = await JavaSession.open(bridge, what)
    played = Played(session)

    async def listen() -> None:
        async for notice in session.notices:
            played.notices.append(notice)
            played.reached.setdefault(notice.milestone, asyncio.Event()).set()

    async def answer(name: str) -> None:
        pipe = session.hooks[name]
        while (events := await pipe.recv()) is not None:
            played.asked.setdefault(name, []).append(events)
            await pipe.answer(await hook(events))

    async def take() -> None:
        assert session.images is not None
        while (image := await session.images.recv()) is not None:
            played.images.append(image)
            for pixels, metadata in await process(*image):
                await session.images.send(pixels, metadata)
        await session.images.finish()

    try:
        async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            for name in session.hooks:
                tasks.create_task(answer(name))
            if session.images is not None:
                tasks.create_task(take())
            yield played
    finally:
        await session.close()


class Saved(NamedTuple):
    """What there is in a dataset on disk; by axes the pixels and metadata."""

    axes: list[dict[str, int | str]]
    images: list[np.ndarray]
    metadata: list[dict[str, Any]]
    finished: bool
    summary: dict[str, Any]


async def saved(path: Path | None) -> Saved:
    """Read a dataset, in a thread."""
    assert path is not None

    def read() -> Saved:
        dataset = aiomm.Dataset(path)
        rows = [dataset.read_row(row) for row in range(len(dataset))]
        axes = [dataset.axes_of(row) for row in range(len(dataset))]
        return Saved(axes, [pixels for pixels, _ in rows], [metadata for _, metadata in rows], dataset.finished, dataset.summary_metadata)

    return await asyncio.to_thread(read)


def times(count: int, **more: Any) -> list[dict[str, Any]]:
    """Events of a time lapse."""
    return [{"axes": {"time": index}, **more} for index in range(count)]
