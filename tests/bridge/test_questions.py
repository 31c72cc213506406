"""Which methods change nothing: one table for what is asked again, ahead of its turn, or beside an exclusive user."""

from __future__ import annotations

import pytest

from aiomm.bridge.calls import Method
from aiomm.bridge.handle import Handle
from aiomm.bridge.lost_text import only_reads as asked_again
from aiomm.bridge.members import Members
from aiomm.bridge.questions import EFFECTS, asks_core
from aiomm.bridge.wire import Shadow, Signature
from aiomm.core.methods import METHODS
from aiomm.core.names import only_reads

CORE = "mmcorej.CMMCore"


def _ahead(name: str) -> bool:
    shadow = Shadow(CORE, "x", 1, (CORE, "java.lang.Object"), (), [])
    return Method(Members(shadow, snake=True), (Signature(name, (), "java.lang.String"),)).reads


@pytest.mark.parametrize(
    "name",
    [
        "getAvailableDeviceDescriptions",
        "getAvailableDeviceTypes",
        "getAvailableDevices",
        "getCurrentFocusScore",
        "getInstalledDeviceDescription",
        "getInstalledDevices",
        "getSerialPortAnswer",
    ],
)
def test_what_is_called_like_a_question_and_does_something(name: str) -> None:
    assert EFFECTS[name]
    assert not _ahead(name)
    assert not only_reads(name)
    assert not asked_again(Handle("x", 1, CORE, (CORE, "java.lang.Object")), name, 1)


def test_what_the_test_above_leaves_out() -> None:
    assert len(EFFECTS) == 7


@pytest.mark.parametrize("name", ["waitForDevice", "sleep", "logMessage"])
def test_what_waits_or_logs_is_no_question(name: str) -> None:
    assert only_reads(name)
    assert not asks_core(name)
    assert not _ahead(name)


def test_what_is_sent_ahead_or_asked_again_is_what_only_reads() -> None:
    names = {name for name, *_ in METHODS.values()}
    assert len(names) > 300
    core = Handle("x", 1, CORE, (CORE, "java.lang.Object"))
    ahead = {name for name in names if _ahead(name)}
    assert len(ahead) > 100
    assert ahead == {name for name in names if asks_core(name)}
    assert {name for name in names if asked_again(core, name, 1)} <= ahead
    assert ahead <= {name for name in names if only_reads(name)}
