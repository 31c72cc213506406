"""Run microscopes from asyncio."""

from aiomm.core import Core, LocalCore, TaggedImage

__all__ = ["Core", "LocalCore", "TaggedImage"]
