"""Calls that the server cannot make when asked plainly, made in several messages with Java's own reflection. No I/O.

The server takes no null for most types, no lists, no ``boolean[]``; it may call another overload than the one meant; it looks for no
constructor by a supertype of ``java.*``; it cannot call public methods of classes that Java keeps to itself; and a text with ``@`` beside
binary data ends its thread. Java's `Array`, `Method` and `Constructor`, called through the same server, can do all of it.

A plan is a generator: it yields requests, is sent what `wire.parse_reply` makes of the replies (or thrown the JavaException), and
returns the result. All its requests go to one port, the target's. Each Shadow that it is sent, but the one it returns, is to be
released after it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from aiomm.bridge import wire
from aiomm.bridge.arguments import VECTORS, Needs
from aiomm.bridge.handle import Handle
from aiomm.bridge.java_types import ARRAYS, BOXES, DESCRIPTORS, PRIMITIVES, array_element, canonical
from aiomm.bridge.overloads import sure
from aiomm.bridge.wire import Shadow, Signature
from aiomm.errors import JavaException, JavaValueError, OverloadError, ProtocolError

__all__ = ["Plan", "call", "construct", "leave_port", "not_found", "not_run", "private_field", "public_methods", "read_array"]

Plan: TypeAlias = Generator[dict[str, Any], Any, Any]

_ARRAY: Final = "java.lang.reflect.Array"
_OBJECT: Final = "java.lang.Object"
_SEPARATORS: Final = "\x1f\x1e\x1d\x1c\x02\x03"
_MANY: Final = 100  # numbers, from which a stream that boxes them all takes fewer messages than adding each
_MAKERS: Final = {"list": "java.util.ArrayList", "set": "java.util.LinkedHashSet", "map": "java.util.LinkedHashMap"}
_SERVER: Final = "org.micromanager.pyjavaz.ZMQServer"
_SOCKETS: Final = "org.micromanager.pyjavaz.ZMQSocketWrapper"
_FRAME_OF_SERVER: Final = f"{_SERVER}."
_FIRST_FRAME: Final = "java.lang.Thread.run"


def call(target: Handle, static: bool, signature: Signature, values: Sequence[Any], signatures: Sequence[Signature]) -> Plan:
    """Call a method, making its arguments first; plainly if the server will then surely find it, else by reflection.

    Parameters
    ----------
    target : Handle
        The object, or for a static method the class.
    static : bool
        Whether it is a static method.
    signature : Signature
        The method.
    values : sequence
        From `overloads.choose`.
    signatures : sequence of Signature
        All methods of that name; none to use reflection in any case.
    """
    made = yield from all_made(values)
    if signatures and sure(signatures, signature, made):
        return (yield wire.run_method(target, static, signature, made))
    arguments = yield from array_of(_OBJECT, made, signature.arguments)
    refused: JavaException | None = None
    for holder in holders(target, static):
        kind = target if static else (yield from class_of(holder))
        method = yield from member(kind, "getMethods", signature)
        if method is None:
            continue
        try:
            yield from run(method, "setAccessible", ("boolean",), [True])
            return (yield from run(method, "invoke", (_OBJECT, "java.lang.Object[]"), [None if static else target, arguments]))
        except JavaException as error:
            if not no_access(error):
                raise
            refused = error
    raise refused or OverloadError(f"{target.java_class} has no public method {signature}", candidates=[str(signature)])


def construct(classpath: str, signature: Signature, values: Sequence[Any], signatures: Sequence[Signature]) -> Plan:
    """Make an object, making its arguments first. It lives at the port to which the plan's requests go."""
    made = yield from all_made(values)
    if sure([signature], signature, made) and sure(signatures, signature, made):
        try:
            return (yield wire.constructor(classpath, signature, made))
        except JavaException as error:
            if not not_run(error):
                raise
    arguments = yield from array_of(_OBJECT, made, signature.arguments)
    kind = yield from class_of(classpath)
    found = yield from member(kind, "getConstructors", signature)
    if found is None:
        raise OverloadError(f"{classpath} has no public constructor {signature}", candidates=[str(signature)])
    return (yield from run(found, "newInstance", ("java.lang.Object[]",), [arguments]))


def private_field(kind: Handle, name: str) -> Plan:
    """Give the ``java.lang.reflect.Field`` of a class, made accessible: it can be read and set whatever it was declared."""
    field = yield from run(kind, "getDeclaredField", ("java.lang.String",), [name])
    yield from run(handle_of(field), "setAccessible", ("boolean",), [True])
    return field


def public_methods(target: Handle, static: bool) -> Plan:
    """Give what can be called of an object, or for what is static of a class: a set of names, each with its arguments' canonical types."""
    kind = target if static else handle_of((yield from run(target, "getClass", (), [])))
    listed = handle_of((yield from run(kind, "getMethods", (), [])))
    told = yield from _told(listed)
    return frozenset((name, types) for _, name, types in told)


def leave_port(opened: Shadow) -> Plan:
    """Have the server forget an object at a port that cannot be reached, and leave that port if nothing listens there.

    It names a port before it has bound it, and says nothing when that fails; no message comes there then.
    """
    sockets = handle_of((yield from _private(_SOCKETS, "portSocketMap_", None)))
    server = yield from run(sockets, "get", (_OBJECT,), [opened.port])
    if server is None:
        return None
    server = handle_of(server)
    objects = handle_of((yield from _private(_SERVER, "externalObjects_", server)))
    if (yield from run(objects, "remove", (_OBJECT,), [opened.hash_code])) is None:
        return None  # it is another one by now
    bound = yield from run(handle_of((yield from _private(_SOCKETS, "socket_", server))), "getLastEndpoint", (), [])
    if not bound:
        yield from run(server, "close", (), [])
    return None


def _private(classpath: str, name: str, holder: Handle | None) -> Plan:
    """Read a field that its class keeps to itself; without a holder a static one."""
    kind = handle_of((yield wire.get_class(classpath)))
    field = handle_of((yield from private_field(kind, name)))
    return (yield from run(field, "get", (_OBJECT,), [holder or kind]))


def read_array(array: Handle) -> Plan:
    """Read a ``long[]``, ``boolean[]`` or ``char[]`` (as UTF-16 units), which the server sends as objects, as a numpy array."""
    element = array_element(canonical(array.java_class))
    if element == "char":
        length = yield from _static(_ARRAY, "getLength", (_OBJECT,), [array])
        text = yield from _static("java.lang.String", "copyValueOf", ("char[]",), [array])
        units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16).copy()
        # What the server cannot write comes as "?", two halves of one character as a single one.
        doubtful = np.flatnonzero(units == ord("?")) if len(units) == length else range(length)
        if len(units) != length:
            units = np.zeros(length, np.uint16)
        for index in doubtful:
            units[index] = yield from _static(_ARRAY, "getInt", (_OBJECT, "int"), [array, int(index)])
        return units
    text = yield from _static("java.util.Arrays", "toString", (f"{element}[]",), [array])
    items = text[1:-1].split(", ") if len(text) > 2 else []
    if element == "boolean":
        return np.array([item == "true" for item in items], np.bool_)
    return np.array([int(item) for item in items], np.int64)


def not_run(error: JavaException) -> bool:
    """Whether the server itself failed before it called anything, so that the call can be made in another way."""
    # The server calls by reflection alone. So a stack that is whole, from the thread's first frame on, and has no reflective call in it is
    # the server's own. Of what a constructor threw, and of very deep stacks, Java does not write the whole.
    frames = error.java_stack.splitlines()
    return (
        bool(frames)
        and _FIRST_FRAME in frames[-1]
        and any(_FRAME_OF_SERVER in frame for frame in frames)
        and not any(".invoke" in frame or "newInstance" in frame for frame in frames)
    )


def not_found(error: JavaException) -> bool:
    """Whether the server says that there is no such public method, so that it called nothing; a method may throw the same on purpose."""
    return not_run(error) and (
        error.java_class == "java.lang.NoSuchMethodException" or error.java_message.startswith("No Matching method found")
    )


def no_access(error: JavaException) -> bool:
    return error.java_class in {"java.lang.reflect.InaccessibleObjectException", "java.lang.IllegalAccessException"}


def holders(target: Handle, static: bool) -> list[str]:
    """Classes to take the method of: the object's own first, then what it is besides."""
    if static:
        return [target.java_class]
    return list(dict.fromkeys([target.java_class, *target.java_interfaces]))


# --- steps -----------------------------------------------------------------------------------------------------------


def handle_of(value: Any) -> Handle:
    if not isinstance(value, Shadow):
        raise ProtocolError(f"the server answers {value!r} where an object was to come")
    return Handle(value.hash_code, value.port, value.java_class, value.interfaces)


def run(target: Handle, name: str, types: tuple[str, ...], values: Sequence[Any], *, static: bool = False) -> Plan:
    return (yield wire.run_method(target, static, Signature(name, types), values))


def _static(classpath: str, name: str, types: tuple[str, ...], values: Sequence[Any]) -> Plan:
    kind = handle_of((yield wire.get_class(classpath)))
    return (yield from run(kind, name, types, values, static=True))


def class_of(java_type: str) -> Plan:
    """The class of a type: also of primitives and arrays, which the server does not know by name."""
    if not java_type.endswith("[]") and not java_type.startswith("[") and java_type not in PRIMITIVES:
        return handle_of((yield wire.get_class(_binary_name(java_type))))
    dimensions, element = 0, canonical(java_type)
    while element.endswith("[]"):
        dimensions, element = dimensions + 1, element[:-2]
    letter = next((letter for letter, name in DESCRIPTORS.items() if name == element), None)
    name = "[" * max(dimensions, 1) + (letter or f"L{_binary_name(element)};")
    found = handle_of((yield from _static("java.lang.Class", "forName", ("java.lang.String",), [name])))
    return found if dimensions else handle_of((yield from run(found, "getComponentType", (), [])))


def _binary_name(java_type: str) -> str:
    """``java.util.Map.Entry`` -> ``java.util.Map$Entry``: packages begin with a small letter."""
    if "$" in java_type:
        return java_type
    match = re.match(r"((?:[^A-Z.][^.]*\.)*)(.*)", java_type)
    return match[1] + match[2].replace(".", "$") if match else java_type


def member(kind: Handle, lister: str, signature: Signature) -> Plan:
    """Find the method or constructor with these very arguments in what a class lists; None if it is not there."""
    listed = handle_of((yield from run(kind, lister, (), [])))
    wanted = tuple(canonical(java_type) for java_type in signature.arguments)
    place = None
    for index, (head, name, types) in enumerate((yield from _told(listed))):
        if types == wanted and (lister != "getMethods" or name == signature.name) and (place is None or " volatile " not in head):
            place = index  # the compiler's bridges say that they are volatile
    if place is None:
        return None
    return handle_of((yield from _static(_ARRAY, "get", (_OBJECT, "int"), [listed, place])))


def _told(listed: Handle) -> Plan:
    """Give what Java's texts of methods or constructors say: what stands before the arguments, the name, the arguments."""
    text = yield from _static("java.util.Arrays", "toString", ("java.lang.Object[]",), [listed])
    if not isinstance(text, str):
        raise ProtocolError(f"the server gives {text!r:.60} as a list of methods")
    told = []
    for entry in text[1:-1].split(", ") if len(text) > 2 else []:
        head, _, rest = entry.partition("(")
        types = tuple(canonical(java_type) for java_type in rest.partition(")")[0].split(",") if java_type)
        told.append((head, re.split(r"[.\s]", head)[-1], types))
    return told


def _made(value: Any) -> Plan:
    """Make in Java what a value needs; null and JSON objects are left for the array of all arguments."""
    if not isinstance(value, Needs) or value.kind in {"null", "json"}:
        return value
    if value.kind == "enum":
        return (yield from _enum(value.java_type, value.value))
    if value.kind == "array":
        element = value.java_type[:-2]
        texts = value.value
        if element == "java.lang.String" and len(texts) > 2 and (separator := _separator(texts)) is not None:
            return (yield from _split(texts, separator))
        return (yield from array_of(element, value.value))
    if value.kind == "vector":
        return (yield from _vector(value))
    return (yield from _collection(value))


def all_made(values: Sequence[Any]) -> Plan:
    made = []
    for value in values:
        item = yield from _made(value)
        made.append(item)
    return made


def _enum(java_type: str, name: str) -> Plan:
    kind = yield from class_of(java_type)
    try:
        return handle_of((yield from run(kind, "valueOf", ("java.lang.String",), [name], static=True)))
    except JavaException as error:
        if error.java_class == "java.lang.IllegalArgumentException":
            raise JavaValueError(f"{java_type} has no constant {name!r}") from error
        if not_run(error):
            raise OverloadError(f"str {name!r} is no {java_type}") from error
        raise


def array_classes(element: str) -> Plan:
    """Give what makes arrays of that element."""
    kind = yield from class_of(element)
    return kind, handle_of((yield wire.get_class(_ARRAY)))


def array_of(element: str, items: Sequence[Any], types: Sequence[str] | None = None, classes: tuple[Handle, Handle] | None = None) -> Plan:
    """Make an array; `types` say what its items are where the array itself is one of Objects, `classes` are from `array_classes`."""
    kind, reflect = classes or (yield from array_classes(element))
    array = handle_of((yield from run(reflect, "newInstance", ("java.lang.Class", "int"), [kind, len(items)], static=True)))
    empty = False if element == "boolean" else None
    for index, item in enumerate(items):
        if item is empty or (isinstance(item, Needs) and item.kind == "null"):
            continue
        declared = types[index] if types else element
        sent_as = BOXES.get(declared, declared if declared in BOXES.values() or declared in ARRAYS else _OBJECT)
        yield from run(reflect, "set", (_OBJECT, "int", sent_as), [array, index, (yield from _member_value(item))], static=True)
    return array


def _member_value(item: Any) -> Plan:
    made = yield from _made(item)
    return made.value if isinstance(made, Needs) else made


def _separator(texts: Sequence[Any]) -> str | None:
    """A character that is in none of these texts, if they are all texts."""
    if not all(isinstance(text, str) for text in texts):
        return None
    return next((mark for mark in _SEPARATORS if not any(mark in text for text in texts)), None)


def _split(texts: Sequence[str], separator: str) -> Plan:
    """Make a String[] in two messages, however long it is."""
    pattern = handle_of((yield from _static("java.util.regex.Pattern", "compile", ("java.lang.String",), [separator])))
    return handle_of((yield from run(pattern, "split", ("java.lang.CharSequence", "int"), [separator.join(texts), -1])))


def _collection(needs: Needs) -> Plan:
    made = handle_of((yield wire.constructor(_MAKERS[needs.kind], Signature(_MAKERS[needs.kind], ()), [])))
    if needs.kind == "map":
        for pair in needs.value:
            key = yield from _member_value(pair[0])
            yield from run(made, "put", (_OBJECT, _OBJECT), [key, (yield from _member_value(pair[1]))])
    elif len(needs.value) > 2 and (separator := _separator(needs.value)) is not None:
        texts = yield from _split(needs.value, separator)
        yield from _static("java.util.Collections", "addAll", ("java.util.Collection", "java.lang.Object[]"), [made, texts])
    elif len(needs.value) > _MANY and (numbers := _numbers(needs.value)) is not None:
        boxes = yield from _boxes(numbers)
        yield from _static("java.util.Collections", "addAll", ("java.util.Collection", "java.lang.Object[]"), [made, boxes])
    else:
        for item in needs.value:
            yield from run(made, "add", (_OBJECT,), [(yield from _member_value(item))])
    return made


def _numbers(items: Sequence[Any]) -> np.ndarray[Any, Any] | None:
    """Numbers that are all Integers in Java, or all Doubles; None if they are not."""
    kinds = set(map(type, items))
    if kinds == {float}:
        return np.array(items, np.float64)
    return np.array(items, np.int32) if kinds == {int} and all(-(1 << 31) <= item < 1 << 31 for item in items) else None


def _boxes(numbers: np.ndarray[Any, Any]) -> Plan:
    """Make an Object[] of numbers, in a few messages however many they are. The streams' own classes are Java's: reflection it is."""
    kind, element = ("java.util.stream.DoubleStream", "double[]") if numbers.dtype.kind == "f" else ("java.util.stream.IntStream", "int[]")
    found = handle_of((yield from _static(kind, "of", (element,), [numbers])))
    nothing = yield from array_of(_OBJECT, [])
    for holder, name in ((kind, "boxed"), ("java.util.stream.Stream", "toArray")):
        method = yield from member((yield from class_of(holder)), "getMethods", Signature(name, ()))
        found = handle_of((yield from run(method, "invoke", (_OBJECT, "java.lang.Object[]"), [found, nothing])))
    return found


def _vector(needs: Needs) -> Plan:
    made = handle_of((yield wire.constructor(needs.java_type, Signature(needs.java_type, ()), [])))
    element = VECTORS[canonical(needs.java_type)]
    for item in needs.value:
        try:
            yield from run(made, "add", (element,), [item])
        except JavaException as error:  # newer MMCoreJ's vectors are Lists, of boxes
            if element not in BOXES or not not_run(error):
                raise
            element = BOXES[element]
            yield from run(made, "add", (element,), [item])
    return made
