"""The second half of writing: pixels to the shards, then the shards' indexes, then the arrays' shapes, then the log.

Nothing says more than what comes before it holds, so what a killed process leaves can be read by every reader.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import gt
from typing import TYPE_CHECKING, Final

from aiomm.dataset.committing import Commit
from aiomm.dataset.omezarr.frames import END, pack_frame, pack_image
from aiomm.dataset.omezarr.metadata import Steps
from aiomm.dataset.omezarr.slab import Entry, Slab

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.dataset.ndtiff.output import OutputIndex
    from aiomm.dataset.omezarr.folder import Groups
    from aiomm.dataset.omezarr.layout import ImagePlan, Layout
    from aiomm.dataset.omezarr.shard import ShardFile
    from aiomm.dataset.omezarr.store import LiveStore
    from aiomm.dataset.queueing import Intake
    from aiomm.dataset.storage import Durability

DIRECT_FROM: Final = 256 * 2**10
"""A write of at least this many bytes goes past the page cache, where that works."""
OPEN_SHARDS: Final = 64
AHEAD: Final = 256
"""An array is made longer along its first axis by an eighth, at most by this, so that not every time point writes its
metadata; the end makes it as long as its images say."""


class Committer(Commit[Slab, Entry]):
    """Writes slabs in order. One thread at a time.

    ``on_held()`` is called when frames are written and wait to be synced with others.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        store: LiveStore,
        layout: Layout,
        groups: Groups,
        index: OutputIndex,
        frames: OutputIndex,
        durability: Durability,
        interval: float,
        direct: bool,
        on_held: Callable[[], None],
    ) -> None:
        super().__init__(intake, durability, interval)
        self._on_held = on_held
        self._store = store
        self._layout = layout
        self._groups = groups
        self._index = index
        self._frames = frames
        self._frames_size = 0
        self._direct = direct
        self._open: OrderedDict[int, ShardFile] = OrderedDict()
        self._made: set[int] = set()  # numbers of the image groups on disk
        self._extents: dict[int, list[int]] = {}  # of the images in them; the arrays may be longer
        self._steps = Steps(groups.scales)

    def _write(self, slab: Slab) -> None:
        whole, failure = self._write_pixels(slab)
        failed = slab.entries[whole] if failure is not None else None
        if whole:
            self._written(slab.entries[:whole], slab, at_once=failure is not None)
            if self.held:
                self._on_held()
        if failure is not None and failed is not None:
            self._fail(f"cannot write image {failed.frame.axes} to {failed.shard.path}", failure)

    def _write_pixels(self, slab: Slab) -> tuple[int, OSError | None]:
        """Write the runs of a slab; say how many images are in their files, and the error that stopped it."""
        for first, after in slab.runs():
            entries = slab.entries[first:after]
            shard = entries[0].shard
            try:
                self._use(shard)
            except OSError as error:
                return first, error
            begin, end = entries[0].begin, entries[-1].end
            _, failure = shard.write(slab.view[begin:end], entries[0].offset, direct=end - begin >= DIRECT_FROM)
            if failure is None:
                continue
            for number, entry in enumerate(entries, first):  # a large write may fail where single images still fit
                stop = entry.begin + entry.frame.pixels.nbytes
                _, failure = shard.write(slab.view[entry.begin : stop], entry.offset, direct=False)
                if failure is not None:
                    return number, failure
        return len(slab.entries), None

    def _use(self, shard: ShardFile) -> None:
        """Open a shard if it is not, and close the one that was not used for longest."""
        if shard.is_open:
            self._open.move_to_end(shard.number)
            return
        while len(self._open) >= OPEN_SHARDS:
            self._open.popitem(last=False)[1].close()
        shard.open(direct=self._direct)
        self._open[shard.number] = shard

    def _publish(self, entries: list[Entry], slab: Slab | None) -> None:
        """Put images in the indexes and report them."""
        if self._intake.error is not None:
            return  # given up meanwhile: these were reported lost
        entries, cause, what = self._index_shards(entries)
        whole = len(entries)
        grown, failure = self._grow(entries)
        if failure is not None:
            cause, what, whole = failure, "cannot write the metadata of an array", grown
        places, failure = self._log(entries[:whole])
        if failure is not None:
            cause, what, whole = failure, "cannot write the log of frames", len(places)
        for entry, place in zip(entries, places, strict=False):
            self._store.add(entry.frame.axes, place)
        if slab is not None:
            slab.publish(entries[:whole])
        self._intake.saved(whole)
        if cause is not None:
            self._fail(what, cause)

    def _index_shards(self, entries: list[Entry]) -> tuple[list[Entry], OSError | None, str]:
        """Renew the indexes of the shards; gives the first images for which that was done."""
        shards: dict[int, tuple[ShardFile, int]] = {}
        for number, entry in enumerate(entries):
            shards.setdefault(entry.shard.number, (entry.shard, number))
        try:
            if self._durable:  # all pixels before any index
                for shard, _ in shards.values():
                    self._use(shard)
                    shard.sync()
        except OSError as error:
            return [], error, f"cannot sync {shard.path}"
        for entry in entries:
            entry.shard.entries[entry.chunk] = entry.offset, entry.frame.pixels.nbytes
        whole, cause, what = len(entries), None, ""
        for shard, first in shards.values():
            try:
                self._use(shard)
                shard.renew_index()
                if self._durable:
                    shard.sync()
                if shard.complete:
                    self._open.pop(shard.number).close()
            except OSError as error:
                if first < whole:
                    whole, cause, what = first, error, f"cannot write the index of {shard.path}"
        return entries[:whole], cause, what

    def _grow(self, entries: list[Entry]) -> tuple[int, OSError | None]:
        """Make arrays on disk as long as these images need; say for how many that was done, and what stopped it."""
        wanted: dict[int, tuple[ImagePlan, int]] = {}
        for number, entry in enumerate(entries):
            plan = entry.plan
            extents = self._extents.setdefault(plan.number, [0] * len(plan.names))
            for i, at in enumerate(entry.index):
                extents[i] = max(extents[i], at + 1)
            if plan.number not in self._made or any(map(gt, extents, plan.extents)):
                wanted.setdefault(plan.number, (plan, number))
            self._steps.learn(entry.plan, entry.index, entry.frame.metadata)
        whole, failure = len(entries), None
        slots = self._layout.slots
        for plan, first in wanted.values():
            extents = list(self._extents[plan.number])
            try:
                if plan.number not in self._made:
                    self._groups.add(plan, slots, extents)
                    continue
                if plan.names[0] != "channel":
                    extents[0] = max(plan.extents[0], extents[0] + min(extents[0] // 8, AHEAD))
                self._groups.grow(plan, slots, extents)
            except OSError as error:
                if first < whole:
                    whole, failure = first, error
        return whole, failure

    def _log(self, entries: list[Entry]) -> tuple[list[tuple[int, ...]], OSError | None]:
        """Append to the log; gives the places of the images that are in it, and what stopped it."""
        lines = [entry.metadata + b"\n" for entry in entries]
        whole, failure = self._frames.append(lines, sync=self._durable)
        records: list[bytes] = []
        places: list[tuple[int, ...]] = []
        for entry, line in zip(entries[:whole], lines, strict=False):
            plan, frame = entry.plan, entry.frame
            begin, length = self._frames_size, len(line) - 1
            self._frames_size += len(line)
            bits = int(frame.bit_depth or 8 * frame.pixels.dtype.itemsize)
            record = pack_frame(frame.axes, plan.number, entry.index, entry.offset, (begin, length), bits)
            if plan.number not in self._made:
                self._made.add(plan.number)
                record = pack_image(plan) + record
            records.append(record)
            places.append((plan.number, entry.shard.number, entry.offset, begin, length, bits))
            entry.metadata = b""
        indexed, wrong = self._index.append(records, sync=self._durable)
        return places[:indexed], wrong or failure

    def finish(self) -> None:
        """Sync what is held back, close the shards, write the metadata again with what was learnt, end the log."""
        failures: list[tuple[str, OSError]] = []
        try:
            self.sync()
        finally:
            for shard in self._open.values():
                try:
                    shard.close()
                except OSError as error:
                    failures.append((f"cannot end {shard.path}", error))
            self._open.clear()
            try:
                self._groups.finish(self._layout.slots, self._extents)
            except OSError as error:
                failures.append(("cannot write the metadata at the end (every image is saved)", error))
            for log, last in ((self._frames, []), (self._index, [END])):
                try:
                    _, failure = log.append(last, sync=self._durable and bool(last))
                    if failure is not None:
                        failures.append(("cannot end the log of frames", failure))
                    log.finish(sync=self._durable)
                except OSError as error:
                    failures.append(("cannot end the log of frames", error))
        if failures:
            self._fail(*failures[0])
