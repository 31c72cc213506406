"""``aiomm acquire``: from arguments to a dataset and a picture of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import typer

from aiomm.acquire import Acquisition, AcquisitionEvent, multi_d_acquisition_events
from aiomm.acquire.capabilities import Capabilities, check_events, needs, read_capabilities
from aiomm.acquire.losses import METADATA_BYTES
from aiomm.bridge import Bridge
from aiomm.cli.exits import Interrupted, LostError, NoMicroscopeError, UsageError
from aiomm.cli.info import size
from aiomm.cli.interrupts import on_interrupt
from aiomm.cli.progress import progress_bars
from aiomm.core import BridgedCore, LocalCore
from aiomm.errors import AiommError, ServerLostError, StorageError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from aiomm.acquire.capabilities import Needs

MOST_SLICES = 1_000_000
LOST_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What ``aiomm acquire`` was asked to do; times in s, z in µm, exposures in ms."""

    directory: Path
    name: str
    where: str | int
    """The configuration to load in this process, or the port of a running Micro-Manager."""
    time_points: int
    interval: float
    z: tuple[float, float, float] | None
    channel_group: str | None
    channels: list[str]
    exposures: list[float]
    order: str
    format: Literal["ndtiff", "ome-zarr", "memory"]
    preview: bool

    @property
    def slices(self) -> int:
        """How many slices a stack has."""
        if self.z is None:
            return 1
        start, end, step = self.z
        return math.floor((end - start) / step + 1e-6) + 1

    @property
    def images(self) -> int:
        """How many images that is, told without making a list of their events."""
        return self.time_points * self.slices * max(1, len(self.channels))


async def look(core: LocalCore | BridgedCore, wanted: Needs) -> Capabilities:
    """Ask the microscope what events that have these needs must know."""
    if isinstance(core, LocalCore):
        found: Capabilities = await core.run(lambda mmc: read_capabilities(mmc, wanted, image=True), reads=True)
        return found
    from aiomm.acquire.remote.asking import Asking  # it is of no use to who never meets Java

    return await Asking(core).read(lambda mmc: read_capabilities(mmc, wanted, image=True))


async def channel_group(core: LocalCore | BridgedCore, job: Job) -> str:
    """Return the config group that the channels are in."""
    if job.channel_group is not None:
        return job.channel_group
    group: str = await core.get_channel_group()
    if not group:
        groups = ", ".join(await core.get_available_config_groups())
        raise UsageError(f"this microscope names no channel group; say -c GROUP:PRESET,PRESET, with one of the groups {groups}")
    return group


async def make_events(core: LocalCore | BridgedCore, job: Job) -> Sequence[Any]:
    """Make the events of the job."""
    arguments: dict[str, Any] = {"num_time_points": job.time_points, "time_interval_s": job.interval, "order": job.order}
    if job.z is not None:
        arguments.update(zip(("z_start", "z_end", "z_step"), job.z, strict=True))
    if job.channels:
        arguments.update(channel_group=await channel_group(core, job), channels=job.channels)
        if job.exposures:
            arguments["channel_exposures_ms"] = job.exposures
    try:
        return multi_d_acquisition_events(**arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error


async def refuse_what_cannot_be(core: LocalCore | BridgedCore, job: Job) -> None:
    """Look whether this microscope and this disk can do the job, before a folder is made.

    Raises
    ------
    NoMicroscopeError
        There is no camera.
    StorageError
        There is less room on the disk than the images take.
    UsageError, EventError
        A channel, a position or an order cannot be.
    """
    caps = await look(core, needs(()))
    if not caps.of_type("Camera"):
        local = isinstance(job.where, str)
        raise NoMicroscopeError(
            f"configuration {job.where!r} loads no camera" if local else f"Micro-Manager at port {job.where} has no camera"
        )
    if job.slices > MOST_SLICES:
        raise UsageError(f"-z: {job.slices} slices are more than the {MOST_SLICES} that a stack may have")
    first = replace(job, time_points=1)  # the time points after it ask for the same
    events = [AcquisitionEvent.from_dict(event) for event in await make_events(core, first)]
    caps = await look(core, replace(needs(events), exposure=bool(job.exposures)))
    if not changes_camera(caps):
        check_exposures(job, caps)
    check_events(events, caps)
    if job.format != "memory" and caps.image is not None and not changes_camera(caps):
        await asyncio.to_thread(check_room, job, caps.image.nbytes)


def changes_camera(caps: Capabilities) -> bool:
    """Whether a channel sets something on a camera, so that its images may have another size than those of now."""
    settings = (setting for preset in caps.presets.values() for setting in preset)
    return any(caps.devices.get(label) == "Camera" or (label, name) == ("Core", "Camera") for label, name, _ in settings)


def check_exposures(job: Job, caps: Capabilities) -> None:
    """Refuse an exposure that the camera cannot have; some would leave the one of before and say nothing."""
    camera, limits = caps.camera, caps.exposure_limits.get(caps.camera)
    for ms in job.exposures:
        if limits is not None and not limits[0] <= ms <= limits[1]:
            raise UsageError(f"--exposure: camera {camera!r} cannot expose for {ms:g} ms: it may lie from {limits[0]:g} to {limits[1]:g}")


def check_room(job: Job, image_bytes: int) -> None:
    """Refuse more images than the disk has room for."""
    existing = next(folder for folder in (job.directory.absolute(), *job.directory.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    wanted = job.images * (image_bytes + METADATA_BYTES)
    if wanted > free:
        several = job.images != 1
        raise StorageError(
            f"{job.images} image{'s' * several} of {size(image_bytes)} take{'s' * (not several)} {size(wanted)}, "
            f"and the disk for {job.directory} has {size(free)} free"
        )


@contextlib.asynccontextmanager
async def microscope(where: str | int) -> AsyncIterator[LocalCore | BridgedCore]:
    """Load the configuration, or find Micro-Manager; a failure is the microscope's, not the acquisition's."""
    async with contextlib.AsyncExitStack() as opened:
        try:
            if isinstance(where, int):
                core: LocalCore | BridgedCore = await (await opened.enter_async_context(Bridge(where))).get_core()
            else:
                core = await opened.enter_async_context(LocalCore(where))
        except (AiommError, OSError, ImportError) as error:
            hint = "" if isinstance(where, int) else " (`aiomm doctor` looks for what is missing)"
            raise NoMicroscopeError(f"{error}{hint}") from error
        yield core


@contextlib.asynccontextmanager
async def own_exposure(core: LocalCore | BridgedCore, job: Job) -> AsyncIterator[None]:
    """Set the exposure of the job, and in the end that of before: others use a running Micro-Manager too."""
    if not job.exposures:
        yield
        return
    camera = await core.get_camera_device()
    before = await core.get_exposure(camera)
    try:
        if not job.channels:  # else their events have it
            await core.set_exposure(camera, job.exposures[0])
        yield
    except BaseException:
        with contextlib.suppress(AiommError):  # what went wrong before says more
            await core.set_exposure(camera, before)
        raise
    await core.set_exposure(camera, before)


class Outcome:
    """What a job has come to so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.total = 0
        self.acquisition: Acquisition | None = None
        self.drawing = False

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

    def without(self, error: ServerLostError) -> str:
        """Say that Micro-Manager is gone, what is kept, and what is lost."""
        under_way = [str(axes) for axes in error.lost_images]
        more = f" and {len(under_way) - LOST_SHOWN} more" * (len(under_way) > LOST_SHOWN)
        lost = f"lost are those under way: {', '.join(under_way[:LOST_SHOWN])}{more}" if under_way else "none was under way"
        return f"Micro-Manager at port {self.job.where} is gone ({error}); {self.kept}; {lost}"


async def run(job: Job, console: Console) -> None:
    """Do the job. Ctrl-C cancels it: the acquisition stops the hardware, saves what it has, and it is said what is kept."""
    outcome = Outcome(job)
    working = asyncio.create_task(acquire(job, outcome, console))

    def stop() -> None:
        console.print("stopping; Ctrl-C again abandons", highlight=False)
        working.cancel()

    with on_interrupt(stop) as hardware:
        await asyncio.wait([working])
        hardware.safe = True
        if working.cancelled() and outcome.saved:
            with contextlib.suppress(OSError, AiommError):  # that it was stopped, and what is kept, says more
                await preview(outcome)
    if working.cancelled():
        raise Interrupted(outcome.kept, terminated=hardware.terminated)
    if isinstance(error := working.exception(), ServerLostError):
        raise LostError(outcome.without(error)) from error
    if error is not None and outcome.saved:
        typer.echo(outcome.kept, err=True)
    working.result()


async def acquire(job: Job, outcome: Outcome, console: Console) -> None:
    """Acquire, then report: where the images are, and a picture of them."""
    async with microscope(job.where) as core:
        await refuse_what_cannot_be(core, job)
        events = await make_events(core, job)
        outcome.total = len(events)
        directory = None if job.format == "memory" else job.directory
        async with (
            own_exposure(core, job),
            Acquisition(directory, job.name, core=core, show_display=False, format=job.format) as acquisition,
        ):
            outcome.acquisition = acquisition
            async with progress_bars(acquisition, outcome.total, console):
                await acquisition.acquire(events)
    took = acquisition.status.elapsed_s
    typer.echo(f"acquired {outcome.saved} image{'s' * (outcome.saved != 1)} in {took:.1f} s ({outcome.saved / took:.1f} images/s)")
    if outcome.path is not None:
        typer.echo(f"dataset: {outcome.path}")
    await preview(outcome)


async def preview(outcome: Outcome) -> None:
    """Draw the contact sheet if it is wanted, once, off the loop; say in one line where it is, or why there is none."""
    from aiomm.viewer import save_contact_sheet

    if not outcome.job.preview or outcome.acquisition is None or outcome.drawing:
        return
    outcome.drawing = True
    dataset = outcome.acquisition.get_dataset()
    folder = outcome.path or outcome.job.directory / outcome.job.name
    path = folder.with_name(f"{folder.name}.png")
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(save_contact_sheet, dataset, path)
    except UnsupportedError as error:
        typer.echo(f"no preview: {error}")
    else:
        typer.echo(f"preview: {path}")
