"""Kill a process that runs a whole acquisition, at seeded moments, and read back what it had reported saved.

``python -m tests.campaigns.kill9_acquisition --runs 200`` runs the long form; tests/hazards runs a few.
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomm

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the process."""
    command = [sys.executable, "-m", "tests.support.acquiring", str(folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Ear:
    """Hears what the process says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.said: list[dict[str, Any]] = []
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def listen(self, until: float, word: str | None = None, times: int = 1) -> bool:
        """Listen until this monotonic time, or until a word was said so many times; tell whether it was."""
        assert self.process.stdout is not None
        while (left := until - time.monotonic()) > 0:
            if word is not None and len(self.of(word)) >= times:
                return True
            if not self._selector.select(left):
                break
            chunk = self.process.stdout.read1(65536)  # type: ignore[attr-defined]
            if not chunk:
                break
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            self.said += [json.loads(line) for line in lines]
        return word is not None and len(self.of(word)) >= times

    def of(self, word: str) -> list[dict[str, Any]]:
        """What was said with this word."""
        return [line for line in self.said if line["say"] == word]

    @property
    def saved(self) -> list[dict[str, Any]]:
        """Axes of the images that were reported saved."""
        return [line["axes"] for line in self.of("saved")]

    def close(self) -> str:
        """Reap the process; give what it wrote to its standard error."""
        self._selector.close()
        self.process.wait(20)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stdout, self.process.stderr:
            return self.process.stderr.read().decode()


def check(path: Path, saved: Sequence[dict[str, Any]], *, marked: bool = True) -> int:
    """Every image of ``saved`` reads back in Dataset and in ndstorage, as itself; gives how many images there are in all."""
    from ndstorage import NDTiffDataset

    with aiomm.Dataset(str(path)) as dataset:
        for axes in saved:
            pixels, metadata = dataset.read_image(**axes, read_metadata=True)
            assert metadata["Axes"] == axes
            if marked:
                assert pixels[0, :2].tolist() == [axes["time"] & 0xFFFF, axes["z"]], axes
        count = len(dataset)
    peer = NDTiffDataset(str(path))
    try:
        for axes in saved:
            assert peer.has_image(**axes), axes
            pixels = peer.read_image(**axes)
            if marked:
                assert pixels[0, :2].tolist() == [axes["time"] & 0xFFFF, axes["z"]], axes
            assert peer.read_metadata(**axes)["Axes"] == axes
    finally:
        peer.close()
    return count


def kill_once(chance: random.Random, folder: Path) -> tuple[float, int, int]:
    """Kill one acquisition; gives when (s after its first image), how many images were reported and how many there are."""
    durability = chance.choice(("none", "none", "interval", "every"))
    process = start(folder, "--durability", durability, "--exposure", str(chance.choice((0.2, 1, 5))))
    ear = Ear(process)
    assert ear.listen(time.monotonic() + 60, "open"), ear.said
    moment = chance.choice((0.0, chance.random() * 0.05, chance.random() * 0.5, chance.random() * 1.5))
    ear.listen(time.monotonic() + moment)
    process.send_signal(signal.SIGKILL)
    ear.listen(time.monotonic() + 10)  # what is in the pipe was reported before
    assert ear.process.wait(20) == -signal.SIGKILL
    ear.close()
    path = Path(ear.of("open")[0]["path"])
    return moment, len(ear.saved), check(path, ear.saved)


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    reported = 0
    for run in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="aiomm-kill-") as folder:
            moment, saved, there = kill_once(chance, Path(folder))
            reported += saved
            print(f"{run}: killed at {moment * 1000:.0f} ms: {saved} reported saved, {there} read back", flush=True)
    print(f"{options.runs} kills, {reported} images reported saved: all read back")


if __name__ == "__main__":
    main()
