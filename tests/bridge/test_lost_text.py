"""Text that the server cannot send is asked for again where that changes nothing, and told of where it cannot be: on the real server."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

import pytest

import aiomm
from aiomm import errors
from aiomm.bridge.handle import Handle
from aiomm.bridge.lost_text import only_reads
from aiomm.bridge.proxy import line_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.jvm.host import JavaHost

    Texts = Callable[[str], Awaitable[aiomm.JavaObject]]

CHINESE = "通道 1"
TEXTS = [
    CHINESE,
    "? 通道 ?",  # some are real
    "really?",  # all are
    "😀",  # two chars of Java
    "a😀?\u2028é→😀",
    "\u20ac\u2100\uffff",
]


@pytest.fixture
def texts(bridge: aiomm.Bridge) -> Texts:
    return lambda text: bridge.construct_java_object("aiomm.host.Texts", args=[text])


def calls(obj: aiomm.JavaObject) -> int:
    return line_of(obj).port.stats.calls


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
@pytest.mark.parametrize("method", ["getText", "getObject", "getSequence", "toString", "name"])
async def test_a_question_brings_its_text_whole(method: str, text: str, texts: Texts) -> None:
    assert await (await texts(text)).call(method) == text


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
async def test_a_field_brings_its_text_whole(text: str, texts: Texts, bridge: aiomm.Bridge) -> None:
    obj = await texts(text)
    assert await obj.field == text
    assert await obj.any == text
    cls = await bridge.get_java_class("aiomm.host.Texts")
    await cls.set_field("shared", text)
    assert await cls.get_field("shared") == text
    assert await cls.get_static(text) == text


async def test_one_character(texts: Texts) -> None:
    obj = await texts("通?")
    assert await obj.get_letter() == "通"
    assert await obj.get_boxed() == "通"
    assert await obj.letter == "通"
    assert await (await texts("?")).get_letter() == "?"


async def test_arguments_are_passed_again(texts: Texts) -> None:
    obj = await texts("通")
    assert await obj.get_with(5) == "通5"
    assert await obj.get_with("道") == "通道"
    assert await obj.get_with(b"123", ["a", "道"], None) == "通3a道null"
    assert await obj.get_all() == "通"
    assert await obj.get_all("道", "b") == "通道b"


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
async def test_collections(text: str, texts: Texts) -> None:
    obj = await texts(text)
    assert await (await obj.list()).to_list() == ["a", text, None, f"{text}?"]
    assert await (await obj.hidden_list()).to_list() == ["a", text]
    assert await (await obj.array()).to_list() == ["a", text, None]
    assert [item async for item in await obj.vector()] == ["a", text]
    map_ = await obj.map()
    assert await map_.to_dict() == {text: text, "number": 1}
    assert [key async for key in map_] == [text, "number"]
    assert await map_.get(text) == text


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
async def test_json(text: str, texts: Texts) -> None:
    expected = {"label": text, "number": 1, "in": {text: "a"}}
    obj = await texts(text)
    got = await obj.get_json()
    assert got == expected
    assert type(got) is dict
    tags = await (await obj.tagged()).tags
    assert tags == {**expected, "Width": 2, "Height": 1}
    assert type(tags) is dict


async def test_a_class_that_java_keeps_to_itself(texts: Texts) -> None:
    assert await (await (await texts(CHINESE)).named()).name() == CHINESE


async def test_text_without_a_question_mark_costs_one_message(texts: Texts) -> None:
    obj = await texts("µm ± é")
    await obj.get_text()
    before = calls(obj)
    assert await obj.get_text() == await obj.take() == await obj.field == "µm ± é"
    assert (await obj.get_json())["label"] == "µm ± é"
    assert calls(obj) - before == 4
    assert await obj.asked() == 3


async def test_what_was_made_to_ask_again_is_released(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as eye:
        probe = await eye.construct_java_object("aiomm.host.Probe")
        before = await probe.object_count()
        async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
            obj = await bridge.construct_java_object("aiomm.host.Texts", args=[CHINESE])
            await obj.get_text()
            kept = await probe.object_count()
            assert await asyncio.gather(*[obj.get_text() for _ in range(10)]) == 10 * [CHINESE]
            while await probe.object_count() > kept:
                await asyncio.sleep(0.001)
        while await probe.object_count() != before:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("method", ["take", "getAndClear", "getNext", "issue"])
@pytest.mark.parametrize(("text", "said"), [(CHINESE, "?? 1"), ("really?", "really?")])
async def test_a_method_with_an_effect_runs_once_and_warns(method: str, text: str, said: str, texts: Texts) -> None:
    obj = await texts(text)
    with pytest.warns(errors.LostTextWarning, match=rf"aiomm\.host\.Texts\.{method} .*'\?'") as told:
        assert await obj.call(method) == said
    assert [(w.message.text, w.filename) for w in told] == [(said, __file__)]  # type: ignore[union-attr]
    assert await obj.asked() == 1


async def test_json_of_a_method_with_an_effect_warns(texts: Texts) -> None:
    obj = await texts(CHINESE)
    with pytest.warns(errors.LostTextWarning, match="takeJson"):
        got = await obj.take_json()
    assert (got["label"], type(got), await obj.asked()) == ("?? 1", dict, 1)


async def test_the_warning_can_be_made_an_error_and_be_silenced(texts: Texts) -> None:
    obj = await texts(CHINESE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.LostTextWarning)
        with pytest.raises(errors.LostTextWarning) as caught:
            await obj.take()
    assert caught.value.text == "?? 1"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore", errors.LostTextWarning)
        assert await obj.take() == "?? 1"
    assert told == []


@pytest.mark.parametrize("method", ["getChanging", "getOnce"])
async def test_an_answer_that_is_not_had_again_warns(method: str, texts: Texts) -> None:
    obj = await texts(CHINESE)
    with pytest.warns(errors.LostTextWarning, match=method):
        assert (await obj.call(method)).startswith("?? 1")


async def test_an_iterator_of_its_own_cannot_be_asked_again(texts: Texts) -> None:
    obj = await texts(CHINESE)
    with pytest.warns(errors.LostTextWarning, match="next"):
        assert await (await obj.iterable()).to_list() == ["a", "?? 1"]


async def test_an_exception_keeps_what_arrived(texts: Texts) -> None:
    with pytest.raises(errors.JavaException, match=r"\?\? 1"):
        await (await texts(CHINESE)).fail()


async def _asked_again(cls: aiomm.JavaObject) -> None:
    while not await cls.is_waiting():
        await asyncio.sleep(0.005)


async def test_cancelled_while_it_is_asked_again(texts: Texts, bridge: aiomm.Bridge) -> None:
    cls = await bridge.get_java_class("aiomm.host.Texts")
    obj = await bridge.construct_java_object("aiomm.host.Texts", new_socket=True, args=[CHINESE])
    asking = asyncio.create_task(obj.get_slowly())
    await _asked_again(cls)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await (await texts(CHINESE)).get_text() == CHINESE  # another port goes on
    later = asyncio.create_task(obj.asked())
    await cls.go_on()
    assert await later == 2
    assert await obj.get_text() == CHINESE
    await obj.aclose()


async def test_a_timeout_while_it_is_asked_again(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000, call_timeout=1000) as bridge:
        cls = await bridge.get_java_class("aiomm.host.Texts")
        obj = await bridge.construct_java_object("aiomm.host.Texts", new_socket=True, args=[CHINESE])
        with pytest.raises(errors.BridgeTimeoutError, match="getSlowly"):
            await obj.get_slowly()
        await cls.go_on()
        assert await obj.get_text() == CHINESE
        await obj.aclose()


async def test_at_a_port_of_its_own_which_ends_with_its_object(bridge: aiomm.Bridge) -> None:
    obj = await bridge.construct_java_object("aiomm.host.Texts", new_socket=True, args=[CHINESE])
    line = line_of(obj)
    assert await asyncio.gather(*[obj.get_text() for _ in range(3)]) == 3 * [CHINESE]
    list_ = await obj.list()
    await obj.aclose()
    assert await list_.get(1) == CHINESE
    assert not line.ended
    await list_.aclose()
    while not line.ended:
        await asyncio.sleep(0.01)


@pytest.mark.filterwarnings("ignore::aiomm.errors.LostTextWarning")
async def test_an_object_that_is_released_while_it_is_asked_again(bridge: aiomm.Bridge) -> None:
    """Its port ends, whenever that is."""
    for wait in range(1, 40, 6):
        obj = await bridge.construct_java_object("aiomm.host.Texts", new_socket=True, args=[CHINESE])
        line, before = line_of(obj), calls(obj)
        asking = asyncio.create_task(obj.get_text())
        while line.port.stats.calls < before + wait and not asking.done():
            await asyncio.sleep(0)
        await obj.aclose()
        assert await asking in (CHINESE, "?? 1")
        while not line.ended:
            await asyncio.sleep(0.01)


async def test_no_more_handles_are_kept_than_is_said(bridge: aiomm.Bridge, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomm.bridge.lost_text._KEPT_AT_MOST", 2)
    obj = await texts(CHINESE)
    line = line_of(obj)
    assert await obj.get_text() == await obj.get_object() == CHINESE
    kept = set(line.kept)
    for _ in range(2):
        assert await obj.name() == await obj.field == await obj.get_text() == CHINESE
    assert line.kept == kept


async def test_the_blocking_view(texts: Texts) -> None:
    obj = await texts(CHINESE)
    assert await asyncio.to_thread(aiomm.blocking(obj).get_text) == CHINESE


@pytest.mark.parametrize(
    ("name", "count", "reads"),
    [
        ("getText", 0, True),
        ("isText", 0, True),
        ("hasText", 1, True),
        ("optString", 1, True),
        ("toString", 0, True),
        ("get", 1, True),
        ("get", 0, False),  # a Supplier's
        ("getSerialPortAnswer", 2, False),
        ("getAndSet", 1, False),
        ("getNextLine", 0, False),
        ("getaway", 0, False),
        ("issue", 0, False),
        ("hash", 0, False),
        ("setText", 1, False),
        ("next", 0, False),
    ],
)
def test_what_only_reads(name: str, count: int, reads: bool) -> None:
    assert only_reads(Handle("x", 1, "a.B", ("a.B", "java.lang.Object")), name, count) == reads
    assert only_reads(Handle("x", 1, "java.lang.Class", ("java.lang.String",)), name, count)


def test_who_may_ask_the_user_or_move_on_is_not_asked_again() -> None:
    buffer = Handle("x", 1, "java.nio.HeapByteBuffer", ("java.nio.HeapByteBuffer", "java.nio.ByteBuffer", "java.lang.Object"))
    assert not only_reads(buffer, "getChar", 0)
    assert not only_reads(Handle("x", 1, "java.lang.Class", ("ij.IJ",)), "getFilePath", 1)
    assert only_reads(buffer, "toString", 0)
