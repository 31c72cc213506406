"""Which of Java's methods change nothing, as far as their names say: what may be asked twice, ahead of its turn, or in vain."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["EFFECTS", "asks", "asks_core", "leaves_core"]

_QUESTION: Final = re.compile(r"(?:get|is|has|opt)(?=[A-Z_0-9])(?!And[A-Z]|Next)")
_OF_CORE: Final = re.compile(r"(?:uses|supports)(?=[A-Z])")

EFFECTS: Final = {
    "getAvailableDeviceDescriptions": "loads a library",
    "getAvailableDeviceTypes": "loads a library",
    "getAvailableDevices": "loads a library",
    "getCurrentFocusScore": "an autofocus device may expose the sample for it",
    "getInstalledDeviceDescription": "a hub looks for its devices",
    "getInstalledDevices": "a hub looks for its devices",
    "getSerialPortAnswer": "takes away what it gives, and waits for it",
}
"""Methods of CMMCore that are called like questions, and what they do besides."""

_CORE_ASKS: Final = frozenset(
    {
        "debugLogEnabled",
        "deviceBusy",
        "deviceTypeBusy",
        "pressurePumpRequiresCalibration",
        "stderrLogEnabled",
        "systemBusy",
        "volumetricPumpRequiresHoming",
    }
)
_CORE_WAITS_OR_LOGS: Final = frozenset(
    {"log", "logMessage", "noop", "sleep", "waitForConfig", "waitForDevice", "waitForDeviceType", "waitForSystem"}
)


def asks(name: str) -> bool:
    """Whether a method of that name, of any class, is a question that changes nothing."""
    return _QUESTION.match(name) is not None and name not in EFFECTS


def asks_core(name: str) -> bool:
    """Whether CMMCore's method of that name is a question that changes nothing, and that nobody minds if its answer is not waited for."""
    return asks(name) or name in _CORE_ASKS or _OF_CORE.match(name) is not None


def leaves_core(name: str) -> bool:
    """Whether CMMCore's method of that name leaves hardware, settings and buffers as they are; it may wait, or write to the log."""
    return asks_core(name) or name in _CORE_WAITS_OR_LOGS
