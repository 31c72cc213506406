"""A frame that the camera loses in the middle of a sequence: no image has the axes of another one.

Micro-Manager's engine counts what comes, so all after the gap are saved with the axes of the one before. The camera's own numbers say so.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

import aiomm
from aiomm import errors
from aiomm.cli.info import describe
from aiomm.dataset import repair
from tests.support.rigs import frames

if TYPE_CHECKING:
    from tests.support.rigs import Rig

COUNT = 6
WAYS = ["ndtiff", "memory", "processed"]


def lose(rig: Rig, number: int, *, one_more: bool) -> None:
    """Let a frame (counted from 0) get lost; the camera takes another one instead, or comes to its end too early."""
    rig.mmc.lose_frame(number)
    if one_more:
        rig.mmc.on("startSequenceAcquisition", do=lambda original, label, count, *rest: original(label, count + 1, *rest))


def opened(rig: Rig, way: str) -> aiomm.Acquisition:
    if way == "memory":
        return rig.memory()
    return rig.acquisition(**({"image_process_fn": lambda image, metadata: (image, metadata)} if way == "processed" else {}))


def all_of(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def numbers(dataset: aiomm.Dataset) -> dict[int, int]:
    """By axis, the camera's own number of the image that has it."""
    return {axes["n"]: int(dataset.read_metadata(**axes)["ImageNumber"]) for axes in dataset.get_image_coordinates_list()}


@pytest.mark.parametrize("one_more", [True, False], ids=["as many come", "one is missing"])
@pytest.mark.parametrize("way", WAYS)
async def test_no_image_has_the_axes_of_another(rig: Rig, way: str, one_more: bool) -> None:
    lose(rig, 2, one_more=one_more)
    with pytest.raises(errors.HardwareError) as caught:
        async with opened(rig, way) as acq:
            await acq.acquire(frames(COUNT))
    if not rig.java or one_more or way == "ndtiff":  # else what comes after the engine's own error is not looked at: it is not saved
        assert "lost frames: image number 3 came where 2 was due" in all_of(caught.value)
    live = acq.get_dataset()
    found = numbers(live)
    assert found == {n: n for n in found}
    assert set(found) <= {0, 1}
    if way != "processed":
        assert found == {0: 0, 1: 1}
    if acq.path is not None and found:
        again = await aiomm.Dataset.open(str(acq.path))
        assert numbers(again) == found
        for n in found:
            assert np.array_equal(again.read_image(n=n), live.read_image(n=n))
    rig.mmc.heal()
    async with rig.memory() as acq:
        assert len(await acq.acquire(frames(3))) == 3


async def test_what_cannot_be_labelled_is_named_and_kept(rig: Rig) -> None:
    """On Micro-Manager it is in the files already: its records go where nobody takes them for images of the dataset."""
    lose(rig, 2, one_more=True)
    with pytest.raises(errors.HardwareError) as caught:
        async with rig.acquisition() as acq:
            await acq.acquire(frames(COUNT))
    assert not rig.java or "{'n': 2} to {'n': 5}" in all_of(caught.value)
    assert acq.path is not None
    aside = acq.path / "NDTiff.unlabelled.index"
    assert aside.exists() == rig.java
    report = await asyncio.to_thread(repair, acq.path)
    assert report.recovered == 0  # their own metadata has the wrong axes
    said = await asyncio.to_thread(describe, acq.path)
    assert ("4 after a lost frame" in said) == rig.java
    if rig.java:
        (acq.path / "NDTiff.index").write_bytes((acq.path / "NDTiff.index").read_bytes() + aside.read_bytes())
        whole = await aiomm.Dataset.open(str(acq.path))
        assert numbers(whole) == {0: 0, 1: 1, 2: 3, 3: 4, 4: 5, 5: 6}


async def test_the_sequences_before_are_saved(rig: Rig) -> None:
    async with rig.acquisition() as acq:
        assert len(await acq.acquire(frames(COUNT))) == COUNT
        lose(rig, 0, one_more=True)  # nobody can say that it was the first
        assert len(await acq.acquire([{"axes": {"n": n}} for n in range(10, 13)])) == 3
        lose(rig, 1, one_more=True)
        with pytest.raises(errors.HardwareError, match="lost frames"):
            await acq.acquire([{"axes": {"n": n}} for n in range(20, 24)])
    assert sorted(numbers(acq.get_dataset())) == [*range(COUNT), 10, 11, 12, 20]


async def test_cameras_are_counted_apart(rig: Rig) -> None:
    rig.mmc.recording = False
    rig.mmc.loadDevice("Camera 2", "DemoCamera", "DCam")
    rig.mmc.initializeDevice("Camera 2")
    rig.mmc.loadDevice("Both", "Utilities", "Multi Camera")
    rig.mmc.initializeDevice("Both")
    for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        rig.mmc.setProperty("Camera 2", key, 64)
    rig.mmc.setProperty("Camera 2", "PixelType", "16bit")
    rig.mmc.setProperty("Both", "Physical Camera 1", "Camera")
    rig.mmc.setProperty("Both", "Physical Camera 2", "Camera 2")
    rig.mmc.setCameraDevice("Both")
    rig.mmc.recording = True
    async with rig.acquisition() as acq:
        assert len(await acq.acquire(frames(COUNT))) == 2 * COUNT
