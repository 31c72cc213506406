"""Calling a user's function: arguments, contexts, exceptions, cancellation, and what it returns."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import traceback
import weakref
from unittest import mock

import anyio
import numpy as np
import pytest

from aiomm.acquire import callers
from aiomm.acquire.hooks import EventQueue, UserFunction, check_hook_result, check_processor_result, choose_form
from aiomm.errors import ClosedError, HookError, QueueFull, UnsupportedError
from aiomm.work_queue import WorkQueue


class Core:
    """Stands for a LocalCore where only its identity matters."""


def make(fn, kind="hook", *, core=None, put=lambda events: None, **more):
    return UserFunction(fn, kind, name="pre_hardware_hook_fn", owner=core, queue=EventQueue(put), **more)


# ---- which arguments it gets ----------------------------------------------------------------------------------------


class Methods:
    def one(self, event): ...
    def two(self, event, queue): ...
    def three(self, event, bridge, queue): ...
    async def async_two(self, event, queue): ...

    @classmethod
    def class_one(cls, event): ...

    @staticmethod
    def static_three(event, bridge, queue): ...


class CallableObject:
    def __call__(self, event, queue): ...


class AsyncCallable:
    async def __call__(self, event, bridge, queue):
        return event, await bridge.get_core(), queue


def wrapped(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


def bare(fn):
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


def with_kwargs(event, **kwargs): ...


def partial_target(gain, event, bridge, queue): ...


ONE, TWO, THREE = ("event",), ("event", "queue"), ("event", "bridge", "queue")


@pytest.mark.parametrize(
    ("fn", "form"),
    [
        (lambda e: e, ONE),
        (lambda e, q: e, TWO),
        (lambda e, b, q: e, THREE),
        (Methods().one, ONE),
        (Methods().two, TWO),
        (Methods().three, THREE),
        (Methods().async_two, TWO),
        (Methods.class_one, ONE),
        (Methods.static_three, THREE),
        (CallableObject(), TWO),
        (AsyncCallable(), THREE),
        (wrapped(lambda e, b, q: e), THREE),
        (bare(lambda e: e), ONE),
        (with_kwargs, ONE),
        (functools.partial(partial_target, 3), THREE),
        (functools.partial(lambda e, b, q, gain: e, gain=3), THREE),
        (functools.partial(lambda e, gain: e, gain=3), ONE),
        (lambda e, i=3: e, ONE),
        (lambda e, i=3, j=4, k=5, m=6: e, ONE),
        (lambda e=None: e, ONE),
        (lambda event, queue=None: event, TWO),
        (lambda event, event_queue=None: event, TWO),
        (lambda event, bridge=None, queue=None: event, THREE),
        (lambda event, bridge, queue=None: event, THREE),
        (lambda event, queue=None, bridge=None: event, TWO),
        (lambda event, queue, i=3: event, TWO),
        (lambda *args: None, ONE),
        (lambda event, *rest: event, ONE),
        (lambda event, queue, *rest: event, TWO),
        (lambda event, *, i=3: event, ONE),
        (mock.Mock(), ONE),
        (print, ONE),
        ([].append, ONE),
        (dict, ONE),
    ],
)
def test_hook_forms(fn, form):
    assert choose_form(fn, "hook", "pre_hardware_hook_fn") == form


@pytest.mark.parametrize(
    ("kind", "fn", "count"),
    [
        ("processor", lambda i, m: 0, 2),
        ("processor", lambda i, m, q: 0, 3),
        ("processor", lambda i, m, b, q: 0, 4),
        ("processor", lambda *args: 0, 2),
        ("saved", lambda a, d: 0, 2),
        ("saved", lambda a, d, q: 0, 3),
        ("monitor", lambda a: 0, 1),
        ("notification", lambda n: 0, 1),
    ],
)
def test_other_forms(kind, fn, count):
    assert len(choose_form(fn, kind, "fn")) == count


@pytest.mark.parametrize(
    ("kind", "fn"),
    [
        ("hook", lambda: 0),
        ("hook", lambda a, b, c, d: 0),
        ("hook", lambda event, *, gain: 0),
        ("processor", lambda i: 0),
        ("processor", lambda a, b, c, d, e: 0),
        ("saved", lambda a: 0),
        ("saved", lambda a, b, c, d: 0),
        ("monitor", lambda a, b: 0),
        ("notification", lambda: 0),
        ("hook", functools.partial(lambda e: e, 3)),
    ],
)
def test_wrong_arity_names_the_allowed_forms(kind, fn):
    allowed = {"hook": r"\(event\) or \(event, queue\) or \(event, bridge, queue\)", "notification": r"\(notification\)"}
    with pytest.raises(TypeError, match=rf"my_fn=.*takes \(.*\); it must take {allowed.get(kind, '')}"):
        choose_form(fn, kind, "my_fn")


def test_not_callable_and_generators_are_refused():
    def generator(event):
        yield event

    async def async_generator(event):
        yield event

    with pytest.raises(TypeError, match=r"must be a function that takes .*not int"):
        make(3)
    for fn in (generator, async_generator, functools.partial(generator)):
        with pytest.raises(TypeError, match="is a generator function; it must return"):
            make(fn)


async def test_arguments_arrive_in_their_places():
    core, got = Core(), []
    for fn in (lambda e: got.append((e,)), lambda e, q: got.append((e, q)), lambda e, b, q: got.append((e, b, q))):
        function = make(fn, core=core)
        await function({"axes": {}})
        await function.aclose(5)
    assert [len(args) for args in got] == [1, 2, 3]
    assert isinstance(got[1][1], EventQueue)
    assert callable(got[2][1].get_core)
    event, the_core, queue = await make(AsyncCallable(), core=core)({"axes": {}})
    assert (event, the_core) == ({"axes": {}}, core)
    assert isinstance(queue, EventQueue)


async def test_a_plain_function_gets_a_blocking_core_and_a_coroutine_the_core(demo_core):
    def hook(event, bridge, queue):
        core = bridge.get_core()
        core.set_exposure(12.5)
        return core.get_exposure()

    async def async_hook(event, bridge, queue):
        core = await bridge.get_core()
        return core, await core.get_exposure()

    function = make(hook, core=demo_core)
    assert await function({}) == 12.5
    assert await make(async_hook, core=demo_core)({}) == (demo_core, 12.5)
    await function.aclose(5)


async def test_the_bridge_of_a_local_core_says_that_there_is_no_java():
    async def hook(event, bridge, queue):
        with pytest.raises(UnsupportedError, match=r"get_studio\(\) needs a running Micro-Manager"):
            await bridge.get_studio()
        assert not hasattr(bridge, "nonsense")
        return "done"

    assert await make(hook, core=Core())({}) == "done"


async def test_queue_put_works_awaited_and_not():
    put = []

    async def async_hook(event, queue):
        await queue.put({"axes": {"a": 1}})
        queue.put(None)

    def hook(event, queue):
        queue.put([{"axes": {"a": 2}}])

    await make(async_hook, put=put.append)({})
    function = make(hook, put=put.append)
    await function({})
    await function.aclose(5)
    assert put == [{"axes": {"a": 1}}, None, [{"axes": {"a": 2}}]]


async def test_queue_put_raises_what_the_acquisition_says():
    def full(events):
        raise QueueFull("full")

    with pytest.raises(QueueFull, match="full"):
        await make(lambda event, queue: queue.put({}), put=full)({})


# ---- contexts, exceptions -------------------------------------------------------------------------------------------

variable = contextvars.ContextVar("variable", default="default")


async def test_context_of_the_caller_is_seen_and_kept():
    def hook(event):
        seen = variable.get()
        variable.set("changed by the hook")
        return seen, threading.current_thread() is threading.main_thread()

    async def async_hook(event):
        return hook(event)

    variable.set("the caller's")
    plain, coroutine = make(hook), make(async_hook)
    assert await plain({}) == ("the caller's", False)
    assert await coroutine({}) == ("the caller's", True)
    assert variable.get() == "the caller's"
    await plain.aclose(5)


async def test_plain_calls_share_one_daemon_thread_in_order():
    threads, order = set(), []

    def hook(event):
        threads.add(threading.current_thread())
        order.append(event)

    function = make(hook)
    await asyncio.gather(*(function(i) for i in range(50)))
    assert order == list(range(50))
    (thread,) = threads
    assert thread.daemon
    assert await function.aclose(5)
    thread.join(5)
    assert not thread.is_alive()


class UsersError(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


def users_frame(event):
    raise UsersError(1, 2)


async def async_users_frame(event):
    await asyncio.sleep(0)
    raise UsersError(1, 2)


@pytest.mark.parametrize("fn", [users_frame, async_users_frame, lambda event: async_users_frame(event)])
async def test_exception_keeps_type_and_traceback(fn):
    function = make(fn)
    with pytest.raises(UsersError) as caught:
        await function({})
    assert "users_frame" in "".join(f.name for f in traceback.extract_tb(caught.value.__traceback__))
    assert caught.value.args == (1, 2)
    await function.aclose(5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
async def test_what_would_disturb_the_loop_becomes_a_hook_error(error):
    def hook(event):
        raise error("why")

    with pytest.raises(HookError, match=f"pre_hardware_hook_fn=.*hook raised {error.__name__}") as caught:
        await make(hook)({})
    assert type(caught.value.__cause__) is error


async def test_stop_iteration_is_an_error_not_a_hang():
    def hook(event):
        return next(iter(()))

    with pytest.raises(HookError, match=r"pre_hardware_hook_fn=.*hook raised StopIteration; .* next\(\)") as caught:
        await make(hook)({})
    assert type(caught.value.__cause__) is StopIteration


async def test_a_coroutine_cancelled_from_inside_is_not_our_cancellation():
    async def hook(event):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(HookError, match="although nobody cancelled it"):
        await make(hook)({})


async def test_a_plain_function_that_returns_a_coroutine_is_awaited():
    async def work(event):
        await asyncio.sleep(0)
        return event, threading.current_thread() is threading.main_thread()

    function = make(lambda event: work(event))
    assert await function("e") == ("e", True)
    await function.aclose(5)


async def test_nothing_of_a_call_is_kept():
    class Pixels: ...

    function = make(lambda pixels: None)
    pixels = Pixels()
    ref = weakref.ref(pixels)
    await function(pixels)
    del pixels
    await function(None)
    assert ref() is None  # without the garbage collector's help


async def test_a_forgotten_function_ends_its_thread():
    threads = []
    function = make(lambda event: threads.append(threading.current_thread()))
    await function({})
    del function
    gc.collect()
    threads[0].join(5)
    assert not threads[0].is_alive()


# ---- cancellation and the end ---------------------------------------------------------------------------------------


async def test_cancelling_a_plain_call_returns_at_once_and_drops_the_result():
    entered, leave, after = threading.Event(), threading.Event(), []

    def hook(event):
        entered.set()
        leave.wait(30)
        after.append(event)

    function = make(hook)
    first = asyncio.create_task(function(1))
    second = asyncio.create_task(function(2))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    second.cancel()
    first.cancel()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(r, asyncio.CancelledError) for r in results)
    assert function.running_for > 0
    assert not await function.aclose(0.01)  # it says that the thread is still in the function
    leave.set()
    assert await function.aclose(5)
    assert after == [1]  # the second call had not begun, and never did
    assert function.running_for is None


async def test_cancelling_a_coroutine_waits_for_its_clean_up():
    log = []

    async def hook(event):
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            log.append("cleaned")

    task = asyncio.create_task(make(hook)({}))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cleaned"]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", ["native", "anyio"])
async def test_a_coroutine_that_swallows_cancellation_is_left_behind(monkeypatch, how, times):
    monkeypatch.setattr(callers, "GRACE", 0.05)
    stop = asyncio.Event()

    async def hook(event):
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                pass
        return "late"

    function = make(hook)
    if how == "anyio":
        with anyio.move_on_after(0.01) as scope:
            await function({})
        assert scope.cancelled_caught
    else:
        task = asyncio.create_task(function({}))
        for _ in range(times):
            await asyncio.sleep(0.01)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not await function.aclose(0.05)
    assert function.running_for > 0
    stop.set()
    assert await function.aclose(5)


async def test_an_error_in_the_clean_up_of_a_cancelled_coroutine_is_raised():
    async def hook(event):
        try:
            await asyncio.sleep(30)
        finally:
            raise ValueError("in the clean-up")

    task = asyncio.create_task(make(hook)({}))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(ValueError, match="in the clean-up"):
        await task


async def test_a_result_that_comes_with_the_cancellation_is_dropped():
    async def hook(event):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "swallowed"

    task = asyncio.create_task(make(hook)({}))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("fn", [lambda event: event, AsyncCallable()])
async def test_closed(fn):
    function = make(fn)
    await function({})
    assert await function.aclose(5)
    assert await function.aclose(5)
    with pytest.raises(ClosedError, match=r"pre_hardware_hook_fn=.*after it was closed"):
        await function({})


async def test_close_before_any_call():
    assert await make(lambda event: event).aclose(5)


async def test_a_thread_that_has_not_come_to_its_end_is_in_no_call():
    """On a busy machine it may take a while: nobody is told then that the function is still running."""
    go = threading.Event()

    class Held(WorkQueue):
        def get(self, timeout=None):
            job = super().get(timeout)
            if job is None:
                go.wait(30)
            return job

    function = make(lambda event: event)
    function._caller._lane.jobs = Held()
    assert await function(1) == 1
    assert await function.aclose(0.01)
    go.set()
    assert await function.aclose(5)


async def test_cancelling_aclose_waits_no_longer_than_told():
    leave, entered = threading.Event(), threading.Event()

    def hook(event):
        entered.set()
        leave.wait(30)

    function = make(hook)
    call = asyncio.create_task(function({}))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(function.aclose(0.05))
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    leave.set()
    await call


def test_a_loop_that_closes_during_a_call_leaves_nothing_behind():
    leave, entered = threading.Event(), threading.Event()

    def hook(event):
        entered.set()
        leave.wait(30)

    async def main():
        function = make(hook)
        task = asyncio.create_task(function({}))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(main())
    (thread,) = [t for t in threading.enumerate() if t.name.startswith("aiomm pre_hardware")]
    leave.set()
    thread.join(5)  # an error in it would be reported by pytest
    assert not thread.is_alive()


# ---- what it returns ------------------------------------------------------------------------------------------------


def test_hook_results_that_are_right():
    event = {"axes": {}}
    assert check_hook_result(None, False) is None
    assert check_hook_result(event, False) == [event]
    assert check_hook_result([event], False) == [event]
    assert check_hook_result([event, event, event], True) == [event] * 3
    assert check_hook_result((event,), True) == [event]
    assert check_hook_result(event, True) == [event]
    assert check_hook_result([], True) is None
    assert check_hook_result([], False) is None


@pytest.mark.parametrize(
    ("result", "was_list", "text"),
    [
        (True, False, r"returned True \(bool\); it must return the event, changed or not, or None to skip"),
        ("x", True, r"returned 'x' \(str\); it must return the list of events"),
        ((e for e in ()), True, r"returned <generator.*it must return the list"),
        ([{}, None], True, r"item 1 is None .*leave one out"),
        ([{}, {}], False, r"got one event and returned 2; .*queue.put"),
        (np.zeros((2, 2)), False, r"an array of shape \(2, 2\) and dtype float64"),
    ],
)
def test_hook_results_that_are_wrong(result, was_list, text):
    with pytest.raises(HookError, match=text):
        check_hook_result(result, was_list)


IMAGE = np.zeros((4, 6), np.uint16)


@pytest.mark.parametrize("image", [IMAGE, IMAGE.astype(np.uint8), np.zeros((4, 6, 3), np.uint8), np.zeros((3, 3), np.uint8)])
def test_processor_results_that_are_right(image):
    assert check_processor_result(None) == []
    assert check_processor_result([]) == []
    for result in ((image, {"a": 1}), [(image, {"a": 1})]):
        ((pixels, metadata),) = check_processor_result(result)
        assert pixels is image
        assert metadata == {"a": 1}
    assert len(check_processor_result([(image, {}), (image, {"Axes": {"z": np.int64(3), "channel": "DAPI"}})])) == 2


def test_processor_images_are_made_contiguous_and_native():
    image = np.arange(24, dtype=">u2").reshape(6, 4).T
    ((pixels, _),) = check_processor_result((image, {}))
    assert pixels.flags.c_contiguous
    assert pixels.dtype == np.uint16
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels, image)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (IMAGE, r"returned an array of shape \(4, 6\) and dtype uint16; it must return \(image, metadata\)"),
        ([IMAGE, {}], r"an array .* in item 0 of its list; it must be a tuple"),
        ([(IMAGE, {}), None], r"None \(NoneType\) in item 1 of its list"),
        (((IMAGE, {}), (IMAGE, {})), r"as metadata; several images are returned as a list"),
        (({}, IMAGE), r"as metadata; the image comes first"),
        ((IMAGE,), "a tuple of 1"),
        ((IMAGE, {}, {}), "a tuple of 3"),
        ((IMAGE, None), r"None \(NoneType\) as metadata; the metadata must be a dict"),
        ((IMAGE, {"Axes": [1]}), "'Axes' is"),
        ((IMAGE, {"Axes": {"z": 1.5}}), "must be a dict of name to int or str"),
        (([[1, 2]], {}), "must be a numpy array"),
        ((memoryview(b"123"), {}), "must be a numpy array"),
        ((IMAGE.astype(float), {}), r"dtype float64; images are saved as uint8 or uint16: .*astype\(numpy.uint16\)"),
        ((IMAGE.astype(np.int16), {}), "dtype int16"),
        ((IMAGE > 0, {}), "dtype bool"),
        ((np.zeros((4, 4, 3), np.uint16), {}), r"an RGB image of dtype uint16; images are saved as uint8: .*numpy.uint8"),
        ((np.zeros((4, 4, 4), np.uint8), {}), r"leave out the alpha channel"),
        ((np.zeros(4, np.uint8), {}), r"shape \(4,\); it must be \(y, x\)"),
        ((np.zeros((0, 4), np.uint8), {}), r"shape \(0, 4\)"),
        (3, r"returned 3 \(int\)"),
        ({}, r"returned \{\} \(dict\)"),
    ],
)
def test_processor_results_that_are_wrong(result, text):
    with pytest.raises(HookError, match=text):
        check_processor_result(result)


# ---- several calls in one task --------------------------------------------------------------------------------------


async def test_calls_together_share_a_task_and_no_context():
    variable = contextvars.ContextVar("variable", default="unset")
    tasks, found, given = [], [], []

    async def fn(event):
        found.append(variable.get())
        variable.set(f"by call {event}")
        if event % 2:
            await asyncio.sleep(0.001)
        tasks.append(asyncio.current_task())
        assert variable.get() == f"by call {event}"
        return event

    function = make(fn)

    async def calls():
        given.extend([await function(number) for number in range(4)])

    variable.set("outside")
    await function.together(calls())
    assert given == [0, 1, 2, 3] and found == ["outside"] * 4 and len(set(tasks)) == 1
    assert tasks[0] is not asyncio.current_task()
    assert function.running_for is None


async def test_timeouts_and_errors_in_calls_together_are_those_of_the_function():
    async def fn(event):
        if event == "late":
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep(30)
        assert scope.cancelled_caught
        raise LookupError(event)

    function = make(fn)
    found = []

    async def calls():
        for event in ("late", "other"):
            try:
                await function(event)
            except (TimeoutError, LookupError) as error:
                found.append(error)
        await function("last")

    with pytest.raises(LookupError, match="last"):
        await function.together(calls())
    assert [type(error) for error in found] == [TimeoutError, LookupError]
    assert found[1].__traceback__ is not None and "fn" in [frame.name for frame in traceback.extract_tb(found[1].__traceback__)]


async def test_together_a_coroutine_that_swallows_its_cancellation_ends_what_calls_it():
    began, release, after = asyncio.Event(), asyncio.Event(), []

    async def fn(event):
        began.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
        return event

    function = make(fn)

    async def calls():
        after.append(await function(1))
        after.append(await function(2))

    with mock.patch.object(callers, "GRACE", 0.05):
        task = asyncio.create_task(function.together(calls()))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert function.running_for > 0  # it is left behind, and known to run
    release.set()
    assert await function.aclose(1)
    assert after == []
