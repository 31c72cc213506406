"""Java objects and classes in Python: attribute access finds methods and fields, awaiting them asks Java."""

# Java's names are free to take any attribute, so all that is ours has an underscore, for the module's functions too.
# ruff: noqa: SLF001

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from aiomm.bridge import fields, iteration, lost_text, overloads, reflection, wire
from aiomm.bridge.callee import Callee, check_usable
from aiomm.bridge.calls import Method, opening
from aiomm.bridge.fields import JavaField
from aiomm.bridge.handle import Handle
from aiomm.bridge.kept_here import KeptHere
from aiomm.bridge.members import Members, describe, python_signature
from aiomm.errors import JavaException, ServerLostError

if TYPE_CHECKING:
    import inspect
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from aiomm.bridge.client import Bridge
    from aiomm.bridge.line import Line
    from aiomm.bridge.wire import Shadow, Signature

__all__ = ["JavaClass", "JavaMethod", "JavaNames", "JavaObject", "bridge_of", "check_usable", "line_of", "make_class"]

_IMAGE = "mmcorej.TaggedImage"


class JavaObject(KeptHere, Callee):
    """An object in a running Micro-Manager; made by `Bridge`, and by methods that return objects.

    Its methods and public fields are attributes, in snake_case and as Java spells them::

        await names.add("x")             # a method
        pix = await tagged.pix           # a field: nothing is sent before it is awaited
        await obj.set_field("x", 1)
        async for name in names: ...     # a List, Map (its keys), Iterable or array

    Completion, ``repr`` and attribute access send nothing. The object is released in Java when nothing in Python
    refers to it any more. A name that Python keeps for itself has an underscore added (``obj.in_``); a Java method with a
    name that this class has itself is ``obj.java.call``, or ``obj.call("call")``. A method comes before a field of the same name,
    which is ``obj.get_field(name)``. Equality is that of the reference: ``await a.equals(b)`` asks Java.
    """

    __slots__ = ("_bridge",)

    _bridge: Bridge | None  # held, for as long as this is
    _methods: ClassVar[dict[str, Method]] = {}
    _instead = "it is a reference that this process has to release; another process opens a Bridge of its own, and asks there"

    def __init__(self, line: Line, shadow: Shadow, bridge: Bridge | None) -> None:
        set_slot = object.__setattr__
        set_slot(self, "hash_code", shadow.hash_code)
        set_slot(self, "port", shadow.port)
        set_slot(self, "java_class", shadow.java_class)
        set_slot(self, "java_interfaces", shadow.interfaces)
        set_slot(self, "_bridge", bridge)
        set_slot(self, "_line", line)
        set_slot(self, "_head", opening(shadow.hash_code))
        set_slot(self, "_released", False)

    # ---- calling ------------------------------------------------------------------------------------------------

    async def call(self, name: str, args: Sequence[Any] = ()) -> Any:
        """Call a method by its name in Java (or in snake_case).

        Parameters
        ----------
        name : str
            The method.
        args : sequence, optional
            Its arguments.

        Returns
        -------
        object
            A Python value, or a `JavaObject`.

        Raises
        ------
        AttributeError
            There is no such method.
        OverloadError
            No overload takes these arguments; nothing was called.
        JavaException
            The method threw.
        """
        method = self._find(name)
        if method is None:
            raise AttributeError(self._members.unknown(name), name=name, obj=self)
        return await self._run(method, args if type(args) is tuple else overloads.listed(args, "the method's"))

    async def get_field(self, name: str) -> Any:
        """Read a public field.

        Raises
        ------
        AttributeError
            There is no such field.
        """
        java_name = self._members.field(name)
        if java_name is None:
            raise AttributeError(self._members.unknown(name), name=name, obj=self)
        line = self._checked()
        message, what = wire.get_field(self, java_name), f"reading the field {java_name}"
        if self.java_class == _IMAGE:  # data, which may take longer than a control message; pixels are unsigned, Java's arrays are not
            value = await line.call(message, line.session.call_timeout, what)
            if java_name == "pix":
                return iteration.unsigned(value)
        else:
            value = await line.ask(message, what)
        if type(value) is wire.Shadow:
            return await line.session.give(value, line)
        if (type(value) is str and "?" in value) or type(value) is wire.DoubtfulJson:
            return await lost_text.whole_field(line, self, java_name, value)
        return await fields.read(self, self._members, java_name, value)

    async def set_field(self, name: str, value: Any) -> None:
        """Set a public field.

        Parameters
        ----------
        name : str
            The field.
        value : object
            What a method with such a parameter would take: numbers, text, None, arrays, lists, an enum's name, Java objects.

        Raises
        ------
        AttributeError
            There is no such field.
        JavaValueError
            The value does not fit the field's type.
        JavaException
            Java does not let it be set: it is final.
        """
        java_name = self._members.field(name)
        if java_name is None:
            raise AttributeError(self._members.unknown(name), name=name, obj=self)
        line = self._checked()
        check_usable((value,), line.session)
        message = await fields.write(self, self._members, java_name, value)
        if message is not None:
            await line.ask(message, f"setting the field {java_name}")

    async def _call_signature(self, signature: Signature, values: Sequence[Any]) -> Any:
        line = self._checked()
        try:
            value = await self._send(signature, values, Method(self._members, (signature,)))
        except JavaException as error:
            raise self._members.explained(error, signature) from None
        return await line.session.give(value, line) if type(value) is wire.Shadow else wire.convert_return(value, signature.returns)

    def _find(self, name: str) -> Method | None:
        methods = type(self)._methods
        method = methods.get(name)
        if method is None:
            signatures = self._members.method(name)
            if not signatures:
                return None
            method = methods[name] = Method(self._members, signatures)
        return method

    async def _private_field(self, name: str) -> Any:
        line = self._checked()
        found = await line.follow(reflection.private_field(self, name), line.session.call_timeout, f"getDeclaredField({name!r})")
        return await line.session.give(found, line)

    # ---- names --------------------------------------------------------------------------------------------------

    @property
    def java(self) -> JavaNames:
        """The methods and fields by name alone, without what this class adds: ``obj.java.call``."""
        return JavaNames(self)

    def __getattr__(self, name: str) -> Any:
        # Reached when Python found nothing: a name is looked up once per class and then stands on it.
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        method = self._find(name)
        if method is not None:
            setattr(type(self), name, _function(name, method))
            return getattr(self, name)
        field = self._members.field(name)
        if field is not None:
            return JavaField(self, field)
        raise AttributeError(self._members.unknown(name), name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        own = name in Handle.__slots__
        if not own and (name.startswith("_") or hasattr(type(self), name)):
            object.__setattr__(self, name, value)
            return
        field = self._members.field(name)
        if field is None and own:
            raise AttributeError(f"{name} says which Java object {self!r} is and cannot be set", name=name, obj=self)
        if field is None:
            raise AttributeError(self._members.unknown(name), name=name, obj=self)
        raise AttributeError(f"a field of a Java object is set with: await obj.set_field({name!r}, {value!r})", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self).__base__), *self._members.listed()})

    def __repr__(self) -> str:
        return f"<{self.java_class} on port {self.port}{self._state()}>"

    def _state(self) -> str:
        error = self._line.session.error
        if isinstance(error, ServerLostError):
            return ", its server is gone"
        return ", released" if self._released else ", its bridge is closed" if error is not None else ""

    # ---- collections --------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Any]:
        return iteration.items(self)

    if not TYPE_CHECKING:  # a type checker says it itself

        def __iter__(self) -> NoReturn:
            raise TypeError(f"{self!r} is in Java: walk it with `async for`, or fetch it with `await obj.to_list()`")

    async def to_list(self) -> list[Any]:
        """Fetch the items of a List, Iterable or array, or the keys of a Map.

        Many texts, or many numbers of one class, come in a few messages, other items each in one.
        """
        return [item async for item in iteration.items(self)]

    async def to_dict(self) -> dict[Any, Any]:
        """Fetch a Map as a dict: one copy of it, which it was at one moment.

        Raises
        ------
        TypeError
            It is no Map, or a key is an object that stays in Java.
        JavaValueError
            Two keys are one in Python, like 1 and True.
        JavaException
            Java could not copy it, as it was changed at that moment (``java.util.ConcurrentModificationException``).
        """
        return await iteration.to_dict(self)

    # ---- release ------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Have Java forget the object now; otherwise it does when nothing in Python refers to it.

        Again and again does no harm, nor does it when the bridge is closed or its server gone, which ends all objects.
        """
        if not self._released:
            session = self._line.session
            if session.error is None:
                session.check_loop()
            object.__setattr__(self, "_released", True)
            if session.error is None:
                await self._line.release(self.hash_code)

    def __del__(self) -> None:
        try:
            line, released = self._line, self._released
        except AttributeError:  # it was never made
            return
        if not released:
            line.drop(self.hash_code)


class JavaClass(JavaObject):
    """A class in a running Micro-Manager, for its static methods and fields; made by ``await bridge.get_java_class(...)``.

    The server does not tell static methods from others: those of the class's objects are listed too, and cannot be
    called here. Nor does it list static fields: constants (``maths.PI``) are attributes, others are read with
    ``await cls.get_field(name)``.
    """

    __slots__ = ()

    async def get_field(self, name: str) -> Any:
        """Read a public static field.

        Raises
        ------
        AttributeError
            There is no such field, or it is not static.
        """
        return await fields.read_static(self, self._members, name)

    async def set_field(self, name: str, value: Any) -> None:
        """Set a public static field.

        Raises
        ------
        AttributeError
            There is no such field.
        JavaException
            Java cannot put this value there.
        """
        check_usable((value,), self._line.session)
        await fields.write_static(self, self._members, name, value)

    async def _call_class(self, signature: Signature, values: Sequence[Any]) -> Any:
        line = self._checked()
        value = await line.call(wire.run_method(self, False, signature, values), line.session.call_timeout, signature.name)
        return await line.session.give(value, line) if type(value) is wire.Shadow else wire.convert_return(value, signature.returns)

    def __repr__(self) -> str:
        return f"<class {self._members.java_class} on port {self.port}{self._state()}>"


class JavaNames(KeptHere):
    """The Java methods and fields of an object, whatever they are called; see `JavaObject.java`."""

    __slots__ = ("_object",)

    _instead = "obj.java gives it anew"

    def __init__(self, obj: JavaObject) -> None:
        self._object = obj

    def __getattr__(self, name: str) -> Any:
        return JavaObject.__getattr__(self._object, name) if name.startswith("__") else _by_name(self._object, name)

    def __dir__(self) -> list[str]:
        return type(self._object)._members.listed()

    def __repr__(self) -> str:
        return f"<Java's names of {self._object!r}>"


class JavaMethod(KeptHere):
    """A method of one object, as ``obj.java.name`` gives it: call it, and await that."""

    _instead = "obj.java gives it anew"

    def __init__(self, obj: JavaObject, name: str, method: Method) -> None:
        self._object = obj
        self._method = method
        self.name = name
        self.__doc__ = describe(obj._members.java_class, method.signatures)

    def __call__(self, *args: Any) -> Coroutine[Any, Any, Any]:
        return _named(self._object._run(self._method, args), self._method)

    @property
    def __signature__(self) -> inspect.Signature:
        whole = python_signature(self._method.signatures)
        return whole.replace(parameters=[*whole.parameters.values()][1:])

    def __repr__(self) -> str:
        return f"<Java's method {self.name} of {self._object!r}: call it, and await that>"


def _by_name(obj: JavaObject, name: str) -> Any:
    method = obj._find(name)
    if method is not None:
        return JavaMethod(obj, name, method)
    field = obj._members.field(name)
    if field is None:
        raise AttributeError(obj._members.unknown(name), name=name, obj=obj)
    return JavaField(obj, field)


async def private_field(kind: JavaObject, name: str) -> JavaObject:
    """Give the ``java.lang.reflect.Field`` of a class by its name, also of a private one: ``await field.set(object, value)``.

    Parameters
    ----------
    kind : JavaClass
        The class, from `Bridge.get_java_class`.
    name : str
        Of the field.

    Raises
    ------
    JavaException
        There is no such field, or Java does not let it be reached.
    """
    return await kind._private_field(name)  # type: ignore[no-any-return]


def _named(calling: Coroutine[Any, Any, Any], method: Method) -> Coroutine[Any, Any, Any]:
    """Let Python's "was never awaited" say which method it is about."""
    calling.__qualname__ = method.what  # type: ignore[attr-defined]
    return calling


def _function(name: str, method: Method) -> Callable[..., Coroutine[Any, Any, Any]]:
    def call(self: JavaObject, /, *args: Any) -> Coroutine[Any, Any, Any]:
        return _named(self._run(method, args), method)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = describe(method.java_class, method.signatures)
    call.__signature__ = python_signature(method.signatures)  # type: ignore[attr-defined]
    return call


def make_class(base: type[JavaObject], members: Members) -> type[JavaObject]:
    """Make the proxy class of one Java class."""
    doc = f"A Java object: {members.java_class}." if base in (JavaObject, JavaClass) else base.__doc__
    body: dict[str, Any] = {"__slots__": (), "__module__": base.__module__, "__doc__": doc, "_members": members, "_methods": {}}
    made: type[JavaObject] = type(base)(members.java_class.rpartition(".")[2], (base,), body)  # type: ignore[misc]
    return made


async def call_signature(obj: JavaObject, signature: Signature, values: Sequence[Any]) -> Any:
    """Call one overload with values that are converted already; see `aiomm.bridge.overloads.convert`."""
    return await obj._call_signature(signature, values)


async def call_class(cls: JavaClass, signature: Signature, values: Sequence[Any]) -> Any:
    """Call a method of ``java.lang.Class`` itself, which `JavaObject.call` does not reach."""
    return await cls._call_class(signature, values)


def described(cls: JavaClass) -> str:
    """Give the name of the Java class that this is."""
    return cls._members.java_class


def line_of(obj: JavaObject) -> Line:
    """Give the port that an object lives at."""
    return obj._line


def bridge_of(obj: JavaObject) -> Bridge:
    """Give the bridge that an object came over."""
    return obj._line.session.bridge
