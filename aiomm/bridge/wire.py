"""What is said to the server and what it answers: requests, replies, Java values as Python values. No I/O.

Frames and placeholders are the business of `aiomm.bridge.frames`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import numpy as np

from aiomm.bridge.frames import SENT_TYPES, beside_binary, decode, encode, read_json, read_object, read_primitive, shown, view
from aiomm.bridge.handle import Handle
from aiomm.bridge.java_types import ARRAYS, BOXES, FLOATS, notation
from aiomm.errors import JavaException, JavaValueError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "VERSION",
    "DoubtfulJson",
    "Shadow",
    "Signature",
    "beside_binary",
    "connect",
    "constructor",
    "convert_return",
    "decode",
    "destructor",
    "encode",
    "get_class",
    "get_constructors",
    "get_field",
    "natural_type",
    "parse_reply",
    "read_json",
    "run_method",
    "sent_types",
    "set_field",
    "summarise",
]

VERSION: Final = "5.1.0"
"""The version of the protocol that this module speaks."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A Java method or constructor.

    Attributes
    ----------
    name : str
        In Java's spelling; for a constructor the class.
    arguments : tuple of str
        Java types.
    returns : str or None
        The declared type; None for a constructor.
    """

    name: str
    arguments: tuple[str, ...]
    returns: str | None = None

    def __str__(self) -> str:
        return notation(self.name, self.arguments)


@dataclass(slots=True)
class Shadow:
    """An object that stays in the server, as the server describes it.

    Attributes
    ----------
    java_class : str
        Its class.
    hash_code : str
        The server's name for it, new with each reply.
    port : int
        Where it can be called.
    interfaces : tuple of str
        Its class, superclasses and interfaces.
    fields : tuple of str
        Names of its public fields.
    api : list of dict
        Its methods, as sent: ``name``, ``arguments``, ``return-type``.
    """

    java_class: str
    hash_code: str
    port: int
    interfaces: tuple[str, ...]
    fields: tuple[str, ...]
    api: list[dict[str, Any]]

    @property
    def is_error(self) -> bool:
        """Whether it is a ``java.lang.Error``: a method threw it, and the server sends it as if it were a result."""
        return "java.lang.Error" in self.interfaces


class DoubtfulJson(dict[str, Any]):
    """A JSON object in whose text is a ``?``, which the server writes for what it cannot send.

    Attributes
    ----------
    text : str
        As it arrived.
    """

    __slots__ = ("text",)

    def __init__(self, value: dict[str, Any], text: str) -> None:
        super().__init__(value)
        self.text = text


def parse_reply(reply: dict[str, Any] | Sequence[Any]) -> Any:
    """What a reply says: a Python value, or a Shadow of an object that stays in Java.

    Parameters
    ----------
    reply : dict, or sequence of bytes, memoryview or zmq.Frame
        A decoded reply, or its frames.

    Returns
    -------
    None, bool, int, float, str, dict, numpy.ndarray or Shadow
        A Java char is a str of length 1; a double may be an int, see `convert_return`. Arrays have Java's dtypes: int8, int16, int32,
        float32, float64. The reply to ``connect`` and ``get-constructors`` is the message itself.

    Raises
    ------
    JavaException
        Java threw.
    JavaValueError
        The server could not write the result.
    ProtocolError
        The reply cannot be understood.
    """
    if type(reply) is list and len(reply) == 1:
        value = read_primitive(reply[0])
        if value is not None:
            return value
        message = read_object(reply[0])
    else:
        message = reply if isinstance(reply, dict) else decode(reply)
    kind = message.get("type")
    if kind == "primitive":
        value = message.get("value")
        if type(value) in _NUMBERS or (type(value) is str and len(value) == 1):
            return value
        raise ProtocolError(f"a primitive value that is none: {shown(value)}")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise ProtocolError(f"a reply of unknown type {shown(kind)}")
    return reader(message)


def _none(message: dict[str, Any]) -> Any:
    return message if len(message) > 1 else None


def _string(message: dict[str, Any]) -> str:
    return _text(message, "value")


def _json_text(message: dict[str, Any]) -> Any:
    if "value" not in message:
        raise JavaValueError("the server could not write a JSON object: it has NaN or infinity in it")
    text = _text(message, "value")
    try:
        value = read_json(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a JSON object that is none: {error}") from None
    return DoubtfulJson(value, text) if "?" in text and type(value) is dict else value


def _data(message: dict[str, Any]) -> np.ndarray[Any, Any]:
    value = message.get("value")
    if not isinstance(value, np.ndarray):
        raise ProtocolError(f"the binary data of a {message['type']} are missing")
    return value


def _shadow(message: dict[str, Any]) -> Shadow:
    port, api = message.get("port"), message.get("api")
    if type(port) is not int or not 0 < port < 65536:
        raise ProtocolError(f"an object at port {shown(port)}")
    if type(api) is not list or not all(type(entry) is dict for entry in api):
        raise ProtocolError("an object whose methods are no list")
    java_class, hash_code = _text(message, "class"), _text(message, "hash-code")
    return Shadow(java_class, hash_code, port, _texts(message, "interfaces"), _texts(message, "fields"), api)


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise ProtocolError(f"a {message['type']} with {key} {shown(value)} instead of a text")
    return value


def _texts(message: dict[str, Any], key: str) -> tuple[str, ...]:
    value = message.get(key)
    if type(value) is not list or not all(isinstance(item, str) for item in value):
        raise ProtocolError(f"an object whose {key} are no list of names")
    return tuple(value)


_CLASS: Final = re.compile(r"((?:[a-z_][\w$]*\.)+[A-Z_$][\w$]*)(?:: |$)", re.MULTILINE)
_FRAME: Final = re.compile(r"[^\s(]+\((?:[^\s()]+\.\w+(?::[0-9]+)?|Native Method|Unknown Source|<generated>)\)")


def _exception(message: dict[str, Any]) -> NoReturn:
    text = _text(message, "value")
    java_class, java_message, stack = _parse_exception(text)
    if "JSON does not allow non-finite numbers" in java_message and stack.startswith("org.micromanager.pyjavaz.ZMQUtil."):
        raise JavaValueError("the result is NaN or infinite, or has such a number in it: the server cannot send that as a single number")
    raise JavaException(java_class, java_message, stack)


def _parse_exception(text: str) -> tuple[str, str, str]:
    """Class, message and stack of an exception as the server writes it.

    It writes two ways: Java's own print of the stack, and for what a method threw, class and message followed by bare frames. An exception
    that overrides ``toString`` has a text of its own in the place of both: then its class is not known.
    """
    _, wrapped, cause = text.partition("\nCaused by: ")
    if wrapped and text.startswith("java.lang.reflect.InvocationTargetException"):  # from a constructor
        text = cause
    head, mark, printed = text.partition("\n\tat ")
    if mark:
        frames = [line for line in (line.strip().removeprefix("at ") for line in printed.splitlines()) if not line.startswith("... ")]
    else:
        lines = text.rstrip("\n").split("\n")
        first = len(lines)
        while first and _FRAME.fullmatch(lines[first - 1]):
            first -= 1
        head, frames = "\n".join(lines[:first]).rstrip("\n"), lines[first:]
    match = _CLASS.match(head)
    named = (match[1], head[match.end() :]) if match else ("java.lang.Exception", head.strip())
    return *named, "\n".join(frames)


_READERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "none": _none,
    "null": _none,
    "string": _string,
    "object": _json_text,
    "exception": _exception,
    "unserialized-object": _shadow,
    **dict.fromkeys(SENT_TYPES, _data),
}


def convert_return(value: Any, java_type: str | None) -> Any:
    """Give a returned value the Python type of its declared Java type: the server writes a double of 10.0 as 10.

    Parameters
    ----------
    value : object
        From `parse_reply`.
    java_type : str or None
        Declared type; None leaves the value as it is.
    """
    if type(value) is int and java_type in _FLOATS:
        return float(value)
    return value


def summarise(message: Mapping[str, Any] | Sequence[Any]) -> str:
    """One line about a message for a log: binary data by their size, the methods of an object by their number."""
    sizes: list[int] = []
    if not isinstance(message, dict):
        frames = cast("Sequence[Any]", message)
        sizes = [len(view(frame)) for frame in frames[2::2]]
        try:
            message = read_object(frames[0]) if frames else {}
        except ProtocolError as error:
            return f"<{error}>"
    shown = json.dumps(message, default=_brief, ensure_ascii=False)
    if isinstance(message.get("api"), list):
        brief = {**message, "api": f"<{len(message['api'])} methods>"}
        shown = json.dumps(brief, default=_brief, ensure_ascii=False)
    data = "".join(f" <{size} bytes>" for size in sizes)
    return (shown if len(shown) <= 1000 else f"{shown[:997]}...") + data


def _brief(value: Any) -> str:
    if isinstance(value, Handle):
        return f"<{value.java_class}>"
    size = getattr(value, "nbytes", None) if not isinstance(value, bytes | bytearray) else len(value)
    return f"<{size} bytes>" if size is not None else shown(value)


# --- requests --------------------------------------------------------------------------------------------------------


def connect(debug: bool = False) -> dict[str, Any]:
    """The handshake; `debug` makes the whole server print its messages, until the next handshake says otherwise."""
    return {"command": "connect", "debug": debug}


def get_constructors(classpath: str) -> dict[str, Any]:
    """Ask for the public constructors of a class."""
    return {"command": "get-constructors", "classpath": classpath}


def constructor(classpath: str, signature: Signature, values: Sequence[Any], new_port: bool = False) -> dict[str, Any]:
    """Make an object, at a port of its own if asked; `values` are converted ones, see `overloads.choose`."""
    return {"command": "constructor", "classpath": classpath, "new-port": new_port, **_arguments(signature, values)}


def get_class(classpath: str, new_port: bool = False) -> dict[str, Any]:
    """Ask for a class itself, to call its static methods."""
    return {"command": "get-class", "classpath": classpath, "new-port": new_port}


def run_method(handle: Handle, static: bool, signature: Signature, values: Sequence[Any]) -> dict[str, Any]:
    """Call a method; `values` are converted ones, see `overloads.choose`. Static: `handle` is a class."""
    return {
        "command": "run-method",
        "hash-code": handle.hash_code,
        "static": static,
        "name": signature.name,
        **_arguments(signature, values),
    }


def get_field(handle: Handle, name: str) -> dict[str, Any]:
    """Read a public field."""
    return {"command": "get-field", "hash-code": handle.hash_code, "name": name}


def set_field(handle: Handle, name: str, value: Any) -> dict[str, Any]:
    """Set a public field: to a number, text or boolean, or to an object of the same port."""
    return {"command": "set-field", "hash-code": handle.hash_code, "name": name, "value": value}


def destructor(hash_code: str) -> dict[str, Any]:
    """Tell the server that it need not keep an object any more."""
    return {"command": "destructor", "hash-code": hash_code}


def _arguments(signature: Signature, values: Sequence[Any]) -> dict[str, Any]:
    """Values with the two types of each: the one that the server looks methods up by, and the one that it reads the value as."""
    if not values:
        return {"argument-types": [], "argument-deserialization-types": [], "arguments": []}
    pairs = [sent_types(java_type, value) for java_type, value in zip(signature.arguments, values, strict=True)]
    return {
        "argument-types": [lookup for lookup, _ in pairs],
        "argument-deserialization-types": [read for _, read in pairs],
        "arguments": list(values),
    }


def sent_types(java_type: str, value: Any) -> tuple[str, str]:
    """Two types to send with an argument: by which the server looks the method up, and as which it reads the value.

    It knows primitives, boxes, arrays of primitives, String and Object by name; what an object is, it sees itself. Read as a String, null
    becomes Java's null, whatever it is looked up as.
    """
    if isinstance(value, Handle):
        return java_type, "java.lang.Object"
    if value is None:
        return (java_type if java_type in _KNOWN else "java.lang.String"), "java.lang.String"
    if java_type in _KNOWN and java_type != "java.lang.Object":
        return java_type, java_type
    read = natural_type(value)
    return ("java.lang.Object" if java_type == "java.lang.Object" else read), read


def natural_type(value: Any) -> str:
    """The Java type of a Python value where nothing else says it: int is Integer, or Long if it is too large for that."""
    if isinstance(value, np.generic):
        return _NUMPY_BOXES.get(value.dtype.kind + str(value.dtype.itemsize), "java.lang.Object")
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, int):
        return "java.lang.Integer" if -(1 << 31) <= value < 1 << 31 else "java.lang.Long"
    if isinstance(value, float):
        return "java.lang.Double"
    if isinstance(value, str):
        return "java.lang.String"
    if isinstance(value, np.ndarray):
        return _NUMPY_ARRAYS.get(value.dtype.kind + str(value.dtype.itemsize), "java.lang.Object")
    if isinstance(value, bytes | bytearray | memoryview):
        return "byte[]"
    return "java.lang.Object"


_NUMBERS: Final = frozenset({bool, int, float})
_FLOATS: Final = frozenset({*FLOATS, *(BOXES[name] for name in FLOATS)})
_KNOWN: Final = frozenset({*BOXES, *BOXES.values(), *ARRAYS, "boolean[]", "java.lang.String", "java.lang.Object"})
_NUMPY_BOXES: Final = {
    "b1": "java.lang.Boolean",
    "i1": "java.lang.Byte",
    "i2": "java.lang.Short",
    "i4": "java.lang.Integer",
    "i8": "java.lang.Long",
    "u1": "java.lang.Short",
    "u2": "java.lang.Integer",
    "u4": "java.lang.Long",
    "u8": "java.lang.Long",
    "f2": "java.lang.Float",
    "f4": "java.lang.Float",
    "f8": "java.lang.Double",
}
_NUMPY_ARRAYS: Final = {
    "i1": "byte[]",
    "u1": "byte[]",
    "i2": "short[]",
    "u2": "short[]",
    "i4": "int[]",
    "u4": "int[]",
    "i8": "long[]",
    "u8": "long[]",
    "f4": "float[]",
    "f8": "double[]",
}
