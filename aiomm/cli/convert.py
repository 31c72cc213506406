"""``aiomm convert``: a dataset in another format, with a progress bar on a terminal."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aiomm.cli.exits import Interrupted, UsageError
from aiomm.cli.progress import REFRESH, RateColumn
from aiomm.dataset.apart import Stop, Stopped
from aiomm.dataset.convert import convert_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

    from aiomm.dataset.convert import Conversion, Target


def convert_dataset(source: Path, target: Path, to: Target | None, verify: bool, console: Console, say: Callable[[str], None]) -> None:
    """Convert, and say what was made. A signal that comes when it is whole changes nothing of that."""
    stop = Stop()
    with interruptible(stop) as came:
        try:
            with progress_bar(console) as told:
                done = convert_until(stop, source, target, to, verify, told)
        except Stopped:
            raise Interrupted(f"{target} was not made; {source} is as it was", terminated=came[0] == signal.SIGTERM) from None
        except (ValueError, ImportError) as error:
            raise UsageError(str(error)) from error
        say(said(done))


def said(done: Conversion) -> str:
    """Say what was made."""
    images = "1 image" if done.images == 1 else f"{done.images} images"
    return f"{done.path}: {images} as {done.format}{', verified' if done.verified else ''}"


@contextlib.contextmanager
def interruptible(stop: Stop) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM ask to stop, wherever they come; the body gets those that came. Those that are ignored stay so."""
    came: list[int] = []

    def ask(number: int, _: object) -> None:
        came.append(number)
        stop.set()

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield came
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextlib.contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, int, int], None] | None]:
    """Show how far it is, if ``console`` is a terminal."""
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}
        shown = 0.0

        def told(stage: str, done: int, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            if done == total or now - shown > REFRESH:
                bars.update(tasks[stage], completed=done)
                shown = now

        yield told
