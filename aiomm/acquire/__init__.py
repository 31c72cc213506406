"""Events, their plan, and the acquisition that carries them out."""

from aiomm.acquire.acquisition import Acquisition
from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.mda import multi_d_acquisition_events
from aiomm.acquire.status import Status
from aiomm.acquire.streams import ImageStream, Notification, NotificationStream
from aiomm.acquire.submission import Image, Submission, SubmissionStatus

__all__ = [
    "Acquisition",
    "AcquisitionEvent",
    "Image",
    "ImageStream",
    "Notification",
    "NotificationStream",
    "Status",
    "Submission",
    "SubmissionStatus",
    "multi_d_acquisition_events",
]
