"""An interrupt of a conversion, wherever it comes: nothing is left, or all of it is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, convert
from aiomm.dataset.apart import Stop, Stopped, apart
from tests.dataset.support import image
from tests.support.threads import left_over

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

module: Any = sys.modules["aiomm.dataset.convert"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with NDTiffWriter(tmp_path, "cells") as writer:
        for t in range(5):
            writer.put(Frame({"time": t}, image(t), {}))
    return writer.path


@pytest.fixture
def pressed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Press Ctrl-C; returns when the conversion was asked to stop."""
    asked = threading.Event()
    real = Stop.set

    def told(self: Stop) -> None:
        real(self)
        asked.set()

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(10)

    monkeypatch.setattr(Stop, "set", told)
    return press


@pytest.mark.parametrize("name", ["x", "x.zarr"])
@pytest.mark.parametrize("at", ["the writer is made", "it ends"])
def test_an_interrupt_around_the_images(
    tmp_path: Path, source: Path, pressed: Callable[[], None], monkeypatch: pytest.MonkeyPatch, name: str, at: str
) -> None:
    before = set(threading.enumerate())
    if at == "the writer is made":
        make = module._writer

        def made(*arguments: Any) -> Any:
            writer = make(*arguments)
            pressed()
            return writer

        monkeypatch.setattr(module, "_writer", made)
    else:
        kind: Any = OmeZarrWriter if name == "x.zarr" else NDTiffWriter
        end = kind.finish

        def finish(self: Any) -> None:
            pressed()
            end(self)

        monkeypatch.setattr(kind, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / name)
    assert list(tmp_path.iterdir()) == [source]
    assert not left_over(before, but="zarr")


def test_an_interrupt_when_it_is_whole(tmp_path: Path, source: Path, pressed: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._give_names

    def give_names(*arguments: Any) -> None:
        real(*arguments)
        pressed()

    monkeypatch.setattr(module, "_give_names", give_names)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cells_1", "x"]
    with Dataset(tmp_path / "x") as dataset:
        assert len(dataset) == 5


def test_an_interrupt_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        apart(lambda: None, Stop(), "nobody")


def test_asked_to_stop() -> None:
    stop, calls = Stop(), []
    stop.then(lambda: calls.append(1))
    stop.check()
    stop.set()
    stop.then(lambda: calls.append(2))
    assert calls == [1, 2]
    with pytest.raises(Stopped):
        stop.check()


COMMAND = """
import os, signal, sys
import aiomm.dataset.convert
module = sys.modules["aiomm.dataset.convert"]
real = module._give_names
def give_names(*arguments):
    real(*arguments)
    os.kill(os.getpid(), {number})
module._give_names = give_names
from aiomm.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_that_it_is_done(tmp_path: Path, source: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", COMMAND.format(number=int(number)), "convert", str(source), str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'x'}: 5 images as ndtiff\n", "")


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["info", "/nowhere"], 3)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_when_all_is_done_changes_no_exit_code(arguments: list[str], code: int, number: signal.Signals) -> None:
    program = f"import atexit, os; atexit.register(os.kill, os.getpid(), {int(number)}); import aiomm_command; aiomm_command.main()"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout or done.stderr).startswith("aiomm")


LAST = """
import os
class Last:
    def __del__(self, kill=os.kill, number=os.getpid()):
        kill(number, 2)
kept = Last()
import aiomm_command
aiomm_command.main()
"""


def test_ctrl_c_while_python_ends_changes_no_exit_code() -> None:
    done = subprocess.run([sys.executable, "-c", LAST, "info", "/nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize(("given", "error", "text"), [(None, TypeError, "is None: it must be a path"), ("", ValueError, "is empty")])
def test_what_is_no_path(source: Path, given: Any, error: type[Exception], text: str) -> None:
    for name, arguments in (("source", (given, "x")), ("target", (source, given))):
        with pytest.raises(error, match=f"^{name} {text}"):
            convert(*arguments)


@pytest.mark.parametrize("name", [".zarr", ".ome.zarr", ".ome.tif"])
def test_a_target_without_a_name(tmp_path: Path, source: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"no name before {name}; cells{name} has one"):
        convert(source, tmp_path / name)
    assert list(tmp_path.iterdir()) == [source]
