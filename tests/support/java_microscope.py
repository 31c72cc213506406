"""JavaMicroscope: the simulated core of the JVM host as `RecordingCore` is: its calls recorded, bent, made by hand."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any

import pymmcore

from tests.support.recording import Call, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TYPES = {value: name for name, value in vars(pymmcore).items() if name.endswith("Device") and isinstance(value, int)}


class Told(Exception):
    """The simulated core, or a rule of a test, refused a call; its text is the reason."""


class Opaque:
    """A result that only Java has, such as pixels: it can be given back as it is."""


class _Line:
    """Lines of JSON over a socket, one answer to each question."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rw", encoding="utf-8", newline="\n")
        self._lock = threading.Lock()

    def ask(self, **question: Any) -> Any:
        with self._lock:
            self._file.write(json.dumps(question) + "\n")
            self._file.flush()
            answer = json.loads(self._file.readline())
        if "error" in answer:
            raise Told(answer["error"])
        return answer["value"]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


class _Listener(socketserver.ThreadingTCPServer):
    """Where Java asks what becomes of a call: each question on a connection and a thread of its own."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, microscope: JavaMicroscope) -> None:
        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                microscope.answer(self.rfile, self.wfile)

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent: Java says what happened, as the error of the call."""


class JavaMicroscope(Recorder):
    """The core of the JVM, called by hand beside Micro-Manager's server; the names are those of `RecordingCore`.

    A core method in MMCore's spelling is called with ``microscope.setPosition("Z", 3.0)``, and blocks until Java has answered.
    The functions of faults run in a thread of this process.
    """

    def __init__(self, door: int) -> None:
        super().__init__()
        self._line = _Line(door)
        self._listener = _Listener(self)
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self._recording = False
        self.control("restore")
        self.recording = True

    def close(self) -> None:
        """Take everything back to what it was when the host started."""
        try:
            with contextlib.suppress(OSError, ValueError):  # it was ended
                self.control("restore")
        finally:
            self._listener.shutdown()
            self._listener.server_close()
            self._line.close()

    def control(self, method: str, *args: Any) -> Any:
        """Call a method of the host's ``Control``."""
        return self._line.ask(control=method, args=list(args))

    # ---- the core's methods -------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*args: Any) -> Any:
            return self._line.ask(core=name, args=list(args))

        method.__name__ = name
        return method

    def getLoadedDevicesOfType(self, kind: int) -> list[str]:
        """The labels of one type; Java numbers the types otherwise."""
        return [label for label in self.getLoadedDevices() if self.type_name(label) == _TYPES[kind]]

    def type_name(self, label: str) -> str:
        """The type of a device, as the enumerations name it."""
        return str(self.control("typeOf", label))

    # ---- what was called ----------------------------------------------------------------------------------------

    @property
    def recording(self) -> bool:
        return self._recording

    @recording.setter
    def recording(self, on: bool) -> None:
        self._line.ask(record=on)
        self._recording = on

    @property
    def calls(self) -> list[Call]:
        return [
            Call(name, tuple(args), thread, start, end, None if error is None else Told(error))
            for name, args, thread, start, end, error in self._line.ask(calls=True)
        ]

    def forget(self) -> None:
        """Empty the record."""
        self._line.ask(forget=True)

    def _bend(self) -> None:
        self._line.ask(bend=sorted({rule.method for rule in self._rules}), port=self._listener.server_address[1])

    def answer(self, read: Any, write: Any) -> None:
        """Say what becomes of one call."""

        def say(**message: Any) -> None:
            write.write((json.dumps(message) + "\n").encode())
            write.flush()

        asked = json.loads(read.readline())
        last = Opaque()

        def original(*args: Any) -> Any:
            say(original=[{} if isinstance(arg, Opaque) else arg for arg in args])
            told = json.loads(read.readline())
            if "error" in told:
                raise Told(told["error"])
            value = told["value"]
            return last if isinstance(value, dict) else value

        args = tuple(Opaque() if isinstance(arg, dict) else arg for arg in asked["args"])
        try:
            rules = self.rules_for(asked["method"], args)
            value = rules[0].action(original, *args) if rules else original(*args)
        except BaseException as error:  # Java's caller hears of it
            say(**{"raise": str(error)})
            return
        if value is last:
            say(last=True)
        else:
            say(**{"return": value})

    def lose_frame(self, number: int) -> None:
        """Let the next sequence that comes to this frame (counted from 0) lose it, before it is in the buffer."""
        self.control("lose", number)

    def heal(self) -> None:
        super().heal()
        self.control("lose", -1)

    # ---- devices that are to be sequenceable --------------------------------------------------------------------

    def feign_xy_sequence(self, stage: str, max_length: int = 100) -> None:
        """Let an XY stage take hardware sequences."""
        self.control("lengthen", stage, "XY", max_length)

    def feign_exposure_sequence(self, camera: str, max_length: int = 100) -> None:
        """Let a camera's exposure be sequenced."""
        self.control("lengthen", camera, "Exposure", max_length)

    def feign_stage_sequence(self, stage: str, max_length: int = 100) -> None:
        """Let a single-axis stage take hardware sequences."""
        self.control("lengthen", stage, "Position", max_length)

    def unfeign(self) -> None:
        """Nothing to do: the next test has a microscope as new."""


@contextlib.contextmanager
def java_microscope(door: int) -> Iterator[JavaMicroscope]:
    """Have the host's microscope for a while, and give it back as it was."""
    microscope = JavaMicroscope(door)
    try:
        yield microscope
    finally:
        microscope.close()
