"""Which overload of a method a call means, and whether the server can be asked for it plainly; decided once where that is safe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiomm.bridge import overloads, wire
from aiomm.bridge.java_types import BOXES
from aiomm.errors import JavaValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomm.bridge.members import Members
    from aiomm.bridge.wire import Signature

__all__ = ["Method", "opening"]

_IMAGES = frozenset({"getImage", "getLastImage", "popNextImage"})
_SCALARS = frozenset({*BOXES, *BOXES.values(), "java.lang.String"})
_NUMBERS = frozenset({bool, float, int})


class Method:
    """One method of a class: its overloads.

    Attributes
    ----------
    java_class : str
        The class.
    signatures : tuple of Signature
        The overloads.
    pixels : bool
        Whether arrays that it returns are pixels of the core, which are unsigned.
    """

    __slots__ = ("_only", "_static", "_tails", "java_class", "pixels", "signatures", "what")

    def __init__(self, members: Members, signatures: tuple[Signature, ...]) -> None:
        self.java_class = members.java_class
        self.signatures = signatures
        self.what = f"{members.java_class}.{signatures[0].name}"
        self.pixels = signatures[0].name in _IMAGES and "mmcorej.CMMCore" in members.interfaces
        self._static = members.is_class
        self._tails: dict[Signature, bytes] = {}
        # Of one overload with that many scalars there is no doubt, here or in the server.
        self._only: dict[int, Signature] = {}
        spread = any(one.arguments and one.arguments[-1].endswith("[]") for one in signatures)
        for one in signatures:
            count = len(one.arguments)
            alone = sum(len(other.arguments) == count for other in signatures) == 1
            if not count or (alone and not spread and _SCALARS.issuperset(one.arguments)):
                self._only.setdefault(count, one)

    def choose(self, args: tuple[Any, ...]) -> tuple[Signature, Sequence[Any]]:
        """Give the overload and the values to send.

        Raises
        ------
        OverloadError
            None takes these arguments.
        """
        only = self._only.get(len(args))
        if only is not None:
            try:
                return only, list(map(overloads.convert, args, only.arguments))
            except JavaValueError:
                pass  # what follows says it better
        return overloads.choose(self.signatures, args, what=self.what)

    def written(self, head: bytes, signature: Signature, values: Sequence[Any]) -> list[bytes] | None:
        """Write the request of a call with nothing but numbers and plain text, or None if it is another.

        `wire` would write the same; here all of it but the values is written once.

        Parameters
        ----------
        head : bytes
            From `opening`, for the object.
        signature, values
            From `choose`.
        """
        if self._only.get(len(values)) is not signature:
            return None
        for value in values:
            if type(value) not in _NUMBERS and not (type(value) is str and value.isascii()):
                return None
        tail = self._tails.get(signature)
        if tail is None:
            types = json.dumps(signature.arguments)
            tail = self._tails[signature] = (
                f',"static":{json.dumps(self._static)},"name":{json.dumps(signature.name)},"argument-types":{types},'
                f'"argument-deserialization-types":{types},"arguments":'
            ).encode()
        return [head + tail + (json.dumps(values).encode() + b"}" if values else b"[]}")]

    def plain(self, signature: Signature, values: Sequence[Any]) -> bool:
        """Whether one message does it: nothing has to be made before, and the server surely takes this overload."""
        if self._only.get(len(values)) is signature:
            return True
        return overloads.sure(self.signatures, signature, values) and wire.beside_binary(list(values)) is None


def opening(hash_code: str) -> bytes:
    """Give how the requests for calls of one object begin."""
    return b'{"command":"run-method","hash-code":' + json.dumps(hash_code).encode()
