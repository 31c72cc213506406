"""Do something at the k-th step of an event loop, for every k: the way to see every place where a cancellation can land."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that counts its steps while told to, and calls something after chosen ones."""

    def __init__(self) -> None:
        super().__init__()
        self.count: int | None = None
        self.plan: dict[int, Callable[[], object]] = {}
        self.done: list[Any] = []
        """What the calls returned."""

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.count is not None:
            self.count += 1
            act = self.plan.pop(self.count, None)
            if act is not None:
                self.done.append(act())

    def begin(self, plan: dict[int, Callable[[], object]]) -> None:
        """Count from now on."""
        self.count, self.plan, self.done = 0, plan, []

    def end(self) -> int:
        """Stop counting; give the number of steps."""
        count, self.count = self.count, None
        self.plan = {}
        return count or 0


def run_stepped(main: Callable[[SteppedLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run ``main(loop)`` on a loop that counts its steps."""
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        loop: Any = runner.get_loop()
        return runner.run(main(loop))
