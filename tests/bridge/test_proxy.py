"""Java objects and classes in Python, on the real server: names, values, overloads, fields, collections, exceptions."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from aiomm.bridge import JavaField, register_proxy, registry

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost


@pytest.fixture
async def samples(bridge: aiomm.Bridge) -> aiomm.JavaObject:
    return await bridge.construct_java_object("aiomm.host.Samples")


def host(name: str) -> str:
    return f"aiomm.host.{name}"


# ---- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("echo_boolean", True),
        ("echo_boolean", np.bool_(False)),
        ("echo_byte", -128),
        ("echo_short", np.int16(-300)),
        ("echo_char", "µ"),
        ("echo_int", -(2**31)),
        ("echo_int", np.int64(7)),
        ("echo_long", 2**63 - 1),
        ("echo_float", np.float32(0.1)),
        ("echo_double", 0.1),
        ("echo_double", 10),
        ("echo_boxed_boolean", None),
        ("echo_boxed_int", 5),
        ("echo_boxed_long", 5),
        ("echo_boxed_double", 5.0),
        ("echo_boxed_char", "x"),
        ("echo_string", ""),
        ("echo_string", 'me@lab.org µ "\\ </d> \n\t\x01'),
        ("echo_string", None),
        ("echo_object", "text"),
        ("echo_object", 3),
        ("echo_object", 2**40),
        ("echo_object", 0.5),
        ("echo_object", True),
        ("echo_object", None),
    ],
)
async def test_a_value_there_and_back(method: str, value: Any, samples: aiomm.JavaObject) -> None:
    back = await getattr(samples, method)(value)
    assert back == value
    assert back is None or isinstance(back, (bool, int, float, str))
    assert isinstance(back, float) == (method in ("echo_float", "echo_double", "echo_boxed_double") or isinstance(value, float))


async def test_doubles_that_are_whole_are_floats(samples: aiomm.JavaObject) -> None:
    ten = await samples.ten()
    assert (type(ten), ten) == (float, 10.0)
    assert str(await samples.minus_zero()) == "-0.0"


async def test_text_beyond_latin(samples: aiomm.JavaObject) -> None:
    """It reaches Java whole; how it comes back is in `test_lost_text`."""
    assert await samples.length_of("中文") == 2
    assert await samples.units_of("中") == str(ord("中"))
    assert await samples.latin() == "µm ± é"


@pytest.mark.parametrize("method", ["nan", "infinity", "float_nan"])
async def test_numbers_that_the_server_cannot_send(method: str, samples: aiomm.JavaObject) -> None:
    with pytest.raises(errors.JavaValueError, match="NaN or infinite"):
        await getattr(samples, method)()
    assert await samples.ten() == 10.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
async def test_numbers_that_cannot_be_sent(value: Any, samples: aiomm.JavaObject) -> None:
    with pytest.raises(errors.JavaValueError, match=r"echoDouble: Java cannot be given (nan|inf)"):
        await samples.echo_double(value)


@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        ("echo_bytes", np.int8),
        ("echo_shorts", np.int16),
        ("echo_ints", np.int32),
        ("echo_longs", np.int64),
        ("echo_floats", np.float32),
        ("echo_doubles", np.float64),
        ("echo_booleans", np.bool_),
        ("echo_chars", np.uint16),
    ],
)
async def test_an_array_there_and_back(method: str, dtype: Any, samples: aiomm.JavaObject) -> None:
    array = np.array([1, 0, 1, 100], np.float64).astype(dtype)
    for given in (array, np.repeat(array, 2)[::2], array.astype(array.dtype.newbyteorder(">"))):
        back = await getattr(samples, method)(given)
        assert back.dtype == dtype
        assert back.flags.writeable
        np.testing.assert_array_equal(back, given)
    assert (await getattr(samples, method)(array[:0])).size == 0


async def test_arrays_of_java_with_their_extremes(samples: aiomm.JavaObject) -> None:
    assert (await samples.bytes()).tolist() == [1, -1, 127, -128]
    assert (await samples.shorts()).tolist() == [1, -1, 32767, -32768]
    assert (await samples.ints()).tolist() == [1, -1, 2**31 - 1, -(2**31)]
    assert (await samples.longs()).tolist() == [1, -1, 2**63 - 1, -(2**63)]
    np.testing.assert_array_equal(await samples.doubles(), [0.1, -0.1, np.nan, -np.inf])
    np.testing.assert_array_equal(await samples.floats(), np.array([0.5, -0.5, np.nan, np.inf], np.float32))
    assert (await samples.booleans()).tolist() == [True, False, True]
    assert (await samples.chars()).tolist() == [ord(c) for c in "aµ中"]


async def test_text_in_an_array(bridge: aiomm.Bridge, samples: aiomm.JavaObject) -> None:
    """It is read at once, and one by one what the server's text cannot carry."""
    for text in ("", "@ µß\x00\x7f\x9f\n", "why? 中", "a😀b", "\ud800?\udc00\ud800"):
        units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
        back = await samples.echo_chars(units)
        assert (back.dtype, back.tolist()) == (np.uint16, units.tolist())
    buffer = await (await bridge.get_java_class("java.nio.CharBuffer")).allocate(3000)
    await buffer.put(17, "中")
    assert bridge._session is not None
    port = bridge._session.main.port
    before = port.stats.calls
    back = await buffer.array()
    assert port.stats.calls - before < 50
    assert (len(back), back[17], back.sum()) == (3000, ord("中"), ord("中"))


async def test_a_masked_array_is_refused(samples: aiomm.JavaObject) -> None:
    for masked in (np.ma.masked, np.ma.masked_array([1.0, 2.0], [True, False])):
        for method in ("show_doubles", "echo_object", "echo_double"):
            with pytest.raises(ValueError, match=r"mask|Mask"):
                await samples.call(method, [masked])


async def test_names_are_text(samples: aiomm.JavaObject) -> None:
    for ask in (samples.call, samples.get_field):
        for name in (5, None, b"echo_int"):
            with pytest.raises(TypeError, match="by its name, a str, not"):
                await ask(name)  # type: ignore[arg-type]


async def test_lists_for_arrays_collections_and_maps(samples: aiomm.JavaObject) -> None:
    assert await samples.show_doubles([1, 0.5]) == "[1.0, 0.5]"
    assert await samples.show_longs((1, 2)) == "[1, 2]"
    assert await (await samples.echo_strings(["a", "me@lab", None])).to_list() == ["a", "me@lab", None]
    assert await samples.size_of([1, "x", None]) == 3
    assert await samples.first(["µ"]) == "µ"
    assert await samples.show_map({"a": 1, "b": 0.5}) == "{a=1, b=0.5}"


@pytest.mark.parametrize(
    ("numbers", "one", "other"),
    [
        ([*range(-5000, 5000)], 4999, 4999.0),
        ([k / 2 for k in range(10000)], 4999.0, 4999),
        ([*range(110), 2**31], 2**31, 2.0**31),
        ([*range(110), 0.5], 0.5, "0.5"),
    ],
)
async def test_many_numbers_as_a_collection(numbers: list[Any], one: Any, other: Any, bridge: aiomm.Bridge) -> None:
    made = await bridge.construct_java_object("java.util.ArrayList", args=[numbers])
    assert await made.size() == len(numbers)
    assert [await made.get(k) for k in (0, 1, 99)] == [numbers[k] for k in (0, 1, 99)]
    assert await made.index_of(one) == numbers.index(one)
    assert not await made.contains(other)  # an Integer is no Double


async def test_many_numbers_take_few_messages(java_host: JavaHost, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "aiomm.bridge"):
        async with aiomm.Bridge(java_host.port, timeout=5000, debug=True) as bridge:
            await bridge.construct_java_object("java.util.ArrayList", args=[[*range(10_000)]])
    assert sum(record.message.startswith("to port") for record in caplog.records) < 100


async def test_text_with_an_at_sign_beside_binary_data(samples: aiomm.JavaObject) -> None:
    """Sent plainly it ends the server's thread."""
    assert await samples.tag_bytes("me@lab.org", np.zeros(5, np.uint8)) == "me@lab.org 5"
    assert await samples.tag_bytes("me", b"12345") == "me 5"


async def test_json_and_tagged_images(samples: aiomm.JavaObject) -> None:
    assert await samples.json() == {"a": 1, "b": [1, 2.5, "µ"], "c": {"d": None}, "mail": "x@y"}
    tagged = await samples.tagged()
    pixels, tags = await tagged.pix, await tagged.tags
    assert (pixels.dtype, pixels.tolist()) == (np.uint16, [1, 65535, 3, 4])
    assert tags == {"Width": 2, "Height": 2, "PixelType": "GRAY16", "mail": "x@y"}


async def test_enums(bridge: aiomm.Bridge, samples: aiomm.JavaObject) -> None:
    color = await samples.color()
    assert await color.name() == "GREEN"
    assert await samples.show_color(color) == "GREEN"
    assert await samples.show_color(await color.next()) == "BLUE"
    assert await samples.show_color("RED") == "RED"
    with pytest.raises(errors.JavaValueError, match=r"Color has no constant 'PURPLE'"):
        await samples.show_color("PURPLE")


async def test_null_for_an_object(samples: aiomm.JavaObject) -> None:
    assert await samples.show_animal(None) == "null"
    assert await samples.nothing() is None
    assert await samples.no_result() is None


# ---- collections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "items"),
    [
        ("list", ["a", "b", "c"]),
        ("empty_list", []),
        ("immutable_list", [1, 2, 3]),
        ("set", ["a", "b"]),
        ("collection", ["a", "b"]),
        ("iterator", ["a", "b"]),
        ("iterable", ["3", "2", "1"]),
        ("map", ["a"]),
        ("strings", ["a", "µ", "x@y", None]),
        ("mixed", [1, 0.5, "x", None]),
        ("str_vector", ["a", "µ"]),
    ],
)
async def test_iterating(method: str, items: list[Any], samples: aiomm.JavaObject) -> None:
    made = await getattr(samples, method)()
    assert [item async for item in made] == items
    if method != "iterator":
        assert await made.to_list() == items


async def test_iterating_nested_and_endless_things(samples: aiomm.JavaObject) -> None:
    assert [row.tolist() async for row in await samples.table()] == [[1, 2], [3]]
    seen = []
    async for number in await samples.endless():
        seen.append(number)
        if number == 3:
            break
    assert seen == [0, 1, 2, 3]
    assert await (await samples.map()).to_dict() == {"a": 1}
    with pytest.raises(errors.JavaException, match="the iterator broke"):
        await (await samples.broken_iterable()).to_list()


async def test_a_plain_for_says_what_is_right(bridge: aiomm.Bridge) -> None:
    names = await bridge.construct_java_object("java.util.ArrayList")
    for walk in (list, lambda it: [*it], enumerate):
        with pytest.raises(TypeError, match="walk it with `async for`"):
            walk(names)


async def test_what_was_not_awaited_is_no_argument(bridge: aiomm.Bridge) -> None:
    names = await bridge.construct_java_object("java.util.ArrayList")
    size = names.size()
    for wrong in (size, (await bridge.get_java_class("java.lang.Math")).PI):
        with pytest.raises(errors.OverloadError, match=r"add does not take \(\w+\) \(argument 1: await it first\)"):
            await names.add(wrong)
    assert await size == 0


async def test_what_cannot_be_iterated(samples: aiomm.JavaObject) -> None:
    with pytest.raises(TypeError, match=r"<aiomm.host.Samples on port .* cannot be iterated"):
        await samples.to_list()
    with pytest.raises(TypeError, match="is no Map"):
        await (await samples.list()).to_dict()
    with pytest.raises(TypeError):
        list(samples)  # type: ignore[call-overload]


async def test_a_class_that_java_keeps_to_itself(samples: aiomm.JavaObject) -> None:
    """Reflection may not call its methods: those of its interface do it."""
    hidden = await samples.hidden_class()
    assert await hidden.name() == "hidden"
    assert await hidden.greeting() == "I am hidden"
    iterator = await (await samples.list()).iterator()
    assert await iterator.next() == "a"


# ---- overloads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "ran"),
    [
        ((), "()"),
        ((1,), "int"),
        ((2**40,), "long"),
        ((0.5,), "double"),
        ((True,), "boolean"),
        (("xy",), "String"),
        ((1, 2), "int[]"),
        (("x", 1), "String, int"),
        (("x", 0.5), "String, double"),
        ((np.int64(1),), "long"),
        ((np.float32(1),), "double"),
    ],
)
async def test_which_overload_runs(args: tuple[Any, ...], ran: str, bridge: aiomm.Bridge) -> None:
    overloads = await bridge.construct_java_object(host("Overloads"))
    assert await overloads.over(*args) == ran


async def test_overloads_of_objects(bridge: aiomm.Bridge, samples: aiomm.JavaObject) -> None:
    overloads = await bridge.construct_java_object(host("Overloads"))
    dog, animal = await bridge.construct_java_object(host("Dog")), await bridge.construct_java_object(host("Animal"))
    assert [await overloads.pet(dog), await overloads.pet(animal), await overloads.any(dog)] == ["Dog", "Animal", "Named"]
    assert await overloads.over(dog) == "Object"
    assert [await overloads.group(await samples.list()), await overloads.group(await samples.set())] == ["List", "Collection"]


async def test_arguments_that_fit_nothing_are_refused_before_anything_is_sent(bridge: aiomm.Bridge) -> None:
    faults = await bridge.construct_java_object(host("Faults"))
    with pytest.raises(errors.OverloadError, match=re.escape("aiomm.host.Faults.sleepMs does not take (str)")) as caught:
        await faults.sleep_ms("x")
    assert caught.value.candidates == ["sleepMs(int)"]
    with pytest.raises(TypeError):
        await faults.sleep_ms(ms=1)
    with pytest.raises(errors.OverloadError, match="int 300 does not fit byte"):
        await (await bridge.construct_java_object(host("Samples"))).echo_byte(300)


# ---- names -------------------------------------------------------------------------------------------------------


async def test_both_spellings(bridge: aiomm.Bridge) -> None:
    odd = await bridge.construct_java_object(host("Odd"))
    assert await odd.getURLOfHTTPServer2() == await odd.get_url_of_http_server2() == "url"
    assert await odd.XYPosition() == await odd.xy_position() == "xy"
    assert await odd.getÄtzung() == "Ätzung"
    assert await odd._leading() == "leading"
    assert await odd.call("toString") == await odd.call("to_string") == await odd.to_string()


async def test_javas_spelling_alone(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, convert_camel_case=False) as bridge:
        samples = await bridge.construct_java_object(host("Samples"))
        assert await samples.echoInt(3) == 3
        with pytest.raises(AttributeError, match=r"names are Java's here .*'echoInt'"):
            _ = samples.echo_int
        assert "echoInt" in dir(samples)
        assert "echo_int" not in dir(samples)


async def test_two_java_names_that_are_one_in_snake_case(bridge: aiomm.Bridge) -> None:
    odd = await bridge.construct_java_object(host("Odd"))
    assert await odd.getX() == 1
    assert await odd.get_x() == 2


async def test_names_that_python_keeps_for_itself(bridge: aiomm.Bridge) -> None:
    odd = await bridge.construct_java_object(host("Odd"))
    assert [await odd.in_(), await odd.from_(), await odd.is_(), await odd.await_(), await odd.None_()] == [
        *("in", "from", "is", "await", "None")
    ]
    assert await odd.lambda_(1) == "lambda 1"
    assert await getattr(odd, "from")() == "from"


async def test_names_that_the_proxy_has_itself(bridge: aiomm.Bridge) -> None:
    odd = await bridge.construct_java_object(host("Odd"))
    assert await odd.java.set_field("x") == await odd.java.setField("x") == await odd.setField("x") == "setField x"
    assert await odd.call("set_field", ["x"]) == "setField x"
    assert await odd.close() == "close"
    assert "set_field" in dir(odd.java)
    assert "setField(java.lang.String)" in odd.java.set_field.__doc__
    with pytest.raises(AttributeError, match="no method or field 'nope'"):
        _ = odd.java.nope


@pytest.mark.parametrize("named", [False, True])
async def test_a_forgotten_await_names_the_method(named: bool, samples: aiomm.JavaObject) -> None:
    with pytest.warns(RuntimeWarning, match=r"coroutine 'aiomm.host.Samples.echoInt' was never awaited"):
        (samples.java if named else samples).echo_int(1)
        gc.collect()


async def test_a_near_name_is_suggested_once(samples: aiomm.JavaObject) -> None:
    tagged = await samples.tagged()
    with pytest.raises(AttributeError, match=r"did you mean 'pix'\?$"):
        tagged.pixx  # noqa: B018


async def test_names_that_are_not_there(samples: aiomm.JavaObject) -> None:
    with pytest.raises(AttributeError, match=r"aiomm.host.Samples has no method or field 'ecko_int'; did you mean 'echo_int'"):
        _ = samples.ecko_int
    with pytest.raises(AttributeError, match="no method or field"):
        await samples.call("eckoInt")
    assert not hasattr(samples, "_repr_html_")
    assert not hasattr(samples, "__len__")


async def test_names_with_a_dollar(bridge: aiomm.Bridge) -> None:
    """Compilers write them, and so they are not listed; some can be called."""
    odd = await bridge.construct_java_object(host("Odd"))
    assert await getattr(odd, "with$dollar")(1) == "dollar 1"
    assert await odd.call("with$dollar", ["x"]) == "dollar of x"
    assert not [name for name in dir(odd) if "$" in name]
    with pytest.raises(AttributeError, match=r"no method or field 'with_dollar'$"):
        _ = odd.with_dollar


async def test_private_methods_are_refused_by_java(bridge: aiomm.Bridge) -> None:
    odd = await bridge.construct_java_object(host("Odd"))
    with pytest.raises(errors.AiommError):
        await odd.secret()
    assert await odd.close() == "close"


# ---- fields ------------------------------------------------------------------------------------------------------


async def test_fields_are_read_when_awaited_each_time_anew(bridge: aiomm.Bridge) -> None:
    fields = await bridge.construct_java_object(host("Fields"))
    number = fields.anInt
    assert isinstance(number, JavaField)
    assert "await it" in repr(number)
    with pytest.raises(AttributeError, match=re.escape("a field is read by awaiting it: (await obj.anInt).real")):
        number.real  # noqa: B018
    with pytest.raises(TypeError, match=re.escape("a field is read by awaiting it: (await obj.anInt)[0]")):
        number[0]
    for use in (np.asarray, bool, list, float, int, len, lambda it: it == 5, lambda it: it < 5, lambda it: it + 1, lambda it: 1 / it):
        with pytest.raises(TypeError, match=re.escape("a field is read by awaiting it: await obj.anInt")):
            use(number)
    assert await asyncio.gather(number, fields.anInt) == [-70000, -70000]
    assert await number == -70000
    await fields.set_field("anInt", 5)
    assert await number == await fields.an_int == await fields.get_field("an_int") == 5


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("aBoolean", False, "Boolean false"),
        ("anInt", 6, "Integer 6"),
        ("aLong", 2**40, "Long 1099511627776"),
        ("aLong", 7, "Long 7"),
        ("aDouble", 2.5, "Double 2.5"),
        ("aDouble", 2, "Double 2.0"),
        ("aFloat", 0.25, "Float 0.25"),
        ("aByte", -5, "Byte -5"),
        ("aShort", 300, "Short 300"),
        ("aChar", "x", "Character x"),
        ("anInteger", 8, "Integer 8"),
        ("byteBox", 8, "Byte 8"),
        ("shortBox", 8, "Short 8"),
        ("longBox", 8, "Long 8"),
        ("longBox", None, "null"),
        ("floatBox", 8.5, "Float 8.5"),
        ("doubleBox", 8, "Double 8.0"),
        ("charBox", "µ", "Character µ"),
        ("booleanBox", False, "Boolean false"),
        ("number", 2.5, "Double 2.5"),
        ("aString", "me@lab µ", "String me@lab µ"),
        ("aString", None, "null"),
        ("anObject", "o", "String o"),
        ("ints", np.array([4, 5], np.int32), None),
        ("doubles", np.array([4.5, 5]), None),
        ("animal", None, "null"),
        ("color", "BLUE", "Color BLUE"),
        ("chars", ["µ", "z"], None),
        ("longs", [2**60], None),
    ],
)
async def test_fields_of_every_type_can_be_set(name: str, value: Any, shown: str | None, bridge: aiomm.Bridge) -> None:
    fields = await bridge.construct_java_object(host("Fields"))
    await fields.set_field(name, value)
    if shown is not None:
        assert await fields.show(name) == shown
    else:
        expected = [ord(item) if isinstance(item, str) else item for item in value]
        np.testing.assert_array_equal(await fields.get_field(name), expected)


async def test_reading_fields_of_every_type(bridge: aiomm.Bridge) -> None:
    fields = await bridge.construct_java_object(host("Fields"))
    assert [await fields.get_field(name) for name in ("aBoolean", "aByte", "aShort", "aChar", "aLong", "aFloat", "aDouble")] == [
        *(True, -1, -300, "µ", 2**53 + 1, 0.5, 0.1)
    ]
    assert [await fields.fixed, await fields.aString, await fields.nothing, await fields.anObject] == [42, "text", None, "object"]
    assert (await fields.ints).tolist() == [1, -2, 3]
    assert await (await fields.strings).to_list() == ["a", "b"]
    assert await (await fields.list).to_list() == ["x", "y"]
    assert await (await fields.animal).bark() == "wuff"


async def test_fields_that_cannot_be_set(bridge: aiomm.Bridge) -> None:
    fields = await bridge.construct_java_object(host("Fields"))
    with pytest.raises(AttributeError, match=re.escape("await obj.set_field('anInt', 5)")):
        fields.anInt = 5
    with pytest.raises(AttributeError, match="no method or field 'an_itn'; did you mean 'an_int'"):
        fields.an_itn = 5
    with pytest.raises((errors.JavaException, errors.OverloadError, errors.JavaValueError)):
        await fields.set_field("anInt", "text")
    with pytest.raises(errors.JavaException, match="final"):
        await fields.set_field("fixed", 1)
    with pytest.raises(AttributeError, match="hidden"):
        await fields.set_field("hidden", 1)
    assert await fields.anInt == -70000


@pytest.mark.parametrize("name", ["port", "hash_code", "java_class", "java_interfaces"])
async def test_what_a_proxy_refers_to_cannot_be_set(name: str, samples: aiomm.JavaObject) -> None:
    before = getattr(samples, name)
    with pytest.raises(AttributeError, match=f"{name} says which Java object .* is and cannot be set"):
        setattr(samples, name, 5)
    assert getattr(samples, name) == before


async def test_an_enum_of_java_lang_by_name(samples: Any) -> None:
    assert await samples.state_name("NEW") == "NEW"
    with pytest.raises(errors.JavaValueError, match=r"State has no constant 'NEWER'"):
        await samples.state_name("NEWER")


async def test_an_object_for_a_field(bridge: aiomm.Bridge) -> None:
    fields = await bridge.construct_java_object(host("Fields"))
    animal = await bridge.construct_java_object(host("Animal"), new_socket=True)
    await fields.set_field("animal", animal)
    assert await (await fields.animal).name() == "animal"


# ---- classes -----------------------------------------------------------------------------------------------------


async def test_static_methods_and_fields(bridge: aiomm.Bridge) -> None:
    maths, samples = await bridge.get_java_class("java.lang.Math"), await bridge.get_java_class(host("Samples"))
    assert isinstance(maths, aiomm.JavaClass)
    assert [await maths.max(1, 2), await maths.max(0.5, 2.0)] == [2, 2.0]
    assert await samples.twice(4) == 8
    assert await (await samples.words("a b")).to_list() == ["a", "b"]
    assert await maths.PI == pytest.approx(np.pi)
    assert [await samples.ANSWER, await samples.get_field("label")] == [42, "label"]
    await samples.set_field("label", "other")
    try:
        assert await samples.get_field("label") == "other"
    finally:
        await samples.set_field("label", "label")
    assert await (await bridge.get_java_class(host("Odd$Nested"))).where() == "nested"
    assert repr(maths).startswith("<class java.lang.Math on port")


async def test_two_classes_are_not_mistaken_for_each_other(bridge: aiomm.Bridge) -> None:
    maths, strings = await bridge.get_java_class("java.lang.Math"), await bridge.get_java_class("java.lang.String")
    assert "join" in dir(strings)
    assert "join" not in dir(maths)


async def test_static_fields_that_are_not_there(bridge: aiomm.Bridge) -> None:
    fields = await bridge.get_java_class(host("Fields"))
    with pytest.raises(AttributeError, match=r"no static field 'NOPE'; there is CONSTANT"):
        await fields.NOPE
    with pytest.raises(AttributeError, match="not static"):
        await fields.get_field("anInt")
    with pytest.raises(AttributeError, match="no method or field 'nope'"):
        _ = fields.nope
    samples = await bridge.get_java_class(host("Samples"))
    with pytest.raises(AttributeError, match=r"A static field .* is read with: await cls\.get_field\('label'\)"):
        _ = samples.label
    with pytest.raises(AttributeError, match=r"there is ANSWER, label$"):
        await samples.get_field("lable")
    assert await samples.java.ANSWER == 42
    with pytest.raises(AttributeError, match=r"await obj\.set_field\('ANSWER', 1\)"):
        samples.ANSWER = 1


# ---- exceptions --------------------------------------------------------------------------------------------------


async def test_exceptions_and_errors(bridge: aiomm.Bridge) -> None:
    faults = await bridge.construct_java_object(host("Faults"))
    for method, java_class in (("checked", "java.io.IOException"), ("unchecked", "java.lang.IllegalArgumentException")):
        with pytest.raises(errors.JavaException, match=f"{java_class}: me@lab") as caught:
            await getattr(faults, method)("me@lab")
        assert (caught.value.java_class, caught.value.java_message) == (java_class, "me@lab")
        assert f"Faults.{method}" in caught.value.java_stack
    with pytest.raises(errors.JavaException) as caught:
        await faults.error("boom")  # which the server sends as if it were a result
    assert (caught.value.java_class, caught.value.java_message) == ("java.lang.AssertionError", "boom")
    with pytest.raises(errors.JavaException, match="StackOverflowError"):
        await faults.overflow_stack()
    assert await faults.sleep_ms(1) == 1


@pytest.mark.parametrize("words", ["boom", "Error: it broke", "Camera.Gain: too high", "two\nlines", ""])
async def test_an_exception_that_tells_its_own_words(words: str, bridge: aiomm.Bridge) -> None:
    """Its text is not class and message then: no word of it is taken for the class."""
    faults = await bridge.construct_java_object(host("Faults"))
    with pytest.raises(errors.JavaException) as caught:
        await faults.own_words(words)
    assert (caught.value.java_class, caught.value.java_message) == ("java.lang.Exception", words)
    assert caught.value.java_stack.startswith("aiomm.host.Faults.ownWords(")


async def test_an_exception_with_the_words_of_the_servers_refusal(bridge: aiomm.Bridge, samples: aiomm.JavaObject) -> None:
    words = "JSON does not allow non-finite numbers."
    faults = await bridge.construct_java_object(host("Faults"))
    for calling in (faults.unchecked(words), faults.own_words(words), bridge.construct_java_object(host("Faults"), args=[words])):
        with pytest.raises(errors.JavaException, match=words):
            await calling
    with pytest.raises(errors.JavaValueError, match="NaN"):
        await samples.nan()


# ---- what it looks like ------------------------------------------------------------------------------------------


async def test_documentation_and_signature(bridge: aiomm.Bridge, samples: aiomm.JavaObject) -> None:
    assert "aiomm.host.Samples.sum(int, double, java.lang.String, boolean) -> java.lang.String" in samples.sum.__doc__
    assert str(inspect.signature(samples.sum)) == (
        "(arg0: 'int', arg1: 'double', arg2: 'java.lang.String', arg3: 'boolean', /) -> 'java.lang.String'"
    )
    overloads = await bridge.construct_java_object(host("Overloads"))
    assert overloads.pet.__doc__.count("Overloads.pet(") == 2
    assert samples.sum.__name__ == "sum"
    assert repr(samples) == f"<aiomm.host.Samples on port {bridge.port}>"
    assert str(inspect.signature(samples.java.sum)) == str(inspect.signature(samples.sum))
    assert repr(samples.java) == f"<Java's names of {samples!r}>"
    assert repr(samples.java.sum) == f"<Java's method sum of {samples!r}: call it, and await that>"


async def test_what_is_left_when_the_bridge_is_closed_or_its_server_gone(own_java_host: JavaHost) -> None:
    port = own_java_host.port
    async with aiomm.Bridge(port) as bridge:
        samples, maths = await bridge.construct_java_object(host("Samples")), await bridge.get_java_class("java.lang.Math")
    assert repr(samples) == f"<aiomm.host.Samples on port {port}, its bridge is closed>"
    assert repr(maths) == f"<class java.lang.Math on port {port}, its bridge is closed>"
    async with aiomm.Bridge(port) as bridge:
        samples, core = await bridge.construct_java_object(host("Samples")), await bridge.get_core()
        await samples.aclose()
        assert repr(samples) == f"<aiomm.host.Samples on port {port}, released>"
        own_java_host.kill()
        with pytest.raises(errors.ServerLostError):
            await core.get_exposure()
        assert repr(core) == f"<mmcorej.CMMCore on port {port}, its server is gone>"
        assert "its server is gone" in repr(core.java.get_exposure)


async def test_the_same_reference(samples: aiomm.JavaObject) -> None:
    one, two = await samples.list(), await samples.list()
    assert one == one and one != two
    assert len({one, two, one}) == 2
    assert await one.equals(two)


async def test_proxy_classes_of_ones_own(bridge: aiomm.Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_CLASSES", dict(registry._CLASSES))

    class Animal(aiomm.JavaObject):
        async def bark(self) -> str:
            return f"{await self.call('name')} says nothing"

    register_proxy(host("Animal"), Animal)
    register_proxy("java.lang.Object", aiomm.JavaObject)
    dog = await bridge.construct_java_object(host("Dog"))
    assert isinstance(dog, Animal)
    assert await dog.bark() == "dog says nothing"
    assert await dog.java.bark() == "wuff"
