"""Which overload of a method a call means, and whether the server can be asked for it plainly; decided once where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.bridge import overloads, wire
from aiomm.bridge.java_types import BOXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomm.bridge.members import Members
    from aiomm.bridge.wire import Signature

__all__ = ["Method"]

_IMAGES = frozenset({"getImage", "getLastImage", "popNextImage"})
_SCALARS = frozenset({*BOXES, *BOXES.values(), "java.lang.String"})


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

    __slots__ = ("_none", "_plain", "java_class", "pixels", "signatures", "what")

    def __init__(self, members: Members, signatures: tuple[Signature, ...]) -> None:
        self.java_class = members.java_class
        self.signatures = signatures
        self.what = f"{members.java_class}.{signatures[0].name}"
        self.pixels = signatures[0].name in _IMAGES and "mmcorej.CMMCore" in members.interfaces
        none = [one for one in signatures if not one.arguments]
        self._none = none[0] if len(none) == 1 else None
        # With one overload of that many scalars, the server cannot take another.
        self._plain = {
            one
            for one in signatures
            if _SCALARS.issuperset(one.arguments) and sum(len(other.arguments) == len(one.arguments) for other in signatures) == 1
        }

    def choose(self, args: tuple[Any, ...]) -> tuple[Signature, Sequence[Any]]:
        """Give the overload and the values to send.

        Raises
        ------
        OverloadError
            None takes these arguments.
        """
        if not args and self._none is not None:
            return self._none, ()
        return overloads.choose(self.signatures, args, what=self.what)

    def plain(self, signature: Signature, values: Sequence[Any]) -> bool:
        """Whether one message does it: nothing has to be made before, and the server surely takes this overload."""
        if signature in self._plain or not values:
            return True
        return overloads.sure(self.signatures, signature, values) and wire.beside_binary(list(values)) is None
