"""What stands for something outside is not copied, and says what to do instead."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import aiomm

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.jvm.host import JavaHost

WAYS: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, pickle.dumps, lambda one: copy.deepcopy({"within": [one]})]


def refused(one: Any, instead: str) -> None:
    for way in WAYS:
        with pytest.raises(TypeError, match=rf"cannot be copied or pickled: .*{instead}") as caught:
            way(one)
        assert str(caught.value).startswith(repr(one))


async def test_what_a_bridge_gives(java_host: JavaHost) -> None:
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        core: Any = await bridge.get_core()
        samples = await bridge.construct_java_object("aiomm.host.Samples")
        refused(bridge, r"Bridge\(\*\*bridge.arguments\)")
        refused(samples, "opens a Bridge of its own")
        refused(core, "opens a Bridge of its own")
        refused(await bridge.get_java_class("java.lang.Math"), "opens a Bridge of its own")
        refused((await bridge.get_java_class("java.lang.Math")).PI, "await it")
        refused(samples.java, "obj.java")
        refused(samples.java.list, "obj.java")
        refused(bridge.core_events(), "ask for another")
        refused(core.events(), "ask for another")
        refused(core.live(), "ask for another")
        for view in (aiomm.blocking(bridge), aiomm.blocking(samples)):
            refused(view, r"blocking\(")
        assert await samples.java.list()  # all is as it was
        async with aiomm.Bridge(**bridge.arguments) as other:
            assert await (await other.get_core()).get_exposure() == await core.get_exposure()


async def test_what_a_core_gives(demo_core: aiomm.LocalCore) -> None:
    refused(demo_core, "of its own")
    refused(aiomm.blocking(demo_core), r"blocking\(")
    refused(demo_core.events(), "ask for another")
    refused(demo_core.live(), "ask for another")
    assert await demo_core.get_exposure() == 10
