"""Run microscopes from asyncio."""

from aiomm.core import BlockingCore, Core, CoreEvents, CoreNotification, LiveFrame, LiveView, LocalCore, TaggedImage, blocking

__all__ = ["BlockingCore", "Core", "CoreEvents", "CoreNotification", "LiveFrame", "LiveView", "LocalCore", "TaggedImage", "blocking"]
