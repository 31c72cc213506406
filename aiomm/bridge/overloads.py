"""Which Java method do these Python arguments call, and what is sent for each of them.

As in Java: a method that takes the arguments as they are goes before one that needs boxing, that before one that needs a Python value made
into something else, that before variable arguments, that before one that narrows a number; among equals the most specific one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.bridge.arguments import Needs, convert, rank, rank_item
from aiomm.bridge.handle import Handle
from aiomm.bridge.java_types import array_element, assignable, canonical
from aiomm.bridge.wire import Signature, beside_binary, sent_types
from aiomm.errors import JavaValueError, OverloadError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Needs", "choose", "convert", "listed", "some_take", "sure"]

_VARARGS = 3  # the phase of variable arguments, between conversions and narrowing


@dataclass(slots=True)
class _Match:
    signature: Signature
    ranks: tuple[tuple[int, int], ...]
    spread: bool  # the last arguments go into an array

    @property
    def phase(self) -> int:
        phases = [phase for phase, _ in self.ranks]
        if self.spread:
            phases.append(_VARARGS)
        return max(phases, default=0)


def choose(signatures: Sequence[Signature], args: Sequence[Any], *, what: str) -> tuple[Signature, list[Any]]:
    """Find the method that these arguments call, and convert them to what is sent.

    Parameters
    ----------
    signatures : sequence of Signature
        All methods of that name, those of the class before those of its supertypes; none if it has none that are public.
    args : sequence
        Python values.
    what : str
        What is called, for the error: ``"mmcorej.CMMCore.setXYPosition"``.

    Returns
    -------
    signature : Signature
        The method.
    values : list
        One for each of its arguments: JSON values, arrays of the right dtype, handles, and `Needs` for what must be made in Java first.

    Raises
    ------
    OverloadError
        No method takes these, or several take them equally well.
    JavaValueError
        The method is clear, but a value cannot be carried.
    """
    if not args:  # the common case
        for signature in signatures:
            if not signature.arguments:
                return signature, []
    try:
        matches = [match for signature in _unique(signatures) for match in _match(signature, args)]
    except RecursionError:
        raise JavaValueError(f"{what}: Java cannot be given data nested so deep, or that contain themselves") from None
    if not matches:
        raise _none_takes(signatures, args, what)
    phase = min(match.phase for match in matches)
    matches = [match for match in matches if match.phase == phase]
    best = [match for match in matches if not any(_better(other, match) for other in matches if other is not match)]
    if len(best) != 1:
        candidates = [str(match.signature) for match in best]
        raise OverloadError(
            f"{what}({_kinds(args)}) could be any of {_listed(candidates)}: pass values that tell them apart", candidates=candidates
        )
    chosen = best[0]
    values = list(args)
    types = chosen.signature.arguments
    if chosen.spread:
        fixed = len(types) - 1
        values = [*values[:fixed], values[fixed:]]
    try:
        return chosen.signature, [convert(value, java_type) for value, java_type in zip(values, types, strict=True)]
    except JavaValueError as error:
        raise JavaValueError(f"{what}: {error}") from None


def some_take(signatures: Sequence[Signature], args: Sequence[Any]) -> bool:
    """Whether any method takes these arguments, be it that several do equally well."""
    return any(_match(signature, args) for signature in signatures)


def listed(args: Any, whose: str) -> tuple[Any, ...]:
    """Give arguments that come as one list.

    Raises
    ------
    TypeError
        It is none: what is a text, a dict or no list at all was probably meant as the one argument.
    """
    if isinstance(args, str | bytes | Mapping | Set) or not isinstance(args, Iterable):
        raise TypeError(f"args is a list of {whose} arguments: args=[{args!r}]")
    return tuple(args)


def sure(signatures: Sequence[Signature], chosen: Signature, values: Sequence[Any]) -> bool:
    """Whether the server, sent these converted values in one message, calls the chosen method, if it calls any.

    It looks for methods of that name whose arguments could be assigned what is sent, and takes whichever comes last. Where it may take
    another one, or would not survive the message, call the chosen one by `reflection` instead.
    """
    if not values:
        return True
    if any(isinstance(value, Needs) for value in values) or beside_binary(values) is not None:
        return False
    sent: list[tuple[str, tuple[str, ...]]] = []
    for java_type, value in zip(chosen.arguments, values, strict=True):
        if isinstance(value, Handle):
            sent.append((value.java_class, value.java_interfaces))
        elif isinstance(value, dict | list):
            if canonical(java_type) != "java.lang.Object":
                return False
            sent.append((java_type, ()))
        else:
            sent.append((sent_types(java_type, value)[0], ()))
    mine = [canonical(name) for name in chosen.arguments]
    if not _takes(chosen, sent):
        return False
    return all(
        [canonical(name) for name in other.arguments] == mine or not _takes(other, sent)
        for other in signatures
        if len(other.arguments) == len(values)
    )


def _takes(signature: Signature, sent: Sequence[tuple[str, tuple[str, ...]]]) -> bool:
    return all(assignable(target, name, more) for target, (name, more) in zip(signature.arguments, sent, strict=True))


def _unique(signatures: Sequence[Signature]) -> list[Signature]:
    """One of each list of arguments: a method stands there again for each supertype that declares it, and for the compiler's bridges."""
    found: dict[tuple[str, ...], Signature] = {}
    for signature in signatures:
        key = tuple(map(canonical, signature.arguments))
        first = found.setdefault(key, signature)
        if first.returns == "java.lang.Object" and signature.returns not in {None, "java.lang.Object"}:
            found[key] = signature
    return list(found.values())


def _match(signature: Signature, args: Sequence[Any]) -> list[_Match]:
    types = signature.arguments
    if len(types) == len(args):
        ranks = tuple(rank(value, java_type) for value, java_type in zip(args, types, strict=True))
        if None not in ranks:
            return [_Match(signature, ranks, spread=False)]  # type: ignore[arg-type]
    element = array_element(canonical(types[-1])) if types else None
    if element is None or len(args) < len(types) - 1:
        return []
    fixed = len(types) - 1
    ranks = (
        *(rank(value, java_type) for value, java_type in zip(args, types[:-1], strict=False)),
        *(rank_item(value, element) for value in args[fixed:]),
    )
    return [] if None in ranks else [_Match(signature, ranks, spread=True)]  # type: ignore[arg-type]


def _better(one: _Match, other: _Match) -> bool:
    if one.ranks != other.ranks and len(one.ranks) == len(other.ranks):
        return all(mine <= theirs for mine, theirs in zip(one.ranks, other.ranks, strict=True))
    mine, theirs = one.signature.arguments, other.signature.arguments
    if len(mine) != len(theirs):
        return len(mine) > len(theirs)  # fewer arguments in the array
    pairs = list(zip(mine, theirs, strict=True))
    return all(assignable(target, source) for source, target in pairs) and not all(assignable(source, target) for source, target in pairs)


def _none_takes(signatures: Sequence[Signature], args: Sequence[Any], what: str) -> OverloadError:
    if not signatures:
        return OverloadError(f"{what} is no public method: the server lists others too, but they cannot be called")
    candidates = list(dict.fromkeys(map(str, signatures)))
    same = [signature for signature in _unique(signatures) if len(signature.arguments) == len(args)]
    reason = next((f" (argument {number}: await it first)" for number, value in enumerate(args, 1) if inspect.isawaitable(value)), "")
    if len(same) == 1 and not reason:
        for number, (value, java_type) in enumerate(zip(args, same[0].arguments, strict=True), 1):
            if rank(value, java_type) is None:
                try:
                    convert(value, java_type)
                    text = f"{_kind(value)} is no {java_type}"
                except (JavaValueError, OverloadError) as error:
                    text = str(error)
                reason = f" (argument {number}: {text})"
                break
    elif not same and not reason:
        reason = f" ({len(args)} arguments)"
    return OverloadError(f"{what} does not take ({_kinds(args)}){reason}; there is {_listed(candidates)}", candidates=candidates)


def _listed(candidates: Sequence[str]) -> str:
    shown = ", ".join(candidates[:8])
    return shown if len(candidates) <= 8 else f"{shown} and {len(candidates) - 8} more"


def _kinds(args: Sequence[Any]) -> str:
    return ", ".join(map(_kind, args))


def _kind(value: Any) -> str:
    if isinstance(value, Handle):
        return value.java_class
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
