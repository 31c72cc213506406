"""``aiomm convert``: the new dataset is whole, or it is not there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from aiomm.cli import app
from aiomm.dataset import Dataset, Frame, NDTiffWriter

if TYPE_CHECKING:
    from pathlib import Path

MAIN = "from aiomm.cli import main; main()"
SLOW = (  # a disk that takes its time, so that a signal comes in the middle
    "import time, aiomm.dataset.ndtiff.store as s\n"
    "read = s.FolderStore.read\n"
    "def slowly(self, row):\n"
    "    if row == 3: print('there', flush=True)\n"
    "    time.sleep(0.02)\n"
    "    return read(self, row)\n"
    "s.FolderStore.read = slowly\n" + MAIN.replace("; ", "\n")
)


def write(folder: Path, count: int = 5) -> Path:
    with NDTiffWriter(folder, "cells") as writer:
        for t in range(count):
            writer.put(Frame({"time": t}, np.full((20, 30), t, np.uint16), {"Number": t}))
    return writer.path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", ["new", "new.zarr", "new.ome.tif"])
def test_every_format(tmp_path: Path, name: str) -> None:
    source = write(tmp_path)
    kind = {"new": "ndtiff", "new.zarr": "ome-zarr", "new.ome.tif": "ome-tiff"}[name]
    assert run(source, tmp_path / name, "--verify") == (0, f"{tmp_path / name}: 5 images as {kind}, verified\n", "")
    if kind != "ome-tiff":
        with Dataset(tmp_path / name) as dataset:
            assert [int(dataset.read_image(time=t)[0, 0]) for t in range(5)] == list(range(5))
    code, said, err = run(source, tmp_path / name)
    assert (code, said) == (3, "")
    assert err == f"aiomm: error: {tmp_path / name} exists already: nothing is written over; choose another name\n"


def test_wrong_use(tmp_path: Path) -> None:
    source = write(tmp_path)
    for arguments, text in [
        ((source, tmp_path / "x.tif"), ".ome.tif"),
        ((source, tmp_path / "x", "--to", "zarr"), "ome-zarr"),
        ((source,), "OUT"),
    ]:
        code, said, err = run(*arguments)
        assert (code, said) == (2, "")
        assert text in err
    assert run(tmp_path / "nowhere", tmp_path / "x")[0] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["new", "new.zarr", "new.ome.tif"])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, name: str) -> None:
    source = write(tmp_path, 1000)
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    command = [sys.executable, "-c", SLOW, "convert", str(source), str(tmp_path / name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert len(list(tmp_path.iterdir())) == 2  # the dataset, and what is being made
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert err.decode() == f"aiomm: stopped: {tmp_path / name} was not made; {source} is as it was\n"
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]
    assert {file.name: file.read_bytes() for file in source.iterdir()} == before


def test_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    source = write(tmp_path, 1000)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, (40).to_bytes(2, "little") + (120).to_bytes(2, "little") + bytes(4))
    program = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{SLOW}"
    command = [sys.executable, "-c", program, "convert", str(source), str(tmp_path / "new")]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    screen, pressed = b"", False
    try:
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            if select.select([ours], [], [], 0.1)[0]:
                screen += os.read(ours, 65536)
            if not pressed and re.search(rb"converting[^\n]* [1-9]\d*/1000", screen):
                os.write(ours, b"\x03")
                pressed = True
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert pressed, screen
    assert process.returncode == 130
    assert b"was not made" in screen
    assert screen.rindex(b"\x1b[?25h") > screen.rfind(b"\x1b[?25l")  # the cursor is back
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]


@pytest.mark.parametrize("arguments", [("info", ""), ("repair", ""), ("convert", "", "x"), ("convert", "x", ""), ("repair", " ")])
def test_an_empty_path_is_refused(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path))
    result = CliRunner().invoke(app, list(arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert " is empty: it is the path of a dataset" in result.stderr
