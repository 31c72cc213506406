"""``aiomm acquire`` on the simulated microscope, in this process and in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pymmcore
import pytest
from typer.testing import CliRunner

import aiomm
from aiomm.cli import app


def acquire(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["acquire", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_every_option_has_its_effect(tmp_path: Path) -> None:
    code, out, err = acquire(
        tmp_path, "--name", "cells", "-t", 2, "-z", "0:2:1", "-c", "Channel:DAPI,FITC", "--exposure", "3,4", "--order", "tzpc"
    )
    assert (code, err) == (0, "")
    path = tmp_path / "cells_1"
    assert out.splitlines()[1:] == [f"dataset: {path}", f"preview: {path}.png"]
    dataset = aiomm.Dataset(str(path))
    keys = [dict(dataset.axes_of(row)) for row in range(len(dataset))]
    assert keys == [{"time": t, "z": z, "channel": c} for t in range(2) for z in range(3) for c in ("DAPI", "FITC")]
    for axes in keys:
        metadata = dataset.read_metadata(**axes)
        assert float(metadata["Exposure"]) == (3 if axes["channel"] == "DAPI" else 4)
        assert float(metadata["ZPosition_um_Intended"]) == axes["z"]
    picture = (path.parent / "cells_1.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_exposure_without_channels(tmp_path: Path) -> None:
    assert acquire(tmp_path, "--exposure", 6, "--no-preview")[0] == 0
    dataset = aiomm.Dataset(str(tmp_path / "acq_1"))
    assert len(dataset) == 1
    assert float(dataset.read_metadata()["Exposure"]) == 6


def test_channels_without_group_are_of_the_cores_channel_group(tmp_path: Path) -> None:
    assert acquire(tmp_path, "-c", "Cy5", "--no-preview")[0] == 0
    assert [dict(key) for key in aiomm.Dataset(str(tmp_path / "acq_1")).get_index_keys()] == [{"channel": "Cy5"}]


def test_no_preview(tmp_path: Path) -> None:
    code, out, _ = acquire(tmp_path, "--no-preview")
    assert code == 0
    assert "preview:" not in out
    assert not list(tmp_path.glob("*.png"))


def test_without_pillow_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    code, out, _ = acquire(tmp_path)
    assert code == 0
    assert "aiomm[preview]" in out.splitlines()[-1]


def test_memory_keeps_the_preview_only(tmp_path: Path) -> None:
    code, out, _ = acquire(tmp_path / "out", "--format", "memory", "-t", 2)
    assert code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["acq.png"]
    assert "dataset:" not in out


def test_the_next_dataset_gets_the_next_number(tmp_path: Path) -> None:
    for number in (1, 2):
        assert f"dataset: {tmp_path / f'acq_{number}'}" in acquire(tmp_path, "--no-preview")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--port", 4827, "--config", "demo"], 2, "--config demo and --port 4827 are two microscopes"),
        (["--port", 0], 2, "--port"),
        (["--port", 70000], 2, "--port"),
        (["-z", "0-10"], 2, "START:END:STEP"),
        (["-z", "0:10:-1"], 2, "other sign"),
        (["-c", "DAPI,"], 2, "GROUP:PRESET"),
        (["-c", "Nonsense:DAPI"], 2, "Nonsense"),
        (["-c", "DAPY"], 2, "DAPI"),
        (["--exposure", "1,2"], 2, "no channels"),
        (["--exposure", "inf"], 2, "--exposure 'inf': an exposure is finite"),
        (["--exposure", "1e8"], 2, "--exposure: camera 'Camera' cannot expose for 1e+08 ms: it may lie from 0 to 10000"),
        (["-c", "DAPI,FITC", "--exposure", "5,1e8"], 2, "--exposure: camera 'Camera' cannot expose for 1e+08 ms"),
        (["--name", "a/b"], 2, "--name 'a/b': a dataset's name is a file name, without slashes"),
        (["--name", "a/b", "--format", "memory"], 2, "--name 'a/b'"),
        (["--name", ".."], 2, "--name '..'"),
        (["--name", ""], 2, "--name '': a dataset's name is a file name"),
        (["--name", "a" * 300], 2, "--name 'aaa"),
        (["--order", "qq"], 2, "order"),
        (["-t", 0], 2, "-t"),
        (["--interval", -1], 2, "--interval"),
        (["--format", "tiff"], 2, "ndtiff"),
        (["--exposre", 1], 2, "exposre"),
        (["--config", "no/such.cfg"], 4, "no/such.cfg"),
        (["-t", "many"], 2, "-t"),
        (["-z", "0:4:0"], 2, "-z '0:4:0': STEP must not be 0"),
        (["-z", "0:1:1e-12"], 2, "-z: 1000000000001 slices"),
        (["-t", 1_000_000_000], 3, "1000000000 images of 524.3 kB take 532.5 TB"),
        (["-t", 1_000_000_000, "-z", "0:4:1", "-c", "DAPI,FITC"], 3, "10000000000 images"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(arguments: list[object], code: int, says: str, tmp_path: Path) -> None:
    got, out, err = acquire(tmp_path / "out", *arguments)
    assert got == code, err
    assert says in err
    assert err.startswith("aiomm: error: ")
    assert len(err.splitlines()) == 1
    assert "Value error" not in err
    assert out == ""
    assert not (tmp_path / "out").exists()  # refused before anything is made


@pytest.mark.parametrize("out", ["", " "])
def test_an_empty_folder_name_is_refused(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = acquire(out)
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "OUT is empty" in err


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = acquire(tmp_path / "file")
    assert code == 2
    assert "is a file" in err


def test_a_configuration_without_a_camera_is_no_microscope(tmp_path: Path) -> None:
    (tmp_path / "stage.cfg").write_text("Property,Core,Initialize,0\nDevice,Z,DemoCamera,DStage\nProperty,Core,Initialize,1\n")
    code, out, err = acquire(tmp_path / "out", "--config", tmp_path / "stage.cfg")
    assert (code, out) == (4, "")
    assert err == f"aiomm: error: configuration '{tmp_path / 'stage.cfg'}' loads no camera\n"
    assert not (tmp_path / "out").exists()


def test_images_of_another_size_than_now_are_not_counted_against_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomm.cli.acquire.shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=300_000)))
    assert acquire(tmp_path / "out", "--no-preview")[0] == 3
    assert acquire(tmp_path / "out", "--no-preview", "-c", "Camera:LowRes")[0] == 0  # it bins: its images are smaller


def test_one_image_that_does_not_fit_is_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomm.cli.acquire.shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=3)))
    code, _, err = acquire(tmp_path / "out")
    assert (code, err[:45]) == (3, "aiomm: error: 1 image of 524.3 kB takes 532.5")


def test_one_image_is_one_image(tmp_path: Path) -> None:
    assert acquire(tmp_path, "--no-preview")[1].startswith("acquired 1 image in ")


def test_a_folder_that_cannot_be_made_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = acquire(tmp_path / "file" / "out")
    assert code == 3
    assert err.count(str(tmp_path)) == 1
    assert len(err.splitlines()) == 1


def test_an_adapter_that_is_missing_is_no_microscope(tmp_path: Path) -> None:
    import mm_test_adapters

    demo = Path(mm_test_adapters.device_adapter_path()) / "MMConfig_demo.cfg"
    broken = tmp_path / "broken.cfg"
    broken.write_text(demo.read_text() + "\nDevice,Nothing,NoSuchAdapter,Nothing\n")
    code, _, err = acquire(tmp_path, "--config", broken)
    assert code == 4
    assert "NoSuchAdapter" in err


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files stands for a full disk")
def test_a_full_disk_is_a_storage_failure_and_what_was_saved_is_kept(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20)); from aiomm.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", limited, "acquire", "out", "-t", "20", "--interval", "0.01", "--no-preview"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    kept, error = done.stderr.splitlines()
    assert error.startswith("aiomm: error: ")
    dataset = aiomm.Dataset(tmp_path / "out" / "acq_1")
    assert kept == f"{len(dataset)} of 20 images are saved and kept in {Path('out', 'acq_1')}"
    assert len(dataset) > 1
    for row in range(len(dataset)):
        assert dataset.read_row(row)[0].shape == (512, 512)


def test_a_failing_device_is_a_failed_acquisition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(pymmcore.CMMCore):  # type: ignore[misc]
        count = 0

        def snapImage(self) -> None:
            self.count += 1
            if self.count > 3:
                raise RuntimeError("the camera lost its power")
            super().snapImage()

    monkeypatch.setattr(pymmcore, "CMMCore", Failing)
    code, out, err = acquire(tmp_path, "-t", 10, "--interval", 0.01)
    assert (code, out) == (1, "")
    kept, error = err.splitlines()
    assert kept == f"3 of 10 images are saved and kept in {tmp_path / 'acq_1'}"
    assert "the camera lost its power" in error
    assert "Traceback" not in err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["acquire", str(tmp_path), "--config", "no.cfg", "--debug"])
    assert result.exception is not None
    assert "no.cfg" in str(result.exception)


def test_where_nobody_looks_only_the_closing_lines_are_printed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from aiomm.cli import main; main()", "acquire", "out", "-t", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("acquired 3 images in ")
    assert done.stdout.splitlines()[1:] == [f"dataset: {Path('out', 'acq_1')}", f"preview: {Path('out', 'acq_1.png')}"]


def test_ome_zarr(tmp_path: Path) -> None:
    code, out, err = acquire(tmp_path, "--format", "ome-zarr", "-t", 2, "-z", "0:2:1", "-c", "DAPI,FITC", "--no-preview")
    assert (code, err) == (0, "")
    assert f"dataset: {tmp_path / 'acq_1'}" in out
    assert aiomm.Dataset(tmp_path / "acq_1").as_array(axes=["time", "channel", "z"]).shape[:3] == (2, 2, 3)
    info = CliRunner().invoke(app, ["info", str(tmp_path / "acq_1")]).stdout
    assert "images       12" in info
    assert "finished     yes" in info
    assert "acq_1" in CliRunner().invoke(app, ["info", str(tmp_path)]).stderr
