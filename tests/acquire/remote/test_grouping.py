"""What goes to Micro-Manager's engine one by one: `plan`, hooks and the camera agree on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support import sequence_tester as st
from tests.support.homes import Home

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jvm.host import JavaHost


async def test_a_stage_of_stage_positions_that_changes(java_host: JavaHost, tmp_path: Path) -> None:
    """Its engine merges no such events: a group of them would be planned, and given to hooks, as a sequence that never runs."""
    events = [{"axes": {"n": n}, "stage_positions": [[st.Z_2, n * 2.0]]} for n in range(4)]
    given: list[Any] = []

    def hook(event: Any) -> Any:
        given.append(event)
        return event

    async with (
        Home("java", java_host).tester(tmp_path, sequenceable=(st.Z, st.Z_2)) as rig,
        rig.memory(pre_hardware_hook_fn=hook) as acq,
    ):
        plan = await acq.plan(events)
        await acq.acquire(events)
        images = [st.decode(await asyncio.to_thread(acq.get_dataset().read_image, n=n)) for n in range(4)]
        assert [one.state[st.Z_2, "ZPositionUm"] for one in images] == [0, 2, 4, 6]
        assert len(rig.mmc.calls_of("snapImage")) == 4 and not rig.mmc.calls_of("startSequenceAcquisition")
    assert [len(group.events) for group in plan.groups] == [1, 1, 1, 1]
    assert f"does not merge this: stage {st.Z_2!r} changes" in plan.groups[0].boundary
    assert [event["axes"] for event in given] == [event["axes"] for event in events]
