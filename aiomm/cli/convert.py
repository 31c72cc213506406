"""``aiomm convert``: a dataset in another format, with a progress bar on a terminal."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aiomm.cli.exits import Interrupted, UsageError
from aiomm.cli.progress import REFRESH, RateColumn
from aiomm.dataset import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

    from aiomm.dataset.convert import Conversion, Target


def convert_dataset(source: Path, target: Path, to: Target | None, verify: bool, console: Console) -> str:
    """Convert; give the text to print."""
    try:
        with interruptible(), progress_bar(console) as told:
            done = convert(source, target, to, verify=verify, progress=told)
    except KeyboardInterrupt as error:
        raise Interrupted(f"{target} was not made; {source} is as it was", terminated=isinstance(error, Terminated)) from None
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from error
    return said(done)


def said(done: Conversion) -> str:
    """Say what was made."""
    images = "1 image" if done.images == 1 else f"{done.images} images"
    return f"{done.path}: {images} as {done.format}{', verified' if done.verified else ''}"


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does: nothing half done stays."""

    def stop(*_: Any) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


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
