"""Take images: one by snapping, or many as a camera sequence. On the hardware thread.

Each image is given to ``take(pixels, index, channel, tags, moment)`` as it comes: its number within the group, the
name of the camera channel (empty with one channel), the camera's tags and the monotonic time at which it was there.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pymmcore

from aiomm.acquire.hardware import Stopped
from aiomm.core.images import to_image
from aiomm.core.thread import Routine, Wait
from aiomm.core.translate import core_error
from aiomm.errors import BufferOverflowError, FrameTimeoutError, HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.acquire.hardware import Hardware

DRAIN_STEP_S = 0.0005


def channel_names(mmc: Any) -> list[str]:
    """The channels that the core's camera delivers at once; a single one has no name."""
    count = mmc.getNumberOfCameraChannels()
    return [""] if count <= 1 else [mmc.getCameraChannelName(i) for i in range(count)]


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

    def snap(self, label: str | None, ready: Callable[[], None], take: Callable[..., Routine]) -> Routine:
        """Expose once, with the core's camera or with another one for this image only; ``ready`` is called before."""
        mmc = self._mmc
        usual = mmc.getCameraDevice()
        try:
            yield from self._choose(label)
            ready()
            self.doing = "the exposure"
            try:
                mmc.snapImage()
            except Exception as error:
                cause = core_error(error, "snapImage", ())
                raise HardwareError(f"camera {label or usual!r} took no image: {cause}") from cause
            moment = time.monotonic()
            names = channel_names(mmc)
            for number, name in enumerate(names):
                try:
                    pixels = to_image(mmc.getImage(number) if name else mmc.getImage(), mmc.getNumberOfComponents(), mmc.getBytesPerPixel())
                except Exception as error:
                    cause = core_error(error, "getImage", (number,))
                    raise HardwareError(f"camera {label or usual!r} gave no image: {cause}") from cause
                self.doing = ""
                yield from take(pixels, 0, name, {}, moment)
        finally:
            self.doing = ""
            if mmc.getCameraDevice() != usual:
                mmc.setCameraDevice(usual)

    def _choose(self, label: str | None) -> Routine:
        """Make a camera named by an event the core's camera; the caller puts the usual one back."""
        if label is not None and label != self._mmc.getCameraDevice():
            yield from self._hardware.attempt("setCameraDevice", label)

    def sequence(
        self,
        label: str | None,
        count: int,
        timeout_ms: float | None,
        when: tuple[Callable[[], None], Callable[[], Routine]],
        take: Callable[..., Routine],
    ) -> Routine:
        """Take ``count`` images at the camera's own pace; ``when`` is called before the camera is armed, and after.

        Raises
        ------
        FrameTimeoutError
            No frame came for ``timeout_ms``, or the camera stopped too early.
        BufferOverflowError
            The frames came faster than they were taken; those that had arrived were taken.
        """
        mmc = self._mmc
        ready, started = when
        usual = mmc.getCameraDevice()
        camera = label or usual
        if mmc.isSequenceRunning(camera) or mmc.isSequenceRunning():
            raise HardwareError(f"camera {camera!r} is already running a sequence (live view?): stop it first")
        try:
            yield from self._choose(label)
            ready()
            names = channel_names(mmc)
            components, depth = mmc.getNumberOfComponents(), mmc.getBytesPerPixel()
            mmc.clearCircularBuffer()
            yield from self._hardware.attempt("prepareSequenceAcquisition", camera)
            yield from self._hardware.attempt("startSequenceAcquisition", camera, count, 0.0, True)
            yield from started()
            yield from self._drain(camera, names, count, timeout_ms, (components, depth), take)
        finally:
            self.doing = ""
            with contextlib.suppress(Exception):  # a camera that has stopped by itself may say so
                mmc.stopSequenceAcquisition(camera)
            mmc.clearCircularBuffer()
            if mmc.getCameraDevice() != usual:
                mmc.setCameraDevice(usual)

    def _drain(
        self,
        camera: str,
        names: list[str],
        count: int,
        timeout_ms: float | None,
        pixels: tuple[int, int],
        take: Callable[..., Routine],
    ) -> Routine:
        mmc = self._mmc
        seen = dict.fromkeys(names, 0)
        first_number: dict[str, int] = {}
        total, expected = 0, count * len(names)
        last = time.monotonic()
        while total < expected:
            if mmc.getRemainingImageCount():
                md = pymmcore.Metadata()
                raw = mmc.popNextImageMD(md)
                last = time.monotonic()
                tags = {key: md.GetSingleTag(key).GetValue() for key in md.GetKeys()}
                name = self._channel(tags, names)
                index = seen[name]
                self._in_order(tags, name, index, first_number, camera)
                seen[name] = index + 1
                total += 1
                yield from take(to_image(raw, *pixels), index, name, tags, last)
                continue
            if self._stopping():
                raise Stopped
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
    def _channel(tags: dict[str, str], names: list[str]) -> str:
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
