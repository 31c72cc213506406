"""The proving ground itself, against plain MMCore: images tell what was in force."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import sequence_tester as st
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pymmcore


@pytest.fixture
def mmc() -> Iterator[pymmcore.CMMCore]:
    with st.sequence_tester() as core:
        yield core


def snap(mmc: pymmcore.CMMCore) -> st.Settings:
    mmc.snapImage()
    return st.decode(mmc.getImage())


def run(mmc: pymmcore.CMMCore, count: int) -> list[st.Settings]:
    mmc.startSequenceAcquisition(count, 0, True)
    while mmc.isSequenceRunning():
        mmc.sleep(1)
    return [st.decode(mmc.popNextImage()) for _ in range(count)]


def test_snap_tells_every_setting(mmc: pymmcore.CMMCore) -> None:
    mmc.setPosition(3.5)
    mmc.setXYPosition(-1.5, 2.0)
    mmc.setProperty(st.SWITCHER, "State", 7)
    mmc.setExposure(4.0)
    first = snap(mmc)
    assert (first.z, first.xy, first.switcher, first.exposure) == (3.5, (-1.5, 2.0), 7, 4.0)
    assert first.shutter_open and not first.in_sequence and first.camera == st.CAMERA
    mmc.setAutoShutter(False)
    second = snap(mmc)
    assert second.shutter_open is False
    assert (first.serial, second.serial) == (0, 1)
    mmc.setPosition(9.0)
    mmc.setPosition(8.0)
    third = snap(mmc)
    assert third.changes(st.Z, "ZPositionUm") == [9.0, 8.0]
    assert third.start_state[st.Z, "ZPositionUm"] == 3.5


def test_z_sequence(mmc: pymmcore.CMMCore) -> None:
    values = [1.0, 2.5, 4.0, 2.0]
    mmc.loadStageSequence(st.Z, values)
    mmc.startStageSequence(st.Z)
    images = run(mmc, 4)
    mmc.stopStageSequence(st.Z)
    assert [image.z for image in images] == values
    assert [image.frame for image in images] == [0, 1, 2, 3]
    assert all(image.in_sequence and image.shutter_open for image in images)


def test_property_sequence(mmc: pymmcore.CMMCore) -> None:
    assert mmc.getPropertySequenceMaxLength(st.SWITCHER, "State") == 5
    mmc.loadPropertySequence(st.SWITCHER, "State", ["3", "1", "2"])
    mmc.startPropertySequence(st.SWITCHER, "State")
    images = run(mmc, 3)
    mmc.stopPropertySequence(st.SWITCHER, "State")
    assert [image.switcher for image in images] == [3, 1, 2]


def test_preset_sequence_steps_both_switchers(mmc: pymmcore.CMMCore) -> None:
    presets = [mmc.getConfigData(st.PAIR_GROUP, preset) for preset in ("Low", "Other", "Off")]
    keys = [(s.getDeviceLabel(), s.getPropertyName()) for s in (presets[0].getSetting(i) for i in range(presets[0].size()))]
    for key in keys:
        mmc.loadPropertySequence(*key, [preset.getSetting(*key).getPropertyValue() for preset in presets])
        mmc.startPropertySequence(*key)
    images = run(mmc, 3)
    for key in keys:
        mmc.stopPropertySequence(*key)
    assert [(image.switcher, image.switcher_2) for image in images] == [(6, 3), (7, 9), (0, 0)]


def test_a_preset_by_software(mmc: pymmcore.CMMCore) -> None:
    mmc.setConfig(st.GROUP, "Cy5")
    assert snap(mmc).switcher == 3
    mmc.setConfig(st.OTHER_GROUP, "Cy5")
    assert (snap(mmc).switcher, snap(mmc).switcher_2) == (3, 4)


def test_what_cannot_be_sequenced(mmc: pymmcore.CMMCore) -> None:
    assert not mmc.isXYStageSequenceable(st.XY)
    assert not mmc.isExposureSequenceable(st.CAMERA)
    assert mmc.isStageSequenceable(st.Z) and not mmc.isStageSequenceable(st.Z_2)


def test_two_cameras_tell_who_they_are() -> None:
    with st.sequence_tester(cameras=2) as mmc:
        assert mmc.getNumberOfCameraChannels() == 2
        mmc.setPosition(2.0)
        mmc.snapImage()
        images = [st.decode(mmc.getImage(channel)) for channel in (0, 1)]
        assert [image.camera for image in images] == [st.CAMERA, st.CAMERA_2]
        assert [image.z for image in images] == [2.0, 2.0]


def test_two_demo_cameras() -> None:
    mmc = RecordingCore()
    try:
        names = st.load_two_demo_cameras(mmc)
        assert mmc.getCameraDevice() == "Multi"
        assert mmc.getNumberOfCameraChannels() == 2
        mmc.snapImage()
        assert [mmc.getImage(channel).shape for channel in (0, 1)] == [(64, 64), (64, 64)]
        assert names == ("CamA", "CamB")
    finally:
        mmc.unloadAllDevices()


def test_recording_faults_and_feigned_sequences() -> None:
    with st.sequence_tester(RecordingCore()) as mmc:
        assert isinstance(mmc, RecordingCore)
        mmc.forget()
        mmc.setPosition(2.0)
        thread = threading.Thread(target=mmc.setPosition, args=(st.Z, 3.0), name="another")
        thread.start()
        thread.join()
        assert repr(mmc.calls) == "[setPosition(2.0), setPosition('TZStage-0', 3.0)]"
        assert mmc.calls[1].thread == "another"

        rule = mmc.on("setPosition", nth=2, raises=RuntimeError("stuck"), when=lambda *args: args[-1] > 5)
        mmc.setPosition(1.0)
        mmc.setPosition(6.0)
        with pytest.raises(RuntimeError, match="stuck"):
            mmc.setPosition(7.0)
        assert isinstance(mmc.calls[-1].error, RuntimeError) and mmc.calls[-1].feigned
        assert mmc.getPosition() == 6.0
        mmc.setPosition(8.0)
        assert rule.hits == 1
        mmc.on("setPosition", times=None, drop=True)
        mmc.setPosition(9.0)
        assert mmc.getPosition() == 8.0
        mmc.heal()
        mmc.on("snapImage", delay=0.05)
        mmc.snapImage()
        assert mmc.calls[-1].end - mmc.calls[-1].start >= 0.05

        mmc.feign_xy_sequence(st.XY, 7)
        mmc.feign_exposure_sequence(st.CAMERA, 8)
        assert mmc.isXYStageSequenceable(st.XY) and mmc.getXYStageSequenceMaxLength(st.XY) == 7
        assert mmc.isExposureSequenceable(st.CAMERA) and mmc.getExposureSequenceMaxLength(st.CAMERA) == 8
        mmc.loadXYStageSequence(st.XY, [1.0, 2.0], [3.0, 3.0])
        mmc.startXYStageSequence(st.XY)
        mmc.stopXYStageSequence(st.XY)
        assert mmc.calls_of("loadXYStageSequence")[0].args == (st.XY, [1.0, 2.0], [3.0, 3.0])
        with pytest.raises(AttributeError):
            mmc.on("setPositon", raises=RuntimeError())
