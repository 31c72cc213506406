"""The tables of the reference are complete."""

from __future__ import annotations

import builtins
import inspect
import re
from pathlib import Path

import aiomm
from aiomm.acquire.event_values import KEYS
from aiomm.cli.exits import Exit
from aiomm.core import java_events
from aiomm.core.notifications import KINDS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def first_column(page: str, heading: str) -> list[str]:
    """The code words in the first column of the table that begins with this heading."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    table = text[text.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [word for row in table for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_every_parameter_of_an_acquisition_in_order_with_its_default() -> None:
    parameters = inspect.signature(aiomm.Acquisition).parameters
    assert first_column("acquisition.md", "parameter") == list(parameters)
    text = (REFERENCE / "acquisition.md").read_text(encoding="utf-8")
    for name, parameter in parameters.items():
        default = f'`"{parameter.default}"`' if isinstance(parameter.default, str) else str(parameter.default)
        assert f"| `{name}` | {default} |" in text


def test_every_key_of_an_event() -> None:
    assert sorted(first_column("events.md", "key")) == sorted(KEYS)


def test_every_error() -> None:
    listed = set(first_column("acquisition.md", "error"))
    bases = {"AiommError", "AcquisitionError", "BridgeError", "DatasetError"}
    assert listed | bases == set(aiomm.errors.__all__)


def test_every_exported_name() -> None:
    listed = first_column("names.md", "name")
    assert sorted(listed) == sorted(aiomm.__all__)


def test_every_parameter_of_a_bridge_in_order_with_its_default() -> None:
    parameters = inspect.signature(aiomm.Bridge).parameters
    assert first_column("bridge.md", "parameter") == list(parameters)
    text = (REFERENCE / "bridge.md").read_text(encoding="utf-8")
    for name, parameter in parameters.items():
        default = f'`"{parameter.default}"`' if isinstance(parameter.default, str) else str(parameter.default)
        assert f"| `{name}` | {default} |" in text


def test_every_error_of_the_bridge() -> None:
    listed = set(first_column("bridge.md", "error"))
    ours = {name for name in aiomm.errors.__all__ if issubclass(getattr(aiomm.errors, name), aiomm.errors.BridgeError)}
    assert ours - {"BridgeError"} <= listed
    assert all(hasattr(aiomm.errors, name) or hasattr(builtins, name) for name in listed)


def test_what_a_core_in_java_does_not_tell() -> None:
    text = (REFERENCE / "bridge.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| `events()`")]
    assert set(re.findall(r"`(\w+)`", row.split("|")[3])) - {"UnsupportedError"} == set(KINDS) - set(java_events._NAMES)


def test_every_exit_code() -> None:
    text = (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == [str(code.value) for code in Exit]


def test_every_member_of_a_dataset() -> None:
    listed = first_column("dataset.md", "member")
    assert sorted(listed) == sorted(name for name in dir(aiomm.Dataset) if not name.startswith("_"))
