"""What a thread waits on for work: in order, from any thread, and every wait ends."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from aiomm.inbox import Inbox


def test_what_was_put_comes_in_order() -> None:
    inbox: Inbox[int] = Inbox()
    assert inbox.empty()
    for n in range(3):
        inbox.put(n)
    assert not inbox.empty()
    assert [inbox.get(), inbox.get(timeout=1), inbox.get(timeout=0)] == [0, 1, 2]
    assert inbox.empty()


@pytest.mark.parametrize("timeout", [0, 0.001, -1])
def test_nothing_came(timeout: float) -> None:
    with pytest.raises(queue.Empty):
        Inbox[int]().get(timeout=timeout)


def test_the_longest_wait_there_is() -> None:
    inbox: Inbox[int] = Inbox()
    threading.Timer(0.05, inbox.put, [1]).start()
    assert inbox.get(timeout=threading.TIMEOUT_MAX) == 1


def test_it_waits_as_long_as_it_is_told_also_where_it_is_woken_for_nothing() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put(0)
    inbox.put(0)
    inbox.get()
    inbox.get()  # the bell of the second put still rings
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        inbox.get(timeout=0.05)
    assert time.monotonic() - began >= 0.05


def test_every_wait_of_a_few_microseconds_ends() -> None:
    """``queue.SimpleQueue`` does not do so on CPython before 3.13: one in some thousand lasts for ever."""
    inbox: Inbox[int] = Inbox()
    ended = threading.Event()

    def main() -> None:
        for n in range(30_000):
            inbox.put(n)
            inbox.get()
            with pytest.raises(queue.Empty):
                inbox.get(timeout=(1 + n % 4) * 1e-6)
        ended.set()

    threading.Thread(target=main, daemon=True).start()
    assert ended.wait(60)


def test_nothing_is_lost_between_threads() -> None:
    inbox: Inbox[tuple[int, int]] = Inbox()
    each = 20_000

    def write(who: int) -> None:
        for n in range(each):
            inbox.put((who, n))

    writers = [threading.Thread(target=write, args=(who,), daemon=True) for who in range(3)]
    for writer in writers:
        writer.start()
    seen: dict[int, int] = {}
    for n in range(3 * each):
        who, number = inbox.get(timeout=None if n % 2 else 30)
        assert number == seen.get(who, -1) + 1
        seen[who] = number
    assert inbox.empty()
    assert seen == dict.fromkeys(range(3), each - 1)
    for writer in writers:
        writer.join(10)


def test_a_thread_that_waits_is_woken() -> None:
    inbox: Inbox[int] = Inbox()
    back: Inbox[int] = Inbox()

    def echo() -> None:
        while (n := inbox.get()) >= 0:
            back.put(n)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    for n in range(5000):
        inbox.put(n)
        assert back.get(timeout=30) == n
    inbox.put(-1)
    thread.join(10)
    assert not thread.is_alive()
