"""Labels beyond Latin-1 on Micro-Manager's engine, whose streams have '?' for each such character: none is taken for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from aiomm import errors
from aiomm.acquire.remote.events import heard, whole_axes
from tests.support.homes import Home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost
    from tests.support.rigs import Rig

GROUP, PRESETS = "通道", ("紅", "藍", "?")  # said alike
GAINS = dict(zip(PRESETS, ("1", "3", "0"), strict=True))


@pytest.fixture
async def rig(java_host: JavaHost, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Home("java", java_host).demo(tmp_path) as rig:
        for preset in PRESETS:
            await rig.core.define_config(GROUP, preset, "Camera", "Gain", GAINS[preset])
        yield rig
        await rig.core.delete_config_group(GROUP)


def events() -> list[dict[str, Any]]:
    """Each preset's images are a sequence for Java; of no two of them does it say the same."""
    return [
        {"axes": {"time": 0, "channel": preset, "位": place}, "config_group": [GROUP, preset], "tags": {"說": f"?{preset}"}}
        for preset in PRESETS
        for place in ("左", "右")
    ]


async def test_the_core_says_them_whole(rig: Rig) -> None:
    core = rig.core
    assert GROUP in await core.get_available_config_groups()
    assert set(await core.get_available_configs(GROUP)) == set(PRESETS)
    await core.set_config(GROUP, "藍")
    assert await core.get_current_config(GROUP) == "藍"
    assert await core.get_config_group_state(GROUP) == {("Camera", "Gain"): "3"}


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("form", ["ndtiff", "ome-zarr", None])
async def test_images_hooks_and_notices_have_the_labels_that_were_given(form: str | None, hooked: bool, rig: Rig, tmp_path: Path) -> None:
    given, noted, seen = events(), [], []
    options: dict[str, Any] = {"notification_callback_fn": lambda notice: noted.append((notice.milestone, notice.payload))}
    where = () if form is None else (tmp_path, "名")
    if form is not None:
        options["format"] = form
    if hooked:

        def process(image: Any, metadata: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            seen.append((metadata["Axes"], metadata["tags"]))
            return image, metadata

        options |= {"image_process_fn": process, "pre_hardware_hook_fn": lambda asked: asked}
    async with aiomm.Acquisition(*where, core=rig.core, show_display=False, **options) as acq:
        await acq.acquire(given)
    dataset = acq.get_dataset()
    for event in given:
        metadata = dataset.read_metadata(**event["axes"])
        assert (metadata["Axes"], metadata["tags"]) == (event["axes"], event["tags"])
        assert metadata["Camera-Gain"] == GAINS[event["axes"]["channel"]]
    axes = [event["axes"] for event in given]
    assert [one for one, _ in seen] == (axes if hooked else [])
    for milestone in ("pre_hardware", "post_hardware"):
        told = [payload for name, payload in noted if name == milestone]
        assert [one for payload in told for one in (payload if isinstance(payload, list) else [payload])] == axes, milestone
    assert not [one for one in noted if "'channel': '?'" in str(one) and "'位': '?'" in str(one)]


async def test_a_preset_that_is_not_there_is_refused_though_it_sounds_like_one(rig: Rig) -> None:
    async with aiomm.Acquisition(core=rig.core, show_display=False) as acq:
        with pytest.raises(errors.EventError, match="綠"):
            await acq.acquire({"axes": {"time": 0}, "config_group": [GROUP, "綠"]})
    assert len(acq.get_dataset()) == 0


def test_axes_of_a_notice_are_those_that_were_sent() -> None:
    sent = [{"c": "紅"}, {"c": "藍"}, {"c": "a?"}, {"中": 1}, {"c": 1}]

    def java(axes: dict[str, Any]) -> dict[str, Any]:
        return {heard(name): heard(value) for name, value in axes.items()}

    assert whole_axes([java(axes) for axes in sent], sent) == sent
    assert whole_axes(java(sent[1]), sent[1:]) == sent[1]
    assert whole_axes({"c": "?"}, []) == {"c": "?"}
    assert whole_axes("text", sent) == "text"
