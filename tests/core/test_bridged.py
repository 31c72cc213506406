"""What is particular to a core in Java: its values, its own methods, what the server has not, ports, the ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pymmcore
import pytest

import aiomm
from aiomm.core import java_live
from aiomm.core import java_values as values
from aiomm.errors import BridgeTimeoutError, ClosedError, CoreError, JavaException, JavaValueError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost


@pytest.fixture
async def bridge(java_host: JavaHost) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
        yield bridge


@pytest.fixture
async def control(java_host: JavaHost) -> AsyncIterator[Any]:
    """How the simulated microscope behaves; asked over a bridge of its own."""
    async with aiomm.Bridge(port=java_host.port, timeout=5000) as other:
        control = await other.construct_java_object("aiomm.host.Control", new_socket=True)
        await control.restore()
        yield control
        await control.restore()


@pytest.fixture
async def core(bridge: aiomm.Bridge, control: Any) -> aiomm.BridgedCore:
    core = await bridge.get_core()
    assert isinstance(core, aiomm.BridgedCore)
    return core


async def until(condition: Any) -> None:
    """Wait until an asynchronous question is answered with something true."""
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.005)


# ---- names -----------------------------------------------------------------------------------------------------------


async def test_javas_own_methods_keep_javas_spelling_and_values(core: Any) -> None:
    assert await core.getExposure() == 10.0
    await core.snapImage()
    tagged = await core.getTaggedImage()
    assert isinstance(tagged, aiomm.JavaObject)
    assert (await tagged.pix).dtype == np.uint16
    assert (await tagged.tags)["Width"] == 512
    assert isinstance(await core.getLoadedDevices(), aiomm.JavaObject)
    assert await core.wait_for_image_synchro() is None  # a method that only Java's core has
    names = set(dir(core))
    assert {"snap", "get_tagged_image", "live", "events", "halt", "wait_for_image_synchro"} <= names
    assert "Sets the exposure" in core.set_exposure.__doc__
    with pytest.raises(AttributeError, match="set_exposure"):
        core.set_exposre  # noqa: B018


async def test_what_this_micro_manager_has_not_is_said_with_its_version(core: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"get_binning: .*version.* has no getBinning"):
        await core.get_binning()
    with pytest.raises(UnsupportedError, match=r"in another process.*LocalCore"):
        await core.run(lambda mmc: None)
    with pytest.raises(UnsupportedError, match="no slice"):
        await core.get_last_image_md(0, 1)


async def test_an_acquisition_on_it(core: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"core= is the microscope, a LocalCore or what bridge.get_core\(\) gives, not str"):
        aiomm.Acquisition(str(tmp_path), "a", core="demo")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    async with aiomm.Acquisition(str(tmp_path), "a", core=core, show_display=False) as acq:
        assert await acq.acquire({"axes": {"n": 0}}) == [{"n": 0}]
    assert [path.name for path in tmp_path.iterdir()] == ["a_1"]


# ---- values ----------------------------------------------------------------------------------------------------------


async def test_vectors_of_strings(bridge: aiomm.Bridge) -> None:
    owner = await bridge.get_core()
    for given in ((), ("",), ("", ""), ("a",), ("a, b", "µm", "x@y", "<br>"), tuple(map(str, range(50)))):
        vector = await values.vector(owner, "StrVector", given)
        assert await values.strings(vector) == given
        assert await values.items(vector) == given


async def test_vectors_of_numbers(bridge: aiomm.Bridge) -> None:
    owner = await bridge.get_core()
    assert await values.floats(await values.vector(owner, "DoubleVector", [1.0, -0.5, 1e-300])) == (1.0, -0.5, 1e-300)
    assert await values.integers(await values.vector(owner, "UnsignedVector", [1, 2**32 - 1])) == (1, 2**32 - 1)
    assert await values.characters(await values.vector(owner, "CharVector", map(chr, b"\x00ab\xff"))) == b"\x00ab\xff"


async def test_names_decide_the_numbers_of_constants(bridge: aiomm.Bridge) -> None:
    kinds = await bridge.get_java_class("mmcorej.DeviceDetectionStatus")
    assert await values.number_of(await kinds.get_field("Unimplemented")) == pymmcore.Unimplemented == -2
    core: Any = await bridge.get_core()
    with pytest.raises((ValueError, TypeError), match="12345"):
        await core.get_loaded_devices_of_type(12345)


@pytest.mark.parametrize("xy", [(1.5, -2.0), (1e-7, -1e12), (0.1 + 0.2, 123456.789)])
async def test_positions_keep_every_digit(bridge: aiomm.Bridge, xy: tuple[float, float]) -> None:
    assert await values.point(await bridge.construct_java_object("java.awt.geom.Point2D$Double", args=xy)) == xy


async def test_rectangles(bridge: aiomm.Bridge) -> None:
    listed = await bridge.construct_java_object("java.util.ArrayList")
    assert await values.rectangles(listed) == ()
    for x in (0, -7):
        await listed.add(await bridge.construct_java_object("java.awt.Rectangle", args=[x, 1, 20, 30]))
    assert await values.rectangles(listed) == ((0, 1, 20, 30), (-7, 1, 20, 30))


async def test_sequences_for_the_hardware_arrive(core: Any, control: Any) -> None:
    await control.sequenceable(10)
    await control.clear_journal()
    await core.load_stage_sequence("Z", [1, 2.5])
    await core.load_xy_stage_sequence("XY", (1.0, 2.0), np.array([3.0, 4.0]))
    await core.load_property_sequence("LED", "Color", ["DAPI", "FITC"])
    await core.load_exposure_sequence("Camera", np.arange(1, 4))
    journal = (await control.journal()).splitlines()
    assert journal == [
        "loadStageSequence Z [1.0, 2.5]",
        "loadXYStageSequence XY [1.0, 2.0] [3.0, 4.0]",
        "loadPropertySequence LED Color [DAPI, FITC]",
        "loadExposureSequence Camera [1.0, 2.0, 3.0]",
    ]


async def test_slm_patterns_arrive(core: Any, control: Any) -> None:
    height, width = await core.get_slm_height("SLM"), await core.get_slm_width("SLM")
    await core.set_slm_image("SLM", np.full((height, width), 200, np.uint8))
    await core.display_slm_image("SLM")
    with pytest.raises((CoreError, TypeError)):
        await core.set_slm_image("SLM", np.zeros((2, 2), np.uint8))
    colours = np.zeros((1, 2, 3), np.uint8)
    colours[0, 1] = (1, 2, 3)
    assert (await values.slm_pixels(colours)).tolist() == [0, 0x010203]
    with pytest.raises(TypeError, match="uint8"):
        await values.slm_pixels(np.zeros((1, 2, 4), np.uint8))


async def test_images_of_floats(core: Any) -> None:
    await core.set_property("Camera", "PixelType", "32bit")
    image = await core.snap()
    assert (image.shape, image.dtype) == ((512, 512), np.float32)
    assert (await core.get_tagged_image()).tags["PixelType"] == "GRAY32"


async def test_pixels_are_unsigned_in_javas_spelling_too(core: Any) -> None:
    await core.set_property("Camera", "PixelType", "16bit")
    await core.snapImage()
    assert (await core.getImage()).dtype == np.uint16
    await core.startSequenceAcquisition(2, 0.0, True)
    while await core.isSequenceRunning() or await core.getRemainingImageCount() < 2:
        await asyncio.sleep(0.005)
    assert (await core.getLastImage()).dtype == np.uint16
    assert (await core.popNextImage()).dtype == np.uint16


async def test_an_image_of_another_size_than_the_camera_now_has(core: Any) -> None:
    await core.snap_image()
    await core.set_roi(0, 0, 100, 50)
    with pytest.raises(CoreError, match=r"262144 numbers.*100 x 50.*changed after the image was taken"):
        await core.get_image()


async def test_pixels_are_copied_by_colours_alone(core: Any) -> None:
    flat = np.arange(12, dtype=np.int16)
    image = values.shaped(flat, 4, 3)
    assert image.base is flat or image.base is flat.base
    assert np.shares_memory(image, flat)
    assert image.dtype == np.uint16
    packed = np.arange(24, dtype=np.int8)
    assert values.shaped(packed, 3, 2)[0, 1].tolist() == [6, 5, 4]
    assert values.shaped(np.arange(8, dtype=np.int16), 2, 1).tolist() == [[[2, 1, 0], [6, 5, 4]]]
    with pytest.raises(CoreError, match="NoneType"):
        values.shaped(None, 1, 1)


async def test_each_task_gets_the_image_that_it_snapped(core: Any, control: Any) -> None:
    await core.set_exposure(1)
    images = await asyncio.gather(*(core.snap() for _ in range(8)))
    counters = [int(image[0, 0]) for image in images]
    assert sorted(counters) == list(range(min(counters), min(counters) + 8))


async def test_what_java_throws_is_the_cause(core: Any, control: Any) -> None:
    await control.fail("setPosition", 'Error in device "Z": stuck', 1)
    with pytest.raises(CoreError, match="stuck") as caught:
        await core.set_position(3)
    assert isinstance(caught.value.__cause__, JavaException)
    assert (caught.value.method, caught.value.device, caught.value.text) == ("setPosition", "Z", 'Error in device "Z": stuck')


# ---- ports and ends --------------------------------------------------------------------------------------------------


async def test_halt_comes_past_a_call_in_progress(core: Any, control: Any) -> None:
    await core.set_shutter_open(True)
    await control.clear_journal()
    await control.hold("snapImage")
    snapping = asyncio.ensure_future(core.snap_image())
    await until(lambda: control.calls("snapImage"))
    await core.halt()
    assert not snapping.done()
    journal = (await control.journal()).splitlines()
    assert {"setShutterOpen Shutter false", "stop XY", "stop Z"} <= set(journal)
    await control.java.release("snapImage")
    await snapping


async def test_halt_says_what_it_could_not_stop_and_stops_it_later(core: Any, control: Any) -> None:
    await core.set_exposure(10)
    await core.start_continuous_sequence_acquisition(0)
    await control.hold("stop")
    with pytest.raises(CoreError, match=r"halt: not within 0.2 s.*'XY'.*camera 'Camera'"):
        await core.halt(0.2)
    assert await core.is_sequence_running()
    await control.java.release("stop")

    async def stands() -> bool:
        return not await core.is_sequence_running()

    await until(stands)


async def test_halt_passes_on_what_a_device_says(core: Any, control: Any) -> None:
    await control.fail("setShutterOpen", "the shutter is stuck", -1)
    await core.set_property("Shutter", "State", 1)
    with pytest.raises(CoreError, match=r"halt: .*'Shutter'.*the shutter is stuck"):
        await core.halt()
    await control.restore()
    await core.halt()


async def test_a_core_with_a_port_of_its_own_is_not_held_up(bridge: aiomm.Bridge, core: Any, control: Any) -> None:
    other: Any = await bridge.get_core(new_socket=True)
    await control.hold("waitForDevice")
    waiting = asyncio.ensure_future(other.wait_for_device("XY"))
    await until(lambda: control.calls("waitForDevice"))
    assert await core.get_loaded_devices()
    assert not waiting.done()
    await control.java.release("waitForDevice")
    await waiting
    assert "Camera" in await other.get_loaded_devices()


async def test_one_port_is_enough(own_java_host: JavaHost, caplog: pytest.LogCaptureFixture) -> None:
    """Through a tunnel only the first port can be reached: what would like another does without, and says so once."""
    taken = [socket.socket() for _ in range(12)]
    try:
        for number, one in enumerate(taken, own_java_host.port + 1):
            one.bind(("127.0.0.1", number))
        async with aiomm.Bridge(port=own_java_host.port, timeout=500) as bridge:
            core: Any = await bridge.get_core()
            await core.set_position(3)
            assert await core.get_position() == 3
            async with core.live(exposure=2) as live:
                assert (await anext(live)).pixels.shape == (512, 512)
            await core.set_shutter_open(True)
            await core.halt()
            assert not await core.get_shutter_open()
    finally:
        for one in taken:
            one.close()
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "no port but its first" in record.message


async def test_closing_the_bridge_stops_the_camera(java_host: JavaHost, control: Any) -> None:
    async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
        core: Any = await bridge.get_core()
        async for _ in core.live(exposure=5):
            break
        live = core.live(exposure=5)
        await anext(live)
        waiting = asyncio.ensure_future(anext(live))
    with contextlib.suppress(ClosedError):  # a frame, or the end
        await waiting
    with pytest.raises((ClosedError, StopAsyncIteration)):
        await anext(live)
    async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
        core = await bridge.get_core()
        assert not await core.is_sequence_running()
        assert await core.get_exposure() == 10


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_live_view_of_a_server_that_answers_no_more_ends(
    waiting: bool, own_java_host: JavaHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java_live, "ANSWERS", 0.2)
    monkeypatch.setattr(java_live, "STOPS", 0.3)
    bridge = await aiomm.Bridge.open(port=own_java_host.port, timeout=1000)
    core: Any = await bridge.get_core()
    live = core.live()
    await anext(live)
    asked = [asyncio.ensure_future(anext(live))] if waiting else []
    try:
        os.kill(own_java_host.pid, signal.SIGSTOP)
        async with asyncio.timeout(20):
            with pytest.raises(CoreError, match=r"did not answer within 0\.32 s that the camera has stopped"):
                await bridge.aclose()
            for end in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(end, ClosedError | aiomm.LiveFrame), end
    finally:
        os.kill(own_java_host.pid, signal.SIGCONT)


@pytest.mark.parametrize("end", ["killed", "closed"])
async def test_cleaning_up_hides_no_error(end: str, own_java_host: JavaHost) -> None:
    """What is closed when the server is gone, or its bridge, has nothing to say to that."""
    seen: list[str] = []
    with pytest.raises(ZeroDivisionError) as raised:
        async with aiomm.Bridge(port=own_java_host.port, timeout=5000) as bridge:
            core = await bridge.get_core()
            async with core.events(), core.live() as live:
                await anext(live)
                try:
                    if end == "killed":
                        await asyncio.to_thread(own_java_host.kill)
                    else:
                        await bridge.aclose()
                    raise ZeroDivisionError
                finally:
                    for thing in (live, core, core):
                        await thing.aclose()
                        seen.append(type(thing).__name__)
    assert len(seen) == 3
    assert raised.value.__context__ is None


async def test_closing_the_core_ends_its_live_view(core: Any) -> None:
    live = core.live()
    await anext(live)
    assert len(core.users) == 1
    await core.aclose()
    with pytest.raises(ClosedError, match="closed while its live view was running"):
        await anext(live)


async def test_a_camera_that_stops_by_itself(core: Any, control: Any) -> None:
    await control.drop_after(3)
    with pytest.raises(CoreError, match="the camera stopped by itself"):
        async for _ in core.live(exposure=1):
            pass
    assert core.users == set()


async def test_a_camera_that_does_not_start(core: Any, control: Any) -> None:
    await control.fail("startContinuousSequenceAcquisition", "no camera", 1)
    live = core.live(exposure=1)
    with pytest.raises(CoreError, match="no camera"):
        await anext(live)
    await live.aclose()
    assert await core.get_exposure() == 10


async def test_a_live_view_that_waits_for_its_turn_can_be_given_up(core: Any) -> None:
    async with core.live(exposure=1) as first:
        await anext(first)
        second = core.live()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(second)
        await second.aclose()
        assert (await anext(first)).pixels.shape == (512, 512)
    with pytest.raises(UnsupportedError, match="raw core"):
        async with core.live() as live:
            await live.change(lambda mmc: None)


async def test_notifications_that_the_server_does_not_pass_on(core: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"passes on no image_snapped; it passes on .*property_changed"):
        core.events("image_snapped")


# ---- worker threads --------------------------------------------------------------------------------------------------


async def test_blocking_views_of_java(bridge: aiomm.Bridge, core: Any) -> None:
    view = aiomm.blocking(bridge)

    def work() -> None:
        seen = view.get_core()
        seen.snap_image()
        assert seen.getExposure() == 10
        tagged = seen.getTaggedImage()
        assert tagged.pix.shape == (512 * 512,)  # fields are values, as in pycromanager
        assert tagged.tags["Width"] == 512
        names = view.construct_java_object("java.util.ArrayList")
        names.add("x")
        names.add(view.construct_java_object("java.util.ArrayList"))  # a view as an argument
        assert names.size() == 2
        assert [str(item)[:8] for item in names] == ["x", "blocking"]
        assert next(iter(names)) == "x"
        assert names == names
        assert names != tagged
        assert {names: 1}[names] == 1
        assert "add" in dir(names)
        assert "java.util.ArrayList" in repr(names)
        assert view.get_java_class("java.lang.Math").PI == pytest.approx(np.pi)
        with pytest.raises(AttributeError, match="add"):
            names.addd  # noqa: B018
        with pytest.raises(JavaException):
            names.get(99)
        with seen.live(exposure=2) as live:
            assert next(iter(live)).pixels.shape == (512, 512)
        assert not seen.is_sequence_running()

    await asyncio.to_thread(work)
    with pytest.raises(RuntimeError, match=r"would block the event loop"):
        aiomm.blocking(core).get_exposure()
    assert await core.get_exposure() == 10


async def test_views_go_into_lists_and_come_out_of_them(bridge: aiomm.Bridge) -> None:
    view = aiomm.blocking(bridge)

    def work() -> None:
        inner = view.construct_java_object("java.util.ArrayList")
        outer = view.construct_java_object("java.util.ArrayList", args=[[inner, "x"]])
        outer.addAll([inner, inner])
        outer.addAll((inner,))
        assert outer.size() == 5
        for items in (outer.to_list(), list(outer)):
            assert type(items[0]) is aiomm.BlockingJava
            assert items[0].size() == 0
        table = view.construct_java_object("java.util.HashMap")
        table.putAll({"a": inner, "b": [[inner], {inner}]})
        assert table.to_dict()["a"].size() == 0
        assert [type(one) for one in table.get("b").get(0).to_list()] == [aiomm.BlockingJava]
        numbers = [1, 2]
        numbers.append(numbers)  # type: ignore[arg-type]
        with pytest.raises(JavaValueError, match="contain themselves"):
            outer.addAll(numbers)

    await asyncio.to_thread(work)


async def test_javas_names_block_in_a_view_too(bridge: aiomm.Bridge) -> None:
    view = aiomm.blocking(bridge)

    def work() -> None:
        names = view.construct_java_object("java.util.ArrayList")
        assert names.java.add("x") is True
        assert names.java.size() == 1
        names.java.add(names)
        assert names.java.get(1).java.get(0) == "x"
        core = view.get_core()
        core.java.snapImage()
        assert core.java.getTaggedImage().java.pix.size > 0
        assert "add" in dir(names.java)

    await asyncio.to_thread(work)


async def test_a_blocked_thread_ends_when_the_bridge_closes(java_host: JavaHost, control: Any) -> None:
    async with aiomm.Bridge(port=java_host.port, timeout=1000) as bridge:
        view = aiomm.blocking(await bridge.get_core())
        await control.hold("waitForDevice")
        blocked = asyncio.ensure_future(asyncio.to_thread(view.wait_for_device, "XY"))
        await until(lambda: control.calls("waitForDevice"))
    with pytest.raises(ClosedError):
        await blocked
    with pytest.raises(ClosedError):
        await asyncio.to_thread(view.get_exposure)
    await control.java.release("waitForDevice")


def test_a_blocked_thread_ends_when_the_loop_ends(java_host: JavaHost) -> None:
    outcome: list[BaseException] = []
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        bridge = await aiomm.Bridge.open(port=java_host.port, timeout=5000)
        control = await bridge.construct_java_object("aiomm.host.Control", new_socket=True)
        await control.hold("waitForDevice")
        view = aiomm.blocking(await bridge.get_core())

        def work() -> None:
            try:
                view.wait_for_device("XY")
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        await until(lambda: control.calls("waitForDevice"))
        return bridge, control, view, thread

    bridge, control, view, thread = loop.run_until_complete(begin())
    thread.join(10)  # the loop stands still, and is not closed
    assert not thread.is_alive()
    assert isinstance(outcome[0], ClosedError)
    with pytest.raises(ClosedError, match="event loop"):
        view.get_exposure()

    async def finish() -> None:
        await control.java.release("waitForDevice")
        await control.restore()
        await bridge.aclose()

    loop.run_until_complete(finish())
    loop.close()
    with pytest.raises(ClosedError):
        view.get_exposure()


async def test_nothing_keeps_a_closed_bridge(java_host: JavaHost) -> None:
    async with aiomm.Bridge(port=java_host.port, timeout=5000) as bridge:
        core: Any = await bridge.get_core()
        await core.set_position(1)
        await core.get_loaded_devices()
        async with core.live(exposure=2) as live:
            await anext(live)
        with contextlib.suppress(CoreError):
            await core.halt()
        gone = weakref.ref(bridge)
    del bridge, core, live

    async def collected() -> bool:
        gc.collect()
        return gone() is None

    await until(collected)


_LEFT_OPEN = """
import asyncio, sys, aiomm
async def main():
    bridge = await aiomm.Bridge.open(port=int(sys.argv[1]))
    live = (await bridge.get_core()).live(exposure=5)
    await anext(live)
    return bridge, live
left = asyncio.run(main())
"""


async def test_the_camera_is_stopped_when_a_script_ends_with_everything_open(java_host: JavaHost, core: Any) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _LEFT_OPEN, str(java_host.port))
    assert await asyncio.wait_for(process.wait(), 30) == 0
    assert not await core.is_sequence_running()


async def test_a_first_change_waits_for_another_bridge_s_call_as_later_ones_do(java_host: JavaHost, bridge: aiomm.Bridge) -> None:
    """What is opened before it, unseen, has no shorter time than the call itself."""
    async with aiomm.Bridge(port=java_host.port, timeout=200) as mine:
        core = await mine.get_core()
        faults = await bridge.construct_java_object("aiomm.host.Faults")
        desk: Any = await bridge.construct_java_object("aiomm.host.Faults", new_socket=True)
        blocked = asyncio.create_task(faults.block())
        await until(desk.blocked)
        change = asyncio.create_task(core.set_exposure(7))
        made = asyncio.create_task(mine.construct_java_object("java.util.LinkedList"))
        done, _ = await asyncio.wait([change, made], timeout=0.6)
        await desk.release()
        await blocked
        assert not done
        await change
        assert await (await made).size() == 0
        assert await core.get_exposure() == 7


async def test_a_first_change_that_is_given_up_is_named(java_host: JavaHost, bridge: aiomm.Bridge) -> None:
    async with aiomm.Bridge(port=java_host.port, call_timeout=200) as mine:
        core = await mine.get_core()
        faults = await bridge.construct_java_object("aiomm.host.Faults")
        desk: Any = await bridge.construct_java_object("aiomm.host.Faults", new_socket=True)
        blocked = asyncio.create_task(faults.block())
        await until(desk.blocked)
        try:
            with pytest.raises(BridgeTimeoutError, match="setExposure: "):
                await core.set_exposure(7)
        finally:
            await desk.release()
            await blocked


async def test_an_image_from_before_the_binning_was_changed_has_no_colours(core: Any) -> None:
    """A grey image has four numbers for each pixel of one binned by two, and was taken for one in colour."""
    try:
        await core.snap_image()
        await core.set_property("Camera", "Binning", "2")
        for ask in (core.get_image, core.get_tagged_image):
            with pytest.raises(CoreError, match="binning or pixel type were changed after the image was taken"):
                await ask()
        assert (await core.snap()).shape == (256, 256)
        await core.set_property("Camera", "PixelType", "32bitRGB")
        assert (await core.snap()).shape == (256, 256, 3)
    finally:
        await core.set_property("Camera", "PixelType", "16bit")
        await core.set_property("Camera", "Binning", "1")
