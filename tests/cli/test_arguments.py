"""What is written on the command line means what it says, or is refused with what would be right."""

from __future__ import annotations

import pytest

from aiomm.cli.arguments import channel_names, exposures, z_range
from aiomm.cli.exits import UsageError


@pytest.mark.parametrize(("text", "value"), [("0:10:1", (0.0, 10.0, 1.0)), ("-5:5:0.5", (-5.0, 5.0, 0.5)), ("10:0:-2", (10.0, 0.0, -2.0))])
def test_z_range(text: str, value: tuple[float, float, float]) -> None:
    assert z_range(text) == value


@pytest.mark.parametrize("text", ["", "5", "0:10", "0:10:1:2", "a:b:c", "0,10,1"])
def test_wrong_z_range_shows_a_right_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"START:END:STEP.*-z 0:10:1"):
        z_range(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [("0:4:0", "STEP must not be 0"), ("0:10:-1", "other sign"), ("10:0:1", "other sign"), ("0:inf:1", "finite"), ("0:nan:1", "finite")],
)
def test_a_z_range_that_makes_no_stack(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"^-z {text!r}: .*{says}"):
        z_range(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("DAPI", (None, ["DAPI"])),
        ("DAPI, FITC", (None, ["DAPI", "FITC"])),
        ("Channel:DAPI,FITC", ("Channel", ["DAPI", "FITC"])),
        ("My group:Red 1", ("My group", ["Red 1"])),
    ],
)
def test_channels(text: str, value: tuple[str | None, list[str]]) -> None:
    assert channel_names(text) == value


@pytest.mark.parametrize("text", ["", "DAPI,", "Channel:", ":DAPI", ","])
def test_wrong_channels_show_right_ones(text: str) -> None:
    with pytest.raises(UsageError, match="Channel:DAPI,FITC"):
        channel_names(text)


def test_one_exposure_is_for_every_channel() -> None:
    assert exposures("10", ["DAPI", "FITC"]) == [10.0, 10.0]
    assert exposures("10,50", ["DAPI", "FITC"]) == [10.0, 50.0]
    assert exposures("7.5", []) == [7.5]


@pytest.mark.parametrize(
    ("text", "channels", "says"),
    [
        ("x", [], "time in ms"),
        ("0", [], "longer than 0"),
        ("-1", [], "longer than 0"),
        ("nan", [], "longer than 0"),
        ("inf", [], "finite"),
        ("1,2,3", ["DAPI", "FITC"], "3 times for 2 channels"),
        ("1,2", [], "2 times for no channels"),
    ],
)
def test_wrong_exposures(text: str, channels: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        exposures(text, channels)
