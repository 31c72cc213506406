"""Images in Zarr arrays, read through zarr-python: those of others, and the reduced levels of what aiomm wrote.

zarr-python works on a loop of its own; these methods wait for it, like all of `Dataset`'s synchronous ones.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aiomm.dataset.boxes import place_in
from aiomm.errors import ClosedError, DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.index import Index
    from aiomm.dataset.omezarr.store import ShardStore
    from aiomm.dataset.storage import Quick


@dataclass(frozen=True)
class Source:
    """One array: where, and which of its dimensions are y and x."""

    path: str
    dimensions: tuple[str, ...]

    @property
    def yx(self) -> tuple[int, int]:
        return self.dimensions.index("y"), self.dimensions.index("x")


@dataclass
class Arrays:
    """Arrays opened when first read; can be pickled.

    Attributes
    ----------
    root : Path
        Folder of the dataset.
    sources : list of Source
        The arrays.
    """

    root: Path
    sources: list[Source]
    _open: dict[int, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> Any:
        return self.root, self.sources

    def __setstate__(self, state: Any) -> None:
        self.root, self.sources = state
        self._open = {}

    def get(self, number: int) -> Any:
        """The array of a number.

        Raises
        ------
        DatasetFormatError
            It is not there, or damaged.
        """
        array = self._open.get(number)
        if array is None:
            import zarr  # slow to import, and seldom needed

            path = self.root / self.sources[number].path
            try:
                array = self._open[number] = zarr.open_array(str(path), mode="r")
            except Exception as error:  # zarr-python's, and those of the files below it
                raise DatasetFormatError(f"{path}: cannot be opened as a Zarr array: {type(error).__name__}: {error}") from None
        return array

    def image_shape(self, number: int, at: tuple[Any, ...]) -> tuple[int, ...]:
        """Shape of one image, colours last."""
        shape, source = self.get(number).shape, self.sources[number]
        colours = [part.stop - part.start for part in at if isinstance(part, slice)]
        return (shape[source.yx[0]], shape[source.yx[1]], *colours)

    def read(self, number: int, at: tuple[Any, ...], window: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
        """Read a window of one image. ``at`` has the other dimensions' indices, in order; a slice is of colours."""
        source, array = self.sources[number], self.get(number)
        y, x = source.yx
        rest = iter(at)
        parts = tuple(window[0] if i == y else window[1] if i == x else next(rest) for i in range(len(source.dimensions)))
        try:
            image = np.asarray(array[parts])
        except Exception as error:
            raise DatasetFormatError(f"{self.root / source.path}: image {at} cannot be read: {type(error).__name__}: {error}") from None
        kept = [i for i, part in enumerate(parts) if isinstance(part, slice)]
        order = [kept.index(y), kept.index(x), *(n for n, i in enumerate(kept) if i not in (y, x))]
        return np.ascontiguousarray(image.transpose(order))


class Places(Protocol):
    """In which array each row is, and where there. Can be pickled."""

    def of(self, row: int) -> tuple[int, tuple[Any, ...]]:
        """Give the array's number, and its indices without y and x; see `Arrays.read`."""
        ...

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """Give the arrays' numbers of rows."""
        ...

    def take(self, rows: np.ndarray) -> Places:
        """Give the places of these rows; they number them 0, 1, ..."""
        ...


@dataclass
class Listed:
    """Places that are listed, one by one."""

    of_rows: list[int]
    at: list[tuple[Any, ...]]

    def of(self, row: int) -> tuple[int, tuple[Any, ...]]:
        return self.of_rows[row], self.at[row]

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = np.array(self.of_rows)[rows]
        return numbers

    def take(self, rows: np.ndarray) -> Listed:
        chosen = rows.tolist()
        return Listed([self.of_rows[row] for row in chosen], [self.at[row] for row in chosen])


class Computed:
    """Places in arrays that are read from end to end, one after the other.

    Parameters
    ----------
    shapes : list of tuple
        Of each array, without y and x.
    rows : numpy.ndarray, optional
        The rows that these are; all if None.
    """

    def __init__(self, shapes: list[tuple[int, ...]], rows: np.ndarray | None = None) -> None:
        self._shapes = shapes
        self._rows = rows
        self._firsts = [0, *itertools.accumulate(map(math.prod, shapes))]

    def of(self, row: int) -> tuple[int, tuple[Any, ...]]:
        if self._rows is not None:
            row = int(self._rows[row])
        number = bisect.bisect_right(self._firsts, row) - 1
        return number, place_in(self._shapes[number], row - self._firsts[number])

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        of_rows = rows if self._rows is None else self._rows[rows]
        return np.searchsorted(self._firsts, of_rows, "right") - 1

    def take(self, rows: np.ndarray) -> Computed:
        return Computed(self._shapes, rows if self._rows is None else self._rows[rows])


class ZarrStore:
    """The images of arrays.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    summary : dict
        Its summary metadata.
    index : Index
        Axes of the rows.
    sources : list of Source
        The arrays.
    places : Places
        In which array each row is, and where there.
    finished : bool
        Whether nothing more will be written.
    frames : ShardStore, optional
        Where the rows' metadata is; others' datasets have none.
    sizes : dict, optional
        Sizes of a pixel of this level along y and x in µm, as far as known; None if the summary has those of full resolution.
    told : list of dict, optional
        What the metadata of each image of an array say, where there are no ``frames``.
    """

    def __init__(
        self,
        root: Path,
        summary: dict[str, Any],
        index: Index,
        sources: list[Source],
        places: Places,
        *,
        frames: ShardStore | None = None,
        sizes: dict[str, float] | None = None,
        told: list[dict[str, float]] | None = None,
    ) -> None:
        self.path: Path = root
        self.summary = summary
        self.index = index
        self.quick: Quick | None = None
        self._arrays = Arrays(root, sources)
        self._places = places
        self._frames = frames
        self.sizes = sizes
        self._told = told or [{}] * len(sources)
        self._closed = False

    @property
    def finished(self) -> bool:
        """Others' datasets do not say; they are taken for finished."""
        return self._frames is None or self._frames.finished

    def missing(self) -> dict[str, int]:
        return {}  # a chunk that is not there is zeros

    def shape_of(self, row: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        number, at = self._places.of(row)
        return self._arrays.image_shape(number, at), self._arrays.get(number).dtype

    def bit_depth_of(self, row: int) -> int:
        return 8 * int(self.shape_of(row)[1].itemsize) if self._frames is None else self._frames.bit_depth_of(row)

    def read(self, row: int) -> np.ndarray:
        if self._closed:
            raise ClosedError(f"the dataset {self.path} was closed")
        return self._arrays.read(*self._places.of(row))

    def view(self, row: int) -> np.ndarray:
        image = self.read(row)  # chunks may be compressed, so there is nothing to map
        image.flags.writeable = False
        return image

    def metadata(self, row: int) -> dict[str, Any]:
        if self._frames is not None:
            return self._frames.metadata(row)
        return {**self._told[self._places.of(row)[0]], "Axes": self.index.axes_of(row)}

    def differing(self, rows: np.ndarray) -> int:
        numbers, at, which = np.unique(self._places.numbers(rows), return_index=True, return_inverse=True)
        first = self.shape_of(int(rows[0]))
        odd = np.array([self.shape_of(int(rows[i])) != first for i in at.tolist()])
        found = odd[which]
        return int(rows[found.argmax()]) if len(numbers) > 1 and found.any() else -1

    def blocks(self, rows: np.ndarray) -> ZarrBlocks:
        return ZarrBlocks(self._arrays, self._places.take(rows))

    def close(self) -> None:
        self._closed = True
        if self._frames is not None:
            self._frames.close()


@dataclass
class ZarrBlocks:
    """Reads many images into one array; can be pickled."""

    arrays: Arrays
    places: Places

    def read_into(self, rows: list[int], out: np.ndarray, window: tuple[slice, slice]) -> None:
        for i, row in enumerate(rows):
            if row >= 0:
                out[i] = self.arrays.read(*self.places.of(row), window)
