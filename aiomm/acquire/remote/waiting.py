"""Frames whose images are to come, by what tells them apart: nearly always one each, of which no container is made."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting(Generic[T]):
    """What waits, by key; of several with one key, the first that came is the first that goes."""

    def __init__(self) -> None:
        self._first: dict[Hashable, T] = {}
        self._more: dict[Hashable, deque[T]] = {}

    def add(self, key: Hashable, one: T) -> None:
        """Let one wait, behind those with the same key."""
        if key in self._first:
            self._more.setdefault(key, deque()).append(one)
        else:
            self._first[key] = one

    def pop(self, key: Hashable) -> T | None:
        """Take the first with this key; None if there is none."""
        one = self._first.pop(key, None)
        rest: Any = self._more.get(key)
        if rest:
            self._first[key] = rest.popleft()
            if not rest:
                del self._more[key]
        return one

    def remove(self, key: Hashable, one: T) -> None:
        """Let one wait no more; it has to be there."""
        if self._first.get(key) is one:
            self.pop(key)
            return
        rest = self._more[key]
        rest.remove(one)
        if not rest:
            del self._more[key]

    def has(self, key: Hashable, one: T) -> bool:
        """Whether this one waits."""
        return self._first.get(key) is one or one in self._more.get(key, ())

    def __contains__(self, key: Hashable) -> bool:
        return key in self._first

    def __iter__(self) -> Iterator[T]:
        for key, one in self._first.items():
            yield one
            if key in self._more:
                yield from self._more[key]
