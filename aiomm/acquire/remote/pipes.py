"""What goes through the sockets of one acquisition of Micro-Manager's engine: notices, hooks' events, images."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from aiomm.acquire.remote.events import write_events
from aiomm.acquire.remote.inbox import END, Inbox
from aiomm.bridge import wire
from aiomm.bridge.frames import insert, read_apart
from aiomm.dataset.encode import check_pixels, encode_json
from aiomm.errors import ClosedError, ProtocolError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiomm.bridge.streams import PullSocket, PushSocket

__all__ = ["HookPipe", "ImagePipe", "Notice", "Notices", "write_image"]

Events = list[dict[str, Any]] | dict[str, Any]

_FINAL: Final = frozenset({"acq_events_finished", "data_sink_finished"})
_NOTICES: Final = 512  # that wait here; more wait in Java
_AHEAD: Final = 32  # images that wait here
_AHEAD_BYTES: Final = 2**23  # of their pixels; of larger ones the next waits in Java
WIDEST: Final = (20_000, 2**28)  # both while another acquisition waits for Java
_END: Final = wire.encode({"special": "acquisition-end"})
_FINISHED: Final = wire.encode({"special": "finished"})
_MARK: Final = '"aiomm:qoj":"@1_0",'
_NUMBER: Final = struct.pack("=i", 1)
_TEXT: Final = "text of the metadata"  # beside them, as a member of the message
_BYTES: Final = {"GRAY8": 1, "GRAY16": 2, "RGB32": 4}


class Notice(NamedTuple):
    """What Java's engine told by itself.

    Attributes
    ----------
    kind : str
        ``global``, ``hardware``, ``camera`` or ``image``.
    milestone : str
        What happened: ``post_snap``, ``image_saved`` ...
    told : object
        As it came. Of an image saved on disk, the bytes of its record in the index; otherwise text or None.
    """

    kind: str
    milestone: str
    told: Any

    @property
    def doubtful(self) -> bool:
        """Whether its text has a ``?``, which Java's streams have for each character above U+00FF."""
        return isinstance(self.told, str) and "?" in self.told

    @property
    def payload(self) -> Any:
        """Of hardware and camera, the axes of the event, or a list of them of a sequence; otherwise `told`. To read a long list takes long.

        Raises
        ------
        ProtocolError
            It cannot be read.
        """
        if self.told is None or self.kind not in ("hardware", "camera"):
            return self.told
        try:
            return json.loads(self.told)
        except ValueError as error:
            raise ProtocolError(f"{self.milestone}: axes that are no JSON: {error}") from None


class Notices:
    """An async iterator over `Notice`. It ends after both of the last ones: events finished, and data saved.

    Parameters
    ----------
    pull
        Where they come.
    on_disk
        Whether images are saved on disk.
    handled
        Awaited when both of the last ones have come, before the iteration ends.
    """

    def __init__(self, pull: PullSocket, *, on_disk: bool, handled: Callable[[], Awaitable[None]]) -> None:
        self._on_disk = on_disk
        self._handled = handled
        self._missing = set(_FINAL)
        self._last: Notice | None = None
        self.inbox: Inbox[Notice] = Inbox(pull, self._read, room=_NOTICES, name="notices of Micro-Manager's engine")

    @property
    def complete(self) -> bool:
        """Whether both of the last ones have come."""
        return not self._missing

    async def _read(self, frames: Any) -> Notice | None:
        message = wire.decode(frames)
        kind, milestone, payload = message.get("type"), message.get("milestone"), message.get("payload")
        if not isinstance(kind, str) or not isinstance(milestone, str) or not isinstance(payload, str | None):
            raise ProtocolError(f"a notification that cannot be understood: {str(message)[:200]}")
        told = payload.encode("latin-1") if payload is not None and milestone == "image_saved" and self._on_disk else payload
        notice = Notice(kind, milestone, told)
        self._missing.discard(milestone)
        if self._missing:
            return notice
        if self._last is None:
            self._last = notice
            await self._handled()
        return END  # type: ignore[no-any-return]

    def __aiter__(self) -> Notices:
        return self

    async def __anext__(self) -> Notice:
        notice = await self.inbox.take()
        if notice is None:
            notice, self._last = self._last, None
            if notice is None or not self.inbox.ended:
                raise StopAsyncIteration
        return notice


class HookPipe:
    """Events that wait in Java's engine for an answer.

    Parameters
    ----------
    pull, push
        From Java and to it.
    excuse
        What answers when nobody does any more.
    """

    def __init__(self, name: str, pull: PullSocket, push: PushSocket, excuse: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._push = push
        self._excuse = excuse
        self._asked: dict[str, Any] | None = None  # what Java waits for an answer to
        self._alone = False
        self.inbox: Inbox[Events] = Inbox(pull, self._read, room=1, name=f"{name} hook of Micro-Manager's engine")

    async def recv(self) -> Events | None:
        """Take the next event, or the list of events of a sequence; None when the end was said, which is answered here.

        Raises
        ------
        ServerLostError
            Java is gone.
        """
        return await self.inbox.take()

    async def answer(self, events: Events) -> None:
        """Answer what `recv` gave last. Does nothing where `let_go` has answered.

        Raises
        ------
        ServerLostError
            Java is gone.
        """
        if self._asked is None:
            return
        frames = write_events(events if isinstance(events, list) else [events])
        self._asked = None
        await self._push.send(frames)

    async def let_go(self) -> None:
        """Nobody answers any more: Java gets its excuse for what it waits for, and for all that it asks from now on."""
        self._alone = True
        self.inbox.drop()
        await self._excused()

    async def _excused(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            await self._push.send(wire.encode(self._excuse(asked), order="native"))

    async def _read(self, frames: Any) -> Events | None:
        message = wire.decode(frames)
        if message.get("special") == "acquisition-end":  # Java may say it twice, and waits for an answer each time
            await self._push.send(_END)
            return END  # type: ignore[no-any-return]
        self._asked = message
        if self._alone:
            await self._excused()
            return None
        events = message.get("events")
        return events if isinstance(events, list) else message

    def lose(self, why: BaseException) -> None:
        """Java is gone: it may never have come to where it is sent to."""
        self._push.give_up(str(why))

    async def aclose(self) -> None:
        """Close both sockets; what was sent last gets a moment to leave."""
        await self.inbox.aclose()
        self._push.close(linger=0.2)


class ImagePipe:
    """Images that Java's engine has taken, and images for it to save.

    Java tells pixels by the metadata beside them (Width, Height, PixelType), and colours are blue, green, red and nothing.

    Attributes
    ----------
    on_arrival
        Called with the metadata of each image as it comes, before anybody takes it.
    text : bytes or None
        The metadata of the image that `recv` gave last, as the JSON that they came as; None where that cannot be written down as it is.
    """

    def __init__(self, pull: PullSocket, push: PushSocket) -> None:
        self._pull, self._push = pull, push
        self.on_arrival: Callable[[Mapping[str, Any]], None] = lambda metadata: None
        self.text: bytes | None = None
        self._finished = False
        self._alone = False
        self.inbox: Inbox[dict[str, Any]] = Inbox(
            pull, self._read, room=_AHEAD, name="images of Micro-Manager's engine", size=_size, most=_AHEAD_BYTES, widest=WIDEST
        )

    def gather(self, seconds: float) -> None:
        """Images will come closely one after another: several may be taken together, none later than so many seconds. 0: no more."""
        self._pull.gather = seconds

    async def recv(self) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Take the next image and its metadata; None when there are no more. After that, `finish`.

        Returns
        -------
        (numpy.ndarray, dict) or None
            Pixels are (y, x) uint8 or uint16, or (y, x, 3) uint8.

        Raises
        ------
        ServerLostError
            Java is gone.
        UnsupportedError
            Pixels of another type.
        """
        message = await self.inbox.take()
        self.text = None if message is None else message.get(_TEXT)
        return None if message is None else read_image(message)

    async def send(self, pixels: np.ndarray, metadata: Mapping[str, Any]) -> None:
        """Give Java an image to save, as `recv` gives them; its size and type in the metadata are set by its pixels.

        Raises
        ------
        ServerLostError
            Java is gone.
        TypeError, ValueError
            Pixels or metadata that cannot be saved.
        """
        await self.send_written(write_image(pixels, metadata))

    async def send_written(self, frames: list[bytes | memoryview]) -> None:
        """Give Java an image that `write_image` has written."""
        if self._finished:
            raise ClosedError("no image can be saved after the last one")
        await self._push.send(frames)

    async def finish(self) -> None:
        """Say that no more will be sent; Java saves what it has, and closes. Again and again does no harm."""
        if not self._finished:
            self._finished = True
            await self._push.send(_FINISHED)

    async def let_go(self) -> None:
        """Nobody takes images any more: those that come are dropped, and the end is answered."""
        self._alone = True
        self.inbox.drop()
        if self.inbox.ended or self.inbox.task.done():
            await self.finish()

    async def _read(self, frames: Any) -> dict[str, Any] | None:
        if self._alone and len(frames) > 1:
            return None
        message, text = read_apart(frames[0], "metadata")
        insert(message, frames, "pixels")
        if message.get("special") != "finished":
            if isinstance(metadata := message.get("metadata"), dict):
                self.on_arrival(metadata)
                message[_TEXT] = text.encode("ascii") if text is not None and text.isascii() and "\n" not in text else None
            return message
        if self._alone:
            await self.finish()
        return END  # type: ignore[no-any-return]

    def lose(self, why: BaseException) -> None:
        """Java is gone: it may never have come to where it is sent to."""
        self._push.give_up(str(why))

    async def aclose(self) -> None:
        """Close both sockets; what was sent last gets a moment to leave."""
        await self.inbox.aclose()
        self._push.close(linger=0.2)


def _size(message: Mapping[str, Any]) -> int:
    pixels = message.get("pixels")
    return getattr(pixels.get("value"), "nbytes", 0) if isinstance(pixels, dict) else 0


def read_image(message: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read Java's message of an image: pixels and metadata."""
    metadata, pixels = message.get("metadata"), message.get("pixels")
    data = pixels.get("value") if isinstance(pixels, dict) else None
    if not isinstance(metadata, dict) or not isinstance(data, np.ndarray):
        raise ProtocolError(f"an image that cannot be understood: {str(message)[:200]}")
    kind, width, height = metadata.get("PixelType"), metadata.get("Width"), metadata.get("Height")
    size = _BYTES.get(kind) if isinstance(kind, str) else None
    if size is None or data.dtype.itemsize > 2:
        raise UnsupportedError(f"pixels of type {kind!r} ({data.dtype}): images are of 8 or 16 bits, or RGB of 8 bits each")
    if not isinstance(width, int) or not isinstance(height, int) or data.nbytes != width * height * size:
        raise ProtocolError(f"{data.nbytes} bytes are no {kind} image of {width} x {height} pixels")
    if size == 4:
        return np.ascontiguousarray(data.view(np.uint8).reshape(height, width, 4)[..., 2::-1]), metadata
    return data.view(np.uint8 if size == 1 else np.uint16).reshape(height, width), metadata


def write_image(pixels: np.ndarray, metadata: Mapping[str, Any]) -> list[bytes | memoryview]:
    """Write the frames of an image for Java."""
    check_pixels(pixels, None)
    height, width = pixels.shape[:2]
    depth: Any = metadata.get("BitDepth")
    if pixels.ndim == 3:
        kind, depth = "RGB32", 8
        data = np.zeros((height, width, 4), np.uint8)
        data[..., :3] = pixels[..., ::-1]
    else:
        kind, data = ("GRAY8", pixels) if pixels.dtype == np.uint8 else ("GRAY16", pixels)
        most = 8 * pixels.dtype.itemsize
        if not isinstance(depth, int) or not most - 8 < depth <= most:
            depth = most
    text = encode_json({**metadata, "Width": width, "Height": height, "PixelType": kind, "BitDepth": depth})
    # Java takes every text with an '@' for the place of pixels, and an image with such a text in its metadata would be lost. It stops
    # looking in an object where it has found the place. It looks at the name of this one first, in whatever table: its hash is 0.
    mark = _MARK if b"@" in text else ""
    head = f'{{"pixels":"@1_0","metadata":{{{mark}{text[1:].decode("ascii")}}}'
    return [head.encode("ascii"), _NUMBER, memoryview(cast("Any", np.ascontiguousarray(data))).cast("B")]
