"""Text that the server could not send: noticed by its ``?``, asked for again where that changes nothing, else told of.

The server writes its replies in Latin-1, with ``?`` for each other character. Arrays of numbers it sends as they are. So a text with a
``?`` is asked for once more, as the numbers of its characters: Java's method handles call the same method and make them of its result, in
Java. What comes then is the text if it is the one that arrived but for what was lost.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from aiomm.bridge import reflection, wire
from aiomm.bridge.frames import shown
from aiomm.bridge.handle import Handle
from aiomm.bridge.questions import asks
from aiomm.bridge.reflection import array_of, class_of, handle_of, run
from aiomm.bridge.wire import Signature
from aiomm.errors import JavaException, JavaValueError, LostTextWarning, OverloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiomm.bridge.line import Line
    from aiomm.bridge.reflection import Plan

__all__ = ["only_reads", "warn_of_loss", "whole_field", "whole_result"]

_OBJECT: Final = "java.lang.Object"
_STRING: Final = "java.lang.String"
_HANDLE: Final = "java.lang.invoke.MethodHandle"
_TYPE: Final = "java.lang.invoke.MethodType"
_CLASS: Final = "java.lang.Class"
_FIELD: Final = "java.lang.reflect.Field"
_METHOD: Final = "java.lang.reflect.Method"
_STATIC: Final = 8  # java.lang.reflect.Modifier
_ELSEWHERE: Final = ("ij.", "java.nio.", "java.awt.", "javax.swing.")
"""Packages whose ``get…`` may ask the user, or move a position."""
_PLAIN_QUESTIONS: Final = frozenset({"name", "toString"})
_KEPT_AT_MOST: Final = 64  # readers at a port


def only_reads(target: Handle, name: str, count: int) -> bool:
    """Whether a method of that name, with so many arguments, may be called once more without harm, as far as its name says."""
    if _STRING in target.java_interfaces:  # no text ever changes
        return True
    if name in ("get", "opt"):
        return count > 0  # of a list, a map, an array; without arguments it may be a Supplier's
    if name in _PLAIN_QUESTIONS:
        return True
    return asks(name) and not any(kind.startswith(_ELSEWHERE) for kind in target.java_interfaces)


class _Question(NamedTuple):
    """What is asked once more.

    Attributes
    ----------
    key
        Which method or field it is; None if that cannot be said.
    find
        Makes the plan that gives its `_Reader`.
    target
        The object; for what is static, anything.
    values, types
        The converted arguments, and what they are declared to be.
    """

    key: object
    find: Callable[[_Kit], Plan]
    target: Handle
    values: Sequence[Any] = ()
    types: Sequence[str] = ()


async def whole_result(line: Line, target: Handle, static: bool, signature: Signature, values: Sequence[Any], arrived: Any) -> Any:
    """Give what a method gave, whole if it can be had, or else as it arrived, with a warning.

    Parameters
    ----------
    line : Line
        Where the object lives.
    target, static, signature, values
        What was called, and the converted arguments.
    arrived : str or DoubtfulJson
        A text, or a JSON object, with ``?`` in it.

    Returns
    -------
    str or dict
    """
    java_class = target.java_interfaces[-1] if static else target.java_class
    question = None
    if only_reads(target, signature.name, len(values)):
        if java_class == _FIELD and signature.name == "get":  # Java lets nobody have a handle of this one, but of the field itself
            question = _Question(None, partial(_getter, field=target), values[0])
        else:
            find = partial(_method_reader, target=target, static=static, signature=signature)
            question = _Question((java_class, static, signature), find, target, values, signature.arguments)
    return await _whole(line, target, question, arrived, f"{java_class}.{signature.name}")


async def whole_field(line: Line, target: Handle, name: str, arrived: Any) -> Any:
    """Give what a field of an object has; see `whole_result`."""
    question = _Question((target.java_class, name), partial(_field_reader, target=target, name=name), target)
    return await _whole(line, target, question, arrived, f"{target.java_class}.{name}")


async def _whole(line: Line, owner: Handle, question: _Question | None, arrived: Any, what: str) -> Any:
    doubtful = isinstance(arrived, wire.DoubtfulJson)
    heard: str = arrived.text if doubtful else arrived
    if question is not None and owner.hash_code in line.live:  # else it was released meanwhile, and the port may end with it
        try:
            text = _text(await _asked(line, question, what.rpartition(".")[2]))
        except (JavaException, JavaValueError, OverloadError):
            text = None  # it threw this time, or Java keeps it to itself
        if text is not None and _sounds_like(text, heard):
            return wire.read_json(text) if doubtful else text
    warn_of_loss(what, heard, "it is not known how to ask again without harm")
    return dict(arrived) if doubtful else arrived


class _Kept:
    """What a port keeps in Java, so that the next text costs less."""

    def __init__(self) -> None:
        self.kit: _Kit | None = None
        self.readers: dict[object, _Reader] = {}


_Made = TypeVar("_Made", "_Kit", "_Reader")
_kept: WeakKeyDictionary[Line, _Kept] = WeakKeyDictionary()


async def _asked(line: Line, question: _Question, what: str) -> Any:
    follow = partial(line.follow, timeout=line.session.call_timeout, what=what)
    kept = _kept.get(line)
    if kept is None or (kept.kit is not None and not line.kept):  # or nothing else lived here for a while
        kept = _kept[line] = _Kept()
    kit = kept.kit
    if kit is None:
        kit = await follow(_kit())
        if kept.kit is None:
            kept.kit = _keep(line, kit)
        else:  # another task was faster
            _drop(line, kit)
            kit = kept.kit
    reader = kept.readers.get(question.key)
    if reader is None:
        if question.key is None or len(kept.readers) >= _KEPT_AT_MOST:
            return await follow(_at_once(question, kit))
        reader = await follow(question.find(kit))
        if question.key in kept.readers:
            _drop(line, reader)
            reader = kept.readers[question.key]
        else:
            kept.readers[question.key] = _keep(line, reader)
    return await follow(_units(kit, reader, question))


def _keep(line: Line, made: _Made) -> _Made:
    line.kept.update(one.hash_code for one in made if isinstance(one, Handle))
    return made


def _drop(line: Line, made: _Kit | _Reader) -> None:
    for one in made:
        if isinstance(one, Handle):
            line.drop(one.hash_code)


def _text(units: Any) -> str | None:
    if not isinstance(units, np.ndarray):
        return None
    return units.astype("<u2").tobytes().decode("utf-16-le", "surrogatepass")


def _sounds_like(text: str, heard: str) -> bool:
    """Whether a text is what arrived, but for characters that the server has no others for."""
    if len(text) != len(heard):
        return False
    return text == heard or all(one == other or (other == "?" and one > "\xff") for one, other in zip(text, heard, strict=True))


def warn_of_loss(what: str, text: str, why: str) -> None:
    """Warn of a text that may have lost characters: ``what`` gave it, ``why`` it is not asked for again."""
    depth, frame = 2, sys._getframe(1)  # noqa: SLF001
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("aiomm."):
        depth, frame = depth + 1, frame.f_back
    lost = "a '?' there may stand for a character beyond Latin-1, which Micro-Manager's server cannot send"
    warnings.warn(LostTextWarning(f"{what} gave {shown(text)}: {lost}, and {why}", text=text), stacklevel=depth)


# --- plans -------------------------------------------------------------------------------------------------------------


class _Kit(NamedTuple):
    """What reads a text as numbers, in Java.

    Attributes
    ----------
    handles, types, ints
        The classes ``MethodHandles``, ``MethodType``, ``int[]``.
    lookup
        Makes handles of methods and fields.
    units
        Makes an ``int[]`` of the text of anything.
    caller
        Calls a handle, with an array of its arguments.
    kind, arrays
        The class ``Object``, and what makes arrays.
    """

    handles: Handle
    types: Handle
    ints: Handle
    lookup: Handle
    units: Handle
    caller: Handle
    kind: Handle
    arrays: Handle


class _Reader(NamedTuple):
    """A handle that gives the text of one method or field as numbers; `alone` if it takes no object."""

    handle: Handle
    alone: bool


def _kit() -> Plan:
    handles = handle_of((yield wire.get_class("java.lang.invoke.MethodHandles")))
    types = handle_of((yield wire.get_class(_TYPE)))
    ints = yield from class_of("int[]")
    lookup = handle_of((yield from run(handles, "publicLookup", (), [], static=True)))
    string = yield from class_of(_STRING)
    stream = yield from class_of("java.util.stream.IntStream")
    kind, arrays = yield from reflection.array_classes(_OBJECT)
    steps: list[Handle] = []
    for finder, holder, name, returned, given in (
        ("findStatic", string, "valueOf", string, kind),
        ("findVirtual", string, "chars", stream, None),
        ("findVirtual", stream, "toArray", ints, None),
    ):
        shape = yield from _shape(types, returned, given)
        steps.append(handle_of((yield from run(lookup, finder, (_CLASS, _STRING, _TYPE), [holder, name, shape]))))
    units = yield from _then(handles, (yield from _then(handles, steps[0], steps[1])), steps[2])
    # By reflection: new Javas keep the classes of handles to themselves.
    invoke = Signature("invokeWithArguments", ("java.lang.Object[]",))
    caller = yield from reflection.member((yield from class_of(_HANDLE)), "getMethods", invoke)
    return _Kit(handles, types, ints, lookup, units, caller, kind, arrays)


def _shape(types: Handle, returned: Handle, given: Handle | None = None) -> Plan:
    values = [returned] if given is None else [returned, given]
    return handle_of((yield from run(types, "methodType", (_CLASS,) * len(values), values, static=True)))


def _then(handles: Handle, first: Handle, second: Handle) -> Plan:
    return handle_of((yield from run(handles, "filterReturnValue", (_HANDLE, _HANDLE), [first, second], static=True)))


def _method_reader(kit: _Kit, target: Handle, static: bool, signature: Signature) -> Plan:
    refused: JavaException | None = None
    for holder in reflection.holders(target, static):
        kind = target if static else (yield from class_of(holder))
        method = yield from reflection.member(kind, "getMethods", signature)
        if method is None:
            continue
        try:
            yield from run(method, "setAccessible", ("boolean",), [True])
            handle = handle_of((yield from run(kit.lookup, "unreflect", (_METHOD,), [method])))
        except JavaException as error:
            refused = error
        else:
            return (yield from _reader(kit, handle, method, "getReturnType"))
    raise refused or OverloadError(f"{target.java_class} has no public method {signature}", candidates=[str(signature)])


def _field_reader(kit: _Kit, target: Handle, name: str) -> Plan:
    kind = handle_of((yield from run(target, "getClass", (), [])))
    return (yield from _getter(kit, handle_of((yield from run(kind, "getField", (_STRING,), [name])))))


def _getter(kit: _Kit, field: Handle) -> Plan:
    handle = handle_of((yield from run(kit.lookup, "unreflectGetter", (_FIELD,), [field])))
    return (yield from _reader(kit, handle, field, "getType"))


def _reader(kit: _Kit, handle: Handle, member: Handle, its_type: str) -> Plan:
    alone = bool((yield from run(member, "getModifiers", (), [])) & _STATIC)
    shape = yield from _shape(kit.types, kit.ints, handle_of((yield from run(member, its_type, (), []))))
    units = handle_of((yield from run(kit.handles, "explicitCastArguments", (_HANDLE, _TYPE), [kit.units, shape], static=True)))
    return _Reader((yield from _then(kit.handles, handle, units)), alone)


def _units(kit: _Kit, reader: _Reader, question: _Question) -> Plan:
    """Give the UTF-16 units of a text."""
    values = yield from reflection.all_made(question.values)
    types = question.types
    if not reader.alone:
        values, types = [question.target, *values], [_OBJECT, *types]
    classes = kit.kind, kit.arrays
    arguments = yield from array_of(_OBJECT, [(yield from array_of(_OBJECT, values, types, classes))], None, classes)
    return (yield from run(kit.caller, "invoke", (_OBJECT, "java.lang.Object[]"), [reader.handle, arguments]))


def _at_once(question: _Question, kit: _Kit) -> Plan:
    return (yield from _units(kit, (yield from question.find(kit)), question))
