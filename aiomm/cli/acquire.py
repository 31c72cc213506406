"""``aiomm acquire``: from arguments to a dataset and a picture of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import typer

from aiomm.acquire import Acquisition, multi_d_acquisition_events
from aiomm.cli.exits import Interrupted, NoMicroscopeError, UsageError
from aiomm.cli.interrupts import on_interrupt
from aiomm.cli.progress import progress_bars
from aiomm.core import LocalCore
from aiomm.errors import AiommError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from aiomm.dataset import Dataset


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
async def microscope(config: str) -> AsyncIterator[LocalCore]:
    """Load the configuration; a failure is the microscope's, not the acquisition's."""
    try:
        core = await LocalCore.open(config)
    except (AiommError, OSError, ImportError) as error:
        raise NoMicroscopeError(f"{error} (`aiomm doctor` looks for what is missing)") from error
    try:
        yield core
    finally:
        await core.aclose()


class Outcome:
    """What a job has come to so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.total = 0
        self.acquisition: Acquisition | None = None

    @property
    def saved(self) -> int:
        """How many images are saved."""
        return 0 if self.acquisition is None else self.acquisition.status.images_saved

    @property
    def path(self) -> Path | None:
        """The dataset's folder, beginning as the user wrote it."""
        folder = None if self.acquisition is None else self.acquisition.path
        return None if folder is None else self.job.directory / folder.name

    @property
    def kept(self) -> str:
        """What is kept, and where."""
        if self.saved == 0:
            return "no image was saved"
        if self.path is None:
            return f"{self.saved} of {self.total} images were in memory only, and are gone"
        return f"{self.saved} of {self.total} images are saved and kept in {self.path}"


async def run(job: Job, console: Console) -> None:
    """Do the job. Ctrl-C cancels it: the acquisition stops the hardware, saves what it has, and it is said what is kept."""
    outcome = Outcome(job)
    working = asyncio.create_task(acquire(job, outcome, console))

    def stop() -> None:
        console.print("stopping; Ctrl-C again abandons", highlight=False)
        working.cancel()

    with on_interrupt(stop):
        await asyncio.wait([working])
    if working.cancelled():
        raise Interrupted(outcome.kept)
    if working.exception() is not None and outcome.saved:
        typer.echo(outcome.kept, err=True)
    working.result()


async def acquire(job: Job, outcome: Outcome, console: Console) -> None:
    """Acquire, then report: where the images are, and a picture of them."""
    async with microscope(job.config) as core:
        events = await make_events(core, job)
        outcome.total = len(events)
        directory = None if job.format == "memory" else job.directory
        async with Acquisition(directory, job.name, core=core, show_display=False, format=job.format) as acquisition:
            outcome.acquisition = acquisition
            async with progress_bars(acquisition, outcome.total, console):
                await acquisition.acquire(events)
    took = acquisition.status.elapsed_s
    typer.echo(f"acquired {outcome.saved} images in {took:.1f} s ({outcome.saved / took:.1f} images/s)")
    if outcome.path is not None:
        typer.echo(f"dataset: {outcome.path}")
    if job.preview:
        folder = outcome.path or job.directory / job.name
        await preview(acquisition.get_dataset(), folder.with_name(f"{folder.name}.png"))


async def preview(dataset: Dataset, path: Path) -> None:
    """Draw the contact sheet, off the loop; say in one line why there is none."""
    from aiomm.viewer import save_contact_sheet

    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(save_contact_sheet, dataset, path)
    except UnsupportedError as error:
        typer.echo(f"no preview: {error}")
    else:
        typer.echo(f"preview: {path}")
