"""The groups and arrays on disk: ``zarr.json`` files, each replaced whole, that say no less than the shards hold."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from aiomm.dataset.encode import encode_json
from aiomm.dataset.ndtiff.display import sync_folder
from aiomm.dataset.omezarr import metadata as ome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aiomm.dataset.omezarr.layout import AxisSlots, ImagePlan


def replace_json(path: Path, content: Mapping[str, Any], *, sync: bool) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OSError
        It cannot be written; the old one stands.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(encode_json(content))
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
        if sync:
            sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


class Groups:
    """Writes the metadata of a dataset as it grows. One thread at a time.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    summary : mapping
        Its summary metadata.
    sync : bool
        Whether each file is put on the device at once.
    """

    def __init__(self, root: Path, summary: Mapping[str, Any], *, sync: bool) -> None:
        self._root = root
        self._summary = summary
        self._sync = sync
        self._images: list[ImagePlan] = []
        self.scales = ome.Scales.from_summary(summary)
        self._write("", self._root_attributes(None, {}))

    def add(self, kind: str, plan: ImagePlan, slots: Mapping[str, AxisSlots], extents: list[int]) -> None:
        """Make the group and the array of a new image, then list it."""
        (self._root / plan.path / "0").mkdir(parents=True, exist_ok=True)
        self._images.append(plan)
        try:
            self._write_array(plan, extents)
            if plan.path:
                self._write(plan.path, {"ome": ome.image(plan, extents, slots, self.scales, [("0", 1.0)])})
            self._list(kind, plan, slots, extents)
        except BaseException:
            self._images.remove(plan)
            raise
        plan.extents = list(extents)

    def grow(self, plan: ImagePlan, slots: Mapping[str, AxisSlots], extents: list[int]) -> None:
        """Make an array longer; its channels are listed first."""
        old = dict(zip(plan.names, plan.extents, strict=True))
        new = dict(zip(plan.names, extents, strict=True))
        if new.get("channel") != old.get("channel"):
            self._write_image(plan, slots, extents)
        self._write_array(plan, extents)
        plan.extents = list(extents)

    def _write_image(self, plan: ImagePlan, slots: Mapping[str, AxisSlots], extents: Sequence[int]) -> None:
        image = ome.image(plan, extents, slots, self.scales, [("0", 1.0)])
        if plan.path:
            self._write(plan.path, {"ome": image})
        else:
            self._write("", {"ome": image, ome.KEY: ome.own(self._summary, slots)})

    def finish(self, kind: str | None, slots: Mapping[str, AxisSlots], extents: Mapping[int, list[int]]) -> None:
        """Write again what was learnt on the way: lengths of the arrays, scales, values along the axes."""
        for plan in self._images:
            if extents[plan.number] != plan.extents:
                plan.extents = list(extents[plan.number])
                self._write_array(plan, plan.extents)
            if plan.path:
                self._write_image(plan, slots, plan.extents)
        self._write("", self._root_attributes(kind, slots))

    def _write_array(self, plan: ImagePlan, extents: list[int]) -> None:
        replace_json(self._root / plan.path / "0" / ome.FILE, ome.array(plan, plan.array_shape(extents)), sync=self._sync)

    def _list(self, kind: str, plan: ImagePlan, slots: Mapping[str, AxisSlots], extents: list[int]) -> None:
        """Make the groups above a new image tell of it."""
        if not plan.path:
            self._write("", {"ome": ome.image(plan, extents, slots, self.scales, [("0", 1.0)]), ome.KEY: ome.own(self._summary, slots)})
        elif plan.path.startswith("extra/"):
            self._write("extra", {})
        elif kind == "plate":
            row, column, _ = plan.path.split("/")
            self._write(row, {})
            parent = f"{row}/{column}"
            self._write(parent, {"ome": ome.well([one for one in self._images if one.path.startswith(parent + "/")])})
            self._write("", self._root_attributes(kind, slots))
        else:
            (self._root / "OME").mkdir(exist_ok=True)
            self._write("OME", {"ome": ome.series([one for one in self._images if "/" not in one.path])})
            if len(self._images) == 1:
                self._write("", self._root_attributes(kind, slots))

    def _root_attributes(self, kind: str | None, slots: Mapping[str, AxisSlots]) -> dict[str, Any]:
        own = {ome.KEY: ome.own(self._summary, slots)}
        if kind == "series":
            return {"ome": ome.series_root(), **own}
        if kind == "plate":
            return {"ome": ome.plate(self._root.name, self._images), **own}
        root = next((plan for plan in self._images if not plan.path), None)
        if root is not None:
            return {"ome": ome.image(root, root.extents, slots, self.scales, [("0", 1.0)]), **own}
        return own

    def _write(self, path: str, attributes: Mapping[str, Any]) -> None:
        replace_json(self._root / path / ome.FILE, ome.group(attributes), sync=self._sync)
