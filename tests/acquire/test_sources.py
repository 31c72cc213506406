"""Sources: what acquire() takes, cut into scopes; the user's errors and generators are treated with care."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, UserDict, deque
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.mda import multi_d_acquisition_events
from aiomm.acquire.sources import open_source
from aiomm.errors import EventError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def e(i: int) -> dict[str, Any]:
    return {"axes": {"i": i}}


def seen(events: Any) -> list[int]:
    return [event.axes["i"] for event in events]


# ---- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("things", [[e(0), e(1)], (e(0), e(1)), deque([e(0), e(1)]), [OrderedDict(e(0)), UserDict(e(1))]])
def test_a_sequence_is_one_scope(things: Any) -> None:
    source = open_source(things)
    assert (source.scope, len(source)) == ("list", 2)
    assert seen(source) == seen(source) == [0, 1]


@pytest.mark.parametrize("one", [e(0), AcquisitionEvent(axes={"i": 0}), OrderedDict(e(0))])
def test_one_event_is_a_list_of_one(one: Any) -> None:
    source = open_source(one)
    assert (source.scope, len(source), seen(source)) == ("list", 1, [0])
    assert open_source(source) is source


def test_an_empty_list_is_an_empty_scope() -> None:
    assert list(open_source([])) == []


def test_each_loop_gives_the_same_events() -> None:
    for count in (3, 3000):
        source = open_source([e(i) for i in range(count)])
        assert len(source) == count
        assert list(map(id, source)) == list(map(id, source))


def test_two_loops_at_once_do_not_disturb_each_other() -> None:
    source = open_source([e(i) for i in range(1500)])
    one, two = iter(source), iter(source)
    assert [next(one).axes["i"] for _ in range(5)] == [0, 1, 2, 3, 4]
    assert seen(two) == list(range(1500))
    assert seen(one) == list(range(5, 1500))


def test_a_dict_may_be_used_again_at_once() -> None:
    event = e(0)
    sources = []
    for i in range(3):
        event["axes"]["i"] = i
        sources += [open_source(event), open_source([event])]
    assert [seen(source) for source in sources] == [[0], [0], [1], [1], [2], [2]]


def test_a_list_may_grow_after_it_was_given() -> None:
    things = [e(i) for i in range(2000)]
    source = open_source(things)
    things.append(e(9999))
    assert len(list(source)) == 2000


def test_multi_d_events_are_read_with_the_users_changes() -> None:
    events = multi_d_acquisition_events(2000)
    events[1500]["z"] = 7
    source = open_source(events)
    assert len(source) == 2000
    assert [event.z for event in source if event.z is not None] == [7]


@pytest.mark.parametrize("count", [3, 3000])
def test_a_wrong_event_is_named_by_its_number_when_it_is_reached(count: int) -> None:
    things: list[Any] = [e(i) for i in range(count)]
    things[2] = {"axes": {}, "exposur": 3}
    source = open_source(things)
    for _ in range(2):
        events = iter(source)
        assert [next(events).axes["i"] for _ in range(2)] == [0, 1]
        with pytest.raises(EventError, match=r"^event 2: unknown key 'exposur'.*'exposure'") as caught:
            next(events)
        assert (caught.value.key, caught.value.value) == ("exposur", 3)


@pytest.mark.parametrize("thing", [None, 3, "axes", [e(0)]])
def test_what_is_no_event_in_a_list(thing: Any) -> None:
    with pytest.raises(EventError, match="event 1: an event is a dict"):
        list(open_source([e(0), thing]))


@pytest.mark.parametrize(
    "thing, words",
    [
        (None, "mark_finished"),
        (3, "not 3"),
        ("axes", "not 'axes'"),
        (b"axes", "not b'axes'"),
        ({1, 2}, "no order"),
        (lambda: [], "call the function"),
    ],
)
def test_what_is_no_source(thing: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        open_source(thing)


# ---- generators -----------------------------------------------------------------------------------------------------


def test_a_generator_is_pulled_no_further_than_asked() -> None:
    pulled = []

    def generate() -> Iterator[Any]:
        for i in range(100_000):
            pulled.append(i)
            yield e(i)

    source = open_source(generate())
    assert source.scope == "windows"
    assert pulled == []
    assert seen(source.next_items(64)) == list(range(64)) == pulled
    assert seen(source.next_items(3)) == [64, 65, 66]


def test_windows_of_any_iterable() -> None:
    for things in ((e(i) for i in range(5)), map(e, range(5)), {i: e(i) for i in range(5)}.values()):
        source = open_source(things)
        assert [seen(source.next_items(2)) for _ in range(4)] == [[0, 1], [2, 3], [4], []]
        assert source.next_items(2) == [], "an end is an end"


def test_a_list_in_a_generator_is_a_scope_by_itself() -> None:
    source = open_source(iter([e(0), [e(1), e(2), e(3)], [], (e(4),), e(5)]))
    assert [seen(source.next_items(2)) for _ in range(5)] == [[0], [1, 2, 3], [4], [5], []]


def test_a_generators_error_passes_through_after_what_came_before() -> None:
    class Mine(Exception):
        pass

    mine = Mine("the sample is gone")

    def generate() -> Iterator[Any]:
        yield e(0)
        raise mine

    source = open_source(generate())
    assert seen(source.next_items(64)) == [0]
    with pytest.raises(Mine) as caught:
        source.next_items(64)
    assert caught.value is mine
    assert source.next_items(64) == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_no_exception_is_raised_as_one_after_what_stood_before(kind: type[BaseException]) -> None:
    def generate() -> Iterator[Any]:
        yield e(0)
        raise kind

    source = open_source(generate())
    assert seen(source.next_items(64)) == [0]
    with pytest.raises(EventError, match=f"raised {kind.__name__}"):
        source.next_items(64)
    assert source.next_items(64) == []


def test_a_wrong_event_closes_the_generator() -> None:
    closed = []

    def generate() -> Iterator[Any]:
        try:
            yield [e(0), e(1)]
            yield e(2)
            yield {"z": "up"}
            yield e(4)
        finally:
            closed.append(True)

    source = open_source(generate())
    assert seen(source.next_items(64)) == [0, 1]
    assert seen(source.next_items(64)) == [2]
    assert not closed
    with pytest.raises(EventError, match=r"^event 3: z: 'up'"):
        source.next_items(64)
    assert closed


def test_close_closes_a_generator_and_nothing_else() -> None:
    closed = []

    class Reader:
        def __iter__(self) -> Reader:
            return self

        def __next__(self) -> Any:
            return e(0)

        def close(self) -> None:
            closed.append("reader")

    def generate() -> Iterator[Any]:
        try:
            yield e(0)
            yield e(1)
        finally:
            closed.append("generator")

    source = open_source(generate())
    source.next_items(1)
    source.close()
    source.close()
    assert source.next_items(1) == []
    other = open_source(Reader())
    other.next_items(1)
    other.close()
    assert closed == ["generator"]


def test_close_while_the_generator_runs_elsewhere() -> None:
    inside, go = threading.Event(), threading.Event()
    closed: list[str] = []

    def generate() -> Iterator[Any]:
        try:
            yield e(0)
            inside.set()
            go.wait(10)
            yield e(1)
        finally:
            closed.append(threading.current_thread().name)

    source = open_source(generate())
    thread = threading.Thread(target=source.next_items, args=(64,), name="worker")
    thread.start()
    inside.wait(10)
    source.close()
    assert closed == []
    go.set()
    thread.join(10)
    assert closed == ["worker"]
    assert source.next_items(1) == []


# ---- async ----------------------------------------------------------------------------------------------------------


async def test_an_async_iterator_is_pulled_item_by_item() -> None:
    pulled = []
    closed = []

    async def generate() -> AsyncIterator[Any]:
        try:
            for item in (e(0), [e(1), e(2)], [], AcquisitionEvent(axes={"i": 3}), {"zz": 1}):
                pulled.append(item)
                yield item
        finally:
            closed.append(True)

    source = open_source(generate())
    assert source.scope == "items"
    assert seen(await source.anext()) == [0]
    assert len(pulled) == 1
    assert seen(await source.anext()) == [1, 2]
    assert seen(await source.anext()) == [3]
    with pytest.raises(EventError, match="event 4: unknown key 'zz'"):
        await source.anext()
    await source.aclose()
    assert closed


async def test_the_end_and_the_error_of_an_async_generator() -> None:
    async def generate(fail: bool) -> AsyncIterator[Any]:
        yield e(0)
        if fail:
            raise KeyError("mine")

    for fail, error in ((False, StopAsyncIteration), (True, KeyError)):
        source = open_source(generate(fail))
        await source.anext()
        with pytest.raises(error):
            await source.anext()
        await source.aclose()


def test_a_source_has_the_ways_of_its_scope_only() -> None:
    with pytest.raises(TypeError, match="no windows"):
        open_source([]).next_items(1)
    with pytest.raises(TypeError, match="no list"):
        iter(open_source(iter([])))
    with pytest.raises(TypeError, match="does not know"):
        len(open_source(iter([])))
