"""What ``acquire()`` accepts: one event, a list, an iterable, a generator, an async iterator, a useq sequence.

A source is pulled scope by scope; a scope is a list of events that may become one hardware sequence with each other:

=============  ========================================  ==================================================
``scope``      made from                                 a scope is
=============  ========================================  ==================================================
``"list"``     a dict, a list, a useq sequence           all of it
``"windows"``  a generator or other iterable             the next `n` events, or one item that is a list
``"items"``    an async iterator                         one item: an event or a list
=============  ========================================  ==================================================
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal

from aiomm.acquire.event_values import numbered
from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.mda import EventList
from aiomm.acquire.useq import UseqReader, is_useq_event, is_useq_sequence
from aiomm.errors import EventError

__all__ = ["Source", "open_source"]

AT_ONCE = 1000  # events of a list that are read when it is submitted: up to about 5 ms


class Converter:
    """Makes events of what a source gives, and counts them from 0 for error messages."""

    def __init__(self) -> None:
        self.count = 0
        self._useq: UseqReader | None = None

    def event(self, thing: Any, *, setup: bool = False) -> AcquisitionEvent:
        number = self.count
        if type(thing) is not dict and is_useq_event(thing):
            self._useq = self._useq or UseqReader()
            event = self._useq.read(thing, number, setup=setup)
        elif isinstance(thing, (Mapping, AcquisitionEvent)):
            try:
                event = AcquisitionEvent.from_dict(thing)
            except EventError as error:
                raise numbered(number, error) from None
        else:
            raise EventError(f"event {number}: an event is a dict, not {thing!r:.80}", value=thing)
        self.count += 1
        return event

    def scope(self, item: Any) -> list[AcquisitionEvent]:
        """Return the events of one item: of an event itself, or of a list of events."""
        if is_list(item):
            return [self.event(thing) for thing in item]
        return [self.event(item)]


def is_list(thing: object) -> bool:
    return isinstance(thing, Sequence) and not isinstance(thing, (str, bytes, bytearray, memoryview))


class Source:
    """Events to come; made by `open_source`.

    Attributes
    ----------
    scope : "list", "windows" or "items"
        How it is cut into scopes, and so which of ``iter``, `next_items` and `anext` it has.
    """

    scope: Literal["list", "windows", "items"]

    def __iter__(self) -> Iterator[AcquisitionEvent]:
        """Of a list: its events, the same ones each time. The first loop over a long list makes them: about 5 µs each."""
        raise TypeError(f"a source of {self.scope!r} is no list")

    def __len__(self) -> int:
        """Of a list: how many events there are."""
        raise TypeError(f"a source of {self.scope!r} does not know how many events come")

    def next_items(self, n: int) -> list[AcquisitionEvent]:
        """Return the next scope of at most `n` events; empty at the end. Runs the user's generator, so call it in a worker thread.

        What stands before an error is returned first; the next call raises it. A list among the items is a scope by itself.
        What `take` has given meanwhile counts, and is not in it.
        """
        raise TypeError(f"a source of {self.scope!r} has no windows")

    @property
    def alone(self) -> bool:
        """Whether what `next_items` gave last was a list among the items, and not a window to which more may be added."""
        raise TypeError(f"a source of {self.scope!r} has no windows")

    @property
    def quiet_since(self) -> float:
        """When the call of `next_items` under way last had something of the user's generator: ``time.monotonic()``."""
        raise TypeError(f"a source of {self.scope!r} has no windows")

    def take(self, on_more: Callable[[], None]) -> list[AcquisitionEvent]:
        """Return what the call of `next_items` under way has pulled so far; never waits.

        Where that is nothing, ``on_more()`` is called once there is something, in the thread of that call.
        """
        raise TypeError(f"a source of {self.scope!r} has no windows")

    async def anext(self) -> list[AcquisitionEvent]:
        """Return the next scope of an async source, never empty; StopAsyncIteration at the end."""
        raise TypeError(f"a source of {self.scope!r} is not asynchronous")

    def close(self) -> None:
        """Close a generator. If `next_items` runs in another thread, it does so as soon as the generator gives control back."""

    async def aclose(self) -> None:
        """Close an async generator."""


class ListSource(Source):
    """All events at once. A short list is read at once, so that its dicts are the caller's to use again."""

    scope = "list"

    def __init__(self, things: Iterable[Any], length: int | None, setup: Any = None) -> None:
        self._length = length
        self._converter = Converter()
        self._events: list[AcquisitionEvent] = []
        self._error: BaseException | None = None
        if setup is not None:
            self._keep(setup, setup=True)
            self._converter.count = 0
        self._rest = iter(things)
        self._done = False
        if length is not None and length <= AT_ONCE:
            while not self._done:
                self._more()

    def _keep(self, thing: Any, *, setup: bool = False) -> None:
        try:
            self._events.append(self._converter.event(thing, setup=setup))
        except Exception as error:  # raised when the loop comes to it
            self._error = error
            self._done = True

    def _more(self) -> None:
        try:
            thing = next(self._rest)
        except StopIteration:
            self._done = True
        except Exception as error:
            self._error = error
            self._done = True
        else:
            self._keep(thing)

    def __iter__(self) -> Iterator[AcquisitionEvent]:
        events = self._events
        index = 0
        while True:
            while index < len(events):
                yield events[index]
                index += 1
            if self._error is not None:
                raise self._error
            if self._done:
                return
            self._more()

    def __len__(self) -> int:
        if self._length is None or self._done:
            return sum(1 for _ in self)
        return self._length


class WindowSource(Source):
    """A generator or another iterable, pulled as far ahead as asked for and no further."""

    scope = "windows"

    def __init__(self, things: Iterable[Any]) -> None:
        self._things = iter(things)
        self._converter = Converter()
        self._window: list[AcquisitionEvent] = []  # of the call of next_items under way
        self._handling = threading.Lock()  # of the window, for a moment
        self._on_more: Callable[[], None] | None = None
        self._moved = time.monotonic()
        self._alone = False
        self._list: list[AcquisitionEvent] | None = None  # a scope of its own that came before the window was full
        self._error: BaseException | None = None
        self._done = False
        self._closing = False
        self._running = threading.Lock()  # held by whoever is in the user's code

    def next_items(self, n: int) -> list[AcquisitionEvent]:
        with self._running:
            window = [] if self._closing else self._next(n)
        if self._closing or (self._error is not None and not window):
            failure, self._error = self._error, None
            self.close()
            if failure is not None:
                raise failure
        return window

    def _next(self, n: int) -> list[AcquisitionEvent]:
        pulled = 0
        self._alone = False
        try:
            while not self._done and self._error is None and self._list is None:
                self._moved = time.monotonic()
                try:
                    thing = next(self._things)
                except StopIteration:
                    self._done = True
                    break
                except Exception:
                    raise
                except BaseException as error:
                    raise _not_for_the_loop(error) from error
                if is_list(thing):
                    self._list = self._converter.scope(thing) or None
                    continue
                pulled += 1
                if window := self._add(self._converter.event(thing), last=pulled == n):
                    return window
        except Exception as error:
            self._error = error
        with self._handling:
            window, self._window = self._window, []
        if not window and self._list is not None:
            window, self._list, self._alone = self._list, None, True
        return window

    def _add(self, event: AcquisitionEvent, *, last: bool) -> list[AcquisitionEvent]:
        """Put an event into the window; gives it with the last one."""
        with self._handling:
            self._window.append(event)
            if last:
                window, self._window = self._window, []
                return window
        on_more, self._on_more = self._on_more, None
        if on_more is not None:
            on_more()
        return []

    @property
    def alone(self) -> bool:
        return self._alone

    @property
    def quiet_since(self) -> float:
        return self._moved

    def take(self, on_more: Callable[[], None]) -> list[AcquisitionEvent]:
        self._on_more = on_more
        if not self._handling.acquire(blocking=False):  # it goes on just now
            on_more()
            return []
        try:
            window, self._window = self._window, []
        finally:
            self._handling.release()
        return window

    def close(self) -> None:
        self._closing = self._done = True
        if self._running.acquire(blocking=False):  # else next_items sees the flag when it lets go
            try:
                close = getattr(self._things, "close", None)
                if callable(close) and hasattr(self._things, "throw"):  # a generator: a file's close() is not ours to call
                    close()
            finally:
                self._running.release()


class ItemSource(Source):
    """An async iterator, pulled one item at a time."""

    scope = "items"

    def __init__(self, things: AsyncIterable[Any]) -> None:
        self._things: AsyncIterator[Any] = aiter(things)
        self._converter = Converter()

    async def anext(self) -> list[AcquisitionEvent]:
        while True:
            try:
                thing = await anext(self._things)
            except (KeyboardInterrupt, SystemExit) as error:
                raise _not_for_the_loop(error) from error
            scope = self._converter.scope(thing)
            if scope:
                return scope

    async def aclose(self) -> None:
        close = getattr(self._things, "aclose", None)
        if callable(close) and hasattr(self._things, "athrow"):
            await close()


def _not_for_the_loop(error: BaseException) -> EventError:
    """Wrap what would tear the event loop down, or look as if somebody had cancelled."""
    return EventError(f"the events' generator raised {error!r}; it should raise an Exception")


def open_source(events: Any) -> Source:
    """Return the source that a user's argument of ``acquire()`` stands for.

    Notes
    -----
    The dicts are never changed. Up to 1000 events of a list are read before this returns, so that the caller may use
    its dicts again; a longer list should not change until the submission has begun. An event that is wrong raises when
    its turn to be read comes, with its number, counted from 0.

    Raises
    ------
    TypeError
        The argument is nothing that could be events.
    """
    if isinstance(events, Source):
        return events
    if isinstance(events, (Mapping, AcquisitionEvent)) or is_useq_event(events):
        return ListSource([events], 1)
    if is_useq_sequence(events):
        # Version 2 of useq has sequences without an end.
        if type(events).__module__.startswith("useq.v2"):
            return WindowSource(events.iter_events())
        return ListSource(events.iter_events(), None, getattr(events, "setup", None))
    if isinstance(events, EventList):
        return ListSource(events.fresh(), len(events))
    if is_list(events):
        return ListSource(list(events), len(events))
    if isinstance(events, AsyncIterable):
        return ItemSource(events)
    if isinstance(events, Iterable) and not isinstance(events, (str, bytes, bytearray, memoryview, Set)):
        return WindowSource(events)
    if events is None:
        raise TypeError("None is no event; mark_finished() says that no more events will come")
    hint = ""
    if callable(events):
        hint = "; call the function and give what it returns" if not isinstance(events, type) else ""
    elif isinstance(events, Set):
        hint = "; a set has no order"
    raise TypeError(
        f"events must be a dict, a list, an iterable or an async iterator of events, or a useq sequence, not {events!r:.80}{hint}"
    )
