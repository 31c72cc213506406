"""How long each request to a port may take: from when its time counts, and what it hears when that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiomm.errors import BridgeTimeoutError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Container, Iterable

    from aiomm.bridge.request import Call

__all__ = ["Clocks"]


class Clocks:
    """The timers of one port's requests.

    Parameters
    ----------
    loop
        Runs them.
    host, number
        Where the server listens, for the text of errors.
    waiting
        Requests that were not sent yet, in their order.
    abandon
        Called with a request that has run out of time, once it has its error.
    look
        Takes the replies that are there.
    """

    __slots__ = ("_abandon", "_host", "_look", "_loop", "_number", "_waiting")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        number: int,
        waiting: Container[Call],
        abandon: Callable[[Call], None],
        look: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._host = host
        self._number = number
        self._waiting = waiting
        self._abandon = abandon
        self._look = look

    def start(self, call: Call, seconds: float) -> None:
        """Give a request so long from now."""
        call.timer = self._loop.call_later(seconds, self._out_of_time, call, seconds)

    def have_patience(self, call: Call) -> None:
        """Java is free for it, as far as we know: from now on it has this time, whatever it had before."""
        if call.patience is not None and not call.ticking:
            call.ticking = True
            if call.timer is not None:
                call.timer.cancel()
            self.start(call, call.patience)

    def go_on(self, sent: Iterable[Call | None], waiting: Iterable[Call]) -> None:
        """Let the time of requests with patience begin, up to the first one that may take long."""
        if any(call is not None and call.long for call in sent):
            return
        for call in waiting:
            if call.long:
                return
            self.have_patience(call)

    def _out_of_time(self, call: Call, timeout: float) -> None:
        timer = call.timer
        self._look()  # a loop that was held up for so long has not looked yet: a reply that is there came in time
        if call.timer is not timer or call.future is None or call.future.done():
            return  # its reply is there, or Java is free for it only now
        if call in self._waiting:
            text = f"{call.what}: not sent within {timeout:g} s, as earlier calls on port {self._number} still run"
        else:
            text = f"{call.what}: no reply from {self._host}:{self._number} within {timeout:g} s; it may still run"
        call.fail(BridgeTimeoutError(text))
        self._abandon(call)
