"""Sockets on asyncio for Micro-Manager's protocol: requests; streams in and out."""

from aiomm.bridge.port import Port
from aiomm.bridge.request import PortStats, Reply, Request
from aiomm.bridge.streams import PullSocket, PushSocket

__all__ = ["Port", "PortStats", "PullSocket", "PushSocket", "Reply", "Request"]
