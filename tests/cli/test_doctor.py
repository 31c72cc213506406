"""``aiomm doctor`` finds what is there, and says what to do about what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from aiomm.cli import app
from aiomm.core import adapters

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def doctor(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments)], terminal_width=1000)
    assert result.stderr == ""
    return result.exit_code, result.stdout


def line(out: str, name: str) -> str:
    """The line about one thing, and its remedy."""
    lines = out.splitlines()
    (at,) = (number for number, text in enumerate(lines) if text[7:].strip().startswith(name))
    return "\n".join(lines[at : at + 2]) if "->" in "".join(lines[at + 1 : at + 2]) else lines[at]


def test_a_healthy_machine(tmp_path: Path) -> None:
    code, out = doctor("--directory", tmp_path)
    assert code == 0
    assert "missing" not in out
    assert "DemoCamera" in line(out, "adapters")
    assert "512 x 512 uint" in line(out, "config demo")
    assert "MB/s" in line(out, "disk")
    assert "GB free" in line(out, "disk")
    assert str(tmp_path) in line(out, "disk")
    assert "Device API version" in line(out, "pymmcore")
    assert not list(tmp_path.iterdir())


def test_no_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "demo_adapters", lambda: None)
    monkeypatch.setattr(adapters, "installed_micromanager", list)
    code, out = doctor("-d", tmp_path)
    assert code == 1
    assert line(out, "adapters").startswith("missing")
    assert "pip install 'aiomm[demo]'" in line(out, "adapters")
    assert line(out, "config demo").startswith("missing")


def test_a_configuration_that_does_not_load(tmp_path: Path) -> None:
    code, out = doctor("-d", tmp_path, "--config", tmp_path / "no.cfg")
    assert code == 1
    assert line(out, "config").startswith("missing")
    assert "no.cfg" in out


def test_a_missing_extra_is_only_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name == "PIL" else find(name, package))
    code, out = doctor("-d", tmp_path)
    assert code == 0
    assert line(out, "extra preview").startswith("note")
    assert "aiomm[preview]" in out


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    code, out = doctor("-d", tmp_path / "nowhere")
    assert code == 1
    assert line(out, "disk").startswith("missing")


def test_a_broken_pymmcore_is_reported_not_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import aiomm.cli.doctor as module

    def missing(name: str) -> str:
        if name == "pymmcore":
            raise ImportError("no pymmcore here")
        return "1"

    monkeypatch.setattr(module, "version", missing)
    code, out = doctor("-d", tmp_path)
    assert code == 1
    assert "pip install pymmcore" in line(out, "pymmcore")
