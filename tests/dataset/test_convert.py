"""Converting: everything arrives, or nothing does."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, PyramidWriter, convert, convert_async, rebuild_pyramid, repair
from aiomm.dataset.ometiff import series_of
from aiomm.errors import DatasetFormatError, StorageError
from tests.dataset.support import METADATA, image, ndstorage_dataset, samples
from tests.support.threads import left_over

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = {"Name": "cells", "PixelSize_um": 0.325, "z-step_um": 2.5, "Interval_ms": 1500, "Who": "µ"}


def write(folder: Path, kind: str = "ndtiff", dtype: Any = np.uint16, times: int = 3) -> Path:
    make: Any = NDTiffWriter if kind == "ndtiff" else OmeZarrWriter
    with make(folder, "cells", SUMMARY) as writer:
        for i in range(times * 4):
            if i != 5:
                axes: dict[str, int | str] = {"time": i // 4 - 1, "channel": ["FITC", "DAPI"][i % 2], "z": i // 2 % 2}
                writer.put(Frame(axes, image(i, kind=dtype, bits=12), {**METADATA, "Number": i}, None if dtype != np.uint16 else 12))
    path: Path = writer.path
    return path


def check_same(one: Path, other: Path) -> None:
    with Dataset(one) as old, Dataset(other) as new:
        assert old.get_index_keys() == new.get_index_keys()
        assert old.axes == new.axes
        assert old.get_channel_names() == new.get_channel_names()
        assert old.bit_depth == new.bit_depth
        assert new.finished
        for key in old.get_index_keys():
            (a, b), (c, d) = old.read_image(**key, read_metadata=True), new.read_image(**key, read_metadata=True)
            assert a.dtype == c.dtype
            assert np.array_equal(a, c)
            assert {**b, "Axes": key} == d
        summary = dict(new.summary_metadata)
        for name, value in old.summary_metadata.items():
            if name != "TiledImageStorage":
                assert summary[name] == value


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, "rgb"])
@pytest.mark.parametrize("verify", [False, True])
def test_there_and_back(tmp_path: Path, dtype: Any, verify: bool) -> None:
    source = write(tmp_path, dtype=dtype)
    done = convert(source, tmp_path / "a.ome.zarr", verify=verify)
    assert (done.path, done.format, done.images, done.verified) == (tmp_path / "a.ome.zarr", "ome-zarr", 11, verify)
    check_same(source, done.path)
    back = convert(tmp_path / "a.ome.zarr", tmp_path / "back_1", verify=verify)
    assert back.format == "ndtiff"
    check_same(source, back.path)
    assert (back.path / "back_NDTiffStack.tif").exists()
    again = convert(back.path, tmp_path / "x", "ome-zarr", verify=verify)
    check_same(source, again.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ome.zarr", "back_1", "cells_1", "x"]
    with ndstorage_dataset(back.path) as other:
        assert len(other.get_image_coordinates_list()) == 11


REAL = [
    "12_bit_pycromanager_mda",
    "ndtiff3.2_multichannel",
    "ndtiffv2.0_test",
    "ndtiffv2.0_stitched_test",
    "ndtiff3.2_magellan_explore_rgb",
]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("to", ["ndtiff", "ome-zarr", "ome-tiff"])
def test_real_datasets(tmp_path: Path, name: str, to: Any) -> None:
    source = samples() / name
    target = tmp_path / ("x.ome.tif" if to == "ome-tiff" else "x")
    done = convert(source, target, to, verify=True)
    if to == "ome-tiff":
        with tifffile.TiffFile(target) as tiff:
            assert tiff.is_ome
        return
    check_same(source, done.path)
    if name.startswith("ndtiff3.2_magellan") and to == "ndtiff":
        with Dataset(target, full_res_only=False) as dataset:
            assert dataset.num_resolution_levels == 4
            assert dataset.summary_metadata["GridPixelOverlapX"] == 1


def test_tiles_get_their_levels(tmp_path: Path) -> None:
    with PyramidWriter(tmp_path, "tiles", {}, overlap=(4, 2)) as writer:
        for i in range(6):
            writer.put(Frame({"row": i // 3, "column": i % 3}, image(i), {}))
    done = convert(writer.path, tmp_path / "again", verify=True)
    check_same(writer.path, done.path)
    assert rebuild_pyramid(done.path) == 2
    with Dataset(writer.path, full_res_only=False) as old, Dataset(done.path, full_res_only=False) as new:
        for level in (1, 2):
            for key in old.get_index_keys(level):
                at = {**key, "resolution_level": level}
                assert np.array_equal(old.read_image(**at), new.read_image(**at))


@pytest.mark.parametrize("dtype", [np.uint16, "rgb"])
def test_ome_tiff(tmp_path: Path, dtype: Any) -> None:
    source = write(tmp_path, dtype=dtype)
    target = tmp_path / "a.ome.tif"
    assert convert(source, target, verify=True).format == "ome-tiff"
    with tifffile.TiffFile(target) as tiff:
        (series,) = tiff.series
        pixels = series.asarray()
        ome = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert pixels.shape[:3] == (3, 2, 2)
    assert (ome["PhysicalSizeX"], ome["PhysicalSizeXUnit"], ome["PhysicalSizeZ"], ome["TimeIncrement"]) == (0.325, "µm", 2.5, 1.5)
    assert [channel["Name"] for channel in ome["Channel"]] == ["FITC", "DAPI"]
    with Dataset(source) as dataset:
        for t in range(3):
            for c, name in enumerate(["FITC", "DAPI"]):
                for z in range(2):
                    at = {"time": t - 1, "channel": name, "z": z}
                    wanted = dataset.read_image(**at) if dataset.has_image(**at) else 0
                    assert np.array_equal(pixels[t, c, z], np.broadcast_to(wanted, pixels[t, c, z].shape))
        lines = [json.loads(line) for line in (tmp_path / "a.ome.tif.metadata.ndjson").read_text().splitlines()]
        assert lines[0]["summary"] == dataset.summary_metadata
        assert lines[0]["series"] == [{"time": [-1, 0, 1], "channel": ["FITC", "DAPI"], "z": [0, 1]}]
        assert {"series": 0, "tcz": [0, 1, 1], "metadata": dataset.read_metadata(time=-1, channel="DAPI", z=1)} in lines
        assert len(lines) == 12


def test_ome_tiff_with_positions_of_their_own_size(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for p, shape in (("here", (20, 30)), ("there", (31, 17))):
            for t in range(3):
                writer.put(Frame({"position": p, "time": t}, image(t, shape), {}))
    convert(writer.path, tmp_path / "a.ome.tif", verify=True)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert [(series.name, series.shape) for series in tiff.series] == [("position here", (3, 20, 30)), ("position there", (3, 31, 17))]
    with NDTiffWriter(tmp_path, "y") as writer:
        for t in range(2):
            writer.put(Frame({"time": t}, image(t, (20 + t, 30)), {}))
    with pytest.raises(DatasetFormatError, match=r"image {'time': 1} is \(21, 30\)"):
        convert(writer.path, tmp_path / "b.ome.tif")
    assert not list(tmp_path.glob("*b.ome*"))


def test_no_images(tmp_path: Path) -> None:
    NDTiffWriter(tmp_path, "x", SUMMARY).finish()
    check_same(tmp_path / "x_1", convert(tmp_path / "x_1", tmp_path / "copy", verify=True).path)
    with pytest.raises(DatasetFormatError, match="no images"):
        convert(tmp_path / "x_1", tmp_path / "a.ome.tif")


def test_of_images_put_twice_the_last_copy(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", allow_duplicates=True) as writer:
        for i in range(6):
            writer.put(Frame({"time": i % 2}, image(i), {}))
    done = convert(writer.path, tmp_path / "copy", verify=True)
    assert done.images == 2
    with Dataset(done.path) as dataset:
        assert np.array_equal(dataset.to_numpy(), [image(4), image(5)])


def test_nothing_is_written_over(tmp_path: Path) -> None:
    source = write(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.ome.tif").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("folder", "file.ome.tif", "link", "cells_1"):
        with pytest.raises(StorageError, match=f"{name} exists already"):
            convert(source, tmp_path / name)
    with pytest.raises(StorageError, match="is no folder"):
        convert(source, tmp_path / "nowhere" / "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells_1", "file.ome.tif", "folder", "link"]
    assert (tmp_path / "file.ome.tif").read_text() == "mine"


@pytest.mark.parametrize("name", ["made.zarr", "made.ome.tif"])
def test_what_somebody_made_meanwhile_is_kept(tmp_path: Path, name: str) -> None:
    source = write(tmp_path)

    def meanwhile(stage: str, done: int, total: int) -> None:
        (tmp_path / name).write_text("mine")

    with pytest.raises(StorageError, match="meanwhile"):
        convert(source, tmp_path / name, progress=meanwhile)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells_1", name]
    assert (tmp_path / name).read_text() == "mine"


def test_arguments(tmp_path: Path) -> None:
    source = write(tmp_path)
    with pytest.raises(ValueError, match="'ndtiff', 'ome-zarr', 'ome-tiff'"):
        convert(source, tmp_path / "x", "zarr")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"named \.ome\.tif"):
        convert(source, tmp_path / "x.tif")
    with pytest.raises(DatasetFormatError, match="no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]


def test_without_tifffile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImportError, match=r"aiomm\[ome-tiff\]"):
        convert(source, tmp_path / "x.ome.tif")
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]


@pytest.mark.parametrize("name", ["x", "x.zarr", "x.ome.tif"])
@pytest.mark.parametrize("stage", ["converting", "verifying"])
def test_an_interrupt_leaves_nothing(tmp_path: Path, name: str, stage: str) -> None:
    source = write(tmp_path)
    before = set(threading.enumerate())
    seen: list[tuple[str, int, int]] = []

    def interrupt(now: str, done: int, total: int) -> None:
        seen.append((now, done, total))
        if now == stage and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / name, verify=True, progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]
    assert seen[-1] == (stage, 4, 11)
    assert not left_over(before, but="zarr")


WRONG = [("x", "pixels"), ("x.zarr", "pixels"), ("x.ome.tif", "pixels"), ("x", "metadata"), ("x.ome.tif", "metadata")]


@pytest.mark.parametrize(("name", "what"), WRONG)
def test_verification_finds_what_differs(tmp_path: Path, name: str, what: str) -> None:
    """The source changes after it was written: as if the copy were wrong."""
    source = write(tmp_path)
    (tiff,) = source.glob("*.tif")
    with Dataset(source) as dataset:
        place = dataset._store.table.row(6)  # type: ignore[attr-defined]
        text = json.dumps(dataset._store.metadata(6), separators=(",", ":")).encode()
    assert b'"Number":7' in text

    def change(stage: str, done: int, total: int) -> None:
        if stage == "verifying" and done == 1:
            with tiff.open("r+b") as file:
                file.seek(place[1] if what == "pixels" else place[5])
                data = file.read(600)
                at = place[1] if what == "pixels" else place[5] + data.index(b'"Number":7') + 9
                file.seek(at)
                file.write(bytes([data[0] ^ 1]) if what == "pixels" else b"8")

    with pytest.raises(StorageError, match=f"verification failed: the {what}"):
        convert(source, tmp_path / name, verify=True, progress=change)
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]


def test_an_interrupt_at_once_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with NDTiffWriter(tmp_path, "data") as writer:
        writer.put(Frame({"time": 0}, image(0), {}))
    real = os.mkdir

    def interrupted(path: str | os.PathLike[str], *rest: Any, **more: Any) -> None:
        real(path, *rest, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "mkdir", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(writer.path, tmp_path / "new")
    assert list(tmp_path.iterdir()) == [writer.path]


def test_a_source_that_is_damaged(tmp_path: Path) -> None:
    source = write(tmp_path)
    (tiff,) = source.glob("*.tif")
    os.truncate(tiff, tiff.stat().st_size // 2)
    for name in ("x", "x.zarr", "x.ome.tif"):
        with pytest.raises(DatasetFormatError):
            convert(source, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]


def test_a_target_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise StorageError("disk full")

    for writer in (NDTiffWriter, OmeZarrWriter):
        monkeypatch.setattr(writer, "put", fail)
    for name in ("x", "x.zarr"):
        with pytest.raises(StorageError, match="disk full"):
            convert(source, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["cells_1"]


async def test_async(tmp_path: Path) -> None:
    source = await asyncio.to_thread(write, tmp_path)
    done = await convert_async(source, tmp_path / "x", verify=True)
    assert done.images == 11
    await asyncio.to_thread(check_same, source, done.path)


async def test_cancelled(tmp_path: Path) -> None:
    source = await asyncio.to_thread(write, tmp_path)
    going, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(stage: str, done: int, total: int) -> None:
        if done == 3:
            loop.call_soon_threadsafe(going.set)
            go.wait(10)

    task = asyncio.create_task(convert_async(source, tmp_path / "x", progress=hold))
    await going.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # impatient
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [p.name for p in await asyncio.to_thread(lambda: list(tmp_path.iterdir()))] == ["cells_1"]


def test_tiles_stay_tiles_by_way_of_ome_zarr(tmp_path: Path) -> None:
    with PyramidWriter(tmp_path, "tiles", SUMMARY, overlap=(2, 3)) as writer:
        for row in (-2, -1):
            for column in (0, 1):
                writer.put(Frame({"row": row, "column": column}, image(row + 9 * column + 5), {}))
    convert(writer.path, tmp_path / "tiles.ome.zarr")
    back = convert(tmp_path / "tiles.ome.zarr", tmp_path / "back", verify=True)
    with Dataset(writer.path, full_res_only=False) as one, Dataset(back.path, full_res_only=False) as other:
        assert other.summary_metadata["TiledImageStorage"] is True
        assert other.num_resolution_levels == one.num_resolution_levels > 1
        for level in range(one.num_resolution_levels):
            assert np.array_equal(
                one.as_array(stitched=True, res_level=level).compute(), other.as_array(stitched=True, res_level=level).compute()
            )


@pytest.mark.parametrize("kind", ["ndtiff", "ome-zarr"])
def test_nothing_is_made_inside_of_the_source(tmp_path: Path, kind: str) -> None:
    source = write(tmp_path, kind)
    before = sorted(source.rglob("*"))
    (tmp_path / "link").symlink_to(source)
    for target in (source / "new", tmp_path / "link" / "new"):
        with pytest.raises(StorageError, match="inside of the dataset"):
            convert(source, target)
    assert sorted(source.rglob("*")) == before


@pytest.mark.parametrize("kind", [int, str])
def test_work_for_ome_tiff_grows_as_the_images_do(kind: type) -> None:
    """Each value is looked up, not looked for: counted are comparisons of values."""
    compared = 0

    class Number(int):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return int.__eq__(self, other)

        __hash__ = int.__hash__

    count = 2000
    index = SimpleNamespace(axes_of=lambda row: {"time": Number(row * 7 % count)}, types={"time": kind})
    store: Any = SimpleNamespace(index=index, differing=lambda rows: -1)
    (series,) = series_of(store, list(range(count)))
    assert sorted(series.grid.reshape(-1).tolist()) == list(range(count))
    assert series.values[0][series.grid[:, 0, 0].tolist().index(1)] == 7
    assert compared < 100 * count  # a search for each would take 1 000 for an image


def test_names_along_z_have_no_heights_in_ome_tiff(tmp_path: Path) -> None:
    import tifffile

    with NDTiffWriter(tmp_path, "x", {"PixelSize_um": 0.5, "z-step_um": 2.0}) as writer:
        for z in ("low", "high"):
            writer.put(Frame({"z": z}, image(1), {"ZOrigin_um": 100.0, "XOrigin_um": 7.0}))
    convert(writer.path, tmp_path / "b.ome.tif", verify=True)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        planes = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]["Pixels"]["Plane"]
    assert [plane["PositionX"] for plane in planes] == [7, 7]
    assert not any("PositionZ" in plane for plane in planes)
    for target in ("nd", "c.zarr"):
        convert(writer.path, tmp_path / target, verify=True)


def level_of(dataset: Dataset, number: int) -> list[np.ndarray]:
    return [dataset.read_image(axes=key, resolution_level=number) for key in dataset.get_index_keys(number)]


def test_levels_of_ome_zarr_are_built_anew(tmp_path: Path) -> None:
    with OmeZarrWriter(tmp_path, "cells", {}, levels=2) as writer:
        for t in range(3):
            writer.put(Frame({"time": t}, image(t), {}))
    done = convert(writer.path, tmp_path / "a.zarr", verify=True)
    with Dataset(writer.path, full_res_only=False) as old, Dataset(done.path, full_res_only=False) as new:
        assert old.num_resolution_levels == new.num_resolution_levels == 3
        for number in range(3):
            assert all(map(np.array_equal, level_of(old, number), level_of(new, number)))
    with Dataset(convert(writer.path, tmp_path / "plain", verify=True).path, full_res_only=False) as plain:
        assert plain.num_resolution_levels == 1  # NDTiff has levels of tiles only


def test_levels_of_tiles(tmp_path: Path) -> None:
    summary = {"GridPixelOverlapX": 4, "GridPixelOverlapY": 8}
    with OmeZarrWriter(tmp_path, "cells", summary, levels=1) as tiles, PyramidWriter(tmp_path, "pyramid", {}, overlap=(4, 8)) as pyramid:
        for i in range(6):
            for writer in (tiles, pyramid):
                writer.put(Frame({"row": i // 3, "column": i % 3}, image(i, (40, 48)), {}))
    with (
        Dataset(pyramid.path, full_res_only=False) as old,
        Dataset(convert(tiles.path, tmp_path / "x", verify=True).path, full_res_only=False) as new,
    ):
        assert old.num_resolution_levels == new.num_resolution_levels == 3
        assert old.overlap == new.overlap == (8, 4)
        assert new.summary_metadata["TiledImageStorage"] is True
        for number in range(3):
            assert all(map(np.array_equal, level_of(old, number), level_of(new, number)))
    with Dataset(convert(pyramid.path, tmp_path / "x.zarr", verify=True).path, full_res_only=False) as other:
        assert other.num_resolution_levels == 3
        with Dataset(tiles.path, full_res_only=False) as own:
            joined = [np.asarray(dataset.as_array(stitched=True, res_level=1)) for dataset in (own, other)]
            assert np.array_equal(*joined)


def test_verification_looks_at_levels(tmp_path: Path) -> None:
    with OmeZarrWriter(tmp_path, "cells", {}, levels=1) as writer:
        writer.put(Frame({"time": 0}, image(0), {}))

    def spoil(stage: str, done: int, total: int) -> None:
        if stage == "verifying":
            (level,) = tmp_path.glob(".x.zarr.converting-*/x_1/1")
            shutil.rmtree(level)

    with pytest.raises(StorageError, match="verification failed: resolution levels"):
        convert(writer.path, tmp_path / "x.zarr", verify=True, progress=spoil)
    assert list(tmp_path.iterdir()) == [writer.path]


@pytest.mark.parametrize("where", ["summary", "images"])
def test_channels_that_are_numbers_have_their_names(tmp_path: Path, where: str) -> None:
    with NDTiffWriter(tmp_path, "x", {"ChNames": ["DAPI", "FITC"]} if where == "summary" else {}) as writer:
        for channel in (1, 0):
            more = {"Channel": ["DAPI", "FITC"][channel]} if where == "images" else {}
            writer.put(Frame({"channel": channel, "time": 0}, image(channel), more))
    zarr = convert(writer.path, tmp_path / "a.zarr", verify=True).path
    labels = [one["label"] for one in json.loads((zarr / "zarr.json").read_text())["attributes"]["ome"]["omero"]["channels"]]
    assert labels == ["DAPI", "FITC"] == Dataset(zarr).get_channel_names()
    (zarr / "zarr.json").write_text("{")
    repair(zarr, dry_run=False)
    if where == "images":  # the summary was in there alone
        assert json.loads((zarr / "zarr.json").read_text())["attributes"]["ome"]["omero"]["channels"][1]["label"] == "FITC"
    convert(writer.path, tmp_path / "a.ome.tif", verify=True)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        channels = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]["Pixels"]["Channel"]
    assert [channel["Name"] for channel in channels] == ["DAPI", "FITC"]
