"""Repair NDTiff datasets: what is whole in the TIFF files comes back into the index, what is not is cut off."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Final

from aiomm.dataset.damage import KEPT, RepairReport, alone, gone_on_error, keep
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.aside import records_aside
from aiomm.dataset.ndtiff.levels import levels_for
from aiomm.dataset.ndtiff.output import UNNAMED, write_at
from aiomm.dataset.ndtiff.pyramid import MISSING, left_over, level_folders, make_levels, note_levels, noted_levels
from aiomm.dataset.ndtiff.reader import level_folder, open_folder
from aiomm.dataset.ndtiff.records import read_index
from aiomm.dataset.ndtiff.salvage import Image, Record, Tiff, axes_of, records_in
from aiomm.dataset.whole import sync_folder
from aiomm.errors import DatasetError, DatasetFormatError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.storage import Axes

BACKUP: Final = ndtiff.INDEX_NAME + KEPT
_STACK = re.compile(r"(.*NDTiffStack)(?:_(\d+))?\.tif")


def repair_ndtiff(base: Path, *, dry_run: bool) -> RepairReport:
    """Repair an NDTiff dataset; see `aiomm.dataset.repair`."""
    full = base / ndtiff.FULL_RESOLUTION
    tiled = full.is_dir()
    report = RepairReport(base)
    with alone(base, "repair"):
        folder = _Folder(full if tiled else base)
        folder.examine(report)
        rebuild = tiled and _levels_need_it(base, folder, report)
        leftover = left_over(base) if tiled else []
        report.actions += [f"../{work.name}: removed, an interrupted repair has left it" for work in leftover]
        if dry_run or not report.needed:
            return report
        if rebuild:
            note_levels(base, noted_levels(base))  # before the index is whole: from then on nothing else tells that they are not
            sync_folder(base)
        folder.apply()
        for work in leftover:
            shutil.rmtree(work)
        if rebuild:
            make_levels(base, _levels_wanted(base))
        report.applied = True
    return report


class _Folder:
    """One folder with an index and TIFF files."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._index = folder / ndtiff.INDEX_NAME
        self._tiffs: dict[str, Tiff] = {}
        self._old: bytes | None = None
        self._taken_out: Counter[frozenset[tuple[str, int | str]]] = Counter()  # axes of records whose image is not there
        self._new = b""
        self._patches: dict[str, dict[int, int]] = {}  # of each file: where a pointer is, and what it should be
        self._ends: dict[str, int] = {}
        self._leftover: list[Path] = []
        self.version = 3

    # ---- find out -----------------------------------------------------------------------------------------------

    def examine(self, report: RepairReport) -> None:
        before = self._state()
        names = self._names()
        self._old = self._index.read_bytes() if self._index.is_file() else None
        if not names and (self._old is None or self._old.strip(b"\0")):  # Java makes no file before its first image
            raise DatasetFormatError(f"{self.path}: there is no NDTiff dataset here: no file *NDTiffStack.tif")
        records = records_in(self._old or b"", names)
        of_file: dict[str, list[Record]] = {name: [] for name in names}
        for record in records:
            of_file.setdefault(record.file, []).append(record)
        for name in names:
            self._tiffs[name] = Tiff(self.path / name, of_file[name])
        headers = [tiff.header for tiff in self._tiffs.values() if tiff.header is not None]
        if names and not headers:
            raise DatasetFormatError(f"{self.path}: no TIFF file here has the header of NDTiff 2 or 3; without one nothing can be repaired")
        if headers:
            self.version = headers[0].major
        kept = self._keep(records, report)
        self._recover(records, kept, report)
        for name, tiff in self._tiffs.items():
            self._end(name, tiff, [record for record in kept if record.file == name], report)
        self._leftover = sorted(self.path.glob(f"*.tif{UNNAMED}"))
        report.actions += [f"{file.name}: removed, it was never ready to be a file of the dataset" for file in self._leftover]
        report.must_open(lambda: read_index(self._new, str(self._index)))
        if self._state() != before:
            raise StorageError(f"{self.path} is being written to; repair it when the writer has ended")

    def _names(self) -> list[str]:
        """TIFF files of the dataset, in the order written."""
        found = [match for entry in self.path.iterdir() if entry.is_file() and (match := _STACK.fullmatch(entry.name))]
        return [match[0] for match in sorted(found, key=lambda match: (match[1], int(match[2] or 0)))]

    def _state(self) -> dict[str, tuple[int, int]]:
        files = [entry for entry in self.path.iterdir() if entry.name == ndtiff.INDEX_NAME or _STACK.fullmatch(entry.name)]
        return {file.name: ((found := file.stat()).st_size, found.st_mtime_ns) for file in files}

    def _keep(self, records: list[Record], report: RepairReport) -> list[Record]:
        """Records whose image is there."""
        kept: list[Record] = []
        gone: dict[str, int] = {}
        places = {name: {image.place for image in tiff.images} for name, tiff in self._tiffs.items()}
        for record in records:
            tiff = self._tiffs.get(record.file)
            if tiff is None:
                why = f"{record.file} is not there"
            elif record.place in places[record.file]:
                kept.append(record)
                continue
            elif record.end > tiff.size:
                why = f"{record.file} ends before them"
            elif any(image.ifd < record.end and max(record.ifd, 0) < image.end for image in tiff.images):
                why = f"{record.file} has something else there"
            elif tiff.metadata(record) is None:
                why = f"what {record.file} has there is no image"
            else:  # its IFD is damaged, its pixels need not be
                kept.append(record)
                continue
            gone[why] = gone.get(why, 0) + 1
            self._taken_out[frozenset(record.axes.items())] += 1
        report.actions += [f"index: {count} records taken out, {why}" for why, count in gone.items()]
        return kept

    def _recover(self, records: list[Record], kept: list[Record], report: RepairReport) -> None:
        """Make records of whole images that have none; see whether the index changes."""
        known = {(record.file, record.place) for record in kept}  # an image that is not whole has its record
        known |= {(record.file, record.place) for record in records_aside(self.path, self._tiffs)}
        types = {name: type(value) for record in kept for name, value in record.axes.items()}
        fresh: list[Record] = []
        nameless: dict[str, int] = {}
        for name, tiff in self._tiffs.items():
            for image in tiff.images:
                if (name, image.place) not in known:
                    record = self._record(name, tiff, image)
                    if record is None or any(types.setdefault(axis, type(value)) is not type(value) for axis, value in record.axes.items()):
                        nameless[name] = nameless.get(name, 0) + 1
                    else:
                        fresh.append(record)
        for name, count in nameless.items():
            report.problems.append(f"{name}: {count} whole images do not say on which axes they belong, so they stay out of the index")
        if fresh:  # in the order written, so that of two copies the last one counts, as it did
            rank = {name: number for number, name in enumerate(self._tiffs)}
            kept.extend(fresh)
            kept.sort(key=lambda record: (rank[record.file], record.pixels))
        report.images, report.recovered = len(kept), len(fresh)
        found = Counter(frozenset(record.axes.items()) for record in fresh)  # elsewhere than the index said
        report.lost = (self._taken_out - found).total()
        self._new = b"".join(record.data for record in kept)
        if self._old is None:
            report.actions.append(f"index: made from the TIFF files, {len(fresh)} images")
            return
        if fresh:
            report.actions.append(f"index: {len(fresh)} images of the TIFF files added")
        whole = sum(len(record.data) for record in records)
        tail = len(self._old) - len(self._old.rstrip(b"\0"))
        if len(self._old) - whole > tail:
            report.actions.append(f"index: {len(self._old) - whole} bytes that are no whole record taken out")
        elif len(self._old) != whole:
            report.actions.append(f"index: {len(self._old) - whole} zero bytes at its end taken off, which its writer left")
        elif self._new != self._old and not fresh and not report.lost:
            report.actions.append("index: written again")

    def _record(self, name: str, tiff: Tiff, image: Image) -> Record | None:
        metadata = tiff.metadata(image) or {}
        axes: Axes | None = axes_of(metadata.get("Axes"))
        if axes is None:
            return None
        kind = image.kind
        if kind == ndtiff.GRAY16:
            depth = metadata.get("BitDepth")
            with contextlib.suppress(TypeError, ValueError):
                kind = ndtiff.PIXEL_TYPE_OF_DEPTH.get(int(depth), kind)  # type: ignore[arg-type]
        head = ndtiff.pack_index_head(axes, name.encode("utf-8", "surrogateescape"))
        data = head + ndtiff.LOCATION.pack(image.pixels, image.width, image.height, kind, 0, image.metadata, image.length, 0)
        return Record(data, axes, name, image.pixels, image.width, image.height, kind, image.metadata, image.length)

    def _end(self, name: str, tiff: Tiff, records: list[Record], report: RepairReport) -> None:
        """Find wrong pointers in the chain of images, and what stands behind the last one."""
        if tiff.header is None:
            report.problems.append(f"{name}: its header is damaged, so that other readers may not open it")
            return
        pointers = {4: tiff.first_ifd, **{image.ifd + ndtiff.NEXT_IFD_AT: image.next_ifd for image in tiff.images}}
        wanted = dict(zip(pointers, [*(image.ifd for image in tiff.images), 0], strict=True))
        patches = {at: value for at, value in wanted.items() if pointers[at] != value}
        end = max([tiff.header_end, *(image.end for image in tiff.images), *(record.end for record in records)])
        if patches:
            self._patches[name] = patches
            broken = len(patches) - (list(wanted)[-1] in patches)
            if broken:
                report.actions.append(f"{name}: the chain of its images mended in {broken} place{'s' if broken > 1 else ''}")
            if broken < len(patches):
                report.actions.append(f"{name}: ended, its last image said that another one follows")
        if tiff.traces(end) > 1:  # more than an image that was being written: somebody may know better what it is
            report.problems.append(
                f"{name}: {tiff.size - end} bytes behind its last whole image hold parts of others; they are left as they are"
            )
        elif tiff.size - end >= ndtiff.PAGE or (patches and tiff.size - end > 1):  # less is what fills a page up
            self._ends[name] = end + end % 2
            report.actions.append(f"{name}: {tiff.size - self._ends[name]} bytes behind its last whole image cut off")

    # ---- do it --------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Write the index first, so that at every moment it says no more than there is."""
        if self._new != self._old:
            part = self._index.with_name(self._index.name + ".part")
            with gone_on_error(part):
                with part.open("wb") as file:
                    file.write(self._new)
                    file.flush()
                    os.fsync(file.fileno())
                if self._old is not None:
                    keep(self._index, self._old)
                part.replace(self._index)
        for name in self._tiffs:
            if name in self._patches or name in self._ends:
                self._change(self.path / name, self._patches.get(name, {}), self._ends.get(name))
        for file_ in self._leftover:
            file_.unlink()
        sync_folder(self.path)

    def _change(self, path: Path, patches: dict[int, int], end: int | None) -> None:
        with path.open("r+b") as file:
            for at, value in patches.items():
                _, error = write_at(file.fileno(), memoryview(value.to_bytes(4, "little")), at)
                if error is not None:
                    raise error
            if end is not None:
                os.ftruncate(file.fileno(), end)
            os.fsync(file.fileno())


def _levels_need_it(base: Path, full: _Folder, report: RepairReport) -> bool:
    """Whether the levels must be made again."""
    levels = level_folders(base)
    missing = (base / MISSING).is_file()
    if not levels and not missing:
        return False
    why = "full resolution was repaired" if report.needed else "they were not finished" if missing else ""
    for number in range(1, len(levels) + 1):
        folder = level_folder(base, number)
        if not folder.is_dir():
            why = why or f"{folder.name} is not there"
            continue
        try:
            store = open_folder(folder)
            if not store.finished:
                why = why or f"{folder.name} was not finished"
        except (DatasetError, OSError) as error:
            why = why or str(error)
    if why and full.version < 3:
        report.problems.append(f"resolution levels of version {full.version} ({why})")
        return False
    if why:
        report.actions.append(f"resolution levels: made again from full resolution, because {why}")
    return bool(why)


def _levels_wanted(base: Path) -> int | None:
    """How many levels to make: what was asked for; if nobody says, at least as many as there are."""
    noted = noted_levels(base)
    if noted is not None:
        return noted
    index = open_folder(base / ndtiff.FULL_RESOLUTION).index
    if not {"row", "column"} <= index.types.keys():
        return None
    rows, columns = index.values("row"), index.values("column")
    return max(len(level_folders(base)), levels_for([rows[0], rows[-1], columns[0], columns[-1]]))
