"""The microscope: one typed interface to MMCore, in this process."""

from aiomm.core.api import Core
from aiomm.core.blocking import BlockingCore, blocking
from aiomm.core.images import TaggedImage
from aiomm.core.live import LiveFrame, LiveView
from aiomm.core.local import LocalCore
from aiomm.core.notifications import CoreEvents, CoreNotification

__all__ = ["BlockingCore", "Core", "CoreEvents", "CoreNotification", "LiveFrame", "LiveView", "LocalCore", "TaggedImage", "blocking"]
