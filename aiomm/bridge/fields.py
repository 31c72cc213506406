"""Public fields: lazy awaitables, and what reflection adds to the little that the server does for them.

The server says which fields there are, not of which types. A type is looked up once per class, when it matters: to tell a double
that is whole from an int, and to convert what a field is set to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from aiomm.bridge import overloads, wire
from aiomm.bridge.handle import Handle
from aiomm.bridge.java_types import ARRAYS, BOXES, PRIMITIVES, canonical
from aiomm.bridge.kept_here import KeptHere
from aiomm.bridge.wire import Signature
from aiomm.errors import JavaException

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiomm.bridge.members import Members
    from aiomm.bridge.proxy import JavaClass, JavaObject

__all__ = ["JavaField", "read", "read_static", "write", "write_static"]

_OBJECT = "java.lang.Object"
_GET_FIELD = Signature("getField", ("java.lang.String",), "java.lang.reflect.Field")
_GET_FIELDS = Signature("getFields", (), "java.lang.reflect.Field[]")
_NAMED = frozenset(BOXES.values())
_PLAIN: dict[str, type | tuple[type, ...]] = {"boolean": bool, "int": int, "long": int, "double": float, "java.lang.String": str}
"""Types that the server sets by itself, from these values."""


class JavaField(KeptHere):
    """A field of a Java object. Awaiting it asks for its value, each time anew; nothing is sent before."""

    __slots__ = ("_object", "name")

    _instead = "await it, and use the value"

    def __init__(self, obj: JavaObject, name: str) -> None:
        self._object = obj
        self.name: str = name

    def __await__(self) -> Generator[Any, None, Any]:
        return self._object.get_field(self.name).__await__()

    # Fields are values in pycromanager: what is written for that says here what is missing.

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a field is read by awaiting it: (await obj.{self.name}).{name}")

    def __getitem__(self, key: object) -> NoReturn:
        raise TypeError(f"a field is read by awaiting it: (await obj.{self.name})[{key!r}]")

    def __repr__(self) -> str:
        return f"<field {self.name} of {self._object!r}: await it>"


def _refuse(field: JavaField, *_: object, **__: object) -> NoReturn:
    raise TypeError(f"a field is read by awaiting it: await obj.{field.name}")


for _operator in "eq lt le gt ge bool len iter array int float index add radd sub rsub mul rmul truediv rtruediv".split():
    setattr(JavaField, f"__{_operator}__", _refuse)


async def read(obj: JavaObject, members: Members, name: str, value: Any) -> Any:
    """Give a value that the server read the type of its field."""
    if type(value) is int:
        return wire.convert_return(value, await _type_of(obj, members, name))
    return value


async def write(obj: JavaObject, members: Members, name: str, value: Any) -> dict[str, Any] | None:
    """Set a field; what the server can do by itself is returned as the message for it."""
    java_type = await _type_of(obj, members, name)
    plain = _PLAIN.get(java_type)
    converted = overloads.convert(value, java_type)
    if (plain is not None and type(converted) is plain) or (isinstance(converted, Handle) and converted.port == obj.port):
        return wire.set_field(obj, name, converted)
    field = await _field(obj, members, name)
    try:
        await _set(field, obj, java_type, converted)
    finally:
        await field.aclose()
    return None


async def read_static(cls: JavaClass, members: Members, name: str) -> Any:
    """Read a static field of a class."""
    field = await _field(cls, members, name)
    try:
        value = await field.call("get", [cls])
        return await read(cls, members, name, value)
    except JavaException as error:
        if error.java_class != "java.lang.IllegalArgumentException":
            raise
        raise AttributeError(f"the field {name!r} of {cls!r} is not static: read it from an object", name=name, obj=cls) from None
    finally:
        await field.aclose()


async def write_static(cls: JavaClass, members: Members, name: str, value: Any) -> None:
    """Set a static field of a class."""
    field = await _field(cls, members, name)
    try:
        java_type = await _type_of(cls, members, name)
        await _set(field, cls, java_type, overloads.convert(value, java_type))
    finally:
        await field.aclose()


async def _field(obj: JavaObject, members: Members, name: str) -> JavaObject:
    from aiomm.bridge.proxy import call_class

    # The server reads fields of the object's class, and a class's class is Class: reflection finds the static ones.
    cls: Any = obj if members.is_class else await obj.call("getClass")
    try:
        found: JavaObject = await call_class(cls, _GET_FIELD, [name])
    except JavaException as error:
        if "NoSuchField" not in error.java_class:
            raise
        raise AttributeError(f"{obj!r} has no static field {name!r}; {await _there(cls)}", name=name, obj=obj) from None
    return found


async def _there(cls: Any) -> str:
    """Say which public static fields a class has."""
    from aiomm.bridge.proxy import call_class, line_of

    listed = await call_class(cls, _GET_FIELDS, [])
    try:
        text = await (await line_of(cls).session.static("java.util.Arrays")).call("toString", [listed])
    finally:
        await listed.aclose()
    names = sorted({entry.rpartition(".")[2] for entry in text[1:-1].split(", ") if " static " in entry})
    return f"there is {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}" if names else "it has none"


async def _type_of(obj: JavaObject, members: Members, name: str) -> str:
    from aiomm.bridge.proxy import described

    known = members.field_types.get(name)
    if known is None:
        field = await _field(obj, members, name)
        try:
            known = members.field_types[name] = described(await field.call("getType"))
        finally:
            await field.aclose()
    return known


async def _set(field: JavaObject, obj: JavaObject, java_type: str, value: Any) -> None:
    from aiomm.bridge.proxy import call_signature

    if java_type in PRIMITIVES:
        await call_signature(field, Signature(f"set{java_type.capitalize()}", (_OBJECT, java_type), "void"), [obj, value])
    else:
        # Of these the server makes what their name says, and finds the method by what they are besides; of others there is no doubt.
        known = java_type in _NAMED or canonical(java_type) in ARRAYS
        await call_signature(field, Signature("set", (_OBJECT, canonical(java_type) if known else _OBJECT), "void"), [obj, value])
