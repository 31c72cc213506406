"""Events as Java's engine reads them: what it takes arrives as it was, what it cannot take is refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.remote.events import NO_CAMERA, decode_events, encode_event, excuse, write_events
from aiomm.errors import EventError, JavaValueError
from tests.acquire.remote.sessions import playing, saved, wanted

if TYPE_CHECKING:
    from pathlib import Path

    import aiomm

FULL: dict[str, Any] = {
    "axes": {"time": np.int64(3), "pos": "A1"},
    "config_group": ["Channel", "Cy5"],
    "exposure": 5,
    "z": np.float32(1.5),
    "x": 10,
    "y": -2.5,
    "stage_positions": [["Z 2", 7]],
    "properties": [["LED", "Intensity", 4], ["Camera", "Gain", "2"]],
    "tags": {"who": "me@lab.org"},
    "timeout": 500,
}


def event(**changes: Any) -> AcquisitionEvent:
    return AcquisitionEvent.from_dict({"axes": {"time": 0}, **changes})


def test_everything_that_java_knows_in_plain_values() -> None:
    found = encode_event(AcquisitionEvent.from_dict({**FULL, "camera": "Camera 2", "keep_shutter_open": True, "min_start_time": 1.5}))
    assert found == {
        "axes": {"time": 3, "pos": "A1", "channel": "Cy5"},
        "config_group": ["Channel", "Cy5"],
        "exposure": 5.0,
        "z": 1.5,
        "x": 10.0,
        "y": -2.5,
        "stage_positions": [["Z 2", 7.0]],
        "properties": [["LED", "Intensity", "4"], ["Camera", "Gain", "2"]],
        "tags": {"who": "me@lab.org"},
        "timeout": 500.0,
    }
    assert [type(found["axes"]["time"]), type(found["z"])] == [int, float]
    assert encode_event(event(camera="Camera 2"), camera=True)["camera"] == "Camera 2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": {"n": 1}}, r"tags\['n'\] is 1: .* takes text only: '1'"),
        ({"axes": {"time": 2**31}}, r"axes\['time'\] is 2147483648: .* below 2\*\*31"),
        ({"axes": {"a\ud800": 1}}, r"axes: 'a\\ud800': 1 has half a surrogate pair"),
        ({"axes": {"a": "\udc00b"}}, r"axes: 'a': '\\udc00b' has half a surrogate pair"),
        ({"tags": {"\ud800": "a"}}, "tags: .* has half a surrogate pair"),
        ({"tags": {"a": "µ\ud800"}}, "tags: .* has half a surrogate pair"),
        ({"properties": [["LED", "Intensity", "1"], ["LED", "Color", "red"]]}, "several of device 'LED'"),
        ({"slm_pattern": b"1234", "stage_positions": [["Z@2", 1]]}, "'Z@2' beside an slm_pattern"),
    ],
)
def test_what_java_cannot_take_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EventError, match=message):
        encode_event(event(**changes))


def test_letters_beyond_16_bits_and_others_are_text() -> None:
    assert encode_event(event(axes={"µ": "\U0001f52c"}, tags={"中": "文"}))["axes"] == {"µ": "\U0001f52c"}


def test_an_event_without_an_image_is_not_for_java() -> None:
    with pytest.raises(EventError, match="exposes always"):
        encode_event(AcquisitionEvent.from_dict({"z": 3}))


def test_patterns_as_java_reads_them() -> None:
    assert encode_event(event(slm_pattern=b"\1\2"))["slm_pattern"].tolist() == [1, 2]
    grey = encode_event(event(slm_pattern=np.arange(6).reshape(2, 3)))["slm_pattern"]
    assert (grey.dtype, grey.tolist()) == (np.uint8, [0, 1, 2, 3, 4, 5])
    colour = encode_event(event(slm_pattern=np.array([[0x01020304, 0xFF000000]], np.uint32)))["slm_pattern"]
    assert (colour.dtype, colour.tolist()) == (np.int32, [0x01020304, -0x01000000])


def test_events_come_back_in_our_dialect() -> None:
    java = {"axes": {"time": 1}, "z": 2, "exposure": 10, "stage_positions": [["Z 2", 3]], "slm_pattern": "[I@1f"}
    assert decode_events(java) == [{"axes": {"time": 1}, "z": 2.0, "exposure": 10.0, "stage_positions": [["Z 2", 3.0]]}]
    assert decode_events({"events": [java, {}]})[1] == {"axes": {}}
    assert decode_events([java])[0]["z"] == 2.0
    assert type(decode_events(java)[0]["z"]) is float
    with_pattern = decode_events({"slm_pattern": np.array([-1, 1], np.int8)})[0]
    assert with_pattern["slm_pattern"].tolist() == [255, 1]


def test_an_excuse_exposes_nothing() -> None:
    asked = {"axes": {"time": 1}, "slm_pattern": "x"}
    assert excuse(asked, exposes=True) == {"axes": {"time": 1}, "camera": NO_CAMERA}
    assert excuse({"events": [asked, asked]}, exposes=True) == {"events": [{"axes": {"time": 1}, "camera": NO_CAMERA}] * 2}
    assert excuse(asked, exposes=False) == {"axes": {"time": 1}}


async def test_the_microscope_does_what_it_says(bridge: aiomm.Bridge, control: Any, tmp_path: Path) -> None:
    first = AcquisitionEvent.from_dict(FULL | {"axes": {"time": 0}})
    await control.clear_journal()
    async with playing(bridge, wanted(tmp_path, "post_hardware")) as played:
        await played.session.send([encode_event(first)])
        await played.session.send_end()
    asked = AcquisitionEvent.from_dict(decode_events(played.asked["post_hardware"][0])[0])
    assert encode_event(asked) == {**encode_event(first), "properties": [["Camera", "Gain", "2"], ["LED", "Intensity", "4"]]}
    done = (await control.journal()).splitlines()
    for line in (
        "setPosition Z 1.5",
        "setXYPosition XY 10.0 -2.5",
        "setPosition Z 2 7.0",
        "setProperty Camera Gain 2",
        "setConfig Channel Cy5",
    ):
        assert line in done
    assert "setProperty LED Intensity 4" in done
    assert (await saved(played.session.path)).metadata[0]["tags"] == {"who": "me@lab.org"}


async def test_a_pattern_beside_texts_with_an_at(bridge: aiomm.Bridge, control: Any) -> None:
    """Java takes every text with an '@' for a place of binary data, in the order of its own table."""
    core = await bridge.get_core()
    slm = await core.get_slm_device()
    size = await core.get_slm_width(slm) * await core.get_slm_height(slm)
    values = {"axes": {"who": "a@b"}, "tags": {"to": "me@lab.org"}, "properties": [["LED", "Note", "x@y"]], "exposure": 3, "z": 1, "x": 1}
    patterned = event(**values, y=1, timeout=100, slm_pattern=bytes(range(200)) + bytes(size - 200), config_group=["Channel", "Cy5"])
    await control.clear_journal()
    async with playing(bridge, wanted()) as played:
        await played.session.send([encode_event(patterned)])
        await played.session.send_end()
    assert played.milestones.count("image_saved") == 1
    assert "setSLMImage" in await control.journal()
    assert await core.get_property("LED", "Note") == "x@y"


def test_two_events_with_an_at_beside_a_pattern_are_refused() -> None:
    """Only one event's table is sure to have the pattern first."""
    one = encode_event(event(tags={"to": "me@lab.org"}, slm_pattern=b"12"))
    with pytest.raises(JavaValueError, match="'@'"):
        write_events([one, one])
