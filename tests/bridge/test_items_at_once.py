"""Lists, arrays and maps of many texts or numbers come in a few messages, and hold the same as one by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm.bridge import iteration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.jvm.host import JavaHost

COUNT = 1000
SEPARATORS = "\x1f\x1e\x1d\x1c"


@pytest.fixture
async def bridge(java_host: JavaHost) -> AsyncIterator[aiomm.Bridge]:
    async with aiomm.Bridge(java_host.port, timeout=5000) as opened:
        yield opened


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


async def test_a_long_list_at_a_port_of_its_own_waits_for_no_other_port(bridge: aiomm.Bridge) -> None:
    own: Any = await bridge.construct_java_object("java.util.ArrayList", new_socket=True)
    await own.add_all([str(number) for number in range(20)])
    faults: Any = await bridge.construct_java_object("aiomm.host.Faults")
    busy = asyncio.create_task(faults.sleep_ms(2000))
    await asyncio.sleep(0.1)
    assert await own.to_list() == [str(number) for number in range(20)]
    assert not busy.done()
    await busy


async def test_a_map_is_copied_whole_before_its_keys_are_fetched(bridge: aiomm.Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str) -> None:
        before = getattr(iteration, name)

        def note(obj: Any) -> Any:
            order.append(name)
            return before(obj)

        monkeypatch.setattr(iteration, name, note)

    noted("_copy")
    noted("_list_items")
    java: Any = await bridge.construct_java_object("java.util.HashMap")
    await java.put("a", "b")
    assert await java.to_dict() == {"a": "b"}
    assert order == ["_copy", "_copy", "_list_items", "_list_items"]
