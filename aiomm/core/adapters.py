"""Finding device adapters: given folders, mm-test-adapters, an installed Micro-Manager; and the demo configuration."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiomm.errors import CoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEMO_CONFIG = "MMConfig_demo.cfg"
_LIBRARY = {"win32": "mmgr_dal_*.dll", "darwin": "libmmgr_dal_*", "linux": "libmmgr_dal_*.so*"}
_INSTALL_DEMO = 'install the simulated devices with: pip install "aiomm[demo]"'


def demo_adapters() -> Path | None:
    """Give the folder of mm-test-adapters' libraries (DemoCamera, SequenceTester), if that package is installed."""
    spec = importlib.util.find_spec("mm_test_adapters")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "libs"
    return folder if folder.is_dir() else None


def installed_micromanager() -> list[Path]:
    """Give the folders of Micro-Manager where its installers and pymmcore-plus put it, the newest first."""
    home = Path.home()
    data = {
        "win32": home / "AppData" / "Local" / "pymmcore-plus",
        "darwin": home / "Library" / "Application Support" / "pymmcore-plus",
    }.get(sys.platform, home / ".local" / "share" / "pymmcore-plus")
    places: list[tuple[Path, str]] = [(data / "mm", "Micro-Manager*"), (data / "pymmcore-plus" / "mm", "Micro-Manager*")]
    if sys.platform == "win32":
        places += [(Path("C:/Program Files"), "Micro-Manager*")]
    elif sys.platform == "darwin":
        places += [(Path("/Applications"), "Micro-Manager*")]
    else:
        places += [(Path("/usr/local/lib"), "micro-manager*"), (Path("/opt"), "[mM]icro-[mM]anager*"), (home, "Micro-Manager*")]
    found = [folder for place, pattern in places if place.is_dir() for folder in place.glob(pattern) if libraries(folder)]
    return sorted(found, key=lambda f: _version(f.name), reverse=True)


def libraries(folder: Path) -> list[str]:
    """Name the device adapters in a folder: ``DemoCamera`` for ``libmmgr_dal_DemoCamera.so.0``."""
    pattern = _LIBRARY.get(sys.platform, _LIBRARY["linux"])
    names = (re.sub(r"^(lib)?mmgr_dal_", "", path.name).split(".")[0] for path in folder.glob(pattern))
    return sorted(set(names))


def search_paths(adapter_paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] | None) -> list[Path]:
    """Where MMCore is to look for adapters.

    Parameters
    ----------
    adapter_paths : path, iterable of paths, or None
        Folders to use, and no others. None: mm-test-adapters if installed, then an installed Micro-Manager.

    Raises
    ------
    CoreError
        A given folder does not exist or holds no adapter.
    """
    if adapter_paths is None:
        demo = demo_adapters()
        return [*([demo] if demo else []), *installed_micromanager()[:1]]
    given = [adapter_paths] if isinstance(adapter_paths, (str, os.PathLike)) else list(adapter_paths)
    paths = [Path(p).expanduser().resolve() for p in given]
    for path in paths:
        if not path.is_dir():
            raise CoreError(f"adapter_paths: there is no folder {path}")
        if not libraries(path):
            raise CoreError(f"adapter_paths: no device adapter ({_LIBRARY.get(sys.platform, 'libmmgr_dal_*')}) in {path}")
    return paths


def let_libraries_load(paths: list[Path]) -> None:
    """On Windows, adapters find the libraries beside them through PATH only."""
    if sys.platform == "win32":
        known = os.environ.get("PATH", "").split(os.pathsep)
        os.environ["PATH"] = os.pathsep.join([*known, *(str(p) for p in paths if str(p) not in known)])


def folders(paths: Iterable[str]) -> list[Path]:
    """Those of MMCore's search paths that are folders."""
    return [path for path in map(Path, paths) if str(path) != "." and path.is_dir()]


def has_demo(paths: list[Path]) -> bool:
    """Whether DemoCamera and its configuration are in one of the folders."""
    return any((folder / DEMO_CONFIG).is_file() and "DemoCamera" in libraries(folder) for folder in paths)


def config_file(config: str | os.PathLike[str], paths: list[Path]) -> Path:
    """Find the configuration file: ``"demo"`` is that of DemoCamera, anything else a path.

    Raises
    ------
    CoreError
        There is no such file; for ``"demo"``, the message says what to install.
    """
    if str(config) == "demo":
        for folder in paths:
            if (folder / DEMO_CONFIG).is_file() and "DemoCamera" in libraries(folder):
                return folder / DEMO_CONFIG
        raise CoreError(f"config 'demo': no DemoCamera with {DEMO_CONFIG} {_looked_in(paths)}; {_INSTALL_DEMO}")
    path = Path(config).expanduser()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise CoreError(f"configuration file {str(path)!r} {kind}; give the path of a Micro-Manager .cfg file, or 'demo'")
    return path.resolve()


def missing_adapters(config: Path, paths: list[Path]) -> list[str]:
    """Name the adapters that a configuration file asks for and that are in none of the folders."""
    available = {name for folder in paths for name in libraries(folder)}
    wanted: dict[str, None] = {}
    for line in config.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) >= 4 and fields[0] == "Device":
            wanted[fields[2]] = None
    return [name for name in wanted if name not in available]


def explain(text: str, config: Path, paths: list[Path]) -> str:
    """Add to MMCore's text about a configuration that did not load what is missing and what would help."""
    if missing := missing_adapters(config, paths):
        found = sorted({name for folder in paths for name in libraries(folder)})
        hint = _INSTALL_DEMO if set(missing) <= {"DemoCamera", "SequenceTester", "NotificationTester", "Utilities"} else (
            "install Micro-Manager with these adapters, or give their folder as adapter_paths="
        )  # fmt: skip
        return (
            f"{config}: device adapter{'s' * (len(missing) > 1)} {', '.join(missing)} not found {_looked_in(paths)}; "
            f"found: {', '.join(found) or 'none'}; {hint}. MMCore: {text}"
        )
    if "interface version" in text.lower():
        return (
            f"{config}: {text} The adapters were built for another device interface than this pymmcore: install the pymmcore "
            f"whose last two version numbers match the adapters', or adapters that match pymmcore. Adapters {_looked_in(paths)}"
        )
    return f"{config}: {text}"


def _looked_in(paths: list[Path]) -> str:
    return f"in {', '.join(map(str, paths))}" if paths else "(no folder with device adapters was found on this computer)"


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", name))
