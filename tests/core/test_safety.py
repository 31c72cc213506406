from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiomm.core.safety import Sequences, remember, restore
from aiomm.errors import CoreError
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mmc(demo_config: Path) -> Iterator[RecordingCore]:
    mmc = RecordingCore()
    mmc.setDeviceAdapterSearchPaths([str(demo_config.parent)])
    mmc.loadSystemConfiguration(str(demo_config))
    mmc.setShutterOpen(False)
    yield mmc
    mmc.heal()
    mmc.unloadAllDevices()


@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize("was_open", [True, False])
def test_shutter_and_autoshutter_as_found(mmc: RecordingCore, auto: bool, was_open: bool) -> None:
    mmc.setShutterOpen("White Light Shutter", was_open)
    mmc.setAutoShutter(auto)
    found = remember(mmc)
    mmc.setAutoShutter(not auto)
    mmc.setShutterOpen("White Light Shutter", not was_open)
    mmc.setShutterOpen("LED Shutter", True)
    mmc.setShutterDevice("LED Shutter")
    mmc.startContinuousSequenceAcquisition(0)
    assert restore(mmc, found) == []
    assert not mmc.isSequenceRunning()
    assert mmc.getShutterDevice() == "White Light Shutter"
    assert mmc.getShutterOpen("White Light Shutter") is was_open
    assert not mmc.getShutterOpen("LED Shutter")
    assert mmc.getAutoShutter() is auto


def test_the_cores_devices_as_found(mmc: RecordingCore) -> None:
    found = remember(mmc)
    mmc.setFocusDevice("")
    mmc.setXYStageDevice("")
    mmc.setCameraDevice("")
    assert restore(mmc, found) == []
    assert (mmc.getCameraDevice(), mmc.getFocusDevice(), mmc.getXYStageDevice()) == ("Camera", "Z", "XY")


def test_nothing_is_touched_that_is_as_it_was(mmc: RecordingCore) -> None:
    found = remember(mmc)
    mmc.forget()
    assert restore(mmc, found) == []
    assert {name for name in mmc.names() if name.startswith(("set", "stop"))} <= {"setAutoShutter"}


def test_every_step_is_tried_although_others_fail(mmc: RecordingCore) -> None:
    mmc.setAutoShutter(True)
    found = remember(mmc)
    mmc.setAutoShutter(False)
    mmc.setShutterOpen(True)
    mmc.startContinuousSequenceAcquisition(0)
    mmc.on("stopSequenceAcquisition", raises=RuntimeError("camera does not answer"), times=1)
    mmc.on("setShutterOpen", raises=RuntimeError("jammed"), times=1)
    errors = restore(mmc, found, Sequences(stages={"Z"}))
    assert [type(e) for e in errors] == [CoreError] * 3
    assert "camera does not answer" in str(errors[0])
    assert "stopStageSequence('Z')" in str(errors[1])
    assert "jammed" in str(errors[2])
    assert mmc.getAutoShutter()
    mmc.heal()
    assert restore(mmc, found) == []
    assert not mmc.isSequenceRunning()
    assert not mmc.getShutterOpen()


def test_each_kind_of_sequence_is_stopped_and_forgotten(mmc: RecordingCore) -> None:
    for kind in ("Stage", "XYStage", "Exposure", "SLM"):
        mmc.on(f"stop{kind}Sequence", drop=True, times=None)
    mmc.on("stopPropertySequence", drop=True, times=None)
    running = Sequences({"Z"}, {"XY"}, {"Camera"}, {"SLM"}, {("LED", "Label")})
    found = remember(mmc)
    mmc.forget()
    assert restore(mmc, found, running) == []
    stopped = {(c.name, c.args) for c in mmc.calls if c.name.startswith("stop")}
    assert stopped == {
        ("stopStageSequence", ("Z",)),
        ("stopXYStageSequence", ("XY",)),
        ("stopPropertySequence", ("LED", "Label")),
        ("stopExposureSequence", ("Camera",)),
        ("stopSLMSequence", ("SLM",)),
    }
    assert running == Sequences()


def test_a_shutter_that_cannot_be_asked_is_left_alone(mmc: RecordingCore) -> None:
    mmc.on("getShutterOpen", raises=RuntimeError("no"), times=1, when=lambda *args: args == ("LED Shutter",))
    found = remember(mmc)
    assert "LED Shutter" not in found.shutter_open
    assert "White Light Shutter" in found.shutter_open
