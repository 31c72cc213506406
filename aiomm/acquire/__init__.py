"""Events, their plan, and the acquisition that carries them out."""

from aiomm.acquire.acquisition import Acquisition
from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.hooks import EventQueue
from aiomm.acquire.mda import EventList, multi_d_acquisition_events
from aiomm.acquire.plan import Plan
from aiomm.acquire.sequencing import Group
from aiomm.acquire.status import Status
from aiomm.acquire.streams import ImageStream, Notification, NotificationStream
from aiomm.acquire.submission import Image, Submission, SubmissionStatus

__all__ = [
    "Acquisition",
    "AcquisitionEvent",
    "EventList",
    "EventQueue",
    "Group",
    "Image",
    "ImageStream",
    "Notification",
    "NotificationStream",
    "Plan",
    "Status",
    "Submission",
    "SubmissionStatus",
    "multi_d_acquisition_events",
]
