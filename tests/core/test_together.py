"""Questions that go out together."""

from __future__ import annotations

import asyncio

import pytest

from aiomm.core.together import ask_all


async def answer(value: str, asked: list[str], until: asyncio.Event | None = None) -> str:
    asked.append(value)
    if until is not None:
        await until.wait()
    if value.startswith("!"):
        raise ValueError(value)
    return value


async def test_all_are_asked_before_any_is_answered() -> None:
    asked: list[str] = []
    until = asyncio.Event()
    asking = asyncio.create_task(ask_all(*[answer(value, asked, until) for value in "abc"]))
    for _ in range(3):
        await asyncio.sleep(0)
    assert asked == ["a", "b", "c"]
    until.set()
    assert await asking == ["a", "b", "c"]
    assert await ask_all() == []


async def test_the_error_of_the_first_that_has_one() -> None:
    asked: list[str] = []
    until = asyncio.Event()
    asking = asyncio.create_task(ask_all(answer("a", asked), answer("!b", asked, until), answer("!c", asked), answer("d", asked, until)))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not asking.done()
    until.set()
    with pytest.raises(ValueError, match="!b"):
        await asking


async def test_cancelled_none_is_under_way_any_more() -> None:
    asked: list[str] = []
    before = asyncio.all_tasks()
    asking = asyncio.create_task(ask_all(*[answer(value, asked, asyncio.Event()) for value in "abc"]))
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asked) == 3
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asyncio.all_tasks() == before


async def test_cancelled_while_the_first_is_answered_already() -> None:
    asked: list[str] = []
    before = asyncio.all_tasks()
    asking = asyncio.create_task(ask_all(answer("a", asked), answer("!b", asked), answer("c", asked, asyncio.Event())))
    for _ in range(3):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asyncio.all_tasks() == before


async def test_a_question_that_was_cancelled_is_no_answer() -> None:
    async def cancelled() -> str:
        raise asyncio.CancelledError

    asked: list[str] = []
    with pytest.raises(asyncio.CancelledError):
        await ask_all(answer("a", asked), cancelled())
    with pytest.raises(asyncio.CancelledError):
        await ask_all(cancelled(), answer("a", asked))
