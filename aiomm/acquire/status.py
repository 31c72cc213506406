"""What an acquisition is doing: an unchanging snapshot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """An acquisition at one moment.

    Attributes
    ----------
    state : str
        ``"running"``, ``"paused"``, ``"finishing"`` (takes no more events), ``"stopping"``, ``"finished"``, ``"aborted"``
        or ``"failed"``.
    waiting_for : str
        What the hardware side is doing or waiting for, in words.
    events_known, events_done : int
        Events submitted so far (of generators: pulled so far) and those that were carried out, skipped or failed.
    images_acquired, images_saved : int
        Images exposed, and images that the operating system has accepted.
    skipped, diverted, failed : int
        Events that a hook skipped, images that the processor diverted, events or images that failed.
    waiting_for_processor, waiting_for_saving : int
        Images in memory that wait for the image processor, and for the writer.
    images_per_s : float
        Images saved per second since the start.
    elapsed_s : float
        Seconds since the start; stands still at the end.
    last_image_s_ago : float or None
        Seconds since the newest saved image was exposed.
    callbacks_behind : int
        Saved images and notifications that callbacks were not told of yet.
    notes : tuple of str
        Failures that ``on_error="continue"`` went on after.
    error : BaseException or None
        What ended it.
    """

    state: str
    waiting_for: str
    events_known: int
    events_done: int
    images_acquired: int
    images_saved: int
    skipped: int
    diverted: int
    failed: int
    waiting_for_processor: int
    waiting_for_saving: int
    images_per_s: float
    elapsed_s: float
    last_image_s_ago: float | None
    callbacks_behind: int
    notes: tuple[str, ...]
    error: BaseException | None
