"""The groups and arrays on disk: ``zarr.json`` files, each replaced whole, that say no less than the shards hold."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiomm.dataset.omezarr.documents import above, array, array_path, image, listing, root
from aiomm.dataset.omezarr.metadata import FILE, Scales
from aiomm.dataset.whole import replace_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from aiomm.dataset.omezarr.documents import Document
    from aiomm.dataset.omezarr.layout import AxisSlots, ImagePlan


class Groups:
    """Writes the metadata of a dataset as it grows. One thread at a time.

    Parameters
    ----------
    folder : Path
        Of the dataset.
    summary : mapping
        Its summary metadata.
    levels : int or None
        How many reduced levels it is to have in the end; see `pyramid.level_shapes`.
    sync : bool
        Whether each file is put on the device at once.
    """

    def __init__(self, folder: Path, summary: Mapping[str, Any], levels: int | None, *, sync: bool) -> None:
        self._folder = folder
        self._summary = summary
        self._levels = levels
        self._sync = sync
        self._images: list[ImagePlan] = []
        self._said: dict[str, Document] = {}  # by the groups above the images
        self.scales = Scales.from_summary(summary)
        self._say("", self._root({}))

    def add(self, plan: ImagePlan, slots: Mapping[str, AxisSlots], extents: list[int]) -> None:
        """Make the group and the array of a new image, then list it."""
        self._images.append(plan)
        try:
            (self._folder / array_path(plan)).mkdir(parents=True, exist_ok=True)
            with self._as_long_as(plan, extents):
                self._write(array_path(plan), array(plan))
                self._tell(plan, slots)
                for path in above(plan):
                    self._say(path, listing(path, self._images))
                self._say("", self._root(slots))
        except BaseException:
            self._images.remove(plan)
            raise

    def grow(self, plan: ImagePlan, slots: Mapping[str, AxisSlots], extents: list[int]) -> None:
        """Make an array longer; its channels are listed first."""
        told = _channels(plan)
        with self._as_long_as(plan, extents):
            if _channels(plan) != told:
                self._tell(plan, slots)
            self._write(array_path(plan), array(plan))

    def finish(self, slots: Mapping[str, AxisSlots], extents: Mapping[int, list[int]]) -> None:
        """Write again what was learnt on the way: lengths of the arrays, scales, values along the axes."""
        for plan in self._images:
            if extents[plan.number] != plan.extents:
                with self._as_long_as(plan, extents[plan.number]):
                    self._write(array_path(plan), array(plan))
            self._tell(plan, slots)
        self._say("", self._root(slots))

    @contextlib.contextmanager
    def _as_long_as(self, plan: ImagePlan, extents: list[int]) -> Iterator[None]:
        """Take an image to have these lengths, from now on if they are written."""
        before, plan.extents = plan.extents, list(extents)
        try:
            yield
        except BaseException:
            plan.extents = before
            raise

    def _root(self, slots: Mapping[str, AxisSlots]) -> Document:
        return root(self._folder.name, self._images, slots, self.scales, self._summary, self._levels)

    def _tell(self, plan: ImagePlan, slots: Mapping[str, AxisSlots]) -> None:
        """Write what readers are told of an image."""
        if plan.path:
            self._write(plan.path, image(plan, slots, self.scales))
        else:
            self._say("", self._root(slots))

    def _say(self, path: str, document: Document) -> None:
        """Write one that lists images, if it says something new."""
        if self._said.get(path) != document:
            (self._folder / path).mkdir(exist_ok=True)
            self._write(path, document)
            self._said[path] = document

    def _write(self, path: str, document: Document) -> None:
        replace_json(self._folder / path / FILE, document, sync=self._sync)


def _channels(plan: ImagePlan) -> int | None:
    return dict(zip(plan.names, plan.extents, strict=True)).get("channel")
