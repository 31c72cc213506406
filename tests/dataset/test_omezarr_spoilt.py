"""Files of an OME-Zarr dataset with bytes changed, taken out or put in: a clear error, or images."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from aiomm.dataset import Dataset, Frame, OmeZarrWriter
from aiomm.errors import DatasetFormatError, MissingImageError

if TYPE_CHECKING:
    from pathlib import Path

PUT_IN = [b"-1", b"99999999999999999999", b"null", b"[]", b"{}", b'"x"', b"1e400", b"NaN", b"\n", b"true"]


def spoil(data: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        kind, at = rng.random(), rng.randrange(len(spoilt) + 1)
        if kind < 0.5 and at < len(spoilt):
            spoilt[at] = rng.choice([rng.randrange(256), *b'{}[],:"0123456789-e.\n\0'])
        elif kind < 0.7:
            del spoilt[at : at + rng.randrange(1, 30)]
        elif kind < 0.9:
            spoilt[at:at] = rng.choice(PUT_IN)
        else:
            del spoilt[at:]
    return bytes(spoilt)


def look_at_all(path: Path) -> int:
    """Open and read everything; how many images there are."""
    with Dataset(path) as dataset:
        for row in range(len(dataset)):
            try:
                dataset.read_row(row)
            except DatasetFormatError:
                continue
        try:
            dataset.as_array(axes=list(dataset.axes)).compute()
        except (DatasetFormatError, MissingImageError, ValueError):
            pass
        assert repr(dataset)
        return len(dataset)


@pytest.mark.parametrize("name", ["index.ndjson", "zarr.json", "frames.ndjson"])
@pytest.mark.parametrize("seed", range(2))
def test_spoilt(tmp_path: Path, name: str, seed: int) -> None:
    with OmeZarrWriter(tmp_path, "x", {"a": 1}) as writer:
        for i in range(6):
            writer.put(Frame({"time": i // 2, "channel": "ab"[i % 2]}, np.full((8, 9), i, np.uint16), {"i": i}))
    rng = random.Random(seed)
    whole = (writer.path / name).read_bytes()
    opened = refused = 0
    for _ in range(100):
        (writer.path / name).write_bytes(spoil(whole, rng))
        try:
            opened += look_at_all(writer.path) <= 12
        except DatasetFormatError:
            refused += 1
    assert opened > 0
    assert opened + refused == 100
