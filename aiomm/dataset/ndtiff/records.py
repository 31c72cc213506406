"""Parse index records, many at once: an index of a hundred thousand images opens in a tenth of a second."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aiomm.dataset.encode import AXIS_LIMIT, MOST_AXES
from aiomm.dataset.index import Index
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.texts import parse_texts
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiomm.dataset.columns import Column

WINDOW = 2**20
"""How many bytes are parsed at once: what they become in between is larger, and soon let go."""

_NAME_LIMIT = 4096
_U32 = struct.Struct("<I")
_PLACE = ndtiff.LOCATION.size


class Batch(NamedTuple):
    """Some records that follow one another."""

    columns: dict[str, Column]
    """Values of each axis by record."""
    table: np.ndarray
    """(n, 7) uint32: the rows of a `Table`."""
    end: int
    """The byte after the last record."""


class FileNames:
    """Names of files as the index has them, numbered in order of first appearance."""

    def __init__(self, where: str) -> None:
        self.names: list[str] = []
        self._numbers: dict[bytes, int] = {}
        self._where = where

    def number(self, name: bytes) -> int:
        """Number of a name.

        Raises
        ------
        DatasetFormatError
            It is no name of a file in the dataset's folder.
        """
        known = self._numbers.get(name)
        if known is None:
            text = name.decode("utf-8", "surrogateescape")
            if "/" in text or "\\" in text or "\0" in text or text in (".", ".."):
                raise DatasetFormatError(f"{self._where}: it names a file {text!r} outside its folder")
            known = self._numbers[name] = len(self.names)
            self.names.append(text)
        return known


def read_index(data: bytes, where: str) -> tuple[Index, list[str], np.ndarray]:
    """Parse a whole index: the index, the names of files, and the rows of the table of places.

    Raises
    ------
    DatasetFormatError
        A record cannot be right; the message names it.
    """
    index, files = Index.from_axes([]), FileNames(where)
    tables = [np.zeros((0, 7), np.uint32)]
    for batch in batches(data, files, where):
        add_to(index, batch, where)
        tables.append(batch.table)
    return index, files.names, np.concatenate(tables)


def add_to(index: Index, batch: Batch, where: str) -> None:
    """Add a batch's axes to an index.

    Raises
    ------
    DatasetFormatError
        They are no axes; the message names the record.
    """
    if len(index.types.keys() | batch.columns.keys()) > MOST_AXES:
        raise DatasetFormatError(f"{where}: it has more than {MOST_AXES} axes; the index is damaged")
    try:
        index.extend_columns(batch.columns, len(batch.table))
    except TypeError as error:
        raise DatasetFormatError(f"{where}: {error}") from None


def batches(data: bytes, files: FileNames, where: str, position: int = 0, first: int = 0, skipped: int = 0) -> Iterator[Batch]:
    """Parse the records from a byte on.

    For messages, ``first`` is the number of the first, and ``skipped`` how many bytes of the index come before ``data``.

    A record cut short at the end, as a killed writer leaves it, and zeros after the end, as Java leaves them, are passed over.

    Raises
    ------
    DatasetFormatError
        A record cannot be right; the message names the byte.
    """
    more = True
    while more and position < len(data):
        stop = min(position + WINDOW, len(data))
        begins, ends, table, position = _alike(data, position, stop, files)
        more_begins, more_ends, more_table, position, more = _one_by_one(data, position, stop, files, where, skipped)
        table = np.concatenate((table, more_table))
        if len(table):
            _check_places(table, where, first)
            begins, ends = np.concatenate((begins, more_begins)), np.concatenate((ends, more_ends))
            yield Batch(_parse_axes(data, begins, ends, where, first), np.ascontiguousarray(table[:, (0, 1, 2, 3, 4, 6, 7)]), position)
            first += len(table)


_NONE = np.zeros(0, np.int64)
Parsed = tuple[np.ndarray, np.ndarray, np.ndarray, int]
"""Where axes begin, where they end, the places, the byte after the last record."""

_EMPTY = np.zeros((0, 9), np.uint32)


def _alike(data: bytes, position: int, stop: int, files: FileNames) -> Parsed:
    """Parse records that all name one file, as far as they are plainly whole; stops early where in doubt.
    The file's name parts the records; that each says as many bytes of axes as there are between two names proves it.
    """
    nothing = _NONE, _NONE, _EMPTY, position
    if position + 4 > stop:
        return nothing
    begin = position + 4 + _U32.unpack_from(data, position)[0]
    if begin == position + 4 or begin + 4 > stop:
        return nothing
    length = _U32.unpack_from(data, begin)[0]
    if not 0 < length < _NAME_LIMIT or begin + 4 + length > stop:
        return nothing
    mark = data[begin : begin + 4 + length]
    window = data[position:stop]
    parts = window.split(mark)
    if len(parts) < 8:
        return nothing
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    starts = np.zeros(len(parts), np.int64)
    np.cumsum(lengths[:-1] + len(mark), out=starts[1:])
    raw = np.frombuffer(window, np.uint8)
    # part 0 is a length and axes; the next ones the numbers of the record before, a length and axes; the last is a rest
    heads = starts[:-1].copy()
    heads[1:] += _PLACE
    texts = starts[:-1] + lengths[:-1]  # where the axes end
    fits = texts - heads >= 4 + 2
    count = len(fits) if fits.all() else int(fits.argmin())
    heads, texts = heads[:count], texts[:count]
    said = np.ndarray(len(window) - 3, "<u4", raw, 0, (1,))[heads]  # the number that begins at each of these bytes
    fits = (said == texts - heads - 4) & (raw[heads + 4] == 0x7B) & (raw[texts - 1] == 0x7D)
    if starts[count] + _PLACE > len(window):
        fits[-1:] = False
    count = count if fits.all() else int(fits.argmin())
    if not count:
        return nothing
    tails = starts[1 : count + 1]
    table = np.empty((count, 9), np.uint32)
    table[:, 0] = files.number(mark[4:])
    table[:, 1:] = np.ndarray((len(window) - _PLACE + 1, 8), "<u4", raw, 0, (1, 4))[tails]
    return heads[:count] + (position + 4), texts[:count] + position, table, position + int(tails[-1]) + _PLACE


def _one_by_one(
    data: bytes, position: int, stop: int, files: FileNames, where: str, skipped: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, bool]:
    """Parse the records that begin before ``stop``; see `_alike`, `batches`; the last value says whether more may follow."""
    begins: list[int] = []
    ends: list[int] = []
    numbers: list[int] = []
    tails: list[bytes] = []
    size, more = len(data), True
    unpack = _U32.unpack_from
    while position < stop and more:
        if position + 4 > size:
            more = False
            break
        length = unpack(data, position)[0]
        begin = position + 4
        end = begin + length
        if length == 0:
            more = False
        elif end + 4 > size:
            if data[begin : begin + 1] != b"{" and begin != size:
                raise DatasetFormatError(f"{where}: byte {skipped + position}: {length} is no length of axes; the index is damaged there")
            more = False  # cut short
        else:
            name_length = unpack(data, end)[0]
            after = end + 4 + name_length + _PLACE
            if data[begin] != 0x7B or data[end - 1] != 0x7D or not 0 < name_length < _NAME_LIMIT:
                raise DatasetFormatError(f"{where}: byte {skipped + position}: no axes and file name; the index is damaged there")
            if after > size:
                more = False  # cut short
            else:
                begins.append(begin)
                ends.append(end)
                numbers.append(files.number(data[end + 4 : after - _PLACE]))
                tails.append(data[after - _PLACE : after])
                position = after
    if not begins:
        return _NONE, _NONE, _EMPTY, position, more
    table = np.empty((len(begins), 9), np.uint32)
    table[:, 0] = numbers
    table[:, 1:] = np.frombuffer(b"".join(tails), "<u4").reshape(-1, 8)
    return np.array(begins), np.array(ends), table, position, more


def _check_places(table: np.ndarray, where: str, first: int) -> None:
    for name, wrong in (
        ("pixel type", table[:, 4] > 6),
        ("pixel compression", table[:, 5] != 0),
        ("metadata compression", table[:, 8] != 0),
        ("size", (table[:, 2] == 0) | (table[:, 3] == 0)),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            raise DatasetFormatError(f"{where}: record {first + row} has a {name} that the format does not know: {table[row, 1:].tolist()}")


def _parse_axes(data: bytes, begins: np.ndarray, ends: np.ndarray, where: str, first: int) -> dict[str, Column]:
    def one(row: int) -> dict[str, int | str]:
        return _parse_one(data[begins[row] : ends[row]], first + row, where)

    return parse_texts(data, begins, ends, one, MOST_AXES, where)


def _parse_one(text: bytes, row: int, where: str) -> dict[str, int | str]:
    try:
        axes = ndtiff.load_json(text)
    except (ValueError, RecursionError) as error:
        raise DatasetFormatError(f"{where}: record {row}: the axes are not JSON: {error}") from None
    if not isinstance(axes, dict):
        raise DatasetFormatError(f"{where}: record {row}: the axes are not a JSON object")
    for name, value in axes.items():
        if value is None:
            raise DatasetFormatError(f"{where}: record {row}: an axis is null, neither an integer nor a string: {axes}")
        if type(value) is not str and not (type(value) is int and -AXIS_LIMIT < value < AXIS_LIMIT):
            raise DatasetFormatError(f"{where}: record {row}: axis {name!r} is {value!r:.60}, neither an integer nor a string")
    return axes
