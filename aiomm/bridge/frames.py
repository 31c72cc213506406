"""Messages to frames and back, without I/O and without knowing what they mean.

A message is one JSON object; each block of binary data in it is replaced by a short text, its placeholder, and follows in two frames, its
number and the data. Facts about the server that shape this module stand beside the code that minds them.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast

import numpy as np

from aiomm.bridge.handle import Handle
from aiomm.bridge.java_types import ARRAYS
from aiomm.errors import JavaValueError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "MAX_DEPTH",
    "SENT_TYPES",
    "beside_binary",
    "decode",
    "encode",
    "insert",
    "read_apart",
    "read_json",
    "read_object",
    "read_primitive",
    "shown",
    "view",
]

MAX_DEPTH: Final = 200
"""How deep a message may be nested: the server's parser recurses, and dies for all its clients where the stack ends."""

SENT_TYPES: Final[dict[str, np.dtype[Any]]] = {f"{name[:-2]}-array": dtype for name, dtype in ARRAYS.items()}
"""What the server calls the arrays that it sends."""

_ID: Final = struct.Struct("=i")
_JAVA_PLACEHOLDER: Final = re.compile(r"\[B@([0-9a-f]{1,8})")
_OUR_PLACEHOLDER: Final = re.compile(r"@(-?[0-9]{1,10})_([0-9])")
_SUFFIX_TYPES: Final[dict[int, np.dtype[Any]]] = {0: np.dtype(np.uint8), 1: np.dtype(np.int8), 2: np.dtype(np.int16), 4: np.dtype(np.int32)}


class _Writer:
    """What the JSON encoder asks about values that JSON does not have."""

    __slots__ = ("frames", "order")

    def __init__(self, order: str) -> None:
        self.order = order
        self.frames: list[bytes | memoryview] = []

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Handle):
            return {"hash-code": value.hash_code}
        if isinstance(value, np.ndarray):
            data, suffix = _array_bytes(value, self.order)
        elif isinstance(value, bytes | bytearray | memoryview):
            data, suffix = (value if isinstance(value, bytes) else memoryview(value).cast("B")), 0
        elif isinstance(value, np.generic) and not isinstance(value, np.void):
            plain = value.item()
            if isinstance(plain, bool | int | float | str):
                return plain
            raise JavaValueError(f"Java cannot be given {value!r} ({value.dtype})")
        else:
            raise JavaValueError(f"Java cannot be given {shown(value)} ({type(value).__qualname__})")
        number = len(self.frames) // 2 + 1
        self.frames += (_ID.pack(number), data)
        return f"@{number}_{suffix}"


_PLAIN: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def encode(message: Mapping[str, Any], order: Literal["big", "native"] = "big") -> list[bytes | memoryview]:
    """Write a message as frames.

    Parameters
    ----------
    message : mapping
        JSON values, and anywhere in it numpy arrays and scalars, bytes-like objects, handles.
    order : {"big", "native"}
        Byte order of arrays: arguments of methods and constructors go big-endian, because the server reads them so; arrays in streams
        (images, SLM patterns) in the machine's own order, with items of 1, 2 or 4 bytes.

    Returns
    -------
    list of bytes or memoryview
        The JSON text, then two frames for each array. Memoryviews show the caller's own data where that needs no copy.

    Raises
    ------
    JavaValueError
        The message has something that JSON or the server cannot carry: NaN, infinity, half a surrogate pair, text with ``@`` beside
        binary data (the server's thread would end with it), an unknown type, nesting without end.
    """
    writer = _Writer(order)
    try:
        try:
            text = _PLAIN.encode(message)
        except TypeError:
            text = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=writer).encode(message)
    except JavaValueError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise JavaValueError(_why_not(message, error)) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(message) > MAX_DEPTH:
        raise JavaValueError(f"Java cannot be given data nested deeper than {MAX_DEPTH} levels")
    if "\\ud" in text:
        _check_surrogates(message)
    if not writer.frames:
        return [text.encode("ascii")]
    if text.count("@") > len(writer.frames) // 2:
        found = beside_binary(message)
        if found is not None:
            raise JavaValueError(f"the server cannot take the text {shown(found)}, which has an '@', in one message with binary data")
    return [text.encode("ascii"), *writer.frames]


def beside_binary(value: Any) -> str | None:
    """Find a text that the server would take for a placeholder of binary data in the same message, or None.

    The server looks for ``@`` in every text of a message that has binary data, and its thread ends at the first that is no placeholder. In
    a list it stops looking at what it looks for, so that after the last array of the arguments anything may follow.

    Parameters
    ----------
    value : mapping or sequence
        A message, or the arguments of a call.
    """
    try:
        everywhere = list(_leaves(value))
    except RecursionError as error:
        raise JavaValueError(_why_not(value, error)) from None
    arrays = sum(map(_is_binary, everywhere))
    if not arrays:
        return None
    arguments = value.get("arguments", ()) if isinstance(value, dict) else value
    suspects: Any = value
    if isinstance(arguments, list | tuple):
        positions = [index for index, item in enumerate(arguments) if _is_binary(item)]
        if len(positions) == arrays:
            before = arguments[: positions[-1]]
            suspects = {**value, "arguments": before} if isinstance(value, dict) else before
    return next((leaf for leaf in _leaves(suspects) if isinstance(leaf, str) and "@" in leaf), None)


def _is_binary(value: object) -> bool:
    return isinstance(value, np.ndarray | bytes | bytearray | memoryview)


def _leaves(value: Any) -> Iterator[Any]:
    """Everything in a message that is no container; names of members do not count, the server does not look at them."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        yield value
        return
    for item in value:
        yield from _leaves(item)


def _array_bytes(array: np.ndarray[Any, Any], order: str) -> tuple[memoryview | bytes, int]:
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise JavaValueError(f"Java has no arrays of {array.dtype}")
    if order == "native":
        if array.dtype.itemsize == 8:
            raise JavaValueError(f"the server takes no arrays of {array.dtype} here, only items of 1, 2 or 4 bytes")
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        suffix = array.dtype.itemsize
    else:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder(">"))
        suffix = 0
    if not array.size:
        return b"", suffix
    return memoryview(cast("Any", array.reshape(-1).view(np.uint8))), suffix


def _why_not(message: Any, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"Java cannot be given data nested deeper than {MAX_DEPTH} levels"
    if "Circular" in str(error):
        return "Java cannot be given data that contains itself"
    for leaf in _leaves(message):
        if isinstance(leaf, float | np.floating) and not np.isfinite(leaf):
            return f"Java cannot be given {leaf} as a single number: the protocol has none (in an array of numbers it has)"
    return f"Java cannot be given this: {error}"


def _depth(value: Any) -> int:
    """How deep a message is nested; it is known to end. Without recursion of its own."""
    deepest, todo = 0, [(value, 1)]
    while todo:
        item, depth = todo.pop()
        deepest = max(deepest, depth)
        if isinstance(item, dict):
            item = item.values()
        elif not isinstance(item, list | tuple):
            continue
        todo += [(each, depth + 1) for each in item if isinstance(each, dict | list | tuple)]
    return deepest


def _check_surrogates(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise JavaValueError(f"half a surrogate pair is no text: {shown(value)}") from None
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_surrogates(name)
            _check_surrogates(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_surrogates(item)


def shown(value: object) -> str:
    """A value in a message to a person: ASCII, and not long."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)
_PRIMITIVE: Final = b'{"type":"primitive","value":'


def read_json(text: str) -> Any:
    """Read one JSON value; as `json.loads`, in half its time for a short text, and without its NaN and infinity."""
    text = text.strip(" \t\n\r")
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError(f"something follows it: {shown(text[end:])}")
    return value


def decode(frames: Sequence[Any], where: str = "") -> dict[str, Any]:
    """Read a message, with numpy arrays in the place of its placeholders.

    Parameters
    ----------
    frames : sequence of bytes, memoryview or zmq.Frame
        All of them.
    where : str
        Under which name the only array is looked for first; the many texts of other members need not be looked at then.

    Returns
    -------
    dict
        Arrays have the dtype that the message declares (``short-array``: int16), uint8 where it declares none. They are writable: views of
        the frames where these are, else copies.

    Raises
    ------
    ProtocolError
        It is no such message: not JSON, a missing, superfluous or unknown block of binary data, a length that is no number of items.
    """
    if not frames:
        raise ProtocolError("a message without frames")
    return insert(read_object(frames[0]), frames, where)


def insert(message: dict[str, Any], frames: Sequence[Any], where: str = "") -> dict[str, Any]:
    """Put the numpy arrays of a message in their places; as `decode`, after its first frame was read."""
    if len(frames) > 1 and not (where and len(frames) == 3 and _insert_at(message.get(where), frames)):
        blocks = _blocks(frames)
        used: dict[int, Any] = {}
        _insert(message, blocks, used)
        if len(used) != len(blocks):
            raise ProtocolError(f"{len(blocks) - len(used)} blocks of binary data have no place in their message")
    return message


def read_object(frame: Any) -> dict[str, Any]:
    """Read the first frame of a message: its JSON object."""
    try:
        data = _plain(frame)
        message = read_json(data.decode("latin-1"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message that is no JSON: {error}") from None
    if type(message) is not dict:
        raise ProtocolError(f"a message that is no JSON object: {shown(message)}")
    if message.get("value") == 0 and b'"value":-0' in data and type(message["value"]) is int:
        message["value"] = -0.0  # only a double has that zero, and the server writes it without its point
    return message


def read_apart(frame: Any, name: str) -> tuple[dict[str, Any], str | None]:
    """Read as `read_object`, and give the text of one member too: what is to be written down as it came need not be written anew.

    Returns
    -------
    dict
        The message.
    str or None
        Valid JSON of the value of its member `name`, without its own NaN and infinity; None where that is not the first member.
    """
    text = _plain(frame).decode("latin-1")
    begin = f'{{"{name}":'
    if text.startswith(begin):
        try:
            value, end = _DECODER.raw_decode(text, len(begin))
            rest = read_json("{" + text[end + 1 :]) if text[end : end + 1] == "," else None
        except (ValueError, RecursionError):
            rest = None
        if type(rest) is dict and rest and name not in rest:
            rest[name] = value
            return rest, text[len(begin) : end]
    return read_object(frame), None


def _plain(frame: Any) -> bytes:
    try:
        data: bytes = frame.bytes  # zmq.Frame
    except AttributeError:
        data = bytes(frame)
    return data


def read_primitive(frame: Any) -> bool | int | float | None:
    """Read the commonest reply, a number, in a fraction of the time; None if it is another, or is not written as the server writes it."""
    data = _plain(frame)
    if not data.startswith(_PRIMITIVE):
        return None
    text = data.decode("latin-1")
    try:
        value, end = _DECODER.raw_decode(text, len(_PRIMITIVE))
    except (ValueError, RecursionError):
        return None
    if text[end:] == "}" and (type(value) is int or type(value) is float or type(value) is bool) and value:
        return value
    return None  # a zero as well, of which `read_object` knows two


def view(frame: Any) -> memoryview:
    """The bytes of a frame, without a copy."""
    return memoryview(getattr(frame, "buffer", frame)).cast("B")


def _blocks(frames: Sequence[Any]) -> dict[int, memoryview]:
    if len(frames) % 2 == 0:
        raise ProtocolError(f"a message of {len(frames)} frames: binary data without its number, or the reverse")
    blocks: dict[int, memoryview] = {}
    for index in range(1, len(frames), 2):
        number = view(frames[index])
        if len(number) != 4:
            raise ProtocolError(f"the number of a block of binary data has {len(number)} bytes instead of 4")
        (key,) = _ID.unpack(number)
        data = view(frames[index + 1])
        if key in blocks and blocks[key] != data:  # Java may send one array twice
            raise ProtocolError(f"two blocks of binary data have the number {key}")
        blocks[key] = data
    return blocks


def _insert_at(declaring: Any, frames: Sequence[Any]) -> bool:
    """Put the only array of a message in its place, if this member declares it; whether it does."""
    if type(declaring) is not dict or type(value := declaring.get("value")) is not str or type(kind := declaring.get("type")) is not str:
        return False
    found, dtype = _placeholder(value), SENT_TYPES.get(kind)
    data = None if found is None or dtype is None else _blocks(frames).get(found[0])
    if found is None or dtype is None or data is None:
        return False
    declaring["value"] = _array(data, dtype, {}, found[0])
    return True


def _insert(message: dict[str, Any], blocks: Mapping[int, memoryview], used: dict[int, Any]) -> None:
    """Put arrays in the places of their placeholders. Without recursion: the sender decides how deep a message is."""
    todo: list[Any] = [message]
    while todo:
        container = todo.pop()
        declared: np.dtype[Any] | None = None
        items: Any = enumerate(container)
        if type(container) is dict:
            items = list(container.items())
            declared = SENT_TYPES.get(container["type"]) if isinstance(container.get("type"), str) else None
        for key, value in items:
            if type(value) is str:
                if "@" not in value:
                    continue
                found = _placeholder(value)
                if found is not None and found[0] in blocks:
                    container[key] = _array(blocks[found[0]], declared if declared and key == "value" else found[1], used, found[0])
            elif type(value) is dict or type(value) is list:
                todo.append(value)
        if declared is not None and isinstance(container.get("value"), str) and _JAVA_PLACEHOLDER.fullmatch(container["value"]):
            raise ProtocolError(f"the binary data of a {container['type']} are missing")


def _placeholder(text: str) -> tuple[int, np.dtype[Any]] | None:
    if match := _JAVA_PLACEHOLDER.fullmatch(text):
        number = int(match[1], 16)
        return (number - (1 << 32) if number >> 31 else number), _SUFFIX_TYPES[0]
    if (match := _OUR_PLACEHOLDER.fullmatch(text)) and int(match[2]) in _SUFFIX_TYPES:
        return int(match[1]), _SUFFIX_TYPES[int(match[2])]
    return None


def _array(data: memoryview, dtype: np.dtype[Any], used: dict[int, Any], number: int) -> np.ndarray[Any, Any]:
    if len(data) % dtype.itemsize:
        raise ProtocolError(f"{len(data)} bytes are no number of {dtype}")
    array = used.get(number)
    if array is None:
        array = np.frombuffer(data, np.uint8)
        used[number] = array = array if array.flags.writeable else array.copy()
    return cast("np.ndarray[Any, Any]", array.view(dtype))
