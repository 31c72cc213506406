"""What tests of datasets share: images that say where they belong, and the samples."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiomm.dataset import Frame

METADATA: dict[str, Any] = {"Camera": "Camera", "Exposure": 10.0, "Unicode": "µm–é", "Nested": {"a": [1, 2.5, None, True]}}
KINDS = {
    "8-bit": (np.uint8, None, 8),
    "10-bit": (np.uint16, 10, 10),
    "11-bit": (np.uint16, 11, 11),
    "12-bit": (np.uint16, 12, 12),
    "14-bit": (np.uint16, 14, 14),
    "16-bit": (np.uint16, 16, 16),
    "16-bit by type": (np.uint16, None, 16),
    "rgb": ("rgb", None, 8),
}


def image(seed: int, shape: tuple[int, int] = (20, 30), kind: Any = np.uint16, bits: int = 16) -> np.ndarray:
    """Make an image that no other seed makes."""
    rng = np.random.default_rng(seed)
    if kind == "rgb":
        return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return rng.integers(0, 2 ** min(bits, 8 * np.dtype(kind).itemsize), shape, dtype=kind)


def same(one: Any, other: Any) -> bool:
    """Whether two arrays, lazy or not, are equal, and of one type."""
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and np.array_equal(one, other)


def frame(seed: int, shape: tuple[int, int] = (20, 30), **axes: Any) -> Frame:
    return Frame(axes or {"time": seed}, image(seed, shape), {**METADATA, "Seed": seed})


def samples() -> Path:
    """Folder of real datasets; skips the test without it."""
    given = os.environ.get("AIOMM_SAMPLE_DATA")
    folder = Path(given) if given else Path(__file__).parents[3] / "shared" / "data"
    if not (folder / "ndtiff").is_dir():
        pytest.skip(f"no sample datasets in {folder}; AIOMM_SAMPLE_DATA names the folder that holds ndtiff/")
    return folder / "ndtiff"


@contextlib.contextmanager
def ndstorage_dataset(path: Path) -> Any:
    """Open a dataset with the reference reader."""
    import ndstorage

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = ndstorage.Dataset(str(path))
    try:
        yield dataset
    finally:
        for level in getattr(dataset, "res_levels", {0: dataset}).values():  # its pyramids cannot close themselves
            level.close()
