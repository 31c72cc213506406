"""Walk Java's lists, maps, arrays and iterables, whichever classes they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.errors import JavaException, ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiomm.bridge.proxy import JavaObject

__all__ = ["items", "to_dict", "unsigned"]

_UNSIGNED = {"int8": np.uint8, "int16": np.uint16}


def unsigned(value: Any) -> Any:
    """See pixels as what they are: Java's bytes and shorts are signed, a camera's are not. No copy."""
    if isinstance(value, np.ndarray):
        return value.view(_UNSIGNED.get(value.dtype.name, value.dtype))
    return value


async def items(obj: JavaObject) -> AsyncIterator[Any]:
    """Give the items of a List, Iterable or array, or the keys of a Map.

    A collection that is not a List is copied in Java first: classes that Java keeps to itself (a HashMap's key set) have methods
    that reflection may not call, and so nothing changes meanwhile.
    """
    kinds = obj.java_interfaces
    if obj.java_class.startswith("["):
        reflect = await _static(obj, "java.lang.reflect.Array")
        for index in range(_count(await reflect.call("getLength", [obj]))):
            yield await reflect.call("get", [obj, index])
    elif "java.util.Map" in kinds:
        async for key in items(await obj.call("keySet")):
            yield key
    elif "java.util.Collection" in kinds:
        own = obj if obj.java_class == "java.util.ArrayList" or ("java.util.List" in kinds and not _hidden(obj)) else await _copy(obj)
        for index in range(_count(await own.call("size"))):
            yield await own.call("get", [index])
    elif obj.java_class.startswith("mmcorej.") and {"size", "get"} <= set(dir(obj.java)):  # a vector, which may not say what it is
        for index in range(_count(await obj.call("size"))):
            yield await obj.call("get", [index])
    elif "java.lang.Iterable" in kinds:
        async for item in _walk(await obj.call("iterator"), obj):
            yield item
    elif "java.util.Iterator" in kinds:
        async for item in _walk(obj, obj):
            yield item
    else:
        raise TypeError(f"{obj!r} cannot be iterated: it is no List, Map, Iterable or array")


async def _walk(iterator: JavaObject, owner: JavaObject) -> AsyncIterator[Any]:
    try:
        while await iterator.call("hasNext"):
            yield await iterator.call("next")
    except JavaException as error:
        if "InaccessibleObject" in error.java_class:
            raise TypeError(f"{owner!r} cannot be iterated: Java keeps the class {iterator.java_class} to itself") from error
        raise


async def to_dict(obj: JavaObject) -> dict[Any, Any]:
    """Fetch a Map as a dict."""
    if "java.util.Map" not in obj.java_interfaces:
        raise TypeError(f"{obj!r} is no Map")
    keys, values = await _copy(await obj.call("keySet")), await _copy(await obj.call("values"))
    return {await keys.call("get", [i]): await values.call("get", [i]) for i in range(_count(await keys.call("size")))}


def _count(found: Any) -> int:
    """See that a number of items is one: a reply may be spoilt."""
    if type(found) is not int:
        raise ProtocolError(f"the server gives {found!r:.60} as a number of items")
    return found


def _hidden(obj: JavaObject) -> bool:
    """Whether Java may refuse to have the methods of this class called: nested and private ones of its own library."""
    return obj.java_class.startswith("java.") and "$" in obj.java_class


async def _copy(collection: JavaObject) -> JavaObject:
    from aiomm.bridge.proxy import bridge_of

    # By addAll: the server finds a constructor by the argument's very class alone.
    copy = await bridge_of(collection).construct_java_object("java.util.ArrayList")
    await copy.call("addAll", [collection])
    return copy


async def _static(obj: JavaObject, classpath: str) -> JavaObject:
    from aiomm.bridge.proxy import line_of

    return await line_of(obj).session.static(classpath)
