"""Read the images of an NDTiff folder by row: pixels, views, metadata, and many at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.dataset.finders import Finder, Grid
from aiomm.dataset.ndtiff import format as ndtiff
from aiomm.dataset.ndtiff.blocks import FolderBlocks
from aiomm.dataset.ndtiff.files import InputFile, InputFiles, missing_files, tiffs_in
from aiomm.dataset.ndtiff.quick import make_quick
from aiomm.dataset.ndtiff.table import FILE, HEIGHT, KIND, LENGTH, METADATA, PIXELS, WIDTH, Table
from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from pathlib import Path

    from aiomm.dataset.index import Index
    from aiomm.dataset.storage import Quick


def decode_metadata(data: bytes, where: str) -> dict[str, Any]:
    """Decode an image's metadata; older writers did not always use UTF-8.

    Raises
    ------
    DatasetFormatError
        It is not a JSON object.
    """
    try:
        metadata = ndtiff.load_json(data)
    except (ValueError, RecursionError) as error:
        raise DatasetFormatError(f"{where}: the metadata is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise DatasetFormatError(f"{where}: the metadata is not a JSON object but {type(metadata).__name__}")
    return metadata


class FolderStore:
    """The images of one folder, as its index lists them.

    Parameters
    ----------
    folder : Path
        Where the index and the TIFF files are.
    summary : dict
        The dataset's summary metadata.
    index : Index
        Axes of the rows.
    table : Table
        Places of the rows.
    files : list of str
        Names of the TIFF files, as `table` numbers them.
    version : tuple of int or None
        Of the format; None while there is no file that says it.
    """

    def __init__(
        self, folder: Path, summary: dict[str, Any], index: Index, table: Table, files: list[str], version: tuple[int, int] | None
    ) -> None:
        self.path: Path = folder
        self.summary = summary
        self.index = index
        self.table = table
        self.files = files
        self.version = version
        self._inputs = InputFiles(folder, files)
        self._finished = False
        self.quick: Quick | None = None
        self.sizes: dict[str, float] | None = None
        self._quick_of: Finder | None = None
        self._closed = False

    @property
    def finished(self) -> bool:
        """Whether the file says that its last image is the last: its chain of images ends, and so does the file."""
        if not self._finished:
            self._finished = self._ends_well()
        return self._finished

    def _ends_well(self) -> bool:
        if not len(self.index):
            if files := tiffs_in(self.path):
                return InputFile(self.path / files[-1]).read(4, 4) == b"\0\0\0\0"
            index = self.path / ndtiff.INDEX_NAME
            return index.is_file() and not index.stat().st_size  # Java makes it long first, and cuts it at the end
        rows = self.table.take(np.arange(len(self.index)))
        last_file = rows[:, FILE].max()
        of_file = rows[rows[:, FILE] == last_file]
        last = of_file[of_file[:, PIXELS].argmax()].tolist()
        record = ndtiff.RGB_RECORD if last[KIND] == ndtiff.RGB else ndtiff.GRAY_RECORD
        ifd = min(last[PIXELS], last[METADATA]) - record
        try:
            file = self._inputs.get(last[FILE])
        except DatasetFormatError:
            return False  # it is not there
        data = file.read(max(ifd, 0), ndtiff.IFD_BYTES)
        shape, dtype = ndtiff.shape_and_dtype(last[KIND], last[WIDTH], last[HEIGHT])
        end = max(last[PIXELS] + math.prod(shape) * dtype.itemsize, last[METADATA] + last[LENGTH])
        return len(data) == ndtiff.IFD_BYTES and data[:2] == b"\x0d\0" and data[-4:] == b"\0\0\0\0" and file.size() - end < ndtiff.PAGE

    def missing(self) -> dict[str, int]:
        return missing_files(self.path, list(self.files), self.table.take(np.arange(len(self.index)))[:, FILE])

    def shape_of(self, row: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        place = self.table.row(row)
        return ndtiff.shape_and_dtype(place[KIND], place[WIDTH], place[HEIGHT])

    def bit_depth_of(self, row: int) -> int:
        return ndtiff.DEPTH_OF_PIXEL_TYPE[self.table.row(row)[KIND]]

    def read(self, row: int) -> np.ndarray:
        number, offset, width, height, kind, _, _ = self.table.row(row)
        shape, dtype = ndtiff.shape_and_dtype(kind, width, height)
        file = self._inputs.get(number)
        self._look_for_quick(row, file)
        count = width * height * (3 if len(shape) == 3 else 1) * dtype.itemsize
        if count > 2**20 and offset + count > file.size():  # before the memory is asked for
            raise file.too_short(offset, count)
        out = np.empty(shape, dtype)
        file.read_into(out, offset)
        return out

    def view(self, row: int) -> np.ndarray:
        number, offset, width, height, kind, _, _ = self.table.row(row)
        shape, dtype = ndtiff.shape_and_dtype(kind, width, height)
        count = width * height * (3 if len(shape) == 3 else 1) * dtype.itemsize
        file = self._inputs.get(number)
        self._look_for_quick(row, file)
        return file.view(offset, count).view(dtype).reshape(shape)

    def _look_for_quick(self, row: int, file: InputFile) -> None:
        """Make the quick way to images like this one, in this file; another one when the index has another finder."""
        finder = self.index.finder
        if finder is not self._quick_of:
            self._quick_of = finder
            self.quick = make_quick(finder, self.table, row, file) if isinstance(finder, Grid) else None
            if self._closed:  # meanwhile
                self.quick = None

    def metadata(self, row: int) -> dict[str, Any]:
        place = self.table.row(row)
        file = self._inputs.get(place[FILE])
        data = file.read(place[METADATA], place[LENGTH])
        if len(data) < place[LENGTH]:
            raise file.too_short(place[METADATA], place[LENGTH])
        return decode_metadata(data, f"{file.path}, image {self.index.axes_of(row)}")

    def differing(self, rows: np.ndarray) -> int:
        places = self.table.take(rows)
        kinds = np.where((places[:, KIND] == ndtiff.GRAY8) | (places[:, KIND] == ndtiff.RGB), places[:, KIND], ndtiff.GRAY16)
        differ = (kinds != kinds[0]) | (places[:, WIDTH] != places[0, WIDTH]) | (places[:, HEIGHT] != places[0, HEIGHT])
        return int(rows[differ.argmax()]) if differ.any() else -1

    def blocks(self, rows: np.ndarray) -> FolderBlocks:
        places = self.table.take(rows)
        for number in np.unique(places[:, FILE]).tolist():  # before memory is asked for, and in one error for all
            of_file = places[places[:, FILE] == number]
            last = of_file[of_file[:, PIXELS].argmax()].tolist()
            shape, dtype = ndtiff.shape_and_dtype(last[KIND], last[WIDTH], last[HEIGHT])
            count = math.prod(shape) * dtype.itemsize
            try:
                file = self._inputs.get(number)
            except DatasetFormatError:
                continue  # it is not there: who reads an image that is in it is told
            if last[PIXELS] + count > file.size():
                raise file.too_short(last[PIXELS], count)
        return FolderBlocks(self.path, list(self.files), places)

    def let_go(self) -> None:
        """Let go of the files that are open; whoever reads on opens them again."""
        self._inputs.let_go()

    def close(self) -> None:
        self._closed = True
        self._inputs.close()
        self.quick = None
