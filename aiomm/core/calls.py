"""One MMCore call on the hardware thread: plain arguments in, guards, plain results and translated errors out."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pymmcore

from aiomm.core import images
from aiomm.core.images import TaggedImage
from aiomm.core.methods import METHODS
from aiomm.core.names import only_reads
from aiomm.core.translate import core_error
from aiomm.errors import CoreError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMS = {name: forms for name, forms, _, _ in METHODS.values()}

# While a camera sequence runs, MMCore takes these without a word, and images or settings come out wrong.
NOT_IN_SEQUENCE = {
    "setExposure": "the camera may ignore it, or change it in the middle of the sequence",
    "setROI": "the images in the circular buffer have another size",
    "clearROI": "the images in the circular buffer have another size",
    "setMultiROI": "the images in the circular buffer have another size",
    "setBinning": "the images in the circular buffer have another size",
    "setCircularBufferMemoryFootprint": "it would empty the circular buffer under the camera",
    "initializeCircularBuffer": "it would empty the circular buffer under the camera",
    "unloadDevice": "the camera still delivers images",
    "unloadAllDevices": "the camera still delivers images",
    "reset": "the camera still delivers images",
    "loadSystemConfiguration": "the camera still delivers images",
}
_LOADS = frozenset({"loadDevice", "loadSystemConfiguration", "unloadDevice", "unloadAllDevices", "reset"})
_NAMES_A_CAMERA = {"setExposure": 2, "setROI": 5, "setBinning": 2}


class Calls:
    """Makes calls on one MMCore, on its hardware thread.

    Parameters
    ----------
    mmc : pymmcore.CMMCore
        The raw core.
    """

    def __init__(self, mmc: Any) -> None:
        self.mmc = mmc
        self.epoch = 0
        self.modules: dict[str, str] = {}
        """The adapter module of each device. Noted when devices are loaded: to ask takes the module's own lock."""
        self.note_modules()

    def __call__(self, method: str, args: tuple[Any, ...]) -> Any:
        """Call ``method`` by MMCore's name; see `aiomm.core.api` for what is given back."""
        try:
            if not only_reads(method):
                self.epoch += 1
                if method in NOT_IN_SEQUENCE:
                    self._refuse_in_sequence(method, args)
            if ours := _OURS.get(method):
                return ours(self.mmc, *args)
            fn = getattr(self.mmc, method, None)
            if fn is None:
                raise UnsupportedError(f"{type(self.mmc).__name__} {pymmcore.__version__} has no {method}")
            result = plain_result(fn(*map(plain_argument, args)))
            if method in _LOADS:
                self.note_modules()
            return result
        except Exception as error:
            translated = core_error(error, method, args, forms=FORMS.get(method, ()))
            if translated is error:
                raise
            raise translated from error

    def note_modules(self) -> None:
        """See which module each device is from; on the hardware thread, when devices were loaded."""
        modules: dict[str, str] = {}
        for label in self.mmc.getLoadedDevices():
            with contextlib.suppress(Exception):
                modules[label] = self.mmc.getDeviceLibrary(label)
        self.modules = modules

    def run(self, fn: Callable[..., Any], args: tuple[Any, ...], reads: bool) -> Any:
        """Call a user's function with the raw core; its exceptions are its own."""
        if not reads:
            self.epoch += 1
        return fn(self.mmc, *args)

    def _refuse_in_sequence(self, method: str, args: tuple[Any, ...]) -> None:
        camera = named_camera(method, args)
        try:
            running = self.mmc.isSequenceRunning(camera) if camera else self.mmc.isSequenceRunning()
        except Exception:
            return  # no such camera: MMCore will say so
        if running:
            raise in_sequence(method, args, camera or self.mmc.getCameraDevice())


def named_camera(method: str, args: tuple[Any, ...]) -> Any:
    """Give the camera that a call of a method in ``NOT_IN_SEQUENCE`` names, or None: the Core's."""
    return args[0] if args and _NAMES_A_CAMERA.get(method) == len(args) else None


def in_sequence(method: str, args: tuple[Any, ...], camera: str) -> CoreError:
    """Make the refusal of a call of a method in ``NOT_IN_SEQUENCE`` while a camera sequence runs."""
    return CoreError(
        f"a camera sequence is running: {NOT_IN_SEQUENCE[method]}. Stop it first: "
        "await core.stop_sequence_acquisition(), or leave the live view or the acquisition that runs it",
        method=method,
        arguments=args,
        device=camera or None,
    )


def plain_argument(value: Any) -> Any:
    """Make of an argument what pymmcore takes: numpy scalars, arrays, paths and dicts of settings are welcome."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value if value.ndim > 1 else value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        conf = pymmcore.Configuration()
        for (device, name), setting in value.items():
            text = str(int(setting)) if isinstance(setting, bool) else str(setting)
            conf.addSetting(pymmcore.PropertySetting(device, name, text))
        return conf
    if isinstance(value, (list, tuple)):
        return [v.tobytes() if isinstance(v, np.ndarray) else plain_argument(v) for v in value]
    return value


def plain_result(value: Any) -> Any:
    """Make of a result what Python has: tuples for lists, a dict for a ``Configuration``."""
    if isinstance(value, list):
        return tuple(value)
    if hasattr(value, "getSetting") and hasattr(value, "size"):
        return images.configuration(value)
    return value


def take(mmc: Any, take_with_metadata: str, *args: int) -> TaggedImage:
    """Give an image of the circular buffer and its tags."""
    metadata = pymmcore.Metadata()
    raw = getattr(mmc, take_with_metadata)(*args, metadata)
    tags = images.read_tags(metadata)
    return TaggedImage(images.shape_by_tags(raw, tags), tags)


def _untagged(method: str) -> Callable[..., NDArray[Any]]:
    def image(mmc: Any) -> NDArray[Any]:
        return take(mmc, method).pix

    return image


def _tagged(method: str) -> Callable[..., TaggedImage]:
    def image(mmc: Any, *where: int) -> TaggedImage:
        return take(mmc, method, *where)

    return image


def _channel(method: str) -> Callable[..., TaggedImage]:
    def image(mmc: Any, camera_channel_index: int | None = None) -> TaggedImage:
        return take(mmc, method) if camera_channel_index is None else take(mmc, method, camera_channel_index, 0)

    return image


def get_image(mmc: Any, num_channel: int | None = None) -> NDArray[Any]:
    """Give the snapped image."""
    if num_channel:
        images.check_channel("getImage", num_channel, mmc.getNumberOfCameraChannels())
    raw = mmc.getImage() if num_channel is None else mmc.getImage(num_channel)
    return images.to_image(raw, mmc.getNumberOfComponents(), mmc.getBytesPerPixel())


def snap(mmc: Any) -> NDArray[Any]:
    """Expose and give the image."""
    mmc.snapImage()
    return get_image(mmc)


def get_tagged_image(mmc: Any, camera_channel_index: int = 0) -> TaggedImage:
    """Give the snapped image with the tags that Micro-Manager's Java core makes."""
    tags = images.camera_tags(mmc)
    channels = mmc.getNumberOfCameraChannels()
    images.check_channel("getTaggedImage", camera_channel_index, channels)
    if channels > 1:
        tags["CameraChannelIndex"] = camera_channel_index
        tags["CameraChannelName"] = mmc.getCameraChannelName(camera_channel_index)
    return TaggedImage(get_image(mmc, camera_channel_index if channels > 1 or camera_channel_index else None), tags)


def get_multi_roi(mmc: Any) -> tuple[tuple[int, ...], ...]:
    """Give the regions of interest, one (x, y, width, height) each."""
    columns: Any = [pymmcore.UnsignedVector() for _ in range(4)]  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymmcore-plus gives them back, and warns that it needs no arguments
        columns = mmc.getMultiROI(*columns) or columns
    return tuple(zip(*(tuple(c) for c in columns), strict=True))


def load_slm_sequence(mmc: Any, slm_label: str, image_sequence: Any) -> None:
    """Load SLM patterns given as bytes or arrays. Where the device is no SLM, MMCore ends the process."""
    if mmc.getDeviceType(slm_label) != pymmcore.SLMDevice:
        raise CoreError(f'"{slm_label}" is no SLM', method="loadSLMSequence", arguments=(slm_label, image_sequence), device=slm_label)
    mmc.loadSLMSequence(slm_label, [p.tobytes() if isinstance(p, np.ndarray) else bytes(p) for p in image_sequence])


def read_from_serial_port(mmc: Any, port_label: str) -> bytes:
    """Read what the port has."""
    return bytes(ord(c) if isinstance(c, str) else int(c) for c in mmc.readFromSerialPort(port_label))


def refuse_callback(mmc: Any, cb: object = None) -> None:
    """Refuse, since a second callback would silently replace the first."""
    raise UnsupportedError(
        "register_callback: MMCore keeps one callback only, and aiomm's notifications or pymmcore-plus need it; "
        "use `async for notification in core.events()`"
    )


def xy_position(mmc: Any, *label: str | None) -> tuple[float, float]:
    """Give x and y in µm."""
    x, y = mmc.getXYPosition(*(name for name in label if name is not None))
    return float(x), float(y)


_OURS: dict[str, Callable[..., Any]] = {
    "getImage": get_image,
    "getLastImage": _untagged("getLastImageMD"),
    "popNextImage": _untagged("popNextImageMD"),
    "getLastImageMD": _tagged("getLastImageMD"),
    "popNextImageMD": _tagged("popNextImageMD"),
    "getNBeforeLastImageMD": _tagged("getNBeforeLastImageMD"),
    "snap": snap,
    "getTaggedImage": get_tagged_image,
    "getLastTaggedImage": _channel("getLastImageMD"),
    "popNextTaggedImage": _channel("popNextImageMD"),
    "getNBeforeLastTaggedImage": _tagged("getNBeforeLastImageMD"),
    "getMultiROI": get_multi_roi,
    "getXYPosition": xy_position,
    "getXYStagePosition": xy_position,
    "getPixelSizeAffineAsString": lambda mmc: images.affine_text(mmc.getPixelSizeAffine(True)),
    "loadSLMSequence": load_slm_sequence,
    "readFromSerialPort": read_from_serial_port,
    "registerCallback": refuse_callback,
}
