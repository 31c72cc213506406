"""Read the images of an OME-Zarr dataset that aiomm wrote: its log says in which shard, and where there, an image is."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff.blocks import read_near
from aiomm.dataset.ndtiff.files import missing_files, open_input
from aiomm.dataset.ndtiff.format import load_json
from aiomm.dataset.ndtiff.store import decode_metadata
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.frames import BITS, FRAMES_NAME, IMAGE, INDEX_NAME, LENGTH, METADATA, OFFSET, SHARD, parse_log
from aiomm.errors import ClosedError, DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiomm.dataset.ndtiff.files import InputFile
    from aiomm.dataset.omezarr.layout import ImagePlan
    from aiomm.dataset.omezarr.slab import Slab
    from aiomm.dataset.storage import Axes, Quick

OPEN_FILES: Final = 128


def has_log(path: Path) -> bool:
    """Whether a folder looks like an OME-Zarr dataset that aiomm wrote."""
    return (path / INDEX_NAME).is_file() and (path / ome.FILE).is_file()


def is_ours(path: Path) -> bool:
    """Whether there is an OME-Zarr dataset that aiomm wrote, whole or damaged."""
    if (path / INDEX_NAME).is_file() or (path / FRAMES_NAME).is_file():
        return True
    return (path / ome.FILE).is_file() and b'"%s":' % ome.KEY.encode() in (path / ome.FILE).read_bytes()


def read_group(path: Path) -> dict[str, Any]:
    """Read the attributes of a group.

    Raises
    ------
    DatasetFormatError
        It is none.
    """
    file = path / ome.FILE
    try:
        content = load_json(file.read_bytes())
        attributes = content["attributes"] if "attributes" in content else {}
        if content["node_type"] != "group" or not isinstance(attributes, dict):
            raise ValueError("it is no group")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetFormatError(f"{file}: cannot be read as a Zarr group: {error}") from None
    return attributes


def unreadable(file: Path, error: OSError) -> DatasetFormatError:
    """Make the error for a log that cannot be read."""
    why = "it is not there" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error.strerror}"
    return DatasetFormatError(f"{file}: {why}; it must be the file in which aiomm wrote which image is where")


def open_log(path: Path) -> ShardStore:
    """Open a dataset that aiomm wrote, also one that is torn or not finished.

    Raises
    ------
    DatasetFormatError
        It cannot be read; the message names the file and the place.
    """
    own = read_group(path).get(ome.KEY)
    summary = own.get("summary") if isinstance(own, dict) else None
    file = path / INDEX_NAME
    try:
        data = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from error
    log = parse_log(data, str(file))
    store = ShardStore(path, summary if isinstance(summary, dict) else {}, log.index, log.images, log.shards, log.table())
    if log.finished:
        store.finish()
    return store


class ShardInputs:
    """Shards opened when first read; the ones not used for longest are let go."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self._names = names
        self._open: OrderedDict[int, InputFile] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def get(self, number: int) -> InputFile:
        """The file of a number; -1 is the frames' metadata.

        Raises
        ------
        DatasetFormatError
            It is not there, or cannot be opened.
        ClosedError
            The dataset was closed.
        """
        with self._lock:
            self.check_closed()
            file = self._open.get(number)
            if file is None:
                path = self._root / (FRAMES_NAME if number < 0 else self._names[number])
                file = self._open[number] = open_input(path, "log")
                if len(self._open) > OPEN_FILES:
                    self._open.popitem(last=False)  # closed when the last reader lets go
            else:
                self._open.move_to_end(number)
            return file

    def check_closed(self) -> None:
        """Raise ClosedError if the dataset was closed."""
        if self._closed:
            raise ClosedError(f"the dataset {self._root} was closed")

    def close(self) -> None:
        """Let go of the files; reads in progress end well."""
        with self._lock:
            self._closed = True
            self._open.clear()


class ShardStore:
    """The images of a dataset, as its log lists them.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    summary : dict
        Its summary metadata.
    index : Index
        Axes of the rows.
    images : list of ImagePlan
        Its image groups.
    shards : list of str
        Paths of the shards.
    table : numpy.ndarray
        Places of the rows; see `frames.Log`.
    """

    def __init__(
        self, root: Path, summary: dict[str, Any], index: Index, images: list[ImagePlan], shards: list[str], table: np.ndarray
    ) -> None:
        self.path: Path = root
        self.summary = summary
        self.index = index
        self.quick: Quick | None = None
        self.sizes: dict[str, float] | None = None
        self.images = images
        self.shards = shards
        self._table = table
        self._inputs = ShardInputs(root, shards)
        self._finished = False

    def finish(self) -> None:
        """Nothing more will be written."""
        self._finished = True
        self.index.growth.end()

    @property
    def finished(self) -> bool:
        """Whether the log has its last line."""
        return self._finished

    def missing(self) -> dict[str, int]:
        return missing_files(self.path, list(self.shards), self._table[: len(self.index), SHARD])

    def plan_of(self, row: int) -> ImagePlan:
        """Image group of a row."""
        return self.images[int(self._table[row, IMAGE])]

    def shape_of(self, row: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        plan = self.plan_of(row)
        return plan.shape, plan.dtype

    def bit_depth_of(self, row: int) -> int:
        return int(self._table[row, BITS])

    def read(self, row: int) -> np.ndarray:
        image, shard, offset, *_ = self._table[row].tolist()
        plan = self.images[image]
        file = self._inputs.get(shard)
        if plan.image_bytes > 2**20 and offset + plan.image_bytes > file.size():  # before the memory is asked for
            raise file.too_short(offset, plan.image_bytes)
        out = np.empty(plan.shape, plan.dtype)
        file.read_into(out, offset)
        return out

    def view(self, row: int) -> np.ndarray:
        number, shard, offset, *_ = self._table[row].tolist()
        plan = self.images[number]
        image_view: np.ndarray = self._inputs.get(shard).view(offset, plan.image_bytes).view(plan.dtype).reshape(plan.shape)
        return image_view

    def metadata(self, row: int) -> dict[str, Any]:
        place = self._table[row].tolist()
        file = self._inputs.get(-1)
        return decode_metadata(file.read(place[METADATA], place[LENGTH]), f"{file.path}, image {self.index.axes_of(row)}")

    def differing(self, rows: np.ndarray) -> int:
        kinds: dict[Any, int] = {}
        of_image = np.array([kinds.setdefault((plan.shape, plan.dtype), len(kinds)) for plan in self.images])
        found = of_image[self._table[rows, IMAGE]]
        differ = found != found[0]
        return int(rows[differ.argmax()]) if differ.any() else -1

    def blocks(self, rows: np.ndarray) -> ShardBlocks:
        self._inputs.check_closed()
        places = self._table[rows][:, [SHARD, OFFSET]]
        numbers, local = np.unique(places[:, 0], return_inverse=True)
        return ShardBlocks(
            self.path, [self.shards[number] for number in numbers.tolist()], local, places[:, 1], *self.shape_of(int(rows[0]))
        )

    def close(self) -> None:
        self._inputs.close()


class LiveStore(ShardStore):
    """A store that grows, and looks into the writer's buffers first."""

    def __init__(self, root: Path, summary: dict[str, Any], images: list[ImagePlan], shards: list[str], slabs: list[Slab]) -> None:
        super().__init__(root, summary, Index(), images, shards, np.zeros((64, 6), dtype=np.int64))
        self._slabs = slabs

    def add(self, axes: Axes, place: tuple[int, ...]) -> None:
        """Add a row; for the writer."""
        count = len(self.index)
        if count == len(self._table):
            grown = np.zeros((2 * count, 6), dtype=np.int64)
            grown[:count] = self._table
            self._table = grown
        self._table[count] = place
        self.index.append(axes)

    def finish(self) -> None:
        super().finish()
        self._slabs = []

    def read(self, row: int) -> np.ndarray:
        plan = self.plan_of(row)
        for slab in self._slabs:
            copy = slab.read(row, plan.image_bytes)
            if copy is not None:
                return copy.view(plan.dtype).reshape(plan.shape)
        return super().read(row)


class ShardBlocks:
    """Reads many images into one array; can be pickled."""

    def __init__(self, root: Path, shards: list[str], numbers: np.ndarray, offsets: np.ndarray, shape: Any, dtype: Any) -> None:
        self._state = (root, shards, numbers, offsets, shape, dtype)
        self._numbers, self._offsets = numbers, offsets
        self._shape, self._dtype = shape, dtype
        self._inputs = ShardInputs(root, shards)

    def __getstate__(self) -> Any:
        return self._state

    def __setstate__(self, state: Any) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def read_into(self, rows: list[int], out: np.ndarray, window: tuple[slice, slice]) -> None:
        wanted = np.array(rows, dtype=np.int64)
        at = np.flatnonzero(wanted >= 0)
        numbers, offsets = self._numbers[wanted[at]], self._offsets[wanted[at]]
        if self._shape == out.shape[1:]:
            if len(at):
                read_near(self._inputs.get, numbers, offsets, at, out)
            return
        count = math.prod(self._shape) * self._dtype.itemsize
        for i, number, offset in zip(at.tolist(), numbers.tolist(), offsets.tolist(), strict=True):
            out[i] = self._inputs.get(number).view(offset, count).view(self._dtype).reshape(self._shape)[window]
