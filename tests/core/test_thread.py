from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.core.thread import HardwareThread, Wait
from aiomm.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def thread() -> Iterator[HardwareThread]:
    thread = HardwareThread("test-hardware")
    yield thread
    assert thread.close(10)


class Outcome:
    """What a routine came to."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def __call__(self, result: Any, error: BaseException | None) -> None:
        self.result, self.error = result, error
        self.event.set()

    def wait(self) -> Any:
        assert self.event.wait(10)
        if self.error is not None:
            raise self.error
        return self.result


def spawn(thread: HardwareThread, routine: Any) -> Outcome:
    outcome = Outcome()
    thread.spawn(routine, outcome)
    return outcome


class Gate:
    """Holds the hardware thread in a call until it is opened."""

    def __init__(self, thread: HardwareThread) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        thread.post(self._hold)
        assert self.entered.wait(10)

    def _hold(self) -> None:
        self.entered.set()
        assert self.go.wait(10)


async def test_calls_run_in_order_on_one_thread(thread: HardwareThread) -> None:
    done: list[tuple[int, int]] = []
    await asyncio.gather(*(thread.run(lambda k=k: done.append((k, threading.get_ident()))) for k in range(50)))
    assert [k for k, _ in done] == list(range(50))
    assert len({ident for _, ident in done} - {threading.get_ident()}) == 1


async def test_result_and_exception_come_back(thread: HardwareThread) -> None:
    assert await thread.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await thread.run(divmod, 7, 0)
    assert await asyncio.to_thread(thread.run_blocking, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(thread.run_blocking, divmod, 7, 0)


async def test_stop_iteration_and_base_exceptions_do_not_hang(thread: HardwareThread) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await thread.run(next, iter(()))

    def weird() -> None:
        raise GeneratorExit("odd")

    with pytest.raises(GeneratorExit):
        await thread.run(weird)
    assert await thread.run(lambda: 1) == 1


async def test_a_call_cancelled_before_it_began_is_never_made(thread: HardwareThread) -> None:
    gate, made = Gate(thread), []
    task = asyncio.create_task(thread.run(made.append, 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.go.set()
    await thread.run(made.append, 2)
    assert made == [2]


async def test_cancelling_a_call_in_progress_does_not_wait_for_it(thread: HardwareThread) -> None:
    entered, go, made = threading.Event(), threading.Event(), []

    def slow() -> None:
        entered.set()
        go.wait(10)
        made.append("slow")

    task = asyncio.create_task(thread.run(slow))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made == []
    go.set()
    await thread.run(made.append, "next")
    assert made == ["slow", "next"]


async def test_run_blocking_on_the_thread_itself(thread: HardwareThread) -> None:
    assert await thread.run(lambda: thread.run_blocking(threading.get_ident)) == await thread.run(threading.get_ident)


def test_loop_that_was_closed_meanwhile_harms_nobody(thread: HardwareThread) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        go.wait(10)

    async def leave() -> None:
        task = asyncio.create_task(thread.run(slow))
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()

    asyncio.run(leave())
    go.set()
    assert thread.run_blocking(lambda: "alive") == "alive"


def test_routine_gives_its_result_or_its_exception(thread: HardwareThread) -> None:
    def good():
        yield None
        return "result"

    def bad():
        yield None
        raise KeyError("own")

    assert spawn(thread, good()).wait() == "result"
    with pytest.raises(KeyError, match="own"):
        spawn(thread, bad()).wait()
    assert thread.run_blocking(lambda: "alive") == "alive"


def test_calls_run_between_the_steps_of_a_routine(thread: HardwareThread) -> None:
    log: list[str] = []
    started, posted = threading.Event(), threading.Event()

    def routine():
        started.set()
        posted.wait(10)
        for k in range(3):
            log.append(f"step {k}")
            yield None

    outcome = spawn(thread, routine())
    assert started.wait(10)
    thread.post(log.append, "call")
    posted.set()
    outcome.wait()
    assert log == ["step 0", "call", "step 1", "step 2"]


def test_routines_take_turns(thread: HardwareThread) -> None:
    log: list[str] = []
    gate = Gate(thread)

    def routine(name):
        for _ in range(3):
            log.append(name)
            yield None

    outcomes = [spawn(thread, routine(name)) for name in "ab"]
    gate.go.set()
    for outcome in outcomes:
        outcome.wait()
    assert log == list("ababab")


def test_a_signal_wakes_and_one_set_before_counts(thread: HardwareThread) -> None:
    signal = thread.signal()
    waiting = threading.Event()

    def routine():
        waiting.set()
        yield Wait(signal)
        signal.clear()
        yield Wait(signal)
        return "twice"

    outcome = spawn(thread, routine())
    assert waiting.wait(10)
    signal.set()
    while signal.is_set:
        time.sleep(0.001)
    signal.set()
    assert outcome.wait() == "twice"
    early = thread.signal()
    early.set()

    def at_once():
        yield Wait(early)
        return "at once"

    assert spawn(thread, at_once()).wait() == "at once"


def test_a_deadline_wakes_and_the_sooner_of_two_wins(thread: HardwareThread) -> None:
    never = thread.signal()

    def routine(until):
        yield Wait(never, until=until)
        return time.monotonic()

    now = time.monotonic()
    later, sooner = spawn(thread, routine(now + 0.2)), spawn(thread, routine(now + 0.05))
    assert sooner.wait() >= now + 0.05
    assert later.wait() >= now + 0.2
    assert sooner.result < later.result


def test_readers_only_parks_what_changes_something(thread: HardwareThread) -> None:
    log: list[str] = []
    exposed = thread.signal()
    moving = threading.Event()

    def event():
        log.append("move")
        moving.set()
        yield Wait(exposed, readers_only=True)
        log.append("expose")
        yield Wait(until=time.monotonic() + 0.01)
        log.append("next")

    outcome = spawn(thread, event())
    assert moving.wait(10)
    thread.post(log.append, "write 1")
    thread.post(log.append, "write 2")
    thread.run_blocking(log.append, "read", reads=True)
    exposed.set()
    outcome.wait()
    assert log == ["move", "read", "expose", "write 1", "write 2", "next"]


def test_parked_calls_run_when_the_routine_ends_or_fails(thread: HardwareThread) -> None:
    for fails in (False, True):
        waiting = threading.Event()

        def routine(fails=fails, waiting=waiting):
            waiting.set()
            yield Wait(until=time.monotonic() + 0.05, readers_only=True)
            if fails:
                raise RuntimeError("as asked")

        outcome = spawn(thread, routine())
        assert waiting.wait(10)
        assert thread.run_blocking(lambda: "made") == "made"  # nothing else comes that would wake the thread
        outcome.event.wait(10)
        assert (outcome.error is not None) is fails


def test_no_other_routine_goes_on_while_one_allows_readers_only(thread: HardwareThread) -> None:
    log: list[str] = []
    signal, other = thread.signal(), thread.signal()
    waiting = threading.Event()

    def exclusive():
        waiting.set()
        yield Wait(signal, readers_only=True)
        log.append("exclusive")

    def bystander():
        log.append("bystander")
        yield None

    def timed():
        yield Wait(other)
        log.append("timed")

    third = spawn(thread, timed())
    first = spawn(thread, exclusive())
    assert waiting.wait(10)
    second = spawn(thread, bystander())
    other.set()
    for _ in range(3):
        thread.run_blocking(lambda: None, reads=True)
    assert log == []
    signal.set()
    for outcome in (first, second, third):
        outcome.wait()
    assert log[0] == "exclusive"
    assert sorted(log[1:]) == ["bystander", "timed"]


class Iterations:
    """Counts how often the thread looks for something to do."""

    def __init__(self, thread: HardwareThread, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = thread._may_sleep

        def counted():
            self.count += 1
            return original()

        monkeypatch.setattr(thread, "_may_sleep", counted)


def test_nothing_spins(thread: HardwareThread, monkeypatch: pytest.MonkeyPatch) -> None:
    iterations = Iterations(thread, monkeypatch)
    signal = thread.signal()
    ready = thread.signal()
    ready.set()
    waiting = threading.Event()

    def waits(on, **how):
        waiting.set()
        yield Wait(on, **how)
        return "ended"

    exclusive = spawn(thread, waits(signal, readers_only=True, until=time.monotonic() + 60))
    assert waiting.wait(10)
    others = [spawn(thread, waits(ready)), spawn(thread, waits(ready))]  # due, but one allows readers only
    thread.post(lambda: None)  # parked
    thread.run_blocking(lambda: None, reads=True)
    before, cpu = iterations.count, time.process_time()
    time.sleep(0.3)
    assert iterations.count - before <= 2
    assert time.process_time() - cpu < 0.2
    signal.set()
    assert [o.wait() for o in (exclusive, *others)] == ["ended"] * 3
    thread.run_blocking(lambda: None)
    before = iterations.count
    time.sleep(0.2)
    assert iterations.count - before <= 2  # idle


def test_waiting_leaves_nothing_behind(thread: HardwareThread) -> None:
    """A deadline that was not reached is forgotten: an acquisition makes a hundred thousand of them."""
    import gc

    signal = thread.signal()

    def routine():
        for _ in range(1000):
            signal.set()
            yield Wait(signal, until=time.monotonic() + 3600)
            signal.clear()
        gc.collect()
        return sum(isinstance(o, Wait) for o in gc.get_objects())

    assert spawn(thread, routine()).wait() < 20


async def test_run_routine_hears_of_its_callers_cancellation(thread: HardwareThread) -> None:
    ended = threading.Event()

    def make(cancelled):
        yield Wait(cancelled)
        assert cancelled.is_set
        ended.set()

    task = asyncio.create_task(thread.run_routine(make))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 10)


def test_close_makes_the_calls_that_wait_and_ends_routines() -> None:
    thread = HardwareThread()
    log: list[str] = []
    started = threading.Event()

    def waits():
        try:
            started.set()
            yield Wait(thread.signal())
        finally:
            log.append("hardware safe")

    def busy():
        while True:
            yield None

    def exclusive():
        yield Wait(thread.signal(), readers_only=True)

    outcomes = [spawn(thread, waits())]
    assert started.wait(10)
    outcomes += [spawn(thread, busy()), spawn(thread, exclusive())]
    gate = threading.Event()
    thread.post(gate.wait, 10)
    thread.post(log.append, "call")
    thread.last_call = lambda: log.append("last")
    closer = threading.Thread(target=thread.close, args=(10,))
    closer.start()
    gate.set()
    closer.join(10)
    assert not thread.alive
    assert sorted(log[:-1]) == ["call", "hardware safe"]
    assert log[-1] == "last"
    for outcome in outcomes:
        with pytest.raises(ClosedError):
            outcome.wait()
    with pytest.raises(ClosedError):
        thread.run_blocking(lambda: None)
    never_run = waits()
    with pytest.raises(ClosedError):
        thread.spawn(never_run, Outcome())
    assert thread.close(1)


def test_a_routine_that_swallows_the_closing_does_not_keep_the_thread() -> None:
    for behaviour in ("yields", "returns", "stubborn"):
        thread = HardwareThread()
        waiting = threading.Event()

        def routine(behaviour=behaviour, waiting=waiting, thread=thread):
            for _ in range(3):
                try:
                    waiting.set()
                    yield Wait(thread.signal())
                except ClosedError:
                    if behaviour == "returns":
                        return "done"
                except GeneratorExit:
                    if behaviour != "stubborn":
                        raise

        outcome = spawn(thread, routine())
        assert waiting.wait(10)
        assert thread.close(10)
        if behaviour == "returns":
            assert outcome.wait() == "done"
        else:
            with pytest.raises((ClosedError, RuntimeError)):
                outcome.wait()


def test_close_from_the_thread_itself() -> None:
    thread = HardwareThread()
    assert thread.run_blocking(thread.close) is False
    assert thread.close(10)


async def test_aclose_from_several_tasks_and_again() -> None:
    thread = HardwareThread()
    order: list[str] = []
    thread.last_call = lambda: order.append("last")
    await asyncio.gather(thread.aclose(), thread.aclose())
    await thread.aclose()
    assert order == ["last"]
    assert not thread.alive


def test_close_says_when_a_call_still_runs() -> None:
    thread = HardwareThread()
    gate = Gate(thread)
    assert thread.close(0.01) is False
    gate.go.set()
    assert thread.close(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_done_callback_that_raises_is_shown_and_harms_nobody(thread: HardwareThread, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    def routine():
        yield None

    def wrong(result, error):
        raise LookupError("wrong")

    thread.spawn(routine(), wrong)
    while not shown:
        assert thread.run_blocking(lambda: "alive") == "alive"
    assert shown[0].exc_type is LookupError


def test_current_says_what_is_being_done(thread: HardwareThread) -> None:
    seen: list[str] = []
    thread.run_blocking(lambda: seen.append(thread.current), label=("setPosition", ("Z", 1.5)))

    def moves():
        seen.append(thread.current)
        thread.current = "moving Z"
        seen.append(thread.current)
        yield None

    spawn(thread, moves()).wait()
    assert seen[0] == "setPosition('Z', 1.5)"
    assert seen[1].endswith("moves")
    assert seen[2] == "moving Z"
    deadline = time.monotonic() + 10
    while thread.current and time.monotonic() < deadline:
        time.sleep(0.001)
    assert thread.current == ""


@pytest.mark.parametrize("seconds", [1e10, 1e300, float("inf"), float("nan")])
def test_a_deadline_too_far_for_a_lock_is_waited_for_all_the_same(thread: HardwareThread, seconds: float) -> None:
    stop = thread.signal()

    def routine() -> Any:
        while not stop.is_set:
            yield Wait(stop, until=time.monotonic() + seconds)
        return "stopped"

    outcome = spawn(thread, routine())
    assert thread.run_blocking(lambda: "alive") == "alive"
    stop.set()
    assert outcome.wait() == "stopped"


class Hostile:
    """A deadline that cannot be compared: a fault of whoever makes one, which the thread meets outside any routine."""

    def __le__(self, other: object) -> bool:
        raise ArithmeticError("no such time")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_ends_the_thread_reaches_everyone_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    thread = HardwareThread("test-hardware")
    left: list[str] = []
    thread.last_call = lambda: left.append("devices")

    def good() -> Any:
        try:
            yield Wait(thread.signal())
        finally:
            left.append("good")

    def bad() -> Any:
        yield Wait(until=Hostile())  # type: ignore[arg-type]

    gate = Gate(thread)
    outcomes = [spawn(thread, good()), spawn(thread, bad())]
    gate.go.set()
    for outcome in outcomes:
        with pytest.raises(ClosedError, match="ended by an error of its own: ArithmeticError: no such time"):
            outcome.wait()
    assert thread.close(10)
    assert left == ["good", "devices"]
    assert [type(args.exc_value) for args in shown] == [ArithmeticError]
    with pytest.raises(ClosedError, match="no such time"):
        thread.run_blocking(lambda: 1)
    with pytest.raises(ClosedError, match="no such time"):
        thread.spawn(good(), lambda result, error: None)


def test_every_wait_of_a_few_microseconds_ends(thread: HardwareThread) -> None:
    """An acquisition waits so for each of its events; one wait in some ten thousand was for ever."""

    def routine() -> Any:
        for n in range(20_000):
            thread.wake()
            yield None
            yield Wait(until=time.monotonic() + (1 + n % 8) * 1e-6, readers_only=bool(n % 2))
        return "ended"

    outcome = spawn(thread, routine())
    assert outcome.event.wait(60)
    assert outcome.wait() == "ended"
