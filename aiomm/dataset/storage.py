"""What a storage is: the frame on its way, the writer that takes it, the store that a dataset reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from aiomm.dataset.dataset import Dataset
    from aiomm.dataset.finders import Grid
    from aiomm.dataset.index import Index

Axes = dict[str, int | str]
Durability = Literal["none", "interval", "every"]


@dataclass(slots=True, eq=False)
class Frame:
    """One image on its way to storage.

    Attributes
    ----------
    axes : dict
        Where the image belongs, e.g. ``{"time": 3, "channel": "DAPI"}``. An axis is all integers or all strings.
    pixels : numpy.ndarray
        (y, x) uint8 or uint16, or (y, x, 3) uint8. Must not change until the frame is saved.
    metadata : dict
        What belongs to the image, as JSON can hold it; numpy scalars and arrays are welcome. ``Axes`` is set by the writer.
    bit_depth : int or None
        Significant bits of a pixel; 8 or 16 by the type of ``pixels`` if None.
    token : object
        The caller's; storage never looks at it.
    row : int
        Set by the writer when the frame is accepted: its row in the dataset's index.
    text : bytes or None
        ``metadata`` with these axes as JSON in ASCII on one line, where it is at hand: it is written as it is.
    """

    axes: Axes
    pixels: np.ndarray
    metadata: dict[str, Any]
    bit_depth: int | None = None
    token: Any = None
    row: int = -1
    text: bytes | None = None


OnSaved = Callable[[list[Frame]], None]
OnFailed = Callable[[BaseException, list[Frame]], None]


class Writer(Protocol):
    """Takes frames and saves them, in the order put. Every method is thread-safe."""

    dataset: Dataset
    """The live dataset on what is saved."""

    def try_put(self, frame: Frame) -> bool:
        """Accept a frame, or say False: ``queue_size`` frames are put and not yet saved. Never waits for the disk.

        Raises
        ------
        ValueError, TypeError
            The frame cannot be stored; the message names what is wrong. Nothing was touched.
        DuplicateImageError
            There is an image with these axes.
        StorageError
            Writing has failed; the first failure.
        ClosedError
            ``finish`` was called.
        """
        ...

    def put(self, frame: Frame, timeout: float | None = None) -> None:
        """Accept a frame; wait while there is no room. ``TimeoutError`` after ``timeout`` seconds."""
        ...

    def flush(self) -> None:
        """Somebody waits: write what is there at once. Returns at once."""
        ...

    def gather(self, seconds: float) -> None:
        """Images will come closely one after another: several may be written together, none later than so many seconds after it was put.

        0: no more. Returns at once.
        """
        ...

    def give_up(self) -> None:
        """Drop what is not written yet, so that `finish` waits for the write in progress only. Returns at once."""
        ...

    def finish(self) -> None:
        """Save what was put, and close; may be called again. Raises the ``StorageError`` if there was one.

        After it the dataset opens, also after a failure.
        """
        ...


class BlockReader(Protocol):
    """Reads many images into one array. Can be pickled, so that other processes read too."""

    def read_into(self, rows: list[int], out: np.ndarray, window: tuple[slice, slice]) -> None:
        """Fill ``out[i]`` with ``window`` (y, x) of the image in row ``rows[i]``; a negative row is left as it is."""
        ...


Quick = tuple[
    "Grid", int, dict[Any, int], dict[Any, int], Any, Callable[..., int],
    int, int, tuple[int, ...], "np.dtype[Any]", Callable[[int], "np.ndarray"],
]  # fmt: skip
"""What it takes to find and read an image that is like most, as a plain tuple, which is unpacked at once.

The grid; of images without a tile, how many times are counted, and the steps of z and channel; where in the file the image at each
place of the grid begins, 0 for one that is not like most; what finds any place. The file, which is open as long as the tuple is held;
bytes of such an image, 0 if they are too many to be quick; its shape and type; what maps the image that begins somewhere. It holds for
as long as the index has this grid."""


class Store(Protocol):
    """What a `Dataset` reads: an index and the images of its rows. Every method is thread-safe."""

    index: Index
    summary: dict[str, Any]
    quick: Quick | None
    """The quick way to most images, if there is one. Another one comes as the dataset is used, so take it anew each time."""
    sizes: dict[str, float] | None
    """Sizes of a pixel along y and x in µm, of a store that says those of its level itself, as far as known; None if the summary
    metadata have those of full resolution."""

    @property
    def path(self) -> Path | None:
        """Folder of the dataset; None in memory."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing more will be written."""
        ...

    def missing(self) -> dict[str, int]:
        """Files that should be there and are not, by their path from `path`, and how many images are in each."""
        ...

    def shape_of(self, row: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of the image in a row."""
        ...

    def bit_depth_of(self, row: int) -> int:
        """Significant bits of a pixel of the image in a row."""
        ...

    def read(self, row: int) -> np.ndarray:
        """Read the image in a row, as a new array."""
        ...

    def view(self, row: int) -> np.ndarray:
        """Map the image in a row, as a read-only array that holds no copy."""
        ...

    def metadata(self, row: int) -> dict[str, Any]:
        """Read the metadata of the image in a row."""
        ...

    def differing(self, rows: np.ndarray) -> int:
        """First of these rows whose image has another shape or type than that of the first row; -1 if none has."""
        ...

    def blocks(self, rows: np.ndarray) -> BlockReader:
        """Make a reader for these rows; it numbers them 0, 1, ... in the order given."""
        ...

    def close(self) -> None:
        """Let go of files. Reading afterwards raises ``ClosedError``."""
        ...


class GrowingStore(Store, Protocol):
    """A store that somebody adds images to."""

    def finish(self) -> None:
        """Nothing more will be written."""
        ...
