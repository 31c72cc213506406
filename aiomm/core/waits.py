"""Waiting for devices in short steps: faster than MMCore's own 10 ms, others may use the thread, and it can be cancelled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiomm.core.thread import Routine, Signal, Wait
from aiomm.core.translate import core_error
from aiomm.errors import CoreError

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.0005  # s


def devices_of(mmc: Any, method: str, args: tuple[Any, ...]) -> list[str]:
    """Name the devices that an MMCore ``waitFor...`` call waits for."""
    if method == "waitForDevice":
        (label,) = args
        return [label]
    if method == "waitForSystem":
        devices = mmc.getLoadedDevices(*args)
    elif method == "waitForDeviceType":
        devices = mmc.getLoadedDevicesOfType(*args)
    else:
        conf = mmc.getConfigData(*args)
        devices = dict.fromkeys(conf.getSetting(k).getDeviceLabel() for k in range(conf.size()))
    return [label for label in devices if label != "Core"]


def waiting(mmc: Any, method: str, args: tuple[Any, ...], cancelled: Signal) -> Routine:
    """Wait as MMCore's ``method(*args)`` does: each device may be busy for its own timeout, then `CoreError`."""
    try:
        for label in devices_of(mmc, method, args):
            yield from until_ready(mmc, label, cancelled)
    except CoreError:
        raise
    except Exception as error:
        raise core_error(error, method, args, forms=_FORMS[method]) from error


def until_ready(mmc: Any, label: str, cancelled: Signal) -> Routine:
    """Wait until one device is not busy."""
    if not mmc.deviceBusy(label):
        return
    timeout = timeout_of(mmc, label)
    until = time.monotonic() + timeout
    while mmc.deviceBusy(label):
        now = time.monotonic()
        if cancelled.is_set:
            return
        if now >= until:
            raise CoreError(
                f"still busy after {timeout:g} s; `await core.set_device_timeout_ms(label, ms)` or `set_timeout_ms` allows more",
                method="waitForDevice",
                arguments=(label,),
                device=label,
            )
        yield Wait(cancelled, until=now + STEP)


def timeout_of(mmc: Any, label: str) -> float:
    """How long a device may be busy, in s."""
    own: Callable[[str], bool] | None = getattr(mmc, "hasDeviceTimeout", None)
    return float(mmc.getDeviceTimeoutMs(label) if own is not None and own(label) else mmc.getTimeoutMs()) / 1000


_FORMS = {
    "waitForDevice": ("label: str",),
    "waitForDeviceType": ("dev_type: int",),
    "waitForConfig": ("group: str, config_name: str",),
    "waitForSystem": ("",),
}
WAITS = frozenset(_FORMS)
