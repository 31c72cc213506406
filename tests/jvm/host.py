"""Micro-Manager's real Java server and acquisition engine over a simulated core, in a JVM of its own, for tests.

``JavaHost`` starts and ends it; the fixtures ``java_host`` (one for all tests) and ``own_java_host`` (for tests that kill it) are here too.
The Java side is in ``src/main/java``: ``mmcorej.CMMCore`` and the server, engine and storage classes are the published ones; only what
lies below them, the native library, is ``aiomm.host``'s. Maven builds once per state of the sources (8 s); then a start takes 0.4 s.

What matters to a client, as seen here with PyJavaZ 1.0.0 (protocol 5.1.0), PycroManagerJava 0.46.17, AcqEngJ 0.39.3, NDTiffStorage 2.19.2,
MMCoreJ 10.1.1.0 (10.4.0 on Maven Central has only the JSON classes, no core) and JDK 17:

* ``--add-opens java.base/java.util=ALL-UNNAMED`` is needed for more than an ArrayList's iterator: without it ``next()`` of any of the
  JDK's iterators fails, and ``iterator()`` of ``List.of(...)`` already does, with an InaccessibleObjectException. Calls of ArrayList
  itself work. The host opens java.util and java.lang as Java 8 (the desktop's) has them; ``JavaHost(add_opens=False)`` does not.
* The server finds constructors only by exact class, or by those upper classes that are on the class path in jars and not nested:
  ``new ArrayList(Collection)`` with an ArrayList: "No Matching method found". Methods do take a subclass, also of the JDK's classes.
* Among overloads the server takes the last that fits, whatever the argument types say: ``pet(Dog)`` ran ``pet(Animal)``, ``any(Named)``
  ran ``any(Object)``. For primitives and strings the types given must be exactly those declared: "float" does not find ``over(double)``.
* Nested classes are named ``Outer$Nested``; ``Outer.Nested`` and ``int`` are "Class not found on any classloaders".
* A null for any object but a String is an exception reply (NullPointerException); for Object it arrives as JSONObject$Null.
* ``set-field`` sets int, long, double, boolean, String, Integer, Object and objects on the same port. byte, short, char, float and a null
  String are refused ("Can not set byte field ... to java.lang.Integer"); a null Object is set to JSONObject$Null. Final fields are
  refused.
* An Error thrown in a call comes back as an object of its class, an exception that is *returned* as an exception reply.
* RemoteCoreCallback, RemoteAcquisitionFactory (also tiled), hooks, processors and notifications work, as pycromanager 1.0.2 shows.
  createAcquisition with showViewer true in a headless JVM is a HeadlessException, and leaves its event port open for ever. With
  ``JavaHost(screen=...)`` and the Xvfb of ``screen.py`` it opens NDViewer 0.10.2; tests/acquire/remote/test_viewer.py closes it.
  The engine starts an exposure sequence but never stops it: a camera that has one keeps stepping through it.
* Integral doubles lose their ".0" in callbacks' arguments too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
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
KEPT_S = 7 * 86400.0
_failed: dict[str, str] = {}
PORTS = 40
"""The server takes the ports above its own for whatever it opens later."""


class HostError(Exception):
    """The JVM could not be built or started; the text ends with what it said."""


def missing_tools() -> str | None:
    """Why there can be no JVM here, or None."""
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    if not missing:
        return None
    *others, last = missing
    named = f"{', '.join(others)} and {last}" if others else last
    return f"needs a JDK and Maven: {named} {'is' if len(missing) == 1 else 'are'} not on PATH"


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

    Each state of the sources has a folder of its own: a JVM that runs keeps its jar while another state is built. Processes that
    build the same state at once each do so aside; the first to end gives the folder its name.

    Raises
    ------
    HostError
        If Maven fails, with the end of its output.
    """
    stamp = _sources_hash()[:12]
    target = TARGET / stamp
    if class_path := _class_path(target):
        return class_path
    if stamp in _failed:
        raise HostError(_failed[stamp])
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.iterdir():
        if time.time() - old.stat().st_mtime > KEPT_S:
            shutil.rmtree(old, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{stamp}-", dir=TARGET))
    try:
        _run_maven(aside)
        jars = [str(target / "host.jar"), *(aside / "classpath.txt").read_text().strip().split(os.pathsep)]
        (aside / "complete").write_text(os.pathsep.join(jars))
        with contextlib.suppress(OSError):  # another process was first
            aside.rename(target)
    except HostError as e:
        _failed[stamp] = str(e)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    class_path = _class_path(target)
    if class_path is None:
        raise HostError(f"{target} is not a complete build: remove it")
    return class_path


def free_port() -> int:
    """Return a port that is free, as are the ones above it that the server would take next."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            seed: int = probe.getsockname()[1]
        # Below the range that systems give to outgoing connections; ranges of two hosts, of other processes too, are one or apart.
        base = 20000 + seed * 7919 % (11000 // PORTS) * PORTS
        if all(_free(port) for port in range(base, base + PORTS)):
            return base
    raise HostError("no range of free ports was found")


def _free(port: int) -> bool:
    with socket.socket() as probe:
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
    add_opens
        Open java.util and java.lang to the server, as they are in the Java 8 of Micro-Manager's desktop.
    screen
        The X display on which it shows windows, such as ``":1"``; None is a JVM that runs headless.
    """

    def __init__(
        self, port: int | None = None, jvm_args: tuple[str, ...] = (), *, add_opens: bool = True, screen: str | None = None
    ) -> None:
        self._port = port
        self._screen = screen
        opened = ("java.util", "java.lang") if add_opens else ()
        self._jvm_args = (*(arg for package in opened for arg in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")), *jvm_args)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: deque[str] = deque(maxlen=400)
        self._spoke = threading.Event()
        self.door = 0
        """Where tests reach the microscope beside Micro-Manager's server; see ``Door.java``."""

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
        headless = f"-Djava.awt.headless={'true' if self._screen is None else 'false'}"
        self._process = subprocess.Popen(
            [
                *("java", "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", headless, *self._jvm_args),
                *("-cp", class_path, "aiomm.host.Host", "--port", str(self._port)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ if self._screen is None else {**os.environ, "DISPLAY": self._screen},
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
            if line.startswith("DOOR "):
                self.door = int(line.split()[1])
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


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test, where no test's timeout runs; the fixtures report what went wrong."""
    wanted = {"java_host", "own_java_host", "home"}
    if session.config.option.collectonly or missing_tools() is not None:
        return
    if any(wanted.intersection(getattr(item, "fixturenames", ())) for item in session.items):
        with contextlib.suppress(HostError):
            build()


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
    host.kill()  # ending by itself takes it a second
