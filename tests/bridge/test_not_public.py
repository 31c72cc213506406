"""The server lists methods that are not public beside those that are: they are neither called nor offered, and nothing runs twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm.bridge import reflection
from aiomm.bridge.handle import Handle
from aiomm.bridge.reflection import public_methods
from aiomm.bridge.wire import Shadow
from aiomm.errors import JavaException, OverloadError, ProtocolError

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost


@pytest.fixture
async def secrets(bridge: aiomm.Bridge) -> Any:
    return await bridge.construct_java_object("aiomm.host.Secrets")


@pytest.mark.parametrize(
    ("method", "args", "ran"),
    [
        ("plain", (1,), "public long"),
        ("made", ([1, "a"],), "public Iterable"),
        ("equal", ("x",), "public CharSequence"),
        ("none", (), "public int[]"),
        ("none", (1, 2), "public int[]"),
    ],
)
async def test_the_public_one_is_called_once(method: str, args: tuple[Any, ...], ran: str, secrets: Any) -> None:
    assert await secrets.call(method, args) == ran
    assert await secrets.count == 1
    assert await secrets.call(method, args) == ran


async def test_javas_own_class(bridge: aiomm.Bridge) -> None:
    first, second = [await bridge.construct_java_object("java.lang.StringBuilder", args=[text]) for text in ("a", "b")]
    await first.append(second)
    assert await first.to_string() == "ab"
    with pytest.raises(OverloadError, match=r"could be any of append") as caught:  # as in Java
        await first.append(None)
    assert sorted(caught.value.candidates) == ["append(String)", "append(StringBuffer)", "append(char[])"]


async def test_several_tasks_at_once(secrets: Any) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(secrets.call(method, args)) for method, args in [("plain", (1,)), ("equal", ("x",))] * 5]
    assert {task.result() for task in tasks} == {"public long", "public CharSequence"}
    assert await secrets.count == 10


async def test_a_class_is_asked_about_once_and_where_it_matters(
    secrets: Any, bridge: aiomm.Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def asking(target: Any, static: bool) -> Any:
        asked.append(target.java_class)
        return public_methods(target, static)

    monkeypatch.setattr(reflection, "public_methods", asking)
    await secrets.plain(2**40)
    await secrets.forging("x")
    assert secrets.equal  # it is known by all its overloads
    assert asked == []
    await secrets.plain(1)
    await secrets.equal("x")
    other: Any = await bridge.construct_java_object("aiomm.host.Secrets")
    assert [await other.plain(1), await other.java.plain(1)] == ["public long"] * 2
    assert asked == ["aiomm.host.Secrets"]
    monkeypatch.setattr("aiomm.bridge.port.Port.request", None)  # no message any more
    with pytest.raises(OverloadError, match="alone is no public method"):
        await other.alone(1)
    monkeypatch.undo()


async def test_errors_name_public_ones_alone(secrets: Any, bridge: aiomm.Bridge) -> None:
    with pytest.raises(OverloadError, match=r"there is plain\(long\)$") as caught:
        await secrets.plain("x")
    assert caught.value.candidates == ["plain(long)"]
    number: Any = await bridge.construct_java_object("java.math.BigDecimal", args=["1"])
    with pytest.raises(OverloadError) as caught:
        await number.add([1])
    assert sorted(caught.value.candidates) == ["add(BigDecimal)", "add(BigDecimal, MathContext)"]


@pytest.mark.parametrize("args", [(1,), ("x",)])
async def test_a_method_that_is_not_public(args: tuple[Any, ...], secrets: Any) -> None:
    for _ in range(2):
        with pytest.raises(OverloadError, match=r"aiomm.host.Secrets.alone is no public method") as caught:
            await secrets.alone(*args)
        assert caught.value.candidates == []
    assert await secrets.count == 0


async def test_no_public_one_takes_these(secrets: Any) -> None:
    with pytest.raises(OverloadError, match=r"first does not take \(int\) \(1 arguments\); there is first\(int, int\)$"):
        await secrets.first(1)
    assert await secrets.count == 0


async def test_what_throws_in_the_servers_words_has_run(secrets: Any) -> None:
    for method in ("throwing", "forging"):
        before = await secrets.count
        with pytest.raises(JavaException, match="RuntimeException: No Matching method found with argument types"):
            await secrets.call(method, (1,))
        assert await secrets.count == before + 1


async def test_an_error_waits_for_no_long_call(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port) as bridge:
        faults: Any = await bridge.construct_java_object("aiomm.host.Faults")
        secrets: Any = await bridge.construct_java_object("aiomm.host.Secrets")
        busy = asyncio.create_task(faults.sleep_ms(2000))
        await asyncio.sleep(0.1)
        with pytest.raises(OverloadError, match=r"plain\(long\)"):
            await secrets.plain("x")
        assert not busy.done()
        await busy
        with pytest.raises(OverloadError, match=r"there is plain\(long\)$"):
            await secrets.plain("x")


@pytest.mark.parametrize("spoilt", [None, 3, ["x"]])
def test_a_spoilt_reply_is_one(spoilt: Any) -> None:
    shadow = Shadow("java.lang.Class", "1", 4827, (), (), [])
    plan = public_methods(Handle("2", 4827, "a.B"), False)
    next(plan)
    for _ in ("getClass", "getMethods", "java.util.Arrays"):
        plan.send(shadow)
    with pytest.raises(ProtocolError, match="as a list of methods"):
        plan.send(spoilt)
