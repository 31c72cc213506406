"""Each of `Core`'s methods in MMCoreJ's words: what its arguments must be made into, and what its results become.

Both follow from the types in `aiomm.core.methods`; a method that MMCoreJ has in another form is written out here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.bridge import JavaObject, bridge_of
from aiomm.core import java_values as values
from aiomm.core.calls import NOT_IN_SEQUENCE
from aiomm.core.checks import parameters
from aiomm.core.images import check_channel
from aiomm.core.methods import METHODS
from aiomm.core.names import only_reads
from aiomm.core.together import ask_all
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    import inspect
    from collections.abc import Awaitable, Callable

    from numpy.typing import NDArray

    from aiomm.core.images import TaggedImage

    Maker = Callable[[JavaObject, Any], Awaitable[Any]]
    Reader = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one method is called in Java.

    Attributes
    ----------
    method : str
        Its name in MMCore.
    forms : tuple of str
        The parameters of each form, for messages.
    counts : frozenset of int
        How many arguments its forms take.
    makers : dict
        By number of arguments: what makes the argument at a place into what Java takes.
    reader : callable or None
        Makes of Java's object what Python gets.
    plain : callable or None
        Makes of Java's number what Python gets.
    twin : callable or None
        Does it all: MMCoreJ has it in another form.
    reads : bool
        It changes nothing.
    guarded : bool
        It is refused while a camera sequence runs.
    """

    method: str
    forms: tuple[str, ...]
    counts: frozenset[int]
    makers: dict[int, dict[int, Maker]]
    reader: Reader | None
    plain: Callable[[Any], Any] | None
    twin: Callable[..., Awaitable[Any]] | None
    reads: bool
    guarded: bool


# ---- arguments -------------------------------------------------------------------------------------------------------


def _vector(kind: str, item: Callable[[Any], Any]) -> Maker:
    async def make(owner: JavaObject, given: Any) -> JavaObject:
        return await values.vector(owner, kind, [item(value) for value in given])

    return make


async def _path(owner: JavaObject, path: Any) -> str:
    return str(os.fspath(path))


async def _slm_pixels(owner: JavaObject, pixels: Any) -> NDArray[Any]:
    return await values.slm_pixels(pixels)


async def _slm_patterns(owner: JavaObject, patterns: Any) -> JavaObject:
    made = await bridge_of(owner).construct_java_object("java.util.ArrayList")
    for pattern in patterns:
        flat = np.frombuffer(pattern, np.int8) if isinstance(pattern, (bytes, bytearray, memoryview)) else await values.slm_pixels(pattern)
        await made.call("add", (flat,))
    return made


_MAKERS: dict[str, Maker] = {
    "Sequence[str]": _vector("StrVector", str),
    "Sequence[float]": _vector("DoubleVector", float),
    "Sequence[int]": _vector("UnsignedVector", int),
    "bytes": _vector("CharVector", chr),
    "Mapping[tuple[str, str], Any]": values.java_configuration,
    "str | os.PathLike[str]": _path,
    "NDArray[np.uint8]": _slm_pixels,
    "Sequence[bytes | NDArray[np.uint8]]": _slm_patterns,
}


def _maker(parameter: inspect.Parameter) -> Maker | None:
    if parameter.name == "dev_type":
        return values.device_type
    return _MAKERS.get(str(parameter.annotation))


# ---- results ---------------------------------------------------------------------------------------------------------

_READERS: dict[str, Reader] = {
    "int": values.number_of,
    "tuple[str, ...]": values.strings,
    "tuple[int, ...]": values.integers,
    "tuple[float, float, float, float, float, float]": values.floats,
    "dict[tuple[str, str], str]": values.configuration,
    "tuple[int, int, int, int]": values.rectangle,
    "tuple[tuple[int, int, int, int], ...]": values.rectangles,
    "tuple[float, float]": values.point,
    "bytes": values.characters,
    "TaggedImage": values.tagged_image,
}
_PLAIN: dict[str, Callable[[Any], Any]] = {"float": float, "int": int}


# ---- methods in another form -----------------------------------------------------------------------------------------


async def _tagged(core: JavaObject, method: str, args: tuple[Any, ...]) -> TaggedImage:
    return await values.tagged_image(await core.call(method, args))


async def get_image(core: JavaObject, num_channel: int | None = None) -> NDArray[Any]:
    """Give the snapped image."""
    if num_channel:
        check_channel("getImage", num_channel, await core.call("getNumberOfCameraChannels"))
    pixels, width, height = await ask_all(  # Java is asked for its size while it writes the image
        core.call("getImage", () if num_channel is None else (num_channel,)),
        core.call("getImageWidth", ()),
        core.call("getImageHeight", ()),
    )
    four = isinstance(pixels, np.ndarray) and pixels.size == 4 * int(width) * int(height)  # colours, or binned by 2 since
    grey = four and await core.call("getNumberOfComponents", ()) == 1
    return values.shaped(pixels, int(width), int(height), grey=grey)


async def get_tagged_image(core: JavaObject, camera_channel_index: int = 0) -> TaggedImage:
    """Give the snapped image and its tags."""
    if camera_channel_index:
        check_channel("getTaggedImage", camera_channel_index, await core.call("getNumberOfCameraChannels"))
    image = await _tagged(core, "getTaggedImage", (camera_channel_index,) if camera_channel_index else ())
    if "Exposure-ms" not in image.tags:
        image.tags["Exposure-ms"] = float(await core.call("getExposure"))
    return image


def _channel(method: str) -> Callable[..., Awaitable[TaggedImage]]:
    async def image(core: JavaObject, camera_channel_index: int | None = None) -> TaggedImage:
        return await _tagged(core, method, () if camera_channel_index is None else (camera_channel_index,))

    return image


def _untagged(method: str) -> Callable[..., Awaitable[NDArray[Any]]]:
    async def image(core: JavaObject) -> NDArray[Any]:
        return (await _tagged(core, method, ())).pix  # its tags say its size; the camera may have another by now

    return image


def _with_metadata(method: str) -> Callable[..., Awaitable[TaggedImage]]:
    async def image(core: JavaObject, channel: int | None = None, slice: int = 0) -> TaggedImage:
        if slice:
            raise UnsupportedError(f"{method} takes a channel, no slice other than 0: MMCoreJ's tagged images have none")
        return await _tagged(core, method, () if channel is None else (channel,))

    return image


async def _before_last(core: JavaObject, n: int) -> TaggedImage:
    return await _tagged(core, "getNBeforeLastTaggedImage", (n,))


async def xy_position(core: JavaObject, *label: str | None) -> tuple[float, float]:
    """Give x and y in µm."""
    return await values.point(await core.call("getXYStagePosition", tuple(name for name in label if name is not None)))


async def _refuse_callback(core: JavaObject, cb: object = None) -> None:
    raise UnsupportedError(
        "register_callback: a function in Python cannot be called by Java; use `async for notification in core.events()`, "
        "or core.registerCallback(listener) for a listener that is a Java object"
    )


_TWINS: dict[str, Callable[..., Awaitable[Any]]] = {
    "getImage": get_image,
    "getTaggedImage": get_tagged_image,
    "getLastTaggedImage": _channel("getLastTaggedImage"),
    "popNextTaggedImage": _channel("popNextTaggedImage"),
    "getLastImage": _untagged("getLastTaggedImage"),
    "popNextImage": _untagged("popNextTaggedImage"),
    "getLastImageMD": _with_metadata("getLastTaggedImage"),
    "popNextImageMD": _with_metadata("popNextTaggedImage"),
    "getNBeforeLastImageMD": _before_last,
    "getXYPosition": xy_position,
    "getXYStagePosition": xy_position,
    "registerCallback": _refuse_callback,
}


def _recipe(method: str, forms: tuple[str, ...], result: str) -> Recipe:
    makers: dict[int, dict[int, Maker]] = {}
    counts: set[int] = set()
    for form in forms:
        listed = parameters(form)
        needed = sum(parameter.default is parameter.empty for parameter in listed)
        counts.update(range(needed, len(listed) + 1))
        if found := {k: maker for k, parameter in enumerate(listed) if (maker := _maker(parameter)) is not None}:
            makers[len(listed)] = found
    return Recipe(
        method,
        forms,
        frozenset(counts),
        makers,
        _READERS.get(result),
        _PLAIN.get(result),
        _TWINS.get(method),
        only_reads(method),
        method in NOT_IN_SEQUENCE,
    )


RECIPES: dict[str, Recipe] = {name: _recipe(name, forms, result) for name, forms, result, _ in METHODS.values()}


def recipe_of(method: str) -> Recipe:
    """Give how a method is called in Java; one that aiomm does not know goes as it is."""
    found = RECIPES.get(method)
    if found is None:
        found = RECIPES[method] = Recipe(method, (), frozenset(), {}, None, None, None, only_reads(method), False)
    return found
