"""The values of one axis over many rows, as an array of integers: a string is its number in a list."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aiomm.dataset.encode import AXIS_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

ABSENT = -(1 << 63)
"""What stands for the value in a row that does not have the axis."""


class Labels(NamedTuple):
    """A column of strings."""

    names: list[str]
    """Each string once."""
    codes: np.ndarray
    """int64: which of the names each row has, or `ABSENT`."""


Column = np.ndarray | Labels
"""Integers as int64, or strings."""


def columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, Column]:
    """Make the columns of rows given as dicts of axes.

    Raises
    ------
    TypeError, ValueError
        An axis has integers and strings, or neither; or integers of 2**62 and more.
    """
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    return {name: make_column(name, [axes.get(name) for axes in rows]) for name in names}


def make_column(name: str, values: Sequence[Any]) -> Column:
    """Make a column of values, None where a row does not have one; see `columns_of`."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        names = [value for value in dict.fromkeys(values) if value is not None]
        table: dict[Any, int] = {None: ABSENT} | {value: code for code, value in enumerate(names)}
        return Labels(names, np.array(list(map(table.__getitem__, values)), np.int64))
    if kinds != {int}:
        raise mixed(name, kinds)
    integers = [value for value in values if value is not None]
    if min(integers) <= -AXIS_LIMIT or max(integers) >= AXIS_LIMIT:
        raise ValueError(f"axis {name!r} has integers beyond 2**62")
    return np.array(values if len(integers) == len(values) else [ABSENT if value is None else value for value in values], np.int64)


def mixed(name: str, kinds: set[type]) -> TypeError:
    """Make the error for an axis with values of several types, or of a wrong one."""
    return TypeError(f"axis {name!r} has values of types {sorted(kind.__name__ for kind in kinds)}; an axis is all integers or all strings")


def values_of(column: Column) -> list[Any]:
    """Values of a column by row, equal ones as one object; None where a row does not have one."""
    if isinstance(column, Labels):
        labels = [*column.names, None]
        return [labels[code] for code in np.where(column.codes == ABSENT, -1, column.codes).tolist()]
    values: list[Any] = column.tolist()
    shared: dict[Any, Any] = {ABSENT: None}
    return list(map(shared.setdefault, values, values))


def in_order_seen(column: Labels) -> Labels:
    """Renumber the strings in order of first appearance."""
    names, codes = column
    first = np.full(len(names) + 1, len(codes))
    first[np.where(codes == ABSENT, -1, codes)[::-1]] = np.arange(len(codes))[::-1]  # of equal places the last one stays
    order = np.argsort(first[:-1], kind="stable")
    order = order[first[order] < len(codes)]
    numbers = np.full(len(names) + 1, ABSENT)
    numbers[order] = np.arange(len(order))
    return Labels([names[code] for code in order.tolist()], numbers[np.where(codes == ABSENT, -1, codes)])
