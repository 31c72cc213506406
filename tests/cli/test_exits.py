"""Each kind of trouble has its exit code and one sentence."""

from __future__ import annotations

import errno

import pytest
import typer

from aiomm import errors
from aiomm.cli.exits import EPILOG, Exit, Interrupted, LostError, NoMicroscopeError, UsageError, errors_as_sentences, exit_code_of, sentence


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.HardwareError("the stage is stuck"), 1),
        (errors.CoreError("no"), 1),
        (errors.HookError("no"), 1),
        (errors.ServerLostError("no"), 1),
        (LostError("no"), 1),
        (ZeroDivisionError("a bug"), 1),
        (UsageError("no"), 2),
        (errors.EventError("no"), 2),
        (errors.LimitError("no"), 2),
        (errors.UnsupportedError("no"), 2),
        (errors.StorageError("no"), 3),
        (errors.DatasetFormatError("no"), 3),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 3),
        (NoMicroscopeError("no"), 4),
        (Interrupted("no"), 130),
        (Interrupted("no", terminated=True), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code
    with pytest.raises(typer.Exit) as caught, errors_as_sentences(debug=False):
        raise error
    assert caught.value.exit_code == code


def test_every_code_is_in_the_help() -> None:
    for code in Exit:
        assert f" {code.value} " in EPILOG


def test_an_error_is_one_line() -> None:
    assert sentence(errors.CoreError("two\n  lines")) == "two lines"
    assert sentence(PermissionError(errno.EACCES, "Permission denied", "out")) == "Permission denied: out"
    assert "ZeroDivisionError: a bug" in sentence(ZeroDivisionError("a bug"))


def test_ctrl_c_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_as_sentences(debug=True):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "aiomm: stopped\n"


def test_debug_lets_errors_through() -> None:
    with pytest.raises(errors.HardwareError), errors_as_sentences(debug=True):
        raise errors.HardwareError("stuck")
