"""Walk Java's lists, maps, arrays and iterables, whichever classes they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.bridge import wire
from aiomm.bridge.line import part_of_a_call
from aiomm.bridge.reflection import handle_of, run
from aiomm.bridge.wire import Signature
from aiomm.errors import JavaException, JavaValueError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiomm.bridge.proxy import JavaObject
    from aiomm.bridge.reflection import Plan

__all__ = ["items", "to_dict", "unsigned"]

_UNSIGNED = {"int8": np.uint8, "int16": np.uint16}
_MANY: Final = 16  # items, from which texts and numbers of one class are fetched at once
_MANY_APART: Final = 128  # the same at a port of its own, where the classes that do it are fetched each time
_SEPARATORS: Final = "\x1f\x1e\x1d\x1c"
_TEXTS: Final = "java.lang.String"
_BOXES: Final[dict[type, dict[str, Callable[[str], Any]]]] = {
    bool: {"java.lang.Boolean": "true".__eq__},
    int: {
        "java.lang.Integer": int,
        "java.lang.Long": int,
        "java.lang.Double": float,
        "java.lang.Float": float,
        "java.lang.Short": int,
        "java.lang.Byte": int,
    },
    float: {"java.lang.Double": float, "java.lang.Float": float},
}
"""Of which class what the server sends so may be, and how Java's own text of one is read. It writes a whole double as an int."""
_LIST: Final = "java.util.ArrayList", "addAll", "java.util.Collection"
_MAP: Final = "java.util.LinkedHashMap", "putAll", "java.util.Map"
_MAP_BY_REFERENCE: Final = "java.util.IdentityHashMap", "putAll", "java.util.Map"
"""A class to copy to, its method that takes what is copied, and as what."""
_KEYS: Final = frozenset({str, int, float, bool, type(None)})


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
        async for item in _array_items(obj):
            yield item
    elif "java.util.Map" in kinds:
        async for key in items(await obj.call("keySet")):
            yield key
    elif "java.util.Collection" in kinds:
        own = obj if obj.java_class == _LIST[0] or ("java.util.List" in kinds and not _hidden(obj)) else await _copied(obj, *_LIST)
        async for item in _list_items(own):
            yield item
    elif obj.java_class.startswith("mmcorej.") and {"size", "get"} <= set(dir(obj.java)):  # a vector, which may not say what it is
        for index in range(_count(await obj.call("size"))):
            yield await obj.call("get", [index])
    elif obj.java_class.endswith("org.json.JSONArray"):  # in Micro-Manager's version it is no Iterable
        for index in range(_count(await obj.call("length"))):
            yield await obj.call("get", [index])
    elif "java.lang.Iterable" in kinds:
        async for item in _walk(await obj.call("iterator"), obj):
            yield item
    elif "java.util.Iterator" in kinds:
        async for item in _walk(obj, obj):
            yield item
    else:
        raise TypeError(f"{obj!r} cannot be iterated: it is no List, Map, Iterable or array")


async def _list_items(own: JavaObject) -> AsyncIterator[Any]:
    """Give the items of a List whose methods can be called."""
    count = _count(await own.call("size"))
    if count < _many(own):
        for index in range(count):
            yield await own.call("get", [index])
    else:
        async for item in _array_items(await own.call("toArray")):
            yield item


async def _array_items(array: JavaObject) -> AsyncIterator[Any]:
    """Give the items of an array of objects: in a few messages if they are many texts, or numbers of one class."""
    reflect = await _static(array, "java.lang.reflect.Array")
    count = _count(await reflect.call("getLength", [array]))
    known = await _at_once(array, count, await reflect.call("get", [array, 0])) if count >= _many(array) else None
    for index in range(count):
        if known is None or known[index] is _DOUBTFUL:
            yield await reflect.call("get", [array, index])
        else:
            yield known[index]


_DOUBTFUL: Final = object()


async def _at_once(array: JavaObject, count: int, first: Any) -> list[Any] | None:
    """Give the items of an array if they are texts, or numbers of one class; `_DOUBTFUL` in place of those that have to be asked for."""
    if type(first) is str:
        texts = await _typed(array, count, _TEXTS)
        return None if texts is None else await _joined(texts, count)
    for java_class, read in _BOXES.get(type(first), {}).items():
        boxes = await _typed(array, count, java_class)
        if boxes is not None:
            text = await (await _static(array, "java.util.Arrays")).call("toString", [boxes])
            try:
                items = [None if item == "null" else read(item) for item in text[1:-1].split(", ")]
            except (ValueError, TypeError, AttributeError):
                items = []
            if len(items) != count:
                raise ProtocolError(f"the server gives {text!r:.60} as the text of {count} numbers")
            return items
    return None


async def _typed(array: JavaObject, count: int, java_class: str) -> JavaObject | None:
    """Copy an array in Java to one of this class, if all its items are of it."""
    kind = await (await _static(array, "java.lang.Class")).call("forName", [f"[L{java_class};"])
    try:
        copied: JavaObject = await (await _static(array, "java.util.Arrays")).call("copyOf", [array, count, kind])
    except JavaException as error:
        if error.java_class != "java.lang.ArrayStoreException":
            raise
        return None
    return copied


async def _joined(texts: JavaObject, count: int) -> list[Any] | None:
    """Give the items of a String[]; a null comes as "null"."""
    for separator in _SEPARATORS:
        text = await (await _static(texts, _TEXTS)).call("join", [separator, texts])
        if type(text) is not str:
            raise ProtocolError(f"the server gives {text!r:.60} as a text")
        items = text.split(separator)
        if len(items) == count:
            return [_DOUBTFUL if item == "null" else item for item in items]
    return None


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
    # It may change at any moment: what is fetched is one copy.
    copy = await _copied(obj, *(_MAP_BY_REFERENCE if _MAP_BY_REFERENCE[0] in obj.java_interfaces else _MAP))
    keys, values = [await _copied(await copy.call(part), *_LIST) for part in ("keySet", "values")]
    found = [key async for key in _list_items(keys)]
    _check_keys(obj, found)
    return dict(zip(found, [value async for value in _list_items(values)], strict=True))


def _check_keys(obj: JavaObject, keys: Sequence[Any]) -> None:
    """See that these are keys of a dict, and that none would take the place of another."""
    instead = (
        "walk its entries: `async for entry in await obj.entry_set()`, with `await entry.get_key()` and `await entry.get_value()` for each"
    )
    if not _KEYS.issuperset(map(type, keys)):
        key = next(key for key in keys if type(key) not in _KEYS)
        kind = f"{key.dtype} array" if isinstance(key, np.ndarray) else getattr(key, "java_class", type(key).__name__)
        raise TypeError(f"{obj!r} has a key that a dict cannot have, of the kind {kind}; {instead}")
    if len(set(keys)) < len(keys):
        before: dict[Any, Any] = {}
        for key in keys:
            if key in before:
                raise JavaValueError(f"{obj!r} has the keys {before[key]!r} and {key!r}, which are one in a dict; {instead}")
            before[key] = key


def _count(found: Any) -> int:
    """See that a number of items is one: a reply may be spoilt."""
    if type(found) is not int:
        raise ProtocolError(f"the server gives {found!r:.60} as a number of items")
    return found


def _hidden(obj: JavaObject) -> bool:
    """Whether Java may refuse to have the methods of this class called: nested and private ones of its own library."""
    return obj.java_class.startswith("java.") and "$" in obj.java_class


async def _copied(obj: JavaObject, java_class: str, method: str, takes: str) -> JavaObject:
    """Copy a collection or map in Java, at its own port."""
    from aiomm.bridge.proxy import check_usable, line_of

    def copying() -> Plan:
        # In two steps: the server finds a constructor by the argument's very class alone.
        made = yield wire.constructor(java_class, Signature(java_class, ()), [])
        yield from run(handle_of(made), method, (takes,), [obj])
        return made

    line = line_of(obj)
    check_usable((obj,), line.session)
    return line.session.adopt(await line.follow(copying(), line.session.call_timeout, f"copying a {obj.java_class}"), line)


def _many(obj: JavaObject) -> int:
    from aiomm.bridge.proxy import line_of

    return _MANY if line_of(obj).main else _MANY_APART


async def _static(obj: JavaObject, classpath: str) -> JavaObject:
    """Give a class at the port where an object lives: what has a port of its own is not to wait for others."""
    from aiomm.bridge.proxy import line_of

    line = line_of(obj)
    if line.main:
        return await line.session.static(classpath)
    with part_of_a_call():
        found = await line.ask(wire.get_class(classpath), f"the class {classpath}")
    if not isinstance(found, wire.Shadow):
        raise ProtocolError(f"the server gives {found!r:.60} as the class {classpath}")
    return line.session.adopt(found, line)
