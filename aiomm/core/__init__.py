"""The microscope: one typed interface to MMCore, in this process or in a running Micro-Manager."""

from aiomm.core.api import Core
from aiomm.core.blocking import BlockingCore, BlockingJava, blocking
from aiomm.core.bridged import BridgedCore
from aiomm.core.images import TaggedImage
from aiomm.core.java_events import JavaEvents
from aiomm.core.live import LiveFrame, LiveView
from aiomm.core.local import LocalCore
from aiomm.core.notifications import CoreEvents, CoreNotification

__all__ = [
    "BlockingCore",
    "BlockingJava",
    "BridgedCore",
    "Core",
    "CoreEvents",
    "CoreNotification",
    "JavaEvents",
    "LiveFrame",
    "LiveView",
    "LocalCore",
    "TaggedImage",
    "blocking",
]
