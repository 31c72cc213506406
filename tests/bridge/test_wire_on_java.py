"""What the protocol carries, shown on the real server: each type of argument and result, and what needs reflection."""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
import zmq

from aiomm.bridge import overloads, reflection, wire
from aiomm.bridge.handle import Handle
from aiomm.bridge.wire import Shadow, Signature
from aiomm.errors import JavaException, JavaValueError, OverloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.jvm.host import JavaHost


class Client:
    """The smallest client there can be: it waits for each reply."""

    def __init__(self, port: int, timeout: int = 5000) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.linger = 0
        self._socket.rcvtimeo = timeout
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self.shadows: list[Shadow] = []
        self.sent = 0
        try:
            self.greeting = self.ask(wire.connect(debug=False))
        except BaseException:
            self.shut()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for shadow in self.shadows:
            self.ask(wire.destructor(shadow.hash_code))
        self.shut()

    def shut(self) -> None:
        self._socket.close()
        self._context.term()

    def raw(self, frames: list[Any]) -> list[zmq.Frame]:
        self.sent += 1
        self._socket.send_multipart(frames)
        return self._socket.recv_multipart(copy=False)

    def ask(self, message: dict[str, Any]) -> Any:
        value = wire.parse_reply(self.raw(list(wire.encode(message))))
        if isinstance(value, Shadow):
            self.shadows.append(value)
        return value

    def follow(self, plan: reflection.Plan) -> Any:
        try:
            message = next(plan)
            while True:
                try:
                    value = self.ask(message)
                except JavaException as error:
                    message = plan.throw(error)
                else:
                    message = plan.send(value)
        except StopIteration as end:
            return end.value

    def new(self, classpath: str, *args: Any) -> Object:
        signatures = [Signature(classpath, tuple(entry["arguments"])) for entry in self.ask(wire.get_constructors(classpath))["api"]]
        signature, values = overloads.choose(signatures, args, what=classpath)
        return Object(self, self.follow(reflection.construct(classpath, signature, values, signatures)))

    def static(self, classpath: str) -> Object:
        return Object(self, self.ask(wire.get_class(classpath)), static=True)


class Object(Handle):
    """A Java object whose methods are called by name."""

    def __init__(self, client: Client, shadow: Shadow, *, static: bool = False) -> None:
        super().__init__(shadow.hash_code, shadow.port, shadow.java_class, shadow.interfaces)
        self.client, self.static, self.api = client, static, shadow.api

    def overloads(self, name: str) -> list[Signature]:
        return [Signature(name, tuple(one["arguments"]), one["return-type"]) for one in self.api if one["name"] == name]

    def __call__(self, name: str, *args: Any, reflect: bool = False) -> Any:
        known = self.overloads(name)
        signature, values = overloads.choose(known, args, what=name)
        value = self.client.follow(reflection.call(self, self.static, signature, values, () if reflect else known))
        return Object(self.client, value) if isinstance(value, Shadow) else wire.convert_return(value, signature.returns)


@pytest.fixture
def client(java_host: JavaHost) -> Iterator[Client]:
    with Client(java_host.port) as client:
        yield client


@pytest.fixture
def samples(client: Client) -> Object:
    return client.new("aiomm.host.Samples")


def test_the_server_speaks_this_version(client: Client) -> None:
    assert client.greeting == {"type": "none", "version": wire.VERSION}


SCALARS: list[tuple[str, list[Any]]] = [
    ("Boolean", [True, False]),
    ("Byte", [-128, 127]),
    ("Short", [-32768, 32767]),
    ("Char", ["a", "µ", "\0", "@"]),
    ("Int", [-(2**31), 2**31 - 1, 0]),
    ("Long", [-(2**63), 2**63 - 1, 2**53 + 1]),
    ("Float", [0.5, 0.1, -0.0, 1e30, 10.0]),
    ("Double", [0.1, -0.0, 10.0, 5e-324, 1e300, 1e22, -1.5e-7]),
]


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("boxed", ["", "Boxed"])
@pytest.mark.parametrize(("kind", "values"), SCALARS)
def test_scalars_both_ways(samples: Object, kind: str, values: list[Any], boxed: str, reflect: bool) -> None:
    for value in values:
        back = samples(f"echo{boxed}{kind}", value, reflect=reflect)
        assert (repr(back), type(back)) == (repr(value), type(value))
    if boxed:
        assert samples(f"echoBoxed{kind}", None, reflect=reflect) is None


@pytest.mark.parametrize("text", ["", "a@b", "é µ", 'a "b" \\ </c> \n\t', "\0\x01", "\u2028", "中", "\N{GRINNING FACE}"])
def test_text_arrives_whole(samples: Object, text: str) -> None:
    data = text.encode("utf-16-le")
    units = [str(int.from_bytes(data[i : i + 2], "little")) for i in range(0, len(data), 2)]
    assert samples("unitsOf", text) == " ".join(units)
    lost = "?" if any(ord(c) > 0xFF for c in text) else text  # all that the server can send back is Latin-1
    assert samples("echoString", text) == lost


def test_text_that_comes(samples: Object) -> None:
    assert samples("latin") == "µm ± é"
    assert samples("mail") == "me@lab.org"
    assert samples("quotes") == 'a "b" \\ c </d> \n\t\x01'
    assert samples("looksLikePixels") == "[B@1234abcd"
    assert samples("nothing") is None
    assert samples("noResult") is None


def test_numbers_that_the_protocol_has_not(samples: Object) -> None:
    assert samples("minusZero") == 0 and math.copysign(1, samples("minusZero")) == -1
    assert repr(samples("ten")) == "10.0"
    for name in ("nan", "infinity", "floatNan"):
        with pytest.raises(JavaValueError, match="NaN"):
            samples(name)


@pytest.mark.parametrize(
    ("kind", "dtype", "words"),
    [
        ("Bytes", np.int8, "[0, 1, -2]"),
        ("Shorts", np.int16, "[0, 1, -2]"),
        ("Ints", np.int32, "[0, 1, -2]"),
        ("Longs", np.int64, "[0, 1, -2]"),
        ("Floats", np.float32, "[0.0, 1.0, -2.0]"),
        ("Doubles", np.float64, "[0.0, 1.0, -2.0]"),
    ],
)
def test_arrays_arrive_in_the_right_order(samples: Object, kind: str, dtype: type, words: str) -> None:
    for value in (np.array([0, 1, -2], dtype), [0, 1, -2], (0, 1, -2), np.array([0, 1, -2], np.dtype(dtype).newbyteorder(">"))):
        assert samples(f"show{kind}", value) == words
    assert samples(f"show{kind}", []) == "[]"
    back = samples(f"echo{kind}", np.array([0, 1, -2], dtype))
    array = samples.client.follow(reflection.read_array(back)) if isinstance(back, Object) else back
    assert array.dtype == dtype
    assert array.tolist() == [0, 1, -2]
    assert samples(f"echo{kind}", None) is None


def test_arrays_with_what_scalars_cannot_be(samples: Object) -> None:
    assert samples("showDoubles", [math.nan, math.inf, -0.0]) == "[NaN, Infinity, -0.0]"
    doubles = samples("doubles")
    assert math.isnan(doubles[2]) and doubles[3] == -math.inf
    assert samples("ints").tolist() == [1, -1, 2**31 - 1, -(2**31)]
    assert samples("emptyBytes").tolist() == []


def test_pixels(samples: Object) -> None:
    assert samples("showBytes", np.array([0, 255], np.uint8)) == "[0, -1]"
    assert samples("showShorts", np.array([[0, 65535]], np.uint16)) == "[0, -1]"
    assert samples("manyBytes", 1000).view(np.uint8).tolist() == [i % 256 for i in range(1000)]


def test_arrays_that_stay_in_java_are_read_by_reflection(samples: Object) -> None:
    def read(array: Object) -> Any:
        return samples.client.follow(reflection.read_array(array))

    assert read(samples("longs")).tolist() == [1, -1, 2**63 - 1, -(2**63)]
    assert read(samples("booleans")).tolist() == [True, False, True]
    assert "".join(map(chr, read(samples("chars")))) == "aµ中"
    assert read(samples("echoBooleans", [])).dtype == np.bool_
    assert read(samples("echoBooleans", np.array([False, True]))).tolist() == [False, True]
    assert read(samples("echoChars", ["a", "中"])).tolist() == [97, 0x4E2D]


def test_text_with_an_at_sign_beside_an_array(samples: Object) -> None:
    assert samples("tagBytes", "me@lab", b"123") == "me@lab 3"
    before = samples.client.sent
    assert samples("tagBytes", "me", b"123") == "me 3"
    assert samples.client.sent == before + 1
    # After the array it may stand in one message: the server lives, and looks for that encoding.
    with pytest.raises(JavaException, match="UnsupportedEncoding"):
        samples.client.new("java.lang.String", b"x", "a@b")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "java.lang.Integer 1"),
        (2**40, "java.lang.Long 1099511627776"),
        (1.0, "java.lang.Double 1.0"),
        (True, "java.lang.Boolean true"),
        ("x", "java.lang.String x"),
        (None, "null"),
        (np.int8(3), "java.lang.Byte 3"),
        (np.int64(3), "java.lang.Long 3"),
        (np.float32(0.5), "java.lang.Float 0.5"),
        ([1, "x", None, [2.5]], "java.util.ArrayList [1, x, null, [2.5]]"),
        (["a", "b", "c@"], "java.util.ArrayList [a, b, c@]"),
        ({"a": 1, "b": None}, "java.util.LinkedHashMap {a=1, b=null}"),
        ({"x"}, "java.util.LinkedHashSet [x]"),
        (np.zeros(1, np.uint16), r"\[S"),
        (b"x", r"\[B"),
        (np.array([True]), r"\[Z"),
    ],
)
def test_what_an_object_becomes(samples: Object, value: Any, words: str) -> None:
    shown = samples("showObject", value)
    assert shown == words or shown.startswith(words.replace("\\", ""))


def test_lists_maps_enums_and_null(samples: Object) -> None:
    assert samples("sizeOf", [1, None, "x"]) == 3
    assert samples("first", ("@",)) == "@"
    assert samples("showMap", {"a": [1, 2], "b": {"c": 1.5}}) == "{a=[1, 2], b={c=1.5}}"
    assert samples("showColor", "RED") == "RED"
    assert samples("showColor", samples("color")) == "GREEN"
    assert samples("showAnimal", None) == "null"
    assert samples("showJson", {"a": [1, 2.5, None], "b@": "@"}) in ('{"a":[1,2.5,null],"b@":"@"}', '{"b@":"@","a":[1,2.5,null]}')
    assert samples("showStrVector", ["a@", "µ"]) == "a@ µ"
    with pytest.raises(JavaValueError, match="no constant 'PINK'"):
        samples("showColor", "PINK")
    with pytest.raises(OverloadError, match=r"is no aiomm\.host\.Animal"):
        samples("showAnimal", "RED")


def test_arrays_of_text(samples: Object) -> None:
    for texts in ([], ["x@y"], ["a", "", "\x1f", "中", ""], ["a", None, "b"], [f"item {i}" for i in range(500)]):
        before = samples.client.sent
        array = samples("echoStrings", texts)
        assert samples.client.sent - before < 12  # however long
        reflect = samples.client.static("java.lang.reflect.Array")
        assert reflect("getLength", array) == len(texts)
        for index, text in enumerate(texts[:5]):
            assert reflect("get", array, index) == (text.replace("中", "?") if text else text)


def test_a_json_object_comes_as_a_dict(samples: Object) -> None:
    assert samples("json") == {"a": 1, "b": [1, 2.5, "µ"], "c": {"d": None}, "mail": "x@y"}


@pytest.mark.parametrize(
    ("args", "ran"),
    [
        ((), "()"),
        ((1,), "int"),
        ((2**40,), "long"),
        ((1.5,), "double"),
        ((True,), "boolean"),
        (("x",), "String"),
        ((np.int64(1),), "long"),
        ((np.int16(1),), "int"),
        (("x", 1), "String, int"),
        (("x", 1.0), "String, double"),
        ((1, 2), "int[]"),
        (([1, 2],), "int[]"),
        ((b"x",), "Object"),
        (({"a": 1},), "Object"),
    ],
)
def test_the_overload_that_java_would_take_is_the_one_that_runs(client: Client, args: tuple[Any, ...], ran: str) -> None:
    assert client.new("aiomm.host.Overloads")("over", *args) == ran


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_the_overload_of_an_arrays_own_type(client: Client, dtype: type) -> None:
    kind = {"int8": "byte", "int16": "short", "int32": "int", "int64": "long", "float32": "float", "float64": "double"}[
        np.dtype(dtype).name
    ]
    assert client.new("aiomm.host.Overloads")("arrays", np.zeros(2, dtype)) == f"{kind}[]"


def test_overloads_of_objects_statics_and_constructors(client: Client) -> None:
    over, dog = client.new("aiomm.host.Overloads"), client.new("aiomm.host.Dog")
    assert over("pet", dog) == "Dog"
    assert over("any", dog) == "Named"
    assert over("any", "x") == "Object"
    assert over("group", client.new("java.util.ArrayList")) == "List"
    assert over("group", {1}) == "Collection"
    fixed = client.static("aiomm.host.Overloads")
    assert [fixed("fixed", 1), fixed("fixed", "x")] == ["static int", "static String"]
    assert [fixed("fixed", 1, reflect=True), fixed("fixed", "x", reflect=True)] == ["static int", "static String"]
    made = [client.new("aiomm.host.Overloads", *args)("made") for args in [(), (1,), (1.5,), ("x",), (dog, "x")]]
    assert made == ["()", "int", "double", "String", "Animal, String"]


def test_a_constructor_that_wants_a_supertype_of_javas_own(client: Client) -> None:
    one = client.new("java.util.ArrayList")
    one("add", "x")
    other = client.new("java.util.ArrayList", one)
    assert other("get", 0) == "x"
    assert client.new("java.util.ArrayList", ["a", "b"])("size") == 2


def test_methods_of_classes_that_java_keeps_to_itself(client: Client, samples: Object) -> None:
    """java.util.stream is not opened to the server, as nothing is in a Micro-Manager on Java 17."""
    stream = samples("list")("stream")
    with pytest.raises(JavaException, match="InaccessibleObjectException") as caught:
        stream("count")
    assert reflection.not_run(caught.value)
    assert stream("count", reflect=True) == 3
    assert samples("hiddenClass")("name", reflect=True) == "hidden"


def test_exceptions(client: Client) -> None:
    faults = client.new("aiomm.host.Faults")

    def thrown(name: str, *args: Any, reflect: bool = False) -> tuple[str, str, bool]:
        with pytest.raises(JavaException) as caught:
            faults(name, *args, reflect=reflect)
        assert f"aiomm.host.Faults.{name}(Faults.java:" in caught.value.java_stack
        return caught.value.java_class, caught.value.java_message, reflection.not_run(caught.value)

    for reflect in (False, True):
        assert thrown("checked", "a\nb(c)", reflect=reflect) == ("java.io.IOException", "a\nb(c)", False)
        assert thrown("noMessage", reflect=reflect) == ("java.lang.NullPointerException", "", False)
    assert thrown("withCause") == ("java.lang.ArithmeticException", "inner", False)  # the server tells of the cause alone
    assert thrown("returned", "x") == ("java.lang.IllegalArgumentException", "x", False)  # and cannot send one as a result
    with pytest.raises(JavaException) as caught:
        client.new("aiomm.host.Faults", "boom")
    assert (caught.value.java_class, caught.value.java_message) == ("java.lang.IllegalStateException", "boom")
    assert not reflection.not_run(caught.value)


def test_what_ran_into_the_servers_own_code_was_run(client: Client) -> None:
    """Its exception has frames of the server's before those of the call, and is not to have the call made again."""
    faults = client.new("aiomm.host.Faults")
    count = faults("counted")
    with pytest.raises(JavaException, match="JSONException") as caught:
        client.new("aiomm.host.Faults", 1)
    assert "ZMQServer.getField" in caught.value.java_stack
    assert not reflection.not_run(caught.value)
    assert faults("counted") == count + 1
    with pytest.raises(JavaException, match="JSONException") as caught:
        faults("countAndThrowFromServer")
    assert "ZMQServer.getField" in caught.value.java_stack
    assert not reflection.not_run(caught.value)
    assert faults("counted") == count + 2


def test_an_error_that_was_thrown_comes_as_an_object(client: Client) -> None:
    faults = client.new("aiomm.host.Faults")
    for name, args in (("error", ("x",)), ("overflowStack", ())):
        shadow = client.ask(wire.run_method(faults, False, faults.overloads(name)[0], args))
        assert isinstance(shadow, Shadow)
        assert shadow.is_error


@pytest.mark.parametrize(
    "request_",
    [
        wire.run_method(Handle("nowhere", 1, ""), False, Signature("x", ()), []),
        wire.get_class("no.such.Class"),
        {"command": "what"},
        {},
    ],
)
def test_what_the_server_refuses_was_not_run(client: Client, request_: dict[str, Any]) -> None:
    with pytest.raises(JavaException) as caught:
        client.ask(request_)
    if "hash-code" in request_:
        assert reflection.not_run(caught.value)


def test_fields(client: Client) -> None:
    fields = client.new("aiomm.host.Fields")
    assert client.ask(wire.get_field(fields, "aLong")) == 2**53 + 1
    assert client.ask(wire.get_field(fields, "doubles")).tolist() == [0.5, -0.5]
    assert client.ask(wire.set_field(fields, "aString", "a@b")) is None
    assert client.ask(wire.set_field(fields, "aDouble", 2.5)) is None
    assert [fields("show", "aString"), fields("show", "aDouble")] == ["String a@b", "Double 2.5"]


def lives(port: int) -> bool:
    """Whether the server's main port still answers."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    try:
        Client(port, 1000).shut()
    except zmq.Again:
        return False
    return True


def test_what_encode_refuses_would_end_the_servers_thread(own_java_host: JavaHost) -> None:
    """Without this, the rule about '@' would protect from nothing."""
    with Client(own_java_host.port, 1000) as client:
        samples = client.new("aiomm.host.Samples")
        message = wire.run_method(samples, False, Signature("tagBytes", ("java.lang.String", "byte[]")), ["me@lab", b"1"])
        with pytest.raises(JavaValueError, match="me@lab"):
            wire.encode(message)
        frames = [bytes(frame) for frame in wire.encode({**message, "arguments": ["me at lab", b"1"]})]
        assert wire.parse_reply(client.raw(frames)) == "me at lab 1"
        client.shadows.clear()
        frames[0] = frames[0].replace(b"me at lab", b"me@lab")
        with pytest.raises(zmq.Again):
            client.raw(frames)
    assert not lives(own_java_host.port)


def test_the_deepest_message_that_is_sent_leaves_the_server_alive(client: Client, java_host: JavaHost) -> None:
    value: Any = 1
    for _ in range(198):
        value = [value]
    client.ask({**wire.connect(debug=False), "deep": value})
    assert lives(java_host.port)
