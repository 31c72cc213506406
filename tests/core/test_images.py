from __future__ import annotations

import numpy as np

from aiomm.core.images import to_image


def test_grey_images_are_given_as_they_are() -> None:
    for dtype in (np.uint8, np.uint16, np.uint32):
        raw = np.arange(6, dtype=dtype).reshape(2, 3)
        assert to_image(raw, 1, raw.itemsize) is raw


def test_colours_in_the_order_red_green_blue() -> None:
    packed = np.array([[[3, 2, 1, 0], [30, 20, 10, 255]]], np.uint8)  # blue, green, red, unused
    image = to_image(packed.view(np.uint32).reshape(1, 2), 4, 4)
    assert image.tolist() == [[[1, 2, 3], [10, 20, 30]]]
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    deep = (packed.astype(np.uint16) * 257).view(np.uint64).reshape(1, 2)
    assert to_image(deep, 4, 8).tolist() == [[[257, 514, 771], [2570, 5140, 7710]]]


def test_what_does_not_lie_in_order_is_copied() -> None:
    raw = np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2]
    image = to_image(raw, 1, 1)
    assert image.flags.c_contiguous
    assert np.array_equal(image, raw)


def test_colours_that_were_unpacked_before() -> None:
    raw = np.zeros((2, 3, 3), np.uint8)
    assert np.shares_memory(to_image(raw, 4, 4), raw)
    assert to_image(np.zeros((2, 3, 1), np.uint8), 1, 1).shape == (2, 3)
    assert to_image(np.zeros((2, 3, 4), np.uint8), 4, 4).shape == (2, 3, 3)
