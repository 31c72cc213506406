"""Whether the images of a sequence are those that Micro-Manager's engine takes them for: by the camera's own count.

The engine gives each image that comes the axes of the next event. When a frame is lost, all after it would be labelled wrong: the
camera's numbers, in the images' metadata, have a gap then. What was saved by Micro-Manager is looked up in its files, and what cannot be
labelled is taken out of the index; its pixels stay, and its records go into a file of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.storage import Frame
from aiomm.errors import HardwareError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiomm.dataset.storage import Axes

__all__ = ["UNLABELLED", "AskedFrame", "CameraCount", "Numbers", "axes_in", "take_out"]

UNLABELLED: Final = ndtiff.UNLABELLED_NAME

_NUMBER: Final = re.compile(rb'"ImageNumber":"?(\d+)"?[,}]')
_LENGTH: Final = struct.Struct("<I")


class CameraCount:
    """The camera's count in one sequence.

    Parameters
    ----------
    axes
        Of its events, in order.
    several
        Whether each event gives an image of several cameras, with an axis ``camera``.
    """

    def __init__(self, axes: Sequence[Axes], *, several: bool) -> None:
        self._axes = axes
        self._several = several
        self._first: dict[str, int] = {}  # by camera channel, the first number there was
        self._begin: dict[str, int] = {}  # the last place that had it
        self.lost = ""  # what was lost, in words

    def follows(self, frame: AskedFrame, number: int | None) -> bool:
        """Take the number of the image that Java takes for this one; False if it cannot be said any more which one it is.

        What counts is the place of the image in its sequence, not which came before it: the notice of that may be lost, or its number
        not be there to read. A camera that gives no numbers is believed.
        """
        if self.lost:
            return False
        if number is None:
            return True
        channel = str(frame.axes["camera"]) if self._several else ""
        first = self._first.setdefault(channel, number)
        if number == first:  # Java may take a group in several sequences, and each counts from the first
            self._begin[channel] = frame.place
        due = first + frame.place - self._begin[channel]
        if number != due:
            rest = self._axes[frame.place :]
            which = str(dict(rest[0])) if len(rest) == 1 else f"{dict(rest[0])} to {dict(rest[-1])}"
            self.lost = (
                f"camera {channel + ' ' if channel else ''}lost frames: image number {number} came where {due} was due; the rest of this "
                f"sequence is not in the dataset, since it could not be labelled with certainty: {which}"
            )
            return False
        return True


@dataclass(slots=True, eq=False)
class AskedFrame(Frame):
    """A frame that Java was asked for; with the count of its sequence and its place there, and its exposure (ms) in one of exposures."""

    count: CameraCount | None = None
    place: int = 0
    exposure: float | None = None

    def check(self, metadata: dict[str, Any]) -> None:
        """See whether an image is this one; once. Its exposure is put right: Java asks the core when it fetches the image.

        Raises
        ------
        HardwareError
            It cannot be said.
        """
        if self.count is not None and not self.count.follows(self, _number(metadata.get("ImageNumber"))):
            raise HardwareError(self.count.lost)
        self.count = None
        if self.exposure is not None:
            metadata["Exposure"] = self.exposure


def _number(said: Any) -> int | None:
    text = str(said)
    return int(text) if text.isdigit() else None


class Numbers:
    """Reads the camera's numbers, and whether images are whole, from what Micro-Manager has saved. One thread at a time.

    Parameters
    ----------
    folder
        With the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[bytes, int] = {}

    def read(self, records: Sequence[bytes]) -> list[int | None]:
        """Give the number of each image, by its record in the index; None where there is none to be had."""
        return [self._read(record) for record in records]

    def whole(self, record: bytes) -> bool:
        """Whether the last byte of an image is written: on a disk that gets full Java writes a part and takes no notice."""
        try:
            return self._last(record, 1) not in (b"", b"\0")
        except (OSError, ValueError, struct.error):
            return True  # an error of its own, when it is read

    def _read(self, record: bytes) -> int | None:
        try:
            text = self._last(record)
            found = _NUMBER.findall(text)
            if len(found) == 1:
                return int(found[0])
            return _number(json.loads(text).get("ImageNumber")) if found else None
        except (OSError, ValueError, struct.error):
            return None  # a record that cannot be right is an error of its own, and so is a file that cannot be read

    def _last(self, record: bytes, count: int | None = None) -> bytes:
        """Give the metadata of an image, which are written last, or so many of their last bytes."""
        name = _parts(record)[1]
        *_, offset, length, _ = ndtiff.LOCATION.unpack(record[-ndtiff.LOCATION.size :])
        if name not in self._files:
            self._files[name] = os.open(self._folder / os.fsdecode(name), os.O_RDONLY)
        count = length if count is None else count
        return os.pread(self._files[name], count, offset + length - count)

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])


def axes_in(record: bytes) -> Axes | None:
    """Axes in a record of the index; None if it cannot be read."""
    try:
        axes = json.loads(_parts(record)[0])
    except (ValueError, struct.error):
        return None
    return axes if isinstance(axes, dict) else None


def _parts(record: bytes) -> tuple[bytes, bytes]:
    """Give a record's axes and file name."""
    end = 4 + _LENGTH.unpack_from(record)[0]
    return record[4:end], record[end + 4 : end + 4 + _LENGTH.unpack_from(record, end)[0]]


def take_out(folder: Path, records: Sequence[bytes]) -> None:
    """Take records out of a folder's index, into `UNLABELLED`. What the index has at every moment is whole."""
    index = folder / ndtiff.INDEX_NAME
    data = index.read_bytes()
    with contextlib.suppress(OSError), (folder / UNLABELLED).open("ab") as file:  # there may be no room
        file.write(b"".join(records))
    last = b"".join(records)
    if data.endswith(last):  # as when the disk is full, where nothing new can be made
        os.truncate(index, len(data) - len(last))
        return
    for record in records:
        data = data.replace(record, b"", 1)
    part = index.with_name(index.name + ".part")
    part.write_bytes(data)
    part.replace(index)
