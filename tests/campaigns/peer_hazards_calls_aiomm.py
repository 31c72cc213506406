"""What aiomm does with the hazards of calls: ``python -m tests.campaigns.peer_hazards_calls_aiomm CASE PORT PID FOLDER``.

The cases of `peer_hazards_calls_pycromanager`, by the same names. Each asserts what is right: one that is not ends with an AssertionError.
The other cases come with what is imported: this runs them all.
"""

from __future__ import annotations

import asyncio
import atexit
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import aiomm
from aiomm import errors
from tests.campaigns.peer_hazards_aiomm import case, main, said, step, times
from tests.campaigns.peer_hazards_wire import end_server_thread, others
from tests.support.bridging import VANISHING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.campaigns.peer_hazards_aiomm import User

SAMPLES = "aiomm.host.Samples"
TIMEOUT_MS = 1000


async def told(call: Awaitable[Any]) -> str:
    try:
        return repr(await call)
    except Exception as error:
        return f"raised {said(error)}"


# ---- the server --------------------------------------------------------------------------------------------------


@case
async def at_sign_beside_binary_data(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        given = await samples.tag_bytes("me@lab.org", np.arange(5, dtype=np.uint8))
        assert given == "me@lab.org 5"
        answered = await asyncio.to_thread(others, user.port)
        assert answered == "other clients are answered"
        return f"{given!r}; {answered}"


@case
async def class_that_java_cannot_reflect(user: User) -> str:
    async with aiomm.Bridge(port=user.port, timeout=TIMEOUT_MS) as bridge:
        start = time.perf_counter()
        try:
            await bridge.get_java_class("net.miginfocom.swt.SwtComponentWrapper")
        except errors.BridgeError as error:
            given = f"raised {said(error)} after {time.perf_counter() - start:.1f} s"
        return f"{given}; {await asyncio.to_thread(others, user.port)}"


@case
async def server_thread_ended(user: User) -> str:
    async with aiomm.Bridge(port=user.port, timeout=TIMEOUT_MS, call_timeout=TIMEOUT_MS) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        await asyncio.to_thread(end_server_thread, user.port)
        call = await told(samples.echo_int(1))
        new = await told(aiomm.Bridge.open(port=user.port, timeout=TIMEOUT_MS))
    assert call.startswith("raised BridgeTimeoutError")
    assert new.startswith("raised ServerNotFoundError")
    return f"a call: {call}; a new client: {new}"


@case
async def error_in_a_method(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        faults = await bridge.construct_java_object("aiomm.host.Faults")
        given = [await told(faults.error("broken")), await told(faults.overflow_stack())]
    assert given[0].startswith("raised JavaException") and "AssertionError" in given[0]
    assert given[1].startswith("raised JavaException") and "StackOverflowError" in given[1]
    return " and ".join(given)


@case
async def dropped_core_callback(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        probe = await bridge.construct_java_object("aiomm.host.Probe")
        async with bridge.core_events():
            assert await probe.listeners() == 1
            assert "RemoteCoreCallback" in await probe.object_classes()
        assert await probe.listeners() == 0
        assert "RemoteCoreCallback" not in await probe.object_classes()
    return "after its end the core has no callback, and Java holds none"


@case
async def java_spins_in_a_sequence(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        control = await bridge.construct_java_object("aiomm.host.Control")
        await (await bridge.get_core()).set_exposure(1000)
        await control.sequenceable(10)
        before, cpu, start = await control.calls("popNextImageMD"), time.process_time(), time.perf_counter()
        images = len(await user.run(times(2)))
        part = (time.process_time() - cpu) / (time.perf_counter() - start)
        asked = await control.calls("popNextImageMD") - before
    assert images == 2
    return f"Java asked {asked} times for {images} images of 1 s; the client took {part * 100:.0f} % of a core"


@case
async def client_vanishes(user: User) -> str:
    left = []
    async with aiomm.Bridge(port=user.port) as bridge:
        probe = await bridge.construct_java_object("aiomm.host.Probe")
        for how in ("fails", "killed"):
            objects, ports = await probe.object_count(), len((await probe.open_ports()).split())
            command = [sys.executable, "-c", VANISHING, str(user.port), how]
            await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=6, check=False)
            stay = await probe.object_count() - objects, len((await probe.open_ports()).split()) - ports
            if how == "fails":
                assert stay == (0, 0)
            left.append(f"{how}: {stay[0]} objects and {stay[1]} ports stay")
        step("another client comes")
    async with aiomm.Bridge(port=user.port) as bridge:
        apart = await bridge.construct_java_object(SAMPLES, new_socket=True)
        assert await apart.echo_int(7) == 7
    return "; ".join([*left, "the next client has its answers"])


# ---- the client --------------------------------------------------------------------------------------------------


@case
async def collector_inside_a_call(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        for turn in range(300):
            step(f"turn {turn} of 300")
            words = await samples.list()
            words_and_itself: list[Any] = [words]
            words_and_itself.append(words_and_itself)
            assert await words.size() == 3
    return "300 turns ended"


@case
async def functions_for_the_exit(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        before = atexit._ncallbacks()
        for _ in range(500):
            await samples.animal()
        more = atexit._ncallbacks() - before
    assert more == 0
    return f"500 objects, made and dropped, left {more} functions for the exit"


@case
async def two_classes(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        maths, numbers = await bridge.get_java_class("java.lang.Math"), await bridge.get_java_class("java.lang.Integer")
        given = await maths.hypot(3.0, 4.0), await numbers.parse_int("77")
    assert given == (5.0, 77)
    return f"hypot(3, 4): {given[0]!r}; parse_int('77'): {given[1]!r}"


@case
async def arrays_as_arguments(user: User) -> str:
    sent = np.array([1, -2], np.int32)
    async with aiomm.Bridge(port=user.port) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        box = await bridge.construct_java_object("java.awt.geom.AffineTransform", args=[np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
        given = await samples.show_ints(sent), await box.get_scale_x()
    assert given == ("[1, -2]", 1.0)
    return f"int[] {sent.tolist()} arrives as {given[0]}; the transform's x scale of 1.0 as {given[1]!r}"


@case
async def doubles_as_a_result(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        doubles = await (await bridge.construct_java_object(SAMPLES)).doubles()
    assert doubles.dtype == np.float64 and doubles.size
    return f"double[] is {doubles!r}"


@case
async def ints_as_a_result(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        ints = await (await bridge.construct_java_object(SAMPLES)).ints()
    assert ints.dtype == np.int32 and ints.tolist() == [1, -1, 2**31 - 1, -(2**31)]
    return f"int[] 1, -1, {2**31 - 1}, -{2**31} is {ints.dtype} {ints.tolist()}"


@case
async def numpy_and_lists_as_arguments(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        given = {
            "np.int64": await samples.echo_int(np.int64(5)),
            "list": await samples.show_doubles([1, 2.5]),
            "tuple": await samples.show_ints((1, 2)),
        }
    assert given == {"np.int64": 5, "list": "[1.0, 2.5]", "tuple": "[1, 2]"}
    return "; ".join(f"{name}: {value!r}" for name, value in given.items())


@case
async def whole_floats_as_results(user: User) -> str:
    async with aiomm.Bridge(port=user.port) as bridge:
        ten = await (await bridge.construct_java_object(SAMPLES)).ten()
    assert type(ten) is float and ten == 10
    return f"10.0 is {ten!r}"


if __name__ == "__main__":
    main()
