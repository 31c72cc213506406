"""A contact sheet shows every channel and both ends of every axis, each image where its label says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from aiomm.dataset import Axes, Dataset, Frame, MemoryWriter
from aiomm.errors import UnsupportedError
from aiomm.viewer import contact_sheet, draw_contact_sheet, save_contact_sheet

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 32  # of the small images in these tests


def dataset(axes: list[Axes], pixels: Any) -> Dataset:
    """Make a dataset in memory; ``pixels`` is called with the axes of each image."""
    writer = MemoryWriter({}, on_saved=lambda frames: None)
    for one in axes:
        writer.put(Frame(axes=one, pixels=pixels(one), metadata={}))
    writer.finish()
    return writer.dataset


def ramp(value: int = 0) -> np.ndarray:
    """An image whose brightness is known: dark left, ``value`` brighter right."""
    return np.tile(np.linspace(100, 200 + value, 64).astype(np.uint16), (64, 1))


def cell(sheet: Image.Image, x: int, y: int) -> np.ndarray:
    """The small image at a place of the grid, as grey values."""
    left = contact_sheet.GAP + x * (SIDE + contact_sheet.GAP)
    top = contact_sheet.HEADER + y * (SIDE + contact_sheet.LABEL + contact_sheet.GAP) + contact_sheet.LABEL
    return np.asarray(sheet)[top : top + SIDE, left : left + SIDE].mean(axis=2)


def test_each_image_is_in_its_place() -> None:
    found: list[Axes] = [{"time": t, "z": z} for t in range(2) for z in range(3)]
    sheet = draw_contact_sheet(
        dataset(found, lambda axes: np.full((64, 64), 10 * axes["time"] + 100 * axes["z"], np.uint16)), thumbnail=SIDE
    )
    shown = np.array([[cell(sheet, z, t).mean() for z in range(3)] for t in range(2)])
    assert (np.diff(shown, axis=1) > 50).all()  # z along the line, much brighter each
    assert (np.diff(shown[:, :2], axis=0) > 5).all()  # time down, a little brighter


def test_contrast_is_the_same_within_a_channel_and_separate_between_channels() -> None:
    found: list[Axes] = [{"time": t, "channel": c} for t in range(2) for c in ("dim", "bright")]
    make = {("dim", 0): ramp(0), ("dim", 1): ramp(100), ("bright", 0): 100 * ramp(0), ("bright", 1): 100 * ramp(100)}
    sheet = draw_contact_sheet(dataset(found, lambda axes: make[axes["channel"], axes["time"]]), thumbnail=SIDE)
    dim, bright = (np.array([cell(sheet, x, y) for y in range(2)]) for x in range(2))
    assert abs(dim - bright).max() <= 2  # 100 times brighter, and shown alike
    assert dim[0].max() < dim[1].max() - 50  # within the channel, darker stays darker


def test_a_missing_image_is_marked_and_not_drawn_black() -> None:
    found: list[Axes] = [{"time": t, "z": z} for t in range(2) for z in range(2)][:-1]
    sheet = draw_contact_sheet(dataset(found, lambda axes: ramp()), thumbnail=SIDE)
    frame = cell(sheet, 1, 1)
    assert np.allclose(frame[0], np.mean(contact_sheet.FAINT))


@pytest.mark.parametrize(("count", "at_most"), [(1, 1), (5, 8), (8, 8), (9, 8), (100, 8), (1000, 3), (10, 1)])
def test_spread_keeps_both_ends(count: int, at_most: int) -> None:
    chosen = contact_sheet.spread(list(range(count)), at_most)
    assert len(chosen) == len(set(chosen)) == min(count, at_most)
    assert chosen == sorted(chosen)
    assert chosen[0] == 0
    assert at_most == 1 or chosen[-1] == count - 1


def test_every_channel_is_shown_however_long_the_time_lapse() -> None:
    varying: dict[str, list[int | str]] = {
        "position": list(range(30)),
        "time": list(range(300)),
        "channel": ["a", "b", "c"],
        "z": list(range(50)),
    }
    lines = contact_sheet.lay_out(varying, columns=8, rows=12)
    assert len(lines) <= 12
    assert {len(line) for line in lines} == {8}
    shown = [one for line in lines for one in line]
    assert {one["channel"] for one in shown} == {"a", "b", "c"}
    for name in ("position", "time", "z"):
        assert {one[name] for one in shown} >= {0, varying[name][-1]}


def test_one_axis_fills_line_after_line() -> None:
    lines = contact_sheet.lay_out({"time": list(range(20))}, columns=8, rows=12)
    assert [one["time"] for line in lines for one in line] == list(range(20))
    assert [len(line) for line in lines] == [8, 8, 4]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.full((1, 1), 7, np.uint16),
        np.arange(3 * 500 * 20, dtype=np.uint16).reshape(500, 60),
        np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8),
    ],
    ids=["flat", "one pixel", "tall", "rgb"],
)
def test_any_image_can_be_drawn(image: np.ndarray, tmp_path: Path) -> None:
    save_contact_sheet(dataset([{}], lambda axes: image), tmp_path / "sheet.png", thumbnail=SIDE)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > SIDE


def test_shrinking_averages() -> None:
    image = np.arange(16, dtype=np.uint16).reshape(4, 4)
    assert contact_sheet.shrink(image, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_nothing_to_show() -> None:
    with pytest.raises(ValueError, match="without images"):
        draw_contact_sheet(dataset([], None))


def test_without_pillow_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'aiomm\[preview\]'"):
        draw_contact_sheet(dataset([{}], lambda axes: ramp()))
