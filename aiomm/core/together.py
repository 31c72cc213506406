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
    if len(questions) < 2:
        return [await question for question in questions]
    asked = [asyncio.ensure_future(question) for question in questions]
    try:
        await asyncio.wait(asked)
    finally:
        for question in asked:
            question.cancel()
        results = await asyncio.gather(*asked, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
