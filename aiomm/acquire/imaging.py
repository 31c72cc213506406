"""Take a group's images and say of each what it is: the camera's part of the engine, on the hardware thread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiomm.acquire.camera import Camera
from aiomm.acquire.metadata import CameraFacts, Clock, camera_tags, image_tags, read_camera_facts
from aiomm.dataset.storage import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.acquire.hardware import Hardware
    from aiomm.acquire.orders import Done
    from aiomm.acquire.sequencing import Group
    from aiomm.acquire.submission import Submission
    from aiomm.core.local import LocalCore
    from aiomm.core.thread import Routine


class Imaging:
    """The camera of one acquisition, and the metadata of its images.

    Parameters
    ----------
    core
        The microscope.
    hardware
        Knows what was asked of the stages and what they read.
    stopping
        Says whether to give up.
    hand_on
        Takes each frame and counts it (a routine: it waits for room); asks whether the camera runs still.
    note
        Tells who listens of a milestone.
    """

    def __init__(
        self,
        core: LocalCore,
        hardware: Hardware,
        stopping: Callable[[], bool],
        hand_on: Callable[[Frame, Done, Callable[[], bool]], Routine],
        note: Callable[[str, Any], None],
    ) -> None:
        self._core = core
        self._mmc = core.mmc
        self._hardware = hardware
        self._camera = Camera(core.mmc, hardware, stopping)
        self._hand_on = hand_on
        self._note = note
        self._facts: dict[str, tuple[tuple[int, int], CameraFacts]] = {}
        self._ring_ready: tuple[Any, ...] | None = None
        self.clock = Clock()

    @property
    def doing(self) -> str:
        """What the camera is doing at this moment, in words; empty if nothing."""
        return self._camera.doing

    def take(self, group: Group, submission: Submission, done: Done, *, due: float | None, armed: Callable[[], Routine] | None) -> Routine:
        """Expose, and hand on what comes.

        Parameters
        ----------
        group
            One event, or those of a hardware sequence; everything else is in place.
        submission
            Whose events they are.
        done
            Counts what came.
        due
            When the first was to begin, on the monotonic clock.
        armed
            Called when the camera is armed and before its images are waited for; a single image is then a sequence of one.
        """
        first, events = group.events[0], group.events
        camera = first.camera or self._hardware.camera
        focus, xy_stage = self._hardware.focus, self._hardware.xy_stage
        facts: dict[str, Any] = {}
        snapped = len(events) == 1 and armed is None

        def facts_of() -> CameraFacts:
            found = self._facts_of(camera)
            facts.update(found.tags)
            return found

        began = time.monotonic()
        lateness = None if due is None else (began - due) * 1000
        retries = self._hardware.retries
        shared = image_tags(first, self._hardware, focus, xy_stage) if len(events) == 1 else None

        def running() -> bool:
            return not snapped and bool(self._mmc.isSequenceRunning(camera))

        def take(pixels: Any, index: int, channel: str, raw: dict[str, str], moment: float) -> Routine:
            event = events[index]
            axes = {**event.axes, "camera": channel} if channel else event.axes
            tags = {**facts, **camera_tags(raw)} if raw else {**facts}
            tags.update(shared if shared is not None else image_tags(event, self._hardware, focus, xy_stage))
            if len(events) > 1:
                self._sequenced_places(tags, group, index)
            elapsed = float(raw["ElapsedTime-ms"]) + (began - self.clock.start) * 1000 if "ElapsedTime-ms" in raw else None
            tags["Axes"] = axes
            if group.exposure is not None:  # what the camera says of it is from before the sequence
                tags["Exposure"] = group.exposure[index]
                tags.pop("ExposureActual-ms", None)
            else:
                tags["Exposure"] = event.exposure if event.exposure is not None else facts["ExposureActual-ms"]
            tags["Width"], tags["Height"] = pixels.shape[1], pixels.shape[0]
            tags["ElapsedTime-ms"] = (moment - self.clock.start) * 1000 if elapsed is None else elapsed
            tags["MonotonicTime-s"] = moment
            tags["Time"] = self.clock.stamp(moment)
            if not raw:  # MMCore tags the images of sequences only
                tags["ImageNumber"], tags["TimeReceivedByCore"] = 0, tags["Time"][:26]
            if lateness is not None:
                tags["Lateness-ms"] = lateness
            if retries:
                tags["Retries"] = retries
            frame = Frame(axes, pixels, tags, facts["BitDepth"], (submission, event, moment))
            yield from self._hand_on(frame, done, running)

        if snapped:
            self._note("pre_snap", group)
            yield from self._camera.snap(first.camera, facts_of, take)
            self._note("post_snap", group)
            return

        self._prepare_ring()
        began = time.monotonic()
        self._note("pre_sequence_started", group)
        yield from self._camera.sequence(first.camera, len(events), first.timeout, facts_of, armed, take)
        self._note("post_sequence_stopped", group)

    def _facts_of(self, camera: str) -> CameraFacts:
        """What the camera's images share; read again only when a setting may have changed."""
        version = (self._hardware.version, self._core.epoch)
        known = self._facts.get(camera)
        if known is None or known[0] != version:
            known = self._facts[camera] = (version, read_camera_facts(self._mmc, camera))
        return known[1]

    def _sequenced_places(self, tags: dict[str, Any], group: Group, index: int) -> None:
        """While a stage is driven by triggers nobody can read it: only what was asked is recorded."""
        tags["Sequenced"] = True
        if group.z is not None:
            tags["ZPosition_um_Intended"] = group.z[index]
            tags.pop("ZPosition_um", None)
        if group.xy is not None:
            tags["XPosition_um_Intended"], tags["YPosition_um_Intended"] = group.xy[index]
            tags.pop("XPosition_um", None)
            tags.pop("YPosition_um", None)

    def _prepare_ring(self) -> None:
        """MMCore's buffer is allocated at the first sequence, which takes long: do it before the clock runs."""
        mmc = self._mmc
        if not mmc.getCameraDevice():  # an event is about to choose one
            return
        size = (mmc.getImageWidth(), mmc.getImageHeight(), mmc.getBytesPerPixel(), mmc.getCircularBufferMemoryFootprint())
        if self._ring_ready != size:
            mmc.initializeCircularBuffer()
            self._ring_ready = size
