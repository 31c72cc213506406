"""A contact sheet: one picture of a whole dataset, small labelled images in a grid, contrast the same within a channel."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from aiomm.dataset import Dataset

Value = int | str
Axes = dict[str, Value]
Limits = tuple[float, float]

GAP, HEADER, LABEL, FONT_SIZE = 6, 44, 16, 12  # pixels
SMALLEST_WIDTH = 480  # pixels; room for the heading
BACKGROUND, BRIGHT, FAINT = (24, 24, 28), (235, 235, 235), (150, 150, 155)


def draw_contact_sheet(dataset: Dataset, *, thumbnail: int = 160, columns: int = 8, rows: int = 12) -> Image:
    """Draw one picture of a dataset.

    The innermost axis (z, if there is one) runs along the rows of the picture, the others down it. An axis with more
    values than there is room for is shown at evenly spaced values, the first and the last among them; every channel is
    shown. All images of a channel have the same contrast.

    Parameters
    ----------
    dataset : Dataset
        Live or finished; must not be empty.
    thumbnail : int
        Longer side of a small image, in pixels.
    columns, rows : int
        At most so many small images beside and below each other (more rows where there are more channels).

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    UnsupportedError
        Pillow is not installed.
    ValueError
        The dataset has no images.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont, ImageOps
    except ImportError:
        raise UnsupportedError("drawing a picture of a dataset needs Pillow: pip install 'aiomm[preview]'") from None
    found = dataset.get_index_keys()
    if not found:
        raise ValueError("a dataset without images has no contact sheet")

    row_of = {frozenset(axes.items()): row for row, axes in enumerate(found)}
    fixed = set(found[0].items()).intersection(*(axes.items() for axes in found[1:]))
    values = {**dataset.axes, **({"channel": dataset.get_channel_names()} if dataset.axes_types.get("channel") is str else {})}
    varying: dict[str, list[Value]] = {name: list(some) for name, some in values.items() if name not in dict(fixed)}
    lines = lay_out(varying, columns, rows)
    cells = [(x, y, cell, row_of.get(frozenset(fixed.union(cell.items())))) for y, line in enumerate(lines) for x, cell in enumerate(line)]
    shown = [row for *_, row in cells if row is not None]
    small = {row: shrink(dataset.read_row(row)[0], thumbnail) for row in shown}
    channel_of = {row: str(found[row].get("channel", "")) for row in shown}
    limits = contrast(channel_of, small)

    first = dataset.read_row(0)[0]
    wide, high = fit(first.shape, thumbnail)
    width = max(GAP + max(map(len, lines)) * (wide + GAP), SMALLEST_WIDTH)
    sheet = Image.new("RGB", (width, HEADER + len(lines) * (high + LABEL + GAP)), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.font = ImageFont.load_default(FONT_SIZE)
    pen.text((GAP, GAP), heading(len(found), varying, first, len(shown)), BRIGHT)
    pen.text((GAP, GAP + LABEL), legend(limits), FAINT)
    for x, y, cell, row in cells:
        left, top = GAP + x * (wide + GAP), HEADER + y * (high + LABEL + GAP)
        pen.text((left, top), "  ".join(f"{name} {value}" for name, value in cell.items()), FAINT if row is None else BRIGHT)
        top += LABEL
        if row is None:
            pen.rectangle((left, top, left + wide - 1, top + high - 1), outline=FAINT)
            pen.text((left + GAP, top + GAP), "no image", FAINT)
            continue
        picture = Image.fromarray(stretch(small[row], limits[channel_of[row]]))
        sheet.paste(ImageOps.contain(picture, (wide, high)).convert("RGB"), (left, top))
    return sheet


def save_contact_sheet(dataset: Dataset, path: str | Path, **options: Any) -> None:
    """Draw a contact sheet and write it as a PNG file; ``options`` are those of `draw_contact_sheet`.

    Raises
    ------
    UnsupportedError
        Pillow is not installed.
    ValueError
        The dataset has no images.
    OSError
        The file cannot be written.
    """
    draw_contact_sheet(dataset, **options).save(path, format="PNG")


def fit(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return width and height of an image whose longer side is ``side``."""
    height, width = shape[:2]
    return max(1, round(width * side / max(shape[:2]))), max(1, round(height * side / max(shape[:2])))


def lay_out(varying: dict[str, list[Value]], columns: int, rows: int) -> list[list[Axes]]:
    """Choose the images to show: the innermost axis along a line, a line for each combination of the others."""
    if not varying:
        return [[{}]]
    *outer, inner = varying
    if not outer:  # one axis alone fills line after line
        values = spread(varying[inner], columns * rows)
        return [[{inner: value} for value in values[start : start + columns]] for start in range(0, len(values), columns)]
    chosen: dict[str, list[Value]] = {}
    room = rows
    for place, name in enumerate(sorted(outer, key=lambda name: name != "channel")):  # channels first: all are shown
        share = len(varying[name]) if name == "channel" else math.ceil(room ** (1 / (len(outer) - place)))
        chosen[name] = spread(varying[name], share)
        room = max(1, room // len(chosen[name]))
    lines = itertools.product(*(chosen[name] for name in outer))
    along = spread(varying[inner], len(varying[inner]) if inner == "channel" else columns)
    return [[{**dict(zip(outer, line, strict=True)), inner: value} for value in along] for line in lines]


def spread(values: list[Value], at_most: int) -> list[Value]:
    """Return evenly spaced values, the first and the last among them."""
    if len(values) <= at_most:
        return values
    if at_most == 1:
        return values[:1]
    return [values[round(place * (len(values) - 1) / (at_most - 1))] for place in range(at_most)]


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """Average blocks of pixels until neither side is much longer than ``side``; (y, x) or (y, x, 3), float32."""
    step = max(1, max(image.shape[:2]) // side)
    height, width = (max(1, length // step) for length in image.shape[:2])
    blocks = image[: height * step, : width * step]
    if step == 1:
        return blocks.astype(np.float32)
    return np.asarray(blocks.reshape(height, step, width, step, *image.shape[2:]).mean(axis=(1, 3), dtype=np.float32))


def contrast(channel_of: dict[int, str], small: dict[int, np.ndarray]) -> dict[str, Limits]:
    """Return the grey values shown black and white in each channel: all but the darkest and brightest half percent."""
    limits: dict[str, Limits] = {}
    for channel in dict.fromkeys(channel_of.values()):
        pixels = np.concatenate([small[row].ravel() for row in small if channel_of[row] == channel])
        low, high = (float(limit) for limit in np.percentile(pixels, (0.5, 99.5)))
        limits[channel] = (low, max(high, low + 1))
    return limits


def stretch(image: np.ndarray, limits: Limits) -> np.ndarray:
    """Map the limits to 0 and 255; uint8."""
    low, high = limits
    return np.clip((image - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


def heading(images: int, varying: dict[str, list[Value]], first: np.ndarray, shown: int) -> str:
    """Say in one line what the dataset is."""
    parts = [f"{images} image{'s' if images > 1 else ''}", " x ".join(f"{name} {len(values)}" for name, values in varying.items())]
    parts.append(f"{first.shape[1]} x {first.shape[0]} {'RGB' if first.ndim == 3 else first.dtype}")
    if shown < images:
        parts.append(f"{shown} shown")
    return "    ".join(filter(None, parts))


def legend(limits: dict[str, Limits]) -> str:
    """Say which grey values are shown black and white."""
    scales = "    ".join(f"{channel} {low:.0f} to {high:.0f}".strip() for channel, (low, high) in limits.items())
    return f"contrast: {scales}"
