"""Repair OME-Zarr datasets of aiomm: the log, the shards' indexes, the metadata and the levels come to agree again."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.damage import RepairReport, alone, gone_on_error, keep
from aiomm.dataset.ndtiff.output import UNNAMED
from aiomm.dataset.omezarr import metadata as ome
from aiomm.dataset.omezarr.checking import levels_in, levels_lack, levels_of, says, summary_in, too_long
from aiomm.dataset.omezarr.documents import documents
from aiomm.dataset.omezarr.frames import END, FRAMES_NAME, INDEX_NAME, pack_frame, pack_image
from aiomm.dataset.omezarr.pyramid import build_levels, level_shapes, unlist_levels
from aiomm.dataset.omezarr.salvage import Salvage
from aiomm.dataset.omezarr.shard import PAGE, pack_index
from aiomm.dataset.omezarr.store import open_log
from aiomm.dataset.whole import replace_json, sync_folder
from aiomm.errors import DatasetFormatError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.omezarr.salvage import Shard

PART = ".part"


def repair_omezarr(base: Path, *, dry_run: bool) -> RepairReport:
    """Repair an OME-Zarr dataset that aiomm wrote; see `aiomm.dataset.repair`."""
    report = RepairReport(base)
    with alone(base, "repair"):
        before = _state(base)
        work = _Repair(base, report)
        if _state(base) != before:
            raise StorageError(f"{base} is being written to; repair it when the writer has ended")
        if dry_run or not report.needed:
            return report
        work.apply()
        report.applied = True
    return report


def _state(base: Path) -> list[tuple[int, int]]:
    found = [path.stat() for name in (INDEX_NAME, FRAMES_NAME, ome.FILE) if (path := base / name).is_file()]
    return [(one.st_size, one.st_mtime_ns) for one in found]


class _Repair:
    """What there is to do in one dataset."""

    def __init__(self, base: Path, report: RepairReport) -> None:
        self._base = base
        self._report = report
        self._found = Salvage(base)
        self._rewrite = False
        self._shards: list[tuple[Shard, bytes]] = []
        self._documents: dict[str, dict[str, Any]] = {}
        self._levels: int | None = 0  # how many are wanted
        self._build = False
        self._look_at_log()
        if self._found.log is None and not self._found.rows:
            raise DatasetFormatError(
                f"{base}: its logs are lost, and with them which image is which; other readers open what metadata there is"
            )
        self._look_at_shards()
        self._look_at_documents()
        self._leftover = sorted(entry for tail in (PART, UNNAMED) for entry in base.rglob(f"*{tail}") if entry.is_file())
        report.actions += [f"{file.relative_to(base)}: removed, it was never ready" for file in self._leftover]
        self._look_at_levels()
        if not self._rewrite and not self._found.finished:  # else its readers take it for one that is being written
            self._rewrite = True
            report.actions.append(f"{INDEX_NAME}: ended")
        if not report.needed:
            report.must_open(lambda: open_log(base).close())

    # ---- find out -----------------------------------------------------------------------------------------------

    def _look_at_log(self) -> None:
        found, report = self._found, self._report
        report.images, report.recovered, report.lost = len(found.rows), found.recovered, found.lost
        if found.log is None:
            report.actions.append(f"{INDEX_NAME}: made again, {found.recovered} images")
        elif found.recovered:
            report.actions.append(f"{INDEX_NAME}: {found.recovered} images that are whole added")
        report.actions += [f"{INDEX_NAME}: {count} records taken out, {why}" for why, count in found.removed.items()]
        if found.unreadable:
            report.actions.append(f"{INDEX_NAME}: {found.unreadable} lines that are no record taken out")
        if found.moved:
            report.actions.append(f"{INDEX_NAME}: the metadata of {found.moved} images found elsewhere")
        fresh = sum(1 for row in found.rows if row.text)
        if fresh:
            report.actions.append(f"{FRAMES_NAME}: the metadata of {fresh} images written again with their axes, the rest of it is lost")
        self._rewrite = bool(report.actions)
        if found.unnamed:
            report.problems.append(f"{found.unnamed} images in the shards were never reported saved and do not say their axes")
        if found.lost:
            report.problems.append(f"{found.lost} images that were saved are not there any more, or not whole")

    def _look_at_shards(self) -> None:
        for shard in self._found.shards.values():
            wanted = shard.wanted()
            if wanted is not None:
                self._shards.append((shard, pack_index(np.array(wanted, np.uint64)).ljust(PAGE, b"\0")))
        if self._shards:
            self._report.actions.append(f"shards: the index of {len(self._shards)} written again, as their images are")

    def _look_at_documents(self) -> None:
        found = self._found
        root = self._base / ome.FILE
        content = root.read_bytes() if root.is_file() else b""
        summary = summary_in(content)
        levels, begun = levels_in(content), levels_of(self._base, found.plans)
        self._levels = None if levels is None else max(levels, begun)
        scales = ome.Scales.from_summary(summary or {})
        scales.z, scales.time = scales.z or found.steps.scales.z, scales.time or found.steps.scales.time
        scales.origins, scales.channels = found.steps.scales.origins, found.steps.scales.channels
        for path, wanted in documents(self._base.name, found.plans, found.slots, scales, summary or {}, self._levels).items():
            file = self._base / path / ome.FILE
            try:
                there = json.loads(file.read_bytes())
            except (OSError, ValueError, RecursionError):
                there = None
            if not says(there, wanted):
                what = "made" if there is None and not file.exists() else "written again, it was damaged or did not tell of every image"
            elif not found.finished and too_long(there, wanted):
                what = "written again, it was longer than its images"
            else:
                continue
            self._documents[path] = wanted
            self._report.actions.append(f"{file.relative_to(self._base)}: {what}")
        if summary is None:
            self._report.problems.append(f"the summary metadata was in {ome.FILE} alone, and is lost")

    def _look_at_levels(self) -> None:
        found, report = self._found, self._report
        count = self._levels
        if not any(level_shapes(plan.shape, count) for plan in found.plans):
            return
        changed = self._rewrite or self._shards or self._documents
        begun = levels_of(self._base, found.plans)
        why = "full resolution was repaired" if changed and begun else levels_lack(self._base, found.plans, found.rows, count)
        if why:
            self._build = True
            report.actions.append(f"resolution levels: made {'again ' if begun else ''}from full resolution, because {why}")

    # ---- do it --------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Write in the order of a writer, so that at every moment nothing says more than there is."""
        if self._build:  # before what they are made from changes: from then on this alone tells that they are not whole
            unlist_levels(self._base, [plan for plan in self._found.plans if plan.path not in self._documents])
        for shard, page in self._shards:
            with shard.path.open("r+b") as file:
                keep(shard.path, file.read(PAGE))
                file.seek(0)
                file.write(page)
                file.flush()
                os.fsync(file.fileno())
        for path in sorted(self._documents, key=lambda path: (-path.count("/") - bool(path), path)):  # what is listed before the list
            file_ = self._base / path / ome.FILE
            file_.parent.mkdir(parents=True, exist_ok=True)
            if file_.is_file():
                keep(file_, file_.read_bytes())
            replace_json(file_, self._documents[path], sync=True)
        if self._rewrite:
            self._append_metadata()
            self._replace_log()
        for leftover in self._leftover:
            leftover.unlink(missing_ok=True)
        sync_folder(self._base)
        if self._build:
            build_levels(self._base, self._levels)

    def _append_metadata(self) -> None:
        old = self._found.frames or b""
        at = len(old)
        lines: list[bytes] = []
        if old and not old.endswith(b"\n"):
            lines.append(b"\n")
            at += 1
        for row in self._found.rows:
            if row.text:
                row.metadata = at, len(row.text)
                lines.append(row.text + b"\n")
                at += len(row.text) + 1
        with (self._base / FRAMES_NAME).open("ab") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())

    def _replace_log(self) -> None:
        plans = iter(self._found.plans)
        lines: list[bytes] = []
        known = 0
        for row in self._found.rows:
            while known <= row.plan.number:
                lines.append(pack_image(next(plans)))
                known += 1
            lines.append(pack_frame(row.axes, row.plan.number, row.index, row.offset, row.metadata, row.bits))
        path = self._base / INDEX_NAME
        part = path.with_name(path.name + PART)
        with gone_on_error(part):
            with part.open("wb") as file:
                file.write(b"".join(lines) + END)
                file.flush()
                os.fsync(file.fileno())
            if self._found.log is not None:
                keep(path, self._found.log)
            part.replace(path)
