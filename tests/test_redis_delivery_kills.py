"""A server that is killed (SIGKILL) again and again under producers and consumers: they go on by themselves.

With `appendfsync always` nothing that was acknowledged is lost, and nothing that was acked comes back.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import inf
from statistics import median
from time import monotonic
from typing import Final
from uuid import UUID

import pytest
from eventsourcing.persistence import OperationalError

from application.agents import Attachment
from corpus_callosum import (
    BackpressureError,
    Consumer,
    CorpusCallosum,
    Delivery,
    DeliverySettings,
    LeaseLostError,
    LogLostError,
    Message,
    RecordedMessage,
    Result,
    Subscription,
    Tract,
)
from infrastructure.redis_streams.private_server import PrivateServer
from tests.deliveries import message
from tests.servers import PrivateServerFactory
from tests.test_delivery_processes import Life, Place, opened, service

AGENTS: Final = ["agent 1", "agent 2"]
CONSUMERS: Final = {*AGENTS, "by hand"}
CONCURRENCY: Final = 8
CAPACITY: Final = 100
"""So that no new message waits behind thousands."""
BY_HAND: Final = 4
"""Messages that the consumer without an agent holds."""
MOST_AWAY: Final = 5.0
"""Seconds from a server's return to the first receipt, and until each consumer has handled what was said since."""
PAUSE: Final = 0.02
"""Seconds before a producer or a consumer tries again."""
PATIENCE: Final = 30.0

DELIVERY: Final = DeliverySettings(ack_wait=1.0, max_deliver=50)


class Traffic:
    """Producers, agents and a consumer by hand, and what each was told."""

    def __init__(self, callosum: CorpusCallosum) -> None:
        self.receipts: set[Place] = set()
        self.receipt_since: float | None = None
        """The moment of the first receipt of what was begun after a server's end."""
        self.handled_since: dict[str, float] = {}
        """The moment when each consumer handled the first message that came after its return."""
        self._dead = self._returned = inf
        self.acked: set[Place] = set()
        """As far as is known: `ack` has returned, or the outcome was read in the log."""
        self.again: list[Place] = []
        """Handed out when they were known to be acked."""
        self.failures = 0
        self._callosum = callosum
        self._changed = asyncio.Condition()
        self._ending = False

    @asynccontextmanager
    async def on(self, dialogues: Sequence[UUID]) -> AsyncIterator[None]:
        """One producer in each; in the end all goes on until what was acknowledged is acked."""
        async with AsyncExitStack() as stack:
            attachments = [await stack.enter_async_context(self._attached(name)) for name in AGENTS]
            subscription = await stack.enter_async_context(
                self._callosum.subscribe(Tract.EXTERNAL, "by hand", demand=BY_HAND, delivery=DELIVERY)
            )
            group = await stack.enter_async_context(asyncio.TaskGroup())
            consumers = [group.create_task(self._by_hand(subscription)), group.create_task(self._follow())]
            producers = [group.create_task(self._produce(dialogue)) for dialogue in dialogues]
            yield
            self._ending = True
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*producers)
                await self.until(lambda: self.acked >= self.receipts)
            assert not any(worker.done() for attachment in attachments for worker in attachment._workers)
            for task in consumers:
                task.cancel()

    def _attached(self, name: str) -> AbstractAsyncContextManager[Attachment]:
        traffic = self

        class Agent:
            async def handle(self, message: RecordedMessage) -> None:
                await traffic.note(name, message)

        return self._callosum.attach(Agent(), Tract.EXTERNAL, name, concurrency=CONCURRENCY, delivery=DELIVERY)

    def ends(self) -> None:
        """The server was killed."""
        self._dead, self._returned = monotonic(), inf
        self.receipt_since = None
        self.handled_since.clear()

    def returns(self) -> None:
        self._returned = time.time() * 1000

    async def goes_on(self, receipts: int) -> None:
        """Until there are so many more."""
        least = len(self.receipts) + receipts
        await self.until(lambda: len(self.receipts) >= least)

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(so)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _produce(self, dialogue: UUID) -> None:
        number = 0
        while not self._ending:
            number += 1
            begun, sequence = await self._said(dialogue, message(number, idempotency_key=f"k{number}"))
            self.receipts.add((dialogue, sequence))
            if begun > self._dead and self.receipt_since is None:
                self.receipt_since = monotonic()
            await self._tell()

    async def _said(self, dialogue: UUID, said: Message) -> tuple[float, int]:
        while True:
            begun = monotonic()
            try:
                [receipt] = await self._callosum.send_many(dialogue, [said])
            except BackpressureError as full:
                await asyncio.sleep(full.retry_after)
            except OperationalError as error:
                await self._failed(error)
            else:
                return begun, receipt.sequence

    async def _failed(self, error: OperationalError) -> None:
        if isinstance(error, LogLostError):
            raise error
        self.failures += 1
        await asyncio.sleep(PAUSE)

    async def note(self, consumer: str, handed: RecordedMessage) -> None:
        place = (handed.dialogue, handed.sequence)
        if place in self.acked:
            self.again.append(place)
        if handed.at > self._returned:
            self.handled_since.setdefault(consumer, monotonic())
        await self._tell()

    async def _by_hand(self, subscription: Subscription) -> None:
        async for delivery in subscription:
            await self.note("by hand", delivery.message)
            if await self._ack(delivery):
                self.acked.add((delivery.message.dialogue, delivery.sequence))
                await self._tell()

    async def _ack(self, delivery: Delivery) -> bool:
        while True:
            try:
                await delivery.ack()
            except LeaseLostError:  # it was away for too long; or the ack was stored, and its reply lost
                return False
            except OperationalError as error:
                await self._failed(error)
            else:
                return True

    async def _follow(self) -> None:
        async for recorded in self._callosum.follow():
            if isinstance(recorded.event, Consumer.Settled):
                ended = recorded.event.outcomes
                self.acked |= {(o.dialogue, o.sequence) for o in ended if o.result is Result.ACKED}
                await self._tell()


@dataclass(frozen=True)
class Away:
    """Seconds from a server's return."""

    receipt: float
    handled: float


async def survive(server: PrivateServer, kills: int) -> list[Away]:
    """Kill the server so many times under load, and see that nothing is lost or doubled."""
    chance, away = random.Random(kills), []  # a test's seed, no secret
    async with service(server.url, CAPACITY) as callosum:
        traffic = Traffic(callosum)
        async with traffic.on(await opened(callosum)):
            for _ in range(kills):
                await traffic.goes_on(chance.randint(1, 150))
                away.append(await killed_and_back(server, traffic))
        lost = await check(callosum, traffic, kills)
    sys.stdout.write(
        f"\n{kills} kills, {len(traffic.receipts)} receipts, each acked once; {traffic.failures} failures told, "
        f"{lost} attempts lost\n"
    )
    return away


async def killed_and_back(server: PrivateServer, traffic: Traffic) -> Away:
    await asyncio.to_thread(server.kill)
    traffic.ends()
    await asyncio.to_thread(server.start)
    traffic.returns()
    back = monotonic()
    await traffic.until(lambda: traffic.receipt_since is not None and traffic.handled_since.keys() == CONSUMERS)
    assert traffic.receipt_since is not None
    return Away(max(0.0, traffic.receipt_since - back), max(traffic.handled_since.values()) - back)


async def check(callosum: CorpusCallosum, traffic: Traffic, kills: int) -> int:
    """How many attempts were lost with the server."""
    assert traffic.failures >= kills
    assert traffic.again == []
    life = Life()
    async for recorded in callosum.replay():
        life.note(recorded)
    life.check_ends(traffic.receipts)
    assert traffic.acked == life.ended.keys()
    assert (await callosum.verify()).problem is None
    state = callosum._open.log.recorder.inbox.state(Tract.EXTERNAL)
    assert (state.level.backlog, state.pending, state.in_flight, state.dead) == (0, [], [], 0)
    attempts = [[outcome.attempt for _, outcome in ended] for ended in life.ended.values()]
    assert all(numbers == sorted({*numbers}) for numbers in attempts)
    lost = sum(numbers[-1] - len(numbers) for numbers in attempts)
    assert lost <= kills * (len(AGENTS) * CONCURRENCY + BY_HAND)
    return lost


class TestAlways:
    async def test_deliveries_go_on_within_5_s_and_none_is_lost_or_doubled_over_3_kills(
        self, private_server: PrivateServerFactory
    ) -> None:
        for away in await survive(private_server(), 3):
            assert max(away.receipt, away.handled) < MOST_AWAY

    @pytest.mark.stress
    async def test_deliveries_go_on_within_5_s_and_none_is_lost_or_doubled_over_20_kills(
        self, private_server: PrivateServerFactory
    ) -> None:
        away = await survive(private_server(), 20)
        for what, seconds in (
            ("first receipt", [each.receipt for each in away]),
            ("first new message that each consumer handled", [each.handled for each in away]),
        ):
            sys.stdout.write(f"back to the {what}: median {median(seconds):.3f} s, max {max(seconds):.3f} s\n")
            assert max(seconds) < MOST_AWAY
