from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.core.thread import HardwareThread, Wait
from aiomm.core.turns import Turn, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def thread() -> Iterator[HardwareThread]:
    thread = HardwareThread("test-hardware")
    yield thread
    assert thread.close(10)


class Driver:
    """Takes the turn, holds it until told to go on, and writes down when it had it."""

    def __init__(self, thread: HardwareThread, turns: Turns, log: list[str], name: str, within: Turn | None = None) -> None:
        self.name, self.log, self.turns = name, log, turns
        self.turn = Turn(self, within)
        self.signal, self.go = thread.signal(), thread.signal()
        self.abort = False
        self.ended = threading.Event()
        thread.spawn(self.routine(), lambda result, error: self.ended.set())
        thread.run_blocking(lambda: None)

    def routine(self) -> Any:
        while not (yield from self.turns.take(self.turn, self.signal)):
            if self.abort:
                self.log.append(f"{self.name} aborted")
                return
        self.log.append(f"{self.name} has it")
        try:
            yield Wait(self.go)
        finally:
            self.turns.give_back(self.turn)

    def finish(self) -> None:
        self.go.set()
        assert self.ended.wait(10)


def settle(thread: HardwareThread) -> None:
    """Let routines that were woken do their step."""
    for _ in range(5):
        thread.run_blocking(lambda: None)
        time.sleep(0.002)


def test_first_come_first_served(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    a, b, c = (Driver(thread, turns, log, name) for name in "abc")
    assert log == ["a has it"]
    assert turns.holder is a
    a.finish()
    settle(thread)
    assert log == ["a has it", "b has it"]
    b.finish()
    c.finish()
    assert log == ["a has it", "b has it", "c has it"]
    assert turns.holder is None


def test_a_turn_within_a_hook_goes_before_those_who_wait(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    outer = Driver(thread, turns, log, "outer")
    outer.turn.lent = True
    waiting = Driver(thread, turns, log, "waiting")
    inner = Driver(thread, turns, log, "inner", within=outer.turn)
    assert log == ["outer has it", "inner has it"]
    inner.finish()
    settle(thread)
    assert log[2:] == []
    outer.finish()
    waiting.finish()
    assert log == ["outer has it", "inner has it", "waiting has it"]


def test_a_turn_within_one_whose_hook_has_returned_waits_in_line(thread: HardwareThread) -> None:
    """Or it would drive the hardware beside the outer one, between its move and its exposure."""
    turns, log = Turns(), []
    outer = Driver(thread, turns, log, "outer")
    inner = Driver(thread, turns, log, "inner", within=outer.turn)
    settle(thread)
    assert log == ["outer has it"]
    outer.finish()
    inner.finish()
    assert log == ["outer has it", "inner has it"]


def test_a_turn_within_one_that_is_over_waits_in_line(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    over = Driver(thread, turns, log, "over")
    over.finish()
    other = Driver(thread, turns, log, "other")
    late = Driver(thread, turns, log, "late", within=over.turn)
    assert log == ["over has it", "other has it"]
    other.finish()
    late.finish()
    assert log[-1] == "late has it"


def test_an_abort_ends_the_waiting_and_leaves_the_line_whole(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    a, b, c = (Driver(thread, turns, log, name) for name in "abc")
    b.abort = True
    b.signal.set()
    assert b.ended.wait(10)
    a.finish()
    c.finish()
    assert log == ["a has it", "b aborted", "c has it"]


def test_an_abort_set_before_the_waiting_is_not_lost(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    a = Driver(thread, turns, log, "a")
    b = Driver.__new__(Driver)
    b.name, b.log, b.turns, b.turn, b.abort = "b", log, turns, Turn(None), True
    b.signal, b.go, b.ended = thread.signal(), thread.signal(), threading.Event()
    b.signal.set()
    thread.spawn(b.routine(), lambda result, error: b.ended.set())
    assert b.ended.wait(10)
    a.finish()
    assert log == ["a has it", "b aborted"]


def test_a_wake_for_nothing_is_harmless(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    a, b = (Driver(thread, turns, log, name) for name in "ab")
    b.signal.set()
    settle(thread)
    assert log == ["a has it"]
    a.finish()
    b.finish()
    assert log == ["a has it", "b has it"]


def test_a_routine_that_dies_with_the_turn_on_its_way_gives_it_back(thread: HardwareThread) -> None:
    turns = Turns()
    first, second, third = Turn("first"), Turn("second"), Turn("third")
    assert list(turns.take(first, thread.signal())) == []
    dying = turns.take(second, thread.signal())
    next(dying)
    turns.give_back(first)  # second is given the turn, but does not go on
    assert turns.holder == "second"
    with pytest.raises(LookupError):
        dying.throw(LookupError())
    assert turns.holder is None
    assert list(turns.take(third, thread.signal())) == []


def test_giving_back_what_one_does_not_have_is_nothing(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    a, b = (Driver(thread, turns, log, name) for name in "ab")
    thread.run_blocking(turns.give_back, Turn("nobody"))
    settle(thread)
    assert log == ["a has it"]
    a.finish()
    b.finish()


def test_what_is_to_be_done_when_nobody_has_a_turn_comes_before_the_next(thread: HardwareThread) -> None:
    turns, log = Turns(), []
    thread.run_blocking(turns.when_free, lambda: log.append("free"))
    outer = Driver(thread, turns, log, "outer")
    outer.turn.lent = True
    inner = Driver(thread, turns, log, "inner", within=outer.turn)
    next_one = Driver(thread, turns, log, "next")
    thread.run_blocking(turns.when_free, lambda: log.append("free again"))
    inner.finish()
    settle(thread)
    outer.finish()
    next_one.finish()
    assert log == ["free", "outer has it", "inner has it", "free again", "next has it"]
