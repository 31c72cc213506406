"""What the exit codes mean, and how an error becomes one clear sentence and one of them."""

from __future__ import annotations

import contextlib
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from aiomm.errors import AiommError, BridgeError, DatasetError, EventError, UnsupportedError
from aiomm_command import begun

if TYPE_CHECKING:
    from collections.abc import Iterator


class Exit(IntEnum):
    """Exit codes of the ``aiomm`` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    STORAGE = 3
    NO_MICROSCOPE = 4
    INTERRUPTED = 130
    TERMINATED = 143


EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a dataset could not be written or read, "
    "4 no microscope (configuration, device adapters, or no Micro-Manager at the port), "
    "130 interrupted, 143 told to end (SIGTERM)."
)


class UsageError(Exception):
    """The arguments do not make sense; the message says what would."""


class NoMicroscopeError(Exception):
    """The configuration could not be loaded, or no Micro-Manager answers."""


class LostError(Exception):
    """The running Micro-Manager went in the middle; the message says what is saved and what is lost."""


class Interrupted(Exception):
    """The user stopped the command, or SIGTERM did; what was saved is kept."""

    def __init__(self, text: str, *, terminated: bool = False) -> None:
        super().__init__(text)
        self.terminated = terminated


def exit_code_of(error: BaseException) -> Exit:
    """Return the exit code that says what kind of trouble this is."""
    if isinstance(error, Interrupted) and error.terminated:
        return Exit.TERMINATED
    kinds: list[tuple[tuple[type[BaseException], ...], Exit]] = [
        ((Interrupted, KeyboardInterrupt), Exit.INTERRUPTED),
        ((NoMicroscopeError,), Exit.NO_MICROSCOPE),
        ((UsageError, EventError, UnsupportedError), Exit.USAGE),
        ((BridgeError,), Exit.FAILED),  # some are OSErrors too, and have nothing to do with a disk
        ((DatasetError, OSError), Exit.STORAGE),
    ]
    return next((code for types, code in kinds if isinstance(error, types)), Exit.FAILED)


def sentence(error: BaseException) -> str:
    """Say the error in one line; name its type only where aiomm did not raise it on purpose."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return text  # there is none
    if isinstance(error, AiommError | UsageError | NoMicroscopeError | LostError | Interrupted):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {text} (--debug shows where)"


@contextlib.contextmanager
def errors_as_sentences(debug: bool) -> Iterator[None]:
    """Turn an error into one sentence on stderr and an exit code; with ``debug`` let it through with its traceback."""
    try:
        begun()
        yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, typer.Exit | typer.Abort):
            raise
        code = exit_code_of(error)
        stopped = code in (Exit.INTERRUPTED, Exit.TERMINATED)
        if debug and not stopped:
            raise
        label = "stopped" if stopped else "error"
        typer.echo(f"aiomm: {label}: {sentence(error)}".removesuffix(": "), err=True)
        raise typer.Exit(code) from error
