"""Write NDTiff 3.3: images and their metadata side by side in TIFF files, each buffer in one write, then its index records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aiomm.dataset.committing import check_durability
from aiomm.dataset.dataset import Dataset
from aiomm.dataset.encode import as_mapping, encode_json
from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.commit import Committer
from aiomm.dataset.ndtiff.folder import make_folder
from aiomm.dataset.ndtiff.live import LiveStore
from aiomm.dataset.ndtiff.output import OutputFile, OutputIndex
from aiomm.dataset.ndtiff.ring import Slab
from aiomm.dataset.ndtiff.table import Table
from aiomm.dataset.packing import PackingWriter
from aiomm.dataset.queueing import Intake
from aiomm.errors import StorageError, UnsupportedError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from aiomm.dataset.storage import Durability, Frame, OnFailed, OnSaved

BATCHES: Final = 2
"""A write takes at most this part of the queue, so that some are packed while others are written."""
ALIGNED_FROM: Final = 64 * 2**10
"""Images of at least this many bytes start on pages of their own; smaller ones are packed closely."""
_BESIDE_PIXELS: Final = 2**16
"""Room that a file must have beside its header and the pixels of an image."""
SMALL_ALIGN: Final = 2


class NDTiffWriter(PackingWriter[Slab]):
    """Save images as an NDTiff dataset in a new folder ``<directory>/<name>_<k>``.

    Every method may be called from any thread. The callbacks run on a thread of the writer, one at a time, in the order
    put, and must be quick.

    Parameters
    ----------
    directory : path
        Where the dataset's folder is made; made itself if it does not exist.
    name : str
        Name of the dataset.
    summary_metadata : mapping
        What holds for every image. ``PixelSize_um`` also becomes the TIFF resolution.
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
        What *saved* means. "none": survives the death of the process. "interval": also a loss of power; images are reported
        in groups, at most ``sync_interval`` seconds late. "every": the same, each group of images as soon as it is written.
    sync_interval : float
        Seconds, for "interval".
    display_settings : mapping, optional
        Written as ``display_settings.txt``; made from the channels if None.
    file_limit : int
        No file grows beyond this many bytes.
    direct : bool
        Whether large writes may go past the page cache.
    tiled : bool
        Lay the dataset out for resolution levels, with the images in a folder of their own; `PyramidWriter` does so.

    Raises
    ------
    StorageError
        The folder or its first files cannot be made.
    UnsupportedError
        The summary metadata asks for tiled storage, and ``tiled`` does not.
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
        display_settings: Mapping[str, Any] | None = None,
        file_limit: int = ndtiff.FILE_LIMIT,
        direct: bool = True,
        tiled: bool = False,
    ) -> None:
        check_durability(durability, sync_interval)
        summary = as_mapping("summary_metadata", summary_metadata)
        if summary.get("TiledImageStorage") and not tiled:
            raise UnsupportedError(
                "summary metadata says TiledImageStorage: this writer makes plain datasets; PyramidWriter makes tiled ones"
            )
        summary["TiledImageStorage"] = tiled
        summary = json.loads(encode_json(summary))
        self._header = ndtiff.pack_header(summary)
        least = len(self._header) + _BESIDE_PIXELS + 1
        if isinstance(file_limit, bool) or not isinstance(file_limit, int) or file_limit < least:
            raise ValueError(f"file_limit is {file_limit!r}: it must be a number of bytes, {least} or more")
        self._limit = min(file_limit, ndtiff.FILE_LIMIT)
        self._per_cm = ndtiff.resolution(summary.get("PixelSize_um", summary.get("PixelSizeUm")))
        self._direct = direct
        if display_settings is not None:
            encode_json(as_mapping("display_settings", display_settings))
        index = Index()
        self._intake = Intake(
            index, queue_size=queue_size, on_saved=on_saved, on_room=on_room, on_failed=on_failed, allow_duplicates=allow_duplicates
        )
        try:
            self.path: Path = make_folder(Path(directory), name)
            self._folder = self.path / ndtiff.FULL_RESOLUTION if tiled else self.path
            self._folder.mkdir(exist_ok=True)
            self._prefix = name
            self._files = 0
            self._file = self._next_file()
            output_index = OutputIndex(self._folder / ndtiff.INDEX_NAME)  # after the file: an empty index without one has ended
            table = Table()
            slabs: list[Slab] = []
            self._store = LiveStore(self._folder, summary, index, table, slabs)
            self._commit: Committer = Committer(
                intake=self._intake, store=self._store, table=table, index=output_index,
                durability=durability, interval=sync_interval, settings=display_settings,
            )  # fmt: skip
            self._commit.opened(self._file)
        except OSError as error:
            raise StorageError(f"cannot make a dataset {name!r} in {directory}: {error.strerror or error}") from error
        self.dataset: Dataset = Dataset.of(self._store, self.path)
        self._position = self._file.end
        self._align = 0  # of this file's images; chosen by its first
        batch = max(1, queue_size // BATCHES)
        self._begin(self._intake, self._store, self._commit, slabs, batch=batch, name=f"aiomm-ndtiff-{self.path.name}")

    def _check(self, frame: Frame) -> None:
        self._intake.check(frame)
        if frame.pixels.nbytes > self._limit - len(self._header) - _BESIDE_PIXELS:
            raise ValueError(f"an image of {frame.pixels.nbytes} bytes does not fit in a TIFF file of {self._limit} bytes")

    def _pack(self, frame: Frame, metadata: bytes) -> None:
        """Lay a frame out in the current buffer; seal buffers that are full."""
        pixels = frame.pixels
        align = self._align or (ndtiff.PAGE if pixels.nbytes >= ALIGNED_FROM else SMALL_ALIGN)
        record = ndtiff.RGB_RECORD if pixels.ndim == 3 else ndtiff.GRAY_RECORD
        slot = ndtiff.lay_out(record, len(metadata), pixels.nbytes, align)
        if self._position + slot.end > self._limit and self._position > len(self._header):
            self._seal()
            try:
                self._file = self._next_file()
                self._commit.opened(self._file)
            except OSError as error:
                self._give_up(f"image {frame.axes}: cannot make another file: {error}", error)
                return
            self._position = self._file.end
            align = ndtiff.PAGE if pixels.nbytes >= ALIGNED_FROM else SMALL_ALIGN
            slot = ndtiff.lay_out(record, len(metadata), pixels.nbytes, align)
        if self._position + slot.end > self._limit:
            self._give_up(f"image {frame.axes}: its {len(metadata)} bytes of metadata do not fit in a file with it", None)
            return
        self._align = align
        slab = self._room_for(slot.end)
        if not slab.frames:
            slab.file, slab.offset = self._file, self._position
        at, start = slab.used, self._position
        array = slab.array
        ndtiff.pack_ifd_into(
            slab.view,
            at,
            start=start,
            slot=slot,
            shape=pixels.shape,
            itemsize=pixels.dtype.itemsize,
            metadata=len(metadata),
            per_cm=self._per_cm,
        )
        begin = at + slot.metadata
        slab.view[begin : begin + len(metadata)] = metadata
        array[begin + len(metadata) : at + slot.pixels] = 0
        body = array[at + slot.pixels : at + slot.pixels + pixels.nbytes]
        np.copyto(body.view(pixels.dtype).reshape(pixels.shape), pixels)
        array[at + slot.pixels + pixels.nbytes : at + slot.end] = 0
        height, width = pixels.shape[:2]
        kind = ndtiff.pixel_type(pixels, frame.bit_depth)
        where = (start + slot.pixels, width, height, kind, start + slot.metadata, len(metadata))
        head = ndtiff.pack_index_head(frame.axes, self._file.name.encode())
        slab.records.append(head + ndtiff.LOCATION.pack(where[0], width, height, kind, 0, where[4], where[5], 0))
        slab.parts.append((self._files - 1, *where))
        slab.slots.append((at, at + slot.end))
        slab.frames.append(frame)
        slab.used += slot.end
        self._position += slot.end
        self._packed(slab, slot.end)

    def _new_slab(self, size: int) -> Slab:
        return Slab(-(-size // ndtiff.PAGE) * ndtiff.PAGE)

    def _next_file(self) -> OutputFile:
        number = f"_{self._files}" if self._files else ""
        file = OutputFile(self._folder / f"{self._prefix}_NDTiffStack{number}.tif", self._header, direct=self._direct)
        self._files += 1
        return file
