"""``aiomm info``: what is in a dataset, in a few lines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aiomm.dataset import Dataset
from aiomm.dataset.ndtiff.aside import aside_of
from aiomm.dataset.ndtiff.format import UNLABELLED_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST = 12  # values named, of one axis
NOT_FINISHED = "no: it is still being written, or its writer was killed; what is there can be read, aiomm repair says what else there is"


def describe(path: Path) -> str:
    """Describe a dataset.

    Raises
    ------
    DatasetFormatError
        There is no dataset that aiomm can read.
    """
    with Dataset(path) as dataset:
        keys, shape, channels = dataset.get_index_keys(), dataset.image_shape, dataset.get_channel_names()
        lines = [("dataset", str(dataset.path)), ("images", str(len(keys)))]
        lines += [(f"axis {name}", values(found, channels if name == "channel" else [])) for name, found in dataset.axes.items()]
        if keys and (gaps := math.prod(map(len, dataset.axes.values())) - len({frozenset(key.items()) for key in keys})):
            lines.append(("gaps", "1 place on these axes has no image" if gaps == 1 else f"{gaps} places on these axes have no image"))
        if shape is not None:
            kind = "RGB" if len(shape) == 3 else dataset.dtype
            lines.append(("pixels", f"{shape[1]} x {shape[0]} {kind}, {dataset.bit_depth} bit"))
        if why := kept_aside(path):
            lines.append(("kept aside", why))
        lines.append(("on disk", size(sum(room(file) for file in path.rglob("*") if file.is_file()))))
        lost = dataset.missing_files
        lines += [("not there", f"{name}: the {count} images in it cannot be read") for name, count in lost.items()]
        lines.append(("finished", "yes" if dataset.finished else NOT_FINISHED if not lost else "no: files are not there"))
    return "\n".join(f"{name:<12} {text}" for name, text in lines)


def kept_aside(path: Path) -> str:
    """Say how many images are in the files and not in the dataset, and why; nothing if there are none."""
    unlabelled, torn = aside_of(path)
    reasons = [(unlabelled, "after a lost frame (nobody can say on which axes)"), (torn, "not written to the end")]
    said = ", ".join(f"{count} {why}" for count, why in reasons if count)
    return f"{unlabelled + torn} images of its files, with their records in {UNLABELLED_NAME}: {said}" if said else ""


def room(file: Path) -> int:
    """Bytes that a file takes on the disk; a file that is being written may be mostly holes."""
    found = file.stat()
    return int(getattr(found, "st_blocks", found.st_size / 512) * 512)


def values(found: Sequence[int | str], channels: Sequence[str]) -> str:
    """Say how many values an axis has, and which; names in the order they were saved."""
    if channels or isinstance(found[0], str):
        return f"{len(found)}: {named(channels or list(map(str, found)))}"
    return f"{len(found)}: {found[0]}" + (f" to {found[-1]}" if len(found) > 1 else "")


def named(names: Sequence[str]) -> str:
    """Name the first few."""
    return ", ".join(names[:MOST]) + (", ..." if len(names) > MOST else "")


def size(count: float) -> str:
    """Write a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
