"""Parse the axes of many index records at once: texts that differ in digits and names only are columns of bytes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from aiomm.dataset.columns import ABSENT, Column, Labels, mixed
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from collections.abc import Callable

FEW: Final = 8
"""Texts that are not worth to be parsed as columns."""
SHAPES: Final = 100
"""How many shapes of texts are parsed as columns; the rest one by one."""

_SPACE = rb"[ \t\n\r]*"
_STRING = rb'"((?:[^"\\]|\\.)*)"'
_BEGIN = re.compile(rb"\{" + _SPACE)
_PAIR = re.compile(
    _STRING + _SPACE + b":" + _SPACE + rb"(?:(-?)(0|[1-9][0-9]{0,17})|" + _STRING + b")" + _SPACE + rb"(?:," + _SPACE + rb"|(\}\Z))"
)


class _Value(NamedTuple):
    """Where a value is in texts of one shape."""

    name: str
    begin: int
    end: int
    sign: int
    """Of an integer: 1 or -1, which is before ``begin``; 0: it is a string."""


class _Columns:
    """The columns of some rows, filled bit by bit."""

    def __init__(self, count: int, most: int, where: str) -> None:
        self._count, self._most, self._where = count, most, where
        self._codes: dict[str, np.ndarray] = {}
        self._numbers: dict[str, dict[str, int]] = {}

    def numbers(self, name: str) -> dict[str, int]:
        """Number of each string on an axis so far; whoever finds a new one adds it."""
        self._column(name, str)
        return self._numbers[name]

    def put(self, name: str, kind: type, rows: Any, codes: Any) -> None:
        """Fill rows of an axis with integers, or with numbers of strings."""
        self._column(name, kind)[rows] = codes

    def _column(self, name: str, kind: type) -> np.ndarray:
        codes = self._codes.get(name)
        if codes is None:
            if len(self._codes) == self._most:
                raise DatasetFormatError(f"{self._where}: it has more than {self._most} axes; the index is damaged")
            codes = self._codes[name] = np.full(self._count, ABSENT, np.int64)
            if kind is str:
                self._numbers[name] = {}
        elif (kind is str) != (name in self._numbers):
            raise DatasetFormatError(f"{self._where}: {mixed(name, {int, str})}")
        return codes

    def done(self) -> dict[str, Column]:
        """All columns."""
        numbers = self._numbers
        return {name: Labels(list(numbers[name]), codes) if name in numbers else codes for name, codes in self._codes.items()}


def parse_texts(
    data: bytes, begins: np.ndarray, ends: np.ndarray, one: Callable[[int], dict[str, int | str]], most: int, where: str
) -> dict[str, Column]:
    """Parse the texts that begin and end at these bytes of ``data``, one for each row.

    Parameters
    ----------
    one : callable
        Parses and checks the text of a row, where it is not clear at once.
    most : int
        How many axes there may be.
    where : str
        What the texts are of, for messages.

    Raises
    ------
    DatasetFormatError
        An axis has integers and strings; there are more than ``most`` axes.
    """
    columns = _Columns(len(begins), most, where)
    lengths = ends - begins
    left = np.arange(len(begins))
    for _ in range(SHAPES):
        if len(left) < FEW:
            break
        first = int(left[0])
        shape = _shape_of(data[begins[first] : ends[first]])
        if shape is None:
            _put(columns, first, one(first))
            left = left[1:]
            continue
        length = int(lengths[first])
        alike = lengths[left] == length
        rows = left[alike]
        fits = _parse_alike(np.ndarray((len(data) - length + 1, length), np.uint8, data, 0, (1, 1))[begins[rows]], shape, rows, columns)
        left = left[~alike] if fits.all() else np.concatenate((rows[~fits], left[~alike]))
    for row in left.tolist():
        _put(columns, row, one(row))
    return columns.done()


def _put(columns: _Columns, row: int, axes: dict[str, int | str]) -> None:
    for name, value in axes.items():
        if isinstance(value, str):
            numbers = columns.numbers(name)
            columns.put(name, str, row, numbers.setdefault(value, len(numbers)))
        else:
            columns.put(name, int, row, value)


def _shape_of(text: bytes) -> list[_Value] | None:
    """Where the values are in a text; None where only a parser of JSON can say."""
    match = _BEGIN.match(text)
    if match is None:
        return None
    if text[match.end() :] == b"}":
        return []
    values: list[_Value] = []
    while True:
        match = _PAIR.match(text, match.end())
        if match is None:
            return None
        name, sign, digits, _, end = match.groups()
        if b"\\" in name or not name.isascii() or not name.decode().isprintable():
            return None
        begin, stop = match.span(4 if digits is None else 3)
        values.append(_Value(name.decode(), begin, stop, 0 if digits is None else -1 if sign else 1))
        if end:
            return values if len({value.name for value in values}) == len(values) else None


def _parse_alike(texts: np.ndarray, shape: list[_Value], rows: np.ndarray, columns: _Columns) -> np.ndarray:
    """Parse texts of one length, given as their bytes, as far as they have the shape of the first; say which have."""
    free = np.zeros(texts.shape[1], bool)
    for value in shape:
        free[value.begin : value.end] = True
    fits: np.ndarray = ((texts == texts[0]) | free).all(axis=1)
    found: list[np.ndarray] = []
    for name, begin, end, sign in shape:
        part = texts[:, begin:end]
        if sign:
            digits = part - 0x30  # below 0x30 they become large
            fits &= (digits < 10).all(axis=1)
            if end - begin > 1:
                fits &= digits[:, 0] != 0
            codes = np.zeros(len(texts), np.int64)
            for place in range(end - begin):
                codes = 10 * codes + digits[:, place]
            found.append(sign * codes)
        else:
            codes = _number_strings(part, columns.numbers(name))
            fits &= codes != ABSENT
            found.append(codes)
    every = bool(fits.all())
    for value, codes in zip(shape, found, strict=True):
        columns.put(value.name, int if value.sign else str, rows if every else rows[fits], codes if every else codes[fits])
    return fits


def _number_strings(texts: np.ndarray, numbers: dict[str, int]) -> np.ndarray:
    """Numbers of strings given as their bytes in JSON, new ones too; `ABSENT` for what is none."""
    count, length = texts.shape
    firsts = np.concatenate(([0], np.flatnonzero((texts[1:] != texts[:-1]).any(axis=1)) + 1))  # of those that are equal in a row
    joined = texts[firsts].tobytes()
    parts = [joined[at : at + length] for at in range(0, len(joined), length)] if length else [b""]
    known: dict[bytes, int] = {}
    for part in dict.fromkeys(parts):
        try:
            value = json.loads(f'"{part.decode()}"')
        except ValueError:
            known[part] = ABSENT
        else:
            known[part] = numbers.setdefault(value, len(numbers))
    codes = np.array([known[part] for part in parts], np.int64)
    return np.repeat(codes, np.diff(firsts, append=count))
