"""What is called wrongly is refused in words that say what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiomm.errors import JavaException, OverloadError

if TYPE_CHECKING:
    import aiomm


@pytest.mark.parametrize("args", [0, "ab", b"ab", {"text": 3}, {3}, None])
async def test_arguments_come_as_a_list(args: Any, bridge: aiomm.Bridge) -> None:
    names = await bridge.construct_java_object("java.util.ArrayList")
    with pytest.raises(TypeError, match=r"args is a list of the method's arguments: args=\[") as caught:
        await names.call("add", args)
    assert f"args=[{args!r}]" in str(caught.value)
    if args is not None:
        with pytest.raises(TypeError, match=r"args is a list of the constructor's arguments: args=\["):
            await bridge.construct_java_object("java.lang.StringBuilder", args=args)
    await names.call("add", ["x"])
    assert await names.call("get", (0,)) == "x"


async def test_a_method_that_is_not_static(bridge: aiomm.Bridge) -> None:
    texts = await bridge.get_java_class("java.lang.String")
    with pytest.raises(JavaException, match=r"java.lang.String.length\(\) is not static: call it on an object"):
        await texts.length()
    with pytest.raises(JavaException, match="is not static: call it on an object"):
        await texts.equals_ignore_case("x")
    assert await texts.value_of(3) == "3"


async def test_a_method_that_is_not_public(bridge: aiomm.Bridge) -> None:
    names = await bridge.construct_java_object("java.util.ArrayList")
    with pytest.raises(OverloadError, match=r"java.util.ArrayList.elementData is no public method"):
        await names.elementData(0)


async def test_a_json_array_is_walked(bridge: aiomm.Bridge) -> None:
    array = await bridge.construct_java_object("mmcorej.org.json.JSONArray")
    for item in ("a", 2, True):
        await array.put(item)
    assert await array.to_list() == ["a", 2, True]
    assert [item async for item in array] == ["a", 2, True]


async def test_each_name_is_listed_once_and_none_of_ours_is_unknown(bridge: aiomm.Bridge) -> None:
    core, maths = await bridge.get_core(), await bridge.get_java_class("java.lang.Math")
    for one in (core, maths):
        listed = dir(one)
        assert len(listed) == len(set(listed))
        assert not {"call_signature", "call_class", "described"} & set(listed)
