"""``aiomm doctor``: does this machine have what an acquisition needs, and what to do about what is missing."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from aiomm.bridge import Bridge
from aiomm.core import LocalCore, adapters
from aiomm.errors import AiommError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

OPTIONAL = {
    "preview": ("PIL", "pictures of datasets"),
    "process": ("cloudpickle", "hooks and processors in processes of their own"),
    "useq": ("useq", "useq-schema sequences as events"),
}
BLOCK = 8 << 20  # bytes
TEST_BYTES = 256 << 20
LITTLE_SPACE = 10e9  # bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``missing`` is what to do: needed things make the doctor fail, others do not."""

    name: str
    text: str
    missing: str = ""
    needed: bool = True


def examine(directory: Path, where: str | int, console: Console) -> bool:
    """Look at everything and print it; True if all that is needed is there.

    ``where`` is a configuration to load, or the port of a running Micro-Manager: device adapters of this process are not asked for then.
    """
    healthy = True

    def report(finding: Finding) -> None:
        nonlocal healthy
        healthy = healthy and not (finding.missing and finding.needed)
        mark = "[green]ok[/]     " if not finding.missing else "[red]missing[/]" if finding.needed else "[yellow]note[/]   "
        console.print(f"{mark} [bold]{finding.name:<13}[/] ", end="")
        console.print(finding.text, markup=False)
        if finding.missing:
            console.print(f"{'':8}{'':13} -> {finding.missing}", markup=False)

    for finding in packages():
        report(finding)
    if isinstance(where, int):
        report(asyncio.run(micro_manager(where)))
    else:
        report(device_adapters())
        report(asyncio.run(configuration(where)))
    report(disk(directory))
    return healthy


def packages() -> Iterator[Finding]:
    """Python, aiomm, pymmcore, and the packages of the extras."""
    yield Finding("Python", f"{platform.python_version()} on {platform.platform(terse=True)}, {os.cpu_count()} processors")
    yield Finding("aiomm", version("aiomm"))
    try:
        import pymmcore

        core = pymmcore.CMMCore()
        yield Finding("pymmcore", f"{version('pymmcore')}: {core.getVersionInfo()}, {core.getAPIVersionInfo()}")
    except (ImportError, PackageNotFoundError) as error:
        yield Finding("pymmcore", str(error), "pip install pymmcore")
    for extra, (module, what) in OPTIONAL.items():
        there = importlib.util.find_spec(module) is not None
        todo = "" if there else f"only if you want {what}: pip install 'aiomm[{extra}]'"
        yield Finding(f"extra {extra}", what if there else "not installed", todo, needed=False)


def device_adapters() -> Finding:
    """Which device adapters MMCore would find."""
    todo = "pip install 'aiomm[demo]' for simulated devices, or install Micro-Manager for real ones"
    found = [f"{shortened(adapters.libraries(folder))} in {folder}" for folder in adapters.search_paths(None)]
    return Finding("adapters", "; ".join(found) or "none found", "" if found else todo)


def shortened(names: list[str], most: int = 6) -> str:
    """Name the first few."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


async def configuration(config: str) -> Finding:
    """Load a configuration and take one image."""
    name = f"config {config}" if config == "demo" else "config"
    try:
        async with LocalCore(config) as core:
            started = time.perf_counter()
            image = await core.snap()
            took = 1000 * (time.perf_counter() - started)
            camera, devices = await core.get_camera_device(), await core.get_loaded_devices()
    except (AiommError, OSError, ImportError) as error:
        return Finding(name, "does not load", " ".join(str(error).split()))
    size = f"{image.shape[1]} x {image.shape[0]} {image.dtype}"
    return Finding(name, f"{len(devices)} devices; camera {camera}: {size}, one image in {took:.0f} ms")


async def micro_manager(port: int) -> Finding:
    """Ask a running Micro-Manager what it has; takes no image, moves nothing."""
    name = "Micro-Manager"
    try:
        async with Bridge(port) as bridge:
            core = await bridge.get_core()
            about, devices = await core.get_version_info(), await core.get_loaded_devices()
            camera = await core.get_camera_device()
    except AiommError as error:
        return Finding(name, f"nothing at port {port}", " ".join(str(error).split()))
    text = f"at port {port}: {about}, {len(devices)} devices; camera {camera or 'none'}"
    return Finding(name, text, "" if camera else "load a configuration with a camera in Micro-Manager")


def disk(directory: Path) -> Finding:
    """Measure free space and the speed of writing, once on the disk."""
    block = os.urandom(BLOCK)
    try:
        free = shutil.disk_usage(directory).free
        size = min(TEST_BYTES, free // 4) // BLOCK * BLOCK
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            started = time.perf_counter()
            for _ in range(size // BLOCK):
                file.write(block)
            os.fsync(file.fileno())
            took = time.perf_counter() - started
    except OSError as error:
        return Finding("disk", f"{directory.absolute()}: {error.strerror}", "choose another folder with --directory")
    todo = "" if free > LITTLE_SPACE else "there is little room; choose another folder with --directory"
    speed = f"{size / took / 1e6:.0f} MB/s" if size else "too full to measure"
    return Finding("disk", f"{directory.absolute()}: writes {speed}, {free / 1e9:.0f} GB free", todo, needed=False)
