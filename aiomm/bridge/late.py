"""Replies that come when nobody waits for them any more: which are known, and what is sent to release what they bring."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from aiomm.bridge.request import Call

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from aiomm.bridge.request import Reply

__all__ = ["Late"]

_REMEMBERED: Final = 32  # calls that are over, by which a reply sent twice or much too late is known


class Late:
    """The calls of one port that are over, and those whose reply may still come though the server is done with them."""

    __slots__ = ("_over", "_overdue")

    def __init__(self) -> None:
        self._over: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._overdue: OrderedDict[bytes, Call] = OrderedDict()

    def __len__(self) -> int:
        return len(self._overdue)

    def over(self, keys: Iterable[bytes]) -> None:
        """Replies with these keys are of no interest from now on."""
        self._over.extend(keys)

    def is_over(self, key: bytes) -> bool:
        """Whether a reply was sent twice, or is of no interest any more."""
        return key in self._over

    def put_off(self, call: Call) -> None:
        """The server is done with this one, and its reply has not come; perhaps it does later."""
        self._overdue[call.key] = call
        if len(self._overdue) > _REMEMBERED:
            self._overdue.popitem(last=False)

    def take(self, key: bytes) -> Call | None:
        """Give the call that was put off and has this key: its reply is there."""
        call = self._overdue.pop(key, None)
        if call is not None:
            self._over.append(key)
        return call

    def forget(self) -> None:
        """Nothing comes any more."""
        self._overdue.clear()

    def release(self, call: Call, frames: Reply, loop: asyncio.AbstractEventLoop) -> Call | None:
        """Give a late reply to who wants to release what is in it; gives what they want to send for that. `loop` hears what fails."""
        if call.late is None:
            return None
        try:
            more = call.late(frames)
        except Exception as error:
            loop.call_exception_handler({"message": f"the late reply to {call.what}", "exception": error})
            return None
        if more is None:
            return None
        release = Call(more, None, f"release after {call.what}")
        release.abandoned = True  # nobody waits for it: should its reply be lost, the next request asks whether the server is free
        return release
