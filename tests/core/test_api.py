from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pymmcore
import pytest

import aiomm
from aiomm.core import Core
from aiomm.core.api import bind, core_method, method_names
from aiomm.core.names import only_reads, public_methods, snake_case
from aiomm.errors import UnsupportedError

ROOT = Path(__file__).resolve().parents[2]


def test_the_stub_is_what_the_installed_pymmcore_says() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "make_core_stub.py", "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_method_of_mmcore_is_there_and_documented() -> None:
    for name in public_methods(dir(pymmcore.CMMCore)):
        method = getattr(Core, snake_case(name))
        assert inspect.iscoroutinefunction(method)
        assert len(method.__doc__) > 20
        assert core_method(snake_case(name)) == name


async def test_the_signatures_of_methods(demo_core: aiomm.LocalCore) -> None:
    assert str(inspect.signature(demo_core.set_auto_shutter)) == "(state: 'bool') -> 'None'"
    assert str(inspect.signature(aiomm.blocking(demo_core).set_auto_shutter)) == "(state: 'bool') -> 'None'"
    assert str(inspect.signature(demo_core.get_last_tagged_image)) == "(camera_channel_index: 'int | None' = None) -> 'TaggedImage'"
    assert list(inspect.signature(Core.get_property).parameters) == ["self", "label", "prop_name"]
    # of several forms, where the longest tells of all
    assert str(inspect.signature(demo_core.get_exposure)).replace("Ellipsis", "...") == "(label: 'str' = ...) -> 'float'"
    assert list(inspect.signature(demo_core.set_exposure).parameters) == ["args", "kwargs"]  # it has two
    assert list(inspect.signature(demo_core.delete_config).parameters) == ["args", "kwargs"]  # two or four arguments, not three
    for name in method_names():
        method = getattr(Core, name)
        inspect.signature(method)
        assert method is getattr(Core, name)


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        ("setXYPosition", "set_xy_position"),
        ("getROI", "get_roi"),
        ("getSLMWidth", "get_slm_width"),
        ("getNBeforeLastImageMD", "get_n_before_last_image_md"),
        ("getAPIVersionInfo", "get_api_version_info"),
        ("stop", "stop"),
    ],
)
def test_names_are_those_of_pycromanager(camel: str, snake: str) -> None:
    assert snake_case(camel) == snake


def test_which_methods_change_nothing() -> None:
    reads = {"getPosition", "isSequenceRunning", "deviceBusy", "systemBusy", "hasProperty", "getLastImageMD", "waitForDevice", "getImage"}
    changes = {"popNextImage", "popNextImageMD", "popNextTaggedImage", "setPosition", "snapImage", "snap", "clearCircularBuffer"}
    changes |= {"getSerialPortAnswer", "readFromSerialPort", "detectDevice", "getInstalledDevices", "updateSystemStateCache", "stop"}
    assert {m for m in reads | changes if only_reads(m)} == reads
    for name in public_methods(dir(pymmcore.CMMCore)):
        if name.startswith(
            ("set", "start", "stop", "load", "unload", "pop", "clear", "snap", "reset", "enable", "delete", "define", "rename")
        ):
            assert not only_reads(name), name


async def test_completion_lists_the_methods(demo_core: aiomm.LocalCore) -> None:
    names = dir(demo_core)
    assert {"set_exposure", "snap", "get_tagged_image", "live", "halt", "run"} <= set(names)
    assert "setExposure" not in names


async def test_camel_case_and_misspelt_names_suggest(demo_core: aiomm.LocalCore) -> None:
    with pytest.raises(AttributeError, match="it is 'set_xy_position'"):
        demo_core.setXYPosition  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean 'set_exposure'"):
        demo_core.set_exposre  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'qqqqqq'$"):
        demo_core.qqqqqq  # noqa: B018


def test_a_misspelt_name_is_suggested_once() -> None:
    script = "import aiomm; aiomm.LocalCore('demo').set_exposre"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.lower().count("did you mean") == 1, done.stderr


async def test_keyword_arguments(demo_core: aiomm.LocalCore) -> None:
    await demo_core.set_roi(x=10, y=20, x_size=100, y_size=50)
    assert await demo_core.get_roi() == (10, 20, 100, 50)
    await demo_core.set_roi("Camera", 0, 0, x_size=64, y_size=32)
    assert await demo_core.get_roi("Camera") == (0, 0, 64, 32)
    await demo_core.set_exposure(exp=7)
    assert await demo_core.get_exposure() == 7
    with pytest.raises(TypeError, match=r"set_roi\(x: int, y: int, x_size: int, y_size: int\)"):
        await demo_core.set_roi(x=1, width=3)  # type: ignore[call-overload]
    assert bind("get_tagged_image", (), {}) == (0,)


@pytest.mark.parametrize("args", [(), ("x",), (1.0, 2.0, 3.0, 4.0), (None,)])
async def test_wrong_arguments_name_the_forms_in_snake_case(demo_core: aiomm.LocalCore, args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"set_xy_position\(x: float, y: float\) or set_xy_position\(xy_stage_label: str"):
        await demo_core.set_xy_position(*args)


async def test_numpy_scalars_arrays_and_paths_are_welcome(demo_core: aiomm.LocalCore, tmp_path: Path) -> None:
    await demo_core.set_exposure(np.float32(12))
    assert await demo_core.get_exposure() == 12
    await demo_core.set_position("Z", np.int64(3))
    assert await demo_core.get_position() == 3
    await demo_core.set_property("Camera", "Binning", np.int64(2))
    assert await demo_core.get_property("Camera", "Binning") == "2"
    await demo_core.save_system_configuration(tmp_path / "saved.cfg")
    assert "Camera" in (tmp_path / "saved.cfg").read_text()
    await demo_core.load_system_configuration(tmp_path / "saved.cfg")
    assert await demo_core.get_camera_device() == "Camera"


async def test_results_are_plain(demo_core: aiomm.LocalCore) -> None:
    settings = await demo_core.get_config_data("Channel", "DAPI")
    assert settings[("Emission", "Label")] == "Chroma-HQ620"
    await demo_core.set_system_state({("Camera", "Binning"): 2, ("Z", "Position"): 5.0})
    assert (await demo_core.get_system_state())[("Camera", "Binning")] == "2"
    assert await demo_core.get_position() == 5
    x, y = await demo_core.get_xy_position()
    assert isinstance(x, float)
    assert await demo_core.get_xy_stage_position() == (x, y)
    assert await demo_core.get_xy_stage_position("XY") == (x, y)
    assert await demo_core.get_multi_roi() == ()
    assert await demo_core.get_pixel_size_affine_as_string() == "2.0_0.0_0.0_0.0_2.0_0.0"
    assert isinstance(await demo_core.get_loaded_devices(), tuple)


async def test_register_callback_is_refused_with_the_reason(demo_core: aiomm.LocalCore) -> None:
    with pytest.raises(UnsupportedError, match=r"core\.events\(\)"):
        await demo_core.register_callback(None)
