"""Lists, arrays and maps of many texts or numbers come in a few messages, and hold the same as one by one."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import aiomm
from aiomm.errors import JavaValueError

COUNT = 1000
SEPARATORS = "\x1f\x1e\x1d\x1c"


def asked(bridge: aiomm.Bridge) -> int:
    assert bridge._session is not None
    return bridge._session.main.port.stats.calls


async def made(bridge: aiomm.Bridge, items: list[Any]) -> Any:
    java = await bridge.construct_java_object("java.util.ArrayList")
    await java.add_all(items)
    return java


@pytest.mark.parametrize(
    "items",
    [
        [n * 7 - 3000 for n in range(COUNT)],
        [2**40 + n for n in range(COUNT)],
        [n / 7 for n in range(COUNT)],
        [float(n) for n in range(COUNT)],
        [n % 3 == 0 for n in range(COUNT)],
        [f"text {n}, µ\n" for n in range(COUNT)],
        ["a\x1fb", *("" for _ in range(COUNT))],
    ],
    ids=["Integer", "Long", "Double", "whole Double", "Boolean", "String", "String with a separator"],
)
async def test_many_of_one_class(items: list[Any], bridge: aiomm.Bridge) -> None:
    java = await made(bridge, items)
    before = asked(bridge)
    fetched = await java.to_list()
    assert asked(bridge) - before < 40
    assert fetched == items
    assert list(map(type, fetched)) == list(map(type, items))
    assert [item async for item in java] == items
    assert await (await java.to_array()).to_list() == items


@pytest.mark.parametrize(
    "items",
    [
        [1, "a", 2.5, None, True] * 4,
        [1] * 20 + [2**40],
        ["?", "null", "a", None] * 6,
        [None, "a"] * 10,
        [1, None] * 10,
        [[1], "a"] * 10,
        ["".join(SEPARATORS), *map(str, range(20))],
    ],
    ids=["mixed", "two classes", "doubtful texts", "null first", "nulls among numbers", "objects", "all separators"],
)
async def test_others_come_one_by_one(items: list[Any], bridge: aiomm.Bridge) -> None:
    fetched = await (await made(bridge, items)).to_list()
    assert [await item.to_list() if isinstance(item, aiomm.JavaObject) else item for item in fetched] == items


async def test_a_map_of_many(bridge: aiomm.Bridge) -> None:
    items = {f"key {n}": n for n in range(50)}
    java: Any = await bridge.construct_java_object("java.util.LinkedHashMap")
    await java.put_all(items)
    before = asked(bridge)
    assert await java.to_dict() == items
    assert asked(bridge) - before < 50


async def test_text_beyond_latin(bridge: aiomm.Bridge) -> None:
    items = [f"{text} {n}" for n in range(100) for text in ("中文", "?", "plain", "\N{MICROSCOPE}")]
    java = await made(bridge, items)
    before = asked(bridge)
    assert await java.to_list() == items
    assert asked(bridge) - before < 150


async def test_what_is_at_a_port_of_its_own_waits_for_no_other_port(bridge: aiomm.Bridge) -> None:
    items = {f"key {n}": n for n in range(200)}
    texts: Any = await bridge.construct_java_object("java.util.ArrayList", new_socket=True)
    await texts.add_all(list(items))
    numbers: Any = await bridge.construct_java_object("java.util.LinkedHashMap", new_socket=True)
    await numbers.put_all(items)
    faults: Any = await bridge.construct_java_object("aiomm.host.Faults")
    busy = asyncio.create_task(faults.sleep_ms(2000))
    await asyncio.sleep(0.1)
    before = asked(bridge)
    assert await texts.to_list() == list(items)
    assert await numbers.to_list() == list(items)
    assert await numbers.to_dict() == items
    assert asked(bridge) == before
    assert not busy.done()
    await busy


async def test_every_pair_of_a_map_that_changes_meanwhile_was_in_it(bridge: aiomm.Bridge) -> None:
    java: Any = await bridge.construct_java_object("java.util.LinkedHashMap")
    await java.put_all({number: number for number in range(20)})
    ended = False

    async def change() -> None:  # between any two messages of the fetching
        number = 20
        while not ended:
            await java.remove(number - 20)
            await java.put(number, number)
            number += 1

    changing = asyncio.create_task(change())
    try:
        fetched = [await java.to_dict() for _ in range(20)]
    finally:
        ended = True
        await changing
    assert all(key == value for items in fetched for key, value in items.items())
    assert {len(items) for items in fetched} <= {19, 20}
    assert len({frozenset(items) for items in fetched}) > 1  # it did change


async def made_map(bridge: aiomm.Bridge, java_class: str, *pairs: tuple[Any, Any]) -> Any:
    java: Any = await bridge.construct_java_object(java_class)
    for key, value in pairs:
        await java.put(key, value)
    return java


async def test_keys_that_are_one_in_python_are_refused(bridge: aiomm.Bridge) -> None:
    for keys, said in [((1, True), "1 and True|True and 1"), ((1, 2, 1.5, np.int64(1)), "1 and 1")]:
        java = await made_map(bridge, "java.util.HashMap", *((key, str(key)) for key in keys))
        with pytest.raises(JavaValueError, match=rf"java.util.HashMap .* the keys ({said}), .*entry_set\(\)"):
            await java.to_dict()


async def test_no_key_of_a_map_by_reference_is_lost(bridge: aiomm.Bridge) -> None:
    java = await made_map(bridge, "java.util.IdentityHashMap", ("a", 1), ("a", 2))
    assert await java.size() == 2
    with pytest.raises(JavaValueError, match="the keys 'a' and 'a', "):
        await java.to_dict()


async def test_keys_that_no_dict_can_have_are_refused(bridge: aiomm.Bridge) -> None:
    inner = await made(bridge, ["x"])
    for key, said in [(inner, "java.util.ArrayList"), (b"ab", "int8 array")]:
        java = await made_map(bridge, "java.util.HashMap", ("text", 0), (key, 1))
        with pytest.raises(TypeError, match=rf"java.util.HashMap .* a key .*{said}.*entry_set\(\)"):
            await java.to_dict()
        entries = [(await entry.get_key(), await entry.get_value()) async for entry in await java.entry_set()]  # as the error says
        assert sorted(value for _, value in entries) == [0, 1]


async def test_values_may_be_anything(bridge: aiomm.Bridge) -> None:
    java = await made_map(bridge, "java.util.LinkedHashMap", ("a", b"ab"), (None, 2), (3, [4]), (1.5, None), (False, 1))
    fetched = await java.to_dict()
    assert list(fetched) == ["a", None, 3, 1.5, False]
    assert fetched["a"].tobytes() == b"ab"
    assert await fetched[3].to_list() == [4]
    assert [fetched[None], fetched[1.5], fetched[False]] == [2, None, 1]
