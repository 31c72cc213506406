"""Progress bars for acquired and saved images, on a terminal; nothing where nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import Console

    from aiomm.acquire import Acquisition

REFRESH = 0.1  # s; a screen's pace, not the engine's


class RateColumn(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        """Show the rate of the last seconds."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s" if speed < 100 else f"{speed:.0f}/s", style="cyan")


@contextlib.asynccontextmanager
async def progress_bars(acquisition: Acquisition, total: int, console: Console) -> AsyncIterator[None]:
    """Show ``acquisition.status`` while the body runs, if ``console`` is a terminal."""
    if not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        acquired = progress.add_task("acquired", total=total, note="")
        saved = progress.add_task("saved", total=total, note="")

        def refresh() -> None:
            status = acquisition.status
            progress.update(acquired, completed=status.images_acquired, note=status.waiting_for or "")
            progress.update(saved, completed=status.images_saved)

        async def follow() -> None:
            while True:
                refresh()
                await asyncio.sleep(REFRESH)

        follower = asyncio.create_task(follow())
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.wait([follower])
            refresh()
            progress.update(acquired, note="")
    if not follower.cancelled():
        follower.result()
