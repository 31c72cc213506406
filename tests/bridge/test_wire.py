"""Messages, binary data, requests and replies, without a server."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomm.bridge import wire
from aiomm.bridge.frames import MAX_DEPTH
from aiomm.bridge.handle import Handle
from aiomm.bridge.wire import Shadow, Signature
from aiomm.errors import JavaException, JavaValueError, ProtocolError

CORE = Handle("1f2e", 4827, "mmcorej.CMMCore", ("mmcorej.CMMCore", "java.lang.Object"))
API = [{"name": "f", "arguments": ["int"], "return-type": "void"}]
SHADOW = {
    "type": "unserialized-object",
    "class": "a.B",
    "hash-code": "ff00",
    "port": 4828,
    "interfaces": ["a.B", "java.lang.Object"],
    "fields": ["x"],
    "api": API,
}


def frames(message: Any, *blocks: bytes) -> list[bytes]:
    return [json.dumps(message).encode("latin-1"), *blocks]


def number(value: int) -> bytes:
    return struct.pack("=i", value)


# --- encode and decode are inverse -----------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
PLAIN_TEXTS = TEXTS.map(lambda text: text.replace("@", "a"))


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12)


def arrays(*dtypes: type) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    return st.builds(lambda dtype, data: np.frombuffer(data[: len(data) // 8 * 8], dtype), st.sampled_from(dtypes), st.binary(max_size=64))


def same(one: Any, other: Any) -> bool:
    """Equal in value, type and sign."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(TEXTS, nested(SCALARS), max_size=5))
def test_what_is_encoded_is_decoded_again(message: dict[str, Any]) -> None:
    sent = wire.encode(message)
    assert len(sent) == 1
    assert bytes(sent[0]).isascii()
    assert same(wire.decode(sent), message)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(TEXTS, nested(st.none() | NUMBERS | PLAIN_TEXTS | arrays(np.int8, np.int16, np.int32)), max_size=5))
def test_arrays_come_back_where_they_were(message: dict[str, Any]) -> None:
    assert same(wire.decode(wire.encode(message, "native")), message)


@settings(max_examples=150, deadline=None)
@given(st.lists(arrays(np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64), max_size=4))
def test_arguments_go_big_endian(values: list[np.ndarray[Any, Any]]) -> None:
    back = wire.decode(wire.encode({"arguments": values}))["arguments"]
    assert [item.tobytes() for item in back] == [value.astype(value.dtype.newbyteorder(">")).tobytes() for value in values]


@settings(max_examples=200, deadline=None)
@given(SCALARS.filter(lambda value: value is not None))
def test_a_primitive_or_text_that_the_server_sends_is_read_as_it_is(value: Any) -> None:
    kind = "string" if isinstance(value, str) else "primitive"
    text = json.dumps({"type": kind, "value": value}, ensure_ascii=kind == "primitive").encode("latin-1", "replace")
    expected = value.encode("latin-1", "replace").decode("latin-1") if isinstance(value, str) else value
    assert same(wire.parse_reply([text]), expected)


# --- nothing that comes can harm -------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        b'{"type":"short-array","value":"[B@5"}',
        b'{"type":"primitive","value":1}',
        b'{"a":"[B@5","b":["[B@5","@5_2"]}',
        b"\x05\0\0\0",
        b"\x06\0\0\0",
        b"",
        b"\0" * 6,
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"value":' + b"9" * 10_000 + b"}",
        b'{"value":NaN}',
        json.dumps(SHADOW).encode(),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40) | PIECES, max_size=6))
def test_any_frames_are_a_message_or_a_protocol_error(received: list[bytes]) -> None:
    for read in (wire.decode, wire.parse_reply):
        try:
            read(received)
        except (ProtocolError, JavaException, JavaValueError) as error:
            assert read is wire.parse_reply or isinstance(error, ProtocolError)
    wire.summarise(received)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["type", "value", "class", "hash-code", "port", "interfaces", "fields", "api"]),
        nested(SCALARS | st.sampled_from(["string", "primitive", "object", "exception", "none", "unserialized-object", "int-array"])),
    )
)
def test_any_object_is_a_reply_or_a_protocol_error(message: dict[str, Any]) -> None:
    try:
        wire.parse_reply([json.dumps(message).encode()])
    except (ProtocolError, JavaException, JavaValueError):
        pass


@pytest.mark.parametrize(
    ("received", "what"),
    [
        ([], "without frames"),
        ([b""], "no JSON"),
        ([b"\xff"], "no JSON"),
        ([b"[1]"], "no JSON object"),
        ([b'{"type":"primitive","value":NaN}'], "no JSON"),
        ([b'{"type":"primitive","value":'], "no JSON"),
        (frames({}, number(1)), "2 frames"),
        (frames({}, b"12", b"x"), "2 bytes instead of 4"),
        (frames({}, number(1), b"x"), "no place"),
        (frames({"a": "[B@1", "b": "[B@2"}, number(1), b"x", number(1), b"y"), "have the number 1"),
        (frames({"type": "int-array", "value": "[B@1"}, number(2), b"1234"), "missing"),
        (frames({"a": {"type": "int-array", "value": "[B@1"}, "b": "[B@2"}, number(2), b"1234"), "missing"),
        (frames({"type": "int-array", "value": "[B@1"}, number(1), b"12345"), "5 bytes"),
        (frames({"type": "int-array", "value": "[B@1"}), "missing"),
        (frames({"type": "int-array", "value": "[B@1"}, b"1234", number(1)), "missing"),
        (frames({"type": "whatever"}), "unknown type"),
        (frames({"type": ["none"]}), "unknown type"),
        (frames({"value": 1}), "unknown type"),
        (frames({"type": "primitive"}), "primitive"),
        (frames({"type": "primitive", "value": "ab"}), "primitive"),
        (frames({"type": "primitive", "value": [1]}), "primitive"),
        (frames({"type": "string", "value": 1}), "value"),
        (frames({"type": "object", "class": "JSONObject", "value": "{"}), "JSON object"),
        (frames({**SHADOW, "port": "4827"}), "port"),
        (frames({**SHADOW, "port": 0}), "port"),
        (frames({**SHADOW, "port": True}), "port"),
        (frames({**SHADOW, "api": 1}), "methods"),
        (frames({**SHADOW, "api": [1]}), "methods"),
        (frames({**SHADOW, "fields": [1]}), "fields"),
        (frames({**SHADOW, "interfaces": None}), "interfaces"),
        (frames({**SHADOW, "hash-code": 1}), "hash-code"),
    ],
)
def test_a_reply_that_cannot_be_understood_says_why(received: list[bytes], what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        wire.parse_reply(received)


def test_blocks_may_come_in_any_order() -> None:
    message = wire.decode(frames({"a": "[B@1", "b": "[B@2"}, number(2), b"two", number(1), b"one"))
    assert bytes(message["a"]) == b"one"
    assert bytes(message["b"]) == b"two"


def test_numbers_of_blocks_are_signed_both_ways() -> None:
    message = wire.decode(frames({"a": "[B@ffffffff", "b": "@-5_0"}, number(-1), b"one", number(-5), b"two"))
    assert bytes(message["a"]) == b"one"
    assert bytes(message["b"]) == b"two"


def test_one_array_sent_twice_is_read_once() -> None:
    message = wire.decode(frames({"a": "[B@1", "b": ["[B@1"]}, number(1), b"same", number(1), b"same"))
    assert bytes(message["a"]) == bytes(message["b"][0]) == b"same"


def test_texts_beside_binary_data_stay_texts() -> None:
    texts = ["me@lab.org", "[B@zz", "@", "[B@7", "@1_9", "x[B@1"]
    message = wire.decode(frames({"a": "[B@1", "b": texts, "c@d": 1}, number(1), b"x"))
    assert message["b"] == texts
    assert message["c@d"] == 1


def test_a_dict_of_metadata_that_only_looks_like_an_array_stays() -> None:
    tags = {"type": "short-array", "value": 5}
    assert wire.decode(frames({"tags": tags, "pix": "[B@1"}, number(1), b"x"))["tags"] == tags


@pytest.mark.parametrize("kind", ["byte", "short", "int", "float", "double"])
def test_arrays_have_javas_types(kind: str) -> None:
    expected = {"byte": np.int8, "short": np.int16, "int": np.int32, "float": np.float32, "double": np.float64}[kind]
    data = np.array([0, 1, 2, 3], expected)
    array = wire.parse_reply(frames({"type": f"{kind}-array", "value": "[B@1"}, number(1), data.tobytes()))
    assert array.dtype == expected
    assert array.tolist() == [0, 1, 2, 3]
    array[0] = 7  # writable


def test_a_stream_with_pixels_is_decoded_inside() -> None:
    message = {"metadata": {"mail": "a@b"}, "pixels": {"type": "short-array", "value": "[B@a"}}
    pixels = wire.decode(frames(message, number(10), b"\1\0\2\0"))["pixels"]["value"]
    assert pixels.dtype == np.int16
    assert pixels.tolist() == [1, 2]


def test_a_received_frame_is_viewed_not_copied() -> None:
    context = zmq.Context()
    try:
        here, there = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        here.bind("inproc://frames")
        there.connect("inproc://frames")
        there.send_multipart(frames({"type": "short-array", "value": "[B@1"}, number(1), b"\1\0" * 50_000))
        received = here.recv_multipart(copy=False)
        array = wire.parse_reply(received)
        assert np.shares_memory(array, np.frombuffer(received[2].buffer, np.uint8))
        array[0] = 5
        here.close()
        there.close()
    finally:
        context.term()


# --- what cannot be sent ---------------------------------------------------------------------------------------------


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ([{"a": math.inf}], "inf"),
        (np.float32("nan"), "nan"),
        ("\ud800", "surrogate"),
        ({"a\udfff": 1}, "surrogate"),
        ([["x", "\udc00"]], "surrogate"),
        (object(), "object"),
        (1j, "complex"),
        (np.zeros(2, np.complex64), "complex64"),
        (np.zeros(2, bool), "bool"),
        (np.zeros(2, np.float16), "float16"),
        (np.array(["a"]), "<U1"),
        (np.datetime64("2020-01-01"), "datetime64"),
        ({(1, 2): 3}, "keys"),
        (deep(MAX_DEPTH), "nested"),
        (deep(100_000), "nested"),
        (CYCLE, "itself"),
        (["me@lab", b"1"], "me@lab"),
    ],
)
def test_what_java_cannot_be_given_is_refused_before_it_is_sent(value: Any, what: str) -> None:
    with pytest.raises(JavaValueError, match=what):
        wire.encode({"arguments": [value], "command": "run-method"} if not isinstance(value, list) else {"arguments": value})


def test_a_backslash_is_no_surrogate_and_a_pair_is_whole() -> None:
    message = {"a": "\\ud800", "b": "\N{GRINNING FACE}"}
    assert wire.decode(wire.encode(message)) == message


def test_the_deepest_nesting_that_is_allowed() -> None:
    message = {"a": deep(MAX_DEPTH - 1)}
    assert wire.decode(wire.encode(message)) == message


def test_many_flat_lists_are_not_deep() -> None:
    wire.encode({"a": [[]] * (MAX_DEPTH + 1)})


def test_arrays_in_streams_say_the_size_of_their_items() -> None:
    text, *blocks = wire.encode({"a": np.array([1, 2], np.uint16), "b": b"raw"}, "native")
    assert json.loads(bytes(text)) == {"a": "@1_2", "b": "@2_0"}
    assert [bytes(block) for block in blocks] == [number(1), np.array([1, 2], np.uint16).tobytes(), number(2), b"raw"]
    with pytest.raises(JavaValueError, match="float64"):
        wire.encode({"a": np.zeros(2)}, "native")


def test_pixels_are_sent_without_a_copy() -> None:
    pixels = np.zeros(100, np.uint16)
    sent = wire.encode({"pixels": pixels}, "native")
    assert np.shares_memory(np.frombuffer(sent[2], np.uint8), pixels)


def test_a_part_of_an_image_is_sent_whole() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2]
    assert bytes(wire.encode({"a": image})[2]) == bytes([0, 2, 4, 6, 8, 10])


def test_text_with_an_at_sign_may_follow_the_last_array_of_the_arguments() -> None:
    assert len(wire.encode({"arguments": [b"1", "a@b"], "name": "f"})) == 3
    assert wire.beside_binary([b"1", "a@b"]) is None
    assert wire.beside_binary(["a@b", 1]) is None
    assert wire.beside_binary([b"1", "a@b", b"2"]) == "a@b"
    assert wire.beside_binary([{"tag": ["a@b"]}, b"2"]) == "a@b"
    assert wire.beside_binary([[b"1"], "a@b"]) == "a@b"
    with pytest.raises(JavaValueError, match="x@y"):
        wire.encode({"arguments": [b"1"], "name": "x@y"})


def test_names_of_members_may_have_an_at_sign() -> None:
    assert wire.decode(wire.encode({"a@b": b"1"}))["a@b"].tobytes() == b"1"


# --- requests --------------------------------------------------------------------------------------------------------


def test_requests_as_the_protocol_has_them() -> None:
    sent = {
        "connect": wire.connect(debug=True),
        "get-constructors": wire.get_constructors("a.B"),
        "get-class": wire.get_class("a.B", new_port=True),
        "get-field": wire.get_field(CORE, "pix"),
        "set-field": wire.set_field(CORE, "pix", 1),
        "destructor": wire.destructor("1f2e"),
    }
    assert sent == {
        "connect": {"command": "connect", "debug": True},
        "get-constructors": {"command": "get-constructors", "classpath": "a.B"},
        "get-class": {"command": "get-class", "classpath": "a.B", "new-port": True},
        "get-field": {"command": "get-field", "hash-code": "1f2e", "name": "pix"},
        "set-field": {"command": "set-field", "hash-code": "1f2e", "name": "pix", "value": 1},
        "destructor": {"command": "destructor", "hash-code": "1f2e"},
    }


def test_a_call_without_arguments() -> None:
    assert wire.run_method(CORE, False, Signature("getExposure", ()), []) == {
        "command": "run-method",
        "hash-code": "1f2e",
        "static": False,
        "name": "getExposure",
        "argument-types": [],
        "argument-deserialization-types": [],
        "arguments": [],
    }


@pytest.mark.parametrize(
    ("java_type", "value", "lookup", "read"),
    [
        ("int", 1, "int", "int"),
        ("java.lang.Double", 1.0, "java.lang.Double", "java.lang.Double"),
        ("java.lang.Double", None, "java.lang.Double", "java.lang.String"),
        ("double[]", np.zeros(1), "double[]", "double[]"),
        ("double[]", None, "double[]", "java.lang.String"),
        ("java.lang.String", None, "java.lang.String", "java.lang.String"),
        ("java.lang.Object", None, "java.lang.Object", "java.lang.String"),
        ("java.lang.Object", 1, "java.lang.Object", "java.lang.Integer"),
        ("java.lang.Object", 2**31, "java.lang.Object", "java.lang.Long"),
        ("java.lang.Object", True, "java.lang.Object", "java.lang.Boolean"),
        ("java.lang.Object", 1.5, "java.lang.Object", "java.lang.Double"),
        ("java.lang.Object", np.float32(1), "java.lang.Object", "java.lang.Float"),
        ("java.lang.Object", np.zeros(1, np.uint16), "java.lang.Object", "short[]"),
        ("java.lang.Object", b"x", "java.lang.Object", "byte[]"),
        ("java.lang.Object", {"a": 1}, "java.lang.Object", "java.lang.Object"),
        ("java.lang.CharSequence", "x", "java.lang.String", "java.lang.String"),
        ("java.lang.Number", 1.5, "java.lang.Double", "java.lang.Double"),
        ("mmcorej.CMMCore", CORE, "mmcorej.CMMCore", "java.lang.Object"),
    ],
)
def test_the_two_types_of_an_argument(java_type: str, value: Any, lookup: str, read: str) -> None:
    message = wire.constructor("a.B", Signature("a.B", (java_type,)), [value])
    assert (message["argument-types"], message["argument-deserialization-types"]) == ([lookup], [read])


# --- replies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"type":"none"}', None),
        (b'{"type":"null"}', None),
        (b'{"type":"primitive","value":true}', True),
        (b'{"type":"primitive","value":9007199254740993}', 9007199254740993),
        (b'{"type":"primitive","value":-0}', -0.0),
        (b'{"value":-0, "type":"primitive"}', -0.0),
        (b'{"type":"primitive","value":0}', 0),
        (b'{"type":"primitive","value":1.0E10}', 1e10),
        (b'{"type":"primitive","value":"\xb5"}', "µ"),
        (b'{"type":"string","value":"a@b \xb5 \\u0000 <\\/x>"}', "a@b µ \0 </x>"),
        (b'{"type":"string","value":"[B@12"}', "[B@12"),
        (b'{"type":"object","class":"JSONObject","value":"{\\"a\\":[1,null]}"}', {"a": [1, None]}),
        (b'{"type":"none","version":"5.1.0"}', {"type": "none", "version": "5.1.0"}),
    ],
)
def test_replies(text: bytes, value: Any) -> None:
    assert same(wire.parse_reply([text]), value)
    assert same(wire.parse_reply(wire.decode([text])), value)
    assert same(wire.parse_reply((zmq.Frame(text),)), value)


def test_an_object_that_stays_in_java() -> None:
    assert wire.parse_reply(frames(SHADOW)) == Shadow("a.B", "ff00", 4828, ("a.B", "java.lang.Object"), ("x",), API)
    assert wire.parse_reply(frames({**SHADOW, "interfaces": ["x.E", "java.lang.Error"]})).is_error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("java.io.IOException: no\na.B.f(B.java:12)\nc.D.g(Native Method)\n", ("java.io.IOException", "no", 2)),
        ("java.io.IOException: a\nb(c)\na.B.f(B.java:12)\n", ("java.io.IOException", "a\nb(c)", 1)),
        ("java.lang.NullPointerException\na.B.f(Unknown Source)\n", ("java.lang.NullPointerException", "", 1)),
        ("java.lang.NullPointerException\n", ("java.lang.NullPointerException", "", 0)),
        ("a.B$C: two\n\nlines\n", ("a.B$C", "two\n\nlines", 0)),
        (
            "java.lang.RuntimeException: x\n\tat a.B.f(B.java:1)\n\tat a.B.g(B.java:2)\nCaused by: c.D: y\n\t... 3 more\n",
            ("java.lang.RuntimeException", "x", 3),
        ),
        (
            "java.lang.reflect.InvocationTargetException\n\tat a.B.f(B.java:1)\nCaused by: c.D: y\nz\n\tat c.D.g(D.java:1)\n\t... 3 more\n",
            ("c.D", "y\nz", 1),
        ),
        ("Error: a text of its own\na.B.f(B.java:12)\n", ("java.lang.Exception", "Error: a text of its own", 1)),
        ("Camera.Gain: too high\n\tat a.B.f(B.java:12)\n", ("java.lang.Exception", "Camera.Gain: too high", 1)),
        ("null\na.B.f(B.java:12)\n", ("java.lang.Exception", "null", 1)),
        ("what is this?", ("java.lang.Exception", "what is this?", 0)),
        ("", ("java.lang.Exception", "", 0)),
    ],
)
def test_exceptions(text: str, expected: tuple[str, str, int]) -> None:
    with pytest.raises(JavaException) as caught:
        wire.parse_reply(frames({"type": "exception", "value": text}))
    error = caught.value
    assert (error.java_class, error.java_message, len(error.java_stack.splitlines())) == expected
    assert str(error) == (f"{expected[0]}: {expected[1]}" if expected[1] else expected[0])


def test_a_result_that_is_no_number_is_named() -> None:
    text = "java.lang.RuntimeException: mmcorej.org.json.JSONException: JSON does not allow non-finite numbers.\n"
    text += "\tat org.micromanager.pyjavaz.ZMQUtil.toJSON(ZMQUtil.java:193)\n"
    with pytest.raises(JavaValueError, match="NaN"):
        wire.parse_reply(frames({"type": "exception", "value": text}))
    with pytest.raises(JavaValueError, match="NaN"):
        wire.parse_reply(frames({"type": "object", "class": "JSONObject"}))


@pytest.mark.parametrize(
    ("value", "java_type", "expected"),
    [
        (10, "double", 10.0),
        (10, "float", 10.0),
        (10, "java.lang.Double", 10.0),
        (10, "java.lang.Float", 10.0),
        (10, "int", 10),
        (10, "java.lang.Object", 10),
        (10, None, 10),
        (-0.0, "double", -0.0),
        ("a", "char", "a"),
        (True, "boolean", True),
        (None, "java.lang.Double", None),
        (1.5, "double", 1.5),
    ],
)
def test_results_get_the_type_that_was_declared(value: Any, java_type: str | None, expected: Any) -> None:
    assert same(wire.convert_return(value, java_type), expected)


def test_a_summary_is_short() -> None:
    sent = wire.encode(wire.run_method(CORE, False, Signature("setSLMImage", ("java.lang.String", "byte[]")), ["SLM", bytes(8388608)]))
    assert wire.summarise(sent).endswith('"arguments": ["SLM", "@1_0"]} <8388608 bytes>')
    assert "<8 bytes>" in wire.summarise({"a": np.zeros(1)})
    assert "<mmcorej.CMMCore>" in wire.summarise({"a": CORE})
    assert "<1 methods>" in wire.summarise(frames(SHADOW))
    assert len(wire.summarise({"a": "x" * 100_000})) == 1000
    assert "no JSON" in wire.summarise([b"\xff\n"])
    assert "\n" not in wire.summarise([b"\xff\n", b"a\n"])


def test_an_array_whose_place_is_known_is_put_there_and_texts_elsewhere_are_left() -> None:
    message = {"metadata": {"note": "[B@1", "mail": "a@b"}, "pixels": {"type": "short-array", "value": "[B@1"}}
    read = wire.decode(frames(message, number(1), b"\1\0\2\0"), "pixels")
    assert read["metadata"] == message["metadata"]
    assert read["pixels"]["value"].dtype == np.int16
    assert read["pixels"]["value"].tolist() == [1, 2]
    assert read["pixels"]["value"].flags.writeable


@pytest.mark.parametrize(
    "pixels", ["[B@1", {"value": "[B@1"}, {"type": "byte-array", "value": ["[B@1"]}, {"type": "x", "value": "[B@1"}, {}]
)
def test_an_array_that_is_not_where_it_was_looked_for_is_found_as_ever(pixels: Any) -> None:
    message = frames({"pixels": pixels, "also": "[B@1"}, number(1), b"xy")
    there, anywhere = wire.decode(list(message), "pixels"), wire.decode(list(message))
    assert str(there) == str(anywhere)
    assert there["also"].tobytes() == b"xy"


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ((number(2), b"1234"), "missing"),
        ((number(1), b"123"), "3 bytes"),
        ((b"12", b"1234"), "2 bytes"),
        ((b"1234", number(1)), "missing"),
    ],
)
def test_a_corrupted_array_at_its_place_is_refused(blocks: tuple[bytes, ...], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        wire.decode(frames({"pixels": {"type": "short-array", "value": "[B@1"}}, *blocks), "pixels")


@pytest.mark.parametrize(
    "value",
    [
        *("1", "-7", "2.5", "1e3", "true", "false", "0", "-0", "0.0", "-0.0", "1 ", " 1", "1e999"),
        *('"x"', '"xy"', '""', "null", "[1]", "{}", "NaN", "-Infinity", "", "01", "1,", "1}", "1 2"),
        *('1,"value":2', '1,"more":3', "[" * 5000),
    ],
)
def test_a_number_read_in_short_is_read_as_always(value: str) -> None:
    text = f'{{"type":"primitive","value":{value}}}'

    def outcome(text: str) -> str:
        try:
            return repr(wire.parse_reply([text.encode()]))
        except ProtocolError as error:
            return str(error)[:20]

    assert outcome(text) == outcome(" " + text)  # which is not how the server writes it
