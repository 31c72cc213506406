"""One client of the Java server, in a process of its own: runs the cases it is told on stdin, answers on stdout.

``python bridge_contestants.py NAME PORT``. NAME is ``aiomm``, ``uvloop`` (aiomm on that event loop), ``pyjavaz``, ``raw`` (a
blocking ZMQ socket that sends a prepared request and parses no more than the reply's JSON: what the server and ZMQ alone can
do) or ``loop`` (the same socket in an event loop: what asyncio with ZMQ can do).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Result = dict[str, float]
PORTS = 4
CALLERS = 8


def latencies(times: list[float]) -> Result:
    times = sorted(times)
    return {"p50": statistics.median(times) * 1e6, "p99": times[int(len(times) * 0.99)] * 1e6}


class Measure:
    """Wall clock and this process's CPU time from here to `done`."""

    def __init__(self) -> None:
        self.cpu, self.start = time.process_time(), time.perf_counter()

    def done(self, calls: int) -> Result:
        seconds, cpu = time.perf_counter() - self.start, time.process_time() - self.cpu
        return {"rate": calls / seconds, "cpu": cpu / calls * 1e6, "seconds": seconds}


class Aiomm:
    """``aiomm.Bridge`` and its typed core, on one event loop."""

    def __init__(self, port: int, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        self.port = port
        self.runner = asyncio.Runner(loop_factory=loop_factory)
        self.runner.run(self._open())

    async def _open(self) -> None:
        import aiomm

        self.bridge = await aiomm.Bridge.open(port=self.port)
        self.core: Any = await self.bridge.get_core()
        self.cores = [await self.bridge.get_core(new_socket=True) for _ in range(PORTS)]

    def sequential(self, n: int) -> Result:
        async def run() -> Result:
            times, core = [], self.core
            measure = Measure()
            for _ in range(n):
                before = time.perf_counter()
                await core.get_exposure()
                times.append(time.perf_counter() - before)
            return measure.done(n) | latencies(times)

        return self.runner.run(run())

    def concurrent(self, n: int) -> Result:
        async def call(core: Any) -> None:
            for _ in range(n // CALLERS):
                await core.get_exposure()

        async def run() -> Result:
            measure = Measure()
            await asyncio.gather(*(call(self.cores[i % PORTS]) for i in range(CALLERS)))
            return measure.done(n)

        return self.runner.run(run())

    def image(self, n: int) -> Result:
        async def run() -> Result:
            await self.core.snap_image()
            pixels = await self.core.get_image()
            measure = Measure()
            for _ in range(n):
                pixels = await self.core.get_image()
            result = measure.done(n)
            return result | {"MB/s": result["rate"] * pixels.nbytes / 1e6}

        return self.runner.run(run())

    def idle(self, n: int) -> Result:
        measure = Measure()
        self.runner.run(asyncio.sleep(n))
        result = measure.done(1)
        return {"percent": result["cpu"] / 1e6 / result["seconds"] * 100}

    def close(self) -> None:
        self.runner.run(self.bridge.aclose())
        self.runner.close()


class Uvloop(Aiomm):
    """The same on uvloop."""

    def __init__(self, port: int) -> None:
        import uvloop

        super().__init__(port, uvloop.new_event_loop)


class Pyjavaz:
    """pyjavaz, as pycromanager's ``Core`` uses it; a thread for each caller."""

    def __init__(self, port: int) -> None:
        from pyjavaz import JavaObject

        self.core: Any = JavaObject("mmcorej.CMMCore", port=port)
        self.cores = [JavaObject("mmcorej.CMMCore", port=port, new_socket=True) for _ in range(PORTS)]

    def sequential(self, n: int) -> Result:
        times, core = [], self.core
        measure = Measure()
        for _ in range(n):
            before = time.perf_counter()
            core.get_exposure()
            times.append(time.perf_counter() - before)
        return measure.done(n) | latencies(times)

    def concurrent(self, n: int) -> Result:
        def call(core: Any) -> None:
            for _ in range(n // CALLERS):
                core.get_exposure()

        threads = [threading.Thread(target=call, args=(self.cores[i % PORTS],)) for i in range(CALLERS)]
        measure = Measure()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return measure.done(n)

    def image(self, n: int) -> Result:
        self.core.snap_image()
        pixels = self.core.get_image()
        measure = Measure()
        for _ in range(n):
            pixels = self.core.get_image()
        result = measure.done(n)
        return result | {"MB/s": result["rate"] * pixels.nbytes / 1e6}

    def idle(self, n: int) -> Result:
        measure = Measure()
        time.sleep(n)
        result = measure.done(1)
        return {"percent": result["cpu"] / 1e6 / result["seconds"] * 100}

    def close(self) -> None:
        pass


class Raw:
    """A blocking REQ socket: the floor under every client."""

    def __init__(self, port: int) -> None:
        import zmq

        self.context = zmq.Context()
        self.sockets = [self._socket(zmq, port)]
        core = self._call(0, command="constructor", classpath="mmcorej.CMMCore", **_NO_ARGUMENTS)
        self.handles = [core["hash-code"]]
        for i in range(PORTS):
            core = self._call(0, command="constructor", classpath="mmcorej.CMMCore", **_NO_ARGUMENTS, **{"new-port": True})
            self.sockets.append(self._socket(zmq, core["port"]))
            self._call(i + 1, command="connect", debug=False)
            self.handles.append(core["hash-code"])

    def _socket(self, zmq: Any, port: int) -> Any:
        socket = self.context.socket(zmq.REQ)
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{port}")
        return socket

    def _call(self, i: int, **message: Any) -> Any:
        self.sockets[i].send(json.dumps(message).encode())
        return json.loads(self.sockets[i].recv_multipart(copy=False)[0].bytes.decode("latin-1"))

    def _method(self, i: int, name: str) -> bytes:
        return json.dumps({"command": "run-method", "hash-code": self.handles[i], "static": False, "name": name, **_NO_ARGUMENTS}).encode()

    def _repeat(self, i: int, name: str, n: int) -> list[float]:
        socket, request, times = self.sockets[i], self._method(i, name), []
        for _ in range(n):
            before = time.perf_counter()
            socket.send(request)
            frames = socket.recv_multipart(copy=False)  # kept until the next ones are there, as who takes images keeps the last
            json.loads(frames[0].bytes.decode("latin-1"))
            times.append(time.perf_counter() - before)
        return times

    def sequential(self, n: int) -> Result:
        measure = Measure()
        times = self._repeat(0, "getExposure", n)
        return measure.done(n) | latencies(times)

    def concurrent(self, n: int) -> Result:
        threads = [threading.Thread(target=self._repeat, args=(i + 1, "getExposure", n // PORTS)) for i in range(PORTS)]
        measure = Measure()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return measure.done(n)

    def image(self, n: int) -> Result:
        self._repeat(0, "snapImage", 1)
        self.sockets[0].send(self._method(0, "getImage"))
        size = len(self.sockets[0].recv_multipart(copy=False)[2])
        measure = Measure()
        self._repeat(0, "getImage", n)
        result = measure.done(n)
        return result | {"MB/s": result["rate"] * size / 1e6}

    def idle(self, n: int) -> Result:
        return {"percent": 0.0}

    def close(self) -> None:
        self.context.destroy(linger=0)


class Loop(Raw):
    """The same sockets with their file descriptors in an event loop, and nothing else: the floor under a client on asyncio."""

    def __init__(self, port: int) -> None:
        from zmq import backend

        super().__init__(port)
        self.send, self.receive, self.get = backend.Socket.send, backend.Socket.recv, backend.Socket.get
        self.runner = asyncio.Runner()
        self.waiting: list[deque[tuple[bytes, asyncio.Future[Any]]]] = [deque() for _ in self.sockets]  # the first one's request is out
        for i, socket in enumerate(self.sockets):
            self.runner.get_loop().add_reader(socket.FD, self._readable, i)
            self._looked(i)

    def _looked(self, i: int) -> bool:
        """Whether there is a reply; notice is given of changes after this."""
        return bool(self.get(self.sockets[i], _EVENTS) & _POLLIN)

    def _readable(self, i: int) -> None:
        """Take the reply if it is there, and send the next request."""
        socket, waiting = self.sockets[i], self.waiting[i]
        if not waiting or not self._looked(i):
            return
        frames = [self.receive(socket, _DONTWAIT, False)]
        while frames[-1].more:
            frames.append(self.receive(socket, _DONTWAIT, False))
        _, future = waiting.popleft()
        future.set_result(frames)
        if waiting:
            self._send(i)

    def _send(self, i: int) -> None:
        self.send(self.sockets[i], self.waiting[i][0][0], _DONTWAIT)
        if self._looked(i):
            self._readable(i)

    async def _calls(self, i: int, name: str, n: int) -> list[float]:
        loop, request, times = asyncio.get_running_loop(), self._method(i, name), []
        for _ in range(n):
            before = time.perf_counter()
            future = loop.create_future()
            self.waiting[i].append((request, future))
            if len(self.waiting[i]) == 1:
                self._send(i)
            frames = await future
            json.loads(frames[0].bytes.decode("latin-1"))
            times.append(time.perf_counter() - before)
        return times

    def _repeat(self, i: int, name: str, n: int) -> list[float]:
        return self.runner.run(self._calls(i, name, n))

    def concurrent(self, n: int) -> Result:
        async def run() -> Result:
            measure = Measure()
            await asyncio.gather(*(self._calls(1 + i % PORTS, "getExposure", n // CALLERS) for i in range(CALLERS)))
            return measure.done(n)

        return self.runner.run(run())

    def close(self) -> None:
        self.runner.close()
        super().close()


_DONTWAIT, _POLLIN, _EVENTS = 1, 1, 15  # of ZMQ
_NO_ARGUMENTS: dict[str, Any] = {"argument-types": [], "argument-deserialization-types": [], "arguments": []}


def main() -> None:
    name, port = sys.argv[1:]
    contestant = {"aiomm": Aiomm, "uvloop": Uvloop, "pyjavaz": Pyjavaz, "raw": Raw, "loop": Loop}[name](int(port))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        case, n = json.loads(line)
        print(json.dumps(getattr(contestant, case)(n)), flush=True)
    contestant.close()


if __name__ == "__main__":
    main()
