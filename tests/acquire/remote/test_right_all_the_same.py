"""What Micro-Manager's engine leaves out, does too early or cannot do, done right from here or refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from tests.support.homes import Home
from tests.support.rigs import numbered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost
    from tests.support.rigs import Rig


@pytest.fixture
async def rig(java_host: JavaHost, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Home("java", java_host).demo(tmp_path) as rig:
        yield rig


async def test_several_properties_of_one_device(rig: Rig) -> None:
    """The engine keeps one for each device."""
    events = numbered(*({"properties": [["Camera", "Gain", str(n)], ["Camera", "Offset", str(n + 3)]]} for n in range(3)))
    async with rig.memory() as acq:
        await acq.acquire(events)
    for n in range(3):
        metadata = acq.get_dataset().read_metadata(n=n)
        assert (metadata["Camera-Gain"], float(metadata["Camera-Offset"])) == (str(n), n + 3)


async def test_properties_that_the_preset_sets_too_are_set_after_it(rig: Rig) -> None:
    """The engine would set them back, of each device all but one."""
    after = await rig.core.get_config_data("Camera", "HighRes")
    assert len(after) > 1 and after != await rig.core.get_config_data("Camera", "MedRes")
    event = {
        "axes": {"n": 0},
        "config_group": ["Camera", "MedRes"],
        "properties": [[label, name, value] for (label, name), value in after.items()],
    }
    async with rig.memory() as acq:
        await acq.acquire(event)
    metadata = acq.get_dataset().read_metadata(n=0)
    assert {key: metadata["-".join(key)] for key in after} == after


async def test_properties_are_waited_for(rig: Rig) -> None:
    """The engine sets them and exposes at once."""
    async with rig.memory() as acq:
        rig.mmc.forget()
        await acq.acquire({"axes": {"n": 0}, "properties": [["Camera", "Gain", "2"]]})
    calls = [(call.name, call.args[0]) for call in rig.mmc.calls_of("setProperty", "waitForDevice") if call.args[0] == "Camera"]
    assert calls[:2] == [("setProperty", "Camera"), ("waitForDevice", "Camera")]
    assert rig.mmc.calls_of("snapImage")[0].start >= rig.mmc.calls_of("waitForDevice")[0].end


async def test_nothing_here_moves_before_java_has_read_what_an_image_was_taken_with(rig: Rig) -> None:
    """It says that it has taken a single image before it reads the devices' state for the metadata."""
    async with rig.memory() as acq:
        rig.mmc.forget()
        rig.mmc.on("getImageBitDepth", delay=0.3)
        await acq.acquire([{"axes": {"n": 0}}, {"x": 70.0, "y": 5.0}])
    (moved,) = rig.mmc.calls_of("setXYPosition")
    assert moved.args[1:] == (70.0, 5.0)
    assert rig.mmc.names(of=("getImageBitDepth", "setXYPosition")) == ["getImageBitDepth", "setXYPosition"]
    assert moved.start >= rig.mmc.calls_of("getImageBitDepth")[0].end


@pytest.mark.parametrize("which", ["post_hardware", "post_camera"])
async def test_an_acquisition_in_a_hook_for_which_the_engine_waits(rig: Rig, which: str) -> None:
    seen: list[BaseException] = []

    async def hook(event: Any) -> Any:
        try:
            async with rig.memory() as inner:
                await inner.acquire({"axes": {"inner": 0}})
        except errors.UnsupportedError as error:
            seen.append(error)
        return event

    async with asyncio.timeout(20), rig.memory(**{f"{which}_hook_fn": hook}) as acq:
        assert await acq.acquire({"axes": {"n": 0}}) == [{"n": 0}]
    assert "its one engine waits for the hook" in str(seen[0])


async def test_an_acquisition_in_a_hook_before_the_hardware(rig: Rig) -> None:
    taken: list[Any] = []

    async def hook(event: Any) -> Any:
        async with rig.memory() as inner:
            taken.extend(await inner.acquire({"axes": {"inner": 0}}))
        return event

    async with asyncio.timeout(20), rig.memory(pre_hardware_hook_fn=hook) as acq:
        assert await acq.acquire({"axes": {"n": 0}}) == [{"n": 0}]
    assert taken == [{"inner": 0}]


async def test_a_pattern_is_shown(bridge: aiomm.Bridge, control: Any) -> None:
    """The engine sends it to the SLM and does not show it."""
    core = await bridge.get_core()
    slm = await core.get_slm_device()
    pattern = bytes(await core.get_slm_width(slm) * await core.get_slm_height(slm))
    await control.clear_journal()
    async with aiomm.Acquisition(bridge=bridge, show_display=False) as acq:
        await acq.acquire({"axes": {"n": 0}, "slm_pattern": pattern})
    done = [line.split()[0] for line in (await control.journal()).splitlines()]
    assert [name for name in done if name in ("setSLMImage", "displaySLMImage", "snapImage")] == [
        "setSLMImage",
        "displaySLMImage",
        "snapImage",
    ]


async def test_an_end_in_java_is_told_once(rig: Rig) -> None:
    rig.mmc.on("snapImage", times=None, raises=RuntimeError("no light"))
    with pytest.raises(errors.HardwareError, match="no light") as caught:
        async with rig.memory() as acq:
            await acq.acquire({"axes": {"n": 0}})
    assert caught.value.__notes__ == ["0 images were saved; none was under way"]
    assert isinstance(acq, aiomm.Acquisition)


@pytest.mark.parametrize("name", ["a/b", ".."])
async def test_a_name_that_is_none(rig: Rig, name: str) -> None:
    with pytest.raises(ValueError, match="a dataset's name is a file name, without slashes"):
        async with aiomm.Acquisition(str(rig.directory), name, show_display=False, **rig.where):
            pass
    assert list(rig.directory.iterdir()) == []


@pytest.mark.parametrize("shown", [True, False])
async def test_what_a_processor_makes_is_saved_where_it_is_shown(rig: Rig, shown: bool) -> None:
    """In Java if Micro-Manager shows it, for its viewer reads what it has saved; else here, without the way back."""

    def brighter(image: Any, metadata: Any) -> Any:
        return image + 1, {**metadata, "seen": True}

    where = {**rig.where, "show_display": shown, "image_process_fn": brighter}
    async with aiomm.Acquisition(str(rig.directory), "p", **where) as acq:
        await acq.acquire([{"axes": {"n": i}} for i in range(6)])
        live = acq.get_dataset()
        assert acq.path is not None
    saved = await aiomm.Dataset.open(acq.path)
    assert saved.axes == live.axes == {"n": list(range(6))}
    for n in range(6):
        pixels, metadata = await saved.read_image_async(n=n, read_metadata=True)
        assert metadata["seen"] is True
        assert np.array_equal(pixels, await live.read_image_async(n=n))
    assert type(acq._run.writer).__name__ == ("JavaWriter" if shown else "NDTiffWriter")
