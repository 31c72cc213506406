"""What a writer says when it cannot write, and whether it is as it should be; for any format."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from aiomm.errors import StorageError
from tests.dataset.support import frame

if TYPE_CHECKING:
    from aiomm.dataset import Frame
    from aiomm.dataset.storage import Writer

BIG, SMALL = (300, 301), (20, 30)


class Said:
    """What a writer said."""

    def __init__(self) -> None:
        self.saved: list[Frame] = []
        self.failures: list[tuple[BaseException, list[Frame]]] = []
        self.failed = threading.Event()

    def on_saved(self, frames: list[Frame]) -> None:
        self.saved.extend(frames)

    def on_failed(self, error: BaseException, frames: list[Frame]) -> None:
        self.failures.append((error, frames))
        self.failed.set()

    def check_end(self, writer: Writer, frames: list[Frame]) -> None:
        """Every frame accepted was saved or lost, in order; the first error stays."""
        assert len(self.failures) == 1
        error, lost = self.failures[0]
        assert isinstance(error, StorageError)
        assert [f.axes for f in self.saved + lost] == [f.axes for f in frames[: len(self.saved) + len(lost)]]
        with pytest.raises(StorageError) as caught:
            writer.try_put(frame(9999))
        assert caught.value is error
        with pytest.raises(StorageError):
            writer.finish()


def put_until_it_fails(writer: Writer, shape: tuple[int, int], most: int = 300) -> list[Frame]:
    frames = []
    for i in range(most):
        one = frame(i, shape)
        try:
            writer.put(one, timeout=30)
        except StorageError:
            return frames
        frames.append(one)
    return frames
