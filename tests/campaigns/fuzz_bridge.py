"""A whole bridge through a proxy that spoils what the server says; ``python -m tests.campaigns.fuzz_bridge --cases 2000``.

Each case is a seed, which chooses the fault, the replies or the byte that it spoils, and what two tasks do meanwhile. Every call ends in
its own value or in an error of the family that is documented, within a bound; the next calls are right again; nothing is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import aiomm
from aiomm import errors
from tests.bridge.fault_proxy import BYTE_FAULTS, MESSAGE_FAULTS, ByteProxy, MessageProxy
from tests.jvm.host import JavaHost
from tests.support.bridging import Held, memory, quiet_loop, right_answers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

HOST = "127.0.0.2"
"""Where the proxy is: objects say their port, so it has the server's own number at another loopback address."""
TIMEOUT = 250
"""Of each call, in ms: longer than the delays of the faults."""
LONG = 20.0
"""Seconds in which a case ends, even on a busy computer."""
STEPS = 4
"""What each of two tasks does in a case."""
MB = 1024 * 1024
OFTEN = 200
"""Cases after which the figures so far are told: a run that is cut has shown something."""


# ---- faults of meaning -------------------------------------------------------------------------------------------

ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, 70000, "", "text", "@", "[B@1"),
    *([], [1], [[]], {}, {"a": 1}, ["a", None], [{}], [{"name": 5}]),
]


def misshapen(rng: random.Random, message: list[bytes]) -> list[tuple[float, list[bytes]]]:
    """Leave out a member somewhere in the reply, or give it a value of another type: JSON still, but not what was agreed."""
    reply = json.loads(message[2].decode("latin-1"))
    places: list[tuple[Any, Any]] = []

    def walk(value: Any, depth: int) -> None:
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if not (depth and isinstance(value, list) and isinstance(item, str)):
                places.append((value, key))
            if isinstance(item, dict | list):
                walk(item, depth + 1)

    walk(reply, 0)
    top = [place for place in places if place[0] is reply]
    for _ in range(rng.choice([1, 1, 3])):
        container, key = rng.choice(top if rng.random() < 0.7 else places)
        if isinstance(container, dict):
            before = container.pop(key, None)
            odd = rng.choice([value for value in ODD if type(value) is not type(before)])
            if rng.random() < 0.7:
                container[key] = odd
        elif key < len(container):
            container[key] = rng.choice([value for value in ODD if type(value) is not type(container[key])])
    return [(0.0, [*message[:2], json.dumps(reply).encode("latin-1"), *message[3:]])]


FAULTS: dict[str, Any] = {**{name: name for name in MESSAGE_FAULTS}, "misshapen": misshapen}
UNSEEN = {*BYTE_FAULTS, "misshapen"}
"""Faults that can make a sound reply of another one: what it says is then taken for true, be it a value, a class or its methods."""


class Front(MessageProxy):
    """The message proxy at the main port; the ports that the server opens are passed on unharmed."""

    def __init__(self, target: int) -> None:
        super().__init__(target, (HOST, target))
        self.target = target
        self.others: dict[int, ByteProxy] = {}

    def _spoil(self, message: list[bytes]) -> list[tuple[float, list[bytes]]]:
        for found in re.findall(rb'"port":(\d{4,5})\b', message[2] if len(message) > 2 else b""):
            other = int(found)
            if other != self.target and other not in self.others:
                try:
                    self.others[other] = ByteProxy(other, "none", random.Random(0), -1, (HOST, other))
                except OSError:
                    pass
        return super()._spoil(message)

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        for other in self.others.values():
            other.__exit__()


# ---- what is done meanwhile --------------------------------------------------------------------------------------


@dataclass
class World:
    """One case: its bridge, what its calls should answer, and what came."""

    bridge: aiomm.Bridge
    rng: random.Random
    fault: str
    seed: int
    given: set[Any] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    samples: Any = None

    def number(self) -> int:
        """A value that only one call gives."""
        number = self.rng.getrandbits(30) + 1000
        self.given.add(number)
        return number

    def text(self) -> str:
        """A text that only one call gives."""
        text = f"{self.rng.getrandbits(64):016x}"
        self.given.add(text)
        return text

    def same(self, came: Any, right: Any) -> None:
        """An answer came: it is the right one, or at least not another call's."""
        if isinstance(came, np.ndarray):
            came = tuple(came.tolist())
        if came == right and isinstance(came, bool) == isinstance(right, bool):
            self.outcomes["right"] += 1
            return
        assert self.fault in UNSEEN, f"{self.where}: {came!r} instead of {right!r}"
        others = self.given.difference(right if isinstance(right, tuple | list) and not isinstance(right[0], list) else (right,))
        parts: Iterable[Any] = came if isinstance(came, tuple | list) else (came,)
        assert not any(isinstance(part, int | str) and part in others for part in parts), f"{self.where}: another call's value {came!r}"
        self.outcomes["changed"] += 1

    @property
    def where(self) -> str:
        """Names the case."""
        return f"{self.fault}, seed {self.seed}"


async def an_int(world: World) -> None:
    number = world.number()
    world.same(await world.samples.echo_int(number), number)


async def a_text(world: World) -> None:
    text = world.text()
    world.same(await world.samples.echo_string(text), text)


async def an_array(world: World) -> None:
    numbers = tuple(world.number() for _ in range(world.rng.randrange(1, 50)))
    world.same(await world.samples.echo_ints(list(numbers)), numbers)


async def many_bytes(world: World) -> None:
    count = world.rng.randrange(1, 100_000)
    came = await world.samples.many_bytes(count)
    world.same(getattr(came, "size", came), count)


async def an_object(world: World) -> None:
    dog = await world.samples.animal()
    world.same(await dog.name(), "dog")


async def words(world: World) -> None:
    texts = [world.text() for _ in range(3)]
    cls = await world.bridge.get_java_class("aiomm.host.Samples")
    found = await cls.words(" ".join(texts))
    world.same([text async for text in found], texts)


async def a_map(world: World) -> None:
    found = await world.samples.map()
    world.same([[*item] for item in (await found.to_dict()).items()], [["a", 1]])


async def a_list(world: World) -> None:
    text = world.text()
    world.same(await world.samples.first([text, "b"]), text)


async def a_field(world: World) -> None:
    fields = await world.bridge.construct_java_object("aiomm.host.Fields")
    number = world.number()
    await fields.set_field("anInt", number)
    world.same(await fields.get_field("anInt"), number)
    world.same(await fields.get_field("doubles"), (0.5, -0.5))


async def apart(world: World) -> None:
    there = await world.bridge.construct_java_object("aiomm.host.Samples", new_socket=True)
    number = world.number()
    world.same(await there.echo_int(number), number)


async def an_exception(world: World) -> None:
    text = world.text()
    faults = await world.bridge.construct_java_object("aiomm.host.Faults")
    try:
        await faults.unchecked(text)
    except errors.JavaException as error:
        if error.java_class == "java.lang.IllegalArgumentException":
            world.same(error.java_message, text)


async def json_and_tags(world: World) -> None:
    tagged = await world.samples.tagged()
    world.same((await tagged.get_field("tags"))["Width"], 2)
    world.same(await tagged.get_field("pix"), (1, 65535, 3, 4))


async def the_core(world: World) -> None:
    core: Any = await world.bridge.get_core()
    world.same(await core.getCameraDevice(), "Camera")


DO: list[Callable[[World], Awaitable[None]]] = [
    *(an_int, a_text, an_array, many_bytes, an_object, words, a_map, a_list, a_field, apart, an_exception, json_and_tags, the_core)
]


async def task(world: World, steps: list[Callable[[World], Awaitable[None]]]) -> None:
    for step in steps:
        try:
            await step(world)
        except (errors.BridgeError, errors.ClosedError) as error:
            world.outcomes[type(error).__name__] += 1
        except (AttributeError, KeyError, TypeError) as error:
            # a class or its methods, a dict or a list may be others after such a fault; a message names what is missing
            sound = world.fault in UNSEEN and (isinstance(error, AttributeError) and "Java class" in str(error))
            sound = sound or (world.fault in UNSEEN and _ours(error))
            if not sound:
                raise AssertionError(f"{world.where}: {step.__name__} gave {error!r}") from error
            world.outcomes[type(error).__name__] += 1


def _ours(error: BaseException) -> bool:
    """Whether the error came up in this file: a value of another type than the step expects."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename == __file__


async def together(world: World) -> None:
    """Two tasks go through steps of their own."""
    chosen = [world.rng.choices(DO, k=STEPS) for _ in range(2)]
    if world.samples is None:
        world.samples = await world.bridge.construct_java_object("aiomm.host.Samples")
    for end in await asyncio.gather(*(task(world, steps) for steps in chosen), return_exceptions=True):
        if end is not None:
            raise end


# ---- cases -------------------------------------------------------------------------------------------------------


class Campaign:
    """Cases, one after the other, on one server."""

    def __init__(self, port: int, tell: Callable[[Campaign], None]) -> None:
        self.port = port
        self.tell = tell
        self.ended = 0
        self.outcomes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.unspoilt = 0
        self.cases = 0
        self.slowest = 0.0
        self.failures: list[str] = []
        self.kept: aiomm.Bridge | None = None
        self.samples: Any = None

    async def open(self) -> aiomm.Bridge:
        """Open a bridge through the proxy."""
        return await aiomm.Bridge.open(port=self.port, ip_address=HOST, timeout=TIMEOUT, call_timeout=TIMEOUT)

    async def close(self) -> None:
        """Close the bridge that serves many cases."""
        kept, self.kept, self.samples = self.kept, None, None
        if kept is not None:
            await kept.aclose()

    async def message(self, front: Front, seed: int) -> None:
        """Spoil whole replies: on a bridge of its own, or on one that serves many cases."""
        rng = random.Random(seed)
        fault = "misshapen" if rng.random() < 0.3 else rng.choice(sorted(FAULTS))
        fresh = fault in UNSEEN or rng.random() < 0.4
        if not fresh and self.kept is None:
            self.kept = await self.steadily(self.open)
            self.samples = await self.kept.construct_java_object("aiomm.host.Samples")
        front.begin(FAULTS[fault], rng, frozenset(rng.sample(range(16), rng.choice([1, 1, 2, 4]))))
        outcomes: Counter[str] = Counter()
        world = None
        try:
            bridge = await self.open() if fresh else self.kept
            assert bridge is not None
            world = World(bridge, rng, fault, seed, outcomes=outcomes, samples=None if fresh else self.samples)
            await together(world)
        except errors.BridgeError as error:
            outcomes[type(error).__name__] += 1
        finally:
            front.end()
        if world is not None:
            await self.usable_again(world, fresh)
            if fresh:
                await world.bridge.aclose()
        self.note(fault, outcomes, front.spoilt)

    async def usable_again(self, world: World, fresh: bool) -> None:
        """The same bridge gives right answers, unless it said that it lost the server."""
        if world.bridge.closed:
            with_error = False
            try:
                await world.bridge.get_core()
            except errors.ServerLostError:
                with_error = True
            assert with_error, f"{world.where}: closed, and does not say why"
            if not fresh:
                await self.close()
        elif world.fault not in UNSEEN:
            await self.steadily(lambda: right_answers(world.bridge, 1, None if fresh else world.samples))

    async def bytes(self, seed: int) -> None:
        """Spoil the bytes of a connection, from its greeting on."""
        rng = random.Random(seed)
        fault = rng.choice(BYTE_FAULTS)
        outcomes: Counter[str] = Counter()
        with ByteProxy(self.port, fault, rng, rng.randrange(rng.choice([120, 1000, 20_000, 60_000])), (HOST, self.port)) as proxy:
            try:
                bridge = await self.open()
                try:
                    await together(World(bridge, rng, fault, seed, outcomes=outcomes))
                finally:
                    await bridge.aclose()
            except errors.BridgeError as error:
                outcomes[type(error).__name__] += 1
            self.note(fault, outcomes, proxy.spoilt)

    def note(self, fault: str, outcomes: Counter[str], spoilt: int) -> None:
        """Count what a case gave."""
        self.cases += 1
        self.faults[fault] += 1
        self.outcomes.update(outcomes)
        self.unspoilt += not spoilt

    async def steadily(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Work without a fault; a time that is too short for a busy computer is no failure, at first."""
        for attempt in range(8):
            try:
                return await work()
            except (errors.BridgeTimeoutError, errors.ServerNotFoundError) as error:
                late = error
                await asyncio.sleep(0.05 * attempt)
        raise AssertionError("the server does not answer any more") from late

    async def bounded(self, case: Awaitable[None], seed: int) -> None:
        """Run a case; a hang is a failure."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(LONG):
                await case
        except TimeoutError:
            self.failures.append(f"seed {seed}: it hung")
        except Exception as error:
            self.failures.append(f"seed {seed}: {''.join(traceback.format_exception(error))}")
        finally:
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.ended += 1
            if self.ended % OFTEN == 0:
                self.tell(self)


async def run(port: int, seeds: Sequence[int], tell: Callable[[Campaign], None] = lambda _: None) -> Campaign:
    """Run these cases, three of four on messages; checks what is left at the end.

    Parameters
    ----------
    port, seeds
        Of the server, and of the cases.
    tell
        Called after every `OFTEN` cases.

    Returns
    -------
    Campaign
        With its counts, and what failed.
    """
    campaign = Campaign(port, tell)
    with quiet_loop():
        await campaign.bounded(_plain(port), -1)
        held = Held()
        with Front(port) as front:
            for seed in seeds:
                if seed % 4:
                    failures = len(campaign.failures)
                    await campaign.bounded(campaign.message(front, seed), seed)
                    if len(campaign.failures) > failures:
                        await campaign.close()
            await campaign.close()
        used = memory()
        for seed in seeds:
            if not seed % 4:
                await campaign.bounded(campaign.bytes(seed), seed)
        await campaign.bounded(_plain(port), -1)
        try:
            await held.nothing_more()
            assert memory() - used < 200 * MB
        except AssertionError as error:  # a case that failed may have left it
            campaign.failures.append(f"at the end: {error}")
    return campaign


async def _plain(port: int) -> None:
    """No proxy: the server itself is well."""
    async with aiomm.Bridge(port=port, timeout=5000) as bridge:
        await right_answers(bridge)


def main() -> None:
    """Run the campaign on a host of its own and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    host = JavaHost().start()
    before = memory()
    start = time.monotonic()
    shown = 0

    def tell(so_far: Campaign) -> None:
        nonlocal shown
        print(
            f"{so_far.ended} cases in {time.monotonic() - start:.0f} s, the slowest {so_far.slowest:.1f} s; "
            f"{so_far.unspoilt} spoilt nothing, {len(so_far.failures)} failed; {dict(so_far.outcomes.most_common())}",
            flush=True,
        )
        for failure in so_far.failures[shown:]:
            print(failure, flush=True)
        shown = len(so_far.failures)

    try:
        done = asyncio.run(run(host.port, range(options.first, options.first + options.cases), tell))
    finally:
        host.stop()
    tell(done)
    print("faults:", dict(done.faults.most_common()))
    print(f"memory: {(memory() - before) / MB:+.0f} MB")


if __name__ == "__main__":
    main()
