"""`JavaWriter`: a writer whose images Micro-Manager saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomm.acquire.remote.pipes import ImagePipe
    from aiomm.dataset import Dataset
    from aiomm.dataset.storage import Frame, OnFailed, OnSaved

__all__ = ["JavaWriter"]


class JavaWriter:
    """Follows what Micro-Manager saves; hands it images to save."""

    dataset: Dataset

    def __init__(
        self,
        path: Path,
        summary: dict[str, Any],
        *,
        queue_size: int,
        on_saved: OnSaved | None = None,
        on_room: Callable[[], None] | None = None,
        on_failed: OnFailed | None = None,
        allow_duplicates: bool = False,
    ) -> None:
        raise NotImplementedError

    def expect(self, frame: Frame) -> None:
        """Java will save an image with these axes by itself."""
        raise NotImplementedError

    def try_put(self, frame: Frame) -> bool:
        """Take an image for Java to save."""
        raise NotImplementedError

    def put(self, frame: Frame, timeout: float | None = None) -> None:
        """Take an image for Java to save; there must be room."""
        raise NotImplementedError

    async def serve(self, pipe: ImagePipe) -> None:
        """Send what `try_put` took, until `finish` or `give_up`."""
        raise NotImplementedError

    def saved(self, record: bytes) -> None:
        """Java has saved an image; its index record."""
        raise NotImplementedError

    @property
    def outstanding(self) -> list[Frame]:
        """Frames that are not saved yet."""
        raise NotImplementedError

    def flush(self) -> None:
        """Nothing waits here."""

    def give_up(self) -> None:
        """Send nothing more."""
        raise NotImplementedError

    def finish(self) -> None:
        """Nothing more will be saved."""
        raise NotImplementedError
