"""One script, two homes: what a user writes for a microscope in this process works on one in Java, with the same values."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pymmcore
import pytest

import aiomm
from aiomm.core import TaggedImage
from aiomm.core.methods import METHODS
from aiomm.core.names import only_reads
from aiomm.errors import CoreError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost

HOMES = ["local", "java"]


@pytest.fixture(params=HOMES)
async def core(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A microscope with DemoCamera's devices: a LocalCore, and a core in Java."""
    if request.param == "local":
        async with aiomm.LocalCore("demo") as core:
            await core.set_shutter_open(False)
            yield core
    else:
        host: JavaHost = request.getfixturevalue("java_host")
        async with aiomm.Bridge(port=host.port) as bridge:
            control = await bridge.construct_java_object("aiomm.host.Control")
            await control.restore()
            yield await bridge.get_core()
            await control.restore()


# ---- types -----------------------------------------------------------------------------------------------------------

_ARGS: dict[str, tuple[Any, ...]] = {
    "label": ("Camera",),
    "camera_label": ("Camera",),
    "stage_label": ("Z",),
    "xy_stage_label": ("XY",),
    "label, prop_name": ("Camera", "Binning"),
    "device_label, prop_name": ("Camera", "Binning"),
    "group_name": ("Channel",),
    "config_group": ("Channel",),
    "group": ("Channel",),
    "group_name, config_name": ("Channel", "DAPI"),
    "config_group, config_name": ("Channel", "DAPI"),
    "group, config": ("Channel", "DAPI"),
    "state_device_label": ("Objective",),
    "resolution_id": ("Res10x",),
    "dev_type": (pymmcore.CameraDevice,),
    "cached": (True,),
    "channel_nr": (0,),
    "num_channel": (0,),
    "code": (1,),
}
_NEED_MORE = {
    "getPropertyLowerLimit", "getPropertyUpperLimit", "getNBeforeLastImageMD", "getNBeforeLastTaggedImage", "sleep", "noop", "log",
    "getLastImage", "getLastImageMD", "getLastTaggedImage", "logMessage", "isStageUsingCallbacks", "getExposureSequenceMaxLength",
    "isXYStageUsingCallbacks", "getXYStageSequenceMaxLength", "getStageSequenceMaxLength", "getPropertySequenceMaxLength",
}  # fmt: skip
# What this version of MMCoreJ, or the simulated core, has not.
_JAVA_HAS_NOT = {
    "getAllowedBinningValues", "getBinning", "getDeviceInitializationState", "getDeviceTimeoutMs", "hasDeviceTimeout",
    "getMMCoreVersionMajor", "getMMCoreVersionMinor", "getMMCoreVersionPatch", "getMMDeviceDeviceInterfaceVersion",
    "getMMDeviceModuleInterfaceVersion", "getPixelSizeOptimalZUm", "getPixelSizedxdz", "getPixelSizedydz", "getPrimaryLogLevel",
    "getStderrLogLevel",
}  # fmt: skip


def _questions() -> list[tuple[str, str, tuple[Any, ...], str]]:
    found = []
    for snake, (name, forms, result, _) in METHODS.items():
        if not only_reads(name) or name in _NEED_MORE:
            continue
        for form in forms:
            names = ", ".join(part.split(":")[0] for part in form.split(", ")) if form else ""
            if names in _ARGS or not names:
                found.append((snake, name, _ARGS.get(names, ()), result))
    return found


def conforms(value: Any, annotation: str) -> bool:
    """Whether a value is of the type that the typed face of the core declares."""
    if annotation.startswith("tuple["):
        parts = re.findall(r"tuple\[[^\]]*\]|[\w.]+", annotation[6:-1])
        if parts[-1] == "...":
            return type(value) is tuple and all(conforms(v, parts[0]) for v in value)
        return type(value) is tuple and len(value) == len(parts) and all(conforms(v, p) for v, p in zip(value, parts, strict=True))
    if annotation.startswith("dict["):
        return type(value) is dict and all(conforms(k, "tuple[str, str]") and type(v) is str for k, v in value.items())
    if annotation.startswith("NDArray"):
        return isinstance(value, np.ndarray)
    kinds = {"int": int, "float": float, "str": str, "bool": bool, "TaggedImage": TaggedImage, "None": type(None)}
    return type(value) is kinds[annotation]


async def test_every_question_is_answered_in_the_declared_type(core: Any) -> None:
    await core.snap_image()
    asked, missing = 0, set()
    for snake, name, args, result in _questions():
        try:
            value = await getattr(core, snake)(*args)
        except UnsupportedError as error:
            assert snake in str(error)
            assert "MMCore version" in str(error)
            missing.add(name)
        except CoreError as error:
            assert error.method == name, error  # a device that is not there, on either home
        else:
            assert conforms(value, result), f"{snake}{args} gave {value!r}, not {result}"
            asked += 1
    assert asked > 90
    assert missing == (set() if isinstance(core, aiomm.LocalCore) else _JAVA_HAS_NOT)


async def test_constants_are_pymmcores_numbers(core: Any) -> None:
    assert await core.get_device_type("Camera") == pymmcore.CameraDevice
    assert await core.get_device_type("XY") == pymmcore.XYStageDevice
    assert await core.get_property_type("Camera", "Binning") == pymmcore.Integer
    assert await core.get_loaded_devices_of_type(pymmcore.XYStageDevice) == ("XY",)
    assert "Camera" in await core.get_loaded_devices_of_type(np.int64(pymmcore.CameraDevice))
    assert await core.get_focus_direction("Z") == pymmcore.FocusDirectionUnknown
    await core.wait_for_device_type(pymmcore.CameraDevice)


# ---- a microscope is used --------------------------------------------------------------------------------------------


async def test_settings_and_positions(core: Any) -> None:
    await core.set_exposure(exp=np.float32(12))
    assert await core.get_exposure() == 12
    await core.set_exposure("Camera", 7)
    assert await core.get_exposure("Camera") == 7
    await core.set_position("Z", np.int64(3))
    await core.set_relative_position(0.5)
    assert await core.get_position() == 3.5
    await core.set_xy_position(10, y=-20.5)
    await core.wait_for_system()
    x, y = await core.get_xy_position()
    assert (x, y) == pytest.approx((10, -20.5), abs=0.02)
    assert await core.get_xy_stage_position("XY") == (x, y)
    assert await core.get_xy_stage_position() == (await core.get_x_position(), await core.get_y_position())
    await core.set_property("Camera", "Binning", np.int64(2))
    assert await core.get_property("Camera", "Binning") == "2"
    await core.set_property("Camera", "Binning", "1")
    assert await core.get_allowed_property_values("Camera", "Binning") == ("1", "2", "4", "8")
    await core.set_config("Channel", "FITC")
    await core.wait_for_config("Channel", "FITC")
    assert await core.get_current_config("Channel") == "FITC"
    assert {"DAPI", "FITC"} <= set(await core.get_available_configs("Channel"))
    assert await core.get_available_configs("no such group") == ()
    assert len(await core.get_pixel_size_affine()) == 6


async def test_configurations_are_dicts(core: Any) -> None:
    await core.set_system_state({("Camera", "Binning"): 2, ("Camera", "Gain"): np.int64(3)})
    state = await core.get_system_state()
    assert (state["Camera", "Binning"], state["Camera", "Gain"]) == ("2", "3")
    assert set(map(type, state.values())) == {str}
    data = await core.get_config_data("Channel", "DAPI")
    assert data
    for device, name in data:
        assert await core.has_property(device, name)
    await core.define_config("Odd", "one", "Camera", "Gain", "a:b=c <br> d")
    assert await core.get_config_data("Odd", "one") == {("Camera", "Gain"): "a:b=c <br> d"}
    await core.define_config("Odd", "two", "A:b", "P=q", "v")  # can be read in two ways
    assert await core.get_config_data("Odd", "two") == {("A:b", "P=q"): "v"}
    await core.delete_config_group("Odd")


@pytest.mark.parametrize(
    ("pixel_type", "dtype", "colours", "tag"),
    [("8bit", "u1", 0, "GRAY8"), ("16bit", "u2", 0, "GRAY16"), ("32bitRGB", "u1", 3, "RGB32")],
)
async def test_images(core: Any, pixel_type: str, dtype: str, colours: int, tag: str) -> None:
    await core.set_property("Camera", "PixelType", pixel_type)
    await core.set_roi(x=10, y=20, x_size=100, y_size=50)
    assert await core.get_roi() == (10, 20, 100, 50)
    shape = (50, 100, 3) if colours else (50, 100)
    image = await core.snap()
    assert (image.shape, image.dtype, image.flags.c_contiguous, image.flags.writeable) == (shape, np.dtype(dtype), True, True)
    assert np.array_equal(await core.get_image(), image)
    tagged = await core.get_tagged_image()
    assert isinstance(tagged, TaggedImage)
    assert np.array_equal(tagged.pix, image)
    wanted = {"Camera": "Camera", "Width": 100, "Height": 50, "PixelType": tag, "ROI": "10-20-100-50", "ROI-X-start": 10, "ROI-Y-start": 20}
    assert {key: tagged.tags[key] for key in wanted} == wanted
    numbers = {"BitDepth": int, "PixelSizeUm": float, "PixelSizeAffine": str, "Binning": str, "Camera-Gain": str, "Exposure-ms": float}
    assert {key: type(tagged.tags[key]) for key in numbers} == numbers
    await core.clear_roi()
    assert await core.get_roi("Camera") == (0, 0, 512, 512)


async def test_a_camera_sequence(core: Any) -> None:
    with pytest.raises(CoreError, match=r"popNextTaggedImage\(\): Circular buffer is empty"):
        await core.pop_next_tagged_image()
    await core.set_exposure(2)
    await core.start_sequence_acquisition(4, 0, True)
    while await core.is_sequence_running():
        await asyncio.sleep(0.01)
    assert await core.get_remaining_image_count() == 4
    last = await core.get_last_tagged_image()
    assert (last.pix.shape, last.pix.dtype) == ((512, 512), np.uint16)
    assert isinstance(last.tags["ElapsedTime-ms"], float)
    assert (last.tags["Width"], last.tags["Camera"]) == (512, "Camera")
    assert np.array_equal(await core.get_last_image(), last.pix)
    assert np.array_equal((await core.get_last_image_md()).pix, last.pix)
    first = await core.get_n_before_last_tagged_image(3)
    assert (await core.get_n_before_last_image_md(3)).tags["ImageNumber"] == first.tags["ImageNumber"]
    popped = [(await core.pop_next_tagged_image()).tags["ImageNumber"] for _ in range(2)]
    assert popped == [first.tags["ImageNumber"], first.tags["ImageNumber"] + 1]
    assert (await core.pop_next_image()).shape == (512, 512)
    assert np.array_equal((await core.pop_next_image_md()).pix, last.pix)


async def test_a_running_sequence_is_not_spoilt(core: Any) -> None:
    await core.start_continuous_sequence_acquisition(0)
    with pytest.raises(CoreError, match="a camera sequence is running") as caught:
        await core.set_exposure(20)
    assert caught.value.device == "Camera"
    with pytest.raises(CoreError, match="a camera sequence is running"):
        await core.set_roi("Camera", 0, 0, 64, 64)
    await core.stop_sequence_acquisition()
    await core.set_exposure(20)


# ---- errors ----------------------------------------------------------------------------------------------------------


async def test_errors_say_method_device_and_mmcores_text(core: Any) -> None:
    with pytest.raises(CoreError, match="nobody") as caught:
        await core.get_position("nobody")
    assert (caught.value.method, caught.value.arguments, caught.value.device) == ("getPosition", ("nobody",), "nobody")
    assert caught.value.__cause__ is not None
    with pytest.raises(CoreError) as caught:
        await core.set_property("Camera", "Binning", 3)
    assert (caught.value.method, caught.value.device) == ("setProperty", "Camera")


@pytest.mark.parametrize("args", [(), ("x",), (1.0, 2.0, 3.0, 4.0), (None,)])
async def test_wrong_arguments_name_the_forms(core: Any, args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"set_xy_position\(x: float, y: float\) or set_xy_position\(xy_stage_label: str"):
        await core.set_xy_position(*args)
    with pytest.raises(TypeError, match=r"set_roi\(x: int, y: int, x_size: int, y_size: int\)"):
        await core.set_roi(x=1, width=3)


async def test_register_callback_is_refused(core: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"core\.events\(\)"):
        await core.register_callback(None)


# ---- live view, notifications, halt ----------------------------------------------------------------------------------


async def test_live_view(core: Any) -> None:
    await core.set_exposure(30)
    seen = []
    async for frame in core.live(exposure=5):
        assert (frame.pixels.shape, frame.pixels.dtype) == ((512, 512), np.uint16)
        seen.append(frame.tags["ImageNumber"])
        if len(seen) == 3:
            break
    while core.users:  # the loop above was left without waiting for it
        await asyncio.sleep(0.01)
    assert seen == sorted(set(seen))
    assert not await core.is_sequence_running()
    assert await core.get_exposure() == 30


async def test_live_view_counts_what_it_does_not_give(core: Any) -> None:
    async with core.live(exposure=2) as live:
        last = await anext(live)
        dropped = last.dropped
        while dropped < 5:
            await asyncio.sleep(0.1)
            frame = await anext(live)
            assert frame.tags["ImageNumber"] - last.tags["ImageNumber"] == frame.dropped + 1
            last, dropped = frame, dropped + frame.dropped
            assert live.dropped == dropped
    assert not await core.is_sequence_running()


async def test_two_live_views_take_turns(core: Any) -> None:
    async with core.live(exposure=2) as first:
        await anext(first)
        async with core.live(exposure=3) as second:
            waiting = asyncio.ensure_future(anext(second))
            await anext(first)
            assert not waiting.done()
            await first.aclose()
            assert (await waiting).pixels.shape == (512, 512)
    with pytest.raises(ValueError, match="above 0"):
        core.live(exposure=0)


async def test_notifications(core: Any) -> None:
    async with core.events(["stage_position_changed", "exposure_changed"]) as changes:
        await core.set_position(12.5)
        change = await asyncio.wait_for(anext(changes), 10)
        while change.values != {"position": 12.5}:
            change = await asyncio.wait_for(anext(changes), 10)
        assert (change.kind, change.device) == ("stage_position_changed", "Z")
        assert isinstance(change, aiomm.CoreNotification)
    with pytest.raises(ValueError, match="of kind 'exposure_changd'; did you mean 'exposure_changed'"):
        core.events(["property_changed", "exposure_changd"])
    with pytest.raises(ValueError, match="there are no core notifications of kind 'moved'"):
        core.events("moved")


async def test_halt_stops_everything(core: Any) -> None:
    live = core.live(exposure=5)
    await anext(live)
    await core.set_shutter_open(True)
    await core.halt()
    assert not await core.is_sequence_running()
    assert not await core.get_shutter_open()
    with pytest.raises(CoreError, match=r"live view was ended by halt\(\)"):
        await anext(live)


# ---- worker threads --------------------------------------------------------------------------------------------------


async def test_the_same_methods_block_in_a_worker_thread(core: Any) -> None:
    view = aiomm.blocking(core)

    def work() -> None:
        view.set_exposure(3)
        view.set_roi(x=0, y=0, x_size=64, y_size=32)
        assert view.snap().shape == (32, 64)
        view.snap_image()
        tagged = view.get_tagged_image()
        assert isinstance(tagged, TaggedImage)
        assert tagged.tags["Width"] == 64
        view.wait_for_device("Z")
        assert view.get_loaded_devices()[0] == "Camera" or "Camera" in view.get_loaded_devices()
        with pytest.raises(CoreError, match="nobody"):
            view.wait_for_device("nobody")
        with pytest.raises(TypeError, match="set_exposure"):
            view.set_exposure()

    await asyncio.to_thread(work)
    assert await core.get_exposure() == 3
    with pytest.raises(RuntimeError, match=r"would block the event loop.*await"):
        view.snap()


# ---- wrong arguments -------------------------------------------------------------------------------------------------

_NAN = float("nan")


@pytest.mark.parametrize(
    ("method", "args", "kind", "words"),
    [
        ("set_exposure", (True,), TypeError, "exp is True: it must be a number"),
        ("set_exposure", (_NAN,), ValueError, "exp is nan: it must be a finite number"),
        ("set_exposure", (10**400,), ValueError, "it must be a finite number"),
        ("set_exposure", ("Camera", "5"), TypeError, "it must be a number"),
        ("set_xy_position", (_NAN, 1.0), ValueError, "x is nan"),
        ("set_state", ("Objective", True), TypeError, "state is True: it must be a whole number"),
        ("set_state", ("Objective", 1.5), TypeError, "state is 1.5: it must be a whole number"),
        ("set_roi", (0, 0, True, 64), TypeError, "it must be a whole number"),
        ("set_timeout_ms", (True,), TypeError, "it must be a whole number"),
        ("get_loaded_devices_of_type", ("5",), TypeError, "dev_type is '5': it must be a whole number"),
        ("device_type_busy", (1.5,), TypeError, "dev_type is 1.5: it must be a whole number"),
        ("load_property_sequence", ("Camera", "Gain", [1]), TypeError, r"event_sequence is \[1\]: it must be a list of texts"),
        ("load_property_sequence", ("Camera", "Gain", b"1"), TypeError, "it must be a list of texts"),
        ("load_exposure_sequence", ("Camera", [1.0, _NAN]), TypeError, "it must be a list of finite numbers"),
        ("get_image", (True,), TypeError, "num_channel is True: it must be a whole number"),
        ("get_property", ("Camera", None), TypeError, "prop_name is None: it must be text"),
        ("log", (None, 1), TypeError, "msg is None: it must be text"),  # MMCore ends the process
        ("log_message", (None,), TypeError, "msg is None: it must be text"),
    ],
)
async def test_a_wrong_argument_is_refused_alike(core: Any, method: str, args: tuple[Any, ...], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"{method}: .*{words}"):
        await getattr(core, method)(*args)


@pytest.mark.parametrize("method", ["get_image", "get_tagged_image"])
async def test_a_channel_that_the_camera_does_not_have(core: Any, method: str) -> None:
    await core.snap_image()
    for channel in (1, 3, -1):
        with pytest.raises(CoreError, match=f"no channel {channel}: the camera has 1") as caught:
            await getattr(core, method)(channel)
        assert caught.value.arguments == (channel,)
    await getattr(core, method)(0)


async def test_numbers_of_numpy_are_welcome(core: Any) -> None:
    for number in (np.float32(2.5), np.array(2.5), np.int64(3), 4):
        await core.set_exposure(number)
        assert await core.get_exposure() == float(number)
    await core.set_state("Objective", np.int32(1))
    assert await core.get_state("Objective") == 1


async def test_patterns_for_what_is_no_slm() -> None:
    async with aiomm.LocalCore("demo") as local:
        with pytest.raises(CoreError, match='"Camera" is no SLM'):  # MMCore ends the process
            await local.load_slm_sequence("Camera", [])
