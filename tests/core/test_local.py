from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pymmcore
import pytest

import aiomm
from aiomm.core import TaggedImage, adapters
from aiomm.errors import ClosedError, CoreError
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from pathlib import Path


_of_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def only_own_threads_count() -> None:
    _of_others.clear()
    _of_others.update(threading.enumerate())


def hardware_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "aiomm-hardware" and t not in _of_others]


async def settle_threads() -> None:
    """A thread that was closed has only its return left to do."""
    for _ in range(1000):
        if not hardware_threads():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"still there: {hardware_threads()}")


# ---- opening -------------------------------------------------------------------------------------------------------


async def test_opens_the_demo_and_takes_an_image() -> None:
    async with aiomm.LocalCore("demo") as core:
        assert await core.get_camera_device() == "Camera"
        image = await core.snap()
        assert (image.shape, image.dtype) == ((512, 512), np.uint16)
        assert image.any()
    await settle_threads()


async def test_open_and_aclose_from_different_tasks() -> None:
    core = await asyncio.create_task(aiomm.LocalCore.open("demo"))
    assert await core.get_exposure() == 10
    await asyncio.create_task(core.aclose())
    await core.aclose()
    assert core.closed
    await settle_threads()


async def test_a_path_and_no_configuration(demo_config: Path) -> None:
    for config in (demo_config, str(demo_config)):
        async with aiomm.LocalCore(config) as core:
            assert "XY" in await core.get_loaded_devices()
    async with aiomm.LocalCore() as core:
        assert await core.get_loaded_devices() == ("Core",)
        await core.load_device("Cam", "DemoCamera", "DCam")
        await core.initialize_device("Cam")
        await core.set_camera_device("Cam")
        assert (await core.snap()).shape == (512, 512)


async def test_buffer_mb_is_the_size_of_the_circular_buffer() -> None:
    async with aiomm.LocalCore("demo", buffer_mb=7) as core:
        assert await core.get_circular_buffer_memory_footprint() == 7
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="buffer_mb"):
            aiomm.LocalCore("demo", buffer_mb=wrong)  # type: ignore[arg-type]


async def test_two_cores_in_one_process() -> None:
    async with aiomm.LocalCore("demo") as one, aiomm.LocalCore("demo") as two:
        await one.set_exposure(5)
        await two.set_exposure(50)
        await asyncio.gather(one.set_position(1), two.set_position(2))
        assert (await one.get_exposure(), await two.get_exposure()) == (5, 50)
        assert (await one.get_position(), await two.get_position()) == (1, 2)
        assert one.thread is not two.thread
        images = await asyncio.gather(one.snap(), two.snap())
        assert all(i.shape == (512, 512) for i in images)


async def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CoreError, match=r"nope\.cfg' does not exist.*'demo'"):
        await aiomm.LocalCore.open(tmp_path / "nope.cfg")
    with pytest.raises(CoreError, match="is a folder"):
        await aiomm.LocalCore.open(tmp_path)
    with pytest.raises(CoreError, match="there is no folder"):
        await aiomm.LocalCore.open("demo", adapter_paths=tmp_path / "missing")
    with pytest.raises(CoreError, match="no device adapter"):
        await aiomm.LocalCore.open("demo", adapter_paths=[tmp_path])
    config = tmp_path / "other.cfg"
    config.write_text("Device,Stage,PriorStage,Z\n")
    with pytest.raises(CoreError, match=r"PriorStage not found in .*found: .*DemoCamera.*install Micro-Manager"):
        await aiomm.LocalCore.open(config)
    monkeypatch.setattr(adapters, "demo_adapters", lambda: None)
    monkeypatch.setattr(adapters, "installed_micromanager", list)
    with pytest.raises(CoreError, match=r'pip install "aiomm\[demo\]"'):
        await aiomm.LocalCore.open("demo")
    await settle_threads()


async def test_a_configuration_that_asks_for_what_is_not_there_names_the_line(tmp_path: Path) -> None:
    config = tmp_path / "wrong.cfg"
    config.write_text("Device,Camera,DemoCamera,DCam\nProperty,Core,Initialize,1\nProperty,Camera,Nonsense,1\n")
    with pytest.raises(CoreError, match="Nonsense") as caught:
        await aiomm.LocalCore.open(config)
    assert str(config) in str(caught.value)


async def test_cancelled_while_opening_leaves_nothing() -> None:
    for turns in range(6):
        task = asyncio.create_task(aiomm.LocalCore.open("demo"))
        for _ in range(turns):
            await asyncio.sleep(0.004)
        task.cancel()
        try:
            core = await task
        except asyncio.CancelledError:
            pass
        else:
            await core.aclose()
        await settle_threads()


def test_mmcore_is_checked() -> None:
    with pytest.raises(TypeError, match=r"pymmcore\.CMMCore, not dict"):
        aiomm.LocalCore(mmcore={})  # type: ignore[arg-type]


# ---- an adopted core -----------------------------------------------------------------------------------------------


async def test_an_adopted_core_keeps_its_devices(demo_mmc: Any) -> None:
    demo_mmc.setExposure(33)
    async with aiomm.LocalCore(mmcore=demo_mmc) as core:
        assert core.mmc is demo_mmc
        assert await core.get_exposure() == 33
        await core.set_position(4)
    assert demo_mmc.getPosition() == 4
    assert "Camera" in demo_mmc.getLoadedDevices()


async def test_an_adopted_core_can_be_given_a_configuration() -> None:
    mmc = pymmcore.CMMCore()
    async with aiomm.LocalCore("demo", mmcore=mmc) as core:
        assert (await core.snap()).shape == (512, 512)
    assert "Camera" in mmc.getLoadedDevices()
    mmc.unloadAllDevices()


# ---- closing -------------------------------------------------------------------------------------------------------


async def test_used_after_closing_says_what_to_do() -> None:
    core = await aiomm.LocalCore.open("demo")
    await core.aclose()
    uses: list[Any] = [core.snap, core.get_exposure, core.halt, lambda: core.run(lambda mmc: None), lambda: core.wait_for_system()]
    for use in uses:
        with pytest.raises(ClosedError, match="LocalCore is closed: open another"):
            await use()
    for look in (lambda: core.mmc, lambda: core.thread, lambda: core.epoch, core.live, core.events):
        with pytest.raises(ClosedError, match="LocalCore is closed"):
            look()
    with pytest.raises(ClosedError, match="was closed: make another"):
        await core.__aenter__()


async def test_used_before_opening_says_what_to_do() -> None:
    core = aiomm.LocalCore("demo")
    with pytest.raises(ClosedError, match="not open yet: use `async with"):
        await core.snap()
    await core.aclose()


async def test_entered_twice() -> None:
    async with aiomm.LocalCore("demo") as core:
        with pytest.raises(RuntimeError, match="open already"):
            await core.__aenter__()


async def test_close_waits_for_the_call_in_progress_and_makes_those_that_wait() -> None:
    core = await aiomm.LocalCore.open("demo")
    await core.set_exposure(200)
    snap = asyncio.create_task(core.snap())
    position = asyncio.create_task(core.set_position(9))
    await asyncio.sleep(0.05)
    await core.aclose()
    assert (await snap).shape == (512, 512)
    assert await position is None


async def test_close_survives_cancellation_again_and_again() -> None:
    recorder = RecordingCore()
    core = await aiomm.LocalCore.open("demo", mmcore=recorder)
    entered, go = threading.Event(), threading.Event()
    busy = asyncio.create_task(core.run(lambda mmc: (entered.set(), go.wait(10))))
    await asyncio.to_thread(entered.wait, 10)
    closing = asyncio.create_task(core.aclose())
    for _ in range(3):
        await asyncio.sleep(0.01)
        closing.cancel()
    await asyncio.sleep(0.01)
    assert not closing.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert core.closed
    await busy
    await settle_threads()
    recorder.unloadAllDevices()


async def test_close_stops_a_sequence_that_was_left_running() -> None:
    core = await aiomm.LocalCore.open("demo")
    await core.start_continuous_sequence_acquisition(0)
    await core.aclose()
    await settle_threads()


async def test_users_are_ended_first_and_their_error_is_raised() -> None:
    class User:
        ended = False

        async def abort_for_close(self) -> None:
            await core.stop_sequence_acquisition()  # the core still works for it
            User.ended = True
            raise CoreError("could not put the shutter back")

    core = await aiomm.LocalCore.open("demo")
    core.users.add(User())
    with pytest.raises(CoreError, match="User on this core would lose"):
        await core.unload_all_devices()
    with pytest.raises(CoreError, match="could not put the shutter back"):
        await core.aclose()
    assert User.ended
    assert core.closed
    await core.aclose()
    await settle_threads()


# ---- calls ---------------------------------------------------------------------------------------------------------


async def test_every_call_runs_on_one_thread() -> None:
    recorder = RecordingCore()
    async with aiomm.LocalCore("demo", mmcore=recorder) as core:
        await asyncio.gather(core.set_exposure(1), core.get_position(), core.snap(), core.run(lambda mmc: mmc.getROI()))
        await core.wait_for_system()
    recorder.unloadAllDevices()
    names = {call.thread for call in recorder.calls if call.name not in {"unloadAllDevices"}}
    assert names == {"aiomm-hardware"}


async def test_errors_name_device_call_and_mmcores_text(demo_core: aiomm.LocalCore) -> None:
    with pytest.raises(CoreError) as caught:
        await demo_core.set_position("Z", 1e9)
    error = caught.value
    assert (error.method, error.arguments, error.device) == ("setPosition", ("Z", 1e9), "Z")
    assert "out of range" in error.text
    assert isinstance(error.__cause__, RuntimeError)
    with pytest.raises(CoreError) as caught:
        await demo_core.set_property("Camera", "Binning", "17")
    assert caught.value.device == "Camera"
    assert "'Camera'" in str(caught.value)
    with pytest.raises(CoreError) as caught:
        await demo_core.set_config("Channel", "Nope")
    assert 'Preset "Nope"' in str(caught.value)
    with pytest.raises(CoreError, match="nobody"):
        await demo_core.wait_for_device("nobody")
    with pytest.raises(CoreError, match="empty"):
        await demo_core.pop_next_image()


async def test_run_gives_the_raw_core_and_keeps_exceptions(demo_core: aiomm.LocalCore) -> None:
    def both(mmc: Any, z: float) -> tuple[float, str]:
        mmc.setPosition(z)
        return mmc.getPosition(), threading.current_thread().name

    assert await demo_core.run(both, 6.0) == (6.0, "aiomm-hardware")

    class Own(Exception):
        pass

    def fails(mmc: Any) -> None:
        raise Own

    with pytest.raises(Own):
        await demo_core.run(fails)


async def test_run_refuses_coroutine_functions(demo_core: aiomm.LocalCore) -> None:
    async def wrong(mmc: Any) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        await demo_core.run(wrong)


async def test_epoch_counts_what_may_change_something(demo_core: aiomm.LocalCore) -> None:
    epoch = demo_core.epoch
    await demo_core.get_position()
    await demo_core.get_loaded_devices()
    await demo_core.wait_for_system()
    await demo_core.run(lambda mmc: mmc.getPosition(), reads=True)
    assert demo_core.epoch == epoch
    await demo_core.set_position(1)
    assert demo_core.epoch == epoch + 1
    await demo_core.run(lambda mmc: mmc.setPosition(2))
    assert demo_core.epoch == epoch + 2
    await demo_core.snap()
    assert demo_core.epoch == epoch + 3
    with pytest.raises(CoreError):
        await demo_core.set_position(1e9)
    assert demo_core.epoch == epoch + 4


async def test_waiting_is_short_shares_the_thread_and_can_be_cancelled(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_property("XY", "Velocity", 1)
    await demo_core.set_xy_position(500, 0)
    waiting = asyncio.create_task(demo_core.wait_for_device("XY"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert await demo_core.get_exposure() == 10  # others go on meanwhile
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await demo_core.set_timeout_ms(20)
    for wait in (demo_core.wait_for_device("XY"), demo_core.wait_for_system(), demo_core.wait_for_device_type(pymmcore.XYStageDevice)):
        with pytest.raises(CoreError, match=r"still busy after 0\.02 s") as caught:
            await wait
        assert caught.value.device == "XY"
    await demo_core.wait_for_config("Channel", "DAPI")


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("set_exposure", (3.0,)),
        ("set_exposure", ("Camera", 3.0)),
        ("set_roi", (0, 0, 10, 10)),
        ("clear_roi", ()),
        ("set_binning", (2,)),
        ("set_circular_buffer_memory_footprint", (8,)),
        ("initialize_circular_buffer", ()),
        ("load_system_configuration", ("x.cfg",)),
        ("unload_all_devices", ()),
        ("reset", ()),
    ],
)
async def test_what_would_spoil_a_running_sequence_is_refused(demo_core: aiomm.LocalCore, method: str, args: tuple[Any, ...]) -> None:
    await demo_core.start_continuous_sequence_acquisition(0)
    with pytest.raises(CoreError, match=r"a camera sequence is running.*stop_sequence_acquisition") as caught:
        await getattr(demo_core, method)(*args)
    assert caught.value.device == "Camera"
    assert await demo_core.get_exposure() == 10
    await demo_core.stop_sequence_acquisition()
    if method.startswith("set_exposure"):
        await getattr(demo_core, method)(*args)
        assert await demo_core.get_exposure() == 3


# ---- images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixel_type", "shape", "dtype"),
    [
        ("8bit", (64, 96), np.uint8),
        ("16bit", (64, 96), np.uint16),
        ("32bitRGB", (64, 96, 3), np.uint8),
        ("64bitRGB", (64, 96, 3), np.uint16),
    ],
)
async def test_pixels_in_every_way_they_come(demo_core: aiomm.LocalCore, pixel_type: str, shape: tuple[int, ...], dtype: Any) -> None:
    await demo_core.set_property("Camera", "PixelType", pixel_type)
    await demo_core.set_roi(0, 0, 96, 64)
    await demo_core.set_exposure(1)
    got: list[Any] = [await demo_core.snap(), await demo_core.get_image(), await demo_core.get_image(0)]
    tagged = await demo_core.get_tagged_image()
    assert (tagged.tags["Width"], tagged.tags["Height"], tagged.tags["Camera"]) == (96, 64, "Camera")
    assert tagged.tags["Camera-Binning"] == "1"
    await demo_core.start_sequence_acquisition(6, 0, True)
    while await demo_core.is_sequence_running():
        await asyncio.sleep(0.005)
    last = await demo_core.get_last_tagged_image()
    before = await demo_core.get_n_before_last_tagged_image(1)
    assert (last.tags["ImageNumber"], before.tags["ImageNumber"]) == (5, 4)
    first = await demo_core.pop_next_tagged_image()
    assert first.tags["ImageNumber"] == 0
    assert isinstance(first.tags["ElapsedTime-ms"], float)
    assert (await demo_core.pop_next_image_md()).tags["ImageNumber"] == 1
    got += [tagged, last, before, first, await demo_core.pop_next_image(), await demo_core.get_last_image()]
    got += [await demo_core.get_last_image_md(), await demo_core.get_last_tagged_image(0), await demo_core.pop_next_tagged_image(0)]
    assert await demo_core.get_remaining_image_count() == 2
    for image in got:
        pixels = image.pix if isinstance(image, TaggedImage) else image
        assert (pixels.shape, pixels.dtype) == (shape, dtype)
        assert pixels.flags.c_contiguous
        assert pixels.any()


async def test_an_image_of_the_buffer_keeps_its_own_kind(demo_core: aiomm.LocalCore) -> None:
    """A colour image that is popped after the camera was set to grey is still a colour image."""
    await demo_core.set_property("Camera", "PixelType", "32bitRGB")
    await demo_core.start_sequence_acquisition(1, 0, True)
    while await demo_core.is_sequence_running():
        await asyncio.sleep(0.005)
    image = await demo_core.get_last_image()
    assert image.shape == (512, 512, 3)


async def test_a_call_in_progress_is_named(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_exposure(150)
    snap = asyncio.create_task(demo_core.snap_image())
    deadline = time.monotonic() + 10
    while demo_core.thread.current != "snapImage()":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
    await snap


async def test_idle_core_makes_no_calls() -> None:
    recorder = RecordingCore()
    async with aiomm.LocalCore("demo", mmcore=recorder):
        before = len(recorder.calls)
        await asyncio.sleep(0.2)
        assert len(recorder.calls) == before
    with contextlib.suppress(RuntimeError):
        recorder.unloadAllDevices()
