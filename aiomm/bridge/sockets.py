"""Sockets on asyncio for Micro-Manager's protocol: requests; streams in and out."""

from aiomm.bridge.port import Port, PortStats, Reply, Request
from aiomm.bridge.streams import PullSocket, PushSocket

__all__ = ["Port", "PortStats", "PullSocket", "PushSocket", "Reply", "Request"]
