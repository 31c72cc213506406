"""Run a user's function in a worker process of its own (``process=True``): one process, one call at a time, in order.

The process is a fresh interpreter, not a copy of this one and not the user's script run again: the function travels by
value (cloudpickle) and finds its modules on the same ``sys.path``. A thread of this process talks to it, so pickling and
copying pixels do not hold up the event loop. The process keeps its state between calls, ends when it is closed or this
process dies, and cannot hang the acquisition: when it dies, the call in progress raises a HookError that says of what.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiomm.acquire import worker_main
from aiomm.acquire.callers import ThreadCaller, wait_out
from aiomm.acquire.worker_main import Block, Failure, receive, send
from aiomm.errors import ClosedError, HookError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.acquire.hooks import EventQueue

USE_LOOPBACK = sys.platform == "win32"
"""Whether the socket is a TCP connection and pixels travel in it; else an inherited socket pair and shared memory."""

_END = 2.0  # seconds that a process has to end after it has closed its socket, and after it was killed


class RemoteTraceback(Exception):
    """The traceback of an exception in a worker process, as text: the cause of the exception here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def exit_text(code: int | None) -> str:
    """Say how a process ended."""
    if code is None:
        return "could not be started or did not end"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = {"SIGKILL": " (the system does so when memory runs out)", "SIGSEGV": " (a crash in native code)"}.get(name, "")
        return f"was killed by {name}{hint}"
    return f"ended with exit code {code} (sys.exit or os._exit?)"


class _Worker:
    """The process and the socket to it. `run` is called from one thread; `end` and `kill` from any."""

    def __init__(self, data: bytes, label: str, queue: EventQueue | None, bridge: tuple[dict[str, Any], bool] | None) -> None:
        self._data = data
        self._label = label
        self._queue = queue
        self._bridge = bridge
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._blocks: tuple[Block | None, Block | None] = (None, None)
        self._io = threading.Lock()  # held while the socket and the blocks are in use
        self._ending = self._killing = False
        self.started = False
        self.exited: concurrent.futures.Future[int | None] = concurrent.futures.Future()

    # ---- on the calling thread --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process and have it load the function."""
        with self._io:
            self._start()

    def _start(self) -> socket.socket:
        if self.exited.done():
            raise HookError(f"{self._label}: its worker process {exit_text(self.exited.result())}, and its state with it")
        if self._sock is not None:
            return self._sock
        if self._ending:
            raise ClosedError(f"{self._label} was closed")
        self.started = True
        try:
            sock = self._spawn()
        except OSError as error:
            self._give_up()
            raise HookError(f"{self._label}: its worker process could not be started: {error}") from error
        self._apply()  # what came while it was starting
        try:
            send(sock, "load", sys.path, self._data, self._queue is not None, self._bridge)
            answer = receive(sock)
        except OSError:
            answer = None
        if answer is None:
            raise self._death()
        if answer[0] == "failed":
            _, name, text, lines = answer[1]
            raise HookError(f"{self._label} could not be loaded in its worker process: {name}: {text}") from RemoteTraceback(lines)
        return sock

    def _spawn(self) -> socket.socket:
        command = [sys.executable, "-P", str(Path(worker_main.__file__))]
        if USE_LOOPBACK:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                secret = secrets.token_hex(16).encode()
                process = self._popen(command, ())
                assert process.stdin is not None
                process.stdin.write(b"%d %s\n" % (listener.getsockname()[1], secret))
                process.stdin.flush()
                sock = _accept(listener, secret)
        else:
            self._blocks = incoming, outgoing = Block.create(), Block.create()
            sock, other = socket.socketpair()
            with other, contextlib.ExitStack() as on_error:
                on_error.enter_context(sock)
                fds = (other.fileno(), incoming.fd, outgoing.fd)
                process = self._popen([*command, *map(str, fds)], fds)
                on_error.pop_all()
        self._sock = sock
        threading.Thread(target=self._keep, args=(process, sock), name=f"aiomm {self._label} keeper", daemon=True).start()
        return sock

    def _popen(self, command: list[str], fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
        # a session (on Windows: a group) of its own: Ctrl-C is for this process, which then ends the worker in order
        flags: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=fds, start_new_session=sys.platform != "win32", creationflags=flags
        )
        return self._process

    def _give_up(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._close_blocks()
        self.exited.set_result(None)

    def _close_blocks(self) -> None:
        blocks, self._blocks = self._blocks, (None, None)
        for block in blocks:
            if block is not None:
                block.close()

    def run(self, *args: Any) -> Any:
        """Call the function in the process, block until it has returned, return or raise what it did."""
        with self._io:
            sock = self._start()
            incoming, outgoing = self._blocks
            try:
                message = worker_main.encode(args, incoming)
            except Exception as error:
                raise HookError(f"{self._label}: its arguments cannot be sent to its worker process: {error}") from error
            try:
                send(sock, "call", *message)
                answer = receive(sock)
                while answer is not None and answer[0] == "put":
                    send(sock, *self._put(answer[1]))
                    answer = receive(sock)
            except OSError:
                answer = None
            if answer is None:
                raise self._death()
            kind, *content = answer
            if kind == "result":
                try:
                    return worker_main.decode(content[0], content[1], outgoing)
                except Exception as error:
                    raise HookError(f"{self._label}: its result cannot be unpickled here: {type(error).__name__}: {error}") from error
            if kind == "unsendable":
                raise HookError(f"{self._label} returned a {content[0]} that cannot be sent back from its worker process: {content[1]}")
            raise self._error(content[0])

    def _put(self, data: bytes) -> tuple[Any, ...]:
        try:
            assert self._queue is not None
            self._queue.put(pickle.loads(data))
        except Exception as error:
            return "put_failed", worker_main.describe(error)
        return ("put_done",)

    def _error(self, failure: Failure) -> BaseException:
        pickled, name, text, lines = failure
        error: BaseException | None = None
        if pickled is not None:
            with contextlib.suppress(Exception):
                error = pickle.loads(pickled)
        if not isinstance(error, BaseException):
            error = HookError(f"{self._label} raised {name}: {text} (this exception itself cannot be pickled)")
        error.__cause__ = RemoteTraceback(lines)
        return error

    def _death(self) -> Exception:
        """Say what the process died of; it has closed its socket, so it is dead or about to be."""
        try:
            code = self.exited.result(_END)
        except concurrent.futures.TimeoutError:
            self.kill()
            with contextlib.suppress(concurrent.futures.TimeoutError):
                self.exited.result(_END)
            return HookError(f"{self._label}: its worker process closed the connection and had to be killed")
        if self._ending:
            return ClosedError(f"{self._label} was closed while its worker process ran it")
        return HookError(f"{self._label}: its worker process {exit_text(code)}")

    # ---- on other threads -------------------------------------------------------------------------------------------

    def _keep(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        """Wait for the process to end, wake whoever waits for it, then clean up (on a thread of its own)."""
        code = process.wait()
        self.exited.set_result(code)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # wakes a receive even if a grandchild holds the other end open
        with self._io:
            sock.close()
            self._close_blocks()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()

    def end(self) -> None:
        """Let the process end after the call in progress; does not wait."""
        self._ending = True
        self._apply()

    def kill(self) -> None:
        """Kill the process; does not wait."""
        self._ending = self._killing = True
        self._apply()

    def _apply(self) -> None:
        if self._ending and self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        if self._killing and self._process is not None:
            self._process.kill()


def _accept(listener: socket.socket, secret: bytes) -> socket.socket:
    listener.settimeout(30)
    while True:
        sock, _ = listener.accept()
        sock.settimeout(5)
        got = b""
        with contextlib.suppress(OSError):
            while len(got) < len(secret) and (more := sock.recv(len(secret) - len(got))):
                got += more
        if secrets.compare_digest(got, secret):
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        sock.close()


def _apply(fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args)


class ProcessCaller:
    """Runs a function in a worker process, a coroutine function on a loop there.

    Parameters
    ----------
    fn : callable
        The user's function; pickled now, by value if it is not importable.
    label : str
        For messages.
    queue : EventQueue or None
        What the function's own ``queue.put`` forwards to; None if it takes no queue.
    bridge : (dict, bool), optional
        Arguments of the `Bridge` that the process opens for it, and whether it is a coroutine function; None if it takes no bridge.

    Raises
    ------
    UnsupportedError
        cloudpickle is not installed.
    TypeError
        The function cannot be pickled.
    """

    concurrent = 1

    def __init__(
        self, fn: Callable[..., Any], label: str, *, queue: EventQueue | None, bridge: tuple[dict[str, Any], bool] | None = None
    ) -> None:
        try:
            import cloudpickle
        except ImportError as error:
            raise UnsupportedError(f"{label}: process=True needs cloudpickle: pip install 'aiomm[process]'") from error
        try:
            data = cloudpickle.dumps(fn)
        except Exception as error:
            raise TypeError(
                f"{label} cannot be sent to a worker process: {error}; it refers to something that cannot be pickled"
            ) from error
        self._worker = _Worker(data, label, queue, bridge)
        self._thread = ThreadCaller(_apply, label)
        weakref.finalize(self, self._worker.end)

    @property
    def running_since(self) -> float | None:
        return self._thread.running_since

    async def start(self) -> None:
        """Start the process, which takes about a tenth of a second and the imports of the function's modules."""
        await self._thread.call((self._worker.start,))

    async def call(self, args: tuple[Any, ...]) -> Any:
        return await self._thread.call((self._worker.run, *args))

    async def aclose(self, timeout: float) -> bool:
        """End the process after the call in progress; kill it after `timeout` seconds. Returns whether it has ended."""
        self._worker.end()
        exited = asyncio.wrap_future(self._worker.exited)
        try:
            if self._worker.started:
                await wait_out(exited, timeout)
        finally:
            self._worker.kill()
            if self._worker.started:
                await wait_out(exited, _END)
            ended = await self._thread.aclose(_END)
        return ended and exited.done() is self._worker.started
