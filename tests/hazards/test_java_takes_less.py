"""What Micro-Manager's engine cannot take is refused with its list, before anything moves: it said so after the images before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiomm import errors
from tests.support.rigs import snaps

if TYPE_CHECKING:
    from tests.support.rigs import Rig

LATE = {
    "tag": ({"axes": {"n": 9}, "z": 1.0, "tags": {"a": 1}}, r"event 3: tags\['a'\] is 1"),
    "axis": ({"axes": {"n": 2**31}, "z": 1.0}, r"event 3: axes\['n'\] is 2147483648"),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
@pytest.mark.parametrize("source", [list, iter])
async def test_in_a_list(rig: Rig, late: tuple[Any, str], source: Any) -> None:
    event, text = late
    rig.mmc.forget()
    async with rig.memory() as acq:
        submission = acq.acquire(source([*snaps(3), event]))
        if not rig.java:
            assert len(await submission) == 4
            return
        with pytest.raises(errors.EventError, match=text):
            await submission
        assert rig.exposures() == []
        assert len(await acq.acquire(snaps(3))) == 3  # it was that submission's only


@pytest.mark.parametrize("which", ["pre_hardware", "post_hardware"])
async def test_by_a_hook(rig: Rig, which: str) -> None:
    def hook(event: Any) -> Any:
        return {**event, "tags": {"count": 5}}

    rig.mmc.forget()
    if not rig.java:
        async with rig.memory(**{f"{which}_hook_fn": hook}) as acq:
            assert len(await acq.acquire(snaps(1))) == 1
        return
    with pytest.raises(errors.HookError, match=r"tags\['count'\] is 5"):
        async with rig.memory(**{f"{which}_hook_fn": hook}) as acq:
            await acq.acquire(snaps(1))
    assert rig.exposures() == []
