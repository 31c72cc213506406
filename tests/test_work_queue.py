"""What a thread waits on for work: in order, from any thread, and every wait ends."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from aiomm.work_queue import WorkQueue


def test_what_was_put_comes_in_order() -> None:
    work: WorkQueue[int] = WorkQueue()
    assert work.empty()
    for n in range(3):
        work.put(n)
    assert not work.empty()
    assert [work.get(), work.get(timeout=1), work.get(timeout=0)] == [0, 1, 2]
    assert work.empty()


@pytest.mark.parametrize("timeout", [0, 0.001, -1])
def test_nothing_came(timeout: float) -> None:
    with pytest.raises(queue.Empty):
        WorkQueue[int]().get(timeout=timeout)


def test_the_longest_wait_there_is() -> None:
    work: WorkQueue[int] = WorkQueue()
    threading.Timer(0.05, work.put, [1]).start()
    assert work.get(timeout=threading.TIMEOUT_MAX) == 1


def test_it_waits_as_long_as_it_is_told_also_where_it_is_woken_for_nothing() -> None:
    work: WorkQueue[int] = WorkQueue()
    work.put(0)
    work.put(0)
    work.get()
    work.get()  # the bell of the second put still rings
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        work.get(timeout=0.05)
    assert time.monotonic() - began >= 0.05


def test_every_wait_of_a_few_microseconds_ends() -> None:
    """``queue.SimpleQueue`` does not do so on CPython before 3.13: one in some thousand lasts for ever."""
    work: WorkQueue[int] = WorkQueue()
    ended = threading.Event()

    def main() -> None:
        for n in range(30_000):
            work.put(n)
            work.get()
            with pytest.raises(queue.Empty):
                work.get(timeout=(1 + n % 4) * 1e-6)
        ended.set()

    threading.Thread(target=main, daemon=True).start()
    assert ended.wait(60)


def test_nothing_is_lost_between_threads() -> None:
    work: WorkQueue[tuple[int, int]] = WorkQueue()
    each = 20_000

    def write(who: int) -> None:
        for n in range(each):
            work.put((who, n))

    writers = [threading.Thread(target=write, args=(who,), daemon=True) for who in range(3)]
    for writer in writers:
        writer.start()
    seen: dict[int, int] = {}
    for n in range(3 * each):
        who, number = work.get(timeout=None if n % 2 else 30)
        assert number == seen.get(who, -1) + 1
        seen[who] = number
    assert work.empty()
    assert seen == dict.fromkeys(range(3), each - 1)
    for writer in writers:
        writer.join(10)


def test_a_thread_that_waits_is_woken() -> None:
    work: WorkQueue[int] = WorkQueue()
    back: WorkQueue[int] = WorkQueue()

    def echo() -> None:
        while (n := work.get()) >= 0:
            back.put(n)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    for n in range(5000):
        work.put(n)
        assert back.get(timeout=30) == n
    work.put(-1)
    thread.join(10)
    assert not thread.is_alive()
