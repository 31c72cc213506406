from __future__ import annotations

from pathlib import Path

import pytest

from aiomm.core import adapters
from aiomm.errors import CoreError


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"libmmgr_dal_{name}.so.0").touch()
        (folder / f"mmgr_dal_{name}.dll").touch()
    return folder


def test_the_demo_adapters_come_first() -> None:
    found = adapters.search_paths(None)
    assert found[0] == adapters.demo_adapters()
    assert "DemoCamera" in adapters.libraries(found[0])
    assert adapters.config_file("demo", found).name == "MMConfig_demo.cfg"


def test_an_installed_micromanager_is_found_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    place = tmp_path / ".local" / "share" / "pymmcore-plus" / "mm"
    old = make(place / "Micro-Manager-2.0.3-20240101", "DemoCamera")
    new = make(place / "Micro-Manager-2.0.3-20260101", "DemoCamera")
    (place / "Micro-Manager-empty-99999999").mkdir()
    found = adapters.installed_micromanager()
    assert [f for f in found if tmp_path in f.parents] == [new, old]
    monkeypatch.setattr(adapters, "demo_adapters", lambda: None)
    assert adapters.search_paths(None)[0] in found


def test_given_folders_and_no_others(tmp_path: Path) -> None:
    folder = make(tmp_path / "own", "Mine", "Other")
    assert adapters.search_paths(folder) == [folder]
    assert adapters.search_paths(str(folder)) == [folder]
    assert adapters.search_paths([folder, str(folder)]) == [folder, folder]
    assert adapters.libraries(folder) == ["Mine", "Other"]
    with pytest.raises(CoreError, match="'demo': no DemoCamera"):
        adapters.config_file("demo", [folder])


def test_a_missing_adapter_is_named_with_what_was_found(tmp_path: Path) -> None:
    folder = make(tmp_path / "own", "Mine")
    config = tmp_path / "x.cfg"
    config.write_text("# comment\nDevice, A, Mine, X\nDevice,B,Theirs,Y\nDevice,C,Theirs,Z\nProperty,Core,Initialize,1\n")
    text = adapters.explain("Failed to load", config, [folder])
    assert "device adapter Theirs not found" in text
    assert "found: Mine" in text
    assert "adapter_paths=" in text
    config.write_text("Device,Camera,DemoCamera,DCam\n")
    assert 'pip install "aiomm[demo]"' in adapters.explain("Failed", config, [])


def test_a_mismatched_interface_is_explained(tmp_path: Path) -> None:
    config = tmp_path / "x.cfg"
    config.write_text("Device,A,Mine,X\n")
    folder = make(tmp_path / "own", "Mine")
    text = adapters.explain("Incompatible device interface version (required = 75; found = 71)", config, [folder])
    assert "another device interface than this pymmcore" in text
    assert str(folder) in text
    assert adapters.explain("Property does not exist", config, [folder]) == f"{config}: Property does not exist"
