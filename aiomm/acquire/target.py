"""Where an acquisition saves: make the writer, and connect it with what waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiomm.acquire.mailbox import in_thread, outlast
from aiomm.dataset.memory import MemoryWriter
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
        else:
            kind = OmeZarrWriter if target.format == "ome-zarr" else NDTiffWriter
            writer = kind(target.directory, target.name, summary, durability=target.durability, **options)
            run.writer = writer
            run.folder = writer.path

    made = in_thread(make)
    cancelled = await outlast(made)
    made.result()
    run.dataset = run.writer.dataset
    if cancelled is not None:
        await outlast(in_thread(run.writer.finish))
        raise cancelled
