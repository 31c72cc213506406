"""The microscope: one typed interface to MMCore, in this process."""

from aiomm.core.api import Core
from aiomm.core.images import TaggedImage
from aiomm.core.local import LocalCore

__all__ = ["Core", "LocalCore", "TaggedImage"]
