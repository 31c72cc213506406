"""A process that writes a dataset for others to follow: ``python -m tests.dataset.writer_process KIND FOLDER COUNT PAUSE``.

It writes COUNT images of `image_of`, PAUSE seconds apart. Then a line on its standard input makes it finish.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from typing import Any

import numpy as np

CHANNELS = ("DAPI", "FITC")


def axes_of(number: int) -> dict[str, Any]:
    return {"z": number % 3, "channel": CHANNELS[number // 3 % 2], "time": number // 6}


def image_of(number: int) -> np.ndarray:
    y, x = np.ogrid[:40, :50]
    pixels: np.ndarray = (y * 403 + x * 311 + number * 257).astype(np.uint16)
    return pixels


def main(kind: str, folder: str, count: int, pause: float) -> None:
    put: Any
    if kind == "aiomm":
        from aiomm.dataset import Frame, NDTiffWriter

        writer = NDTiffWriter(folder, "grown", {"Who": kind})
        put, finish = lambda i: writer.put(Frame(axes_of(i), image_of(i), {"Number": i})), writer.finish
    else:
        from ndstorage import NDTiffDataset

        with contextlib.redirect_stdout(io.StringIO()):
            dataset = NDTiffDataset(folder, name="grown", summary_metadata={"Who": kind}, writable=True)
        put, finish = lambda i: dataset.put_image(axes_of(i), image_of(i), {"Number": i, "Axes": axes_of(i)}), dataset.finish
    for i in range(count):
        put(i)
        time.sleep(pause)
    print("written", flush=True)
    sys.stdin.readline()
    with contextlib.redirect_stdout(io.StringIO()):
        finish()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
