"""Scripts that leave a bridge as scripts do: open at the end, in a call at Ctrl-C, with proxies in globals; ``python -m … PORT WAY``."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from typing import Any

import aiomm
from tests.support.acquiring import say
from tests.support.bridging import right_answers, unique

KEPT: list[Any] = []
FAULTS = "aiomm.host.Faults"
SAMPLES = "aiomm.host.Samples"


async def filled(port: int) -> aiomm.Bridge:
    """Open a bridge and hold much over it."""
    bridge = await aiomm.Bridge.open(port=port, timeout=10_000)
    samples = await bridge.construct_java_object(SAMPLES)
    apart = await bridge.construct_java_object(FAULTS, new_socket=True)
    KEPT.extend([bridge, samples, apart, *[await samples.animal() for _ in range(200)]])
    return bridge


async def left(port: int) -> None:
    """Leave everything open, in globals."""
    await filled(port)


async def dropped(port: int) -> None:
    """Leave the bridge open; the proxies go as the loop ends."""
    await filled(port)
    KEPT.clear()


async def cyclic(port: int) -> None:
    """Proxies in cycles, which only the collector finds, at the interpreter's end."""
    await filled(port)
    knot: list[Any] = [*KEPT]
    knot.append(knot)
    KEPT.clear()
    gc.disable()


def collected(port: int) -> None:
    """A bridge that was never closed is collected after its loop, and the script goes on."""
    asyncio.run(filled(port))
    KEPT.clear()
    gc.collect()
    say("collected")


async def in_a_call(port: int) -> None:
    """The main task ends while another one is in a call of an hour."""
    await filled(port)
    KEPT.append(asyncio.ensure_future(KEPT[2].sleep_ms(3_600_000)))
    await asyncio.sleep(0.1)


async def in_an_error(port: int) -> None:
    """Something raises."""
    await filled(port)
    raise RuntimeError("of the script")


async def exits(port: int) -> None:
    """``sys.exit`` in the middle."""
    await filled(port)
    sys.exit(7)


async def in_a_thread(port: int) -> None:
    """Another thread drops proxies while the interpreter ends."""
    await filled(port)
    kept = [*KEPT]
    KEPT.clear()

    def drop() -> None:
        while kept:
            kept.pop()

    threading.Thread(target=drop).start()


async def closed_loop(port: int) -> None:
    """Nothing but a proxy is left."""
    bridge = await aiomm.Bridge.open(port=port, timeout=10_000)
    KEPT.append(await bridge.construct_java_object(SAMPLES))


async def open_until_killed(port: int) -> None:
    """Hold everything, say so, and wait until the parent says that the server is dead."""
    await filled(port)
    say("open")
    await asyncio.to_thread(sys.stdin.readline)


async def answers_after(bridge: aiomm.Bridge, samples: Any) -> None:
    """Right answers to the right calls after an interrupted one."""
    await right_answers(bridge, samples=samples)
    say("right answers")


async def interrupted(port: int) -> None:
    """A call of 1.5 s is interrupted; the same task goes on with others as it cleans up."""
    async with aiomm.Bridge(port=port, timeout=10_000) as bridge:
        samples = await bridge.construct_java_object(SAMPLES)
        faults = await bridge.construct_java_object(FAULTS)
        say("in the call")
        try:
            await faults.sleep_ms(1500)
        finally:
            await answers_after(bridge, samples)


async def interrupted_hard(port: int) -> None:
    """Two interrupts: the second one lands anywhere."""
    async with aiomm.Bridge(port=port, timeout=10_000) as bridge:
        faults = await bridge.construct_java_object(FAULTS)
        say("in the call")
        try:
            await faults.sleep_ms(1500)
        finally:
            say("cleaning up")
            await faults.sleep_ms(3_600_000)


def same_loop(port: int) -> None:
    """A cell is interrupted in its call, the next cells on the same loop get their own answers: pyjavaz gave those of the call before."""
    with asyncio.Runner() as runner:
        bridge = runner.run(aiomm.Bridge.open(port=port, timeout=10_000))
        samples = runner.run(construct(bridge, SAMPLES))
        faults = runner.run(construct(bridge, FAULTS))
        for i in range(3):
            say("in the call", number=i)
            try:
                runner.run(call(faults, "sleepMs", 700))
            except KeyboardInterrupt:
                say("interrupted", number=i)
            number = unique()
            assert runner.run(call(samples, "echoInt", number)) == number
            runner.run(answers_after(bridge, samples))
        runner.run(bridge.aclose())


async def construct(bridge: aiomm.Bridge, name: str) -> Any:
    return await bridge.construct_java_object(name)


async def call(one: Any, name: str, *args: Any) -> Any:
    return await one.call(name, args)


def main() -> None:
    """Do what the arguments say."""
    port, way = int(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    action = globals()[way]
    if asyncio.iscoroutinefunction(action):
        asyncio.run(action(port))
    else:
        action(port)
    say("end of the script")


if __name__ == "__main__":
    main()
