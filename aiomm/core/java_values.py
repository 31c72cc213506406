"""Values of MMCore's methods between Python and MMCoreJ: vectors, configurations, numbers with names, positions, images."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pymmcore

from aiomm.bridge import Bridge, JavaClass, JavaObject, bridge_of
from aiomm.core import images
from aiomm.core.images import TaggedImage
from aiomm.core.together import ask_all
from aiomm.errors import CoreError, JavaException, ServerNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

log = logging.getLogger("aiomm.bridge")
_ONE_PORT = "only one port can be reached"
_TOGETHER = 100  # items of a vector that are asked for at once
_BETWEEN = "\x1e\x1f\x1e"  # strings that Java joins; no label, property or value has this
_SETTING = re.compile(r"([^:]*):([^=:]*)=([^=:]*)")  # one device, one property and one value: read in one way only
_NUMBER = r"(-?[0-9.]+(?:E-?[0-9]+)?)"
_RECTANGLE = re.compile(r"x=(-?\d+),y=(-?\d+),width=(-?\d+),height=(-?\d+)")
_POINT = re.compile(rf"\[{_NUMBER}, {_NUMBER}\]")
_UNSIGNED = {np.dtype(np.int8): np.uint8, np.dtype(np.int16): np.uint16}


async def java_class(bridge: Bridge, name: str) -> JavaClass:
    """Give a Java class of the bridge's first port; asked for once."""
    known: JavaClass | None = bridge.kept.get(name)
    if known is None:
        known = bridge.kept[name] = await bridge.get_java_class(name)
    return known


async def core_of_its_own(bridge: Bridge) -> JavaObject:
    """Give Java's core at a port that no other call keeps; where only the first port can be reached, as through a tunnel, there."""
    if not bridge.kept.get(_ONE_PORT):
        try:
            return await bridge.get_core(new_socket=True)
        except ServerNotFoundError as error:
            bridge.kept[_ONE_PORT] = True
            log.warning(
                "halt() and live views have to wait for other calls over %r, which reaches no port but its first: %s", bridge, error
            )
    return await bridge.get_core()


# ---- from Java -------------------------------------------------------------------------------------------------------


async def items(vector: JavaObject) -> tuple[Any, ...]:
    """Take the items out of one of MMCoreJ's vectors; each is a question of its own."""
    found: list[Any] = []
    size = int(await vector.call("size", ()))
    while len(found) < size:
        found += await ask_all(*[vector.call("get", (k,)) for k in range(len(found), min(len(found) + _TOGETHER, size))])
    return tuple(found)


async def strings(vector: JavaObject) -> tuple[str, ...]:
    """Take the strings out of a ``StrVector``: Java joins them, so that their number costs nothing."""
    bridge = bridge_of(vector)
    if vector.port != bridge.port:  # the class would have to be asked at the first port, which may be busy
        return tuple(map(str, await items(vector)))
    joined = await (await java_class(bridge, "java.lang.String")).call("join", (_BETWEEN, vector))
    if joined or await vector.call("size", ()):
        return tuple(str(joined).split(_BETWEEN))
    return ()


async def integers(vector: JavaObject) -> tuple[int, ...]:
    return tuple(int(item) for item in await items(vector))


async def floats(vector: JavaObject) -> tuple[float, ...]:
    return tuple(float(item) for item in await items(vector))


async def characters(vector: JavaObject) -> bytes:
    return bytes(ord(item) if isinstance(item, str) else int(item) & 0xFF for item in await items(vector))


async def configuration(conf: JavaObject) -> dict[tuple[str, str], str]:
    """Make a ``Configuration`` a dict: (device, property) to value.

    Its text has all settings at once; those that could be read in two ways are asked for one by one.
    """
    number = int(await conf.call("size", ()))
    text = str(await conf.call("getVerbose", ()))
    lines = text.removeprefix("<html>").removesuffix("</html>").split("<br>")[:-1]
    if len(lines) != number:
        lines = [""] * number
    settings = {}
    for k, line in enumerate(lines):
        if found := _SETTING.fullmatch(line):
            device, name, value = found.groups()
        else:
            setting = await conf.call("getSetting", (k,))
            device, name, value = [await setting.call(f"get{what}", ()) for what in ("DeviceLabel", "PropertyName", "PropertyValue")]
        settings[device, name] = value
    return settings


async def number_of(constant: JavaObject) -> int:
    """Give pymmcore's number for a constant of MMCoreJ (``DeviceType.CameraDevice``): by its name, for Java's may be others."""
    known = getattr(pymmcore, str(await constant.call("toString", ())), None)
    return known if isinstance(known, int) else int(await constant.call("swigValue", ()))


async def rectangles(value: JavaObject) -> tuple[tuple[int, ...], ...]:
    """Read ``java.awt.Rectangle``, or a list of them, in one question: (x, y, width, height) each."""
    return tuple(tuple(map(int, found)) for found in _RECTANGLE.findall(str(await value.call("toString", ()))))


async def rectangle(value: JavaObject) -> tuple[int, ...]:
    return (await rectangles(value))[0]


async def point(value: JavaObject) -> tuple[float, float]:
    """Read ``java.awt.geom.Point2D.Double`` in one question: x and y of the same moment."""
    text = str(await value.call("toString", ()))
    if found := _POINT.search(text):
        return float(found[1]), float(found[2])
    raise CoreError(f"no position: {text}")


async def tagged_image(value: JavaObject) -> TaggedImage:
    """Make MMCoreJ's ``TaggedImage`` one of ours. Its pixels are copied at most once, for colours."""
    given = await value.get_field("tags") or {}
    pixels = await value.get_field("pix")
    tags = {str(key): images.tag(str(key), item) for key, item in given.items()}
    _complete(tags)
    grey = str(tags.get("PixelType", "")).startswith("GRAY")
    return TaggedImage(shaped(pixels, int(tags["Width"]), int(tags["Height"]), grey=grey), tags)


def _complete(tags: dict[str, Any]) -> None:
    """Add the tags that images in this process have, as far as the others say them."""
    if camera := tags.get("Core-Camera"):
        tags.setdefault("Camera", camera)
    corner = str(tags.get("ROI", "")).split("-")
    if len(corner) == 4:
        tags.setdefault("ROI-X-start", int(corner[0]))
        tags.setdefault("ROI-Y-start", int(corner[1]))


def shaped(pixels: Any, width: int, height: int, *, grey: bool = False) -> NDArray[Any]:
    """Make Java's array of pixels an image, (y, x) or (y, x, 3), of unsigned integers or floats.

    Of an image known to be ``grey``, four numbers for each pixel are one taken before the camera's binning was changed, no colours.

    Raises
    ------
    CoreError
        The array is not an image of this size.
    """
    if not isinstance(pixels, np.ndarray):
        raise CoreError(f"no image: Java gave {type(pixels).__name__} where pixels were expected")
    flat = pixels.reshape(-1)
    if unsigned := _UNSIGNED.get(flat.dtype):
        flat = flat.view(unsigned)
    if flat.size == width * height:
        return flat.reshape(height, width)
    if flat.size == 4 * width * height and not grey:  # blue, green, red, unused
        return np.ascontiguousarray(flat.reshape(height, width, 4)[..., 2::-1])
    raise CoreError(
        f"the image has {flat.size} numbers, but the camera now gives {width} x {height} pixels: "
        "ROI, binning or pixel type were changed after the image was taken"
    )


# ---- to Java ---------------------------------------------------------------------------------------------------------


async def vector(owner: JavaObject, kind: str, values: Iterable[Any]) -> JavaObject:
    """Make one of MMCoreJ's vectors."""
    made = await bridge_of(owner).construct_java_object(f"mmcorej.{kind}")
    for value in values:
        await made.call("add", (value,))
    return made


async def java_configuration(owner: JavaObject, settings: Mapping[tuple[str, str], Any]) -> JavaObject:
    """Make a ``Configuration`` of a dict: (device, property) to value."""
    bridge = bridge_of(owner)
    conf = await bridge.construct_java_object("mmcorej.Configuration")
    for (device, name), value in settings.items():
        text = str(int(value)) if isinstance(value, bool) else str(value)
        setting = await bridge.construct_java_object("mmcorej.PropertySetting", args=[device, name, text])
        await conf.call("addSetting", (setting,))
    return conf


async def device_type(owner: JavaObject, number: int) -> JavaObject:
    """Give MMCoreJ's constant for pymmcore's number of a kind of device; asked for once.

    Raises
    ------
    ValueError
        There is no such kind.
    """
    bridge = bridge_of(owner)
    kinds: dict[int, JavaObject] = bridge.kept.setdefault("kinds of devices", {})
    if int(number) not in kinds:
        constants = await java_class(bridge, "mmcorej.DeviceType")
        try:
            kinds[int(number)] = _an_object(await constants.call("swigToEnum", (int(number),)))
        except JavaException as error:
            raise ValueError(f"{number!r} is no kind of device; they are pymmcore.CameraDevice and the like") from error
    return kinds[int(number)]


async def slm_pixels(pixels: Any) -> NDArray[Any]:
    """Make a pattern what MMCoreJ takes: bytes, or for colours one integer per pixel."""
    pattern = np.asarray(pixels)
    if pattern.ndim != 3:
        return np.ascontiguousarray(pattern, dtype=np.uint8).reshape(-1).view(np.int8)
    if pattern.shape[2] != 3 or pattern.dtype != np.uint8:
        raise TypeError(f"a pattern in colour is (y, x, 3) uint8, not {pattern.shape} {pattern.dtype}")
    packed = np.zeros((*pattern.shape[:2], 4), np.uint8)
    packed[..., :3] = pattern[..., ::-1]
    return packed.view("<i4").reshape(-1).astype(np.int32, copy=False)


def _an_object(value: Any) -> JavaObject:
    if not isinstance(value, JavaObject):
        raise CoreError(f"Java gave {value!r} where an object was expected")
    return value
