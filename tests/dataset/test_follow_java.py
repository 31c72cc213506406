"""A dataset that Java is writing is followed: its index is 25 MiB of zeros from the first image on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm.dataset import Dataset
from aiomm.errors import MissingImageError
from tests.dataset.support import same
from tests.dataset.writer_process import axes_of, image_of

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost

TILE = {"row": 0, "column": 0}


@pytest.mark.parametrize("tiled", [False, True])
async def test_java_is_followed_to_its_end(tmp_path: Path, java_host: JavaHost, tiled: bool) -> None:
    async with aiomm.Bridge(port=java_host.port) as bridge:
        java: Any = await bridge.construct_java_object("aiomm.host.Storages")

        async def put(number: int) -> None:
            image = image_of(number)
            axes = json.dumps(axes_of(number) | (TILE if tiled else {}))
            pixels = image.view(np.uint8).reshape(-1)
            await java.put(axes, json.dumps({"Number": number, "Axes": json.loads(axes)}), pixels, True, False, 16, *image.shape)

        path = Path(await java.create(str(tmp_path), "java", json.dumps({"Who": "Java"}), 0, 0, tiled, 0))
        opening = asyncio.create_task(Dataset.open(path, live=True, wait=20))
        await put(0)
        async with await opening as dataset:
            assert dataset.summary_metadata["Who"] == "Java"
            watch = dataset.watch(timeout=20)
            for number in range(30):
                axes = await anext(watch)
                assert {name: axes[name] for name in axes if name not in TILE} == axes_of(number)
                pixels, metadata = await dataset.read_row_async(number)
                assert same(pixels, image_of(number))
                assert metadata["Number"] == number
                assert not dataset.finished
                if number < 29:
                    await put(number + 1)
            await java.finish()
            assert [axes async for axes in watch] == []
            assert dataset.finished
            assert len(dataset) == 30


@pytest.mark.parametrize("live", [True, False])
async def test_java_is_followed_from_before_its_first_image(tmp_path: Path, java_host: JavaHost, live: bool) -> None:
    """There is an index of zeros then, and no TIFF file."""
    async with aiomm.Bridge(port=java_host.port) as bridge:
        java: Any = await bridge.construct_java_object("aiomm.host.Storages")
        path = Path(await java.create(str(tmp_path), "java", json.dumps({"Who": "Java"}), 0, 0, False, 0))
        async with await Dataset.open(path, live=live) as dataset:
            assert (len(dataset), dataset.axes, dataset.summary_metadata) == (0, {}, {})
            assert not await asyncio.to_thread(dataset.is_finished)
            with pytest.raises(TimeoutError, match="there is none yet"):
                await anext(dataset.watch(timeout=0.05))
            waiting = asyncio.create_task(dataset.wait_for(timeout=20, **axes_of(1)))
            watch = dataset.watch(timeout=20)
            for number in range(2):
                pixels = image_of(number).view(np.uint8).reshape(-1)
                await java.put(json.dumps(axes_of(number)), "{}", pixels, True, False, 16, *image_of(number).shape)
                assert await anext(watch) == axes_of(number)
                assert same(dataset.read_image(**axes_of(number)), image_of(number))
            assert await waiting == axes_of(1)
            assert dataset.summary_metadata["Who"] == "Java"
            assert dataset.major_version == 3
            await java.finish()
            assert [axes async for axes in watch] == []
            assert dataset.finished


@pytest.mark.parametrize("live", [True, False])
async def test_java_is_followed_and_ends_without_an_image(
    tmp_path: Path, java_host: JavaHost, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomm.dataset.ndtiff.tail.PATIENCE", 0.1)  # for an index that was just made, and is long in a moment
    async with aiomm.Bridge(port=java_host.port) as bridge:
        java: Any = await bridge.construct_java_object("aiomm.host.Storages")
        path = Path(await java.create(str(tmp_path), "java", "{}", 0, 0, True, 0))
        async with await Dataset.open(path, live=live) as dataset:
            waiting = asyncio.create_task(dataset.wait_for(timeout=20, time=0))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await java.finish()
            with pytest.raises(MissingImageError, match="the dataset ended without an image with time=0; it has no image"):
                await waiting
            assert [axes async for axes in dataset.watch(timeout=20)] == []
            assert dataset.finished
        async with await Dataset.open(path, live=True, wait=20) as again:  # there is nothing more to wait for
            assert again.finished


async def test_a_java_that_was_killed(tmp_path: Path, own_java_host: JavaHost) -> None:
    async with aiomm.Bridge(port=own_java_host.port) as bridge:
        java: Any = await bridge.construct_java_object("aiomm.host.Storages")
        path = Path(await java.create(str(tmp_path), "java", "{}", 0, 0, False, 0))
        image = image_of(0)
        for number in range(3):
            pixels = image_of(number).view(np.uint8).reshape(-1)
            await java.put(json.dumps(axes_of(number)), "{}", pixels, True, False, 16, *image.shape)
        async with await Dataset.open(path, live=True) as dataset:
            await asyncio.to_thread(own_java_host.kill)
            watch = dataset.watch(timeout=0.1)
            for number in range(3):
                assert await anext(watch) == axes_of(number)
            with pytest.raises(TimeoutError, match="the last of 3 is"):
                await anext(watch)
            assert not dataset.finished
            assert same(dataset.read_row(2)[0], image_of(2))
