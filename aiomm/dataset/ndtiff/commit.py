"""The second half of writing: a sealed buffer goes to its file, its records to the index, its frames are reported."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.committing import Commit
from aiomm.dataset.ndtiff.display import FILE_NAME, display_settings
from aiomm.dataset.ndtiff.ring import Slab
from aiomm.dataset.whole import replace_json, sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiomm.dataset.ndtiff.live import LiveStore
    from aiomm.dataset.ndtiff.output import OutputFile, OutputIndex
    from aiomm.dataset.ndtiff.table import Table
    from aiomm.dataset.queueing import Intake
    from aiomm.dataset.storage import Durability, Frame

DIRECT_FROM: Final = 256 * 2**10
"""A write of at least this many bytes goes past the page cache, where that works: buffered writes stall when the cache
is full of what the disk has not taken yet."""

_Written = tuple["Frame", tuple[int, ...], bytes, tuple[int, int]]
"""A frame in the file: its place for the table, its index record, its slot's begin and end."""


class Committer(Commit[Slab, _Written]):
    """Writes sealed buffers in order. One thread at a time.

    The index never says more than the files hold: pixels and metadata are written before the index record, and synced
    before it where durability is asked for.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        store: LiveStore,
        table: Table,
        index: OutputIndex,
        durability: Durability,
        interval: float,
        settings: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(intake, durability, interval)
        self._store = store
        self._table = table
        self._index = index
        self._settings = settings
        self._files: deque[OutputFile] = deque()  # the first is written to; the others wait for images

    def opened(self, file: OutputFile) -> None:
        """Take charge of a new file. The packer calls this before it fills a buffer for it."""
        self._store.files.append(file.name)
        self._files.append(file)
        if self._durable:  # a file is lost with its name
            sync_folder(self._store.path)
            sync_folder(self._store.path.parent)

    def _write(self, slab: Slab) -> None:
        try:
            while self._files[0] is not slab.file:
                self.sync()
                self._files.popleft().finish(sync=self._durable)
        except OSError as error:
            self._fail("cannot end a file", error)
            return
        whole, failure = self._write_pixels(slab)
        if whole:
            slots = [(slab.offset + begin, slab.offset + end) for begin, end in slab.slots[:whole]]
            written = list(zip(slab.frames[:whole], slab.parts, slab.records, slots, strict=False))
            self._written(written, slab, at_once=failure is not None)
        if failure is not None:
            self._fail(f"cannot write image {slab.frames[whole].axes} to {self._files[0].path}", failure)

    def _write_pixels(self, slab: Slab) -> tuple[int, OSError | None]:
        """Write the buffer; say how many whole images are in the file, and the error that stopped it."""
        file = self._files[0]
        direct = slab.used >= DIRECT_FROM
        done, error = file.write(slab.view[: slab.used], slab.offset, direct=direct)
        if error is None:
            return len(slab.frames), None
        whole = sum(end <= done for _, end in slab.slots)
        for begin, end in slab.slots[whole:]:  # a large write may fail as a whole where single images still fit
            done, error = file.write(slab.view[begin:end], slab.offset + begin, direct=False)
            if error is not None:
                return whole, error
            whole += 1
        return whole, None

    def _publish(self, written: list[_Written], slab: Slab | None) -> None:
        """Put frames in the index, then report them; the file ends with the last of them."""
        try:
            if self._durable:
                self._files[0].sync()
        except OSError as error:
            self._fail(f"cannot sync {self._files[0].path}", error)
            return
        if self._intake.error is not None:
            return  # given up meanwhile: these were reported lost
        whole, failure = self._index.append([record for _, _, record, _ in written], sync=self._durable)
        table, index = self._table, self._store.index
        for frame, part, _, slot in written[:whole]:
            self._files[0].ends_with(*slot)
            table.append(part)
            index.append(frame.axes)
        if slab is not None and whole:
            slab.first_row = written[0][0].row
            slab.rows = whole
        self._intake.saved(whole)
        if failure is not None:
            self._fail(f"cannot write the index record of image {written[whole][0].axes}", failure)

    def finish(self) -> None:
        """Sync what is held back, end the files, write the display settings. Ends every file whatever happens."""
        failures: list[tuple[str, OSError]] = []
        try:
            self.sync()
        finally:
            while self._files:
                file = self._files.popleft()
                try:
                    file.finish(sync=self._durable)
                except OSError as error:
                    failures.append((f"cannot end {file.path}", error))
            try:
                self._index.finish(sync=self._durable)
            except OSError as error:
                failures.append(("cannot end the index", error))
            try:
                settings = display_settings(self._store) if self._settings is None else dict(self._settings)
                replace_json(self._store.path / FILE_NAME, settings, sync=self._durable)
            except OSError as error:
                failures.append(("cannot write the display settings (every image is saved)", error))
        if failures:
            self._fail(*failures[0])
