"""Run microscopes from asyncio."""

from aiomm import errors
from aiomm.acquire import (
    Acquisition,
    AcquisitionEvent,
    EventList,
    EventQueue,
    Group,
    Image,
    ImageStream,
    Notification,
    NotificationStream,
    Plan,
    Status,
    Submission,
    SubmissionStatus,
    multi_d_acquisition_events,
)
from aiomm.bridge import Bridge, JavaClass, JavaField, JavaObject
from aiomm.core import BlockingCore, Core, CoreEvents, CoreNotification, LiveFrame, LiveView, LocalCore, TaggedImage, blocking
from aiomm.dataset import Dataset

__all__ = [
    "Acquisition",
    "AcquisitionEvent",
    "BlockingCore",
    "Bridge",
    "Core",
    "CoreEvents",
    "CoreNotification",
    "Dataset",
    "EventList",
    "EventQueue",
    "Group",
    "Image",
    "ImageStream",
    "JavaClass",
    "JavaField",
    "JavaObject",
    "LiveFrame",
    "LiveView",
    "LocalCore",
    "Notification",
    "NotificationStream",
    "Plan",
    "Status",
    "Submission",
    "SubmissionStatus",
    "TaggedImage",
    "blocking",
    "errors",
    "multi_d_acquisition_events",
]
