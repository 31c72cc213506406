"""What an image and a dataset say of themselves: the keys of Micro-Manager's engine, and what was really in force."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.acquire.hardware import Hardware

_NUMBERS = {"Width": int, "Height": int, "ImageNumber": int, "Binning": int, "ROI-X-start": int, "ROI-Y-start": int}
_NUMBERS_FLOAT = ("ElapsedTime-ms", "Exposure-ms")


class Clock:
    """Monotonic time and the wall-clock time that goes with it, fixed once: a step of the wall clock moves nothing."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self._wall = datetime.datetime.now().astimezone()
        self._second = (-1, "", "")

    def stamp(self, moment: float) -> str:
        """Wall-clock text of a moment on the monotonic clock."""
        passed, fraction = divmod(moment - self.start + self._wall.microsecond / 1e6, 1)
        if self._second[0] != passed:  # the text of a second is made once
            when = self._wall.replace(microsecond=0) + datetime.timedelta(seconds=passed)
            self._second = (int(passed), when.strftime("%Y-%m-%d %H:%M:%S."), when.strftime(" %z"))
        return f"{self._second[1]}{int(fraction * 1e6):06d}{self._second[2]}"


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """What all images of one camera share until a setting changes.

    Attributes
    ----------
    tags : dict
        What goes into the metadata of each.
    channels : tuple of str
        The channels that the camera delivers at once; a single one has no name.
    components, bytes_per_pixel : int
        As MMCore gives the pixels.
    """

    tags: dict[str, Any]
    channels: tuple[str, ...]
    components: int
    bytes_per_pixel: int


def read_camera_facts(mmc: Any, camera: str) -> CameraFacts:
    """Read them of the core's camera."""
    x, y, _, _ = mmc.getROI(camera)
    count = mmc.getNumberOfCameraChannels()
    tags = {
        "Camera": camera,
        "PixelType": pixel_type(mmc),
        "BitDepth": mmc.getImageBitDepth(),
        "Binning": int(mmc.getProperty(camera, "Binning")) if mmc.hasProperty(camera, "Binning") else 1,
        "ROI-X-start": x,
        "ROI-Y-start": y,
        "PixelSize_um": mmc.getPixelSizeUm(True),
        "ExposureActual-ms": mmc.getExposure(camera),
    }
    channels = ("",) if count <= 1 else tuple(mmc.getCameraChannelName(i) for i in range(count))
    return CameraFacts(tags, channels, mmc.getNumberOfComponents(), mmc.getBytesPerPixel())


def pixel_type(mmc: Any) -> str:
    """Micro-Manager's name of the camera's pixels; refuses those that no storage here can hold.

    Raises
    ------
    UnsupportedError
        For 32-bit grey and 64-bit colour.
    """
    components, size = mmc.getNumberOfComponents(), mmc.getBytesPerPixel()
    if components == 1 and size in (1, 2):
        return "GRAY8" if size == 1 else "GRAY16"
    if components == 4 and size == 4:
        return "RGB32"
    raise UnsupportedError(
        f"camera {mmc.getCameraDevice()!r} gives pixels of {size} bytes in {components} component(s); "
        "8 and 16 bit grey and 8 bit RGB can be saved: choose another PixelType of the camera"
    )


def refuse_pixels(mmc: Any) -> None:
    """Refuse the core's camera as `pixel_type` does; without one nothing is refused, as an event may choose one."""
    if mmc.getCameraDevice():
        pixel_type(mmc)


def image_tags(event: AcquisitionEvent, hardware: Hardware, focus: str, xy_stage: str) -> dict[str, Any]:
    """What was asked for an event, and where the stages were read to be."""
    tags: dict[str, Any] = {}
    if event.config is not None:
        tags["ChannelGroup"], tags["Channel"] = event.config
    if event.x is not None and event.y is not None:
        tags["XPosition_um_Intended"], tags["YPosition_um_Intended"] = event.x, event.y
    place = hardware.xy_position(xy_stage)
    if place is not None:
        tags["XPosition_um"], tags["YPosition_um"] = place[1]
    if event.z is not None:
        tags["ZPosition_um_Intended"] = event.z
    for label, um in event.stage_positions:
        tags["ZPosition_um_Intended" if label == focus else f"{label}Position_um_Intended"] = um
        spot = hardware.position(label)
        if spot is not None and label != focus:
            tags[f"{label}Position_um"] = spot[1]
    spot = hardware.position(focus)
    if spot is not None:
        tags["ZPosition_um"] = spot[1]
    position = event.axes.get("position")
    if isinstance(position, str):
        tags["PositionName"] = position
    if "row" in event.axes:
        tags["GridRowIndex"] = event.axes["row"]
    if "column" in event.axes:
        tags["GridColumnIndex"] = event.axes["column"]
    if event.tags:
        tags["tags"] = dict(event.tags)
    return tags


def camera_tags(raw: dict[str, str]) -> dict[str, Any]:
    """The camera's own tags, numbers as numbers: the same types for a snap and for a sequence."""
    tags: dict[str, Any] = dict(raw)
    for key, kind in _NUMBERS.items():
        if key in raw:
            try:
                tags[key] = kind(raw[key])
            except ValueError:
                tags[key] = raw[key]
    for key in _NUMBERS_FLOAT:
        if key in raw:
            try:
                tags[key] = float(raw[key])
            except ValueError:
                tags[key] = raw[key]
    return tags


def summary_metadata(mmc: Any, clock: Clock, name: str) -> dict[str, Any]:
    """What is true of a whole acquisition: the roles, the pixels, the state of every device at the start."""
    roles = {
        "Core-XYStage": mmc.getXYStageDevice,
        "Core-Focus": mmc.getFocusDevice,
        "Core-Autofocus": mmc.getAutoFocusDevice,
        "Core-Camera": mmc.getCameraDevice,
        "Core-Galvo": mmc.getGalvoDevice,
        "Core-ImageProcessor": mmc.getImageProcessorDevice,
        "Core-SLM": mmc.getSLMDevice,
        "Core-Shutter": mmc.getShutterDevice,
    }
    summary: dict[str, Any] = {"DateAndTime": clock.stamp(clock.start), "Prefix": name}
    if mmc.getCameraDevice():
        summary["PixelType"] = pixel_type(mmc)
    summary["PixelSize_um"] = mmc.getPixelSizeUm()
    summary.update((key, read()) for key, read in roles.items())
    affine = mmc.getPixelSizeAffine()
    summary["AffineTransform"] = "_".join(str(affine[i]) for i in (0, 3, 1, 4)) if any(affine) else "Undefined"
    state = mmc.getSystemStateCache()
    settings = (state.getSetting(i) for i in range(state.size()))
    summary["SystemStateCache"] = {f"{s.getDeviceLabel()}-{s.getPropertyName()}": s.getPropertyValue() for s in settings}
    summary["MMCoreVersion"] = mmc.getVersionInfo()
    return summary
