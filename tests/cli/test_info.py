"""``aiomm info`` says what is in a dataset, and one sentence where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aiomm.cli import app
from aiomm.cli.info import NOT_FINISHED
from aiomm.dataset import Axes, Frame, NDTiffWriter


def info(path: Path) -> tuple[int, dict[str, str], str]:
    result = CliRunner().invoke(app, ["info", str(path)])
    return result.exit_code, {line[:12].strip(): line[13:] for line in result.stdout.splitlines()}, result.stderr


def write(folder: Path, axes: list[Axes], shape: tuple[int, ...] = (20, 30), kind: type = np.uint16) -> NDTiffWriter:
    writer = NDTiffWriter(folder, "cells", {}, on_saved=lambda frames: None)
    for one in axes:
        writer.put(Frame(axes=one, pixels=np.zeros(shape, kind), metadata={}))
    return writer


def test_all_there_is_to_say(tmp_path: Path) -> None:
    axes: list[Axes] = [{"time": t, "channel": c, "z": z} for t in range(3) for c in ("FITC", "DAPI") for z in range(-1, 1)]
    writer = write(tmp_path, axes[:-1])
    writer.finish()
    code, said, err = info(Path(writer.path))
    assert (code, err) == (0, "")
    assert said["images"] == "11"
    assert said["axis time"] == "3: 0 to 2"
    assert said["axis channel"] == "2: FITC, DAPI"
    assert said["axis z"] == "2: -1 to 0"
    assert said["gaps"].startswith("1 ")
    assert said["pixels"].startswith("30 x 20 uint16")
    assert said["finished"] == "yes"
    assert said["on disk"].split()[1] in ("kB", "MB")


def test_no_axes_and_no_gaps(tmp_path: Path) -> None:
    writer = write(tmp_path, [{}], (8, 8, 3), np.uint8)
    writer.finish()
    said = info(Path(writer.path))[1]
    assert said["images"] == "1"
    assert "RGB" in said["pixels"]
    assert "gaps" not in said
    assert not any(name.startswith("axis") for name in said)


def test_a_dataset_that_is_being_written(tmp_path: Path) -> None:
    writer = write(tmp_path, [{"time": t} for t in range(4)])
    try:
        writer.flush()
        code, said, _ = info(Path(writer.path))
        assert code == 0
        assert said["finished"] == NOT_FINISHED
    finally:
        writer.finish()


def test_an_empty_dataset(tmp_path: Path) -> None:
    writer = write(tmp_path, [])
    writer.finish()
    code, said, _ = info(Path(writer.path))
    assert (code, said["images"]) == (0, "0")
    assert "gaps" not in said


def test_a_folder_of_datasets_says_which_it_holds(tmp_path: Path) -> None:
    for _ in range(2):
        write(tmp_path, [{}]).finish()
    (tmp_path / "something else").mkdir()
    code, said, err = info(tmp_path)
    assert (code, said) == (3, {})
    assert err == f"aiomm: error: {tmp_path} is not a dataset; it holds cells_1, cells_2\n"


def test_what_is_not_a_dataset_is_said_in_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        code, said, err = info(path)
        assert (code, said) == (3, {})
        assert len(err.splitlines()) == 1
        assert str(path) in err


@pytest.mark.parametrize("tiled", [False, True])
def test_images_that_were_kept_aside(tmp_path: Path, tiled: bool) -> None:
    """As of a Micro-Manager whose camera lost a frame, and whose disk was full."""
    writer = write(tmp_path, [{"time": t} for t in range(5)], (200, 300))
    writer.finish()
    path = Path(writer.path)
    assert "kept aside" not in info(path)[1]
    if tiled:
        (tmp_path / "tiled").mkdir()
        path = path.rename(tmp_path / "tiled" / "Full resolution")
    index = path / "NDTiff.index"
    data = index.read_bytes()
    records = [data[at : at + len(data) // 5] for at in range(0, len(data), len(data) // 5)]
    index.write_bytes(b"".join(records[:2]))
    (path / "NDTiff.unlabelled.index").write_bytes(b"".join(records[2:]) + b"torn")
    (file,) = path.glob("*.tif")
    os.truncate(file, int.from_bytes(records[4][-32:-28], "little") + 100)  # in the pixels of the last image
    shown = tmp_path / "tiled" if tiled else path
    said = info(shown)[1]
    assert said["kept aside"] == (
        "3 images of its files, with their records in NDTiff.unlabelled.index: "
        "2 after a lost frame (nobody can say on which axes), 1 not written to the end"
    )
    before = (path / "NDTiff.unlabelled.index").read_bytes()
    result = CliRunner().invoke(app, ["repair", "--apply", str(shown)])
    assert result.exit_code == 0, result.output
    assert (path / "NDTiff.unlabelled.index").read_bytes() == before
    assert info(shown)[1]["images"] == "2"
