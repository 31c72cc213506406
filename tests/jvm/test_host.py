"""The test host itself: a plain socket speaks to it, and it ends when it should."""

from __future__ import annotations

import json
import sys
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
    reason = "needs a JDK and Maven: java and javac and mvn are not on PATH"
    with pytest.raises(pytest.skip.Exception, match=reason):
        host_module.require_tools()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=reason):
        host_module.require_tools()


@pytest.mark.skipif(sys.platform == "win32", reason="needs file modes")
def test_two_processes_that_build_at_once_build_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host_module.build() == host_module.build()
