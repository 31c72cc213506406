"""What goes through the sockets of one acquisition of Micro-Manager's engine: notices, hooks' events, images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HookPipe", "ImagePipe", "Notice"]


class Notice(NamedTuple):
    """What Java's engine told by itself."""

    kind: str
    milestone: str
    payload: Any


class HookPipe:
    """Events that wait in Java's engine for an answer."""

    async def recv(self) -> list[dict[str, Any]] | dict[str, Any] | None:
        """Take the next; None when the end was said."""
        raise NotImplementedError

    async def answer(self, events: list[dict[str, Any]] | dict[str, Any]) -> None:
        """Answer what `recv` gave last."""
        raise NotImplementedError


class ImagePipe:
    """Images that Java's engine has taken, and images for it to save."""

    async def recv(self) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Take the next; None when there are no more."""
        raise NotImplementedError

    async def send(self, pixels: np.ndarray, metadata: dict[str, Any]) -> None:
        """Give Java an image to save."""
        raise NotImplementedError

    async def finish(self) -> None:
        """Say that no more will be sent."""
        raise NotImplementedError
