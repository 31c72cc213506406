"""Which overload of a method a call means, and whether the server can be asked for it plainly; decided once where that is safe."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from aiomm.bridge import overloads, wire
from aiomm.bridge.java_types import BOXES
from aiomm.bridge.questions import asks_core
from aiomm.errors import JavaValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiomm.bridge.members import Members
    from aiomm.bridge.wire import Signature

__all__ = ["Method", "opening"]

_IMAGES = frozenset({"getImage", "getLastImage", "popNextImage"})
_SCALARS = frozenset({*BOXES, *BOXES.values(), "java.lang.String"})
_AS_JSON: dict[type, Callable[[Any], str]] = {
    bool: {False: "false", True: "true"}.__getitem__,
    float: float.__repr__,
    int: int.__repr__,
    str: encode_basestring_ascii,
}


class Method:
    """One method of a class: its overloads.

    Attributes
    ----------
    java_class : str
        The class.
    signatures : tuple of Signature
        The overloads; all that the server lists, until `Members.public` is known.
    pixels : bool
        Whether arrays that it returns are pixels of the core, which are unsigned.
    reads : bool
        Whether it is a question to the core that changes nothing, with a number, a text or pixels as its answer.
    """

    __slots__ = ("_only", "_static", "java_class", "pixels", "reads", "signatures", "what")

    def __init__(self, members: Members, signatures: tuple[Signature, ...]) -> None:
        self.java_class = members.java_class
        self.what = f"{members.java_class}.{signatures[0].name}"
        of_core, name = "mmcorej.CMMCore" in members.interfaces, signatures[0].name
        self.pixels = of_core and name in _IMAGES
        self.reads = of_core and asks_core(name) and (self.pixels or all(one.returns in _SCALARS for one in signatures))
        self._static = members.is_class
        self._set(signatures)
        self.narrow(members)

    def narrow(self, members: Members) -> None:
        """Leave out the overloads that are not public, as far as that is known by now."""
        kept = tuple(one for one in self.signatures if members.is_public(one) is not False)
        if len(kept) < len(self.signatures):
            self._set(kept)

    def _set(self, signatures: tuple[Signature, ...]) -> None:
        self.signatures = signatures
        # Of one overload with that many scalars there is no doubt, here or in the server: its request is written but for the values.
        self._only: dict[int, tuple[Signature, bytes]] = {}
        spread = any(one.arguments and one.arguments[-1].endswith("[]") for one in signatures)
        for one in signatures:
            count = len(one.arguments)
            alone = sum(len(other.arguments) == count for other in signatures) == 1
            if count not in self._only and (not count or (alone and not spread and _SCALARS.issuperset(one.arguments))):
                self._only[count] = one, self._tail(one)

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
                return only[0], list(map(overloads.convert, args, only[0].arguments))
            except JavaValueError:
                pass  # what follows says it better
        return overloads.choose(self.signatures, args, what=self.what)

    def written(self, head: bytes, args: tuple[Any, ...]) -> tuple[Signature, Sequence[Any], list[bytes]] | None:
        """Choose, and write the request of a call with nothing but numbers and plain text; None if it is another.

        `wire` would write the same.

        Parameters
        ----------
        head : bytes
            From `opening`, for the object.
        args : tuple
            The arguments.
        """
        only = self._only.get(len(args))
        if only is None:
            return None
        signature, tail = only
        if not args:
            return signature, (), [head + tail + b"]}"]
        try:
            values = list(map(overloads.convert, args, signature.arguments))
            texts = [_AS_JSON[type(value)](value) for value in values]
        except (JavaValueError, KeyError):
            return None
        written = ",".join(texts)
        if "\\u" in written:  # text that is not ASCII, or looks so here: `wire` takes a closer look at it
            return None
        return signature, values, [head + tail + written.encode() + b"]}"]

    def plain(self, signature: Signature, values: Sequence[Any]) -> bool:
        """Whether one message does it: nothing has to be made before, and the server surely takes this overload."""
        only = self._only.get(len(values))
        if only is not None and only[0] is signature:
            return True
        return overloads.sure(self.signatures, signature, values) and wire.beside_binary(list(values)) is None

    def _tail(self, signature: Signature) -> bytes:
        """Give what stands between `opening` and the values."""
        types = json.dumps(signature.arguments)
        text = (
            f',"static":{json.dumps(self._static)},"name":{json.dumps(signature.name)},"argument-types":{types},'
            f'"argument-deserialization-types":{types},"arguments":['
        )
        return text.encode()


def opening(hash_code: str) -> bytes:
    """Give how the requests for calls of one object begin."""
    return b'{"command":"run-method","hash-code":' + json.dumps(hash_code).encode()
