"""``aiomm acquire``: from arguments to a dataset and a picture of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from aiomm.acquire import Acquisition, multi_d_acquisition_events
from aiomm.cli.exits import Interrupted, NoMicroscopeError, UsageError
from aiomm.cli.interrupts import on_interrupt
from aiomm.cli.progress import progress_bars
from aiomm.core import LocalCore
from aiomm.errors import AiommError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What ``aiomm acquire`` was asked to do; times in s, z in µm, exposures in ms."""

    directory: Path
    name: str
    config: str
    time_points: int
    interval: float
    z: tuple[float, float, float] | None
    channel_group: str | None
    channels: list[str]
    exposures: list[float]
    order: str
    format: Literal["ndtiff", "memory"]
    preview: bool


async def channel_group(core: LocalCore, job: Job) -> str:
    """Return the config group that the channels are in."""
    if job.channel_group is not None:
        return job.channel_group
    group: str = await core.get_channel_group()
    if not group:
        groups = ", ".join(await core.get_available_config_groups())
        raise UsageError(f"this configuration names no channel group; say -c GROUP:PRESET,PRESET, with one of the groups {groups}")
    return group


async def make_events(core: LocalCore, job: Job) -> Sequence[Any]:
    """Make the events of the job."""
    arguments: dict[str, Any] = {"num_time_points": job.time_points, "time_interval_s": job.interval, "order": job.order}
    if job.z is not None:
        arguments.update(zip(("z_start", "z_end", "z_step"), job.z, strict=True))
    if job.channels:
        arguments.update(channel_group=await channel_group(core, job), channels=job.channels)
        if job.exposures:
            arguments["channel_exposures_ms"] = job.exposures
    elif job.exposures:
        await core.set_exposure(job.exposures[0])
    try:
        return multi_d_acquisition_events(**arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextlib.asynccontextmanager
async def microscope(config: str) -> Any:
    """Load the configuration; a failure is the microscope's, not the acquisition's."""
    try:
        core = await LocalCore.open(config)
    except (AiommError, OSError, ImportError) as error:
        raise NoMicroscopeError(f"{error} (`aiomm doctor` looks for what is missing)") from error
    try:
        yield core
    finally:
        await core.aclose()


async def run(job: Job, console: Console) -> None:
    """Do the job. Ctrl-C cancels it: the acquisition stops the hardware, saves what it has, and says so."""
    working = asyncio.create_task(acquire(job, console))
    interrupted = False

    def stop() -> None:
        nonlocal interrupted
        interrupted = True
        console.print("stopping; Ctrl-C again abandons", highlight=False)
        working.cancel()

    with on_interrupt(stop):
        await asyncio.wait([working])
    if not working.cancelled():
        working.result()
    elif interrupted:
        raise Interrupted("before the first image")


async def acquire(job: Job, console: Console) -> None:
    """Acquire, then report: where the images are, and a picture of them."""
    started = time.monotonic()
    async with microscope(job.config) as core:
        events = await make_events(core, job)
        directory = None if job.format == "memory" else str(job.directory)
        acquisition = Acquisition(directory, job.name, core=core, show_display=False, format=job.format)
        total = len(events)
        try:
            async with acquisition, progress_bars(acquisition, total, console):
                await acquisition.acquire(events)
        except asyncio.CancelledError:
            raise Interrupted(kept(acquisition, job, total)) from None
        except Exception:
            if acquisition.status.images_saved:
                typer.echo(kept(acquisition, job, total), err=True)
            raise
        saved = acquisition.status.images_saved
        elapsed = time.monotonic() - started
        typer.echo(f"acquired {saved} images in {elapsed:.1f} s")
        if acquisition.path is not None:
            typer.echo(f"dataset: {acquisition.path}")
        if job.preview:
            target = acquisition.path or job.directory / job.name
            await preview(acquisition.get_dataset(), Path(f"{target}.png"))


def kept(acquisition: Any, job: Job, total: int) -> str:
    """Say what of the acquisition is kept, and where."""
    count = acquisition.status.images_saved
    if job.format == "memory":
        return f"{count} of {total} images were in memory only; nothing is kept"
    return f"{count} of {total} images are saved and kept in {acquisition.path}"


async def preview(dataset: Any, path: Path) -> None:
    """Draw the contact sheet, off the loop; say in one line why there is none."""
    from aiomm.viewer import save_contact_sheet

    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(save_contact_sheet, dataset, path)
    except UnsupportedError as error:
        typer.echo(f"no preview: {error}")
    else:
        typer.echo(f"preview: {path}")
