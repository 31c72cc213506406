"""A core of pymmcore-plus, and its devices written in Python, driven through a LocalCore."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pymmcore_plus as plus
import pytest
from pymmcore_plus.experimental import unicore

import aiomm
from aiomm import blocking
from aiomm.errors import CoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class PythonCamera(unicore.CameraDevice):
    """Frames that hold their number."""

    exposure, number, colours, size = 3.0, 0, 0, (48, 64)

    def get_exposure(self) -> float:
        return self.exposure

    def set_exposure(self, exposure: float) -> None:
        self.exposure = exposure

    def shape(self) -> tuple[int, ...]:
        return (*self.size, self.colours) if self.colours else self.size

    def dtype(self) -> Any:
        return np.uint8 if self.colours else np.uint16

    def start_sequence(self, n: int | None, get_buffer: Callable[[Sequence[int], Any], np.ndarray]) -> Iterator[Mapping[str, Any]]:
        import time

        count = 0
        while n is None or count < n:
            time.sleep(self.exposure / 1000)
            self.number += 1
            count += 1
            get_buffer(self.shape(), self.dtype())[:] = self.number % 250
            yield {}


class PythonStage(unicore.StageDevice):
    """A focus drive."""

    position = 0.0

    def home(self) -> None:
        self.position = 0.0

    def stop(self) -> None:
        pass

    def set_position_um(self, val: float) -> None:
        self.position = val

    def get_position_um(self) -> float:
        return self.position

    def set_origin(self) -> None:
        pass


@pytest.fixture
def plus_mmc(demo_config: Path) -> Iterator[Any]:
    mmc = plus.CMMCorePlus(mm_path=str(demo_config.parent), adapter_paths=[str(demo_config.parent)])
    mmc.loadSystemConfiguration(str(demo_config))
    yield mmc
    mmc.unloadAllDevices()


@pytest.fixture
def python_mmc() -> Iterator[Any]:
    mmc = unicore.UniMMCore()
    mmc.loadPyDevice("Camera", PythonCamera())
    mmc.initializeDevice("Camera")
    mmc.setCameraDevice("Camera")
    mmc.loadPyDevice("Z", PythonStage())
    mmc.initializeDevice("Z")
    mmc.setFocusDevice("Z")
    yield mmc
    mmc.unloadAllDevices()


async def test_its_core_is_adopted(plus_mmc: Any) -> None:
    async with aiomm.LocalCore(mmcore=plus_mmc) as core:
        await core.set_exposure(3)
        assert (await core.snap()).shape == (512, 512)
        assert (await core.get_config_data("Channel", "DAPI"))[("Emission", "Label")] == "Chroma-HQ620"
        assert await core.get_roi() == (0, 0, 512, 512)
        assert await core.get_multi_roi() == ()
        assert await core.get_xy_position() == (0.0, 0.0)
        await core.wait_for_config("Channel", "DAPI")
        await core.set_system_state({("Camera", "Binning"): 2})
        assert (await core.get_tagged_image()).tags["Camera-Binning"] == "2"
        assert await asyncio.to_thread(blocking(core).get_exposure) == 3
        with pytest.raises(CoreError, match="out of range"):
            await core.set_position(1e9)
        await core.halt()
    assert "Camera" in plus_mmc.getLoadedDevices()


async def test_colours_come_in_the_same_order(plus_mmc: Any) -> None:
    plus_mmc.setProperty("Camera", "Mode", "Color Test Pattern")
    plus_mmc.setProperty("Camera", "PixelType", "32bitRGB")
    async with aiomm.LocalCore(mmcore=plus_mmc) as core, aiomm.LocalCore("demo") as plain:
        await plain.set_property("Camera", "Mode", "Color Test Pattern")
        await plain.set_property("Camera", "PixelType", "32bitRGB")
        one, other = await core.snap(), await plain.snap()
        assert one.shape == (512, 512, 3)
        assert np.array_equal(one, other)
        await core.start_sequence_acquisition(1, 0, True)
        while await core.is_sequence_running():
            await asyncio.sleep(0.005)
        assert np.array_equal(await core.pop_next_image(), other)


async def test_notifications_come_through_its_own_events(plus_mmc: Any) -> None:
    moves: list[Any] = []
    plus_mmc.events.stagePositionChanged.connect(lambda *args: moves.append(args))
    before = len(plus_mmc.events.stagePositionChanged)
    async with aiomm.LocalCore(mmcore=plus_mmc) as core:
        async with core.events(["stage_position_changed", "exposure_changed"]) as events:
            await core.set_position(6)
            await core.set_exposure(4)
            async with asyncio.timeout(20):
                got = [await anext(events), await anext(events)]
        assert {(e.kind, e.device) for e in got} == {("stage_position_changed", "Z"), ("exposure_changed", "Camera")}
        assert len(plus_mmc.events.stagePositionChanged) == before
        await core.set_position(7)
        while len(moves) < 2:  # its own listeners still hear
            await asyncio.sleep(0.005)


async def test_colours_of_a_python_camera(python_mmc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for colours in (3, 4):
        monkeypatch.setattr(PythonCamera, "colours", colours)
        async with aiomm.LocalCore(mmcore=python_mmc) as core:
            image = await core.snap()
            assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)


async def test_live_view(plus_mmc: Any) -> None:
    async with aiomm.LocalCore(mmcore=plus_mmc) as core:
        async with core.live(exposure=2) as live:
            numbers = [(await anext(live)).tags["ImageNumber"] for _ in range(5)]
        assert numbers == sorted(set(numbers))
        assert not await core.is_sequence_running()


async def test_devices_written_in_python(python_mmc: Any) -> None:
    async with aiomm.LocalCore(mmcore=python_mmc) as core:
        image = await core.snap()
        assert (image.shape, image.dtype) == ((48, 64), np.uint16)
        await core.set_position(5)
        await core.wait_for_device("Z")
        assert await core.get_position() == 5
        await core.start_sequence_acquisition(3, 0, True)
        while await core.is_sequence_running():
            await asyncio.sleep(0.005)
        images = [await core.pop_next_tagged_image() for _ in range(3)]
        assert [i.pix[0, 0] for i in images] == [2, 3, 4]
        assert (await core.get_tagged_image()).tags["Width"] == 64
        await core.halt()


async def test_live_view_of_a_python_camera_goes_on_when_its_buffer_is_full(python_mmc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PythonCamera, "size", (256, 512))
    async with aiomm.LocalCore(mmcore=python_mmc, buffer_mb=1) as core:
        await core.set_exposure(1)
        values = []
        async with core.live() as live:
            await anext(live)
            while await core.get_buffer_free_capacity():
                await asyncio.sleep(0.02)
            for _ in range(5):
                values.append(int((await anext(live)).pixels[0, 0]))
        assert len(set(values)) == 5
        assert not await core.is_sequence_running()
