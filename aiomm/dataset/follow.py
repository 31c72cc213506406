"""Follow a dataset as it grows: each saved image in turn, or one image that is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from aiomm.dataset.encode import check_axes
from aiomm.dataset.selection import nearest, no_axis
from aiomm.errors import MissingImageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiomm.dataset.index import Index
    from aiomm.dataset.storage import Axes

    Ready = Callable[[], Awaitable[Index]]

Since = Literal["start", "now"] | int

TURN: Final = 16
"""Images after which others get a turn, where many are there already."""


def check_timeout(timeout: object) -> float | None:
    """Take a timeout in seconds; None is none.

    Raises
    ------
    TypeError, ValueError
        It is none.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is {timeout!r}: it must be a number of seconds, or None for no limit")
    if not timeout >= 0:
        raise ValueError(f"timeout is {timeout!r}: it must not be negative")
    return float(timeout)


def first_row(since: object, saved: int) -> int:
    """Row to begin a watch with.

    Raises
    ------
    ValueError
        It is no place to begin.
    """
    if since == "start":
        return 0
    if since == "now":
        return saved
    if isinstance(since, (int, np.integer)) and not isinstance(since, bool) and since >= 0:
        return int(since)
    raise ValueError(f"since is {since!r}: it must be 'start', 'now', or the number of the first row wanted")


class Watch:
    """The axes of each saved image, in the order saved; made by `Dataset.watch`.

    It has a place of its own: others who watch do not change it, and not reading it slows nothing and keeps nothing.

    Attributes
    ----------
    row : int
        Number of the next row, which is how many images came before it.
    """

    def __init__(self, ready: Ready, row: int, timeout: float | None) -> None:
        self._ready = ready
        self._index: Index | None = None
        self._timeout = timeout
        self._closed = False
        self._future: asyncio.Future[None] | None = None
        self.row = row

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Axes:
        """Give the next image's axes; wait until there is one.

        Raises
        ------
        StopAsyncIteration
            The dataset is finished and its last image was given, or the watch was closed.
        TimeoutError
            No image came within ``timeout`` seconds. The watch can be read on.
        ClosedError
            The dataset was closed.
        DatasetFormatError
            What another process wrote cannot be read.
        """
        if self._closed:
            raise StopAsyncIteration
        index = self._index
        if index is None:
            index = self._index = await self._ready()
        if self.row >= len(index):
            await self._wait(index)
            if self._closed or self.row >= len(index):
                raise StopAsyncIteration
        else:
            index.growth.check_closed()
            if self.row % TURN == 0:
                await asyncio.sleep(0)
        row, self.row = self.row, self.row + 1
        return index.axes_of(row)

    async def _wait(self, index: Index) -> None:
        """Wait for the next row, or the end."""
        growth = index.growth
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    future = growth.enter()
                    try:
                        ended = growth.ended  # before the rows, so that none that came before the end is missed
                        if self.row < len(index):
                            return
                        if ended or self._closed:
                            return
                        growth.check()
                        self._future = future
                        await future
                    finally:
                        self._future = None
                        growth.leave(future)
        except TimeoutError:
            count = len(index)
            last = f"the last of {count} is {index.axes_of(count - 1)}" if count else "there is none yet"
            raise TimeoutError(f"no image came within {self._timeout:g} s; {last}") from None

    async def aclose(self) -> None:
        """End the watch; who waits in it gets its end."""
        self._closed = True
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Wanted:
    """An image that is waited for: values on some axes."""

    def __init__(self, given: dict[str, Any], channel_names: Callable[[], list[str]]) -> None:
        self._axes = check_axes(given)
        self._channel_names = channel_names
        self._index: Index | None = None
        self._seen = 0

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._axes.items()) or "any axes"

    async def look(self, index: Index) -> int:
        """As `find`; in a thread where it may read files: the names of numbered channels can be in the images' metadata."""
        if isinstance(self._axes.get("channel"), str) and index.types.get("channel") is int:
            return await asyncio.to_thread(self.find, index)
        return self.find(index)

    def find(self, index: Index) -> int:
        """First row not looked at before that has these values; -1 if there is none.

        Raises
        ------
        MissingImageError
            A value is of a type that its axis cannot hold.
        """
        if index is not self._index:
            self._index, self._seen = index, 0
        count = len(index)
        names = index.names
        match = np.ones(count - self._seen, dtype=bool)
        for name, value in self._axes.items():
            if name not in names:
                return -1  # no image has such an axis: those to come are looked at again
            resolved = self._resolve(index, name, value)
            code = None if resolved is None else index.code(name, resolved)
            if code is None:
                return -1
            match &= index.column(name)[self._seen : count] == code
        if match.any():
            return self._seen + int(match.argmax())
        self._seen = count
        return -1

    def _resolve(self, index: Index, name: str, value: int | str) -> int | str | None:
        """Take the n-th name for a number and the other way round; None if there is none yet."""
        kind = index.types[name]
        if kind is type(value):
            return value
        if isinstance(value, int):
            names = index.strings(name)
            return names[value] if 0 <= value < len(names) else None
        if name == "channel":
            names = self._channel_names()
            return index.values(name)[names.index(value)] if value in names else None
        raise MissingImageError(f"axis {name!r} has integers, so there will be no {value!r}")

    def missing(self, index: Index) -> str:
        """Say what there is instead."""
        if not len(index):
            return "it has no image"
        for name in self._axes:
            if name not in index.names:
                return str(no_axis(index, name))
        return "the nearest are " + ", ".join(map(str, nearest(index, self._axes)))


async def wait_for(ready: Ready, index: Index, wanted: Wanted, timeout: float | None) -> Axes:
    """Wait until a wanted image is saved; give its axes. See `Dataset.wait_for`; ``index`` is what is known before ``ready``."""
    index.growth.check_closed()
    row = await wanted.look(index)  # what is there needs no time
    if row >= 0:
        return index.axes_of(row)
    try:
        async with asyncio.timeout(timeout):
            index = await ready()
            growth = index.growth
            growth.check_closed()
            while True:
                future = growth.enter()
                try:
                    ended = growth.ended
                    row = await wanted.look(index)
                    if row >= 0:
                        return index.axes_of(row)
                    if ended:
                        break
                    growth.check()
                    await future
                finally:
                    growth.leave(future)
    except TimeoutError:
        raise TimeoutError(f"no image with {wanted} was saved within {timeout:g} s; {wanted.missing(index)}") from None
    raise MissingImageError(f"the dataset ended without an image with {wanted}; {wanted.missing(index)}")
