"""Functions in worker processes and executors: pixels, state, exceptions, death, the end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import multiprocessing.resource_tracker
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aiomm.acquire import workers
from aiomm.acquire.hooks import EventQueue, UserFunction
from aiomm.errors import ClosedError, HookError, QueueFull, UnsupportedError

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def make(fn, kind="hook", *, put=lambda events: None, **more):
    more = more or {"process": True}
    name = "image_process_fn" if kind == "processor" else "pre_hardware_hook_fn"
    return UserFunction(fn, kind, name=name, owner=object(), queue=EventQueue(put), **more)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def shared_memory():
    """What this process still maps of it. It has no name, so /dev/shm never holds any (and other programs use /dev/shm)."""
    maps = Path("/proc/self/maps")
    return [line for line in maps.read_text().splitlines() if "memfd:aiomm" in line] if maps.exists() else []


@pytest.fixture(autouse=True)
async def nothing_is_left():
    """No thread, process, file or shared memory outlives a test's function."""
    multiprocessing.resource_tracker.ensure_running()  # the standard library's own; it stays
    files = open_files()
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (any(t.name.startswith("aiomm ") for t in threading.enumerate()) or open_files() > files):
        await asyncio.sleep(0.01)
    assert [t.name for t in threading.enumerate() if t.name.startswith("aiomm ")] == []
    assert open_files() <= files
    assert shared_memory() == []


@pytest.fixture
async def function():
    """Make a UserFunction that is closed after the test."""
    made = []

    def factory(*args, **more):
        made.append(make(*args, **more))
        return made[-1]

    yield factory
    for each in made:
        assert await each.aclose(5)


# ---- values there and back ------------------------------------------------------------------------------------------


async def test_runs_in_one_other_process_and_keeps_its_state(function):
    calls = []

    def hook(event):
        calls.append(event["n"])
        return os.getpid(), list(calls)

    hooked = function(hook)
    await hooked.start()
    results = await asyncio.gather(*(hooked({"n": i}) for i in range(20)))
    assert len({pid for pid, _ in results}) == 1
    assert results[0][0] != os.getpid()
    assert [seen for _, seen in results] == [list(range(i + 1)) for i in range(20)]
    assert calls == []


RNG = np.random.default_rng(1)
IMAGES = {
    "uint8": RNG.integers(0, 255, (300, 200), np.uint8),
    "uint16": RNG.integers(0, 65535, (512, 640), np.uint16),
    "rgb": RNG.integers(0, 255, (100, 200, 3), np.uint8),
    "small": RNG.integers(0, 255, (2, 3), np.uint8),
    "non-contiguous": RNG.integers(0, 65535, (512, 512), np.uint16)[::2, ::3],
    "transposed": RNG.integers(0, 65535, (512, 256), np.uint16).T,
    "read-only": RNG.integers(0, 255, (300, 200), np.uint8),
}
IMAGES["read-only"].flags.writeable = False


@pytest.mark.parametrize("loopback", [False, True])
async def test_pixels_arrive_equal_and_come_back_equal(function, monkeypatch, loopback):
    monkeypatch.setattr(workers, "USE_LOOPBACK", loopback)

    def processor(image, metadata):
        import numpy

        total = int(image.sum())
        copy = image.copy()
        image = image + 1 if not image.flags.writeable else numpy.add(image, 1, out=image)  # the worker's own
        return [(copy, {**metadata, "total": total, "kind": str(image.dtype), "plus": numpy.int64(3)}), (image, {})]

    processed = function(processor, "processor")
    for name, image in [*IMAGES.items()] * 2:
        (back, metadata), (plus, _) = await processed(image, {"Axes": {"name": name}})
        np.testing.assert_array_equal(back, image)
        np.testing.assert_array_equal(plus, image + np.ones(1, image.dtype))
        assert back.dtype == image.dtype
        assert back.flags.writeable
        assert metadata == {"Axes": {"name": name}, "total": int(image.sum()), "kind": str(image.dtype), "plus": 3}
    if sys.platform == "linux":
        assert bool(shared_memory()) is not loopback


async def test_images_that_are_kept_stay_as_they_were(function):
    kept = []

    def processor(image, metadata):
        kept.append(image)
        if len(kept) < 5:
            return None
        return [(each, {}) for each in kept]

    processed = function(processor, "processor")
    images = [np.full((256, 256), i, np.uint16) for i in range(5)]
    results = [await processed(image, {}) for image in images]
    assert results[:4] == [None] * 4
    for (back, _), image in zip(results[4], images, strict=True):
        np.testing.assert_array_equal(back, image)
    again = await processed(images[0], {})
    np.testing.assert_array_equal(again[4][0], images[4])
    np.testing.assert_array_equal(results[4][3][0], images[3])  # an earlier result is not overwritten by a later one


async def test_no_room_for_shared_memory_is_no_error(function, monkeypatch):
    def full(self, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workers.Block, "reserve", full)
    image = IMAGES["uint16"]
    back, _ = await function(lambda image, metadata: (image, metadata), "processor")(image, {})
    np.testing.assert_array_equal(back, image)


async def test_events_with_patterns(function):
    event = {"axes": {"z": 1}, "slm_pattern": IMAGES["uint8"], "properties": [["Camera", "Gain", "1"]]}
    back = await function(lambda event: event)(event)
    np.testing.assert_array_equal(back.pop("slm_pattern"), event.pop("slm_pattern"))
    assert back == event
    events = [{"axes": {"z": i}} for i in range(3)]
    assert await function(lambda events: events[1:])(events) == events[1:]


async def test_coroutine_functions_run_on_a_loop_in_the_worker(function):
    loops = []

    async def hook(event, queue):
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        await queue.put({"axes": {"a": 1}})
        return os.getpid() != event["pid"], loops[0] is loops[-1]

    put = []
    hooked = function(hook, put=put.append)
    for _ in range(2):
        assert await hooked({"pid": os.getpid()}) == (True, True)
    assert put == [{"axes": {"a": 1}}] * 2


# ---- the queue ------------------------------------------------------------------------------------------------------


async def test_queue_put_is_forwarded_in_the_context_of_the_call(function):
    variable = contextvars.ContextVar("variable")
    put = []

    def hook(event, queue):
        queue.put([{"axes": {"i": i}} for i in range(event["n"])])
        queue.put(None)
        return event

    hooked = function(hook, put=lambda events: put.append((variable.get(), events)))
    variable.set("mine")
    assert await hooked({"n": 2}) == {"n": 2}
    assert put == [("mine", [{"axes": {"i": 0}}, {"axes": {"i": 1}}]), ("mine", None)]


async def test_queue_errors_are_raised_in_the_worker(function):
    def full(events):
        raise QueueFull("1000 events are waiting")

    def hook(event, queue):
        try:
            queue.put({})
        except Exception as error:
            return type(error).__name__, str(error)

    assert await function(hook, put=full)({}) == ("QueueFull", "1000 events are waiting")
    with pytest.raises(QueueFull, match="1000 events"):
        await function(lambda event, queue: queue.put({}), put=full)({})
    with pytest.raises(TypeError, match=r"takes an event .a dict., a list of events, or None"):
        await function(lambda event, queue: queue.put(e for e in ()))({})


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_a_bridge_is_refused_with_the_reason():
    with pytest.raises(
        UnsupportedError, match=r"pre_hardware_hook_fn=.*takes a bridge, which cannot reach a worker process: the microscope"
    ):
        make(lambda event, bridge, queue: event)
    with pytest.raises(UnsupportedError, match="takes a bridge"):
        make(lambda image, metadata, bridge, queue: None, "processor")


def test_what_cannot_be_pickled_is_refused():
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"cannot be sent to a worker process.*lock"):
        make(lambda event: lock)


def test_missing_cloudpickle(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(UnsupportedError, match=r"needs cloudpickle: pip install 'aiomm\[process\]'"):
        make(lambda event: event)


def test_other_kinds_and_both_at_once():
    with pytest.raises(UnsupportedError, match="hooks and image processors"):
        make(lambda axes, dataset: None, "saved")
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        pytest.raises(UnsupportedError, match="exclude each other"),
    ):
        make(lambda image, metadata: None, "processor", process=True, executor=pool)


# ---- exceptions -----------------------------------------------------------------------------------------------------


class UsersError(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)
        self.two = two


async def test_exceptions_come_with_type_message_and_remote_traceback(function):
    class LocalError(Exception):
        pass

    def users_frame(event):
        if event["local"]:
            raise LocalError("local")
        raise UsersError(1, 2)

    hooked = function(users_frame)
    with pytest.raises(UsersError) as caught:
        await hooked({"local": False})
    assert caught.value.two == 2
    assert "in users_frame" in str(caught.value.__cause__)
    assert "raise UsersError(1, 2)" in str(caught.value.__cause__)
    assert "worker_main" not in str(caught.value.__cause__)
    with pytest.raises(LocalError, match="local"):
        await hooked({"local": True})
    with pytest.raises(UsersError):  # the worker goes on
        await hooked({"local": False})


async def test_exceptions_that_cannot_travel(function):
    def hook(event):
        class NeedsMore(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        if event == 1:
            raise NeedsMore(1, 2)
        error = ValueError("with a lock")
        error.lock = threading.Lock()
        raise error

    hooked = function(hook)
    with pytest.raises(HookError, match=r"raised NeedsMore: 1 and 2 .*cannot be pickled") as caught:
        await hooked(1)
    assert "in hook" in str(caught.value.__cause__)
    with pytest.raises(HookError, match=r"raised ValueError: with a lock"):
        await hooked(2)


async def test_values_that_cannot_travel(function):
    def hook(event):
        import threading

        return threading.Lock() if event == 1 else event

    hooked = function(hook)
    with pytest.raises(HookError, match=r"returned a lock that cannot be sent back from its worker process: .*pickle"):
        await hooked(1)
    with pytest.raises(HookError, match="arguments cannot be sent"):
        await hooked(threading.Lock())
    assert await hooked(2) == 2


@pytest.mark.parametrize("error", ["StopIteration()", "KeyboardInterrupt()", "asyncio.CancelledError()"])
async def test_odd_exceptions(function, error):
    def hook(event):
        import asyncio  # noqa: F401

        raise eval(event)

    with pytest.raises((HookError, RuntimeError), match=error.partition("(")[0].rpartition(".")[2]):
        await function(hook)(error)


async def test_a_function_that_cannot_be_loaded(function, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text(
        "import os\nif os.getpid() != int(os.environ['PARENT_PID']): raise RuntimeError('not in a worker')\ndef hook(event): return event\n"
    )
    monkeypatch.setenv("PARENT_PID", str(os.getpid()))
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    with pytest.raises(HookError, match="could not be loaded in its worker process: RuntimeError: not in a worker"):
        await function(only_here.hook)({})


async def test_modules_of_the_users_path_are_found(function, tmp_path, monkeypatch):
    (tmp_path / "users_module.py").write_text("def hook(event): return __name__\n")
    monkeypatch.syspath_prepend(tmp_path)
    import users_module

    assert await function(users_module.hook)({}) == "users_module"


# ---- death ----------------------------------------------------------------------------------------------------------


def die(event):
    import ctypes
    import threading
    import time

    if event == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif event == "segfault":
        ctypes.string_at(0)
    elif event == "exit":
        sys.exit(3)
    elif event == "_exit":
        os._exit(0)
    elif event == "exit with a thread that stays":
        threading.Thread(target=time.sleep, args=(60,)).start()
        sys.exit(3)
    elif event == "killed with a child that holds everything":
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    return event


@posix
@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("kill", r"its worker process was killed by SIGKILL \(the system does so when memory runs out\)"),
        ("segfault", r"was killed by SIGSEGV \(a crash in native code\)"),
        ("exit", r"ended with exit code 3 \(sys.exit or os._exit\?\)"),
        ("_exit", "ended with exit code 0"),
        ("exit with a thread that stays", "had to be killed"),
        ("killed with a child that holds everything", "was killed by SIGKILL"),
    ],
)
async def test_a_worker_that_dies_is_an_error_at_once(function, how, text, monkeypatch):
    monkeypatch.setattr(workers, "_END", 0.5)
    hooked = function(die)
    assert await hooked("alive") == "alive"
    with pytest.raises(HookError, match=rf"pre_hardware_hook_fn=die: its worker process .*{text.removeprefix('its worker process ')}"):
        await asyncio.wait_for(hooked(how), 20)
    with pytest.raises(HookError, match="and its state with it"):
        await hooked("again")
    if "child" in how:
        await asyncio.sleep(3)  # it ends before the test does


@posix
async def test_death_while_idle(function):
    hooked = function(lambda event: os.getpid())
    os.kill(await hooked({}), signal.SIGKILL)
    with pytest.raises(HookError, match="was killed by SIGKILL"):
        await asyncio.wait_for(hooked({}), 20)


async def test_a_worker_that_cannot_be_started(function, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(HookError, match=r"could not be started: .*nonexistent"):
        await function(lambda event: event)({})


# ---- cancellation and the end ---------------------------------------------------------------------------------------


async def test_cancelled_call_runs_on_and_the_next_waits_for_it(function, tmp_path):
    go, entered = tmp_path / "go", tmp_path / "entered"

    def hook(event):
        import time

        if event == 1:
            entered.touch()
            while not go.exists():
                time.sleep(0.005)
        return event

    hooked = function(hook)
    call = asyncio.create_task(hooked(1))
    while not entered.exists():
        await asyncio.sleep(0.005)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert hooked.running_for > 0
    following = asyncio.create_task(hooked(2))
    await asyncio.sleep(0.02)
    go.touch()
    assert await following == 2


@pytest.mark.parametrize("where", ["process", "thread", "loop", "executor"])
async def test_cancelled_at_any_moment_the_next_call_is_right(function, where):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        if where == "loop":

            async def double(image, metadata):
                await asyncio.sleep(0.001)
                return image * 2

        else:

            def double(image, metadata):
                return image * 2

        more = {"process": {"process": True}, "executor": {"executor": pool}}.get(where, {"process": False})
        called = function(double, "processor", **more)
        for step in range(60):
            image = np.full((256, 256), step, np.uint16)
            call = asyncio.create_task(called(image, {}))
            if step < 20:
                for _ in range(step % 5):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.0001 * (step - 20))
            call.cancel()
            (result,) = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError) or int(result[0, 0]) == 2 * step
            if step % 7 == 0:
                np.testing.assert_array_equal(await called(image, {}), image * 2)


async def test_what_the_function_prints_is_seen(function, capfd):
    hooked = function(lambda event: print("printed", event))
    await hooked(1)
    assert capfd.readouterr().out == "printed 1\n"


async def test_closing_kills_a_function_that_does_not_end(tmp_path):
    pid = tmp_path / "pid"

    def hook(event):
        import time

        pid.write_text(str(os.getpid()))
        while True:
            time.sleep(1)

    hooked = make(hook)
    call = asyncio.create_task(hooked({}))
    while not (pid.exists() and pid.read_text()):
        await asyncio.sleep(0.005)
    assert await hooked.aclose(0.05)
    with pytest.raises(ClosedError, match="was closed while its worker process ran it"):
        await call
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    with pytest.raises(ClosedError):
        await hooked({})


@pytest.mark.parametrize("started", [False, True])
async def test_closing_an_idle_worker_lets_it_end_in_order(tmp_path, started):
    ended = tmp_path / "ended"

    def hook(event):
        import atexit

        atexit.register(ended.touch)

    hooked = make(hook)
    if started:
        await hooked({})
    assert await hooked.aclose(30)
    assert await hooked.aclose(30)
    assert ended.exists() is started


@pytest.mark.parametrize("delay", [0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2])
async def test_closing_while_it_starts(delay):
    hooked = make(lambda event: event)
    call = asyncio.create_task(hooked(1))
    await asyncio.sleep(delay)
    assert await hooked.aclose(0.01)
    (result,) = await asyncio.gather(call, return_exceptions=True)
    assert result == 1 or isinstance(result, ClosedError)


async def test_a_forgotten_worker_ends():
    import gc

    hooked = make(lambda event: os.getpid())
    pid = await hooked({})
    del hooked
    gc.collect()
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            await asyncio.sleep(0.01)


# ---- scripts, standard input, interpreter exit ----------------------------------------------------------------------

SCRIPT = """
import asyncio, os, sys
from aiomm.acquire.hooks import EventQueue, UserFunction
print("the script runs", flush=True)
FACTOR = 3
class OwnError(Exception): pass
def helper(x): return x * FACTOR
def hook(event):
    if event == "raise": raise OwnError("own")
    if event == "block":
        import time
        print("pid", os.getpid(), flush=True)
        time.sleep(600)
    return helper(event), os.getpid()
async def main():
    function = UserFunction(hook, "hook", name="h", owner=None, queue=None, process=True)
    value, pid = await function(7)
    print("value", value, pid != os.getpid(), flush=True)
    try: await function("raise")
    except OwnError as error: print("caught", error, flush=True)
    if "leave" in sys.argv: return print("left", flush=True)
    if "block" in sys.argv: await function("block")
    print("closed", await function.aclose(10), flush=True)
"""
GUARD = 'if __name__ == "__main__":\n    asyncio.run(main())\n'
NO_GUARD = "asyncio.run(main())\n"


def run_python(arguments, text=None):
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], input=text, text=True, capture_output=True, timeout=50, cwd=Path(__file__).parents[2]
    )


@pytest.mark.parametrize("way", ["guarded", "not guarded", "standard input", "-c", "module"])
def test_the_users_script_is_not_run_again(tmp_path, way):
    source = SCRIPT + (GUARD if way == "guarded" else NO_GUARD)
    path = tmp_path / "users_script.py"
    path.write_text(source)
    if way == "standard input":
        done = run_python(["-"], source)
    elif way == "-c":
        done = run_python(["-c", source])
    elif way == "module":
        done = run_python(
            ["-c", f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); runpy.run_module('users_script', run_name='__main__')"]
        )
    else:
        done = run_python([str(path)])
    assert done.stderr == ""
    assert done.stdout.split("\n") == ["the script runs", "value 21 True", "caught own", "closed True", ""]
    assert done.returncode == 0


def test_leaving_without_closing_ends_the_worker():
    done = run_python(["-c", SCRIPT + NO_GUARD, "leave"])  # with its output captured, a worker that stays would hang this
    assert done.stdout.endswith("left\n")
    assert done.returncode == 0


@posix
def test_a_busy_worker_ends_when_its_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", SCRIPT + NO_GUARD, "block"], stdout=subprocess.PIPE, text=True) as parent:
        for line in parent.stdout:
            if line.startswith("pid"):
                break
        parent.kill()
        parent.stdout.read()  # ends when the worker, which inherited it, has ended too
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(int(line.split()[1]), 0)
            time.sleep(0.01)


@posix
def test_an_interrupt_of_the_terminal_is_not_for_the_worker():
    script = textwrap.dedent("""
        import asyncio, os
        from aiomm.acquire.hooks import UserFunction
        async def main():
            function = UserFunction(lambda event: os.getpid(), "hook", name="h", owner=None, queue=None, process=True)
            pid = await function(1)
            try:
                print("ready", flush=True)
                await asyncio.sleep(30)
            finally:
                print("same worker", pid == await function(2), await function.aclose(10), flush=True)
        try: asyncio.run(main())
        except KeyboardInterrupt: print("interrupted", flush=True)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        os.killpg(parent.pid, signal.SIGINT)
        out, err = parent.communicate(timeout=30)
    assert out == "same worker True True\ninterrupted\n"
    assert err == ""


# ---- executors ------------------------------------------------------------------------------------------------------

variable = contextvars.ContextVar("variable", default="default")


def square(image, metadata):
    if metadata.get("fail"):
        raise UsersError(1, 2)
    return image * image, {**metadata, "pid": os.getpid()}


async def test_thread_pool(function):
    put = []
    variable.set("mine")

    def processor(image, metadata, queue):
        queue.put({"axes": {"seen": variable.get()}})
        return square(image, metadata)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        processed = function(processor, "processor", put=put.append, executor=pool)
        assert processed.concurrent == 3
        results = await asyncio.gather(*(processed(np.full((2, 2), i, np.uint16), {"n": i}) for i in range(10)))
        assert [(int(image[0, 0]), metadata["n"]) for image, metadata in results] == [(i * i, i) for i in range(10)]
        assert put == [{"axes": {"seen": "mine"}}] * 10
        with pytest.raises(UsersError) as caught:
            await processed(np.zeros((2, 2)), {"fail": True})
        assert [f.name for f in traceback_of(caught.value)][-1] == "square"
    with pytest.raises(HookError, match=r"its executor takes no more calls: .*shutdown"):
        await processed(np.zeros((2, 2)), {})


def traceback_of(error):
    import traceback

    return traceback.extract_tb(error.__traceback__)


async def test_thread_pool_runs_calls_at_once_and_gives_them_up(function):
    barrier, leave = threading.Barrier(3), threading.Event()

    def processor(image, metadata):
        barrier.wait(20)
        leave.wait(20)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        processed = function(processor, "processor", executor=pool)
        calls = [asyncio.create_task(processed(None, {})) for _ in range(3)]
        await asyncio.to_thread(barrier.wait, 20)  # two are in it together
        for call in calls:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(r, asyncio.CancelledError) for r in results)
        assert processed.running_for > 0
        assert not await processed.aclose(0.01)
        leave.set()
        assert await processed.aclose(5)


async def test_thread_pool_odd_exceptions(function):
    def processor(image, metadata):
        if metadata == 1:
            raise StopIteration
        return asyncio.sleep(0, "awaited")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        processed = function(processor, "processor", executor=pool)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await processed(None, 1)
        assert await processed(None, 2) == "awaited"


@pytest.fixture
def process_pool():
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


async def test_process_pool(process_pool):
    scale = 3

    def processor(image, metadata):  # not importable: it goes by value
        if metadata.get("exit"):
            os._exit(3)
        return square(image * scale, metadata)

    processed = make(processor, "processor", executor=process_pool)
    assert processed.concurrent == 2
    results = await asyncio.gather(*(processed(np.full((2, 2), i, np.uint16), {"n": i}) for i in range(6)))
    assert [(int(image[0, 0]), metadata["n"]) for image, metadata in results] == [(9 * i * i, i) for i in range(6)]
    assert all(metadata["pid"] != os.getpid() for _, metadata in results)
    with pytest.raises(UsersError) as caught:
        await processed(np.zeros((2, 2)), {"fail": True})
    assert "square" in str(caught.value.__cause__)
    with pytest.raises(HookError, match="its executor lost a worker"):
        await processed(np.zeros((2, 2)), {"exit": True})
    with pytest.raises(HookError, match="takes no more calls"):
        await processed(np.zeros((2, 2)), {})
    assert await processed.aclose(5)


def test_what_executors_refuse():
    async def coroutine(image, metadata): ...

    with concurrent.futures.ProcessPoolExecutor(1) as pool, concurrent.futures.ThreadPoolExecutor(1) as threads:
        with pytest.raises(UnsupportedError, match=r"takes queue, which cannot reach the workers of a ProcessPoolExecutor"):
            make(lambda image, metadata, queue: None, "processor", executor=pool)
        with pytest.raises(UnsupportedError, match=r"hooks run in order"):
            make(lambda event: None, executor=threads)
        with pytest.raises(UnsupportedError, match="coroutine function"):
            make(coroutine, "processor", executor=threads)
        with pytest.raises(ValueError, match="workers=0"):
            make(square, "processor", executor=threads, workers=0)
        assert make(square, "processor", executor=threads, workers=7).concurrent == 7
    with pytest.raises(TypeError, match=r"must be a concurrent.futures.Executor or an asynchronous .*, not int"):
        make(square, "processor", executor=3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
async def test_dask():
    distributed = pytest.importorskip("distributed")
    async with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, asynchronous=True, dashboard_address=None) as cluster,
        distributed.Client(cluster, asynchronous=True) as client,
    ):
        processed = make(square, "processor", executor=client)
        assert processed.concurrent == 2
        for shape in ((2, 2), (1024, 1024)):
            results = await asyncio.gather(*(processed(np.full(shape, i, np.uint16), {"n": i}) for i in range(4)))
            assert [(int(image[0, 0]), image.shape, metadata["n"]) for image, metadata in results] == [(i * i, shape, i) for i in range(4)]
        with pytest.raises(UsersError):
            await processed(np.zeros((2, 2)), {"fail": True})
        entered, leave = threading.Event(), threading.Event()
        GATES.update(entered=entered, leave=leave)
        waiting = make(wait_for_gate, "processor", executor=client)
        call = asyncio.create_task(waiting(np.zeros((2, 2)), {}))
        while not entered.is_set():
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        leave.set()
        assert await waiting.aclose(5)
        assert await processed.aclose(5)


GATES = {}


def wait_for_gate(image, metadata):
    GATES["entered"].set()
    GATES["leave"].wait(30)


def test_a_blocking_dask_client_is_refused():
    distributed = pytest.importorskip("distributed")

    class Client(distributed.Client):
        def __init__(self):
            self._asynchronous = False

        asynchronous = False

        def __del__(self): ...

    with pytest.raises(UnsupportedError, match="needs an asynchronous Client"):
        make(square, "processor", executor=Client())
