"""Public fields: lazy awaitables, and what reflection adds for static ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.bridge.wire import Signature
from aiomm.errors import JavaException

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiomm.bridge.proxy import JavaClass, JavaObject

__all__ = ["JavaField", "read_static", "write_static"]

_GET_FIELD = Signature("getField", ("java.lang.String",), "java.lang.reflect.Field")


class JavaField:
    """A field of a Java object. Awaiting it asks for its value, each time anew; nothing is sent before."""

    __slots__ = ("_object", "name")

    def __init__(self, obj: JavaObject, name: str) -> None:
        self._object = obj
        self.name = name

    def __await__(self) -> Generator[Any, None, Any]:
        return self._object.get_field(self.name).__await__()

    def __repr__(self) -> str:
        return f"<field {self.name} of {self._object!r}: await it>"


async def _static_field(cls: JavaClass, name: str) -> JavaObject:
    # The server reads fields of the object's class, and a class's class is Class: reflection finds the static ones.
    try:
        found: JavaObject = await cls.call_class(_GET_FIELD, [name])
    except JavaException as error:
        if "NoSuchField" not in f"{error.java_class} {error.java_message} {error.java_stack}":
            raise
        raise AttributeError(f"{cls!r} has no static field {name!r}", name=name, obj=cls) from None
    return found


async def read_static(cls: JavaClass, name: str) -> Any:
    """Read a static field of a class."""
    field = await _static_field(cls, name)
    try:
        return await field.call("get", [cls])
    except JavaException as error:
        if "IllegalArgument" in error.java_class:
            raise AttributeError(f"the field {name!r} of {cls!r} is not static: read it from an object", name=name, obj=cls) from None
        raise
    finally:
        await field.aclose()


async def write_static(cls: JavaClass, name: str, value: Any) -> None:
    """Set a static field of a class."""
    field = await _static_field(cls, name)
    try:
        await field.call("set", [cls, value])
    finally:
        await field.aclose()
