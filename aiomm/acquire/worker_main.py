"""The program of a worker process, and the wire that both ends of it share.

It is run as a script, in an interpreter that knows nothing of the user's ``__main__``, so it must import nothing but the
standard library (numpy and cloudpickle come with the first call that needs them). What goes over the socket is a length and
a pickled tuple, its first item the kind:

===============  ============================================  =======================================================
to the worker    ``load``                                      the function, the ``sys.path`` to find its modules, and which
                                                               bridge it wants
                 ``call``                                      arguments
                 ``put_done``, ``put_failed``                  the answer to ``put``
from the worker  ``ready``, ``failed``                         the answer to ``load``
                 ``result``, ``error``, ``unsendable``         the answer to ``call``
                 ``put``                                       the function put events into the queue
===============  ============================================  =======================================================

Large buffers inside arguments and results (pixels) go through a `Block` of shared memory, one each way. The worker ends when
the socket does, and at once, whatever it is doing, when the parent has died: then its standard input ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import inspect
import mmap
import os
import pickle
import socket
import struct
import sys
import tempfile
import threading
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

_LENGTH = struct.Struct("<Q")
_IN_BAND = 16384  # buffers below this many bytes travel in the message
_ALIGN = 64
_STEP = 1 << 20  # blocks grow in these

Place = tuple[int, int] | bytes  # where a buffer is: (offset, bytes) in the block, or the buffer itself
Failure = tuple[bytes | None, str, str, str]  # pickled exception, its type's name, its text, its traceback


class Block:
    """Shared memory without a name, so that nothing can be left behind: an unlinked file that the worker inherits.

    The end that writes grows it; the other end maps more of it when it is told of something beyond its mapping.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None
        self._size = 0

    @classmethod
    def create(cls) -> Block:
        if sys.platform == "linux":
            return cls(os.memfd_create("aiomm"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def reserve(self, size: int) -> None:
        """Make room for `size` bytes; OSError if there is none (a plain truncation would crash at the first write instead)."""
        if size > self._size:
            size = -(-size // _STEP) * _STEP
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.fd, 0, size)
            else:
                os.truncate(self.fd, size)
            self._remap(size)

    def _remap(self, size: int) -> None:
        if self._map is not None:
            self._map.close()
        self._map, self._size = mmap.mmap(self.fd, size), size

    def write(self, offset: int, raw: memoryview) -> None:
        import numpy as np  # its copies let other threads run

        assert self._map is not None
        np.frombuffer(self._map, np.uint8, raw.nbytes, offset)[:] = np.frombuffer(raw, np.uint8)

    def read(self, offset: int, size: int) -> Any:
        """Copy a buffer out: whoever gets it may keep it, and the block is used again."""
        import numpy as np

        if offset + size > self._size:
            self._remap(os.fstat(self.fd).st_size)
        assert self._map is not None
        return np.frombuffer(self._map, np.uint8, size, offset).copy()

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        os.close(self.fd)


def encode(value: Any, block: Block | None) -> tuple[bytes, list[Place]]:
    """Pickle `value`, its large buffers into the block (into the message if there is no block or no room)."""
    import cloudpickle

    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _IN_BAND:
            return True
        buffers.append(raw)
        return False

    data: bytes = cloudpickle.dumps(value, protocol=5, buffer_callback=keep)
    if not buffers:
        return data, []
    places: list[tuple[int, int]] = []
    end = 0
    for raw in buffers:
        places.append((end, raw.nbytes))
        end += -(-raw.nbytes // _ALIGN) * _ALIGN
    try:
        if block is None:
            return data, [bytes(raw) for raw in buffers]
        block.reserve(end)
    except OSError:
        return data, [bytes(raw) for raw in buffers]
    for (offset, _), raw in zip(places, buffers, strict=True):
        block.write(offset, raw)
    return data, list(places)


def decode(data: bytes, places: list[Place], block: Block | None) -> Any:
    """Unpickle what `encode` made; arrays in it are the receiver's own, and writable."""
    buffers: list[Any] = []
    for place in places:
        if isinstance(place, bytes):
            buffers.append(bytearray(place))
        else:
            assert block is not None
            buffers.append(block.read(*place))
    return pickle.loads(data, buffers=buffers)


def send(sock: socket.socket, *message: Any) -> None:
    body = pickle.dumps(message, protocol=5)
    sock.sendall(_LENGTH.pack(len(body)) + body)


def receive(sock: socket.socket) -> Any:
    """Wait for a message; None when the other end is gone."""
    head = _read(sock, _LENGTH.size)
    body = head and _read(sock, _LENGTH.unpack(head)[0])
    return pickle.loads(body) if body else None


def _read(sock: socket.socket, size: int) -> bytearray | None:
    got = bytearray(size)
    view, at = memoryview(got), 0
    while at < size:
        count = sock.recv_into(view[at:])
        if count == 0:
            return None
        at += count
    return got


def describe(error: BaseException, skip: int = 0) -> Failure:
    """Make an exception ready to travel: itself if it can be pickled and unpickled, and its text and traceback anyway.

    `skip` frames of the traceback are our own.
    """
    import cloudpickle

    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    frames = error.__traceback__
    for _ in range(skip):
        frames = frames.tb_next if frames is not None else None
    lines = "".join(traceback.format_exception(type(error), error, frames or error.__traceback__))
    pickled: bytes | None
    try:
        pickled = cloudpickle.dumps(error)
        pickle.loads(pickled)  # many exceptions pickle and then do not unpickle
    except Exception:
        pickled = None
    return pickled, type(error).__name__, text, lines


class _Done:
    """An awaitable that is done already."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class WorkerQueue:
    """What the function gets as ``queue``: forwards events to the acquisition, and raises what it raises."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.lock = threading.Lock()
        self.calling = False

    def put(self, events: Any) -> _Done:
        """Put events into the acquisition; see `aiomm.acquire.hooks.EventQueue`."""
        import cloudpickle

        try:
            data = cloudpickle.dumps(events)
        except Exception as error:
            raise TypeError(f"queue.put() in a worker process takes an event (a dict), a list of events, or None: {error}") from None
        with self.lock:
            if not self.calling:
                raise RuntimeError("queue.put() in a worker process works only while the function runs")
            send(self._sock, "put", data)
            answer = receive(self._sock)
        if answer is None:
            raise ConnectionError("the acquisition is gone")
        if answer[0] == "put_failed":
            pickled, name, text, _ = answer[1]
            raise pickle.loads(pickled) if pickled else RuntimeError(f"{name}: {text}")
        return _Done()


def _end_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os._exit(1)


def _serve(sock: socket.socket, incoming: Block | None, outgoing: Block | None) -> None:
    message = receive(sock)
    if message is None:
        return
    _, path, data, wants_queue, bridge = message
    sys.path[:] = path
    queue = WorkerQueue(sock)
    with contextlib.ExitStack() as stack:
        runner: Any = None
        try:
            fn = pickle.loads(data)
            extra: tuple[Any, ...] = (queue,) if wants_queue else ()
            if bridge is not None:
                import asyncio

                from aiomm.acquire.worker_bridge import open_bridge

                arguments, is_async = bridge
                if is_async:
                    runner = stack.enter_context(asyncio.Runner())
                extra = (open_bridge(stack, arguments, runner), *extra)
        except Exception as error:
            send(sock, "failed", describe(error, skip=1))
            return
        send(sock, "ready")

        def call(data: bytes, places: list[Place]) -> Any:
            nonlocal runner
            result = fn(*decode(data, places, incoming), *extra)
            if inspect.isawaitable(result):
                if runner is None:
                    import asyncio

                    runner = stack.enter_context(asyncio.Runner())
                result = runner.run(_await(result))
            return result

        while (message := receive(sock)) is not None:
            queue.calling = True
            try:
                result = call(*message[1:])
            except SystemExit:
                raise
            except BaseException as error:  # the caller gets it, whatever it is
                reply: tuple[Any, ...] = ("error", describe(error, skip=2))
            else:
                try:
                    reply = ("result", *encode(result, outgoing))
                except Exception as error:
                    reply = ("unsendable", type(result).__name__, f"{type(error).__name__}: {error}")
                del result
            with queue.lock:  # a thread that the function left behind may be putting
                queue.calling = False
                send(sock, *reply)
            del reply, message


async def _await(awaitable: Any) -> Any:
    return await awaitable


def main(arguments: list[str]) -> None:
    """Run a worker: its arguments are three file descriptors, or nothing: then where to connect is on standard input."""
    with contextlib.suppress(Exception):  # there may be no stderr, or no stdout
        faulthandler.enable()
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what it prints is seen now, also when it is killed
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if arguments:
        fd, *blocks = map(int, arguments)
        for inherited in (fd, *blocks):
            os.set_inheritable(inherited, False)
        sock = socket.socket(fileno=fd)
        incoming, outgoing = map(Block, blocks)
        ends: tuple[Block | None, Block | None] = (incoming, outgoing)
    else:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(lifeline, 1)
        port, secret = line.split()
        sock = socket.create_connection(("127.0.0.1", int(port)))
        sock.sendall(secret)
        ends = (None, None)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    with sock, contextlib.suppress(ConnectionError):
        _serve(sock, *ends)


if __name__ == "__main__":
    main(sys.argv[1:])
