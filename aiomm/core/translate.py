"""MMCore's exceptions as `CoreError`: with the device, what was asked, and MMCore's own text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiomm.core.names import snake_case
from aiomm.errors import AiommError, CoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

# MMCore names the device that refused in its text; a setting of the Core pseudo-device is named otherwise.
_DEVICE = re.compile(r'(?:[Dd]evice(?: with label)?|shutter|camera|stage|Cannot stop) "([^"]*)"')
_LABEL_FIRST = re.compile(r"^(label|.*_label|device_label): ")


def core_error(error: BaseException, method: str = "", args: tuple[object, ...] = (), *, forms: Sequence[str] = ()) -> BaseException:
    """Give the exception that a caller of ``method(*args)`` sees instead of ``error``.

    Parameters
    ----------
    error : BaseException
        What pymmcore raised.
    method : str
        MMCore's name of the method (``setXYPosition``), or empty.
    args : tuple
        What it was called with.
    forms : sequence of str
        The parameters of each form of the call, in snake_case, for the message about wrong arguments.

    Returns
    -------
    BaseException
        A `CoreError` for what MMCore or a device refused, a `TypeError` that names the signature for arguments of the
        wrong number or type, and ``error`` itself for what is neither (also one of aiomm's own errors).
    """
    if isinstance(error, AiommError) or not isinstance(error, Exception):
        return error
    if isinstance(error, (TypeError, OverflowError, NotImplementedError)):
        return wrong_arguments(error, method, args, forms)
    if not isinstance(error, (RuntimeError, ValueError, IndexError, OSError, MemoryError)):
        return error
    text = str(error).strip() or type(error).__name__
    return CoreError(text, method=method, arguments=args, device=device_of(text, args, forms))


def core_exception(error: Exception, method: str = "", args: tuple[object, ...] = ()) -> Exception:
    """Do as `core_error`, for what was caught as an ``Exception``."""
    translated = core_error(error, method, args)
    return translated if isinstance(translated, Exception) else error


def device_of(text: str, args: tuple[object, ...], forms: Sequence[str]) -> str | None:
    """Find the label of the device that refused: in MMCore's text, else in the call's first argument."""
    if found := _DEVICE.search(text):
        return found[1] or None
    for form in forms:
        listed = form.split(", ") if form else []
        if listed and len(listed) == len(args) and _LABEL_FIRST.match(listed[0]) and isinstance(args[0], str):
            return args[0]
    return None


def wrong_arguments(error: Exception, method: str, args: tuple[object, ...], forms: Sequence[str]) -> TypeError:
    """A `TypeError` that names the signature in the spelling of this package."""
    if not method:
        return TypeError(str(error))
    name = snake_case(method)
    given = ", ".join(f"{a!r:.80}" for a in args)
    wanted = " or ".join(f"{name}({form})" for form in forms) or name
    problem = "takes other arguments" if isinstance(error, (TypeError, NotImplementedError)) else str(error)
    return TypeError(f"{name}({given}): {problem}; it is {wanted}")
