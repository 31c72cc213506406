"""``aiomm repair`` says what it would do, and does it when told to."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
from typer.testing import CliRunner

from aiomm.cli import app
from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, cls: type[NDTiffWriter | OmeZarrWriter] = NDTiffWriter) -> Path:
    with cls(folder, "cells") as writer:
        for t in range(5):
            writer.put(Frame({"time": t}, np.full((20, 30), t, np.uint16), {}))
    return writer.path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["repair", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_nothing_to_repair(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert run(path) == (0, f"{path}: nothing to repair, 5 images are whole\n", "")
    assert run(path, "--apply")[0] == 0


def test_a_lost_index(tmp_path: Path) -> None:
    path = write(tmp_path)
    (path / "NDTiff.index").unlink()
    code, said, _ = run(path)
    assert code == 1
    assert "5 of them recovered" in said
    assert "--apply does it" in said
    assert not (path / "NDTiff.index").exists()
    code, said, _ = run(path, "--apply")
    assert code == 0
    assert "repaired, 5 images whole" in said
    assert "--apply" not in said
    assert len(Dataset(path)) == 5
    assert run(path)[0] == 0


def test_an_ome_zarr_dataset(tmp_path: Path) -> None:
    path = write(tmp_path, OmeZarrWriter)
    assert run(path) == (0, f"{path}: nothing to repair, 5 images are whole\n", "")
    (path / "index.ndjson").unlink()
    code, said, _ = run(path)
    assert code == 1
    assert "index.ndjson: made again, 5 images" in said
    assert "--apply does it" in said
    assert run(path, "--apply")[0] == 0
    assert len(Dataset(path)) == 5
    assert run(path)[0] == 0


def test_what_is_no_dataset(tmp_path: Path) -> None:
    code, said, err = run(tmp_path)
    assert (code, said) == (3, "")
    assert err.startswith("aiomm: error: ")
    assert len(err.splitlines()) == 1
    path = write(tmp_path)
    shutil.copy(path / "NDTiff.index", tmp_path / "zarr.json")
    assert run(tmp_path)[0] == 2
