"""Replies that something between server and client has spoilt: an error in bounded time, never a hang, never another call's value.

Every case is one seed: it chooses the fault, the place and the calls. A failure names the seed; `case` runs it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from aiomm.errors import AiommError
from tests.bridge.asking import Asker, Askers, askers
from tests.bridge.fault_proxy import BYTE_FAULTS, MESSAGE_FAULTS, ByteProxy, MessageProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.jvm.host import JavaHost

TIMEOUT = 0.1
"""Seconds for each call of a case; longer than the longest delay that a fault adds."""
LONG = 20.0
"""Seconds in which a whole case ends even on a busy computer."""
CALLS = 6
PAYLOAD_CHANGES = ("flip", "insert", "remove")
"""Faults that can change a value into another that is as good: bits in the middle of a text."""


@pytest.fixture(scope="module")
def proxy(_java_host_of_session: JavaHost) -> Iterator[MessageProxy]:
    with MessageProxy(_java_host_of_session.port) as made:
        yield made


class Calls:
    """Calls with answers that no other call has."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.given: set[Any] = set()

    async def one(self, asker: Asker, samples: Any, timeout: float) -> tuple[Any, Any]:
        """Make one call; return its right answer and what came."""
        kind = self.rng.randrange(4)
        if kind == 0:
            right: Any = self.rng.getrandbits(31)
            self.given.add(right)
            return right, await asker.call(samples, "echoInt", right, types=("int",), timeout=timeout)
        if kind == 1:
            right = f"{self.rng.getrandbits(128):032x}"
            self.given.add(right)
            return right, await asker.call(samples, "echoString", right, types=("java.lang.String",), timeout=timeout)
        if kind == 2:
            right = self.rng.randrange(10_000)
            self.given.add(("bytes", right))
            data = await asker.call(samples, "manyBytes", right, types=("int",), timeout=timeout)
            return ("bytes", right), ("bytes", getattr(data, "size", data))
        answer = await asker.call(samples, "color", timeout=timeout)
        return "aiomm.host.Color", getattr(answer, "java_class", answer)


async def case(ports: Askers, port: int, samples: Any, fault: str, seed: int) -> list[str]:
    """Run the calls of one seed through a proxy that spoils; return what happened."""
    rng = random.Random(seed)
    calls = Calls(rng)
    asker = ports.unopened(port, TIMEOUT)
    outcomes: list[str] = []
    try:
        await asker.open()
    except AiommError as error:
        return [type(error).__name__]

    async def run(count: int) -> None:
        for _ in range(count):
            try:
                right, came = await calls.one(asker, samples, TIMEOUT)
            except AiommError as error:
                outcomes.append(type(error).__name__)
                continue
            if type(came) is type(right) and came == right:
                outcomes.append("right")
            else:
                assert fault in PAYLOAD_CHANGES, f"{fault}, seed {seed}: {came!r} instead of {right!r}"
                assert not isinstance(came, (int, str, tuple)) or came not in calls.given, f"{fault}, seed {seed}: another call's value"
                outcomes.append("changed")

    await asyncio.gather(run(CALLS // 2), run(CALLS - CALLS // 2))
    if fault not in BYTE_FAULTS and asker.port.lost is None:
        ports_own = await calls.one(asker, samples, LONG)
        assert ports_own[0] == ports_own[1], f"{fault}, seed {seed}: the port is of no use after the fault"
    return outcomes


@contextlib.contextmanager
def spoiling(host: JavaHost, proxy: MessageProxy, fault: str, rng: random.Random) -> Iterator[MessageProxy | ByteProxy]:
    """Have the fault between server and client."""
    if fault in BYTE_FAULTS:
        with ByteProxy(host.port, fault, rng, rng.randrange(rng.choice([150, 600, 3000]))) as between:
            yield between
        return
    proxy.begin(fault, rng, frozenset(rng.sample(range(CALLS + 1), rng.choice([1, 1, 2]))))
    try:
        yield proxy
    finally:
        proxy.end()


async def cases(host: JavaHost, proxy: MessageProxy, fault: str, seeds: range) -> Counter[str]:
    totals: Counter[str] = Counter()
    spoilt = 0
    async with askers() as ports:
        direct = await ports(host.port)
        samples = await direct.make("aiomm.host.Samples")
        for seed in seeds:
            with spoiling(host, proxy, fault, random.Random(seed)) as between:
                try:
                    async with asyncio.timeout(LONG):
                        totals.update(await case(ports, between.port, samples, fault, seed))
                except TimeoutError:
                    pytest.fail(f"{fault}, seed {seed}: it hung")
                await ports.all.pop().aclose(0)
                spoilt += between.spoilt
        assert await direct.call(samples, "echoInt", 1, types=("int",), timeout=LONG) == 1
    assert spoilt > len(seeds) // 4 if fault in BYTE_FAULTS else spoilt >= len(seeds), "the proxy spoilt nothing"
    return totals


@pytest.mark.parametrize("fault", MESSAGE_FAULTS)
async def test_spoilt_messages(java_host: JavaHost, proxy: MessageProxy, fault: str) -> None:
    totals = await cases(java_host, proxy, fault, range(10))
    assert totals.get("right")
    if fault not in ("delayed", "twice"):
        assert len(totals) > 1, "the fault was not noticed"


@pytest.mark.parametrize("fault", BYTE_FAULTS)
async def test_spoilt_connections(java_host: JavaHost, proxy: MessageProxy, fault: str) -> None:
    totals = await cases(java_host, proxy, fault, range(10))
    assert len(totals) > 1, "the fault was not noticed"


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [*MESSAGE_FAULTS, *BYTE_FAULTS])
async def test_two_thousand_cases(java_host: JavaHost, proxy: MessageProxy, fault: str) -> None:
    seeds = range(1000, 1100)  # 21 faults
    totals = await cases(java_host, proxy, fault, seeds)
    print(fault, totals)
