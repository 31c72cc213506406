"""What an image and a dataset say of themselves: what was asked, and what was in force."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.support import sequence_tester as st
from tests.support.homes import only_local
from tests.support.rigs import Rig, frames, numbered, snaps

EVENT = {
    "axes": {"time": 3, "position": "A1", "row": 1, "column": -2},
    "channel": {"group": "Channel", "config": "DAPI"},
    "exposure": 2.0,
    "x": 30.0,
    "y": -15.0,
    "z": 3.0,
    "tags": {"operator": "Ada", "number": 7},
    "min_start_time": 0.0,
}


def wall(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f %z")


@only_local("images of Micro-Manager's engine have its metadata")
async def test_every_key_of_a_snapped_image(rig: Rig) -> None:
    rig.mmc.setROI("Camera", 8, 4, 32, 16)
    before = datetime.datetime.now().astimezone()
    async with rig.acquisition() as acq:
        [axes] = await acq.acquire(EVENT)
    assert axes == {**EVENT["axes"], "channel": "DAPI"}
    md = (await aiomm.Dataset.open(str(acq.path))).read_metadata(**axes)
    assert before <= wall(md["Time"]) <= datetime.datetime.now().astimezone()
    x, y = rig.mmc.getXYPosition("XY")
    told = {key: md.pop(key) for key in ("Time", "TimeReceivedByCore", "MonotonicTime-s", "ElapsedTime-ms", "Lateness-ms")}
    assert told["TimeReceivedByCore"] == told["Time"][:26]
    assert told["ElapsedTime-ms"] > 0 and told["Lateness-ms"] >= 0 and told["MonotonicTime-s"] > 0
    assert md == {
        "Axes": axes,
        "ChannelGroup": "Channel",
        "Channel": "DAPI",
        "Exposure": 2.0,
        "ExposureActual-ms": 2.0,
        "XPosition_um_Intended": 30.0,
        "YPosition_um_Intended": -15.0,
        "XPosition_um": x,
        "YPosition_um": y,
        "ZPosition_um_Intended": 3.0,
        "ZPosition_um": 3.0,
        "PositionName": "A1",
        "GridRowIndex": 1,
        "GridColumnIndex": -2,
        "tags": {"operator": "Ada", "number": 7},
        "PixelSize_um": 1.0,
        "Camera": "Camera",
        "Width": 32,
        "Height": 16,
        "PixelType": "GRAY16",
        "BitDepth": 16,
        "Binning": 1,
        "ROI-X-start": 8,
        "ROI-Y-start": 4,
        "ImageNumber": 0,
    }


@only_local("images of Micro-Manager's engine have its metadata")
async def test_a_sequence_has_the_same_keys_with_the_same_types(rig: Rig) -> None:
    """Peers give ints for a snap and strings for a sequence."""
    event = {key: value for key, value in EVENT.items() if key not in ("axes", "min_start_time")}
    async with rig.acquisition() as acq:
        saved = await acq.acquire(numbered(event, event, event))
        [single] = await acq.acquire({**event, "axes": {"n": 9}})
    dataset = acq.get_dataset()
    all_of = [dataset.read_metadata(**axes) for axes in saved]
    one = dataset.read_metadata(**single)
    for number, md in enumerate(all_of):
        assert md.pop("Sequenced") is True
        assert md["ImageNumber"] == number
        assert {key: type(value) for key, value in md.items()} == {key: type(value) for key, value in one.items()}
    elapsed = [md["ElapsedTime-ms"] for md in all_of]
    assert elapsed == sorted(set(elapsed))  # a time of its own for each frame, not the same for all
    moments = [md["MonotonicTime-s"] for md in all_of]
    assert moments == sorted(set(moments))


@only_local("images of Micro-Manager's engine have its metadata")
async def test_what_was_not_asked_is_not_said_to_be_asked(rig: Rig) -> None:
    await rig.core.set_exposure(4.0)
    async with rig.acquisition() as acq:
        await acq.acquire({"axes": {"n": 0}, "x": 5.0})
    md = acq.get_dataset().read_metadata(n=0)
    assert md["Exposure"] == 4.0  # the core's value
    assert not {"XPosition_um_Intended", "ZPosition_um_Intended", "tags", "Channel", "PositionName", "Lateness-ms", "Retries"} & set(md)
    assert md["XPosition_um"] == pytest.approx(5.0, abs=0.02)


@only_local("images of Micro-Manager's engine have its metadata")
async def test_positions_asked_and_read(tester: Rig) -> None:
    async with tester.acquisition() as acq:
        await acq.acquire({"axes": {"n": 0}, "stage_positions": [[st.Z_2, 4.0], [st.Z, 2.0]]})
    md = acq.get_dataset().read_metadata(n=0)
    assert md[f"{st.Z_2}Position_um_Intended"] == md[f"{st.Z_2}Position_um"] == 4.0
    assert md["ZPosition_um_Intended"] == md["ZPosition_um"] == 2.0  # the focus, by whatever key
    assert f"{st.Z}Position_um_Intended" not in md


@only_local("images of Micro-Manager's engine have its metadata")
async def test_a_stage_that_stops_short_is_recorded_where_it_is(rig: Rig) -> None:
    rig.mmc.on("setPosition", times=None, do=lambda original, label, um: original(label, um - 0.5))
    async with rig.acquisition() as acq:
        await acq.acquire({"axes": {"n": 0}, "z": 7.0})
    md = acq.get_dataset().read_metadata(n=0)
    assert (md["ZPosition_um_Intended"], md["ZPosition_um"]) == (7.0, 6.5)


async def test_an_exposure_sequence_says_the_exposure_of_each_image(tester: Rig) -> None:
    tester.mmc.feign_exposure_sequence(st.CAMERA, 10)
    async with tester.memory() if tester.java else tester.acquisition() as acq:  # what Micro-Manager saves itself has its own metadata
        events = numbered({"exposure": 2.0}, {"exposure": 3.0}, {}, {"exposure": 1.0})
        assert len((await acq.plan(events)).groups) == 1
        await acq.acquire(events)
    all_of = [acq.get_dataset().read_metadata(n=n) for n in range(4)]
    assert [md["Exposure"] for md in all_of] == [2.0, 3.0, 3.0, 1.0]
    assert not any("ExposureActual-ms" in md for md in all_of)  # what the camera said was true of the first one only


async def test_in_a_sequence_only_what_was_asked_of_a_triggered_stage_is_said(tester: Rig) -> None:
    async with tester.acquisition() as acq:
        await acq.acquire(numbered(*({"z": float(z)} for z in range(4))))
    for n in range(4):
        md = acq.get_dataset().read_metadata(n=n)
        assert md["ZPosition_um_Intended"] == n
        assert "ZPosition_um" not in md  # nobody could read it


@only_local("images of Micro-Manager's engine have its metadata")
async def test_settings_are_read_again_when_they_change(rig: Rig) -> None:
    async with rig.memory() as acq:
        await acq.acquire({"axes": {"n": 0}})
        await acq.acquire({"axes": {"n": 1}, "config_group": ["Objective", "20X"], "properties": [["Camera", "Binning", "2"]]})
        await rig.core.set_property("Camera", "Binning", "1")
        await acq.acquire({"axes": {"n": 2}, "exposure": 3.0})
    said = [acq.get_dataset().read_metadata(n=n) for n in range(3)]
    assert [md["PixelSize_um"] for md in said] == [1.0, 1.0, 0.5]  # half as many objective's pixels of twice the size: 0.5 * 2
    assert [md["Binning"] for md in said] == [1, 2, 1]
    assert [md["Width"] for md in said] == [64, 32, 64]
    assert said[2]["Exposure"] == said[2]["ExposureActual-ms"] == 3.0


@only_local("images of Micro-Manager's engine have its metadata")
async def test_retries_are_recorded(rig: Rig) -> None:
    rig.mmc.on("setPosition", times=2, raises=RuntimeError("not now"))
    async with rig.memory() as acq:
        await acq.acquire(numbered({"z": 1.0}, {"z": 2.0}))
    assert acq.get_dataset().read_metadata(n=0)["Retries"] == 2
    assert "Retries" not in acq.get_dataset().read_metadata(n=1)


async def test_the_multi_camera_adapter_gives_an_axis(rig: Rig) -> None:
    mmc = rig.mmc
    mmc.loadDevice("Camera 2", "DemoCamera", "DCam")
    mmc.setParentLabel("Camera 2", "DHub")
    mmc.initializeDevice("Camera 2")
    for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        mmc.setProperty("Camera 2", key, 64)
    mmc.setProperty("Camera 2", "PixelType", "16bit")
    st.combine_cameras(mmc, ["Camera", "Camera 2"])
    async with rig.acquisition() as acq:
        snapped = await acq.acquire(snaps(2))
        sequence = await acq.acquire([{"axes": {"n": n}} for n in (10, 11, 12)])
        acquired = acq.status.images_acquired
    assert acquired == len(snapped) + len(sequence) == 10
    wanted = {(n, camera) for n in (0, 1, 10, 11, 12) for camera in ("Camera", "Camera 2")}
    assert {(axes["n"], axes["camera"]) for axes in snapped + sequence} == wanted
    dataset = acq.get_dataset()
    for n, camera in wanted:
        md = dataset.read_metadata(n=n, camera=camera)
        assert md["Axes"] == {"n": n, "camera": camera}
    assert not np.array_equal(dataset.read_image(n=11, camera="Camera"), dataset.read_image(n=11, camera="Camera 2"))


# ---- of the dataset -------------------------------------------------------------------------------------------------


@only_local("images of Micro-Manager's engine have its metadata")
async def test_every_key_of_the_summary(rig: Rig) -> None:
    async with rig.acquisition(summary_metadata={"Sample": "pollen"}) as acq:
        await acq.acquire({"axes": {"n": 0}})
    summary: dict[str, Any] = dict((await aiomm.Dataset.open(str(acq.path))).summary_metadata)
    assert wall(summary["DateAndTime"])
    assert {key: summary[key] for key in summary if key.startswith("Core-")} == {
        "Core-XYStage": "XY",
        "Core-Focus": "Z",
        "Core-Autofocus": "Autofocus",
        "Core-Camera": "Camera",
        "Core-Galvo": "",
        "Core-ImageProcessor": "",
        "Core-SLM": "",
        "Core-Shutter": "White Light Shutter",
    }
    assert (summary["PixelType"], summary["PixelSize_um"], summary["Prefix"]) == ("GRAY16", 1.0, "rig")
    assert summary["AffineTransform"] == "1.0_0.0_0.0_1.0"
    assert summary["SystemStateCache"]["Camera-Binning"] == "1"
    assert summary["Sample"] == "pollen"


@pytest.mark.parametrize(("kind", "name"), [("8bit", "GRAY8"), ("16bit", "GRAY16"), ("32bitRGB", "RGB32")])
async def test_pixel_types(rig: Rig, kind: str, name: str) -> None:
    await rig.core.set_property("Camera", "PixelType", kind)
    async with rig.acquisition() as acq:
        await acq.acquire(snaps(1))
        await acq.acquire([{"axes": {"n": n}} for n in (10, 11)])
    dataset = await aiomm.Dataset.open(str(acq.path))
    assert dataset.summary_metadata["PixelType"] == name
    for n in (0, 10, 11):
        assert dataset.read_metadata(n=n)["PixelType"] == name
        image = dataset.read_image(n=n)
        assert image.shape == ((64, 64, 3) if name == "RGB32" else (64, 64))
        assert image.dtype == (np.uint16 if name == "GRAY16" else np.uint8)


async def test_pixels_that_cannot_be_saved_are_refused_before_anything_moves(rig: Rig) -> None:
    async with rig.acquisition() as acq:
        await rig.core.set_property("Camera", "PixelType", "32bit")
        rig.mmc.forget()
        with pytest.raises(errors.UnsupportedError, match="4 bytes"):
            await acq.acquire({"axes": {"n": 0}, "z": 5.0})
        assert not rig.mmc.calls_of("setPosition", "snapImage")
        await rig.core.set_property("Camera", "PixelType", "16bit")
        assert len(await acq.acquire(frames(2))) == 2
