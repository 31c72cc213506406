"""useq sequences and events, read by their shape: everything arrives, or is refused by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import useq

from aiomm.acquire.sources import open_source
from aiomm.errors import EventError, UnsupportedError


def test_everything_of_an_event_arrives() -> None:
    source = useq.MDAEvent(
        index={"t": 1, "p": 2, "c": 0, "z": 3, "cam": 1},
        channel={"config": "DAPI", "group": "Light"},
        exposure=5,
        min_start_time=1.5,
        pos_name="A1",
        x_pos=1,
        y_pos=2,
        z_pos=3,
        slm_image=np.array([[1, 2]], np.uint8),
        properties=[("Camera", "Gain", 2)],
        metadata={"dose": 3},
        keep_shutter_open=True,
        reset_event_timer=True,
    )
    (event,) = open_source(source)
    assert event.axes == {"time": 1, "position": 2, "channel": "DAPI", "z": 3, "cam": 1}
    assert event.config == ("Light", "DAPI")
    assert (event.exposure, event.min_start_time, event.x, event.y, event.z) == (5, 1.5, 1, 2, 3)
    assert np.asarray(event.slm_pattern).tolist() == [[1, 2]]
    assert event.properties == (("Camera", "Gain", "2"),)
    assert event.tags == {"dose": 3, "pos_name": "A1"}
    assert event.keep_shutter_open is True and event.reset_event_timer is True


def test_a_sequence_is_one_scope_and_its_setup_comes_first() -> None:
    sequence = useq.MDASequence(
        channels=["DAPI", {"config": "FITC", "exposure": 20}],
        z_plan={"range": 2, "step": 1},
        time_plan={"interval": 1, "loops": 2},
        setup=useq.MDAEvent(properties=[("Camera", "Binning", "2")], exposure=3),
        keep_shutter_open_across="z",
    )
    source = open_source(sequence)
    assert (source.scope, len(source)) == ("list", 13)
    events = list(source)
    assert not events[0].acquire and events[0].properties == (("Camera", "Binning", "2"),) and events[0].exposure == 3
    theirs = list(sequence)
    for mine, yours in zip(events[1:], theirs, strict=True):
        assert yours.channel is not None
        assert mine.acquire
        assert mine.axes == {"time": yours.index["t"], "channel": yours.channel.config, "z": yours.index["z"]}
        assert (mine.z, mine.min_start_time, mine.exposure) == (yours.z_pos, yours.min_start_time, yours.exposure)
        assert bool(mine.keep_shutter_open) == yours.keep_shutter_open
        assert mine.reset_event_timer == yours.reset_event_timer
    assert sum(bool(event.keep_shutter_open) for event in events) == 8


@pytest.mark.parametrize("order", ["tpgcz", "gptcz", "tgpcz"])
def test_tiles_of_a_grid_never_collide(order: str) -> None:
    sequence = useq.MDASequence(
        axis_order=order,
        stage_positions=[(0, 0), (100, 100)],
        grid_plan={"rows": 2, "columns": 2},
        time_plan={"interval": 0, "loops": 2},
        channels=["DAPI"],
    )
    events = list(open_source(sequence))
    assert len({event.key for event in events}) == len(events) == 16
    assert {event.axes["position"] for event in events} == set(range(8))
    places: dict[Any, Any] = {}
    for event in events:
        assert places.setdefault(event.axes["position"], (event.x, event.y)) == (event.x, event.y), "one number, one place"
    assert len(set(places.values())) == 8
    assert events[0].tags == {"useq_index": {"p": 0, "g": 0}}


def test_a_grid_at_one_position_only() -> None:
    sequence = useq.MDASequence(
        stage_positions=[(0, 0), useq.Position(x=9, y=9, sequence=useq.MDASequence(grid_plan={"rows": 1, "columns": 2})), (5, 5)],
        time_plan={"interval": 0, "loops": 2},
    )
    events = list(open_source(sequence))
    assert [event.axes["position"] for event in events] == [0, 1, 2, 3] * 2
    assert len({event.key for event in events}) == 8


def test_a_grid_without_positions() -> None:
    events = list(open_source(useq.MDASequence(grid_plan={"rows": 1, "columns": 3})))
    assert [event.axes for event in events] == [{"position": i} for i in range(3)]


def test_equal_presets_of_two_groups_stay_two_channels() -> None:
    sequence = useq.MDASequence(channels=[{"config": "DAPI", "group": "A"}, {"config": "DAPI", "group": "B"}])
    assert [(event.axes, event.config) for event in open_source(sequence)] == [
        ({"channel": "DAPI"}, ("A", "DAPI")),
        ({"channel": "B-DAPI"}, ("B", "DAPI")),
    ]


def test_iterables_of_events_are_windows_or_lists() -> None:
    sequence = useq.MDASequence(channels=["DAPI"], time_plan={"interval": 0, "loops": 5})
    windows = open_source(iter(sequence))
    assert [len(windows.next_items(3)) for _ in range(3)] == [3, 2, 0]
    assert len(list(open_source(list(sequence)))) == 5


def test_version_2_is_pulled_as_far_as_asked() -> None:
    import useq.v2

    source = open_source(useq.v2.MDASequence(time_plan={"interval": 0.1}, channels=["DAPI"]))
    assert [event.axes["time"] for event in source.next_items(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"roi": (0, 0, 10, 10)}, "camera ROI"),
        ({"action": {"type": "custom", "name": "bleach"}}, "custom action 'bleach'"),
        ({"action": {"type": "hardware_autofocus", "autofocus_device_name": "Z", "autofocus_motor_offset": 1}}, "hardware autofocus"),
        ({"slm_image": {"data": [[1]], "device": "Mosaic"}}, "SLM 'Mosaic'"),
        ({"slm_image": {"data": [[1]], "exposure": 3}}, "exposure of the SLM"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    events = [useq.MDAEvent(index={"t": 0}), useq.MDAEvent(index={"t": 1, "z": 2}, **changes)]
    with pytest.raises(UnsupportedError, match=rf"event 1 \(t=1, z=2\).*{words}"):
        list(open_source(events))


def test_an_autofocus_plan_is_refused() -> None:
    sequence = useq.MDASequence(
        stage_positions=[(0, 0, 0)], autofocus_plan={"axes": ("p",), "autofocus_device_name": "Z", "autofocus_motor_offset": 3}
    )
    with pytest.raises(UnsupportedError, match="autofocus"):
        list(open_source(sequence))


def test_a_setup_that_sets_a_roi_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"the setup event .* camera ROI"):
        list(open_source(useq.MDASequence(channels=["DAPI"], setup=useq.MDAEvent(roi=(0, 0, 9, 9)))))


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(EventError, match="event 0: properties"):
        list(open_source(useq.MDAEvent(properties=[("Camera", "Gain", True)])))


def test_useq_is_not_imported() -> None:
    code = "import sys, aiomm.acquire.sources; sys.exit('useq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
