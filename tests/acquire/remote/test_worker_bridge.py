"""Hooks and processors in worker processes open a bridge of their own to the same Micro-Manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(2, of="module", always=True)


def plain(event: Any, bridge: Any, queue: Any) -> Any:
    import os

    return {**event, "tags": {"camera": bridge.get_core().get_camera_device(), "process": str(os.getpid())}}


async def awaiting(event: Any, bridge: Any, queue: Any) -> Any:
    import os

    core = await bridge.get_core()
    return {**event, "tags": {"camera": await core.get_camera_device(), "process": str(os.getpid())}}


def process(image: Any, metadata: Any, bridge: Any, queue: Any) -> Any:
    return image, {**metadata, "tags": {"camera": bridge.get_core().get_camera_device(), "process": "another"}}


@pytest.mark.parametrize(
    "functions",
    [{"pre_hardware_hook_fn": plain}, {"pre_hardware_hook_fn": awaiting}, {"image_process_fn": process}],
    ids=["plain", "awaiting", "processor"],
)
async def test_it_has_a_bridge_of_its_own(bridge: aiomm.Bridge, tmp_path: Path, functions: dict[str, Any]) -> None:
    camera = await (await bridge.get_core()).get_camera_device()
    async with aiomm.Acquisition(tmp_path, "set", bridge=bridge, show_display=False, process=True, sequencing="off", **functions) as acq:
        images = [image async for image in acq.acquire([{"axes": {"time": time}} for time in range(2)])]
    tags = [image.metadata["tags"] for image in images]
    assert [each["camera"] for each in tags] == [camera] * 2
    assert tags[0]["process"] == tags[1]["process"]
    await acq.get_dataset().aclose()


def test_another_bridge_to_the_same_server() -> None:
    bridge = aiomm.Bridge(4999, False, ip_address="127.0.0.2", timeout=700, call_timeout=2000)
    assert aiomm.Bridge(**bridge.arguments).arguments == bridge.arguments
    assert (bridge.arguments["port"], bridge.arguments["timeout"], bridge.arguments["call_timeout"]) == (4999, 700, 2000)


async def test_it_is_refused_on_a_core_in_this_process(tmp_path: Path) -> None:
    async with aiomm.LocalCore("demo") as core:
        with pytest.raises(errors.UnsupportedError, match="pre_hardware_hook_fn=plain takes a bridge, which cannot reach a worker process"):
            async with aiomm.Acquisition(tmp_path, "set", core=core, process=True, pre_hardware_hook_fn=plain):
                pass
