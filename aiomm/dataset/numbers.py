"""Numbers of metadata that others wrote: those to reckon with, and nothing else."""

from __future__ import annotations

import math


def finite(value: object) -> float | None:
    """Take a number of JSON as a float; None for what is no number, is not finite, or is more than a float holds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def positive(value: object) -> float | None:
    """Take a number above 0 as a float; None for anything else."""
    number = finite(value)
    return number if number is not None and number > 0 else None
