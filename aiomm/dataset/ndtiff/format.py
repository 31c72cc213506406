"""The bytes of NDTiff: headers, image records and index records, packed and parsed without I/O.

A file is a classic TIFF below 4 GiB. Each image is one record, with every offset explicit, so a writer may place the parts::

    [IFD, 13 entries][resolution][metadata JSON][zeros][pixels][zeros]
                                                ^ at a multiple of the alignment

The index is a list of records: axes as JSON, the file's name, and eight numbers that say where pixels and metadata are.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aiomm.dataset.encode import encode_json
from aiomm.dataset.numbers import positive

INDEX_NAME = "NDTiff.index"
UNLABELLED_NAME = "NDTiff.unlabelled.index"
"""Has the records of images of which nobody can say which axes are theirs: their metadata has others'."""
FULL_RESOLUTION = "Full resolution"
MAGIC = 483729
SUMMARY_MAGIC = 2355492
VERSION = (3, 3)
PAGE = 4096
FILE_LIMIT = 2**32 - 5_000_000
"""A file holds no image that ends beyond this: offsets are 32 bit, and the format keeps 5 MB in reserve."""

GRAY8, GRAY16, RGB, GRAY10, GRAY12, GRAY14, GRAY11 = range(7)
PIXEL_TYPE_OF_DEPTH = {10: GRAY10, 11: GRAY11, 12: GRAY12, 14: GRAY14}
DEPTH_OF_PIXEL_TYPE = {GRAY8: 8, GRAY16: 16, RGB: 8, GRAY10: 10, GRAY12: 12, GRAY14: 14, GRAY11: 11}

_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype("<u2")

IFD_ENTRIES = 13
IFD_BYTES = 2 + 12 * IFD_ENTRIES + 4
NEXT_IFD_AT = 2 + 12 * IFD_ENTRIES
_RESOLUTION_BYTES = 16
GRAY_RECORD = IFD_BYTES + _RESOLUTION_BYTES
RGB_RECORD = GRAY_RECORD + 6
_IFD = struct.Struct("<H" + "HHII" * IFD_ENTRIES + "I")
_RATIONALS = struct.Struct("<IIII")
_THREE_EIGHTS = struct.pack("<HHH", 8, 8, 8)
_HEADER = struct.Struct("<2sHIIIIII")
_U32 = struct.Struct("<I")
LOCATION = struct.Struct("<8I")
"""The end of an index record: pixel offset, width, height, pixel type, 0, metadata offset, metadata length, 0."""


def pixel_type(pixels: np.ndarray, bit_depth: int | None) -> int:
    """Number that the index has for these pixels. A depth that the format does not know is stored as 8 or 16 bit."""
    if pixels.ndim == 3:
        return RGB
    if pixels.dtype.itemsize == 1:
        return GRAY8
    return PIXEL_TYPE_OF_DEPTH.get(bit_depth or 16, GRAY16)


def shape_and_dtype(kind: int, width: int, height: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an image of a pixel type."""
    if kind == RGB:
        return (height, width, 3), _UINT8
    return (height, width), (_UINT8 if kind == GRAY8 else _UINT16)


def resolution(pixel_size_um: object) -> tuple[int, int]:
    """Pixels per centimetre, as a fraction, for the TIFF resolution tags; 1 µm if the size is not known."""
    size = positive(pixel_size_um.item() if isinstance(pixel_size_um, np.number) else pixel_size_um) or 1.0
    per_cm = 1e4 / size
    if per_cm >= 1:
        return int(min(per_cm + 1e-6, 2**32 - 1)), 1
    return 1, int(min(1 / per_cm, 2**32 - 1))


def pack_header(summary: dict[str, Any], align: int = PAGE) -> bytes:
    """Pack a file's beginning: TIFF header, summary metadata, zeros up to the first image."""
    text = encode_json(summary)
    end = _HEADER.size + len(text)
    first = -(-end // align) * align
    header = _HEADER.pack(b"II", 42, first, MAGIC, *VERSION, SUMMARY_MAGIC, len(text))
    return (header + text).ljust(first, b"\0")


def decode_text(data: bytes) -> str:
    """Decode text; older writers used the encoding of their machine instead of UTF-8."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def load_json(data: bytes) -> Any:
    """Read JSON; older writers did not always use UTF-8.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON.
    """
    try:
        return json.loads(data)
    except UnicodeDecodeError:
        return json.loads(decode_text(data))


class Header(NamedTuple):
    """What a file's first bytes say."""

    major: int
    minor: int
    summary_offset: int
    summary_length: int


def parse_header(data: bytes) -> Header:
    """Read a file's first 28 bytes.

    Raises
    ------
    ValueError
        They are not the beginning of an NDTiff file that this code reads.
    """
    if len(data) < 28:
        raise ValueError(f"it has {len(data)} bytes, too few for a header")
    order, version, _, magic, major, a, b, c = _HEADER.unpack_from(data)
    if order == b"MM":
        raise ValueError("its numbers are big-endian, which no known NDTiff writer leaves")
    if order != b"II" or version != 42:
        raise ValueError("it is not a TIFF file")
    if magic != MAGIC:
        raise ValueError("it is a TIFF file, but not of NDTiff 2 or later")
    if major == 2 and a == SUMMARY_MAGIC:
        return Header(2, 0, 24, b)
    if major == 3 and b == SUMMARY_MAGIC:
        return Header(3, a, 28, c)
    raise ValueError(f"it says NDTiff version {major}, and its header does not fit one that aiomm knows (2 and 3)")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the parts of one image stand; offsets from the slot's start."""

    metadata: int
    pixels: int
    end: int


def lay_out(record: int, metadata: int, pixels: int, align: int) -> Slot:
    """Place an image's parts: its IFD of ``record`` bytes, metadata, and pixels on a multiple of ``align``."""
    start = -(-(record + metadata) // align) * align
    return Slot(record, start, -(-(start + pixels) // align) * align)


def pack_ifd_into(
    buffer: memoryview,
    at: int,
    *,
    start: int,
    slot: Slot,
    shape: tuple[int, ...],
    itemsize: int,
    metadata: int,
    per_cm: tuple[int, int],
) -> None:
    """Pack the IFD and the resolution of the image whose slot begins at ``start`` in the file into ``buffer[at:]``."""
    height, width = shape[0], shape[1]
    rgb = len(shape) == 3
    samples = 3 if rgb else 1
    rational = start + IFD_BYTES + (6 if rgb else 0)
    _IFD.pack_into(
        buffer, at,
        IFD_ENTRIES,
        256, 4, 1, width,
        257, 4, 1, height,
        258, 3, samples, start + IFD_BYTES if rgb else 8 * itemsize,
        259, 3, 1, 1,
        262, 3, 1, 2 if rgb else 1,
        273, 4, 1, start + slot.pixels,
        277, 3, 1, samples,
        278, 3 if height < 65536 else 4, 1, height,
        279, 4, 1, width * height * samples * itemsize,
        282, 5, 1, rational,
        283, 5, 1, rational + 8,
        296, 3, 1, 3,
        51123, 2, metadata, start + slot.metadata,
        start + slot.end,
    )  # fmt: skip
    if rgb:
        buffer[at + IFD_BYTES : at + IFD_BYTES + 6] = _THREE_EIGHTS
    _RATIONALS.pack_into(buffer, at + rational - start, *per_cm, *per_cm)


def pack_index_head(axes: dict[str, Any], file_name: bytes) -> bytes:
    """Pack the first part of an index record; `LOCATION` is the second."""
    text = encode_json(axes)
    return b"".join((_U32.pack(len(text)), text, _U32.pack(len(file_name)), file_name))
