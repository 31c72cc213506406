"""What stays after the experiment: datasets and how they are written and read."""

from __future__ import annotations

from aiomm.dataset.convert import Conversion, convert, convert_async
from aiomm.dataset.damage import RepairReport
from aiomm.dataset.dataset import Dataset
from aiomm.dataset.memory import MemoryWriter
from aiomm.dataset.ndtiff.pyramid import PyramidWriter, rebuild_pyramid
from aiomm.dataset.ndtiff.writer import NDTiffWriter
from aiomm.dataset.omezarr.writer import OmeZarrWriter
from aiomm.dataset.repairing import repair
from aiomm.dataset.storage import Axes, Frame, Writer

__all__ = [
    "Axes",
    "Conversion",
    "Dataset",
    "Frame",
    "MemoryWriter",
    "NDTiffWriter",
    "OmeZarrWriter",
    "PyramidWriter",
    "RepairReport",
    "Writer",
    "convert",
    "convert_async",
    "rebuild_pyramid",
    "repair",
]
