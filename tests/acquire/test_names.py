"""Where an acquisition saves: what no file system takes is refused on both homes with the same error, before anything is begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aiomm
from aiomm.acquire.remote.session import JavaSession
from tests.support.rigs import frames

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.rigs import Rig

FORMATS = ["ndtiff", "ome-zarr"]
LONGEST = 235


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("below", "name", "says"),
    [
        ("", "n" * 300, r"name is 'n{40}…' with 300 bytes: .* 235 at most"),
        ("", "é" * 150, r"name is 'é{40}…' with 300 bytes: .* 235 at most"),
        ("", "n" * (LONGEST + 1), r"with 236 bytes: .* 235 at most"),
        ("d" * 300, "run", r"directory has the folder 'd{40}…' with 300 bytes: .* 255 at most"),
        ("/".join(["d" * 200] * 21), "run", r"directory is .*…' with \d+ bytes: .* may have 4095"),
    ],
    ids=["name", "of many bytes", "by one", "folder", "path"],
)
async def test_too_long(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, below: str, name: str, says: str) -> None:
    """Micro-Manager would keep threads and a port of the half that it had begun."""
    monkeypatch.setattr(JavaSession, "open", None)
    acq = aiomm.Acquisition(tmp_path / below, name, format=format, show_display=False, **rig.where)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=says):
        await acq.__aenter__()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
async def test_the_longest_name(rig: Rig, tmp_path: Path, format: str) -> None:
    """The files that are called after it can be made."""
    async with aiomm.Acquisition(tmp_path, "n" * LONGEST, format=format, show_display=False, **rig.where) as acq:  # type: ignore[arg-type]
        assert len(await acq.acquire(frames(2))) == 2
    assert acq.path is not None
    assert len(await aiomm.Dataset.open(str(acq.path))) == 2
