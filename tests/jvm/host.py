"""Micro-Manager's real Java server and acquisition engine over a simulated core, in a JVM of its own, for tests.

``JavaHost`` starts and ends it; the fixtures ``java_host`` (one for all tests) and ``own_java_host`` (for tests that kill it) are here too.
The Java side is in ``src/main/java/aiomm/host``. Maven builds it once into ``target``; after that a start takes about a second.

What matters to a client, as found with these versions (PyJavaZ 1.0.0, PycroManagerJava 0.46.17, AcqEngJ 0.39.3, MMCoreJ 10.1.1.0)
is written in ``README.md`` beside this file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
TARGET = HERE / "target"
READY_S = 30.0
BUILD_S = 600.0
KEPT_S = 86400.0
PORTS = 20
"""The server takes the ports above its own for whatever it opens later."""


class HostError(Exception):
    """The JVM could not be built or started; the text ends with what it said."""


def missing_tools() -> str | None:
    """Why there can be no JVM here, or None."""
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    if not missing:
        return None
    return f"needs a JDK and Maven: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not on PATH"


def require_tools() -> None:
    """Skip the test without a JDK and Maven; fail it where CI is set, which promises to have them."""
    reason = missing_tools()
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted([HERE / "pom.xml", *(HERE / "src").rglob("*.java")]):
        digest.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _class_path(target: Path) -> list[str] | None:
    """Return the class path of what was built there, or None if that is not all there."""
    try:
        entries = (target / "complete").read_text().split(os.pathsep)
    except OSError:
        return None
    return entries if all(Path(entry).exists() for entry in entries) else None


@contextlib.contextmanager
def _building() -> Iterator[None]:
    """Let one process build at a time: making a folder is atomic everywhere. One that a killed process left is taken over."""
    lock = HERE / "target.lock"
    deadline = time.monotonic() + BUILD_S
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > BUILD_S:
                    lock.rmdir()
                    continue
        if time.monotonic() > deadline:
            raise HostError(f"another process has been building the test host for {BUILD_S:.0f} s: remove {lock} if there is none")
        time.sleep(0.1)
    try:
        yield
    finally:
        lock.rmdir()


def _run_maven(target: Path) -> None:
    for offline in (["-o"], []):  # what is in Maven's cache needs no network
        command = ["mvn", "-q", "-B", *offline, f"-Dhost.target={target}", "package"]
        made = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=BUILD_S, check=False)
        if made.returncode == 0:
            return
        if "COMPILATION ERROR" in made.stdout:
            break
    raise HostError(f"Maven could not build the test host:\n{(made.stdout + made.stderr)[-3000:]}")


def build() -> list[str]:
    """Build the host if its sources changed, and return its class path.

    Each state of the sources has a folder of its own: a JVM that runs keeps its jar while another state is built.

    Raises
    ------
    HostError
        If Maven fails, with the end of its output.
    """
    target = TARGET / _sources_hash()[:12]
    if class_path := _class_path(target):
        return class_path
    with _building():
        if class_path := _class_path(target):
            return class_path
        for old in TARGET.glob("*"):
            if old.is_dir() and time.time() - old.stat().st_mtime > KEPT_S:
                shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        _run_maven(target)
        class_path = [str(target / "host.jar"), *(target / "classpath.txt").read_text().strip().split(os.pathsep)]
        (target / "complete").write_text(os.pathsep.join(class_path))
        return class_path


def free_port() -> int:
    """Return a port that is free, as are the ones above it that the server would take next."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            base = probe.getsockname()[1]
        base = 20000 + (base * 7919) % 11000  # below the range that systems give to outgoing connections
        if all(_free(port) for port in range(base, base + PORTS)):
            return base
    raise HostError("no range of free ports was found")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class JavaHost:
    """A JVM with Micro-Manager's server in it.

    Parameters
    ----------
    port
        Where the server listens; None takes a free one at the first start.
    jvm_args
        More arguments for java.
    """

    def __init__(self, port: int | None = None, jvm_args: tuple[str, ...] = ()) -> None:
        self._port = port
        self._jvm_args = jvm_args
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: deque[str] = deque(maxlen=400)
        self._spoke = threading.Event()

    @property
    def port(self) -> int:
        assert self._port is not None, "the host was not started"
        return self._port

    @property
    def pid(self) -> int:
        assert self._process is not None, "the host was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """The end of what the JVM printed."""
        return "\n".join(list(self._lines))

    def start(self, port: int | None = None) -> JavaHost:
        """Start the JVM and return when it listens.

        Raises
        ------
        HostError
            If it does not listen within 30 s or ends, for example because the port is in use.
        """
        assert not self.running, "the host is running"
        class_path = os.pathsep.join(build())
        if port is not None:
            self._port = port
        elif self._port is None:
            self._port = free_port()
        self._lines.clear()
        self._spoke.clear()
        opens = [arg for package in ("java.util", "java.lang") for arg in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")]
        self._process = subprocess.Popen(
            [
                *("java", "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true", *opens, *self._jvm_args),
                *("-cp", class_path, "aiomm.host.Host", "--port", str(self._port)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="java host output", daemon=True)
        self._reader.start()
        self._spoke.wait(READY_S)
        if f"READY {self._port}" not in self._lines:
            self.kill()
            raise HostError(f"the Java host did not start on port {self._port}:\n{self.output[-3000:]}")
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.append(line.rstrip("\n"))
            if line.startswith("READY "):
                self._spoke.set()
        self._spoke.set()

    def close_input(self) -> None:
        """End the JVM's input, at which it ends too."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()

    def wait(self, timeout: float = 20.0) -> int:
        """Wait until the JVM has ended, at most ``timeout`` (s), and return its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout)
        self._tidy()
        return code

    def kill(self) -> None:
        """End the JVM at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._tidy()

    def stop(self) -> None:
        """End the JVM by ending its input."""
        if self._process is None:
            return
        self.close_input()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> JavaHost:
        """End the JVM if it runs and start another on the same port."""
        self.kill()
        return self.start()

    def _tidy(self) -> None:
        assert self._process is not None and self._reader is not None
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@pytest.fixture(scope="session")
def _java_host_of_session() -> Iterator[JavaHost]:
    require_tools()
    host = JavaHost().start()
    yield host
    host.stop()


@pytest.fixture
def java_host(_java_host_of_session: JavaHost) -> JavaHost:
    """The JVM that all tests share; started again when a test before ended it."""
    if not _java_host_of_session.running:
        _java_host_of_session.restart()
    return _java_host_of_session


@pytest.fixture
def own_java_host() -> Iterator[JavaHost]:
    """A JVM of the test's own, which it may kill."""
    require_tools()
    host = JavaHost().start()
    yield host
    host.stop()
