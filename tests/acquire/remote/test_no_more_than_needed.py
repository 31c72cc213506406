"""What an acquisition in a running Micro-Manager does not ask, and does not do, where there is no need."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.acquire.remote import memory
from aiomm.acquire.remote.engine import JavaEngine
from aiomm.bridge import Bridge
from aiomm.core import BridgedCore
from aiomm.core.names import only_reads
from aiomm.errors import EventError
from tests.support.homes import Home
from tests.support.rigs import frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.jvm.host import JavaHost
    from tests.support.rigs import Rig


@pytest.fixture
async def rig(java_host: JavaHost, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Home("java", java_host).demo(tmp_path) as rig:
        yield rig


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[Any, ...]]:
    """What is called of a core."""
    noted: Counter[tuple[Any, ...]] = Counter()
    call = BridgedCore.call_core

    async def note(core: BridgedCore, method: str, args: tuple[Any, ...]) -> Any:
        noted[method, *args] += 1
        return await call(core, method, args)

    monkeypatch.setattr(BridgedCore, "call_core", note)
    return noted


async def test_hardware_that_is_as_it_was_found_is_left_alone(rig: Rig, calls: Counter[tuple[Any, ...]]) -> None:
    async with rig.memory() as acq:
        await acq.acquire(frames(3))
    assert calls["isSequenceRunning", "Camera"] >= 1
    assert [call for call in calls if not only_reads(call[0])] == []


@pytest.mark.parametrize("was", [True, False])
async def test_hardware_that_was_changed_meanwhile_is_put_back(rig: Rig, calls: Counter[tuple[Any, ...]], was: bool) -> None:
    await rig.core.set_auto_shutter(was)
    async with rig.memory() as acq:
        await acq.acquire(frames(3))
        await rig.core.set_auto_shutter(not was)
        calls.clear()
    assert await rig.core.get_auto_shutter() is was
    assert calls["setAutoShutter", was] == 1


async def test_how_to_clear_the_memory_of_the_engine_is_asked_for_a_second_group(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    get = Bridge.get_java_class

    async def note(bridge: Bridge, name: str, new_socket: bool = False) -> Any:
        asked[name] += 1
        return await get(bridge, name, new_socket)

    monkeypatch.setattr(Bridge, "get_java_class", note)
    async with rig.memory() as acq:
        await acq.acquire(frames(3))
        assert asked[memory.ENGINE] == 0
        await acq.acquire([{"axes": {"again": n}} for n in range(3)])
        assert asked[memory.ENGINE] == 1


async def test_devices_and_groups_that_no_event_touches_are_not_asked_for(rig: Rig, calls: Counter[tuple[Any, ...]]) -> None:
    async with rig.memory() as acq:
        await acq.acquire(frames(3))
    assert [call for call in calls if call[0] in ("getLoadedDevices", "getDeviceType", "getAvailableConfigGroups")] == []


async def test_what_there_is_instead_is_asked_for_when_an_event_cannot_be_carried_out(rig: Rig, calls: Counter[tuple[Any, ...]]) -> None:
    async with rig.memory() as acq:
        with pytest.raises(EventError, match=r"there is no device 'Camara'.*'Camera'"):
            await acq.acquire({"axes": {"n": 0}, "camera": "Camara"})
        assert calls["getDeviceType", "Camera"] == 1
        with pytest.raises(EventError, match=r"there is no config group 'Chanel'.*'Channel'"):
            await acq.acquire({"axes": {"n": 0}, "config_group": ["Chanel", "DAPI"]})


async def test_the_hardware_is_left_while_java_ends(rig: Rig, calls: Counter[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Java has nothing under way any more: whether all is as it was is asked before it has said that it has ended."""
    hear, asked = JavaEngine.hear, []

    def note(self: JavaEngine, milestone: str, payload: Any) -> None:
        if milestone == "acq_events_finished":
            asked.append("getLoadedDevicesOfType" in {method for method, *_ in calls})
        hear(self, milestone, payload)

    monkeypatch.setattr(JavaEngine, "hear", note)
    async with rig.memory() as acq:
        await acq.acquire(frames(3))
        calls.clear()
    assert asked == [True]


async def test_what_a_camera_says_of_exposures_is_asked_once_for_a_list(rig: Rig, calls: Counter[tuple[Any, ...]]) -> None:
    asked = ("hasPropertyLimits", "Camera", "Exposure")
    async with rig.memory() as acq:
        await acq.acquire([{"axes": {"n": n}} for n in range(3)])
        assert calls[asked] == 0
        for time in range(2):  # it may be another in another mode of the camera
            calls.clear()
            await acq.acquire([{"axes": {"n": n, "time": time}, "exposure": 1 + n} for n in range(3)])
            assert calls[asked] == 1
