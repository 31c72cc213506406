"""An acquisition that is open is used in another thread's loop: an error that says so at once; it waited for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.rigs import snaps

if TYPE_CHECKING:
    from aiomm import Acquisition
    from aiomm.acquire.submission import Submission
    from tests.support.rigs import Rig


async def _submit(acq: Acquisition, submission: Submission) -> Any:
    return acq.acquire(snaps(1))


async def _wait(acq: Acquisition, submission: Submission) -> Any:
    return await submission


async def _images(acq: Acquisition, submission: Submission) -> Any:
    return [image async for image in submission]


async def _stream(acq: Acquisition, submission: Submission) -> Any:
    return [image async for image in acq.images()]


async def _listen(acq: Acquisition, submission: Submission) -> Any:
    return [note async for note in acq.notifications()]


async def _plan(acq: Acquisition, submission: Submission) -> Any:
    return await acq.plan(snaps(1))


async def _close(acq: Acquisition, submission: Submission) -> Any:
    await acq.aclose()


async def _complete(acq: Acquisition, submission: Submission) -> Any:
    await acq.await_completion()


USES = [_submit, _wait, _images, _stream, _listen, _plan, _close, _complete]


async def test_in_another_loop(rig: Rig) -> None:
    async with rig.memory() as acq:
        acq.pause()
        submission = acq.acquire(snaps(2))

        async def elsewhere() -> None:
            for use in USES:
                with pytest.raises(RuntimeError, match="this Acquisition belongs to another event loop"):
                    async with asyncio.timeout(5):
                        await use(acq, submission)

        await asyncio.to_thread(asyncio.run, elsewhere())
        acq.resume()
        assert len(await submission) == 2


async def test_after_its_end(rig: Rig) -> None:
    """Nothing is waited for any more."""
    async with rig.memory() as acq:
        submission = acq.acquire(snaps(2))

    async def elsewhere() -> int:
        await acq.aclose()
        return len(await submission)

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == 2
