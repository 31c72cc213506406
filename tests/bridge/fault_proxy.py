"""A proxy between a client and Micro-Manager's server that spoils replies on purpose, reproducibly.

Two of them: `MessageProxy` spoils whole messages, `ByteProxy` the bytes of the connection. Each runs in a thread of its own, and each
spoils what a `random.Random` of the case's seed chooses, so that a case can be run again from its seed. Requests always pass unharmed:
what a damaged request makes a server do is the server's affair, and would end it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import zmq

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from typing import Self

Message = list[bytes]
Spoil = "Callable[[random.Random, Message], list[tuple[float, Message]]]"
"""From a reply's frames (envelope, empty frame, body) to what is sent instead: each with a delay in seconds."""

_HEAD = 2
"""Frames before the body: the client's key and the empty one."""


def _now(*messages: Message) -> list[tuple[float, Message]]:
    return [(0.0, message) for message in messages]


def _body(message: Message, *body: bytes) -> Message:
    return [*message[:_HEAD], *body]


def _binary(message: Message) -> list[bytes]:
    return message[_HEAD + 1 :]


def truncated_json(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    text = message[_HEAD]
    return _now(_body(message, text[: rng.randrange(len(text))], *_binary(message)))


def malformed_json(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    wrong = [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"type":',
        b'{"type":5}',
        b'{"type":"new"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"type":"primitive"}',
    ]
    return _now(_body(message, rng.choice(wrong), *_binary(message)))


def enormous(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return _now(_body(message, rng.choice([b" ", b"[", b"1", b"\0"]) * 16_000_000))


def many_frames(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return _now([*message, *[b"\1\2\3\4"] * rng.randrange(1, 2000)])


def binary_missing(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return _now(message[: rng.randrange(_HEAD + 1, len(message))] if _binary(message) else message[:_HEAD])


def binary_extra(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return _now([*message, rng.randbytes(4), rng.randbytes(rng.randrange(100))])


def binary_twice(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return _now([*message, *(_binary(message) or message[_HEAD:])])


def binary_reordered(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    body = message[_HEAD:]
    shuffled = body[::-1] if len(body) > 1 else [b"", *body]
    return _now(_body(message, *shuffled))


def wrong_placeholder(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    if not _binary(message):
        return _now(_body(message, b'{"type":"byte-array","value":"[B@%x"}' % rng.getrandbits(31)))
    return _now([*message[: _HEAD + 1], rng.randbytes(4), *_binary(message)[1:]])


def dropped(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return []


def delayed(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return [(rng.uniform(0.0, 0.07), message)]


def twice(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return [(0.0, message), (rng.choice([0.0, 0.0, 0.002]), message)]


def no_envelope(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return _now(message[rng.randrange(1, len(message)) :])


def wrong_key(rng: random.Random, message: Message) -> list[tuple[float, Message]]:
    return _now([rng.randbytes(len(message[0])), *message[1:]])


class _Swap:
    """Keep a reply back and send it after the next one."""

    def __init__(self) -> None:
        self.kept: list[Message] = []

    def __call__(self, rng: random.Random, message: Message) -> list[tuple[float, Message]]:
        if not self.kept:
            self.kept.append(message)
            return []
        return _now(message, self.kept.pop())


MESSAGE_FAULTS: dict[str, Any] = {
    spoil.__name__: spoil
    for spoil in (
        *(truncated_json, malformed_json, enormous, many_frames, binary_missing, binary_extra, binary_twice),
        *(binary_reordered, wrong_placeholder, dropped, delayed, twice, no_envelope, wrong_key),
    )
}
MESSAGE_FAULTS["swapped"] = None  # made for each case, as it keeps a message


class MessageProxy:
    """Pass messages on between any clients and the server at `target`, and spoil replies of the case in progress.

    `begin` names the fault, the generator and which of the next replies are spoilt (counted from 0).

    Parameters
    ----------
    target
        The server's port.
    listen
        Where clients find it; port 0 takes a free one. For whole bridges it is the server's own number at another loopback address,
        because objects say at which port they live.
    """

    def __init__(self, target: int, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._back = self._context.socket(zmq.DEALER)
        for side in (self._front, self._back):
            side.setsockopt(zmq.LINGER, 0)
            side.setsockopt(zmq.SNDHWM, 0)
        self._front.bind(f"tcp://{listen[0]}:{listen[1] or '*'}")
        self.port = int(self._front.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._back.connect(f"tcp://127.0.0.1:{target}")
        self._inner = self._context.socket(zmq.PAIR)
        self._inner.bind("inproc://wake")
        self._outer = self._context.socket(zmq.PAIR)
        self._outer.connect("inproc://wake")
        self._lock = threading.Lock()
        self._case: tuple[Any, random.Random, frozenset[int]] | None = None
        self._replies = 0
        self.spoilt = 0
        self._thread = threading.Thread(target=self._run, name="message fault proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._outer.send(b"")
        self._thread.join(5)
        self._outer.close(0)
        self._context.term()

    def begin(self, fault: str | Callable[..., Any], rng: random.Random, replies: frozenset[int]) -> None:
        """Spoil these of the replies from now on, by a fault's name or a function like those of `MESSAGE_FAULTS`."""
        with self._lock:
            self._case = ((MESSAGE_FAULTS[fault] or _Swap()) if isinstance(fault, str) else fault, rng, replies)
            self._replies = self.spoilt = 0

    def end(self) -> None:
        """Spoil nothing more."""
        with self._lock:
            self._case = None

    def _run(self) -> None:
        poller = zmq.Poller()
        for side in (self._front, self._back, self._inner):
            poller.register(side, zmq.POLLIN)
        later: list[tuple[float, list[bytes]]] = []
        while True:
            wait = max(0.0, min(due for due, _ in later) - time.monotonic()) * 1000 if later else None
            ready = dict(poller.poll(wait))
            if self._inner in ready:
                break
            if self._front in ready:
                self._back.send_multipart(self._front.recv_multipart())
            if self._back in ready:
                client, *message = self._back.recv_multipart()
                for delay, spoilt in self._spoil(message):
                    later.append((time.monotonic() + delay, [client, *spoilt]))
            now = time.monotonic()
            for item in [item for item in later if item[0] <= now]:
                later.remove(item)
                with contextlib.suppress(zmq.ZMQError):
                    self._front.send_multipart(item[1])
        for side in (self._front, self._back, self._inner):
            side.close(0)

    def _spoil(self, message: Message) -> list[tuple[float, Message]]:
        with self._lock:
            if self._case is None:
                return _now(message)
            spoil, rng, replies = self._case
            number = self._replies
            self._replies += 1
            if number not in replies:
                return _now(message)
            self.spoilt += 1
            result: list[tuple[float, Message]] = spoil(rng, message)
            return result


BYTE_FAULTS = ("flip", "cut", "stall", "reset", "insert", "remove")


class ByteProxy:
    """Pass the bytes of one connection on, and spoil what the server sends at one place of it.

    Parameters
    ----------
    target
        The server's port.
    fault
        One of `BYTE_FAULTS`.
    rng
        Chooses the bit, and how much.
    place
        How many of the server's bytes pass unharmed; -1 for all.
    listen
        Where clients find it, as with `MessageProxy`.
    """

    def __init__(self, target: int, fault: str, rng: random.Random, place: int, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._target, self._fault, self._rng, self._place = target, fault, rng, place
        self.spoilt = 0
        self._listener = socket.create_server(listen)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, name="byte fault proxy", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _hang_up(self._listener)
        self._threads[0].join(5)  # no more are opened after it
        for side in self._open:
            _hang_up(side)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # the server has left this port
                    _hang_up(client)
                    continue
                self._open += [client, server]
                for source, sink, spoil in ((client, server, False), (server, client, True)):
                    thread = threading.Thread(target=self._pass, args=(source, sink, spoil), name="byte fault proxy", daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, spoil: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                start, passed = passed, passed + len(data)
                if spoil and start <= self._place < passed:
                    data = self._spoil(data, self._place - start, sink)
                sink.sendall(data)
        _hang_up(source)
        _hang_up(sink)

    def _spoil(self, data: bytes, at: int, sink: socket.socket) -> bytes:
        self.spoilt += 1
        rng, before, after = self._rng, data[:at], data[at:]
        if self._fault == "flip":
            return before + bytes([after[0] ^ (1 << rng.randrange(8))]) + after[1:]
        if self._fault == "insert":
            return before + rng.randbytes(rng.randrange(1, 20)) + after
        if self._fault == "remove":
            return before + after[rng.randrange(1, 20) :]
        sink.sendall(before)
        if self._fault == "stall":
            while sink.recv(65536):  # until the client hangs up; its requests go nowhere
                pass
        elif self._fault == "reset":
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sink.shutdown(socket.SHUT_RD)  # wakes the thread that reads it, or the kernel keeps it open
            sink.close()
        raise OSError("cut")


def _hang_up(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
