"""Questions that do not depend on one another go out together: waiting for each answer in turn costs more than the questions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["ask_all"]


async def ask_all(*questions: Coroutine[Any, Any, Any]) -> list[Any]:
    """Ask all at once, and give the answers in the order of the questions.

    To one port they go in this order. When this is left, none of them is under way any more.

    Raises
    ------
    Exception
        The error of the first question that has one, once all are answered.
    """
    if not questions:
        return []
    others = [asyncio.ensure_future(question) for question in questions[1:]]
    errors: list[BaseException | None] = []
    try:
        try:
            first = await questions[0]  # in this task, which costs least: the others go out as soon as it waits
        except Exception as error:
            errors.append(error)
        if pending := [question for question in others if not question.done()]:
            await asyncio.wait(pending)
    finally:
        if sum(question.cancel() for question in others):
            await asyncio.wait(others)
        errors += [question.exception() for question in others if not question.cancelled()]
    for failed in errors:
        if failed is not None:
            raise failed
    return [first, *[question.result() for question in others]]
