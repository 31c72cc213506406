"""What the user writes on the command line, and what it means: ranges, channels, exposures."""

from __future__ import annotations

import math
from pathlib import Path

from aiomm.cli.exits import UsageError
from aiomm.dataset.ndtiff.folder import check_name


def folder(text: str) -> Path:
    """Read the folder to save in."""
    if not text.strip():
        raise UsageError("OUT is empty: it is the folder to save in, as in data; . is the folder you are in")
    path = Path(text)
    if path.is_file():
        raise UsageError(f"OUT {text!r} is a file: it must be a folder, or a name that is free")
    return path


def dataset_name(text: str) -> str:
    """Read the name of the dataset."""
    try:
        check_name(text)
    except ValueError as error:
        raise UsageError(f"--{str(error).replace(' is ', ' ', 1)}") from None
    return text


def path(name: str, text: str) -> Path:
    """Read the path of a dataset, which is an argument of this name."""
    if not text.strip():
        raise UsageError(f"{name} is empty: it is the path of a dataset; . is the folder you are in")
    return Path(text)


def microscope(config: str | None, port: int | None) -> str | int:
    """Read which microscope it is: a configuration to load in this process, or the port of a running Micro-Manager."""
    if port is None:
        return "demo" if config is None else config
    if config is not None:
        raise UsageError(
            f"--config {config} and --port {port} are two microscopes: --config loads one in this process, --port uses the one that "
            "Micro-Manager has loaded; give one of them"
        )
    return port


def z_range(text: str) -> tuple[float, float, float]:
    """Read ``START:END:STEP`` in µm; at least one slice."""
    parts = text.split(":")
    try:
        start, end, step = (float(part) for part in parts)
    except ValueError:
        raise UsageError(f"-z {text!r} is not START:END:STEP in µm, as in -z 0:10:1 or -z -5:5:0.5") from None
    if not all(map(math.isfinite, (start, end, step))):
        raise UsageError(f"-z {text!r}: START, END and STEP must be finite")
    if step == 0:
        raise UsageError(f"-z {text!r}: STEP must not be 0")
    if (end - start) / step < 0:
        raise UsageError(f"-z {text!r}: STEP leads away from END; from {start:g} to {end:g} it must have the other sign")
    return start, end, step


def channel_names(text: str) -> tuple[str | None, list[str]]:
    """Read ``GROUP:PRESET,PRESET`` or ``PRESET,PRESET``; without a group it is None: the core's channel group."""
    group, colon, presets = text.rpartition(":")
    names = [name.strip() for name in presets.split(",")]
    if not all(names) or (colon and not group.strip()):
        raise UsageError(f"-c {text!r} is not GROUP:PRESET,PRESET or PRESET,PRESET, as in -c Channel:DAPI,FITC")
    return (group.strip() if colon else None), names


def exposures(text: str, channels: list[str]) -> list[float]:
    """Read one exposure in ms, or one for each channel; the answer has one for each channel (or one, without channels)."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--exposure {text!r} is not a time in ms, or one for each channel as in --exposure 10,50") from None
    if any(not 0 < value < math.inf for value in values):
        raise UsageError(f"--exposure {text!r}: an exposure is finite, and longer than 0 ms")
    wanted = max(1, len(channels))
    if len(values) == 1:
        return values * wanted
    if len(values) != wanted:
        kind = f"{len(channels)} channels ({', '.join(channels)})" if channels else "no channels"
        raise UsageError(f"--exposure gives {len(values)} times for {kind}")
    return values
