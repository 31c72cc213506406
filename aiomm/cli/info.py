"""``aiomm info``: what is in a dataset, in a few lines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aiomm.dataset import Dataset

if TYPE_CHECKING:
    from pathlib import Path

MOST = 12  # values named, of one axis


def describe(path: Path) -> str:
    """Describe a dataset.

    Raises
    ------
    DatasetFormatError
        There is no dataset that aiomm can read.
    """
    with Dataset(str(path)) as dataset:
        images = len(dataset)
        values: dict[str, dict[int | str, None]] = {}
        for row in range(images):
            for name, value in dataset.axes_of(row).items():
                values.setdefault(name, {})[value] = None
        lines = [("dataset", str(path)), ("images", str(images))]
        lines += [(f"axis {name}", axis(list(found))) for name, found in values.items()]
        full = math.prod(len(found) for found in values.values())
        if images and full != images:
            lines.append(("gaps", f"{full - images} of {full} places on these axes have no image"))
        if images:
            pixels = dataset.read_row(0)[0]
            lines.append(("image", f"{pixels.shape[1]} x {pixels.shape[0]} {'RGB' if pixels.ndim == 3 else pixels.dtype}"))
        lines.append(("on disk", size(sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))))
    return "\n".join(f"{name:<12} {text}" for name, text in lines)


def axis(values: list[int | str]) -> str:
    """Say how many values an axis has, and which."""
    if all(isinstance(value, str) for value in values):
        shown = ", ".join(map(str, values[:MOST])) + (", ..." if len(values) > MOST else "")
    else:
        numbers = sorted(value for value in values if isinstance(value, int))
        shown = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"{len(values)}: {shown}"


def size(count: float) -> str:
    """Write a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
