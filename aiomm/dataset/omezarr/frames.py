"""The frame log: what was saved where, one line of JSON each, appended in the order saved.

``frames.ndjson`` holds each image's metadata. ``index.ndjson`` says which image is where; a line in it is what makes an
image saved. Its lines are an image group the first time it is used, a frame, or the end.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.encode import encode_json
from aiomm.dataset.index import Index
from aiomm.dataset.omezarr.layout import ImagePlan
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.dataset.storage import Axes

INDEX_NAME: Final = "index.ndjson"
FRAMES_NAME: Final = "frames.ndjson"
END: Final = b'{"finished":true}\n'
_PIECE: Final = 2**18
"""Bytes parsed at once, so that what parsing makes is soon let go."""
IMAGE, SHARD, OFFSET, METADATA, LENGTH, BITS = range(6)


def pack_image(plan: ImagePlan) -> bytes:
    """Make the line that tells of an image group."""
    return (
        encode_json(
            {
                "group": plan.number, "path": plan.path, "place": plan.place, "names": plan.names, "shape": plan.shape,
                "dtype": str(plan.dtype), "box": plan.box, "bits": plan.bit_depth,
            }
        )
        + b"\n"
    )  # fmt: skip


def pack_frame(axes: Axes, image: int, index: tuple[int, ...], offset: int, metadata: tuple[int, int], bits: int) -> bytes:
    """Make the line of a frame."""
    at, length = metadata
    places = ",".join(map(str, index))
    head = json.dumps(axes, separators=(",", ":"))
    return f'{{"axes":{head},"image":{image},"index":[{places}],"offset":{offset},"metadata":[{at},{length}],"bits":{bits}}}\n'.encode(
        "ascii"
    )


class Log:
    """What a log says, read piece by piece.

    Parameters
    ----------
    where : str
        Name of the log, for messages.
    keep_indexes : bool
        Whether `indexes` is wanted.

    Attributes
    ----------
    images : list of ImagePlan
        The groups; their extents are those of the frames.
    index : Index
        Axes of the rows.
    shards : list of str
        Paths from the root, as the table numbers them.
    indexes : list of tuple
        Of each row, its place in its array along the group's names.
    finished : bool
        Whether the end is there.
    """

    def __init__(self, where: str, *, keep_indexes: bool = False) -> None:
        self.where = where
        self.images: list[ImagePlan] = []
        self.index = Index()
        self.shards: list[str] = []
        self.indexes: list[tuple[int, ...]] = []
        self.finished = False
        self._keep = keep_indexes
        self._rows = np.zeros((0, 6), dtype=np.int64)
        self.on_rows: Callable[[np.ndarray], None] | None = None
        """Told of the table, which may have rows to spare, before the index has its rows."""
        self._numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self._lines = 0

    def table(self) -> np.ndarray:
        """Of each row: image, shard, offset in it, offset and length of its metadata, significant bits."""
        return self._rows[: len(self.index)]

    def add(self, data: bytes) -> int:
        """Read the whole lines at the beginning of ``data``; say how many bytes they are.

        Raises
        ------
        DatasetFormatError
            A line cannot be right; the message names it.
        """
        begin, end = 0, data.rfind(b"\n") + 1
        while begin < end:
            stop = data.rfind(b"\n", begin, min(begin + _PIECE, end)) + 1 or data.index(b"\n", begin) + 1
            self._add(data[begin : stop - 1].split(b"\n"))
            begin = stop
        return end

    def _add(self, lines: list[bytes]) -> None:
        try:
            records: Any = json.loads(b"[" + b",".join(lines) + b"]")
        except (ValueError, RecursionError):
            records = []
        if len(records) != len(lines):
            records = [self._parse_line(line, self._lines + number) for number, line in enumerate(lines, 1)]
        frames: list[Any] = []
        for number, record in enumerate(records):
            if type(record) is dict and "axes" in record:
                frames.append(record)
                continue
            self._add_frames(frames, self._lines + number - len(frames))
            frames = []
            try:
                if type(record) is not dict:
                    raise TypeError("it is not a JSON object")
                if "group" in record:
                    self.images.append(_image(record, len(self.images)))
                elif "finished" in record:
                    self.finished = bool(record["finished"])
            except (KeyError, TypeError, ValueError) as error:
                raise self._wrong(self._lines + number + 1, error) from None
        self._add_frames(frames, self._lines + len(records) - len(frames))
        self._lines += len(lines)

    def _add_frames(self, frames: list[Any], before: int) -> None:
        """Add rows that follow each other; ``before`` lines stand before them."""
        if not frames:
            return
        try:
            self._append(self._places(frames))
            self.index.extend([frame["axes"] for frame in frames])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            if len(frames) == 1:
                raise self._wrong(before + 1, error) from None
            for number, frame in enumerate(frames):  # one of them is wrong: which?
                self._add_frames([frame], before + number)
            return
        if self._keep:
            self.indexes += [tuple(frame["index"]) for frame in frames]

    def _append(self, table: np.ndarray) -> None:
        count = len(self.index)
        if count + len(table) > len(self._rows):
            grown = np.zeros((max(64, 2 * count, count + len(table)), 6), dtype=np.int64)
            grown[:count] = self._rows[:count]
            self._rows = grown
        self._rows[count : count + len(table)] = table
        if self.on_rows is not None:
            self.on_rows(self._rows)

    def _places(self, frames: list[Any]) -> np.ndarray:
        rows = [(frame["image"], 0, frame["offset"], *frame["metadata"], frame["bits"]) for frame in frames]
        if set(map(type, chain(chain.from_iterable(rows), chain.from_iterable([frame["index"] for frame in frames])))) != {int}:
            raise ValueError("a place that is no number")
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 6)
        if (table < 0).any():
            raise ValueError("a place that is negative")
        images = table[:, IMAGE]
        for image in np.unique(images).tolist():
            plan = self.images[image]
            chosen = np.flatnonzero(images == image)
            index = np.array([frames[i]["index"] for i in chosen.tolist()], dtype=np.int64)
            if index.shape != (len(chosen), len(plan.names)):
                raise ValueError(f"an index that is not of {len(plan.names)} numbers")
            if (index < 0).any():
                raise ValueError("an index that is negative")
            if not plan.names:
                table[chosen, SHARD] = self._shard(plan, ())
                continue
            plan.extents = np.maximum(plan.extents, index.max(axis=0) + 1).tolist()
            keys, of_key = np.unique(index // np.array(plan.box), axis=0, return_inverse=True)
            numbers = [self._shard(plan, tuple(key)) for key in keys.tolist()]
            table[chosen, SHARD] = np.array(numbers)[of_key.reshape(-1)]
        return table

    def _shard(self, plan: ImagePlan, key: tuple[int, ...]) -> int:
        number = self._numbers.get((plan.number, key))
        if number is None:
            number = self._numbers[plan.number, key] = len(self.shards)
            self.shards.append(plan.shard_path(key))
        return number

    def _parse_line(self, line: bytes, number: int) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetFormatError(f"{self.where}: line {number} is not JSON: {error}") from None

    def _wrong(self, number: int, error: Exception) -> DatasetFormatError:
        return DatasetFormatError(f"{self.where}: line {number} is no record of this log: {type(error).__name__}: {error}")


def parse_log(data: bytes, where: str, *, keep_indexes: bool = False) -> Log:
    """Read a whole log; a last line cut short, as a killed writer leaves it, is passed over.

    Raises
    ------
    DatasetFormatError
        A line cannot be right; the message names it.
    """
    log = Log(where, keep_indexes=keep_indexes)
    log.add(data.rstrip(b"\0"))
    return log


def _image(record: Any, number: int) -> ImagePlan:
    names, shape, box = (tuple(record[key]) for key in ("names", "shape", "box"))
    path = record["path"]
    if record["group"] != number or record["dtype"] not in ("uint8", "uint16"):
        raise ValueError("groups are numbered in order and hold uint8 or uint16")
    if not isinstance(path, str) or path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise ValueError(f"path {path!r} leads out of the folder")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names) or len(box) != len(names):
        raise ValueError(f"axes {names} with shards of {box}")
    if not all(isinstance(n, int) and 0 < n < 2**40 for n in (*shape, *box)) or not (
        len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    ):
        raise ValueError(f"images of {shape} in shards of {box}")
    dtype = np.dtype(record["dtype"])
    return ImagePlan(number, path, record["place"], names, shape, dtype, box, int(record["bits"]), [0] * len(names))
