"""OME-Zarr that others wrote opens as far as it is sensible, and others open what aiomm wrote."""

from __future__ import annotations

import json
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from aiomm.dataset import Dataset, Frame, OmeZarrWriter
from aiomm.errors import ClosedError, DatasetFormatError, MissingImageError
from tests.dataset.support import image

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 3, 4, 50, 60), dtype=np.uint16)


def by_ome_zarr_py(path: Path, version: str, pixels: np.ndarray = PIXELS, axes: str = "tczyx", **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ome_zarr.format import FormatV04, FormatV05
        from ome_zarr.writer import write_image

        form = FormatV04() if version == "0.4" else FormatV05()
        group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
        write_image(pixels, group, axes=axes, fmt=form, **options)
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_images_of_ome_zarr_py(tmp_path: Path, version: str) -> None:
    with Dataset(by_ome_zarr_py(tmp_path / "a.zarr", version)) as dataset:
        assert dataset.axes == {"time": [0, 1], "channel": [0, 1, 2], "z": [0, 1, 2, 3]}
        assert dataset.finished
        assert (dataset.image_shape, dataset.dtype, dataset.bit_depth) == ((50, 60), np.uint16, 16)
        assert np.array_equal(dataset.read_image(time=1, channel=2, z=3), PIXELS[1, 2, 3])
        view = dataset.read_image(time=1, channel=2, z=3, memmapped=True)
        assert np.array_equal(view, PIXELS[1, 2, 3])
        assert not view.flags.writeable
        assert dataset.read_metadata(time=1, channel=2, z=3) == {"Axes": {"time": 1, "channel": 2, "z": 3}}
        array = dataset.as_array(axes=["time", "channel", "z"])
        assert np.array_equal(pickle.loads(pickle.dumps(array)).compute(), PIXELS)
        assert np.array_equal(array[1, :, 2, 5:20, 7:9].compute(), PIXELS[1, :, 2, 5:20, 7:9])
        assert dataset.as_mask().all()
        with pytest.raises(MissingImageError):
            dataset.read_image(time=2, channel=0, z=0)
    with pytest.raises(ClosedError):
        dataset.read_image(time=1, channel=2, z=3)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels(tmp_path: Path, version: str) -> None:
    dataset = Dataset(by_ome_zarr_py(tmp_path / "a.zarr", version), full_res_only=False)
    assert dataset.num_resolution_levels > 1
    assert dataset.read_image(time=1, channel=2, z=3, resolution_level=1).shape == (25, 30)
    assert dataset.as_array(res_level=1).shape == (2, 3, 4, 25, 30)


@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tyx"])
def test_fewer_axes(tmp_path: Path, axes: str) -> None:
    pixels = PIXELS[0, 0, 0] if axes == "yx" else PIXELS[0, 0]
    dataset = Dataset(by_ome_zarr_py(tmp_path / "a.zarr", "0.5", pixels, axes))
    assert np.array_equal(dataset.as_array().compute(), pixels)


def test_channel_names(tmp_path: Path) -> None:
    labels = [{"label": name, "color": "FFFFFF", "window": {"min": 0, "max": 1, "start": 0, "end": 1}} for name in ("GFP", "DAPI", "Cy5")]
    path = by_ome_zarr_py(tmp_path / "a.zarr", "0.5")
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["ome"]["omero"] = {"channels": labels}
    file.write_text(json.dumps(content))
    dataset = Dataset(path)
    assert dataset.get_channel_names() == ["GFP", "DAPI", "Cy5"]
    assert np.array_equal(dataset.read_image(time=0, channel="DAPI", z=0), PIXELS[0, 1, 0])
    labels[0]["label"] = "DAPI"  # two channels of one name are numbered
    content["attributes"]["ome"]["omero"] = {"channels": labels}
    file.write_text(json.dumps(content))
    assert Dataset(path).axes["channel"] == [0, 1, 2]


def test_plates_and_series_without_our_log(tmp_path: Path) -> None:
    """As a tool leaves them that copies groups and arrays only."""
    for positions in (["A1-Site_0", "A1-Site_1", "B2"], ["one", "two", "three"]):
        with OmeZarrWriter(tmp_path, "x") as writer:
            for i, position in enumerate(positions):
                for z in range(2):
                    writer.put(Frame({"position": position, "z": z}, image(2 * i + z), {}))
        (writer.path / "index.ndjson").unlink()
        dataset = Dataset(writer.path)
        assert len(dataset) == 6
        names: list[Any] = ["A1-0", "A1-1", "B2-0"] if positions[0] == "A1-Site_0" else [0, 1, 2]
        assert dataset.axes == {"position": names, "z": [0, 1]}
        assert np.array_equal(dataset.read_image(position=names[1], z=1), image(3))
        assert dataset.as_array().shape == (3, 2, 20, 30)


def by_zarr_python(path: Path, axes: list[str], pixels: np.ndarray) -> Path:
    """Make an image with any axes."""
    multiscale = {"axes": [{"name": name, "type": "other"} for name in axes], "datasets": [{"path": "0"}]}
    group = zarr.open_group(str(path), mode="w", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    group.create_array("0", data=pixels, chunks=(*[1] * (pixels.ndim - 2), *pixels.shape[-2:]))
    return path


@pytest.mark.parametrize(
    ("axes", "ours"), [(["t", "time"], ["t", "time"]), (["channel", "c"], ["channel", "c"]), (["t", "c"], ["time", "channel"])]
)
def test_axes_that_would_have_one_name(tmp_path: Path, axes: list[str], ours: list[str]) -> None:
    pixels = PIXELS[:, :, 0]
    with Dataset(by_zarr_python(tmp_path / "a.zarr", [*axes, "y", "x"], pixels)) as dataset:
        assert set(dataset.axes) == set(ours)
        assert len(dataset) == len(dataset.get_index_keys()) == 6
        assert np.array_equal(dataset.to_numpy(ours), pixels)
        assert np.array_equal(dataset.read_image(**{ours[0]: 1, ours[1]: 2}), pixels[1, 2])  # type: ignore[call-overload]


def test_an_axis_named_as_what_chooses_the_images(tmp_path: Path) -> None:
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    for number in range(2):
        by_zarr_python(tmp_path / "a.zarr" / str(number), ["position", "y", "x"], PIXELS[number, :, 0])
    with Dataset(tmp_path / "a.zarr") as dataset:
        assert dataset.axes == {"position": [0, 1], "position_": [0, 1, 2]}
        assert np.array_equal(dataset.to_numpy(), PIXELS[:, :, 0])


def test_images_that_cannot_be_told_apart(tmp_path: Path) -> None:
    plate = {"wells": [{"path": "A/11"}, {"path": "A1/1"}]}
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", attributes={"ome": {"version": "0.5", "plate": plate}})
    for well in ("A/11", "A1/1"):
        attributes = {"ome": {"version": "0.5", "well": {"images": [{"path": "0"}]}}}
        zarr.open_group(str(tmp_path / "a.zarr" / well), mode="w", attributes=attributes)
        by_zarr_python(tmp_path / "a.zarr" / well / "0", ["y", "x"], PIXELS[0, 0, 0])
    with pytest.raises(DatasetFormatError, match="two of one name"):
        Dataset(tmp_path / "a.zarr")


def test_damaged_ones_are_named(tmp_path: Path) -> None:
    path = by_ome_zarr_py(tmp_path / "a.zarr", "0.5")
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    level = content["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"]
    for change, says in [
        ({"multiscales": []}, "no OME-Zarr image"),
        ({"multiscales": [{"axes": [{"name": "q"}], "datasets": [{"path": "0"}]}]}, "no OME-Zarr image"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "../x"}]}]}, "out of the folder"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "nope"}]}]}, "nope"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": level}]}]}, "5 dimensions"),
        ({"plate": {}}, "wells"),
        ({"plate": {"wells": [{"path": "A/1"}]}}, "images"),
        ({"bioformats2raw.layout": 3}, "no image|no OME"),
    ]:  # fmt: skip
        file.write_text(json.dumps({**content, "attributes": {"ome": change}}))
        with pytest.raises(DatasetFormatError, match=says):
            Dataset(path)
    file.write_text("{")
    with pytest.raises(DatasetFormatError, match=r"zarr\.json"):
        Dataset(path)
    (tmp_path / "plain").mkdir()
    zarr.create_group(str(tmp_path / "plain" / "g"))
    with pytest.raises(DatasetFormatError, match="no OME-Zarr metadata"):
        Dataset(tmp_path / "plain" / "g")


async def test_opened_and_read_on_a_loop(tmp_path: Path) -> None:
    import asyncio

    path = await asyncio.to_thread(by_ome_zarr_py, tmp_path / "a.zarr", "0.5")
    dataset = await Dataset.open(path)
    assert np.array_equal(await dataset.read_image_async(time=1, channel=0, z=0), PIXELS[1, 0, 0])
    assert np.array_equal(await dataset.to_numpy_async(axes=["time", "channel", "z"]), PIXELS)


def ours(folder: Path) -> Path:
    with OmeZarrWriter(folder, "x", {"PixelSize_um": 0.5}) as writer:
        for t in range(2):
            for c in ("DAPI", "FITC"):
                for z in range(3):
                    writer.put(Frame({"time": t, "channel": c, "z": z}, image(100 * t + 10 * len(c) + z, (40, 50)), {}))
    return writer.path


def test_ome_zarr_py_reads_ours(tmp_path: Path) -> None:
    path = ours(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        (node, *_) = list(Reader(parse_url(str(path)))())
    (data, *_) = node.data
    assert data.shape == (2, 2, 3, 40, 50)
    assert node.metadata["channel_names"] == ["DAPI", "FITC"]
    assert np.array_equal(np.asarray(data), Dataset(path).as_array().compute())


def test_ngff_zarr_reads_ours(tmp_path: Path) -> None:
    path = ours(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ngff_zarr

        found = ngff_zarr.from_ngff_zarr(str(path))
    assert found.images[0].scale["x"] == 0.5
    assert np.array_equal(np.asarray(found.images[0].data), Dataset(path).as_array().compute())
