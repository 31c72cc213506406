"""Find what is whole in damaged files: images in a TIFF file, records in an index. Reads only."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiomm.dataset.encode import AXIS_LIMIT
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.files import InputFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from aiomm.dataset.storage import Axes

_TAGS: Final = (256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 283, 296, 51123)
_SIGNATURE: Final = bytes.fromhex("0d000001040001000000")  # thirteen entries, the first a width
_ENTRY = struct.Struct("<HHII")
_U32 = struct.Struct("<I")
_CHUNK: Final = 4 * 2**20
_MOST_AXES_BYTES: Final = 2**16


@dataclass(frozen=True, slots=True)
class Image:
    """A whole image in a file: where its parts are."""

    ifd: int
    next_ifd: int
    pixels: int
    width: int
    height: int
    kind: int
    metadata: int
    length: int
    end: int
    whole: bool
    """Whether its metadata can be read: known writers write it, or the pixels, last."""

    @property
    def place(self) -> tuple[int, ...]:
        """What an index record says of it, but the pixel type."""
        return self.pixels, self.width, self.height, self.metadata, self.length


@dataclass(frozen=True, slots=True)
class Record:
    """A record of an index."""

    data: bytes
    axes: Axes
    file: str
    pixels: int
    width: int
    height: int
    kind: int
    metadata: int
    length: int

    @property
    def place(self) -> tuple[int, ...]:
        """Where pixels and metadata are."""
        return self.pixels, self.width, self.height, self.metadata, self.length

    @property
    def pixels_end(self) -> int:
        """The byte after the last pixel."""
        size = {ndtiff.GRAY8: 1, ndtiff.RGB: 3}.get(self.kind, 2)
        return self.pixels + self.width * self.height * size

    @property
    def end(self) -> int:
        """The byte after the last of its parts."""
        return max(self.pixels_end, self.metadata + self.length)

    @property
    def ifd(self) -> int:
        """Where known writers put the image's IFD."""
        record = ndtiff.RGB_RECORD if self.kind == ndtiff.RGB else ndtiff.GRAY_RECORD
        return min(self.pixels, self.metadata) - record


def axes_of(value: Any) -> Axes | None:
    """Axes, if it is what axes can be."""
    if not isinstance(value, dict):
        return None
    for one in value.values():
        if not (type(one) is str or (type(one) is int and -AXIS_LIMIT < one < AXIS_LIMIT)):
            return None
    return value


# ---- the index --------------------------------------------------------------------------------------------------


def record_at(data: bytes, at: int) -> tuple[Record, int] | None:
    """Read the record at a byte, with where the next one begins; None if there is no whole record."""
    if at + 4 > len(data):
        return None
    length = _U32.unpack_from(data, at)[0]
    end = at + 4 + length
    if not 2 <= length <= _MOST_AXES_BYTES or end + 4 > len(data) or data[at + 4] != 0x7B or data[end - 1] != 0x7D:
        return None
    name_length = _U32.unpack_from(data, end)[0]
    after = end + 4 + name_length + ndtiff.LOCATION.size
    if not 0 < name_length < 4096 or after > len(data):
        return None
    pixels, width, height, kind, packed, metadata, count, packed_too = ndtiff.LOCATION.unpack_from(data, end + 4 + name_length)
    if kind > 6 or packed or packed_too or not width or not height:
        return None
    name = data[end + 4 : end + 4 + name_length].decode("utf-8", "surrogateescape")
    try:
        axes = axes_of(ndtiff.load_json(data[at + 4 : end]))
    except (ValueError, RecursionError):
        return None
    if axes is None or "/" in name or "\\" in name or "\0" in name:
        return None
    return Record(data[at:after], axes, name, pixels, width, height, kind, metadata, count), after


def records_in(data: bytes, names: Iterable[str]) -> list[Record]:
    """Find the whole records of an index, also behind damage: there the names of files show where records are."""
    known = {name.encode("utf-8", "surrogateescape") for name in names}
    found: list[Record] = []
    at = 0
    while at < len(data):
        there = record_at(data, at)
        if there is None:
            again = _next_record(data, at, known)
            if again is None:
                break
            at = again
        else:
            found.append(there[0])
            known.add(there[0].file.encode("utf-8", "surrogateescape"))
            at = there[1]
    return found


def _next_record(data: bytes, at: int, names: set[bytes]) -> int | None:
    """Where the next whole record begins."""
    if not names:
        return None
    for hit in re.compile(b"|".join(re.escape(_U32.pack(len(name)) + name) for name in names)).finditer(data, at):
        start = hit.start()
        brace = data.rfind(b"{", max(at, start - _MOST_AXES_BYTES), start)
        while brace >= at + 4:
            if _U32.unpack_from(data, brace - 4)[0] == start - brace and record_at(data, brace - 4) is not None:
                return brace - 4
            brace = data.rfind(b"{", max(at, start - _MOST_AXES_BYTES), brace)
    return None


# ---- a TIFF file ------------------------------------------------------------------------------------------------


class Tiff:
    """A TIFF file of a dataset, and the whole images in it.

    Attributes
    ----------
    header : Header or None
        None if it cannot be read.
    images : list of Image
        In the order of the file; those that are whole, and those that have a record.
    """

    def __init__(self, path: Path, records: Iterable[Record]) -> None:
        self.path = path
        self._file = InputFile(path)
        self.size = self._file.size()
        start = self._file.read(0, 32)
        self.first_ifd = _U32.unpack_from(start, 4)[0] if len(start) >= 8 else 0
        try:
            self.header: ndtiff.Header | None = ndtiff.parse_header(start)
        except ValueError:
            self.header = None
        self._found: dict[int, Image] = {}
        self._follow(self.first_ifd)
        covered, places = [], set()
        for record in records:
            self._follow(record.ifd)
            places.add(record.place)
            if record.ifd not in self._found and record.end <= self.size and self.metadata(record) is not None:
                covered.append((max(record.ifd, 0), record.end))
        self._scan(covered)
        self.images = [image for _, image in sorted(self._found.items()) if image.whole or image.place in places]

    @property
    def header_end(self) -> int:
        """The byte after the summary metadata."""
        return 0 if self.header is None else self.header.summary_offset + self.header.summary_length

    def metadata(self, image: Image | Record) -> dict[str, Any] | None:
        """Read an image's metadata; None if it is not whole."""
        return self._json(image.metadata, image.length)

    def traces(self, at: int) -> int:
        """How many images seem to have been written behind a byte; two means two or more."""
        count = 0
        while count < 2 and self.size - at >= ndtiff.IFD_BYTES and (hit := self._look(at, self.size, 1)) is not None:
            count, at = count + 1, hit + 2
        return count

    def _json(self, offset: int, length: int) -> dict[str, Any] | None:
        try:
            metadata = ndtiff.load_json(self._file.read(offset, length))
        except (ValueError, RecursionError):
            return None
        return metadata if isinstance(metadata, dict) else None

    def _follow(self, ifd: int) -> None:
        """Go along the chain of images from here."""
        while ifd > 0 and ifd not in self._found:
            image = self._image_at(ifd)
            if image is None:
                return
            self._found[ifd] = image
            ifd = image.next_ifd

    def _image_at(self, ifd: int) -> Image | None:
        """Read the image whose IFD is here, if all of it is in the file."""
        data = self._file.read(ifd, ndtiff.IFD_BYTES)
        if len(data) < ndtiff.IFD_BYTES or data[:2] != b"\x0d\0":
            return None
        entries = [_ENTRY.unpack_from(data, 2 + 12 * i) for i in range(ndtiff.IFD_ENTRIES)]
        if tuple(entry[0] for entry in entries) != _TAGS:
            return None
        width, height, _, packing, photometric, pixels, samples, _, count, resolution, _, _, metadata = (entry[3] for entry in entries)
        length = entries[-1][2]
        rgb = photometric == 2
        each = count // (width * height) if width and height else 0
        if packing != 1 or samples != (3 if rgb else 1) or each not in ((3,) if rgb else (1, 2)) or each * width * height != count:
            return None
        if resolution != ifd + ndtiff.IFD_BYTES + (6 if rgb else 0):  # else these are pixels that look like an IFD
            return None
        end = max(pixels + count, metadata + length)
        first = ifd + (ndtiff.RGB_RECORD if rgb else ndtiff.GRAY_RECORD)
        next_ifd = _U32.unpack_from(data, ndtiff.NEXT_IFD_AT)[0]
        if min(pixels, metadata) != first or end > self.size or (ifd < next_ifd < end):  # as every known writer has it
            return None
        kind = ndtiff.RGB if rgb else ndtiff.GRAY8 if each == 1 else ndtiff.GRAY16
        whole = self._json(metadata, length) is not None
        return Image(ifd, next_ifd, pixels, width, height, kind, metadata, length, end, whole)

    def _scan(self, covered: list[tuple[int, int]]) -> None:
        """Look for images between and behind those found, whose chain is broken."""
        spans = sorted([(image.ifd, image.end) for image in self._found.values()] + covered)
        at = self.header_end
        for begin, end in [*spans, (self.size, self.size)]:
            while begin - at >= ndtiff.GRAY_RECORD:
                hit = self._look(at, begin)
                if hit is None:
                    break
                self._follow(hit)
                image = self._found.get(hit)
                at = hit + 2 if image is None else image.end
            at = max(at, end)

    def _look(self, at: int, until: int, step: int = 2) -> int | None:
        """Where the next thing that looks like an IFD begins, not before ``at``; known writers begin one on an even byte."""
        for offset, data in self._data(at, until):
            hit = data.find(_SIGNATURE)
            while hit >= 0:
                if (offset + hit) % step == 0:
                    return offset + hit
                hit = data.find(_SIGNATURE, hit + 1)
        return None

    def _data(self, at: int, until: int) -> Iterator[tuple[int, bytes]]:
        """Read a part of the file piece by piece, without its holes."""
        with self.path.open("rb", buffering=0) as file:
            while at < until:
                if hasattr(os, "SEEK_DATA"):
                    try:
                        at = max(at, os.lseek(file.fileno(), at, os.SEEK_DATA))
                    except OSError:
                        return  # nothing but holes
                data = self._file.read(at, min(_CHUNK, until - at)) if at < until else b""
                if len(data) < len(_SIGNATURE):
                    return
                yield at, data
                at += len(data) - (len(_SIGNATURE) - 1)
                if at + len(_SIGNATURE) > until:
                    return
