"""What stands for something outside of this object is not copied: a copy would end, or outlive, what the original holds."""

from __future__ import annotations

from typing import ClassVar, NoReturn

__all__ = ["KeptHere"]


class KeptHere:
    """An object that ``copy`` and ``pickle`` refuse, with what to do instead."""

    __slots__ = ()

    _instead: ClassVar[str]

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled: {self._instead}")
