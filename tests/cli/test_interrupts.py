"""Ctrl-C in ``aiomm acquire``: once stops safely and keeps what is saved, twice leaves at once."""

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
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiomm

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = "from aiomm.cli import main; main()"
BEGINS = "from aiomm_command import main; main()"
SIGN_OF_LIFE = """
import sys

class Finder:
    def find_spec(self, name, *more):
        if name == "aiomm":
            sys.meta_path.remove(self)
            print("alive", flush=True)
            lookup()

sys.meta_path.insert(0, Finder())
"""
"""Says when aiomm is looked for, the first thing that takes time. What comes before that is Python's own; nobody can answer there."""
ON_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {MAIN}"
LONG = ("-t", "20000", "--interval", "0.01", "--exposure", "2", "--no-preview")
STUCK = ("-t", "2", "--exposure", "10000", "--no-preview")


def start(program: str, cwd: Path, *arguments: str, **how: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, "acquire", "out", *arguments], cwd=cwd, **how)  # type: ignore[call-overload,no-any-return]


def wait_for(what: object, process: subprocess.Popen[bytes]) -> None:
    """Wait until ``what()`` is true; the test's own time limit bounds it."""
    while not what():  # type: ignore[operator]
        assert process.poll() is None, "it ended too early"
        time.sleep(0.02)


def check_kept(said: str, cwd: Path) -> None:
    """What it says is kept is there, opens, and is all there is."""
    match = re.search(r"(\d+) of 20000 images are saved and kept in (\S+)", said)
    assert match, said
    dataset = aiomm.Dataset(str(cwd / match[2]))
    assert len(dataset) == int(match[1]) > 3
    for row in range(len(dataset)):
        dataset.read_row(row)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, (40).to_bytes(2, "little") + (120).to_bytes(2, "little") + bytes(4))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read_until_end(ours: int, process: subprocess.Popen[bytes], enough: object = lambda text: False) -> str:
    """Read the terminal until the process has ended, or ``enough(text)``."""
    text = b""
    while not enough(text.decode(errors="replace")):  # type: ignore[operator]
        if select.select([ours], [], [], 0.1)[0]:
            text += os.read(ours, 65536)
        elif process.poll() is not None:
            break
    return text.decode(errors="replace")


def alive(lookup: str, cwd: Path, **how: object) -> subprocess.Popen[bytes]:
    process = start(f"{lookup}\n{SIGN_OF_LIFE}\n{BEGINS}", cwd, *LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
    assert process.stdout is not None
    assert process.stdout.readline() == b"alive\n"
    return process


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4])
def test_ctrl_c_from_the_first_moment_on(tmp_path: Path, after: float) -> None:
    process = alive("def lookup(): pass", tmp_path)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert err.splitlines()[-1].startswith(b"aiomm: stopped"), err


STUCK_LOOKUP = """
import time

def lookup():
    try:
        time.sleep(600)
    except BaseException:
        pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_lost_in_an_import(tmp_path: Path, number: signal.Signals) -> None:
    """Where an exception would be caught, or only printed."""
    process = alive(STUCK_LOOKUP, tmp_path)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (128 + number, b"", b"aiomm: stopped: nothing was begun\n")


def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As with nohup, or in the background of a script."""
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    process = alive(
        ignored + "def lookup(): sys.stdin.readline(); print(repr(signal.getsignal(2)), flush=True)", tmp_path, stdin=subprocess.PIPE
    )
    process.send_signal(signal.SIGINT)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    assert b"SIG_IGN" in process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()


def test_the_command_begins_there() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"aiomm": "aiomm_command:main"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_safely_and_says_what_is_kept(number: signal.Signals, tmp_path: Path) -> None:
    process = start(MAIN, tmp_path, *LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    index = tmp_path / "out" / "acq_1" / "NDTiff.index"
    wait_for(lambda: index.exists() and index.stat().st_size > 500, process)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert out == b""
    assert b"Traceback" not in err
    check_kept(err.decode(), tmp_path)


def test_ctrl_c_on_a_terminal(tmp_path: Path, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    process = start(ON_TERMINAL, tmp_path, *LONG, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    screen = read_until_end(ours, process, lambda text: re.search(r"saved[^\n]* [1-9]\d+/20000", text))
    assert re.search(r"acquired[^\n]*/20000", screen), screen
    os.write(ours, b"\x03")
    screen = read_until_end(ours, process)
    assert process.wait() == 130
    assert "Ctrl-C again abandons" in screen
    check_kept(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen), tmp_path)
    assert screen.rindex("\x1b[?25h") > screen.rfind("\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_does_not_wait_for_a_device(tmp_path: Path, second: signal.Signals) -> None:
    process = start(MAIN, tmp_path, *STUCK, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: (tmp_path / "out" / "acq_1").exists(), process)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert b"Ctrl-C again abandons" in process.stderr.readline()
    process.send_signal(second)
    err = process.stderr.read()
    assert process.wait() == 128 + second
    assert b"abandoned" in err
    process.stderr.close()
    assert process.stdout is not None
    process.stdout.close()


def interrupted_while_it_acquires(program: str, cwd: Path) -> subprocess.Popen[bytes]:
    process = start(program, cwd, *LONG[:-1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    index = cwd / "out" / "acq_1" / "NDTiff.index"
    wait_for(lambda: index.exists() and index.stat().st_size > 500, process)
    process.send_signal(signal.SIGINT)
    return process


def test_what_is_kept_has_its_picture(tmp_path: Path) -> None:
    process = interrupted_while_it_acquires(MAIN, tmp_path)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert out.decode() == f"preview: {Path('out', 'acq_1.png')}\n"
    assert (tmp_path / "out" / "acq_1.png").read_bytes().startswith(b"\x89PNG")
    check_kept(err.decode(), tmp_path)


def test_the_second_signal_does_not_wait_for_the_picture(tmp_path: Path) -> None:
    slow = "import time, aiomm.viewer as v; v.save_contact_sheet = lambda *_: (print('drawing', flush=True), time.sleep(600))\n"
    process = interrupted_while_it_acquires(slow + MAIN, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"drawing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.endswith(b"aiomm: abandoned: saved images are kept\n")


def test_ctrl_c_while_the_microscope_loads(tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\n"
        "from aiomm.core.local import LocalCore\n"
        "load = LocalCore._start\n"
        "def slowly(self):\n"
        "    print('loading', flush=True)\n"
        "    time.sleep(0.5)\n"
        "    load(self)\n"
        "LocalCore._start = slowly\n" + MAIN.replace("; ", "\n")
    )
    process = start(slow.read_text(), tmp_path, *LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert not (tmp_path / "out").exists()
