"""Where the images of OME-Zarr begin (``translation``): read, and kept through views and conversions."""

from __future__ import annotations

import logging
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from aiomm.dataset import Dataset, Frame, NDTiffWriter, OmeZarrWriter, convert
from tests.dataset.support import image

if TYPE_CHECKING:
    from pathlib import Path

AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "nanometer"},
    {"name": "x", "type": "space", "unit": "nanometer"},
]
Moves = list[dict[str, Any]]


def scaled(*by: float) -> dict[str, Any]:
    return {"type": "scale", "scale": list(by)}


def moved(*by: float) -> dict[str, Any]:
    return {"type": "translation", "translation": list(by)}


SCALE = scaled(3, 1, 2, 500, 500)
PLACE = moved(7, 0, -40, 12000, 250)


def foreign(path: Path, moves: Moves, whole: Moves | None = None, axes: list[dict[str, str]] = AXES) -> Path:
    """Make (t, c, z, y, x) of (2, 2, 3, 8, 10)."""
    multiscale: dict[str, Any] = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": moves}]}
    if whole is not None:
        multiscale["coordinateTransformations"] = whole
    group = zarr.open_group(str(path), mode="w", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    group.create_array("0", data=np.arange(960, dtype=np.uint16).reshape(2, 2, 3, 8, 10), chunks=(1, 1, 1, 8, 10))
    return path


def begins(array: Any) -> dict[str, float]:
    return {axis: float(array[axis].values[0]) for axis in ("time", "z", "y", "x")}


@pytest.mark.parametrize(
    ("moves", "whole"),
    [
        ([SCALE, PLACE], None),
        ([SCALE], [PLACE]),
        ([scaled(1, 1, 1, 250, 250), moved(0, 0, -20, 6000, 125)], [scaled(3, 1, 2, 2, 2), moved(7, 0, 0, 0, 0)]),
        ([SCALE, moved(7, 0, -40, 0, 0)], [moved(0, 0, 0, 12000, 250)]),
        ([moved(0, 0, -20, 24, 0.5), SCALE], [moved(7, 0, 0, 0, 0)]),  # not in the order that the format wants, but clear
    ],
)
def test_origins_are_kept(tmp_path: Path, moves: Moves, whole: Moves | None) -> None:
    path = foreign(tmp_path / "a.zarr", moves, whole)
    for target in ("b.zarr", "nd", "b.ome.tif"):
        convert(path, tmp_path / target, verify=True)
    convert(tmp_path / "nd", tmp_path / "c.zarr", verify=True)
    for name in ("a.zarr", "b.zarr", "c.zarr", "nd"):
        dataset = Dataset(tmp_path / name)
        array = dataset.to_xarray()
        assert begins(array) == pytest.approx({"time": 7, "z": -40, "y": 12, "x": 0.25}), name
        assert array.z.values == pytest.approx([-40, -38, -36])
        assert array.x.values[:3] == pytest.approx([0.25, 0.75, 1.25])
        assert [array[axis].attrs["units"] for axis in ("time", "z", "y", "x")] == ["s", "µm", "µm", "µm"]
        assert dataset.to_xarray(z=2).y.values[0] == 12
        view: Any = dataset.as_zarr().attrs["ome"]
        written: Any = zarr.open_group(str(tmp_path / name), mode="r").attrs["ome"] if name in ("b.zarr", "c.zarr") else view
        for ome in (view, written):
            (level,) = ome["multiscales"][0]["datasets"]
            assert [move["type"] for move in level["coordinateTransformations"]] == ["scale", "translation"]
            assert level["coordinateTransformations"][0]["scale"] == pytest.approx([3, 1, 2, 0.5, 0.5])
            assert level["coordinateTransformations"][1]["translation"] == pytest.approx([7, 0, -40, 12, 0.25])


def test_planes_of_ome_tiff_say_where_they_are(tmp_path: Path) -> None:
    import tifffile

    convert(foreign(tmp_path / "a.zarr", [SCALE, PLACE]), tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        planes = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]["Pixels"]["Plane"]
    assert len(planes) == 12
    for plane in planes:
        assert (plane["PositionX"], plane["PositionY"]) == pytest.approx((0.25, 12))
        assert plane["PositionZ"] == pytest.approx(-40 + 2 * plane["TheZ"])
        assert plane["PositionXUnit"] == plane["PositionYUnit"] == plane["PositionZUnit"] == "µm"


def test_images_that_begin_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    zarr.open_group(str(root), mode="w", attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    for number in range(3):
        foreign(root / str(number), [SCALE, moved(0, 0, 0, 1000 * number, 0)])
    convert(root, tmp_path / "nd")
    convert(root, tmp_path / "b.zarr")
    for name in ("a.zarr", "nd", "b.zarr"):
        dataset = Dataset(tmp_path / name)
        array = dataset.to_xarray()
        assert array.y.values[:2] == pytest.approx([0, 0.5])
        assert array.y_origin.dims == ("position",)
        assert array.y_origin.values == pytest.approx([0, 1, 2])
        assert array.y_origin.attrs["units"] == "µm"
        assert "x_origin" not in array.coords
        assert dataset.to_xarray(position=2).y.values[:2] == pytest.approx([2, 2.5])
        view = dataset.as_zarr()
        for number in range(3):
            ome: Any = view[str(number)].attrs["ome"]
            found = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][1:]
            assert found == [moved(0, 0, 0, number, 0)]


def test_a_stack_whose_begin_is_missing(tmp_path: Path) -> None:
    with NDTiffWriter(tmp_path, "x", {"PixelSize_um": 0.5, "z-step_um": 2.0}) as writer:
        for z in (1, 2):
            writer.put(Frame({"z": z}, image(z), {"ZOrigin_um": -40.0}))
    dataset = Dataset(writer.path)
    assert dataset.to_xarray().z.values.tolist() == [-38.0, -36.0]
    ome: Any = dataset.as_zarr().attrs["ome"]
    assert ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] == [scaled(2, 0.5, 0.5), moved(-38, 0, 0)]


def test_what_says_nothing_or_nonsense_moves_nothing(tmp_path: Path) -> None:
    plain = {"Axes": {"time": 0, "channel": 0, "z": 0}}
    for moves in (
        [SCALE, moved(0, 0, 0, 0, 0)],
        [SCALE],
        [SCALE, moved(1, 2)],
        [SCALE, {"type": "translation"}],
        [SCALE, moved(*["1"] * 5)],
    ):  # type: ignore[arg-type]
        dataset = Dataset(foreign(tmp_path / "a.zarr", moves))
        assert dataset.read_metadata(time=0, channel=0, z=0) == plain
    axes = [{**axis, "unit": "furlong"} if axis["name"] in "yx" else axis for axis in AXES]
    dataset = Dataset(foreign(tmp_path / "a.zarr", [SCALE, PLACE], axes=axes))
    assert dataset.read_metadata(time=0, channel=0, z=0) == {**plain, "ZOrigin_um": -40.0, "TOrigin_ms": 7000.0}
    assert "x" not in dataset.to_xarray().coords


def test_levels_of_others_begin_where_they_say(tmp_path: Path) -> None:
    """As ngff-zarr writes them: a pixel of a reduced level is the mean of several, its centre lies between theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ngff_zarr

        pixels = np.random.default_rng(0).integers(0, 60000, (3, 64, 80), dtype=np.uint16)
        one = ngff_zarr.to_ngff_image(
            pixels, dims=["z", "y", "x"], scale={"z": 2.0, "y": 0.5, "x": 0.5}, translation={"z": 100.0, "y": -30.0, "x": 12.5},
            axes_units={"z": "micrometer", "y": "micrometer", "x": "micrometer"},
        )  # fmt: skip
        ngff_zarr.to_ngff_zarr(str(tmp_path / "a.zarr"), ngff_zarr.to_multiscales(one, scale_factors=[2], chunks=32), version="0.5")
        theirs = ngff_zarr.from_ngff_zarr(str(tmp_path / "a.zarr"))
    dataset = Dataset(tmp_path / "a.zarr", full_res_only=False)
    for level in range(2):
        array = dataset.to_xarray(res_level=level)
        said = theirs.images[level]
        for axis in ("z", "y", "x"):
            assert float(array[axis].values[0]) == pytest.approx(said.translation[axis])
            if len(array[axis]) > 1:
                assert float(array[axis].values[1]) == pytest.approx(said.translation[axis] + said.scale[axis])
    assert float(dataset.to_xarray().x.values[0]) == 12.5
    convert(tmp_path / "a.zarr", tmp_path / "b.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = ngff_zarr.from_ngff_zarr(str(tmp_path / "b.zarr")).images[0]
    assert {axis: ours.translation[axis] for axis in "zyx"} == pytest.approx({"z": 100.0, "y": -30.0, "x": 12.5})


def test_the_one_by_ome_zarr_py_and_the_one_by_yaozarrs(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (3, 16, 20), dtype=np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ome_zarr.writer import write_multiscale

        group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=3)
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        write_multiscale([pixels], group, axes=axes, coordinate_transformations=[[scaled(2, 0.5, 0.5), moved(5, 6, 7)]])
    from yaozarrs import DimSpec, v05
    from yaozarrs.write.v05 import write_image as write_yaozarrs

    sizes = zip("zyx", (2, 0.5, 0.5), (5, 6, 7), strict=True)
    said = v05.Multiscale.from_dims([DimSpec(name=name, scale=by, unit="micrometer", translation=at) for name, by, at in sizes])
    write_yaozarrs(tmp_path / "b.zarr", v05.Image(multiscales=[said]), pixels, writer="zarr")
    for name in ("a.zarr", "b.zarr"):
        array = Dataset(tmp_path / name).to_xarray()
        assert [float(array[axis].values[0]) for axis in "zyx"] == [5, 6, 7], name
        assert [float(array[axis].values[1]) for axis in "zyx"] == [7, 6.5, 7.5]


def test_levels_of_ours_begin_where_their_pixels_do(tmp_path: Path) -> None:
    with OmeZarrWriter(tmp_path, "x", {"PixelSize_um": 0.5, "z-step_um": 2.0}, levels=2) as writer:
        for z in range(2):
            writer.put(Frame({"z": z}, image(z, (600, 700)), {"XOrigin_um": 10.0, "YOrigin_um": -3.0}))
    ome: Any = zarr.open_group(str(writer.path), mode="r").attrs["ome"]
    found = [level["coordinateTransformations"] for level in ome["multiscales"][0]["datasets"]]
    assert found == [
        [scaled(2, 0.5, 0.5), moved(0, -3, 10)],
        [scaled(2, 1, 1), moved(0, -2.75, 10.25)],
        [scaled(2, 2, 2), moved(0, -2.25, 10.75)],
    ]
    dataset = Dataset(writer.path, full_res_only=False)
    for level in range(3):
        array = dataset.to_xarray(res_level=level)
        assert (array.y.values[0], array.x.values[0]) == ((-3, 10), (-2.75, 10.25), (-2.25, 10.75))[level]


@pytest.mark.parametrize("by", [[1], [float("nan"), 0, 0, 1, 1], [10**400, 0, 0, 1, 1], "abcde", None, [1e308, 0, 0, 1, 1]])
def test_an_origin_that_cannot_be_read_leaves_the_sizes(tmp_path: Path, caplog: pytest.LogCaptureFixture, by: Any) -> None:
    axes = [AXES[0] | {"unit": "hour"}, *AXES[1:]]
    bad = {"type": "translation", "path": "somewhere"} if by is None else {"type": "translation", "translation": by}
    with caplog.at_level(logging.WARNING, "aiomm"):
        dataset = Dataset(foreign(tmp_path / "a.zarr", [SCALE, bad], axes=axes))
    (line,) = caplog.messages
    assert re.search(r"a\.zarr: where 0 begins is not known: its translation", line)
    assert {key: value for key, value in dataset.summary_metadata.items() if key != "ome"} == {
        "PixelSize_um": 0.5, "z-step_um": 2.0, "Interval_ms": 3 * 3.6e6,
    }  # fmt: skip
    assert dataset.read_metadata(time=0, channel=0, z=0) == {"Axes": {"time": 0, "channel": 0, "z": 0}}


@pytest.mark.parametrize("scale", [scaled(3, 1, 2, 10**400, 500), scaled(3, 1, 2, float("inf"), 500)])
def test_a_scale_that_cannot_be_read_says_nothing(tmp_path: Path, scale: dict[str, Any]) -> None:
    dataset = Dataset(foreign(tmp_path / "a.zarr", [scale, PLACE]))
    assert set(dataset.summary_metadata) == {"ome"}


@pytest.mark.parametrize("by", [1e200, 1e-200])
def test_products_that_no_float_holds_are_no_sizes(tmp_path: Path, by: float) -> None:
    dataset = Dataset(foreign(tmp_path / "a.zarr", [scaled(3, 1, 2, by, by)], [scaled(1, 1, 1, by, by)]))
    assert {key: value for key, value in dataset.summary_metadata.items() if key != "ome"} == {"z-step_um": 2.0, "Interval_ms": 3000.0}
    assert "x" not in dataset.to_xarray().coords
