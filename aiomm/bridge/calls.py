"""Which overload of a method a call means, decided once where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.bridge import overloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomm.bridge.members import Members
    from aiomm.bridge.wire import Signature

__all__ = ["Plan"]

_IMAGES = frozenset({"getImage", "getLastImage", "popNextImage"})


class Plan:
    """One method of a class: its overloads.

    Attributes
    ----------
    pixels : bool
        Whether arrays that it returns are pixels of the core, which are unsigned.
    """

    __slots__ = ("_none", "java_class", "pixels", "signatures")

    def __init__(self, members: Members, signatures: tuple[Signature, ...]) -> None:
        self.java_class = members.java_class
        self.signatures = signatures
        self.pixels = signatures[0].name in _IMAGES and "mmcorej.CMMCore" in members.interfaces
        none = [one for one in signatures if not one.arguments]
        self._none = none[0] if len(none) == 1 else None

    def choose(self, args: tuple[Any, ...]) -> tuple[Signature, Sequence[Any]]:
        """Give the overload and the values to send.

        Raises
        ------
        OverloadError
            None takes these arguments.
        """
        if not args and self._none is not None:
            return self._none, ()
        return overloads.choose(self.signatures, args, what=f"{self.java_class}.{self.signatures[0].name}")

    @staticmethod
    def needs(values: Sequence[Any]) -> bool:
        """Whether something has to be made in Java before."""
        return any(isinstance(value, overloads.Needs) for value in values)
