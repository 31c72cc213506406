"""Images as MMCore gives them, made into numpy arrays that anybody can use; images with their tags."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.errors import CoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INTEGERS = ("Width", "Height", "ImageNumber", "ROI-X-start", "ROI-Y-start", "BitDepth")
_FLOATS = ("ElapsedTime-ms", "Exposure-ms", "PixelSizeUm")
_NUMBERS: dict[str, type] = {**dict.fromkeys(_FLOATS, float), **dict.fromkeys(_INTEGERS, int)}
_PIXEL_TYPES = {(1, 1): "GRAY8", (2, 1): "GRAY16", (4, 1): "GRAY32", (4, 4): "RGB32", (8, 4): "RGB64"}


@dataclass(slots=True, eq=False)
class TaggedImage:
    """An image and its tags, as Micro-Manager's ``TaggedImage``.

    Attributes
    ----------
    pix : ndarray
        (y, x), or (y, x, 3) in the order red, green, blue.
    tags : dict
        Camera's and core's metadata: strings, but numbers for sizes, ROI, image number and elapsed time (ms).
    """

    pix: NDArray[Any]
    tags: dict[str, Any]


def to_image(raw: NDArray[Any], components: int, bytes_per_pixel: int) -> NDArray[Any]:
    """Make what MMCore gives into (y, x) or (y, x, 3), C-contiguous.

    Parameters
    ----------
    raw : ndarray
        (y, x). MMCore packs colours into one integer per pixel: blue, green, red, unused, in memory order.
    components : int
        ``getNumberOfComponents()``: 1, or 4 for colour.
    bytes_per_pixel : int
        ``getBytesPerPixel()``: 1, 2, 4 or 8.

    Returns
    -------
    ndarray
        Grey images as they are; colour as (y, x, 3) uint8 (uint16 for 8 bytes) in the order red, green, blue.
    """
    if raw.ndim == 3:  # pymmcore-plus has unpacked the colours
        raw = raw[..., 0] if raw.shape[2] == 1 else raw[..., :3]
    if raw.ndim == 3 or components == 1:
        return raw if raw.flags.c_contiguous else np.ascontiguousarray(raw)
    depth: np.dtype[Any] = np.dtype(np.uint8 if bytes_per_pixel == 4 else np.uint16)
    packed = np.ascontiguousarray(raw).view(depth).reshape(*raw.shape, 4)
    return np.ascontiguousarray(packed[..., 2::-1])


def read_tags(metadata: Any) -> dict[str, Any]:
    """Make MMCore's ``Metadata`` a dict; the tags that are numbers become numbers."""
    tags: dict[str, Any] = {}
    for key in metadata.GetKeys():
        tags[key] = tag(key, metadata.GetSingleTag(key).GetValue())
    return tags


def tag(key: str, value: Any) -> Any:
    """Give a tag's value: the tags that are numbers become numbers."""
    if kind := _NUMBERS.get(key):
        with contextlib.suppress(ValueError, TypeError):
            return kind(value)
    return value


def shape_by_tags(raw: NDArray[Any], tags: dict[str, Any]) -> NDArray[Any]:
    """Make an image of the circular buffer an array, by its own pixel type: the camera may have another by now."""
    return to_image(raw, 4 if str(tags.get("PixelType", "")).startswith("RGB") else 1, raw.dtype.itemsize)


def camera_tags(mmc: Any) -> dict[str, Any]:
    """Tags that Micro-Manager's Java core adds to a snapped image; call it on the hardware thread."""
    x, y, width, height = mmc.getROI()
    camera = mmc.getCameraDevice()
    tags: dict[str, Any] = {
        "Camera": camera,
        "Width": width,
        "Height": height,
        "PixelType": _PIXEL_TYPES.get((mmc.getBytesPerPixel(), mmc.getNumberOfComponents()), "Unknown"),
        "BitDepth": mmc.getImageBitDepth(),
        "PixelSizeUm": mmc.getPixelSizeUm(True),
        "PixelSizeAffine": affine_text(mmc.getPixelSizeAffine(True)),
        "ROI": f"{x}-{y}-{width}-{height}",
        "ROI-X-start": x,
        "ROI-Y-start": y,
        "Exposure-ms": mmc.getExposure(),
    }
    if mmc.hasProperty(camera, "Binning"):
        tags["Binning"] = mmc.getProperty(camera, "Binning")
    for (device, name), value in configuration(mmc.getSystemStateCache()).items():
        tags[f"{device}-{name}"] = value
    return tags


def check_channel(method: str, channel: int, count: int) -> None:
    """Refuse a channel that the camera does not have: MMCore would give another one's image, or refuse, by camera.

    Raises
    ------
    CoreError
        There is no such channel.
    """
    if not 0 <= channel < count:
        text = f"no channel {channel}: the camera has {count}, counted from 0"
        raise CoreError(text, method=method, arguments=(channel,))


def affine_text(affine: Any) -> str:
    """Write an affine transform as Micro-Manager's metadata does."""
    return "_".join(str(float(v)) for v in affine)


def configuration(conf: Any) -> dict[tuple[str, str], str]:
    """Make MMCore's ``Configuration`` a dict: (device, property) to value."""
    settings = (conf.getSetting(k) for k in range(conf.size()))
    return {(s.getDeviceLabel(), s.getPropertyName()): s.getPropertyValue() for s in settings}
