"""What a dataset says of itself: its axes, its sizes, its channels, whether more will come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset import tiles
from aiomm.dataset.selection import check_row
from aiomm.errors import MissingImageError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.channels import ChannelNames
    from aiomm.dataset.storage import Axes, Store


class Contents:
    """What there is in a dataset; `Dataset` reads it."""

    _path: Path | None
    _levels: list[Store]
    _store: Store
    _channel_names: ChannelNames

    @property
    def path(self) -> Path | None:
        """Folder of the dataset; None in memory."""
        return self._path

    @property
    def summary_metadata(self) -> dict[str, Any]:
        """What holds for every image; a copy."""
        return dict(self._store.summary)

    @property
    def finished(self) -> bool:
        """Whether nothing more will be written. On disk: whether the writer ended the files as it should."""
        return self._store.finished

    def is_finished(self) -> bool:
        """Whether nothing more will be written."""
        return self._store.finished

    @property
    def missing_files(self) -> dict[str, int]:
        """Files of full resolution that should be there and are not, and how many images are in each; these cannot be read."""
        return self._store.missing()

    def __len__(self) -> int:
        """Count the rows saved so far; an image saved twice counts twice."""
        return len(self._store.index)

    def __bool__(self) -> bool:
        return True

    @property
    def axes(self) -> dict[str, list[int] | list[str]]:
        """Sorted values of each axis; axes in the order row, column, position, time, channel, others, z, always."""
        index = self._store.index
        return {name: list(index.values(name)) for name in index.names}

    @property
    def axes_types(self) -> dict[str, type]:
        """Int or str, for each axis."""
        return self._store.index.types

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type of the first image's pixels; None without images."""
        return self._store.shape_of(0)[1] if len(self) else None

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Shape of the first image, (y, x) or (y, x, 3); None without images."""
        return self._store.shape_of(0)[0] if len(self) else None

    @property
    def image_height(self) -> int | None:
        """Pixels of the first image along y."""
        shape = self.image_shape
        return None if shape is None else shape[0]

    @property
    def image_width(self) -> int | None:
        """Pixels of the first image along x."""
        shape = self.image_shape
        return None if shape is None else shape[1]

    @property
    def bytes_per_pixel(self) -> int | None:
        """1, 2, or 3 (RGB), of the first image."""
        shape, dtype = self.image_shape, self.dtype
        return None if shape is None or dtype is None else dtype.itemsize * (3 if len(shape) == 3 else 1)

    @property
    def bit_depth(self) -> int | None:
        """Significant bits of the first image's pixels; None without images."""
        return self._store.bit_depth_of(0) if len(self) else None

    @property
    def overlap(self) -> tuple[int, int]:
        """Pixels along y and x that neighbouring tiles of full resolution share; 0 if they do not."""
        return tiles.overlap_of(self._store.summary)

    @property
    def major_version(self) -> int | None:
        """Major version of NDTiff that the files say; None of other formats, and in memory."""
        version: tuple[int, int] | None = getattr(self._store, "version", None)
        return None if version is None else version[0]

    @property
    def minor_version(self) -> int | None:
        """Minor version of NDTiff; see `major_version`."""
        version: tuple[int, int] | None = getattr(self._store, "version", None)
        return None if version is None else version[1]

    @property
    def num_resolution_levels(self) -> int:
        """How many resolution levels are open."""
        return len(self._levels)

    def get_channel_names(self) -> list[str]:
        """Names of the channels, in the order first saved; the n-th is what ``channel=n`` means."""
        return self._channel_names()

    def get_index_keys(self, res_level: int = 0) -> list[Axes]:
        """Axes of every image, in the order saved."""
        return self._level(res_level).index.all_axes()

    def get_image_coordinates_list(self) -> list[Axes]:
        """Axes of every image, in the order saved."""
        return self.get_index_keys()

    def axes_of(self, row: int) -> Axes:
        """Axes of a row. Rows are in the order saved, so a row once there never changes."""
        check_row(row)
        return self._store.index.axes_of(row)

    def _level(self, level: int) -> Store:
        if level == 0:
            return self._store
        if not isinstance(level, (int, np.integer)) or isinstance(level, bool):
            raise TypeError(f"resolution level is {level!r}: it must be an integer")
        if not 0 <= level < len(self._levels):
            why = "open it with full_res_only=False" if len(self._levels) == 1 else f"there are levels 0 to {len(self._levels) - 1}"
            raise MissingImageError(f"there is no resolution level {level}: {why}")
        return self._levels[level]

    def __repr__(self) -> str:
        where = "in memory" if self._path is None else repr(str(self._path))
        sizes = ", ".join(f"{name} {len(values)}" for name, values in self.axes.items())
        shape = self.image_shape
        pixels = "" if shape is None else f" of {'x'.join(map(str, shape))} {self.bit_depth}-bit {self.dtype}"
        state = "finished" if self.finished else "not finished"
        lost = [f"{name} is not there, which has {count} of them" for name, count in self.missing_files.items()]
        more = [f"nor are {len(lost) - 2} more files"] if len(lost) > 2 else []
        return f"<Dataset {where}: {len(self)} images{pixels}{f'; {sizes}' if sizes else ''}; {'; '.join([state, *lost[:2], *more])}>"
