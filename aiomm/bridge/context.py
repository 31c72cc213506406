"""A ZeroMQ context that may be dropped with its sockets, as a bridge may that was never closed."""

from __future__ import annotations

import zmq

__all__ = ["Context"]


class _Socket(zmq.Socket[bytes]):
    """A socket that closes without a word when it is collected."""

    def __del__(self) -> None:
        if not self.closed:
            self.close(0)


class Context(zmq.Context[zmq.Socket[bytes]]):
    """A context that nobody ends when a bridge that was never closed is collected with its loop.

    pyzmq would end it before its sockets are closed, and wait for that for ever. They close themselves when they are collected.
    """

    _socket_class = _Socket

    def __del__(self) -> None:
        pass
