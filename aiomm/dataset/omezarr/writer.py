"""Write OME-Zarr 0.5: each buffer of images to its shards in large writes, then the indexes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiomm.dataset.committing import check_durability
from aiomm.dataset.damage import repair_command
from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import as_mapping, encode_json
from aiomm.dataset.ndtiff.folder import make_folder
from aiomm.dataset.ndtiff.output import OutputIndex
from aiomm.dataset.omezarr.commit import Committer
from aiomm.dataset.omezarr.folder import Groups
from aiomm.dataset.omezarr.frames import FRAMES_NAME, INDEX_NAME
from aiomm.dataset.omezarr.layout import SHARD_BYTES, Layout
from aiomm.dataset.omezarr.pyramid import Background, LevelBuilder
from aiomm.dataset.omezarr.shard import PAGE, ShardFile, alignment
from aiomm.dataset.omezarr.slab import Entry, Slab
from aiomm.dataset.omezarr.store import LiveStore
from aiomm.dataset.packing import PackingWriter
from aiomm.dataset.queueing import Intake
from aiomm.errors import StorageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from aiomm.dataset.omezarr.layout import ImagePlan
    from aiomm.dataset.storage import Durability, Frame, OnFailed, OnSaved


class OmeZarrWriter(PackingWriter[Slab]):
    """Save images as an OME-Zarr 0.5 dataset in a new folder ``<directory>/<name>_<k>``.

    Each position is an image of its own with the axes t, c, z, y, x, as far as the images have them; other axes than time,
    channel and z choose the image as well. Positions named like wells (``A1``, ``B2-Site_0``) make a plate.

    Every method may be called from any thread. The callbacks run on a thread of the writer, one at a time, in the order
    put, and must be quick.

    Parameters
    ----------
    directory : path
        Where the dataset's folder is made; made itself if it does not exist.
    name : str
        Name of the dataset.
    summary_metadata : mapping
        What holds for every image. ``PixelSize_um`` (µm), ``z-step_um`` (µm) and ``Interval_ms`` (ms) become scales.
    queue_size : int
        How many frames may be put and not yet saved.
    on_saved : callable, optional
        ``on_saved(frames)``: the operating system has their pixels and index records (and the device, as ``durability`` says).
    on_room : callable, optional
        ``on_room()``: there is room again after `try_put` said False.
    on_failed : callable, optional
        ``on_failed(error, frames)``: writing has failed, these frames are lost. Called once.
    allow_duplicates : bool
        Whether an image may be put again; the last one counts.
    durability : {"none", "interval", "every"}
        What *saved* means; see `NDTiffWriter`.
    sync_interval : float
        Seconds, for "interval".
    plate : bool, optional
        Whether positions are wells of a plate. None: if the first one's name looks like it.
    shard_bytes : int
        How large a shard becomes, if an image is not larger.
    direct : bool
        Whether large writes may go past the page cache.
    levels : int or None
        Number of the coarsest reduced level: n is reduced 2**n times, 0 makes none. If None, images get levels until no side is
        longer than 512 pixels. They are built from what is saved while nothing waits to be written, the rest in `finish`, and
        listed when they are whole.

    Raises
    ------
    StorageError
        The folder or its first files cannot be made.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        summary_metadata: Mapping[str, Any] | None = None,
        *,
        queue_size: int = 20,
        on_saved: OnSaved | None = None,
        on_room: Callable[[], None] | None = None,
        on_failed: OnFailed | None = None,
        allow_duplicates: bool = False,
        durability: Durability = "none",
        sync_interval: float = 1.0,
        plate: bool | None = None,
        shard_bytes: int = SHARD_BYTES,
        direct: bool = True,
        levels: int | None = 0,
    ) -> None:
        check_durability(durability, sync_interval)
        if isinstance(shard_bytes, bool) or not isinstance(shard_bytes, int) or shard_bytes < 1:
            raise ValueError(f"shard_bytes is {shard_bytes!r}: it must be a number of bytes, 1 or more")
        if isinstance(levels, bool) or not (levels is None or (isinstance(levels, int) and levels >= 0)):
            raise ValueError(f"levels is {levels!r}: it must be the number of the coarsest level, 0 or more, or None")
        summary = json.loads(encode_json(as_mapping("summary_metadata", summary_metadata)))
        self._layout = Layout(plate=plate, shard_bytes=shard_bytes)
        self._shards: dict[tuple[int, tuple[int, ...]], ShardFile] = {}
        self._on_saved = on_saved
        self._levels: Background | None = None
        slabs: list[Slab] = []
        try:
            self.path: Path = make_folder(Path(directory), name)
            self._store = LiveStore(self.path, summary, self._layout.images, [], slabs)
            self._intake = Intake(
                self._store.index, queue_size=queue_size, on_saved=on_saved if levels == 0 else self._saved, on_room=on_room,
                on_failed=on_failed, allow_duplicates=allow_duplicates,
            )  # fmt: skip
            groups = Groups(self.path, summary, levels, sync=durability != "none")
            self._commit: Committer = Committer(
                intake=self._intake, store=self._store, layout=self._layout, groups=groups,
                index=OutputIndex(self.path / INDEX_NAME), frames=OutputIndex(self.path / FRAMES_NAME),
                durability=durability, interval=sync_interval, direct=direct, on_held=self._wake,
            )  # fmt: skip
        except OSError as error:
            raise StorageError(f"cannot make a dataset {name!r} in {directory}: {error.strerror or error}") from error
        self.dataset: Dataset = Dataset.of(self._store)
        if levels != 0:
            builder = LevelBuilder(self._store, self._index_of, levels, sync=durability != "none")
            self._levels = Background(builder, self._busy, f"aiomm-omezarr-levels-{self.path.name}")
        batch = max(1, queue_size // 2)  # so that some are packed while others are written
        self._begin(self._intake, self._store, self._commit, slabs, batch=batch, name=f"aiomm-omezarr-{self.path.name}")

    def give_up(self) -> None:
        """Drop what is not written yet; `finish` then waits for the write in progress only. The dataset opens afterwards."""
        super().give_up()
        if self._levels is not None:
            self._levels.give_up()

    def _saved(self, frames: list[Frame]) -> None:
        if self._on_saved is not None:
            self._on_saved(frames)
        self._wake()

    def _wake(self) -> None:
        if self._levels is not None:
            self._levels.wake()

    def _busy(self) -> bool:
        """Whether an image waits to be written; those that wait to be synced together do not count."""
        return len(self._intake) > self._commit.held

    def _index_of(self, row: int) -> tuple[int, ...]:
        """Place of a saved image in its array."""
        return self._layout.find(self._store.plan_of(row), self._store.index.axes_of(row))

    def _ended(self) -> None:
        if self._levels is not None:
            try:
                self._levels.finish()
            except Exception as error:
                failure = StorageError(
                    f"{self.path}: every image is saved, but the reduced levels are not: {error}; {repair_command(self.path)} makes them"
                )
                failure.__cause__ = error
                self._intake.fail(failure)

    def _pack(self, frame: Frame, metadata: bytes) -> None:
        """Lay a frame out in the current buffer; seal buffers that are full."""
        plan, index = self._layout.place(frame.axes, frame.pixels, frame.bit_depth)
        key, chunk = plan.shard_of(index)
        shard = self._shards.get((plan.number, key)) or self._new_shard(plan, key)
        align = alignment(frame.pixels.nbytes)
        size = -(-frame.pixels.nbytes // align) * align
        slab = self._room_for(size + PAGE)  # to begin on a page after images that do not end on one
        begin = -(-slab.used // align) * align
        slab.put(Entry(frame, metadata, plan, index, shard, chunk, begin, begin + size, shard.take(size, align)))
        self._packed(slab, size + PAGE)

    def _new_shard(self, plan: ImagePlan, key: tuple[int, ...]) -> ShardFile:
        path = plan.shard_path(key)
        shard = ShardFile(self.path / path, len(self._store.shards), plan.chunks)
        self._store.shards.append(path)
        self._shards[plan.number, key] = shard
        return shard

    def _new_slab(self, size: int) -> Slab:
        return Slab(-(-size // PAGE) * PAGE)
