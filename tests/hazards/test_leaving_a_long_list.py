"""What is yet to be done for a long list of events is left where its submission or the acquisition ends."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors
from aiomm.acquire import conductor
from tests.support.rigs import frames

if TYPE_CHECKING:
    from tests.support.rigs import Rig

EVENTS = 5000


@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_it_ends_while_the_list_is_checked(rig: Rig, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, checked = asyncio.get_running_loop(), 0
    here, check = threading.get_ident(), conductor.check_events

    def end() -> None:
        if how == "abort":
            acq.abort()
        else:
            submission.cancel()

    def check_and_end(events: Any, *args: Any, **options: Any) -> None:
        nonlocal checked
        checked += len(events)
        check(events, *args, **options)
        if checked == 3 * conductor.CHECK_CHUNK:
            if threading.get_ident() == here:
                end()
                return
            done = threading.Event()
            loop.call_soon_threadsafe(lambda: (end(), done.set()))
            done.wait(10)

    async with rig.memory() as acq:
        with monkeypatch.context() as patched:
            patched.setattr(conductor, "check_events", check_and_end)
            submission = acq.acquire(frames(EVENTS))
            with pytest.raises(errors.AcquisitionAborted if how == "abort" else errors.SubmissionCancelled):
                await submission
        assert checked == 3 * conductor.CHECK_CHUNK
        if how == "cancel":  # its axes may be asked for again, the last ones too
            assert len(await acq.acquire([*frames(2), {"axes": {"n": EVENTS - 1}}])) == 3
