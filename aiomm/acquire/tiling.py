"""XY tiles: where the stage has to be for the tile in a row and column."""

from __future__ import annotations

import asyncio
import copy
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiomm.acquire.event_values import TILE_X, TILE_Y, numbered
from aiomm.errors import EventError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.core import Core

__all__ = ["Grid", "Tiling", "read_grid"]

AT_A_TIME = 500  # events that are placed before the loop is given away: about 3 ms


@dataclass(frozen=True, slots=True)
class Grid:
    """How tiles lie in the sample.

    Attributes
    ----------
    affine : tuple of float
        (xx, xy, yx, yy), µm per pixel: what the stage's x, and its y, have to do with the columns and rows of pixels.
    step : tuple of int
        Pixels from one tile to the next, along columns and along rows.
    origin : tuple of float
        Where the stage stood when this was read, x and y in µm.
    """

    affine: tuple[float, float, float, float]
    step: tuple[int, int]
    origin: tuple[float, float]

    def at(self, columns: int, rows: int) -> tuple[float, float]:
        """Give the place in µm of the tile so many columns and rows from the one at the origin."""
        xx, xy, yx, yy = self.affine
        right, down = columns * self.step[0], rows * self.step[1]
        return right * xx + down * xy + self.origin[0], right * yx + down * yy + self.origin[1]


async def read_grid(core: Core, overlap: tuple[int, int]) -> Grid:
    """Read how tiles lie: the camera's image, the pixel-size affine transform, and where the stage stands when it stands still.

    Raises
    ------
    UnsupportedError
        There is no XY stage, the transform is not defined or cannot be, or the overlap leaves nothing of an image.
    CoreError
        A device refuses to answer.
    """
    stage = await core.get_xy_stage_device()
    if not stage:
        raise UnsupportedError(
            "tile_overlap= moves the Core's XY stage from tile to tile, and the Core has none: set_xy_stage_device(label)"
        )
    xx, xy, _, yx, yy, _ = (float(value) for value in await core.get_pixel_size_affine())
    affine = (xx, xy, yx, yy)
    if not any(affine) or not all(map(math.isfinite, affine)) or abs(xx * yy - xy * yx) <= 1e-9 * max(map(abs, affine)) ** 2:
        await _refuse(core, affine)
    width, height = await core.get_image_width(), await core.get_image_height()
    step = (width - overlap[0], height - overlap[1])
    if min(step) < 2:
        raise UnsupportedError(
            f"tile_overlap={overlap} (x, y) leaves less than 2 x 2 pixels of an image of {width} x {height}: it must be smaller"
        )
    await core.wait_for_device(stage)
    x, y = await core.get_xy_position(stage)
    return Grid(affine, step, (x, y))


async def _refuse(core: Core, affine: tuple[float, ...]) -> None:
    """Say what is wrong with the affine transform, and how it gets right."""
    name = await core.get_current_pixel_size_config()
    found = "is not defined" if not any(affine) else f"is {affine}, which does not tell two directions apart"
    where = f"pixel size configuration {name!r}" if name else "no pixel size configuration fits the microscope's state, so it"
    make = "" if name else f"define_pixel_size_config({'name'!r}, device, property, value), then "
    raise UnsupportedError(
        f"tile_overlap= places tiles by the affine transform from pixels to µm of the XY stage: "
        f"{f'that of {where}' if name else where} {found}. Define it with {make}"
        f"set_pixel_size_affine({name or 'name'!r}, (xx, xy, 0, yx, yy, 0)) in µm per pixel, for a camera along the stage's axes "
        "(size, 0, 0, 0, size, 0); or calibrate it in Micro-Manager's Pixel Size Calibration"
    )


class Tiling:
    """Gives the events of one acquisition the places of their tiles.

    The first tile lies where the stage stood when the first events came; the others lie around it, as Micro-Manager's
    own engine has it. An event's own ``x`` and ``y`` win.

    Parameters
    ----------
    core : Core
        The microscope, wherever it is.
    overlap : (int, int)
        Pixels that neighbouring tiles share, along x and y.
    """

    def __init__(self, core: Core, overlap: tuple[int, int]) -> None:
        self._core = core
        self.overlap = overlap
        self._grid: Grid | None = None
        self._first: tuple[int, int] | None = None  # column and row of the tile at the grid's origin
        self._lock = threading.Lock()

    async def check(self) -> None:
        """Raise what `read_grid` raises, before anything is made; nothing is kept."""
        await read_grid(self._core, self.overlap)

    async def place_all(self, events: Sequence[AcquisitionEvent], first: int = 0) -> list[AcquisitionEvent]:
        """Place events, and give the loop away now and then; what the first ones of the acquisition find holds for all.

        Raises
        ------
        EventError
            As `place`.
        UnsupportedError
            As `read_grid`.
        """
        if self._grid is None:
            self._grid = await read_grid(self._core, self.overlap)
        placed: list[AcquisitionEvent] = []
        for start in range(0, len(events), AT_A_TIME):
            if start:
                await asyncio.sleep(0)
            placed += self.place(events[start : start + AT_A_TIME], first + start)
        return placed

    async def preview(self, events: Sequence[AcquisitionEvent]) -> list[AcquisitionEvent]:
        """Place events as they would be if they came now; what comes later is not bound by it."""
        return await copy.copy(self).place_all(events)

    def place(self, events: Iterable[AcquisitionEvent], first: int = 0) -> list[AcquisitionEvent]:
        """Place events, of which those that take no image stay as they are. Any thread, once `place_all` has run.

        Raises
        ------
        EventError
            An event takes an image and has no row or column; ``first`` is the number of the first event.
        """
        return [self._placed(event, first + i) if event.acquire else event for i, event in enumerate(events)]

    def _placed(self, event: AcquisitionEvent, number: int) -> AcquisitionEvent:
        column, row = (self._number(event, name, number) for name in ("column", "row"))
        with self._lock:
            if self._first is None:
                self._first = column, row
        own_x, own_y = (value is not None and not event.dialect & bit for value, bit in ((event.x, TILE_X), (event.y, TILE_Y)))
        if own_x and own_y:
            return event
        assert self._grid is not None
        x, y = self._grid.at(column - self._first[0], row - self._first[1])
        event = copy.copy(event)
        if not own_x:
            event.x, event.dialect = x, event.dialect | TILE_X
        if not own_y:
            event.y, event.dialect = y, event.dialect | TILE_Y
        return event

    @staticmethod
    def _number(event: AcquisitionEvent, name: str, number: int) -> int:
        value = event.axes.get(name)
        if isinstance(value, int):
            return value
        there = f"is {value!r}" if name in event.axes else "is not there"
        raise numbered(
            number,
            EventError(
                f"axes[{name!r}] {there}: with tile_overlap= each image is a tile, whose axes 'row' and 'column' are whole numbers",
                key="axes",
                value=event.axes,
            ),
        )
