"""The rigs of both homes: the same calls do the same, are recorded and broken alike, and images of both say what was in force."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from aiomm import errors
from tests.support import sequence_tester as st
from tests.support.rigs import SHUTTER, Rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.homes import Home


async def test_the_demo_is_the_demo(rig: Rig) -> None:
    core = rig.core
    assert set(await core.get_loaded_devices()) >= {"Camera", "Z", "XY", SHUTTER, "LED", "Dichroic", "Objective", "Autofocus"}
    assert set(await core.get_available_configs("Channel")) == {"DAPI", "FITC", "Cy5", "Rhodamine"}
    assert (await core.get_camera_device(), await core.get_focus_device(), await core.get_xy_stage_device()) == ("Camera", "Z", "XY")
    await core.set_config("Channel", "Cy5")
    assert await core.get_property("Emission", "Label") == "Chroma-HQ700"
    assert await core.get_state("Excitation") == 2
    assert await core.get_pixel_size_um() == 1.0
    await core.set_config("Objective", "20X")
    assert await core.get_pixel_size_um() == 0.5
    assert (await core.snap()).shape == (64, 64)


async def test_calls_are_recorded(rig: Rig) -> None:
    rig.mmc.forget()
    await rig.core.set_position("Z", 3.0)
    await rig.core.set_property("LED", "State", "2")
    assert rig.mmc.names(["setPosition", "setProperty"]) == ["setPosition", "setProperty"]
    [call] = rig.mmc.calls_of("setPosition")
    assert call.args == ("Z", 3.0) and call.start <= call.end and call.error is None
    rig.mmc.setXYPosition("XY", 30.0, 45.0)
    rig.mmc.waitForDevice("XY")
    x, y = rig.mmc.getXYPosition("XY")
    assert (x, y) == (pytest.approx(30.0, abs=0.02), pytest.approx(45.0, abs=0.02))


async def test_faults_of_every_kind(rig: Rig) -> None:
    mmc, core = rig.mmc, rig.core
    mmc.on("setPosition", nth=2, times=2, raises=RuntimeError("stuck"))
    await core.set_position("Z", 1.0)
    for _ in range(2):
        with pytest.raises(errors.CoreError, match="stuck"):
            await core.set_position("Z", 2.0)
    await core.set_position("Z", 3.0)
    assert [call.error is None for call in mmc.calls_of("setPosition")] == [True, False, False, True]
    mmc.heal()
    mmc.on("setPosition", times=None, when=lambda label, um: um > 5, do=lambda original, label, um: original(label, um - 0.5))
    await core.set_position("Z", 4.0)
    assert await core.get_position("Z") == 4.0
    await core.set_position("Z", 7.0)
    assert await core.get_position("Z") == 6.5
    mmc.on("deviceBusy", times=1, drop=True, returns=True)
    assert await core.device_busy("Z")
    assert not await core.device_busy("Z")
    seen: list[bool] = []
    mmc.on("getImage", times=None, do=lambda original, *args: seen.append(mmc.getShutterOpen(SHUTTER)) or original(*args))
    assert (await core.snap()).shape == (64, 64)
    assert seen == [False]


async def test_images_say_what_was_in_force(tester: Rig) -> None:
    core = tester.core
    await core.set_position(st.Z, 2.5)
    await core.set_xy_position(st.XY, 3.0, -4.0)
    await core.set_config(st.GROUP, "Cy5")
    await core.set_exposure(4.0)
    await core.snap()
    await core.set_position(st.Z, 3.0)
    await core.set_position(st.Z, 3.5)
    image = st.decode(await core.snap())
    assert (image.z, image.xy, image.switcher, image.exposure, image.shutter_open) == (3.5, (3.0, -4.0), 3, 4.0, True)
    assert (image.serial, image.packet, image.in_sequence, image.camera) == (1, 1, False, st.CAMERA)
    assert image.changes(st.Z, "ZPositionUm") == [3.0, 3.5]
    assert image.changes(st.SHUTTER, "ShutterState") == [False, True]
    assert image.start_state[st.Z, "ZPositionUm"] == 2.5


async def test_devices_take_hardware_sequences(tester: Rig) -> None:
    mmc = tester.mmc
    assert mmc.getStageSequenceMaxLength(st.Z) == 5 and not mmc.isStageSequenceable(st.Z_2)
    assert mmc.getPropertySequenceMaxLength(st.SWITCHER, "State") == 5
    mmc.setProperty(st.SWITCHER, "TriggerSequenceMaxLength", 3)
    assert mmc.getPropertySequenceMaxLength(st.SWITCHER, "State") == 3
    mmc.loadStageSequence(st.Z, [1.0, 2.0, 3.0])
    mmc.startStageSequence(st.Z)
    mmc.startSequenceAcquisition(3, 0, True)
    async with asyncio.timeout(10):
        while mmc.getRemainingImageCount() < 3:
            await asyncio.sleep(0.002)
    mmc.stopSequenceAcquisition()
    mmc.stopStageSequence(st.Z)
    images = [st.decode(await tester.core.pop_next_image()) for _ in range(3)]
    assert [(image.z, image.frame, image.in_sequence) for image in images] == [(1.0, 0, True), (2.0, 1, True), (3.0, 2, True)]


async def sequence(rig: Rig, count: int) -> list[int]:
    """Take out what comes of a sequence: the camera's own numbers."""
    rig.mmc.startSequenceAcquisition(count, 0, True)
    found = []
    while rig.mmc.isSequenceRunning() or rig.mmc.getRemainingImageCount():
        with contextlib.suppress(errors.CoreError):  # empty
            found.append(int((await rig.core.pop_next_tagged_image()).tags["ImageNumber"]))
    return found


async def test_a_lost_frame_is_known_by_its_number(rig: Rig) -> None:
    rig.mmc.lose_frame(1)
    for _ in range(4):
        with pytest.raises(errors.CoreError, match="empty"):
            await rig.core.pop_next_tagged_image()
    assert await sequence(rig, 4) == [0, 2, 3]
    assert await sequence(rig, 4) == [0, 1, 2, 3]
    rig.mmc.lose_frame(1)
    rig.mmc.heal()
    assert await sequence(rig, 3) == [0, 1, 2]


@pytest.mark.parametrize("home", ["java"], indirect=True)
async def test_looks_into_an_empty_buffer_are_not_counted(rig: Rig) -> None:
    """Micro-Manager's engine looks as often as it can, which is chance."""
    rule = rig.mmc.on("popNextImageMD", nth=3, do=lambda original, *args: original(*args))
    for _ in range(4):
        with pytest.raises(errors.CoreError, match="empty"):
            await rig.core.pop_next_tagged_image()
    assert rule.seen == 0
    assert await sequence(rig, 4) == [0, 1, 2, 3]
    assert (rule.seen, rule.hits) == (4, 1)


async def test_two_cameras(home: Home, tmp_path: Path) -> None:
    async with home.tester(tmp_path, cameras=2) as rig:
        await rig.core.snap_image()
        assert await rig.core.get_number_of_camera_channels() == 2
        images = [st.decode(await rig.core.get_image(channel)) for channel in (0, 1)]
    assert [image.camera for image in images] == [st.CAMERA, st.CAMERA_2]


async def test_a_rig_is_as_new(rig: Rig, home: Home, tmp_path: Path) -> None:
    if not home.java:
        return  # it has a core of its own
    rig.mmc.setPosition("Z", 50.0)
    rig.mmc.on("setPosition", times=None, raises=RuntimeError("stuck"))
    async with home.demo(tmp_path) as again:
        assert await again.core.get_position("Z") == 0.0
        await again.core.set_position("Z", 1.0)
