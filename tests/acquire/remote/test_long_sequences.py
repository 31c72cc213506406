"""A sequence of thousands of events is prepared in parts, and others on the loop go on meanwhile; it was one step of seconds."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors
from aiomm.acquire.remote import awaited, session, taking
from tests.support.homes import rig  # noqa: F401
from tests.support.loop_turns import counted_turns
from tests.support.rigs import frames

if TYPE_CHECKING:
    from tests.support.rigs import Rig

EVENTS = 3000


async def test_others_go_on_while_it_is_prepared(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    if not rig.java:
        pytest.skip("a LocalCore's engine has a thread of its own")
    steps: dict[str, Counter[int]] = {"encoded": Counter(), "expected": Counter()}
    writers: list[int] = []

    def noted(what: str, function: Any) -> Any:
        def note(*args: Any, **options: Any) -> Any:
            steps[what][turns.count] += 1
            return function(*args, **options)

        return note

    def written(events: Any, write: Any = session.write_events) -> Any:
        writers.append(threading.get_ident())
        return write(events)

    monkeypatch.setattr(taking, "encode_event", noted("encoded", taking.encode_event))
    monkeypatch.setattr(awaited, "AskedFrame", noted("expected", awaited.AskedFrame))
    monkeypatch.setattr(session, "write_events", written)
    async with counted_turns() as turns:
        with contextlib.suppress(errors.AcquisitionAborted):
            async with rig.memory() as acq:
                async for _ in acq.acquire(frames(EVENTS)):
                    acq.abort()
    for counts in steps.values():
        assert counts.total() == EVENTS
        assert max(counts.values()) <= awaited.AT_A_TIME
    assert writers
    assert threading.get_ident() not in writers


async def test_others_go_on_while_a_cancelled_one_is_left(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    if not rig.java:
        pytest.skip("a LocalCore's engine has a thread of its own")
    steps: Counter[int] = Counter()
    key = awaited.axes_key

    def noted(axes: Any) -> Any:
        steps[turns.count] += 1
        return key(axes)

    async with counted_turns() as turns, rig.memory() as acq:
        submission = acq.acquire(frames(EVENTS, exposure=5.0))
        async for _ in submission:
            monkeypatch.setattr(awaited, "axes_key", noted)
            submission.cancel()
            break
        with pytest.raises(errors.SubmissionCancelled):
            await submission
        assert steps.total() > EVENTS
        assert max(steps.values()) <= 3 * awaited.AT_A_TIME  # is it due, it comes no more; and some that have come
        assert len(await acq.acquire({"axes": {"n": EVENTS - 1}})) == 1  # may be asked for again
