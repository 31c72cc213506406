"""The test host itself: a plain socket speaks to it, and it ends when it should."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from tests.jvm import host as host_module
from tests.jvm.host import HostError, JavaHost

if TYPE_CHECKING:
    from collections.abc import Iterator


class Client:
    """A request socket without any cleverness."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 20000)
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def close(self) -> None:
        self.context.destroy(linger=0)

    def ask(self, command: str, **fields: Any) -> Any:
        self.socket.send(json.dumps({"command": command, **fields}).encode("latin-1"))
        first, *self.frames = self.socket.recv_multipart()
        return json.loads(first.decode("latin-1"))

    def make(self, classpath: str, *, types: tuple[str, ...] = (), values: tuple[Any, ...] = ()) -> Any:
        return self.ask(
            "constructor", classpath=classpath, **{"argument-types": types, "argument-deserialization-types": types, "arguments": values}
        )

    def run(self, target: Any, name: str, *pairs: tuple[str, Any], static: bool = False) -> Any:
        types, values = [p[0] for p in pairs], [p[1] for p in pairs]
        values = [{"hash-code": v["hash-code"]} if isinstance(v, dict) and "hash-code" in v else v for v in values]
        more = {"hash-code": target["hash-code"], "argument-types": types, "argument-deserialization-types": types}
        return self.ask("run-method", name=name, static=static, arguments=values, **more)


@pytest.fixture
def client(java_host: JavaHost) -> Iterator[Client]:
    client = Client(java_host.port)
    yield client
    client.close()


@pytest.fixture
def control(client: Client) -> Iterator[Any]:
    control = client.make("aiomm.host.Control")
    client.run(control, "restore")
    yield control
    client.run(control, "restore")


def test_it_answers_with_the_protocol_s_version(client: Client) -> None:
    assert client.ask("connect", debug=False) == {"type": "none", "version": "5.1.0"}


def test_the_core_is_the_real_class_over_a_simulated_microscope(client: Client) -> None:
    core = client.make("mmcorej.CMMCore")
    assert core["type"] == "unserialized-object"
    assert core["class"] == "mmcorej.CMMCore"
    assert client.run(core, "setExposure", ("double", 12.5)) == {"type": "none"}
    assert client.run(core, "getExposure") == {"type": "primitive", "value": 12.5}
    devices = client.run(core, "getLoadedDevices")
    assert devices["class"] == "mmcorej.StrVector"
    assert client.run(devices, "get", ("int", 0))["value"] == "Camera"


def test_a_tagged_image_says_what_was_in_force(client: Client) -> None:
    core = client.make("mmcorej.CMMCore")
    client.run(core, "setExposure", ("double", 1.0))
    client.run(core, "setPosition", ("double", 7.5))
    client.run(core, "setXYPosition", ("double", 3.0), ("double", -4.0))
    client.run(core, "setConfig", ("java.lang.String", "Channel"), ("java.lang.String", "FITC"))
    client.run(core, "snapImage")
    client.run(core, "setPosition", ("double", 0.0))
    tagged = client.run(core, "getTaggedImage")
    tags = json.loads(client.ask("get-field", **{"hash-code": tagged["hash-code"], "name": "tags"})["value"])
    assert {k: v for k, v in tags.items() if k in ("Image-Z", "Image-X", "Image-Y", "Image-Exposure", "Image-Channel")} == {
        "Image-Z": "7.5000",
        "Image-X": "3.0",
        "Image-Y": "-4.0",
        "Image-Exposure": "1.0000",
        "Image-Channel": "FITC",
    }
    assert tags["Z-Position"] == "0.0000"
    pixels = client.ask("get-field", **{"hash-code": tagged["hash-code"], "name": "pix"})
    assert pixels["type"] == "short-array"
    image = memoryview(client.frames[1]).cast("H")
    assert len(image) == 512 * 512
    assert list(image[1:4]) == [32768 + 75, 32768 + 3, 32768 - 4]


def test_what_is_not_simulated_is_an_exception(client: Client) -> None:
    core = client.make("mmcorej.CMMCore")
    reply = client.run(core, "fullFocus")
    assert reply["type"] == "exception"
    assert "CMMCore.fullFocus is not simulated" in reply["value"]


def test_it_ends_with_its_input(own_java_host: JavaHost) -> None:
    own_java_host.close_input()
    assert own_java_host.wait() == 0


def test_a_second_one_on_the_same_port_says_so(java_host: JavaHost) -> None:
    with pytest.raises(HostError, match=f"ERROR port {java_host.port} is in use"):
        JavaHost(java_host.port).start()


def test_one_that_was_killed_starts_again_on_its_port(own_java_host: JavaHost) -> None:
    port, pid = own_java_host.port, own_java_host.pid
    own_java_host.kill()
    assert not own_java_host.running
    own_java_host.restart()
    assert own_java_host.port == port
    assert own_java_host.pid != pid
    client = Client(port)
    try:
        assert client.ask("connect", debug=False)["version"] == "5.1.0"
    finally:
        client.close()


def test_without_a_jdk_tests_skip_and_ci_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    reason = "needs a JDK and Maven: java, javac and mvn are not on PATH"
    with pytest.raises(pytest.skip.Exception, match=reason):
        host_module.require_tools()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=reason):
        host_module.require_tools()


def test_two_that_build_at_once_get_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def run_maven(target: Path) -> None:
        both.wait(20)
        (target / "host.jar").touch()
        (target / "classpath.txt").write_text(str(target.parent / "library.jar"))

    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "library.jar").touch()
    monkeypatch.setattr(host_module, "TARGET", tmp_path / "target")
    monkeypatch.setattr(host_module, "_run_maven", run_maven)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: host_module.build(), range(2))
    assert first == second
    assert all(Path(entry).exists() for entry in first)
    assert len(list((tmp_path / "target").iterdir())) == 2
    assert host_module.build() == first  # no third build: its barrier would break


def test_a_build_that_fails_is_not_tried_again_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = []

    def run_maven(target: Path) -> None:
        runs.append(target)
        raise HostError("Maven could not build the test host:\nno such plugin")

    monkeypatch.setattr(host_module, "TARGET", tmp_path / "target")
    monkeypatch.setattr(host_module, "_failed", {})
    monkeypatch.setattr(host_module, "_run_maven", run_maven)
    for _ in range(2):
        with pytest.raises(HostError, match="no such plugin"):
            host_module.build()
    assert len(runs) == 1
    assert not list((tmp_path / "target").iterdir())


def test_a_hardware_sequence_moves_with_each_frame(client: Client, control: Any) -> None:
    core = client.make("mmcorej.CMMCore")
    client.run(control, "sequenceable", ("int", 10))
    client.run(control, "fast", ("boolean", True))
    values = client.make("mmcorej.DoubleVector")
    for z in (1.0, 2.5, -3.0):
        client.run(values, "add", ("double", z))
    z_stage = ("java.lang.String", "Z")
    client.run(core, "loadStageSequence", z_stage, ("mmcorej.DoubleVector", values))
    client.run(core, "startStageSequence", z_stage)
    client.run(core, "startSequenceAcquisition", ("int", 3), ("double", 0.0), ("boolean", True))
    seen: list[str] = []
    while len(seen) < 3:
        tagged = client.run(core, "popNextTaggedImage")
        if tagged["type"] == "exception":  # no image yet
            assert "Circular buffer is empty" in tagged["value"]
            continue
        seen.append(json.loads(client.ask("get-field", **{"hash-code": tagged["hash-code"], "name": "tags"})["value"])["Image-Z"])
    assert seen == ["1.0000", "2.5000", "-3.0000"]
    assert "loadStageSequence Z [1.0, 2.5, -3.0]" in client.run(control, "journal")["value"]


def test_core_calls_fail_as_told(client: Client, control: Any) -> None:
    core = client.make("mmcorej.CMMCore")
    client.run(control, "fail", ("java.lang.String", "snapImage"), ("java.lang.String", "the lamp is off"), ("int", 1))
    reply = client.run(core, "snapImage")
    assert reply["type"] == "exception"
    assert reply["value"].startswith("java.lang.Exception: the lamp is off\n")
    assert client.run(core, "snapImage") == {"type": "none"}
    assert client.run(control, "calls", ("java.lang.String", "snapImage"))["value"] == 2


def test_held_core_calls_wait_for_their_release(client: Client, control: Any) -> None:
    core = client.make("mmcorej.CMMCore")
    client.run(control, "hold", ("java.lang.String", "waitForSystem"))
    other = client.ask("constructor", classpath="aiomm.host.Control", arguments=[], **{"argument-types": [], "new-port": True})
    free = Client(other["port"])
    try:
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.run, core, "waitForSystem")
            while free.run(other, "calls", ("java.lang.String", "waitForSystem"))["value"] == 0:
                assert not waiting.done()
            assert free.run(other, "release", ("java.lang.String", "waitForSystem")) == {"type": "none"}
            assert waiting.result(20) == {"type": "none"}
    finally:
        free.ask("destructor", **{"hash-code": other["hash-code"]})
        free.close()


@pytest.mark.parametrize(
    ("pixel_type", "kind", "bytes_per_pixel"),
    [("8bit", "byte-array", 1), ("16bit", "short-array", 2), ("32bit", "float-array", 4), ("32bitRGB", "byte-array", 4)],
)
def test_cameras_have_sizes_and_pixel_types(client: Client, control: Any, pixel_type: str, kind: str, bytes_per_pixel: int) -> None:
    core = client.make("mmcorej.CMMCore")
    text = "java.lang.String"
    client.run(core, "setProperty", (text, "Camera"), (text, "PixelType"), (text, pixel_type))
    client.run(core, "setProperty", (text, "Camera"), (text, "OnCameraCCDXSize"), ("int", 2048))
    client.run(core, "setProperty", (text, "Camera"), (text, "OnCameraCCDYSize"), ("int", 1024))
    client.run(core, "snapImage")
    assert client.run(core, "getImage")["type"] == kind
    assert len(client.frames[1]) == 2048 * 1024 * bytes_per_pixel
    reply = client.run(core, "setProperty", (text, "Camera"), (text, "OnCameraCCDXSize"), ("int", 4096))
    assert "outside 1.0 to 2048.0" in reply["value"]


def test_a_core_without_a_camera_says_so_by_zeros(client: Client, control: Any) -> None:
    """As MMCore does: what is to be done with a camera fails, what only asks does not."""
    core = client.make("mmcorej.CMMCore")
    client.run(core, "setCameraDevice", ("java.lang.String", ""))
    asked = ("ImageWidth", "ImageHeight", "BytesPerPixel", "ImageBitDepth", "NumberOfComponents", "NumberOfCameraChannels", "Exposure")
    assert {name: client.run(core, f"get{name}")["value"] for name in asked} == dict.fromkeys(asked, 0)
    assert client.run(core, "isSequenceRunning")["value"] is False
    assert client.run(core, "snapImage")["type"] == "exception"


def test_core_callbacks_arrive(client: Client, control: Any) -> None:
    core = client.make("mmcorej.CMMCore")
    handle = {"hash-code": core["hash-code"]}
    callback = client.make("org.micromanager.remote.RemoteCoreCallback", types=("mmcorej.CMMCore",), values=(handle,))
    with client.context.socket(zmq.PULL) as pull:
        pull.setsockopt(zmq.RCVTIMEO, 20000)
        pull.connect(f"tcp://127.0.0.1:{client.run(callback, 'getPushPort')['value']}")
        client.run(callback, "startPush")
        client.run(core, "setExposure", ("double", 21.5))
        assert json.loads(pull.recv()) == {"name": "exposureChanged", "arguments": ["Camera", 21.5]}
    client.run(callback, "shutdown")


@pytest.mark.parametrize("classpath", ["org.micromanager.Studio", "org.micromanager.magellan.api.MagellanAPI"])
def test_the_desktop_s_interfaces_are_there(client: Client, classpath: str) -> None:
    assert client.ask("get-constructors", classpath=classpath)["api"] == [{"name": classpath, "arguments": []}]
    assert client.make(classpath)["class"] == "aiomm.host.Desktop"


def test_the_probe_counts_what_is_held(client: Client) -> None:
    probe = client.make("aiomm.host.Probe")
    before = client.run(probe, "objectCount")["value"]
    held = client.make("aiomm.host.Dog")
    assert client.run(probe, "objectCount")["value"] == before + 1
    client.ask("destructor", **{"hash-code": held["hash-code"]})
    assert client.run(probe, "objectCount")["value"] == before
    assert str(client.port) in client.run(probe, "openPorts")["value"].split()


def test_a_call_may_end_the_jvm(own_java_host: JavaHost) -> None:
    client = Client(own_java_host.port)
    faults = client.make("aiomm.host.Faults")
    types = ["int"]
    request = {"command": "run-method", "hash-code": faults["hash-code"], "name": "halt", "static": False, "arguments": [7]}
    client.socket.send_json({**request, "argument-types": types, "argument-deserialization-types": types})
    assert own_java_host.wait() == 7
    client.close()


@pytest.mark.parametrize("opened", [True, False])
def test_the_jdk_s_iterators_need_opened_packages(opened: bool) -> None:
    host_module.require_tools()
    host = JavaHost(add_opens=opened).start()
    client = Client(host.port)
    try:
        words = client.run(client.make("aiomm.host.Samples"), "list")
        reply = client.run(client.run(words, "iterator"), "next")
        assert reply["type"] == ("string" if opened else "exception")
        assert ("InaccessibleObjectException" in reply["value"]) is not opened
    finally:
        client.close()
        host.stop()
