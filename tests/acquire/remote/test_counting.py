"""The camera's own count: which images are those that Micro-Manager's engine takes them for."""

from __future__ import annotations

import numpy as np
import pytest

from aiomm.acquire.remote.counting import AskedFrame, CameraCount

COUNT = 10


def frames(cameras: tuple[str, ...] = ("",)) -> list[AskedFrame]:
    axes = [{"n": n} for n in range(COUNT)]
    count = CameraCount(axes, several=len(cameras) > 1)
    return [
        AskedFrame({**one, "camera": camera} if camera else dict(one), np.zeros(0), {}, count=count, place=place)
        for place, one in enumerate(axes)
        for camera in cameras
    ]


def judged(told: list[tuple[AskedFrame, int | None]]) -> list[bool]:
    return [frame.count is not None and frame.count.follows(frame, number) for frame, number in told]


@pytest.mark.parametrize("first", [0, 1, 700])
def test_all_is_there(first: int) -> None:
    assert judged([(frame, first + frame.place) for frame in frames()]) == [True] * COUNT


@pytest.mark.parametrize("place", range(1, COUNT))
def test_a_lost_frame(place: int) -> None:
    asked = frames()
    assert judged([(frame, frame.place + (frame.place >= place)) for frame in asked]) == [frame.place < place for frame in asked]
    assert asked[0].count is not None
    assert f"image number {place + 1} came where {place} was due" in asked[0].count.lost
    assert str({"n": place}) in asked[0].count.lost


@pytest.mark.parametrize("place", range(1, COUNT))
def test_a_number_that_cannot_be_read_is_no_lost_frame(place: int) -> None:
    assert judged([(frame, None if frame.place == place else frame.place) for frame in frames()]) == [True] * COUNT


@pytest.mark.parametrize("place", range(1, COUNT))
def test_a_notice_that_is_lost_is_no_lost_frame(place: int) -> None:
    assert judged([(frame, frame.place) for frame in frames() if frame.place != place]) == [True] * (COUNT - 1)


def test_a_lost_frame_behind_a_number_that_cannot_be_read() -> None:
    numbers = [0, 1, None, 4, 5, 6, 7, 8, 9, 10]
    assert judged(list(zip(frames(), numbers, strict=True))) == [True, True, True, *[False] * 7]


def test_a_group_in_several_sequences() -> None:
    """Also when a hook left out a whole one of them: the first, or another."""
    numbers = [0, 1, 2, 0, 1, 2, 3, 0, 1, 2]
    told = list(zip(frames(), numbers, strict=True))
    assert judged(told) == [True] * COUNT
    for gone in (slice(0, 3), slice(3, 7)):
        told = list(zip(frames(), numbers, strict=True))
        del told[gone]
        assert all(judged(told))
    lost = [0, 1, 2, 0, 2, 3, 4, 0, 1, 2]
    assert judged(list(zip(frames(), lost, strict=True))) == [True] * 4 + [False] * 6


def test_each_camera_counts_for_itself() -> None:
    asked = frames(("A", "B"))
    told = [(frame, frame.place + (50 if frame.axes["camera"] == "B" else 0)) for frame in asked]
    assert all(judged(told))
    asked = frames(("A", "B"))
    told = [(frame, frame.place + (frame.axes["camera"] == "B" and frame.place > 4)) for frame in asked]
    assert judged(told) == [frame.place < 5 or (frame.place == 5 and frame.axes["camera"] == "A") for frame in asked]
