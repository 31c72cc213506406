"""XY tiles: the stage goes where Java's would, the tiles fit together, and the dataset has levels."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm.acquire.tiling import Grid, Tiling, read_grid
from aiomm.dataset import Dataset
from aiomm.errors import AcquisitionAborted, EventError, HookError, LimitError, UnsupportedError
from tests.dataset.support import ndstorage_dataset
from tests.dataset.test_java_storage import STORAGES, Java
from tests.dataset.test_pyramid import check_levels
from tests.support import sequence_tester as st
from tests.support.loop_turns import counted_turns
from tests.support.rigs import Rig, demo_rig, sequence_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost

SIZE = 64  # pixels of the rig's camera
PLAIN = (1.0, 0.0, 0.0, 1.0)
TURNED = (-0.3, 0.4, 0.4, 0.3)  # a camera that is turned and mirrored
SHEARED = (0.6, 0.25, -0.1, 0.45)
TRANSLATOR = "org.micromanager.acqj.util.xytiling.CameraTilingStageTranslator"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with demo_rig(tmp_path) as rig, asyncio.timeout(40):
        rig.mmc.setProperty("XY", "Velocity", 1e6)
        yield rig


def define(rig: Rig, affine: tuple[float, ...]) -> None:
    """Define the affine transform of the objective in place."""
    xx, xy, yx, yy = affine
    rig.mmc.setPixelSizeAffine(rig.mmc.getCurrentPixelSizeConfig(), [xx, xy, 0.0, yx, yy, 0.0])


def tiles(places: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"axes": {"row": row, "column": column}, **more} for row, column in places]


def scan(rows: int, columns: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(rows) for column in range(columns)]


def visited(rig: Rig) -> list[tuple[float, float]]:
    return [tuple(call.args[-2:]) for call in rig.mmc.calls_of("setXYPosition")]


def sample(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Say what the sample looks like at each row and column of its pixels: no two nearby are alike."""
    return ((v.astype(np.int64) * 7919 + u.astype(np.int64) * 104729) % 65521).astype(np.uint16)


def look(affine: tuple[float, ...], start: tuple[float, float]) -> Any:
    """Make an image processor that shows what a camera sees that lies so over the sample, wherever the stage was sent."""
    inverse = np.linalg.inv(np.array(affine).reshape(2, 2))

    def process(image: np.ndarray, metadata: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        moved = np.array([metadata["XPosition_um_Intended"] - start[0], metadata["YPosition_um_Intended"] - start[1]])
        right, down = inverse @ moved
        assert abs(right - round(right)) < 1e-6 and abs(down - round(down)) < 1e-6
        v, u = np.indices(image.shape)
        return sample(v + round(down), u + round(right)), metadata

    return process


# ---- where tiles are ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [PLAIN, TURNED, SHEARED, (0.0, -0.65, 0.65, 0.0)])
async def test_places_are_those_of_java(java_host: JavaHost, affine: tuple[float, ...]) -> None:
    rng = random.Random(str(affine))
    xx, xy, yx, yy = affine
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        core = await bridge.get_core()
        stage = await core.get_xy_stage_device()
        await core.set_xy_position(stage, 12.5, -7.25)
        await core.wait_for_device(stage)
        transform = await bridge.construct_java_object("java.awt.geom.AffineTransform", args=[xx, yx, xy, yy, 0.0, 0.0])
        width, height = await core.get_image_width(), await core.get_image_height()
        overlap = (rng.randrange(40), rng.randrange(40))
        translator = await bridge.construct_java_object(TRANSLATOR, args=[transform, stage, width, height, *overlap])
        start = await core.get_xy_position(stage)
        grid = Grid((xx, xy, yx, yy), (width - overlap[0], height - overlap[1]), start)
        places = [(rng.randrange(-9, 9), rng.randrange(-9, 9)) for _ in range(20)]
        row0, column0 = places[0]
        for row, column in places:
            [index] = await translator.get_position_indices(np.array([row], np.int32), np.array([column], np.int32))
            centre = await (await translator.get_xy_position(index)).get_center()
            assert grid.at(column - column0, row - row0) == (await centre.x, await centre.y)


async def test_the_grid_is_read_over_the_bridge_too(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        core = await bridge.get_core()
        um = await core.get_pixel_size_um()
        width, height = await core.get_image_width(), await core.get_image_height()
        grid = await read_grid(core, (10, 20))
        assert grid == Grid((um, 0.0, 0.0, um), (width - 10, height - 20), await core.get_xy_position())


async def test_the_first_tile_is_where_the_stage_was(rig: Rig) -> None:
    """Whichever it is; the others lie around it, in the order asked for; each place once for all its images."""
    define(rig, SHEARED)
    rig.mmc.setXYPosition(100.0, -50.0)
    rig.mmc.waitForDevice("XY")
    rig.mmc.setROI(0, 0, 48, 32)
    rig.mmc.forget()
    start = rig.mmc.getXYPosition("XY")
    order = [(2, -1), (-3, 4), (0, 0), (2, -1), (-1, -1)]
    events = [{**event, "axes": {**event["axes"], "n": n}} for n, event in enumerate(tiles(order))]
    async with rig.acquisition(tile_overlap=(8, 5)) as acq:
        await acq.acquire(events)
    right, down = 48 - 8, 32 - 5
    wanted = []
    for row, column in order:
        dx, dy = (column + 1) * right, (row - 2) * down
        wanted.append((dx * 0.6 + dy * 0.25 + start[0], dx * -0.1 + dy * 0.45 + start[1]))
    metadata = [acq.get_dataset().read_metadata(**event["axes"]) for event in events]
    assert [(md["XPosition_um_Intended"], md["YPosition_um_Intended"]) for md in metadata] == wanted
    assert [(md["GridRowIndex"], md["GridColumnIndex"]) for md in metadata] == order
    assert acq.get_dataset().summary_metadata["AffineTransform"] == "0.6_-0.1_0.25_0.45"  # in the order of Java's AffineTransform


async def test_a_stage_on_its_way_is_waited_for(rig: Rig) -> None:
    async with rig.acquisition(tile_overlap=0) as acq:
        rig.mmc.setProperty("XY", "Velocity", 400.0)  # under way for nearly a second, however busy this computer is
        await rig.core.set_xy_position(300.0, 200.0)
        assert await rig.core.device_busy("XY")
        await acq.acquire(tiles([(0, 0), (0, 1)]))
        first, second = (acq.get_dataset().read_metadata(row=0, column=n) for n in range(2))
    assert (first["XPosition_um_Intended"], first["YPosition_um_Intended"]) == pytest.approx((300, 200), abs=0.1)
    assert second["XPosition_um_Intended"] == first["XPosition_um_Intended"] + SIZE


@pytest.mark.parametrize("spelling", ["axes col", "top", "top column"])
async def test_every_spelling_of_row_and_column(rig: Rig, spelling: str) -> None:
    make: Any = {
        "axes col": lambda r, c: {"axes": {"row": r, "col": c}},
        "top": lambda r, c: {"row": r, "col": c},
        "top column": lambda r, c: {"axes": {}, "row": np.int32(r), "column": np.int64(c)},
    }[spelling]
    async with rig.memory(tile_overlap=4) as acq:
        axes = await acq.acquire([make(0, 0), make(1, 2)])
        x, y = await rig.core.get_xy_position()
    assert axes == [{"row": 0, "column": 0}, {"row": 1, "column": 2}]
    assert (x, y) == pytest.approx((120, 60), abs=0.1)


async def test_what_an_event_says_itself_wins(rig: Rig) -> None:
    events = tiles([(0, 0), (1, 0), (0, 1), (1, 1)])
    events[1]["x"], events[2]["y"] = 500.0, -500
    events[3].update(x=1.0, y=2.0)
    async with rig.acquisition(tile_overlap=4) as acq:
        await acq.acquire([*events, {"z": 3.0}])  # an event without an image is no tile
        plan = await acq.plan(events)
        found = [acq.get_dataset().read_metadata(**event["axes"]) for event in events]
    places = [(md["XPosition_um_Intended"], md["YPosition_um_Intended"]) for md in found]
    assert places == [(0.0, 0.0), (500.0, 60.0), (60.0, -500.0), (1.0, 2.0)]
    assert [(group.events[0].x, group.events[0].y) for group in plan.groups] == places


# ---- what is no tile, and cannot be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ({"row": 0}, r"event 1: axes\['column'\] is not there"),
        ({"column": 3, "time": 0}, r"event 1: axes\['row'\] is not there"),
        ({}, r"event 1: axes\['column'\]"),
        ({"row": "A", "column": 1}, r"event 1: axes\['row'\] is 'A'.*whole numbers"),
    ],
)
async def test_an_image_that_is_no_tile(rig: Rig, axes: dict[str, Any], text: str) -> None:
    """It ends its submission before anything moves, and no more."""
    async with rig.acquisition(tile_overlap=4) as acq:
        with pytest.raises(EventError, match=text) as caught:
            await acq.acquire([*tiles([(0, 1)]), {"axes": axes}])
        assert caught.value.key == "axes"
        with pytest.raises(EventError, match=text.replace("event 1: ", "event 0: ")):
            await acq.plan({"axes": axes})
        assert not visited(rig)
        await acq.acquire(tiles(scan(1, 2)))
        assert len(acq.get_dataset()) == 2


@pytest.mark.parametrize(
    ("change", "overlap", "text"),
    [
        (lambda mmc: mmc.setPixelSizeAffine("Res10x", [0.0] * 6), 0, r"'Res10x' is not defined.*set_pixel_size_affine\('Res10x'.*µm"),
        (lambda mmc: mmc.setPixelSizeAffine("Res10x", [1.0, 2.0, 0.0, 2.0, 4.0, 0.0]), 0, r"two directions.*set_pixel_size_affine"),
        (lambda mmc: mmc.deletePixelSizeConfig("Res10x"), 0, r"no pixel size configuration.*define_pixel_size_config"),
        (lambda mmc: mmc.setXYStageDevice(""), 0, r"XY stage.*set_xy_stage_device"),
        (lambda mmc: None, (0, SIZE), r"tile_overlap=\(0, 64\).*64 x 64.*smaller"),
    ],
    ids=["undefined", "singular", "no configuration", "no stage", "overlap"],
)
async def test_what_tiles_need(rig: Rig, change: Any, overlap: Any, text: str) -> None:
    """The error says how to get it; nothing is left on the disk; also when it is lost later."""
    acq = await aiomm.Acquisition.open(str(rig.directory), "late", core=rig.core, tile_overlap=overlap if overlap == 0 else 0)
    change(rig.mmc)
    with pytest.raises(UnsupportedError, match=text):
        async with rig.acquisition(tile_overlap=overlap):
            pytest.fail("it is open")
    assert [entry.name for entry in await asyncio.to_thread(lambda: list(rig.directory.iterdir()))] == ["late_1"]
    if overlap == 0:
        with pytest.raises(UnsupportedError, match=text):
            await acq.acquire(tiles(scan(1, 2)))
    await acq.aclose()


@pytest.mark.parametrize("overlap", [-1, (1, -2), 1.5, "4", (1, 2, 3), True, (True, 1)])
async def test_overlaps_that_make_no_sense(rig: Rig, overlap: Any) -> None:
    with pytest.raises(ValueError, match="tile_overlap must be a number of pixels"):
        rig.acquisition(tile_overlap=overlap)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_multi_res_index": -1, "tile_overlap": 0}, "max_multi_res_index must be"),
        ({"max_multi_res_index": 1.5, "tile_overlap": 0}, "max_multi_res_index must be"),
        ({"max_multi_res_index": 2}, "max_multi_res_index= needs tile_overlap="),
        ({"max_multi_res_index": 0}, "max_multi_res_index= needs tile_overlap="),
    ],
)
async def test_levels_that_make_no_sense(rig: Rig, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        rig.acquisition(**options)
    with pytest.raises(ValueError, match="needs directory="):
        rig.memory(tile_overlap=0, max_multi_res_index=1)


# ---- plans, limits, hooks, sequences --------------------------------------------------------------------------------


async def test_limits_and_plans_know_the_places(rig: Rig) -> None:
    limits = {"XY": ((-100, 100), (None, None))}
    async with rig.acquisition(tile_overlap=4, limits=limits) as acq:
        plan = await acq.plan(tiles([(5, 5), (5, 6), (5, 7)]))  # a plan decides nothing: another tile may be the first
        assert [group.events[0].x for group in plan.groups] == [0.0, 60.0, 120.0]
        assert len(plan.out_of_limits) == 1 and "event 2: x" in plan.out_of_limits[0]
        with pytest.raises(LimitError, match="event 2: x"):
            await acq.acquire(tiles([(0, 0), (0, 1), (0, 2)]))
        assert not visited(rig)
        await acq.acquire(tiles([(0, -1), (0, 1)]))
        plan = await acq.plan(tiles([(0, 1)]))
        assert plan.groups[0].events[0].x == 60.0
    assert visited(rig) == [(-60.0, 0.0), (60.0, 0.0)]


async def test_hooks_see_places_and_change_them(rig: Rig) -> None:
    """A place follows row and column, unless the hook writes one of its own; tiles that a hook puts are placed too."""
    seen: dict[str, list[Any]] = {"generation": [], "pre": [], "post": []}

    def generate(event: dict[str, Any]) -> Any:
        seen["generation"].append((event["x"], event["y"]))
        if event["axes"]["column"] == 1:
            event["axes"]["column"] = 10
        return event

    def pre(event: dict[str, Any], queue: aiomm.EventQueue) -> Any:
        seen["pre"].append((event["x"], event["y"]))
        if event["axes"] == {"row": 0, "column": 2}:
            event["axes"]["row"] = -3
            event["x"] += 0.5
        if event["axes"] == {"row": 0, "column": 3}:
            queue.put([{**event, "axes": {"row": 1, "column": 3}}, {"row": 1, "col": 4}])
        return event

    def post(event: dict[str, Any]) -> Any:
        seen["post"].append((event["x"], event["y"]))
        return event

    hooks = {"event_generation_hook_fn": generate, "pre_hardware_hook_fn": pre, "post_hardware_hook_fn": post}
    async with rig.acquisition(tile_overlap=4, **hooks) as acq:
        await acq.acquire(tiles(scan(1, 4)))
    assert seen["generation"] == [(0, 0), (60, 0), (120, 0), (180, 0), (180, 60), (240, 60)]
    assert seen["pre"] == [(0, 0), (600, 0), (120, 0), (180, 0), (180, 60), (240, 60)]
    assert seen["post"] == visited(rig) == [(0, 0), (600, 0), (120.5, -180), (180, 0), (180, 60), (240, 60)]


@pytest.mark.parametrize("which", ["event_generation_hook_fn", "pre_hardware_hook_fn"])
async def test_a_hook_that_returns_no_tile(rig: Rig, which: str) -> None:
    hook: Any = {which: lambda event: {"axes": {"row": 1}}}
    with pytest.raises(HookError, match=rf"{which} returned.*axes\['column'\] is not there"):
        async with rig.acquisition(tile_overlap=4, **hook) as acq:
            await acq.acquire(tiles([(0, 0)]))


async def test_places_pass_to_worker_processes(rig: Rig) -> None:
    def pre(event: dict[str, Any]) -> Any:
        event["axes"]["row"] += 1
        return event

    async with rig.acquisition(tile_overlap=4, pre_hardware_hook_fn=pre, process=True) as acq:
        await acq.acquire(tiles(scan(1, 2)))
    assert visited(rig) == [(0.0, 60.0), (60.0, 60.0)]


async def test_a_hardware_sequence_of_tiles(tmp_path: Path) -> None:
    async with sequence_rig(tmp_path) as rig:
        rig.mmc.definePixelSizeConfig("any")
        rig.mmc.setPixelSizeAffine("any", [0.5, 0.0, 0.0, 0.0, -0.25, 0.0])
        rig.mmc.feign_xy_sequence(st.XY, 5)
        async with rig.acquisition(tile_overlap=(56, 16)) as acq:
            await acq.acquire(tiles([(0, 0), (0, 1), (1, 1), (1, 0)]))
    [call] = rig.mmc.calls_of("loadXYStageSequence")
    assert call.args == (st.XY, [0.0, 100.0, 100.0, 0.0], [0.0, 0.0, -60.0, -60.0])
    with await aiomm.Dataset.open(str(acq.path)) as dataset:
        assert dataset.read_metadata(row=1, column=1)["YPosition_um_Intended"] == -60.0


async def test_many_tiles_leave_the_loop_free(rig: Rig) -> None:
    tiling = Tiling(rig.core, (4, 4))
    await tiling.place_all([])
    events = [aiomm.AcquisitionEvent.from_dict(event) for event in tiles(scan(100, 60))]
    async with counted_turns() as turns:
        placed = await tiling.place_all(events)
    assert placed[-1].x == 59 * 60.0
    assert events[-1].x is None  # the caller's own events are as they were
    assert turns.count > 5


async def test_events_are_counted_through_windows(rig: Rig) -> None:
    events = [*tiles(scan(1, 9), x=0.0, y=0.0), {"axes": {"row": 1}}]
    async with rig.memory(tile_overlap=4, look_ahead=4) as acq:
        with pytest.raises(EventError, match=r"event 9: axes\['column'\]"):
            await acq.acquire(event for event in events)


# ---- what is saved --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("affine", "overlap"), [(PLAIN, 8), (TURNED, (5, 12)), (SHEARED, (0, 6))])
async def test_tiles_fit_together(rig: Rig, affine: tuple[float, ...], overlap: Any) -> None:
    """A camera that lies askew over the sample: the joined tiles are the sample, for Dataset and ndstorage, at every level."""
    define(rig, affine)
    rig.mmc.setXYPosition(20.0, 30.0)
    rig.mmc.waitForDevice("XY")
    across, down = overlap if isinstance(overlap, tuple) else (overlap, overlap)
    places = random.Random(1).sample(scan(3, 3), 9)
    places = [(row - 1, column - 1) for row, column in places]
    processor = look(affine, rig.mmc.getXYPosition("XY"))
    options = {"tile_overlap": overlap, "max_multi_res_index": 2, "image_process_fn": processor, "saving_queue_size": 2}
    async with rig.acquisition(**options) as acq:
        assert len(await acq.acquire(tiles(places, exposure=1.0))) == 9
    assert acq.path is not None
    path = acq.path

    high, wide = SIZE - down, SIZE - across
    v, u = np.indices((3 * high, 3 * wide))
    first = places[0]
    v += (-1 - first[0]) * high + down // 2
    u += (-1 - first[1]) * wide + across // 2
    wanted = sample(v, u)

    def read() -> None:
        with Dataset(path, full_res_only=False) as dataset:
            assert dataset.summary_metadata["GridPixelOverlapX"] == across
            assert dataset.summary_metadata["GridPixelOverlapY"] == down
            assert dataset.overlap == (down, across)
            assert np.array_equal(dataset.as_array(stitched=True).compute(), wanted)
            arrays = dataset.as_array(stitched=True, res_level=None)
            assert len(arrays) == dataset.num_resolution_levels == 3
        if not (high % 2 or wide % 2):  # the seam of odd tiles is another matter
            assert check_levels(path, (down, across)) == 2
        with ndstorage_dataset(path) as theirs:
            if across and down:  # it crops nothing where one of them is 0
                assert np.array_equal(theirs.as_array(stitched=True, res_level=0).compute(), wanted)
            with Dataset(path, full_res_only=False) as ours:
                for level in range(3):
                    for key in ours.get_index_keys(level):
                        assert np.array_equal(ours.read_image(**key, resolution_level=level), theirs.res_levels[level].read_image(**key))

    await asyncio.to_thread(read)


@pytest.mark.blocks
async def test_java_reads_every_level(rig: Rig, java_host: JavaHost) -> None:
    async with rig.acquisition(tile_overlap=(6, 4), max_multi_res_index=3) as acq:
        events = tiles([(0, 0), (-1, 2), (1, 1), (0, 1), (2, 5)])
        await acq.acquire([{**event, "axes": {**event["axes"], "z": z}} for event in events for z in range(2)])
    with Dataset(str(acq.path), full_res_only=False) as dataset:
        async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
            assert await Java(await bridge.construct_java_object(STORAGES)).check(dataset, levels=4) > 20


@pytest.mark.parametrize(("most", "levels"), [(None, 2), (0, 0), (1, 1), (4, 4)])
async def test_as_many_levels_as_asked_for(rig: Rig, most: int | None, levels: int) -> None:
    async with rig.acquisition(tile_overlap=0, max_multi_res_index=most, durability="every") as acq:
        await acq.acquire(tiles(scan(3, 4)))
        assert len(acq.get_dataset()) == 12
    assert acq.path is not None
    names = {entry.name for entry in await asyncio.to_thread(lambda: list(Path(str(acq.path)).iterdir()))}
    assert names == {"Full resolution", "display_settings.txt", *(f"Downsampled_x{2**n}" for n in range(1, levels + 1))}
    assert await asyncio.to_thread(check_levels, acq.path) == levels


@pytest.mark.parametrize("format", ["memory", "ome-zarr"])
async def test_other_formats(rig: Rig, format: str) -> None:
    """Tiles are placed and joined there too; OME-Zarr has levels of each, joined where whole pixels of the overlap are left."""
    define(rig, TURNED)
    options: dict[str, Any] = {"tile_overlap": (4, 8), "image_process_fn": look(TURNED, rig.mmc.getXYPosition("XY"))}
    if format == "memory":
        acq = rig.memory(**options)
    else:
        acq = rig.acquisition(format="ome-zarr", max_multi_res_index=2, **options)
    async with acq:
        await acq.acquire(tiles(scan(2, 2)))
        dataset = acq.get_dataset()
        joined = await asyncio.to_thread(lambda: dataset.as_array(stitched=True).compute())
    v, u = np.indices((2 * (SIZE - 8), 2 * (SIZE - 4)))
    assert np.array_equal(joined, sample(v + 4, u + 2))
    if format == "ome-zarr":
        with await aiomm.Dataset.open(str(acq.path), full_res_only=False) as dataset:
            assert dataset.num_resolution_levels == 3
            level = await asyncio.to_thread(lambda: dataset.as_array(stitched=True, res_level=1).compute())
            joined = joined.astype(int)
            mean = (joined[::2, ::2] + joined[1::2, ::2] + joined[::2, 1::2] + joined[1::2, 1::2]) / 4
            assert level.shape == mean.shape and abs(level - mean).max() <= 1
            assert [array.shape for array in dataset.as_array(stitched=True, res_level=None)] == [joined.shape, level.shape]
            with pytest.raises(ValueError, match=r"overlap by 4 x 8 pixels and were reduced 4 times cannot be joined"):
                dataset.as_array(stitched=True, res_level=2)
            assert (await dataset.read_image_async(row=1, column=1, resolution_level=2)).shape == (SIZE // 4, SIZE // 4)


async def test_ome_zarr_has_levels_without_tiles(rig: Rig) -> None:
    async with rig.acquisition(format="ome-zarr", max_multi_res_index=1) as acq:
        await acq.acquire({"axes": {"time": 0}})
    with await aiomm.Dataset.open(str(acq.path), full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == 2


@pytest.mark.parametrize(("most", "levels"), [(None, 2), (0, 0), (1, 1)])
async def test_on_micro_manager_s_engine(java_host: JavaHost, tmp_path: Path, most: int | None, levels: int) -> None:
    """Java's storage takes no notice of how many levels are wanted: it has them all the same, and the places are the same."""
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        core = await bridge.get_core()
        await core.set_xy_position(5.0, 7.0)
        await core.wait_for_device(await core.get_xy_stage_device())
        grid = await read_grid(core, (8, 4))
        options: dict[str, Any] = {"bridge": bridge, "show_display": False, "tile_overlap": (8, 4), "max_multi_res_index": most}
        async with aiomm.Acquisition(str(tmp_path), "java", **options) as acq:
            await acq.acquire(tiles(scan(2, 3)))
            with pytest.raises(EventError, match="'column'"):
                await acq.acquire({"axes": {"row": 1}})
    with await aiomm.Dataset.open(str(acq.path), full_res_only=False) as dataset:
        assert dataset.num_resolution_levels == levels + 1
        assert (dataset.summary_metadata["GridPixelOverlapX"], dataset.summary_metadata["GridPixelOverlapY"]) == (8, 4)
        last = dataset.read_metadata(row=1, column=2)
        assert (last["XPosition_um_Intended"], last["YPosition_um_Intended"]) == grid.at(2, 1)


# ---- ends in the middle ---------------------------------------------------------------------------------------------


async def test_aborted_in_the_middle(rig: Rig) -> None:
    """What was saved opens, and the levels show all of it, or are not there."""
    acq = rig.acquisition(tile_overlap=4)
    async with acq:
        submission = acq.acquire(tiles(scan(20, 20)))
        async for image in submission:
            if image.axes == {"row": 0, "column": 8}:
                break
        acq.abort()
        with pytest.raises(AcquisitionAborted):
            await submission
    assert acq.path is not None
    saved = len(acq.get_dataset())
    assert 9 <= saved < 400
    levels = await asyncio.to_thread(check_levels, acq.path, (4, 4))
    with await aiomm.Dataset.open(str(acq.path), full_res_only=False) as dataset:
        assert len(dataset) == saved
        assert dataset.num_resolution_levels == levels + 1


KILLED = """
import asyncio, itertools, json, sys
import aiomm

async def main():
    async with aiomm.LocalCore("demo") as core:
        for key in ("OnCameraCCDXSize", "OnCameraCCDYSize"):
            await core.set_property("Camera", key, 32)
        await core.set_exposure(1)
        tell = lambda axes: print(json.dumps(axes), flush=True)
        async with aiomm.Acquisition(
            sys.argv[1], "x", core=core, tile_overlap=4, show_display=False, storage_monitor_callback_fn=tell, image_process_fn=pattern
        ) as acq:
            await acq.acquire({"row": n // 7 % 7, "col": n % 7, "x": 0.0, "y": 0.0, "axes": {"time": n // 49}} for n in itertools.count())

def pattern(image, metadata):
    image = image.copy()
    image[:] = sum((metadata["Axes"][name] + 1) * factor for name, factor in (("time", 49), ("row", 7), ("column", 1))) % 251
    return image, metadata

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [3, 60, 200])
def test_killed_in_the_middle(tmp_path: Path, after: int) -> None:
    """What was reported saved is there; levels that are there can be read."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reported = [process.stdout.readline() for _ in range(after)]
        process.kill()
        reported += process.stdout.readlines()
    count = sum(line.endswith("}\n") for line in reported)
    with Dataset(tmp_path / "x_1", full_res_only=False) as dataset:
        keys = dataset.get_index_keys()
        assert len(keys) >= count >= after
        for n, key in enumerate(keys):
            assert key == {"time": n // 49, "row": n // 7 % 7, "column": n % 7}
            pixels = dataset.read_image(**key)
            assert (pixels == (49 * (n // 49 + 1) + 7 * (n // 7 % 7 + 1) + n % 7 + 1) % 251).all()
        for level in range(1, dataset.num_resolution_levels):
            for key in dataset.get_index_keys(level):
                assert dataset.read_image(**key, resolution_level=level).shape == (28, 28)
