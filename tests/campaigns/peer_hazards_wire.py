"""What both sides of the hazards of calls do on a bare socket, as no client would: under any interpreter that has pyzmq."""

from __future__ import annotations

import zmq


def server_answers(port: int) -> bool:
    """Whether the server's thread answers a client that comes now, within 1 s."""
    return _answered(port, b'{"command": "connect", "debug": false}', 1000)


def end_server_thread(port: int) -> None:
    """Send malformed JSON: the server says nothing, and answers nobody on that port any more."""
    if _answered(port, b'{"command": ', 300):
        raise RuntimeError("the server answered malformed JSON")


def others(port: int) -> str:
    """What becomes of the server's other clients, in words."""
    return "other clients are answered" if server_answers(port) else "no client is answered any more"


def _answered(port: int, request: bytes, wait_ms: int) -> bool:
    with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
        raw.linger = 0
        raw.connect(f"tcp://127.0.0.1:{port}")
        raw.send_multipart([b"", request])
        return bool(raw.poll(wait_ms))
