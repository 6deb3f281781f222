"""The subscriptions of the service keep the rules of Reactive Streams, whatever a subscriber does."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_callosum import (
    ConsumerLeftError,
    CorpusCallosum,
    Delivery,
    DeliverySettings,
    InvalidCommandError,
    LeaseLostError,
    Message,
    ReplacedError,
    Result,
    Settings,
    Subscription,
    Tract,
)
from infrastructure.redis_streams.binaries import Binary
from tests.contract.reactive_streams import Publisher, ReactiveStreamsContract
from tests.deliveries import following, outcomes, say
from tests.numbers_published import (
    Careless,
    Eager,
    Forgetful,
    Fragile,
    Numbering,
    Numbers,
    Recursive,
    Reviving,
)
from tests.processes import python
from tests.redis_stores import shared_server
from tests.servers import BINARIES


class Service(Publisher):
    """A tract. A subscription fails when another one takes its place."""

    refusal = InvalidCommandError
    failure = ReplacedError

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID, replacements: AsyncExitStack) -> None:
        self._callosum = callosum
        self._dialogue = dialogue
        self._replacements = replacements
        self._published = 0

    def subscribe(self, demand: int = 0, *, name: str = "first") -> Subscription:
        return self._callosum.subscribe(Tract.EXTERNAL, name, demand=demand)

    async def publish(self, count: int) -> None:
        numbers = range(self._published, self._published + count)
        self._published = numbers.stop
        for start in range(0, count, 1000):
            await say(self._callosum, self._dialogue, *numbers[start : start + 1000])

    def number(self, element: Delivery) -> int:
        assert isinstance(element.message.payload, int)
        return element.message.payload

    async def ack(self, element: Delivery) -> None:
        await element.ack()

    async def fail(self) -> None:
        await self._replacements.enter_async_context(self.subscribe())

    async def close(self) -> None:
        await self._callosum.aclose()


class TestTheService(ReactiveStreamsContract):
    @pytest.fixture
    async def publisher(self, callosum: CorpusCallosum, dialogue: UUID) -> AsyncIterator[Publisher]:
        async with AsyncExitStack() as replacements:
            yield Service(callosum, dialogue, replacements)


class TestNumbers(ReactiveStreamsContract):
    @pytest.fixture
    async def publisher(self) -> Publisher:
        return Numbers(Numbering)


class TestTheContractFindsAPublisherThat:
    @pytest.mark.parametrize(
        ("subscription", "rule"),
        [
            (Eager, "test_1_1_no_more_is_signalled_than_was_requested"),
            (Eager, "test_2_1_nothing_comes_without_demand"),
            (Careless, "test_2_8_what_was_signalled_before_cancelling_is_not_lost"),
            (Recursive, "test_3_3_requests_do_not_recurse"),
            (Fragile, "test_3_5_cancel_returns_soon_and_may_be_repeated"),
            (Reviving, "test_3_6_after_cancel_a_request_does_nothing"),
            (Forgetful, "test_3_8_demand_adds_up"),
        ],
    )
    async def test_breaks_a_rule(self, subscription: type[Numbering], rule: str) -> None:
        contract = ReactiveStreamsContract()
        contract.patience = 0.05
        broken = (AssertionError, TimeoutError, RecursionError, StopAsyncIteration, pytest.fail.Exception)
        with pytest.raises(broken):
            await getattr(contract, rule)(Numbers(subscription))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["request", "publish"]), st.integers(1, 4)),
        st.tuples(st.sampled_from(["next", "ack"]), st.integers(0, 9)),
        st.tuples(st.sampled_from(["next", "ack", "nak", "late"]), st.integers(0, 9)),
        st.tuples(st.sampled_from(["cancel", "crash"]), st.integers(0, 3)),
    ),
    min_size=10,  # a shorter one does not come far
    max_size=40,
)
"""What happens, and with how many or which."""


class Subscriber:
    """One name's subscriptions, one after the other, and what is known of them from outside.

    A subscription may hold, given or in its buffer, what it has asked for less what was settled. It asks for its
    demand at first, and for what it requests; unless its demand is 0, each settlement asks for one more.
    """

    NAME: ClassVar = "tool"
    PATIENT: ClassVar = DeliverySettings(max_deliver=1000)

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        self.published = self.acked = 0
        self._callosum, self._dialogue = callosum, dialogue
        self._given: list[Delivery] = []
        self._late: list[Delivery] = []

    @property
    def may_hold(self) -> int:
        return self._asked - self._settled

    async def join(self, demand: int) -> None:
        self._late += self._given
        self._given.clear()
        self._demand = self._asked = demand
        self._settled = 0
        subscription = self._callosum.subscribe(Tract.EXTERNAL, self.NAME, demand=demand, delivery=self.PATIENT)
        self._subscription = await subscription.__aenter__()

    async def request(self, count: int) -> None:
        self._asked += count
        self._subscription.request(count)

    async def publish(self, count: int) -> None:
        await say(self._callosum, self._dialogue, *range(self.published, self.published + count))
        self.published += count

    async def next(self, _: int = 0) -> None:
        """What is there and asked for must come."""
        if len(self._given) < min(self.may_hold, self.published - self.acked):
            self._given.append(await following(self._subscription))

    async def ack(self, which: int = 0) -> None:
        if self._given:
            await self._given.pop(which % len(self._given)).ack()
            self.acked += 1
            self._count_settled()

    async def nak(self, which: int) -> None:
        if self._given:
            await self._given.pop(which % len(self._given)).nak("not now", delay=0)
            self._count_settled()

    async def late(self, which: int) -> None:
        if self._late:
            with pytest.raises((LeaseLostError, ConsumerLeftError)):
                await self._late.pop(which % len(self._late)).ack()

    async def cancel(self, demand: int) -> None:
        await self._subscription.cancel()
        await self.join(demand)

    async def crash(self, demand: int) -> None:
        """Nobody cancels it; another one of its name takes its place."""
        await self.join(demand)

    async def check(self) -> None:
        assert len(self._given) + len(self._subscription._ready) <= self.may_hold
        [inbox] = [inbox for inbox in await self._callosum.inbox() if inbox.tract is Tract.EXTERNAL]
        assert inbox.backlog == self.published - self.acked
        assert sum(held.count for held in inbox.in_flight) <= self.may_hold

    def _count_settled(self) -> None:
        self._settled += 1
        self._asked += self._demand > 0


async def _goes_through(url: str, demand: int, steps: list[tuple[str, int]]) -> None:
    async with CorpusCallosum.open(settings=Settings(url=url, project=False, views="sqlite://")) as callosum:
        subscriber = Subscriber(callosum, await callosum.open_dialogue("a subject"))
        await subscriber.join(demand)
        for step, argument in steps:
            await getattr(subscriber, step)(argument)
            await subscriber.check()
        await subscriber.cancel(5)
        while subscriber.acked < subscriber.published:
            await subscriber.next()
            await subscriber.ack()
        acked = Counter(o.sequence for o in await outcomes(callosum) if o.result is Result.ACKED)
        assert acked == Counter(range(1, subscriber.published + 1))


@pytest.mark.parametrize(
    ("binary", "examples"),
    [
        pytest.param(store, examples, marks=marks, id=f"{store.name if store else 'sqlite memory'}-{examples}")
        for store in (None, *BINARIES[:1])
        for examples, marks in ((20, ()), (200, pytest.mark.stress))
    ],
)
def test_a_subscriber_never_holds_more_than_it_asked_for(binary: Binary | None, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.integers(0, 3), STEPS)
    def holds(demand: int, steps: list[tuple[str, int]]) -> None:
        url = f"{shared_server(binary).url}?namespace={uuid4().hex}" if binary else "sqlite://"
        asyncio.run(_goes_through(url, demand, steps))

    holds()


CONSUMER = """
import asyncio, resource, sys
from pathlib import Path
from corpus_callosum import CorpusCallosum, Settings, Tract

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

async def most_while_taking(callosum, tract, messages):
    most = resident()
    async with callosum.subscribe(tract, "tool", demand=10) as subscription:
        async def work():
            nonlocal most
            for number in range(messages // 10):
                await (await anext(subscription)).ack()
                if number % 10 == 0:
                    most = max(most, resident())
        await asyncio.gather(*(work() for _ in range(10)))
    return most

async def main(url, warm_up, messages):
    settings = Settings(url=url, capacity=0, project=False, views="sqlite://")
    async with CorpusCallosum.open(settings=settings) as callosum:
        await most_while_taking(callosum, Tract.INTERNAL, warm_up)
        before = resident()
        most = await most_while_taking(callosum, Tract.EXTERNAL, messages)
        print(before, most)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""
"""Takes all from one tract to warm up, then some from the other one; what memory it had before, and at most."""

MIB = 2**20
MOST_GROWTH = 10
"""MiB. All of 20,000 messages are twice as much."""

TEXT = "x" * 200

on_linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")


async def growth(url: str, *, waiting: int, warm_up: int, taken: int) -> float:
    """MiB by which a consumer's resident memory grows while it takes some of so many waiting messages."""
    async with CorpusCallosum.open(settings=Settings(url=url, capacity=0, project=False)) as callosum:
        dialogue = await callosum.open_dialogue("a subject")
        for tract, count in ((Tract.INTERNAL, warm_up), (Tract.EXTERNAL, waiting)):
            batch = [Message(source=Tract.INTERNAL, target=tract, sender="planner", payload=TEXT)] * 1000
            for _ in range(count // 1000):
                await callosum.send_many(dialogue, batch)
        assert [inbox.backlog for inbox in await callosum.inbox()] == [warm_up, waiting]
    ended = await asyncio.to_thread(
        python, "-c", CONSUMER, url, str(warm_up), str(taken), timeout=30 + taken / 100
    )
    assert ended.returncode == 0, ended.stderr
    before, most = (int(told) / MIB for told in ended.stdout.split())
    sys.stdout.write(
        f"\n{waiting:,} waiting, {taken:,} taken and acked: {before:.1f} MiB resident before, {most:.1f} at most\n"
    )
    return most - before


@on_linux
@pytest.mark.slow
async def test_a_consumers_memory_does_not_grow_with_what_waits(lasting_url: str) -> None:
    assert await growth(lasting_url, waiting=20_000, warm_up=1000, taken=2000) < MOST_GROWTH


@on_linux
@pytest.mark.stress
async def test_a_consumers_memory_stays_flat_with_a_million_waiting(lasting_url: str) -> None:
    assert await growth(lasting_url, waiting=1_000_000, warm_up=2000, taken=20_000) < MOST_GROWTH
