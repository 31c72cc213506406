"""What is said of a disk that has no room, of images that are lost, and of what has ended an acquisition."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, NoReturn

from aiomm.errors import AcquisitionFinished, HardwareError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiomm.dataset.storage import Axes

METADATA_BYTES = 8192
LOST_SHOWN = 20


def size(count: int) -> str:
    """Say so many bytes in words."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def named(axes: Sequence[Axes]) -> str:
    """List the axes of images, the first ones of many."""
    more = f" and {len(axes) - LOST_SHOWN} more" if len(axes) > LOST_SHOWN else ""
    return ", ".join(str(one) for one in axes[:LOST_SHOWN]) + more


def check_room(folder: Path, images: int, image_bytes: int) -> None:
    """Check that so many images fit on the disk. Any thread.

    Raises
    ------
    StorageError
        They do not.
    """
    free = shutil.disk_usage(folder).free
    wanted = images * (image_bytes + METADATA_BYTES)
    if wanted > free:
        raise StorageError(
            f"{images} image{'s take' if images > 1 else ' takes'} {size(wanted)}; {folder} has {size(free)} free: "
            f"{'it was' if images == 1 else 'they were'} not acquired"
        )


def not_asked_for(axes: Axes) -> HardwareError:
    """Make the error for an image that Micro-Manager gives and nobody waits for."""
    return HardwareError(f"Micro-Manager gave an image with the axes {axes}, which was not asked for")


def tell_lost(error: BaseException, lost: list[Axes], saved: int) -> None:
    """Have the error that has ended an acquisition say which images were lost, and how many were saved."""
    with contextlib.suppress(AttributeError):  # an exception may have slots
        error.lost_images = lost  # type: ignore[attr-defined]
    if hasattr(error, "add_note"):
        told = f"{len(lost)} that were under way are lost: {named(lost)}" if lost else "none was under way"
        error.add_note(f"{saved} image{' was' if saved == 1 else 's were'} saved; {told}")


def only_tells_of(raised: BaseException | None, error: BaseException) -> bool:
    """Whether what a body raises says no more than that ``error`` has ended its acquisition: also where several of its tasks say so."""
    if isinstance(raised, BaseExceptionGroup):
        return all(only_tells_of(one, error) for one in raised.exceptions)
    return raised is error or (isinstance(raised, AcquisitionFinished) and raised.__cause__ is error)


def raise_alone(error: BaseException) -> NoReturn:
    """Raise an error without what is being handled as its context.

    That names this error as its cause, and who follows both would never come to an end.
    """
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
