"""What can be told from the files of a damaged OME-Zarr dataset: which images are whole, and on which axes each belongs.

Three things say so: the log; the index of each shard, which has a checksum; and each image's metadata, which has its axes,
in the order in which axes got their places in the arrays. An image is believed where two of them agree.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.encode import check_axes, encode_metadata
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.frames import FRAMES_NAME, INDEX_NAME, Log
from aiomm.dataset.omezarr.layout import new_slots, parent_of, split_axes
from aiomm.dataset.omezarr.shard import MISSING, PAGE, alignment, parse_index
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from aiomm.dataset.omezarr.layout import AxisSlots, ImagePlan
    from aiomm.dataset.storage import Axes

LAST: Final = 2**62
"""Order of images that nothing says when they were saved: by their places in their shards."""
_MOST_HOLES: Final = 64


@dataclass(slots=True, eq=False)
class Row:
    """An image that is to be in the log.

    Attributes
    ----------
    order : int
        Where its metadata was written first.
    metadata : (int, int)
        Where it is: offset and length.
    text : bytes
        Metadata to write; empty if it is there.
    """

    axes: Axes
    plan: ImagePlan
    index: tuple[int, ...]
    offset: int
    metadata: tuple[int, int]
    bits: int
    order: int
    text: bytes = b""


class Shard:
    """A shard's file as it is, and which of its bytes belong to images of the log."""

    def __init__(self, path: Path, plan: ImagePlan) -> None:
        self.path = path
        self._bytes = plan.image_bytes
        self._chunks = plan.chunks
        self.size = -1
        data = b""
        if path.is_file():
            with path.open("rb") as file:
                data, self.size = file.read(PAGE), path.stat().st_size
        found = parse_index(data, plan.chunks)
        self.entries: list[list[int]] | None = None if found is None else found.tolist()
        self._taken: dict[int, tuple[int, int]] = {}  # offset of an image: order, chunk

    def holds(self, offset: int) -> bool:
        """Whether an image can be there."""
        return PAGE <= offset <= self.size - self._bytes and offset % alignment(self._bytes) == 0

    def offset_of(self, chunk: int) -> int | None:
        """Where the index says that a chunk is; None if it does not, or cannot be right."""
        if self.entries is None:
            return None
        offset, length = self.entries[chunk]
        return offset if length == self._bytes and self.holds(offset) else None

    def free(self, offset: int, order: int) -> bool:
        """Whether an image can be there beside those that are: images come one after the other."""
        return all(
            abs(other - offset) >= self._bytes and (other < offset) == (before < order) for other, (before, _) in self._taken.items()
        )

    def taken(self, offset: int) -> bool:
        """Whether a row has the image there."""
        return offset in self._taken

    def take(self, offset: int, order: int, chunk: int) -> None:
        """Note an image of the log."""
        self._taken[offset] = order, chunk

    def wanted(self) -> list[list[int]] | None:
        """Make the index as it should be; None if it is."""
        if self.size < 0:
            return None
        wanted = [[MISSING, MISSING] for _ in range(self._chunks)]
        for offset, (_, chunk) in sorted(self._taken.items(), key=lambda item: item[1]):
            wanted[chunk] = [offset, self._bytes]
        for chunk in range(self._chunks):
            offset_there = self.offset_of(chunk)
            if offset_there is not None:
                wanted[chunk] = [offset_there, self._bytes]
        return None if wanted == self.entries else wanted


class Salvage:
    """Finds the images of a dataset. `rows` has them, in the order saved.

    Attributes
    ----------
    plans : list of ImagePlan
        The groups they are in.
    slots : dict
        Places along the axes.
    removed : dict
        Why records of the log are wrong, and how many.
    recovered, lost, unnamed, moved : int
        Images that the log did not have; images that were saved and are gone; images that nothing gives axes to; images
        whose metadata is elsewhere.
    unreadable : int
        Lines of the log that are none.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.log = _content(root / INDEX_NAME)
        self.frames = _content(root / FRAMES_NAME)
        self.shards: dict[tuple[str, tuple[int, ...]], Shard] = {}
        self.slots: dict[str, AxisSlots] = {}
        self.rows: list[Row] = []
        self.removed: dict[str, int] = {}
        self.recovered = self.lost = self.unnamed = self.moved = 0
        self.steps = ome.Steps(ome.Scales())
        log, self.unreadable = read_log(self.log or b"", str(root / INDEX_NAME))
        self._there: set[tuple[str, tuple[int, ...]]] = set()
        self._axes: set[Any] = set()
        self._types: dict[str, type] = {}
        self._bare: list[Row] = []  # rows whose metadata is not where they say
        self.finished = log.finished
        gone = self._judge(log)
        self.plans = [plan for plan in log.images if any(row.plan is plan for row in self.rows)]
        self._from_metadata(gone)
        self._from_shards()
        for number, plan in enumerate(self.plans):
            plan.number = number
            plan.extents = [0] * len(plan.names)
        for row in self.rows:
            row.plan.extents = [max(pair) for pair in zip(row.plan.extents, (at + 1 for at in row.index), strict=True)]
        self.rows.sort(key=lambda row: row.order)

    # ---- what the log says ----------------------------------------------------------------------------------------

    def _judge(self, log: Log) -> list[Row]:
        """Take the rows that are right; give the others."""
        doubtful: list[tuple[Row, dict[str, Any] | None]] = []
        misplaced = self._misplaced(log.images)
        for number, (place, index) in enumerate(zip(log.table().tolist(), log.indexes, strict=True)):
            image, _, offset, begin, length, bits = place
            axes = log.index.axes_of(number)
            row = Row(axes, log.images[image], index, offset, (begin, length), bits, begin)
            metadata = self._metadata(begin, length)
            if (
                metadata is not None
                and metadata.get("Axes") == axes
                and _fits(row)
                and row.plan not in misplaced
                and self._indexed(row)
                and not self._has(row)
            ):
                self._take(row, metadata)
            else:
                doubtful.append((row, metadata))
        gone: list[Row] = []
        for row, metadata in doubtful:
            why = "two groups are said to be in one place" if row.plan in misplaced else self._wrong(row, metadata)
            if why:
                self.removed[why] = self.removed.get(why, 0) + 1
                gone.append(row)
                continue
            if metadata is None or metadata.get("Axes") != row.axes:
                self._bare.append(row)
            self._take(row, metadata or {})
        return gone

    def _misplaced(self, plans: list[ImagePlan]) -> set[ImagePlan]:
        """Groups with the path of another one, which comes where this path was next."""
        wrong: set[ImagePlan] = set()
        paths = [plan.path for plan in plans]
        for plan in plans:
            parent, _, name = plan.path.rpartition("/")
            before = {path for path in paths[: plan.number] if path.rpartition("/")[0] == parent and path}
            if paths.count(plan.path) > 1 and name != str(len(before)):
                wrong.add(plan)
        return wrong

    def _wrong(self, row: Row, metadata: dict[str, Any] | None) -> str:
        """Say what speaks against a row that not everything speaks for."""
        if not _fits(row):
            return "their axes are not those of their group"
        shard, chunk = self._chunk(row.plan, row.index)
        if shard.size < row.offset + row.plan.image_bytes:
            return f"{row.plan.shard_path(row.plan.shard_of(row.index)[0])} " + ("ends before them" if shard.size >= 0 else "is not there")
        axes, other = axes_in(metadata), shard.offset_of(chunk)
        placed = self._placed(row.plan, row.index, row.axes)
        if axes is not None and axes.keys() == row.axes.keys() and placed < self._placed(row.plan, row.index, axes):
            return "their metadata has other axes"
        if axes != row.axes and other != row.offset and shard.entries is not None:
            return "neither the shard nor the metadata has them"
        overlap = other is not None and 0 < abs(other - row.offset) < row.plan.image_bytes
        if not placed or overlap or not (shard.holds(row.offset) and shard.free(row.offset, row.order)):
            return "something else is there"
        return ""

    def _metadata(self, begin: int, length: int) -> dict[str, Any] | None:
        return _load((self.frames or b"")[begin : begin + length])

    def _indexed(self, row: Row) -> bool:
        shard, chunk = self._chunk(row.plan, row.index)
        return shard.offset_of(chunk) == row.offset

    def _has(self, row: Row) -> bool:
        shard, _ = self._chunk(row.plan, row.index)
        return shard.taken(row.offset)

    def _placed(self, plan: ImagePlan, index: tuple[int, ...], axes: Axes) -> int:
        """Whether axes belong at a place of an array: 0 if not, 1 if nothing else is there, 2 if they are known to."""
        sure = 2
        for name, at in zip(plan.names, index, strict=True):
            slots, value = self.slots.setdefault(name, new_slots(name)), axes[name]
            known = slots.get(value)
            if known is None:
                if at < len(slots.values) and slots.values[at] is not None:
                    return 0
                sure = min(sure, 2 if value == at else 1)
            elif known != at:
                return 0
        return sure

    def _chunk(self, plan: ImagePlan, index: tuple[int, ...]) -> tuple[Shard, int]:
        key, chunk = plan.shard_of(index)
        path = plan.shard_path(key)
        shard = self.shards.get((path, plan.box))
        if shard is None:
            shard = self.shards[path, plan.box] = Shard(self._root / path, plan)
        return shard, chunk

    def _take(self, row: Row, metadata: dict[str, Any]) -> None:
        shard, chunk = self._chunk(row.plan, row.index)
        shard.take(row.offset, row.order, chunk)
        for name, at in zip(row.plan.names, row.index, strict=True):
            slots = self.slots.setdefault(name, new_slots(name))
            if slots.get(row.axes[name]) is None:
                slots.put(row.axes[name], at)
        for name, value in row.axes.items():
            self._types[name] = type(value)
        self.steps.learn(row.plan, row.index, metadata)
        self._there.add((row.plan.path, row.index))
        self._axes.add(_key(row.axes))
        self.rows.append(row)

    # ---- what the metadata says -----------------------------------------------------------------------------------

    def _from_metadata(self, gone: list[Row]) -> None:
        """Find images that have metadata, but no row, where their axes would have put them."""
        lines = list(self._lines({row.metadata[0] for row in self.rows} - {row.metadata[0] for row in self._bare}))
        last = {_key(axes): (begin, length) for begin, length, axes, _ in lines}
        used = {row: last[_key(row.axes)] for row in self._bare if _key(row.axes) in last}
        claimed, self.moved = set(used.values()), len(used)
        spare: dict[tuple[int, int], dict[str, Any]] = {}
        for begin, length, axes, metadata in lines:
            if (begin, length) in claimed:
                continue
            row = None if last[_key(axes)] != (begin, length) else self._find(axes, begin, length, metadata)
            if row is not None:
                self.recovered += 1
                self._take(row, metadata)
                continue
            spare[begin, length] = metadata
            for name in split_axes(axes, grey=True)[0]:  # it had its place, so others after it have theirs
                self.slots.setdefault(name, new_slots(name)).slot(axes[name])
        for row in self._bare:
            if row in used:
                row.metadata = used[row]
            else:  # of its own there may be all but the axes
                row.text = encode_metadata(spare.pop(row.metadata, {}), row.axes)
        self._count_lost(gone, [axes for begin, length, axes, _ in lines if (begin, length) in spare])

    def _count_lost(self, gone: list[Row], unplaced: list[Axes]) -> None:
        gone_axes = {_key(row.axes) for row in gone if self._metadata(*row.metadata) is None}
        self.lost = len((gone_axes | set(map(_key, unplaced))) - self._axes)

    def _lines(self, known: set[int]) -> Iterator[tuple[int, int, Axes, dict[str, Any]]]:
        """Offset, length, axes and metadata of each image that no row has."""
        begin = 0
        for line in (self.frames or b"").split(b"\n"):
            axes = axes_in(metadata := _load(line)) if begin not in known else None
            if axes is not None and metadata is not None:
                yield begin, len(line), axes, metadata
            begin += len(line) + 1

    def _find(self, axes: Axes, begin: int, length: int, metadata: dict[str, Any]) -> Row | None:
        if any(self._types.get(name, type(value)) is not type(value) for name, value in axes.items()):
            return None  # an axis is all integers or all strings
        for names, others in dict.fromkeys(split_axes(axes, grey=grey) for grey in (True, False)):
            place = dict(others)
            plans = [plan for plan in self.plans if plan.names == names and plan.place == place]
            fresh = None if _key(axes) in self._axes else self._new_plan(names, place, metadata)
            for index, plan in itertools.product(self._indices(names, axes), plans if fresh is None else [*plans, fresh]):
                shard, chunk = self._chunk(plan, index)
                offset = shard.offset_of(chunk)
                if offset is not None and shard.free(offset, begin):
                    if plan is fresh:
                        self.plans.append(plan)
                    return Row(axes, plan, index, offset, (begin, length), _bits(metadata, plan), begin)
        return None

    def _indices(self, names: tuple[str, ...], axes: Axes) -> Iterable[tuple[int, ...]]:
        """Places where an image may be. Names have no free places between them but those that were lost; numbers may."""
        options: list[list[int]] = []
        for name in names:
            slots, value = self.slots.setdefault(name, new_slots(name)), axes[name]
            known, after = slots.get(value), slots.next(value)
            if known is not None or after == value:
                options.append([after if known is None else known])
                continue
            holes = [at for at, there in enumerate(slots.values) if there is None][:_MOST_HOLES]
            options.append([*holes, after] if isinstance(value, str) else [after, *holes])
        return itertools.product(*options)

    def _new_plan(self, names: tuple[str, ...], place: Axes, metadata: dict[str, Any]) -> ImagePlan | None:
        """Find the group that these axes would have been given next, if its array is there."""
        kind = "image" if (self._root / "0" / "c").is_dir() else "series" if (self._root / "OME").is_dir() else "plate"
        used = {plan.path for plan in self.plans}
        if kind == "image" and "" not in used:
            path = ""
        else:
            parent = parent_of(kind, place)
            paths = (f"{parent}/{number}" if parent else str(number) for number in itertools.count())
            path = next(path for path in paths if path not in used)
        content = _load(_content(self._root / path / "0" / ome.FILE) or b"")
        plan = ome.parse_array(content, len(self.plans), path, place, names)
        if plan is not None:
            plan.bit_depth = _bits(metadata, plan)
        return plan

    # ---- what the shards say --------------------------------------------------------------------------------------

    def _from_shards(self) -> None:
        """Find images that neither a row nor metadata tells of, on axes whose places are all known."""
        for plan in self.plans:
            folder = self._root / plan.path / "0" / "c"
            for file in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
                where = dict(zip((*plan.leading, "y", "x"), file.relative_to(folder).parts, strict=False))
                if not all(where.get(name, "").isdecimal() for name in plan.names):
                    continue
                key = tuple(int(where[name]) for name in plan.names)
                if self._root / plan.shard_path(key) == file:
                    self._from_shard(plan, key)

    def _from_shard(self, plan: ImagePlan, key: tuple[int, ...]) -> None:
        for within in itertools.product(*map(range, plan.box)):
            index = tuple(k * length + at for k, length, at in zip(key, plan.box, within, strict=True))
            shard, chunk = self._chunk(plan, index)
            offset = shard.offset_of(chunk)
            if offset is None or shard.taken(offset):
                continue
            values = [self.slots[name].values[at : at + 1] or [None] for name, at in zip(plan.names, index, strict=True)]
            axes: Axes = {**plan.place, **{name: one[0] for name, one in zip(plan.names, values, strict=True) if one[0] is not None}}
            if (plan.path, index) in self._there or len(axes) < len(plan.place) + len(plan.names) or _key(axes) in self._axes:
                self.unnamed += 1
                continue
            self._take(Row(axes, plan, index, offset, (0, 0), plan.bit_depth, LAST + offset, encode_metadata({}, axes)), {})
            self.recovered += 1


def read_log(data: bytes, where: str) -> tuple[Log, int]:
    """Read what can be read of a log; say how many lines cannot."""
    log = Log(where, keep_indexes=True)
    try:
        log.add(data.rstrip(b"\0"))
    except DatasetFormatError:
        log, wrong = Log(where, keep_indexes=True), 0
        for line in data[: data.rfind(b"\n")].split(b"\n"):
            try:
                log.add(line + b"\n")
            except DatasetFormatError:
                wrong += 1
        return log, wrong
    return log, 0


def axes_in(metadata: dict[str, Any] | None) -> Axes | None:
    """Axes that metadata has; None if it has none that can be right."""
    try:
        return None if metadata is None else check_axes(metadata["Axes"])
    except (KeyError, TypeError, ValueError):
        return None


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _load(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _key(axes: Axes) -> frozenset[tuple[str, int | str]]:
    return frozenset(axes.items())


def _fits(row: Row) -> bool:
    """Whether a row's axes are those that its group takes."""
    return row.axes.keys() == {*row.plan.names, *row.plan.place} and all(row.axes[name] == value for name, value in row.plan.place.items())


def _bits(metadata: dict[str, Any], plan: ImagePlan) -> int:
    depth, most = metadata.get("BitDepth"), 8 * plan.dtype.itemsize
    return depth if type(depth) is int and 0 < depth <= most else most
