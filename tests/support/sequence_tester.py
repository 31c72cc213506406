"""SequenceTester: a simulated microscope whose images carry the settings that were in force when they were taken.

Each image is a msgpack record of the state of every device on the hub, of how it was when the camera's last image was
taken (or the first start), and of every change in between. So a saved image proves what the hardware did.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mm_test_adapters
import msgpack
import pymmcore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

HUB = "THub"
CAMERA = "TCamera-0"
CAMERA_2 = "TCamera-1"
Z = "TZStage-0"
Z_2 = "TZStage-1"
XY = "TXYStage-0"
SWITCHER = "TSwitcher-0"
SWITCHER_2 = "TSwitcher-1"
SHUTTER = "TShutter-0"
UM_PER_STEP = 0.1
"""The XY stage counts in steps."""

GROUP = "Channel"
CHANNELS = {"Dark": "0", "DAPI": "1", "FITC": "2", "Cy5": "3", "Cy7": "4", "TxRed": "5"}
"""Presets of the group ``Channel``: each a position of the first switcher."""
PAIR_GROUP = "Light"
PAIRS = {"Off": ("0", "0"), "Low": ("6", "3"), "High": ("7", "3"), "Other": ("7", "9")}
"""Presets of the group ``Light``: each sets both switchers. Low and High differ in one of them."""
OTHER_GROUP = "Filter"
"""A group on the second switcher whose presets bear the names of those of ``Channel``."""


@dataclass(frozen=True)
class Settings:
    """What one image says about the microscope while it was exposed."""

    camera: str
    z: float | None
    xy: tuple[float, float] | None
    switcher: int | None
    switcher_2: int | None
    shutter_open: bool | None
    exposure: float
    serial: int
    """Images of this camera before this one, since it was initialised."""
    in_sequence: bool
    frame: int
    """Its number in the sequence, from 0."""
    packet: int
    """Images of all cameras before this one."""
    state: dict[tuple[str, str], Any]
    start_state: dict[tuple[str, str], Any]
    history: tuple[tuple[str, str, Any], ...] = field(repr=False)
    """(device, key, value) of every change since the image before, in order; value None: something happened, once."""

    def changes(self, device: str, key: str) -> list[Any]:
        """The values which one setting took since the image before."""
        return [value for d, k, value in self.history if (d, k) == (device, key)]


def _unpacked(record: bytes) -> Any:
    """The record of an image: the adapter writes msgpack, the simulated core of the JVM host the same as JSON."""
    if record[:1] == b"[":
        return json.loads(record.rstrip(b"\0"))
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(record)
    return unpacker.unpack()


def decode(image: np.ndarray) -> Settings:
    """Read an image of the SequenceTester camera, (y, x) uint8, in the mode MachineReadable."""
    packet, camera, _, _, start, now, history = _unpacked(image.tobytes())
    name, serial, in_sequence, _, frame = camera
    state = {(device, key): value for (device, key), (_, value) in now}
    x, y = state.get((XY, "XPositionSteps")), state.get((XY, "YPositionSteps"))
    return Settings(
        camera=name,
        z=state.get((Z, "ZPositionUm")),
        xy=None if x is None or y is None else (round(x * UM_PER_STEP, 6), round(y * UM_PER_STEP, 6)),
        switcher=state.get((SWITCHER, "Position")),
        switcher_2=state.get((SWITCHER_2, "Position")),
        shutter_open=state.get((SHUTTER, "ShutterState")),
        exposure=state[name, "Exposure"],
        serial=serial,
        in_sequence=in_sequence,
        frame=frame,
        packet=packet,
        state=state,
        start_state={(device, key): value for (device, key), (_, value) in start},
        history=tuple((device, key, value) for (device, key), (_, value), _ in history),
    )


def load_sequence_tester(
    mmc: pymmcore.CMMCore,
    *,
    cameras: int = 1,
    sequenceable: Sequence[str] = (Z, SWITCHER, SWITCHER_2),
    max_length: int = 5,
    size: int = 256,
) -> None:
    """Load the hub and its devices into ``mmc`` and choose them as Core's camera, focus, XY stage and shutter.

    The devices in ``sequenceable`` step on the start of each exposure of the first camera, up to ``max_length`` values.
    With two cameras the Core camera is a Utilities ``Multi Camera`` over both.
    """
    mmc.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    mmc.loadDevice(HUB, "SequenceTester", HUB)
    mmc.initializeDevice(HUB)
    names = [CAMERA, CAMERA_2][:cameras]
    for label in (*names, Z, Z_2, XY, SWITCHER, SWITCHER_2, SHUTTER):
        mmc.loadDevice(label, "SequenceTester", label)
        mmc.setParentLabel(label, HUB)
        if label in names:
            mmc.setProperty(label, "ImageMode", "MachineReadable")
            mmc.setProperty(label, "ImageWidth", size)
            mmc.setProperty(label, "ImageHeight", size)
        mmc.initializeDevice(label)
    for label in sequenceable:
        mmc.setProperty(label, "TriggerSourceDevice", CAMERA)
        mmc.setProperty(label, "TriggerSourcePort", "ExposureStartEdge")
        mmc.setProperty(label, "TriggerSequenceMaxLength", max_length)
    for name in names:
        mmc.setExposure(name, 1.0)
    if cameras > 1:
        combine_cameras(mmc, names)
    else:
        mmc.setCameraDevice(CAMERA)
    mmc.setCircularBufferMemoryFootprint(32)
    mmc.setFocusDevice(Z)
    mmc.setXYStageDevice(XY)
    mmc.setShutterDevice(SHUTTER)
    mmc.setAutoShutter(True)
    for preset, position in CHANNELS.items():
        mmc.defineConfig(GROUP, preset, SWITCHER, "State", position)
        mmc.defineConfig(OTHER_GROUP, preset, SWITCHER_2, "State", str(int(position) + 1))
    for preset, (first, second) in PAIRS.items():
        mmc.defineConfig(PAIR_GROUP, preset, SWITCHER, "State", first)
        mmc.defineConfig(PAIR_GROUP, preset, SWITCHER_2, "State", second)


def combine_cameras(mmc: pymmcore.CMMCore, cameras: Sequence[str], label: str = "Multi") -> None:
    """Make the Core camera a Utilities ``Multi Camera`` over cameras that are loaded already."""
    mmc.loadDevice(label, "Utilities", "Multi Camera")
    mmc.initializeDevice(label)
    for number, camera in enumerate(cameras, 1):
        mmc.setProperty(label, f"Physical Camera {number}", camera)
    mmc.setCameraDevice(label)


def load_two_demo_cameras(mmc: pymmcore.CMMCore, *, size: int = 64) -> tuple[str, str]:
    """Load DemoCamera twice (``CamA`` shows noise, ``CamB`` is brighter), under a ``Multi Camera``, and a z stage; the cameras' labels."""
    mmc.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    mmc.loadDevice("DHub", "DemoCamera", "DHub")
    mmc.initializeDevice("DHub")
    names = ("CamA", "CamB")
    for name in names:
        mmc.loadDevice(name, "DemoCamera", "DCam")
        mmc.setParentLabel(name, "DHub")
        mmc.initializeDevice(name)
        for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
            mmc.setProperty(name, key, size)
        mmc.setProperty(name, "PixelType", "16bit")
        mmc.setProperty(name, "Exposure", 1)
    mmc.loadDevice("Z", "DemoCamera", "DStage")
    mmc.setParentLabel("Z", "DHub")
    mmc.initializeDevice("Z")
    mmc.setFocusDevice("Z")
    mmc.setCircularBufferMemoryFootprint(32)
    combine_cameras(mmc, names)
    return names


@contextlib.contextmanager
def sequence_tester(mmc: pymmcore.CMMCore | None = None, **options: Any) -> Iterator[pymmcore.CMMCore]:
    """Build a core with the SequenceTester, and unload it at the end: its devices crash the process at exit otherwise."""
    core = pymmcore.CMMCore() if mmc is None else mmc
    try:
        load_sequence_tester(core, **options)
        yield core
    finally:
        core.unloadAllDevices()
