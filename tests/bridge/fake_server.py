"""Small servers for faults that the real one cannot be made to show. Each runs in a thread and ends with its `with`."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GREETING = b'{"type":"none","version":"5.1.0"}'


def free_port() -> int:
    """A port that nobody listens on, below those that systems give to outgoing connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        base: int = probe.getsockname()[1]
    for number in range(10000 + base % 9000, 20000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", number))
                return number
    raise OSError("no free port")


@contextlib.contextmanager
def tcp_server(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """Accept connections and give each to `talk`, which may keep it open by waiting for its end; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                accepted.append(peer)
                talk(peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        for open_socket in (listener, *accepted):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        thread.join(5)


@contextlib.contextmanager
def zmq_server(answer: Callable[[list[bytes]], list[list[bytes]]], port: int | None = None) -> Iterator[int]:
    """Answer requests with whole messages, envelope and all: none, one or several for each; yields the port.

    `answer` gets the envelope's frames, an empty frame and the request's frames.
    """
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    number = router.bind_to_random_port("tcp://127.0.0.1") if port is None else port
    if port is not None:
        router.bind(f"tcp://127.0.0.1:{port}")
    stop = context.socket(zmq.PAIR)
    stop.bind("inproc://stop")
    stopper = context.socket(zmq.PAIR)
    stopper.connect("inproc://stop")

    def serve() -> None:
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if stop in ready:
                break
            sender, *frames = router.recv_multipart()
            for message in answer(frames):
                router.send_multipart([sender, *message])
        router.close(0)
        stop.close(0)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield number
    finally:
        stopper.send(b"")
        thread.join(5)
        stopper.close(0)
        context.term()


def greets(then: Callable[[list[bytes]], list[list[bytes]]]) -> Callable[[list[bytes]], list[list[bytes]]]:
    """Answer the handshake as a server would, and anything else by `then`."""

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        if b'"connect"' in frames[-1]:
            return [[*frames[:-1], GREETING]]
        return then(frames)

    return answer
