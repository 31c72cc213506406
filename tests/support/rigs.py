"""Rigs for tests of acquisitions: simulated devices, with every call to MMCore recorded; `tests.support.homes` has them on both homes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mm_test_adapters

import aiomm
from tests.support import sequence_tester as st
from tests.support.recording import RecordingCore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Event = dict[str, Any]
SHUTTER = "White Light Shutter"


@dataclass
class Rig:
    """A core and what it is made of."""

    mmc: Any
    """A RecordingCore or a JavaMicroscope."""
    core: Any
    directory: Path
    where: dict[str, Any] = field(default_factory=dict)
    """What tells an acquisition where its microscope is."""
    java: bool = False

    def __post_init__(self) -> None:
        self.where = self.where or {"core": self.core}

    def exposures(self) -> list[tuple[int, float]]:
        """What the camera was told, in order: how many images, and when (s, time.monotonic())."""
        calls = self.mmc.calls_of("snapImage", "startSequenceAcquisition")
        return [(1 if call.name == "snapImage" else int(call.args[-3]), call.start) for call in calls]

    def acquisition(self, **options: Any) -> aiomm.Acquisition:
        """Save NDTiff in the test's own folder."""
        return aiomm.Acquisition(str(self.directory), "rig", show_display=False, **{**self.where, **options})

    def memory(self, **options: Any) -> aiomm.Acquisition:
        """Keep images in memory."""
        return aiomm.Acquisition(show_display=False, **{**self.where, **options})


def load_demo(mmc: Any, size: int = 64) -> None:
    """Load the DemoCamera configuration, with small, quick images."""
    mmc.recording = False
    mmc.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    mmc.loadSystemConfiguration(f"{mm_test_adapters.device_adapter_path()}/MMConfig_demo.cfg")
    for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
        mmc.setProperty("Camera", key, size)
    mmc.setProperty("Camera", "PixelType", "16bit")
    for shutter in (SHUTTER, "LED Shutter"):
        mmc.setShutterOpen(shutter, False)  # the simulated ones do not know at first
    mmc.setExposure(1)
    mmc.setCircularBufferMemoryFootprint(4)
    mmc.recording = True


@contextlib.asynccontextmanager
async def demo_rig(directory: Path, **options: Any) -> AsyncIterator[Rig]:
    """Build the DemoCamera."""
    mmc = RecordingCore()
    try:
        load_demo(mmc, **options)
        async with aiomm.LocalCore(mmcore=mmc) as core:
            yield Rig(mmc, core, directory)
    finally:
        mmc.heal()
        mmc.unloadAllDevices()


@contextlib.asynccontextmanager
async def sequence_rig(directory: Path, **options: Any) -> AsyncIterator[Rig]:
    """Build the SequenceTester, whose images say what was in force; see `load_sequence_tester` for the options."""
    mmc = RecordingCore()
    with st.sequence_tester(mmc, **options):
        async with aiomm.LocalCore(mmcore=mmc) as core:
            try:
                yield Rig(mmc, core, directory)
            finally:
                mmc.heal()


def numbered(*settings: Event) -> list[Event]:
    """Events with the axis ``n``."""
    return [{"axes": {"n": i}, **each} for i, each in enumerate(settings)]


def snaps(count: int, **more: Any) -> list[Event]:
    """Events that no device of the demo can merge: x changes."""
    return [{"axes": {"n": i}, "x": float(i), "y": 0.0, **more} for i in range(count)]


def frames(count: int, **more: Any) -> list[Event]:
    """Events that become one camera sequence."""
    return [{"axes": {"n": i}, **more} for i in range(count)]
