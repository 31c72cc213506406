"""The frame log: what was saved where, one line of JSON each, appended in the order saved.

``frames.ndjson`` holds each image's metadata. ``index.ndjson`` says which image is where; a line in it is what makes an
image saved. Its lines are an image group the first time it is used, a frame, or the end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.encode import AXIS_LIMIT, encode_json
from aiomm.dataset.omezarr.layout import ImagePlan
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from aiomm.dataset.storage import Axes

INDEX_NAME: Final = "index.ndjson"
FRAMES_NAME: Final = "frames.ndjson"
END: Final = b'{"finished":true}\n'
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
    """What a log says.

    Attributes
    ----------
    images : list of ImagePlan
        The groups; their extents are those of the frames.
    axes : list of dict
        Of each row.
    table : numpy.ndarray
        Of each row: image, shard, offset in it, offset and length of its metadata, significant bits.
    shards : list of str
        Paths from the root, as the table numbers them.
    indexes : list of tuple
        Of each row, its place in its array along the group's names.
    finished : bool
        Whether the end is there.
    """

    def __init__(self) -> None:
        self.images: list[ImagePlan] = []
        self.axes: list[Axes] = []
        self.table = np.zeros((0, 6), dtype=np.int64)
        self.shards: list[str] = []
        self.indexes: list[tuple[int, ...]] = []
        self.finished = False


def parse_log(data: bytes, where: str) -> Log:
    """Read a log; a last line cut short, as a killed writer leaves it, is passed over.

    Raises
    ------
    DatasetFormatError
        A line cannot be right; the message names it.
    """
    log = Log()
    end = data.rfind(b"\n") + 1
    lines = data[:end].rstrip(b"\0\n").split(b"\n") if end else []
    try:
        records: Any = json.loads(b"[" + b",".join(lines) + b"]") if lines and lines[0] else []
        well = len(records) == len(lines)
    except (ValueError, RecursionError):
        well = False
    if not well:
        records = [_parse_line(line, number, where) for number, line in enumerate(lines, 1) if line]
    rows: list[tuple[int, ...]] = []
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    for number, record in enumerate(records, 1):
        try:
            if type(record) is not dict:
                raise TypeError("it is not a JSON object")
            if "axes" in record:
                plan = log.images[record["image"]]
                index = tuple(record["index"])
                key, _ = plan.shard_of(index)
                shard = numbers.get((plan.number, key))
                if shard is None:
                    shard = numbers[plan.number, key] = len(log.shards)
                    log.shards.append(plan.shard_path(key))
                at, length = record["metadata"]
                rows.append((plan.number, shard, record["offset"], at, length, record["bits"]))
                log.axes.append(_checked(record["axes"]))
                log.indexes.append(index)
                plan.extents = [max(one, other + 1) for one, other in zip(plan.extents, index, strict=True)]
            elif "group" in record:
                log.images.append(_image(record, len(log.images)))
            elif "finished" in record:
                log.finished = bool(record["finished"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DatasetFormatError(f"{where}: line {number} is no record of this log: {type(error).__name__}: {error}") from None
    if rows:
        try:
            log.table = np.array(rows, dtype=np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetFormatError(f"{where}: a frame has a place that is no number: {error}") from None
        if (log.table[:, OFFSET:LENGTH] < 0).any():
            raise DatasetFormatError(
                f"{where}: line of frame {int((log.table[:, OFFSET:LENGTH] < 0).any(axis=1).argmax())}: a negative place"
            )
    return log


def _parse_line(line: bytes, number: int, where: str) -> Any:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetFormatError(f"{where}: line {number} is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise DatasetFormatError(f"{where}: line {number} is not a JSON object")
    return record


def _checked(axes: Any) -> Axes:
    for name, value in axes.items():
        kind = type(value)
        if not (kind is str or (kind is int and -AXIS_LIMIT < value < AXIS_LIMIT)):
            raise ValueError(f"axis {name!r} is {value!r:.60}, neither an integer nor a string")
    return axes  # type: ignore[no-any-return]


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
