"""What a writer says when it cannot write, and whether it is as it should be; for each format."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from aiomm.dataset import Dataset, NDTiffWriter, OmeZarrWriter
from aiomm.errors import StorageError
from tests.dataset.support import frame, ndstorage_dataset
from tests.dataset.test_omezarr import stored

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset import Frame

BIG, SMALL = (300, 301), (20, 30)
SHAPES = pytest.mark.parametrize("shape", [BIG, SMALL], ids=["big", "small"])


class Report:
    """What a writer said, and whether it is true."""

    kind: type[NDTiffWriter | OmeZarrWriter]
    small_files: ClassVar[dict[str, Any]] = {}  # options that spread the images over several files

    def __init__(self) -> None:
        self.saved: list[Frame] = []
        self.failures: list[tuple[BaseException, list[Frame]]] = []
        self.failed = threading.Event()

    def writer(self, folder: Path, **options: Any) -> NDTiffWriter | OmeZarrWriter:
        """Make a writer that reports here."""
        return self.kind(folder, "x", **{"on_saved": self.on_saved, "on_failed": self.on_failed, **options})

    def on_saved(self, frames: list[Frame]) -> None:
        self.saved.extend(frames)

    def on_failed(self, error: BaseException, frames: list[Frame]) -> None:
        self.failures.append((error, frames))
        self.failed.set()

    def check(self, writer: NDTiffWriter | OmeZarrWriter, frames: list[Frame]) -> None:
        """Every frame accepted was saved or lost, in order; the first error stays; what was saved reads back in both readers."""
        assert len(self.failures) == 1
        error, lost = self.failures[0]
        assert isinstance(error, StorageError)
        assert [f.axes for f in self.saved + lost] == [f.axes for f in frames[: len(self.saved) + len(lost)]]
        with pytest.raises(StorageError) as caught:
            writer.try_put(frame(9999))
        assert caught.value is error
        with pytest.raises(StorageError):
            writer.finish()
        for dataset in (writer.dataset, Dataset(writer.path)):
            assert dataset.finished
            assert len(dataset) == len(self.saved)
            for one in self.saved:
                assert np.array_equal(dataset.read_image(**one.axes), one.pixels)
                assert dataset.read_metadata(**one.axes) == {**one.metadata, "Axes": one.axes}
        self.check_with_another_reader(writer.path)

    def check_with_another_reader(self, path: Path) -> None:
        """Read what was saved with the format's reference reader."""
        raise NotImplementedError

    @staticmethod
    def fill(monkeypatch: pytest.MonkeyPatch, capacity: int, code: int) -> None:
        """Let the device take ``capacity`` bytes, then say an error."""
        raise NotImplementedError


class NDTiffReport(Report):
    """Of an NDTiffWriter; the other reader is ndstorage."""

    kind = NDTiffWriter

    def check_with_another_reader(self, path: Path) -> None:
        with ndstorage_dataset(path) as other:
            for one in self.saved:
                assert np.array_equal(other.read_image(**one.axes), one.pixels)
                assert other.read_metadata(**one.axes) == {**one.metadata, "Axes": one.axes}

    @staticmethod
    def fill(monkeypatch: pytest.MonkeyPatch, capacity: int, code: int) -> None:
        """A file takes bytes up to an offset: short writes there, then an error; elsewhere it works."""
        real = os.pwrite

        def pwrite(fd: int, data: Any, offset: int) -> int:
            if offset >= capacity:
                raise OSError(code, os.strerror(code))
            room = capacity - offset
            if len(data) > room and room % 4096:
                room = room // 4096 * 4096 or room
            return real(fd, data[:room], offset)

        monkeypatch.setattr(os, "pwrite", pwrite)


class OmeZarrReport(Report):
    """Of an OmeZarrWriter; the other reader is zarr-python."""

    kind = OmeZarrWriter
    small_files: ClassVar = {"shard_bytes": 2**20}

    def check_with_another_reader(self, path: Path) -> None:
        found = stored(path)
        assert len(found) == len(self.saved)
        for one, (axes, pixels) in zip(self.saved, found, strict=True):
            assert axes == one.axes
            assert np.array_equal(pixels, one.pixels)

    @staticmethod
    def fill(monkeypatch: pytest.MonkeyPatch, capacity: int, code: int) -> None:
        """The device takes a number of bytes; what is there can be written over."""
        real = os.pwrite
        taken = [0]

        def pwrite(fd: int, data: Any, offset: int) -> int:
            if offset == 0:
                return real(fd, data, offset)
            room = (capacity - taken[0]) // 4096 * 4096
            if room <= 0:
                raise OSError(code, os.strerror(code))
            done = real(fd, data[:room], offset)
            taken[0] += done
            return done

        monkeypatch.setattr(os, "pwrite", pwrite)


def put_until_it_fails(writer: NDTiffWriter | OmeZarrWriter, shape: tuple[int, int], most: int = 300) -> list[Frame]:
    frames = []
    for i in range(most):
        one = frame(i, shape)
        try:
            writer.put(one, timeout=30)
        except StorageError:
            return frames
        frames.append(one)
    return frames
