"""Keep a dataset in memory: the writer for ``format="memory"`` and the store behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import as_mapping, encode_json, encode_metadata
from aiomm.dataset.index import Index
from aiomm.dataset.queueing import Intake
from aiomm.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiomm.dataset.storage import Frame, OnFailed, OnSaved, Quick


class MemoryStore:
    """Images as arrays, metadata as JSON."""

    path = None

    def __init__(self, summary: dict[str, Any]) -> None:
        self.summary = summary
        self.index = Index()
        self.quick: Quick | None = None
        self.sizes: dict[str, float] | None = None
        self._images: list[np.ndarray] = []
        self._depths: list[int] = []
        self._metadata: list[bytes] = []
        self._finished = self._closed = False

    def add(self, frame: Frame, metadata: bytes) -> None:
        """Copy a frame in."""
        image = np.array(frame.pixels, order="C", copy=True)
        image.flags.writeable = False
        self._images.append(image)
        self._depths.append(frame.bit_depth or 8 * image.dtype.itemsize)
        self._metadata.append(metadata)
        self.index.append(frame.axes)

    def finish(self) -> None:
        """Nothing more will be written."""
        self._finished = True
        self.index.growth.end()

    @property
    def finished(self) -> bool:
        return self._finished

    def missing(self) -> dict[str, int]:
        return {}

    def shape_of(self, row: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        image = self._image(row)
        return image.shape, image.dtype

    def bit_depth_of(self, row: int) -> int:
        return self._depths[row]

    def read(self, row: int) -> np.ndarray:
        return self._image(row).copy()

    def view(self, row: int) -> np.ndarray:
        return self._image(row)

    def metadata(self, row: int) -> dict[str, Any]:
        self._image(row)
        return json.loads(self._metadata[row])  # type: ignore[no-any-return]

    def differing(self, rows: np.ndarray) -> int:
        first = self.shape_of(int(rows[0]))
        return next((row for row in rows.tolist() if self.shape_of(row) != first), -1)

    def blocks(self, rows: np.ndarray) -> MemoryBlocks:
        return MemoryBlocks([self._image(row) for row in rows.tolist()])

    def close(self) -> None:
        if self._finished:
            self._closed = True
            self._images, self._metadata = [], []

    def _image(self, row: int) -> np.ndarray:
        if self._closed:
            raise ClosedError("the dataset was closed; it was in memory and is gone")
        return self._images[row]


class MemoryBlocks:
    """Reads many images into one array."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self._images = images

    def read_into(self, rows: list[int], out: np.ndarray, window: tuple[slice, slice]) -> None:
        for i, row in enumerate(rows):
            if row >= 0:
                out[i] = self._images[row][window]


class MemoryWriter:
    """Keep images in memory, all of them, until the dataset is closed.

    Nothing is queued: a frame is saved when it is put, and ``on_saved`` runs on the caller's thread. The frame's pixels
    are copied.

    Parameters
    ----------
    summary_metadata : mapping
        What holds for every image.
    queue_size, on_room, on_failed, durability : object
        As of other writers; nothing waits and nothing fails here, so they have no effect.
    on_saved : callable, optional
        ``on_saved(frames)``.
    allow_duplicates : bool
        Whether an image may be put again; the last one counts.
    """

    def __init__(
        self,
        summary_metadata: Mapping[str, Any] | None = None,
        *,
        queue_size: int = 20,
        on_saved: OnSaved | None = None,
        on_room: Callable[[], None] | None = None,
        on_failed: OnFailed | None = None,
        allow_duplicates: bool = False,
        durability: str = "none",
    ) -> None:
        summary = json.loads(encode_json(as_mapping("summary_metadata", summary_metadata)))
        self._store = MemoryStore(summary)
        self.path: None = None
        self.dataset: Dataset = Dataset.of(self._store)
        self._intake = Intake(
            self._store.index,
            queue_size=queue_size,
            on_saved=on_saved,
            on_room=on_room,
            on_failed=on_failed,
            allow_duplicates=allow_duplicates,
            reentrant=True,
        )

    def try_put(self, frame: Frame) -> bool:
        """Save a frame; always True.

        Raises
        ------
        ValueError, TypeError
            The frame cannot be stored; the message names what is wrong.
        DuplicateImageError
            There is an image with these axes.
        ClosedError
            `finish` was called.
        """
        self._intake.check(frame)
        metadata = encode_metadata(frame.metadata, frame.axes) if frame.text is None else frame.text
        with self._intake.lock:  # held through the report, so that images are reported in order
            self._intake.accept(frame)
            self._store.add(frame, metadata)
            self._intake.saved(1)
        return True

    def put(self, frame: Frame, timeout: float | None = None) -> None:
        """Save a frame."""
        self.try_put(frame)

    def flush(self) -> None:
        """Nothing waits here."""

    def gather(self, seconds: float) -> None:
        """Nothing is written."""

    def give_up(self) -> None:
        """Nothing waits here."""

    def finish(self) -> None:
        """Take no more images; those saved stay readable through `dataset`."""
        self._intake.close()
        self._store.finish()

    def __enter__(self) -> MemoryWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
