"""Take images: one by snapping, or many as a camera sequence. On the hardware thread.

Each image is given to ``take(pixels, index, channel, tags, moment)`` as it comes: its number within the group, the
name of the camera channel (empty with one channel), the camera's tags and the monotonic time at which it was there.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pymmcore

from aiomm.acquire.conductor import Stopped
from aiomm.core.images import to_image
from aiomm.core.thread import Routine, Wait
from aiomm.core.translate import core_error
from aiomm.errors import BufferOverflowError, FrameTimeoutError, HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.acquire.hardware import Hardware
    from aiomm.acquire.metadata import CameraFacts

DRAIN_STEP_S = 0.0005
OTHERS_S = 0.005


class Camera:
    """The camera of one acquisition.

    Parameters
    ----------
    mmc
        The raw ``pymmcore.CMMCore``.
    hardware
        Makes the calls that may be tried again.
    stopping
        Says whether to give up.
    """

    def __init__(self, mmc: Any, hardware: Hardware, stopping: Callable[[], bool]) -> None:
        self._mmc = mmc
        self._hardware = hardware
        self._stopping = stopping
        self.doing = ""

    def snap(self, label: str | None, facts_of: Callable[[], CameraFacts], take: Callable[..., Routine]) -> Routine:
        """Expose once, with the core's camera or with another one for this image only.

        ``facts_of`` is asked when that is chosen.
        """
        mmc = self._mmc
        usual = self._hardware.camera
        try:
            yield from self._choose(label)
            facts = facts_of()
            self.doing = "the exposure"
            try:
                mmc.snapImage()
            except Exception as error:
                cause = core_error(error, "snapImage", ())
                raise HardwareError(f"camera {label or usual!r} took no image: {cause}") from cause
            moment = time.monotonic()
            for number, name in enumerate(facts.channels):
                try:
                    pixels = to_image(mmc.getImage(number) if name else mmc.getImage(), facts.components, facts.bytes_per_pixel)
                except Exception as error:
                    cause = core_error(error, "getImage", (number,))
                    raise HardwareError(f"camera {label or usual!r} gave no image: {cause}") from cause
                self.doing = ""
                yield from take(pixels, 0, name, {}, moment)
        finally:
            self.doing = ""
            self._choose_again(label, usual)

    def _choose_again(self, label: str | None, usual: str) -> None:
        if label is not None and label != usual:
            self._mmc.setCameraDevice(usual)

    def _choose(self, label: str | None) -> Routine:
        """Make a camera named by an event the core's camera; the caller puts the usual one back."""
        if label is not None and label != self._hardware.camera:
            yield from self._hardware.attempt("setCameraDevice", label)

    def sequence(
        self,
        label: str | None,
        count: int,
        timeout_ms: float | None,
        facts_of: Callable[[], CameraFacts],
        started: Callable[[], Routine] | None,
        take: Callable[..., Routine],
    ) -> Routine:
        """Take ``count`` images at the camera's own pace; ``started`` is called when the camera is armed.

        Raises
        ------
        FrameTimeoutError
            No frame came for ``timeout_ms``, or the camera stopped too early.
        BufferOverflowError
            The frames came faster than they were taken; those that had arrived were taken.
        """
        mmc = self._mmc
        usual = self._hardware.camera
        camera = label or usual
        if mmc.isSequenceRunning(camera) or mmc.isSequenceRunning():
            raise HardwareError(f"camera {camera!r} is already running a sequence (live view?): stop it first")
        try:
            yield from self._choose(label)
            facts = facts_of()
            mmc.clearCircularBuffer()
            yield from self._hardware.attempt("prepareSequenceAcquisition", camera)
            yield from self._hardware.attempt("startSequenceAcquisition", camera, count, 0.0, True)
            if started is not None:
                yield from started()
            yield from self._drain(camera, facts, count, timeout_ms, take)
        finally:
            self.doing = ""
            with contextlib.suppress(Exception):  # a camera that has stopped by itself may say so
                mmc.stopSequenceAcquisition(camera)
            mmc.clearCircularBuffer()
            self._choose_again(label, usual)

    def _drain(
        self,
        camera: str,
        facts: CameraFacts,
        count: int,
        timeout_ms: float | None,
        take: Callable[..., Routine],
    ) -> Routine:
        mmc, names = self._mmc, facts.channels
        components, depth = facts.components, facts.bytes_per_pixel
        seen = dict.fromkeys(names, 0)
        first_number: dict[str, int] = {}
        total, expected = 0, count * len(names)
        last = time.monotonic()
        others = last
        while total < expected:
            if self._stopping():  # looked at for each frame: a camera that is fast enough leaves no moment without one
                raise Stopped
            if mmc.getRemainingImageCount():
                self.doing = ""
                md = pymmcore.Metadata()
                try:
                    raw = mmc.popNextImageMD(md)
                except Exception as error:
                    cause = core_error(error, "popNextImageMD", ())
                    raise HardwareError(f"camera {camera!r} gave no image {total + 1} of {expected}: {cause}") from cause
                last = time.monotonic()
                tags = {key: md.GetSingleTag(key).GetValue() for key in md.GetKeys()}
                name = self._channel(tags, names)
                index = seen[name]
                self._in_order(tags, name, index, first_number, camera)
                seen[name] = index + 1
                total += 1
                yield from take(to_image(raw, components, depth), index, name, tags, last)
                if last - others > OTHERS_S:
                    others = last
                    yield None  # to whoever else wants the hardware thread
                continue
            self.doing = f"frame {total + 1} of {expected} of camera {camera!r}"
            if mmc.isBufferOverflowed():
                raise BufferOverflowError(
                    f"camera {camera!r} filled the circular buffer of {mmc.getCircularBufferMemoryFootprint()} MB: "
                    f"{total} of {expected} frames were taken; give more memory (buffer_mb=) or save faster"
                )
            if not mmc.isSequenceRunning(camera) and not mmc.getRemainingImageCount():
                raise FrameTimeoutError(f"camera {camera!r} stopped after {total} of {expected} frames")
            now = time.monotonic()
            if timeout_ms is not None and (now - last) * 1000 > timeout_ms:
                raise FrameTimeoutError(
                    f"no frame from camera {camera!r} for {timeout_ms:g} ms: {total} of {expected} frames came (a missed trigger?)"
                )
            yield Wait(until=now + DRAIN_STEP_S)

    @staticmethod
    def _channel(tags: dict[str, str], names: tuple[str, ...]) -> str:
        if len(names) == 1:
            return names[0]
        for key in ("CameraChannelName", "Camera"):
            if tags.get(key) in names:
                return tags[key]
        index = tags.get("CameraChannelIndex", "")
        if index.isdigit() and int(index) < len(names):
            return names[int(index)]
        raise HardwareError(f"a frame does not tell which of the cameras {names} it comes from (its tags: {sorted(tags)})")

    @staticmethod
    def _in_order(tags: dict[str, str], name: str, index: int, first_number: dict[str, int], camera: str) -> None:
        """A gap in the camera's own count means that frames were lost: the rest cannot be told apart."""
        number = tags.get("ImageNumber", "")
        if not number.isdigit():
            return
        first = first_number.setdefault(name, int(number))
        if int(number) - first != index:
            raise HardwareError(
                f"camera {name or camera!r} lost frames: image number {int(number) - first} came where {index} was due; "
                "the rest of this sequence is not saved, since it could not be labelled with certainty"
            )
