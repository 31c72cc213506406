"""One client of Micro-Manager's acquisition engine, in a process of its own: runs the cases it is told on stdin, answers on stdout.

``python java_engine_contestants.py NAME PORT``. NAME is ``aiomm`` or ``pycromanager``; each imports nothing but its own packages. The
microscope is as `benchmarks.bench_java_engine` has set it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import queue
import sys
import time
from typing import Any

Result = dict[str, Any]


class Clock:
    """Wall clock and this process's CPU time, all its threads, from here on."""

    def __init__(self) -> None:
        self.cpu, self.start = time.process_time(), time.perf_counter()

    def read(self) -> Result:
        return {"seconds": time.perf_counter() - self.start, "cpu": time.process_time() - self.cpu}


def times(n: int) -> list[dict[str, Any]]:
    """Events that Java makes one hardware sequence of."""
    return [{"axes": {"time": i}} for i in range(n)]


class Aiomm:
    """``aiomm.Acquisition`` on a port."""

    def __init__(self, port: int) -> None:
        import aiomm

        self.aiomm, self.port = aiomm, port
        self.runner = asyncio.Runner()
        self.runner.run(asyncio.sleep(0))

    def acquisition(self, directory: str, **options: Any) -> Any:
        return self.aiomm.Acquisition(directory, "bench", port=self.port, show_display=False, **options)

    @staticmethod
    async def through(image: Any, metadata: Any) -> Any:
        return image, metadata

    def sequence(self, n: int, directory: str, **options: Any) -> Result:
        async def run() -> Result:
            clock = Clock()
            async with self.acquisition(directory, **options) as acq:
                opened = clock.read()["seconds"]
                saved = await acq.acquire(times(n))
                done = clock.read()["seconds"]
            result = clock.read()
            assert len(saved) == n == len(acq.get_dataset()), (len(saved), len(acq.get_dataset()))
            return {**result, "opened": opened, "done": done}

        return self.runner.run(run())

    def processor(self, n: int, directory: str) -> Result:
        return self.sequence(n, directory, image_process_fn=self.through)

    def first(self, n: int, directory: str) -> Result:
        """The constructor until the first image is known to be saved, ``n`` times."""

        async def run() -> Result:
            seconds: list[float] = []
            for _ in range(n):
                start = time.perf_counter()
                async with self.acquisition(directory) as acq:
                    await acq.acquire({"axes": {"time": 0}})
                    seconds.append(time.perf_counter() - start)
            return {"first": seconds}

        return self.runner.run(run())

    def idle(self, n: int, directory: str) -> Result:
        """Open with an image processor, nothing to do for ``n`` seconds."""

        async def run() -> Result:
            async with self.acquisition(directory, image_process_fn=self.through) as acq:
                await acq.acquire(times(2))
                await asyncio.sleep(0.3)
                clock = Clock()
                await asyncio.sleep(n)
                return clock.read()

        return self.runner.run(run())

    def waiting(self, n: int, directory: str, **options: Any) -> Result:
        """Await the end while the camera exposes for ``n`` seconds."""

        async def run() -> Result:
            async with self.acquisition(directory, **options) as acq:
                submission = acq.acquire({"axes": {"time": 0}})
                await asyncio.sleep(0.3)
                clock = Clock()
                await submission
                return clock.read()

        return self.runner.run(run())

    def waiting_processor(self, n: int, directory: str) -> Result:
        return self.waiting(n, directory, image_process_fn=self.through)

    def close(self) -> None:
        self.runner.close()


class Pycromanager:
    """pycromanager's Acquisition on the Java engine."""

    def __init__(self, port: int) -> None:
        from pycromanager import Acquisition, Core

        self.make, self.port = Acquisition, port
        self.core = Core(port=port)  # keeps its bridge alive, as a user's script does

    def acquisition(self, directory: str, **options: Any) -> Any:
        return self.make(directory=directory, name="bench", port=self.port, show_display=False, **options)

    @staticmethod
    def through(image: Any, metadata: Any) -> Any:
        return image, metadata

    def sequence(self, n: int, directory: str, **options: Any) -> Result:
        clock = Clock()
        with self.acquisition(directory, **options) as acq:
            opened = clock.read()["seconds"]
            acq.acquire(times(n))
        result = clock.read()
        saved = len(list(acq.get_dataset().get_image_coordinates_list()))
        assert saved == n, saved
        return {**result, "opened": opened, "done": result["seconds"]}

    def processor(self, n: int, directory: str) -> Result:
        return self.sequence(n, directory, image_process_fn=self.through)

    def first(self, n: int, directory: str) -> Result:
        seconds: list[float] = []
        for _ in range(n):
            saved: queue.SimpleQueue[Any] = queue.SimpleQueue()
            start = time.perf_counter()
            with self.acquisition(directory, image_saved_fn=lambda axes, dataset: saved.put(axes)) as acq:  # noqa: B023
                acq.acquire({"axes": {"time": 0}})
                saved.get()
                seconds.append(time.perf_counter() - start)
        return {"first": seconds}

    def idle(self, n: int, directory: str) -> Result:
        with self.acquisition(directory, image_process_fn=self.through) as acq:
            acq.acquire(times(2))
            time.sleep(0.5)
            clock = Clock()
            time.sleep(n)
            return clock.read()

    def waiting(self, n: int, directory: str, **options: Any) -> Result:
        acq = self.acquisition(directory, **options)
        acq.acquire({"axes": {"time": 0}})
        acq.mark_finished()
        time.sleep(0.3)
        clock = Clock()
        acq.await_completion()
        return clock.read()

    def waiting_processor(self, n: int, directory: str) -> Result:
        return self.waiting(n, directory, image_process_fn=self.through)

    def close(self) -> None:
        pass


CONTESTANTS = {"aiomm": Aiomm, "pycromanager": Pycromanager}


def main() -> None:
    """Answer each JSON line {case, n, directory} with one of the result, or {error}; until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # peers print as they please
    name, port = sys.argv[1:]
    contestant = CONTESTANTS[name](int(port))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        gc.collect()
        try:
            result = getattr(contestant, order["case"])(order["n"], order["directory"])
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), file=answers, flush=True)
    contestant.close()
    os._exit(0)  # pyjavaz may not end by itself


if __name__ == "__main__":
    main()
