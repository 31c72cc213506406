"""Notifications of a core in Java, as the same async iterator over `CoreNotification`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiomm.core.notifications import KINDS, CoreNotification, chosen_kinds, notification
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from aiomm.bridge import Bridge

# Of each kind, the name under which Micro-Manager's RemoteCoreCallback passes it on. It knows no others.
_NAMES = {
    "channel_group_changed": "channelGroupChanged",
    "config_group_changed": "configGroupChanged",
    "exposure_changed": "exposureChanged",
    "pixel_size_affine_changed": "pixelSizeAffineChanged",
    "pixel_size_changed": "pixelSizeChanged",
    "properties_changed": "propertiesChanged",
    "property_changed": "propertyChanged",
    "slm_exposure_changed": "SLMExposureChanged",
    "stage_position_changed": "stagePositionChanged",
    "system_configuration_loaded": "systemConfigurationLoaded",
    "xy_stage_position_changed": "XYStagePositionChanged",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}


class JavaEvents:
    """An async iterator over `CoreNotification`; made by `BridgedCore.events`.

    It hears what happens from its first step on, or from ``async with`` on. It ends when it is closed; when the bridge is
    closed or lost, it raises that.

    Attributes
    ----------
    dropped : int
        How many notifications were lost, the oldest first, because ``buffer`` were waiting to be taken.
    """

    def __init__(self, bridge: Bridge, kinds: Iterable[str] | str | None, buffer: int) -> None:
        chosen = chosen_kinds(kinds, buffer)
        if chosen is not None and (never := sorted(chosen - set(_NAMES))):
            raise UnsupportedError(f"Micro-Manager's server passes on no {', '.join(never)}; it passes on {', '.join(_NAMES)}")
        self._changes = bridge.core_events(None if chosen is None else [_NAMES[kind] for kind in sorted(chosen)], buffer=buffer)

    @property
    def dropped(self) -> int:
        """How many notifications were lost."""
        return int(self._changes.dropped)

    async def __aenter__(self) -> Self:
        await self._changes.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CoreNotification:
        change = await anext(self._changes)
        return notification(KINDS[_KINDS[change.name]], tuple(change.arguments))

    async def aclose(self) -> None:
        """Listen no more. Again and again does no harm."""
        await self._changes.aclose()
