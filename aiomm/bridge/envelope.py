"""Messages on the socket of a port, without waiting: the key of a call, an empty frame, and what is asked or answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import zmq
from zmq import backend

if TYPE_CHECKING:
    from aiomm.bridge.request import Reply, Request

__all__ = ["Envelopes"]

# pyzmq's own functions, without the convenience around them, which costs several µs a call
_send: Any = backend.Socket.send
_recv: Any = backend.Socket.recv
_poll: Any = backend.zmq_poll  # looks at a socket's events as its option does, and needs no search in an enum for that

_DONTWAIT: Final = int(zmq.DONTWAIT)
_SNDMORE: Final = int(zmq.DONTWAIT) | int(zmq.SNDMORE)
_BY_REFERENCE: Final = 65536  # bytes from which a frame is sent without a copy


class Envelopes:
    """What goes over one DEALER socket.

    Parameters
    ----------
    socket
        The socket; its peer gives the frames up to the empty one back with its answer.
    """

    __slots__ = ("_events", "_socket")

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._events = [(socket, int(zmq.POLLIN))]

    def put(self, key: bytes, frames: Request) -> None:
        """Send.

        Raises
        ------
        zmq.ZMQError
            It cannot be sent, and nothing of it was.
        """
        socket = self._socket
        _send(socket, key, _SNDMORE)
        _send(socket, b"", _SNDMORE)
        if len(frames) > 1:
            for frame in frames[:-1]:
                _send(socket, frame, _SNDMORE, len(frame) < _BY_REFERENCE)
        last = frames[-1]
        _send(socket, last, _DONTWAIT, len(last) < _BY_REFERENCE)

    def there(self) -> bool:
        """Whether a message is there. If not, there will be notice of the next one."""
        return bool(_poll(self._events, 0))

    def take(self) -> tuple[bytes, Reply]:
        """Take a message: its key, and the frames behind the empty one; none of these if it is another message than the server's.

        Raises
        ------
        zmq.Again
            There is none.
        """
        socket = self._socket
        key = frame = _recv(socket, _DONTWAIT, False)
        frames: Reply = []
        while frame.more:
            frame = _recv(socket, _DONTWAIT, False)
            frames.append(frame)
        if len(frames) > 1 and not len(frames[0]):
            del frames[0]
            return key.bytes, frames
        return key.bytes, []
