"""Which axes the images of an acquisition have or are going to have: none twice, and one type of value for each axis."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from aiomm.errors import DuplicateImageError, EventError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiomm.acquire.events import AcquisitionEvent


class Claims:
    """The axes that are reserved. Every method is thread-safe.

    Only hashes are kept: a day's axes would fill the memory that images need.

    Parameters
    ----------
    allow_duplicates
        Whether axes may be claimed again.
    """

    def __init__(self, *, allow_duplicates: bool) -> None:
        self._allow_duplicates = allow_duplicates
        self._claimed: set[int] = set()
        self._types: dict[str, tuple[type, int | str]] = {}  # by axis, with its first value
        self._uses: dict[str, int] = {}  # how many claims have the axis
        self._lock = threading.Lock()

    def claim(self, events: Iterable[AcquisitionEvent], *, types: bool = True) -> None:
        """Reserve the axes of events: all, or none where one cannot be had.

        Parameters
        ----------
        events
            Those without an image have none.
        types
            Whether images are saved with these axes, so that each axis has to keep to one type.

        Raises
        ------
        DuplicateImageError
            An image or event has them.
        EventError
            An axis has had integers and gets a text, or the other way round.
        """
        taken: list[AcquisitionEvent] = []
        with self._lock:
            try:
                for event in events:
                    if event.acquire:
                        self._claim(event, types)
                        taken.append(event)
            except BaseException:
                self._release(taken, again=True)
                raise

    def _claim(self, event: AcquisitionEvent, types: bool) -> None:
        known = self._types
        if types:
            for name, value in event.axes.items():
                if name in known and known[name][0] is not type(value):
                    raise _mixed(event, name, known[name][1], value)
        if not self._allow_duplicates:
            key = claim_key(event)
            if key in self._claimed:
                raise DuplicateImageError(
                    f"two images with the axes {event.axes}: each image needs axes of its own, "
                    "or the acquisition allow_duplicates=True (the last one counts then)"
                )
            self._claimed.add(key)
        if types:
            uses = self._uses
            for name, value in event.axes.items():
                if name in known:
                    uses[name] += 1
                else:
                    known[name] = (type(value), value)
                    uses[name] = 1

    def release(self, events: Iterable[AcquisitionEvent]) -> None:
        """Give the axes of events back: no image came of them. What was given back already stays so."""
        if not self._allow_duplicates:  # else nobody knows which of several claims this was
            with self._lock:
                self._release(event for event in events if event.acquire)

    def _release(self, events: Iterable[AcquisitionEvent], *, again: bool = False) -> None:
        for event in events:
            if not self._allow_duplicates:
                key = claim_key(event)
                if key not in self._claimed:
                    continue
                self._claimed.discard(key)
            elif not again:
                continue
            for name in event.axes:
                if name in self._uses:
                    self._uses[name] -= 1
                    if not self._uses[name]:
                        del self._uses[name], self._types[name]


def claim_key(event: AcquisitionEvent) -> int:
    """Hash the axes of an event. Of the text, not of the numbers: Python gives -1 and -2 the same hash, and tiles have both."""
    return hash(repr(event.key))


def _mixed(event: AcquisitionEvent, name: str, was: int | str, value: int | str) -> EventError:
    def told(one: int | str) -> str:
        return f"the {'text' if isinstance(one, str) else 'integer'} {one!r}"

    return EventError(
        f"axis {name!r} has {told(was)} in one event and {told(value)} in another, {event.axes}: the values of an axis are all integers, "
        "or all texts, in the whole acquisition",
        key="axes",
        value=value,
    )
