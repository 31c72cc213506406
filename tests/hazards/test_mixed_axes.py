"""An axis has integers or texts, and never both: found before anything moves, on both homes.

Micro-Manager's storage ends everything after the first image of another type, and says nothing of the axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from tests.support.rigs import snaps

if TYPE_CHECKING:
    from tests.support.rigs import Rig

MIXED = [{"axes": {"a": 1}}, {"axes": {"a": "x"}}]


@pytest.mark.parametrize("kept", ["acquisition", "memory"])
async def test_in_one_list(rig: Rig, kept: str) -> None:
    rig.mmc.forget()
    async with getattr(rig, kept)() as acq:
        with pytest.raises(errors.EventError, match=r"axis 'a'.*integer 1.*text 'x'") as caught:
            await acq.acquire(MIXED)
        assert caught.value.key == "axes"
        assert rig.exposures() == []
        assert await acq.acquire([{"axes": {"a": "y"}}, {"axes": {"a": "z"}}]) == [{"a": "y"}, {"a": "z"}]  # no image had the integer


async def test_across_submissions(rig: Rig) -> None:
    async with rig.acquisition() as acq:
        assert len(await acq.acquire(snaps(2))) == 2
        rig.mmc.forget()
        with pytest.raises(errors.EventError, match=r"axis 'n'.*integer 0.*text 'first'"):
            await acq.acquire({"axes": {"n": "first"}})
        assert rig.exposures() == []
        assert await acq.acquire({"axes": {"n": 7}}) == [{"n": 7}]
    assert (await aiomm.Dataset.open(str(acq.path))).axes == {"n": [0, 1, 7]}


async def test_duplicates_allowed(rig: Rig) -> None:
    async with rig.memory(allow_duplicates=True) as acq:
        with pytest.raises(errors.EventError, match="axis 'a'"):
            await acq.acquire(MIXED)


async def test_what_was_not_acquired_fixes_nothing(rig: Rig) -> None:
    async with rig.memory(pre_hardware_hook_fn=lambda event: None if event["axes"]["a"] == "x" else event) as acq:
        assert await acq.acquire({"axes": {"a": "x"}}) == []
        assert await acq.acquire({"axes": {"a": 1}}) == [{"a": 1}]


@pytest.mark.parametrize("which", ["event_generation", "pre_hardware"])
async def test_by_a_hook(rig: Rig, which: str) -> None:
    def hook(event: Any) -> Any:
        return {**event, "axes": {"n": "late"}} if event["axes"]["n"] == 1 else event

    with pytest.raises(errors.AiommError, match="axis 'n'") as caught:
        async with rig.memory(**{f"{which}_hook_fn": hook}) as acq:
            await acq.acquire(snaps(2))
    assert type(caught.value) is (errors.HookError if which == "pre_hardware" else errors.EventError)
    assert len(rig.exposures()) == (which == "pre_hardware")


async def test_a_processor_may_make_them_alike(rig: Rig) -> None:
    def alike(image: Any, metadata: Any) -> Any:
        return image, {**metadata, "Axes": {"a": str(metadata["Axes"]["a"])}}

    async with rig.acquisition(image_process_fn=alike) as acq:
        assert await acq.acquire(MIXED) == [{"a": "1"}, {"a": "x"}]
