from __future__ import annotations

import pytest

from aiomm.core.translate import core_error
from aiomm.errors import CoreError, StorageError


@pytest.mark.parametrize(
    ("text", "args", "device"),
    [
        ('Error in device "Z": Position out of range (103)', (1e9,), "Z"),
        ('No device with label "nope"', ("nope",), "nope"),
        ('Device "Camera" is of the wrong type for the requested operation', ("Camera",), "Camera"),
        ('Cannot stop "Camera": not a stage', ("Camera",), "Camera"),
        ("Camera not loaded or initialized.", (), None),
    ],
)
def test_the_device_is_taken_from_mmcores_text(text: str, args: tuple[object, ...], device: str | None) -> None:
    error = core_error(RuntimeError(text), "someMethod", args)
    assert isinstance(error, CoreError)
    assert (error.device, error.text, error.method, error.arguments) == (device, text, "someMethod", args)


def test_else_it_is_the_first_argument_where_that_is_a_label() -> None:
    forms = ("prop: str, value: str", "label: str, prop: str, value: str")
    error = core_error(RuntimeError("no"), "setProperty", ("Camera", "Binning", "17"), forms=forms)
    assert isinstance(error, CoreError)
    assert error.device == "Camera"
    other = core_error(RuntimeError("no"), "setProperty", ("Binning", "17"), forms=forms)
    assert isinstance(other, CoreError)
    assert other.device is None


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), IndexError("x"), OSError("x"), MemoryError("x")])
def test_every_kind_that_pymmcore_raises(error: Exception) -> None:
    assert isinstance(core_error(error, "m", ()), CoreError)


def test_what_is_not_mmcores_stays_what_it_is() -> None:
    for error in (StorageError("full"), KeyboardInterrupt(), KeyError("own")):
        assert core_error(error, "m", ()) is error


def test_wrong_arguments_stay_a_type_error() -> None:
    error = core_error(TypeError("Wrong number"), "setROI", (1,), forms=("x: int, y: int",))
    assert type(error) is TypeError
    assert str(error) == "set_roi(1): takes other arguments; it is set_roi(x: int, y: int)"
    assert "too large" in str(core_error(OverflowError("too large"), "setROI", (1 << 99,), forms=("x: int",)))
