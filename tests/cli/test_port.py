"""``aiomm acquire --port``: the main job on a running Micro-Manager, with its real server and engine."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import aiomm
from aiomm.cli import app
from tests.jvm.host import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.jvm.host import JavaHost

pytestmark = pytest.mark.sampled(2, of="module", always=True)

SETTINGS = ("get_shutter_open", "get_auto_shutter", "is_sequence_running", "get_camera_device", "get_shutter_device", "get_exposure")


def acquire(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["acquire", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def control(port: int, *methods: str) -> list[Any]:
    """Call methods of the core in Java, from outside any loop."""

    async def ask() -> list[Any]:
        async with aiomm.Bridge(port) as bridge:
            core = await bridge.get_core()
            return [await getattr(core, method)() for method in methods]

    return asyncio.run(ask())


def restore(port: int) -> None:
    async def put_back() -> None:
        async with aiomm.Bridge(port) as bridge:
            await (await bridge.construct_java_object("aiomm.host.Control")).restore()

    asyncio.run(put_back())


@pytest.fixture
def port(java_host: JavaHost) -> Iterator[int]:
    """The port of the JVM that all tests share; its microscope as at the start, before and after."""
    restore(java_host.port)
    yield java_host.port
    restore(java_host.port)


@pytest.mark.parametrize("way", ["ndtiff", "ome-zarr"])
def test_every_option_has_its_effect(way: str, port: int, tmp_path: Path) -> None:
    found = control(port, *SETTINGS)
    code, out, err = acquire(
        *(tmp_path, "--port", port, "--name", "cells", "--format", way, "-t", 2, "-z", "0:2:1"),
        *("-c", "Channel:DAPI,FITC", "--exposure", "3,4", "--order", "tzpc"),
    )
    assert (code, err) == (0, "")
    path = tmp_path / "cells_1"
    assert out.splitlines()[0].startswith("acquired 12 images in ")
    assert out.splitlines()[1:] == [f"dataset: {path}", f"preview: {path}.png"]
    dataset = aiomm.Dataset(path)
    keys = [dict(dataset.axes_of(row)) for row in range(len(dataset))]
    assert keys == [{"time": t, "z": z, "channel": c} for t in range(2) for z in range(3) for c in ("DAPI", "FITC")]
    for axes in keys:
        metadata = dataset.read_metadata(**axes)  # type: ignore[arg-type]
        assert float(metadata["Exposure"]) == (3 if axes["channel"] == "DAPI" else 4)
        assert float(metadata["ZPosition_um_Intended"]) == axes["z"]
    assert Path(f"{path}.png").read_bytes().startswith(b"\x89PNG")
    assert control(port, *SETTINGS) == found, "its exposure was for this job"


def test_memory_keeps_the_preview_only(port: int, tmp_path: Path) -> None:
    found = control(port, *SETTINGS)
    code, out, err = acquire(tmp_path / "out", "--port", port, "--format", "memory", "-t", 2, "--exposure", 6)
    assert (code, err) == (0, "")
    assert control(port, *SETTINGS) == found
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["acq.png"]
    assert "dataset:" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-c", "DAPY"], 2, "did you mean 'DAPI'"),
        (["-c", "Nonsense:DAPI"], 2, "Nonsense"),
        (["--exposure", "1e8"], 2, "--exposure: camera 'Camera' cannot expose for 1e+08 ms: it may lie from 0 to 60000"),
        (["-t", 1_000_000_000], 3, "1000000000 images"),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(
    arguments: list[object], code: int, says: str, port: int, tmp_path: Path
) -> None:
    got, out, err = acquire(tmp_path / "out", "--port", port, *arguments)
    assert (got, out) == (code, ""), err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_where_nobody_listens_there_is_no_microscope(tmp_path: Path) -> None:
    nobody = free_port()
    code, out, err = acquire(tmp_path / "out", "--port", nobody)
    assert (code, out) == (4, "")
    assert err.startswith(f"aiomm: error: no Micro-Manager server at 127.0.0.1:{nobody}: ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_listens_there_is_something_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        wrong = other.getsockname()[1]
        code, out, err = acquire(tmp_path / "out", "--port", wrong)
    assert (code, out) == (4, "")
    assert f"127.0.0.1:{wrong}" in err
    assert len(err.splitlines()) == 1


def long(cwd: Path, port: int) -> subprocess.Popen[bytes]:
    """Start an acquisition that does not end by itself, and return when it has saved some images."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from aiomm.cli import main; main()", "acquire", "out", "--port", str(port)),
            *("-t", "20000", "--interval", "0.01", "--exposure", "2", "--no-preview"),
        ],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    index = cwd / "out" / "acq_1" / "NDTiff.index"
    wait_for(lambda: index.exists() and index.read_bytes().count(b"time") > 10, process)
    return process


def wait_for(what: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait until ``what()`` is true; the test's own time limit bounds it."""
    while not what():
        assert process.poll() is None, "it ended too early"
        time.sleep(0.02)


def check_kept(said: str, cwd: Path) -> int:
    """What it says is kept is there, opens, and can be read; how many images that is."""
    match = re.search(r"(\d+) of 20000 images are saved and kept in ([^\s;]+)", said)
    assert match, said
    dataset = aiomm.Dataset(cwd / match[2])
    assert len(dataset) >= int(match[1]) > 0  # what Java wrote last may not have been told any more
    for row in range(len(dataset)):
        dataset.read_row(row)
    return int(match[1])


def test_ctrl_c_keeps_what_is_saved_and_leaves_the_hardware_as_found(port: int, tmp_path: Path) -> None:
    found = control(port, *SETTINGS)
    process = long(tmp_path, port)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, b""), err
    assert b"Traceback" not in err
    assert check_kept(err.decode(), tmp_path) == len(aiomm.Dataset(tmp_path / "out" / "acq_1"))
    assert aiomm.Dataset(tmp_path / "out" / "acq_1").finished
    assert control(port, *SETTINGS) == found
    assert acquire(tmp_path, "--port", port, "--no-preview")[0] == 0  # the engine is free


def test_a_server_that_dies_is_one_sentence_and_what_is_saved_is_kept(own_java_host: JavaHost, tmp_path: Path) -> None:
    process = long(tmp_path, own_java_host.port)
    own_java_host.kill()
    out, err = process.communicate()
    assert (process.returncode, out) == (1, b""), err
    assert err.startswith(f"aiomm: error: Micro-Manager at port {own_java_host.port} is gone (".encode())
    assert len(err.splitlines()) == 1
    check_kept(err.decode(), tmp_path)
    assert re.search(rb"; (lost are those under way: \{'time': \d+\}.*|none was under way)$", err.strip())


def test_the_doctor_looks_at_it(port: int, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "-d", str(tmp_path), "--port", str(port)], terminal_width=1000)
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = (line for line in result.stdout.splitlines() if "Micro-Manager" in line)
    assert line.startswith("ok")
    assert f"at port {port}: " in line
    assert line.endswith("camera Camera")
    assert "config" not in result.stdout


def test_the_doctor_finds_nobody(tmp_path: Path) -> None:
    nobody = free_port()
    result = CliRunner().invoke(app, ["doctor", "-d", str(tmp_path), "--port", str(nobody)], terminal_width=1000)
    assert (result.exit_code, result.stderr) == (1, "")
    at = next(number for number, line in enumerate(result.stdout.splitlines()) if "Micro-Manager" in line)
    line, remedy = result.stdout.splitlines()[at : at + 2]
    assert line.startswith("missing")
    assert "-> no Micro-Manager server at 127.0.0.1:" in remedy
