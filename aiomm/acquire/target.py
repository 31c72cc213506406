"""Where an acquisition saves: make the writer, and connect it with what waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiomm.acquire.mailbox import in_thread, outlast
from aiomm.dataset.memory import MemoryWriter
from aiomm.dataset.ndtiff.pyramid import PyramidWriter
from aiomm.dataset.ndtiff.writer import NDTiffWriter
from aiomm.dataset.omezarr.writer import OmeZarrWriter

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.acquire.run import Run
    from aiomm.dataset.storage import Durability


@dataclass(frozen=True, slots=True)
class Target:
    """What the user said of saving; the parameters of an acquisition say more."""

    directory: Path | None
    name: str
    format: str
    durability: Durability
    queue_size: int
    summary: dict[str, Any]
    overlap: tuple[int, int] | None = None  # of tiles, x and y in pixels
    levels: int | None = 0  # reduced ones; None: as many as it takes


async def open_storage(run: Run, target: Target, summary: dict[str, Any], *, processed: bool) -> None:
    """Make the writer of a run and its live dataset.

    Parameters
    ----------
    run
        The acquisition.
    target
        Where, and how.
    summary
        The microscope's part of the summary metadata.
    processed
        Whether frames come from an image processor on the loop, or from the hardware thread.

    Raises
    ------
    StorageError
        The folder or its first files cannot be made.
    """
    summary = {**summary, **target.summary}
    if target.overlap is not None:
        summary["GridPixelOverlapX"], summary["GridPixelOverlapY"] = target.overlap
    options: dict[str, Any] = {
        "queue_size": target.queue_size,
        "on_saved": run.on_saved,
        "on_room": (lambda: run.post(("room",))) if processed else run.room,
        "on_failed": run.on_failed,
        "allow_duplicates": run.allow_duplicates,
    }

    def make() -> None:
        if target.directory is None:
            run.writer = MemoryWriter(summary, **options)
            return
        where, options["durability"] = (target.directory, target.name, summary), target.durability
        writer: OmeZarrWriter | PyramidWriter | NDTiffWriter
        if target.format == "ome-zarr":
            writer = OmeZarrWriter(*where, levels=target.levels, **options)
        elif target.overlap is not None:
            writer = PyramidWriter(*where, overlap=target.overlap, max_multi_res_index=target.levels, **options)
        else:
            writer = NDTiffWriter(*where, **options)
        run.writer, run.folder = writer, writer.path

    made = in_thread(make)
    cancelled = await outlast(made)
    made.result()
    run.dataset = run.writer.dataset
    if cancelled is not None:
        await outlast(in_thread(run.writer.finish))
        raise cancelled
