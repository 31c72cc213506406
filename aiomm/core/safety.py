"""Hardware left as it was found: remember what an acquisition may change, and put it back whatever happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pymmcore

from aiomm.core.translate import core_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(slots=True, frozen=True)
class Found:
    """The core as it was found.

    Attributes
    ----------
    shutter_open : dict
        Of each shutter device, whether it was open; one that could not be asked is left out.
    """

    auto_shutter: bool
    shutter: str
    shutter_open: dict[str, bool] = field(default_factory=dict)
    camera: str = ""
    focus: str = ""
    xy_stage: str = ""
    slm: str = ""

    @property
    def roles(self) -> dict[str, str]:
        """The core's devices, the shutter aside, by their names in MMCore's methods."""
        return {"Camera": self.camera, "Focus": self.focus, "XYStage": self.xy_stage, "SLM": self.slm}


@dataclass(slots=True)
class Sequences:
    """Hardware sequences that are loaded or running; whoever starts one adds it, `stop_sequences` stops it."""

    stages: set[str] = field(default_factory=set)
    xy_stages: set[str] = field(default_factory=set)
    exposures: set[str] = field(default_factory=set)
    slms: set[str] = field(default_factory=set)
    properties: set[tuple[str, str]] = field(default_factory=set)


def remember(mmc: Any) -> Found:
    """Note autoshutter, shutters and the core's devices; on the hardware thread, before anything is changed."""
    shutters: dict[str, bool] = {}
    for label in mmc.getLoadedDevicesOfType(pymmcore.ShutterDevice):
        try:
            shutters[label] = bool(mmc.getShutterOpen(label))
        except Exception:  # a shutter that cannot be asked (an empty multi-shutter) cannot be put back
            continue
    return Found(
        auto_shutter=bool(mmc.getAutoShutter()),
        shutter=mmc.getShutterDevice(),
        shutter_open=shutters,
        camera=mmc.getCameraDevice(),
        focus=mmc.getFocusDevice(),
        xy_stage=mmc.getXYStageDevice(),
        slm=mmc.getSLMDevice(),
    )


def restore(mmc: Any, found: Found, sequences: Sequences | None = None) -> list[Exception]:
    """Stop what runs and put back what `remember` noted; on the hardware thread.

    Each step is tried although others fail: cameras are stopped first, because nothing else can be changed while a
    camera sequence runs, then stage, property, exposure and SLM sequences, then shutter and autoshutter.

    Returns
    -------
    list of exceptions
        What could not be done, each a `CoreError`; empty if all is as it was.
    """
    errors = stop_cameras(mmc)
    errors += stop_sequences(mmc, sequences)
    steps: list[tuple[str, tuple[Any, ...]]] = []
    # Closing comes before anything else of the light path. A shutter follows the camera again only when autoshutter is
    # on, and setting the core's shutter while autoshutter is on would close it.
    if _device(mmc, "getShutterDevice") != found.shutter:
        steps += [("setAutoShutter", (False,)), ("setShutterDevice", (found.shutter,))]
    for label, was_open in found.shutter_open.items():
        steps.append(("setShutterOpen", (label, was_open)))
    for role, label in found.roles.items():
        if _device(mmc, f"get{role}Device") != label:
            steps.append((f"set{role}Device", (label,)))
    steps.append(("setAutoShutter", (found.auto_shutter,)))
    for method, args in steps:
        if method == "setShutterOpen" and _is_open(mmc, args[0]) is args[1]:
            continue
        errors += attempt(mmc, method, *args)
    return errors


def stop_cameras(mmc: Any) -> list[Exception]:
    """Stop each camera whose sequence runs."""
    errors: list[Exception] = []
    try:
        cameras = mmc.getLoadedDevicesOfType(pymmcore.CameraDevice)
    except Exception as error:
        return [core_exception(error, "getLoadedDevicesOfType", (pymmcore.CameraDevice,))]
    for label in cameras:
        try:
            running = mmc.isSequenceRunning(label)
        except Exception:
            running = True  # it does not say: stopping does no harm
        if running:
            errors += attempt(mmc, "stopSequenceAcquisition", label)
    return errors


def stop_sequences(mmc: Any, sequences: Sequences | None) -> list[Exception]:
    """Stop the hardware sequences in ``sequences``; those that were stopped are taken out of it."""
    errors: list[Exception] = []
    if sequences is None:
        return errors
    kinds: Iterable[tuple[str, set[Any]]] = (
        ("stopStageSequence", sequences.stages),
        ("stopXYStageSequence", sequences.xy_stages),
        ("stopPropertySequence", sequences.properties),
        ("stopExposureSequence", sequences.exposures),
        ("stopSLMSequence", sequences.slms),
    )
    for method, running in kinds:
        for what in sorted(running):
            failed = attempt(mmc, method, *(what if isinstance(what, tuple) else (what,)))
            errors += failed
            if not failed:
                running.discard(what)
    return errors


def attempt(mmc: Any, method: str, *args: Any) -> list[Exception]:
    """Make one call; give its error as a list of one, or an empty list."""
    fn: Callable[..., Any] = getattr(mmc, method)
    try:
        fn(*args)
    except Exception as error:
        return [core_exception(error, method, args)]
    return []


def _device(mmc: Any, method: str) -> str | None:
    try:
        label: str = getattr(mmc, method)()
    except Exception:
        return None
    return label


def _is_open(mmc: Any, label: str) -> bool | None:
    try:
        return bool(mmc.getShutterOpen(label))
    except Exception:
        return None
