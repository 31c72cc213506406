"""Events as Java's engine reads them, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiomm.acquire.events import AcquisitionEvent

__all__ = ["decode_events", "encode_event"]


def encode_event(event: AcquisitionEvent, *, camera: bool = False) -> dict[str, Any]:
    """Write an event as Java reads it."""
    raise NotImplementedError


def decode_events(message: Mapping[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read Java's events as dicts in the dialect of aiomm's events."""
    raise NotImplementedError
